//! What bounds a session's use of a credential: uses, time, methods, tool calls, and its being taken away.

use std::sync::Arc;

use egret_tests::canary::Canary;
use egret_tests::client::{self, Answer, Wire};
use egret_tests::egret::Session;
use egret_tests::records::Record;
use egret_tests::shared::Shared;
use egret_tests::{control, refusal};
use serde_json::{Value, json};

use crate::world::World;

static SHARED: Shared<Grants> = Shared::new();

const POLICY: &str =
    "policy: grants\nrules:\n  - id: api\n    allow: {host: api.origin.test, port: PORT, LOCAL}\n    use: [token]\n";

struct Grants {
    world: World,
    token: Canary,
    target: String,
}

impl Grants {
    fn new() -> Self {
        let world = World::new(&["api.origin.test"], &[POLICY], |setup| setup);
        let target = world.target("api.origin.test");
        let token = world.egret.put("token", &["--kind", "bearer", "--env", "TOKEN", "--audience", &target]);
        Self { world, token, target }
    }

    fn session(&self, credential: &str) -> Session {
        self.world.egret.session(&["grants"], &[credential])
    }

    fn get(&self, session: &Session, path: &str) -> Answer {
        client::get_with(&self.world.egret, session, &self.target, path, "")
    }

    /// What the origin got as Authorization.
    fn sent(&self, path: &str) -> Option<String> {
        self.world.origin.seen_once(path).value("authorization")
    }

    /// A download with the credential, of which the first event came.
    fn download(&self, session: &Session, gate: &str) -> Wire {
        let (answer, wire) = client::connect(&self.world.egret, Some(session), &self.target);
        assert_eq!(answer.status, 200);
        let config = client::client_config(&self.world.egret, &["http/1.1"]);
        let mut wire = wire.start_tls(config, "api.origin.test").unwrap();
        wire.send(format!("GET /gated/{gate} HTTP/1.1\r\nHost: {}\r\n\r\n", self.target));
        wire.read_until("data: first\n\n\r\n");
        wire
    }

    /// When and why a download ended.
    fn ended(&self, gate: &str) -> Record {
        let path = format!("/gated/{gate}");
        let record = self.world.egret.record_where("the end of a download", |record| {
            record.text("path") == path && record.text("kind") == "exchange.closed"
        });
        assert_eq!(
            (record.text("outcome").as_str(), record.text("code").as_str()),
            ("aborted", "credential_unavailable")
        );
        record
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = control::call(&self.world.egret, method, path, body);
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }
}

fn micros(time: &str) -> i64 {
    time.parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

fn grants() -> Arc<Grants> {
    SHARED.get(Grants::new)
}

#[test]
fn a_grant_by_uses_is_spent() {
    let it = grants();
    let session = it.session("token,uses=2");
    for path in ["/uses-1", "/uses-2"] {
        assert_eq!(it.get(&session, path).status, 200);
        assert_eq!(it.sent(path), Some(format!("Bearer {}", it.token.value())));
    }
    let answer = it.get(&session, "/uses-3");
    refusal::expect_denied(&it.world.egret, &answer, 429, "budget_exhausted");
    let field = format!("Authorization: Bearer {}\r\n", session.placeholder("TOKEN"));
    let answer = client::get_with(&it.world.egret, &session, &it.target, "/uses-3", &field);
    refusal::expect_denied(&it.world.egret, &answer, 429, "budget_exhausted");
    it.world.origin.assert_saw_nothing_of("/uses-3");
    let shown = it.world.egret.ok(&["session", "show", &session.id], "");
    assert!(shown.contains("token (used 2 of 2)"), "{shown}");
}

#[test]
fn a_grant_by_methods_leaves_other_requests_without() {
    let it = grants();
    let session = it.session("token,methods=POST+PUT");
    assert_eq!(it.get(&session, "/method-get").status, 200);
    assert_eq!(it.sent("/method-get"), None);
    let field = format!("Authorization: Bearer {}\r\n", session.placeholder("TOKEN"));
    let answer = client::get_with(&it.world.egret, &session, &it.target, "/method-swap", &field);
    refusal::expect_denied(&it.world.egret, &answer, 403, "placeholder_misplaced");
}

#[test]
fn a_grant_by_time_ends_and_cuts_what_streams() {
    let it = grants();
    let session = it.session("token,for=2s");
    let mut wire = it.download(&session, "grant-time");
    let ended = it.ended("grant-time");
    let shown = it.call("GET", &format!("/v1/sessions/{}", session.id), &Value::Null);
    let end = micros(shown["created"].as_str().unwrap()) + 2_000_000;
    let late = micros(&ended.text("time")) - end;
    assert!((0..1_000_000).contains(&late), "cut {late} microseconds after the grant's end");
    assert!(wire.is_closed());
    let answer = it.get(&session, "/time-over");
    let record = refusal::expect(&it.world.egret, &answer, 502, "credential_unavailable");
    assert!(refusal::problem(&answer).to_string().contains("the time for which"), "{}", record.0);
    it.world.origin.assert_saw_nothing_of("/time-over");
}

#[test]
fn a_grant_by_the_tool_call_ends_with_it() {
    let it = grants();
    let session = it.session("token,per=tool_call,uses=2");
    let answer = it.get(&session, "/call-none");
    refusal::expect(&it.world.egret, &answer, 502, "credential_unavailable");
    let calls = format!("/v1/sessions/{}/tool_calls", session.id);
    it.call("POST", &calls, &json!({"id": "one", "tool": "bash"}));
    assert_eq!(it.get(&session, "/call-one").status, 200);
    assert_eq!(it.sent("/call-one"), Some(format!("Bearer {}", it.token.value())));
    let mut wire = it.download(&session, "grant-call");
    let answer = it.get(&session, "/call-spent");
    refusal::expect_denied(&it.world.egret, &answer, 429, "budget_exhausted");
    it.call("POST", &format!("{calls}/one/end"), &json!({}));
    let end = it.world.egret.record_where("the call's end", |record| {
        record.text("kind") == "tool_call.ended" && record.text("session") == session.id
    });
    let late = micros(&it.ended("grant-call").text("time")) - micros(&end.text("time"));
    assert!(late < 1_000_000, "cut {late} microseconds after the call's end");
    assert!(wire.is_closed());
    it.call("POST", &calls, &json!({"id": "two", "tool": "bash"}));
    assert_eq!(it.get(&session, "/call-two").status, 200);
    for path in ["/call-none", "/call-spent"] {
        it.world.origin.assert_saw_nothing_of(path);
    }
}

#[test]
fn a_credential_that_is_taken_from_a_session_is_gone_at_once() {
    let it = grants();
    let (session, other) = (it.session("token"), it.session("token"));
    let mut wire = it.download(&session, "grant-revoked");
    it.world.egret.ok(&["session", "revoke", &session.id, "token"], "");
    let revoked = it.world.egret.record_where("the revocation", |record| {
        record.text("kind") == "session.changed" && record.text("session") == session.id
    });
    assert!(revoked.text("credentials").contains("token"), "{}", revoked.0);
    let late = micros(&it.ended("grant-revoked").text("time")) - micros(&revoked.text("time"));
    assert!(late < 1_000_000, "cut {late} microseconds after the revocation");
    assert!(wire.is_closed());
    assert_eq!(it.get(&session, "/revoked").status, 200);
    assert_eq!(it.sent("/revoked"), None);
    let field = format!("Authorization: Bearer {}\r\n", session.placeholder("TOKEN"));
    let answer = client::get_with(&it.world.egret, &session, &it.target, "/revoked-swap", &field);
    refusal::expect(&it.world.egret, &answer, 502, "credential_unavailable");
    assert_eq!(it.get(&other, "/not-revoked").status, 200);
    assert!(it.sent("/not-revoked").is_some());
}

#[test]
fn bounds_that_make_no_sense_are_refused_with_what_would() {
    let it = grants();
    for (credential, words) in [
        ("token,uses=0", "must be at least 1"),
        ("token,uses=many", "not a number of uses"),
        ("token,for=soon", "write for example 90s"),
        ("token,methods=get", "upper case"),
        ("token,per=day", "write session or tool_call"),
        ("token,often=yes", "write uses=10"),
    ] {
        let output = it.world.egret.run(&["session", "create", "--policy", "grants", "--credential", credential], "");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(words), "{credential}: {said}");
    }
}
