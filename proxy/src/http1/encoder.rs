//! The framing of an outgoing body (RFC 9112 section 6).

use std::fmt::Write as _;

use bytes::Bytes;
use http::HeaderMap;
use thiserror::Error;

use super::fields;
use super::outbox::Outbox;

/// How the end of a body is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoder {
    /// By its length: the bytes still to come.
    Length(u64),
    /// By the last chunk; whether trailers may follow it.
    Chunked { trailers: bool },
    /// By the end of the connection.
    UntilClose,
}

/// The length of the body differs from the announced one: the message cannot be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a body is not as long as was announced")]
pub(crate) struct WrongLength;

impl Encoder {
    /// Adds a piece of the body.
    ///
    /// # Errors
    /// It exceeds the announced length.
    pub(crate) fn put(&mut self, out: &mut Outbox, data: Bytes) -> Result<(), WrongLength> {
        if data.is_empty() {
            return Ok(());
        }
        match self {
            Self::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(WrongLength)?;
                out.push(data);
            }
            Self::Chunked { .. } => {
                // Writing to memory cannot fail.
                let _sized = write!(out.last(), "{:X}\r\n", data.len());
                out.push(data);
                out.last().extend_from_slice(b"\r\n");
            }
            Self::UntilClose => out.push(data),
        }
        Ok(())
    }

    /// Ends the body.
    ///
    /// # Errors
    /// It is shorter than the announced length.
    pub(crate) fn end(self, out: &mut Outbox, trailers: Option<&HeaderMap>) -> Result<(), WrongLength> {
        match self {
            Self::Length(0) | Self::UntilClose => Ok(()),
            Self::Length(_) => Err(WrongLength),
            Self::Chunked { trailers: allowed } => {
                out.last().extend_from_slice(b"0\r\n");
                if let Some(trailers) = trailers.filter(|_| allowed) {
                    trailers
                        .iter()
                        .for_each(|(name, value)| fields::put_line(out.last(), name.as_ref(), value.as_bytes()));
                }
                out.last().extend_from_slice(b"\r\n");
                Ok(())
            }
        }
    }

    /// Whether the connection can carry another message after this one.
    pub(crate) fn keeps_connection(self) -> bool {
        self != Self::UntilClose
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn encoded(
        mut encoder: Encoder,
        pieces: &[&'static str],
        trailers: Option<&HeaderMap>,
    ) -> Result<Vec<u8>, WrongLength> {
        let mut out = Outbox::default();
        for piece in pieces {
            encoder.put(&mut out, Bytes::from_static(piece.as_bytes()))?;
        }
        encoder.end(&mut out, trailers)?;
        Ok(out.last().to_vec())
    }

    #[test]
    fn each_framing_shows_its_end() {
        let mut sum = HeaderMap::new();
        sum.insert("x-sum", HeaderValue::from_static("7"));
        let chunked = |trailers| Encoder::Chunked { trailers };
        let pieces = ["hello", "", " worlds and more"];
        assert_eq!(encoded(Encoder::Length(21), &pieces, None).unwrap(), b"hello worlds and more");
        assert_eq!(encoded(Encoder::UntilClose, &pieces, Some(&sum)).unwrap(), b"hello worlds and more");
        assert_eq!(
            encoded(chunked(false), &pieces, Some(&sum)).unwrap(),
            b"5\r\nhello\r\n10\r\n worlds and more\r\n0\r\n\r\n"
        );
        assert_eq!(encoded(chunked(true), &["a"], Some(&sum)).unwrap(), b"1\r\na\r\n0\r\nx-sum: 7\r\n\r\n");
        assert_eq!(encoded(chunked(true), &[], None).unwrap(), b"0\r\n\r\n");
    }

    #[test]
    fn a_length_is_neither_exceeded_nor_missed() {
        assert_eq!(encoded(Encoder::Length(3), &["ab", "cd"], None), Err(WrongLength));
        assert_eq!(encoded(Encoder::Length(3), &["ab"], None), Err(WrongLength));
        assert_eq!(encoded(Encoder::Length(0), &[], None), Ok(vec![]));
    }
}
