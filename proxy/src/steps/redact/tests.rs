//! The request to an upstream, and the part of its response that the client gets.

use model::Fields;
use vault::Kind;

use super::*;
use crate::fed::{coded, flow};
use crate::refusal::Form;
use crate::steps::inject::inject;
use crate::steps::respond::respond;
use crate::steps::route::route;
use crate::testing::{Bench, Setup, VALUE, collect, fields, response};

const RULE: &str = "{id: r, allow: {host: api.example.com, methods: [GET, HEAD]}}";

/// A bench with a credential whose audience is the host; the rule does not use it.
fn bench() -> Bench {
    Setup::new(&[RULE]).credential("token", Kind::bearer()).build()
}

/// The fields that are sent for a request with these, and the requested range.
async fn prepared(bench: &Bench, method: &str, head: &str) -> Result<(Armed, Option<Part>), Refusal> {
    let line = bench.line("GET", "/");
    let asked = bench.asked(&format!("{method} /a HTTP/1.1\r\nHost: api.example.com\r\n{head}\r\n")).await;
    let routed = route(bench.exchange(), asked)?;
    let mut armed = inject(line.wanted(), routed, &line.active, &mut bench.trail())?;
    let part = prepare(bench.exchange(), &mut armed)?;
    Ok((armed, part))
}

/// The result of this response to a request with these fields.
async fn redacted(bench: &Bench, head: &str, came: &[u8]) -> Result<Redacted, Refusal> {
    let (_, part) = prepared(bench, "GET", head).await?;
    let upstreamed = Upstreamed { flow: flow(true), back: None };
    let reply = Reply { response: response(came).await, leases: Vec::new(), patterns: Vec::new(), upstreamed };
    redact(bench.exchange(), reply, part).await
}

/// The response as the client gets it: its fields, and its body as text.
async fn shown(bench: &Bench, head: &str, came: &[u8]) -> (Response<()>, String) {
    let redacted = redacted(bench, head, came).await.unwrap();
    let Response { status, fields, body } = respond(bench.trail(), Ok((redacted, bench.held())), Form::Problem);
    let body = collect(body).await.unwrap().0;
    (Response { status, fields, body: () }, String::from_utf8_lossy(&body).into_owned())
}

fn message(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

fn stars(text: &str) -> String {
    text.replace(VALUE, &"*".repeat(VALUE.len()))
}

#[tokio::test]
async fn a_host_that_has_no_secret_is_asked_as_the_client_asks() {
    let bench = Bench::new(&[RULE]);
    let head = "Accept-Encoding: br\r\nRange: bytes=5-9\r\n";
    let (armed, part) = prepared(&bench, "GET", head).await.unwrap();
    assert!(part.is_none() && armed.stripped.is_empty());
    assert_eq!(armed.fields.get("accept-encoding").unwrap(), "br");
    assert_eq!(armed.fields.get("range").unwrap(), "bytes=5-9");
    let (parts, body) = shown(&bench, "", &message("200 OK\r\nContent-Encoding: unknown", VALUE.as_bytes())).await;
    assert_eq!(body, VALUE);
    assert_eq!(parts.fields.get("content-encoding").unwrap(), "unknown");
}

#[tokio::test]
async fn a_part_is_asked_for_wider_by_the_longest_secret() {
    let bench = bench();
    let (armed, part) = prepared(&bench, "GET", "Range: bytes=1000-1009\r\nAccept-Encoding: br\r\n").await.unwrap();
    let longest = bench.core.proxy.needles.at(bench.destination.host()).unwrap().1.unwrap().longest();
    let want = format!("bytes={}-{}", 1001 - longest, 1008 + longest);
    assert_eq!(armed.fields.get("range").unwrap().to_str().unwrap(), want);
    assert!(part.is_some());
    assert_eq!(armed.stripped, ["accept-encoding"]);
    let (armed, part) = prepared(&bench, "HEAD", "Range: bytes=1000-1009\r\n").await.unwrap();
    assert!(part.is_none());
    assert_eq!(armed.fields.get("range").unwrap(), "bytes=1000-1009");
}

#[tokio::test]
async fn a_part_that_cannot_be_masked_is_not_asked_for() {
    let signed = "Authorization: AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host;range, Signature=b\r\n";
    for head in ["Range: bytes=9-1\r\n".to_owned(), format!("Range: bytes=0-1\r\n{signed}")] {
        let rule = "{id: r, allow: {host: api.example.com}, client_auth: allow}";
        let bench = Setup::new(&[rule]).credential("token", Kind::bearer()).build();
        let refusal = prepared(&bench, "GET", &head).await.err().unwrap();
        assert_eq!(refusal.reason(), Reason::RedactionImpossible, "{head}");
    }
}

#[tokio::test]
async fn a_secret_is_masked_in_fields_body_and_trailers() {
    let bench = bench();
    let text = format!("before {VALUE} after");
    let (parts, body) = shown(&bench, "", &message(&format!("200 OK\r\nX-Echo: {VALUE}"), text.as_bytes())).await;
    assert_eq!(body, stars(&text));
    assert_eq!(parts.fields.get("x-echo").unwrap().to_str().unwrap(), stars(VALUE));
    assert_eq!(parts.fields.get("content-length").unwrap(), &HeaderValue::from(text.len()));
    let closed = bench.last_closed();
    assert_eq!((&closed["redactions"], &closed["response_bytes"]), (&2.into(), &text.len().into()));
    let chunked =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: {VALUE}\r\n\r\n");
    let redacted = redacted(&bench, "", chunked.as_bytes()).await.unwrap();
    let (body, trailers) =
        collect(respond(bench.trail(), Ok((redacted, bench.held())), Form::Problem).body).await.unwrap();
    assert_eq!((body, trailers.unwrap()), ("hi".into(), fields(&[("x-sum", &stars(VALUE))]).into()));
}

#[tokio::test]
async fn a_coded_body_is_decoded_and_described_so() {
    let bench = bench();
    let body = coded(&["gzip"], format!("before {VALUE}").as_bytes());
    let (parts, body) = shown(&bench, "", &message("200 OK\r\nContent-Encoding: gzip\r\nETag: \"a\"", &body)).await;
    assert_eq!(body, stars(&format!("before {VALUE}")));
    assert_eq!(parts.fields, fields(&[("etag", "W/\"a\"")]));
}

#[tokio::test]
async fn what_cannot_be_searched_is_not_shown() {
    let bench = bench();
    for head in [
        "200 OK\r\nContent-Encoding: unknown",
        "226 IM Used",
        "206 Partial Content\r\nContent-Range: bytes 0-3/9",
        "200 OK\r\nContent-Type: application/grpc\r\nGrpc-Encoding: unknown",
    ] {
        let refusal = redacted(&bench, "", &message(head, b"text")).await.err().unwrap();
        assert_eq!(refusal.reason(), Reason::RedactionImpossible, "{head}");
    }
    // Without a body there are no bytes to search.
    let (parts, _) = shown(&bench, "", b"HTTP/1.1 204 No Content\r\nContent-Encoding: unknown\r\n\r\n").await;
    assert_eq!(parts.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn of_a_wider_part_the_client_gets_what_it_asked_for() {
    let bench = bench();
    let longest = bench.core.proxy.needles.at(bench.destination.host()).unwrap().1.unwrap().longest();
    let came = "x".repeat(longest - 1) + "0123456789" + &"y".repeat(longest - 1);
    let range = format!("206 Partial Content\r\nContent-Range: bytes {}-{}/99999", 1001 - longest, 1008 + longest);
    let (parts, body) = shown(&bench, "Range: bytes=1000-1009\r\n", &message(&range, came.as_bytes())).await;
    assert_eq!((parts.status, body.as_str()), (StatusCode::PARTIAL_CONTENT, "0123456789"));
    assert_eq!(parts.fields, fields(&[("content-range", "bytes 1000-1009/99999"), ("content-length", "10")]));
}

#[test]
fn t093_the_head_of_a_decoded_body_describes_what_is_sent() {
    let mut head = fields(&[
        ("content-encoding", "gzip"),
        ("content-length", "7"),
        ("content-md5", "x"),
        ("digest", "x"),
        ("repr-digest", "x"),
        ("x-amz-checksum-crc32", "x"),
        ("accept-ranges", "bytes"),
        ("etag", "\"abc\""),
        ("last-modified", "then"),
    ]);
    describe_decoded(&mut head);
    assert_eq!(head, fields(&[("etag", "W/\"abc\""), ("last-modified", "then")]));
    describe_decoded(&mut head);
    assert_eq!(head.get("etag").unwrap(), "W/\"abc\"");
}

#[test]
fn t271_no_coding_is_asked_for() {
    let asks = |all: &[(&'static str, &'static str)]| {
        let (mut fields, mut stripped) = (fields(all), Vec::new());
        ask_for_identity(&mut fields, &mut stripped);
        (fields, stripped)
    };
    let (asked, stripped) = asks(&[
        ("accept", "*/*"),
        ("accept-encoding", "gzip, dcb"),
        ("a-im", "gzip"),
        ("available-dictionary", ":x:"),
        ("dictionary-id", "x"),
        ("avail-dictionary", "x"),
        ("connect-accept-encoding", "gzip"),
    ]);
    let identity = |name| (name, "identity");
    let want = [("accept", "*/*"), identity("accept-encoding"), identity("connect-accept-encoding")];
    assert_eq!(asked, fields(&want));
    assert_eq!(stripped.len(), 6, "{stripped:?}");
    // A server may answer in the coding of the request if no field excludes it.
    let (asked, stripped) = asks(&[("content-type", "application/grpc+proto"), ("grpc-encoding", "gzip")]);
    assert_eq!(asked.get("grpc-accept-encoding").unwrap(), "identity");
    assert_eq!(asked.get("grpc-encoding").unwrap(), "gzip", "the request is as it was");
    let (other, _) = asks(&[("content-type", "application/json")]);
    assert_eq!((other.len(), stripped.len()), (2, 0));
}

#[test]
fn t219_a_signed_range_is_found() {
    let with = |value: &'static str| fields(&[("authorization", value)]);
    let signed = "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;range;x-amz-date, Signature=c";
    assert!(is_range_signed(&with(signed), "/key"));
    assert!(!is_range_signed(&with("AWS4-HMAC-SHA256 SignedHeaders=host;x-amz-date, Signature=range"), "/range"));
    assert!(!is_range_signed(&with("Bearer range"), "/a?range=1"));
    assert!(is_range_signed(&Fields::new(), "/a?X-Amz-SignedHeaders=host%3Brange&X-Amz-Signature=b"));
    assert!(!is_range_signed(&Fields::new(), "/a?X-Amz-SignedHeaders=host&range=1"));
}
