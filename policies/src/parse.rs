//! The one place that knows YAML: text in, [`Document`] and the problems out.
//!
//! Strict YAML 1.2 under a tight budget. `tree` makes nodes from the events of the parser, where anchors,
//! tags, quotes and empty values are still visible, and reports their misuses; `decode` makes the document
//! from the nodes, and reports what does not fit `keys`, the table of the language. Both go on after a
//! fault, so that one run tells all of them; what they then hand on stands in for what is broken, beside an
//! error that keeps the file from being used.

mod decode;
pub(crate) mod keys;
mod suggest;
mod tree;

use crate::document::{Document, SuiteDocument};
use crate::problem::{Place, Reporter, code};

/// The largest policy file, in bytes.
const MAX_FILE_BYTES: usize = 1024 * 1024;

const SPLIT: &str = "split it into several policies";

/// Reads one file. What is wrong with it is reported; then there is no document, or one that can only be
/// searched for further problems.
pub(crate) fn parse(reporter: &mut Reporter<'_>) -> Option<Document> {
    if reporter.text().len() > MAX_FILE_BYTES {
        let message = format!("the file exceeds {MAX_FILE_BYTES} bytes");
        reporter.error(code::BUDGET, Place::default(), message, SPLIT);
        return None;
    }
    refuse_lone_returns(reporter)?;
    let root = tree::read(reporter)?;
    decode::document(&root, reporter)
}

/// Reads one file of checks, as [`parse`] reads a policy.
pub(crate) fn parse_suite(reporter: &mut Reporter<'_>) -> Option<SuiteDocument> {
    if reporter.text().len() > MAX_FILE_BYTES {
        let message = format!("the file exceeds {MAX_FILE_BYTES} bytes");
        reporter.error(code::BUDGET, Place::default(), message, "split it into several files");
        return None;
    }
    refuse_lone_returns(reporter)?;
    let root = tree::read(reporter)?;
    decode::suite(&root, reporter)
}

/// Whether the text keeps to the part of YAML that has one reading; what does not is reported.
pub(crate) fn is_strict(reporter: &mut Reporter<'_>) -> bool {
    if reporter.text().len() > MAX_FILE_BYTES {
        let message = format!("the file exceeds {MAX_FILE_BYTES} bytes");
        reporter.error(code::BUDGET, Place::default(), message, SPLIT);
        return false;
    }
    refuse_lone_returns(reporter).is_some() && tree::read(reporter).is_some() && !reporter.has_errors()
}

/// A carriage return alone ends a line for YAML and for hardly anybody who reads the file: what follows it could hide
/// behind a comment.
fn refuse_lone_returns(reporter: &mut Reporter<'_>) -> Option<()> {
    let text = reporter.text();
    let lone = |at: &usize| !text.get(at + 1..).is_some_and(|rest| rest.starts_with('\n'));
    let Some(at) = text.match_indices('\r').map(|(at, _)| at).find(lone) else { return Some(()) };
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let message = "a carriage return stands alone: to YAML it ends the line, to most readers it does not";
    reporter.error(code::SYNTAX, Place { line, column, width: 1 }, message, "end lines with a line feed");
    None
}

#[cfg(test)]
mod tests;
