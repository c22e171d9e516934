//! `set`, `client_auth` and `limits` of every rule that matches a request apply together.

use std::sync::Arc;

use egret_policies::{AuthMode, CombineError, Permit, Rules, diff};
use model::Timestamp;

use crate::support::{answer, ask, codes, connect, policy, set};

fn permit(text: &str, request: &str) -> Permit {
    ask(&policy(text), request).unwrap()
}

type Header = (String, String);

fn headers(permit: &Permit) -> Vec<Header> {
    permit.set().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn header(name: &str, value: &str) -> Header {
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
    let rules = set(&[top, own]).rules_for_policies(&["p".into()]).unwrap();
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
    let found = set(&[top, &text("allow: {host: x.b.example}")]).rules_for_policies(&["p".into()]).unwrap_err();
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
        let rules = set(&[&top, own]).rules_for_policies(&["p".into()]).unwrap();
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

/// The headers that a request gets, or the code and class of the refusal.
fn set_or_refused(rules: &Arc<Rules>, request: &str) -> Result<Vec<Header>, (String, Option<&'static str>)> {
    ask(rules, request).map(|permit| headers(&permit)).map_err(|denied| (denied.reason.to_string(), denied.class))
}

fn ambiguous(code: &str) -> (String, Option<&'static str>) {
    (code.to_owned(), Some("ambiguous"))
}

#[test]
fn t280_every_method_that_a_query_asks_for_gets_the_same_or_the_request_is_refused() {
    let denied = policy(
        "  - {id: all, allow: {host: a.example}}\n  - {id: never, deny: {host: a.example, methods: [DELETE]}}\n",
    );
    for query in [
        "_method=DELETE",
        "_method=GET&_method=DELETE",
        "_method=DELETE&_method=GET",
        ".method=DELETE",
        "+method=x&[method=delete",
        "a=b;_method=delete",
        "x-http-method-override=DELETE",
        "_method%5B%5D=DELETE",
    ] {
        assert_eq!(answer(&denied, &format!("POST https://a.example/?{query}")), "deny denied_method never", "{query}");
    }
    assert_eq!(answer(&denied, "POST https://a.example/?_method=PUT&method=DELETE"), "allow all");
    // A rule about methods of another host is not concerned.
    let elsewhere = policy(
        "  - {id: all, allow: {host: a.example}}\n  - {id: never, deny: {host: b.example, methods: [DELETE]}}\n",
    );
    assert_eq!(answer(&elsewhere, "POST https://a.example/?_method=DELETE"), "allow all");
    let narrow = policy("  - {id: read, allow: {host: a.example, methods: [GET, POST]}}\n");
    assert_eq!(answer(&narrow, "GET https://a.example/?_method=POST"), "allow read");
    assert_eq!(answer(&narrow, "GET https://a.example/?_method=TRACE"), "deny denied_method");
    let told = crate::explain::explain(&narrow, "GET https://a.example/?_method=TRACE").to_string();
    assert!(told.contains("matches, but the query asks for another method, which does not get the same"), "{told}");
}

#[test]
fn t280_another_method_sheds_no_restriction_and_no_credential() {
    for rule in ["set: {X-Del: 1}", "limits: {requests: 1/m}", "client_auth: refuse"] {
        let rules = policy(&format!(
            "  - {{id: all, allow: {{host: x.a.example}}}}\n  - {{id: wide-delete, allow: {{host: \"*.a.example\", methods: [DELETE]}}, {rule}}}\n"
        ));
        let refused = set_or_refused(&rules, "POST https://x.a.example/?_method=DELETE");
        assert_eq!(refused, Err(ambiguous("denied_method")), "{rule}");
        let refused = set_or_refused(&rules, "DELETE https://x.a.example/?_method=POST");
        assert_eq!(refused, Err(ambiguous("denied_method")), "{rule}");
        assert_eq!(answer(&rules, "POST https://x.a.example/?_method=PUT"), "allow all");
        assert_eq!(answer(&rules, "DELETE https://x.a.example/?_method=delete"), "allow all");
    }
    let used = policy(
        "  - {id: read, allow: {host: x.a.example, methods: [GET]}, use: [reader]}\n  - {id: write, allow: {host: x.a.example, methods: [POST]}, use: [writer]}\n",
    );
    assert_eq!(set_or_refused(&used, "GET https://x.a.example/?_method=POST"), Err(ambiguous("denied_method")));
    let top = "policy: top\nceiling: true\nrules:\n  - {id: read, allow: {host: \"**\", methods: [GET, POST]}}\n";
    let own = "policy: p\nrules:\n  - {id: r, allow: {host: x.a.example}}\n";
    let rules = set(&[top, own]).rules_for_policies(&["p".into()]).unwrap();
    assert_eq!(answer(&rules, "POST https://x.a.example/?_method=GET"), "allow r");
    assert_eq!(answer(&rules, "POST https://x.a.example/?_method=DELETE"), "deny denied_method");
}

#[test]
fn t283_readings_that_get_two_values_of_one_header_are_ambiguous() {
    // No reading of a path matches both patterns, but the readings of one path can.
    let file = "policy: p\nrules:\n  - {id: all, allow: {host: x.a.example}}\n  - {id: one, allow: {host: \"*.a.example\", path: /a/b/c}, set: {X-T: T1}}\n";
    let other = |value: &str| {
        format!(
            "policy: d\nrules:\n  - {{id: two, allow: {{host: \"**.a.example\", path: \"/a/b/*/c\"}}, set: {{x_t: {value}}}}}\n"
        )
    };
    let rules = set(&[file, &other("EVIL")]).rules_for_policies(&["p".into(), "d".into()]).unwrap();
    assert_eq!(set_or_refused(&rules, "GET https://x.a.example/a/b//c"), Err(ambiguous("denied_path")));
    let told = crate::explain::explain(&rules, "GET https://x.a.example/a/b//c").to_string();
    assert!(
        told.contains("matches, but rules of other readings of the request set one header to another value"),
        "{told}"
    );
    assert_eq!(set_or_refused(&rules, "GET https://x.a.example/a/b/c"), Ok(vec![header("x-t", "T1")]));
    assert_eq!(set_or_refused(&rules, "GET https://x.a.example/a/b/x/c"), Ok(vec![header("x_t", "EVIL")]));
    let rules = set(&[file, &other("T1")]).rules_for_policies(&["p".into(), "d".into()]).unwrap();
    assert_eq!(ask(&rules, "GET https://x.a.example/a/b//c").unwrap().set().count(), 1);
}

#[test]
fn t287_what_a_rule_with_a_query_restricts_applies_in_every_spelling() {
    let rules = policy(
        "  - {id: all, allow: {host: \"*.a.example\"}}\n  - {id: admin, allow: {host: x.a.example, query: {admin: \"1\"}}, set: {X-Admin: none}, limits: {request_body: 0}, client_auth: refuse}\n",
    );
    for query in [
        "admin=1",
        "%61dmin=1",
        "a=b;admin=1",
        "admin=2&admin=1",
        "admin=1&admin=2",
        "ADMIN=1",
        "admin[]=1",
        "a=%26admin=1",
        "admin=%31%00",
        "admin=+1+",
        "+admin=1",
    ] {
        let permit = ask(&rules, &format!("POST https://x.a.example/?{query}")).unwrap();
        assert_eq!(headers(&permit), [header("x-admin", "none")], "{query}");
        assert_eq!(permit.limits().request_body, Some(0), "{query}");
        assert_eq!(permit.client_auth().mode(AuthMode::Allow), AuthMode::Refuse, "{query}");
    }
    for query in ["", "admin=2", "xadmin=1", "admin2=1"] {
        let permit = ask(&rules, &format!("POST https://x.a.example/?{query}")).unwrap();
        assert_eq!((headers(&permit), permit.limits().request_body), (vec![], None), "{query}");
    }
    // Two rules that no honest query matches together, and a query that some servers read as either.
    let two = policy(
        "  - {id: all, allow: {host: \"*.a.example\"}}\n  - {id: one, allow: {host: x.a.example, query: {t: \"1\"}}, set: {X-T: 1}}\n  - {id: two, allow: {host: x.a.example, query: {t: \"2\"}}, set: {X-T: 2}}\n",
    );
    assert_eq!(set_or_refused(&two, "GET https://x.a.example/?t=2"), Ok(vec![header("x-t", "2")]));
    assert_eq!(set_or_refused(&two, "GET https://x.a.example/?t=1&t=2"), Err(ambiguous("denied_path")));
}

#[test]
fn t281_a_name_that_a_rule_adds_counts_in_every_spelling_of_a_field() {
    let own =
        permit("  - {id: r, allow: {host: a.example}, client_auth: {also: [X-Acme-Id]}}\n", "GET https://a.example/");
    for name in ["x-acme-id", "X_Acme.Id", "x-acme-id-bin", "Grpc-Metadata-X-Acme-Id", "grpcgateway-x-acme-id-bin"] {
        assert!(own.client_auth().also(name), "{name}");
    }
    assert!(!own.client_auth().also("x-acme") && !own.client_auth().also("x-acme-id-x"));
}
