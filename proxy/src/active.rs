//! Exchanges and tunnels that are under way, and their end when what allowed them is over.
//!
//! A permit is good for as long as its rule is in force, and for as long as the policies in force would give it again, with the
//! credentials that went on the request. Each core looks after its own: four times a second it judges again what a newer
//! snapshot or the time may have changed, and cuts what would now be refused. Who streams finds out at the next poll, since the cut wakes it; where a client that does not read
//! keeps that poll from coming, its connection is closed a quarter of a second later.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use certs::{Trust, VerifiedChain};
use model::{Destination, PolicyName, RequestPath, RuleId, Timestamp};
use policies::{ConnectQuery, Denied, Permit, Question, Rules};
use sessions::Session;
use slab::Slab;
use tokio::time::Instant;

use crate::Proxy;
use crate::context::Exchange;
use crate::credentials::access::IssuedCredential;
use crate::downlink::Downlink;
use crate::flow::Flow;
use crate::rules;
use crate::termination::Termination;

/// How often a core looks at what is under way.
pub(crate) const PERIOD: Duration = Duration::from_millis(250);

/// How many are judged before others get their turn.
const AT_ONCE: usize = 1_000;

/// Refines the code of an exchange whose rule has ended or is gone, where another rule would allow the request.
const RULE_ENDED: &str = "rule_ended";

/// Refines the code of an exchange whose upstream was verified by a CA that is trusted no more.
const CA_REMOVED: &str = "ca_removed";

/// What was asked when the permit was given.
pub(crate) enum Asked {
    /// One request.
    Request {
        /// Its method, as sent.
        method: http::Method,
        /// Its path, in both readings.
        path: RequestPath,
        /// Whether it asks for a WebSocket.
        websocket: bool,
        /// The tool call that it belonged to.
        tool: Option<Arc<str>>,
    },
    /// A tunnel whose bytes are not read.
    Tunnel,
}

/// The rule that gave the permit; without a rule, the policy that observes.
struct GrantedBy {
    policy: PolicyName,
    rule: Option<RuleId>,
}

/// One exchange or tunnel that is under way; it ends when the last holder drops it.
pub(crate) struct ActiveExchange {
    /// Where it is listed, and under which key.
    listed: (Arc<ActiveExchanges>, usize),
    session: Arc<Session>,
    destination: Destination,
    asked: Asked,
    granted_by: GrantedBy,
    /// The credentials that went on it.
    lent: OnceLock<Vec<IssuedCredential>>,
    /// What the upstream that it is sent to was verified by.
    chain: Mutex<Option<Arc<VerifiedChain>>>,
    /// When the permit ends, by the policies that judged it last.
    until: Mutex<Option<Timestamp>>,
    /// How its bodies move, and what terminates it.
    flow: Arc<Flow>,
    /// The connection or stream that it came on, which is closed where its client keeps the cut from being seen.
    downlink: Arc<Downlink>,
}

impl ActiveExchange {
    /// How its bodies move, and what terminates it.
    pub(crate) fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }

    /// Why it is terminated, if it is.
    pub(crate) fn termination(&self) -> Option<&Termination> {
        self.flow.termination()
    }

    /// Terminates it, in both directions. The first reason counts.
    pub(crate) fn terminate(&self, termination: Termination) {
        self.flow.terminate(termination);
    }

    /// Resolves once it is terminated.
    ///
    /// # Cancellation
    /// Leaves nothing behind.
    pub(crate) async fn terminated(&self) -> Termination {
        std::future::poll_fn(|cx| self.flow.poll_terminated(cx)).await
    }

    /// Notes the credentials that go on it; where one was revoked in this very moment, it is cut.
    pub(crate) fn lend(&self, proxy: &Proxy, lent: Vec<IssuedCredential>) {
        if !lent.is_empty() && self.lent.set(lent).is_ok() {
            self.end_if_revoked(proxy);
        }
    }

    /// A credential that was rotated may finish what began with it; one that was revoked may not.
    fn end_if_revoked(&self, proxy: &Proxy) {
        let revoked =
            |one: &IssuedCredential| proxy.vault.is_revoked(&self.session.tenant, &one.used.name, one.used.version);
        if self.lent.get().is_some_and(|lent| lent.iter().any(revoked)) {
            self.end(denied(model::Reason::CredentialUnavailable));
        }
    }

    /// What was lent has to come back: its time is over, its tool call has ended, or the session lost it.
    fn end_if_owed(&self, now: Timestamp) {
        let owed = |one: &IssuedCredential| {
            let over = one.until.is_some_and(|until| until <= now);
            over || !self.session.still_lends(&one.used.name, one.call)
        };
        if self.lent.get().is_some_and(|lent| lent.iter().any(owed)) {
            self.end(denied(model::Reason::CredentialUnavailable));
        }
    }

    /// Notes what the upstream that it is sent to was verified by; where that is not trusted any more, it is cut. The trust may have
    /// been replaced since the handshake, and the look at what is under way may have passed already.
    pub(crate) fn relies_on(&self, proxy: &Proxy, chain: Option<Arc<VerifiedChain>>) {
        *model::sync::lock(&self.chain) = chain;
        self.end_if_distrusted(&proxy.trust.load());
    }

    fn end_if_distrusted(&self, trust: &Trust) {
        let chain = model::sync::lock(&self.chain).clone();
        if chain.is_some_and(|chain| !trust.still_verifies(&chain)) {
            self.end(Denied { class: Some(CA_REMOVED), ..denied(model::Reason::UpstreamTls) });
        }
    }

    /// Ends it for something that was found in it.
    pub(crate) fn end_for(&self, reason: model::Reason) {
        self.end(denied(reason));
    }

    fn end_if_timed_out(&self, now: Instant) {
        if let Some(timer) = self.flow.fired(now) {
            self.terminate(timer.into());
        }
    }

    fn end(&self, denied: Denied) {
        self.terminate(Termination::Denied(denied));
    }

    fn is_over(&self, now: Timestamp) -> bool {
        model::sync::lock(&self.until).is_some_and(|until| until <= now)
    }

    /// Judges it again: it goes on until the end that the policies in force give it, or is cut.
    fn review(&self, proxy: &Proxy, now: Timestamp) {
        match self.judge(proxy, now) {
            Ok(until) => *model::sync::lock(&self.until) = until,
            Err(denied) => self.end(denied),
        }
    }

    /// What the policies in force say of it now: until when it may go on.
    fn judge(&self, proxy: &Proxy, now: Timestamp) -> Result<Option<Timestamp>, Denied> {
        let Ok(rules) = rules::in_force(proxy, &self.session) else { return Err(unavailable()) };
        let permit = self.permit(&rules, now)?;
        let GrantedBy { policy, rule } = &self.granted_by;
        // Another rule may allow the same, with other credentials, limits and headers: what began under this one ends with it.
        if !rules.still_has(policy, rule.as_ref(), now) {
            let (rule, policy) = (rule.clone(), Some(policy.clone()));
            return Err(Denied { rule, policy, class: Some(RULE_ENDED), ..denied(model::Reason::DeniedPath) });
        }
        let lent = self.lent.get().map_or(&[][..], |lent| lent);
        if lent.iter().any(|one| !permit.credentials().contains(&one.used.name)) {
            return Err(denied(model::Reason::CredentialUnavailable));
        }
        Ok(permit.until())
    }

    fn permit(&self, rules: &Arc<Rules>, now: Timestamp) -> Result<Permit, Denied> {
        let (host, port) = (self.destination.host(), self.destination.port());
        match &self.asked {
            Asked::Tunnel => match rules.decide(&ConnectQuery { host, port, now })? {
                policies::Passage::Tunnel(permit) => Ok(permit),
                policies::Passage::Intercept => Err(must_be_read()),
            },
            Asked::Request { method, path, websocket, tool } => rules.authorize(&Question {
                destination: &self.destination,
                method: method.as_str(),
                path,
                websocket: *websocket,
                tool: tool.as_deref(),
                now,
            }),
        }
    }
}

/// The session's policies are gone, or contradict each other by now.
fn unavailable() -> Denied {
    denied(model::Reason::PolicyUnavailable)
}

/// What was passed through unread must now be read.
fn must_be_read() -> Denied {
    denied(model::Reason::ProtocolNotAllowed)
}

fn denied(reason: model::Reason) -> Denied {
    Denied { reason, rule: None, policy: None, author_message: None, approval_timeout: None, class: None }
}

/// What is under way on one core.
#[derive(Default)]
pub(crate) struct ActiveExchanges {
    /// An exchange that ends is taken out at once: the memory that it leaves is what the next one gets.
    all: Mutex<Slab<Weak<ActiveExchange>>>,
}

impl Drop for ActiveExchange {
    fn drop(&mut self) {
        let (live, key) = &self.listed;
        drop(live.all().try_remove(*key));
    }
}

impl ActiveExchanges {
    /// Adds an exchange or tunnel, with its permit and what it came on, for as long as what is given back is held.
    pub(crate) fn add(self: &Arc<Self>, exchange: Exchange<'_>, asked: Asked, permit: &Permit) -> Arc<ActiveExchange> {
        let granted_by = GrantedBy { policy: permit.policy().clone(), rule: permit.rule().cloned() };
        let mut all = self.all();
        let entry = all.vacant_entry();
        let active = Arc::new(ActiveExchange {
            listed: (self.clone(), entry.key()),
            session: exchange.session().clone(),
            destination: exchange.destination.clone(),
            asked,
            granted_by,
            lent: OnceLock::new(),
            chain: Mutex::default(),
            until: Mutex::new(permit.until()),
            flow: exchange.flow.clone(),
            downlink: exchange.downlink.clone(),
        });
        entry.insert(Arc::downgrade(&active));
        active
    }

    fn active(&self) -> Vec<Arc<ActiveExchange>> {
        self.all().iter().filter_map(|(_, active)| active.upgrade()).collect()
    }

    fn all(&self) -> MutexGuard<'_, Slab<Weak<ActiveExchange>>> {
        model::sync::lock(&self.all)
    }
}

/// Looks after what is under way on this core, for as long as it is polled.
///
/// # Cancellation
/// Nothing is cut any more.
pub(crate) async fn reevaluate(proxy: Arc<Proxy>, live: Arc<ActiveExchanges>) {
    let mut tick = tokio::time::interval(PERIOD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut seen = proxy.policies.snapshot();
    let mut vault_seen = proxy.vault.generation();
    let mut trust_seen = proxy.trust.load().serial();
    loop {
        tick.tick().await;
        let current = proxy.policies.snapshot();
        let changed = !Arc::ptr_eq(&seen, &current);
        seen = current;
        let vault_now = proxy.vault.generation();
        let credentials_changed = std::mem::replace(&mut vault_seen, vault_now) != vault_now;
        let trust = proxy.trust.load_full();
        let trust_changed = std::mem::replace(&mut trust_seen, trust.serial()) != trust.serial();
        // A chain of certificates takes longer than anything else here.
        let at_once = if trust_changed { AT_ONCE / 20 } else { AT_ONCE };
        let (now, instant) = (clock::now(), Instant::now());
        for (place, active) in live.active().into_iter().enumerate() {
            if active.termination().is_some() {
                // Its client does not read, so nobody polled what would have ended it.
                active.downlink.notify_one();
            } else {
                if credentials_changed {
                    active.end_if_revoked(&proxy);
                }
                if trust_changed {
                    active.end_if_distrusted(&trust);
                }
                active.end_if_owed(now);
                active.end_if_timed_out(instant);
                if changed || active.is_over(now) {
                    active.review(&proxy, now);
                }
            }
            if place % at_once == at_once - 1 {
                tokio::task::yield_now().await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
