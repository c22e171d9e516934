//! The steps of the line, in the order in which a request passes them.

pub(crate) mod accept;
pub(crate) mod authorize;
pub(crate) mod decide;
pub(crate) mod forward;
pub(crate) mod identify;
pub(crate) mod inject;
pub(crate) mod intercept;
pub(crate) mod parse;
pub(crate) mod record;
pub(crate) mod redact;
pub(crate) mod route;
