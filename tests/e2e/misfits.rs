//! Rules that do not fit the vault, the configuration or each other: what the client, the record and the commands say.

use egret_tests::client::{self, Answer};
use egret_tests::egret::{Egret, Session, Setup};
use egret_tests::{control, refusal};
use serde_json::{Value, json};

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
  - id: fixed
    allow: {host: fixed.origin.test, port: PORT, LOCAL}
    use: [team]
    set: {X-Team: fixed}
  - id: far
    allow: {host: far.origin.test, port: PORT}
";
const HOSTS: [&str; 5] =
    ["both.origin.test", "unknown.origin.test", "outside.origin.test", "fixed.origin.test", "far.origin.test"];

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

/// Whether the request passes, and its code, as `POST /v1/sessions/{id}/explain` gives them; as text and as JSON.
fn explained(world: &World, session: &Session, host: &str) -> (bool, Option<String>) {
    let url = format!("https://{}/explained", world.target(host));
    let path = format!("/v1/sessions/{}/explain", session.id);
    let (status, told) = control::call(&world.egret, "POST", &path, &json!({ "method": "GET", "url": url }));
    let (json, text) = (&told["explanation"], told["text"].as_str().unwrap());
    let code = json["code"].as_str().map(str::to_owned);
    let verdict = match &code {
        Some(code) if code == "session_invalid" => format!("\ndeny ({code}); the rules would allow it by rule"),
        Some(code) => format!("\ndeny ({code}) by rule"),
        None => "\nallow by rule".to_owned(),
    };
    assert!(status == 200 && text.contains(&verdict), "{told}");
    assert_eq!(json["decision"], if code.is_some() { "deny" } else { "allow" }, "{told}");
    let detail = json["detail"].as_str().unwrap_or_default();
    assert!(text.contains(detail) && detail.is_empty() == code.is_none(), "{told}");
    (told["passes"].as_bool().unwrap(), code)
}

#[test]
fn explain_gives_the_verdict_that_the_request_of_a_session_gets() {
    let world = World::new(&HOSTS, &[POLICY], |setup| setup);
    let (both, fixed) = (world.target("both.origin.test"), world.target("fixed.origin.test"));
    world.egret.put("work", &["--kind", "bearer", "--audience", &both]);
    world.egret.put("home", &["--kind", "bearer", "--audience", &both]);
    world.egret.put("team", &["--kind", "header", "--header", "X-Team", "--audience", &fixed]);
    world.egret.put("acmee", &["--kind", "bearer", "--audience", &world.target("unknown.origin.test")]);
    let all = world.egret.session(&["misfits"], &["work", "home", "team", "acmee"]);
    let one = world.egret.session(&["misfits"], &["home"]);
    let reading = world.egret.session(&["misfits"], &["work", "home,methods=POST"]);
    let spent = world.egret.session(&["misfits"], &["home,uses=1"]);
    assert_eq!(get(&world, &spent, "both.origin.test", "/spends", "").status, 200);
    let calling = world.egret.session(&["misfits"], &["home,per=tool_call"]);
    let none = world.egret.session(&["misfits"], &[]);
    world.egret.ok(&["vault", "rm", "acmee"], "");
    for (session, host, code) in [
        (&all, "both.origin.test", Some("credential_conflict")),
        (&one, "both.origin.test", None),
        (&none, "both.origin.test", None),
        (&reading, "both.origin.test", None),
        (&spent, "both.origin.test", Some("budget_exhausted")),
        (&calling, "both.origin.test", Some("credential_unavailable")),
        (&all, "fixed.origin.test", Some("credential_conflict")),
        (&one, "fixed.origin.test", None),
        (&all, "unknown.origin.test", Some("credential_unavailable")),
        (&none, "unknown.origin.test", None),
        (&all, "outside.origin.test", None),
        (&none, "far.origin.test", Some("denied_address")),
    ] {
        let answer = get(&world, session, host, "/explained", "");
        let got = (answer.status != 200).then(|| refusal::problem(&answer)["code"].as_str().unwrap().to_owned());
        assert_eq!(got.as_deref(), code, "{host}: {answer:?}");
        assert_eq!(explained(&world, session, host), (code.is_none(), got), "{host}");
    }
    world.egret.ok(&["session", "end", &none.id], "");
    let (answer, _) = client::connect(&world.egret, Some(&none), &both);
    refusal::expect(&world.egret, &answer, 407, "session_invalid");
    assert_eq!(explained(&world, &none, "both.origin.test"), (false, Some("session_invalid".to_owned())));
    // The command, also where it judges by a policy that is named.
    let (url, config) = (format!("https://{both}/"), world.egret.config().display().to_string());
    for more in [&["--format", "json"][..], &[], &["--policy", "misfits", "--config", &config]] {
        let explain = ["policy", "explain", "--session", &all.id, "GET", &url];
        let told = world.egret.run(&[&explain[..], more].concat(), "");
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(
            text.contains("credential_conflict") && text.contains("uses `work` and `home` in one location"),
            "{text}"
        );
        assert_eq!(told.status.code(), Some(1), "{more:?}: {told:?}");
    }
}

#[test]
fn a_fixed_address_that_the_rule_does_not_cover_is_recorded_with_the_setting() {
    let world = World::new(&HOSTS, &[POLICY], |setup| setup);
    let session = world.egret.session(&["misfits"], &[]);
    let answer = get(&world, &session, "far.origin.test", "/far", "");
    let record = refusal::expect_denied(&world.egret, &answer, 403, "denied_address");
    let told = ["detail", "host", "address", "policy", "rule"].map(|name| record.text(name));
    let detail = "upstream.resolve gives an address that the rule's `addresses` do not cover";
    assert_eq!(told, [detail, "far.origin.test", "127.0.0.1", "misfits", "far"]);
    world.origin.assert_saw_nothing_of("/far");
}

#[test]
fn policies_that_conflict_for_a_session_are_recorded_with_both_rules() {
    let web = "policy: web\nrules:\n  - id: web\n    allow: {host: both.origin.test, port: PORT, LOCAL}\n";
    let more = "policy: more\nrules:\n  - id: more\n    allow: {host: far.origin.test, port: PORT, LOCAL}\n";
    let world = World::new(&HOSTS, &[web, more], |setup| setup);
    let session = world.egret.session(&["web", "more"], &[]);
    assert_eq!(get(&world, &session, "both.origin.test", "/before", "").status, 200);
    world.egret.terminate();
    let file = world.egret.folder().join("policies/policy-1.yaml");
    let conflicting =
        crate::world::fill(&world.origin, &web.replace("web", "more").replace("LOCAL}", "LOCAL}\n    use: [k]"));
    std::fs::write(&file, conflicting).unwrap();
    world.egret.launch();
    let refused = |detail: &str| {
        let answer = get(&world, &session, "both.origin.test", "/conflict", "");
        let record = refusal::expect(&world.egret, &answer, 503, "policy_unavailable");
        assert_eq!((record.text("detail").as_str(), record.text("fault").as_str()), (detail, "egret"));
        assert!(!answer.text().contains("policy `more`"), "the client sees no rule: {}", answer.text());
    };
    refused(
        "rule `more` of policy `more` and rule `web` of policy `web` can match one request, rank equal and differ in what they give",
    );
    // One that is gone is named as well.
    world.egret.terminate();
    std::fs::remove_file(&file).unwrap();
    world.egret.launch();
    refused("policy `more` is not loaded");
    world.origin.assert_saw_nothing_of("/conflict");
}

/// Keys that this version accepts and does not enforce: a user sees each where files are checked, loaded and explained.
#[test]
fn keys_without_effect_are_reported_by_every_command() {
    let policy = "policy: waiting\nrules:\n  - id: deploy\n    ask: {host: deploy.example.com, methods: [POST]}\n    within: 10m\n  - {id: read, allow: {host: deploy.example.com, methods: [GET]}}\n";
    let egret = Egret::start(&Setup::default().policy(policy).config("audit: {retention: 90d}"));
    let why = "`within` has no effect yet: there are no approvals, so an `ask` rule refuses every request with 403 approval_required";
    let kept = "`audit.retention` has no effect yet: records are kept until someone removes them";
    let config = egret.config().display().to_string();
    let output = |args: &[&str]| {
        let output = egret.run(&[&["--config", &config], args].concat(), "");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let checked = output(&["policy", "check"]);
    assert!(checked.contains(&format!("warning[EG0060]: {why}")) && checked.contains(":5:13"), "{checked}");
    let explain = |method| {
        output(&["policy", "explain", "--policy", "waiting", method, "https://deploy.example.com/"])
            .lines()
            .filter(|line| line.starts_with("warning: "))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (asked, read) = (explain("POST"), explain("GET"));
    assert!(asked.len() == 1 && asked[0].contains(why) && asked[0].contains(", EG0060)"), "{asked:?}");
    assert_eq!(read, [""; 0]);
    let status = output(&["status"]);
    let log = egret.log();
    for text in [&status, &log] {
        assert!(text.contains(why) && text.contains(kept) && text.contains("(EG0060)"), "{text}");
    }
}
