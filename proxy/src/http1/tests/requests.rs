//! Requests: the corpus, read by the connection of a client and written as to an upstream.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body::Frame;
use sessions::Identified;

use super::chunks;
use super::counts::{Counts, Output};
use super::generator::{
    CODINGS, Case, Cases, Draft, GOOD_HOSTS, LENGTHS, LINES, Random, TARGETS, in_chunks, request, with_odd_byte,
    with_odd_line_end,
};
use super::oracle::{self, Line, Message};
use super::pieces::{Cut, Pieces, flushed};
use super::rules::{self, Ends, Judged, Whole};
use crate::hop_by_hop;
use crate::http1::link::{Arrived, ClientCheck, HeadFault, Link, Received, RequestBody};
use crate::http1::outbox::Outbox;
use crate::http1::wire::BodyError;
use crate::http1::writer;
use crate::testing::Bench;

/// How reading a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Refused(&'static str),
    /// The body of the last request is not valid.
    Body(&'static str),
    /// The last request ends the connection.
    Last,
}

/// The requests that were read whole, each as it is written to the upstream, and the end of the connection.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    written: Vec<Vec<u8>>,
    end: End,
}

impl Read {
    /// The chunks of what is written follow the pieces that arrived, so only the meaning is the same for every cut.
    fn meaning(&self) -> (Vec<Message>, &End) {
        (self.written.iter().map(|bytes| reread(bytes)).collect(), &self.end)
    }
}

struct Reader {
    client: Identified,
    limits: std::sync::Arc<crate::config::Limits>,
}

impl Reader {
    async fn read(&self, bytes: &Bytes, cut: Cut) -> Read {
        let check = ClientCheck::Tunnel(self.client.clone());
        let link = Link::new(Pieces::new(bytes, cut), self.limits.clone(), check);
        let mut written = Vec::new();
        let end = loop {
            let (client, read) = match link.next().await {
                Ok(None) => break End::Closed,
                Ok(Some(Arrived::Request(client, read))) => (client, read),
                Ok(Some(Arrived::Connect(..))) => unreachable!("it is refused within a tunnel"),
                Err(HeadFault::Refused(refusal)) => break End::Refused(refusal.reason().code()),
                Err(HeadFault::Socket) => unreachable!("the stream does not break"),
            };
            let keeps = read.wishes.keep_alive;
            let target = read.head.target.path().map(|path| path.target().to_owned());
            let Received { head, mut fields, body, .. } = link.request(client, *read);
            let frames = match frames(body.as_ref()).await {
                Ok(frames) => frames,
                Err(BodyError::Broken(_)) => break End::Body("broken"),
                Err(BodyError::Malformed) => break End::Body("malformed"),
                Err(BodyError::TrailersTooLarge) => break End::Body("head_too_large"),
            };
            // As the steps do it before they send a request. `*` goes to no upstream by itself.
            hop_by_hop::remove_from_request(&mut fields);
            fields.insert(header::HOST, HeaderValue::from_static("upstream.example"));
            let encoder = writer::frame_request(&mut fields, body.is_some());
            let mut out = Outbox::default();
            writer::put_request(out.last(), &head.method, target.as_deref().unwrap_or("*"), &fields);
            if let Some(mut encoder) = encoder {
                let mut trailers: Option<HeaderMap> = None;
                for frame in frames {
                    match frame.into_data() {
                        Ok(data) => encoder.put(&mut out, data).unwrap(),
                        Err(frame) => trailers = frame.into_trailers().ok(),
                    }
                }
                encoder.end(&mut out, trailers.as_ref()).unwrap();
            }
            written.push(flushed(out).await);
            if !keeps {
                break End::Last;
            }
        };
        Read { written, end }
    }
}

async fn frames(body: Option<&RequestBody>) -> Result<Vec<Frame<Bytes>>, BodyError> {
    let (mut frames, Some(body)) = (Vec::new(), body) else { return Ok(Vec::new()) };
    while let Some(frame) = std::future::poll_fn(|cx| body.poll_frame(cx)).await {
        frames.push(frame?);
    }
    Ok(frames)
}

/// What the upstream has to get for the one request in `bytes`, by the independent reader.
fn wanted(bytes: &[u8]) -> Message {
    let (message, taken) = oracle::request(bytes).expect("the independent reader takes what the product takes");
    assert_eq!(taken, bytes.len(), "the two readers disagree about its end");
    let Line::Request { method, target } = &message.line else { unreachable!("it is a request") };
    let target = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            let path = rest.find(['/', '?']).map_or("", |at| rest.split_at(at).1);
            if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
        }
        _ => target.clone(),
    };
    let coded = !oracle::values(&message.fields, "transfer-encoding").is_empty();
    let mut fields = oracle::end_to_end_of_request(&message.fields, coded || !message.body.is_empty());
    fields.push(("host".to_owned(), b"upstream.example".to_vec()));
    let line = Line::Request { method: method.clone(), target };
    Message { line, is_old: false, fields: oracle::by_name(fields), ..message }
}

/// The written bytes as the independent reader reads them: exactly one message.
fn reread(bytes: &[u8]) -> Message {
    let (mut message, taken) = oracle::request(bytes).expect("what was written can be read");
    assert_eq!(taken, bytes.len(), "bytes are left over");
    message.fields.retain(|(name, _)| name != "transfer-encoding");
    Message { fields: oracle::by_name(message.fields), ..message }
}

/// Compares what was read with the rules; returns the reason to count.
fn check(case: &Case, read: &Read, output: &mut Output) -> String {
    let shown = || format!("{}: {}", case.family, case.bytes.escape_ascii());
    let (mut at, mut written) = (0, read.written.iter());
    loop {
        let rest = &case.bytes[at..];
        match rules::request(rest) {
            Judged::Nothing => {
                assert_eq!(read.end, End::Closed, "{}", shown());
                break;
            }
            Judged::Refused(codes) => {
                let End::Refused(code) = read.end else { panic!("{codes:?} is due, not {:?}: {}", read.end, shown()) };
                assert!(codes.contains(code), "{codes:?} is due, not {code}: {}", shown());
                break;
            }
            Judged::Read(Whole { before, head, body: Ends::After(body), continues }) => {
                let written = written.next().unwrap_or_else(|| panic!("{:?} is wrong: {}", read.end, shown()));
                let end = before + head + body;
                let wanted = wanted(&rest[before..end]);
                assert_eq!(reread(written), wanted, "{}", shown());
                output.request(written, &wanted);
                at += end;
                if !continues {
                    assert_eq!(read.end, End::Last, "{}", shown());
                    break;
                }
            }
            Judged::Read(Whole { body, .. }) => {
                let due: &[&str] = match body {
                    // A prefix of a valid message is broken off and never malformed.
                    Ends::Unfinished if case.family == "truncated" => &["broken"],
                    Ends::Unfinished => &["broken", "malformed", "head_too_large"],
                    Ends::TrailersTooLarge => &["head_too_large"],
                    Ends::Bad | Ends::After(_) => &["malformed"],
                };
                let End::Body(code) = read.end else { panic!("{due:?} is due, not {:?}: {}", read.end, shown()) };
                assert!(due.contains(&code), "{due:?} is due, not {code}: {}", shown());
                break;
            }
        }
    }
    assert_eq!(written.next(), None, "more was read: {}", shown());
    match read.end {
        End::Closed | End::Last => format!("{} accepted", read.written.len()),
        End::Refused(code) => code.to_owned(),
        End::Body(code) => format!("body {code}"),
    }
}

/// A field in place of any other, or added.
fn with_field(random: &mut Random, field: &str) -> Draft {
    let mut draft = request(random);
    draft.insert(random, field.as_bytes().to_vec());
    draft
}

fn heads(cases: &mut Cases) {
    let random = &mut Random::new(1);
    for _ in 0..2_000 {
        cases.add("valid", false, request(random).bytes());
    }
    for _ in 0..14 {
        let bytes = request(random).bytes();
        (1..bytes.len()).for_each(|end| cases.add("truncated", false, bytes[..end].to_vec()));
    }
    for _ in 0..2_600 {
        let mut draft = request(random);
        // A host has rules of its own, which have a family of their own.
        let others: Vec<usize> = (0..draft.fields.len()).filter(|n| Some(*n) != draft.host()).collect();
        match others.len() {
            0 => with_odd_byte(random, &mut draft.line),
            count => match random.below(count + 1) {
                0 => with_odd_byte(random, &mut draft.line),
                n => with_odd_byte(random, &mut draft.fields[others[n - 1]]),
            },
        }
        cases.add("odd byte", false, draft.bytes());
    }
    for _ in 0..1_000 {
        let draft = request(random);
        cases.add("odd line end", false, with_odd_line_end(random, &draft));
    }
    for line in LINES.iter().cycle().take(700) {
        cases.add("odd field", false, with_field(random, line).bytes());
    }
}

fn framings(cases: &mut Cases) {
    let random = &mut Random::new(2);
    let spelled = |random: &mut Random, name: &str, value: &str| {
        let name = if random.below(2) == 0 { name.to_owned() } else { name.to_ascii_uppercase() };
        format!("{name}:{}{value}", random.one(&["", " ", "  ", "\t"]))
    };
    for value in LENGTHS.iter().cycle().take(1_600) {
        let mut draft = request(random);
        let field = spelled(random, "Content-Length", value);
        draft.insert(random, field.into_bytes());
        draft.body = b"hello".to_vec();
        cases.add("length", false, draft.bytes());
    }
    for value in CODINGS.iter().cycle().take(1_400) {
        let mut draft = request(random);
        let field = spelled(random, "Transfer-Encoding", value);
        draft.insert(random, field.into_bytes());
        draft.body = in_chunks(random, b"hello");
        if random.below(8) == 0 {
            draft.line = b"POST / HTTP/1.0".to_vec();
        }
        cases.add("coding", false, draft.bytes());
    }
    for n in 0..800 {
        let mut draft = request(random);
        let (length, coding) = (LENGTHS[random.below(2)], CODINGS[random.below(if n % 2 == 0 { 2 } else { 12 })]);
        for field in [spelled(random, "Content-Length", length), spelled(random, "transfer-encoding", coding)] {
            draft.insert(random, field.into_bytes());
        }
        draft.body = in_chunks(random, b"hello");
        cases.add("length and coding", false, draft.bytes());
    }
}

fn lines(cases: &mut Cases) {
    let random = &mut Random::new(3);
    let versions = [
        "HTTP/1.1",
        "HTTP/1.0",
        "HTTP/0.9",
        "HTTP/1.2",
        "HTTP/1.9",
        "HTTP/2.0",
        "HTTP/11.1",
        "HTTP/1.10",
        "HTTP/1",
        "HTTP/1.",
        "http/1.1",
        "Http/1.1",
        "HTTP/1,1",
        "HTTP 1.1",
        "HTTP/01.1",
        "HTTP/1.1 ",
        "HTTP/1.1\t",
        "HTTPS/1.1",
        "",
        "ICY/1.1",
    ];
    let methods = [
        "GET",
        "get",
        "Post",
        "DELETE",
        "PROPFIND",
        "CONNECT",
        "connect",
        "G(T",
        "G ET",
        "",
        "GET\t",
        "G\u{e9}T",
        "A-B_C",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG",
        "{",
        "\"GET\"",
        "TRACE",
        "TRACK",
        "track",
    ];
    for method in methods {
        for version in versions {
            for separator in [" ", "  ", "\t"] {
                let mut draft = request(random);
                let target = if method.eq_ignore_ascii_case("connect") { "a.example:443" } else { "/x" };
                draft.line = format!("{method}{separator}{target} {version}").into_bytes();
                cases.add("request line", false, draft.bytes());
            }
        }
    }
    for (target, _) in TARGETS.iter().chain(&[("*", None), ("", None), ("a.example:443", None), ("[::1]:443", None)]) {
        for method in ["GET", "POST", "OPTIONS", "CONNECT"] {
            for host in GOOD_HOSTS {
                let mut draft = request(random);
                draft.line = format!("{method} {target} HTTP/1.1").into_bytes();
                draft.remove_host();
                draft.insert(random, format!("Host: {host}").into_bytes());
                cases.add("target", false, draft.bytes());
            }
        }
    }
    let hosts = [
        "",
        " ",
        "a, b",
        "a.example, a.example",
        "a/x",
        "u@a",
        "a b",
        "a\tb",
        "a:",
        "a:b",
        "a:99999",
        "a:0443",
        "a:+443",
        "[::1",
        "::1",
        "a..b",
        "a%2e",
        "http://a",
        "a.example#",
        "a.example\\",
        "?",
        "a;b",
    ];
    for host in hosts.into_iter().chain(GOOD_HOSTS).cycle().take(400) {
        let mut draft = request(random);
        match random.below(3) {
            // Next to the one that is there.
            0 => draft.insert(random, format!("hoST: {host}").into_bytes()),
            _ => {
                draft.remove_host();
                draft.insert(random, format!("Host:{host}").into_bytes());
            }
        }
        cases.add("host", false, draft.bytes());
    }
    for _ in 0..200 {
        let mut draft = request(random);
        draft.remove_host();
        if random.below(2) == 0 {
            draft.line = b"POST /old HTTP/1.0".to_vec();
        }
        if random.below(2) == 0 {
            draft.insert(random, b"Connection: Keep-Alive".to_vec());
        }
        draft.body.extend_from_slice(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
        cases.add("no host", false, draft.bytes());
    }
}

fn others(cases: &mut Cases) {
    let random = &mut Random::new(4);
    for value in ["100-continue", "100-Continue", "", "100-continue, x", "101", "200-ok", "\t100-continue "]
        .iter()
        .cycle()
        .take(300)
    {
        cases.add("expect", false, with_field(random, &format!("Expect:{value}")).bytes());
    }
    for _ in 0..100 {
        let mut draft = with_field(random, "Proxy-Authorization: Basic YTpi");
        draft.insert(random, b"proxy-authorization:x".to_vec());
        cases.add("credentials", false, draft.bytes());
    }
    for front in
        ["\r\n", "\r\n\r\n", "\n", "\r", "\r\r\n", " ", "\t", "\0", "\u{feff}", " \r\n"].iter().cycle().take(300)
    {
        cases.add("in front", false, [front.as_bytes(), &request(random).bytes()].concat());
    }
    for n in 0..1_400 {
        let mut bytes = request(random).bytes();
        let mut second = request(random);
        match n % 4 {
            0 => with_odd_byte(random, &mut second.line),
            1 => bytes.extend_from_slice(b"\r\n"),
            2 => second.insert(random, format!("Content-Length: {}", LENGTHS[n % LENGTHS.len()]).into_bytes()),
            _ => second.insert(random, b"Connection: close".to_vec()),
        }
        bytes.extend_from_slice(&second.bytes());
        bytes.extend_from_slice(&request(random).bytes());
        cases.add("pipelined", false, bytes);
    }
    for fields in [99, 100, 101, 200] {
        let draft =
            Draft { line: b"GET / HTTP/1.1".to_vec(), fields: vec![b"X: y".to_vec(); fields - 1], body: vec![] };
        let mut with_host = draft.clone();
        with_host.fields.push(b"Host: a.example".to_vec());
        cases.add("bounds", false, with_host.bytes());
        cases.add("bounds", false, draft.bytes());
    }
    for length in [16_383, 16_384, 16_385] {
        let line = format!("GET /{} HTTP/1.1", "a".repeat(length - 1));
        let draft = Draft { line: line.into_bytes(), fields: vec![b"Host: a.example".to_vec()], body: vec![] };
        cases.add("bounds", false, draft.bytes());
    }
    for length in [32_767, 32_768, 32_769, 40_000] {
        let mut draft =
            Draft { line: b"GET / HTTP/1.1".to_vec(), fields: vec![b"Host: a.example".to_vec()], body: vec![] };
        let rest = length - draft.head().len() - 5;
        draft.fields.push(format!("X: {}", "v".repeat(rest)).into_bytes());
        assert_eq!(draft.head().len(), length);
        cases.add("bounds", false, draft.bytes());
    }
}

pub(super) fn corpus() -> Cases {
    let mut cases = Cases::default();
    heads(&mut cases);
    framings(&mut cases);
    lines(&mut cases);
    others(&mut cases);
    chunks::add(&mut cases, b"POST /c HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n", 5);
    cases
}

#[tokio::test]
async fn requests_mean_the_same_to_every_reader() {
    let bench = Bench::new(&["{id: r, allow: {host: api.example.com}}"]);
    let reader = Reader { client: bench.client.clone(), limits: bench.core.proxy.limits.clone() };
    let (mut counts, mut output) = (Counts::default(), Output::of("requests"));
    for (n, case) in corpus().all.iter().enumerate() {
        let [whole, cuts @ ..] = Cut::all(case.bytes.len(), n * 31 + 7);
        let read = reader.read(&case.bytes, whole).await;
        for cut in cuts {
            let other = reader.read(&case.bytes, cut).await;
            assert_eq!(other.meaning(), read.meaning(), "{cut:?} {}", case.bytes.escape_ascii());
        }
        counts.add(case.family, check(case, &read, &mut output));
    }
    output.finish();
    counts.compare("requests");
}
