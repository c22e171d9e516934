//! The steps of the data path, in the order in which a request passes them; not every request needs all of them.

/// A connection, within the limit of all.
pub(crate) mod accept;

/// The session of the client.
pub(crate) mod identify;

/// The endpoint of the request.
pub(crate) mod parse;

/// Whether this session may reach this host and port at all.
pub(crate) mod decide;

/// The inside of a CONNECT.
pub(crate) mod intercept;

/// A request within its destination.
pub(crate) mod route;

/// Whether this request may pass.
pub(crate) mod authorize;

/// Limits of requests and bytes.
pub(crate) mod limit;

/// Credentials in the head.
pub(crate) mod inject;

/// Credentials in declared slots of the body.
pub(crate) mod inject_body;

/// The addresses of the upstream.
pub(crate) mod locate;

/// The request to the upstream, and the head of its response.
pub(crate) mod forward;

/// Secrets masked in the response.
pub(crate) mod redact;

/// The response to the client.
pub(crate) mod respond;
