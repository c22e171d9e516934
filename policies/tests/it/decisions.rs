//! Defaults, precedence, and the name of a denial.

use std::net::IpAddr;

use crate::support::{answer, ask, connect, policy};

#[test]
fn nothing_is_allowed_by_silence() {
    let rules = policy("  []\n");
    assert_eq!(connect(&rules, "a.example", 443), "deny denied_host");
    assert_eq!(answer(&rules, "GET https://a.example/"), "deny denied_host");
}

#[test]
fn an_allow_is_for_https_on_its_port_unless_it_says_otherwise() {
    let rules = policy("  - {id: r, allow: {host: a.example}}\n");
    assert_eq!(answer(&rules, "GET https://a.example/"), "allow r");
    assert_eq!(answer(&rules, "GET http://a.example:443/"), "deny protocol_not_allowed");
    assert_eq!(answer(&rules, "GET http://a.example/"), "deny protocol_not_allowed");
    let rules = policy("  - {id: r, allow: {host: a.example, scheme: http}}\n");
    assert_eq!(answer(&rules, "GET http://a.example/"), "allow r");
    assert_eq!(answer(&rules, "GET https://a.example:80/"), "deny protocol_not_allowed");
    let rules = policy("  - {id: r, allow: {host: a.example, port: [8443, 9443]}}\n");
    assert_eq!(answer(&rules, "GET https://a.example:9443/"), "allow r");
    assert_eq!(answer(&rules, "GET https://a.example/"), "deny denied_port");
}

#[test]
fn methods_are_taken_as_written() {
    let rules = policy("  - {id: r, allow: {host: a.example, methods: [GET, POST]}}\n");
    assert_eq!(answer(&rules, "POST https://a.example/"), "allow r");
    for method in ["HEAD", "get", "DELETE", "TRACE", "CONNECT"] {
        assert_eq!(answer(&rules, &format!("{method} https://a.example/")), "deny denied_method", "{method}");
    }
    let rules = policy("  - {id: r, allow: {host: a.example}}\n");
    for method in ["GET", "DELETE", "PURGE"] {
        assert_eq!(answer(&rules, &format!("{method} https://a.example/")), "allow r", "{method}");
    }
    for method in ["TRACE", "CONNECT"] {
        assert_eq!(answer(&rules, &format!("{method} https://a.example/")), "deny denied_method", "{method}");
    }
    let rules = policy("  - {id: r, allow: {host: a.example, methods: TRACE}}\n");
    assert_eq!(answer(&rules, "TRACE https://a.example/"), "allow r");
}

#[test]
fn the_server_wide_target_is_allowed_by_its_name_only() {
    let rules = policy(
        "  - {id: r, allow: {host: a.example}}\n  - {id: all, allow: {host: b.example, path: \"/**\"}}\n  - {id: s, allow: {host: c.example, path: \"*\"}}\n",
    );
    assert_eq!(answer(&rules, "OPTIONS https://a.example/*server*"), "deny denied_path");
    assert_eq!(answer(&rules, "OPTIONS https://b.example/*server*"), "deny denied_path");
    assert_eq!(answer(&rules, "OPTIONS https://c.example/*server*"), "allow s");
    assert_eq!(answer(&rules, "OPTIONS https://c.example/x"), "deny denied_path");
}

#[test]
fn two_stars_at_the_end_of_a_path_need_one_segment_more() {
    let rules = policy("  - {id: r, allow: {host: a.example, path: /x/**}}\n");
    for path in ["/x/", "/x/a", "/x/a/b"] {
        assert_eq!(answer(&rules, &format!("GET https://a.example{path}")), "allow r", "{path}");
    }
    for path in ["/x", "/xy", "/", "/y/x/a"] {
        assert_eq!(answer(&rules, &format!("GET https://a.example{path}")), "deny denied_path", "{path}");
    }
}

#[test]
fn the_query_does_not_take_part() {
    let rules = policy("  - {id: r, allow: {host: a.example, path: /x}}\n");
    assert_eq!(answer(&rules, "GET https://a.example/x?a=/../y"), "allow r");
    assert_eq!(answer(&rules, "GET https://a.example/y?/x"), "deny denied_path");
}

#[test]
fn a_deny_wins_over_every_allow() {
    let rules = policy(
        "  - {id: all, allow: {host: a.example, methods: [GET], path: /exact}, use: [c]}\n  - {id: never, deny: {host: \"**\"}, reason: Closed.}\n",
    );
    let denied = ask(&rules, "GET https://a.example/exact").unwrap_err();
    assert_eq!(denied.reason.code(), "denied_host");
    assert_eq!(denied.author_message.as_deref(), Some("Closed."));
    assert_eq!((denied.rule.unwrap().as_str(), denied.policy.unwrap().as_str()), ("never", "p"));
}

#[test]
fn a_deny_does_not_limit_what_it_does_not_name() {
    let rules = policy(
        "  - {id: all, allow: {host: a.example, port: [443, 8443]}}\n  - {id: plain, allow: {host: a.example, scheme: http}}\n  - {id: trace, allow: {host: a.example, methods: [TRACE]}}\n  - {id: never, deny: {host: a.example, path: /secret}}\n",
    );
    for url in ["https://a.example", "https://a.example:8443", "http://a.example"] {
        assert_eq!(answer(&rules, &format!("GET {url}/secret")), "deny denied_path never", "{url}");
    }
    assert_eq!(answer(&rules, "TRACE https://a.example/secret"), "deny denied_path never");
    assert_eq!(answer(&rules, "TRACE https://a.example/"), "allow trace");
}

#[test]
fn a_deny_of_every_host_covers_addresses() {
    let rules = policy(
        "  - {id: a, allow: {host: 10.0.0.1}, addresses: 10.0.0.1}\n  - {id: never, deny: {host: \"**\", methods: [DELETE]}}\n",
    );
    assert_eq!(answer(&rules, "GET https://10.0.0.1/"), "allow a");
    assert_eq!(answer(&rules, "DELETE https://10.0.0.1/"), "deny denied_method never");
}

#[test]
fn a_denial_by_a_rule_is_named_after_the_most_specific_thing_it_asks_for() {
    let allow = "  - {id: a, allow: {host: a.example}}\n  - {id: b, allow: {host: a.example, scheme: http}}\n";
    for (matched, answered) in [
        ("host: a.example", "deny denied_host never"),
        ("host: a.example, scheme: https", "deny protocol_not_allowed never"),
        ("host: a.example, scheme: https, port: 443", "deny denied_port never"),
        ("host: a.example, port: 443, methods: [GET]", "deny denied_method never"),
        ("host: a.example, methods: [GET], path: /x", "deny denied_path never"),
    ] {
        let rules = policy(&format!("{allow}  - {{id: never, deny: {{{matched}}}}}\n"));
        assert_eq!(answer(&rules, "GET https://a.example/x"), answered, "{matched}");
    }
}

#[test]
fn a_denial_without_a_rule_is_the_furthest_stage_that_any_rule_reached() {
    let rules = policy(
        "  - {id: a, allow: {host: a.example, port: 444, methods: [GET], path: /x}}\n  - {id: b, allow: {host: a.example, scheme: http, port: 444}}\n  - {id: c, allow: {host: a.example}}\n",
    );
    assert_eq!(answer(&rules, "GET https://b.example:444/x"), "deny denied_host");
    assert_eq!(answer(&rules, "GET http://a.example:443/x"), "deny denied_port");
    assert_eq!(answer(&rules, "POST https://a.example:444/x"), "deny denied_method");
    assert_eq!(answer(&rules, "GET https://a.example:444/y"), "deny denied_path");
    assert_eq!(answer(&rules, "TRACE https://a.example/"), "deny denied_method");
}

#[test]
fn a_connect_asks_over_any_scheme() {
    let rules = policy("  - {id: r, allow: {host: a.example, scheme: http}}\n");
    assert_eq!(connect(&rules, "a.example", 80), "Intercept");
    assert_eq!(connect(&rules, "a.example", 443), "deny denied_port");
}

#[test]
fn a_connect_is_refused_where_a_rule_denies_all_of_it() {
    let allow =
        "  - {id: a, allow: {host: a.example}}\n  - {id: b, allow: {host: a.example, scheme: http, port: 443}}\n";
    let with = |deny: &str| policy(&format!("{allow}  - {{id: never, deny: {{{deny}}}}}\n"));
    assert_eq!(connect(&with("host: a.example"), "a.example", 443), "deny denied_host never");
    assert_eq!(connect(&with("host: \"**.example\", port: 443"), "a.example", 443), "deny denied_port never");
    for partly in ["scheme: https", "scheme: http", "methods: [GET, POST]", "path: \"/**\"", "port: 8443"] {
        assert_eq!(connect(&with(&format!("host: a.example, {partly}")), "a.example", 443), "Intercept", "{partly}");
    }
    // A deny for a scheme that no rule allows is not the reason; a deny for all schemes is.
    assert_eq!(connect(&with("host: \"**\", scheme: http"), "b.example", 443), "deny denied_host");
    assert_eq!(connect(&with("host: \"**\""), "b.example", 443), "deny denied_host never");
}

#[test]
fn among_allows_the_most_exact_wins() {
    let rules = policy(concat!(
        "  - {id: deep, allow: {host: \"**.example.com\"}, use: [a]}\n",
        "  - {id: child, allow: {host: \"*.example.com\"}, use: [b]}\n",
        "  - {id: longer, allow: {host: \"**.api.example.com\"}, use: [c]}\n",
        "  - {id: host, allow: {host: www.example.com}, use: [d]}\n",
        "  - {id: some, allow: {host: www.example.com, path: /v1/**}, use: [e]}\n",
        "  - {id: more, allow: {host: www.example.com, path: /v1/models/*}, use: [f]}\n",
        "  - {id: path, allow: {host: www.example.com, path: /v1/models/x}, use: [g]}\n",
        "  - {id: few, allow: {host: www.example.com, path: /v1/**, methods: [GET, HEAD]}, use: [h]}\n",
        "  - {id: fewer, allow: {host: www.example.com, path: /v1/**, methods: [GET]}, use: [i]}\n",
        "  - {id: ports, allow: {host: www.example.com, port: [443, 8443]}, use: [j]}\n",
    ));
    for (request, rule) in [
        ("GET https://a.b.example.com/", "deep"),
        ("GET https://a.example.com/", "child"),
        ("GET https://a.api.example.com/", "longer"),
        ("GET https://www.example.com/", "host"),
        ("GET https://www.example.com:8443/", "ports"),
        ("POST https://www.example.com/v1/x", "some"),
        ("HEAD https://www.example.com/v1/x", "few"),
        ("GET https://www.example.com/v1/x", "fewer"),
        ("GET https://www.example.com/v1/models/y", "more"),
        ("GET https://www.example.com/v1/models/x", "path"),
    ] {
        assert_eq!(answer(&rules, request), format!("allow {rule}"), "{request}");
    }
}

#[test]
fn a_permit_carries_what_its_rule_says() {
    let rules = policy(
        "  - {id: r, allow: {host: a.example, methods: [GET]}, use: [z, a, z], addresses: [10.0.0.0/8, \"fd00:1::/64\"]}\n  - {id: s, allow: {host: b.example}}\n",
    );
    let permit = ask(&rules, "GET https://a.example/").unwrap();
    assert_eq!((permit.rule().unwrap().as_str(), permit.policy().as_str()), ("r", "p"));
    assert_eq!(permit.credentials().iter().map(|c| c.as_str()).collect::<Vec<_>>(), ["z", "a"]);
    assert_eq!(permit.snapshot(), rules.snapshot());
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    assert!(permit.allows_address(address("10.1.2.3")) && permit.allows_address(address("fd00:1::7")));
    assert!(!permit.allows_address(address("8.8.8.8")) && !permit.allows_address(address("::ffff:10.1.2.3")));
    let permit = ask(&rules, "GET https://b.example/").unwrap();
    assert!(permit.credentials().is_empty());
    assert!(permit.allows_address(address("8.8.8.8")));
    assert!(!permit.allows_address(address("10.1.2.3")) && !permit.allows_address(address("169.254.169.254")));
}
