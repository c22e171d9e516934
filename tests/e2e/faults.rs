//! Whose fault it was: limits that clients run into, upstreams that are away or go away, clients that leave.

use std::sync::Arc;

use egret_tests::client::{self, H2, Tunnel, Wire};
use egret_tests::egret::Session;
use egret_tests::origin::script::{Script, Step};
use egret_tests::records::Record;
use egret_tests::shared::Shared;
use egret_tests::{refusal, wait};

use crate::world::World;

static WORLD: Shared<World> = Shared::new();

const POLICY: &str = r#"
policy: faults
rules:
  - id: api
    allow: {host: ["api.origin.test", "stale.origin.test"], port: PORT, LOCAL}
  - id: closed
    allow: {host: closed.origin.test, port: 1, LOCAL}
  - id: nowhere
    allow: {host: nowhere.invalid}
"#;

fn world() -> Arc<World> {
    let hosts = ["api.origin.test", "closed.origin.test"];
    WORLD.get(|| World::new(&hosts, &[POLICY], |setup| setup))
}

#[test]
fn t131_heads_that_are_too_large() {
    let world = world();
    let session = world.egret.session(&["faults"], &[]);
    let target = world.target("api.origin.test");
    let long = "a".repeat(33 << 10);
    let many: String = (0..101).map(|n| format!("X-{n}: 1\r\n")).collect();
    for (path, fields, status, code) in [
        ("/t131".to_owned(), format!("X-Long: {long}\r\n"), 431, "head_too_large"),
        ("/t131".to_owned(), many, 431, "head_too_large"),
        (format!("/t131?{}", "a".repeat(17 << 10)), String::new(), 414, "uri_too_long"),
        ("/t131".to_owned(), "Expect: something-else\r\n".to_owned(), 417, "expect_unsupported"),
    ] {
        let answer = client::get_with(&world.egret, &session, &target, &path, &fields);
        assert_eq!(answer.status, status, "{code}: {answer:?}");
        refusal::expect_denied(&world.egret, &answer, status, code);
    }
    let request = http::Request::get(format!("https://{target}/t131?{}", "a".repeat(17 << 10)));
    let answer =
        H2::open(&world.egret, &session, &target).send(request.body(http_body_util::Full::default()).unwrap()).unwrap();
    refusal::expect_denied(&world.egret, &answer, 414, "uri_too_long");
    world.origin.assert_saw_nothing_of("t131");
}

#[test]
fn t292_what_a_client_does_to_its_body_is_not_the_upstreams_fault() {
    let world = world();
    let session = world.egret.session(&["faults"], &[]);
    let target = world.target("api.origin.test");
    let post = |path: &str, rest: &str| {
        let mut wire = Tunnel::to(&target).open(&world.egret, &session);
        wire.send(format!("POST {path} HTTP/1.1\r\nHost: {target}\r\n{rest}"));
        wire
    };
    for (path, chunk) in [("/hash?size", "0x3\r\nabc\r\n0\r\n\r\n"), ("/hash?end", "3\r\nabcd\r\n0\r\n\r\n")] {
        let mut wire = post(path, &format!("Transfer-Encoding: chunked\r\n\r\n{chunk}"));
        let record = refusal::expect(&world.egret, &wire.answer(), 400, "malformed");
        assert_eq!(["outcome", "fault"].map(|name| record.text(name)), ["refused", "downstream"], "{path}");
    }
    drop(post("/hash?left", "Content-Length: 100\r\n\r\nabcde"));
    let record = world.egret.record_where("the request that was left", |record| {
        record.text("session") == session.id && record.has("request_bytes") && record.number("request_bytes") == 5
    });
    assert_eq!(["outcome", "fault"].map(|name| record.text(name)), ["client_abort", "downstream"], "{:?}", record.0);
}

#[test]
fn trace_and_connect_inside_a_tunnel() {
    let world = world();
    let session = world.egret.session(&["faults"], &[]);
    let target = world.target("api.origin.test");
    let trace = format!("TRACE /trace-me HTTP/1.1\r\nHost: {target}\r\n\r\n");
    let answer = client::request(&world.egret, &session, &target, &trace);
    refusal::expect_denied(&world.egret, &answer, 403, "denied_method");
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    assert_eq!(wire.answer().status, 403);
    world.origin.assert_saw_nothing_of("trace-me");
}

#[test]
fn t122_a_client_that_does_not_trust_the_ca() {
    let world = world();
    let session = world.egret.session(&["faults"], &[]);
    let wire = Tunnel::to(&world.target("api.origin.test")).connect(&world.egret, &session);
    let mut config = client::client_config(&world.egret, &["http/1.1"]);
    let nothing = rustls::RootCertStore::empty();
    config = rustls::ClientConfig::builder_with_provider(Arc::clone(config.crypto_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(nothing)
        .with_no_client_auth();
    assert!(wire.start_tls(config, "api.origin.test").is_err());
    let record = world.egret.record_where("the record", |r| r.text("session") == session.id && r.has("code"));
    assert_eq!(record.text("code"), "client_rejected_ca", "{}", record.0);
}

#[test]
fn neither_tls_nor_http_is_passed_on() {
    let world = world();
    let session = world.egret.session(&["faults"], &[]);
    for bytes in [&b"SSH-2.0-OpenSSH_9\r\n"[..], b"EHLO a\r\n", b"\x00\x01\x02\x03", b"\x16\x03\x01\xff\xff\x01"] {
        let mut wire = Tunnel::to(&world.target("api.origin.test")).connect(&world.egret, &session);
        wire.send(bytes);
        wire.half_close();
        let answer = wire.rest();
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", answer.escape_ascii());
    }
    assert!(world.origin.connections("api.origin.test").iter().all(|c| c.with_raw(|raw| !raw.starts_with(b"SSH"))));
}

#[test]
fn an_upstream_that_is_away() {
    let world = world();
    let session = world.egret.session(&["faults"], &[]);
    let answer = client::get(&world.egret, &session, "closed.origin.test:1", "/away");
    let record = refusal::expect(&world.egret, &answer, 502, "upstream_refused");
    assert_eq!(record.text("fault"), "upstream");
    let answer = client::get(&world.egret, &session, "nowhere.invalid:443", "/away");
    let record = refusal::expect(&world.egret, &answer, 502, "upstream_dns");
    assert_eq!(record.text("fault"), "upstream");
}

#[test]
fn an_idle_connection_that_the_upstream_closed() {
    // A world of its own: its descriptors tell when the closed connection was noticed.
    let world = World::new(&["stale.origin.test"], &[POLICY], |setup| setup);
    let session = world.egret.session(&["faults"], &[]);
    let target = world.target("stale.origin.test");
    let steps = vec![Step::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()), Step::Close];
    world.origin.script("stale.origin.test", Script::new(steps));
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    let before = world.egret.descriptors();
    for number in 0..5 {
        wire.send(format!("GET /stale-{number} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
        let answer = wire.answer();
        assert_eq!((answer.status, answer.text()), (200, "ok".to_owned()), "request {number}");
        wait::until("the closed connection to be let go", || (world.egret.descriptors() <= before).then_some(()));
    }
}

/// The closing record of the session's one exchange.
fn closing(world: &World, session: &Session) -> Record {
    world
        .egret
        .record_where("the closing record", |r| r.text("session") == session.id && r.text("kind") == "exchange.closed")
}

#[test]
fn a_client_that_leaves_in_mid_download() {
    let world = world();
    let session = world.egret.session(&["faults"], &[]);
    let target = world.target("api.origin.test");
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!("GET /sized/1000000000 HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    wire.read_until("\r\n\r\n");
    drop(wire);
    let record = closing(&world, &session);
    assert_eq!((record.text("outcome"), record.text("fault")), ("client_abort".to_owned(), "downstream".to_owned()));
    assert!(record.number("response_bytes") < 1_000_000_000, "{}", record.0);
}

#[test]
fn a_client_that_leaves_a_silent_stream() {
    let world = world();
    let session = world.egret.session(&["faults"], &[]);
    let target = world.target("api.origin.test");
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!("GET /gated/left HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    wire.read_until("data: first\n\n");
    // A connection that closes without a TLS closing alert is not half-closed. The client has left, so the upstream request ends.
    drop(wire);
    let record = closing(&world, &session);
    assert_eq!((record.text("outcome"), record.text("fault")), ("client_abort".to_owned(), "downstream".to_owned()));
    world.origin.open_gate("left");
}

#[test]
fn a_client_that_closes_its_half_gets_its_answer() {
    let world = world();
    let session = world.egret.session(&["faults"], &[]);
    let target = world.target("api.origin.test");
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!("GET /half-closed HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    wire.half_close();
    assert_eq!(wire.answer().status, 200);
}

#[test]
fn a_client_of_http_1_0() {
    let world = world();
    let session = world.egret.session(&["faults"], &[]);
    let target = world.target("api.origin.test");
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!("GET /gated/old HTTP/1.0\r\nHost: {target}\r\n\r\n"));
    world.origin.open_gate("old");
    let answer = wire.answer();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("transfer-encoding"), None, "HTTP/1.0 knows no chunks");
    assert!(answer.text().ends_with("data: second\n\n"), "{answer:?}");
    assert!(wire.is_closed());
}

#[test]
fn many_clients_at_once_and_one_that_does_nothing() {
    let world = world();
    let session = world.egret.session(&["faults"], &[]);
    let target = world.target("api.origin.test");
    let idle: Vec<Wire> = (0..200).map(|_| Wire::open(&world.egret)).collect();
    std::thread::scope(|scope| {
        for client in 0..24 {
            let (world, session, target) = (&world, &session, &target);
            scope.spawn(move || {
                for number in 0..4 {
                    let answer = client::get(&world.egret, session, target, &format!("/crowd-{client}-{number}"));
                    assert_eq!(answer.status, 200);
                }
            });
        }
    });
    assert_eq!(world.origin.seen("/crowd-").len(), 96);
    drop(idle);
    wait::until("the idle ones to be forgotten", || (world.egret.descriptors() < 150).then_some(()));
}
