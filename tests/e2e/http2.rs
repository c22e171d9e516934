//! Requests of HTTP/2 that would have another meaning in HTTP/1, or none. Each gets a record, also where the library resets it.

use std::sync::Arc;

use egret_tests::canary::contains;
use egret_tests::client::{H2, Tunnel};
use egret_tests::egret::Session;
use egret_tests::frames::{End, Frames, PROTOCOL_ERROR};
use egret_tests::records::Record;
use egret_tests::refusal;
use egret_tests::shared::Shared;
use egret_tests::wait;

use crate::world::World;

static WORLD: Shared<World> = Shared::new();

const POLICY: &str = "
policy: http2
rules:
  - id: api
    allow: {host: [api.origin.test, length.origin.test], port: PORT, LOCAL}
";

fn world() -> Arc<World> {
    WORLD.get(|| World::new(&["api.origin.test", "length.origin.test"], &[POLICY], |setup| setup))
}

/// The closing records of a session, once there are `count` of them.
fn closings(world: &World, session: &Session, count: usize) -> Vec<Record> {
    wait::until("the closing records", || {
        let records = world.egret.records();
        let of_session = |r: &Record| r.text("session") == session.id && r.text("kind") == "exchange.closed";
        let found: Vec<Record> = records.into_iter().filter(of_session).collect();
        (found.len() >= count).then_some(found)
    })
}

/// The fields of a request for `path`, with some of them replaced or added.
fn fields<'a>(target: &'a str, path: &'a str, more: &[(&'a str, &'a [u8])]) -> Vec<(&'a str, &'a [u8])> {
    let mut all: Vec<(&str, &[u8])> = vec![
        (":method", b"POST"),
        (":scheme", b"https"),
        (":authority", target.as_bytes()),
        (":path", path.as_bytes()),
    ];
    for (name, value) in more {
        match all.iter_mut().find(|(known, _)| known == name) {
            Some(known) => known.1 = value,
            None => all.push((name, value)),
        }
    }
    all
}

#[test]
fn t066_a_request_with_another_meaning_in_http1_is_reset_and_recorded() {
    let world = world();
    let target = world.target("api.origin.test");
    let mut cases: Vec<Vec<(&str, &[u8])>> = [
        ("transfer-encoding", &b"chunked"[..]),
        ("connection", b"close"),
        ("keep-alive", b"1"),
        ("proxy-connection", b"close"),
        ("upgrade", b"h2c"),
        ("te", b"gzip"),
        ("x", b" a"),
        ("x", b"a "),
        ("x", b"a\t"),
        (":path", b"/t066 x"),
        (":path", b"/t066\r\nX: y"),
        (":path", b""),
        (":scheme", b"http"),
        (":authority", b"u@api.origin.test"),
        (":status", b"200"),
        ("host", b"other.origin.test"),
        ("content-length", b"+5"),
        ("content-length", b"05"),
        ("content-length", b"5, 5"),
    ]
    .into_iter()
    .map(|field| fields(&target, "/t066", &[field]))
    .collect();
    let plain = || fields(&target, "/t066", &[]);
    cases.push([plain(), vec![(":path", &b"/t066-two"[..])]].concat());
    cases.push([plain(), vec![("content-length", &b"5"[..]), ("content-length", b"5")]].concat());
    cases.push([vec![("x", &b"1"[..])], plain()].concat());
    cases.push(plain().split_off(1));
    for case in cases {
        let session = world.egret.session(&["http2"], &[]);
        let mut client = Frames::open(&world.egret, &session, &target);
        client.head(1, &case, false);
        client.data(1, b"hello", true);
        let shown: Vec<_> = case.iter().map(|(name, value)| format!("{name}: {}", value.escape_ascii())).collect();
        assert_eq!(client.end(1), End::Reset(PROTOCOL_ERROR), "{shown:?}");
        // The connection continues.
        client.head(3, &fields(&target, "/after", &[(":method", b"GET")]), true);
        assert!(matches!(client.end(3), End::Answer { heads: 1, .. }), "{shown:?}");
        let records = closings(&world, &session, 2);
        let facts = |record: &Record| ["decision", "code", "fault"].map(|name| record.text(name));
        let malformed: Vec<_> = records.iter().filter(|record| record.has("code")).map(facts).collect();
        assert_eq!(malformed, [["deny", "malformed", "downstream"]], "{shown:?}");
        assert_eq!(records.len(), 2, "{shown:?}: {records:?}");
    }
    world.origin.assert_saw_nothing_of("t066");
}

#[test]
fn t066_a_body_of_another_length_is_reset_and_recorded() {
    let world = world();
    // Over HTTP/1.1 the head can be seen at the upstream.
    world.origin.protocols("length.origin.test", &["http/1.1"]);
    let target = world.target("length.origin.test");
    for (path, length) in [("/length-7", &b"7"[..]), ("/length-4", b"4")] {
        let session = world.egret.session(&["http2"], &[]);
        let mut client = Frames::open(&world.egret, &session, &target);
        client.head(1, &fields(&target, path, &[("content-length", length)]), false);
        // The length is wrong once its body arrives; the head was sent on before.
        wait::until("the head at the upstream", || {
            let connections = world.origin.connections("length.origin.test");
            connections.iter().any(|c| c.with_raw(|raw| contains(raw, path.as_bytes()))).then_some(())
        });
        client.data(1, b"hello", true);
        assert_eq!(client.end(1), End::Reset(PROTOCOL_ERROR), "{path}");
        let records = closings(&world, &session, 1);
        let facts = ["decision", "code", "fault"].map(|name| records[0].text(name));
        assert_eq!(facts, ["deny", "malformed", "downstream"], "{path}");
        assert_eq!(records.len(), 1, "{path}: {records:?}");
    }
}

#[test]
fn t066_a_field_that_is_none_ends_the_connection() {
    let world = world();
    let target = world.target("api.origin.test");
    for field in [
        ("x", &b"a\rb"[..]),
        ("x", b"a\nb"),
        ("x", b"a\0b"),
        ("X-A", b"1"),
        ("x:a", b"1"),
        ("x a", b"1"),
        ("x\na", b"1"),
        ("", b"1"),
        (":unknown", b"1"),
        (":method", b"PO ST"),
    ] {
        let session = world.egret.session(&["http2"], &[]);
        let mut client = Frames::open(&world.egret, &session, &target);
        client.head(1, &fields(&target, "/t066-field", &[field]), true);
        assert_eq!(client.end(1), End::Closed, "{field:?}");
        let records = closings(&world, &session, 1);
        let facts = ["decision", "code", "detail", "fault"].map(|name| records[0].text(name));
        assert_eq!(facts, ["deny", "malformed", "http2", "downstream"], "{field:?}");
        assert_eq!(records.len(), 1, "{field:?}: {records:?}");
    }
    world.origin.assert_saw_nothing_of("t066-field");
}

#[test]
fn t066_a_target_that_is_no_uri_is_refused_with_a_record() {
    let world = world();
    let target = world.target("api.origin.test");
    for path in ["/a<b", "/a>b", "/a`b", "/a?b<c", "/a?b>c"] {
        let session = world.egret.session(&["http2"], &[]);
        let mut client = Frames::open(&world.egret, &session, &target);
        client.head(1, &fields(&target, path, &[(":method", b"GET")]), true);
        assert_eq!(client.end(1), End::Reset(PROTOCOL_ERROR), "{path}");
        let records = closings(&world, &session, 1);
        assert_eq!((records.len(), records[0].text("code")), (1, "malformed".to_owned()), "{path}: {records:?}");
        let mut wire = Tunnel::to(&target).open(&world.egret, &session);
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
        let answer = wire.answer();
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
    }
}

#[test]
fn t131_a_head_that_is_too_large_over_http2() {
    let world = world();
    let target = world.target("api.origin.test");
    let session = world.egret.session(&["http2"], &[]);
    let mut client = Frames::open(&world.egret, &session, &target);
    let names: Vec<String> = (0..101).map(|n| format!("x-{n}")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"1"[..])).collect();
    client.head(1, &fields(&target, "/t131", &many), true);
    assert!(matches!(client.end(1), End::Answer { heads: 1, data } if contains(&data, b"head_too_large")));
    // The library answers one beyond `max_header_list_bytes` itself.
    client.head(3, &fields(&target, "/t131", &[("x", &[b'a'; 70_000])]), true);
    assert_eq!(client.end(3), End::Answer { heads: 1, data: Vec::new() });
    let records = closings(&world, &session, 2);
    let facts: Vec<_> = records.iter().map(|record| (record.text("code"), record.number("status"))).collect();
    assert_eq!(facts, [("head_too_large".to_owned(), 431), ("head_too_large".to_owned(), 431)]);
    world.origin.assert_saw_nothing_of("t131");
}

#[test]
fn an_answer_before_the_end_of_the_upload_arrives() {
    let world = world();
    let target = world.target("api.origin.test");
    let session = world.egret.session(&["http2"], &[]);
    let mut h2 = H2::open(&world.egret, &session, &target);
    let request = http::Request::post(format!("https://{target}/early")).header("content-type", "text/plain");
    let request = request.method("TRACE").body(http_body_util::Full::from(vec![b'a'; 8 << 20])).unwrap();
    let answer = h2.send(request).unwrap();
    refusal::expect_denied(&world.egret, &answer, 403, "denied_method");
}
