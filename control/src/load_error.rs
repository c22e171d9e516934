//! Why policies were rejected.

use std::fmt;
use std::io;
use std::path::PathBuf;

use policies::{CombineError, Problem, PublishError, Severity};

use crate::path_text::shown;

/// The most policy files that are read.
pub(crate) const MAX_FILES: usize = 10_000;

/// Why policies were rejected.
#[derive(Debug)]
pub enum LoadError {
    /// A file or folder cannot be read.
    Read {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A session's documents cannot be written.
    Write {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The files do not compile; all problems.
    Problems(Vec<Problem>),
    /// There are more files than allowed.
    TooMany,
    /// The files are acceptable alone, but a live session's selection of them contradicts itself.
    Combination {
        /// The session.
        session: String,
        /// The contradiction.
        error: CombineError,
    },
    /// A session's documents conflict with the policies that it names.
    Documents(PublishError),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => write!(f, "cannot read policies from {}: {source}", shown(path)),
            Self::Write { path, source } => write!(f, "cannot write the policy documents {}: {source}", shown(path)),
            Self::TooMany => write!(f, "there are more than {MAX_FILES} policy files"),
            Self::Combination { session, error } => {
                write!(f, "the policies of {session} contradict each other: {error}")
            }
            Self::Documents(error) => error.fmt(f),
            Self::Problems(problems) => {
                for (place, problem) in errors_first(problems).enumerate() {
                    write!(f, "{}{problem}", if place == 0 { "" } else { "\n\n" })?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for LoadError {}

impl LoadError {
    /// The error in one line, for records.
    pub(crate) fn brief(&self) -> String {
        match self {
            Self::Read { .. } | Self::Write { .. } | Self::TooMany | Self::Combination { .. } | Self::Documents(_) => {
                self.to_string()
            }
            Self::Problems(problems) => errors_first(problems).next().map(located).unwrap_or_default(),
        }
    }
}

/// The problems with the errors, which are why the files are refused, before the warnings.
fn errors_first(problems: &[Problem]) -> impl Iterator<Item = &Problem> {
    let of = |severity| problems.iter().filter(move |problem| problem.severity == severity);
    of(Severity::Error).chain(of(Severity::Warning))
}

fn located(problem: &Problem) -> String {
    format!("{}:{}:{}: {} ({})", problem.file, problem.line, problem.column, problem.message, problem.code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_listed_before_warnings() {
        let problem = |code, severity, file: &str| Problem {
            code,
            severity,
            message: format!("wrong {file}"),
            file: file.to_owned(),
            line: 0,
            column: 0,
            width: 1,
            source_line: String::new(),
            help: None,
        };
        let warning = problem("EG0060", Severity::Warning, "a.yaml");
        let errors =
            [("EG0001", "bad.yaml"), ("EG0002", "worse.yaml")].map(|(code, file)| problem(code, Severity::Error, file));
        let [first, second] = errors;
        let error = LoadError::Problems(vec![warning, first, second]);
        assert_eq!(error.brief(), "bad.yaml:0:0: wrong bad.yaml (EG0001)");
        assert_eq!(
            error.to_string(),
            "error[EG0001]: wrong bad.yaml\n --> bad.yaml\n\nerror[EG0002]: wrong worse.yaml\n --> worse.yaml\n\nwarning[EG0060]: wrong a.yaml\n --> a.yaml"
        );
    }
}
