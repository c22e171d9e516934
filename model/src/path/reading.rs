//! Readings of a path: decoded texts in which every character has one spelling.
//!
//! A wildcard must never match half an escape, so a reading holds characters and no escapes. Two characters represent
//! what a decoded text could not distinguish; both are controls, which no reading holds otherwise.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::units::Unit;

/// In a reading, an encoded slash that stays within its segment.
pub const ENCODED_SLASH: char = '\u{1}';

/// In a reading, the character `*`, which in a pattern is a wildcard.
pub const LITERAL_STAR: char = '\u{2}';

/// One reading of a path, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathReading<'a> {
    text: &'a str,
    folded: &'a str,
}

impl<'a> PathReading<'a> {
    /// A reading that is only compared with allows: `folded` is the same text.
    pub fn new(text: &'a str, folded: &'a str) -> Self {
        Self { text, folded }
    }

    /// The decoded text, with [`ENCODED_SLASH`] and [`LITERAL_STAR`].
    pub fn text(self) -> &'a str {
        self.text
    }

    /// The same in ASCII lower case, for rules that deny.
    pub fn folded(self) -> &'a str {
        self.folded
    }
}

/// All readings of one path; where the first is the path as sent, it is not stored again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Readings {
    first: Stored,
    others: Vec<Stored>,
}

/// `None` where it is as the one before: the text as the path, the folded text as the text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    text: Option<Box<str>>,
    folded: Option<Box<str>>,
}

impl Stored {
    fn of(text: String, path: &str) -> Self {
        Self { folded: folded(&text), text: Some(text).filter(|text| text != path).map(String::into_boxed_str) }
    }

    fn reading<'a>(&'a self, path: &'a str) -> PathReading<'a> {
        let text = self.text.as_deref().unwrap_or(path);
        PathReading { text, folded: self.folded.as_deref().unwrap_or(text) }
    }
}

fn folded(text: &str) -> Option<Box<str>> {
    text.bytes().any(|byte| byte.is_ascii_uppercase()).then(|| text.to_ascii_lowercase().into_boxed_str())
}

impl Readings {
    /// The one reading of a path that is its own.
    pub(super) fn as_sent(path: &str) -> Self {
        Self { first: Stored { text: None, folded: folded(path) }, others: Vec::new() }
    }

    /// These readings of a path, each once, the first first.
    pub(super) fn of(path: &str, mut texts: Vec<String>) -> Self {
        let mut distinct: Vec<String> = Vec::with_capacity(texts.len());
        for text in texts.drain(..) {
            if !distinct.contains(&text) {
                distinct.push(text);
            }
        }
        let mut stored = distinct.into_iter().map(|text| Stored::of(text, path));
        let first = stored.next().expect("the path as sent is a reading");
        Self { first, others: stored.collect() }
    }

    pub(super) fn iter<'a>(&'a self, path: &'a str) -> impl ExactSizeIterator<Item = PathReading<'a>> + Clone {
        let count = self.others.len() + 1;
        (0..count).map(move |at| at.checked_sub(1).map_or(&self.first, |at| &self.others[at]).reading(path))
    }
}

/// Whether a path is its own only reading: nothing encoded, and nothing that two parsers read differently.
pub(super) fn is_canonical(path: &[u8]) -> bool {
    let mut previous = 0;
    path.iter().all(|&byte| {
        let pair = previous == b'/' && matches!(byte, b'/' | b'.');
        previous = byte;
        !pair && !matches!(byte, b'%' | b';' | b'\\' | b'*')
    })
}

/// The text of decoded bytes; `kept` leaves encoded slashes within their segment.
pub(super) fn written(units: &[Unit], kept: bool) -> String {
    let byte = |unit: &Unit| match unit.byte {
        b'/' if unit.depth > 0 && kept => ENCODED_SLASH as u8,
        b'*' => LITERAL_STAR as u8,
        byte => byte,
    };
    let bytes: Vec<u8> = units.iter().map(byte).collect();
    // Only a path that is refused can hold less than whole characters.
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// A character of a reading as written in a request target.
pub fn path_escape(c: char) -> Cow<'static, str> {
    match c {
        ENCODED_SLASH => Cow::Borrowed("%2F"),
        LITERAL_STAR => Cow::Borrowed("*"),
        'a'..='z' | 'A'..='Z' | '0'..='9' => Cow::Owned(c.to_string()),
        _ if "-._~!$&'()+,=:@/;*[]{}|^".contains(c) => Cow::Owned(c.to_string()),
        _ => {
            let mut text = String::new();
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                let _infallible = write!(text, "%{byte:02X}");
            }
            Cow::Owned(text)
        }
    }
}

/// A reading as it could be written in a request target: the form for messages.
pub fn written_path(reading: &str) -> String {
    reading.chars().map(path_escape).collect()
}
