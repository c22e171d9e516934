//! The entrance of a connection: the identity of its client, and whether it may stay.
//!
//! Step 2 calls this for each client that it has identified. The first client owns the connection, which counts for its session
//! from then on.

use std::sync::{Arc, Mutex, OnceLock};

use model::{Reason, SessionId};
use sessions::{Identified, Session};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Proxy;
use crate::downlink::Downlink;
use crate::entry::channel::Channel;
use crate::entry::slots::{ConnectionSlot, NoSlot};
use crate::refusal::Refusal;
use crate::trail::Trail;

/// The entrance of one connection of the listener. Dropping it frees the connection's slot.
pub(crate) struct Entrance {
    proxy: Arc<Proxy>,
    slot: Mutex<ConnectionSlot>,
    source: std::net::IpAddr,
    evicted: Arc<Notify>,
    deadline: Instant,
    channel: Channel,
    client: OnceLock<Identified>,
    must_close: Arc<Downlink>,
}

impl Entrance {
    /// For a connection that was just accepted.
    pub(crate) fn new(proxy: &Arc<Proxy>, slot: ConnectionSlot, channel: Channel) -> Arc<Self> {
        Arc::new(Self {
            proxy: proxy.clone(),
            source: slot.source(),
            evicted: slot.evicted(),
            slot: Mutex::new(slot),
            deadline: Instant::now() + proxy.limits.identify_timeout,
            channel,
            client: OnceLock::new(),
            must_close: Arc::default(),
        })
    }

    /// The state that all connections share.
    pub(crate) fn proxy(&self) -> &Arc<Proxy> {
        &self.proxy
    }

    /// Where the client connected.
    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Assigns the connection to the session of this client; the first client decides.
    ///
    /// # Errors
    /// `session_invalid` for another session than the connection's, `session_quota` if the session has used its share of
    /// connections, `overloaded` if the slot was reassigned.
    pub(crate) fn admit(&self, client: &Identified) -> Result<(), Refusal> {
        let owner = self.client.get_or_init(|| client.clone()).session();
        if owner.id != client.session().id {
            return Err(Refusal::of(Reason::SessionInvalid, "the connection belongs to another session"));
        }
        self.take_slot(&owner.id)
    }

    fn take_slot(&self, session: &SessionId) -> Result<(), Refusal> {
        let mut slot = model::sync::lock(&self.slot);
        slot.identified(session).map_err(|no_slot| match no_slot {
            NoSlot::Session => Refusal::of(Reason::SessionQuota, "the session has as many connections as it may have"),
            NoSlot::All | NoSlot::Evicted => overloaded(),
        })
    }

    /// The session that the connection belongs to, once there is one.
    pub(crate) fn session(&self) -> Option<&Arc<Session>> {
        self.client.get().map(Identified::session)
    }

    /// Notified when the connection must close because of an exchange on it.
    pub(crate) fn must_close(&self) -> &Arc<Downlink> {
        &self.must_close
    }

    /// Opens a record for the session of the connection, or for the unidentified client.
    pub(crate) fn open(&self) -> Trail {
        match self.client.get() {
            Some(client) => Trail::before(&self.proxy, client, &self.must_close),
            None => Trail::stranger(&self.proxy, self.source),
        }
    }

    /// How long the answer to a refusal is delayed, to slow down guessing of credentials.
    pub(crate) fn delay_of(&self, refusal: &Refusal) -> std::time::Duration {
        if self.session().is_some() || refusal.reason() != Reason::SessionInvalid {
            return std::time::Duration::ZERO;
        }
        self.proxy.slots.delay_of_failure(self.source, std::time::Instant::now())
    }

    /// Resolves when an unidentified connection may not stay: its time is over (`timeout_head`), or its slot was reassigned to
    /// a newer one (`overloaded`).
    pub(crate) async fn expired(&self) -> Refusal {
        if self.session().is_some() {
            return std::future::pending().await;
        }
        tokio::select! {
            () = self.evicted.notified() => overloaded(),
            () = tokio::time::sleep_until(self.deadline) => {
                Refusal::of(Reason::TimeoutHead, "the proxy credentials did not arrive in time")
            }
        }
    }

    /// Resolves when the slot of an unidentified connection was reassigned to a newer one.
    pub(crate) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Resolves when the client is no longer allowed, or an exchange requests the end of the connection.
    pub(crate) async fn ended(&self) {
        let client_ended = async {
            match self.client.get() {
                Some(client) => client.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = client_ended => {}
            () = self.must_close.notified() => {}
        }
    }

    /// The source and its refusal, for a connection whose slot was reassigned.
    pub(crate) fn source(&self) -> std::net::IpAddr {
        self.source
    }
}

/// The refusal of a connection without a slot.
pub(crate) fn overloaded() -> Refusal {
    Refusal::of(Reason::Overloaded, "there are too many connections; try again later")
}
