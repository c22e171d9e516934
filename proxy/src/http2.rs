//! HTTP/2 (RFC 9113). hyper serves it towards clients; towards upstreams, Egret uses the streams of the h2 library directly.

pub(crate) mod client;
pub(crate) mod frames;
pub(crate) mod head;
pub(crate) mod interim;
pub(crate) mod streams;
