//! Unidentified clients, and clients that exceed their share: slots, records and logs stay bounded, and other clients are served.

use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use egret_tests::client::{self, Tunnel, Wire};
use egret_tests::egret::{Egret, Session};
use egret_tests::records::Record;
use egret_tests::{control, refusal, wait};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::world::World;

const POLICY: &str = r#"
policy: strangers
rules:
  - id: api
    allow: {host: api.origin.test, port: PORT, LOCAL}
  - id: plain
    allow: {host: plain.origin.test, port: PLAIN, scheme: http, LOCAL}
"#;

fn world(limits: &str) -> World {
    let config = format!("limits: {{{limits}}}");
    World::new(&["api.origin.test", "plain.origin.test"], &[POLICY], |setup| setup.config(&config).logging("debug"))
}

/// A tunnel through which one request has gone.
fn working(world: &World, session: &Session) -> Wire {
    let mut wire = Tunnel::to(&world.target("api.origin.test")).open(&world.egret, session);
    assert_eq!(ask(world, &mut wire), 200);
    wire
}

fn ask(world: &World, wire: &mut Wire) -> u16 {
    wire.send(format!("GET /working HTTP/1.1\r\nHost: {}\r\n\r\n", world.target("api.origin.test")));
    wire.answer().status
}

/// The answer to a CONNECT with these fields.
fn connect(world: &World, target: &str, fields: &str) -> client::Answer {
    let mut wire = Wire::open(&world.egret);
    wire.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{fields}\r\n"));
    wire.answer_to("CONNECT")
}

/// Records of a code, and the number of refusals that they count.
fn counted(records: &[Record], code: &str) -> (usize, u64) {
    let of_code = || records.iter().filter(|record| record.text("code") == code);
    let single = of_code().filter(|record| record.text("kind") == "exchange.closed").count() as u64;
    let together: u64 =
        of_code().filter(|record| record.text("kind") == "aggregated").map(|record| record.number("count")).sum();
    (of_code().count(), single + together)
}

/// An HTTP/2 frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[test]
fn t125_a_few_bytes_of_hpack_do_not_become_megabytes() {
    let world = world("max_refusals: 100");
    let session = world.egret.session(&["strangers"], &[]);
    let target = world.target("api.origin.test");
    let mut warm = working(&world, &session);
    let mut wire = Tunnel::to(&target).alpn(&["h2"]).open(&world.egret, &session);
    wire.send([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(4, 0, 0, b"")].concat());
    let before = world.egret.peak_memory();
    for number in 0..100u32 {
        // One entry of 4,000 bytes enters the table, and 12,000 bytes refer to it.
        let mut block = vec![0x82, 0x87, 0x84, 0x01, u8::try_from(target.len()).unwrap()];
        block.extend_from_slice(target.as_bytes());
        block.extend_from_slice(&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
        block.extend_from_slice(&[b'a'; 4_000]);
        block.extend_from_slice(&[0xbe; 12_000]);
        wire.send(frame(1, 0x05, 2 * number + 1, &block));
    }
    wire.half_close();
    let _frames = wire.rest();
    let grown = world.egret.peak_memory() - before;
    assert!(grown < 32 << 10, "4.8 GB of fields took {grown} KiB");
    assert_eq!(ask(&world, &mut warm), 200);
    assert_eq!(
        world.origin.seen("/").iter().filter(|seen| seen.headers.iter().any(|(name, _)| name == "x")).count(),
        0
    );
}

#[test]
fn t129_the_connection_beyond_the_last_place_gets_an_answer() {
    let world = world("max_connections: 8");
    let sessions: Vec<Session> = (0..4).map(|_| world.egret.session(&["strangers"], &[])).collect();
    let mut held: Vec<Wire> =
        sessions.iter().flat_map(|session| [working(&world, session), working(&world, session)]).collect();
    let mut newest = Wire::open(&world.egret);
    let answer = newest.answer_to("CONNECT");
    let record = refusal::expect_denied(&world.egret, &answer, 503, "overloaded");
    assert_eq!((record.text("source"), record.text("session")), ("127.0.0.1".to_owned(), String::new()));
    assert!(held.iter_mut().all(|wire| ask(&world, wire) == 200));
    // A session has a quarter of the slots; a third connection is refused although other slots are free.
    drop(held.split_off(2));
    let answer = wait::until("the others' places to be free", || {
        let (answer, _) = client::connect(&world.egret, Some(&sessions[0]), &world.target("api.origin.test"));
        (answer.status != 503).then_some(answer)
    });
    let record = refusal::expect_denied(&world.egret, &answer, 429, "session_quota");
    assert_eq!(record.text("session"), sessions[0].id);
    assert!(held.iter_mut().all(|wire| ask(&world, wire) == 200));
    drop(held);
    wait::until("the session's places to be free", || {
        let (answer, _) = client::connect(&world.egret, Some(&sessions[0]), &world.target("api.origin.test"));
        (answer.status == 200).then_some(())
    });
}

#[test]
fn t209_strangers_hold_nobody_out() {
    let world = world("max_connections: 40, identify_timeout: 1h, head_timeout: 1h");
    let session = world.egret.session(&["strangers"], &[]);
    let target = world.target("api.origin.test");
    let mut silent: Vec<Wire> = (0..100).map(|_| Wire::open(&world.egret)).collect();
    let halves: Vec<Wire> = (0..100)
        .map(|_| {
            let mut wire = Wire::open(&world.egret);
            wire.send("CONNECT api.origin.test:1 HTTP/1.1\r\nHost: api");
            wire
        })
        .collect();
    let unread: Vec<Wire> = (0..100)
        .map(|_| {
            let mut wire = Wire::open(&world.egret);
            wire.send("CONNECT api.origin.test:1 HTTP/1.1\r\nHost: api.origin.test:1\r\n\r\n");
            wire
        })
        .collect();
    for number in 0..20 {
        assert_eq!(client::get(&world.egret, &session, &target, "/t209").status, 200, "request {number}");
    }
    assert!(world.egret.descriptors() < 150, "{} descriptors", world.egret.descriptors());
    // A client that lost its slot gets an answer.
    let answer = silent[0].answer_to("CONNECT");
    assert_eq!((answer.status, refusal::problem(&answer)["code"].as_str()), (503, Some("overloaded")));
    world.egret.put("key", &["--kind", "bearer", "--audience", "api.origin.test"]);
    assert_eq!(world.egret.session(&["strangers"], &["key"]).token.len(), 47);
    drop((silent, halves, unread));
}

#[test]
fn t209_a_client_that_pipelines_refused_requests_is_closed() {
    let world = world("max_refusals: 5");
    let session = world.egret.session(&["strangers"], &[]);
    let (target, plain) = (world.target("api.origin.test"), world.plain("plain.origin.test"));
    let request = format!("TRACE /refused HTTP/1.1\r\nHost: {target}\r\n\r\n");
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(request.repeat(300));
    let statuses: Vec<u16> = std::iter::from_fn(|| wire.try_answer_to("TRACE")).map(|answer| answer.status).collect();
    assert_eq!(statuses, [403; 5]);
    let authorization = session.authorization();
    let request =
        format!("TRACE http://{plain}/x HTTP/1.1\r\nHost: {plain}\r\nProxy-Authorization: {authorization}\r\n\r\n");
    let mut wire = Wire::open(&world.egret);
    wire.send(request.repeat(300));
    let statuses: Vec<u16> = std::iter::from_fn(|| wire.try_answer_to("TRACE")).map(|answer| answer.status).collect();
    assert_eq!(statuses, [403; 5]);
    world.origin.assert_saw_nothing_of("refused");
}

#[test]
fn t130_half_a_head_is_given_up() {
    let world = world("identify_timeout: 1s, head_timeout: 2s");
    let session = world.egret.session(&["strangers"], &[]);
    let mut wire = Wire::open(&world.egret);
    wire.send("CONNECT api.origin.test:443 HTTP/1.1\r\nHo");
    let record = refusal::expect(&world.egret, &wire.answer_to("CONNECT"), 408, "timeout_head");
    assert_eq!(record.text("source"), "127.0.0.1");
    let mut wire = working(&world, &session);
    wire.send("GET /half HTTP/1.1\r\nHo");
    let record = refusal::expect(&world.egret, &wire.answer(), 408, "timeout_head");
    assert_eq!(record.text("session"), session.id);
    // A client that has asked for nothing is not refused.
    assert!(Wire::open(&world.egret).is_closed());
    world.origin.assert_saw_nothing_of("half");
}

#[test]
fn t135_accepting_goes_on_when_there_are_descriptors_again() {
    let world = world("max_connections: 1000");
    let session = world.egret.session(&["strangers"], &[]);
    let mut held = working(&world, &session);
    let pid = Pid::from_raw(i32::try_from(world.egret.pid()).unwrap()).unwrap();
    let few = Some(world.egret.descriptors() as u64 + 3);
    let before =
        prlimit(Some(pid), Resource::Nofile, Rlimit { current: few, maximum: getrlimit(Resource::Nofile).maximum })
            .unwrap();
    let waiting: Vec<Wire> = (0..30).map(|_| Wire::open(&world.egret)).collect();
    wait::until("the descriptors to be used up", || world.egret.log().contains("could not be accepted").then_some(()));
    assert_eq!(ask(&world, &mut held), 200);
    prlimit(Some(pid), Resource::Nofile, before).unwrap();
    assert_eq!(client::get(&world.egret, &session, &world.target("api.origin.test"), "/after").status, 200);
    assert_eq!(control::call(&world.egret, "GET", "/healthz", &serde_json::Value::Null).0, 200);
    let lines = world.egret.log().lines().filter(|line| line.contains("could not be accepted")).count();
    assert!(lines <= 10, "{lines} lines");
    drop(waiting);
}

#[test]
fn t142_guesses_are_counted_and_the_right_token_passes() {
    let world = world("max_source_refusal_records: 5");
    let session = world.egret.session(&["strangers"], &[]);
    let target = world.target("api.origin.test");
    for number in 0..12 {
        let guess = STANDARD.encode(format!("{}:egt_{number:043}", session.id));
        let answer = connect(&world, &target, &format!("Proxy-Authorization: Basic {guess}\r\n"));
        assert_eq!((answer.status, refusal::problem(&answer)["code"].as_str()), (407, Some("session_invalid")));
    }
    assert_eq!(client::get(&world.egret, &session, &target, "/t142").status, 200);
    world.egret.terminate();
    let records = world.egret.records();
    assert_eq!(counted(&records, "session_invalid"), (7, 12), "five alone, the beginning of the count, the count");
    let together = records.iter().rev().find(|record| record.text("kind") == "aggregated").unwrap();
    assert_eq!((together.text("source"), together.number("count")), ("127.0.0.1".to_owned(), 6));
    assert!(together.text("first") <= together.text("last"), "{}", together.0);
    world.egret.verify();
}

#[test]
fn t178_a_flood_of_denied_requests_leaves_the_allowed_ones_their_records() {
    let world = world("max_refusal_records: 20, refusal_interval: 1h");
    let (greedy, modest) = (world.egret.session(&["strangers"], &[]), world.egret.session(&["strangers"], &[]));
    let target = world.target("api.origin.test");
    let authorization = format!("Proxy-Authorization: {}\r\n", greedy.authorization());
    let mut last = String::new();
    for number in 0..300 {
        let answer = connect(&world, "denied.example.com:443", &authorization);
        assert_eq!((answer.status, refusal::problem(&answer)["code"].as_str()), (403, Some("denied_host")));
        last = answer.header("egret-record").unwrap();
        if number % 30 == 0 {
            assert_eq!(client::get(&world.egret, &greedy, &target, "/t178").status, 200);
        }
    }
    let answer =
        connect(&world, "denied.example.com:443", &format!("Proxy-Authorization: {}\r\n", modest.authorization()));
    refusal::expect_denied(&world.egret, &answer, 403, "denied_host");
    world.egret.terminate();
    let records = world.egret.records();
    let of_greedy: Vec<Record> = records.into_iter().filter(|record| record.text("session") == greedy.id).collect();
    assert_eq!(counted(&of_greedy, "denied_host"), (22, 300));
    let kinds = |kind: &str| of_greedy.iter().filter(|r| r.text("kind") == kind && r.text("path") == "/t178").count();
    assert_eq!((kinds("exchange.opened"), kinds("exchange.closed")), (10, 10));
    // The answer to a counted refusal names the record that counts it, and a query finds it.
    let found = world.egret.ok(&["audit", "query", "--kind", "aggregated", "--format", "json"], "");
    assert!(found.contains(&last) && found.contains("\"count\":279"), "{found}");
    world.egret.verify();
}

#[test]
fn t208_nothing_of_a_request_is_read_before_its_session_is_known() {
    let world = world("max_source_refusal_records: 1000, max_stranger_refusal_records: 1000");
    let session = world.egret.session(&["strangers"], &[]);
    let known = format!("Proxy-Authorization: {}\r\n", session.authorization());
    let escapes = format!("GET http://plain.origin.test/%{} HTTP/1.1", "25".repeat(8_000));
    for (line, status, code) in [
        ("CONNECT not//a:host HTTP/1.1", 400, "bad_host"),
        ("CONNECT api.origin.test HTTP/1.1", 400, "bad_host"),
        ("GET ftp://plain.origin.test/ HTTP/1.1", 400, "bad_target"),
        ("GET http://plain.origin.test/%zz HTTP/1.1", 400, "bad_target"),
        ("get http://plain.origin.test/ HTTP/1.1", 400, "malformed"),
        ("GET http://plain.origin.test/ HTTP/9.9", 400, "malformed"),
        (&*escapes, 0, ""),
    ] {
        let send = |fields: &str| {
            let mut wire = Wire::open(&world.egret);
            wire.send(format!("{line}\r\nHost: [\r\nContent-Length: x\r\n{fields}\r\n"));
            wire.answer_to("CONNECT")
        };
        let record = refusal::expect_denied(&world.egret, &send(""), 407, "session_required");
        assert!(!record.has("host") && !record.has("path") && !record.has("method"), "{}", record.0);
        if status > 0 {
            let mut wire = Wire::open(&world.egret);
            wire.send(format!("{line}\r\nHost: plain.origin.test\r\n{known}\r\n"));
            let record = refusal::expect_denied(&world.egret, &wire.answer_to("CONNECT"), status, code);
            assert_eq!(record.text("session"), session.id, "{line}");
        }
    }
}

#[test]
fn t210_refusals_without_a_session_are_counted() {
    let world = world("max_source_refusal_records: 30");
    for _ in 0..400 {
        assert_eq!(connect(&world, "api.origin.test:443", "").status, 407);
    }
    for _ in 0..100 {
        let mut wire = Wire::open(&world.egret);
        wire.send("\r\n\r\n");
        assert_eq!(wire.answer().status, 400);
    }
    world.egret.terminate();
    let records = world.egret.records();
    assert_eq!(counted(&records, "session_required"), (32, 400));
    assert_eq!(counted(&records, "malformed"), (2, 100));
    world.egret.verify();
}

#[test]
fn t210_counts_are_recorded_when_their_interval_ends() {
    let world = world("max_source_refusal_records: 1, refusal_interval: 1s");
    for _ in 0..4 {
        assert_eq!(connect(&world, "api.origin.test:443", "").status, 407);
    }
    world.egret.record_where("the count", |r| r.text("kind") == "aggregated" && r.number("count") == 2);
}

#[test]
fn t240_tokens_in_what_a_client_asks_for_are_not_recorded() {
    let world = world("max_refusals: 100");
    let session = world.egret.session(&["strangers"], &[]);
    let (target, token) = (world.target("api.origin.test"), session.token.clone());
    let pair = STANDARD.encode(format!("{}:{token}", session.id)).replace('=', "");
    for path in [format!("/{token}"), format!("/x?{token}=1"), format!("/{pair}"), token.replace("egt", "/%65gt")] {
        assert_eq!(client::get(&world.egret, &session, &target, &path).status, 200, "{path}");
    }
    let host = format!("{}.example.com:443", token.replace('_', "-"));
    assert_eq!(client::connect(&world.egret, Some(&session), &host).0.status, 403);
    let paths: Vec<String> = wait::until("the records", || {
        let all = world.egret.records();
        let closed = all.iter().filter(|r| r.text("kind") == "exchange.closed" && r.has("path"));
        let mut paths: Vec<String> = closed.map(|r| r.text("path")).collect();
        // The exchanges are on connections of their own: their records close in any order.
        paths.sort();
        (paths.len() == 4).then_some(paths)
    });
    assert_eq!(paths, ["***", "***", "/egt_***", "/x?egt_***"]);
    // The end of the test searches the journal and the log for the token.
}

#[test]
fn t242_what_a_peer_sends_writes_no_lines_through_a_library() {
    let world = World::new(&["api.origin.test"], &[POLICY], |setup| setup.logging("trace,h2::proto::ping_pong=trace"));
    let session = world.egret.session(&["strangers"], &[]);
    let target = world.target("api.origin.test");
    let mut wire = Tunnel::to(&target).alpn(&["h2"]).open(&world.egret, &session);
    let acknowledged_ping = [&[0, 0, 8, 6, 1, 0, 0, 0, 0][..], b"\x01\x02\x03\x04\x05\x06\x07\x08"].concat();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    wire.send([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings, &acknowledged_ping.repeat(500)].concat());
    // The end of the stream comes behind everything that was sent.
    wire.half_close();
    let _frames = wire.rest();
    let log = world.egret.log();
    assert!(
        !log.contains("h2::") && !log.contains("PING"),
        "{}",
        log.lines().rev().take(5).collect::<Vec<_>>().join("\n")
    );
}

/// The environment variable that holds the small disk of a test that was started on one.
const SMALL_DISK: &str = "EGRET_TEST_SMALL_DISK";

#[test]
fn t210_a_start_on_a_full_disk_refuses_and_recovers() {
    if let Some(disk) = std::env::var_os(SMALL_DISK) {
        return start_on_a_full_disk(std::path::Path::new(&disk));
    }
    let folder = tempfile::tempdir().unwrap();
    let mount = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(folder.path()).stdout(Stdio::null());
        command
    };
    let script = "mount -t tmpfs -o size=24m tmpfs \"$0\" && exec \"$@\"";
    let name = "strangers::t210_a_start_on_a_full_disk_refuses_and_recovers";
    let mut test = mount(script);
    test.arg(std::env::current_exe().unwrap()).args([name, "--exact", "--nocapture"]);
    test.env(SMALL_DISK, folder.path()).env("TMPDIR", folder.path());
    assert!(test.status().unwrap().success());
}

fn start_on_a_full_disk(disk: &std::path::Path) {
    let world = world("max_source_refusal_records: 10");
    let session = world.egret.session(&["strangers"], &[]);
    let target = world.target("api.origin.test");
    assert_eq!(client::get(&world.egret, &session, &target, "/before").status, 200);
    world.egret.terminate();
    // Nothing is left that could be given back.
    std::fs::remove_file(world.egret.journal_folder().join("reserve")).unwrap();
    let ballast = disk.join("ballast");
    let full = std::fs::write(&ballast, vec![1; 32 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    world.egret.launch();
    let refused = client::get(&world.egret, &session, &target, "/full");
    assert_eq!((refused.status, refusal::problem(&refused)["code"].as_str()), (503, Some("audit_unavailable")));
    let health = || control::call(&world.egret, "GET", "/healthz", &serde_json::Value::Null);
    assert_eq!((health().0, &health().1["journal_writable"]), (503, &false.into()));
    for _ in 0..200 {
        assert_eq!(connect(&world, &target, "").status, 407);
    }
    world.origin.assert_saw_nothing_of("/full");
    std::fs::remove_file(ballast).unwrap();
    wait::until("the recovery", || {
        (client::get(&world.egret, &session, &target, "/after").status == 200).then_some(())
    });
    assert_eq!(health().0, 200);
    world.egret.record_where("the gap", |r| r.text("kind") == "gap" && r.text("detail") == "no space");
    still_found(&world.egret);
    world.egret.terminate();
    let (records, refusals) = counted(&world.egret.records(), "session_required");
    assert!(records <= 12, "{records} records");
    assert_eq!(refusals, 200);
    world.egret.verify();
}

/// Commands find the sidecar, and the index is filled again.
fn still_found(egret: &Egret) {
    let listed = egret.ok(&["audit", "query", "--code", "audit_unavailable", "--format", "json"], "");
    assert!(listed.contains("audit_unavailable"), "{listed}");
}
