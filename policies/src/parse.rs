//! The one parser of YAML: text in, [`Document`] and the problems out.
//!
//! Strict YAML 1.2 under a tight budget. `tree` makes nodes from the events of the parser, where anchors,
//! tags, quotes and empty values are still visible, and reports their misuses; `decode` makes the document
//! from the nodes, and reports what does not fit `keys`, the table of the language. Both go on after a
//! fault, so that one run reports all of them; their result replaces what is broken, beside an
//! error that keeps the file from being used.

mod decode;
pub(crate) mod keys;
pub(crate) mod suggest;
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
    refuse_hidden(reporter)?;
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
    refuse_hidden(reporter)?;
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
    refuse_hidden(reporter).is_some() && tree::read(reporter).is_some() && !reporter.has_errors()
}

/// A character that looks different to a reader than to YAML: a line that ends for one of them alone, an order of
/// reading that is turned round, or nothing at all. A rule could hide behind it, or look as if it were there.
fn refuse_hidden(reporter: &mut Reporter<'_>) -> Option<()> {
    let text = reporter.text();
    let hides = |(at, sign): &(usize, char)| match sign {
        '\r' => !text.get(at + 1..).is_some_and(|rest| rest.starts_with('\n')),
        '\n' | '\t' => false,
        '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        sign => sign.is_control(),
    };
    let Some((at, sign)) = text.char_indices().find(hides) else { return Some(()) };
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let (message, help) = match sign {
        '\r' => (
            "a carriage return without a line feed: to YAML it ends the line, to most readers it does not".to_owned(),
            "end lines with a line feed",
        ),
        sign => (
            format!("U+{:04X} does not show, or shows the line otherwise than YAML reads it", u32::from(sign)),
            "remove it; a text in double quotes can hold it as an escape",
        ),
    };
    reporter.error(code::SYNTAX, Place { line, column, width: 1 }, message, help);
    None
}

#[cfg(test)]
mod tests;
