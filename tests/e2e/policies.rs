//! The whole language of policies on the wire, and what becomes of open streams when the policies change.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use egret_tests::client::{self, Answer, Wire};
use egret_tests::egret::{Egret, Session};
use egret_tests::records::Record;
use egret_tests::shared::Shared;
use egret_tests::{control, refusal, wait};
use serde_json::json;

use crate::world::{World, fill};

static WORLD: Shared<World> = Shared::new();

pub(crate) const HOSTS: [&str; 4] = ["a.origin.test", "b.origin.test", "c.origin.test", "d.origin.test"];

const LANGUAGE: &str = r#"
policy: language
rules:
  - id: limited
    allow: {host: a.origin.test, port: PORT, path: /limited, query: {ref: [main, "v*"]}, LOCAL}
  - id: deploy
    ask: {host: a.origin.test, port: PORT, path: /deploy, LOCAL}
    within: 10m
    reason: Ask the people on call.
  - id: tool
    allow: {host: b.origin.test, port: PORT, tool: "web_*", LOCAL}
  - id: not-from-bash
    deny: {host: b.origin.test, path: /no-bash, tool: bash}
  - id: over
    allow: {host: c.origin.test, port: PORT, LOCAL}
    until: 2020-01-01
"#;

const WATCHING: &str = r#"
policy: watching
mode: observe
until: 2099-01-01
rules:
  - id: known
    allow: {host: d.origin.test, port: PORT, path: /known, LOCAL}
    use: [key]
  - id: closed
    deny: {host: d.origin.test, path: /closed}
"#;

const OPEN: &str = r#"
policy: open
rules:
  - id: all
    allow: {host: d.origin.test, port: PORT, LOCAL}
"#;

const WEB_TEAM: &str = r#"
policy: web-team
applies_to: {labels: {team: web}}
rules:
  - id: theirs
    allow: {host: a.origin.test, port: PORT, path: /web, LOCAL}
"#;

const GUARDRAIL: &str = r#"
policy: guardrail
ceiling: true
applies_to: {tenants: guarded}
rules:
  - id: reading
    allow: {host: "**.origin.test", port: PORT, methods: [GET, HEAD], LOCAL}
"#;

fn world() -> Arc<World> {
    WORLD.get(|| World::new(&HOSTS, &[LANGUAGE, WATCHING, OPEN, WEB_TEAM, GUARDRAIL], |setup| setup))
}

fn get(world: &World, session: &Session, host: &str, path: &str) -> Answer {
    client::get(&world.egret, session, &world.target(host), path)
}

#[test]
fn t070_a_parameter_that_a_rule_limits() {
    let world = world();
    let session = world.egret.session(&["language"], &[]);
    for path in ["/limited?ref=main&t070=1", "/limited?t070=2&ref=v1.2"] {
        assert_eq!(get(&world, &session, HOSTS[0], path).status, 200, "{path}");
    }
    for query in [
        "",
        "?ref=evil-t070",
        "?ref=main&%72ef=evil-t070",
        "?ref=main%26x=evil-t070",
        "?ref=main&+ref=evil-t070",
        "?%20ref=evil-t070&ref=main",
        "?ref[]=evil-t070&ref=main",
        "?ref=main&ref%00=evil-t070",
        "?ref=main&REF=evil-t070",
        "?ref=main;ref=evil-t070",
    ] {
        let answer = get(&world, &session, HOSTS[0], &format!("/limited{query}"));
        refusal::expect_denied(&world.egret, &answer, 403, "denied_path");
    }
    world.origin.assert_saw_nothing_of("evil-t070");
}

#[test]
fn an_ask_is_refused_until_somebody_can_be_asked() {
    let world = world();
    let session = world.egret.session(&["language"], &[]);
    let answer = get(&world, &session, HOSTS[0], "/deploy");
    let record = refusal::expect(&world.egret, &answer, 403, "approval_required");
    let problem = refusal::problem(&answer);
    assert_eq!((&problem["rule"], &problem["retry"]), (&json!("deploy"), &json!("after_approval")));
    assert_eq!(problem["reason"], "Ask the people on call.");
    assert_eq!((record.text("decision").as_str(), record.text("rule").as_str()), ("ask", "deploy"));
    world.origin.assert_saw_nothing_of("/deploy");
}

#[test]
fn rules_select_by_the_tool_that_the_runtime_marks() {
    let world = world();
    let session = world.egret.session(&["language"], &[]);
    let refused = get(&world, &session, HOSTS[1], "/tool");
    refusal::expect_denied(&world.egret, &refused, 403, "denied_tool");
    let calls = format!("/v1/sessions/{}/tool_calls", session.id);
    let begin = |id: &str, tool: &str| control::call(&world.egret, "POST", &calls, &json!({"id": id, "tool": tool})).0;
    assert_eq!((begin("call-1", "web_fetch"), begin("call-1", "web_fetch")), (201, 409));
    let answer = get(&world, &session, HOSTS[1], "/tool?n=1");
    assert_eq!(answer.status, 200);
    let record = world.egret.record_where("the exchange of the tool call", |record| {
        record.text("kind") == "exchange.closed"
            && record.text("session") == session.id
            && record.number("status") == 200
    });
    assert_eq!((record.text("tool_call").as_str(), record.text("tool").as_str()), ("call-1", "web_fetch"));
    assert_eq!(record.text("attribution"), "marker");
    // A second open tool call: which of the two the request belongs to is unknown.
    assert_eq!(begin("call-2", "bash"), 201);
    refusal::expect_denied(&world.egret, &get(&world, &session, HOSTS[1], "/tool"), 403, "denied_tool");
    let end = |id: &str| control::call(&world.egret, "POST", &format!("{calls}/{id}/end"), &json!(null)).0;
    assert_eq!((end("call-1"), end("call-1"), end("call-2")), (200, 404, 200));
    refusal::expect_denied(&world.egret, &get(&world, &session, HOSTS[1], "/tool"), 403, "denied_tool");
    let mine = |kind: &str| {
        world.egret.records().iter().filter(|r| r.text("kind") == kind && r.text("session") == session.id).count()
    };
    assert_eq!((mine("tool_call.begun"), mine("tool_call.ended")), (2, 2));
}

#[test]
fn a_rule_whose_end_has_passed_allows_nothing() {
    let world = world();
    let session = world.egret.session(&["language"], &[]);
    refusal::expect_denied(&world.egret, &get(&world, &session, HOSTS[2], "/over"), 403, "denied_host");
}

#[test]
fn an_observing_policy_alone_lets_pass_and_says_so() {
    let world = world();
    let key = world.egret.put("observed-key", &["--kind", "bearer", "--audience", &world.target(HOSTS[3])]);
    let session = world.egret.session(&["watching"], &["observed-key"]);
    // Loopback is no global address: what no rule allows stays within those.
    let answer = get(&world, &session, HOSTS[3], "/unknown");
    refusal::expect(&world.egret, &answer, 403, "denied_address");
    world.origin.assert_saw_nothing_of("/unknown");
    assert_eq!(get(&world, &session, HOSTS[3], "/known").status, 200);
    refusal::expect_denied(&world.egret, &get(&world, &session, HOSTS[3], "/closed"), 403, "denied_path");
    drop(key);
}

#[test]
fn an_observing_policy_beside_others_only_records_its_verdict() {
    let world = world();
    let session = world.egret.session(&["watching", "open"], &[]);
    assert_eq!(get(&world, &session, HOSTS[3], "/beside").status, 200);
    let closed = |path: &str| {
        world.egret.record_where("the exchange", |record| {
            record.text("kind") == "exchange.closed"
                && record.text("session") == session.id
                && record.text("path") == path
        })
    };
    let record = closed("/beside");
    assert_eq!((record.text("decision").as_str(), record.text("rule").as_str()), ("allow", "all"));
    assert_eq!(record.0["observed"], json!(["watching: deny denied_path"]));
    assert_eq!(get(&world, &session, HOSTS[3], "/closed").status, 200);
    assert_eq!(closed("/closed").0["observed"], json!(["watching: deny denied_path by closed"]));
    assert_eq!(get(&world, &session, HOSTS[3], "/known").status, 200);
    assert!(!closed("/known").has("observed"));
}

#[test]
fn a_policy_applies_by_label_and_a_ceiling_is_over_all() {
    let world = world();
    let web = world.egret.session_with(&[], &[], &["--label", "team=web"]);
    assert_eq!(get(&world, &web, HOSTS[0], "/web").status, 200);
    let other = world.egret.session_with(&[], &[], &["--label", "team=api"]);
    assert_eq!(client::connect(&world.egret, Some(&other), &world.target(HOSTS[0])).0.status, 403);
    let refused = |args: &[&str]| {
        let output = world.egret.run(args, "");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = refused(&["session", "create", "--policy", "web-team"]);
    assert!(said.contains("does not apply to this session"), "{said}");
    let said = refused(&["session", "create", "--policy", "guardrail"]);
    assert!(said.contains("is a ceiling"), "{said}");

    let guarded = world.egret.session_with(&["open"], &[], &["--tenant", "guarded"]);
    assert_eq!(get(&world, &guarded, HOSTS[3], "/under").status, 200);
    let target = world.target(HOSTS[3]);
    let post = format!("POST /under HTTP/1.1\r\nHost: {target}\r\nContent-Length: 0\r\n\r\n");
    let record = refusal::expect_denied(
        &world.egret,
        &client::request(&world.egret, &guarded, &target, &post),
        403,
        "denied_method",
    );
    assert_eq!(record.text("policy"), "guardrail");
}

#[test]
fn a_share_of_sessions_gets_an_observing_policy() {
    let world = world();
    let policies = |share: &str| {
        let session = world.egret.session_with(&["open"], &[], &["--observe", &format!("watching@{share}")]);
        session.document["policies"].clone()
    };
    assert_eq!(policies("100"), json!(["open", "watching"]));
    assert_eq!(policies("0"), json!(["open"]));
    let output = world.egret.run(&["session", "create", "--policy", "open", "--observe", "language@50"], "");
    assert!(String::from_utf8_lossy(&output.stderr).contains("mode: observe"), "{output:?}");
}

/// A world of its own, whose policy file a test rewrites.
pub(crate) fn world_of(policy: &str) -> World {
    World::new(&HOSTS, &[policy], |setup| setup)
}

pub(crate) fn rewrite(world: &World, policy: &str) {
    let path = world.egret.folder().join("policies/policy-0.yaml");
    fs::write(path, fill(&world.origin, policy)).unwrap();
}

/// The download ended after its first event, without the last chunk.
fn assert_broken_off(mut streaming: Wire) {
    assert_eq!(String::from_utf8_lossy(&streaming.rest()), "\n\n\r\n");
}

/// Begins a download that pauses after its first event.
pub(crate) fn download(world: &World, session: &Session, gate: &str) -> Wire {
    let target = world.target(HOSTS[0]);
    let (answer, wire) = client::connect(&world.egret, Some(session), &target);
    assert_eq!(answer.status, 200);
    let mut wire = wire.start_tls(client::client_config(&world.egret, &["http/1.1"]), HOSTS[0]).unwrap();
    wire.send(format!("GET /gated/{gate} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    wire.read_until("data: first");
    wire
}

pub(crate) fn closing(egret: &Egret, kind: &str, session: &Session) -> Record {
    egret.record_where("a closing record", |record| record.text("kind") == kind && record.text("session") == session.id)
}

pub(crate) fn seconds(record: &Record) -> f64 {
    let time: jiff::Timestamp = record.text("time").parse().unwrap();
    time.as_microsecond() as f64 / 1e6
}

const BEFORE: &str = "policy: live\nrules:\n  - id: read\n    allow: {host: a.origin.test, port: PORT, LOCAL}\n  - id: other\n    allow: {host: b.origin.test, port: PORT, LOCAL}\n  - id: unread\n    allow: {host: c.origin.test, port: PORT, LOCAL}\n    tls: pass-through\n";
const AFTER: &str = "policy: live\nrules:\n  - id: other\n    allow: {host: b.origin.test, port: PORT, LOCAL}\n";

/// The tunnel that is not read, with the origin's own certificate at its end.
fn unread(world: &World, session: &Session) -> Wire {
    let (answer, wire) = client::connect(&world.egret, Some(session), &world.target(HOSTS[2]));
    assert_eq!(answer.status, 200, "{answer:?}");
    wire.start_tls(client::config_trusting(&world.origin.ca_file(), &["http/1.1"]), HOSTS[2]).unwrap()
}

#[test]
fn t074_a_reload_while_connections_live() {
    let world = world_of(BEFORE);
    let session = world.egret.session(&["live"], &[]);
    let streaming = download(&world, &session, "t074");
    let mut tunnel = unread(&world, &session);
    tunnel.send(format!("GET /t074-unread HTTP/1.1\r\nHost: {}\r\n\r\n", HOSTS[2]));
    assert_eq!(tunnel.answer().status, 200);
    let target = world.target(HOSTS[1]);
    let (_, wire) = client::connect(&world.egret, Some(&session), &target);
    let mut kept = wire.start_tls(client::client_config(&world.egret, &["http/1.1"]), HOSTS[1]).unwrap();
    kept.send(format!("GET /one HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    assert_eq!(kept.answer().status, 200);

    let before = control::call(&world.egret, "GET", "/v1/policies", &json!(null)).1["snapshot"].clone();
    rewrite(&world, AFTER);
    let loaded = world.egret.record_where("the new policies", |record| {
        record.text("kind") == "policy.loaded" && record.0["snapshot"] != before
    });
    let cut = world.egret.record_where("the cut download", |record| {
        record.text("path") == "/gated/t074" && record.text("kind") == "exchange.closed"
    });
    assert_eq!((cut.text("outcome").as_str(), cut.text("code").as_str()), ("aborted", "denied_host"));
    assert!(seconds(&cut) - seconds(&loaded) < 1.0, "cut {} after the reload", seconds(&cut) - seconds(&loaded));
    assert_broken_off(streaming);
    let closed = closing(&world.egret, "tunnel.closed", &session);
    assert_eq!((closed.text("outcome").as_str(), closed.text("code").as_str()), ("aborted", "denied_host"));
    assert!(seconds(&closed) - seconds(&loaded) < 1.0);
    assert!(tunnel.is_closed());
    // A rule that stayed goes on, on its old connection, under the new snapshot.
    kept.send(format!("GET /two HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    assert_eq!(kept.answer().status, 200);
    let snapshots: Vec<String> = ["/one", "/two"]
        .map(|path| {
            world
                .egret
                .record_where("an exchange", |record| {
                    record.text("path") == path && record.text("kind") == "exchange.closed"
                })
                .text("snapshot")
        })
        .into();
    assert_ne!(snapshots[0], snapshots[1]);
    assert_eq!(snapshots[1], loaded.text("snapshot"));
    assert_eq!(client::connect(&world.egret, Some(&session), &world.target(HOSTS[2])).0.status, 403);
}

/// A client that takes no more of the answer, and goes on sending, is cut like any other.
#[test]
fn t074_a_client_that_does_not_read_is_cut() {
    let world = world_of(BEFORE);
    let session = world.egret.session(&["live"], &[]);
    let target = world.target(HOSTS[0]);
    let (_, wire) = client::connect(&world.egret, Some(&session), &target);
    let mut wire = wire.start_tls(client::client_config(&world.egret, &["http/1.1"]), HOSTS[0]).unwrap();
    wire.send(format!("GET /sized/1073741824 HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    wire.read_until("\r\n\r\n");
    let before = control::call(&world.egret, "GET", "/v1/policies", &json!(null)).1["snapshot"].clone();
    rewrite(&world, AFTER);
    let loaded = world.egret.record_where("the new policies", |record| {
        record.text("kind") == "policy.loaded" && record.0["snapshot"] != before
    });
    let cut = closing(&world.egret, "exchange.closed", &session);
    assert_eq!((cut.text("outcome").as_str(), cut.text("code").as_str()), ("aborted", "denied_host"), "{:?}", cut.0);
    assert!(seconds(&cut) - seconds(&loaded) < 1.0, "cut {} after the reload", seconds(&cut) - seconds(&loaded));
    drop(wire);
}

#[test]
fn t079_an_end_that_a_reload_brings_ends_what_streams() {
    let world = world_of(BEFORE);
    let session = world.egret.session(&["live"], &[]);
    let streaming = download(&world, &session, "later");
    let until = jiff::Timestamp::now() + Duration::from_secs(3);
    rewrite(&world, &BEFORE.replacen(", LOCAL}", &format!(", LOCAL}}\n    until: \"{until}\""), 1));
    let cut = closing(&world.egret, "exchange.closed", &session);
    assert_eq!((cut.text("outcome").as_str(), cut.text("code").as_str()), ("aborted", "denied_host"));
    let late = seconds(&cut) - until.as_microsecond() as f64 / 1e6;
    assert!((0.0..1.0).contains(&late), "cut {late} s after the end");
    drop(streaming);
}

#[test]
fn a_tunnel_that_is_not_read_refuses_tls_that_names_nobody_readably() {
    let world = world_of(BEFORE);
    let session = world.egret.session(&["live"], &[]);
    // A handshake record that is none, and one whose version no client sends.
    for odd in
        [&[0x16, 3, 1, 0, 4, 1, 0, 0, 0][..], &[0x16, 4, 4, 0, 1, 0][..], &[0x16, 3, 1, 0, 0, 0x16, 3, 1, 0, 0][..]]
    {
        let (answer, mut wire) = client::connect(&world.egret, Some(&session), &world.target(HOSTS[2]));
        assert_eq!(answer.status, 200);
        let before = world.egret.records().iter().filter(|r| r.text("code") == "malformed").count();
        wire.send(odd);
        wire.half_close();
        wait::until("the tunnel is closed", || {
            let now = world.egret.records().iter().filter(|r| r.text("code") == "malformed").count();
            (now > before).then_some(())
        });
    }
    assert!(world.origin.connections(HOSTS[2]).iter().all(|connection| connection.bytes() == 0));
}

#[test]
fn a_tunnel_that_is_not_read_has_its_own_record() {
    let world = world_of(BEFORE);
    let session = world.egret.session(&["live"], &[]);
    let mut wire = unread(&world, &session);
    wire.send(format!("GET /unread HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", HOSTS[2]));
    assert_eq!(wire.answer().status, 200);
    drop(wire);
    let opened = closing(&world.egret, "tunnel.opened", &session);
    let closed = closing(&world.egret, "tunnel.closed", &session);
    assert_eq!(opened.text("exchange"), closed.text("exchange"));
    assert_eq!((closed.text("rule").as_str(), closed.text("tls").as_str()), ("unread", "pass-through"));
    assert_eq!((closed.text("decision").as_str(), closed.text("host").as_str()), ("allow", HOSTS[2]));
    assert!(closed.number("request_bytes") > 100 && closed.number("response_bytes") > 100, "{:?}", closed.0);
    assert!(!closed.has("path") && !closed.has("status") && !closed.has("credentials"), "{:?}", closed.0);
    // No client gets a certificate for a name other than that of its CONNECT.
    let (answer, wire) = client::connect(&world.egret, Some(&session), &world.target(HOSTS[2]));
    assert_eq!(answer.status, 200);
    assert!(wire.start_tls(client::config_trusting(&world.origin.ca_file(), &["http/1.1"]), HOSTS[3]).is_err());
    let record = world.egret.record_where("the refused name", |record| record.text("code") == "authority_mismatch");
    assert_eq!((record.text("kind").as_str(), record.text("sni").as_str()), ("tunnel.closed", HOSTS[3]));
    assert!(world.origin.connections(HOSTS[3]).is_empty());
}

#[test]
fn t079_a_rule_that_expires_in_the_middle_of_a_download() {
    let until = jiff::Timestamp::now() + Duration::from_secs(4);
    let policy = format!(
        "policy: live\nrules:\n  - id: read\n    allow: {{host: a.origin.test, port: PORT, LOCAL}}\n    until: \"{until}\"\n"
    );
    let world = world_of(&policy);
    let session = world.egret.session(&["live"], &[]);
    let streaming = download(&world, &session, "t079");
    let cut = closing(&world.egret, "exchange.closed", &session);
    assert_eq!((cut.text("outcome").as_str(), cut.text("code").as_str()), ("aborted", "denied_host"));
    let late = seconds(&cut) - until.as_microsecond() as f64 / 1e6;
    assert!((0.0..1.0).contains(&late), "cut {late} s after the end");
    assert_broken_off(streaming);
    let refused = client::connect(&world.egret, Some(&session), &world.target(HOSTS[0])).0;
    refusal::expect_denied(&world.egret, &refused, 403, "denied_host");
}

fn health(egret: &Egret) -> serde_json::Value {
    control::call(egret, "GET", "/healthz", &json!(null)).1
}

/// Swaps a folder as Kubernetes does for a ConfigMap: files are links into `..data`, a link that is replaced whole.
fn swap(folder: &Path, version: &str, policy: &str) {
    let data = folder.join(format!("..{version}"));
    fs::create_dir(&data).unwrap();
    fs::write(data.join("live.yaml"), policy).unwrap();
    let fresh = folder.join("..data_tmp");
    symlink(format!("..{version}"), &fresh).unwrap();
    fs::rename(&fresh, folder.join("..data")).unwrap();
}

#[test]
fn t075_a_config_map_is_swapped_and_a_bad_file_changes_nothing() {
    let world = world_of("policy: mine\nrules: []\n");
    let folder = world.egret.folder().join("policies");
    swap(&folder, "v1", &fill(&world.origin, BEFORE));
    symlink("..data/live.yaml", folder.join("live.yaml")).unwrap();
    let session = wait::until("the policy is loaded", || {
        let output = world.egret.run(&["session", "create", "--policy", "live", "--format", "json"], "");
        output.status.success().then(|| egret_tests::egret::parse_session(&String::from_utf8_lossy(&output.stdout)))
    });
    assert_eq!(get(&world, &session, HOSTS[0], "/v1").status, 200);
    swap(&folder, "v2", "policy: live\nrules:\n  - id: [\n");
    wait::until("the bad file is told of", || {
        health(&world.egret)["policies_rejected"].as_str().is_some_and(|why| why.contains("live.yaml")).then_some(())
    });
    world.egret.record_where("the rejection", |record| {
        record.text("kind") == "policy.rejected" && record.text("code") == "policy_rejected"
    });
    assert_eq!(get(&world, &session, HOSTS[0], "/still").status, 200);
    swap(&folder, "v3", &fill(&world.origin, AFTER));
    wait::until("the good file is in force", || {
        let answer = client::connect(&world.egret, Some(&session), &world.target(HOSTS[0])).0;
        (answer.status == 403).then_some(())
    });
    assert!(health(&world.egret)["policies_rejected"].is_null());
    assert_eq!(get(&world, &session, HOSTS[1], "/v3").status, 200);
}

/// Every verdict under a storm of reloads is that of the snapshot which its record names.
#[test]
fn t076_reloads_under_load() {
    let world = world_of(BEFORE);
    let session = world.egret.session(&["live"], &[]);
    let rounds: u32 = std::env::var_os("EGRET_RELOADS").map_or(200, |text| text.to_string_lossy().parse().unwrap());
    let digest_of = |policy: &str| {
        rewrite(&world, policy);
        let (status, view) = control::call(&world.egret, "POST", "/v1/policies/reload", &json!(null));
        assert_eq!(status, 200, "{view}");
        view["snapshot"].as_str().unwrap().to_owned()
    };
    let (open, closed) = (digest_of(BEFORE), digest_of(AFTER));
    std::thread::scope(|scope| {
        let storm = scope.spawn(|| {
            for round in 0..rounds {
                digest_of(if round % 2 == 0 { BEFORE } else { AFTER });
            }
        });
        let mut asked = 0;
        while !storm.is_finished() || asked < 20 {
            let answer = client::connect(&world.egret, Some(&session), &world.target(HOSTS[0])).0;
            // Which of the two it is depends on the snapshot of that moment, which only its record names.
            assert!([200, 403].contains(&answer.status), "{answer:?}");
            asked += 1;
        }
        storm.join().unwrap();
    });
    let decisions = std::collections::BTreeMap::from([(open, "allow"), (closed, "deny")]);
    for record in world.egret.records().iter().filter(|r| r.text("host") == HOSTS[0] && r.has("snapshot")) {
        let expected = decisions.get(&record.text("snapshot")).expect("one of the two snapshots");
        assert_eq!(record.text("decision"), *expected, "{}", record.0);
    }
}

#[test]
fn t025_names_that_only_look_alike() {
    let world = world_of(
        "policy: live\nrules:\n  - id: read\n    allow: {host: [a.origin.test, faß.origin.test], port: PORT, LOCAL}\n",
    );
    let session = world.egret.session(&["live"], &[]);
    let status = |host: &str| client::connect(&world.egret, Some(&session), &world.target(host)).0.status;
    // A Cyrillic letter makes another name, which no rule allows.
    assert_eq!(status("xn--80a.origin.test"), 403);
    // Punycode that is broken, or that hides an ASCII name, is no name.
    for host in
        ["xn--a.origin.test", "xn--a-.origin.test", "xn--aa-.origin.test", "xn--.origin.test", "xn--zzzzzzz999999.test"]
    {
        assert_eq!(status(host), 400, "{host}");
    }
    // The sharp s is a letter of its own: the rule's name has one form, and `fass` is not it.
    assert_eq!(status("fass.origin.test"), 403);
    assert_eq!(status("xn--fa-hia.origin.test"), 200);
}

#[test]
fn t041_a_name_that_leads_back_to_the_proxy() {
    let world =
        World::new(&HOSTS, &["policy: live\nrules: []\n"], |setup| setup.resolving("self.origin.test", "127.0.0.1"));
    let port = world.egret.proxy().port();
    let rule = format!(
        "policy: live\nrules:\n  - id: back\n    allow: {{host: self.origin.test, port: {port}}}\n    addresses: [\"127.0.0.1\"]\n  - id: unread\n    allow: {{host: a.origin.test, port: {port}}}\n    tls: pass-through\n    addresses: [\"127.0.0.1\"]\n"
    );
    rewrite(&world, &rule);
    let session = world.egret.session(&["live"], &[]);
    let back = wait::until("the rule is in force", || {
        let answer = client::get(&world.egret, &session, &format!("self.origin.test:{port}"), "/t041");
        (refusal::problem(&answer)["code"] != "denied_host").then_some(answer)
    });
    refusal::expect_denied(&world.egret, &back, 403, "denied_self");
    let (answer, _) = client::connect(&world.egret, Some(&session), &format!("a.origin.test:{port}"));
    assert_eq!((answer.status, &refusal::problem(&answer)["code"]), (403, &json!("denied_self")));
    let literal = client::connect(&world.egret, Some(&session), &format!("127.0.0.1:{port}")).0;
    refusal::expect_denied(&world.egret, &literal, 403, "denied_self");
}

#[test]
fn t071_a_path_in_other_letters() {
    let world = world_of(
        "policy: live\nrules:\n  - id: read\n    allow: {host: a.origin.test, port: PORT, path: /Reports/**, LOCAL}\n",
    );
    let session = world.egret.session(&["live"], &[]);
    assert_eq!(get(&world, &session, HOSTS[0], "/Reports/t071").status, 200);
    for path in ["/reports/t071-no", "/REPORTS/t071-no", "/Report%73/../reports/t071-no"] {
        refusal::expect_denied(&world.egret, &get(&world, &session, HOSTS[0], path), 403, "denied_path");
    }
    world.origin.assert_saw_nothing_of("t071-no");
}

#[test]
fn t077_bombs_are_refused_by_every_way_in() {
    let world = world_of("policy: mine\nrules: []\n");
    let folder = world.egret.folder().join("policies");
    let aliases = format!("policy: &a x\nrules: [{}]\n", "*a, ".repeat(1_000_000));
    let nested = format!("policy: p\nrules: {}{}\n", "[".repeat(10_000), "]".repeat(10_000));
    for (name, text) in [
        ("aliases.yaml", aliases),
        ("nested.yaml", nested),
        ("twice.yaml", "policy: p\npolicy: q\n".to_owned()),
        ("unknown.yaml", "policy: p\nrule: []\n".to_owned()),
    ] {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        wait::until("the bomb is told of", || {
            health(&world.egret)["policies_rejected"].as_str().is_some_and(|why| why.contains(name)).then_some(())
        });
        let checked = world.egret.run(&["policy", "check", path.to_str().unwrap()], "");
        assert!(!checked.status.success(), "{name}");
        fs::remove_file(&path).unwrap();
    }
    // A file of a gigabyte, of which the disk holds nothing, is not read into memory.
    let huge = folder.join("huge.yaml");
    fs::File::create(&huge).unwrap().set_len(1 << 30).unwrap();
    wait::until("the huge file is told of", || {
        health(&world.egret)["policies_rejected"].as_str().is_some_and(|why| why.contains("huge.yaml")).then_some(())
    });
    assert!(world.egret.peak_memory() < 64 << 20, "{} bytes at the peak", world.egret.peak_memory());
    fs::remove_file(&huge).unwrap();
    wait::until("the files are acceptable again", || health(&world.egret)["policies_rejected"].is_null().then_some(()));
}

#[test]
fn t078_a_deny_wins_wherever_it_stands_and_hidden_rules_are_named() {
    let world = world_of(
        "policy: live\nrules:\n  - id: hidden\n    allow: {host: a.origin.test, port: PORT, methods: [GET], LOCAL}\n  - id: closed\n    deny: {host: \"**.origin.test\"}\n    reason: Closed.\n",
    );
    let session = world.egret.session(&["live"], &[]);
    let answer = client::connect(&world.egret, Some(&session), &world.target(HOSTS[0])).0;
    let record = refusal::expect_denied(&world.egret, &answer, 403, "denied_host");
    assert_eq!(record.text("rule"), "closed");
    let file = world.egret.folder().join("policies/policy-0.yaml");
    let told = world.egret.run(&["policy", "check", file.to_str().unwrap()], "");
    let told = format!("{}{}", String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    assert!(told.contains("EG0040") && told.contains("`hidden` never decides"), "{told}");
}

/// The standard output of a command, and whether it succeeded.
fn said(egret: &Egret, args: &[&str]) -> (String, bool) {
    let output = egret.run(args, "");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

#[test]
fn from_what_was_recorded_to_a_policy_that_enforces() {
    let world =
        world_of("policy: live\nrules:\n  - id: all\n    allow: {host: \"*.origin.test\", port: PORT, LOCAL}\n");
    let session = world.egret.session(&["live"], &[]);
    for path in ["/items/1", "/items/2", "/about?q=secret"] {
        assert_eq!(get(&world, &session, HOSTS[0], path).status, 200);
    }
    let egret = &world.egret;
    let (proposed, ok) = said(egret, &["policy", "propose", "--since", "1h", "--name", "next"]);
    assert!(ok && proposed.contains("\"/items/*\"") && !proposed.contains("secret"), "{proposed}");
    let file = egret.folder().join("next.yaml");
    fs::write(&file, &proposed).unwrap();
    let file = file.to_str().unwrap();
    assert!(said(egret, &["policy", "check", "--coverage", "--fail-under", "100", file]).1);
    assert!(said(egret, &["policy", "fmt", "--check", file]).1);
    let target = world.target(HOSTS[0]);
    let explain = |method: &str, path: &str| {
        said(
            egret,
            &["policy", "explain", "--policy", file, "--format", "json", method, &format!("https://{target}{path}")],
        )
    };
    let (allowed, ok) = explain("GET", "/items/9");
    assert!(ok && allowed.contains("next.yaml"), "{allowed}");
    let (refused, ok) = explain("POST", "/items/9");
    assert!(!ok && refused.contains("denied_method"), "{refused}");
    let (replayed, ok) = said(egret, &["policy", "replay", "--since", "1h", "--fail-on-flip", file]);
    assert!(ok && replayed.starts_with("0 of 3 recorded requests"), "{replayed}");
    fs::copy(file, egret.folder().join("policies/next.yaml")).unwrap();
    let session = wait::until("the policy is in force", || {
        let output = egret.run(&["session", "create", "--policy", "next", "--format", "json"], "");
        output.status.success().then(|| egret_tests::egret::parse_session(&String::from_utf8_lossy(&output.stdout)))
    });
    assert_eq!(get(&world, &session, HOSTS[0], "/items/77").status, 200);
    refusal::expect_denied(egret, &get(&world, &session, HOSTS[0], "/else"), 403, "denied_path");
    // The very answer that was explained is given on the wire.
    let post = format!("POST /items/9 HTTP/1.1\r\nHost: {target}\r\nContent-Length: 0\r\n\r\n");
    refusal::expect_denied(egret, &client::request(egret, &session, &target, &post), 403, "denied_method");
}

#[test]
fn a_change_of_policies_is_a_gate_in_a_pipeline() {
    let world = world_of("policy: live\nrules: []\n");
    let egret = &world.egret;
    let write = |name: &str, text: &str| {
        let path = egret.folder().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let old = write(
        "old.yaml",
        "policy: p\nrules:\n  - {id: r, allow: {host: a.example.com, methods: [GET, HEAD]}, use: [key]}\n",
    );
    let new = write(
        "new.yaml",
        "policy: p\nrules:\n  - {id: r, allow: {host: a.example.com, methods: [GET, POST]}, use: [key]}\n",
    );
    let (words, ok) = said(egret, &["policy", "diff", "--fail-if-wider", &old, &new]);
    assert!(!ok && words.contains("adds POST") && words.contains("removes HEAD"), "{words}");
    let narrow = write(
        "narrow.yaml",
        "policy: p\nrules:\n  - {id: r, allow: {host: a.example.com, methods: [GET]}, use: [key]}\n",
    );
    assert!(said(egret, &["policy", "diff", "--fail-if-wider", &old, &narrow]).1);

    let broken = write(
        "broken.yaml",
        "policy: p\nrules:\n  - {id: r, allow: {host: *.example.com}}\n  - {id: r, allow: {host: b.example.com, path: x}}\n",
    );
    let check = |format: &str| said(egret, &["policy", "check", "--format", format, &broken]);
    for format in ["json", "sarif"] {
        let (text, ok) = check(format);
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(!ok && document.to_string().contains("EG0003") && document.to_string().contains("EG0022"), "{text}");
    }
    let (annotations, _) = check("github");
    assert!(annotations.lines().all(|line| line.starts_with("::error ")), "{annotations}");
    assert!(check("junit").0.starts_with("<?xml"));
    let outside = said(egret, &["policy", "check", "--audience", "key=b.example.com", &narrow]).0;
    assert!(outside.contains("EG0045"), "{outside}");
    assert!(said(egret, &["policy", "explain", "EG0012"]).0.contains("EG0012"));
    let schema: serde_json::Value = serde_json::from_str(&said(egret, &["policy", "schema"]).0).unwrap();
    assert!(schema["$schema"].is_string());
    let made = said(egret, &["policy", "new", "github-org-read", "--set", "org=acme"]).0;
    let made = write("made.yaml", &made);
    assert!(said(egret, &["policy", "check", &made]).1);
}
