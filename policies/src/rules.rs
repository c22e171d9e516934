//! The rules of one session: those of its policies together.

use std::sync::Arc;

use model::{PolicyName, RuleId, SnapshotDigest, Timestamp};

use crate::index::Index;
use crate::policy::Policy;
use crate::rule::{Effect, Rule};

/// How many ceilings may be over one session.
pub(crate) const MAX_CEILINGS: usize = 8;

/// The rules of one session's policies together: immutable, shared by every exchange of such sessions.
#[derive(Debug)]
pub struct Rules {
    snapshot: SnapshotDigest,
    rules: Vec<Arc<Rule>>,
    /// What the session's own policies allow and ask.
    pub(crate) granting: PolicyLayer,
    /// Every one of these must allow too.
    pub(crate) ceilings: Vec<PolicyLayer>,
    /// Of all of them.
    pub(crate) denies: Index,
    pub(crate) has_pass_through: bool,
    observe_mode: Option<ObserveMode>,
    /// Policies that observe beside others that enforce, each alone.
    pub(crate) observers: Vec<(PolicyName, Arc<Self>)>,
}

/// The allows and asks of policies that are evaluated as one.
#[derive(Debug)]
pub(crate) struct PolicyLayer {
    /// The policy, where it is one; of the session's own, the first.
    pub(crate) policy: PolicyName,
    pub(crate) allows: Index,
    pub(crate) asks: Index,
    /// Those of both that restrict what the request or the client's authentication may be: `limits`, `set`, `client_auth`.
    pub(crate) restricting: Index,
}

/// No policy of the session enforces: requests that no rule allows pass until this time.
#[derive(Debug)]
struct ObserveMode {
    policy: PolicyName,
    until: Timestamp,
}

impl Rules {
    pub(crate) fn new(snapshot: SnapshotDigest, named: Vec<&Policy>, ceilings: Vec<&Policy>) -> Self {
        let enforcing = named.iter().any(|policy| !policy.observe);
        let (observers, speaking): (Vec<&Policy>, Vec<&Policy>) =
            named.into_iter().partition(|policy| enforcing && policy.observe);
        let longest = speaking.iter().filter(|policy| policy.observe).max_by_key(|policy| policy.until);
        let observe_mode =
            longest.and_then(|policy| Some(ObserveMode { policy: policy.name.clone(), until: policy.until? }));
        let observers = observers
            .into_iter()
            .map(|policy| (policy.name.clone(), Arc::new(Self::new(snapshot.clone(), vec![policy], Vec::new()))))
            .collect();

        let mut made = Self {
            snapshot,
            rules: Vec::new(),
            granting: PolicyLayer::of(speaking.first().map(|policy| &policy.name)),
            ceilings: Vec::new(),
            denies: Index::of_denies(),
            has_pass_through: false,
            observe_mode,
            observers,
        };
        let mut own: Vec<&Arc<Rule>> = speaking.iter().flat_map(|policy| &policy.rules).collect();
        own.sort_by(|a, b| (&a.policy, &a.id).cmp(&(&b.policy, &b.id)));
        let mut granting = std::mem::replace(&mut made.granting, PolicyLayer::of(None));
        own.into_iter().for_each(|rule| made.insert(rule, &mut granting));
        made.granting = granting;
        for ceiling in ceilings {
            let mut layer = PolicyLayer::of(Some(&ceiling.name));
            let mut rules: Vec<_> = ceiling.rules.iter().collect();
            rules.sort_by(|a, b| a.id.cmp(&b.id));
            rules.into_iter().for_each(|rule| made.insert(rule, &mut layer));
            made.ceilings.push(layer);
        }
        made
    }

    fn insert(&mut self, rule: &Arc<Rule>, layer: &mut PolicyLayer) {
        let at = self.rules.len();
        if rule.restricts() {
            layer.restricting.insert(at, rule);
        }
        match rule.effect {
            Effect::Allow => layer.allows.insert(at, rule),
            Effect::Ask => layer.asks.insert(at, rule),
            Effect::Deny => self.denies.insert(at, rule),
        }
        self.has_pass_through |= rule.pass_through;
        self.rules.push(Arc::clone(rule));
    }

    /// The digest of the policy set that these rules are from.
    pub fn snapshot(&self) -> &SnapshotDigest {
        &self.snapshot
    }

    /// What the session's own rules allow, one line a rule, for the agent to read. Rules for WebSockets are left out: they are
    /// decided, and not relayed yet.
    pub fn reach(&self) -> Vec<ReachLine> {
        let ceilings: Vec<&PolicyName> = self.ceilings.iter().map(|layer| &layer.policy).collect();
        let grants =
            |rule: &&Arc<Rule>| rule.effect != Effect::Deny && !rule.websocket && !ceilings.contains(&&rule.policy);
        self.rules.iter().filter(grants).map(|rule| ReachLine::of(rule)).collect()
    }

    /// Whether some policy observes beside others that enforce.
    pub fn has_observers(&self) -> bool {
        !self.observers.is_empty()
    }

    /// Whether some rule limits the query of requests to this host.
    pub(crate) fn judges_query_at(&self, host: &model::Host) -> bool {
        self.has_rule_at(host, |rule| rule.query.is_some())
    }

    /// Whether some rule for this host, of any effect, is such a one.
    pub(crate) fn has_rule_at(&self, host: &model::Host, is_such: impl Fn(&Rule) -> bool) -> bool {
        self.rules.iter().any(|rule| is_such(rule) && rule.hosts.iter().any(|pattern| pattern.matches(host)))
    }

    pub(crate) fn rule(&self, at: usize) -> &Arc<Rule> {
        &self.rules[at]
    }

    pub(crate) fn all(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// Whether what no rule allows passes, because no policy of the session enforces.
    pub(crate) fn observes(&self, now: Timestamp) -> bool {
        self.observe_until().is_some_and(|until| now < until)
    }

    /// Whether the rule that gave a permit is still there and has not ended. Without a rule, whether the policy still observes.
    pub fn still_has(&self, policy: &PolicyName, rule: Option<&RuleId>, now: Timestamp) -> bool {
        match rule {
            None => self.observes(now),
            Some(id) => self.rules.iter().any(|rule| rule.id == *id && rule.policy == *policy && rule.is_in_force(now)),
        }
    }

    pub(crate) fn observe_until(&self) -> Option<Timestamp> {
        self.observe_mode.as_ref().map(|mode| mode.until)
    }

    /// The policy by which it passes.
    pub(crate) fn observe_policy(&self) -> &PolicyName {
        self.observe_mode.as_ref().map_or(&self.granting.policy, |mode| &mode.policy)
    }
}

impl PolicyLayer {
    fn of(policy: Option<&PolicyName>) -> Self {
        let policy = policy.cloned().unwrap_or_else(|| PolicyName::new(""));
        Self { policy, allows: Index::default(), asks: Index::default(), restricting: Index::default() }
    }
}

/// What one rule allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReachLine {
    /// The policy of the rule.
    pub policy: PolicyName,
    /// The rule.
    pub rule: RuleId,
    /// Whether an approval is needed first.
    pub asks: bool,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host patterns.
    pub hosts: Vec<String>,
    /// The ports.
    pub ports: Vec<u16>,
    /// The methods; empty where any may be used but CONNECT and TRACE.
    pub methods: Vec<String>,
    /// The path patterns; empty where any path may be asked for.
    pub paths: Vec<String>,
}

impl ReachLine {
    fn of(rule: &Rule) -> Self {
        Self {
            policy: rule.policy.clone(),
            rule: rule.id.clone(),
            asks: rule.effect == Effect::Ask,
            scheme: rule.scheme.unwrap_or(model::Scheme::Https).as_str(),
            hosts: rule.hosts.iter().map(ToString::to_string).collect(),
            ports: rule.ports.iter().flatten().copied().collect(),
            methods: rule.methods.iter().flatten().map(ToString::to_string).collect(),
            paths: rule.paths.iter().flatten().map(ToString::to_string).collect(),
        }
    }
}
