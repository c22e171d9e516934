//! The data path of Egret: the policy enforcement point.
//!
//! [`start`] binds the listeners and serves until [`Running::drain`]. A request follows one straight line. `connection.rs` is
//! the half that belongs to a connection, and `exchange.rs` the half that belongs to a request. `steps/` holds one file per
//! step.

mod active;
mod basic;
mod body;
mod config;
mod connection;
mod contain;
mod context;
mod credentials;
mod downlink;
mod entry;
mod exchange;
mod facts;
#[cfg(test)]
mod fed;
mod flow;
mod forward_writes;
mod held;
mod hop_by_hop;
mod http1;
mod http2;
mod limits;
mod message;
mod own_fields;
mod passthrough;
mod permitted;
mod refusal;
mod request;
mod rules;
mod server;
mod share;
mod status;
mod steps;
mod termination;
#[cfg(test)]
mod testing;
mod trail;
mod tunnel;
mod upstream;
mod wake_gate;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use audit::Journal;
use certs::{Leaves, Trust};
use policies::InForce;
use sessions::{Identified, Registry};
use tokio::sync::{Semaphore, watch};
use vault::Vault;

pub use config::{Config, DefaultSession, Limits};
pub use entry::listener::Listen;
pub use server::{Drained, Running, StartError, start};
pub use upstream::self_address::SelfAddress;

/// The dependencies of the data path; complete before it starts.
pub struct Parts {
    /// Bounds and addresses.
    pub config: Config,
    /// The registry of sessions.
    pub sessions: Arc<Registry>,
    /// The policies in force: the snapshot of all files, and the documents of each session.
    pub policies: Arc<InForce>,
    /// Credentials.
    pub vault: Arc<Vault>,
    /// Leaf certificates for clients.
    pub leaves: Arc<Leaves>,
    /// Trust anchors for upstreams.
    pub trust: Arc<ArcSwap<Trust>>,
    /// The audit journal.
    pub journal: Journal,
}

/// The state that all cores share.
pub(crate) struct Proxy {
    pub(crate) config: Config,
    pub(crate) limits: Arc<Limits>,
    pub(crate) sessions: Arc<Registry>,
    pub(crate) policies: Arc<InForce>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) leaves: Arc<Leaves>,
    pub(crate) trust: Arc<ArcSwap<Trust>>,
    pub(crate) journal: Journal,
    pub(crate) default_session: Option<Identified>,
    pub(crate) slots: Arc<entry::slots::ConnectionSlots>,
    /// Connections that were refused a slot, and linger until the client has the answer.
    pub(crate) turned_away: Arc<Semaphore>,
    pub(crate) self_address: Arc<SelfAddress>,
    pub(crate) draining: watch::Receiver<bool>,
    pub(crate) stopped: Arc<AtomicBool>,
    /// Counters of requests, for limits.
    pub(crate) counters: limits::counters::Counters,
    /// Name lookups in progress.
    pub(crate) lookups: upstream::lookups::Lookups,
    /// Memory for bodies that are buffered for their slots.
    pub(crate) slot_bodies: Arc<limits::budget::Budget>,
    /// The values to mask in responses, by host.
    pub(crate) needles: body::known::HostNeedles,
    /// The limits of a session at once, and per minute.
    pub(crate) quotas: Arc<limits::quota::Quotas>,
}

impl Proxy {
    /// Whether the deadline of the drain has passed, so that active exchanges were terminated.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Resolves when Egret begins to drain.
    pub(crate) async fn draining(&self) {
        let mut draining = self.draining.clone();
        if draining.wait_for(|draining| *draining).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The state of one core. Cores share only state that rarely changes.
pub(crate) struct Core {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) pool: Arc<upstream::pool::Pool>,
    pub(crate) dialer: upstream::dial::Dialer,
    pub(crate) active: Arc<active::ActiveExchanges>,
    pub(crate) shares: Arc<share::Shares>,
}
