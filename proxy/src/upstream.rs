//! Upstreams: names, addresses, connections, and the connections that are kept.

pub(crate) mod dial;
pub(crate) mod establish;
pub(crate) mod hosts;
pub(crate) mod lookups;
pub(crate) mod pool;
pub(crate) mod self_address;
