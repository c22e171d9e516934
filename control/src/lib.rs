//! Egret: control.
