//! `checks`: the expectations that a policy file carries about itself.

use std::fmt;
use std::sync::Arc;

use model::{Authority, Destination, PolicyName, Reason, RequestPath, RuleId, Scheme, Timestamp};

use crate::authorize::{Permit, Question};
use crate::combine::Rules;
use crate::decide::Denied;
use crate::problem::Problem;

/// One compiled check.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) request: CheckRequest,
    pub(crate) expect: Verdict,
    pub(crate) rule: Option<RuleId>,
    pub(crate) code: Option<Reason>,
    /// What is reported where it fails; its message is completed then.
    pub(crate) failure: Problem,
}

/// The request of a check: `GET https://host/path`, and what it belongs to.
#[derive(Debug)]
pub(crate) struct CheckRequest {
    pub(crate) text: String,
    pub(crate) destination: Destination,
    pub(crate) method: String,
    pub(crate) path: RequestPath,
    pub(crate) tool: Option<String>,
    pub(crate) websocket: bool,
    pub(crate) at: Option<Timestamp>,
}

/// What rules say of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It is refused.
    Deny,
    /// It is refused until somebody says yes.
    Ask,
    /// No rule allows it, and it passes because a policy observes.
    Observe,
    /// A rule allows it.
    Allow,
}

impl Verdict {
    /// The word for it, as in policy files and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Ask => "ask",
            Self::Observe => "observe",
            Self::Allow => "allow",
        }
    }

    /// What an answer of the rules amounts to.
    pub fn of(answer: &Result<Permit, Denied>) -> Self {
        match answer {
            Ok(permit) if permit.observed().is_some() => Self::Observe,
            Ok(_) => Self::Allow,
            Err(denied) if denied.is_ask() => Self::Ask,
            Err(_) => Self::Deny,
        }
    }
}

/// What the rules said to a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actual {
    /// In one word.
    pub verdict: Verdict,
    /// Why not, or why it would not have been.
    pub code: Option<Reason>,
    /// The rule that decides, where one does.
    pub rule: Option<RuleId>,
}

impl Actual {
    fn of(answer: &Result<Permit, Denied>) -> Self {
        let (code, rule) = match answer {
            Ok(permit) => (permit.observed().map(|denied| denied.reason), permit.rule().cloned()),
            Err(denied) => (Some(denied.reason), denied.rule.clone()),
        };
        Self { verdict: Verdict::of(answer), code, rule }
    }
}

impl fmt::Display for Actual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verdict.as_str())?;
        match (&self.rule, self.verdict) {
            (Some(rule), _) => write!(f, " by `{rule}`")?,
            (None, Verdict::Deny | Verdict::Observe) => f.write_str(" because no rule allows it")?,
            (None, Verdict::Ask | Verdict::Allow) => {}
        }
        self.code.map_or(Ok(()), |code| write!(f, " ({code})"))
    }
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
    pub(crate) fn run(&self, policy: &PolicyName, rules: &Arc<Rules>, now: Timestamp) -> CheckResult {
        let actual = Actual::of(&self.request.judge(rules, now));
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
        self.expect == actual.verdict
            && (self.rule.is_none() || self.rule == actual.rule)
            && (self.code.is_none() || self.code == actual.code)
    }

    fn failed(&self, actual: &Actual) -> Problem {
        let mut expected = self.expect.as_str().to_owned();
        if let Some(rule) = &self.rule {
            expected.push_str(&format!(" by `{rule}`"));
        }
        if let Some(code) = self.code {
            expected.push_str(&format!(" ({code})"));
        }
        Problem { message: format!("the check expects {expected}, but the rules say {actual}"), ..self.failure.clone() }
    }
}

/// Reads `scheme://host[:port][/path][?query]`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn read_url(url: &str) -> Result<(Destination, RequestPath), String> {
    let (scheme, rest) = match url.split_once("://") {
        Some(("https", rest)) => (Scheme::Https, rest),
        Some(("http", rest)) => (Scheme::Http, rest),
        _ => return Err("a URL begins with `https://` or `http://`".to_owned()),
    };
    let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let authority = Authority::parse(authority, true).map_err(|why| why.to_string())?;
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    let path = RequestPath::parse(&target).map_err(|why| why.to_string())?;
    Ok((Destination::of(scheme, authority), path))
}

impl CheckRequest {
    /// Reads `METHOD scheme://host[:port][/path][?query]`; the error says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (method, url) = text.split_once(' ').ok_or("a check's request is a method, a space and a URL")?;
        let (destination, path) = read_url(url)?;
        Ok(Self {
            text: text.to_owned(),
            destination,
            method: method.to_owned(),
            path,
            tool: None,
            websocket: false,
            at: None,
        })
    }

    pub(crate) fn method(&self) -> &str {
        &self.method
    }

    /// What a request meets on its way: first the question of the CONNECT, then its own.
    pub(crate) fn judge(&self, rules: &Arc<Rules>, now: Timestamp) -> Result<Permit, Denied> {
        let now = self.at.unwrap_or(now);
        let question = Question {
            destination: &self.destination,
            method: &self.method,
            path: &self.path,
            websocket: self.websocket,
            tool: self.tool.as_deref(),
            now,
        };
        rules.judge(&question).answer
    }
}
