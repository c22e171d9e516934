//! The path of a request, with every reading in which a rule has to judge it.
//!
//! Parsers disagree about dot segments, backslashes, encoded delimiters, empty segments, `;` parameters and
//! double escapes (RFC 3986 section 6 is what servers may do, not what they do). A path that needs more than one
//! of those decisions is not interpreted: it is [`RequestPath::is_ambiguous`], and no path rule can allow it.
//! A path that needs exactly one is judged in each of its readings. The bytes that are sent on are the bytes that
//! were judged, never a rewritten form.

mod classify;
mod reading;
mod units;

use std::borrow::Cow;

use thiserror::Error;

use crate::query;

pub(crate) use units::hex_pair;

pub use reading::{ENCODED_SLASH, LITERAL_STAR, PathReading, path_escape, written_path};
use reading::{Readings, is_canonical};

/// A judged path with its query; made once, from the request target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPath {
    target: String,
    path_end: usize,
    readings: Readings,
    ambiguous: bool,
}

/// Why a request target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// An origin-form target begins with `/`.
    #[error("the path does not begin with a slash")]
    NoSlash,
    /// A byte that RFC 3986 does not allow in a path or query (controls, spaces, non-ASCII, `#`, `"`, `<`, `>`, `` ` ``).
    #[error("the target holds a byte that no URI may hold")]
    Byte,
    /// `%` without two hex digits (`%u002f` among them), or an escape of NUL, or an overlong or invalid UTF-8 sequence.
    #[error("the target holds a broken percent escape")]
    Escape,
}

impl RequestPath {
    /// Judges an origin-form request target (`/path?query`), in time linear in its length.
    ///
    /// # Errors
    /// [`PathError`] names the first thing wrong with it.
    pub fn parse(target: &str) -> Result<Self, PathError> {
        if !target.starts_with('/') {
            return Err(PathError::NoSlash);
        }
        let path_end = target.find('?').unwrap_or(target.len());
        let (path, query) = target.split_at(path_end);
        check_bytes(path.as_bytes())?;
        check_bytes(query.as_bytes())?;
        let (readings, ambiguous) =
            if is_canonical(path.as_bytes()) { (Readings::as_sent(path), false) } else { classify::classify(path)? };
        Ok(Self { target: target.to_owned(), path_end, readings, ambiguous })
    }

    /// The target `*` of a server-wide OPTIONS request, which only a rule with that very path allows.
    pub fn asterisk() -> Self {
        Self { target: "*".to_owned(), path_end: 1, readings: Readings::as_sent("*"), ambiguous: false }
    }

    /// The target as sent, with its query.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The path as sent, without its query.
    pub fn as_sent(&self) -> &str {
        self.target.get(..self.path_end).expect("path_end is the position of an ASCII character")
    }

    /// The query as sent, without its `?`.
    pub fn query(&self) -> Option<&str> {
        self.target.get(self.path_end + 1..)
    }

    /// Whether the path holds a dot segment or a backslash in any spelling, or more than one kind of ambiguity, so
    /// that the readings of servers cannot be listed. Where a rule has a path, such a request is refused.
    pub fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// Every reading of the path, decoded; the first is the path as sent. An ambiguous path has only that one.
    pub fn readings(&self) -> impl ExactSizeIterator<Item = PathReading<'_>> + Clone {
        self.readings.iter(self.as_sent())
    }

    /// What a record may keep: the path, and the query's names without their values.
    pub fn for_record(&self) -> String {
        let Some(query) = self.query() else { return self.as_sent().to_owned() };
        let mut text = String::with_capacity(self.as_sent().len() + 1 + query.len());
        text.push_str(self.as_sent());
        let mut sign = '?';
        // A pair without `=` is all value: it may be a secret.
        for pair in query::pairs(query).filter(|pair| pair.value.is_some()) {
            text.push(sign);
            text.push_str(pair.name);
            sign = '&';
        }
        text
    }
}

/// A text with its percent escapes decoded until none is left, in linear time; broken UTF-8 is replaced.
pub fn fully_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes: Vec<u8> = units::decoded_fully(text.as_bytes()).into_iter().map(|unit| unit.byte).collect();
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// Refuses bytes that no URI may hold and escapes that are not two hex digits.
fn check_bytes(bytes: &[u8]) -> Result<(), PathError> {
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => {
                hex_pair(tail).ok_or(PathError::Escape)?;
                rest = tail.get(2..).unwrap_or_default();
            }
            0..=0x20 | 0x7f..=0xff | b'#' | b'"' | b'<' | b'>' | b'`' => return Err(PathError::Byte),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
