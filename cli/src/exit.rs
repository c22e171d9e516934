//! How a command ends: its exit code, and its last message.
//!
//! 0 done; 1 the answer is no; 2 wrong usage or bad input; 3 could not reach the sidecar or a store.

use std::fmt;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    error: Option<anyhow::Error>,
}

/// The result of a command.
pub(crate) type Answer<T = ()> = Result<T, Failure>;

impl Failure {
    /// The answer is no, for this reason.
    pub(crate) fn refused(error: impl Into<anyhow::Error>) -> Self {
        Self { code: 1, error: Some(error.into()) }
    }

    /// The command, one of its files or one of its values is wrong.
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { code: 2, error: Some(error.into()) }
    }

    /// The sidecar or a store cannot be reached or used.
    pub(crate) fn unreachable(error: impl Into<anyhow::Error>) -> Self {
        Self { code: 3, error: Some(error.into()) }
    }

    /// A command that ran ended with this code.
    pub(crate) fn code_of_command(code: u8) -> Self {
        Self { code, error: None }
    }

    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            Some(error) => write!(f, "{error:#}"),
            None => Ok(()),
        }
    }
}

/// Assigns a kind of failure to an error.
pub(crate) trait OrFail<T> {
    /// See [`Failure::usage`].
    fn or_usage(self) -> Answer<T>;
    /// See [`Failure::unreachable`].
    fn or_unreachable(self) -> Answer<T>;
}

impl<T, E: Into<anyhow::Error>> OrFail<T> for Result<T, E> {
    fn or_usage(self) -> Answer<T> {
        self.map_err(Failure::usage)
    }

    fn or_unreachable(self) -> Answer<T> {
        self.map_err(Failure::unreachable)
    }
}
