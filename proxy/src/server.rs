//! Listens, accepts, and drains: one current-thread runtime per core, each on a thread of its own.
//!
//! The listening socket is bound once and each runtime accepts on a duplicate of it. A connection stays on the core that
//! accepted it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use audit::RefusalBudget;
use model::{SessionId, TenantId, log_limited};
use sessions::{GrantRequest, NewSession};
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::active::reevaluate;
use crate::body::known::HostNeedles;
use crate::connection::{connection, turn_away};
use crate::entry::listener::{Bound, Listen, Listener};
use crate::entry::session_listeners::{Connected, Share, accept_all};
use crate::entry::slots::ConnectionSlots;
use crate::limits::budget::Budget;
use crate::limits::counters::Counters;
use crate::limits::quota::Quotas;
use crate::share::{Shares, release_deferred};
use crate::steps::accept;
use crate::upstream::dial::Dialer;
use crate::upstream::lookups::Lookups;
use crate::upstream::pool::Pool;
use crate::upstream::self_address::SelfAddress;
use crate::{Config, Core, Limits, Parts, Proxy};

/// Connections to session listeners that were accepted and are not served yet, on one core.
const MAX_CONNECTED: usize = 64;

/// Refused connections that may linger at a time, after the answer that there is no slot.
const MAX_TURNED_AWAY: usize = 64;

/// Why the data path could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address or path as configured.
        address: Listen,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The system has no thread, socket or resolver available.
    #[error("the data path could not start")]
    System(#[source] io::Error),
    /// The session listeners cannot be created.
    #[error("the listeners of sessions cannot be opened")]
    SessionListeners(#[source] sessions::SessionError),
    /// The default session cannot be created.
    #[error("the default session could not be made")]
    DefaultSession(#[source] sessions::SessionError),
}

/// The running data path. Dropping it stops it at once.
pub struct Running {
    addresses: Vec<SocketAddr>,
    drain: watch::Sender<bool>,
    deadline: watch::Sender<Option<Instant>>,
    slots: Arc<ConnectionSlots>,
    self_address: Arc<SelfAddress>,
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still active at the deadline and were terminated.
    pub cut: usize,
}

impl Running {
    /// The bound addresses, with the actual ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The addresses that no request may go to.
    pub fn self_address(&self) -> Arc<SelfAddress> {
        self.self_address.clone()
    }

    /// Open downstream connections.
    pub fn connections(&self) -> usize {
        self.slots.count()
    }

    /// Stops accepting, lets active exchanges finish, and terminates them after `limit`. Blocks until all are over.
    pub fn drain(mut self, limit: Duration) -> Drained {
        self.deadline.send_replace(Some(Instant::now() + limit));
        self.drain.send_replace(true);
        let mut cut = 0;
        let end = Instant::now() + limit;
        while self.threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        if self.threads.iter().any(|thread| !thread.is_finished()) {
            cut = self.connections();
        }
        self.join();
        Drained { cut }
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log_limited!(error, "a thread of the data path panicked");
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.deadline.send_replace(Some(Instant::now()));
        self.drain.send_replace(true);
        self.join();
    }
}

/// Binds and serves.
///
/// # Errors
/// [`StartError`]; no listener is open then.
pub fn start(parts: Parts) -> Result<Running, StartError> {
    let listeners: Vec<Bound> = parts.config.listen.iter().map(bind).collect::<Result<_, _>>()?;
    if let Some(folder) = &parts.config.session_listeners {
        let has_shared_socket = parts.config.listen.iter().any(|listen| matches!(listen, Listen::Unix { .. }));
        let max = parts.config.limits.max_session_listeners;
        let opened = parts.sessions.open_channels(folder, max, has_shared_socket, clock::now());
        opened.map_err(StartError::SessionListeners)?;
    }
    let addresses = listeners.iter().filter_map(|bound| bound.address().transpose()).collect::<Result<Vec<_>, _>>();
    let addresses = addresses.map_err(StartError::System)?;
    let (drain, draining) = watch::channel(false);
    let (deadline, deadlines) = watch::channel(None);
    let stopped = Arc::new(AtomicBool::new(false));
    let proxy = Arc::new(proxy(parts, addresses.clone(), draining, stopped.clone())?);
    let mut running = Running {
        addresses,
        drain,
        deadline,
        slots: proxy.slots.clone(),
        self_address: proxy.self_address.clone(),
        stopped,
        threads: Vec::new(),
    };
    for number in 0..proxy.config.threads.max(1) {
        let duplicates =
            listeners.iter().map(Bound::try_clone).collect::<Result<_, _>>().map_err(StartError::System)?;
        running.threads.push(spawn(number, proxy.clone(), duplicates, deadlines.clone())?);
    }
    Ok(running)
}

/// Creates the state that all cores share.
///
/// # Errors
/// The default session cannot be created.
pub(crate) fn proxy(
    parts: Parts,
    listening: Vec<SocketAddr>,
    draining: watch::Receiver<bool>,
    stopped: Arc<AtomicBool>,
) -> Result<Proxy, StartError> {
    let default_session = match &parts.config.default_session {
        None => None,
        Some(default) => {
            let new = NewSession {
                policies: default.policies.clone(),
                grants: default
                    .credentials
                    .iter()
                    .map(|id| GrantRequest {
                        credential: id.clone(),
                        env: None,
                        prefix: None,
                        bounds: sessions::Bounds::default(),
                        audience: parts.vault.shape(&TenantId::default(), id).map(|shape| shape.audience().clone()),
                    })
                    .collect(),
                ..NewSession::default()
            };
            Some(parts.sessions.default_session(new, clock::now()).map_err(StartError::DefaultSession)?)
        }
    };
    let self_address = Arc::new(SelfAddress::new(listening, parts.config.own_names.clone()));
    let limits = Arc::new(parts.config.limits.clone());
    parts.journal.bound_refusals(refusal_budget(&limits));
    Ok(Proxy {
        counters: Counters::default(),
        lookups: Lookups::new(limits.max_lookups),
        slot_bodies: Budget::new(limits.max_slot_bodies_bytes, limits.max_session_slot_bodies_bytes),
        needles: HostNeedles::new(parts.vault.clone()),
        quotas: Quotas::new(limits.clone()),
        slots: ConnectionSlots::new(limits.clone()),
        turned_away: Arc::new(Semaphore::new(MAX_TURNED_AWAY)),
        limits,
        config: parts.config,
        sessions: parts.sessions,
        policies: parts.policies,
        vault: parts.vault,
        leaves: parts.leaves,
        trust: parts.trust,
        journal: parts.journal,
        default_session,
        self_address,
        draining,
        stopped,
    })
}

fn refusal_budget(limits: &Limits) -> RefusalBudget {
    RefusalBudget {
        session: limits.max_refusal_records,
        source: limits.max_source_refusal_records,
        strangers: limits.max_stranger_refusal_records,
        interval_seconds: i64::try_from(limits.refusal_interval.as_secs()).unwrap_or(i64::MAX),
    }
}

fn bind(listen: &Listen) -> Result<Bound, StartError> {
    Bound::new(listen).map_err(|source| StartError::Listen { address: listen.clone(), source })
}

fn spawn(
    number: usize,
    proxy: Arc<Proxy>,
    listeners: Vec<Bound>,
    deadlines: watch::Receiver<Option<Instant>>,
) -> Result<JoinHandle<()>, StartError> {
    let share = Share { core: number, cores: proxy.config.threads.max(1) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::System)?;
    let core = runtime.block_on(async { core(proxy) }).map_err(StartError::System)?;
    std::thread::Builder::new()
        .name(format!("egret-core-{number}"))
        .spawn(move || {
            (core.proxy.config.on_thread_start)();
            runtime.block_on(serve(core, share, listeners, deadlines));
            // Tasks of upstream connections end with the runtime.
            runtime.shutdown_background();
        })
        .map_err(StartError::System)
}

/// Creates the state of one core; no task runs on it yet.
///
/// # Errors
/// The resolver's settings are unusable.
pub(crate) fn core(proxy: Arc<Proxy>) -> io::Result<Arc<Core>> {
    let Config { limits, .. } = &proxy.config;
    // Half of a session's limit is reserved for connections in use, on any core.
    let idle_of_session = limits.max_session_upstreams / (2 * proxy.config.threads.max(1));
    let pool = Pool::new(limits.max_idle_upstreams, idle_of_session.max(1), limits.upstream_keep_alive);
    let dialer = Dialer::new(limits)?;
    Ok(Arc::new(Core { proxy, pool, dialer, active: Arc::default(), shares: Shares::new() }))
}

/// One core: accepts until the drain begins, then waits for active connections.
async fn serve(core: Arc<Core>, share: Share, listeners: Vec<Bound>, mut deadlines: watch::Receiver<Option<Instant>>) {
    let listeners: io::Result<Vec<Listener>> = listeners.into_iter().map(Listener::new).collect();
    let listeners = match listeners {
        Ok(listeners) => listeners,
        Err(error) => return log_limited!(error, %error, "a listener could not be used"),
    };
    let mut connections = JoinSet::new();
    let (sender, mut connected) = mpsc::channel(MAX_CONNECTED);
    let mut accepting = JoinSet::new();
    accepting.spawn(accept_all(core.proxy.sessions.clone(), share, sender));
    tokio::spawn(release_deferred(core.shares.clone()));
    let mut looking = std::pin::pin!(reevaluate(core.proxy.clone(), core.active.clone()));
    let mut sweep = tokio::time::interval(Duration::from_secs(1));
    let mut draining = core.proxy.draining.clone();
    loop {
        tokio::select! {
            (stream, channel) = next(&listeners, &mut connected) => drop(match accept::accept(&core.proxy, stream, channel) {
                Ok(downstream) => connections.spawn(core.shares.of_stranger(connection(core.clone(), downstream))),
                Err(turned_away) => connections.spawn(core.shares.of_stranger(turn_away(core.proxy.clone(), turned_away))),
            }),
            Some(ended) = connections.join_next(), if !connections.is_empty() => note_panic(ended),
            _ = sweep.tick() => sweep_core(&core),
            () = looking.as_mut() => {}
            _ = draining.wait_for(|draining| *draining) => break,
        }
    }
    drop((listeners, accepting, connected));
    let limit = deadlines.wait_for(Option::is_some).await.ok().and_then(|at| *at).unwrap_or_else(Instant::now);
    let finished = async {
        loop {
            tokio::select! {
                ended = connections.join_next() => match ended {
                    Some(ended) => note_panic(ended),
                    None => return,
                },
                () = looking.as_mut() => {}
            }
        }
    };
    if tokio::time::timeout_at(limit.into(), finished).await.is_err() {
        // Dropping the tasks closes their records, which read the reason from this flag.
        core.proxy.stopped.store(true, Ordering::Relaxed);
    }
    drop(connections);
    tokio::task::yield_now().await;
}

fn note_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        log_limited!(error, "a connection ended by a panic");
    }
}

fn sweep_core(core: &Core) {
    let now = clock::now();
    let live = |id: &SessionId| {
        let default = core.proxy.default_session.as_ref().is_some_and(|client| client.session().id == *id);
        default || core.proxy.sessions.get(id).is_some_and(|session| session.is_live(now))
    };
    core.pool.sweep(core.proxy.trust.load().serial(), live);
    core.dialer.sweep(live);
    core.proxy.quotas.sweep(live);
    core.proxy.counters.sweep(live);
    core.proxy.lookups.sweep();
    core.proxy.journal.settle_refusals();
}

/// The next connection of any listener. Without free descriptors it waits briefly and continues, because ending connections
/// free some.
async fn next(listeners: &[Listener], connected: &mut mpsc::Receiver<Connected>) -> Connected {
    loop {
        let accepted = std::future::poll_fn(|cx| {
            if let Poll::Ready(Some(connected)) = connected.poll_recv(cx) {
                return Poll::Ready(Ok(connected));
            }
            let ready = listeners.iter().map(|listener| listener.poll_accept(cx)).find(Poll::is_ready);
            ready.unwrap_or(Poll::Pending)
        });
        match accepted.await {
            Ok(connected) => return connected,
            Err(error) => {
                log_limited!(warn, %error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
