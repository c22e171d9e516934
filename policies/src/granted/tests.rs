//! What a request is refused for after its rules: in the order of the data path, with values.

use model::{Destination, RequestPath, Timestamp};

use super::*;
use crate::{PolicySource, compile};

const POLICY: &str = "policy: p
rules:
  - id: both
    allow: {host: both.example.com}
    use: [work, home]
  - id: odd
    allow: {host: odd.example.com}
    use: [low, dash, outside, body]
  - id: set
    allow: {host: set.example.com}
    use: [team]
    set: {X_Team: fixed}
  - id: inner
    allow: {host: inner.example.com}
    addresses: [10.0.0.0/30]
  - id: unread
    allow: {host: unread.example.com}
    tls: pass-through
    until: 2100-01-01
";

fn around() -> Surroundings {
    let facts = |audience: &str, location: Option<&str>| CredentialFacts {
        audience: vec![audience.to_owned()],
        location: location.map(str::to_owned),
    };
    let credentials = [
        ("work", facts("**.example.com", Some("header authorization"))),
        ("home", facts("both.example.com", Some("header authorization"))),
        ("low", facts("**.example.com", Some("header x_key"))),
        ("dash", facts("**.example.com", Some("header x-key"))),
        ("outside", facts("odd.example.com:8443", Some("header x-key"))),
        ("team", facts("**.example.com", Some("header x-team"))),
        ("body", facts("**.example.com", None)),
    ];
    Surroundings {
        credentials: credentials.map(|(name, facts)| (name.into(), facts)).into(),
        is_complete: true,
        resolve: [("inner.example.com", [10, 0, 0, 7]), ("unread.example.com", [10, 0, 0, 1])]
            .map(|(name, address)| (name.to_owned(), address.into()))
            .into(),
    }
}

fn usable(names: &[&str]) -> Grants {
    let credentials = names.iter().map(|name| ((*name).into(), GrantState::Usable)).collect();
    Grants { is_running: true, credentials }
}

/// Verdict, code and detail of a GET.
fn explained(url: &str, websocket: bool, around: &Surroundings, grants: &Grants) -> (Verdict, Option<Reason>, String) {
    let set = compile(&[PolicySource { name: "p.yaml".into(), text: POLICY.into() }]).unwrap();
    let rules = set.rules_for_policies(&["p".into()]).unwrap();
    let (destination, path): (Destination, RequestPath) = crate::read_url(url).unwrap();
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let question = Question { destination: &destination, method: "GET", path: &path, websocket, tool: None, now };
    let explanation = rules.explain(&question).with_grants(&question, around, grants);
    let explanation = explanation.with_address(&rules, &question, around);
    let decision = &explanation.decision;
    assert_eq!(explanation.given.is_some(), matches!(decision.verdict, Verdict::Allow | Verdict::Observe));
    assert_eq!(explanation.to_json()["code"], serde_json::json!(decision.code.map(Reason::code)));
    assert_eq!(explanation.to_json()["detail"], serde_json::json!(explanation.detail));
    (decision.verdict, decision.code, explanation.detail.clone().unwrap_or_default())
}

fn code(url: &str, grants: &Grants) -> Option<Reason> {
    explained(url, false, &around(), grants).1
}

#[test]
fn two_credentials_of_one_location_are_a_conflict_for_a_session_that_has_both() {
    let conflict = explained("https://both.example.com/", false, &around(), &usable(&["work", "home"]));
    let detail = "rule `both` uses `work` and `home` in one location; send the placeholder of one of them there, grant the session only one, or write a rule for each";
    assert_eq!(conflict, (Verdict::Deny, Some(Reason::CredentialConflict), detail.to_owned()));
    for one in [&["work"][..], &["home"], &[]] {
        assert_eq!(
            explained("https://both.example.com/", false, &around(), &usable(one)),
            (Verdict::Allow, None, String::new())
        );
    }
    // Names that some servers read alike are one location; a host outside of an audience, and bodies, are none.
    assert_eq!(code("https://odd.example.com/", &usable(&["low", "dash"])), Some(Reason::CredentialConflict));
    assert_eq!(code("https://odd.example.com/", &usable(&["dash", "outside", "body"])), None);
}

#[test]
fn a_credential_that_the_grant_keeps_back_is_in_no_conflict() {
    let with = |state: GrantState| {
        let mut grants = usable(&["work", "home"]);
        grants.credentials.insert("home".into(), state);
        grants
    };
    assert_eq!(code("https://both.example.com/", &with(GrantState::OtherMethod)), None);
    assert_eq!(code("https://both.example.com/", &with(GrantState::Expired)), Some(Reason::CredentialConflict));
    let spent = with(GrantState::Refused(Reason::BudgetExhausted, "it is spent".to_owned()));
    let refused = (Verdict::Deny, Some(Reason::BudgetExhausted), "credential `home`: it is spent".to_owned());
    assert_eq!(explained("https://both.example.com/", false, &around(), &spent), refused);
    let idle = Grants { is_running: false, ..usable(&["work", "home"]) };
    assert_eq!(code("https://both.example.com/", &idle), None);
}

#[test]
fn what_else_keeps_a_credential_from_a_request_refuses_it() {
    let mut expired = usable(&[]);
    expired.credentials.insert("work".into(), GrantState::Expired);
    assert_eq!(code("https://both.example.com/", &expired), Some(Reason::CredentialUnavailable));
    assert_eq!(code("https://set.example.com/", &usable(&["team"])), Some(Reason::CredentialConflict));
    assert_eq!(code("https://set.example.com/", &usable(&[])), None);
    let mut gone = around();
    gone.credentials.remove("work");
    let missing = |around: &Surroundings| explained("https://both.example.com/", false, around, &usable(&["work"])).1;
    assert_eq!(missing(&gone), Some(Reason::CredentialUnavailable));
    gone.is_complete = false;
    assert_eq!(missing(&gone), None, "the vault was not asked");
    let upgrade = explained("https://both.example.com/", true, &around(), &usable(&[]));
    assert_eq!(upgrade.1, Some(Reason::DeniedUpgrade));
}

#[test]
fn an_address_that_is_known_and_may_not_be_dialed_refuses_the_request() {
    let named = explained("https://inner.example.com/", false, &around(), &usable(&[]));
    let detail =
        "`upstream.resolve` gives 10.0.0.7 for `inner.example.com`, which `addresses` of the rule do not cover";
    assert_eq!(named, (Verdict::Deny, Some(Reason::DeniedAddress), detail.to_owned()));
    let unread = explained("https://unread.example.com/", false, &around(), &usable(&[]));
    let detail = "`upstream.resolve` gives 10.0.0.1 for `unread.example.com`, which is not globally routable; the rule has no `addresses`";
    assert_eq!(unread, (Verdict::Deny, Some(Reason::DeniedAddress), detail.to_owned()));
    assert_eq!(explained("https://inner.example.com/", false, &Surroundings::default(), &usable(&[])).1, None);
    // What no rule allows stays what it is.
    assert_eq!(code("https://other.example.com/", &usable(&["work", "home"])), Some(Reason::DeniedHost));
}

#[test]
fn a_session_that_is_refused_is_told_from_a_rule_that_denies() {
    let set = compile(&[PolicySource { name: "p.yaml".into(), text: POLICY.into() }]).unwrap();
    let rules = set.rules_for_policies(&["p".into()]).unwrap();
    let text = |url: &str| {
        let (destination, path): (Destination, RequestPath) = crate::read_url(url).unwrap();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let (method, websocket, tool) = ("GET", false, None);
        let question = Question { destination: &destination, method, path: &path, websocket, tool, now };
        rules.explain(&question).refuse(Reason::SessionInvalid, "the session has ended").decision.to_string()
    };
    let allowed = "deny (session_invalid); the rules would allow it by rule `both` of policy `p` (p.yaml:3)";
    assert_eq!(text("https://both.example.com/"), allowed);
    assert_eq!(text("https://other.example.com/"), "deny (session_invalid); no rule would allow it");
}
