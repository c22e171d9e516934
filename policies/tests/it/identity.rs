//! `set`, `client_auth` and `limits` of every rule that matches a request apply together.

use egret_policies::{AuthMode, CombineError, Permit, diff};
use model::Timestamp;

use crate::support::{answer, ask, codes, connect, policy, set};

fn permit(text: &str, request: &str) -> Permit {
    ask(&policy(text), request).unwrap()
}

fn headers(permit: &Permit) -> Vec<(String, String)> {
    permit.set().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn a_narrower_rule_sheds_no_restriction() {
    let text = "  - {id: wide, allow: {host: \"**.a.example\"}, set: {X-Team: blue}, limits: {request_body: 1KiB}, client_auth: refuse}\n  - {id: host, allow: {host: x.a.example}, limits: {request_body: 1MiB, concurrent: 2}}\n  - {id: exact, allow: {host: x.a.example, path: /v1/**}, set: {X-Other: 1}, client_auth: allow}\n";
    let narrow = permit(text, "GET https://x.a.example/v1/a");
    assert_eq!(narrow.rule().unwrap().as_str(), "exact");
    assert_eq!(headers(&narrow), [header("x-other", "1"), header("x-team", "blue")]);
    assert_eq!((narrow.limits().request_body, narrow.limits().concurrent), (Some(1024), Some(2)));
    let limited: Vec<String> = narrow.limited().map(|(policy, rule, _)| format!("{policy}/{rule}")).collect();
    assert_eq!(limited, ["p/host", "p/wide"]);
    for default in [AuthMode::Allow, AuthMode::Strip, AuthMode::Refuse] {
        assert_eq!(narrow.client_auth().mode(default), AuthMode::Refuse);
    }
    let other = permit(text, "GET https://y.a.example/v1/a");
    assert_eq!(headers(&other), [header("x-team", "blue")]);
    assert_eq!(other.limited().count(), 1);
}

#[test]
fn more_restricting_rules_than_are_stored_inline_all_apply() {
    let rules: String = (0..20)
        .map(|n| {
            format!(
                "  - {{id: r{n}, allow: {{host: a.example, path: /{}**}}, limits: {{request_body: {}}}}}\n",
                "x/".repeat(n),
                100 - n
            )
        })
        .collect();
    let permit = permit(&rules, &format!("GET https://a.example/{}end", "x/".repeat(20)));
    assert_eq!(permit.limited().count(), 20);
    assert_eq!(permit.limits().request_body, Some(81));
}

#[test]
fn a_ceiling_sets_and_restricts_and_never_loosens() {
    let top = "policy: top\nceiling: true\nrules:\n  - {id: all, allow: {host: \"**\"}, client_auth: allow}\n  - {id: slack, allow: {host: \"*.slack.example\"}, set: {X-Team: T1}, limits: {requests: 5/s}}\n";
    let own = "policy: p\nrules:\n  - {id: r, allow: {host: a.slack.example}, use: [key]}\n";
    let rules = set(&[top, own]).rules_of(&["p".into()]).unwrap();
    let permit = ask(&rules, "GET https://a.slack.example/").unwrap();
    assert_eq!(headers(&permit), [header("x-team", "T1")]);
    assert_eq!(permit.limits().requests.map(|rate| rate.count), Some(5));
    // The ceiling's `allow` is not the session's own rule.
    assert_eq!(permit.client_auth().mode(AuthMode::Strip), AuthMode::Strip);
    assert_eq!(permit.client_auth().mode(AuthMode::Refuse), AuthMode::Refuse);
}

#[test]
fn only_the_granting_rule_loosens() {
    let text = "  - {id: wide, allow: {host: a.example}, client_auth: {default: allow, pass: [Cookie]}}\n  - {id: v1, allow: {host: a.example, path: /v1/**}, use: [key]}\n  - {id: v2, allow: {host: a.example, path: /v2/**}, client_auth: {default: strip, pass: [COOKIE, x_account], also: [X-Acme]}}\n";
    let wide = permit(text, "GET https://a.example/");
    assert_eq!(wide.client_auth().mode(AuthMode::Refuse), AuthMode::Allow);
    let silent = permit(text, "GET https://a.example/v1/x");
    assert_eq!(silent.client_auth().mode(AuthMode::Refuse), AuthMode::Refuse);
    assert!(!silent.client_auth().passes("cookie"));
    let own = permit(text, "GET https://a.example/v2/x");
    assert_eq!(own.client_auth().mode(AuthMode::Refuse), AuthMode::Strip);
    assert!(own.client_auth().passes("Cookie") && own.client_auth().passes("X-Account"));
    assert!(own.client_auth().also("x_acme") && !own.client_auth().also("x-acm"));
    let stricter = "  - {id: wide, allow: {host: a.example}, client_auth: {default: strip, pass: [X-Account]}}\n  - {id: v1, allow: {host: a.example, path: /v1/**}, client_auth: {pass: [Cookie, X-Account]}}\n";
    let both = permit(stricter, "GET https://a.example/v1/x");
    assert!(both.client_auth().passes("x-account") && !both.client_auth().passes("cookie"));
    assert_eq!(both.client_auth().mode(AuthMode::Allow), AuthMode::Strip);
}

#[test]
fn unequal_values_of_one_header_are_an_error() {
    let text = |second: &str| {
        format!(
            "policy: p\nrules:\n  - {{id: a, allow: {{host: \"*.a.example\"}}, set: {{X-Team: blue}}}}\n  - {{id: b, {second}}}\n"
        )
    };
    assert_eq!(codes(&text("allow: {host: x.a.example, path: /v1/**}, set: {x_team: red}")), ["EG0050"]);
    for fine in [
        "allow: {host: x.a.example, path: /v1/**}, set: {x-team: blue}",
        "allow: {host: x.b.example}, set: {X-Team: red}",
        "allow: {host: x.a.example, port: 8443}, set: {X-Team: red}",
    ] {
        assert_eq!(set(&[&text(fine)]).names().count(), 1, "{fine}");
    }
    let top = "policy: top\nceiling: true\nrules:\n  - {id: all, allow: {host: \"**\"}, set: {X-Team: red}}\n";
    let found = set(&[top, &text("allow: {host: x.b.example}")]).rules_of(&["p".into()]).unwrap_err();
    let CombineError::SetConflict { first, second, header } = found else { panic!("{found}") };
    assert_eq!((first.rule.as_str(), second.rule.as_str(), header.as_str()), ("a", "all", "x-team"));
}

#[test]
fn what_no_rule_can_set_or_pass_is_an_error() {
    let rule = |keys: &str| format!("policy: p\nrules:\n  - {{id: r, {keys}}}\n");
    for header in [
        "Authorization",
        "x_api_key",
        "Cookie",
        "Host",
        "Content_Length",
        "X-HTTP-Method-Override",
        "x_original_url",
        "Proxy-Status",
        "Egret-Record",
        "Range",
        "\"a b\"",
        "Accept-Encoding",
        "X-Acme-Token",
    ] {
        assert_eq!(
            codes(&rule(&format!("allow: {{host: a.b.example}}, set: {{{header}: x}}"))),
            ["EG0049"],
            "{header}"
        );
    }
    for value in ["[a, b]", "true", "\" a\"", "\"\"", "\"ü\"", "egret_ph_x", "\"a\\nb\""] {
        let found = codes(&rule(&format!("allow: {{host: a.b.example}}, set: {{X-Team: {value}}}")));
        assert!(!found.is_empty(), "{value}");
    }
    assert_eq!(codes(&rule("allow: {host: a.b.example}, set: {X-Team: a, x_team: a}")), ["EG0049"]);
    assert_eq!(codes(&rule("deny: {host: a.b.example}, set: {X-Team: a}")), ["EG0014"]);
    assert_eq!(codes(&rule("deny: {host: a.b.example}, client_auth: refuse")), ["EG0014"]);
    assert_eq!(codes(&rule("allow: {host: a.b.example}, tls: pass-through, set: {X-Team: a}")), ["EG0035"]);
    assert_eq!(codes(&rule("allow: {host: a.b.example}, tls: pass-through, client_auth: refuse")), ["EG0035"]);
    assert_eq!(codes(&rule("allow: {host: a.b.example}, client_auth: maybe")), ["EG0008"]);
    assert_eq!(codes(&rule("allow: {host: a.b.example}, client_auth: {}")), ["EG0051"]);
    assert_eq!(codes(&rule("allow: {host: a.b.example}, client_auth: {pass: [X-Forwarded-User]}")), ["EG0051"]);
    assert_eq!(codes(&rule("allow: {host: a.b.example}, client_auth: {pass: [Cookie], also: [cookie]}")), ["EG0051"]);
    assert_eq!(codes(&rule("allow: {host: a.b.example}, client_auth: {default: strip, deny: [a]}")), ["EG0006"]);
}

#[test]
fn a_tunnel_is_not_a_way_around_a_ceiling_that_must_read() {
    let own = "policy: p\nrules:\n  - {id: pinned, allow: {host: a.example}, tls: pass-through}\n";
    for (keys, want) in [
        ("set: {X-Team: T1}", "deny protocol_not_allowed"),
        ("client_auth: refuse", "deny protocol_not_allowed"),
        ("limits: {requests: 5/s}", "Tunnel pinned"),
        ("limits: {concurrent: 5}", "Tunnel pinned"),
    ] {
        let top = format!(
            "policy: top\nceiling: true\nrules:\n  - {{id: all, allow: {{host: \"**\"}}}}\n  - {{id: a, allow: {{host: a.example, path: /x/**}}, {keys}}}\n"
        );
        let rules = set(&[&top, own]).rules_of(&["p".into()]).unwrap();
        assert_eq!(connect(&rules, "a.example", 443), want, "{keys}");
    }
}

#[test]
fn fields_that_rename_the_method_matter_where_any_rule_judges_methods() {
    let host = model::Host::parse("a.example").unwrap();
    let free = permit("  - {id: r, allow: {host: a.example}}\n", "GET https://a.example/");
    assert!(!free.judges_method_at(&host));
    let denied =
        "  - {id: r, allow: {host: a.example}}\n  - {id: never, deny: {host: \"**.example\", methods: [DELETE]}}\n";
    let denied = denied.replace("**.example", "a.example");
    assert!(permit(&denied, "GET https://a.example/").judges_method_at(&host));
}

#[test]
fn a_difference_tells_what_changes_in_who_acts() {
    let rules = |keys: &str| policy(&format!("  - {{id: r, allow: {{host: a.example}}{keys}}}\n"));
    let told = |old: &str, new: &str| {
        let found = diff(&rules(old), &rules(new), Timestamp::UNIX_EPOCH);
        (found.is_wider(), found.changes().first().map(|change| change.kind.as_str()))
    };
    assert_eq!(told(", set: {X-Team: a}", ""), (true, Some("identity_loosened")));
    assert_eq!(told("", ", set: {X-Team: a}"), (false, Some("identity_tightened")));
    assert_eq!(told(", set: {X-Team: a}", ", set: {X-Team: b}"), (true, Some("identity_loosened")));
    assert_eq!(told("", ", client_auth: allow"), (true, Some("identity_loosened")));
    assert_eq!(told(", client_auth: strip", ", client_auth: refuse"), (false, Some("identity_tightened")));
    assert_eq!(
        told(", client_auth: refuse", ", client_auth: {default: refuse, pass: [Cookie]}"),
        (true, Some("identity_loosened"))
    );
    assert_eq!(told(", client_auth: {also: [X-Key]}", ", client_auth: {also: [x_key]}"), (false, None));
}

#[test]
fn an_explanation_names_every_rule_that_restricts() {
    let rules = policy(
        "  - {id: wide, allow: {host: a.example}, set: {X-Team: blue}, client_auth: refuse}\n  - {id: v1, allow: {host: a.example, path: /v1/**}, use: [key]}\n",
    );
    assert_eq!(answer(&rules, "GET https://a.example/v1/x"), "allow v1");
    let told = crate::explain::explain(&rules, "GET https://a.example/v1/x");
    let text = told.to_string();
    assert!(text.contains("  sets x-team: blue\n"), "{text}");
    assert!(text.contains("client authentication: refuse with a credential, refuse without one"), "{text}");
    let json = told.to_json();
    assert_eq!(json["permit"]["set"]["x-team"], "blue");
    assert_eq!(json["permit"]["client_auth"]["elsewhere"], "refuse");
    assert_eq!(json["permit"]["restricted_by"][0]["id"], "wide");
}
