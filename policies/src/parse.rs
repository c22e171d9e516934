//! The one place that knows the YAML reader: text in, [`Document`] or the problems out.
//!
//! Strict YAML 1.2 under a tight budget, in two passes. The first sees the events of the parser, where
//! anchors, tags, quotes and empty values are still visible, and finds all of their misuses; the second
//! builds the document and stops at the first thing that does not fit.

use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::granit_parser::{self, ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};
use serde_saphyr::{DuplicateKeyPolicy, Error, MergeKeyPolicy, Options};

use crate::document::Document;
use crate::problem::{Place, Problem, Reporter, code, quote};

/// The largest policy file, in bytes.
const MAX_FILE_BYTES: usize = 1024 * 1024;
/// The deepest nesting; the language needs six levels.
const MAX_DEPTH: usize = 12;
/// The most events of the parser: starts and ends of lists and mappings, and single values.
const MAX_EVENTS: usize = 200_000;
/// The most problems of the first pass that are reported.
const MAX_PROBLEMS: usize = 20;

const SPLIT: &str = "split it into several policies";
const QUOTE_PATTERN: &str = "quote the pattern: \"*.example.com\"";

/// Reads one file; what is wrong with it is reported, and then there is no document.
pub(crate) fn parse(reporter: &mut Reporter<'_>) -> Option<Document> {
    let text = reporter.text();
    if text.len() > MAX_FILE_BYTES {
        let message = format!("the file exceeds {MAX_FILE_BYTES} bytes");
        reporter.error(code::BUDGET, Place::default(), message, SPLIT);
        return None;
    }
    if !is_strict(text, reporter) {
        return None;
    }
    match serde_saphyr::from_str_with_options(text, options()) {
        Ok(document) => Some(document),
        Err(error) => {
            let problem = explain(reporter, error.without_snippet());
            reporter.push(problem);
            None
        }
    }
}

/// The first pass: whether the file keeps to the part of YAML that has one reading.
fn is_strict(text: &str, reporter: &mut Reporter<'_>) -> bool {
    let mut options = granit_parser::Options::default();
    options.emit_unresolved_aliases = true;
    options.emit_anchor_events = true;
    options.disallow_directives = true;
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    let (mut found, mut seen) = (0, 0);
    for event in Parser::new_from_str_with_options(text, options) {
        match event {
            Ok((event, span)) => found += usize::from(!event_is_strict(&event, &span, reporter)),
            Err(error) => {
                report_syntax(&error, reporter);
                return false;
            }
        }
        seen += 1;
        if seen > MAX_EVENTS {
            reporter.error(
                code::BUDGET,
                Place::default(),
                format!("the file holds more than {MAX_EVENTS} values"),
                SPLIT,
            );
            return false;
        }
        if found >= MAX_PROBLEMS {
            return false;
        }
    }
    found == 0
}

fn event_is_strict(event: &Event<'_>, span: &Span, reporter: &mut Reporter<'_>) -> bool {
    let at = place(span);
    #[expect(clippy::wildcard_enum_match_arm, reason = "starts and ends, and what later parsers may add")]
    let tag = match event {
        Event::UnresolvedAlias(name) if name.contains('.') || name.starts_with('*') || name.is_empty() => {
            let pattern = format!("*{name}");
            let message = format!("{} without quotes is an alias of YAML, not a host pattern", quote(&pattern));
            reporter.error(code::INDIRECTION, at, message, format!("quote the pattern: \"{pattern}\""));
            return false;
        }
        Event::UnresolvedAlias(_) | Event::Alias(_) | Event::Anchor(..) => {
            let help =
                "write the value out where it is meant, or name a set in `hosts`; quote what begins with `*` or `&`";
            reporter.error(code::INDIRECTION, at, "anchors and aliases are not accepted", help);
            return false;
        }
        Event::Scalar(value, ScalarStyle::Plain, _, None) => return plain_is_strict(value, at, reporter),
        Event::Scalar(_, _, _, tag) | Event::SequenceStart(_, _, tag) | Event::MappingStart(_, _, tag) => tag,
        _ => return true,
    };
    if tag.is_some() {
        let at = span.tag_span().as_ref().map_or(at, place);
        reporter.error(
            code::INDIRECTION,
            at,
            "tags are not accepted",
            "remove the tag; quote a value that begins with `!`",
        );
    }
    tag.is_none()
}

fn place(span: &Span) -> Place {
    Place { line: span.start.line(), column: span.start.col() + 1, width: span.len() }
}

/// What stands without quotes means in every reader what it says.
fn plain_is_strict(value: &str, at: Place, reporter: &mut Reporter<'_>) -> bool {
    match value {
        "" | "~" | "null" | "Null" | "NULL" => {
            let at = Place { width: at.width.max(1), ..at };
            reporter.error(
                code::UNQUOTED,
                at,
                "a value is missing here",
                "give the key a value, or remove it; nothing is not the same as any",
            );
        }
        "<<" => reporter.error(
            code::INDIRECTION,
            at,
            "merge keys are not accepted",
            "write the keys out where they are meant",
        ),
        "True" | "TRUE" | "False" | "FALSE" => implicit_boolean(value, at, reporter),
        _ if ["yes", "no", "on", "off"].iter().any(|word| value.eq_ignore_ascii_case(word)) => {
            implicit_boolean(value, at, reporter)
        }
        _ => return true,
    }
    false
}

fn implicit_boolean(value: &str, at: Place, reporter: &mut Reporter<'_>) {
    let message = format!("`{value}` without quotes is a boolean to some readers of YAML and a text to others");
    reporter.error(code::UNQUOTED, at, message, format!("write \"{value}\" in quotes"));
}

fn report_syntax(error: &ScanError, reporter: &mut Reporter<'_>) {
    let at = Place { line: error.marker().line(), column: error.marker().col() + 1, width: 1 };
    let problem = if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
        let message = format!("values are nested deeper than {MAX_DEPTH} levels");
        reporter.problem(code::BUDGET, at, message, Some("no policy needs that".to_owned()))
    } else {
        reporter.problem(code::SYNTAX, at, error.info(), syntax_help(reporter, at))
    };
    reporter.push(problem);
}

/// What the sign at the place of a syntax error suggests.
fn syntax_help(reporter: &Reporter<'_>, at: Place) -> Option<String> {
    let line = reporter.line(at.line);
    let sign = line.chars().nth(at.column.saturating_sub(1));
    match sign {
        Some('@') => Some("quote the name of a set: \"@name\"".to_owned()),
        Some('*' | '&') => Some(QUOTE_PATTERN.to_owned()),
        Some('`') => Some("quote the value".to_owned()),
        _ if line.starts_with('\t') || sign == Some('\t') => Some("indent with spaces, not with tabs".to_owned()),
        _ => None,
    }
}

fn options() -> Options {
    let budget = serde_saphyr::budget! {
        max_aliases: 0,
        max_anchors: 0,
        max_merge_keys: 0,
        max_documents: 1,
        max_depth: MAX_DEPTH,
        flow_nesting_limit: MAX_DEPTH,
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
    let at = error.location().map(Place::from).unwrap_or_default();
    let say = |code, message: String, help: Option<String>| reporter.problem(code, at, message, help);
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the reader's errors are many, and most have one meaning for an author"
    )]
    match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            say(code::UNKNOWN_KEY, format!("there is no key {}", quote(field)), Some(key_help(field, expected)))
        }
        Error::SerdeMissingField { field, .. } => {
            say(code::MISSING_KEY, format!("the key `{field}` is missing"), Some(format!("add `{field}`")))
        }
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().map(quote).unwrap_or_default();
            say(code::DUPLICATE_KEY, format!("the key {key} stands here twice"), Some("keep one of them".into()))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => say(
            code::WRONG_TYPE,
            format!("{} is none of {}", quote(variant), expected.join(", ")),
            Some(format!("write {}", expected.join(" or "))),
        ),
        Error::QuotingRequired { value, .. } => say(
            code::UNQUOTED,
            format!("{} without quotes is not a text", quote(value)),
            Some("write it in quotes".into()),
        ),
        Error::Budget { breach: BudgetBreach::Documents { .. }, .. } => {
            say(code::BUDGET, "a file holds one policy".into(), Some("put each policy into a file of its own".into()))
        }
        Error::Budget { .. } => {
            say(code::BUDGET, "the file is nested too deep or holds too much".into(), Some(SPLIT.into()))
        }
        Error::Eof { .. } => {
            say(code::MISSING_KEY, "the file is empty".into(), Some("begin with `policy: name`".into()))
        }
        Error::Unexpected { expected, .. } => {
            let (message, help) = match *expected {
                "mapping start" => {
                    ("keys and values are expected here", "write `key: value`, one a line or as `{key: value, ..}`")
                }
                "sequence start" => ("a list is expected here", "write `- entry`, one a line, or `[entry, ..]`"),
                "string scalar" => ("a text is expected here", "write one value"),
                _ => ("something else is expected here", "compare with the examples in docs/policy.md"),
            };
            say(code::WRONG_TYPE, message.into(), Some(help.into()))
        }
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => say(
            code::WRONG_TYPE,
            format!("{expected} is expected here"),
            Some("write one value, or `[value, ..]`".into()),
        ),
        Error::ExternallyTaggedEnumExpectedScalarOrMapping { .. } | Error::UnexpectedValueForUnitEnumVariant { .. } => {
            say(
                code::WRONG_TYPE,
                "one word is expected here".into(),
                Some("write one of the words that the key knows".into()),
            )
        }
        // The first pass found it to be YAML; what is left does not fit the language.
        _ => say(code::WRONG_TYPE, plain_message(error), Some("compare with the examples in docs/policy.md".into())),
    }
}

/// The reader's own message, without the place, which the problem has anyway.
fn plain_message(error: &Error) -> String {
    let message = error.to_string();
    message.rsplit_once(" at line ").map_or(message.clone(), |(text, _)| text.to_owned())
}

/// The key that was probably meant, or all that there are.
fn key_help(field: &str, expected: &[&str]) -> String {
    if field == "addresses" {
        return "`addresses` does not select; it stands beside `allow`, not in it".to_owned();
    }
    match expected.iter().find(|key| is_close(field, key)) {
        Some(key) => format!("did you mean `{key}`?"),
        None => format!("the keys here are {}", expected.join(", ")),
    }
}

/// Whether the texts differ by one letter, an `s` or the case.
fn is_close(a: &str, b: &str) -> bool {
    let (a, b) = (a.to_lowercase().into_bytes(), b.as_bytes());
    let same_start = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let same_end = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    let longest = a.len().max(b.len());
    a.len().abs_diff(b.len()) <= 1 && same_start + same_end + 1 >= longest
}
