//! HTTP/1 as it is read and written: a response head that is taken means the same to another parser and after it was written again, and
//! a chunked body is the same however it is cut, to another decoder, and after it was encoded again.

#![no_main]

// The files themselves, since the data path shows nothing of them.
#[allow(dead_code, unused_imports, reason = "only what reads responses and chunks is fuzzed here")]
#[path = "../../proxy/src/http1"]
mod http1 {
    #[path = "chunks.rs"]
    pub(crate) mod chunks;
    #[path = "encoder.rs"]
    pub(crate) mod encoder;
    #[path = "fields.rs"]
    pub(crate) mod fields;
    #[path = "outbox.rs"]
    pub(crate) mod outbox;
    #[path = "pieces.rs"]
    pub(crate) mod pieces;
    #[path = "response.rs"]
    pub(crate) mod response;
    #[path = "wire.rs"]
    pub(crate) mod wire;
}

use bytes::{Bytes, BytesMut};
use http1::chunks::{BadChunk, Chunks};
use http1::encoder::Encoder;
use http1::outbox::Outbox;
use http1::{fields, response};
use httparse::{Header, ParserConfig, Status};
use libfuzzer_sys::fuzz_target;

/// What was decoded: the data, how many bytes the body takes, and whether it has ended.
type Decoded = Result<(Vec<u8>, usize, bool), BadChunk>;

fn decode(pieces: &[&[u8]]) -> Decoded {
    let (mut chunks, mut data, mut taken) = (Chunks::new(), Vec::new(), 0);
    for piece in pieces {
        let mut rest = *piece;
        loop {
            let framing = chunks.framing(rest)?;
            rest = &rest[framing..];
            let length = chunks.data(rest.len());
            data.extend_from_slice(&rest[..length]);
            rest = &rest[length..];
            taken += framing + length;
            if length == 0 {
                break;
            }
        }
        if chunks.is_done() {
            break;
        }
    }
    Ok((data, taken, chunks.is_done()))
}

/// The data of a whole body and how many bytes it takes, by another reader of sizes.
fn reference(body: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let Ok(Status::Complete((start, size))) = httparse::parse_chunk_size(&body[at..]) else { return None };
        at += start;
        if size == 0 {
            break;
        }
        let end = at.checked_add(usize::try_from(size).ok()?)?;
        data.extend_from_slice(body.get(at..end)?);
        at = end + 2;
    }
    let mut room = [httparse::EMPTY_HEADER; 4_096];
    let Ok(Status::Complete((trailers, _))) = httparse::parse_headers(&body[at..], &mut room) else { return None };
    Some((data, at + trailers))
}

fn chunked(input: &[u8]) {
    let Some((cut, body)) = input.split_first() else { return };
    let whole = decode(&[body]);
    let (front, back) = body.split_at(usize::from(*cut) % (body.len() + 1));
    assert_eq!(whole, decode(&[front, back]), "cut at {}", front.len());
    let bytes: Vec<&[u8]> = body.chunks(1).collect();
    assert_eq!(whole, decode(&bytes), "byte by byte");
    let Ok((data, taken, true)) = whole else { return };
    // A trailer that is not a field is found when it is read.
    if let Some(other) = reference(&body[..taken]) {
        assert_eq!((&data, taken), (&other.0, other.1), "another reader");
    }
    let (mut encoder, mut out) = (Encoder::Chunked { trailers: false }, Outbox::default());
    for piece in data.chunks(usize::from(*cut) + 1) {
        encoder.put(&mut out, Bytes::copy_from_slice(piece)).expect("it has no length");
    }
    encoder.end(&mut out, None).expect("it has no length");
    let written = out.last().to_vec();
    assert_eq!(decode(&[&written]), Ok((data, written.len(), true)), "written again");
}

fn head(input: &[u8]) {
    let Some(length) = response::end_of_head(input, 0) else { return };
    for seen in 0..length {
        assert_eq!(response::end_of_head(input, seen), Some(length), "{seen} bytes were seen");
    }
    let bytes = Bytes::copy_from_slice(&input[..length]);
    let Ok(read) = response::read(&bytes, false) else { return };
    let mut room = [httparse::EMPTY_HEADER; response::MAX_RESPONSE_FIELDS];
    let mut other = httparse::Response::new(&mut room);
    let parsed = ParserConfig::default()
        .allow_spaces_after_header_name_in_responses(true)
        .parse_response(&mut other, &bytes);
    assert_eq!(parsed, Ok(Status::Complete(length)), "another parser");
    assert_eq!(other.code, Some(read.status.as_u16()));
    assert_eq!(other.headers.len() - removed(other.headers, &read), read.fields.len());
    for Header { name, value } in other.headers.iter().filter(|one| !one.name.eq_ignore_ascii_case("content-length")) {
        let found = read.fields.get_all(*name).iter().any(|own| own.as_bytes() == value.trim_ascii());
        assert!(found, "{name} is lost");
    }
    let mut again = BytesMut::from(format!("HTTP/1.1 {} x\r\n", read.status.as_str()).as_bytes());
    fields::put(&mut again, &read.fields);
    again.extend_from_slice(b"\r\n");
    let again = response::read(&again.freeze(), false).expect("what was read can be read again");
    assert_eq!((again.status, again.framing), (read.status, read.framing));
    assert_eq!(again.fields, read.fields);
}

/// Fields that a response of its status may not have.
fn removed(headers: &[Header<'_>], read: &response::ResponseHead) -> usize {
    let lengths = headers.iter().filter(|one| one.name.eq_ignore_ascii_case("content-length")).count();
    lengths - usize::from(read.fields.contains("content-length"))
}

fuzz_target!(|input: &[u8]| {
    match input.split_first() {
        Some((mode, rest)) if mode % 2 == 0 => chunked(rest),
        Some((_, rest)) => head(rest),
        None => {}
    }
});
