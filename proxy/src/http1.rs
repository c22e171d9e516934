//! HTTP/1 (RFC 9112) on both legs. Every message that is accepted has exactly one meaning, and every message that is
//! sent is built from the parsed one.

pub(crate) mod answer;
pub(crate) mod chunks;
pub(crate) mod client;
pub(crate) mod encoder;
pub(crate) mod fields;
pub(crate) mod head;
pub(crate) mod link;
pub(crate) mod outbox;
pub(crate) mod pieces;
pub(crate) mod response;
pub(crate) mod serve;
pub(crate) mod wire;
pub(crate) mod writer;

#[cfg(test)]
mod tests;
