//! Credentials on a request: whether one may be used here, its location, and the fields that may not be next to it.

pub(crate) mod access;
pub(crate) mod attach;
pub(crate) mod body_slots;
pub(crate) mod client_auth;
