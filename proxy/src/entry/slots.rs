//! The slots of downstream connections: in all, of each session, and of unidentified clients.
//!
//! A connection is unidentified until its proxy credentials are verified; then it counts for its session. Unidentified
//! connections cannot block other clients. If their slots are all in use, the oldest one loses its slot to the newest (RFC
//! 4987 recycles half-open connections in the same way). A client with credentials needs one round trip, so it is identified
//! before its slot is due. Connections of sessions are never closed for others: if they use all slots, the newest is refused.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use model::SessionId;
use tokio::sync::Notify;

use crate::config::Limits;

/// Wrong credentials of one source are forgotten after this.
const FAILURES_WINDOW: Duration = Duration::from_secs(60);

/// Each wrong attempt beyond the limit adds this to the delay of its answer.
const DELAY_STEP: Duration = Duration::from_millis(100);

/// The longest delay.
const MAX_DELAY: Duration = Duration::from_secs(2);

/// Sources whose wrong attempts are counted; others get the longest delay.
const MAX_FAILING_SOURCES: usize = 4_096;

/// All slots.
#[derive(Debug)]
pub(crate) struct ConnectionSlots {
    limits: Arc<Limits>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    identified: usize,
    sessions: HashMap<SessionId, usize>,
    strangers: BTreeMap<u64, Stranger>,
    sources: HashMap<IpAddr, BTreeSet<u64>>,
    failures: HashMap<IpAddr, Failures>,
}

#[derive(Debug)]
struct Stranger {
    source: IpAddr,
    evicted: Arc<Notify>,
}

#[derive(Debug)]
struct Failures {
    since: Instant,
    count: usize,
}

/// The slot of one connection; dropping it frees the slot.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    source: IpAddr,
    evicted: Arc<Notify>,
    held: Held,
}

#[derive(Debug)]
enum Held {
    Stranger(u64),
    Session(SessionId),
}

/// Why a connection gets no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSlot {
    /// All are in use.
    All,
    /// The session has used its share.
    Session,
    /// It was reassigned to a newer connection before the credentials arrived.
    Evicted,
}

/// The source that a peer counts for: its address, or its network if one host has many addresses (RFC 6177: a /64 at
/// least).
pub(crate) fn source_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

impl ConnectionSlots {
    pub(crate) fn new(limits: Arc<Limits>) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// A slot for a new connection.
    ///
    /// # Errors
    /// [`NoSlot::All`] if sessions use all of them.
    pub(crate) fn arrive(self: &Arc<Self>, peer: IpAddr) -> Result<ConnectionSlot, NoSlot> {
        let source = source_of(peer);
        let mut state = self.lock();
        let of_source = state.sources.get(&source).map_or(0, BTreeSet::len);
        if of_source >= self.limits.max_source_strangers {
            state.evict_oldest_of(source);
        } else if state.strangers.len() >= self.limits.max_strangers || state.count() >= self.limits.max_connections {
            state.evict_oldest();
        }
        if state.count() >= self.limits.max_connections {
            return Err(NoSlot::All);
        }
        let (serial, evicted) = (state.next, Arc::new(Notify::new()));
        state.next += 1;
        state.strangers.insert(serial, Stranger { source, evicted: evicted.clone() });
        state.sources.entry(source).or_default().insert(serial);
        Ok(ConnectionSlot { slots: self.clone(), source, evicted, held: Held::Stranger(serial) })
    }

    /// Open connections.
    pub(crate) fn count(&self) -> usize {
        self.lock().count()
    }

    /// Counts wrong credentials of a source; returns how long to delay the answer. Correct credentials are never delayed:
    /// a sandbox that guesses must not block another one with the same address.
    pub(crate) fn delay_of_failure(&self, source: IpAddr, now: Instant) -> Duration {
        let mut state = self.lock();
        let is_old = |failures: &Failures| now.duration_since(failures.since) >= FAILURES_WINDOW;
        if state.failures.len() >= MAX_FAILING_SOURCES {
            state.failures.retain(|_, failures| !is_old(failures));
            if state.failures.len() >= MAX_FAILING_SOURCES && !state.failures.contains_key(&source) {
                return MAX_DELAY;
            }
        }
        let failures = state.failures.entry(source).or_insert(Failures { since: now, count: 0 });
        if is_old(failures) {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count += 1;
        let excess = u32::try_from(failures.count.saturating_sub(self.limits.max_failed_logins)).unwrap_or(u32::MAX);
        DELAY_STEP.saturating_mul(excess).min(MAX_DELAY)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        model::sync::lock(&self.state)
    }
}

impl State {
    fn count(&self) -> usize {
        self.identified + self.strangers.len()
    }

    fn evict_oldest(&mut self) {
        if let Some(serial) = self.strangers.keys().next().copied() {
            self.evict(serial);
        }
    }

    fn evict_oldest_of(&mut self, source: IpAddr) {
        if let Some(serial) = self.sources.get(&source).and_then(|serials| serials.first().copied()) {
            self.evict(serial);
        }
    }

    fn evict(&mut self, serial: u64) {
        if let Some(stranger) = self.remove(serial) {
            stranger.evicted.notify_one();
        }
    }

    fn remove(&mut self, serial: u64) -> Option<Stranger> {
        let stranger = self.strangers.remove(&serial)?;
        if let Some(serials) = self.sources.get_mut(&stranger.source) {
            serials.remove(&serial);
            if serials.is_empty() {
                self.sources.remove(&stranger.source);
            }
        }
        Some(stranger)
    }
}

impl ConnectionSlot {
    /// The source of the connection.
    pub(crate) fn source(&self) -> IpAddr {
        self.source
    }

    /// Notified when the slot was reassigned to another connection.
    pub(crate) fn evicted(&self) -> Arc<Notify> {
        self.evicted.clone()
    }

    /// The connection belongs to this session from now on.
    ///
    /// # Errors
    /// [`NoSlot::Session`] if the session has used its share, [`NoSlot::Evicted`] if the slot was already reassigned.
    pub(crate) fn identified(&mut self, session: &SessionId) -> Result<(), NoSlot> {
        let Held::Stranger(serial) = self.held else { return Ok(()) };
        let mut state = self.slots.lock();
        if !state.strangers.contains_key(&serial) {
            return Err(NoSlot::Evicted);
        }
        let share = state.sessions.get(session).copied().unwrap_or_default();
        if share >= self.slots.limits.max_session_connections {
            return Err(NoSlot::Session);
        }
        drop(state.remove(serial));
        state.identified += 1;
        *state.sessions.entry(session.clone()).or_default() += 1;
        drop(state);
        self.held = Held::Session(session.clone());
        Ok(())
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        match &self.held {
            Held::Stranger(serial) => drop(state.remove(*serial)),
            Held::Session(session) => {
                state.identified -= 1;
                if let Some(share) = state.sessions.get_mut(session) {
                    *share -= 1;
                    if *share == 0 {
                        state.sessions.remove(session);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn slots(all: usize, session: usize, strangers: usize, source: usize) -> Arc<ConnectionSlots> {
        ConnectionSlots::new(Arc::new(Limits {
            max_connections: all,
            max_session_connections: session,
            max_strangers: strangers,
            max_source_strangers: source,
            ..Limits::default()
        }))
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn is_evicted(slot: &ConnectionSlot) -> bool {
        let evicted = slot.evicted();
        let mut notified = std::pin::pin!(evicted.notified());
        notified.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn t209_the_oldest_stranger_of_a_source_gives_its_slot_to_the_newest() {
        let slots = slots(100, 10, 5, 2);
        let mut held: Vec<ConnectionSlot> = (0..2).map(|_| slots.arrive(HERE).unwrap()).collect();
        let other = slots.arrive(address(1)).unwrap();
        held.push(slots.arrive(HERE).unwrap());
        assert_eq!(held.iter().map(is_evicted).collect::<Vec<_>>(), [true, false, false]);
        assert!(!is_evicted(&other));
        assert_eq!(slots.count(), 3);
        assert_eq!(held[0].identified(&SessionId::new("ses_a")), Err(NoSlot::Evicted));
        drop(held);
        assert_eq!(slots.count(), 1);
    }

    #[test]
    fn t209_strangers_never_hold_a_slot_that_a_client_with_credentials_needs() {
        let slots = slots(8, 8, 4, 4);
        let strangers: Vec<ConnectionSlot> =
            (0..1_000u16).map(|n| slots.arrive(address((n % 250) as u8)).unwrap()).collect();
        assert_eq!(slots.count(), 4);
        let sessions: Vec<ConnectionSlot> = (0..8)
            .map(|_| {
                let mut slot = slots.arrive(HERE).unwrap();
                slot.identified(&SessionId::new("ses_a")).unwrap();
                slot
            })
            .collect();
        assert_eq!(slots.arrive(HERE).unwrap_err(), NoSlot::All);
        assert!(sessions.iter().all(|slot| !is_evicted(slot)));
        assert!(strangers.iter().all(is_evicted));
        drop(sessions);
        assert_eq!(slots.count(), 0);
        assert!(slots.arrive(HERE).is_ok());
    }

    #[test]
    fn t129_a_session_has_its_share_and_gets_back_what_it_closes() {
        let slots = slots(100, 2, 10, 10);
        let arrive = |session: &str| {
            let mut slot = slots.arrive(HERE).unwrap();
            slot.identified(&SessionId::new(session)).map(|()| slot)
        };
        let first = arrive("ses_a").unwrap();
        let _second = arrive("ses_a").unwrap();
        assert_eq!(arrive("ses_a").unwrap_err(), NoSlot::Session);
        let _other = arrive("ses_b").unwrap();
        drop(first);
        assert!(arrive("ses_a").is_ok());
        assert_eq!(slots.count(), 2);
        assert!(slots.lock().sources.is_empty());
    }

    #[test]
    fn t142_wrong_credentials_are_answered_ever_later() {
        let slots = slots(10, 10, 10, 10);
        let now = Instant::now();
        let delays: Vec<_> = (0..40).map(|_| slots.delay_of_failure(HERE, now).as_millis()).collect();
        assert!(delays[..10].iter().all(|delay| *delay == 0));
        assert_eq!((delays[10], delays[11], delays[29], delays[39]), (100, 200, 2_000, 2_000));
        assert_eq!(slots.delay_of_failure(address(1), now), Duration::ZERO);
        assert_eq!(slots.delay_of_failure(HERE, now + FAILURES_WINDOW), Duration::ZERO);
        for n in 0..u32::try_from(2 * MAX_FAILING_SOURCES).unwrap() {
            slots.delay_of_failure(IpAddr::from(n.to_be_bytes()), now);
        }
        assert_eq!(slots.lock().failures.len(), MAX_FAILING_SOURCES);
    }

    #[test]
    fn one_network_of_ipv6_is_one_source() {
        let source = |text: &str| source_of(text.parse().unwrap()).to_string();
        assert_eq!(source("2001:db8::1:2:3:4"), "2001:db8::");
        assert_eq!(source("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(source("192.0.2.1"), "192.0.2.1");
    }
}
