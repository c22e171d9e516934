//! Why policies were rejected.

use std::fmt;
use std::io;
use std::path::PathBuf;

use policies::{CombineError, PublishError};

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
    Problems(Vec<policies::Problem>),
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
                for (place, problem) in problems.iter().enumerate() {
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
            Self::Problems(problems) => problems.first().map(located).unwrap_or_default(),
        }
    }
}

fn located(problem: &policies::Problem) -> String {
    format!("{}:{}:{}: {} ({})", problem.file, problem.line, problem.column, problem.message, problem.code)
}
