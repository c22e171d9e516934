//! Upstreams that are dialed before the first request of a tunnel.

use std::sync::Arc;

use egret_tests::client::{self, H2, Tunnel};
use egret_tests::egret::Session;
use egret_tests::shared::Shared;
use egret_tests::wait;

use crate::world::World;

static PRECONNECT: Shared<World> = Shared::new();
static USUAL: Shared<World> = Shared::new();

const HOSTS: [&str; 4] = ["one.origin.test", "two.origin.test", "mixed.origin.test", "idle.origin.test"];

const POLICY: &str = r#"
policy: preconnect
rules:
  - id: reachable
    allow: {host: ["one.origin.test", "two.origin.test", "idle.origin.test"], port: PORT, path: /v1/**, LOCAL}
  - id: here
    allow: {host: mixed.origin.test, port: PORT, path: /v1/**, LOCAL}
  - id: elsewhere
    allow: {host: mixed.origin.test, port: PORT, path: /v2/**}
    addresses: [192.0.2.0/24]
"#;

fn preconnect() -> Arc<World> {
    PRECONNECT.get(|| {
        let world = World::new(&HOSTS, &[POLICY], |setup| setup.upstream("preconnect: true"));
        world.origin.protocols("two.origin.test", &["h2"]);
        world
    })
}

fn session(world: &World) -> Session {
    world.egret.session(&["preconnect"], &[])
}

/// The kinds of the records of this session, in order, from its first tunnel on.
fn kinds(world: &World, session: &Session) -> Vec<String> {
    let records = world.egret.records();
    let own = records.iter().filter(|record| record.text("session") == session.id);
    own.map(|record| record.text("kind")).filter(|kind| !kind.starts_with("session.")).collect()
}

#[test]
fn the_first_request_takes_the_connection_that_was_preconnected() {
    let world = preconnect();
    for (host, path) in [("one.origin.test", "/v1/a"), ("mixed.origin.test", "/v1/a")] {
        let session = session(&world);
        let before = world.origin.connections(host).len();
        let answer = client::get(&world.egret, &session, &world.target(host), path);
        assert_eq!(answer.status, 200);
        assert_eq!(world.origin.connections(host).len(), before + 1, "{host}: one connection in all");
        wait::until("the record is closed", || {
            kinds(&world, &session).iter().any(|kind| kind == "exchange.closed").then_some(())
        });
        let dialed = &["upstream.dialed"][..usize::from(host == "one.origin.test")];
        assert_eq!(kinds(&world, &session), [dialed, &["exchange.opened", "exchange.closed"]].concat(), "{host}");
    }
    world.egret.verify();
}

#[test]
fn over_http2_the_connection_serves_all_requests_of_the_tunnel() {
    let (world, target) = (preconnect(), preconnect().target("two.origin.test"));
    let session = session(&world);
    let before = world.origin.connections("two.origin.test").len();
    let mut h2 = H2::open(&world.egret, &session, &target);
    assert!((0..3).all(|n| h2.get(&target, &format!("/v1/{n}")).unwrap().status == 200));
    let dialed = kinds(&world, &session).iter().filter(|kind| *kind == "upstream.dialed").count();
    assert_eq!((dialed, world.origin.connections("two.origin.test").len()), (1, before + 1));
}

#[test]
fn a_tunnel_without_a_request_leaves_one_record_and_nothing_of_a_request() {
    let world = preconnect();
    let (session, target) = (session(&world), world.target("idle.origin.test"));
    let wire = Tunnel::to(&target).open(&world.egret, &session);
    let connection = wait::until("the origin is dialed", || world.origin.connections("idle.origin.test").pop());
    drop(wire);
    assert_eq!(kinds(&world, &session), ["upstream.dialed"]);
    assert_eq!(connection.bytes(), 0, "no byte of a request");
}

#[test]
fn without_the_setting_a_denied_request_causes_no_contact() {
    let world = USUAL.get(|| World::new(&HOSTS, &[POLICY], |setup| setup));
    let (session, target) = (session(&world), world.target("one.origin.test"));
    assert_eq!(client::get(&world.egret, &session, &target, "/other").status, 403);
    let kinds =
        wait::until("the record is written", || Some(kinds(&world, &session)).filter(|kinds| !kinds.is_empty()));
    assert_eq!(kinds, ["exchange.closed"]);
    assert!(world.origin.connections("one.origin.test").is_empty());
}
