//! The properties of a connected client that its channel shows before the client sends a byte.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use sessions::{Proof, Session, UnixPeer};

/// Where a client connected.
#[derive(Clone, Debug)]
pub(crate) enum Channel {
    /// At a TCP listener, from this address, which identifies no session.
    Network(IpAddr),
    /// At a unix socket of all sessions.
    SharedSocket(UnixPeer),
    /// At the listener of one session.
    Listener(Arc<Session>, UnixPeer),
}

impl Channel {
    /// The address that an unidentified client counts for. All clients of unix sockets are one source.
    pub(crate) fn source(&self) -> IpAddr {
        match self {
            Self::Network(address) => *address,
            Self::SharedSocket(_) | Self::Listener(..) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }

    /// The session that the channel proves by itself.
    pub(crate) fn proof(&self) -> Option<Proof<'_>> {
        match self {
            Self::Network(_) => None,
            Self::SharedSocket(peer) => Some(Proof::Peer(*peer)),
            Self::Listener(session, peer) => Some(Proof::Listener { session, peer: *peer }),
        }
    }
}
