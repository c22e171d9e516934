//! HTTP/2 (RFC 9113). Towards clients it is served by hyper; towards upstreams the streams of the h2 library are used as they are.

pub(crate) mod client;
pub(crate) mod frames;
pub(crate) mod head;
pub(crate) mod interim;
pub(crate) mod streams;
