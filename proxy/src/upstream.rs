//! Upstreams: names, addresses, connections, and the pool of idle connections.

pub(crate) mod dial;
pub(crate) mod establish;
pub(crate) mod hosts;
pub(crate) mod lookups;
pub(crate) mod pool;
pub(crate) mod preconnect;
pub(crate) mod self_address;
