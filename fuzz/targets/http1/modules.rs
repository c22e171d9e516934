//! The files of HTTP/1 themselves, since the data path shows nothing of them.

#[path = "../../../proxy/src/http1/chunks.rs"]
pub(crate) mod chunks;
#[path = "../../../proxy/src/http1/encoder.rs"]
pub(crate) mod encoder;
#[path = "../../../proxy/src/http1/fields.rs"]
pub(crate) mod fields;
#[path = "../../../proxy/src/http1/head.rs"]
pub(crate) mod head;
#[path = "../../../proxy/src/http1/outbox.rs"]
pub(crate) mod outbox;
#[path = "../../../proxy/src/http1/pieces.rs"]
pub(crate) mod pieces;
#[path = "../../../proxy/src/http1/response.rs"]
pub(crate) mod response;
#[path = "../../../proxy/src/http1/wire.rs"]
pub(crate) mod wire;
#[path = "../../../proxy/src/http1/writer.rs"]
pub(crate) mod writer;
