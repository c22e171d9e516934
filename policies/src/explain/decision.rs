//! An answer of the rules, with the place of the rule that decides.

use std::fmt;
use std::sync::Arc;

use model::{PolicyName, Reason, RuleId};
use serde_json::{Value, json};

use crate::decide::Judgement;
use crate::denied::Denied;
use crate::permit::Permit;
use crate::question::Question;
use crate::rule::{Effect, Rule};
use crate::rules::Rules;
use crate::verdict::Verdict;

/// A rule and its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RulePlace {
    /// Its policy.
    pub policy: PolicyName,
    /// Its `id`.
    pub rule: RuleId,
    /// `allow`, `ask` or `deny`.
    pub effect: &'static str,
    /// The file, as its source named it.
    pub file: String,
    /// The line of its `id`, counted from 1.
    pub line: usize,
}

/// What a request gets, and by which rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// In one word.
    pub verdict: Verdict,
    /// Why not, or why it would not have been.
    pub code: Option<Reason>,
    /// The rule that decides, where one does.
    pub rule: Option<RulePlace>,
    /// The policy that decides: the rule's, the ceiling that does not allow, or the one that observes.
    pub policy: Option<PolicyName>,
    /// Whether it passes through unread.
    pub unread: bool,
    /// Whether it is decided before the rules are evaluated.
    pub outside_rules: bool,
}

impl Decision {
    pub(crate) fn of(rules: &Arc<Rules>, question: &Question<'_>) -> Self {
        let Judgement { answer, unread } = rules.judge(question);
        Self::from(rules, &answer, unread)
    }

    pub(super) fn from(rules: &Rules, answer: &Result<Permit, Denied>, unread: bool) -> Self {
        let (code, rule, policy) = match answer {
            Ok(permit) => {
                let code = permit.would_deny().map(|denied| denied.reason);
                (code, permit.rule().cloned(), Some(permit.policy().clone()))
            }
            Err(denied) => (Some(denied.reason), denied.rule.clone(), denied.policy.clone()),
        };
        let is_it = |own: &&Arc<Rule>| Some(&own.id) == rule.as_ref() && Some(&own.policy) == policy.as_ref();
        let place = rules.all().iter().find(is_it).map(|rule| RulePlace::of(rule));
        Self { verdict: Verdict::of(answer), code, rule: place, policy, unread, outside_rules: false }
    }

    /// The answer as JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "decision": self.verdict.as_str(),
            "code": self.code.map(Reason::code),
            "rule": self.rule.as_ref().map(RulePlace::to_json),
            "policy": self.policy.as_ref().map(PolicyName::as_str),
            "unread": self.unread,
        })
    }
}

impl RulePlace {
    pub(crate) fn of(rule: &Rule) -> Self {
        Self {
            policy: rule.policy.clone(),
            rule: rule.id.clone(),
            effect: match rule.effect {
                Effect::Allow => "allow",
                Effect::Ask => "ask",
                Effect::Deny => "deny",
            },
            file: rule.origin.file.to_string(),
            line: rule.origin.line,
        }
    }

    /// The place as JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "policy": self.policy.as_str(),
            "id": self.rule.as_str(),
            "effect": self.effect,
            "file": self.file,
            "line": self.line,
        })
    }
}

impl fmt::Display for RulePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` of policy `{}` ({}:{})", self.rule, self.policy, self.file, self.line)
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verdict.as_str())?;
        if let Some(code) = self.code {
            write!(f, " ({code})")?;
        }
        // These refuse a request before the rules apply.
        if matches!(self.code, Some(Reason::SessionInvalid | Reason::DeniedAll)) {
            return match &self.rule {
                Some(rule) if rule.effect == "ask" => write!(f, "; the rules would ask by rule {rule}"),
                Some(rule) => write!(f, "; the rules would {} it by rule {rule}", rule.effect),
                None => f.write_str("; no rule would allow it"),
            };
        }
        match (&self.rule, &self.policy) {
            (Some(rule), _) => write!(f, " by rule {rule}")?,
            (None, Some(policy)) => write!(f, " by policy `{policy}`")?,
            (None, None) if self.outside_rules => {}
            (None, None) => f.write_str(", because no rule allows it")?,
        }
        if self.unread { f.write_str(", passed through unread") } else { Ok(()) }
    }
}
