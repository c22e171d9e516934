//! The entrance of a connection: who its client is, and whether it may stay.
//!
//! Step 2 asks here with each client that it has identified. The first one owns the connection, which counts for its session from
//! then on.

use std::sync::{Arc, Mutex, OnceLock};

use model::{Reason, SessionId};
use sessions::{Identified, Session};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Proxy;
use crate::downlink::Downlink;
use crate::entry::channel::Channel;
use crate::entry::places::{NoPlace, Place};
use crate::refusal::Refusal;
use crate::trail::Trail;

/// The entrance of one connection of the listener. Dropping it frees the connection's place.
pub(crate) struct Entrance {
    proxy: Arc<Proxy>,
    place: Mutex<Place>,
    source: std::net::IpAddr,
    evicted: Arc<Notify>,
    deadline: Instant,
    channel: Channel,
    client: OnceLock<Identified>,
    must_close: Arc<Downlink>,
}

impl Entrance {
    /// Of a connection that was accepted now.
    pub(crate) fn new(proxy: &Arc<Proxy>, place: Place, channel: Channel) -> Arc<Self> {
        Arc::new(Self {
            proxy: proxy.clone(),
            source: place.source(),
            evicted: place.evicted(),
            place: Mutex::new(place),
            deadline: Instant::now() + proxy.limits.identify_timeout,
            channel,
            client: OnceLock::new(),
            must_close: Arc::default(),
        })
    }

    /// What all connections share.
    pub(crate) fn proxy(&self) -> &Arc<Proxy> {
        &self.proxy
    }

    /// Where the client connected.
    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The connection belongs to the session of this client, from the first one on.
    ///
    /// # Errors
    /// `session_invalid` for another session than the connection's, `session_quota` where the session has its share of connections,
    /// `overloaded` where the place was given away.
    pub(crate) fn admit(&self, client: &Identified) -> Result<(), Refusal> {
        let owner = self.client.get_or_init(|| client.clone()).session();
        if owner.id != client.session().id {
            return Err(Refusal::of(Reason::SessionInvalid, "the connection belongs to another session"));
        }
        self.take_place(&owner.id)
    }

    fn take_place(&self, session: &SessionId) -> Result<(), Refusal> {
        let mut place = model::sync::lock(&self.place);
        place.identified(session).map_err(|no_place| match no_place {
            NoPlace::Session => Refusal::of(Reason::SessionQuota, "the session has as many connections as it may have"),
            NoPlace::All | NoPlace::Evicted => overloaded(),
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

    /// Opens a record for the session of the connection, or for the stranger.
    pub(crate) fn open(&self) -> Trail {
        match self.client.get() {
            Some(client) => Trail::before(&self.proxy, client, &self.must_close),
            None => Trail::stranger(&self.proxy, self.source),
        }
    }

    /// How long the answer to a refusal has to wait: guessing credentials becomes slow.
    pub(crate) fn delay_of(&self, refusal: &Refusal) -> std::time::Duration {
        if self.session().is_some() || refusal.reason() != Reason::SessionInvalid {
            return std::time::Duration::ZERO;
        }
        self.proxy.places.delay_of_failure(self.source, std::time::Instant::now())
    }

    /// Resolves when a connection that is not identified yet may not stay: its time is over (`timeout_head`), or its place was
    /// given to a newer one (`overloaded`).
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

    /// Resolves when the place of a connection that is not identified was given to a newer one.
    pub(crate) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Resolves when the client may not go on or an exchange asks for the end of the connection.
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

    /// The source and its refusal, for a connection whose place was given away.
    pub(crate) fn source(&self) -> std::net::IpAddr {
        self.source
    }
}

/// That there is no place for a connection.
pub(crate) fn overloaded() -> Refusal {
    Refusal::of(Reason::Overloaded, "there are too many connections; try again later")
}
