//! What was recorded, judged by a candidate.

use egret_policies::{Observation, Verdict, replay};
use model::{CredentialId, Host, Scheme, Timestamp};

use crate::support::policy;

fn observation(path: &str, verdict: Verdict, code: Option<&str>) -> Observation {
    Observation {
        time: Timestamp::now(),
        record: format!("rec_{path}"),
        method: Some("GET".to_owned()),
        scheme: Scheme::Https,
        host: Host::parse("a.example").unwrap(),
        port: 443,
        path: Some(path.to_owned()),
        tool: None,
        verdict,
        code: code.map(str::to_owned),
        rule: None,
        policy: None,
        credentials: Vec::new(),
        address: None,
    }
}

#[test]
fn refusals_by_something_else_than_policies_are_no_changes() {
    let rules = policy("  - {id: all, allow: {host: a.example}}\n");
    let mut late = observation("/address", Verdict::Deny, Some("denied_address"));
    late.address = Some([10, 0, 0, 1].into());
    let mut all = vec![late, observation("/now", Verdict::Deny, Some("denied_path"))];
    let others = ["rate_limited", "budget_exhausted", "session_quota", "placeholder_misplaced", "denied_upgrade"];
    all.extend(others.map(|code| observation("/limit", Verdict::Deny, Some(code))));
    all.push(observation("/limit", Verdict::Allow, Some("upstream_timeout")));
    let found = replay(&all, &rules, Timestamp::now());
    assert_eq!((found.judged, found.refused_otherwise, found.changed.len()), (2, 6, 1));
    assert_eq!(found.changed[0].code.as_deref(), Some("denied_path"));
    let told = found.to_string();
    assert!(told.starts_with("deny (denied_path) -> allow  1 x GET https://a.example:443/now\n"), "{told}");
    assert!(told.contains("; 6 were refused by something other than policies"), "{told}");
}

#[test]
fn one_request_is_one_group_for_each_pair_of_codes() {
    let rules = policy("  - {id: other, allow: {host: b.example}}\n");
    let with = |name: &str| Observation {
        credentials: vec![CredentialId::new(name)],
        ..observation("/x", Verdict::Allow, None)
    };
    let all = [
        observation("/x", Verdict::Allow, None),
        with("one"),
        with("two"),
        observation("/x", Verdict::Observe, Some("denied_path")),
        observation("/x", Verdict::Observe, Some("denied_host")),
    ];
    let found = replay(&all, &rules, Timestamp::now());
    let groups: Vec<_> =
        found.changed.iter().map(|change| (change.before, change.code.as_deref(), change.count)).collect();
    assert_eq!(groups.len(), 3, "{groups:?}");
    assert_eq!(groups[0], (Verdict::Allow, None, 3));
    assert_eq!(found.changed[0].credentials_before.len(), 2);
}

#[test]
fn a_permit_to_pass_tls_through_covers_no_cleartext() {
    let rules = policy("  - {id: pinned, allow: {host: a.example}, tls: pass-through}\n");
    let over_http = Observation { scheme: Scheme::Http, port: 443, ..observation("/x", Verdict::Allow, None) };
    let all = [over_http, observation("/x", Verdict::Allow, None)];
    let found = replay(&all, &rules, Timestamp::now());
    let groups: Vec<_> = found.changed.iter().map(|change| (change.request.as_str(), change.after)).collect();
    assert_eq!(groups, [("GET http://a.example:443/x", Verdict::Deny)]);
}
