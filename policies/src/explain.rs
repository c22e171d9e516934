//! The decision of the data path, explained: what decides, which other rules matched and why they do not decide, and what the
//! closest rule would have needed. The verdict is that of the very same functions, never a second opinion.

mod decision;
mod matching;
mod tell;

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use model::{CredentialId, PathReading, PolicyName, Reason, RuleId, Timestamp, written_path};

use crate::auth_mode::AuthMode;
use crate::decide::Judgement;
use crate::denied::Denied;
use crate::permit::Permit;
use crate::question::Question;
use crate::rule::{Effect, Limits, Rule, Timeouts};
use crate::rules::{PolicyLayer, Rules};
use crate::verdict::Verdict;

pub use decision::{Decision, RulePlace};

/// Why a request gets what it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The request, as `METHOD URL`.
    pub request: String,
    /// The verdict, its code and its rule.
    pub decision: Decision,
    /// Whether it passes by policy and is refused on the wire all the same: a WebSocket handshake, which is not relayed yet.
    pub not_relayed: bool,
    /// Why the request is refused whatever the rules say: see [`Explanation::refuse`], [`Explanation::with_grants`] and
    /// [`Explanation::with_address`].
    pub detail: Option<String>,
    /// The `reason` of the rule, for the client that is refused.
    pub author_message: Option<String>,
    /// How long the approval stays open, if the rule asks and has `within`.
    pub approval_timeout: Option<Duration>,
    /// What the request gets; `None` where it does not pass.
    pub given: Option<Given>,
    /// Each reading of the path with the rule that it gets; empty where there is one reading.
    pub readings: Vec<ReadingReport>,
    /// Whether the path is one that parsers read in more ways than can be listed, and a rule here has a path.
    pub ambiguous: bool,
    /// The other rules that match, and why each does not decide.
    pub others: Vec<OverriddenRule>,
    /// The answer of each ceiling, if the session's own rules allow the request.
    pub ceilings: Vec<CeilingReport>,
    /// What policies that observe beside others would have refused.
    pub would_deny: Vec<ObserverReport>,
    /// What the closest rule would have needed; `None` if the request passes or a rule refuses it.
    pub closest: Option<ClosestRule>,
    /// What does not fit the vault or the configuration, where they were asked: see [`Explanation::with_misfits`].
    pub warnings: Vec<String>,
}

/// What a request gets that passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The credentials that may be added.
    pub credentials: Vec<CredentialId>,
    /// The ranges that may be dialed, for each rule that bounds them; empty where every globally routable address may.
    pub addresses: Vec<(RulePlace, Vec<IpNet>)>,
    /// The headers that are set, by name in lower case.
    pub set: Vec<(String, String)>,
    /// How rules handle authentication that the client itself sends; `None` if the default applies.
    pub client_auth: Option<ClientAuthReport>,
    /// Every rule whose `limits`, `set` or `client_auth` apply, the one that decides among them.
    pub restricted_by: Vec<RulePlace>,
    /// How much may pass: the strictest of all those rules.
    pub limits: Limits,
    /// How long it may wait.
    pub timeouts: Timeouts,
    /// When it ends.
    pub until: Option<Timestamp>,
}

/// What happens to authentication that the client itself sends, by all rules that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthReport {
    /// On a request that gets a credential.
    pub with_credential: AuthMode,
    /// On a request without one, to a host in the audience of a credential of the session.
    pub without_credential: AuthMode,
    /// On every other request.
    pub elsewhere: AuthMode,
    /// Headers and parameters that pass all the same.
    pub pass: Vec<String>,
    /// Headers and parameters that count as authentication besides those that Egret lists.
    pub also: Vec<String>,
}

/// One reading of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadingReport {
    /// `as sent`, or `or` for what some parsers make of it.
    pub reading: &'static str,
    /// The path in this reading.
    pub path: String,
    /// The rule that this reading gets: a deny, else an ask, else an allow.
    pub rule: Option<RulePlace>,
}

/// A rule that matches and does not decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverriddenRule {
    /// The rule.
    pub rule: RulePlace,
    /// Why it does not decide.
    pub why: String,
}

/// The answer of one ceiling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CeilingReport {
    /// The ceiling.
    pub policy: PolicyName,
    /// Whether it allows, asks or does not allow.
    pub verdict: Verdict,
    /// The rule by which it does.
    pub rule: Option<RulePlace>,
    /// What its nearest rule would have needed, where it does not allow.
    pub closest: Option<ClosestRule>,
}

/// The answer of one policy that observes beside others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObserverReport {
    /// The policy.
    pub policy: PolicyName,
    /// Deny or ask.
    pub verdict: Verdict,
    /// Why.
    pub code: Reason,
    /// The rule by which.
    pub rule: Option<RulePlace>,
}

/// The rule that came nearest to letting the request pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosestRule {
    /// The rule.
    pub rule: RulePlace,
    /// What it would have needed.
    pub unmet_conditions: String,
}

impl Rules {
    /// The place of a rule of a policy that observes beside others.
    fn observer_rule(&self, policy: &PolicyName, rule: &RuleId) -> Option<RulePlace> {
        let (_, rules) = self.observers.iter().find(|(name, _)| name == policy)?;
        rules.all().iter().find(|own| own.id == *rule).map(|rule| RulePlace::of(rule))
    }

    /// Why the request gets what it gets, by the very functions of the data path.
    pub fn explain(self: &Arc<Self>, question: &Question<'_>) -> Explanation {
        let Judgement { answer, unread } = self.judge(question);
        let decision = Decision::from(self, &answer, unread);
        let decides = self.all().iter().position(|rule| decision.rule.as_ref() == Some(&RulePlace::of(rule)));
        let denied = match &answer {
            Ok(permit) => permit.would_deny(),
            Err(denied) => Some(denied),
        };
        let by_ceiling = decides.is_none() && decision.policy.as_ref().is_some_and(|policy| self.is_over(policy));
        let silent = denied.is_some_and(|denied| denied.rule.is_none()) && !by_ceiling;
        let disagreement = denied.and_then(|denied| self.disagreement(denied, question));
        let closest = || {
            let closest = matching::closest(self.own(), question)?;
            Some(ClosestRule {
                unmet_conditions: disagreement.map_or(closest.unmet_conditions, str::to_owned),
                ..closest
            })
        };
        Explanation {
            request: tell::request(question),
            not_relayed: question.websocket && answer.is_ok(),
            detail: None,
            author_message: denied.and_then(|denied| denied.author_message.as_ref()).map(ToString::to_string),
            approval_timeout: denied.and_then(|denied| denied.approval_timeout),
            given: answer.as_ref().ok().map(|permit| self.given(permit)),
            readings: self.reading_reports(question),
            ambiguous: !unread && self.is_unclear(&self.layers(), question),
            others: self.overridden(question, decides, unread, disagreement),
            ceilings: self.ceilings.iter().filter(|_| !unread).map(|layer| self.ceiling(layer, question)).collect(),
            would_deny: self.observer_reports(question, unread),
            closest: if silent { closest() } else { None },
            warnings: Vec::new(),
            decision,
        }
    }

    fn is_over(&self, policy: &PolicyName) -> bool {
        self.ceilings.iter().any(|layer| layer.policy == *policy)
    }

    /// The rules of the session's own policies.
    fn own(&self) -> impl Iterator<Item = &Rule> {
        self.all().iter().map(|rule| &**rule).filter(|rule| !self.is_over(&rule.policy))
    }

    fn given(&self, permit: &Permit) -> Given {
        let (rule, ceilings) = permit.places();
        let bounds = |at: usize| {
            let rule = self.rule(at);
            Some((RulePlace::of(rule), rule.addresses.as_ref()?.iter().copied().collect()))
        };
        Given {
            credentials: permit.credentials().to_vec(),
            addresses: rule.into_iter().chain(ceilings.iter().copied()).filter_map(bounds).collect(),
            set: permit.set().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            client_auth: client_auth_report(permit, self),
            restricted_by: permit.restricting_rules().iter().map(|at| RulePlace::of(self.rule(at))).collect(),
            limits: permit.limits(),
            timeouts: permit.timeouts(),
            until: permit.until(),
        }
    }

    /// The session's own rules, and each ceiling.
    fn layers(&self) -> Vec<&PolicyLayer> {
        std::iter::once(&self.granting).chain(&self.ceilings).collect()
    }

    fn reading_reports(&self, question: &Question<'_>) -> Vec<ReadingReport> {
        if question.path.readings().len() == 1 {
            return Vec::new();
        }
        let best = |path: PathReading<'_>| {
            self.best(&self.denies, question, path).or_else(|| self.winner(&self.granting, question, path))
        };
        let report = |(at, path): (usize, PathReading<'_>)| {
            let rule = best(path).map(|at| RulePlace::of(self.rule(at)));
            match at {
                0 => ReadingReport { reading: "as sent", path: question.path.as_sent().to_owned(), rule },
                _ => ReadingReport { reading: "or", path: written_path(path.text()), rule },
            }
        };
        question.path.readings().enumerate().map(report).collect()
    }

    /// The rules that match in some reading, but for the one that decides.
    fn overridden(
        &self,
        question: &Question<'_>,
        decides: Option<usize>,
        unread: bool,
        disagreement: Option<&'static str>,
    ) -> Vec<OverriddenRule> {
        let mut overridden = Vec::new();
        let ends_all = |rule: &Rule| rule.effect == Effect::Deny || !self.is_over(&rule.policy);
        for (at, rule) in self.all().iter().enumerate().filter(|(at, rule)| Some(*at) != decides && ends_all(rule)) {
            let readings = question.path.readings();
            let found: Vec<PathReading<'_>> =
                readings.clone().filter(|path| matching::matches(rule, question, *path, unread)).collect();
            let Some(path) = found.first().copied() else { continue };
            let everywhere = found.len() == readings.len();
            let why = match decides.map(|at| &**self.rule(at)) {
                Some(winner) => matching::why_overridden(winner, rule, question, path),
                None if !everywhere && Some(path) == question.path.readings().next() => {
                    "it matches the path as sent, but not as every parser reads it".to_owned()
                }
                None if !everywhere => "it matches only what some parsers make of the path".to_owned(),
                None => disagreement.map_or_else(|| self.why_silent(at, question), str::to_owned),
            };
            overridden.push(OverriddenRule { rule: RulePlace::of(rule), why });
        }
        overridden
    }

    /// Why a request is refused that the session's own rules and every ceiling allow as it is written.
    fn disagreement(&self, denied: &Denied, question: &Question<'_>) -> Option<&'static str> {
        if denied.rule.is_some() || self.layers().iter().any(|layer| self.layer(layer, question).is_none()) {
            return None;
        }
        Some(if denied.reason == Reason::DeniedPath {
            "matches, but rules of other readings of the request set one header to another value"
        } else {
            "matches, but the query asks for another method, which does not get the same"
        })
    }

    /// Why a rule does not decide that matches every reading, where none decides.
    fn why_silent(&self, at: usize, question: &Question<'_>) -> String {
        if self.is_unclear(&self.layers(), question) {
            return "parsers read the path differently, and it is not interpreted where a rule has a path".to_owned();
        }
        let chosen = self.layer(&self.granting, question);
        match chosen {
            Some(chosen) if chosen == at => "a ceiling does not allow what it does".to_owned(),
            Some(_) => {
                "it is not the one that names the request most exactly, and a ceiling does not allow it".to_owned()
            }
            None => "another rule names one of the readings of the path more exactly, so they get different rules"
                .to_owned(),
        }
    }

    /// The rule of a layer that all readings get.
    fn layer(&self, layer: &PolicyLayer, question: &Question<'_>) -> Option<usize> {
        if self.is_unclear(&[layer], question) {
            return None;
        }
        let mut found = question.path.readings().map(|path| self.winner(layer, question, path));
        let first = found.next()??;
        found.all(|other| other == Some(first)).then_some(first)
    }

    fn ceiling(&self, layer: &PolicyLayer, question: &Question<'_>) -> CeilingReport {
        let rule = self.layer(layer, question).map(|at| self.rule(at));
        let verdict = match rule.map(|rule| rule.effect) {
            Some(Effect::Allow) => Verdict::Allow,
            Some(Effect::Ask) => Verdict::Ask,
            Some(Effect::Deny) | None => Verdict::Deny,
        };
        let own = self.all().iter().map(|rule| &**rule).filter(|rule| rule.policy == layer.policy);
        CeilingReport {
            policy: layer.policy.clone(),
            verdict,
            rule: rule.map(|rule| RulePlace::of(rule)),
            closest: if rule.is_none() { matching::closest(own, question) } else { None },
        }
    }

    fn observer_reports(&self, question: &Question<'_>, unread: bool) -> Vec<ObserverReport> {
        if unread {
            return Vec::new();
        }
        let place = |denied: &Denied| self.observer_rule(denied.policy.as_ref()?, denied.rule.as_ref()?);
        let report = self.would_deny(question).into_iter().map(|report| ObserverReport {
            rule: place(&report.denied),
            policy: report.policy,
            verdict: report.verdict,
            code: report.denied.reason,
        });
        report.collect()
    }
}

fn client_auth_report(permit: &Permit, rules: &Rules) -> Option<ClientAuthReport> {
    let auth = permit.client_auth();
    if auth.is_default() {
        return None;
    }
    let own = permit.restricting_rules().iter().filter_map(|at| rules.rule(at).client_auth.as_ref());
    let (mut pass, mut also) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    for own in own {
        pass.extend(own.pass.iter().filter(|name| auth.passes(name)).map(ToString::to_string));
        also.extend(own.also.iter().map(ToString::to_string));
    }
    Some(ClientAuthReport {
        with_credential: auth.mode(AuthMode::Strip),
        without_credential: auth.mode(AuthMode::Refuse),
        elsewhere: auth.mode(AuthMode::Allow),
        pass: pass.into_iter().collect(),
        also: also.into_iter().collect(),
    })
}
