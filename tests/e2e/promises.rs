//! The promises of the README, one test each: bytes pass unchanged, streams pass live, refusals explain themselves.

use std::sync::Arc;

use bytes::Bytes;
use egret_tests::canary::hex;
use egret_tests::client::{self, H2, Tunnel, Wire};
use egret_tests::origin::body;
use egret_tests::origin::script::{Script, Step};
use egret_tests::refusal;
use egret_tests::shared::Shared;
use http_body_util::Full;
use sha2::{Digest, Sha256};

use crate::world::World;

static WORLD: Shared<World> = Shared::new();

const POLICY: &str = r#"
policy: promises
description: What the tests of the promises may reach.
rules:
  - id: api
    allow: {host: ["api.origin.test", "h1.origin.test", "raw.origin.test"], port: PORT, LOCAL}
  - id: read-only
    allow: {host: reader.origin.test, port: PORT, methods: [GET, HEAD], LOCAL}
  - id: plain
    allow: {host: plain.origin.test, port: PLAIN, scheme: http, LOCAL}
  - id: never-delete
    deny: {host: api.origin.test, port: PORT, methods: [DELETE]}
    reason: Deleting is not allowed; ask a maintainer.
checks:
  - {request: GET https://reader.origin.test:PORT/a, expect: allow, rule: read-only}
  - {request: DELETE https://api.origin.test:PORT/a, expect: deny, rule: never-delete}
"#;

fn world() -> Arc<World> {
    let hosts = ["api.origin.test", "h1.origin.test", "raw.origin.test", "reader.origin.test", "plain.origin.test"];
    WORLD.get(|| {
        let world = World::new(&hosts, &[POLICY], |setup| setup);
        world.origin.protocols("h1.origin.test", &["http/1.1"]);
        world
    })
}

#[test]
fn a_download_is_the_same_bytes() {
    let world = world();
    let session = world.egret.session(&["promises"], &[]);
    let size = 3 * 1024 * 1024 + 17;
    for host in ["api.origin.test", "h1.origin.test"] {
        let target = world.target(host);
        for answer in [
            client::get(&world.egret, &session, &target, &format!("/sized/{size}")),
            H2::open(&world.egret, &session, &target).get(&target, &format!("/sized/{size}")).unwrap(),
        ] {
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("content-length"), Some(size.to_string()), "the framing is kept");
            assert_eq!(hex(&Sha256::digest(&answer.body)), body::generated_hash(size));
        }
    }
}

#[test]
fn an_upload_is_the_same_bytes() {
    let world = world();
    let session = world.egret.session(&["promises"], &[]);
    let bytes: Vec<u8> = body::generated(700_001).flatten().collect();
    let want = format!("{} {}\n", bytes.len(), hex(&Sha256::digest(&bytes)));
    for host in ["api.origin.test", "h1.origin.test"] {
        let target = world.target(host);
        let mut wire = Tunnel::to(&target).open(&world.egret, &session);
        wire.send(format!("POST /hash HTTP/1.1\r\nHost: {target}\r\nContent-Length: {}\r\n\r\n", bytes.len()));
        wire.send(&bytes);
        assert_eq!(wire.answer().text(), want, "{host} with a length");
        wire.send(format!("POST /hash HTTP/1.1\r\nHost: {target}\r\nTransfer-Encoding: chunked\r\n\r\n"));
        for piece in bytes.chunks(65_537) {
            wire.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
        }
        wire.send("0\r\n\r\n");
        assert_eq!(wire.answer().text(), want, "{host} in chunks");
        let request =
            http::Request::post(format!("https://{target}/hash")).body(Full::new(Bytes::from(bytes.clone()))).unwrap();
        assert_eq!(H2::open(&world.egret, &session, &target).send(request).unwrap().text(), want, "{host} over h2");
    }
}

#[test]
fn coded_bodies_pass_untouched_where_no_secret_is_used() {
    let world = world();
    let session = world.egret.session(&["promises"], &[]);
    let answer = client::get_with(
        &world.egret,
        &session,
        &world.target("api.origin.test"),
        "/gzip/x",
        "Accept-Encoding: gzip, zstd\r\nX-Api-Key: k\r\n",
    );
    assert_eq!(answer.header("content-encoding"), Some("gzip".to_owned()));
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&*answer.body), &mut text).unwrap();
    assert_eq!(text, "echo: k\n");
    assert_eq!(world.origin.seen_once("/gzip/x").value("accept-encoding"), Some("gzip, zstd".to_owned()));
}

#[test]
fn events_pass_live() {
    let world = world();
    let session = world.egret.session(&["promises"], &[]);
    for (number, host) in ["api.origin.test", "h1.origin.test"].into_iter().enumerate() {
        let target = world.target(host);
        let mut wire = Tunnel::to(&target).open(&world.egret, &session);
        wire.send(format!("GET /gated/live-{number} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
        // The second event is not even made before the first has arrived.
        wire.read_until("data: first\n\n");
        world.origin.open_gate(&format!("live-{number}"));
        wire.read_until("data: second\n\n");
    }
}

#[test]
fn answers_without_a_body() {
    let world = world();
    let session = world.egret.session(&["promises"], &[]);
    let target = world.target("h1.origin.test");
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!("HEAD /sized/1000 HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    let head = wire.answer_to("HEAD");
    assert_eq!((head.status, head.header("content-length")), (200, Some("1000".to_owned())));
    for status in [204, 304] {
        wire.send(format!("GET /status/{status} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
        assert_eq!(wire.answer().status, status);
    }
    wire.send(format!("GET /after HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    assert_eq!(wire.answer().status, 200, "the connection goes on");
}

#[test]
fn expect_continue_is_answered_after_the_decision() {
    let world = world();
    let session = world.egret.session(&["promises"], &[]);
    let target = world.target("api.origin.test");
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    let head = |method: &str| {
        format!("{method} /hash HTTP/1.1\r\nHost: {target}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    };
    wire.send(head("POST"));
    assert_eq!(wire.one_answer("POST").unwrap().status, 100);
    wire.send("hello");
    assert!(wire.answer().text().starts_with("5 2cf24dba"));
    wire.send(head("DELETE"));
    let refused = wire.one_answer("DELETE").unwrap();
    refusal::expect_denied(&world.egret, &refused, 403, "denied_method");
}

#[test]
fn an_early_answer_arrives_and_ends_the_connection() {
    let world = world();
    let session = world.egret.session(&["promises"], &[]);
    let target = world.target("h1.origin.test");
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!("POST /early HTTP/1.1\r\nHost: {target}\r\nContent-Length: 50000000\r\n\r\nonly this much"));
    assert_eq!(wire.answer().status, 413);
    assert!(wire.is_closed(), "what follows would be read as a body");
}

#[test]
fn a_cut_answer_does_not_look_finished() {
    let world = world();
    let session = world.egret.session(&["promises"], &[]);
    for head in ["Content-Length: 100\r\n\r\nshort", "Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n"] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{head}").into_bytes();
        world.origin.script("raw.origin.test", Script::new(vec![Step::Write(bytes), Step::Close]));
        let target = world.target("raw.origin.test");
        let mut wire = Tunnel::to(&target).open(&world.egret, &session);
        wire.send(format!("GET /cut HTTP/1.1\r\nHost: {target}\r\n\r\n"));
        let rest = String::from_utf8_lossy(&wire.rest()).into_owned();
        assert!(rest.starts_with("HTTP/1.1 200") && rest.contains("short"), "{rest}");
        assert!(!rest.ends_with("0\r\n\r\n"), "the cut body looks finished: {rest}");
        let record =
            world.egret.record_where("the record", |r| r.text("path") == "/cut" && r.text("kind") == "exchange.closed");
        assert_eq!(record.text("outcome"), "upstream_reset", "{}", record.0);
    }
}

#[test]
fn cleartext_requests_pass_by_their_own_rule() {
    let world = world();
    let session = world.egret.session(&["promises"], &[]);
    let plain = world.plain("plain.origin.test");
    let answer = client::absolute(&world.egret, &session, &format!("http://{plain}/clear?a=b"), &plain);
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = world.origin.seen_once("/clear?a=b");
    assert_eq!((seen.authority, seen.sni), (plain, None));
}

#[test]
fn a_refusal_says_which_rule_and_why() {
    let world = world();
    let session = world.egret.session(&["promises"], &[]);
    let target = world.target("api.origin.test");
    let answer =
        client::request(&world.egret, &session, &target, &format!("DELETE /x HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    let record = refusal::expect_denied(&world.egret, &answer, 403, "denied_method");
    let problem = refusal::problem(&answer);
    assert_eq!(problem["rule"], "never-delete");
    assert_eq!(problem["reason"], "Deleting is not allowed; ask a maintainer.");
    assert_eq!(problem["retry"], "never");
    assert_eq!((record.text("rule"), record.text("method")), ("never-delete".to_owned(), "DELETE".to_owned()));
    let target = world.target("reader.origin.test");
    let answer = client::request(
        &world.egret,
        &session,
        &target,
        &format!("POST /x HTTP/1.1\r\nHost: {target}\r\nContent-Length: 0\r\n\r\n"),
    );
    refusal::expect_denied(&world.egret, &answer, 403, "denied_method");
}

#[test]
fn a_session_without_policies_reaches_nothing() {
    let world = world();
    let session = world.egret.session(&[], &[]);
    let (answer, _) = client::connect(&world.egret, Some(&session), &world.target("api.origin.test"));
    refusal::expect_denied(&world.egret, &answer, 403, "denied_host");
}

#[test]
fn the_reserved_name_tells_what_may_be_reached() {
    let world = world();
    world
        .egret
        .put("told", &["--kind", "bearer", "--audience", &world.target("api.origin.test"), "--env", "TOLD_TOKEN"]);
    let session = world.egret.session(&["promises"], &["told"]);
    let answer = client::absolute(&world.egret, &session, "http://egret.internal/", "egret.internal");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("application/json")), "{answer:?}");
    let text = answer.text();
    for part in [&session.id, "reader.origin.test", "read-only", "TOLD_TOKEN"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let mut wire = Wire::open(&world.egret);
    wire.send("GET http://egret.internal/ HTTP/1.1\r\nHost: egret.internal\r\n\r\n");
    refusal::expect_denied(&world.egret, &wire.answer(), 407, "session_required");
}

#[test]
fn the_command_line_checks_policies() {
    let world = world();
    let file = world.egret.folder().join("policies/policy-0.yaml").display().to_string();
    world.egret.ok(&["policy", "check", &file], "");
    let broken = world.egret.folder().join("broken.yaml");
    std::fs::write(&broken, "policy: broken\nrules:\n  - id: x\n    allow: {host: *.example.com}\n").unwrap();
    let output = world.egret.run(&["policy", "check", &broken.display().to_string()], "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("broken.yaml:4"), "{said}");
    assert_eq!(world.egret.run(&["nonsense"], "").status.code(), Some(2));
}

#[test]
fn git_shows_why_it_was_refused() {
    let policy = "policy: git\nrules:\n  - id: read\n    allow: {host: git.origin.test, port: PORT, LOCAL}\n  - id: private\n    \
                  deny: {host: git.origin.test, port: PORT, path: /private/**}\n    reason: Ask the owners for access.\n";
    let world = World::new(&["git.origin.test"], &[policy], |setup| setup);
    let session = world.egret.session(&["git"], &[]);
    let url = format!("https://{}/private/x.git", world.target("git.origin.test"));
    let folder = tempfile::tempdir().unwrap();
    let mut git = std::process::Command::new(egret_tests::tools::program("git"));
    git.args(["ls-remote", &url]).current_dir(folder.path()).env_clear().envs(&session.env).env("HOME", folder.path());
    git.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("GIT_TERMINAL_PROMPT", "0");
    let output = egret_tests::tools::output(&mut git);
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    for line in [
        "remote: egret: The path is not allowed (denied_path)",
        "remote: Ask the owners for access.",
        "remote: rule: private",
    ] {
        assert!(shown.lines().any(|shown| shown.trim_end() == line), "{line} in {shown}");
    }
}
