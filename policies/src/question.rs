//! The question whether a request may pass.

use model::{Destination, RequestPath, Timestamp};

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Where the request goes.
    pub destination: &'a Destination,
    /// Its method, as sent.
    pub method: &'a str,
    /// Its path, in every reading, and its query.
    pub path: &'a RequestPath,
    /// Whether it asks for a WebSocket.
    pub websocket: bool,
    /// The tool call that it belongs to, where it is known.
    pub tool: Option<&'a str>,
    /// When it is asked.
    pub now: Timestamp,
}
