//! The quotas of one session, and of all of them together. At once: requests in progress with the memory that they may
//! buffer, and upstream connections. In a minute: different host names, and leaf certificates signed for it.
//!
//! Counted over all cores. Each use is a value; dropping it returns the use.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use model::map::FastMap;
use model::{Destination, Host, Reason, SessionId};

use crate::config::Limits;
use crate::refusal::Refusal;

/// Bytes that one exchange may buffer: a send window, a receive window and the buffers of two connections.
pub(crate) const EXCHANGE_BYTES: usize = 256 << 10;

/// Names and leaves are counted over this time, which begins with the first one.
const MINUTE: Duration = Duration::from_secs(60);

/// The current use.
pub(crate) struct Quotas {
    limits: Arc<Limits>,
    usage: Mutex<Usage>,
    hasher: RandomState,
}

#[derive(Default)]
struct Usage {
    requests: usize,
    upstreams: usize,
    sessions: FastMap<SessionId, SessionUsage>,
}

#[derive(Default)]
struct SessionUsage {
    requests: usize,
    upstreams: usize,
    by_host: FastMap<Destination, usize>,
    /// Digests of the names of this minute.
    names: HashSet<u64>,
    names_since: Option<Instant>,
    /// Digests of the hosts of this minute's leaves.
    mints: HashSet<u64>,
    mints_since: Option<Instant>,
}

/// One request in progress; dropping it returns its slot.
#[derive(Debug)]
pub(crate) struct RequestSlot {
    quotas: Arc<Quotas>,
    session: SessionId,
}

/// One upstream connection; dropping it returns its slot.
#[derive(Debug)]
pub(crate) struct UpstreamSlot {
    quotas: Arc<Quotas>,
    session: SessionId,
    destination: Destination,
}

impl std::fmt::Debug for Quotas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Quotas")
    }
}

impl Quotas {
    /// No use yet.
    pub(crate) fn new(limits: Arc<Limits>) -> Arc<Self> {
        Arc::new(Self { limits, usage: Mutex::default(), hasher: RandomState::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Usage> {
        model::sync::lock(&self.usage)
    }

    /// A slot for one more request, with the memory that it may buffer.
    ///
    /// # Errors
    /// `session_quota` if the session has used its share, `overloaded` if all slots are in use.
    pub(crate) fn request(self: &Arc<Self>, session: &SessionId) -> Result<RequestSlot, Refusal> {
        let limits = &self.limits;
        let mut usage = self.lock();
        let all = usage.requests;
        let own = usage.sessions.entry(session.clone()).or_default();
        if own.requests >= limits.max_session_requests {
            return Err(spent("the session has too many requests in progress", "requests"));
        }
        if (own.requests + 1) * EXCHANGE_BYTES > limits.max_session_buffer_bytes {
            return Err(spent("the session's requests may buffer too many bytes", "buffer_bytes"));
        }
        if all >= limits.max_requests {
            return Err(overloaded("too many requests are in progress", "requests"));
        }
        if (all + 1) * EXCHANGE_BYTES > limits.max_buffer_bytes {
            return Err(overloaded("the requests in progress may buffer too many bytes", "buffer_bytes"));
        }
        own.requests += 1;
        usage.requests += 1;
        drop(usage);
        Ok(RequestSlot { quotas: self.clone(), session: session.clone() })
    }

    /// A slot for one more upstream connection.
    ///
    /// # Errors
    /// `session_quota` if the session has used its share, in all or to this host; `overloaded` if all slots are in use.
    pub(crate) fn upstream(
        self: &Arc<Self>,
        session: &SessionId,
        destination: &Destination,
    ) -> Result<UpstreamSlot, Refusal> {
        let limits = &self.limits;
        let mut usage = self.lock();
        let all = usage.upstreams;
        let own = usage.sessions.entry(session.clone()).or_default();
        if own.upstreams >= limits.max_session_upstreams {
            return Err(spent("the session has too many upstream connections", "upstreams"));
        }
        let to_host = own.by_host.get(destination).copied().unwrap_or_default();
        if to_host >= limits.max_host_upstreams {
            return Err(spent("the session has too many connections to this host", "host_upstreams"));
        }
        if all >= limits.max_upstreams {
            return Err(overloaded("there are too many upstream connections", "upstreams"));
        }
        own.upstreams += 1;
        own.by_host.insert(destination.clone(), to_host + 1);
        usage.upstreams += 1;
        drop(usage);
        Ok(UpstreamSlot { quotas: self.clone(), session: session.clone(), destination: destination.clone() })
    }

    /// Counts a name that the session may reach, because a lookup of the name could leak data.
    ///
    /// # Errors
    /// `rate_limited` if there were too many different ones in a minute.
    pub(crate) fn name(&self, session: &SessionId, host: &Host, now: Instant) -> Result<(), Refusal> {
        let Some(name) = host.name() else { return Ok(()) };
        let digest = self.hasher.hash_one(name);
        let mut usage = self.lock();
        let own = usage.sessions.entry(session.clone()).or_default();
        if is_over(&mut own.names_since, now) {
            own.names.clear();
        }
        if own.names.len() >= self.limits.max_names_per_minute && !own.names.contains(&digest) {
            let detail = "the session asked for too many different host names in a minute";
            return Err(Refusal::of(Reason::RateLimited, detail).with_class("names"));
        }
        own.names.insert(digest);
        Ok(())
    }

    /// Counts a leaf certificate that is about to be signed for the session. A host counts once in a minute, because a client may
    /// retry before its handshake is complete.
    ///
    /// # Errors
    /// `mint_limited` if there were too many in a minute.
    pub(crate) fn mint(&self, session: &SessionId, host: &Host, now: Instant) -> Result<(), Refusal> {
        let digest = self.hasher.hash_one(host);
        let mut usage = self.lock();
        let own = usage.sessions.entry(session.clone()).or_default();
        if is_over(&mut own.mints_since, now) {
            own.mints.clear();
        }
        if own.mints.len() >= self.limits.max_mints_per_minute && !own.mints.contains(&digest) {
            let detail = "the session needed too many new certificates in a minute";
            return Err(Refusal::of(Reason::MintLimited, detail));
        }
        own.mints.insert(digest);
        Ok(())
    }

    /// Removes sessions that are over.
    pub(crate) fn sweep(&self, live: impl Fn(&SessionId) -> bool) {
        self.lock().sessions.retain(|id, own| own.requests > 0 || own.upstreams > 0 || live(id));
    }
}

/// Whether the minute is over; if so, a new one begins.
fn is_over(since: &mut Option<Instant>, now: Instant) -> bool {
    let over = since.is_none_or(|since| now.duration_since(since) >= MINUTE);
    if over {
        *since = Some(now);
    }
    over
}

fn spent(detail: &'static str, class: &'static str) -> Refusal {
    Refusal::of(Reason::SessionQuota, detail).with_class(class)
}

fn overloaded(detail: &'static str, class: &'static str) -> Refusal {
    Refusal::of(Reason::Overloaded, detail).with_class(class)
}

impl Drop for RequestSlot {
    fn drop(&mut self) {
        let mut usage = self.quotas.lock();
        usage.requests = usage.requests.saturating_sub(1);
        if let Some(own) = usage.sessions.get_mut(&self.session) {
            own.requests = own.requests.saturating_sub(1);
        }
    }
}

impl Drop for UpstreamSlot {
    fn drop(&mut self) {
        let mut usage = self.quotas.lock();
        usage.upstreams = usage.upstreams.saturating_sub(1);
        let Some(own) = usage.sessions.get_mut(&self.session) else { return };
        own.upstreams = own.upstreams.saturating_sub(1);
        if let Some(to_host) = own.by_host.get_mut(&self.destination) {
            *to_host -= 1;
            if *to_host == 0 {
                own.by_host.remove(&self.destination);
            }
        }
    }
}

#[cfg(test)]
mod tests;
