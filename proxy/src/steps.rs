//! The steps of the line, in the order in which a request passes them.

/// 1: a connection, within the limit of all.
pub(crate) mod accept;

/// 2: who is asking.
pub(crate) mod identify;

/// 3: where to.
pub(crate) mod parse;

/// 4: may this session reach this place at all.
pub(crate) mod decide;

/// 5: the inside of a CONNECT.
pub(crate) mod intercept;

/// 6: a request within its destination.
pub(crate) mod route;

/// 7: may this request pass.
pub(crate) mod authorize;

/// 8: how much may pass.
pub(crate) mod limit;

/// 9: credentials.
pub(crate) mod inject;

/// 9, for bodies: credentials in the places that were declared for them.
pub(crate) mod inject_body;

/// 12: how the upstream is reached.
pub(crate) mod locate;

/// 14: to the upstream and back.
pub(crate) mod forward;

/// 11: secrets out of what comes back.
pub(crate) mod redact;

/// 12: the answer.
pub(crate) mod respond;
