//! May this request pass, with which credentials: a [`Permit`], or why not.

use std::cmp::Reverse;
use std::ops::ControlFlow;
use std::sync::Arc;

use model::{PathReading, Reason, method_overrides};

use crate::denied::{Denied, is_special};
use crate::index::{Bucket, Entry, Index, SchemePort, Stage};
use crate::permit::Permit;
use crate::query;
use crate::question::Question;
use crate::rule::{Effect, Rule};
use crate::rules::{PolicyLayer, Rules};

impl Rules {
    /// Whether the request may go, and by which rule. Allocates nothing where a rule allows it and nothing in its query is
    /// encoded.
    ///
    /// # Errors
    /// [`Denied`] by a rule that denies in any reading of its path, by one that asks in all of them, or because no rule
    /// allows it in all of them. Where its query asks for another method (`_method`), also by the answer for that one.
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
        // No approval is asked for what a ceiling refuses anyway.
        let mut ask = None;
        let mut permit = match self.granted(&self.granting, question) {
            Ok(rule) => Permit::new(self, rule),
            Err(denied) if self.passes_in_observe_mode(question) => Permit::in_observe_mode(self, denied),
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
        layer: &PolicyLayer,
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
    pub(crate) fn passes_in_observe_mode(&self, question: &Question<'_>) -> bool {
        self.observes(question.now) && !is_special(question.destination.host()) && !self.is_unclear(&[], question)
    }

    /// The deny that counts, in any reading.
    pub(crate) fn denied(&self, question: &Question<'_>) -> Option<usize> {
        question.path.readings().find_map(|path| self.best(&self.denies, question, path))
    }

    /// Whether the path is not interpreted, and a deny, or a rule of these layers, is about paths of this host.
    pub(crate) fn is_unclear(&self, layers: &[&PolicyLayer], question: &Question<'_>) -> bool {
        let limits = |index: &Index| index.limits_paths(question.destination.host(), question.now);
        question.path.is_ambiguous()
            && (limits(&self.denies) || layers.iter().any(|layer| limits(&layer.allows) || limits(&layer.asks)))
    }

    /// The rule of one layer that allows in every reading of the path. A rule that asks asks only where it is the
    /// same in all of them too: an approval cannot cover what another reading would be refused.
    fn granted(&self, layer: &PolicyLayer, question: &Question<'_>) -> Result<usize, Denied> {
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
    pub(crate) fn winner(&self, layer: &PolicyLayer, question: &Question<'_>, path: PathReading<'_>) -> Option<usize> {
        self.best(&layer.asks, question, path).or_else(|| self.best(&layer.allows, question, path))
    }

    /// The rule that names the request most exactly: first by its host, then by the entry's rank. Among
    /// equals, which then grant the same, the order of names decides, so that file order does not.
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

    fn unmatched(&self, layer: &PolicyLayer, question: &Question<'_>) -> Denied {
        let destination = question.destination;
        let scheme_port = SchemePort { scheme: destination.scheme(), port: destination.port(), now: question.now };
        match layer.closest_match(destination.host(), |bucket| bucket.stage(scheme_port, question.method)) {
            Stage::Host => Denied::host(destination.host()),
            Stage::Scheme => Denied::unmatched(Reason::ProtocolNotAllowed),
            Stage::Port => Denied::unmatched(Reason::DeniedPort),
            Stage::Method => Denied::unmatched(Reason::DeniedMethod),
            Stage::Path => self.beyond_path(layer, question),
        }
    }

    /// What stops the rule that matches most of the request, once host, scheme, port and method are covered.
    fn beyond_path(&self, layer: &PolicyLayer, question: &Question<'_>) -> Denied {
        let sent = question.path.readings().next().map_or("", PathReading::text);
        let (mut closest, mut unread, mut loose) = (0, false, false);
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
                closest = closest.max(u8::from(query) + u8::from(tool));
            }
            ControlFlow::<()>::Continue(())
        };
        for index in [&layer.allows, &layer.asks] {
            let _: ControlFlow<()> = index.visit(question.destination.host(), &mut see);
        }
        match closest {
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
