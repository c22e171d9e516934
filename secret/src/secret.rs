//! The only type that holds plaintext: in locked pages, wiped when dropped, and never printed.

use std::fmt;
use std::io::{self, Read};

use zeroize::{Zeroize, Zeroizing};

use crate::arena::Slot;

/// Bytes that must not be seen. No `Clone`, `PartialEq`, `Serialize` or `Display`; `Debug` prints `[REDACTED]`.
pub struct Secret(Slot);

impl Secret {
    /// Takes ownership of the bytes; leaves no copy of them behind.
    pub fn new(mut bytes: Vec<u8>) -> Self {
        let secret = Self::copy_of(&bytes);
        bytes.zeroize();
        secret
    }

    /// Reads to the end, at most `max_bytes` bytes.
    ///
    /// # Errors
    /// Those of the reader, and [`io::ErrorKind::FileTooLarge`] if there are more than `max_bytes`.
    pub fn from_reader(reader: impl Read, max_bytes: usize) -> io::Result<Self> {
        let limit = max_bytes.saturating_add(1);
        // The full capacity from the start, so that the vector never moves while it is filled.
        let mut bytes = Zeroizing::new(Vec::with_capacity(limit.saturating_add(32)));
        reader.take(limit as u64).read_to_end(&mut bytes)?;
        if bytes.len() > max_bytes {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {max_bytes} bytes")));
        }
        Ok(Self::copy_of(&bytes))
    }

    /// The same without one trailing line end (`\n` or `\r\n`), as a text editor or `echo` adds it.
    #[must_use]
    pub fn without_line_end(self) -> Self {
        match &*self.0 {
            [front @ .., b'\r', b'\n'] | [front @ .., b'\n'] => Self::copy_of(front),
            _ => self,
        }
    }

    /// The same without a byte order mark, as a text editor adds it in front.
    #[must_use]
    pub fn without_mark(self) -> Self {
        let rest = model::text_file::without_mark(&self.0);
        if rest.len() == self.0.len() { self } else { Self::copy_of(rest) }
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The plaintext: the only access to it. Each use has a comment with its reason.
    pub fn expose_secret(&self) -> &[u8] {
        &self.0
    }

    /// Fills a secret at its final location; if `fill` fails, nothing is stored.
    ///
    /// # Errors
    /// The error of `fill`.
    pub fn init_in_place<E>(length: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut bytes = Slot::new(length);
        fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    fn copy_of(bytes: &[u8]) -> Self {
        Self(Slot::of(bytes))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "the tests look at made-up values")]
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let secret = Secret::new(b"hunter2-hunter2".to_vec());
        assert_eq!(format!("{secret:?} {:#?}", Some(&secret)), "[REDACTED] Some(\n    [REDACTED],\n)");
    }

    #[test]
    fn a_vector_with_room_to_spare_is_taken_whole() {
        let mut bytes = Vec::with_capacity(100);
        bytes.extend_from_slice(b"value");
        assert_eq!(Secret::new(bytes).expose_secret(), b"value");
    }

    #[test]
    fn reading_stops_at_the_limit() {
        assert_eq!(Secret::from_reader(&b"12345678"[..], 8).unwrap().expose_secret(), b"12345678");
        let error = Secret::from_reader(&b"123456789"[..], 8).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(!error.to_string().contains("123456789"));
    }

    #[test]
    fn one_byte_order_mark_is_cut() {
        for (text, want) in [("\u{feff}a\r\n", "a"), ("a\u{feff}", "a\u{feff}"), ("\u{feff}", ""), ("", "")] {
            let cut = Secret::new(text.as_bytes().to_vec()).without_mark().without_line_end();
            assert_eq!(cut.expose_secret(), want.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn one_line_end_is_cut() {
        for (text, want) in
            [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a"), ("a\r", "a\r"), ("\n", ""), ("", "")]
        {
            let cut = Secret::new(text.as_bytes().to_vec()).without_line_end();
            assert_eq!(cut.expose_secret(), want.as_bytes(), "{text:?}");
        }
    }
}
