//! The rewriting of a response body in which secrets are masked. It undoes the codings and masks the secrets. If the upstream was
//! asked for a wider range than the client, it extracts the client's slice. No sockets, no time.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use http_body::SizeHint;
use model::{Fields, Reason};
use thiserror::Error;
use vault::NeedleOwner;

use crate::body::range::Slice;
use crate::limits::budget::Exhausted;
use redaction::codec::{CodingError, Decoder};
use redaction::messages::{Messages, Part, begins_with, is_in_messages, is_text};
use redaction::stream::{Guessed, Masker, Sets};

/// How many fields are named in one record.
const MAX_NAMED: usize = 32;

/// Why a body ends early: secrets in the rest could not be masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Unmaskable {
    /// The coding cannot be undone.
    #[error("the response cannot be searched: {0}")]
    Coding(#[from] CodingError),
    /// Too many values look like a secret.
    #[error(transparent)]
    Guessed(#[from] Guessed),
    /// A value that was stored later cannot be masked.
    #[error("a secret of this host was stored that the rest of the response cannot be searched for")]
    Late,
    /// A value of the vault does not open.
    #[error("a secret of this host does not open")]
    Unopened,
    /// The decoder needs too much memory.
    #[error("there is no memory left to decode the response")]
    Memory(Exhausted),
}

impl Unmaskable {
    /// The code of this reason.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Memory(spent) => spent.reason(),
            Self::Coding(_) | Self::Guessed(_) | Self::Late | Self::Unopened => Reason::RedactionImpossible,
        }
    }
}

/// Rewrites one response.
pub(crate) struct Rewriter {
    masker: Masker,
    decoder: Option<Decoder>,
    slice: Option<Slice>,
    messages: Option<Messages>,
    parts: Option<Parts>,
    /// Fields of the head and of the trailers in which secrets of the record's tenant were found, and the number of these
    /// secrets.
    in_fields: Vec<String>,
    count_in_fields: u64,
    /// Complete bytes of the slice, held until their surroundings are scanned.
    complete: Vec<Bytes>,
    /// Bytes decoded before the head is sent.
    begun: Bytes,
}

impl Rewriter {
    /// Masks a body with all properties that its head declares.
    pub(crate) fn new(masker: Masker, decoder: Option<Decoder>, slice: Option<Slice>, fields: &Fields) -> Self {
        // The text form is base64 and has no such frames.
        let messages = (is_in_messages(fields) && !is_text(fields) && slice.is_none()).then(Messages::default);
        let parts = begins_with(fields, b"multipart/").then(Parts::default);
        let (in_fields, count_in_fields) = (Vec::new(), masker.found());
        Self {
            masker,
            decoder,
            slice,
            messages,
            parts,
            in_fields,
            count_in_fields,
            complete: Vec::new(),
            begun: Bytes::new(),
        }
    }

    /// Masks the rest of a body whose beginning has passed. Only for a whole body without a coding.
    pub(crate) fn from_here(masker: Masker) -> Self {
        Self::new(masker, None, None, &Fields::new())
    }

    /// Masks these values from here on.
    ///
    /// # Errors
    /// If no more may pass.
    pub(crate) fn renew(&mut self, sets: Sets) -> Result<(), Unmaskable> {
        if self.slice.as_ref().is_some_and(|slice| !slice.shows(sets.longest())) {
            return Err(Unmaskable::Late);
        }
        Ok(self.masker.renew(sets)?)
    }

    /// Consumes the next bytes of a coded body before the head is sent; returns whether its first bytes are decoded. [`Rewriter::next`]
    /// returns them.
    pub(crate) fn begin(&mut self, bytes: &[u8]) -> Result<bool, Unmaskable> {
        let Some(decoder) = &mut self.decoder else { return Ok(true) };
        decoder.feed(bytes);
        let Some(decoded) = decoder.next_piece()? else { return Ok(false) };
        self.begun = self.mask(decoded.into())?;
        Ok(true)
    }

    /// Consumes the next bytes from the upstream; [`Rewriter::next`] returns the result.
    pub(crate) fn push(&mut self, bytes: Bytes) -> Result<Bytes, Unmaskable> {
        if let Some(decoder) = &mut self.decoder {
            decoder.feed(&bytes);
            return Ok(self.next()?.unwrap_or_default());
        }
        self.mask(bytes)
    }

    /// Masks bytes that no longer have a coding.
    fn mask(&mut self, bytes: Bytes) -> Result<Bytes, Unmaskable> {
        if let Some(parts) = &mut self.parts {
            parts.check(&bytes)?;
        }
        let at_end = self.messages.as_mut().map(|messages| end_with(messages, &bytes)).transpose()?;
        let passed = self.masker.push(bytes)?;
        let passed = if at_end == Some(true) { joined(passed, self.masker.flush()?) } else { passed };
        Ok(self.cut(passed))
    }

    /// Consumes the next bytes of a body; for the last ones, returns the whole result.
    pub(crate) fn take(&mut self, bytes: Bytes, last: bool) -> Result<Bytes, Unmaskable> {
        let mut passed = self.push(bytes)?;
        if !last {
            return Ok(passed);
        }
        while let Some(more) = self.next()? {
            passed = joined(passed, more);
        }
        Ok(joined(passed, self.finish()?))
    }

    /// The next result of the latest push; `None` if that was all. A result can be empty.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Unmaskable> {
        if !self.begun.is_empty() {
            return Ok(Some(std::mem::take(&mut self.begun)));
        }
        let Some(decoder) = &mut self.decoder else { return Ok(None) };
        let Some(decoded) = decoder.next_piece()? else { return Ok(None) };
        self.mask(decoded.into()).map(Some)
    }

    /// The upstream has paused.
    pub(crate) fn pause(&mut self) {
        self.masker.pause();
    }

    /// The upstream pauses or closes: the carry-over.
    pub(crate) fn flush(&mut self) -> Result<Bytes, Unmaskable> {
        let passed = self.masker.flush()?;
        Ok(self.cut(passed))
    }

    /// The body has ended: the rest of it.
    pub(crate) fn finish(&mut self) -> Result<Bytes, Unmaskable> {
        if let Some(decoder) = &mut self.decoder {
            decoder.finish()?;
        }
        let rest = self.flush()?;
        self.complete.push(rest);
        Ok(self.complete.drain(..).reduce(joined).unwrap_or_default())
    }

    /// The bytes of memory that decoding uses now.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.decoder.as_ref().map_or(0, Decoder::memory_bytes)
    }

    /// Whether the input has a coding.
    pub(crate) fn decodes(&self) -> bool {
        self.decoder.is_some()
    }

    /// Whether there is a carry-over that waits for the upstream.
    pub(crate) fn holds_back(&self) -> bool {
        self.masker.held() > 0
    }

    /// The length that the client can expect, if the upstream still has `left` to send.
    pub(crate) fn hint(&self, left: Option<u64>) -> SizeHint {
        let complete = self.complete.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
        match (&self.slice, &self.decoder, left) {
            (Some(slice), _, _) => SizeHint::with_exact(slice.take + complete),
            // Masking keeps the length.
            (None, None, Some(left)) => SizeHint::with_exact(left + self.masker.held()),
            (None, Some(_), _) | (None, None, None) => SizeHint::default(),
        }
    }

    /// How many secrets of the record's tenant were found.
    pub(crate) fn found(&self) -> u64 {
        self.masker.found()
    }

    /// Notes the fields of the head in which the masker has found secrets already.
    pub(crate) fn with_head(mut self, masked: &[HeaderName]) -> Self {
        self.note("header", masked);
        self
    }

    /// Their locations: `header NAME`, `body`, `trailer NAME`.
    pub(crate) fn locations(&self) -> Vec<String> {
        let in_body = (self.found() > self.count_in_fields).then(|| "body".to_owned());
        self.in_fields.iter().cloned().chain(in_body).collect()
    }

    fn note(&mut self, kind: &str, names: &[HeaderName]) {
        let room = MAX_NAMED.saturating_sub(self.in_fields.len());
        self.in_fields.extend(names.iter().take(room).map(|name| format!("{kind} {name}")));
    }

    /// The findings of other tenants.
    pub(crate) fn foreign(&self) -> &[(NeedleOwner, u64)] {
        self.masker.foreign()
    }

    /// Masks a trailer section.
    pub(crate) fn mask_trailers(&mut self, fields: &mut Fields) -> Result<(), Guessed> {
        let before = self.masker.found();
        let masked = mask_fields(&mut self.masker, fields)?;
        self.count_in_fields += self.masker.found() - before;
        self.note("trailer", &masked);
        Ok(())
    }

    /// The slice of the passing bytes. Its last bytes wait until their surroundings are scanned, because with them the client
    /// considers the body complete.
    fn cut(&mut self, passed: Bytes) -> Bytes {
        let Some(slice) = &mut self.slice else { return passed };
        let before = slice.take;
        let passed = slice.cut(passed);
        if before > 0 && slice.take == 0 {
            self.complete.push(passed);
            return Bytes::new();
        }
        passed
    }
}

fn joined(front: Bytes, back: Bytes) -> Bytes {
    match (front.is_empty(), back.is_empty()) {
        (_, true) => front,
        (true, false) => back,
        (false, false) => [front, back].concat().into(),
    }
}

/// Masks every value of a field section, and removes a field whose name contains a secret. Returns the names of the fields in which
/// a secret of the record's tenant was found.
pub(crate) fn mask_fields(masker: &mut Masker, fields: &mut Fields) -> Result<Vec<HeaderName>, Guessed> {
    fields.remove_named(|name| masker.is_in_name(name.as_str()));
    fields.iter().for_each(|(_, value)| masker.count_whole(value.as_bytes()));
    let mut found_in: Vec<HeaderName> = Vec::new();
    for (name, value) in fields.iter_mut() {
        let before = masker.found();
        if let Some(masked) = masker.mask_whole(value.as_bytes())?
            && let Ok(masked) = HeaderValue::from_bytes(&masked)
        {
            *value = masked;
        }
        if masker.found() > before && found_in.last() != Some(name) {
            found_in.push(name.clone());
        }
    }
    Ok(found_in)
}

/// Whether a stream of messages is at a message boundary after these bytes.
///
/// # Errors
/// A message declares that it is compressed: if the head named its coding, it was refused with the head.
fn end_with(messages: &mut Messages, mut bytes: &[u8]) -> Result<bool, CodingError> {
    while let Some(part) = messages.next(&mut bytes) {
        if part == (Part::Begin { compressed: true }) {
            return Err(CodingError::Unsupported);
        }
    }
    Ok(messages.is_between())
}

/// Scans the lines of a multipart body for a part, or a response within a part, with a coding of its own.
#[derive(Debug, Default)]
struct Parts {
    /// The beginning of the line, in lower case, up to [`MAX_FIELD`] bytes.
    line: Vec<u8>,
}

/// The maximum part of a line that is scanned.
const MAX_FIELD: usize = 64;

impl Parts {
    /// # Errors
    /// A line names a coding. A text that contains such a line counts as a field, too.
    fn check(&mut self, bytes: &[u8]) -> Result<(), CodingError> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = MAX_FIELD.saturating_sub(self.line.len());
            self.line.extend(piece.iter().take(room).map(u8::to_ascii_lowercase));
            if !piece.ends_with(b"\n") {
                return Ok(());
            }
            if let Some(coding) = self.line.strip_prefix(b"content-encoding:").map(<[u8]>::trim_ascii)
                && !matches!(coding, b"" | b"identity")
            {
                return Err(CodingError::Unsupported);
            }
            self.line.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::TenantId;
    use redaction::Needles;

    use super::*;
    use crate::body::range::{Asked, Fit, Part};
    use crate::fed::{coded, content_encoding as fields};

    const SECRET: &[u8] = b"sk-live-0123456789abcdef";

    fn masker() -> Masker {
        let set = Needles::of_request(vec![SECRET.to_vec().into()]).unwrap().unwrap();
        Masker::new(Sets::new(Some(Arc::new(set)), None, None), TenantId::default())
    }

    fn rewrite(rewriter: &mut Rewriter, pieces: &[&[u8]]) -> Result<Vec<u8>, Unmaskable> {
        let mut out = Vec::new();
        for piece in pieces {
            out.extend_from_slice(&rewriter.push(Bytes::copy_from_slice(piece))?);
            while let Some(more) = rewriter.next()? {
                out.extend_from_slice(&more);
            }
        }
        out.extend_from_slice(&rewriter.finish()?);
        Ok(out)
    }

    #[test]
    fn t093_a_coded_body_is_masked_however_it_is_cut() {
        let text = [b"before ".as_slice(), SECRET, b" after"].concat();
        for (names, codings) in [("gzip", &["gzip"][..]), ("deflate", &["raw"]), ("gzip, gzip", &["gzip", "gzip"])] {
            let packed = coded(codings, &text);
            for cut in 0..packed.len() {
                let decoder = Decoder::of(&fields(names)).unwrap();
                let mut rewriter = Rewriter::new(masker(), decoder, None, &Fields::new());
                let (front, back) = packed.split_at(cut);
                let out = rewrite(&mut rewriter, &[front, back]).unwrap();
                assert_eq!((out.as_slice(), rewriter.found()), (&b"before ************************ after"[..], 1));
            }
            let mut rewriter = Rewriter::new(masker(), Decoder::of(&fields(names)).unwrap(), None, &Fields::new());
            let short = rewrite(&mut rewriter, &[&packed[..packed.len() - 4]]);
            assert_eq!(short, Err(Unmaskable::Coding(CodingError::Broken)), "an early end is no end");
        }
    }

    #[test]
    fn t096_a_secret_that_the_border_of_a_part_cuts_is_masked() {
        let body = [&[b'.'; 50], SECRET, &[b'.'; 50]].concat();
        let masked = [&[b'.'; 50][..], &[b'*'; 24], &[b'.'; 50]].concat();
        for first in 0..body.len() as u64 {
            for last in [first, first + 2, first + 30] {
                let part = Part::new(Asked::From(first, Some(last)), SECRET.len());
                let (begin, end) =
                    (first.saturating_sub(part.margin()), (last + part.margin()).min(body.len() as u64 - 1));
                let content_range = HeaderValue::from_str(&format!("bytes {begin}-{end}/{}", body.len())).unwrap();
                let Some(Fit::Slice(slice)) = part.fit(&content_range) else { panic!("it fits") };
                let mut rewriter = Rewriter::new(masker(), None, Some(slice), &Fields::new());
                let wide = &body[begin as usize..=end as usize];
                let out = rewrite(&mut rewriter, &wide.chunks(7).collect::<Vec<_>>()).unwrap();
                let last = (last as usize).min(body.len() - 1);
                assert_eq!(out, &masked[first as usize..=last], "{first}-{last}");
            }
        }
    }

    #[test]
    fn t219_the_last_bytes_of_a_part_come_when_all_around_it_was_seen() {
        let Some(Fit::Slice(slice)) =
            Part::new(Asked::From(0, Some(3)), 5).fit(&HeaderValue::from_static("bytes 0-7/100"))
        else {
            panic!("it fits")
        };
        let mut rewriter = Rewriter::new(masker(), None, Some(slice), &Fields::new());
        assert_eq!(rewriter.hint(Some(8)).exact(), Some(4));
        assert_eq!(rewriter.push(Bytes::from("ab\n")).unwrap().as_ref(), b"ab\n");
        assert_eq!(rewriter.hint(Some(5)).exact(), Some(1));
        assert_eq!(rewriter.push(Bytes::from("\nef\n")).unwrap().as_ref(), b"");
        assert_eq!(rewriter.hint(Some(1)).exact(), Some(1));
        assert_eq!(rewriter.push(Bytes::from("h")).unwrap().as_ref(), b"");
        assert_eq!(rewriter.finish().unwrap().as_ref(), b"\n");
    }

    fn message(text: &str) -> Vec<u8> {
        [&[0][..], &(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
    }

    fn grpc() -> Rewriter {
        let kind = HeaderValue::from_static("application/grpc+proto");
        let fields = Fields::from_iter([(http::header::CONTENT_TYPE, kind)]);
        Rewriter::new(masker(), None, None, &fields)
    }

    #[test]
    fn t220_the_end_of_a_message_releases_what_is_held() {
        for text in ["x", "a-run-of-token-characters", "sk-live-0123", ""] {
            let mut rewriter = grpc();
            assert_eq!(rewriter.push(message(text).into()).unwrap().as_ref(), message(text));
            assert!(!rewriter.holds_back());
        }
        // Within a message, no byte is released early, wherever the pieces are split.
        let all =
            [message("key"), message(&format!("is {}", str::from_utf8(SECRET).unwrap())), message("end")].concat();
        let want = [message("key"), message("is ************************"), message("end")].concat();
        for cut in 0..all.len() {
            let (front, back) = all.split_at(cut);
            let mut rewriter = grpc();
            let mut out = rewriter.push(Bytes::copy_from_slice(front)).unwrap().to_vec();
            out.extend_from_slice(&rewriter.push(Bytes::copy_from_slice(back)).unwrap());
            assert_eq!(out, want, "cut at {cut}");
        }
        // Other streams have no messages.
        let mut rewriter = Rewriter::new(masker(), None, None, &Fields::new());
        assert_eq!(
            rewriter.push(message("word").into()).unwrap().as_ref(),
            &message("")[..4].iter().chain(&[4]).copied().collect::<Vec<u8>>()
        );
        assert!(rewriter.holds_back());
    }

    #[test]
    fn t271_a_compressed_message_ends_the_stream() {
        let compressed = [&[1][..], &5u32.to_be_bytes(), b"bytes"].concat();
        for kind in ["application/grpc", "application/GRPC-web+proto", "application/connect+json"] {
            let fields = Fields::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
            let all = [message("one"), compressed.clone()].concat();
            for cut in 0..=8 {
                let mut rewriter = Rewriter::new(masker(), None, None, &fields);
                let (front, back) = all.split_at(cut);
                rewriter.push(Bytes::copy_from_slice(front)).unwrap();
                let refused = rewriter.push(Bytes::copy_from_slice(back));
                assert_eq!(refused, Err(Unmaskable::Coding(CodingError::Unsupported)), "{kind} cut at {cut}");
            }
            // The same within a content coding.
            let decoder = Decoder::of(&crate::fed::content_encoding("gzip")).unwrap();
            let mut rewriter = Rewriter::new(masker(), decoder, None, &fields);
            let refused = rewrite(&mut rewriter, &[&coded(&["gzip"], &all)]);
            assert_eq!(refused, Err(Unmaskable::Coding(CodingError::Unsupported)), "{kind}");
        }
        // Flags of trailers and of the end of a stream are different.
        let last = [&[0x80][..], &1u32.to_be_bytes(), b"x", &[2], &1u32.to_be_bytes(), b"y"].concat();
        assert_eq!(grpc().push(last.clone().into()).unwrap(), last);
        let mut text = Rewriter::new(masker(), None, None, &Fields::new());
        assert!(text.push(compressed.into()).is_ok());
    }

    #[test]
    fn t271_a_coded_part_of_a_multipart_body_ends_it() {
        let kind = HeaderValue::from_static("Multipart/mixed; boundary=b");
        let fields = Fields::from_iter([(http::header::CONTENT_TYPE, kind)]);
        let part =
            |field: &str| format!("--b\r\nContent-Type: text/plain\r\n{field}\r\n\r\nabc\r\n--b--\r\n").into_bytes();
        let all = part("Content-Encoding: gzip");
        for cut in 0..all.len() {
            let (front, back) = all.split_at(cut);
            let mut rewriter = Rewriter::new(masker(), None, None, &fields);
            let shown = rewrite(&mut rewriter, &[front, back]);
            assert_eq!(shown, Err(Unmaskable::Coding(CodingError::Unsupported)), "cut at {cut}");
        }
        for field in ["Content-Encoding: identity", "X: content-encoding: gzip", "content-encoding:"] {
            let mut rewriter = Rewriter::new(masker(), None, None, &fields);
            assert_eq!(rewrite(&mut rewriter, &[&part(field)]), Ok(part(field)), "{field}");
        }
        let mut other = Rewriter::new(masker(), None, None, &Fields::new());
        assert_eq!(rewrite(&mut other, &[&all]), Ok(all));
    }

    #[test]
    fn t270_a_longer_secret_than_a_part_shows_ends_it() {
        let set = |length| {
            let set = Needles::of_request(vec![vec![b'x'; length].into()]).unwrap().unwrap();
            Sets::new(Some(Arc::new(set)), None, None)
        };
        let part = Part::new(Asked::From(50, Some(53)), SECRET.len());
        let Some(Fit::Slice(slice)) = part.fit(&HeaderValue::from_static("bytes 27-76/100")) else { panic!("it fits") };
        let mut rewriter = Rewriter::new(masker(), None, Some(slice), &Fields::new());
        assert_eq!(rewriter.renew(set(SECRET.len())), Ok(()));
        assert_eq!(rewriter.renew(set(SECRET.len() + 1)), Err(Unmaskable::Late));
        let mut whole = Rewriter::from_here(masker());
        assert_eq!(whole.renew(set(5000)), Ok(()));
    }

    #[test]
    fn t090_the_places_of_secrets_are_known() {
        let field =
            |name: &'static str, value: &[u8]| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        let mut head = Fields::from_iter([field("location", SECRET), field("x-other", b"nothing")]);
        let mut masker = masker();
        let masked = mask_fields(&mut masker, &mut head).unwrap();
        assert_eq!(head.get("location").unwrap(), "************************");
        let mut rewriter = Rewriter::new(masker, None, None, &head).with_head(&masked);
        assert_eq!((rewriter.found(), rewriter.locations()), (1, vec!["header location".to_owned()]));
        rewriter.take(Bytes::from_static(SECRET), true).unwrap();
        let mut trailers = Fields::from_iter([field("x-echo", SECRET)]);
        rewriter.mask_trailers(&mut trailers).unwrap();
        assert_eq!(trailers.get("x-echo").unwrap(), "************************");
        assert_eq!(
            (rewriter.found(), rewriter.locations().join(", ").as_str()),
            (3, "header location, trailer x-echo, body")
        );
    }

    #[test]
    fn t220_a_length_that_lies_shows_no_more_than_half() {
        for cut in 1..SECRET.len() {
            let (front, back) = SECRET.split_at(cut);
            let mut rewriter = grpc();
            let frame = [&[0][..], &(cut as u32).to_be_bytes(), front].concat();
            let mut out = rewriter.push(frame.into()).unwrap().to_vec();
            // The following bytes are parsed as another message; if its header declares compression, the stream ends.
            if let Ok(more) = rewriter.push(Bytes::copy_from_slice(back)) {
                out.extend_from_slice(&more);
                out.extend_from_slice(&rewriter.finish().unwrap());
            }
            let clear = out[5..].iter().take_while(|byte| **byte != b'*').count();
            assert!(clear <= SECRET.len() / 2 && out[5 + clear..].iter().all(|byte| *byte == b'*'), "{cut}");
        }
    }
}
