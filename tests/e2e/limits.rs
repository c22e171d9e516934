//! How much may pass: the limits of rules and sessions, over HTTP/1.1, HTTP/2, in clear and in tunnels, and bodies as framed.

use std::sync::Arc;

use bytes::Bytes;
use egret_tests::client::{self, Answer, H2, Tunnel};
use egret_tests::egret::Session;
use egret_tests::records::Record;
use egret_tests::shared::Shared;
use egret_tests::{refusal, wait};
use http_body_util::Full;

use crate::world::World;

static WORLD: Shared<World> = Shared::new();

const HOSTS: [&str; 10] = [
    "any.origin.test",
    "one.origin.test",
    "none.origin.test",
    "rate.origin.test",
    "once.origin.test",
    "up.origin.test",
    "down.origin.test",
    "out.origin.test",
    "unread.origin.test",
    "plain.origin.test",
];

const POLICY: &str = r#"
policy: limits
rules:
  - id: any
    allow: {host: any.origin.test, port: PORT, LOCAL}
  - id: any-over-http1
    allow: {host: one.origin.test, port: PORT, LOCAL}
  - id: no-body
    allow: {host: none.origin.test, port: PORT, LOCAL}
    limits: {request_body: 0}
  - id: rate
    allow: {host: rate.origin.test, port: PORT, LOCAL}
    limits: {requests: 3/h}
  - id: once
    allow: {host: once.origin.test, port: PORT, LOCAL}
    limits: {concurrent: 1}
  - id: up
    allow: {host: up.origin.test, port: PORT, LOCAL}
    limits: {request_body: 10}
  - id: down
    allow: {host: down.origin.test, port: PORT, LOCAL}
    limits: {response_body: 100}
  - id: out
    allow: {host: out.origin.test, port: PORT, LOCAL}
    limits: {bytes_out: 64KiB}
  - id: unread
    allow: {host: unread.origin.test, port: PORT, LOCAL}
    tls: pass-through
    limits: {concurrent: 1, bytes_out: 64KiB}
  - id: plain
    allow: {host: plain.origin.test, port: PLAIN, scheme: http, LOCAL}
    limits: {requests: 2/h}
"#;

fn world() -> Arc<World> {
    WORLD.get(|| {
        let world = World::new(&HOSTS, &[POLICY], |setup| setup);
        world.origin.protocols("one.origin.test", &["http/1.1"]);
        world
    })
}

/// One request over HTTP/1.1, as written after its request line and Host.
fn send(world: &World, session: &Session, target: &str, method: &str, path: &str, rest: &str) -> Answer {
    client::request(&world.egret, session, target, &format!("{method} {path} HTTP/1.1\r\nHost: {target}\r\n{rest}"))
}

fn chunked(body: &str) -> String {
    format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

fn sized(body: &str) -> String {
    format!("Content-Length: {}\r\n\r\n{body}", body.len())
}

fn over_h2(method: &str, target: &str, path: &str, body: &'static str) -> http::Request<Full<Bytes>> {
    let uri = format!("https://{target}{path}");
    http::Request::builder().method(method).uri(uri).body(Full::from(body)).unwrap()
}

fn closing(world: &World, session: &Session) -> Record {
    world
        .egret
        .record_where("the closing record", |r| r.text("session") == session.id && r.text("kind") == "exchange.closed")
}

#[test]
fn t214_bodies_of_get_and_delete_arrive_as_framed() {
    let world = world();
    let session = world.egret.session(&["limits"], &[]);
    for host in ["any.origin.test", "one.origin.test"] {
        let target = world.target(host);
        for method in ["GET", "DELETE", "OPTIONS"] {
            let answer = send(&world, &session, &target, method, "/t214", &chunked("searched"));
            assert_eq!(answer.status, 200, "{method}: {answer:?}");
            assert!(answer.text().ends_with("\n\nsearched"), "{method}: {answer:?}");
            assert!(answer.text().contains("transfer-encoding: chunked\n"), "{method}: {answer:?}");
            let answer = send(&world, &session, &target, method, "/t214", &sized("searched"));
            assert!(
                answer.text().contains("content-length: 8\n") && answer.text().ends_with("\n\nsearched"),
                "{answer:?}"
            );
        }
        let mut h2 = H2::open(&world.egret, &session, &target);
        for method in ["GET", "DELETE"] {
            let answer = h2.send_unannounced(over_h2(method, &target, "/t214", "searched")).unwrap();
            assert!(answer.status == 200 && answer.text().ends_with("\n\nsearched"), "{method} {host}: {answer:?}");
            assert!(!answer.text().contains("content-length"), "{method} {host}: {answer:?}");
            let answer = h2.send(over_h2(method, &target, "/t214", "searched")).unwrap();
            assert!(
                answer.text().contains("content-length: 8\n") && answer.text().ends_with("\n\nsearched"),
                "{answer:?}"
            );
        }
    }
}

#[test]
fn t054_the_body_of_a_head_request_is_forwarded_and_no_other_request_begins_in_it() {
    let world = world();
    let session = world.egret.session(&["limits"], &[]);
    let target = world.target("one.origin.test");
    let hidden = "DELETE /t054-hidden HTTP/1.1\r\nHost: one.origin.test\r\n\r\n";
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!("HEAD /t054 HTTP/1.1\r\nHost: {target}\r\n{}", chunked(hidden)));
    assert_eq!(wire.answer_to("HEAD").status, 200);
    wire.send(format!("GET /t054-next HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    assert_eq!(wire.answer().status, 200);
    assert!(world.origin.seen("t054-hidden").is_empty());
    let bodies = world.origin.connections("one.origin.test");
    let arrived = |raw: &[u8]| memchr::memmem::find(raw, hidden.as_bytes()).is_some();
    assert!(bodies.iter().any(|connection| connection.with_raw(arrived)), "the body did not arrive");
}

#[test]
fn t054_an_empty_body_without_a_length_is_sent_whole() {
    let world = world();
    let session = world.egret.session(&["limits"], &[]);
    let target = world.target("one.origin.test");
    let mut h2 = H2::open(&world.egret, &session, &target);
    for number in 0..20 {
        let path = format!("/t054-empty-{number}");
        assert_eq!(h2.send_unannounced(over_h2("POST", &target, &path, "")).unwrap().status, 200);
        let record = world.egret.record_where("the exchange", |r| r.text("path") == path && r.has("outcome"));
        assert_eq!((record.text("outcome").as_str(), record.has("detail")), ("ok", false), "{}", record.0);
    }
}

#[test]
fn t214_a_rule_without_bodies_refuses_them_before_the_upstream_is_dialed() {
    let world = world();
    let session = world.egret.session(&["limits"], &[]);
    let target = world.target("none.origin.test");
    for method in ["GET", "POST", "DELETE"] {
        for body in [chunked("x"), sized("x")] {
            let answer = send(&world, &session, &target, method, "/t214-none", &body);
            let record = refusal::expect_denied(&world.egret, &answer, 413, "body_too_large");
            assert_eq!((record.text("rule"), record.text("detail")), ("no-body".to_owned(), "request_body".to_owned()));
        }
        let answer =
            H2::open(&world.egret, &session, &target).send_unannounced(over_h2(method, &target, "/t214-none", "x"));
        refusal::expect_denied(&world.egret, &answer.unwrap(), 413, "body_too_large");
    }
    assert!(world.origin.connections("none.origin.test").is_empty());
    // A body that is framed and empty is no body.
    let answer = send(&world, &session, &target, "GET", "/t214-empty", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn t132_a_body_over_the_limit_is_never_complete_upstream() {
    let world = world();
    let session = world.egret.session(&["limits"], &[]);
    let target = world.target("up.origin.test");
    let answer = send(&world, &session, &target, "POST", "/t132-announced", &sized("0123456789+"));
    refusal::expect_denied(&world.egret, &answer, 413, "body_too_large");
    assert!(world.origin.connections("up.origin.test").is_empty());

    let answer = send(&world, &session, &target, "POST", "/t132", &chunked("0123456789"));
    assert!(answer.status == 200 && answer.text().ends_with("0123456789"), "{answer:?}");

    // The bytes within the limit may have left by the time that it is crossed; the end never does.
    world.origin.protocols("up.origin.test", &["http/1.1"]);
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!("POST /t132-crossing HTTP/1.1\r\nHost: {target}\r\nTransfer-Encoding: chunked\r\n\r\n"));
    wire.send("a\r\n0123456789\r\n");
    wait::until("the request to arrive", || world.origin.seen("t132-crossing").first().map(|_| ()));
    wire.send("1\r\n+\r\n0\r\n\r\n");
    let record = refusal::expect_denied(&world.egret, &wire.answer(), 413, "body_too_large");
    assert_eq!((record.text("rule"), record.number("request_bytes")), ("up".to_owned(), 10));
    let whole = |raw: &[u8]| {
        let at = memchr::memmem::find(raw, b"t132-crossing");
        at.is_some_and(|at| raw.get(at..).is_some_and(|rest| rest.ends_with(b"0\r\n\r\n")))
    };
    assert!(world.origin.connections("up.origin.test").iter().all(|connection| !connection.with_raw(whole)));

    let answer = H2::open(&world.egret, &session, &target)
        .send_unannounced(over_h2("POST", &target, "/t132-h2", "0123456789+"))
        .unwrap();
    refusal::expect_denied(&world.egret, &answer, 413, "body_too_large");
}

#[test]
fn t235_a_rate_of_requests_holds_over_every_way_in() {
    let world = world();
    let session = world.egret.session(&["limits"], &[]);
    let target = world.target("rate.origin.test");
    let mut h2 = H2::open(&world.egret, &session, &target);
    assert_eq!(client::get(&world.egret, &session, &target, "/t235").status, 200);
    assert_eq!(h2.get(&target, "/t235").unwrap().status, 200);
    assert_eq!(client::get(&world.egret, &session, &target, "/t235").status, 200);
    for answer in [client::get(&world.egret, &session, &target, "/t235"), h2.get(&target, "/t235").unwrap()] {
        let record = refusal::expect_denied(&world.egret, &answer, 429, "rate_limited");
        assert_eq!((record.text("rule"), record.text("detail")), ("rate".to_owned(), "requests".to_owned()));
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1_190..=1_200).contains(&wait), "{wait}");
        assert_eq!(refusal::problem(&answer)["retry"], "later");
    }
    assert_eq!(world.origin.seen("/t235").len(), 3);
    // Another session has a count of its own.
    let other = world.egret.session(&["limits"], &[]);
    assert_eq!(client::get(&world.egret, &other, &target, "/t235-other").status, 200);
    // In clear, in absolute form.
    let (plain, host) = (world.plain("plain.origin.test"), world.plain("plain.origin.test"));
    let answers: Vec<u16> = (0..3)
        .map(|_| client::absolute(&world.egret, &session, &format!("http://{plain}/t235-plain"), &host).status)
        .collect();
    assert_eq!(answers, [200, 200, 429]);
}

#[test]
fn t236_a_slot_is_given_back_on_every_way_out() {
    let world = world();
    let session = world.egret.session(&["limits"], &[]);
    let target = world.target("once.origin.test");
    let hanging = |gate: &str| {
        let mut wire = Tunnel::to(&target).open(&world.egret, &session);
        wire.send(format!("GET /hang/{gate} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
        wait::until("the request to arrive", || world.origin.seen(gate).first().map(|_| ()));
        wire
    };
    let is_full = || {
        let answer = client::get(&world.egret, &session, &target, "/t236-full");
        let record = refusal::expect_denied(&world.egret, &answer, 429, "rate_limited");
        assert_eq!((record.text("rule"), record.text("detail")), ("once".to_owned(), "concurrent".to_owned()));
        let answer = H2::open(&world.egret, &session, &target).get(&target, "/t236-full").unwrap();
        refusal::expect_denied(&world.egret, &answer, 429, "rate_limited");
    };
    let is_free = || {
        wait::until("a free slot", || {
            (client::get(&world.egret, &session, &target, "/t236-free").status == 200).then_some(())
        });
    };
    // An answer that is read to its end.
    let mut wire = hanging("t236-a");
    is_full();
    world.origin.open_gate("t236-a");
    assert_eq!(wire.answer().status, 200);
    is_free();
    // A client that leaves.
    let wire = hanging("t236-b");
    is_full();
    drop(wire);
    is_free();
    // A stream that is left in its middle.
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!("GET /gated/t236-c HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    wire.read_until("data: first\n\n");
    is_full();
    drop(wire);
    is_free();
    world.origin.assert_saw_nothing_of("t236-full");
}

#[test]
fn t236_tunnels_that_are_not_read_are_counted() {
    let world = world();
    let session = world.egret.session(&["limits"], &[]);
    let target = world.target("unread.origin.test");
    let (answer, first) = client::connect(&world.egret, Some(&session), &target);
    assert_eq!(answer.status, 200);
    let (answer, _) = client::connect(&world.egret, Some(&session), &target);
    refusal::problem(&answer);
    assert_eq!((answer.status, answer.header("retry-after").as_deref()), (429, Some("1")));
    drop(first);
    // What goes up counts, whatever it is.
    let mut wire = wait::until("a free slot", || {
        let (answer, wire) = client::connect(&world.egret, Some(&session), &target);
        (answer.status == 200).then_some(wire)
    });
    wire.send(vec![b'a'; 70 << 10]);
    drop(wire.rest());
    let ends = || -> Vec<Record> {
        let mut all = world.egret.records();
        all.retain(|r| r.text("session") == session.id && r.text("code") == "budget_exhausted");
        all
    };
    wait::until("the tunnel's end", || (ends().len() == 1).then_some(()));
    assert_eq!((ends()[0].text("kind").as_str(), ends()[0].text("detail").as_str()), ("tunnel.closed", "bytes_out"));
    // What is left is less than what was sent before.
    let (_, mut again) = client::connect(&world.egret, Some(&session), &target);
    again.send(vec![b'a'; 70 << 10]);
    drop(again.rest());
    wait::until("the next one's end", || (ends().len() == 2).then_some(()));
    let sent: u64 = ends().iter().filter(|r| r.has("request_bytes")).map(|r| r.number("request_bytes")).sum();
    assert!(sent <= 64 << 10, "{sent} bytes left");
}

#[test]
fn t237_what_was_sent_stays_sent_after_a_kill() {
    let world = World::new(&["out.origin.test"], &[POLICY], |setup| setup);
    let session = world.egret.session(&["limits"], &[]);
    let target = world.target("out.origin.test");
    let body = "a".repeat(40 << 10);
    assert_eq!(send(&world, &session, &target, "POST", "/hash", &sized(&body)).status, 200);
    let exhausted = |answer: &Answer| {
        let record = refusal::expect_denied(&world.egret, answer, 429, "budget_exhausted");
        assert_eq!((record.text("rule"), record.text("detail")), ("out".to_owned(), "bytes_out".to_owned()));
    };
    exhausted(&send(&world, &session, &target, "POST", "/t237-announced", &sized(&body)));
    world.origin.assert_saw_nothing_of("t237-announced");
    world.egret.kill();
    world.egret.launch();
    exhausted(&send(&world, &session, &target, "POST", "/t237-killed", &sized(&body)));
    // At most a 64th of the limit is lost.
    let rest = "a".repeat(22 << 10);
    assert_eq!(send(&world, &session, &target, "POST", "/hash", &chunked(&rest)).status, 200);
    world.egret.terminate();
    world.egret.launch();
    exhausted(&send(&world, &session, &target, "POST", "/t237-stopped", &sized(&rest)));
    // A long target and long fields are bytes too.
    let long = format!("X-Long: {}\r\n\r\n", "a".repeat(8 << 10));
    exhausted(&send(&world, &session, &target, "GET", "/t237-head", &long));
}

#[test]
fn t237_a_body_without_a_length_ends_where_the_budget_does() {
    let world = world();
    let session = world.egret.session(&["limits"], &[]);
    let target = world.target("out.origin.test");
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!("POST /t237-crossing HTTP/1.1\r\nHost: {target}\r\n{}", chunked(&"a".repeat(100 << 10))));
    refusal::expect_denied(&world.egret, &wire.answer(), 429, "budget_exhausted");
    let sent: u64 = world.origin.connections("out.origin.test").iter().map(|connection| connection.bytes()).sum();
    assert!(sent < 70 << 10, "{sent} bytes left");
}

#[test]
fn t238_a_session_has_limits_of_its_own() {
    let world = world();
    let limits = ["--limit", "requests=3/h,response_body=1MiB", "--limit", "bytes_out=4KiB"];
    let session = world.egret.session_with(&["limits"], &[], &limits);
    let any = world.target("any.origin.test");
    // Over all rules together.
    assert_eq!(client::get(&world.egret, &session, &any, "/t238").status, 200);
    assert_eq!(client::get(&world.egret, &session, &world.target("one.origin.test"), "/t238").status, 200);
    let answer = send(&world, &session, &any, "POST", "/t238-large", &sized(&"a".repeat(5_000)));
    let record = refusal::expect_denied(&world.egret, &answer, 429, "budget_exhausted");
    assert_eq!(record.text("detail"), "bytes_out");
    assert!(refusal::problem(&answer)["rule"].is_null());
    assert_eq!(client::get(&world.egret, &session, &any, "/t238").status, 200);
    let answer = client::get(&world.egret, &session, &any, "/t238");
    refusal::expect_denied(&world.egret, &answer, 429, "rate_limited");

    let shown = world.egret.ok(&["session", "show", &session.id], "");
    assert!(shown.contains("requests 3/h, response_body 1MiB, bytes_out 4KiB (used "), "{shown}");
    let json: serde_json::Value =
        serde_json::from_str(&world.egret.ok(&["session", "show", &session.id, "--format", "json"], "")).unwrap();
    assert_eq!(json["limits"]["bytes_out"], "4KiB");
    assert!(json["bytes_out"].as_u64().is_some_and(|used| used > 0 && used < 4_096), "{json}");
    for wrong in ["requests=often", "often=1", "concurrent=0", "requests=1/s,requests=2/s", "bytes_out=1GB"] {
        let output = world.egret.run(&["session", "create", "--policy", "limits", "--limit", wrong], "");
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn t239_a_response_over_the_limit() {
    let world = world();
    let session = world.egret.session(&["limits"], &[]);
    let target = world.target("down.origin.test");
    let answer = client::get(&world.egret, &session, &target, "/sized/100");
    assert_eq!((answer.status, answer.body.len()), (200, 100));
    // A length that was announced is refused before the head.
    let answer = client::get(&world.egret, &session, &target, "/sized/101");
    let record = refusal::expect(&world.egret, &answer, 502, "response_too_large");
    assert_eq!((record.text("rule"), record.text("detail")), ("down".to_owned(), "response_body".to_owned()));
    let answer = H2::open(&world.egret, &session, &target).get(&target, "/sized/101").unwrap();
    refusal::expect(&world.egret, &answer, 502, "response_too_large");
    // An answer to HEAD has a length and no body.
    let answer = send(&world, &session, &target, "HEAD", "/sized/101", "\r\n");
    assert_eq!(answer.status, 200, "{answer:?}");
    // Without a length the stream breaks where the limit is crossed.
    world.origin.protocols("down.origin.test", &["http/1.1"]);
    let other = world.egret.session(&["limits"], &[]);
    let mut wire = Tunnel::to(&target).open(&world.egret, &other);
    let long = "a".repeat(200);
    wire.send(format!("GET /split/50 HTTP/1.1\r\nHost: {target}\r\nX-Api-Key: {long}\r\n\r\n"));
    let rest = wire.rest();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{}", rest.escape_ascii());
    let record = closing(&world, &other);
    assert_eq!((record.text("code").as_str(), record.text("detail").as_str()), ("response_too_large", "response_body"));
}
