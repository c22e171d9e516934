//! May a session reach this host and port, and how: the question asked before any name is resolved.

use std::ops::ControlFlow;
use std::sync::Arc;

use model::{AddressClass, Host, PolicyName, Reason, RuleId, Scheme};

use crate::combine::Rules;
use crate::index::{Bucket, Stage};
use crate::rule::Rule;

/// How a connection to a destination is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// TLS ends here, and each request inside is judged.
    Intercept,
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The stable code.
    pub reason: Reason,
    /// The rule that denies; `None` where no rule allows.
    pub rule: Option<RuleId>,
    /// The policy of that rule.
    pub policy: Option<PolicyName>,
    /// What the author of that rule says to whoever is refused.
    pub words: Option<Arc<str>>,
}

impl Denied {
    /// The denial of a rule, named after the most specific thing that it asks for.
    pub(crate) fn by(rule: &Rule) -> Self {
        let reason = match rule {
            Rule { paths: Some(_), .. } => Reason::DeniedPath,
            Rule { methods: Some(_), .. } => Reason::DeniedMethod,
            Rule { ports: Some(_), .. } => Reason::DeniedPort,
            Rule { scheme: Some(_), .. } => Reason::ProtocolNotAllowed,
            _ => Reason::DeniedHost,
        };
        Self { reason, rule: Some(rule.id.clone()), policy: Some(rule.policy.clone()), words: rule.words.clone() }
    }

    /// The denial of what no rule allows.
    pub(crate) fn unmatched(reason: Reason) -> Self {
        Self { reason, rule: None, policy: None, words: None }
    }

    /// The denial of a host that no rule reaches.
    pub(crate) fn host(host: &Host) -> Self {
        let special = host.address().is_some_and(|address| AddressClass::of(address) != AddressClass::Global);
        Self::unmatched(if special { Reason::DeniedAddress } else { Reason::DeniedHost })
    }
}

impl Rules {
    /// Whether any rule could allow a request to this host and port. A CONNECT does not say which
    /// scheme will follow, so it is enough that one scheme is open.
    ///
    /// # Errors
    /// [`Denied`] where none could, or where a rule denies the whole of host and port.
    pub fn decide(&self, host: &Host, port: u16) -> Result<Passage, Denied> {
        let mut refusal = None;
        for scheme in [Scheme::Https, Scheme::Http] {
            if !self.opens(scheme, host, port) {
                continue;
            }
            match self.denies_all(scheme, host, port) {
                None => return Ok(Passage::Intercept),
                Some(rule) => refusal = refusal.or(Some(rule)),
            }
        }
        Err(refusal.map_or_else(|| self.unreached(host, port), Denied::by))
    }

    /// No allow comes so far; where a rule denies it all anyway, its author's words are the better answer.
    fn unreached(&self, host: &Host, port: u16) -> Denied {
        let denies = [Scheme::Https, Scheme::Http].map(|scheme| self.denies_all(scheme, host, port));
        match denies {
            [Some(rule), Some(_)] => Denied::by(rule),
            _ => match self.furthest(host, |bucket| bucket.stage(Scheme::Https, port, "")) {
                Stage::Host => Denied::host(host),
                // The scheme is not known yet, so it is not what was wrong.
                Stage::Scheme | Stage::Port | Stage::Method | Stage::Path => Denied::unmatched(Reason::DeniedPort),
            },
        }
    }

    /// How far any allow of this host goes along.
    pub(crate) fn furthest(&self, host: &Host, stage: impl Fn(&Bucket) -> Stage) -> Stage {
        let mut furthest = Stage::Host;
        let _: ControlFlow<()> = self.allows.visit(host, |bucket| {
            furthest = furthest.max(stage(bucket));
            ControlFlow::Continue(())
        });
        furthest
    }

    fn opens(&self, scheme: Scheme, host: &Host, port: u16) -> bool {
        let found = self.allows.visit(host, |bucket| match bucket.has_door(scheme, port) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        });
        found.is_break()
    }

    fn denies_all(&self, scheme: Scheme, host: &Host, port: u16) -> Option<&Rule> {
        let covers = |rule: &&Rule| rule.covers_scheme(scheme) && rule.covers_port(port);
        let found = self.denies.visit(host, |bucket| {
            let rule = bucket.blankets().iter().map(|at| &**self.rule(*at)).find(covers);
            rule.map_or(ControlFlow::Continue(()), ControlFlow::Break)
        });
        found.break_value()
    }
}
