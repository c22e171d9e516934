//! How often credentials were attached to requests, and when last, as `egret vault` prints it.

use egret_tests::client;
use serde_json::Value;

use crate::world::World;

const POLICY: &str = "policy: uses\nrules:\n  - id: api\n    allow: {host: api.origin.test, port: PORT, LOCAL}\n    use: [used]\n  - id: bare\n    allow: {host: bare.origin.test, port: PORT, LOCAL}\n";

/// `uses` and `last_used` of a credential, as `show` and as `list` tell them.
fn told(world: &World, name: &str) -> (Value, Value) {
    let shown: Value = serde_json::from_str(&world.egret.ok(&["vault", "show", name, "--format", "json"], "")).unwrap();
    let listed: Value = serde_json::from_str(&world.egret.ok(&["vault", "list", "--format", "json"], "")).unwrap();
    let listed = listed.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap();
    for field in ["uses", "last_used"] {
        assert_eq!(shown[field], listed[field], "{field} of {name}");
    }
    (shown["uses"].clone(), shown["last_used"].clone())
}

#[test]
fn uses_are_told_and_survive_restarts_and_a_lost_index() {
    let world = World::new(&["api.origin.test", "bare.origin.test"], &[POLICY], |setup| setup);
    let audience = [world.target("api.origin.test"), world.target("bare.origin.test")];
    let options = ["--kind", "bearer", "--audience", &audience[0], "--audience", &audience[1], "--env", "TOKEN"];
    world.egret.put("used", &options);
    world.egret.put("spare", &["--kind", "bearer", "--audience", &audience[0]]);
    let session = world.egret.session(&["uses"], &["used", "spare"]);
    assert_eq!(told(&world, "used"), (0.into(), Value::Null));
    let get = |host: &str, fields: &str| client::get_with(&world.egret, &session, host, "/uses", fields).status;
    for _ in 0..3 {
        assert_eq!(get(&audience[0], ""), 200);
    }
    // A rule without it, and a placeholder in a place that is not its own: nothing went out with the credential.
    assert_eq!(get(&audience[1], ""), 200);
    assert_eq!(get(&audience[0], &format!("Cookie: a={}\r\n", session.placeholder("TOKEN"))), 403);
    let opened: Vec<_> = world
        .egret
        .records()
        .into_iter()
        .filter(|record| record.text("kind") == "exchange.opened" && record.has("credentials"))
        .collect();
    assert_eq!(opened.len(), 3);
    let wanted = (Value::from(3), opened[2].text("time").parse::<jiff::Timestamp>().unwrap().to_string().into());
    assert_eq!(told(&world, "used"), wanted);
    assert_eq!(told(&world, "spare"), (0.into(), Value::Null));
    let table = world.egret.ok(&["vault", "list"], "");
    assert!(table.contains("LAST USED") && table.contains(wanted.1.as_str().unwrap()), "{table}");
    let facts = world.egret.ok(&["vault", "show", "spare"], "");
    assert!(facts.lines().any(|line| line.split_whitespace().eq(["last", "used", "never"])), "{facts}");

    world.egret.terminate();
    assert_eq!(told(&world, "used"), wanted, "without a sidecar");
    std::fs::remove_file(world.egret.data().join("index.db")).unwrap();
    assert_eq!(told(&world, "used"), wanted, "after the index was filled again");
    world.egret.launch();
    let shown: Value =
        serde_json::from_str(&world.egret.ok(&["session", "show", &session.id, "--format", "json"], "")).unwrap();
    let used: Vec<_> =
        shown["grants"].as_array().unwrap().iter().map(|grant| (&grant["name"], &grant["used"])).collect();
    assert_eq!(used, [(&Value::from("used"), &Value::from(3)), (&Value::from("spare"), &Value::from(0))]);
    let session = world.egret.session(&["uses"], &["used"]);
    assert_eq!(client::get_with(&world.egret, &session, &audience[0], "/uses", "").status, 200);
    assert_eq!(told(&world, "used").0, Value::from(4));
}
