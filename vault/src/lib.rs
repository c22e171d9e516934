//! Egret: vault.
