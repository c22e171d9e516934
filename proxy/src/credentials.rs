//! Credentials on a request: whether one may be used here, where it goes, and what may not be beside it.

pub(crate) mod access;
pub(crate) mod attach;
pub(crate) mod body_slots;
pub(crate) mod client_auth;
