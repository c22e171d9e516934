//! Finds placeholders in a request body, however it is cut, encoded or compressed. Never in a hurry to send: what may be one
//! waits until it is known.
//!
//! Only what follows a whole mark is ever held back, so an ordinary stream passes as it comes. A placeholder's mark holds no
//! secret, and without its 32 letters it is worth nothing.

use std::io::{self, Write};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use memchr::memmem::{self, Finder};
use model::placeholder::{PLACEHOLDER_LETTERS, PLACEHOLDER_MARK};

use crate::codec::{CONTENT_ENCODING, CodingError, Codings, Decoder};
use crate::messages::{Decoded, MessageDecoder, Text, is_in_messages, is_text};

/// As much of what went before as a placeholder can take: each of its 41 signs as `\u0065`.
pub const TAIL_BYTES: usize = 6 * (PLACEHOLDER_MARK.len() + PLACEHOLDER_LETTERS);

static MARK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(PLACEHOLDER_MARK));

/// What bytes turned out to be.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// No placeholder.
    #[default]
    Clear,
    /// A mark whose letters are still to come.
    Pending,
    /// A placeholder, and what stood before it.
    Found(Found),
}

impl Verdict {
    fn weight(&self) -> u8 {
        match self {
            Self::Clear => 0,
            Self::Pending => 1,
            Self::Found(_) => 2,
        }
    }
}

/// A placeholder with what stood before it, without any encoding.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The bytes in which it is.
    pub bytes: Vec<u8>,
    /// Where the mark begins.
    pub at: usize,
}

/// Looks through one body: as it is sent, and through its codings.
pub struct Scanner {
    sent: StreamScanner,
    /// Each way in which its codings can be read, as long as the body can be read so.
    readings: Vec<Reading>,
}

/// The layers of a body, outermost first; those that it does not have are `None`.
struct Reading {
    /// The codings of the whole body.
    decoder: Option<Decoder>,
    /// Base64 around its messages.
    text: Option<Text>,
    /// What is left without these two, where there are any: what is sent as it is, is looked at anyway.
    content: Option<StreamScanner>,
    messages: Option<MessageDecoder>,
    /// The message that is being decoded.
    message: StreamScanner,
}

impl Scanner {
    /// A scanner for a body in the codings of its head: of the whole body (`Content-Encoding`, RFC 9110 section 8.4), and of the
    /// messages in it (gRPC, Connect).
    ///
    /// # Errors
    /// One that is not undone here.
    pub fn new(fields: &HeaderMap) -> Result<Self, CodingError> {
        let mut readings = Vec::new();
        for codings in Codings::readings(fields, &[CONTENT_ENCODING])? {
            let of_messages = MessageDecoder::readings(fields)?.into_iter().map(Some);
            // A body without messages has one reading all the same.
            let of_messages = of_messages.chain((!is_in_messages(fields)).then_some(None));
            readings.extend(of_messages.map(|messages| {
                let (decoder, text) = (codings.decoder(), is_text(fields).then(Text::default));
                let content = (decoder.is_some() || text.is_some()).then(StreamScanner::default);
                Reading { decoder, text, content, messages, message: StreamScanner::default() }
            }));
        }
        readings.retain(|reading| reading.is_coded() || reading.messages.is_some());
        Ok(Self { readings, ..Self::plain() })
    }

    /// A scanner for a body as it is.
    pub fn plain() -> Self {
        Self { sent: StreamScanner::default(), readings: Vec::new() }
    }

    /// Whether it looks through a coding.
    pub fn is_coded(&self) -> bool {
        self.readings.iter().any(Reading::is_coded)
    }

    /// The bytes of memory that the windows of its codings take, as far as they are known.
    pub fn memory_bytes(&self) -> usize {
        let of_messages = |reading: &Reading| reading.messages.as_ref().map_or(0, MessageDecoder::memory_bytes);
        let of_body = |reading: &Reading| reading.decoder.as_ref().map_or(0, Decoder::memory_bytes);
        self.readings.iter().map(|reading| of_body(reading) + of_messages(reading)).sum()
    }

    /// Looks no further through the coding.
    pub fn without_coding(&mut self) {
        self.readings.clear();
    }

    /// Looks at the next bytes of the body, as they are sent.
    ///
    /// # Errors
    /// The data is not in its coding, or expands too far.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Verdict, CodingError> {
        let sent = self.sent.look(bytes);
        if matches!(sent, Verdict::Found(_)) || self.readings.is_empty() {
            return Ok(sent);
        }
        let mut verdict = sent;
        let mut broken = None;
        let mut read = Vec::with_capacity(self.readings.len());
        for mut reading in self.readings.drain(..) {
            match reading.push(bytes) {
                Ok(found) => {
                    read.push(reading);
                    if found.weight() > verdict.weight() {
                        verdict = found;
                    }
                }
                Err(error) => broken = Some(error),
            }
        }
        self.readings = read;
        match broken {
            Some(error) if self.readings.is_empty() => Err(error),
            Some(_) | None => Ok(verdict),
        }
    }

    /// The body has ended; what it is coded in must have ended, too. A server could take for the content what an early end leaves, or
    /// bytes that are in no coding.
    ///
    /// # Errors
    /// In none of its readings is the body complete.
    pub fn finish(&mut self) -> Result<(), CodingError> {
        let mut readings = std::mem::take(&mut self.readings);
        let mut ends = readings.iter_mut().map(Reading::finish);
        let Some(first) = ends.next() else { return Ok(()) };
        ends.fold(first, Result::or)
    }
}

impl Reading {
    /// Whether all of its layers ended with the body.
    fn finish(&mut self) -> Result<(), CodingError> {
        self.decoder.as_mut().map_or(Ok(()), Decoder::finish)?;
        self.messages.as_ref().map_or(Ok(()), MessageDecoder::finish)
    }

    /// Whether it finds what does not stand in the body as it is sent.
    fn is_coded(&self) -> bool {
        self.content.is_some() || self.messages.as_ref().is_some_and(MessageDecoder::has_coding)
    }

    fn push(&mut self, bytes: &[u8]) -> Result<Verdict, CodingError> {
        let Some(mut decoder) = self.decoder.take() else { return self.push_decoded(bytes) };
        decoder.feed(bytes);
        let mut verdict = Verdict::Clear;
        while let Some(decoded) = decoder.next_piece()? {
            verdict = self.push_decoded(&decoded)?;
            if matches!(verdict, Verdict::Found(_)) {
                break;
            }
        }
        self.decoder = Some(decoder);
        let content = self.content.as_mut().map_or(Verdict::Clear, StreamScanner::said);
        if verdict == Verdict::Clear { Ok(heavier(content, self.message.said())) } else { Ok(verdict) }
    }

    /// Looks at bytes of the body without its codings.
    fn push_decoded(&mut self, bytes: &[u8]) -> Result<Verdict, CodingError> {
        let decoded = self.text.as_mut().map(|text| text.push(bytes)).transpose()?;
        let bytes = decoded.as_deref().unwrap_or(bytes);
        let content = self.content.as_mut().map_or(Verdict::Clear, |content| content.look(bytes));
        let Some(messages) = self.messages.as_mut().filter(|_| !matches!(content, Verdict::Found(_))) else {
            return Ok(content);
        };
        let (message, mut found) = (&mut self.message, None);
        messages.push(bytes, |decoded| {
            match decoded {
                Decoded::Data(data) => {
                    found = Some(message.look(&data)).filter(|said| matches!(said, Verdict::Found(_)))
                }
                Decoded::End => *message = StreamScanner::default(),
            }
            found.is_none()
        })?;
        Ok(found.unwrap_or_else(|| heavier(content, message.said())))
    }
}

/// The one that says more.
fn heavier(one: Verdict, other: Verdict) -> Verdict {
    if other.weight() > one.weight() { other } else { one }
}

/// Looks through all of a body that is in no coding.
pub fn look(body: &[u8]) -> Verdict {
    judge(body)
}

/// Whether a text of a head holds a placeholder in an encoding. One that stands there as it is, is for others to judge.
pub fn is_hidden_in(text: &[u8]) -> bool {
    let length = PLACEHOLDER_MARK.len() + PLACEHOLDER_LETTERS;
    if text.len() <= length {
        return false;
    }
    let escaped = || {
        // Without those that stand there as they are, which an escape before them could make unreadable.
        let mut rest = text.to_vec();
        for mark in model::placeholder::find_marks(text) {
            rest.get_mut(mark).into_iter().for_each(|mark| mark.fill(b' '));
        }
        matches!(in_plain(&without_escapes(&rest)), Verdict::Found(_))
    };
    memchr::memchr2(b'%', b'\\', text).is_some() && escaped() || matches!(in_base64(text), Verdict::Found(_))
}

/// Takes the body as it is read, and knows what the last of it turned out to be.
#[derive(Default)]
pub struct StreamScanner {
    /// The end of what came before.
    tail: Vec<u8>,
    verdict: Verdict,
}

impl StreamScanner {
    /// What these bytes make of what came before.
    fn look(&mut self, bytes: &[u8]) -> Verdict {
        // A judge fails only where it has found something.
        (self.write_all(bytes), self.said()).1
    }

    /// What it turned out to be; what waits for more goes on waiting.
    fn said(&mut self) -> Verdict {
        let pending = self.verdict == Verdict::Pending;
        let said = std::mem::take(&mut self.verdict);
        if pending {
            self.verdict = Verdict::Pending;
        }
        said
    }
}

impl Write for StreamScanner {
    /// Judges bytes by what went before, and keeps of both what the next ones need.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let tail = &mut self.tail;
        // Across the border first; what begins in the tail ends within as much of the new bytes.
        tail.extend_from_slice(bytes.get(..TAIL_BYTES).unwrap_or(bytes));
        self.verdict = judge(tail);
        if bytes.len() > TAIL_BYTES {
            if !matches!(self.verdict, Verdict::Found(_)) {
                self.verdict = judge(bytes);
            }
            tail.clear();
            tail.extend_from_slice(bytes.get(bytes.len() - TAIL_BYTES..).unwrap_or_default());
        } else {
            let surplus = tail.len().saturating_sub(TAIL_BYTES);
            tail.drain(..surplus);
        }
        if matches!(self.verdict, Verdict::Found(_)) {
            return Err(io::Error::other("a placeholder"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn judge(bytes: &[u8]) -> Verdict {
    let escaped = memchr::memchr(b'%', bytes).is_some() || memmem::find(bytes, b"\\u").is_some();
    let unescaped = if escaped { in_plain(&without_escapes(bytes)) } else { Verdict::Clear };
    // Also as it stands: `%eegret_ph_..` is a placeholder to whoever does not undo escapes.
    [unescaped, in_plain(bytes), in_base64(bytes)].into_iter().rev().max_by_key(Verdict::weight).unwrap_or_default()
}

fn in_plain(bytes: &[u8]) -> Verdict {
    let mut verdict = Verdict::Clear;
    for at in MARK.find_iter(bytes) {
        match letters(bytes, at) {
            Verdict::Clear => {}
            Verdict::Pending => verdict = Verdict::Pending,
            found @ Verdict::Found(_) => return found,
        }
    }
    verdict
}

/// What follows a mark: one of the 32 may be no letter or digit, as in a head.
fn letters(bytes: &[u8], at: usize) -> Verdict {
    let after = bytes.get(at + PLACEHOLDER_MARK.len()..).unwrap_or_default();
    let after = after.get(..PLACEHOLDER_LETTERS).unwrap_or(after);
    if after.iter().filter(|byte| !byte.is_ascii_alphanumeric()).count() > 1 {
        Verdict::Clear
    } else if after.len() < PLACEHOLDER_LETTERS {
        Verdict::Pending
    } else {
        let end = at + PLACEHOLDER_MARK.len() + PLACEHOLDER_LETTERS;
        Verdict::Found(Found { bytes: bytes.get(..end).unwrap_or_default().to_vec(), at })
    }
}

/// Percent encoding (RFC 3986 section 2.1) and JSON's `\u0065` (RFC 8259 section 7) undone, wherever they stand.
fn without_escapes(bytes: &[u8]) -> Vec<u8> {
    let hex = |digits: Option<&[u8]>| {
        let text = std::str::from_utf8(digits?).ok()?;
        if text.bytes().all(|byte| byte.is_ascii_hexdigit()) { u8::from_str_radix(text, 16).ok() } else { None }
    };
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let percent = || hex(bytes.get(at + 1..at + 3)).map(|byte| (byte, 3));
        let unicode = || {
            let zeros = bytes.get(at + 1..at + 4)? == b"u00";
            zeros.then(|| hex(bytes.get(at + 4..at + 6)))?.map(|byte| (byte, 6))
        };
        let begun = |length: usize| bytes.len() < at + length;
        if (*byte == b'%' && begun(3)) || (*byte == b'\\' && begun(6)) {
            break; // the rest of it is still to come
        }
        let (byte, length) = match byte {
            b'%' => percent(),
            b'\\' => unicode(),
            _ => None,
        }
        .unwrap_or((*byte, 1));
        out.push(byte);
        at += length;
    }
    out
}

/// One of the three ways in which the mark can stand in base64, by its place in a group of three bytes.
struct Core {
    finder: Finder<'static>,
    /// Signs of the core before a whole group begins, and the bytes of the mark that stand before it.
    before: usize,
    bytes_before: usize,
}

/// The signs that are the same whatever stands before and after the mark. None of them differs in the alphabet for URLs
/// (RFC 4648 section 5).
static CORES: LazyLock<[Core; 3]> = LazyLock::new(|| {
    [(0, 0, 0), (1, 2, 2), (2, 1, 1)].map(|(offset, before, bytes_before)| {
        let padded = [&b"xx"[..offset], PLACEHOLDER_MARK.as_bytes()].concat();
        let coded = BASE64.encode(&padded);
        let first = (offset * 8).div_ceil(6);
        let whole = padded.len() * 8 / 6;
        Core {
            finder: Finder::new(coded.as_bytes().get(first..whole).unwrap_or_default()).into_owned(),
            before,
            bytes_before,
        }
    })
});

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn in_base64(bytes: &[u8]) -> Verdict {
    let mut verdict = Verdict::Clear;
    for core in CORES.iter() {
        for at in core.finder.find_iter(bytes) {
            let group = at + core.before;
            let wanted = (PLACEHOLDER_MARK.len() - core.bytes_before + PLACEHOLDER_LETTERS).div_ceil(3) * 4;
            let run: Vec<u8> = bytes
                .get(group..)
                .unwrap_or_default()
                .iter()
                .take(wanted)
                .map_while(|byte| match byte {
                    b'-' => Some(b'+'),
                    b'_' => Some(b'/'),
                    byte if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/') => Some(*byte),
                    _ => None,
                })
                .collect();
            let at_end = group + run.len() == bytes.len();
            // A single sign over is less than a byte.
            let whole = run.len() - usize::from(run.len() % 4 == 1);
            let Ok(decoded) = BASE64.decode(run.get(..whole).unwrap_or_default()) else { continue };
            let mark = PLACEHOLDER_MARK.as_bytes();
            let full = [mark.get(..core.bytes_before).unwrap_or_default(), decoded.as_slice()].concat();
            match letters(&full, 0) {
                Verdict::Clear => {}
                Verdict::Pending if at_end => verdict = Verdict::Pending,
                Verdict::Pending => {}
                found @ Verdict::Found(_) => return found,
            }
        }
    }
    verdict
}

#[cfg(test)]
mod tests;
