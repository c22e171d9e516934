//! The switches for an incident: all sessions ended by one command, and a start that refuses everything.

use egret_tests::client;
use egret_tests::refusal;

use crate::world::World;

const POLICY: &str = r#"
policy: switches
rules:
  - id: api
    allow: {host: api.origin.test, port: PORT, LOCAL}
  - id: plain
    allow: {host: plain.origin.test, port: PLAIN, scheme: http, LOCAL}
"#;

fn world() -> World {
    World::new(&["api.origin.test", "plain.origin.test"], &[POLICY], |setup| setup)
}

#[test]
fn deny_all_refuses_every_request_and_keeps_the_sessions() {
    let world = world();
    let session = world.egret.session(&["switches"], &[]);
    let target = world.target("api.origin.test");
    assert_eq!(client::get(&world.egret, &session, &target, "/hello").status, 200);
    world.egret.terminate();
    let before = world.origin.connections("api.origin.test").len();
    world.egret.launch_with(&["--deny-all"]);
    let (answer, _wire) = client::connect(&world.egret, Some(&session), &target);
    assert_eq!(answer.reason, "denied_all");
    refusal::expect_denied(&world.egret, &answer, 403, "denied_all");
    let host = world.plain("plain.origin.test");
    for (url, host) in [(format!("http://{host}/x"), &*host), ("http://egret.internal/".to_owned(), "egret.internal")] {
        let answer = client::absolute(&world.egret, &session, &url, host);
        refusal::expect_denied(&world.egret, &answer, 403, "denied_all");
    }
    let started = world.egret.record_where("the start", |record| {
        record.text("kind") == "sidecar.started" && record.text("code") == "denied_all"
    });
    assert_eq!(started.text("detail"), env!("CARGO_PKG_VERSION"));
    world.egret.terminate();
    assert_eq!(world.origin.connections("api.origin.test").len(), before);
    world.egret.launch();
    assert_eq!(client::get(&world.egret, &session, &target, "/hello").status, 200);
}

#[test]
fn one_command_ends_all_sessions_or_those_with_a_credential() {
    let world = world();
    world.egret.put("github", &["--kind", "bearer", "--audience", "api.origin.test"]);
    let with = world.egret.session(&["switches"], &["github"]);
    let without = world.egret.session(&["switches"], &[]);
    let target = world.target("api.origin.test");
    let ended = world.egret.ok(&["session", "end", "--all", "--credential", "github"], "");
    assert_eq!(ended, format!("{}\n", with.id));
    let status = |session| client::connect(&world.egret, Some(session), &target).0.status;
    assert_eq!((status(&with), status(&without)), (407, 200));
    assert_eq!(world.egret.ok(&["session", "end", "--all"], ""), format!("{}\n", without.id));
    assert_eq!(status(&without), 407);
    assert_eq!(world.egret.ok(&["session", "end", "--all"], ""), "");
    for args in
        [&["session", "end"][..], &["session", "end", "x", "--all"], &["session", "end", "x", "--credential", "github"]]
    {
        assert_eq!(world.egret.run(args, "").status.code(), Some(2), "{args:?}");
    }
}
