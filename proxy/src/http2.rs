//! HTTP/2 (RFC 9113), through the streams of the h2 library on both legs.

pub(crate) mod body;
pub(crate) mod client;
mod frame;
pub(crate) mod frames;
pub(crate) mod gather;
pub(crate) mod head;
pub(crate) mod interim;
pub(crate) mod serve;
pub(crate) mod streams;
