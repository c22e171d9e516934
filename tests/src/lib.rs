//! Egret: tests.
