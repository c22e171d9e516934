//! HTTP/1 requests as they are read and written: a request that is taken is the same however it is cut and to another parser, and what
//! is sent to the upstream is read by that parser as the same one message.

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

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, header};
use http1::head::{self, Framing, Reach};
use http1::writer;
use libfuzzer_sys::fuzz_target;
use model::Timestamp;
use oracle::{Line, Message};
use sessions::{Created, Identified, NewSession, Proof, Registry};
use stand_ins::{config, refusal};

/// The client whose requests are read.
static CLIENT: LazyLock<Identified> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let registry = Registry::open(folder.path(), Timestamp::now()).expect("an empty folder");
    let created = registry.create(NewSession::default(), Timestamp::now());
    let Created { session, token, .. } = created.expect("it needs nothing");
    let proof = Proof::Token { id: session.id.as_str(), token: token.as_bytes() };
    registry.identify(proof, Timestamp::now()).expect("the token is its own")
});

/// The length of the head at the beginning of the input, found the same in one piece and byte by byte.
fn reach(input: &[u8]) -> Option<usize> {
    let whole = head::reach(input, 0);
    let last = if let Reach::End(length) = whole { length } else { input.len() };
    for length in 0..last {
        let found = head::reach(&input[..length], length.saturating_sub(1));
        match &whole {
            Reach::Broken if found == Reach::Broken => return None,
            Reach::End(_) | Reach::Open | Reach::Broken => assert_eq!(found, Reach::Open, "after {length} bytes"),
        }
    }
    assert_eq!(head::reach(&input[..last], last.saturating_sub(1)), whole, "with the last byte");
    if let Reach::End(length) = whole { Some(length) } else { None }
}

fn request(input: &[u8], cut: u8) {
    let Some(length) = reach(input) else { return };
    let bytes = Bytes::copy_from_slice(&input[..length]);
    let Ok(mut read) = head::read(&bytes, &config::Limits::default(), &CLIENT) else { return };
    let (other, parsed) = oracle::request_head(&bytes).expect("another parser takes it");
    let Line::Request { method, target } = &other.line else { unreachable!("it is a request") };
    assert_eq!((parsed, method.as_str()), (length, read.head.method.as_str()));
    assert_eq!(shared::listed(&read.fields), other.fields, "in the order in which they were sent");
    // The framing in the simplest reading of the fields.
    let plain =
        match (oracle::values(&other.fields, "content-length"), oracle::values(&other.fields, "transfer-encoding")) {
            (lengths, codings) if lengths.is_empty() && codings.is_empty() => Framing::Length(0),
            (lengths, codings) if codings.is_empty() && lengths.len() == 1 => {
                Framing::Length(String::from_utf8_lossy(lengths[0]).parse().expect("a number"))
            }
            (lengths, codings) => {
                assert!(lengths.is_empty() && codings.len() == 1 && !other.is_old, "{lengths:?} {codings:?}");
                assert!(codings[0].eq_ignore_ascii_case(b"chunked"));
                Framing::Chunked
            }
        };
    assert_eq!(read.head.framing, plain);
    // Only requests with a path go out.
    let Some(path) = read.head.target.path() else { return };
    assert!(target.ends_with(path.target()) || target.ends_with(path.target().trim_start_matches('/')));
    let Some(body) = shared::body(plain, &input[length..], cut) else { return };
    let has_body = plain != Framing::Length(0);
    hop_by_hop::remove_from_request(&mut read.fields);
    read.fields.insert(header::HOST, HeaderValue::from_static("a.example"));
    let encoder = writer::frame_request(&mut read.fields, has_body);
    let mut out = BytesMut::new();
    writer::put_request(&mut out, &read.head.method, path.target(), &read.fields);
    let written = shared::written(out, encoder, &body, cut);

    let (mut again, taken) = oracle::request(&written).expect("what was written can be read");
    assert_eq!(taken, written.len(), "bytes are left over");
    let mut wanted = oracle::end_to_end_of_request(&other.fields, has_body);
    wanted.push(("host".to_owned(), b"a.example".to_vec()));
    again.fields.retain(|(name, _)| name != "transfer-encoding");
    // Trailers keep the order of those with one name alone.
    let trailers = oracle::by_name(body.trailers.as_ref().map(shared::listed).unwrap_or_default());
    let line = Line::Request { method: method.clone(), target: path.target().to_owned() };
    let again = Message { fields: oracle::by_name(again.fields), trailers: oracle::by_name(again.trailers), ..again };
    assert_eq!(again, Message { line, is_old: false, fields: oracle::by_name(wanted), body: body.data, trailers });
}

fuzz_target!(|input: &[u8]| {
    if let Some((cut, rest)) = input.split_first() {
        request(rest, *cut);
    }
});
