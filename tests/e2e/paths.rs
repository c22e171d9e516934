//! D: paths in every reading, and redirects.

use std::sync::Arc;

use egret_tests::client::{self, Answer, H2};
use egret_tests::egret::Session;
use egret_tests::origin::Seen;
use egret_tests::refusal;
use egret_tests::shared::Shared;

use crate::world::World;

static WORLD: Shared<World> = Shared::new();

const POLICY: &str = r#"
policy: paths
rules:
  - id: version-one
    allow: {host: api.origin.test, port: PORT, path: "/v1/*", LOCAL}
  - id: tree
    allow: {host: tree.origin.test, port: PORT, path: "/tree/**", LOCAL}
  - id: never-admin
    deny: {host: tree.origin.test, port: PORT, path: "/tree/admin/**"}
  - id: elsewhere
    allow: {host: elsewhere.origin.test, port: PORT, LOCAL}
  - id: start
    allow: {host: start.origin.test, port: PORT, LOCAL}
    use: [start]
"#;

fn world() -> Arc<World> {
    let hosts = ["api.origin.test", "tree.origin.test", "elsewhere.origin.test", "start.origin.test"];
    WORLD.get(|| {
        let world = World::new(&hosts, &[POLICY], |setup| setup);
        world.egret.put("start", &["--kind", "bearer", "--audience", &world.target("start.origin.test")]);
        world
    })
}

/// Sends a target over HTTP/1 and, where an HTTP/2 client can write it, over HTTP/2; both answers.
fn ask(world: &World, session: &Session, target: &str, path: &str) -> Vec<Answer> {
    let mut answers = vec![client::get(&world.egret, session, target, path)];
    if let Ok(uri) = format!("https://{target}{path}").parse::<http::Uri>() {
        let mut h2 = H2::open(&world.egret, session, target);
        answers.push(h2.send(http::Request::get(uri).body(http_body_util::Full::default()).unwrap()).unwrap());
    }
    answers
}

/// The answers refuse the path because parsers read it differently, and so do the records.
fn expect_ambiguous(world: &World, path: &str, answers: &[Answer]) {
    for answer in answers {
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
        let record = refusal::expect_denied(&world.egret, answer, 403, "denied_path");
        assert_eq!(record.text("detail"), "ambiguous", "{path}");
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem["class"], "ambiguous", "{path}");
    }
}

#[test]
fn t068_ambiguous_paths_are_refused() {
    let world = world();
    let session = world.egret.session(&["paths"], &[]);
    let target = world.target("api.origin.test");
    assert_eq!(client::get(&world.egret, &session, &target, "/v1/t068").status, 200);
    for path in [
        "/v1/../admin",
        "/v1/%2e%2e/admin",
        "/v1/.%2e/x",
        "/v1/..;/x",
        "/v1/%2f..%2fadmin",
        "/v1\\..\\admin",
        "/v1/%5c..",
        "/v1/%252e%252e/",
        "/v1/..",
        "/v1/%2e%2e",
        "/v1/./x",
        "/admin/../v2/x",
        "/v1/a%2fb",
    ] {
        expect_ambiguous(&world, path, &ask(&world, &session, &target, &format!("{path}?t068x")));
    }
    for path in ["/V1/x", "/v1"] {
        let answer = client::get(&world.egret, &session, &target, &format!("{path}?t068x"));
        refusal::expect_denied(&world.egret, &answer, 403, "denied_path");
    }
    world.origin.assert_saw_nothing_of("t068x");
}

#[test]
fn t204_what_servers_resolve_in_between_is_refused() {
    let world = world();
    let session = world.egret.session(&["paths"], &[]);
    let target = world.target("tree.origin.test");
    for path in [
        "/tree/acme/../evil/..%5cacme%5cq/../site",
        "/tree/a%2f..%2f..%2fevil",
        "/tree/a/..%252f..%252fevil",
        "/tree/x/..;a=b/../evil",
        "/tree/..%3f/evil",
        "/tree/%25%32%65%25%32%65/evil",
        "/tree//..//evil",
        "/tree/a%2f%2fb",
        "/tree/a;b/c%2fd",
        "/tree/a%0d%0ab",
        "/tree/a%2500",
        "/tree/%252525252525252e/x",
        "/tree/%EF%BC%8E%EF%BC%8E/evil",
    ] {
        expect_ambiguous(&world, path, &ask(&world, &session, &target, &format!("{path}?t204x")));
    }
    // Where no rule has a path, a path is bounded and not interpreted: it arrives byte for byte.
    let target = world.target("elsewhere.origin.test");
    for path in ["/t204/../evil/..%5cacme%5cq/../site", "/t204/%252e%252e/x", "/t204//..;/y%2f.."] {
        let answers = ask(&world, &session, &target, path);
        assert!(answers.iter().all(|answer| answer.status == 200), "{path}: {answers:?}");
        assert_eq!(world.origin.seen(path).len(), answers.len(), "{path} did not arrive byte for byte");
    }
    world.origin.assert_saw_nothing_of("t204x");
}

#[test]
fn t068_one_kind_alone_passes_under_one_rule_and_travels_as_sent() {
    let world = world();
    let session = world.egret.session(&["paths"], &[]);
    let target = world.target("tree.origin.test");
    for path in [
        "/tree/@scope%2fname",
        "/tree/@scope%2Fname",
        "/tree/a//b",
        "/tree/a;v=1/b",
        "/tree/%61%3Ab%20c",
        "/tree/a%3fb%23c",
        "/tree/a%252fb",
    ] {
        let answer = client::get(&world.egret, &session, &target, &format!("{path}?t068-as-sent"));
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let seen = world.origin.seen(&format!("{path}?t068-as-sent"));
        assert_eq!(seen.len(), 1, "{path} did not arrive byte for byte");
    }
    for path in [
        "/tree/%61dmin/y",
        "/tree//admin/y",
        "/tree/admin%2fy",
        "/tree/ADMIN/y",
        "/tree/admin/y%3fz",
        "/tree/admin;x/y",
    ] {
        let answer = client::get(&world.egret, &session, &target, path);
        let record = refusal::expect_denied(&world.egret, &answer, 403, "denied_path");
        assert_eq!(record.text("rule"), "never-admin", "{path}: a deny counts in any reading and case");
    }
}

#[test]
fn t069_broken_targets() {
    let world = world();
    let session = world.egret.session(&["paths"], &[]);
    let target = world.target("api.origin.test");
    for path in ["/v1/%", "/v1/%2", "/v1/%zz", "/v1/%c0%af", "/v1/%00", "/v1/x#y", "/v1/\u{e9}", "/v1/\"", "/v1/<"] {
        let answer = client::get(&world.egret, &session, &target, path);
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        refusal::expect_denied(&world.egret, &answer, 400, "bad_target");
    }
}

/// The requests that reached the host which the redirects name.
fn arrivals(world: &World, status: u16) -> Vec<Seen> {
    let mut seen = world.origin.seen(&format!("/t072-{status}"));
    seen.retain(|seen| seen.sni.as_deref() == Some("elsewhere.origin.test"));
    seen
}

#[test]
fn t072_redirects_are_the_clients() {
    let world = world();
    let session = world.egret.session(&["paths"], &["start"]);
    let elsewhere = world.target("elsewhere.origin.test");
    for status in [301, 302, 303, 307, 308] {
        let to = format!("https://{elsewhere}/t072-{status}");
        let answer = client::get(
            &world.egret,
            &session,
            &world.target("start.origin.test"),
            &format!("/redirect/{status}?to={to}"),
        );
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("location"), Some(to));
        assert!(arrivals(&world, status).is_empty(), "the proxy followed a redirect");
        // The client follows: judged again, and without the first host's secret.
        let answer = client::get(&world.egret, &session, &elsewhere, &format!("/t072-{status}"));
        assert_eq!(answer.status, 200);
        let [arrived] = &arrivals(&world, status)[..] else { panic!("the second request did not arrive once") };
        assert_eq!(arrived.value("authorization"), None);
    }
    assert!(world.origin.seen("/redirect/").iter().all(|seen| seen.value("authorization").is_some()));
}
