//! The upstream connections of one core, pooled for the next request of the same session to the same destination.
//!
//! The key contains every property by which one connection could be mistaken for another: session, destination, protocol, the
//! versions of the credentials it has carried, and the trust of its verification. A connection verified by a CA that is no
//! longer trusted is not reused. Sessions never share connections.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use certs::VerifiedChain;
use model::map::FastMap;
use model::{CredentialId, Destination, SessionId};
use tokio::time::Instant;

use crate::limits::quota::UpstreamSlot;
use crate::upstream::dial::HttpVersions;
use crate::{http1, http2};

/// The session and the destination of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) session: SessionId,
    pub(crate) destination: Destination,
    pub(crate) versions: HttpVersions,
    pub(crate) credentials: Vec<(CredentialId, u32)>,
    pub(crate) trust: u64,
}

/// A connection that a request can be sent on.
pub(crate) struct Upstream {
    pub(crate) sender: Sender,
    /// The address that was checked and dialed.
    pub(crate) address: SocketAddr,
    /// The TLS version, such as `1.3`; `None` in cleartext.
    pub(crate) tls: Option<&'static str>,
    /// How its upstream was verified; `None` in cleartext.
    pub(crate) chain: Option<Arc<VerifiedChain>>,
    /// Whether it was used before.
    pub(crate) reused: bool,
    /// Its slot among the upstream connections of its session. One for HTTP/1.1 has none while it is idle.
    pub(crate) slot: Option<Arc<UpstreamSlot>>,
}

/// The sending half, by protocol.
pub(crate) enum Sender {
    Http1(Arc<http1::client::Client>),
    Http2(http2::client::Client),
}

struct Idle {
    upstream: Upstream,
    since: Instant,
}

#[derive(Default)]
struct Kept {
    by_key: FastMap<Key, Vec<Idle>>,
    by_session: FastMap<SessionId, usize>,
    count: usize,
}

impl Kept {
    /// Makes room for a newer connection of the session. A connection with several concurrent requests continues with them.
    fn close_oldest(&mut self, session: &SessionId) {
        let of_session = self.by_key.iter_mut().filter(|(key, kept)| key.session == *session && !kept.is_empty());
        let oldest = of_session.map(|(_, kept)| kept).min_by_key(|kept| kept.first().map(|one| one.since));
        if let Some(kept) = oldest {
            drop(kept.remove(0));
            self.count_again();
        }
    }

    fn count_again(&mut self) {
        self.by_key.retain(|_, kept| !kept.is_empty());
        self.by_session.clear();
        for (key, kept) in &self.by_key {
            *self.by_session.entry(key.session.clone()).or_default() += kept.len();
        }
        self.count = self.by_key.values().map(Vec::len).sum();
    }
}

/// The idle HTTP/1.1 connections and the shared HTTP/2 connections of one core.
pub(crate) struct Pool {
    idle: Mutex<Kept>,
    keep_alive: Duration,
    capacity: usize,
    of_session: usize,
}

impl Pool {
    /// Keeps at most `capacity` connections, of one session at most `of_session`, each for `keep_alive` without use.
    pub(crate) fn new(capacity: usize, of_session: usize, keep_alive: Duration) -> Arc<Self> {
        Arc::new(Self { idle: Mutex::default(), keep_alive, capacity, of_session })
    }

    /// An open connection of this key whose address passes `check`.
    pub(crate) fn take(&self, key: &Key, check: impl Fn(SocketAddr) -> bool) -> Option<Upstream> {
        let mut idle = model::sync::lock(&self.idle);
        let Kept { by_key, by_session, count } = &mut *idle;
        let kept = by_key.get_mut(key)?;
        let of_session = by_session.entry(key.session.clone()).or_default();
        while let Some(mut last) = kept.pop() {
            *count -= 1;
            *of_session = of_session.saturating_sub(1);
            if last.since.elapsed() > self.keep_alive || last.upstream.is_closed() || !check(last.upstream.address) {
                continue;
            }
            last.upstream.reused = true;
            let Upstream { address, tls, .. } = last.upstream;
            let (slot, chain) = (last.upstream.slot.clone(), last.upstream.chain.clone());
            if let Sender::Http2(sender) = &last.upstream.sender {
                // An HTTP/2 connection serves many requests at once: a clone is returned, and it stays in the pool.
                let sender = Sender::Http2(sender.clone());
                kept.push(Idle { upstream: last.upstream, since: Instant::now() });
                *count += 1;
                *of_session += 1;
                return Some(Upstream { sender, address, tls, chain, reused: true, slot });
            }
            return Some(last.upstream);
        }
        None
    }

    /// Whether a connection of this session to the destination is there, whichever credentials it has carried.
    pub(crate) fn has(&self, session: &SessionId, destination: &Destination, versions: HttpVersions) -> bool {
        let idle = model::sync::lock(&self.idle);
        let is_such =
            |key: &Key| key.session == *session && key.versions == versions && key.destination == *destination;
        idle.by_session.get(session).is_some_and(|count| *count > 0)
            && idle.by_key.iter().any(|(key, kept)| is_such(key) && !kept.is_empty())
    }

    /// Stores a connection for later, unless it is closed or the pool is full.
    pub(crate) fn put(&self, key: Key, mut upstream: Upstream) {
        if upstream.is_closed() {
            return;
        }
        if matches!(upstream.sender, Sender::Http1(..)) {
            upstream.slot = None;
        }
        let mut idle = model::sync::lock(&self.idle);
        if idle.by_session.get(&key.session).is_some_and(|count| *count >= self.of_session) {
            idle.close_oldest(&key.session);
        }
        if idle.count < self.capacity {
            idle.count += 1;
            *idle.by_session.entry(key.session.clone()).or_default() += 1;
            idle.by_key.entry(key).or_default().push(Idle { upstream, since: Instant::now() });
        }
    }

    /// Closes connections that are old, closed, verified with another trust, or of a session that is over.
    pub(crate) fn sweep(&self, trust: u64, live: impl Fn(&SessionId) -> bool) {
        let mut idle = model::sync::lock(&self.idle);
        idle.by_key.retain(|key, kept| {
            kept.retain(|one| one.since.elapsed() <= self.keep_alive && !one.upstream.is_closed());
            !kept.is_empty() && key.trust == trust && live(&key.session)
        });
        idle.count_again();
    }
}

impl Upstream {
    fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(client) => !client.is_idle(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }
}

#[cfg(test)]
mod tests;
