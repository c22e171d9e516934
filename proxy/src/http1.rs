//! HTTP/1 (RFC 9112) on both legs. What is read has one meaning only, and what is written is built from what was read.

pub(crate) mod answer;
pub(crate) mod chunks;
pub(crate) mod client;
pub(crate) mod encoder;
pub(crate) mod fields;
pub(crate) mod head;
pub(crate) mod link;
pub(crate) mod outbox;
pub(crate) mod response;
pub(crate) mod serve;
pub(crate) mod wire;
