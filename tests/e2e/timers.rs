//! Time, and the order of records: timers of rules, clients and upstreams that pause, early answers, lookups.

use std::net::TcpListener;
use std::sync::Arc;

use egret_tests::client::{self, Answer, H2, Tunnel};
use egret_tests::egret::Session;
use egret_tests::origin::script::{Script, Step};
use egret_tests::records::Record;
use egret_tests::shared::Shared;
use egret_tests::{refusal, wait};

use crate::world::World;

static WORLD: Shared<World> = Shared::new();

const HOSTS: [&str; 7] = [
    "slow.origin.test",
    "idle.origin.test",
    "early.origin.test",
    "hints.origin.test",
    "hints-enough.origin.test",
    "silent.origin.test",
    "any.origin.test",
];

const POLICY: &str = r#"
policy: timers
rules:
  - id: slow
    allow: {host: slow.origin.test, port: PORT, LOCAL}
    timeouts: {first_byte: 1s}
  - id: idle
    allow: {host: idle.origin.test, port: PORT, LOCAL}
    timeouts: {idle: 1s}
  - id: silent
    allow: {host: silent.origin.test, port: SILENT, LOCAL}
    timeouts: {connect: 1s}
  - id: any
    allow: {host: [any.origin.test, early.origin.test, hints.origin.test, hints-enough.origin.test], port: PORT, LOCAL}
  - id: unknown
    allow: {host: ["unknown.invalid", "*.unknown.invalid"]}
  - id: unknown-unread
    allow: {host: unread.invalid}
    tls: pass-through
"#;

fn world() -> Arc<World> {
    WORLD.get(|| {
        World::new(&HOSTS, &[&POLICY.replace("SILENT", "9")], |setup| setup.config("limits: {unread_timeout: 1s}"))
    })
}

fn of_session(world: &World, session: &Session) -> Vec<Record> {
    world.egret.records().into_iter().filter(|r| r.text("session") == session.id && r.has("exchange")).collect()
}

fn kinds(world: &World, answer: &Answer) -> Vec<String> {
    let id = answer.header("egret-record").unwrap();
    let exchange = world.egret.record(&id).text("exchange");
    world.egret.records().iter().filter(|r| r.text("exchange") == exchange).map(|r| r.text("kind")).collect()
}

fn closing(world: &World, session: &Session) -> Record {
    world
        .egret
        .record_where("the closing record", |r| r.text("session") == session.id && r.text("kind") == "exchange.closed")
}

/// A refusal by a timer, whose name is its class and the record's detail.
fn expect_timer(world: &World, answer: &Answer, status: u16, code: &str, timer: &str) {
    let record = refusal::expect(&world.egret, answer, status, code);
    assert_eq!(refusal::problem(answer)["class"], timer, "{answer:?}");
    assert_eq!((record.text("outcome").as_str(), record.text("detail").as_str()), ("timeout", timer), "{}", record.0);
}

#[test]
fn t134_an_upstream_that_is_silent() {
    let world = world();
    let session = world.egret.session(&["timers"], &[]);
    let slow = world.target("slow.origin.test");
    let answer = client::get(&world.egret, &session, &slow, "/hang/t134");
    expect_timer(&world, &answer, 504, "upstream_timeout", "first_byte");
    let answer = H2::open(&world.egret, &session, &slow).get(&slow, "/hang/t134").unwrap();
    expect_timer(&world, &answer, 504, "upstream_timeout", "first_byte");
    // Within a body, the stream is reset.
    for over_h2 in [false, true] {
        let session = world.egret.session(&["timers"], &[]);
        let idle = world.target("idle.origin.test");
        if over_h2 {
            assert!(H2::open(&world.egret, &session, &idle).get(&idle, "/gated/t134").is_err());
        } else {
            let mut wire = Tunnel::to(&idle).open(&world.egret, &session);
            wire.send(format!("GET /gated/t134 HTTP/1.1\r\nHost: {idle}\r\n\r\n"));
            assert!(!wire.rest().ends_with(b"0\r\n\r\n"));
        }
        let record = closing(&world, &session);
        let facts = ["outcome", "fault", "code", "detail"].map(|field| record.text(field));
        assert_eq!(facts, ["timeout", "upstream", "upstream_timeout", "idle"], "{}", record.0);
    }
}

#[test]
fn t134_an_upstream_that_takes_the_connection_and_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let world = World::new(&HOSTS, &[&POLICY.replace("SILENT", &port.to_string())], |setup| setup);
    let session = world.egret.session(&["timers"], &[]);
    let answer = client::get(&world.egret, &session, &format!("silent.origin.test:{port}"), "/t134-connect");
    expect_timer(&world, &answer, 504, "upstream_timeout", "connect");
    drop(listener);
}

#[test]
fn t130_a_client_that_stops_within_its_body() {
    let world = world();
    let session = world.egret.session(&["timers"], &[]);
    let target = world.target("idle.origin.test");
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!("POST /hash HTTP/1.1\r\nHost: {target}\r\nContent-Length: 10\r\n\r\n01234"));
    let answer = wire.answer();
    expect_timer(&world, &answer, 408, "timeout_head", "idle");
    let record = closing(&world, &session);
    assert_eq!((record.text("fault").as_str(), record.number("request_bytes")), ("downstream", 5), "{}", record.0);
}

#[test]
fn t127_an_answer_that_is_left_unread() {
    let world = world();
    let target = world.target("any.origin.test");
    let facts = |session: &Session| {
        let record = closing(&world, session);
        ["outcome", "fault", "detail"].map(|field| record.text(field))
    };
    // Over HTTP/1.1 the connection is closed.
    let session = world.egret.session(&["timers"], &[]);
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!("GET /sized/1000000000 HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    assert_eq!(facts(&session), ["timeout", "downstream", "unread"]);
    drop(wire);
    // Over HTTP/2 the stream is reset, and another one on the connection goes on.
    let session = world.egret.session(&["timers"], &[]);
    let mut h2 = H2::open(&world.egret, &session, &target);
    let unread = h2.get_unread(&target, "/sized/1000000000").unwrap();
    assert_eq!(facts(&session), ["timeout", "downstream", "unread"]);
    assert_eq!(h2.get(&target, "/t127-other").unwrap().status, 200);
    drop(unread);
}

#[test]
fn t064_informational_responses_are_bounded() {
    let world = world();
    let session = world.egret.session(&["timers"], &[]);
    let hint: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let last: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    world.origin.script("hints-enough.origin.test", Script::answer(&[hint.repeat(32).as_slice(), last].concat()));
    let answer = client::get(&world.egret, &session, &world.target("hints-enough.origin.test"), "/t064");
    assert_eq!((answer.status, answer.text()), (200, "ok".to_owned()));
    for count in [33, 10_000] {
        world.origin.script("hints.origin.test", Script::answer(&[hint.repeat(count).as_slice(), last].concat()));
        let answer = client::get(&world.egret, &session, &world.target("hints.origin.test"), "/t064");
        let record = refusal::expect(&world.egret, &answer, 502, "upstream_protocol");
        assert_eq!(record.text("detail"), "informational", "{}", record.0);
    }
}

#[test]
fn t211_the_record_closes_with_the_upload() {
    let world = world();
    let session = world.egret.session(&["timers"], &[]);
    let target = world.target("early.origin.test");
    // The answer comes at once, and the script reads on for the head of a next request.
    let answer = Step::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly".to_vec());
    world.origin.script("early.origin.test", Script::new(vec![answer]));
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!("POST /t211 HTTP/1.1\r\nHost: {target}\r\nContent-Length: 300000\r\n\r\n"));
    wire.send(vec![b'a'; 100_000]);
    assert_eq!(wire.answer().text(), "early");
    let arrived = || {
        let connections = world.origin.connections("early.origin.test");
        connections.iter().map(|connection| connection.bytes()).sum::<u64>()
    };
    wait::until("the first part", || (arrived() > 100_000).then_some(()));
    let before = of_session(&world, &session);
    assert_eq!(before.iter().map(|r| r.text("kind")).collect::<Vec<_>>(), ["exchange.opened"]);
    wire.send(vec![b'a'; 200_000]);
    let record = closing(&world, &session);
    assert_eq!((record.text("outcome").as_str(), record.number("status")), ("ok", 200), "{}", record.0);
    assert_eq!((record.number("request_bytes"), record.number("response_bytes")), (300_000, 5), "{}", record.0);
}

#[test]
fn t211_a_client_that_leaves_after_an_early_answer() {
    let world = World::new(&HOSTS, &[&POLICY.replace("SILENT", "9")], |setup| setup);
    let session = world.egret.session(&["timers"], &[]);
    let target = world.target("early.origin.test");
    let answer = Step::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly".to_vec());
    world.origin.script("early.origin.test", Script::new(vec![answer]));
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!("POST /t211 HTTP/1.1\r\nHost: {target}\r\nContent-Length: 300000\r\n\r\n"));
    wire.send(vec![b'a'; 1_000]);
    assert_eq!(wire.answer().text(), "early");
    drop(wire);
    let record = closing(&world, &session);
    assert_eq!((record.text("outcome").as_str(), record.text("fault").as_str()), ("client_abort", "downstream"));
    assert_eq!((record.number("request_bytes"), record.number("response_bytes")), (1_000, 5), "{}", record.0);
    // A session that ends does the same.
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!("POST /t211 HTTP/1.1\r\nHost: {target}\r\nContent-Length: 300000\r\n\r\n"));
    wire.send(vec![b'a'; 1_000]);
    assert_eq!(wire.answer().text(), "early");
    world.egret.ok(&["session", "end", &session.id], "");
    let record = world.egret.record_where("the end", |r| r.text("code") == "session_ended" && r.has("request_bytes"));
    assert_eq!((record.text("outcome").as_str(), record.number("request_bytes")), ("aborted", 1_000), "{}", record.0);
}

#[test]
fn t212_the_opening_record_precedes_the_lookup() {
    let world = world();
    let session = world.egret.session(&["timers"], &[]);
    for host in ["unknown.invalid", "c3VwZXI.unknown.invalid"] {
        let answer = client::get(&world.egret, &session, &format!("{host}:443"), "/t212");
        let record = refusal::expect(&world.egret, &answer, 502, "upstream_dns");
        assert_eq!(record.text("host"), host.to_ascii_lowercase());
        assert_eq!(kinds(&world, &answer), ["exchange.opened", "exchange.closed"]);
    }
    let (answer, _) = client::connect(&world.egret, Some(&session), "unread.invalid:443");
    assert_eq!(answer.status, 502);
    assert_eq!(kinds(&world, &answer), ["tunnel.opened", "tunnel.closed"]);
}

#[test]
fn t212_without_a_record_no_lookup() {
    let world = World::new(&HOSTS, &[&POLICY.replace("SILENT", "9")], |setup| setup);
    let session = world.egret.session(&["timers"], &[]);
    let target = world.target("any.origin.test");
    let (here, away) = (world.egret.journal_folder(), world.egret.data().join("journal.away"));
    std::fs::rename(&here, &away).unwrap();
    wait::until("a refusal without a journal", || {
        (client::get(&world.egret, &session, &target, "/t212-probe").status == 503).then_some(())
    });
    // A lookup would have found that the name does not exist.
    let answer = client::get(&world.egret, &session, "unknown.invalid:443", "/t212");
    assert_eq!((answer.status, refusal::problem(&answer)["code"].as_str()), (503, Some("audit_unavailable")));
    let (answer, _) = client::connect(&world.egret, Some(&session), "unread.invalid:443");
    assert_eq!((answer.status, refusal::problem(&answer)["code"].as_str()), (503, Some("audit_unavailable")));
    assert!(!here.exists(), "a folder was made in the place of the journal");
    std::fs::rename(&away, &here).unwrap();
    wait::until("the recovery", || {
        (client::get(&world.egret, &session, &target, "/t212-after").status == 200).then_some(())
    });
}
