//! Rules that do not fit the vault, the configuration or each other: what the client, the record and the commands say.

use egret_tests::client::{self, Answer};
use egret_tests::egret::Session;
use egret_tests::refusal;
use serde_json::Value;

use crate::world::World;

const POLICY: &str = "policy: misfits
rules:
  - id: both
    allow: {host: both.origin.test, port: PORT, LOCAL}
    use: [work, home]
  - id: unknown
    allow: {host: unknown.origin.test, port: PORT, LOCAL}
    use: [acmee]
  - id: outside
    allow: {host: outside.origin.test, port: PORT, LOCAL}
    use: [work]
";
const HOSTS: [&str; 3] = ["both.origin.test", "unknown.origin.test", "outside.origin.test"];

fn get(world: &World, session: &Session, host: &str, path: &str, fields: &str) -> Answer {
    client::get_with(&world.egret, session, &world.target(host), path, fields)
}

#[test]
fn the_placeholder_decides_between_two_credentials_of_one_location() {
    let world = World::new(&HOSTS, &[POLICY], |setup| setup);
    let audience = world.target("both.origin.test");
    let work = world.egret.put("work", &["--kind", "bearer", "--env", "WORK", "--audience", &audience]);
    let home = world.egret.put("home", &["--kind", "bearer", "--env", "HOME_TOKEN", "--audience", &audience]);
    let both = world.egret.session(&["misfits"], &["work", "home"]);
    for (variable, value, path) in [("WORK", &work, "/work"), ("HOME_TOKEN", &home, "/home")] {
        let fields = format!("Authorization: Bearer {}\r\n", both.placeholder(variable));
        assert_eq!(get(&world, &both, "both.origin.test", path, &fields).status, 200);
        let sent = world.origin.seen_once(path).value("authorization");
        assert_eq!(sent.as_deref(), Some(format!("Bearer {}", value.value()).as_str()));
    }
    let answer = get(&world, &both, "both.origin.test", "/neither", "");
    let problem = refusal::problem(&answer);
    assert_eq!(
        problem["detail"],
        "rule `both` uses `work` and `home` in one location; send the placeholder of one of them there, grant the session only one, or write a rule for each"
    );
    assert_eq!((&problem["retry"], &problem["rule"]), (&Value::from("never"), &Value::from("both")));
    let record = refusal::expect(&world.egret, &answer, 403, "credential_conflict");
    assert_eq!(record.text("detail"), "rule `both` uses `work` and `home` in one location");
    let one = world.egret.session(&["misfits"], &["home"]);
    assert_eq!(get(&world, &one, "both.origin.test", "/one", "").status, 200);
    let sent = world.origin.seen_once("/one").value("authorization");
    assert_eq!(sent.as_deref(), Some(format!("Bearer {}", home.value()).as_str()));
}

#[test]
fn a_request_without_a_credential_of_its_rule_is_recorded_with_the_cause() {
    let world = World::new(&HOSTS, &[POLICY], |setup| setup);
    let audience = world.target("both.origin.test");
    world.egret.put("work", &["--kind", "bearer", "--env", "WORK", "--audience", &audience]);
    let session = world.egret.session(&["misfits"], &["work"]);
    let ungranted = world.egret.session(&["misfits"], &[]);
    for (session, host, detail) in [
        (&session, "unknown.origin.test", "without credential `acmee`: it is not in the vault"),
        (
            &session,
            "outside.origin.test",
            "without credential `work`: its audience does not include this host and port",
        ),
        (&ungranted, "both.origin.test", "without credential `work`: the session was not granted it"),
    ] {
        let answer = get(&world, session, host, "/without", "");
        assert_eq!(answer.status, 200, "{host}");
        let record = world.egret.record_where("the request", |record| {
            record.text("kind") == "exchange.closed" && record.text("host") == host
        });
        assert_eq!((record.text("outcome").as_str(), record.text("detail").as_str()), ("ok", detail));
    }
    let url = format!("https://{}/", world.target("unknown.origin.test"));
    let config = world.egret.config().display().to_string();
    let explained =
        world.egret.run(&["--config", &config, "policy", "explain", "--policy", "misfits", "GET", &url], "");
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(text.contains("warning: policy `misfits`: rule `unknown` uses `acmee`"), "{text} {explained:?}");
    let checked = world.egret.run(&["--config", &config, "policy", "check"], "");
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    for (code, rule) in [("EG0054", "unknown"), ("EG0045", "outside")] {
        assert!(text.contains(&format!("warning[{code}]: rule `{rule}` uses ")), "{text} {checked:?}");
    }
    assert!(world.egret.log().contains("rule `unknown` uses `acmee`"), "{}", world.egret.log());
}
