//! Egret: audit.
