//! `egret policy check`: all problems of files, and the results of their checks.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::anyhow;
use model::{CredentialId, PolicyName, TenantId, Timestamp};
use policies::{CheckResult, Coverage, PolicySet, PolicySource, Problem, Severity, Subject, Surroundings, render};
use serde_json::{Value, json};

use super::counted;
use super::sources::Files;
use crate::Context;
use crate::exit::{Answer, Failure};
use crate::output;

/// Read policy files, report everything that is wrong with them, and run their checks: those within them, and those
/// of `*.test.yaml` files beside them.
#[derive(clap::Args)]
pub(super) struct Check {
    /// Files and folders [default: those of the configuration].
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t)]
    format: CheckFormat,
    /// List the rules that no check reaches.
    #[arg(long)]
    coverage: bool,
    /// Fail if the checks reach less than this share of the rules, in percent.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    fail_under: Option<u8>,
    /// Where a credential may go, to find rules that use it elsewhere, such as github=api.github.com,*.github.com.
    #[arg(long, value_name = "NAME=HOST,..", value_parser = audience)]
    audience: Vec<(CredentialId, Vec<String>)>,
}

/// A credential and its audience.
fn audience(text: &str) -> Result<(CredentialId, Vec<String>), String> {
    let (name, hosts) = text.split_once('=').ok_or("write NAME=HOST, such as github=api.github.com")?;
    Ok((CredentialId::new(name), hosts.split(',').map(str::to_owned).collect()))
}

/// How the outcome of checks is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum CheckFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON document.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Annotations in the log of a workflow on GitHub.
    Github,
    /// JUnit XML, for the test report of a pipeline.
    Junit,
}

/// The findings.
#[derive(Default)]
struct Outcome {
    /// The problems of the files, and failed checks.
    problems: Vec<Problem>,
    results: Vec<CheckResult>,
    coverage: Vec<Coverage>,
    files: usize,
}

impl Check {
    /// # Errors
    /// 1 if a file is not acceptable, a check fails or too few rules are reached; 2 if a file cannot be read.
    pub(super) fn execute(&self, context: &Context) -> Answer {
        let files = Files::read(context, &self.files)?;
        let default = context.config()?.default_session.map(|session| session.policies).unwrap_or_default();
        let mut around = super::surroundings::read(context)?;
        for (name, audience) in self.audience.iter().cloned() {
            around.credentials.entry(name).or_default().audience = audience;
        }
        let outcome = Outcome::of(&files, &around, &default);
        self.print(&outcome)?;
        outcome.verdict(self.fail_under)
    }

    fn print(&self, outcome: &Outcome) -> Answer {
        match self.format {
            CheckFormat::Human => {
                if !outcome.problems.is_empty() {
                    output::print(&format!("{}\n\n", render::human(&outcome.problems).trim_end()));
                }
                if self.coverage || self.fail_under.is_some() {
                    output::print(&outcome.told_coverage());
                }
                if outcome.errors() == 0 {
                    output::print(&format!(
                        "{} and {}: all good\n",
                        counted(outcome.files, "policy file"),
                        counted(outcome.results.len(), "check")
                    ));
                }
            }
            CheckFormat::Json => return output::json(&outcome.json()?),
            CheckFormat::Sarif => output::print(&with_line_end(render::sarif(&outcome.problems))),
            CheckFormat::Github => output::print(&render::github(&outcome.problems)),
            CheckFormat::Junit => {
                let files: Vec<Problem> =
                    outcome.problems.iter().filter(|problem| !is_failure(problem)).cloned().collect();
                output::print(&policies::junit(&outcome.results, &files));
            }
        }
        Ok(())
    }
}

/// Whether it is a failed check, rather than an invalid file.
fn is_failure(problem: &Problem) -> bool {
    problem.code == "EG0030"
}

/// The conflict within the policies of `sessions.default`, if these files contain all of them.
fn of_default_session(set: &PolicySet, sources: &[PolicySource], policies: &[PolicyName]) -> Option<Problem> {
    let (tenant, labels) = (TenantId::default(), BTreeMap::new());
    let subject = Subject { tenant: &tenant, agent: None, labels: &labels, policies };
    policies::conflict_of(set, sources, &subject, "`sessions.default`")
}

fn with_line_end(text: String) -> String {
    if text.ends_with('\n') { text } else { text + "\n" }
}

impl Outcome {
    fn of(files: &Files, around: &Surroundings, default: &[PolicyName]) -> Self {
        let now = Timestamp::now();
        let sources = files.with_library();
        let own = |file: &str| files.policies.iter().chain(&files.suites).any(|source| source.name == file);
        let count = files.policies.len();
        let set = match policies::compile(&sources) {
            Ok(set) => set,
            Err(problems) => return Self { problems, files: count, ..Self::default() },
        };
        let mut outcome = Self { problems: set.warnings().to_vec(), files: count, ..Self::default() };
        outcome.problems.extend(policies::lint(&set, &sources, now, around));
        outcome.problems.extend(policies::conflicting_pairs(&set, &files.policies));
        outcome.problems.extend(of_default_session(&set, &files.policies, default));
        outcome.problems.retain(|problem| own(&problem.file));
        outcome.results = set.run_checks(now).into_iter().filter(|result| own(&result.file)).collect();
        outcome.run_suites(files, &set, now);
        outcome.problems.extend(outcome.results.iter().filter_map(|result| result.problem.clone()));
        outcome.coverage =
            policies::coverage(&set, &outcome.results).into_iter().filter(|rule| own(&rule.file)).collect();
        outcome.problems.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        outcome
    }

    fn run_suites(&mut self, files: &Files, set: &PolicySet, now: Timestamp) {
        for suite in &files.suites {
            match policies::run_suite(suite, set, now) {
                Ok(results) => self.results.extend(results),
                Err(problems) => self.problems.extend(problems),
            }
        }
    }

    fn errors(&self) -> usize {
        self.problems.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// The percentage of reached rules, rounded down; 100 if there are none.
    fn percent(&self) -> usize {
        let reached = self.coverage.iter().filter(|rule| rule.checks > 0).count();
        (reached * 100).checked_div(self.coverage.len()).unwrap_or(100)
    }

    fn told_coverage(&self) -> String {
        let missed: Vec<_> = self.coverage.iter().filter(|rule| rule.checks == 0).collect();
        let reached = self.coverage.len() - missed.len();
        let mut text =
            format!("checks reach {reached} of {} ({} %)\n", counted(self.coverage.len(), "rule"), self.percent());
        for rule in missed {
            text.push_str(&format!(
                "  {}:{}: no check reaches rule `{}` of `{}`\n",
                rule.file, rule.line, rule.rule, rule.policy
            ));
        }
        text
    }

    fn json(&self) -> Answer<Value> {
        let problems: Value = serde_json::from_str(&render::json(&self.problems)).map_err(Failure::unreachable)?;
        let check = |result: &CheckResult| {
            json!({
                "policy": result.policy.as_str(),
                "request": result.request,
                "file": result.file,
                "line": result.line,
                "passed": result.passed(),
                "decision": result.actual.verdict.as_str(),
                "code": result.actual.code.map(|code| code.to_string()),
                "rule": result.actual.rule.as_ref().map(|rule| rule.as_str()),
            })
        };
        let rule = |rule: &Coverage| {
            json!({
                "policy": rule.policy.as_str(),
                "rule": rule.rule.as_str(),
                "file": rule.file,
                "line": rule.line,
                "checks": rule.checks,
            })
        };
        Ok(json!({
            "ok": self.errors() == 0,
            "files": self.files,
            "problems": problems,
            "checks": self.results.iter().map(check).collect::<Vec<_>>(),
            "coverage": {"percent": self.percent(), "rules": self.coverage.iter().map(rule).collect::<Vec<_>>()},
        }))
    }

    fn verdict(&self, fail_under: Option<u8>) -> Answer {
        let failed = self.results.iter().filter(|result| !result.passed()).count();
        let wrong = self.errors() - failed;
        if wrong > 0 {
            let message = format!("{} in {}", counted(wrong, "problem"), counted(self.files, "policy file"));
            return Err(Failure::refused(anyhow!(message)));
        }
        if failed > 0 {
            return Err(Failure::refused(anyhow!("{failed} of {} failed", counted(self.results.len(), "check"))));
        }
        match fail_under {
            Some(_) if self.coverage.is_empty() => Err(Failure::refused(anyhow!(
                "these files have no rules whose coverage could be measured; name policy files beside the suites"
            ))),
            Some(least) if self.percent() < usize::from(least) => Err(Failure::refused(anyhow!(
                "checks reach {} % of the rules, and {least} % are wanted",
                self.percent()
            ))),
            Some(_) | None => Ok(()),
        }
    }
}
