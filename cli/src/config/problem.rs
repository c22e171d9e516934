//! The problems of the file, with their positions.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_saphyr::granit_parser::{Event, Parser};
use serde_saphyr::{Error, Location, Spanned};

/// A file and its text.
pub(super) struct Source<'a> {
    pub(super) file: String,
    pub(super) text: &'a str,
}

/// One problem, shown with its line.
#[derive(Debug)]
pub(crate) struct Problem {
    file: String,
    line: usize,
    column: usize,
    source_line: String,
    message: String,
    help: Option<String>,
}

impl Source<'_> {
    /// Reads the document; an empty file is an empty document.
    pub(super) fn parse<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        let written = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        if !self.text.lines().any(written) {
            return Ok(T::default());
        }
        let options = serde_saphyr::options! { with_snippet: false };
        let document = serde_saphyr::from_str_with_options(self.text, options).map_err(|error| {
            let (message, help) = explain(&error);
            self.at(error.location(), message, help.as_deref())
        })?;
        match empty_value(self.text) {
            Some((line, column)) => {
                Err(self.at_line(line, column, "empty value".to_owned(), Some("write a value, or remove the key")))
            }
            None => Ok(document),
        }
    }

    pub(super) fn problem<T>(&self, value: &Spanned<T>, message: String, help: Option<&str>) -> Problem {
        self.at(Some(value.referenced), message, help)
    }

    /// A line for the log about an accepted value, with its position and its code.
    pub(super) fn warning<T>(&self, value: &Spanned<T>, code: &str, message: &str, help: &str) -> String {
        let Problem { file, line, column, .. } = self.problem(value, String::new(), None);
        format!("{file}:{line}:{column}: {message}; {help} ({code})")
    }

    fn at(&self, location: Option<Location>, message: String, help: Option<&str>) -> Problem {
        let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let line = location.map_or(0, |place| number(place.line()));
        let column = location.map_or(0, |place| number(place.column()));
        self.at_line(line, column, message, help)
    }

    fn at_line(&self, line: usize, column: usize, message: String, help: Option<&str>) -> Problem {
        let source_line = line.checked_sub(1).and_then(|above| self.text.lines().nth(above)).unwrap_or_default();
        Problem {
            file: self.file.clone(),
            line,
            column,
            source_line: source_line.to_owned(),
            message,
            help: help.map(str::to_owned),
        }
    }
}

/// The first value that is missing, or is an empty text: line and column from 1. `null` is a value.
fn empty_value(text: &str) -> Option<(usize, usize)> {
    let mut depth = 0_usize;
    for (event, span) in Parser::new_from_str(text).map_while(Result::ok) {
        if matches!(event, Event::MappingStart(..) | Event::SequenceStart(..)) {
            depth += 1;
        } else if let Event::Scalar(value, ..) = &event
            && (value.is_empty() || span.is_empty())
            && depth > 0
        {
            return Some((span.start.line(), span.start.col() + 1));
        }
    }
    None
}

/// The problem and its solution in our words: the parser's messages are for programmers.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is the library's, and not exhaustive")]
fn explain(error: &Error) -> (String, Option<String>) {
    let (message, help) = match error {
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_ref().map(|key| format!(" `{key}`")).unwrap_or_default();
            (format!("duplicate key{key}"), "keep one of them")
        }
        Error::SerdeUnknownField { field, expected, .. } => {
            let known = if expected.is_empty() { "none".to_owned() } else { expected.join(", ") };
            return (format!("unknown key `{field}`"), Some(format!("the keys here are: {known}")));
        }
        Error::Unexpected { expected: "sequence start", .. } => {
            ("expected a list".to_owned(), "write `[a, b]`, or each item on its own line after `- `")
        }
        Error::Unexpected { expected: "mapping start", .. } => {
            ("expected a mapping".to_owned(), "write `{key: value}`, or each `key: value` on its own, indented line")
        }
        Error::Unexpected { expected: "scalar" | "string scalar", .. } => {
            ("expected a single value".to_owned(), "write text or a number, not a list or a mapping")
        }
        Error::InvalidBooleanStrict { .. } | Error::InvalidScalar { ty: "boolean", .. } => {
            ("expected true or false".to_owned(), "write `true` or `false`, without quotes")
        }
        Error::NullIntoString { .. } => ("empty value".to_owned(), "write a value, or remove the key"),
        Error::SerdeInvalidType { unexpected, expected, .. } => {
            return (format!("expected {expected}, found {unexpected}"), None);
        }
        Error::MultipleDocuments { .. } => {
            ("the file has several documents".to_owned(), "remove the line `---` and what follows it")
        }
        Error::UnknownAnchor { .. } => {
            ("an alias without an anchor".to_owned(), "put text that begins with `*` in quotes")
        }
        _ => {
            // The position is shown above the line; the parser repeats it at the end of its sentence.
            let text = error.to_string();
            let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
            (format!("not valid: {reason}"), "check indentation, quotes and brackets here and in the line above")
        }
    };
    (message, Some(help.to_owned()))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.file, self.message)?;
        } else {
            let (margin, number) = (self.line.to_string().len(), self.line);
            let before: String = self.source_line.chars().take(self.column.saturating_sub(1)).collect();
            let indent: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            writeln!(f, "{}:{number}:{}: {}", self.file, self.column, self.message)?;
            writeln!(f, "{:margin$} |", "")?;
            writeln!(f, "{number} | {}", self.source_line)?;
            write!(f, "{:margin$} | {indent}^", "")?;
        }
        match &self.help {
            Some(help) => write!(f, "\nhelp: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}
