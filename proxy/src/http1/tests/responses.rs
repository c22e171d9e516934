//! Responses: the corpus, read by the connection to an upstream and written as to a client.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{Method, StatusCode, Version};
use http_body::Body as _;

use super::chunks;
use super::counts::{Counts, Output};
use super::generator::{
    CODINGS, Case, Cases, Draft, LENGTHS, LINES, Random, in_chunks, response, with_odd_byte, with_odd_line_end,
};
use super::oracle::{self, Message};
use super::pieces::{Cut, Pieces, flushed};
use super::rules::{self, Ends, Judged, Whole};
use crate::body::incoming::Incoming;
use crate::body::upload::Upload;
use crate::config::Limits;
use crate::fed::flow;
use crate::hop_by_hop;
use crate::http1::client::{Client, Failure, Outgoing};
use crate::http1::encoder::Encoder;
use crate::http1::head::Wishes;
use crate::http1::outbox::Outbox;
use crate::http1::wire::BodyError;
use crate::http1::writer::{self, Content};
use crate::message::Response;

/// What was read from one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Read {
    /// As it is written to the client, and whether the connection can be used again.
    Written {
        bytes: Vec<u8>,
        reusable: bool,
    },
    /// Without a single byte of a response.
    Closed,
    Refused(&'static str),
    Body(&'static str),
    /// The upstream switched protocols, which ends the exchange.
    Switched,
}

impl Read {
    /// The chunks of what is written follow the pieces that arrived, so only the meaning is the same for every cut.
    fn meaning(&self, wishes: Wishes) -> (Option<Message>, Self) {
        match self {
            Self::Written { bytes, reusable } => {
                (Some(reread(bytes, wishes)), Self::Written { bytes: vec![], reusable: *reusable })
            }
            other @ (Self::Closed | Self::Refused(_) | Self::Body(_) | Self::Switched) => (None, other.clone()),
        }
    }
}

/// The requests that are answered, one after the other.
fn wishes(n: usize, to_head: bool) -> Wishes {
    Wishes {
        version: if n % 5 == 4 { Version::HTTP_10 } else { Version::HTTP_11 },
        is_head: to_head,
        keep_alive: n % 3 != 2,
        expects_continue: false,
        accepts_trailers: n.is_multiple_of(2),
    }
}

async fn read(bytes: &Bytes, cut: Cut, wishes: Wishes) -> Read {
    let pieces = Pieces::new(bytes, cut);
    let stays_open = pieces.stays_open();
    let client = Client::new(pieces, Limits::default().response_head());
    let method = if wishes.is_head { Method::HEAD } else { Method::GET };
    let target = "/".to_owned().into();
    let mut outgoing = Outgoing::<Upload> { method, target, fields: model::Fields::new(), body: None };
    let response = match client.send(&mut outgoing, &flow(true), &mut |_, _| {}).await {
        Ok((response, _)) => response,
        Err(Failure::Closed) => return Read::Closed,
        Err(Failure::Request) => unreachable!("it has no body"),
        Err(Failure::Response(_)) => return Read::Refused("upstream_protocol"),
        Err(Failure::HeadTooLarge) => return Read::Refused("response_too_large"),
        Err(Failure::Interim) => return Read::Refused("too many 1xx"),
    };
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        return Read::Switched;
    }
    let Response { status, mut fields, body } = response;
    let mut body = Incoming::from(body);
    hop_by_hop::remove_from_response(&mut fields);
    let content = Content { known: body.size_hint().exact(), is_own: false };
    let encoder = writer::frame_answer(status, &mut fields, content, wishes);
    let keeps = wishes.keep_alive && encoder.is_none_or(Encoder::keeps_connection);
    let (mut out, mut encoder) = (Outbox::default(), encoder);
    writer::put_answer(out.last(), status, &fields, wishes.version, !keeps);
    let mut trailers = None;
    while let Some(frame) = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => match &mut encoder {
                Some(encoder) => encoder.put(&mut out, data).unwrap(),
                None => panic!("a body that no framing announces"),
            },
            Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
            Err(BodyError::Broken(_)) => return Read::Body("broken"),
            Err(BodyError::Malformed) => return Read::Body("malformed"),
            Err(BodyError::TrailersTooLarge) => return Read::Body("trailers too large"),
        }
    }
    if let Some(encoder) = encoder {
        encoder.end(&mut out, trailers.as_ref()).unwrap();
    }
    drop(body);
    // Only bytes that nobody asked for can follow.
    stays_open.store(true, Ordering::Relaxed);
    let reusable = client.is_idle();
    Read::Written { bytes: flushed(out).await, reusable }
}

/// What the client has to get for the one response in `bytes`, by the independent reader.
fn wanted(bytes: &[u8], wishes: Wishes) -> Message {
    let (message, taken) =
        oracle::response(bytes, wishes.is_head).expect("the independent reader takes what the product takes");
    assert_eq!(taken, bytes.len(), "the two readers disagree about its end");
    let mut fields = oracle::end_to_end_of_response(&message);
    let is_old = wishes.version == Version::HTTP_10;
    let coded = !oracle::values(&message.fields, "transfer-encoding").is_empty();
    let trailers = if !is_old && coded && wishes.accepts_trailers { message.trailers.clone() } else { vec![] };
    // A chunked body ends for an HTTP/1.0 client with the connection.
    fields.retain(|(name, _)| name != "transfer-encoding");
    Message { is_old, fields: oracle::by_name(fields), trailers, ..message }
}

fn reread(bytes: &[u8], wishes: Wishes) -> Message {
    let (mut message, taken) = oracle::response(bytes, wishes.is_head).expect("what was written can be read");
    assert_eq!(taken, bytes.len(), "bytes are left over");
    message.fields.retain(|(name, _)| !["transfer-encoding", "connection"].contains(&name.as_str()));
    Message { fields: oracle::by_name(message.fields), ..message }
}

/// Compares what was read with the rules; returns the reason to count.
fn check(case: &Case, read: &Read, wishes: Wishes, output: &mut Output) -> String {
    let shown = || format!("{} (head {}): {}", case.family, case.to_head, case.bytes.escape_ascii());
    match (rules::response(&case.bytes, case.to_head), read) {
        (Judged::Nothing, Read::Closed) => "closed".to_owned(),
        (Judged::Refused(_), Read::Refused(code)) => (*code).to_owned(),
        (Judged::Read(Whole { before, head, body: Ends::After(body), continues }), read) => {
            let whole = &case.bytes[before..before + head + body];
            if whole.starts_with(b"HTTP/1.1 101") || whole.starts_with(b"HTTP/1.0 101") {
                assert_eq!(*read, Read::Switched, "{}", shown());
                return "101".to_owned();
            }
            let Read::Written { bytes, reusable } = read else { panic!("{read:?} is wrong: {}", shown()) };
            let wanted = wanted(whole, wishes);
            assert_eq!(reread(bytes, wishes), wanted, "{}", shown());
            let is_clean = before + head + body == case.bytes.len();
            assert_eq!(*reusable, continues && is_clean, "{}", shown());
            output.response(bytes, &wanted, case.to_head);
            if is_clean { "accepted" } else { "accepted, bytes follow" }.to_owned()
        }
        (Judged::Read(Whole { body, .. }), Read::Body(code)) => {
            let due: &[&str] = match body {
                // A prefix of a valid message is broken off and never malformed.
                Ends::Unfinished if case.family == "truncated" => &["broken"],
                Ends::Unfinished => &["broken", "malformed", "trailers too large"],
                Ends::TrailersTooLarge => &["trailers too large"],
                Ends::Bad | Ends::After(_) => &["malformed"],
            };
            assert!(due.contains(code), "{due:?} is due, not {code}: {}", shown());
            format!("body {code}")
        }
        (due, read) => panic!("{due:?} is due, not {read:?}: {}", shown()),
    }
}

/// Each also as the response to HEAD, every third time.
fn add(cases: &mut Cases, random: &mut Random, family: &'static str, bytes: Vec<u8>) {
    cases.add(family, random.below(3) == 0, bytes);
}

fn heads(cases: &mut Cases) {
    let random = &mut Random::new(11);
    for _ in 0..1_200 {
        let bytes = response(random).bytes();
        add(cases, random, "valid", bytes);
    }
    for _ in 0..8 {
        let bytes = response(random).bytes();
        (0..bytes.len()).for_each(|end| add(cases, random, "truncated", bytes[..end].to_vec()));
    }
    for _ in 0..1_200 {
        let mut draft = response(random);
        match random.below(draft.fields.len() + 1) {
            0 => with_odd_byte(random, &mut draft.line),
            n => with_odd_byte(random, &mut draft.fields[n - 1]),
        }
        add(cases, random, "odd byte", draft.bytes());
    }
    for _ in 0..600 {
        let draft = response(random);
        let bytes = with_odd_line_end(random, &draft);
        add(cases, random, "odd line end", bytes);
    }
    for line in LINES.iter().cycle().take(300) {
        let mut draft = response(random);
        draft.insert(random, line.as_bytes().to_vec());
        add(cases, random, "odd field", draft.bytes());
    }
    let lines = [
        "HTTP/1.1 200 OK",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 200",
        "HTTP/1.1 200 ",
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 200\tOK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 099 X",
        "HTTP/1.1 000 X",
        "HTTP/1.1 100 X",
        "HTTP/1.1 101 X",
        "HTTP/1.1 199 X",
        "HTTP/1.1 -20 X",
        "HTTP/1.1 2x0 X",
        "HTTP/2.0 200 OK",
        "HTTP/0.9 200 OK",
        "HTTP/1.2 200 OK",
        "http/1.1 200 OK",
        "ICY 200 OK",
        "",
        "HTTP/1.1",
        "HTTP/1.1 ",
        " HTTP/1.1 200 OK",
        "HTTP/1.1 200 a\0b",
        "HTTP/1.1 200 a\u{7f}b",
        "HTTP/1.1 200 a\rb",
        "HTTP/1.1 407 X",
        "HTTP/1.1 304",
        "HTTP/1.1 204",
        "HTTP/1.1 205 X",
    ];
    for line in lines.iter().cycle().take(400) {
        let mut draft = response(random);
        draft.line = line.as_bytes().to_vec();
        add(cases, random, "status line", draft.bytes());
    }
}

fn framings(cases: &mut Cases) {
    let random = &mut Random::new(12);
    for n in 0..2_000 {
        let mut draft = response(random);
        draft.line = random
            .one(&["HTTP/1.1 200 OK", "HTTP/1.1 200 OK", "HTTP/1.1 204", "HTTP/1.1 304", "HTTP/1.0 200 OK"])
            .into();
        let (length, coding) = (LENGTHS[n % LENGTHS.len()], CODINGS[n % CODINGS.len()]);
        let (length, coding) = (format!("Content-Length: {length}"), format!("Transfer-Encoding:{coding}"));
        draft.body = in_chunks(random, b"hello");
        let family = match n % 5 {
            0 | 1 => {
                draft.insert(random, length.into_bytes());
                draft.body = b"hello".to_vec();
                "length"
            }
            2 | 3 => {
                draft.insert(random, coding.into_bytes());
                "coding"
            }
            _ => {
                draft.insert(random, b"Content-Length: 5".to_vec());
                draft.insert(random, coding.into_bytes());
                "length and coding"
            }
        };
        add(cases, random, family, draft.bytes());
    }
}

fn others(cases: &mut Cases) {
    let random = &mut Random::new(13);
    let interim = [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n",
        "HTTP/1.1 102\n\n",
        "HTTP/1.1 199 x\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 100 a\0\r\n\r\n",
        "HTTP/1.1 100\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
    ];
    for n in 0..500 {
        let mut bytes = Vec::new();
        for _ in 0..=random.below(3) {
            bytes.extend_from_slice(random.one(&interim[..if n % 3 == 0 { 7 } else { 4 }]).as_bytes());
        }
        bytes.extend_from_slice(&response(random).bytes());
        add(cases, random, "interim", bytes);
    }
    for count in [31, 32, 33, 40] {
        let bytes = [interim[0].repeat(count).into_bytes(), response(random).bytes()].concat();
        add(cases, random, "bounds", bytes);
    }
    for fields in [255, 256, 257, 400] {
        let draft = Draft { line: b"HTTP/1.1 200 OK".to_vec(), fields: vec![b"X: y".to_vec(); fields], body: vec![] };
        add(cases, random, "bounds", draft.bytes());
    }
    for n in 0..500 {
        let mut bytes = response(random).bytes();
        match n % 3 {
            0 => bytes.extend_from_slice(&response(random).bytes()),
            1 => bytes.extend_from_slice(b"\r\n"),
            _ => bytes.push(0),
        }
        add(cases, random, "bytes follow", bytes);
    }
    // Statuses without a body that send one.
    for line in ["HTTP/1.1 204", "HTTP/1.1 304 x", "HTTP/1.1 200 to HEAD"] {
        for field in ["Content-Length: 5", "Content-Length: 0", "Transfer-Encoding: chunked", "X: y"] {
            for body in ["", "hello", "5\r\nhello\r\n0\r\n\r\n"] {
                let bytes = format!("{line}\r\n{field}\r\n\r\n{body}").into_bytes();
                cases.add("no body", line.ends_with("HEAD"), bytes);
            }
        }
    }
}

#[tokio::test]
async fn responses_mean_the_same_to_every_reader() {
    let mut cases = Cases::default();
    heads(&mut cases);
    framings(&mut cases);
    others(&mut cases);
    chunks::add(&mut cases, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 14);
    let (mut counts, mut output) = (Counts::default(), Output::of("responses"));
    for (n, case) in cases.all.iter().enumerate() {
        let wishes = wishes(n, case.to_head);
        let [whole, cuts @ ..] = Cut::all(case.bytes.len(), n * 31 + 7);
        let seen = read(&case.bytes, whole, wishes).await;
        for cut in cuts {
            let other = read(&case.bytes, cut, wishes).await;
            assert_eq!(other.meaning(wishes), seen.meaning(wishes), "{cut:?} {}", case.bytes.escape_ascii());
        }
        counts.add(case.family, check(case, &seen, wishes, &mut output));
    }
    output.finish();
    counts.compare("responses");
}
