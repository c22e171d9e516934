//! Matching on canonical values: hosts label by label, paths segment by segment.
//!
//! Nothing here repairs what it is given: a pattern that is not in its one canonical form is a problem
//! of the file, and a request has been judged by `model` before it comes here.

pub(crate) mod atoms;
mod glob;
mod host;
mod meet;
mod path;
mod text;

pub(crate) use host::HostPattern;
pub(crate) use path::{PathPattern, PathRank};
pub(crate) use text::TextPattern;

/// Why a pattern is not accepted, with what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PatternError {
    /// What is wrong.
    pub(crate) message: String,
    /// What to write instead.
    pub(crate) help: String,
}

impl PatternError {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}
