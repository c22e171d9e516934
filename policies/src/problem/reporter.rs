//! The problems of one file.

use std::cell::OnceCell;

use super::{Place, Problem, Severity};

/// How many errors, and how many warnings, are reported for one file.
const MAX_PROBLEMS: usize = 100;

/// How much of a line is kept, in characters; a longer one was not written by hand.
const MAX_LINE_CHARS: usize = 1000;

/// Collects the problems of one file.
#[derive(Debug)]
pub(crate) struct Reporter<'a> {
    file: &'a str,
    text: &'a str,
    /// Where each line begins, in bytes; found when the first line is asked for.
    lines: OnceCell<Vec<usize>>,
    problems: Vec<Problem>,
    muted: Vec<&'static str>,
}

impl<'a> Reporter<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, lines: OnceCell::new(), problems: Vec::new(), muted: Vec::new() }
    }

    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// A line of the file, counted from 1, without its end; empty where there is none.
    pub(crate) fn line(&self, number: usize) -> &'a str {
        let starts = || std::iter::once(0).chain(self.text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let start = number.checked_sub(1).and_then(|n| self.lines.get_or_init(starts).get(n));
        start.and_then(|start| self.text.get(*start..)?.lines().next()).unwrap_or_default()
    }

    /// Adds a problem, once. Beyond a bound, more of them add nothing.
    pub(crate) fn push(&mut self, problem: Problem) {
        if self.takes(problem.code, problem.severity) && !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn takes(&self, code: &str, severity: Severity) -> bool {
        let same = |other: &&Problem| other.severity == severity;
        !self.muted.contains(&code) && self.problems.iter().filter(same).count() < MAX_PROBLEMS
    }

    /// Notes that the file cannot be taken.
    pub(crate) fn error(&mut self, code: &'static str, at: Place, message: impl Into<String>, help: impl Into<String>) {
        if self.takes(code, Severity::Error) {
            let problem = self.problem(code, at, message.into(), Some(help.into()));
            self.push(problem);
        }
    }

    /// Notes what is probably not meant.
    pub(crate) fn warn(&mut self, code: &'static str, at: Place, message: impl Into<String>, help: impl Into<String>) {
        if self.takes(code, Severity::Warning) {
            let problem = self.problem(code, at, message.into(), Some(help.into()));
            self.push(Problem { severity: Severity::Warning, ..problem });
        }
    }

    /// An error with its place, for callers that report it in another way.
    pub(crate) fn problem(&self, code: &'static str, at: Place, message: String, help: Option<String>) -> Problem {
        let source_line: String = self.line(at.line).chars().take(MAX_LINE_CHARS).collect();
        let rest = source_line.chars().count().saturating_sub(at.column.saturating_sub(1));
        Problem {
            code,
            severity: Severity::Error,
            message,
            file: self.file.to_owned(),
            line: at.line,
            column: at.column,
            width: at.width.clamp(1, rest.max(1)),
            source_line,
            help,
        }
    }

    /// Takes no problems with these codes from now on.
    pub(crate) fn mute(&mut self, codes: &[&'static str]) {
        self.muted.extend(codes);
    }

    /// Whether the file is refused.
    pub(crate) fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Whether no more errors are reported.
    pub(crate) fn is_full(&self) -> bool {
        self.problems.iter().filter(|problem| problem.severity == Severity::Error).count() >= MAX_PROBLEMS
    }

    /// How many problems there are by now.
    pub(crate) fn mark(&self) -> usize {
        self.problems.len()
    }

    /// Forgets what was noted after the mark.
    pub(crate) fn reset(&mut self, mark: usize) {
        self.problems.truncate(mark);
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}
