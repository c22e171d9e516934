//! Finds placeholders in a request body, wherever it is split, encoded or compressed. Bytes that may be a placeholder wait
//! until that is known.
//!
//! Only bytes after a whole mark are ever held, so an ordinary stream passes as it arrives. A placeholder's mark contains no
//! secret, and without its 32 characters it is worthless.

use model::Fields;
use std::io::{self, Write};
use std::sync::LazyLock;

use aho_corasick::packed::Searcher;
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use memchr::memmem::Finder;
use model::placeholder::{PLACEHOLDER_LETTERS, PLACEHOLDER_MARK};

use crate::codec::{CONTENT_ENCODING, CodingError, Codings, Decoder};
use crate::messages::{Decoded, MessageDecoder, Text, is_in_messages, is_text};

/// The longest encoded placeholder that the previous bytes may contain: each of its 41 characters as `\u0065`.
pub const TAIL_BYTES: usize = 6 * (PLACEHOLDER_MARK.len() + PLACEHOLDER_LETTERS);

static MARK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(PLACEHOLDER_MARK));

/// The verdict on the bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// No placeholder.
    #[default]
    Clear,
    /// A mark whose 32 characters are still to come.
    Pending,
    /// A placeholder, and the bytes before it.
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

/// A placeholder with the bytes before it, without any encoding.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The bytes that contain it.
    pub bytes: Vec<u8>,
    /// The start of the mark.
    pub at: usize,
}

/// Scans one body: in its sent form, and through its codings.
pub struct Scanner {
    sent: StreamScanner,
    /// Each possible reading of its codings that the body has not contradicted yet.
    readings: Vec<Reading>,
}

/// The layers of a body, outermost first; missing layers are `None`.
struct Reading {
    /// The codings of the whole body.
    decoder: Option<Decoder>,
    /// Base64 around its messages.
    text: Option<Text>,
    /// The bytes without these two layers, if it has any: the sent form is scanned anyway.
    content: Option<StreamScanner>,
    messages: Option<MessageDecoder>,
    /// The message in progress.
    message: StreamScanner,
}

impl Scanner {
    /// A scanner for a body in the codings of its head: of the whole body (`Content-Encoding`, RFC 9110 section 8.4), and of its
    /// messages (gRPC, Connect).
    ///
    /// # Errors
    /// An unsupported coding.
    pub fn new(fields: &Fields) -> Result<Self, CodingError> {
        let mut readings = Vec::new();
        for codings in Codings::readings(fields, &[CONTENT_ENCODING])? {
            let of_messages = MessageDecoder::readings(fields)?.into_iter().map(Some);
            // A body without messages still has one reading.
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

    /// A scanner for a body without codings.
    pub fn plain() -> Self {
        Self { sent: StreamScanner::default(), readings: Vec::new() }
    }

    /// Whether it scans through a coding.
    pub fn is_coded(&self) -> bool {
        self.readings.iter().any(Reading::is_coded)
    }

    /// The bytes of memory that the windows of its codings use, if known.
    pub fn memory_bytes(&self) -> usize {
        let of_messages = |reading: &Reading| reading.messages.as_ref().map_or(0, MessageDecoder::memory_bytes);
        let of_body = |reading: &Reading| reading.decoder.as_ref().map_or(0, Decoder::memory_bytes);
        self.readings.iter().map(|reading| of_body(reading) + of_messages(reading)).sum()
    }

    /// Stops scanning through the coding.
    pub fn without_coding(&mut self) {
        self.readings.clear();
    }

    /// Scans the next bytes of the body, in their sent form.
    ///
    /// # Errors
    /// The data does not match its coding, or expands too far.
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

    /// The body has ended; checks that its codings have ended, too. A server could accept as content the output before an early end,
    /// or bytes without a coding.
    ///
    /// # Errors
    /// The body is complete in none of its readings.
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

    /// Whether it finds placeholders that are not in the sent form of the body.
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

    /// Scans bytes of the body without its codings.
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

/// The more specific of two verdicts.
fn heavier(one: Verdict, other: Verdict) -> Verdict {
    if other.weight() > one.weight() { other } else { one }
}

/// Scans a whole body without codings.
pub fn look(body: &[u8]) -> Verdict {
    judge(body)
}

/// Whether a text of a head contains a placeholder in an encoding. A plain placeholder is judged elsewhere.
pub fn is_hidden_in(text: &[u8]) -> bool {
    let length = PLACEHOLDER_MARK.len() + PLACEHOLDER_LETTERS;
    if text.len() <= length {
        return false;
    }
    let escaped = || {
        // Without the plain ones, which an escape before them could make unreadable.
        let mut rest = text.to_vec();
        for mark in model::placeholder::find_marks(text) {
            rest.get_mut(mark).into_iter().for_each(|mark| mark.fill(b' '));
        }
        matches!(in_plain(&without_escapes(&rest)), Verdict::Found(_))
    };
    memchr::memchr2(b'%', b'\\', text).is_some() && escaped() || matches!(in_base64(text), Verdict::Found(_))
}

/// Scans the body as a server reads it, and stores the verdict on its last bytes.
#[derive(Default)]
pub struct StreamScanner {
    /// The end of the previous bytes.
    tail: Vec<u8>,
    verdict: Verdict,
}

impl StreamScanner {
    /// The verdict on these bytes after the previous ones.
    fn look(&mut self, bytes: &[u8]) -> Verdict {
        // A scanner fails only if it has found something.
        (self.write_all(bytes), self.said()).1
    }

    /// The final verdict; undecided bytes stay undecided.
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
    /// Judges bytes with the previous ones, and keeps the part of both that the next ones need.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let tail = &mut self.tail;
        // First across the border: a mark that begins in the tail ends within the same number of new bytes.
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
    let escaped = in_escapes(bytes);
    if !may_have_mark(bytes) {
        return escaped;
    }
    // Also without undoing escapes: a reader that does not undo them sees a placeholder in `%eegret_ph_..`.
    [escaped, in_plain(bytes), in_base64(bytes)].into_iter().rev().max_by_key(Verdict::weight).unwrap_or_default()
}

/// Whether there is a mark in plain or in base64: one pass instead of four over bytes with none, which are nearly all.
fn may_have_mark(bytes: &[u8]) -> bool {
    /// `None` where the processor has no such search.
    static MARKS: LazyLock<Option<Searcher>> = LazyLock::new(|| {
        Searcher::new(CORES.iter().map(|core| core.finder.needle()).chain([PLACEHOLDER_MARK.as_bytes()]))
    });
    MARKS.as_ref().is_none_or(|marks| marks.find(bytes).is_some())
}

/// The verdict on placeholders of which at least one character is an escape. Only the surroundings of such an escape are read without
/// escapes: in compressed data, a `%` is common.
fn in_escapes(bytes: &[u8]) -> Verdict {
    let mut verdict = Verdict::Clear;
    let mut escapes =
        memchr::memchr2_iter(b'%', b'\\', bytes).filter(|at| may_be_of_placeholder(bytes, *at)).peekable();
    while let Some(first) = escapes.next() {
        let mut end = first + TAIL_BYTES;
        while let Some(next) = escapes.next_if(|next| *next < end) {
            end = next + TAIL_BYTES;
        }
        let around = bytes.get(first.saturating_sub(TAIL_BYTES)..end.min(bytes.len())).unwrap_or_default();
        match in_plain(&without_escapes(around)) {
            // Behind the last escape nothing but plain characters can follow, and they are all there.
            Verdict::Pending if end <= bytes.len() => {}
            said @ (Verdict::Clear | Verdict::Pending | Verdict::Found(_)) => verdict = heavier(verdict, said),
        }
    }
    verdict
}

/// Whether an escape stands for a character of a placeholder, or is cut off by the end.
fn may_be_of_placeholder(bytes: &[u8], at: usize) -> bool {
    let digits = match bytes.get(at..).unwrap_or_default() {
        [b'%', high, low, ..] => [*high, *low],
        [b'\\', b'u', b'0', b'0', high, low, ..] => [*high, *low],
        [b'\\', rest @ ..] => return rest.len() < 5 && b"u00".starts_with(rest.get(..3).unwrap_or(rest)),
        rest => return rest.len() < 3,
    };
    let value = |digit: u8| char::from(digit).to_digit(16);
    let byte = value(digits[0]).zip(value(digits[1])).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
    byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || PLACEHOLDER_MARK.as_bytes().contains(&byte))
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

/// The verdict after a mark: one of the 32 may be neither a letter nor a digit, as in a head.
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

/// Undoes percent encoding (RFC 3986 section 2.1) and JSON's `\u0065` (RFC 8259 section 7), at any position.
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

/// One of the three base64 forms of the mark, by its offset in a group of three bytes.
struct Core {
    finder: Finder<'static>,
    /// Characters of the core before a whole group begins, and the bytes of the mark before it.
    before: usize,
    bytes_before: usize,
}

/// The characters that do not depend on the bytes before and after the mark. They are the same in the alphabet for URLs
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
            // A single remaining character is less than a byte.
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
