//! The entry of clients: listeners, the identity of a connection, and whether it may stay.

pub(crate) mod arrival;
pub(crate) mod channel;
pub(crate) mod entrance;
pub(crate) mod http;
pub(crate) mod listener;
pub(crate) mod paced;
pub(crate) mod patience;
pub(crate) mod prefixed_stream;
pub(crate) mod session_listeners;
pub(crate) mod slots;
pub(crate) mod stall;
