//! Step 1: a downstream connection takes a slot, which is free again when the connection ends.

use std::net::IpAddr;

use crate::Proxy;
use crate::entry::channel::Channel;
use crate::entry::listener::ClientStream;
use crate::entry::slots::{ConnectionSlot, NoSlot, source_of};

/// A connection from a client that has a slot.
pub(crate) struct Downstream {
    pub(crate) stream: ClientStream,
    pub(crate) slot: ConnectionSlot,
    pub(crate) channel: Channel,
}

/// A connection for which there is no slot.
pub(crate) struct TurnedAway {
    pub(crate) stream: ClientStream,
    pub(crate) source: IpAddr,
}

/// Admits a new connection.
///
/// # Errors
/// [`TurnedAway`] if sessions use all slots; it is answered, not reset.
pub(crate) fn accept(proxy: &Proxy, stream: ClientStream, channel: Channel) -> Result<Downstream, TurnedAway> {
    if let Err(error) = stream.set_nodelay() {
        tracing::debug!(%error, "nodelay");
    }
    let peer = channel.source();
    match proxy.slots.arrive(peer) {
        Ok(slot) => Ok(Downstream { stream, slot, channel }),
        Err(NoSlot::All | NoSlot::Session | NoSlot::Evicted) => Err(TurnedAway { stream, source: source_of(peer) }),
    }
}
