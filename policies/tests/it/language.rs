//! What the keys beyond host, method and path mean.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use egret_policies::{
    CombineError, ConnectQuery, Denied, Passage, Permit, PolicySet, Question, Rules, Subject, Verdict, compile,
};
use model::{Authority, Destination, Host, PolicyName, Reason, RequestPath, Scheme, TenantId, Timestamp};

use crate::support::{answer, ask, codes, connect, policy, rules, set, sources};

/// A request with what the short form leaves out.
struct Asked<'a> {
    url: &'a str,
    websocket: bool,
    tool: Option<&'a str>,
    now: &'a str,
}

const PLAIN: Asked<'_> = Asked { url: "a.example/", websocket: false, tool: None, now: "2026-01-01T00:00:00Z" };

fn judge(rules: &Arc<Rules>, asked: &Asked<'_>) -> Result<Permit, Denied> {
    let (authority, target) = asked.url.split_at(asked.url.find('/').unwrap());
    let destination = Destination::of(Scheme::Https, Authority::parse(authority, true).unwrap());
    let path = RequestPath::parse(target).unwrap();
    rules.authorize(&Question {
        destination: &destination,
        method: "GET",
        path: &path,
        websocket: asked.websocket,
        tool: asked.tool,
        now: asked.now.parse().unwrap(),
    })
}

fn said(rules: &Arc<Rules>, asked: &Asked<'_>) -> String {
    match judge(rules, asked) {
        Ok(permit) => permit.rule().map_or_else(|| "observe".to_owned(), |rule| format!("allow {rule}")),
        Err(denied) => denied.reason.to_string(),
    }
}

#[test]
fn an_ask_goes_before_an_allow_and_after_a_deny() {
    let rules = policy(
        "  - {id: all, allow: {host: a.example}}\n  - {id: deploy, ask: {host: a.example, path: [/deploy, /no]}, within: 10m, reason: Ask ops.}\n  - {id: never, deny: {host: a.example, path: /no}}\n  - {id: only, ask: {host: b.example}}\n",
    );
    assert_eq!(answer(&rules, "GET https://a.example/"), "allow all");
    assert_eq!(answer(&rules, "GET https://a.example/no"), "deny denied_path never");
    let asked = ask(&rules, "POST https://a.example/deploy").unwrap_err();
    assert!(asked.is_ask() && asked.reason == Reason::ApprovalRequired);
    assert_eq!(
        (asked.approval_timeout, asked.author_message.as_deref()),
        (Some(Duration::from_secs(600)), Some("Ask ops."))
    );
    // The CONNECT passes, so that the refusal can be read.
    assert_eq!(connect(&rules, "b.example", 443), "Intercept");
    assert_eq!(answer(&rules, "GET https://b.example/"), "deny approval_required only");
}

#[test]
fn t079_what_has_ended_allows_nothing() {
    let rules = policy(
        "  - {id: r, allow: {host: a.example}, until: \"2026-06-01T12:00:00Z\"}\n  - {id: day, allow: {host: b.example}, until: 2026-06-01}\n",
    );
    let at = |url, now| said(&rules, &Asked { url, now, ..PLAIN });
    assert_eq!(at("a.example/", "2026-06-01T11:59:59Z"), "allow r");
    assert_eq!(at("a.example/", "2026-06-01T12:00:00Z"), "denied_host");
    assert_eq!(at("b.example/", "2026-06-01T23:59:59Z"), "allow day");
    assert_eq!(at("b.example/", "2026-06-02T00:00:00Z"), "denied_host");
    let permit = judge(&rules, &PLAIN).unwrap();
    assert_eq!(permit.until(), Some("2026-06-01T12:00:00Z".parse().unwrap()));
    let connect = |now: &str| {
        rules
            .decide(&ConnectQuery { host: &Host::parse("a.example").unwrap(), port: 443, now: now.parse().unwrap() })
            .is_ok()
    };
    assert!(connect("2026-01-01T00:00:00Z") && !connect("2026-07-01T00:00:00Z"));
}

#[test]
fn the_end_of_a_policy_ends_what_it_grants_but_not_what_it_denies() {
    let rules = rules(&[
        "policy: short\nuntil: 2026-01-31\nrules:\n  - {id: r, allow: {host: [a.example, b.example]}}\n  - {id: never, deny: {host: c.example}}\n",
        "policy: long\nrules:\n  - {id: r, allow: {host: c.example}}\n",
    ]);
    let late = "2026-02-01T00:00:00Z";
    assert_eq!(said(&rules, &PLAIN), "allow r");
    assert_eq!(said(&rules, &Asked { now: late, ..PLAIN }), "denied_host");
    assert_eq!(said(&rules, &Asked { url: "c.example/", now: late, ..PLAIN }), "denied_host");
}

#[test]
fn t070_a_limited_parameter_stands_once_with_its_value() {
    let rules = policy(
        "  - {id: r, allow: {host: a.example, query: {ref: [main, \"v*\"], page: 1}}}\n  - {id: force, deny: {host: a.example, query: {force: \"true\"}}}\n",
    );
    for (query, want) in [
        ("ref=main&page=1", "allow r"),
        ("page=1&other=x&ref=v1.2", "allow r"),
        ("ref=main", "denied_path"),
        ("ref=main&page=1&ref=main", "denied_path"),
        ("ref=main&page=1&%72ef=x", "denied_path"),
        ("ref=main&page=1&force=false&force=true", "denied_path"),
    ] {
        assert_eq!(said(&rules, &Asked { url: &format!("a.example/?{query}"), ..PLAIN }), want, "{query}");
    }
}

#[test]
fn nobody_knowing_the_tool_a_deny_matches_and_an_allow_does_not() {
    let rules = policy(
        "  - {id: r, allow: {host: [a.example, b.example], tool: [bash, \"mcp__*\"]}}\n  - {id: never, deny: {host: a.example, tool: mcp__browser}}\n  - {id: any, allow: {host: c.example}}\n  - {id: not-bash, deny: {host: c.example, tool: bash}}\n",
    );
    for (url, tool, want) in [
        ("a.example/", Some("bash"), "allow r"),
        ("a.example/", Some("mcp__git"), "allow r"),
        ("a.example/", Some("mcp__browser"), "denied_tool"),
        ("a.example/", Some("other"), "denied_tool"),
        ("a.example/", None, "denied_tool"),
        ("b.example/", None, "denied_tool"),
        ("c.example/", Some("x"), "allow any"),
        ("c.example/", None, "denied_tool"),
    ] {
        assert_eq!(said(&rules, &Asked { url, tool, ..PLAIN }), want, "{url} {tool:?}");
    }
}

#[test]
fn an_upgrade_needs_a_rule_that_names_it() {
    let rules = policy(
        "  - {id: plain, allow: {host: [a.example, c.example]}}\n  - {id: ws, allow: {host: b.example, upgrade: websocket}}\n  - {id: never, deny: {host: c.example, path: /x}}\n",
    );
    for (url, websocket, want) in [
        ("a.example/", false, "allow plain"),
        ("a.example/", true, "denied_upgrade"),
        ("b.example/", true, "allow ws"),
        ("b.example/", false, "denied_upgrade"),
        ("c.example/x", true, "denied_path"),
    ] {
        assert_eq!(said(&rules, &Asked { url, websocket, ..PLAIN }), want, "{url} {websocket}");
    }
}

const WATCH: &str = "policy: watch\nmode: observe\nuntil: 2026-06-01\nrules:\n  - {id: r, allow: {host: a.example}, use: [key]}\n  - {id: closed, deny: {host: c.example}}\n  - {id: q, ask: {host: d.example}}\n";

#[test]
fn an_observing_policy_alone_lets_pass_what_no_rule_allows() {
    let rules = rules(&[WATCH]);
    assert_eq!(said(&rules, &PLAIN), "allow r");
    let permit = judge(&rules, &Asked { url: "b.example/x", ..PLAIN }).unwrap();
    assert_eq!((permit.rule(), permit.policy().as_str(), permit.credentials()), (None, "watch", &[][..]));
    assert_eq!(permit.would_deny().unwrap().reason, Reason::DeniedHost);
    assert_eq!(permit.until(), Some("2026-06-02T00:00:00Z".parse().unwrap()));
    let dials = |address: &str| permit.allows_address(address.parse::<IpAddr>().unwrap());
    assert!(dials("93.184.216.34") && !dials("10.0.0.1") && !dials("169.254.169.254"));
    assert_eq!(said(&rules, &Asked { url: "c.example/", ..PLAIN }), "denied_host");
    let asked = judge(&rules, &Asked { url: "d.example/", ..PLAIN }).unwrap();
    assert_eq!(asked.would_deny().unwrap().reason, Reason::ApprovalRequired);
    assert_eq!(said(&rules, &Asked { url: "10.0.0.1/", ..PLAIN }), "denied_address");
    assert_eq!(said(&rules, &Asked { url: "b.example/", now: "2026-06-02T00:00:00Z", ..PLAIN }), "denied_host");
    assert_eq!(connect(&rules, "anything.example", 8443), "Intercept");
}

#[test]
fn an_observing_policy_beside_others_only_says_what_it_would_do() {
    let rules = rules(&[WATCH, "policy: open\nrules:\n  - {id: o, allow: {host: [b.example, c.example]}}\n"]);
    assert!(rules.has_observers());
    assert_eq!(said(&rules, &PLAIN), "denied_host");
    for (url, want) in [("b.example/", Some(Reason::DeniedHost)), ("c.example/", Some(Reason::DeniedHost))] {
        assert_eq!(said(&rules, &Asked { url, ..PLAIN }), "allow o");
        let (authority, target) = url.split_at(url.find('/').unwrap());
        let destination = Destination::of(Scheme::Https, Authority::parse(authority, true).unwrap());
        let path = RequestPath::parse(target).unwrap();
        let question = crate::support::question(&destination, "GET", &path);
        let seen = rules.would_deny(&question);
        assert_eq!(seen.iter().map(|o| (o.policy.as_str(), o.verdict)).collect::<Vec<_>>(), [("watch", Verdict::Deny)]);
        assert_eq!(seen.first().map(|o| o.denied.reason), want);
    }
}

const TOP: &str = "policy: top\nceiling: true\nrules:\n  - {id: ours, allow: {host: [a.example, b.example], methods: [GET]}, limits: {request_body: 1KiB}, timeouts: {idle: 5s}}\n  - {id: careful, ask: {host: b.example, path: /admin}}\n  - {id: never, deny: {host: a.example, path: /no}}\n";

#[test]
fn a_ceiling_must_allow_as_well_and_narrows() {
    let set = set(&[
        TOP,
        "policy: p\nrules:\n  - {id: r, allow: {host: [a.example, b.example, c.example]}, use: [key], limits: {request_body: 1MiB, bytes_out: 9}, timeouts: {idle: 1m, connect: 2s}}\n",
    ]);
    let rules = set.rules_for_policies(&["p".into()]).unwrap();
    assert_eq!(answer(&rules, "GET https://a.example/"), "allow r");
    assert_eq!(answer(&rules, "POST https://a.example/"), "deny denied_method");
    assert_eq!(answer(&rules, "GET https://c.example/"), "deny denied_host");
    assert_eq!(ask(&rules, "POST https://a.example/").unwrap_err().policy, Some("top".into()));
    assert_eq!(answer(&rules, "GET https://b.example/admin"), "deny approval_required careful");
    assert_eq!(answer(&rules, "GET https://a.example/no"), "deny denied_path never");
    assert_eq!(connect(&rules, "c.example", 443), "deny denied_host");
    let permit = ask(&rules, "GET https://a.example/").unwrap();
    assert_eq!(permit.credentials().len(), 1);
    assert_eq!((permit.limits().request_body, permit.limits().bytes_out), (Some(1024), Some(9)));
    assert_eq!(
        (permit.timeouts().idle, permit.timeouts().connect),
        (Some(Duration::from_secs(5)), Some(Duration::from_secs(2)))
    );
}

#[test]
fn a_line_that_only_yaml_ends_hides_nothing() {
    let hidden =
        "policy: p\nrules:\n  - {id: a, allow: {host: a.example}} # nothing\r  - {id: b, allow: {host: b.example}}\n";
    assert_eq!(codes(hidden), ["EG0002"]);
    assert!(compile(&sources(&[&hidden.replace("\r", "\r\n")])).is_ok());
}

#[test]
fn a_ceiling_past_its_end_lets_nothing_pass() {
    let top = TOP.replace("ceiling: true", "ceiling: true\nuntil: 2026-01-31");
    let set = set(&[&top, "policy: p\nrules:\n  - {id: r, allow: {host: a.example}}\n"]);
    let rules = set.rules_for_policies(&["p".into()]).unwrap();
    assert_eq!(said(&rules, &PLAIN), "allow r");
    assert_eq!(said(&rules, &Asked { now: "2026-02-01T00:00:00Z", ..PLAIN }), "denied_host");
}

fn subject<'a>(
    tenant: &'a TenantId,
    agent: Option<&'a str>,
    labels: &'a BTreeMap<String, String>,
    policies: &'a [PolicyName],
) -> Subject<'a> {
    Subject { tenant, agent, labels, policies }
}

#[test]
fn a_policy_applies_to_the_sessions_that_it_selects() {
    let set: PolicySet = set(&[
        "policy: web\napplies_to: {agents: [\"web-*\"], labels: {team: [web, site]}}\nrules:\n  - {id: w, allow: {host: a.example}}\n",
        "policy: top\nceiling: true\napplies_to: {tenants: acme}\nrules:\n  - {id: t, allow: {host: b.example}}\n",
    ]);
    let (acme, other) = (TenantId::from("acme"), TenantId::from("other"));
    let labels = BTreeMap::from([("team".to_owned(), "site".to_owned())]);
    let (none, web, top) = (BTreeMap::new(), [PolicyName::from("web")], [PolicyName::from("top")]);
    let rules = |subject: Subject<'_>| set.rules_for_session(&subject);
    let selected = rules(subject(&other, Some("web-1"), &labels, &[])).unwrap();
    assert_eq!(answer(&selected, "GET https://a.example/"), "allow w");
    for (agent, labels) in [(None, &labels), (Some("api"), &labels), (Some("web-1"), &none)] {
        let rules = rules(subject(&other, agent, labels, &[])).unwrap();
        assert_eq!(answer(&rules, "GET https://a.example/"), "deny denied_host");
    }
    let under = rules(subject(&acme, Some("web-1"), &labels, &[])).unwrap();
    assert_eq!(answer(&under, "GET https://a.example/"), "deny denied_host");
    let refused = rules(subject(&other, None, &none, &web)).unwrap_err();
    assert_eq!(refused, CombineError::DoesNotApply("web".into()));
    assert_eq!(rules(subject(&acme, None, &none, &top)).unwrap_err(), CombineError::Ceiling("top".into()));
    assert!(rules(subject(&other, Some("web-1"), &labels, &web)).is_ok());
}

#[test]
fn t029_a_tunnel_is_decided_whole() {
    let rules = policy(
        "  - {id: ssh, allow: {host: git.example, port: 22}, tls: pass-through, limits: {concurrent: 2}}\n  - {id: r, allow: {host: git.example}}\n",
    );
    assert_eq!(connect(&rules, "git.example", 22), "Tunnel ssh");
    assert_eq!(connect(&rules, "git.example", 443), "Intercept");
    assert_eq!(connect(&rules, "other.example", 22), "deny denied_host");
    assert_eq!(connect(&rules, "git.example", 23), "deny denied_port");
    assert_eq!(answer(&rules, "GET https://git.example/"), "allow r");
    // Bytes that are not read cannot come as a request in absolute form.
    assert_eq!(said(&rules, &Asked { url: "git.example:22/", ..PLAIN }), "protocol_not_allowed");
    let host = Host::parse("git.example").unwrap();
    let Ok(Passage::Tunnel(permit)) = rules.decide(&ConnectQuery { host: &host, port: 22, now: Timestamp::UNIX_EPOCH })
    else {
        panic!("a tunnel");
    };
    assert_eq!(permit.limits().concurrent, Some(2));
}

#[test]
fn a_tunnel_passes_under_a_ceiling_that_need_not_read() {
    let own = "policy: p\nrules:\n  - {id: t, allow: {host: a.example}, tls: pass-through}\n";
    for (rule, want) in [
        ("allow: {host: \"**\"}", "Tunnel t"),
        ("allow: {host: a.example}, tls: pass-through", "Tunnel t"),
        ("allow: {host: a.example, methods: [GET]}", "deny protocol_not_allowed"),
        ("allow: {host: b.example}", "deny protocol_not_allowed"),
        ("ask: {host: a.example}", "deny approval_required c"),
    ] {
        let set = set(&[own, &format!("policy: top\nceiling: true\nrules:\n  - {{id: c, {rule}}}\n")]);
        assert_eq!(connect(&set.rules_for_policies(&["p".into()]).unwrap(), "a.example", 443), want, "{rule}");
    }
}

#[test]
fn reading_and_not_reading_a_host_do_not_mix() {
    for other in [
        "allow: {host: a.example, methods: [GET]}",
        "allow: {host: \"*.example\", port: [443, 8443]}, until: 2030-01-01",
        "deny: {host: \"**\", methods: [DELETE]}",
        "ask: {host: a.example}",
    ] {
        let other = other.replace("*.example\"", "**.example\"");
        let text = format!(
            "policy: p\nrules:\n  - {{id: t, allow: {{host: a.b.example}}, tls: pass-through}}\n  - {{id: o, {}}}\n",
            other.replace("a.example", "a.b.example").replace("**.example", "**.b.example")
        );
        assert_eq!(codes(&text), ["EG0036"], "{other}");
    }
    let set = set(&[
        "policy: p\nrules:\n  - {id: t, allow: {host: a.example}, tls: pass-through}\n",
        "policy: q\nrules:\n  - {id: o, allow: {host: a.example}}\n",
    ]);
    let error = set.rules_for_policies(&["p".into(), "q".into()]).unwrap_err();
    assert!(
        matches!(&error, CombineError::Mixed { passing, reading } if passing.rule.as_str() == "t" && reading.rule.as_str() == "o"),
        "{error}"
    );
}

#[test]
fn what_cannot_be_kept_is_an_error() {
    let rule = |rest: &str| format!("policy: p\nrules:\n  - {{id: r, {rest}}}\n");
    for (text, code) in [
        (rule("allow: {host: a.b.example, path: /x}, tls: pass-through"), "EG0035"),
        (rule("allow: {host: a.b.example}, use: [key], tls: pass-through"), "EG0035"),
        (rule("allow: {host: a.b.example, scheme: http}, tls: pass-through"), "EG0035"),
        (rule("allow: {host: a.b.example}, within: 5m"), "EG0014"),
        (rule("allow: {host: a.b.example}, hold: 25s"), "EG0014"),
        (rule("deny: {host: a.b.example}, hold: 25s"), "EG0014"),
        (rule("deny: {host: a.b.example}, limits: {concurrent: 1}"), "EG0014"),
        (rule("allow: {host: a.b.example}, limits: {requests: 600}"), "EG0033"),
        (rule("allow: {host: a.b.example}, limits: {request_body: 10MB}"), "EG0033"),
        (rule("allow: {host: a.b.example}, timeouts: {idle: 5}"), "EG0034"),
        (rule("allow: {host: a.b.example}, until: tomorrow"), "EG0032"),
        (rule("allow: {host: a.b.example}, until: 2026-02-30"), "EG0032"),
        (rule("allow: {host: a.b.example, query: {}}"), "EG0015"),
        (rule("allow: {host: a.b.example, tool: \"a**\"}"), "EG0031"),
        ("policy: p\nmode: observe\n".to_owned(), "EG0037"),
        ("policy: p\nceiling: true\nmode: observe\nuntil: 2030-01-01\n".to_owned(), "EG0038"),
        ("policy: p\nceiling: true\nrules:\n  - {id: r, allow: {host: a.b.example}, use: key}\n".to_owned(), "EG0038"),
        ("policy: p\napplies_to: {}\n".to_owned(), "EG0046"),
        (rule("allow: {host: \"*.co.uk\"}"), "EG0017"),
        (rule("allow: {host: \"**\"}"), "EG0017"),
    ] {
        assert_eq!(codes(&text), [code], "{text}");
    }
    let every_host = "policy: p\nceiling: true\nrules:\n  - {id: r, allow: {host: \"**\"}}\n";
    assert!(compile(&sources(&[every_host])).is_ok());
}

#[test]
fn asks_that_rank_equal_and_differ_tie() {
    let text = "policy: p\nrules:\n  - {id: a, ask: {host: a.example}, within: 1m}\n  - {id: b, ask: {host: a.example}, within: 2m}\n";
    assert_eq!(codes(text), ["EG0060", "EG0027", "EG0060"]);
    assert_eq!(codes(&text.replace("within", "hold")), ["EG0060", "EG0027", "EG0060"]);
    let apart = "policy: p\nrules:\n  - {id: a, allow: {host: a.example, tool: x}, use: [k]}\n  - {id: b, allow: {host: a.example, tool: y}, use: [l]}\n";
    assert!(compile(&sources(&[apart])).is_ok());
    let apart = apart.replace("tool: x", "query: {a: x}").replace("tool: y", "query: {a: y}");
    assert!(compile(&sources(&[&apart])).is_ok());
    let together = apart.replace("query: {a: y}", "query: {b: y}");
    assert_eq!(codes(&together), ["EG0027"]);
}

#[test]
fn checks_say_the_tool_the_upgrade_and_the_time() {
    let set = set(&[
        "policy: p\nrules:\n  - {id: r, allow: {host: a.example, tool: bash}, until: 2026-06-01}\n  - {id: ws, allow: {host: b.example, upgrade: websocket}}\n  - {id: q, ask: {host: c.example}}\nchecks:\n  - {request: GET https://a.example/, tool: bash, at: 2026-05-01, expect: allow, rule: r}\n  - {request: GET https://a.example/, expect: deny, code: denied_tool}\n  - {request: GET https://a.example/, tool: bash, at: 2026-06-01, expect: deny, code: denied_host}\n  - {request: GET https://b.example/, upgrade: websocket, expect: allow}\n  - {request: GET https://c.example/, expect: ask, rule: q}\n  - {request: GET https://c.example/, expect: deny}\n",
    ]);
    let passed: Vec<bool> = set.run_checks(Timestamp::UNIX_EPOCH).iter().map(|result| result.passed()).collect();
    assert_eq!(passed, [true, true, true, true, true, false]);
}

/// An ask in one reading is not a way around what the other reading is refused.
#[test]
fn a_rule_asks_only_where_every_reading_gets_it() {
    let rules = policy(
        "  - {id: a, ask: {host: a.example, path: /a/**}}\n  - {id: b, allow: {host: a.example, path: /b/**}}\n",
    );
    for (request, said) in [
        ("GET https://a.example/a//x", "deny approval_required a"),
        ("GET https://a.example/a/../b/x", "deny denied_path"),
        ("GET https://a.example/b/../a/x", "deny denied_path"),
        ("GET https://a.example//x/a/y", "deny denied_path"),
        ("GET https://a.example/a%2fx", "deny denied_path"),
    ] {
        assert_eq!(answer(&rules, request), said, "{request}");
    }
}
