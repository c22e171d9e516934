//! Egret: policies.
