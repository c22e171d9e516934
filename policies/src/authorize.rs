//! May this request pass, with which credentials: a [`Permit`], or why not.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use model::field::same_name;
use model::{
    AddressClass, CredentialId, Destination, Host, PathReading, PolicyName, Reason, RequestPath, RuleId,
    SnapshotDigest, Timestamp, method_overrides,
};

use crate::client_auth::{ClientAuth, Joined};
use crate::combine::{Layer, MAX_CEILINGS, Rules};
use crate::conflict::unequal_header;
use crate::decide::{Denied, is_special};
use crate::index::{Bucket, Door, Entry, Index, Stage};
use crate::query;
use crate::rule::{Effect, Limits, Rule, Timeouts};

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Where the request goes.
    pub destination: &'a Destination,
    /// Its method, as sent.
    pub method: &'a str,
    /// Its path, in every reading, and its query.
    pub path: &'a RequestPath,
    /// Whether it asks for a WebSocket.
    pub websocket: bool,
    /// The tool call that it belongs to, where it is known.
    pub tool: Option<&'a str>,
    /// When it is asked.
    pub now: Timestamp,
}

/// The proof that one request may go. Only [`Rules`] makes one; cloning it copies a reference.
#[derive(Clone, Debug)]
pub struct Permit {
    rules: Arc<Rules>,
    basis: Basis,
    ceilings: [usize; MAX_CEILINGS],
    ceiling_count: usize,
    /// Every rule that matches and restricts, of the session's own policies and of each ceiling. No two of them set one header to
    /// different values.
    restricting: RuleList,
}

/// How many rules a [`RuleList`] holds without allocating.
const INLINE_RULES: usize = 8;

/// Rules by their index, each once; the first few are stored inline, so that nearly no request allocates.
#[derive(Clone, Debug, Default)]
pub(crate) struct RuleList {
    inline: [usize; INLINE_RULES],
    count: usize,
    more: Vec<usize>,
}

impl RuleList {
    fn add(&mut self, rule: usize) {
        if self.iter().any(|own| own == rule) {
            return;
        }
        match self.inline.get_mut(self.count) {
            Some(free) => {
                *free = rule;
                self.count += 1;
            }
            None => self.more.push(rule),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + Clone {
        self.inline.iter().take(self.count).chain(&self.more).copied()
    }
}

#[derive(Clone, Debug)]
enum Basis {
    Rule(usize),
    /// No rule allows it; a policy observes.
    Observed(Box<Denied>),
}

impl Permit {
    pub(crate) fn new(rules: &Arc<Rules>, rule: usize) -> Self {
        Self {
            rules: Arc::clone(rules),
            basis: Basis::Rule(rule),
            ceilings: [0; MAX_CEILINGS],
            ceiling_count: 0,
            restricting: RuleList::default(),
        }
    }

    /// Notes one more rule that matches and restricts.
    ///
    /// # Errors
    /// The request is ambiguous where the rule sets a header to another value than one that was noted before. Rules that match one
    /// reading of a request never do: `compile` and the combination of a session refuse that. Rules of different readings can.
    pub(crate) fn restrict(&mut self, rule: usize) -> Result<(), Denied> {
        let new = self.rules.rule(rule);
        if !new.set.is_empty() && self.restricting().any(|other| unequal_header(new, other).is_some()) {
            return Err(Denied::ambiguous());
        }
        self.restricting.add(rule);
        Ok(())
    }

    /// Whether another permit of the same rules gives and restricts the same.
    fn is_same(&self, other: &Self) -> bool {
        let all = |one: &Self, in_other: &Self| {
            one.restricting.iter().all(|rule| in_other.restricting.iter().any(|own| own == rule))
        };
        self.places() == other.places() && all(self, other) && all(other, self)
    }

    /// Every rule that matches and restricts: `set`, `client_auth` and `limits` of all of them apply together.
    fn restricting(&self) -> impl Iterator<Item = &Rule> + Clone {
        self.restricting.iter().map(|rule| &**self.rules.rule(rule))
    }

    /// The same, by index.
    pub(crate) fn restricting_rules(&self) -> &RuleList {
        &self.restricting
    }

    /// Notes the rule by which one more ceiling allows.
    pub(crate) fn add_ceiling(&mut self, rule: usize) {
        self.ceilings[self.ceiling_count] = rule;
        self.ceiling_count += 1;
    }

    fn granting(&self) -> Option<&Rule> {
        match self.basis {
            Basis::Rule(rule) => Some(self.rules.rule(rule)),
            Basis::Observed(_) => None,
        }
    }

    /// The places of the rule that allows and of those by which each ceiling does.
    pub(crate) fn places(&self) -> (Option<usize>, &[usize]) {
        let rule = match self.basis {
            Basis::Rule(rule) => Some(rule),
            Basis::Observed(_) => None,
        };
        (rule, self.ceilings.get(..self.ceiling_count).unwrap_or_default())
    }

    /// The rules by which each ceiling allows.
    fn ceilings(&self) -> impl Iterator<Item = &Rule> {
        self.ceilings.iter().take(self.ceiling_count).map(|rule| &**self.rules.rule(*rule))
    }

    /// The rule that allows; `None` where none does and a policy observes.
    pub fn rule(&self) -> Option<&RuleId> {
        self.granting().map(|rule| &rule.id)
    }

    /// The policy of that rule, or the one that observes.
    pub fn policy(&self) -> &PolicyName {
        self.granting().map_or_else(|| self.rules.observing(), |rule| &rule.policy)
    }

    /// What would have been refused, where the request passes only because a policy observes.
    pub fn observed(&self) -> Option<&Denied> {
        match &self.basis {
            Basis::Rule(_) => None,
            Basis::Observed(denied) => Some(denied),
        }
    }

    /// The policy set that judged.
    pub fn snapshot(&self) -> &SnapshotDigest {
        self.rules.snapshot()
    }

    /// The credentials that may be added here (the rule's `use`), in the order of the file.
    pub fn credentials(&self) -> &[CredentialId] {
        self.granting().map_or(&[], |rule| &rule.credentials)
    }

    /// Whether the data path may dial this address. Without `addresses` every globally routable one; with them
    /// only what they cover, and a metadata service only where it is named exactly. Every ceiling must agree.
    pub fn allows_address(&self, address: IpAddr) -> bool {
        let granted = match self.granting() {
            Some(rule) => rule.allows_address(address),
            None => AddressClass::of(address) == AddressClass::Global,
        };
        granted && self.ceilings().all(|rule| rule.allows_address(address))
    }

    /// How much may pass: the narrowest of every rule that matches, ceilings included.
    pub fn limits(&self) -> Limits {
        self.restricting().fold(Limits::default(), |limits, rule| limits.narrowed(rule.limits))
    }

    /// Every matching rule with limits, ceilings included: each is counted on its own, per session and rule.
    pub fn limited(&self) -> impl Iterator<Item = (&PolicyName, &RuleId, &Limits)> {
        let limited = self.restricting().filter(|rule| !rule.limits.is_empty());
        limited.map(|rule| (&rule.policy, &rule.id, &rule.limits))
    }

    /// The fixed headers of every matching rule, each once, with names in lower case; a permit never holds two values of one.
    pub fn set(&self) -> impl Iterator<Item = (&str, &str)> {
        let earlier = move |at: usize, name: &str| {
            self.restricting().take(at).any(|rule| rule.set.iter().any(|(own, _)| same_name(own, name)))
        };
        self.restricting().enumerate().flat_map(move |(at, rule)| {
            let own = rule.set.iter().map(|(name, value)| (&**name, &**value));
            own.filter(move |(name, _)| !earlier(at, name))
        })
    }

    /// What happens to authentication that the client itself sends.
    pub fn client_auth(&self) -> ClientAuth<'_> {
        ClientAuth(self)
    }

    pub(crate) fn also_names(&self) -> impl Iterator<Item = &str> {
        self.restricting()
            .filter_map(|rule| rule.client_auth.as_ref())
            .flat_map(|own| own.also.iter().map(|name| &**name))
    }

    pub(crate) fn joined_client_auth(&self) -> Joined<'_, impl Iterator<Item = &Rule> + Clone> {
        Joined::new(self.granting(), self.restricting())
    }

    /// Whether some rule for this host names its methods, deny rules and ceilings included: then a field that renames the
    /// method must not pass.
    pub fn judges_method_at(&self, host: &Host) -> bool {
        self.rules.has_rule_at(host, |rule| rule.methods.is_some())
    }

    /// Whether some rule for this host names its paths, deny rules and ceilings included: then a field that names a second path
    /// must not pass.
    pub fn judges_path_at(&self, host: &Host) -> bool {
        self.rules.has_rule_at(host, |rule| rule.paths.is_some())
    }

    /// How long it may wait: the shortest of the rule and the ceilings.
    pub fn timeouts(&self) -> Timeouts {
        let own = self.granting().map(|rule| rule.timeouts).unwrap_or_default();
        self.ceilings().fold(own, |timeouts, rule| timeouts.narrowed(rule.timeouts))
    }

    /// When it ends; what still streams then must be judged again.
    pub fn until(&self) -> Option<Timestamp> {
        let own = match self.granting() {
            Some(rule) => rule.until,
            None => self.rules.observed_until(),
        };
        self.ceilings().filter_map(|rule| rule.until).chain(own).min()
    }
}

impl Rules {
    /// Whether the request may go, and by which rule. Allocates nothing where a rule allows it and nothing in its query is
    /// encoded.
    ///
    /// # Errors
    /// [`Denied`] by a rule that denies in any reading of its path, by one that asks in all of them, or because no rule
    /// allows it in all of them. Where its query asks for another method (`_method`), also by what is said of that one.
    pub fn authorize(self: &Arc<Self>, question: &Question<'_>) -> Result<Permit, Denied> {
        let permit = self.authorize_method(question)?;
        self.authorize_overrides(question, &permit)?;
        Ok(permit)
    }

    /// Frameworks that read `_method` in a query run that method, and which of several they read differs. So where a rule for the
    /// host judges methods, each one has to get the very same as the method of the request.
    fn authorize_overrides(self: &Arc<Self>, question: &Question<'_>, permit: &Permit) -> Result<(), Denied> {
        let methods = question.path.query().map(method_overrides).unwrap_or_default();
        if methods.is_empty() || !permit.judges_method_at(question.destination.host()) {
            return Ok(());
        }
        for method in methods.iter().filter(|method| *method != question.method) {
            if !self.authorize_method(&Question { method, ..*question })?.is_same(permit) {
                return Err(Denied::ambiguous_method());
            }
        }
        Ok(())
    }

    /// The same by the method of the question alone.
    fn authorize_method(self: &Arc<Self>, question: &Question<'_>) -> Result<Permit, Denied> {
        if let Some(rule) = self.denied(question) {
            return Err(Denied::by(self.rule(rule)));
        }
        // Nobody is asked for what a ceiling refuses anyway.
        let mut ask = None;
        let mut permit = match self.granted(&self.granting, question) {
            Ok(rule) => Permit::new(self, rule),
            Err(denied) if self.passes_observed(question) => {
                Permit { basis: Basis::Observed(Box::new(denied)), ..Permit::new(self, 0) }
            }
            Err(denied) if denied.is_ask() => {
                ask = Some(denied);
                Permit::new(self, 0)
            }
            Err(denied) => return Err(denied),
        };
        for ceiling in &self.ceilings {
            match self.granted(ceiling, question) {
                Ok(rule) => permit.add_ceiling(rule),
                Err(denied) if denied.is_ask() => ask = ask.or(Some(denied)),
                Err(denied) if denied.rule.is_some() => return Err(denied),
                Err(denied) => return Err(denied.under(&ceiling.policy)),
            }
        }
        if let Some(ask) = ask {
            return Err(ask);
        }
        for layer in std::iter::once(&self.granting).chain(&self.ceilings) {
            for path in question.path.readings() {
                let mut restricted = Ok(());
                self.restrictions(layer, question, path, |rule| {
                    if restricted.is_ok() {
                        restricted = permit.restrict(rule);
                    }
                });
                restricted?;
            }
        }
        Ok(permit)
    }

    /// Visits every rule of a layer that matches in this reading of the path and restricts. A rule that names the request less
    /// exactly than the chosen one does not grant anything, but its restrictions apply; so do those of a rule whose parameters
    /// some server would read in the query, however they are spelled and repeated.
    pub(crate) fn restrictions(
        &self,
        layer: &Layer,
        question: &Question<'_>,
        path: PathReading<'_>,
        mut see: impl FnMut(usize),
    ) {
        if layer.restricting.is_empty() {
            return;
        }
        let path = layer.restricting.text(path);
        let _: ControlFlow<()> = layer.restricting.visit(question.destination.host(), |bucket| {
            let entries = bucket.entries(question.destination.port(), path);
            let covers = |entry: &&Entry| {
                self.covers_all_but_query(entry, question, path) && shows_query(self.rule(entry.rule), question)
            };
            entries.filter(covers).for_each(|entry| see(entry.rule));
            ControlFlow::Continue(())
        });
    }

    /// Whether the request passes where no rule allows it, because a policy observes. A deny may be about a path that
    /// is not interpreted, and a deny always refuses.
    pub(crate) fn passes_observed(&self, question: &Question<'_>) -> bool {
        self.observes(question.now) && !is_special(question.destination.host()) && !self.is_unclear(&[], question)
    }

    /// The deny that counts, in any reading.
    pub(crate) fn denied(&self, question: &Question<'_>) -> Option<usize> {
        question.path.readings().find_map(|path| self.best(&self.denies, question, path))
    }

    /// Whether the path is not interpreted, and a deny, or a rule of these layers, is about paths of this host.
    pub(crate) fn is_unclear(&self, layers: &[&Layer], question: &Question<'_>) -> bool {
        let limits = |index: &Index| index.limits_paths(question.destination.host(), question.now);
        question.path.is_ambiguous()
            && (limits(&self.denies) || layers.iter().any(|layer| limits(&layer.allows) || limits(&layer.asks)))
    }

    /// The rule of one layer that allows in every reading of the path. A rule that asks asks only where it is the
    /// same in all of them too: nobody can say yes to what another reading would be refused.
    fn granted(&self, layer: &Layer, question: &Question<'_>) -> Result<usize, Denied> {
        if self.is_unclear(&[layer], question) {
            return Err(Denied::ambiguous());
        }
        let mut winners = question.path.readings().map(|path| self.winner(layer, question, path));
        let first = winners.next().flatten();
        // Which of two rules counts would be the upstream's choice.
        if winners.any(|other| other != first) {
            return Err(Denied::ambiguous());
        }
        let chosen = first.ok_or_else(|| self.unmatched(layer, question))?;
        match self.rule(chosen).effect {
            Effect::Ask => Err(Denied::by(self.rule(chosen))),
            Effect::Allow | Effect::Deny => Ok(chosen),
        }
    }

    /// The ask, else the allow, that one layer has for one reading of the path.
    pub(crate) fn winner(&self, layer: &Layer, question: &Question<'_>, path: PathReading<'_>) -> Option<usize> {
        self.best(&layer.asks, question, path).or_else(|| self.best(&layer.allows, question, path))
    }

    /// The rule that names the request most exactly: first by its host, then by the entry's rank. Among
    /// equals, which then say the same, the order of names decides, so that file order does not.
    pub(crate) fn best(&self, index: &Index, question: &Question<'_>, path: PathReading<'_>) -> Option<usize> {
        let path = index.text(path);
        let found = index.visit(question.destination.host(), |bucket| {
            let matching =
                bucket.entries(question.destination.port(), path).filter(|entry| self.covers(entry, question, path));
            let best = matching.max_by_key(|entry| (entry.rank, Reverse(entry.rule)));
            best.map_or(ControlFlow::Continue(()), |entry| ControlFlow::Break(entry.rule))
        });
        found.break_value()
    }

    fn covers(&self, entry: &Entry, question: &Question<'_>, path: &str) -> bool {
        self.covers_all_but_query(entry, question, path) && covers_query(self.rule(entry.rule), question)
    }

    fn covers_all_but_query(&self, entry: &Entry, question: &Question<'_>, path: &str) -> bool {
        let rule = self.rule(entry.rule);
        rule.covers_port(question.destination.port())
            && rule.covers_scheme(question.destination.scheme())
            && rule.covers_method(question.method)
            && entry.covers_path(rule, path)
            && rule.covers_tool(question.tool)
            && rule.covers_upgrade(question.websocket)
            && rule.is_in_force(question.now)
            && !rule.pass_through
    }

    fn unmatched(&self, layer: &Layer, question: &Question<'_>) -> Denied {
        let destination = question.destination;
        let door = Door { scheme: destination.scheme(), port: destination.port(), now: question.now };
        match layer.furthest(destination.host(), |bucket| bucket.stage(door, question.method)) {
            Stage::Host => Denied::host(destination.host()),
            Stage::Scheme => Denied::unmatched(Reason::ProtocolNotAllowed),
            Stage::Port => Denied::unmatched(Reason::DeniedPort),
            Stage::Method => Denied::unmatched(Reason::DeniedMethod),
            Stage::Path => self.beyond_path(layer, question),
        }
    }

    /// What stops the rule that goes along furthest, once host, scheme, port and method are covered.
    fn beyond_path(&self, layer: &Layer, question: &Question<'_>) -> Denied {
        let sent = question.path.readings().next().map_or("", PathReading::text);
        let (mut furthest, mut unread, mut loose) = (0, false, false);
        let mut see = |bucket: &Bucket| {
            for entry in bucket.entries(question.destination.port(), sent) {
                let rule = self.rule(entry.rule);
                if rule.pass_through {
                    unread = true;
                    continue;
                }
                let to_path = rule.covers_port(question.destination.port())
                    && rule.covers_scheme(question.destination.scheme())
                    && rule.covers_method(question.method)
                    && rule.is_in_force(question.now)
                    && entry.covers_path(rule, sent);
                let query = to_path && covers_query(rule, question);
                loose |= to_path && has_loose_name(rule, question);
                let tool = query && rule.covers_tool(question.tool);
                furthest = furthest.max(u8::from(query) + u8::from(tool));
            }
            ControlFlow::<()>::Continue(())
        };
        for index in [&layer.allows, &layer.asks] {
            let _: ControlFlow<()> = index.visit(question.destination.host(), &mut see);
        }
        match furthest {
            0 if unread => Denied::unmatched(Reason::ProtocolNotAllowed),
            0 if loose => Denied::ambiguous(),
            0 => Denied::unmatched(Reason::DeniedPath),
            1 => Denied::unmatched(Reason::DeniedTool),
            _ => Denied::unmatched(Reason::DeniedUpgrade),
        }
    }
}

impl Entry {
    /// Whether the rule, in this way of matching, covers the path.
    pub(crate) fn covers_path(&self, rule: &Rule, path: &str) -> bool {
        let pattern = self.path.and_then(|at| rule.paths.as_ref()?.get(at));
        pattern.map_or_else(|| rule.covers_any_path(path), |pattern| pattern.matches(path))
    }
}

pub(crate) fn covers_query(rule: &Rule, question: &Question<'_>) -> bool {
    let Some(wanted) = &rule.query else { return true };
    match rule.effect {
        Effect::Allow => query::holds(question.path.query(), wanted),
        Effect::Ask | Effect::Deny => query::shows(question.path.query(), wanted),
    }
}

/// Whether the query has what the rule asks for in any reading: then what the rule restricts applies.
fn shows_query(rule: &Rule, question: &Question<'_>) -> bool {
    rule.query.as_ref().is_none_or(|wanted| query::shows(question.path.query(), wanted))
}

/// Whether the query names a parameter that the rule limits in a spelling that only some parsers take for it.
fn has_loose_name(rule: &Rule, question: &Question<'_>) -> bool {
    rule.query.as_ref().is_some_and(|wanted| query::is_loose(question.path.query(), wanted))
}
