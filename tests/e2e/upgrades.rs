//! Requests that ask for another protocol, and methods that would leave HTTP: none of them reaches an upstream.

use std::sync::Arc;

use egret_tests::client::{self, H2, Tunnel};
use egret_tests::frames::{End, Frames, PROTOCOL_ERROR};
use egret_tests::origin::script::Script;
use egret_tests::refusal;
use egret_tests::shared::Shared;

use crate::world::World;

static WORLD: Shared<World> = Shared::new();

const POLICY: &str = "
policy: upgrades
rules:
  - id: api
    allow: {host: [api.origin.test, switching.origin.test], port: PORT, LOCAL}
  - id: ws
    allow: {host: ws.origin.test, port: PORT, upgrade: websocket, LOCAL}
  - id: star
    allow: {host: star.origin.test, port: PORT, path: \"*\", LOCAL}
";

fn world() -> Arc<World> {
    let hosts = ["api.origin.test", "switching.origin.test", "ws.origin.test", "star.origin.test"];
    WORLD.get(|| World::new(&hosts, &[POLICY], |setup| setup))
}

#[test]
fn t057_h2c_passes_without_its_fields() {
    let world = world();
    let session = world.egret.session(&["upgrades"], &[]);
    let target = world.target("api.origin.test");
    let fields = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    let answer = client::get_with(&world.egret, &session, &target, "/t057", fields);
    assert_eq!(answer.status, 200);
    let seen = world.origin.seen_once("/t057");
    for name in ["upgrade", "http2-settings", "connection"] {
        assert_eq!(seen.value(name), None, "{name}");
    }
    let record =
        world.egret.record_where("the request", |r| r.text("path") == "/t057" && r.text("kind") == "exchange.closed");
    assert_eq!(record.0["stripped"], serde_json::json!(["upgrade", "http2-settings"]), "{}", record.0);
}

#[test]
fn t059_methods_that_are_never_allowed() {
    let world = world();
    let session = world.egret.session(&["upgrades"], &[]);
    let target = world.target("api.origin.test");
    let long = "A".repeat(2 << 10);
    for (method, status, code) in
        [("TRACE", 403, "denied_method"), ("TRACK", 403, "denied_method"), (&long, 400, "malformed")]
    {
        let request = format!("{method} /t059 HTTP/1.1\r\nHost: {target}\r\n\r\n");
        let answer = client::request(&world.egret, &session, &target, &request);
        refusal::expect_denied(&world.egret, &answer, status, code);
    }
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    let answer = client::request(&world.egret, &session, &target, &request);
    refusal::expect_denied(&world.egret, &answer, 403, "protocol_not_allowed");
    let mut h2 = H2::open(&world.egret, &session, &target);
    for method in ["TRACE", "TRACK"] {
        let request = http::Request::builder().method(method).uri(format!("https://{target}/t059"));
        let answer = h2.send(request.body(http_body_util::Full::default()).unwrap()).unwrap();
        refusal::expect_denied(&world.egret, &answer, 403, "denied_method");
    }
    let mut raw = Frames::open(&world.egret, &session, &target);
    let authority = target.as_bytes();
    let scheme: (&str, &[u8]) = (":scheme", b"https");
    let head = [(":method", long.as_bytes()), scheme, (":authority", authority), (":path", b"/t059")];
    raw.head(1, &head, true);
    assert_eq!(raw.end(1), End::Reset(PROTOCOL_ERROR));
    // CONNECT over HTTP/2, and its extended form (RFC 8441), which this version does not offer.
    raw.head(3, &[(":method", b"CONNECT"), (":authority", authority)], true);
    assert!(matches!(raw.end(3), End::Answer { heads: 1, .. }));
    let extended = [
        (":method", &b"CONNECT"[..]),
        (":protocol", b"websocket"),
        scheme,
        (":authority", authority),
        (":path", b"/t059"),
    ];
    raw.head(5, &extended, true);
    assert_eq!(raw.end(5), End::Reset(PROTOCOL_ERROR));
    world.origin.assert_saw_nothing_of("t059");
}

#[test]
fn t061_an_asterisk_needs_a_rule_of_its_own() {
    let world = world();
    let session = world.egret.session(&["upgrades"], &[]);
    let ask = |host: &str| {
        let target = world.target(host);
        let request = format!("OPTIONS * HTTP/1.1\r\nHost: {target}\r\n\r\n");
        let first = client::request(&world.egret, &session, &target, &request);
        let mut raw = Frames::open(&world.egret, &session, &target);
        let head: [(&str, &[u8]); 4] =
            [(":method", b"OPTIONS"), (":scheme", b"https"), (":authority", target.as_bytes()), (":path", b"*")];
        raw.head(1, &head, true);
        (first, raw.end(1))
    };
    let (answer, over_h2) = ask("api.origin.test");
    refusal::expect_denied(&world.egret, &answer, 403, "denied_path");
    assert!(matches!(over_h2, End::Answer { heads: 1, data } if data.starts_with(b"{\"code\":\"denied_path\"")));
    let (answer, over_h2) = ask("star.origin.test");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(matches!(over_h2, End::Answer { heads: 1, .. }));
    assert_eq!(world.origin.seen("*").len(), 2);
}

#[test]
fn t190_nothing_that_follows_an_upgrade_request_reaches_the_upstream() {
    let world = world();
    let session = world.egret.session(&["upgrades"], &[]);
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \
                  dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for host in ["api.origin.test", "ws.origin.test"] {
        let target = world.target(host);
        let second = format!("GET /t190-smuggled HTTP/1.1\r\nHost: {target}\r\n\r\n");
        for (length, follows) in [
            ("", "\u{1}\u{5}hello"),
            ("", second.as_str()),
            ("Content-Length: 5\r\n", "hello"),
            ("Content-Length: 0\r\n", &second),
        ] {
            let mut wire = Tunnel::to(&target).open(&world.egret, &session);
            wire.send(format!("GET /t190 HTTP/1.1\r\nHost: {target}\r\n{fields}{length}\r\n{follows}"));
            let answer = wire.answer();
            refusal::expect_denied(&world.egret, &answer, 403, "denied_upgrade");
            assert_eq!(answer.header("connection").as_deref(), Some("close"), "{follows:?}");
            assert!(wire.is_closed(), "{follows:?}");
        }
        let request = http::Request::builder().method("CONNECT").uri(&target);
        let mut h2 = H2::open(&world.egret, &session, &target);
        let answer = h2.send(request.body(http_body_util::Full::default()).unwrap()).unwrap();
        assert_eq!(answer.status, 403);
    }
    world.origin.assert_saw_nothing_of("t190");
}

#[test]
fn t190_a_101_that_was_not_asked_for_is_502() {
    let world = world();
    let session = world.egret.session(&["upgrades"], &[]);
    let target = world.target("switching.origin.test");
    let accept = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    let frame = "\u{1}\u{5}hello";
    world.origin.script(
        "switching.origin.test",
        Script::answer(format!("HTTP/1.1 101 Switching Protocols\r\n{accept}\r\n{frame}").as_bytes()),
    );
    // Another upgrade passes as a plain request, without the fields that ask for it.
    let asks = "Connection: Upgrade\r\nUpgrade: foo/1\r\n";
    for fields in ["", asks] {
        let answer = client::get_with(&world.egret, &session, &target, "/unasked-101", fields);
        let record = refusal::expect(&world.egret, &answer, 502, "upstream_protocol");
        assert_eq!(record.text("fault"), "upstream");
        assert!(!answer.everything().windows(frame.len()).any(|bytes| bytes == frame.as_bytes()));
    }
    let answer = H2::open(&world.egret, &session, &target).get(&target, "/unasked-101").unwrap();
    refusal::expect(&world.egret, &answer, 502, "upstream_protocol");
    for connection in world.origin.connections("switching.origin.test") {
        connection.with_raw(|raw| assert_eq!(raw.windows(4).filter(|end| end == b"\r\n\r\n").count(), 1));
        connection.with_raw(|raw| assert!(!raw.windows(7).any(|name| name.eq_ignore_ascii_case(b"upgrade"))));
    }
}
