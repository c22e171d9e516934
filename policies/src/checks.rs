//! `checks`: the expectations that a policy file carries about itself.

use std::fmt;
use std::sync::Arc;

use model::{PolicyName, Reason, RuleId, Timestamp};

use crate::check::{Check, CheckRequest};
use crate::denied::Denied;
use crate::permit::Permit;
use crate::problem::Problem;
use crate::question::Question;
use crate::rules::Rules;
use crate::verdict::Verdict;

/// The answer of the rules to a check.
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
            Ok(permit) => (permit.would_deny().map(|denied| denied.reason), permit.rule().cloned()),
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
    /// The answer of the rules.
    pub actual: Actual,
    /// The problem; `None` if the check passed.
    pub problem: Option<Problem>,
}

impl CheckResult {
    /// Whether the answer is the expected one.
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

impl CheckRequest {
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
