//! What is wrong in the file, and where.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_saphyr::{Location, Spanned};

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
        serde_saphyr::from_str_with_options(self.text, options).map_err(|error| {
            let text = error.to_string();
            // The place is shown above the line; the parser repeats it at the end of its sentence.
            let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
            self.at(error.location(), message.to_owned(), None)
        })
    }

    pub(super) fn problem<T>(&self, value: &Spanned<T>, message: String, help: Option<&str>) -> Problem {
        self.at(Some(value.referenced), message, help)
    }

    fn at(&self, location: Option<Location>, message: String, help: Option<&str>) -> Problem {
        let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let line = location.map_or(0, |place| number(place.line()));
        let column = location.map_or(0, |place| number(place.column()));
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
