//! Bodies that consist of messages: gRPC, gRPC-Web and streams of Connect. Each message is preceded by five bytes: flags, and
//! the length. A flag marks a message that is compressed with the coding of a head field. The text form of gRPC-Web is base64
//! around all of it.

use http::{HeaderValue, header};
use model::Fields;

use crate::codec::{CodingError, Codings, Decoder};

/// The flag of a message that is compressed.
const COMPRESSED: u8 = 1;

/// Fields that name the coding of the messages.
const FIELDS: [&str; 2] = ["grpc-encoding", "connect-content-encoding"];

/// Whether a body consists of messages that can be compressed one by one.
pub fn is_in_messages(fields: &Fields) -> bool {
    begins_with(fields, b"application/grpc") || begins_with(fields, b"application/connect+")
}

/// Whether such a body is in base64 as a whole.
pub fn is_text(fields: &Fields) -> bool {
    begins_with(fields, b"application/grpc-web-text")
}

/// Whether the content type has this prefix. If there are several types, servers differ in which they read.
pub fn begins_with(fields: &Fields, kind: &[u8]) -> bool {
    let mut types = fields.get_all(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    types.any(|named| named.trim_ascii().get(..kind.len()).is_some_and(|named| named.eq_ignore_ascii_case(kind)))
}

/// Follows the messages of a body.
#[derive(Debug, Default)]
pub struct Messages {
    prefix: [u8; 5],
    have: usize,
    left: u64,
}

/// The next part of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'b> {
    /// A message begins; whether it is compressed.
    Begin {
        /// Whether its flag marks it as compressed with the coding of messages.
        compressed: bool,
    },
    /// Bytes of a message.
    Data(&'b [u8]),
    /// A message has ended.
    End,
}

impl Messages {
    /// Takes the next part from `bytes`; `None` if it needs more input.
    pub fn next<'b>(&mut self, bytes: &mut &'b [u8]) -> Option<Part<'b>> {
        if self.left > 0 {
            let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            let (data, rest) = bytes.split_at_checked(count).filter(|(data, _)| !data.is_empty())?;
            *bytes = rest;
            self.left -= count as u64;
            return Some(Part::Data(data));
        }
        if self.have == self.prefix.len() {
            self.have = 0;
            return Some(Part::End);
        }
        while let Some((first, rest)) = bytes.split_first() {
            if let Some(place) = self.prefix.get_mut(self.have) {
                *place = *first;
            }
            self.have += 1;
            *bytes = rest;
            if self.have == 1 {
                return Some(Part::Begin { compressed: first & COMPRESSED != 0 });
            }
            if self.have == self.prefix.len() {
                let [_, length @ ..] = self.prefix;
                self.left = u64::from(u32::from_be_bytes(length));
                return self.next(bytes);
            }
        }
        None
    }

    /// Whether the body is at the end of a message.
    pub fn is_between(&self) -> bool {
        self.left == 0 && (self.have == 0 || self.have == self.prefix.len())
    }
}

/// Decodes each compressed message.
pub struct MessageDecoder {
    messages: Messages,
    /// `None` if the head names no coding.
    decoder: Option<Decoder>,
    /// Whether the bytes of the message are compressed.
    compressed: bool,
    /// Whether any of them arrived.
    begun: bool,
}

/// A decoded part of a message.
pub enum Decoded {
    /// Bytes of a compressed message.
    Data(Vec<u8>),
    /// The compressed message has ended.
    End,
}

impl MessageDecoder {
    /// One for each possible reading of the coding of messages. Also one if no coding is named, because a message can still
    /// declare that it is compressed; none for a body without messages.
    ///
    /// # Errors
    /// The head names an unsupported coding.
    pub fn readings(fields: &Fields) -> Result<Vec<Self>, CodingError> {
        if !is_in_messages(fields) {
            return Ok(Vec::new());
        }
        let of = |codings: &Codings| Self {
            messages: Messages::default(),
            decoder: codings.decoder(),
            compressed: false,
            begun: false,
        };
        Ok(Codings::readings(fields, &FIELDS)?.iter().map(of).collect())
    }

    /// Whether the head names a coding.
    pub fn has_coding(&self) -> bool {
        self.decoder.is_some()
    }

    /// The bytes of memory that the window of the coding uses, if known.
    pub fn memory_bytes(&self) -> usize {
        self.decoder.as_ref().map_or(0, Decoder::memory_bytes)
    }

    /// The body has ended: checks that it did not end within a compressed message.
    ///
    /// # Errors
    /// It ended within a compressed message.
    pub fn finish(&self) -> Result<(), CodingError> {
        if self.compressed && !self.messages.is_between() { Err(CodingError::Broken) } else { Ok(()) }
    }

    /// Passes the content of compressed messages to `take`, until that returns false.
    ///
    /// # Errors
    /// A message that is compressed without a named coding, or does not match it.
    pub fn push(&mut self, mut bytes: &[u8], mut take: impl FnMut(Decoded) -> bool) -> Result<(), CodingError> {
        while let Some(part) = self.messages.next(&mut bytes) {
            match part {
                Part::Begin { compressed } => {
                    if compressed && self.decoder.is_none() {
                        return Err(CodingError::Unsupported);
                    }
                    (self.compressed, self.begun) = (compressed, false);
                }
                Part::Data(data) => {
                    let Some(decoder) = self.decoder.as_mut().filter(|_| self.compressed) else { continue };
                    if !self.begun {
                        decoder.restart();
                        self.begun = true;
                    }
                    decoder.feed(data);
                    while let Some(decoded) = decoder.next_piece()? {
                        if !take(Decoded::Data(decoded)) {
                            return Ok(());
                        }
                    }
                }
                Part::End if self.begun => {
                    self.decoder.as_mut().map_or(Ok(()), Decoder::finish)?;
                    take(Decoded::End);
                }
                Part::End => {}
            }
        }
        Ok(())
    }
}

/// Decodes base64 (RFC 4648, both alphabets) that arrives in pieces, each of which can have its own padding.
#[derive(Debug, Default)]
pub struct Text {
    bits: u32,
    count: u32,
}

impl Text {
    /// # Errors
    /// A character that is not base64.
    pub fn push(&mut self, text: &[u8]) -> Result<Vec<u8>, CodingError> {
        let mut out = Vec::with_capacity(text.len() * 3 / 4 + 1);
        for byte in text {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                b'=' => {
                    *self = Self::default();
                    continue;
                }
                byte if byte.is_ascii_whitespace() => continue,
                _ => return Err(CodingError::Broken),
            };
            self.bits = self.bits << 6 | u32::from(value);
            self.count += 6;
            // A byte is returned as soon as it is complete: some servers omit the end of the last group.
            if self.count >= 8 {
                self.count -= 8;
                out.push((self.bits >> self.count) as u8);
                self.bits &= (1 << self.count) - 1;
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    use super::*;
    use crate::codec::tests::coded;

    /// One message.
    pub(crate) fn message(flags: u8, bytes: &[u8]) -> Vec<u8> {
        [&[flags][..], &u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
    }

    /// The head of a body in messages.
    pub(crate) fn head(kind: &str, coding: &str) -> Fields {
        let mut fields = Fields::new();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_str(kind).unwrap());
        fields.insert(http::HeaderName::from_static("grpc-encoding"), HeaderValue::from_str(coding).unwrap());
        fields
    }

    /// The content of the compressed messages, each followed by `|`.
    fn decode(coding: &str, pieces: &[&[u8]]) -> Result<Vec<u8>, CodingError> {
        let mut readings = MessageDecoder::readings(&head("application/grpc", coding))?;
        let mut out = Vec::new();
        for piece in pieces {
            readings[0].push(piece, |decoded| {
                match decoded {
                    Decoded::Data(data) => out.extend(data),
                    Decoded::End => out.push(b'|'),
                }
                true
            })?;
        }
        Ok(out)
    }

    #[test]
    fn t082_compressed_messages_are_decoded_however_they_are_cut() {
        let body = [
            message(0, b"plain"),
            message(1, &coded(&["gzip"], b"one")),
            message(1, b""),
            message(0, b""),
            message(1, &coded(&["gzip"], b"two")),
        ]
        .concat();
        for cut in 0..=body.len() {
            let (front, back) = body.split_at(cut);
            assert_eq!(decode("gzip", &[front, back]).as_deref(), Ok(&b"one|two|"[..]), "{cut}");
        }
        let single: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(decode("gzip", &single).as_deref(), Ok(&b"one|two|"[..]));
    }

    #[test]
    fn t082_messages_that_cannot_be_decoded_are_refused() {
        assert_eq!(decode("snappy", &[]), Err(CodingError::Unsupported));
        assert_eq!(decode("identity", &[&message(0, b"plain")]).as_deref(), Ok(&b""[..]));
        assert_eq!(decode("identity", &[&message(1, b"x")]), Err(CodingError::Unsupported));
        assert_eq!(decode("gzip", &[&message(1, b"not gzip at all")]), Err(CodingError::Broken));
        let packed = coded(&["gzip"], b"one");
        assert_eq!(decode("gzip", &[&message(1, &packed[..packed.len() - 1])]), Err(CodingError::Broken));
        // The ratio is that of the whole body, so that many small bombs do not pass.
        let bomb = message(1, &coded(&["gzip"], &vec![0; 1 << 19]));
        let bombs: Vec<&[u8]> = std::iter::repeat_n(bomb.as_slice(), 8).collect();
        assert_eq!(decode("gzip", &bombs), Err(CodingError::Expands));
    }

    #[test]
    fn t082_text_is_decoded_in_pieces_that_are_padded_on_their_own() {
        let text = [BASE64_STANDARD.encode(b"a"), BASE64_STANDARD.encode(b"\xfb\xff?"), "Y2".to_owned()].concat();
        for cut in 0..=text.len() {
            let (front, back) = text.as_bytes().split_at(cut);
            let mut stream = Text::default();
            let out = [stream.push(front).unwrap(), stream.push(back).unwrap()].concat();
            assert_eq!(out, b"a\xfb\xff?c", "{cut}");
        }
        assert_eq!(Text::default().push(b"a*"), Err(CodingError::Broken));
    }
}
