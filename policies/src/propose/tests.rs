//! What a proposal allows, at each level.

use std::sync::Arc;

use model::{Destination, RequestPath};
use proptest::prelude::*;

use super::*;
use crate::question::Question;
use crate::rules::Rules;

fn seen(request: &str) -> Observation {
    let (method, rest) = request.split_once(' ').unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    Observation {
        time: "2026-11-20T10:00:00Z".parse().unwrap(),
        record: "rec_1".to_owned(),
        method: Some(method.to_owned()),
        scheme: Scheme::Https,
        host: Host::parse(host).unwrap(),
        port: 443,
        path: Some(path.to_owned()),
        tool: None,
        verdict: Verdict::Allow,
        code: None,
        rule: None,
        policy: None,
        credentials: Vec::new(),
        address: None,
    }
}

fn options(level: Level) -> ProposeOptions {
    ProposeOptions { name: "proposed".to_owned(), level, include_refused: false }
}

fn rules_for_policies(text: &str) -> Arc<Rules> {
    let set = compile(&[PolicySource { name: "p".to_owned(), text: text.to_owned() }]);
    let set = set.unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
    assert!(set.run_checks(Timestamp::UNIX_EPOCH).iter().all(|result| result.passed()), "{text}");
    set.rules_for_policies(&["proposed".into()]).unwrap()
}

fn allows(rules: &Arc<Rules>, one: &Observation) -> bool {
    let destination = Destination::new(one.scheme, one.host.clone(), one.port);
    let path = RequestPath::parse(one.path.as_deref().unwrap()).unwrap();
    let method = one.method.as_deref().unwrap();
    let now = Timestamp::UNIX_EPOCH;
    rules
        .authorize(&Question { destination: &destination, method, path: &path, websocket: false, tool: None, now })
        .is_ok()
}

#[test]
fn a_proposal_reads_like_a_policy() {
    let mut all: Vec<Observation> = [
        "GET api.example.com/repos/acme/site/issues/12",
        "GET api.example.com/repos/acme/site/issues/13",
        "POST api.example.com/repos/acme/site/issues",
        "GET pypi.org/simple/requests/",
    ]
    .map(seen)
    .into();
    all[2].credentials = vec!["github".into()];
    let mut refused = seen("CONNECT evil.example.org/");
    (refused.verdict, refused.code, refused.path) = (Verdict::Deny, Some("denied_host".to_owned()), None);
    all.push(refused);
    let mut unread = seen("GET git.example.com/");
    (unread.method, unread.path, unread.port) = (None, None, 22);
    unread.address = Some("10.1.2.3".parse().unwrap());
    all.push(unread);
    let text = propose(&all, &options(Level::Path));
    rules_for_policies(&text);
    insta::assert_snapshot!(text);
}

#[test]
fn hostile_records_open_nothing() {
    let all =
        ["GET api.example.com/**", "GET api.example.com/*", "*X api.example.com/a", "NO api.example.com/b"].map(seen);
    for level in [Level::Exact, Level::Path, Level::Folder] {
        let text = propose(&all, &options(level));
        let rules = rules_for_policies(&text);
        for other in ["GET api.example.com/secret", "GET api.example.com/x/y", "GET api.example.com/"] {
            assert!(!allows(&rules, &seen(other)), "{other}\n{text}");
        }
        assert!(allows(&rules, &seen("NO api.example.com/b")), "{text}");
    }
}

#[test]
fn secrets_in_paths_and_queries_stay_out_of_a_proposal() {
    let token = "Zm9vYmFyQmF6MTIzNDU2Nzg5";
    let mut all: Vec<Observation> = [
        format!("POST hooks.example.com/services/T0001/{token}"),
        "GET api.example.com/ghp_0123456789abcdefghij0123/user?access_token=s3cr3t".to_owned(),
    ]
    .map(|request| seen(&request))
    .into();
    let mut refused = seen(&format!("POST hooks.example.com/other/{token}"));
    (refused.verdict, refused.code) = (Verdict::Deny, Some("denied_path".to_owned()));
    all.push(refused);
    for level in [Level::Exact, Level::Path, Level::Folder, Level::Host] {
        let text = propose(&all, &options(level));
        let rules = rules_for_policies(&text);
        assert!(![token, "ghp_", "s3cr3t"].iter().any(|secret| text.contains(secret)), "{text}");
        assert!(all[..2].iter().all(|one| allows(&rules, one)), "{text}");
    }
    assert!(propose(&all, &options(Level::Exact)).contains("path: \"/services/T0001/*\""));
}

#[test]
fn three_names_of_one_domain_become_a_wildcard_and_of_a_service_not() {
    let owned = ["a", "b", "c"].map(|name| seen(&format!("GET {name}.cdn.example.com/x")));
    assert!(propose(&owned, &options(Level::Host)).contains("*.cdn.example.com"));
    let service = ["a", "b", "c"].map(|name| seen(&format!("GET {name}.github.io/x")));
    assert!(!propose(&service, &options(Level::Host)).contains('*'));
}

fn requests() -> impl Strategy<Value = Vec<Observation>> {
    requests_of("(/[a-c1-3]{0,2}|/[0-9a-f]{8}|/x%2f[ab]){1,3}")
}

fn requests_of(path: &'static str) -> impl Strategy<Value = Vec<Observation>> {
    let one = ("(GET|POST|PUT)", "(a|b|c|d)\\.(example\\.com|github\\.io)", path)
        .prop_map(|(method, host, path)| seen(&format!("{method} {host}{path}")));
    prop::collection::vec(one, 0..7)
}

proptest! {
    #[test]
    fn everything_seen_is_allowed_at_every_level(all in requests()) {
        for level in [Level::Exact, Level::Path, Level::Folder, Level::Host] {
            let text = propose(&all, &options(level));
            let rules = rules_for_policies(&text);
            let sayable = |one: &&Observation| level == Level::Host || paths::can_be_said(one.path.as_deref().unwrap());
            for one in all.iter().filter(sayable) {
                prop_assert!(allows(&rules, one), "{one:?}\n{text}");
            }
            let source = PolicySource { name: "p".to_owned(), text: text.clone() };
            prop_assert_eq!(fmt(&source).unwrap(), text);
        }
    }

    #[test]
    fn the_exact_level_allows_nothing_else(all in requests_of("(/[a-c1-3]{1,2}){1,3}"), other in requests()) {
        let rules = rules_for_policies(&propose(&all, &options(Level::Exact)));
        for one in &other {
            let known = all.iter().any(|seen| {
                seen.host == one.host && seen.method == one.method && seen.path == one.path
            });
            prop_assert!(known || !allows(&rules, one), "{one:?}");
        }
    }
}
