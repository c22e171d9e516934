//! J: the journal. No record, no request; and whatever happened is found again after a crash.

use std::io::Write;

use egret_tests::client;
use egret_tests::client::Tunnel;
use egret_tests::records::{self, Record};
use egret_tests::{refusal, wait};

use crate::world::World;

const POLICY: &str = r#"
policy: journal
rules:
  - id: api
    allow: {host: api.origin.test, port: PORT, LOCAL}
"#;

fn world() -> World {
    World::new(&["api.origin.test"], &[POLICY], |setup| setup)
}

fn of_exchange<'a>(all: &'a [Record], exchange: &str) -> Vec<&'a Record> {
    all.iter().filter(|record| record.text("exchange") == exchange).collect()
}

#[test]
fn t170_no_journal_no_request() {
    let world = world();
    let session = world.egret.session(&["journal"], &[]);
    let target = world.target("api.origin.test");
    assert_eq!(client::get(&world.egret, &session, &target, "/t170-before").status, 200);

    let (here, away) = (world.egret.journal_folder(), world.egret.data().join("journal.away"));
    std::fs::rename(&here, &away).unwrap();
    // The session's record may have been the last that fitted; from the first refusal on nothing passes.
    let refused = wait::until("a refusal without a journal", || {
        let answer = client::get(&world.egret, &session, &target, "/t170-probe");
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(refusal::problem(&refused)["code"], "audit_unavailable");
    let answer = client::get(&world.egret, &session, &target, "/t170-denied");
    assert_eq!((answer.status, refusal::problem(&answer)["code"].as_str()), (503, Some("audit_unavailable")));
    world.origin.assert_saw_nothing_of("t170-denied");

    assert!(!here.exists(), "a folder was made in the place of the journal");
    std::fs::rename(&away, &here).unwrap();
    wait::until("the recovery", || {
        (client::get(&world.egret, &session, &target, "/t170-after").status == 200).then_some(())
    });
    // Every request that the origin saw has its opening record.
    let all = world.egret.records();
    let opened =
        all.iter().filter(|r| r.text("kind") == "exchange.opened" && r.text("path").starts_with("/t170")).count();
    assert!(opened >= world.origin.seen("/t170").len(), "{opened} openings");
    world.egret.verify();
}

#[test]
fn t172_killed_between_decision_and_answer() {
    let world = world();
    let session = world.egret.session(&["journal"], &[]);
    let target = world.target("api.origin.test");
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!("GET /hang/t172 HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    wait::until("the request to arrive", || world.origin.seen("t172").first().map(|_| ()));
    let opened = world
        .egret
        .records()
        .into_iter()
        .find(|r| r.text("path") == "/hang/t172")
        .expect("the opening record is there before the request");
    assert_eq!(opened.text("kind"), "exchange.opened");
    world.egret.kill();
    world.egret.launch();
    let all = world.egret.records();
    let both = of_exchange(&all, &opened.text("exchange"));
    assert_eq!(both.len(), 2, "{both:#?}");
    assert_eq!((both[1].text("kind"), both[1].text("outcome")), ("exchange.closed".to_owned(), "aborted".to_owned()));
    world.egret.verify();
    // The session has survived the restart.
    assert_eq!(client::get(&world.egret, &session, &target, "/t172-after").status, 200);
}

#[test]
fn t173_torn_last_record() {
    let world = world();
    let session = world.egret.session(&["journal"], &[]);
    let target = world.target("api.origin.test");
    assert_eq!(client::get(&world.egret, &session, &target, "/t173").status, 200);
    let whole = wait::until("the closing record", || {
        let all = world.egret.records();
        all.iter().any(|r| r.text("kind") == "exchange.closed").then_some(all)
    });
    world.egret.kill();
    let last = newest_segment(&world);
    std::fs::File::options().append(true).open(&last).unwrap().write_all(b"{\"seq\":999,\"time\":\"2026-").unwrap();
    world.egret.launch();
    world.egret.verify();
    let gap = world.egret.record_where("the gap", |r| r.text("kind") == "gap");
    assert_eq!(gap.text("code"), "tail_truncated");
    let now = world.egret.records();
    assert_eq!(
        now[..whole.len()].iter().map(|r| r.text("id")).collect::<Vec<_>>(),
        whole.iter().map(|r| r.text("id")).collect::<Vec<_>>()
    );
    assert_eq!(client::get(&world.egret, &session, &target, "/t173-after").status, 200);
}

#[test]
fn a_journal_that_was_taken_away_and_is_accepted_leaves_a_gap() {
    let world = world();
    let session = world.egret.session(&["journal"], &[]);
    assert_eq!(client::get(&world.egret, &session, &world.target("api.origin.test"), "/taken").status, 200);
    world.egret.record_where("the record", |r| r.text("kind") == "exchange.closed");
    // A query brings the index to the end of the journal: from then on it contains all earlier records.
    world.egret.ok(&["audit", "query", "--limit", "1"], "");
    world.egret.terminate();
    std::fs::remove_dir_all(world.egret.journal_folder()).unwrap();
    let config = world.egret.config().display().to_string();
    let refused = world.egret.run(&["serve", "--config", &config], "");
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let mut serving = world
        .egret
        .command(&["serve", "--accept-rollback", "--config", &config])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait::until("it serves without it", || world.egret.data().join("egret.json").exists().then_some(()));
    rustix::process::kill_process(rustix::process::Pid::from_child(&serving), rustix::process::Signal::TERM).unwrap();
    assert!(serving.wait().unwrap().success());
    let gap = world.egret.record_where("the gap", |r| r.text("kind") == "gap");
    assert_eq!(gap.text("code"), "tail_truncated");
    world.egret.verify();
}

fn newest_segment(world: &World) -> std::path::PathBuf {
    let mut files: Vec<_> =
        std::fs::read_dir(world.egret.journal_folder()).unwrap().flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "jsonl"));
    files.sort();
    files.pop().unwrap()
}

#[test]
fn a_changed_byte_is_found_and_named() {
    let world = world();
    let session = world.egret.session(&["journal"], &[]);
    assert_eq!(client::get(&world.egret, &session, &world.target("api.origin.test"), "/changed").status, 200);
    world.egret.record_where("the record", |r| r.text("kind") == "exchange.closed");
    world.egret.terminate();
    let path = newest_segment(&world);
    let good = std::fs::read(&path).unwrap();
    let at = memchr_of(&good, b"/changed");
    let mut bad = good.clone();
    bad[at + 1] = b'C';
    std::fs::write(&path, &bad).unwrap();
    let output = world.egret.run(&["audit", "verify"], "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let line = good[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains(&line.to_string()), "line {line} is not named in: {said}");
    std::fs::write(&path, good).unwrap();
    world.egret.verify();
}

fn memchr_of(bytes: &[u8], needle: &[u8]) -> usize {
    bytes.windows(needle.len()).position(|window| window == needle).unwrap()
}

#[test]
fn query_gives_what_the_journal_has() {
    let world = world();
    let session = world.egret.session(&["journal"], &[]);
    let target = world.target("api.origin.test");
    assert_eq!(client::get(&world.egret, &session, &target, "/query?key=value").status, 200);
    let (refused, _) = client::connect(&world.egret, Some(&session), "other.origin.test:443");
    let id = refused.header("egret-record").unwrap();
    world.egret.record(&id);
    world.egret.record_where("the closing record", |r| {
        r.text("path").starts_with("/query") && r.text("kind") == "exchange.closed"
    });
    let rows = wait::until("the index to follow", || {
        let text = world.egret.ok(&["audit", "query", "--session", &session.id, "--format", "json"], "");
        let rows = records::parse_output(&text);
        (rows.iter().filter(|r| r.text("kind").starts_with("exchange.")).count() >= 3).then_some(rows)
    });
    let denied = rows.iter().find(|r| r.text("id") == id).expect("the refusal is in the answer");
    assert_eq!((denied.text("decision"), denied.text("code")), ("deny".to_owned(), "denied_host".to_owned()));
    let allowed = rows.iter().find(|r| r.text("kind") == "exchange.closed" && r.text("decision") == "allow").unwrap();
    assert_eq!(allowed.text("path"), "/query?key", "query names are kept, values are not");
    for field in [
        "seq",
        "time",
        "exchange",
        "tenant",
        "rule",
        "policy",
        "snapshot",
        "method",
        "host",
        "port",
        "status",
        "outcome",
        "duration_ms",
    ] {
        assert!(allowed.has(field), "{field} is missing in {}", allowed.0);
    }
    let only =
        records::parse_output(&world.egret.ok(&["audit", "query", "--decision", "deny", "--format", "json"], ""));
    assert!(!only.is_empty() && only.iter().all(|r| r.text("decision") == "deny"));
    let csv = world.egret.ok(&["audit", "query", "--session", &session.id, "--format", "csv"], "");
    assert!(csv.lines().next().is_some_and(|line| line.contains("seq") && line.contains(',')), "{csv}");
    assert!(csv.contains(&session.id), "{csv}");
}
