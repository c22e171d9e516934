//! `checks`: the expectations that a policy file carries about itself.

use model::{Authority, Destination, Host, PolicyName, Reason, RequestPath, RuleId, Scheme};

use crate::authorize::Question;
use crate::combine::Rules;
use crate::decide::Denied;
use crate::problem::Problem;

/// One compiled check.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) request: CheckRequest,
    pub(crate) allow: bool,
    pub(crate) rule: Option<RuleId>,
    /// What is reported where it fails; its message is completed then.
    pub(crate) failure: Problem,
}

/// The request of a check: `GET https://host/path`.
#[derive(Debug)]
pub(crate) struct CheckRequest {
    text: String,
    destination: Destination,
    method: String,
    path: RequestPath,
}

/// What the rules said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actual {
    /// Allowed, by this rule.
    Allow {
        /// The rule.
        rule: RuleId,
    },
    /// Denied, by a rule or because none allows.
    Deny {
        /// The stable code.
        reason: Reason,
        /// The rule that denies.
        rule: Option<RuleId>,
    },
}

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    /// The policy that holds the check.
    pub policy: PolicyName,
    /// The request, as written.
    pub request: String,
    /// The file, as its source named it.
    pub file: String,
    /// The line of the request, counted from 1.
    pub line: usize,
    /// Its column, in characters counted from 1.
    pub column: usize,
    /// What the rules said.
    pub actual: Actual,
    /// What is to be told; `None` where the check passed.
    pub problem: Option<Problem>,
}

impl CheckResult {
    /// Whether the rules said what was expected.
    pub fn passed(&self) -> bool {
        self.problem.is_none()
    }
}

impl Check {
    pub(crate) fn run(&self, policy: &PolicyName, rules: &Rules) -> CheckResult {
        let actual = self.request.judge(rules);
        let problem = (!self.is_met_by(&actual)).then(|| self.failed(&actual));
        CheckResult {
            policy: policy.clone(),
            request: self.request.text.clone(),
            file: self.failure.file.clone(),
            line: self.failure.line,
            column: self.failure.column,
            actual,
            problem,
        }
    }

    fn is_met_by(&self, actual: &Actual) -> bool {
        let (allow, rule) = match actual {
            Actual::Allow { rule } => (true, Some(rule)),
            Actual::Deny { rule, .. } => (false, rule.as_ref()),
        };
        allow == self.allow && (self.rule.is_none() || self.rule.as_ref() == rule)
    }

    fn failed(&self, actual: &Actual) -> Problem {
        let expected = if self.allow { "allow" } else { "deny" };
        let expected = self.rule.as_ref().map_or_else(|| expected.to_owned(), |rule| format!("{expected} by `{rule}`"));
        let actual = match actual {
            Actual::Allow { rule } => format!("allow by `{rule}`"),
            Actual::Deny { reason, rule: Some(rule) } => format!("deny by `{rule}` ({reason})"),
            Actual::Deny { reason, rule: None } => format!("deny because no rule allows it ({reason})"),
        };
        Problem { message: format!("the check expects {expected}, but the rules say {actual}"), ..self.failure.clone() }
    }
}

impl CheckRequest {
    /// Reads `METHOD scheme://host[:port][/path][?query]`; the error says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (method, url) = text.split_once(' ').ok_or("a check's request is a method, a space and a URL")?;
        let (scheme, rest) = match url.split_once("://") {
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("http", rest)) => (Scheme::Http, rest),
            _ => return Err("the URL of a check begins with `https://` or `http://`".to_owned()),
        };
        let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let authority = Authority::parse(authority, true).map_err(|why| why.to_string())?;
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let path = RequestPath::parse(&target).map_err(|why| why.to_string())?;
        Ok(Self {
            text: text.to_owned(),
            destination: Destination::of(scheme, authority),
            method: method.to_owned(),
            path,
        })
    }

    pub(crate) fn method(&self) -> &str {
        &self.method
    }

    /// What a request meets on its way: first the question of the CONNECT, then its own.
    fn judge(&self, rules: &Rules) -> Actual {
        let host: &Host = self.destination.host();
        let question = Question { destination: &self.destination, method: &self.method, path: &self.path };
        match rules.decide(host, self.destination.port()).and_then(|_| rules.authorize(&question)) {
            Ok(permit) => Actual::Allow { rule: permit.rule().clone() },
            Err(Denied { reason, rule, .. }) => Actual::Deny { reason, rule },
        }
    }
}
