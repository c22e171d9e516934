//! Keys of the vault are replaced while requests go on.

use std::sync::atomic::{AtomicBool, Ordering};

use egret_tests::client;
use egret_tests::egret::Egret;
use serde_json::Value;

use crate::world::World;

const POLICY: &str =
    "policy: keys\nrules:\n  - id: api\n    allow: {host: api.origin.test, port: PORT, LOCAL}\n    use: [token]\n";

fn status(egret: &Egret) -> Value {
    serde_json::from_str(&egret.ok(&["vault", "status", "--format", "json"], "")).unwrap()
}

#[test]
fn keys_are_replaced_while_requests_go_on() {
    let world = World::new(&["api.origin.test"], &[POLICY], |setup| setup);
    let target = world.target("api.origin.test");
    let token = world.egret.put("token", &["--kind", "bearer", "--audience", &target]);
    let session = world.egret.session(&["keys"], &["token"]);
    let done = AtomicBool::new(false);
    let bearer = format!("Bearer {}", token.value());
    let sent = std::thread::scope(|scope| {
        let requests = scope.spawn(|| {
            let mut sent = 0;
            while !done.load(Ordering::Relaxed) {
                let path = format!("/keys-{sent}");
                assert_eq!(client::get_with(&world.egret, &session, &target, &path, "").status, 200, "{path}");
                assert_eq!(world.origin.seen_once(&path).value("authorization").as_ref(), Some(&bearer), "{path}");
                sent += 1;
            }
            sent
        });
        let passphrase = world.egret.folder().join("passphrase");
        std::fs::write(&passphrase, "correct horse battery staple\n").unwrap();
        let passphrase = passphrase.display().to_string();
        let key = world.egret.data().join("vault.key").display().to_string();
        for _ in 0..5 {
            world.egret.ok(&["vault", "rotate"], "");
        }
        world.egret.ok(&["vault", "rekey", "--passphrase-file", &passphrase], "");
        assert_eq!(status(&world.egret)["key"], "passphrase");
        world.egret.ok(&["vault", "rekey", "--key-file", &key], "");
        assert_eq!(status(&world.egret)["key"], "key file");
        done.store(true, Ordering::Relaxed);
        requests.join().unwrap()
    });
    assert!(sent > 5, "only {sent} requests beside the replacements");
}

#[test]
fn t080_no_value_is_opened_for_a_placeholder_astray() {
    let policy = "policy: keys\nrules:\n  - id: api\n    allow: {host: [api.origin.test, other.origin.test], port: PORT, LOCAL}\n    use: [token]\n";
    let world = World::new(&["api.origin.test", "other.origin.test"], &[policy], |setup| setup);
    let (target, other) = (world.target("api.origin.test"), world.target("other.origin.test"));
    world.egret.put("token", &["--kind", "cookie", "--cookie", "sid", "--env", "SID", "--audience", &target]);
    let session = world.egret.session(&["keys"], &["token"]);
    let placeholder = session.placeholder("SID");
    let opened = || status(&world.egret)["opened"].as_u64().unwrap();
    let before = opened();
    // The rule uses the credential at both hosts; the audience has one of them, and the cookie has one name.
    for (target, fields) in [
        (&other, format!("Cookie: sid={placeholder}\r\n")),
        (&other, format!("Authorization: Bearer {placeholder}\r\n")),
        (&target, format!("Cookie: other={placeholder}\r\n")),
        (&target, format!("X-Sid: {placeholder}\r\n")),
    ] {
        let answer = client::get_with(&world.egret, &session, target, "/t080", &fields);
        egret_tests::refusal::expect_denied(&world.egret, &answer, 403, "placeholder_misplaced");
    }
    assert_eq!(opened(), before);
    world.origin.assert_saw_nothing_of("t080");
    let fields = format!("Cookie: sid={placeholder}\r\n");
    assert_eq!(client::get_with(&world.egret, &session, &target, "/right", &fields).status, 200);
    assert!(opened() > before, "the count does not count");
}
