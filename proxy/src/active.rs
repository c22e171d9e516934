//! Active exchanges and tunnels, and their termination when their permit ends.
//!
//! A permit is valid while its rule is in force, and while the current policies would grant it again with the credentials attached to the
//! request. Each core re-evaluates its own exchanges four times a second, if a newer snapshot or the time may have changed the result. It
//! terminates the exchanges that would now be refused. A body sees this at its next poll, because the termination wakes it. If a client
//! does not read, that poll never comes; its connection is closed a quarter of a second later.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use certs::{Trust, VerifiedChain};
use model::{Destination, PolicyName, RequestPath, RuleId, Timestamp};
use policies::{ConnectQuery, Denied, Permit, Question, Rules};
use sessions::Identified;
use slab::Slab;
use tokio::time::Instant;

use crate::Proxy;
use crate::context::Exchange;
use crate::credentials::access::IssuedCredential;
use crate::downlink::Downlink;
use crate::flow::Flow;
use crate::rules;
use crate::termination::Termination;

/// How often a core re-evaluates its active exchanges.
pub(crate) const PERIOD: Duration = Duration::from_millis(250);

/// How many are re-evaluated before other tasks get their turn.
const AT_ONCE: usize = 1_000;

/// Refines the code of an exchange whose rule has ended or was removed, while another rule would allow the request.
const RULE_ENDED: &str = "rule_ended";

/// Refines the code of an exchange whose client's token was replaced.
pub(crate) const REPLACED_TOKEN: &str = "replaced_token";

/// Refines the code of an exchange whose upstream was verified by a CA that is no longer trusted.
const CA_REMOVED: &str = "ca_removed";

/// The request or tunnel that the permit was given for.
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

/// The rule that gave the permit; without a rule, the policy in observe mode.
struct GrantedBy {
    policy: PolicyName,
    rule: Option<RuleId>,
}

/// An active exchange or tunnel; it ends when its last holder is dropped.
pub(crate) struct ActiveExchange {
    /// The list that it is in, and its key there.
    listed: (Arc<ActiveExchanges>, usize),
    client: Identified,
    destination: Destination,
    asked: Asked,
    granted_by: GrantedBy,
    /// The credentials attached to it.
    lent: OnceLock<Vec<IssuedCredential>>,
    /// How its upstream was verified.
    chain: Mutex<Option<Arc<VerifiedChain>>>,
    /// When the permit ends, by the latest evaluation.
    until: Mutex<Option<Timestamp>>,
    /// The progress of its bodies, and their termination.
    flow: Arc<Flow>,
    /// The connection or stream that it arrived on. It is closed if the client's inactivity hides the termination.
    downlink: Arc<Downlink>,
}

impl ActiveExchange {
    /// The progress of its bodies, and their termination.
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

    /// Notes the credentials attached to it, once, and returns them. Terminates it if one was revoked at this moment.
    pub(crate) fn note_credentials(&self, proxy: &Proxy, lent: Vec<IssuedCredential>) -> &[IssuedCredential] {
        if !lent.is_empty() && self.lent.set(lent).is_ok() {
            self.end_if_revoked(proxy);
        }
        self.lent.get().map_or(&[], |lent| lent)
    }

    /// An exchange may finish with a credential that was rotated since, but not with a revoked one.
    fn end_if_revoked(&self, proxy: &Proxy) {
        let revoked = |one: &IssuedCredential| {
            proxy.vault.is_revoked(&self.client.session().tenant, &one.used.name, one.used.version)
        };
        if self.lent.get().is_some_and(|lent| lent.iter().any(revoked)) {
            self.end(denied(model::Reason::CredentialUnavailable));
        }
    }

    /// An issued credential has to be returned: its time is over, its tool call has ended, or the session lost it.
    fn end_if_owed(&self, now: Timestamp) {
        let owed = |one: &IssuedCredential| {
            let over = one.until.is_some_and(|until| until <= now);
            over || !self.client.session().still_lends(&one.used.name, one.call)
        };
        if self.lent.get().is_some_and(|lent| lent.iter().any(owed)) {
            self.end(denied(model::Reason::CredentialUnavailable));
        }
    }

    /// Notes how its upstream was verified, and terminates it if that is no longer trusted. The trust may have been replaced since
    /// the handshake, after the periodic check of active exchanges.
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

    /// Terminates it because of its content.
    pub(crate) fn end_for(&self, reason: model::Reason) {
        self.end(denied(reason));
    }

    /// Its client may not go on. On a connection with requests in absolute form, each request can have its own proof, so the end
    /// of the connection's first client does not end it.
    fn end_if_client_ended(&self, now: Timestamp) {
        if !self.client.is_live(now) {
            let class = self.client.token_is_replaced().then_some(REPLACED_TOKEN);
            self.end(Denied { class, ..denied(model::Reason::SessionEnded) });
        }
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

    /// Re-evaluates it: it continues until the end that the current policies set, or is terminated.
    fn review(&self, proxy: &Proxy, now: Timestamp) {
        match self.judge(proxy, now) {
            Ok(until) => *model::sync::lock(&self.until) = until,
            Err(denied) => self.end(denied),
        }
    }

    /// The verdict of the current policies: until when it may continue.
    fn judge(&self, proxy: &Proxy, now: Timestamp) -> Result<Option<Timestamp>, Denied> {
        let Ok(rules) = rules::in_force(proxy, self.client.session()) else { return Err(unavailable()) };
        let permit = self.permit(&rules, now)?;
        let GrantedBy { policy, rule } = &self.granted_by;
        // Another rule may allow the same request with other credentials, limits and headers. An exchange that began under
        // this rule ends with it.
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

/// The session's policies are gone, or contradict each other now.
fn unavailable() -> Denied {
    denied(model::Reason::PolicyUnavailable)
}

/// A tunnel passed through unread; its bytes must now be read.
fn must_be_read() -> Denied {
    denied(model::Reason::ProtocolNotAllowed)
}

fn denied(reason: model::Reason) -> Denied {
    Denied { reason, rule: None, policy: None, author_message: None, approval_timeout: None, class: None }
}

/// The active exchanges and tunnels of one core.
#[derive(Default)]
pub(crate) struct ActiveExchanges {
    /// An exchange that ends is removed at once, so that the next one can reuse its memory.
    all: Mutex<Slab<Weak<ActiveExchange>>>,
}

impl Drop for ActiveExchange {
    fn drop(&mut self) {
        let (live, key) = &self.listed;
        drop(live.all().try_remove(*key));
    }
}

impl ActiveExchanges {
    /// Adds an exchange or tunnel, with its permit and the connection it arrived on, for as long as the returned value
    /// is held.
    pub(crate) fn add(self: &Arc<Self>, exchange: Exchange<'_>, asked: Asked, permit: &Permit) -> Arc<ActiveExchange> {
        let granted_by = GrantedBy { policy: permit.policy().clone(), rule: permit.rule().cloned() };
        let mut all = self.all();
        let entry = all.vacant_entry();
        let active = Arc::new(ActiveExchange {
            listed: (self.clone(), entry.key()),
            client: exchange.client.clone(),
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

/// Re-evaluates the active exchanges of this core, for as long as it is polled.
///
/// # Cancellation
/// No exchange is terminated any more.
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
        // Verifying a chain of certificates takes longer than all other work here.
        let at_once = if trust_changed { AT_ONCE / 20 } else { AT_ONCE };
        let (now, instant) = (clock::now(), Instant::now());
        for (place, active) in live.active().into_iter().enumerate() {
            if active.termination().is_some() {
                // Its client does not read, so no poll ended it.
                active.downlink.notify_one();
            } else {
                if credentials_changed {
                    active.end_if_revoked(&proxy);
                }
                if trust_changed {
                    active.end_if_distrusted(&trust);
                }
                active.end_if_client_ended(now);
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
