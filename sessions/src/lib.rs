//! Egret: sessions.
