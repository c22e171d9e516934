//! Exchanges in progress end with the rule that allowed them.

use std::time::Duration;

use egret_tests::client;
use egret_tests::egret::Session;

use crate::policies::{HOSTS, closing, download, rewrite, seconds, world_of};
use crate::world::World;

#[test]
fn t290_what_streams_ends_with_its_rule_though_another_rule_allows_the_same() {
    const WIDE: &str = "policy: live\nrules:\n  - id: wide\n    allow: {host: a.origin.test, port: PORT, LOCAL}\n";
    let narrow = |end: &str| {
        format!("{WIDE}  - id: narrow\n    allow: {{host: a.origin.test, port: PORT, path: /gated/**, LOCAL}}\n{end}")
    };
    let ended = |world: &World, session: &Session| {
        let cut = closing(&world.egret, "exchange.closed", session);
        let texts = ["outcome", "code", "detail", "rule"].map(|name| cut.text(name));
        assert_eq!(texts, ["aborted", "denied_path", "rule_ended", "narrow"], "{:?}", cut.0);
        let path = "/gated/t290-again";
        world.origin.open_gate("t290-again");
        assert_eq!(client::get(&world.egret, session, &world.target(HOSTS[0]), path).status, 200);
        cut
    };
    // By its time.
    let until = jiff::Timestamp::now() + Duration::from_secs(4);
    let world = world_of(&narrow(&format!("    until: \"{until}\"\n")));
    let session = world.egret.session(&["live"], &[]);
    let streaming = download(&world, &session, "t290-time");
    let late = seconds(&ended(&world, &session)) - until.as_microsecond() as f64 / 1e6;
    assert!((0.0..1.0).contains(&late), "terminated {late} s after the end");
    drop(streaming);
    // By a reload that removes it.
    let world = world_of(&narrow(""));
    let session = world.egret.session(&["live"], &[]);
    let streaming = download(&world, &session, "t290-reload");
    rewrite(&world, WIDE);
    ended(&world, &session);
    drop(streaming);
}
