//! Egret: certs.
