//! Lists as they are found, and the policies that come of them.

use model::{PolicyName, Timestamp};

use super::{ImportError, Origin, import};
use crate::compile::{PolicySource, compile};
use crate::export::{Target, export};
use crate::fmt::fmt;

/// Imports, and has the result compiled and its checks run.
fn of(origin: Origin, text: &str) -> String {
    let policy = import(origin, "imported", text).unwrap_or_else(|error| panic!("{error}: {error:?}"));
    let source = PolicySource { name: "imported.yaml".into(), text: policy.clone() };
    let set = compile(std::slice::from_ref(&source)).expect("it was compiled before");
    for result in set.run_checks(Timestamp::UNIX_EPOCH) {
        assert!(result.passed(), "{}\n{policy}", result.problem.unwrap());
    }
    assert_eq!(set.warnings(), []);
    assert_eq!(fmt(&source).unwrap(), policy);
    policy
}

fn exported(target: Target, policy: &str) -> Result<String, Vec<String>> {
    let set = compile(&[PolicySource { name: "p.yaml".into(), text: policy.into() }]).unwrap();
    export(target, &set, &PolicyName::new("imported"))
}

#[test]
fn a_list_of_domains_becomes_one_rule() {
    let policy = of(
        Origin::Domains,
        "# our list\nPyPI.org\nfiles.pythonhosted.org.  # wheels\n\n*.cdn.example.com\n.example.net\nhttps://api.example.com/\n*.com\n10.0.0.1\nhttp://plain.example.com\nexample.org/path\n0.0.0.0 ads.example.com\n*\n93.184.215.14\n",
    );
    insta::assert_snapshot!(policy);
}

#[test]
fn lists_of_squid_keep_their_names_and_their_denials() {
    let policy = of(
        Origin::Squid,
        "# squid.conf\nhttp_port 3128\nacl localnet src 10.0.0.0/8\nacl Safe_ports port 443\nacl whitelist dstdomain .ubuntu.com pypi.org # mirrors\nacl whitelist dstdomain \"/etc/squid/more.txt\"\nacl bad dstdomain -n .tracker.example.com\nacl unused dstdomain unused.example.com\nacl rx dstdom_regex \\.cdn\\.\nhttp_access allow localnet !Safe_ports\nhttp_access allow whitelist\nhttp_access deny bad\nhttp_access deny all\n",
    );
    insta::assert_snapshot!(policy);
    assert!(of(Origin::Squid, ".debian.org\nexample.com\n").contains("\"**.debian.org\""));
}

#[test]
fn endpoints_of_workflows_keep_their_ports() {
    let workflow = "jobs:\n  build:\n    steps:\n      - uses: step-security/harden-runner@v2\n        with:\n          egress-policy: block\n          allowed-endpoints: >\n            api.github.com:443\n            github.com:443 # code\n            *.actions.githubusercontent.com:443\n            registry.example.com:5000\n            deb.debian.org:80\n      - run: make\n";
    let policy = of(Origin::Github, workflow);
    insta::assert_snapshot!(policy);
    let alone =
        of(Origin::Github, "api.github.com:443 github.com:443\n*.actions.githubusercontent.com:443 bad.example.com:x");
    assert!(alone.contains("- api.github.com\n") && alone.contains("has no port that is a number"));
}

#[test]
fn the_networking_of_an_environment_goes_both_ways() {
    let block = r#"{"name": "data", "config": {"type": "cloud", "networking": {"type": "limited",
        "allowed_hosts": ["api.example.com", "*.cdn.example.com"], "allow_package_managers": true, "allow_mcp_servers": true}},
        "mcp_servers": [{"name": "files", "url": "https://mcp.example.com/sse"}]}"#;
    let policy = of(Origin::ManagedAgent, block);
    insta::assert_snapshot!(policy);
    let back: serde_json::Value = serde_json::from_str(&exported(Target::ManagedAgent, &policy).unwrap()).unwrap();
    let wanted = serde_json::json!({"networking": {"type": "limited",
        "allowed_hosts": ["*.cdn.example.com", "api.example.com", "mcp.example.com"],
        "allow_package_managers": true, "allow_mcp_servers": false}});
    assert_eq!(back, wanted);
    assert_eq!(of(Origin::ManagedAgent, &back.to_string()).matches("methods").count(), 1);
    let yaml =
        of(Origin::ManagedAgent, "networking:\n  type: limited\n  allowed_hosts: [api.example.com]\n  extra: 1\n");
    assert!(yaml.contains("`extra` is not known"));
    let open = import(Origin::ManagedAgent, "p", r#"{"networking": {"type": "unrestricted"}}"#);
    assert_eq!(open, Err(ImportError::Unrestricted));
}

#[test]
fn the_network_policy_of_a_container_goes_both_ways_without_its_values() {
    let block = r#"{"network_policy": {"type": "allowlist", "allowed_domains": ["pypi.org", "api.example.com"],
        "domain_secrets": [{"domain": "api.example.com", "name": "API_TOKEN", "value": "marked-value"}]}}"#;
    let policy = of(Origin::OpenAi, block);
    insta::assert_snapshot!(policy);
    assert!(!policy.contains("marked-value"));
    let refused = exported(Target::OpenAi, &policy).unwrap_err();
    assert_eq!(refused, ["rule `with-secret-api.example.com`: `use`: secrets are beside the block, with their values"]);
    let closed = of(Origin::OpenAi, r#"{"type": "disabled"}"#);
    let back = exported(Target::OpenAi, &closed).unwrap();
    assert!(back.contains("disabled"));
}

#[test]
fn what_a_block_cannot_say_is_told_rule_by_rule() {
    let policy = "policy: imported\nrules:\n  - {id: a, allow: {host: \"**.example.com\", methods: [GET], path: /x}}\n  - {id: b, deny: {host: b.example.com}}\n  - {id: c, ask: {host: c.example.com}}\n  - {id: d, allow: {host: d.example.com, port: 8443}, limits: {request_body: 0}}\n";
    let refused = exported(Target::ManagedAgent, policy).unwrap_err();
    insta::assert_snapshot!(refused.join("\n"));
}

#[test]
fn what_is_no_list_is_refused() {
    assert!(matches!(import(Origin::Domains, "p", "\n# nothing\n"), Err(ImportError::Nothing(_))));
    assert!(matches!(import(Origin::ManagedAgent, "p", "{"), Err(ImportError::Unreadable(_))));
    assert!(matches!(import(Origin::OpenAi, "p", "{\"type\": 1}"), Err(ImportError::Unreadable(_))));
    assert!(matches!(import(Origin::Domains, "not a name", "a.example.com"), Err(ImportError::Unacceptable(_))));
}

/// The hosts that a policy made of squid's lines allows and denies, or why there is none.
fn squid(text: &str) -> Result<String, String> {
    import(Origin::Squid, "imported", text).map_err(|error| error.to_string())
}

const LISTS: &str = "acl good dstdomain .example.com\nacl bad dstdomain bad.example.com\nacl SSL_ports port 443\nacl Safe_ports port 80 443 1025-65535\nacl CONNECT method CONNECT\nacl localnet src 10.0.0.0/8\nacl ads dstdom_regex -i ^ads[0-9]\\.\nacl hours time MTWHF 9:00-17:00\n";

#[test]
fn the_usual_configuration_of_squid_keeps_its_denials_and_its_lists() {
    let text = "http_access deny !Safe_ports\nhttp_access deny CONNECT !SSL_ports\nhttp_access allow localhost manager\nhttp_access deny manager\nhttp_access deny to_localhost\nhttp_access deny bad\nhttp_access allow localnet \\\n  good\nhttp_access deny all\nhttp_access allow good\n";
    let policy = of(Origin::Squid, &format!("{LISTS}{text}"));
    assert!(policy.contains("deny: {host: \"@bad\"}") && policy.contains("allow: {host: \"@good\"}"), "{policy}");
    for note in [
        "line 15: `localnet` is about clients: name this policy only for sessions of those",
        "line 18: `http_access allow good` is never reached",
        "line 7: acl ads: no `http_access` line names it",
    ] {
        assert!(policy.contains(&format!("# - {note}\n")), "{note}\n{policy}");
    }
}

#[test]
fn a_deny_of_squid_is_taken_or_ends_the_import() {
    for (line, expected) in [
        ("http_access deny ads", "line 7: `http_access deny ads` denies `^ads[0-9]\\.`, which no rule can name"),
        (
            "http_access deny hours",
            "line 9: `http_access deny hours` cannot be translated, and a deny is not left out: no rule has a condition such as `hours` (time)",
        ),
        (
            "http_access deny CONNECT",
            "line 9: `http_access deny CONNECT` cannot be translated, and a deny is not left out: it denies every request over https",
        ),
        (
            "http_access deny unknown",
            "line 9: `http_access deny unknown` cannot be translated, and a deny is not left out: there is no acl `unknown`",
        ),
        (
            "http_reply_access deny good",
            "line 9: `http_reply_access deny good` cannot be translated, and a deny is not left out: no policy has this directive",
        ),
        (
            "include /etc/squid/conf.d/*.conf",
            "line 9: `include /etc/squid/conf.d/*.conf`: put the text of the file in place of the line",
        ),
        (
            "acl bad dstdomain \"/etc/squid/bad.txt\"\nhttp_access deny bad",
            "line 9: `http_access deny bad` denies what is in the file \"/etc/squid/bad.txt\": put its lines in its place",
        ),
        (
            "# see below \\\nhttp_access deny bad",
            "line 9: a comment ends in a backslash, so it is not clear whether the next line belongs to it",
        ),
    ] {
        let found = squid(&format!("{LISTS}{line}\nhttp_access allow good\n"));
        assert_eq!(found.unwrap_err(), expected, "{line}");
    }
    // A condition that no rule has makes the deny wider, and a negation in an allow becomes a deny.
    for line in ["http_access deny bad hours", "http_access deny localnet bad", "http_access allow good !bad"] {
        let policy = of(Origin::Squid, &format!("{LISTS}{line}\nhttp_access allow good\n"));
        assert!(policy.contains("deny: {host: \"@bad\"}"), "{line}\n{policy}");
    }
}

#[test]
fn an_allow_of_squid_that_cannot_be_said_opens_nothing() {
    for (line, note) in [
        ("http_access allow good hours", "no rule has a condition such as `hours` (time)"),
        ("http_access allow good !CONNECT", "`CONNECT` fits no request over https"),
        ("http_access allow good !Safe_ports", "`Safe_ports` fits no request over https"),
        ("http_access allow good more", "a host must be in several lists"),
        ("http_access allow all", "no rule allows every host"),
        ("http_access allow localnet", "no rule allows every host"),
        ("http_access allow CONNECT SSL_ports", "no rule allows every host"),
    ] {
        let text = format!("{LISTS}acl more dstdomain .example.net\n{line}\nhttp_access deny bad\n");
        match squid(&text) {
            Ok(policy) => {
                assert!(policy.contains(&format!("# - line 10: `{line}`: {note}\n")), "{line}\n{policy}");
                assert!(!policy.contains("allow: {"), "{line}\n{policy}");
            }
            Err(error) => assert!(error.contains(&format!("line 10: `{line}`: {note}")), "{line}: {error}"),
        }
    }
    let error = squid("acl good dstdomain .example.com\n").unwrap_err();
    assert!(error.starts_with("line 1: no `http_access` line allows or denies the lists"), "{error}");
    let policy = of(Origin::Squid, &format!("{LISTS}http_access allow good\nhttp_access deny bad\n"));
    assert!(policy.contains("line 10: the last access line denies, so squid allows every other host"), "{policy}");
}

#[test]
fn regular_expressions_of_squid_that_mean_domains_are_taken() {
    let text =
        "acl rx dstdom_regex (^|\\.)example\\.com$ ^www\\.example\\.net$ \\.example\\.org$ cdn\nhttp_access allow rx\n";
    let policy = of(Origin::Squid, text);
    for host in ["- \"**.example.com\"\n", "- example.com\n", "- www.example.net\n", "- \"**.example.org\"\n"] {
        assert!(policy.contains(host), "{host}\n{policy}");
    }
    assert!(policy.contains("# - line 1: acl rx: `cdn` is not a pattern that hosts have here\n"), "{policy}");
}

#[test]
fn what_a_list_of_domains_excludes_is_denied() {
    let policy = of(Origin::Domains, ".example.com\n!bad.example.com\n");
    assert!(policy.contains("deny: {host: \"@excluded\"}") && policy.contains("- bad.example.com"), "{policy}");
    let error = import(Origin::Domains, "p", ".example.com\n!bad.example.com/path\n").unwrap_err();
    assert!(matches!(error, ImportError::Refused { line: 2, .. }), "{error}");
    let error = import(Origin::Domains, "p", ".example.com\nallow !bad.example.com\n").unwrap_err();
    assert!(matches!(error, ImportError::Refused { line: 2, .. }), "{error}");
}
