//! H: who is asking, and what one session has of another: nothing.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use egret_tests::canary::Canary;
use egret_tests::client::{self, Answer, H2, Tunnel, Wire};
use egret_tests::egret::Session;
use egret_tests::shared::Shared;
use egret_tests::{refusal, wait};

use crate::world::World;

static WORLD: Shared<World> = Shared::new();

const POLICY: &str = r#"
policy: sessions
rules:
  - id: api
    allow: {host: ["api.origin.test", "count.origin.test", "count-h1.origin.test"], port: PORT, LOCAL}
  - id: plain
    allow: {host: plain.origin.test, port: PLAIN, scheme: http, LOCAL}
"#;

fn world() -> Arc<World> {
    let hosts = ["api.origin.test", "count.origin.test", "count-h1.origin.test", "plain.origin.test"];
    WORLD.get(|| World::new(&hosts, &[POLICY], |setup| setup))
}

fn connect_with(world: &World, authorization: Option<&str>) -> Answer {
    let target = world.target("api.origin.test");
    let field = authorization.map(|value| format!("Proxy-Authorization: {value}\r\n")).unwrap_or_default();
    let mut wire = Wire::open(&world.egret);
    wire.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{field}\r\n"));
    wire.answer_to("CONNECT")
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[test]
fn t140_credentials_missing_or_wrong() {
    let world = world();
    for authorization in [
        None,
        Some("Basic !!!"),
        Some("Basic"),
        Some("Bearer x"),
        Some(&*format!("Basic {}", STANDARD.encode("nocolon"))),
    ] {
        let answer = connect_with(&world, authorization);
        assert_eq!(answer.status, 407, "{authorization:?}: {answer:?}");
        assert!(answer.header("proxy-authenticate").is_some_and(|v| v.starts_with("Basic")), "{answer:?}");
        refusal::expect_denied(&world.egret, &answer, 407, "session_required");
    }
    let running = world.egret.session(&["sessions"], &[]);
    let ended = world.egret.session(&["sessions"], &[]);
    world.egret.ok(&["session", "end", &ended.id], "");
    let expired = world.egret.session_with(&["sessions"], &[], &["--ttl", "1s"]);
    wait::until("the session to expire", || {
        (connect_with(&world, Some(&expired.authorization())).status == 407).then_some(())
    });
    let mut wrong = running.token.clone();
    let last = wrong.pop().unwrap();
    wrong.push(if last == 'a' { 'b' } else { 'a' });
    let cases = [
        basic(&running.id, &wrong),
        basic(&running.id, ""),
        basic("ses_00000000000000000000000000", &running.token),
        basic("", &running.token),
        ended.authorization(),
        expired.authorization(),
    ];
    let mut bodies = Vec::new();
    for authorization in &cases {
        let answer = connect_with(&world, Some(authorization));
        refusal::expect_denied(&world.egret, &answer, 407, "session_invalid");
        let mut problem = refusal::problem(&answer);
        problem["record"] = "one".into();
        bodies.push((problem, answer.header("proxy-status"), answer.reason));
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "the answers differ: {bodies:#?}");
    assert_eq!(connect_with(&world, Some(&running.authorization())).status, 200);
}

#[test]
fn t142_tokens_rest_as_hashes() {
    let world = world();
    let session = world.egret.session(&["sessions"], &[]);
    assert!(session.token.starts_with("egt_") && session.token.len() >= 4 + 43, "{} is short", session.token.len());
    let token = Canary::of(&session.token);
    token.assert_absent_below(&world.egret.data());
    let secret = Canary::of(session.token.trim_start_matches("egt_"));
    secret.assert_absent_below(&world.egret.data());
}

#[test]
fn t143_proxy_fields_stay_here() {
    let world = world();
    let session = world.egret.session(&["sessions"], &[]);
    let fields = format!(
        "Proxy-Authorization: {}\r\nProxy-Connection: keep-alive\r\nProxy-Anything: 1\r\nX-Kept: 1\r\n",
        session.authorization()
    );
    let target = world.target("api.origin.test");
    assert_eq!(client::get_with(&world.egret, &session, &target, "/t143-tunnel", &fields).status, 200);
    let plain = world.plain("plain.origin.test");
    let mut wire = Wire::open(&world.egret);
    wire.send(format!("GET http://{plain}/t143-plain HTTP/1.1\r\nHost: {plain}\r\n{fields}\r\n"));
    assert_eq!(wire.answer().status, 200);
    let mut h2 = H2::open(&world.egret, &session, &target);
    let request = http::Request::get(format!("https://{target}/t143-h2"))
        .header("proxy-authorization", session.authorization())
        .header("x-kept", "1")
        .body(http_body_util::Full::default())
        .unwrap();
    assert_eq!(h2.send(request).unwrap().status, 200);
    for mark in ["/t143-tunnel", "/t143-plain", "/t143-h2"] {
        let seen = world.origin.seen_once(mark);
        let proxy: Vec<_> = seen.headers.iter().filter(|(name, _)| name.to_lowercase().starts_with("proxy-")).collect();
        assert!(proxy.is_empty(), "{mark}: {proxy:?}");
        assert_eq!(seen.value("x-kept"), Some("1".to_owned()));
    }
    let token = STANDARD.encode(format!("{}:{}", session.id, session.token));
    assert!(!world.origin.saw(&token) && !world.origin.saw(&session.token), "the token went upstream");
}

/// The connections that the origin saw the requests of this session on.
fn connections_of(world: &World, session: &Session, host: &str, mark: &str) -> Vec<usize> {
    let target = world.target(host);
    for number in 0..3 {
        let answer = client::get(&world.egret, session, &target, &format!("/{mark}-{number}"));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    world.origin.seen(mark).iter().map(|seen| seen.connection).collect()
}

#[test]
fn t145_upstream_connections_are_not_shared() {
    let world = world();
    world.origin.protocols("count-h1.origin.test", &["http/1.1"]);
    for host in ["count.origin.test", "count-h1.origin.test"] {
        let (one, two) = (world.egret.session(&["sessions"], &[]), world.egret.session(&["sessions"], &[]));
        let first = connections_of(&world, &one, host, &format!("t145-one-{host}"));
        let second = connections_of(&world, &two, host, &format!("t145-two-{host}"));
        assert!(first.iter().all(|number| !second.contains(number)), "{host}: {first:?} and {second:?} share one");
    }
    // Within a session and a client connection, one is enough.
    let session = world.egret.session(&["sessions"], &[]);
    let target = world.target("count-h1.origin.test");
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    for number in 0..4 {
        wire.send(format!("GET /t145-kept-{number} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
        assert_eq!(wire.answer().status, 200);
    }
    let mut used: Vec<_> = world.origin.seen("t145-kept").iter().map(|seen| seen.connection).collect();
    used.dedup();
    assert_eq!(used.len(), 1, "four requests used connections {used:?}");
}

#[test]
fn t148_control_is_not_behind_the_proxy() {
    let world = world();
    let session = world.egret.session(&["sessions"], &[]);
    let port = world.egret.proxy().port();
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned();
    for host in ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]", "127.1", "[::]", &machine] {
        let target = format!("{host}:{port}");
        let (answer, _) = client::connect(&world.egret, Some(&session), &target);
        assert_eq!(answer.status, 403, "{target}: {answer:?}");
        refusal::expect_denied(&world.egret, &answer, 403, "denied_self");
        let answer = client::absolute(&world.egret, &session, &format!("http://{target}/v1/sessions"), &target);
        refusal::expect_denied(&world.egret, &answer, 403, "denied_self");
    }
    for url in ["http://unix%3A%2Fdata%2Fcontrol.sock/v1/sessions", "http+unix://control.sock/v1/sessions"] {
        let answer = client::absolute(&world.egret, &session, url, "control");
        assert_eq!(answer.status, 400, "{url}: {answer:?}");
    }
    // In origin form the listener is no server at all.
    let mut wire = Wire::open(&world.egret);
    wire.send("GET /v1/sessions HTTP/1.1\r\nHost: control\r\n\r\n");
    let answer = wire.answer();
    assert_eq!(answer.status, 407, "{answer:?}");
}

#[test]
fn t148_a_name_that_points_at_the_listener() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let rule = |scheme: &str| {
        format!(
            "  - id: {scheme}\n    allow: {{host: me.origin.test, port: {free}, scheme: {scheme}}}\n    addresses: [\"127.0.0.1/32\"]\n"
        )
    };
    let policy = format!("policy: self\nrules:\n{}{}", rule("http"), rule("https"));
    let world = World::new(&["me.origin.test"], &[&policy], |setup| setup.listening(free));
    let session = world.egret.session(&["self"], &[]);
    assert_eq!(world.egret.proxy().port(), free);
    let target = format!("me.origin.test:{free}");
    let answer = client::absolute(&world.egret, &session, &format!("http://{target}/"), &target);
    refusal::expect_denied(&world.egret, &answer, 403, "denied_self");
    let answer = client::get(&world.egret, &session, &target, "/");
    refusal::expect_denied(&world.egret, &answer, 403, "denied_self");
}
