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
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;
    use crate::codec::tests::{coded, fields};
    use crate::messages::tests::{head, message};

    const PLACEHOLDER: &str = "egret_ph_0123456789abcdefghijABCDEFGHIJ01";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// What a scanner says in the end, and how many bytes would have been sent before it found something.
    fn scan(coding: &str, pieces: &[&[u8]]) -> Result<(bool, usize), CodingError> {
        let mut scanner = Scanner::new(&fields(coding))?;
        let (mut sent, mut held) = (0, 0);
        for piece in pieces {
            held += piece.len();
            match scanner.push(piece)? {
                Verdict::Clear => sent += std::mem::take(&mut held),
                Verdict::Pending => {}
                Verdict::Found(_) => return Ok((true, sent)),
            }
        }
        Ok((false, sent + held))
    }

    /// The placeholder in every form that is known.
    fn forms() -> Vec<String> {
        let mut forms =
            vec![PLACEHOLDER.to_owned(), PLACEHOLDER.replace('_', "%5F"), PLACEHOLDER.replace('_', "\\u005f")];
        forms.push(PLACEHOLDER.bytes().map(|byte| format!("%{byte:02x}")).collect());
        forms.push(PLACEHOLDER.bytes().map(|byte| format!("\\u{byte:04X}")).collect());
        for front in ["", "a", "ab", "user:", "Bearer "] {
            for back in ["", "x", "xy"] {
                let text = format!("{front}{PLACEHOLDER}{back}");
                forms.push(BASE64_STANDARD.encode(&text));
                forms.push(BASE64_URL_SAFE_NO_PAD.encode(&text));
            }
        }
        forms
    }

    #[test]
    fn t082_found_however_it_is_cut() {
        for form in forms() {
            let text = format!("{{\"key\": \"{form}\", \"more\": 1}}");
            let begin = text.find(&form).unwrap();
            for cut in 0..text.len() {
                let (front, back) = text.as_bytes().split_at(cut);
                let (found, sent) = scan("", &[front, back]).unwrap();
                assert!(found && sent < begin + form.len(), "{form} cut at {cut}");
            }
            let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert!(scan("", &single).unwrap().0, "{form}");
        }
    }

    #[test]
    fn t083_found_in_every_form() {
        for form in forms() {
            assert!(scan("", &[form.as_bytes()]).unwrap().0, "{form}");
            let long = format!("{}{form}{}", "x ".repeat(5_000), " y".repeat(5_000));
            assert!(scan("", &[long.as_bytes()]).unwrap().0, "{form}");
        }
    }

    #[test]
    fn t082_found_in_compressed_bodies() {
        let packed = gzip(format!("{{\"key\": \"{PLACEHOLDER}\"}}").as_bytes());
        for cut in 0..packed.len() {
            let (front, back) = packed.split_at(cut);
            assert!(scan("gzip", &[front, back]).unwrap().0, "{cut}");
        }
        assert!(scan("gzip", &[PLACEHOLDER.as_bytes()]).unwrap().0, "in no coding, whatever the field says");
        assert!(!scan("x-GZIP, identity", &[&gzip(b"nothing here")]).unwrap().0);
        let large = gzip(&vec![b'a'; 1 << 20]);
        assert_eq!(scan("gzip", &[&large]).unwrap(), (false, large.len()));
        for coding in ["gzip, gzip, gzip", "compress", "dcz"] {
            assert_eq!(scan(coding, &[]), Err(CodingError::Unsupported), "{coding}");
        }
        assert_eq!(scan("gzip", &[b"no gzip at all"]), Err(CodingError::Broken));
        assert_eq!(scan("gzip", &[&[gzip(b"a").as_slice(), b"more, and no gzip"].concat()]), Err(CodingError::Broken));
        let bomb = gzip(&vec![b'a'; 64 << 20]);
        assert_eq!(scan("gzip", &[&bomb]), Err(CodingError::Expands));
    }

    #[test]
    fn t082_found_in_every_reading_of_a_coding() {
        let body = format!("{{\"key\": \"{PLACEHOLDER}\"}}");
        for (names, codings) in [
            ("deflate", &["raw"][..]),
            ("deflate", &["zlib"]),
            ("gzip, gzip", &["gzip", "gzip"]),
            ("gzip, deflate", &["gzip", "raw"]),
            ("deflate, x-gzip", &["zlib", "gzip"]),
            ("deflate, deflate", &["raw", "zlib"]),
        ] {
            let packed = coded(codings, body.as_bytes());
            assert!(scan(names, &[&packed]).unwrap().0, "{names}");
            assert!(scan(names, &packed.chunks(1).collect::<Vec<_>>()).unwrap().0, "{names}");
            let innocent = coded(codings, b"nothing here");
            assert_eq!(scan(names, &[&innocent]), Ok((false, innocent.len())), "{names}");
        }
        let members = [gzip(b"one"), gzip(body.as_bytes())].concat();
        assert!(scan("gzip", &[&members]).unwrap().0);
        // Raw deflate that begins like zlib: a stored block whose padding and length look like its header.
        let stored = |text: &[u8], last: u8| {
            let length = u16::try_from(text.len()).unwrap();
            [&[0x78 | last][..], &length.to_le_bytes(), &(!length).to_le_bytes(), text].concat()
        };
        let padding = vec![b' '; 0x9c - body.len()];
        let sly = [stored(&[body.as_bytes(), &padding].concat(), 0), coded(&["raw"], b"")].concat();
        assert_eq!(sly.get(..2), Some(&[0x78, 0x9c][..]));
        assert!(scan("deflate", &[&sly]).unwrap().0);
    }

    /// Whether a body can be searched to its end.
    fn searched(fields: &HeaderMap, pieces: &[&[u8]]) -> Result<(), CodingError> {
        let mut scanner = Scanner::new(fields).unwrap();
        for piece in pieces {
            scanner.push(piece)?;
        }
        scanner.finish()
    }

    #[test]
    fn t082_an_early_end_is_no_end_in_any_coding() {
        for (names, codings) in [
            ("gzip", &["gzip"][..]),
            ("deflate", &["zlib"]),
            ("deflate", &["raw"]),
            ("br", &["br"]),
            ("zstd", &["zstd"]),
            ("gzip, zstd", &["gzip", "zstd"]),
            ("deflate, br", &["raw", "br"]),
        ] {
            let packed = coded(codings, b"some text, and the same text again");
            assert_eq!(searched(&fields(names), &[&packed]), Ok(()), "{names}");
            let single: Vec<&[u8]> = packed.chunks(1).collect();
            assert_eq!(searched(&fields(names), &single), Ok(()), "{names}");
            for length in 1..packed.len() {
                let short = searched(&fields(names), &[&packed[..length]]);
                assert_eq!(short, Err(CodingError::Broken), "{names}, the first {length} bytes");
            }
            assert_eq!(searched(&fields(names), &[]), Ok(()), "{names}: nothing is in every coding");
        }
        let framed = coded(&["aws-chunked"], b"some text in pieces");
        let end = framed.len() - b"\r\n".len();
        for length in 1..framed.len() {
            let short = searched(&fields("aws-chunked"), &[&framed[..length]]);
            // The empty line behind the trailers is often left out, and so are the trailers.
            let is_whole = framed[..length].ends_with(b"chunk-signature=0\r\n") || length == end;
            assert_eq!(short.is_ok(), is_whole, "the first {length} bytes");
        }
    }

    #[test]
    fn t082_a_short_body_that_is_in_no_coding_is_refused_in_each() {
        for names in ["gzip", "deflate", "br", "zstd", "gzip, gzip", "zstd, br"] {
            for body in [&b"h"[..], b"hi", b"{}", b"hello", b"x=1", b"{\"a\": 1}"] {
                let text = String::from_utf8_lossy(body);
                assert_eq!(searched(&fields(names), &[body]), Err(CodingError::Broken), "{names}: {text}");
            }
        }
        assert_eq!(searched(&fields("identity"), &[b"h"]), Ok(()));
        let mut plain = Scanner::plain();
        assert_eq!((plain.push(b"h"), plain.finish()), (Ok(Verdict::Clear), Ok(())));
    }

    #[test]
    fn t082_a_body_that_ends_within_a_compressed_message_is_refused() {
        let fields = head("application/grpc", "zstd");
        let body = [message(0, b"plain"), message(1, &coded(&["zstd"], b"packed"))].concat();
        assert_eq!(searched(&fields, &[&body]), Ok(()));
        for length in 0..body.len() {
            // What is not compressed was looked through as far as it came.
            let is_within = length > message(0, b"plain").len();
            let short = searched(&fields, &[&body[..length]]);
            assert_eq!(short.is_err(), is_within, "the first {length} bytes");
        }
    }

    #[test]
    fn t082_found_in_compressed_messages() {
        let scan = |kind: &str, coding: &str, body: &[u8]| {
            let mut scanner = Scanner::new(&head(kind, coding))?;
            let mut said = Verdict::Clear;
            for piece in body.chunks(7) {
                said = scanner.push(piece)?;
                if matches!(said, Verdict::Found(_)) {
                    break;
                }
            }
            Ok(matches!(said, Verdict::Found(_)))
        };
        let text = format!("\x0a\x35key {PLACEHOLDER} and more");
        for kind in
            ["application/grpc", "application/grpc-web+proto", "application/GRPC+json", "application/connect+proto"]
        {
            for (name, coding) in [("gzip", "gzip"), ("deflate", "zlib"), ("deflate", "raw")] {
                let packed = message(1, &coded(&[coding], text.as_bytes()));
                let body = [message(0, b"first"), message(1, &coded(&[coding], b"clear")), packed].concat();
                assert_eq!(scan(kind, name, &body), Ok(true), "{kind} {name} {coding}");
                let clear = [message(0, b"first"), message(1, &coded(&[coding], b"clear"))].concat();
                assert_eq!(scan(kind, name, &clear), Ok(false), "{kind} {name} {coding}");
            }
            assert_eq!(scan(kind, "gzip", &message(0, text.as_bytes())), Ok(true), "{kind}: not compressed");
            assert_eq!(scan(kind, "", &message(1, b"x")), Err(CodingError::Unsupported), "{kind}: in no coding");
            assert_eq!(scan(kind, "gzip", &message(1, b"no gzip")), Err(CodingError::Broken), "{kind}");
            assert_eq!(scan(kind, "snappy", b""), Err(CodingError::Unsupported), "{kind}");
        }
        assert_eq!(scan("text/plain", "snappy", b"no messages"), Ok(false));
        // The message in a coding, and all of the body in another one.
        let packed = message(1, &coded(&["gzip"], text.as_bytes()));
        let mut fields = head("application/grpc", "gzip");
        fields.insert(http::header::CONTENT_ENCODING, http::HeaderValue::from_static("deflate"));
        let mut scanner = Scanner::new(&fields).unwrap();
        assert!(matches!(scanner.push(&coded(&["zlib"], &packed)), Ok(Verdict::Found(_))));
    }

    #[test]
    fn t082_found_in_the_text_form_of_grpc_web() {
        let kind = "application/grpc-web-text+proto";
        let (front, back) = PLACEHOLDER.split_at(20);
        let frame = message(0, PLACEHOLDER.as_bytes());
        let packed = message(1, &coded(&["gzip"], PLACEHOLDER.as_bytes()));
        let pieces = [BASE64_STANDARD.encode(&frame[..5 + front.len()]), BASE64_STANDARD.encode(back)].concat();
        assert!(pieces.trim_end_matches('=').contains('='), "the pieces are padded: {pieces}");
        for body in [BASE64_STANDARD.encode(&frame), pieces, BASE64_STANDARD.encode(&packed)] {
            for cut in 0..body.len() {
                let mut scanner = Scanner::new(&head(kind, "gzip")).unwrap();
                assert!(scanner.is_coded());
                let (one, two) = body.as_bytes().split_at(cut);
                let found = |said| matches!(said, Verdict::Found(_));
                assert!(found(scanner.push(one).unwrap()) || found(scanner.push(two).unwrap()), "{body} cut at {cut}");
            }
        }
        let mut scanner = Scanner::new(&head(kind, "")).unwrap();
        assert_eq!(scanner.push(b"AAAAAAF4"), Ok(Verdict::Clear));
        assert_eq!(scanner.push(b"no base64!"), Err(CodingError::Broken));
    }

    #[test]
    fn t083_hidden_in_a_head() {
        for form in forms() {
            let plain = form.contains(PLACEHOLDER);
            for text in [form.clone(), format!("x={form}&y"), format!("a, {form}")] {
                assert_eq!(is_hidden_in(text.as_bytes()), !plain, "{text}");
            }
        }
        let eaten = format!("%e{PLACEHOLDER} %65{}", PLACEHOLDER.get(1..).unwrap());
        assert!(is_hidden_in(eaten.as_bytes()), "one that an escape eats hides no other");
        for innocent in ["", "egret_ph_", "%65%67ret", &"a%20".repeat(50), &"QUJD".repeat(50)] {
            assert!(!is_hidden_in(innocent.as_bytes()), "{innocent}");
        }
    }

    #[test]
    fn what_is_no_placeholder_passes_at_once_and_whole() {
        for text in
            ["egret_ph", "data: {\"e\":1}\n\n", "egret_ph_ is a mark", "egret_ph_short\n", "%65%67", "ZWdyZXRfcGhf!"]
        {
            let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(scan("", &single).unwrap(), (false, text.len()), "{text}");
        }
        let mut scanner = Scanner::plain();
        for piece in ["egret_p", "h", " x", "data: egret\n\n"] {
            assert_eq!(scanner.push(piece.as_bytes()), Ok(Verdict::Clear), "{piece}");
        }
        assert_eq!(scanner.push(b"egret_ph_"), Ok(Verdict::Pending));
        assert_eq!(scanner.push(b"01"), Ok(Verdict::Pending));
        assert_eq!(scanner.push(b"\n\n"), Ok(Verdict::Clear));
    }

    #[test]
    fn what_was_found_comes_with_what_stood_before_it() {
        let mut scanner = Scanner::plain();
        let Ok(Verdict::Found(found)) =
            scanner.push(format!("key=sk-ant-{}&x", PLACEHOLDER.replace('_', "%5f")).as_bytes())
        else {
            panic!("not found")
        };
        assert_eq!(found.bytes, format!("key=sk-ant-{PLACEHOLDER}").as_bytes());
        assert_eq!(&found.bytes[found.at..], PLACEHOLDER.as_bytes());
    }

    proptest! {
        #[test]
        fn found_wherever_it_stands_and_however_it_is_cut(
            front in "[ -~]{0,700}", back in "[ -~]{0,700}", form in 0usize..35,
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let form = &forms()[form];
            let text = format!("{front} {form} {back}");
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
            prop_assert!(scan("", &pieces).unwrap().0);
        }

        #[test]
        fn any_bytes_pass_whole_or_hold_the_mark(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 0..6)) {
            let all: usize = pieces.iter().map(Vec::len).sum();
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(scan("", &pieces).unwrap(), (false, all));
        }
    }
}
