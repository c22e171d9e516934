//! A request on the line: as it arrived, and with its destination.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderName, Method, Version};
use model::{Fields, RequestPath};

use crate::body::buffered::Payload;
use crate::body::incoming::Incoming;
use crate::http1::head::RequestHead;
use crate::http1::link::Received;

/// A request as the client sent it, with the verdict of the strict reader on its head.
pub(crate) struct Asked {
    pub(crate) head: RequestHead,
    pub(crate) version: Version,
    pub(crate) fields: Fields,
    pub(crate) body: Incoming,
}

impl From<Received> for Asked {
    fn from(received: Received) -> Self {
        // The tunnel of the request identifies its client.
        let Received { head, version, fields, body, client: _ } = received;
        Self { head, version, fields, body: body.into() }
    }
}

/// A request that names its destination and no other.
pub(crate) struct Routed {
    pub(crate) method: Method,
    pub(crate) path: RequestPath,
    pub(crate) fields: Fields,
    pub(crate) body: Payload,
    pub(crate) version: Version,
    /// Whether the client asked for a WebSocket.
    pub(crate) websocket: bool,
    /// The tool whose call it belongs to.
    pub(crate) tool: Option<Arc<str>>,
    /// Removed fields that a reader of the record should see.
    pub(crate) stripped: Vec<Cow<'static, str>>,
    /// The fields that Connection listed, which were removed.
    pub(crate) named_by_connection: Vec<HeaderName>,
}
