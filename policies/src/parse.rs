//! The one place that knows the YAML reader: text in, [`Document`] or the problem out.
//!
//! Strict YAML 1.2 under a tight budget: no anchors, aliases, merge keys or tags, no key twice, no value
//! that other readers would take for a boolean or a number.

use serde_saphyr::{DuplicateKeyPolicy, Error, Location, MergeKeyPolicy, Options};

use crate::document::Document;
use crate::problem::{Problem, Reporter, code};

/// The largest policy file, in bytes.
pub(crate) const MAX_FILE_BYTES: usize = 1024 * 1024;

/// Keys of the whole language that this version does not have.
const LATER: [&str; 11] =
    ["applies_to", "ask", "ceiling", "limits", "query", "timeouts", "tls", "tool", "until", "upgrade", "within"];

/// Reads one file.
pub(crate) fn parse(reporter: &Reporter<'_>) -> Result<Document, Problem> {
    let text = reporter.text();
    if text.len() > MAX_FILE_BYTES {
        let message = format!("the file exceeds {MAX_FILE_BYTES} bytes");
        return Err(reporter.problem(
            code::BUDGET,
            Location::UNKNOWN,
            message,
            Some("split it into several policies".into()),
        ));
    }
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| explain(reporter, error.without_snippet()))
}

fn options() -> Options {
    let budget = serde_saphyr::budget! {
        max_aliases: 0,
        max_anchors: 0,
        max_merge_keys: 0,
        max_documents: 1,
        max_depth: 12,
        flow_nesting_limit: 12,
        max_nodes: 200_000,
        max_events: 400_000,
        max_total_scalar_bytes: MAX_FILE_BYTES,
    };
    serde_saphyr::options! {
        budget: budget,
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        no_schema: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// Says what the reader found in the words of the language.
fn explain(reporter: &Reporter<'_>, error: &Error) -> Problem {
    let at = error.location().unwrap_or(Location::UNKNOWN);
    reporter.problem(code::SYNTAX, at, error.to_string(), None)
}
