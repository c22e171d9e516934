//! Step 1: a downstream connection. Counts it against the limit of all connections; the count goes back when it ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpStream;

use crate::Proxy;

/// A connection from a client, within the limit.
pub(crate) struct Downstream {
    pub(crate) stream: TcpStream,
    pub(crate) place: Place,
}

/// One place among the connections; dropping it frees it.
pub(crate) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes a fresh connection in; `None` closes it because there are too many.
pub(crate) fn accept(proxy: &Proxy, stream: TcpStream) -> Option<Downstream> {
    let before = proxy.connections.fetch_add(1, Ordering::Relaxed);
    let place = Place(proxy.connections.clone());
    if before >= proxy.config.limits.max_connections {
        tracing::warn!(connections = before, "too many connections: the newest is closed");
        return None;
    }
    let nodelay: io::Result<()> = stream.set_nodelay(true);
    if let Err(error) = nodelay {
        tracing::debug!(%error, "nodelay");
    }
    Some(Downstream { stream, place })
}
