//! The cases of the threat table that the decision answers.

use model::Host;

use crate::support::{answer, ask, codes, connect, policy, problems};

#[test]
fn t021_case_and_one_trailing_dot_do_not_matter() {
    let rules = policy("  - {id: r, allow: {host: allowed.example}}\n");
    for host in ["allowed.example", "ALLOWED.example", "allowed.example.", "Allowed.Example."] {
        assert_eq!(answer(&rules, &format!("GET https://{host}/")), "allow r", "{host}");
    }
    let rules = policy("  - {id: r, allow: {host: ALLOWED.Example.}}\n");
    assert_eq!(answer(&rules, "GET https://allowed.example/"), "allow r");
    assert!(Host::parse("allowed.example..").is_err());
}

#[test]
fn t023_one_star_is_exactly_one_label() {
    let rules = policy("  - {id: r, allow: {host: \"*.example.com\"}}\n");
    assert_eq!(answer(&rules, "GET https://a.example.com/"), "allow r");
    for host in ["example.com", "a.b.example.com", "evilexample.com", "example.com.evil.net", "com"] {
        assert_eq!(answer(&rules, &format!("GET https://{host}/")), "deny denied_host", "{host}");
        assert_eq!(connect(&rules, host, 443), "deny denied_host", "{host}");
    }
    assert!(Host::parse(".example.com").is_err());
}

#[test]
fn t023_two_stars_are_one_label_or_more_and_never_the_apex() {
    let rules = policy("  - {id: r, allow: {host: \"**.example.com\"}}\n");
    for host in ["a.example.com", "a.b.example.com", "a.b.c.d.example.com"] {
        assert_eq!(answer(&rules, &format!("GET https://{host}/")), "allow r", "{host}");
    }
    for host in ["example.com", "evilexample.com", "a.example.com.evil.net"] {
        assert_eq!(answer(&rules, &format!("GET https://{host}/")), "deny denied_host", "{host}");
    }
}

#[test]
fn t024_patterns_that_are_not_label_wise_are_refused_with_their_line() {
    for pattern in [
        "*a*a*a*a*",
        "a*.example.com",
        "[ab].example.com",
        "*.*.example.com",
        "a.*.example.com",
        "{a,b}.example.com",
        "?.example.com",
    ] {
        let text = format!("policy: p\nrules:\n  - id: r\n    allow:\n      host: \"{pattern}\"\n");
        let found = problems(&[&text]);
        assert_eq!((found[0].code, found[0].line, found[0].column), ("EG0016", 5, 13), "{pattern}");
        assert_eq!(found[0].source_line, format!("      host: \"{pattern}\""));
    }
}

#[test]
fn t028_another_port_of_an_allowed_host_is_refused() {
    let rules = policy("  - {id: r, allow: {host: a.example}}\n");
    assert_eq!(answer(&rules, "GET https://a.example:8443/"), "deny denied_port");
    assert_eq!(connect(&rules, "a.example", 8443), "deny denied_port");
}

#[test]
fn t029_ports_of_other_protocols_are_refused() {
    let rules = policy("  - {id: r, allow: {host: a.example}}\n  - {id: s, allow: {host: a.example, scheme: http}}\n");
    for port in [22, 25, 53, 465, 6379] {
        assert_eq!(connect(&rules, "a.example", port), "deny denied_port", "{port}");
    }
}

#[test]
fn t030_a_public_address_literal_needs_a_rule() {
    let rules = policy("  - {id: r, allow: {host: a.example}}\n");
    assert_eq!(connect(&rules, "93.184.216.34", 443), "deny denied_host");
    assert_eq!(answer(&rules, "GET https://93.184.216.34/"), "deny denied_host");
    let rules = policy("  - {id: r, allow: {host: 93.184.216.34}}\n");
    assert_eq!(answer(&rules, "GET https://93.184.216.34/"), "allow r");
}

#[test]
fn t031_every_notation_of_a_local_address_is_that_address() {
    let rules = policy("  - {id: r, allow: {host: a.example}}\n  - {id: w, allow: {host: \"**.b.example\"}}\n");
    for host in [
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "0x7f000001",
        "127.000.000.001",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "10.0.0.1",
    ] {
        assert_eq!(connect(&rules, host, 443), "deny denied_address", "{host}");
        assert_eq!(answer(&rules, &format!("GET https://{host}/")), "deny denied_address", "{host}");
    }
    // A rule names an address in the one form that records show.
    assert_eq!(codes("policy: p\nrules:\n  - {id: r, allow: {host: \"127.1\"}, addresses: 127.0.0.1}\n"), ["EG0016"]);
}

#[test]
fn t034_a_metadata_service_is_dialed_only_where_it_is_named_exactly() {
    let broad = policy("  - {id: r, allow: {host: meta.example}, addresses: [169.254.0.0/16, \"fd00::/8\"]}\n");
    let exact = policy("  - {id: r, allow: {host: meta.example}, addresses: [169.254.169.254]}\n");
    let (broad, exact) =
        (ask(&broad, "GET https://meta.example/").unwrap(), ask(&exact, "GET https://meta.example/").unwrap());
    for address in ["169.254.169.254", "169.254.170.2", "fd00:ec2::254"] {
        assert!(!broad.allows_address(address.parse().unwrap()), "{address}");
    }
    assert!(broad.allows_address("169.254.1.1".parse().unwrap()));
    assert!(exact.allows_address("169.254.169.254".parse().unwrap()));
    assert!(!exact.allows_address("::ffff:169.254.169.254".parse().unwrap()));
    assert!(!exact.allows_address("169.254.1.1".parse().unwrap()));
}

/// Every spelling of the table's row, and whether it has one kind of ambiguity alone.
const TRICKS: [(&str, bool); 10] = [
    ("/v1/../admin", false),
    ("/v1/%2e%2e/admin", false),
    ("/v1/.%2e/x", false),
    ("/v1/..;/x", false),
    ("/v1//admin", true),
    ("/v1/%2f..%2fadmin", false),
    ("/v1\\..\\admin", false),
    ("/v1/%5c..", false),
    ("/v1/%252e%252e/", false),
    ("/v1/./x", false),
];

#[test]
fn t068_an_ambiguous_path_is_refused_where_a_rule_has_a_path() {
    let rules = policy("  - {id: v1, allow: {host: a.example, path: /v1/**}}\n");
    for (path, alone) in TRICKS {
        let said = answer(&rules, &format!("GET https://a.example{path}"));
        assert_eq!(said, if alone { "allow v1" } else { "deny denied_path" }, "{path}");
        let denied = ask(&rules, &format!("GET https://a.example{path}")).err();
        assert_eq!(denied.and_then(|denied| denied.class), if alone { None } else { Some("ambiguous") }, "{path}");
    }
    // The rule may deny, be another layer's, or be about another method: where the path matters, it has to be clear.
    for more in [
        "  - {id: d, deny: {host: a.example, path: /x}}\n",
        "  - {id: d, deny: {host: \"**\", path: /x}}\n",
        "  - {id: p, allow: {host: \"a.example\", methods: [PUT], path: /x}}\n",
        "  - {id: q, ask: {host: a.example, methods: [PUT], path: /x}}\n",
    ] {
        let rules = policy(&format!("  - {{id: all, allow: {{host: a.example}}}}\n{more}"));
        assert_eq!(answer(&rules, "GET https://a.example/v1/%2e%2e/x"), "deny denied_path", "{more}");
    }
    let ceiling = "policy: c\nceiling: true\nrules:\n  - {id: c, allow: {host: \"**\", path: /**}}\n";
    let rules = crate::support::rules(&["policy: p\nrules:\n  - {id: all, allow: {host: a.example}}\n", ceiling]);
    assert_eq!(answer(&rules, "GET https://a.example/v1/%2e%2e/x"), "deny denied_path");
}

#[test]
fn t068_a_path_is_not_interpreted_where_no_rule_has_one() {
    let rules = policy(
        "  - {id: all, allow: {host: a.example}}\n  - {id: v1, allow: {host: b.example, path: /v1/**}}\n  - {id: old, deny: {host: a.example, path: /x}, until: 1969-01-01}\n",
    );
    for (path, _) in TRICKS {
        assert_eq!(answer(&rules, &format!("GET https://a.example{path}")), "allow all", "{path}");
    }
}

#[test]
fn t068_two_rules_for_two_readings_are_not_one() {
    let rules = policy(
        "  - {id: v1, allow: {host: a.example, path: [\"/v1/*\", \"/v1\"]}}\n  - {id: deep, allow: {host: a.example, path: \"/v1/*/**\"}}\n",
    );
    for path in ["/v1/a%2fb", "/v1/a%3fc/d", "//x/v1/a", "/v1/a;x/b"] {
        let denied = ask(&rules, &format!("GET https://a.example{path}")).unwrap_err();
        assert_eq!((denied.reason, denied.class), (model::Reason::DeniedPath, Some("ambiguous")), "{path}");
    }
    for (path, rule) in [("/v1/a%3fb", "v1"), ("/v1/a;b", "v1"), ("/v1/a%252e", "v1"), ("/v1/a/b%2fc", "deep")] {
        assert_eq!(answer(&rules, &format!("GET https://a.example{path}")), format!("allow {rule}"), "{path}");
    }
}

#[test]
fn t068_a_deny_counts_in_any_reading_and_in_any_case() {
    let rules = policy(
        "  - {id: all, allow: {host: a.example}}\n  - {id: never, deny: {host: a.example, path: [/admin, /Admin/**, \"/x/*:setIam\"]}}\n",
    );
    for path in [
        "/admin",
        "/ADMIN/x",
        "/aDmin",
        "/%61dmin",
        "/%41DMIN",
        "/admin//x",
        "/admin;a=b",
        "/admin%3fx",
        "/admin%23x",
        "/admin%2fx",
        "/%2561dmin",
        "/admin%252fx",
        "/x/y%3AsetIam",
        "/X/y:setiam",
    ] {
        assert_eq!(answer(&rules, &format!("GET https://a.example{path}")), "deny denied_path never", "{path}");
    }
    for path in ["//admin", "//x/admin", "/v1/../admin", "/v1\\..\\admin", "/v1/%2f..%2f..%2fadmin"] {
        assert_eq!(answer(&rules, &format!("GET https://a.example{path}")), "deny denied_path", "{path}");
    }
    assert_eq!(answer(&rules, "GET https://a.example/administration"), "allow all");
    assert_eq!(answer(&rules, "GET https://a.example/x/y%20z;v=1/w"), "allow all");
}

#[test]
fn t068_a_pattern_with_an_encoded_slash_covers_its_decoded_reading() {
    let rules = policy(
        "  - {id: npm, allow: {host: registry.example, path: /@acme/**}}\n  - {id: one, allow: {host: other.example, path: \"/@acme%2f*\"}}\n",
    );
    assert_eq!(answer(&rules, "GET https://registry.example/@acme%2fsite"), "deny denied_path");
    assert_eq!(answer(&rules, "GET https://registry.example/@acme/site"), "allow npm");
    for path in ["/@acme%2fsite", "/@acme%2Fsite", "/%40acme%2Fsite", "/@acme/site", "/@acme%2fsite%20x"] {
        assert_eq!(answer(&rules, &format!("GET https://other.example{path}")), "allow one", "{path}");
    }
    for path in ["/@evil%2fsite", "/@acme%2fsite%2fx", "/@acme%2f..%2fx", "/@acme%252fsite", "/@acme%2f%2fsite"] {
        assert_eq!(answer(&rules, &format!("GET https://other.example{path}")), "deny denied_path", "{path}");
    }
}

#[test]
fn t068_an_observing_policy_lets_no_ambiguous_path_past_a_deny() {
    let text = |rule: &str| format!("policy: p\nmode: observe\nuntil: 2030-01-01\nrules:\n  - {{id: r, {rule}}}\n");
    let observed = crate::support::rules(&[&text("allow: {host: a.example, path: /v1/**}")]);
    assert_eq!(answer(&observed, "GET https://a.example/v1/../x"), "observe");
    let denied = crate::support::rules(&[&text("deny: {host: a.example, path: /admin}")]);
    assert_eq!(answer(&denied, "GET https://a.example/v1/../admin"), "deny denied_path");
    assert_eq!(answer(&denied, "GET https://a.example/v1//x"), "observe");
}

#[test]
fn t071_paths_are_case_sensitive() {
    let rules = policy("  - {id: r, allow: {host: a.example, path: [/v1/models, /v2/**]}}\n");
    assert_eq!(answer(&rules, "GET https://a.example/v1/models"), "allow r");
    for path in ["/V1/models", "/v1/Models", "/V2/x"] {
        assert_eq!(answer(&rules, &format!("GET https://a.example{path}")), "deny denied_path", "{path}");
    }
}

#[test]
fn t077_bombs_are_refused_by_their_size_and_depth() {
    let deep = format!("policy: p\nrules: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    let aliases = format!("policy: p\nhosts: {{a: &a [b.c], d: [{}]}}\n", "*a, ".repeat(100_000));
    let wide = format!("policy: p\nrules: [{}]\n", "a, ".repeat(300_000));
    let large = format!("policy: p\ndescription: {}\n", "a".repeat(1024 * 1024));
    for (text, code) in [(deep, "EG0001"), (aliases, "EG0003"), (wide, "EG0001"), (large, "EG0001")] {
        let found = problems(&[&text]);
        assert_eq!(found[0].code, code);
        assert!(found.len() <= 100);
    }
}
