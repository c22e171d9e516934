//! The cases of the threat table that the decision answers.

use model::{Host, RequestPath};

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

/// Every spelling of the table's row.
const TRICKS: [&str; 10] = [
    "/v1/../admin",
    "/v1/%2e%2e/admin",
    "/v1/.%2e/x",
    "/v1/..;/x",
    "/v1//admin",
    "/v1/%2f..%2fadmin",
    "/v1\\..\\admin",
    "/v1/%5c..",
    "/v1/%252e%252e/",
    "/v1/./x",
];

#[test]
fn t068_a_path_with_two_readings_needs_the_same_rule_in_both() {
    let rules = policy("  - {id: v1, allow: {host: a.example, path: /v1/*}}\n");
    // Two of them stay within the rule however they are read, and are sent on as they came.
    for path in TRICKS {
        let within = matches!(path, "/v1/./x" | "/v1//admin");
        let resolved = RequestPath::parse(path).unwrap().resolved().map(str::to_owned).unwrap();
        assert_eq!(resolved.starts_with("/v1/"), within, "{path}");
        assert_eq!(answer(&rules, &format!("GET https://a.example{path}")), "deny denied_path", "{path}");
    }
}

#[test]
fn t068_two_rules_for_the_two_readings_are_not_one() {
    let rules = policy(
        "  - {id: v1, allow: {host: a.example, path: /v1/**}}\n  - {id: admin, allow: {host: a.example, path: /admin}}\n",
    );
    for path in ["/v1/../admin", "/v1/%2e%2e/admin", "/v1/..;/admin", "/v1/%2f..%2f..%2fadmin"] {
        assert_eq!(answer(&rules, &format!("GET https://a.example{path}")), "deny denied_path", "{path}");
    }
    let rules = policy("  - {id: all, allow: {host: a.example}}\n");
    for path in TRICKS {
        assert_eq!(answer(&rules, &format!("GET https://a.example{path}")), "allow all", "{path}");
    }
}

#[test]
fn t068_a_deny_counts_in_either_reading() {
    let rules = policy(
        "  - {id: all, allow: {host: a.example}}\n  - {id: never, deny: {host: a.example, path: [/admin, /admin/**]}}\n",
    );
    for path in [
        "/admin",
        "/v1/../admin",
        "/v1/%2e%2e/admin",
        "/v1/%2f..%2f..%2fadmin",
        "/v1\\..\\admin",
        "/%61dmin",
        "/admin/../x",
        "/admin;a=b",
    ] {
        assert_eq!(answer(&rules, &format!("GET https://a.example{path}")), "deny denied_path never", "{path}");
    }
    assert_eq!(answer(&rules, "GET https://a.example/administration"), "allow all");
}

#[test]
fn t068_a_scoped_package_name_passes_where_both_readings_are_covered() {
    let rules = policy(
        "  - {id: npm, allow: {host: registry.example, path: /@acme/**}}\n  - {id: one, allow: {host: other.example, path: /@acme*}}\n",
    );
    assert_eq!(answer(&rules, "GET https://registry.example/@acme%2fsite"), "deny denied_path");
    assert_eq!(answer(&rules, "GET https://registry.example/@acme/site"), "allow npm");
    let rules = policy("  - {id: npm, allow: {host: registry.example, path: [\"/@acme%2f*\", /@acme/*]}}\n");
    assert_eq!(answer(&rules, "GET https://registry.example/@acme%2fsite"), "allow npm");
    assert_eq!(answer(&rules, "GET https://registry.example/@evil%2fsite"), "deny denied_path");
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
