//! May this request pass, with which credentials: a [`Permit`], or why not.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use model::{CredentialId, Destination, PolicyName, Reason, RequestPath, RuleId, SnapshotDigest};

use crate::combine::Rules;
use crate::decide::Denied;
use crate::index::{Entry, Index, Stage};
use crate::rule::Rule;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Where the request goes.
    pub destination: &'a Destination,
    /// Its method, as sent.
    pub method: &'a str,
    /// Its path, in both readings.
    pub path: &'a RequestPath,
}

/// The proof that one request may go. Only [`Rules::authorize`] makes one; cloning it copies two references.
#[derive(Clone, Debug)]
pub struct Permit {
    rule: Arc<Rule>,
    snapshot: SnapshotDigest,
}

impl Permit {
    /// The rule that allows.
    pub fn rule(&self) -> &RuleId {
        &self.rule.id
    }

    /// The policy of that rule.
    pub fn policy(&self) -> &PolicyName {
        &self.rule.policy
    }

    /// The policy set that judged.
    pub fn snapshot(&self) -> &SnapshotDigest {
        &self.snapshot
    }

    /// The credentials that may be added here (the rule's `use`), in the order of the file.
    pub fn credentials(&self) -> &[CredentialId] {
        &self.rule.credentials
    }

    /// Whether the data path may dial this address. Without `addresses` every globally routable one;
    /// with them only what they cover, and a metadata service only where it is named exactly.
    pub fn allows_address(&self, address: IpAddr) -> bool {
        self.rule.allows_address(address)
    }

    /// Whether the rule names its methods.
    pub fn limits_methods(&self) -> bool {
        self.rule.methods.is_some()
    }
}

impl Rules {
    /// Whether the request may go, and by which rule. Allocates nothing where it may.
    ///
    /// # Errors
    /// [`Denied`] by a rule that denies it in either reading of its path, or because no rule allows it in
    /// both readings.
    pub fn authorize(&self, question: &Question<'_>) -> Result<Permit, Denied> {
        let sent = question.path.as_sent();
        let resolved = question.path.resolved();
        for path in [Some(sent), resolved].into_iter().flatten() {
            if let Some(rule) = self.best(&self.denies, question, path) {
                return Err(Denied::by(self.rule(rule)));
            }
        }
        let rule = self.allowed(question, sent)?;
        if let Some(resolved) = resolved
            && self.allowed(question, resolved)? != rule
        {
            // Which of the two rules counts would be the upstream's choice.
            return Err(Denied::unmatched(Reason::DeniedPath));
        }
        Ok(Permit { rule: Arc::clone(self.rule(rule)), snapshot: self.snapshot().clone() })
    }

    fn allowed(&self, question: &Question<'_>, path: &str) -> Result<usize, Denied> {
        self.best(&self.allows, question, path).ok_or_else(|| self.unmatched(question))
    }

    /// The rule that names the request most exactly: first by its host, then by the entry's rank. Among
    /// equals, which then say the same, the order of names decides, so that file order does not.
    fn best(&self, index: &Index, question: &Question<'_>, path: &str) -> Option<usize> {
        let found = index.visit(question.destination.host(), |bucket| {
            let matching = bucket.entries(path).filter(|entry| self.covers(entry, question, path));
            let best = matching.max_by_key(|entry| (entry.rank, Reverse(entry.rule)));
            best.map_or(ControlFlow::Continue(()), |entry| ControlFlow::Break(entry.rule))
        });
        found.break_value()
    }

    fn covers(&self, entry: &Entry, question: &Question<'_>, path: &str) -> bool {
        let rule = self.rule(entry.rule);
        let pattern = entry.path.and_then(|at| rule.paths.as_ref()?.get(at));
        rule.covers_port(question.destination.port())
            && rule.covers_scheme(question.destination.scheme())
            && rule.covers_method(question.method)
            && pattern.map_or_else(|| rule.covers_any_path(path), |pattern| pattern.matches(path))
    }

    fn unmatched(&self, question: &Question<'_>) -> Denied {
        let destination = question.destination;
        let stage = self.furthest(destination.host(), |bucket| {
            bucket.stage(destination.scheme(), destination.port(), question.method)
        });
        Denied::unmatched(match stage {
            Stage::Host => return Denied::host(destination.host()),
            Stage::Scheme => Reason::ProtocolNotAllowed,
            Stage::Port => Reason::DeniedPort,
            Stage::Method => Reason::DeniedMethod,
            Stage::Path => Reason::DeniedPath,
        })
    }
}
