//! Who a client is: how it proves which session it belongs to, and the proof that it did.
//!
//! Authority comes from the channel: the proxy credentials, the listener, or the process at the other end of a unix socket. Nothing
//! else that a client sends selects a session.

use std::sync::Arc;

use model::Timestamp;

use crate::session::Session;

/// The process at the other end of a unix socket, as the kernel reports it (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixPeer {
    /// Its effective user, when it connected.
    pub uid: u32,
}

impl UnixPeer {
    /// What the kernel reports for each user that has no number in our user namespace (user_namespaces(7)). It means any of
    /// many users, so it identifies none.
    pub const OVERFLOW: u32 = 65_534;
}

/// How a client identifies itself.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// By proxy credentials.
    Token {
        /// The session's id, as sent.
        id: &'a str,
        /// The session's token, as sent.
        token: &'a [u8],
    },
    /// By the listener of one session.
    Listener {
        /// The session that the listener was opened for.
        session: &'a Arc<Session>,
        /// The process that connected.
        peer: UnixPeer,
    },
    /// By the process that connected to a unix socket of all sessions.
    Peer(UnixPeer),
}

/// What identified a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// Its proxy credentials.
    ProxyCredentials,
    /// The listener of its session.
    Listener,
    /// The user of its process, at the other end of a unix socket.
    UnixPeer,
    /// Nothing: it belongs to the session of clients that do not identify themselves.
    DefaultSession,
}

/// A client whose session is known. Only [`crate::Registry`] makes one.
#[derive(Clone, Debug)]
pub struct Identified {
    session: Arc<Session>,
    means: Means,
    /// The generation of the session's token with which it came.
    token: u32,
}

impl Identified {
    pub(crate) fn new(session: Arc<Session>, means: Means, token: u32) -> Self {
        Self { session, means, token }
    }

    /// The session that it belongs to.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// What identified it.
    pub fn means(&self) -> Means {
        self.means
    }

    /// Whether the token with which it came is no longer its session's.
    pub fn token_is_replaced(&self) -> bool {
        self.means == Means::ProxyCredentials && self.session.token_generation() != self.token
    }

    /// Whether its requests are judged at all: its session is live, and the token with which it came is still the session's.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.session.is_live(now) && !self.token_is_replaced()
    }

    /// Resolves when the client may not go on: its session has ended, or the token with which it came was replaced; at once
    /// where either has happened.
    ///
    /// # Cancellation
    /// Dropping the future leaves nothing behind.
    pub async fn ended(&self) {
        let mut replaced = std::pin::pin!(self.session.token_replaced.notified());
        replaced.as_mut().enable();
        let replaced = async {
            while !self.token_is_replaced() {
                replaced.as_mut().await;
                replaced.set(self.session.token_replaced.notified());
                replaced.as_mut().enable();
            }
        };
        tokio::select! {
            () = self.session.ended() => {}
            () = replaced => {}
        }
    }
}
