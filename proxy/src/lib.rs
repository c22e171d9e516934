//! Egret: proxy.
