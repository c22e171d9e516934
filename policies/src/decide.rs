//! May a session reach this host and port, and how: the question asked before any name is resolved.

use std::ops::ControlFlow;
use std::sync::Arc;

use model::{AddressClass, Host, PolicyName, Reason, RuleId, Scheme};

use crate::combine::Rules;
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
        let schemes = [Scheme::Https, Scheme::Http];
        let reached = schemes.map(|scheme| self.reaches(scheme, host, port));
        if reached == [false; 2] {
            return Err(self.unreached(host, port));
        }
        let mut refusal = None;
        for (scheme, _) in schemes.into_iter().zip(reached).filter(|(_, reached)| *reached) {
            match self.denies_all(scheme, host, port) {
                None => return Ok(Passage::Intercept),
                Some(rule) => refusal = refusal.or(Some(rule)),
            }
        }
        Err(refusal.map_or_else(|| Denied::host(host), Denied::by))
    }

    /// No allow comes so far; where a rule denies it all anyway, its author's words are the better answer.
    fn unreached(&self, host: &Host, port: u16) -> Denied {
        let denies = [Scheme::Https, Scheme::Http].map(|scheme| self.denies_all(scheme, host, port));
        match denies {
            [Some(rule), Some(_)] => Denied::by(rule),
            _ if self.names_host(host) => Denied::unmatched(Reason::DeniedPort),
            _ => Denied::host(host),
        }
    }

    fn reaches(&self, scheme: Scheme, host: &Host, port: u16) -> bool {
        let covers = |at: &usize| self.rule(*at).covers_scheme(scheme) && self.rule(*at).covers_port(port);
        let found = self.allows.visit(host, |bucket| match bucket.rules().iter().any(covers) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        });
        found.is_break()
    }

    fn denies_all(&self, scheme: Scheme, host: &Host, port: u16) -> Option<&Rule> {
        let covers = |rule: &&Rule| rule.is_blanket() && rule.covers_scheme(scheme) && rule.covers_port(port);
        let found = self.denies.visit(host, |bucket| {
            bucket
                .rules()
                .iter()
                .map(|at| &**self.rule(*at))
                .find(covers)
                .map_or(ControlFlow::Continue(()), ControlFlow::Break)
        });
        found.break_value()
    }

    pub(crate) fn names_host(&self, host: &Host) -> bool {
        self.allows
            .visit(
                host,
                |bucket| if bucket.rules().is_empty() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) },
            )
            .is_break()
    }
}
