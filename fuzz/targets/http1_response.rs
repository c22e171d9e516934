//! HTTP/1 responses as they are read and written: a response that is taken is the same to another parser, and what the client gets is
//! read by that parser as the same one message. A chunked body is the same however it is cut.

#![no_main]

#[allow(dead_code, reason = "each target uses a part of it")]
#[path = "../../proxy/src/hop_by_hop.rs"]
mod hop_by_hop;
#[allow(dead_code, reason = "each target uses a part of it")]
#[path = "http1/modules.rs"]
mod http1;
#[allow(dead_code, reason = "each target uses a part of it")]
#[path = "../../proxy/src/http1/tests/oracle.rs"]
mod oracle;
#[path = "http1/shared.rs"]
mod shared;
#[path = "http1/stand_ins.rs"]
mod stand_ins;

use bytes::{Bytes, BytesMut};
use http::Version;
use http1::encoder::Encoder;
use http1::head::Wishes;
use http1::wire::Framing;
use http1::writer::Content;
use http1::{response, writer};
use libfuzzer_sys::fuzz_target;
use oracle::{Line, Message};
use stand_ins::{config, refusal};

/// The request that is answered, from the bits of one byte.
fn wishes(bits: u8) -> Wishes {
    Wishes {
        version: if bits & 1 == 0 { Version::HTTP_11 } else { Version::HTTP_10 },
        is_head: bits & 2 != 0,
        keep_alive: bits & 4 == 0,
        expects_continue: false,
        accepts_trailers: bits & 8 == 0,
    }
}

fn answer(input: &[u8], wishes: Wishes, cut: u8) {
    let Some(length) = response::end_of_head(input, 0) else { return };
    for seen in 0..length {
        assert_eq!(response::end_of_head(input, seen), Some(length), "{seen} bytes were seen");
    }
    let bytes = Bytes::copy_from_slice(&input[..length]);
    let Ok(mut read) = response::read(&bytes, wishes.is_head, 256) else { return };
    let (other, parsed) = oracle::response_head(&bytes).expect("another parser takes it");
    assert_eq!((parsed, &other.line), (length, &Line::Status(read.status.as_u16())));
    if read.status.is_informational() {
        return;
    }
    let Some(body) = shared::body(read.framing, &input[length..], cut) else { return };
    hop_by_hop::remove_from_response(&mut read.fields);
    let known = if let Framing::Length(length) = read.framing { Some(length) } else { None };
    // The body of a response to HEAD has ended, and its length is not known from it.
    let content = Content { known: known.filter(|_| !wishes.is_head), is_own: false };
    let encoder = writer::frame_answer(read.status, &mut read.fields, content, wishes);
    let keeps = wishes.keep_alive && encoder.is_none_or(Encoder::keeps_connection);
    let mut out = BytesMut::new();
    writer::put_answer(&mut out, read.status, &read.fields, wishes.version, !keeps);
    let written = shared::written(out, encoder, &body, cut);

    let (mut again, taken) = oracle::response(&written, wishes.is_head).expect("what was written can be read");
    assert_eq!(taken, written.len(), "bytes are left over");
    let mut wanted = oracle::end_to_end_of_response(&other);
    // A body of known length gets its length, which is zero where the upstream sent neither a body nor a length.
    if !wanted.iter().any(|(name, _)| name == "content-length") {
        let sized = read.framing != Framing::Chunked && read.framing != Framing::UntilClose;
        let added = sized && !wishes.is_head && !matches!(other.line, Line::Status(204 | 304));
        if added {
            wanted.push(("content-length".to_owned(), body.data.len().to_string().into_bytes()));
        }
    }
    again.fields.retain(|(name, _)| name != "transfer-encoding" && name != "connection");
    let trailers = body.trailers.as_ref().filter(|_| matches!(encoder, Some(Encoder::Chunked { trailers: true })));
    let wanted = Message {
        line: other.line,
        is_old: wishes.version == Version::HTTP_10,
        fields: oracle::by_name(wanted),
        body: if encoder.is_none() { Vec::new() } else { body.data },
        // Trailers keep the order of those with one name alone.
        trailers: oracle::by_name(trailers.map(shared::listed).unwrap_or_default()),
    };
    let again = Message { fields: oracle::by_name(again.fields), trailers: oracle::by_name(again.trailers), ..again };
    assert_eq!(again, wanted);
}

fuzz_target!(|input: &[u8]| {
    let [mode, cut, rest @ ..] = input else { return };
    if mode & 64 == 0 {
        answer(rest, wishes(*mode), *cut);
    } else {
        let _whole = shared::body(Framing::Chunked, rest, *cut);
    }
});
