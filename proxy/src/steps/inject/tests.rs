//! Credentials and placeholders in heads, against values.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::steps::route::route;
use crate::testing::{Bench, HOST, Setup, VALUE, credential};

const RULE: &str = "{id: r, allow: {host: api.example.com}, use: [token]}";

fn bench(kind: Kind) -> Bench {
    Setup::new(&[RULE]).credential("token", kind).build()
}

fn kind(text: &str) -> Kind {
    Kind::location(text).unwrap()
}

/// Attaches credentials to a request with this target and these fields, and closes its record.
async fn armed(bench: &Bench, target: &str, fields: &str) -> Result<Armed, Refusal> {
    let line = bench.line("GET", "/");
    let asked = bench.asked(&format!("GET {target} HTTP/1.1\r\nHost: api.example.com\r\n{fields}\r\n")).await;
    let routed = route(bench.exchange(), asked)?;
    let mut trail = bench.trail();
    let armed = inject(line.wanted(), routed, &line.active, &mut trail);
    trail.abort();
    armed
}

async fn refused(bench: &Bench, target: &str, fields: &str) -> Reason {
    let reads = bench.core.proxy.vault.reads();
    let refusal = armed(bench, target, fields).await.err().unwrap();
    assert_eq!(bench.core.proxy.vault.reads(), reads, "a secret was opened for {target} {fields}");
    refusal.reason()
}

fn field<'a>(armed: &'a Armed, name: &str) -> &'a str {
    armed.fields.get(name).unwrap().to_str().unwrap()
}

#[tokio::test]
async fn a_rule_adds_its_credential_over_what_the_client_sent_there() {
    let bench = bench(Kind::bearer());
    let armed = armed(&bench, "/a", "Authorization: Bearer of-the-client\r\n").await.unwrap();
    assert_eq!(field(&armed, "authorization"), format!("Bearer {VALUE}"));
    assert_eq!(armed.fields.get_all("authorization").count(), 1);
    assert!(armed.fields.get("authorization").unwrap().is_sensitive());
    assert_eq!((armed.leases.len(), armed.lent[0].used.version, armed.target.as_str()), (1, 1, "/a"));
    assert!(armed.patterns.iter().any(|pattern| **pattern == *VALUE.as_bytes()));
    let closed = bench.closing();
    assert_eq!(closed["injected_into"], serde_json::json!(["header authorization"]));
    assert_eq!(closed["replaced"], serde_json::json!(["header authorization"]));
    assert_eq!(closed["credentials"][0]["name"], "token");
}

#[tokio::test]
async fn a_placeholder_gives_way_to_the_value_in_each_location() {
    let query = bench(kind("query:key"));
    let target = format!("/a?x=1&key={}&y", query.placeholder("token"));
    assert_eq!(armed(&query, &target, "").await.unwrap().target.as_str(), format!("/a?x=1&y&key={VALUE}"));
    let header = bench(kind("header:X-Key"));
    let fields = format!("X-Key: {}\r\n", header.placeholder("token"));
    assert_eq!(field(&armed(&header, "/", &fields).await.unwrap(), "x-key"), VALUE);
    let cookie = bench(kind("cookie:sid"));
    let fields = format!("Cookie: sid={}\r\n", cookie.placeholder("token"));
    assert_eq!(field(&armed(&cookie, "/", &fields).await.unwrap(), "cookie"), format!("sid={VALUE}"));
    let bearer = bench(Kind::bearer());
    for sent in [format!("user:{}", bearer.placeholder("token")), format!("{}:", bearer.placeholder("token"))] {
        let fields = format!("Authorization: Basic {}\r\n", STANDARD.encode(&sent));
        let armed = armed(&bearer, "/", &fields).await.unwrap();
        let pair = STANDARD.encode(sent.replace(bearer.placeholder("token"), VALUE));
        assert_eq!(field(&armed, "authorization"), format!("Basic {pair}"));
    }
}

#[tokio::test]
async fn a_placeholder_anywhere_else_refuses_the_request_before_a_secret_is_opened() {
    let bench = bench(kind("header:X-Key"));
    let placeholder = bench.placeholder("token").to_owned();
    let twice = format!("X-Key: {placeholder}\r\nX-Key: {placeholder}\r\n");
    let hidden: String = placeholder.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for (target, fields) in [
        ("/", format!("X-Other: {placeholder}\r\n")),
        ("/", format!("X-Key: before {placeholder}\r\n")),
        ("/", format!("Cookie: sid={placeholder}\r\n")),
        ("/", format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("user:{placeholder}:more")))),
        ("/", format!("X-Other: {}\r\n", STANDARD.encode(&placeholder))),
        ("/", format!("{placeholder}: x\r\n")),
        ("/", twice),
        (&*format!("/{placeholder}"), String::new()),
        (&*format!("/?key={placeholder}"), String::new()),
        (&*format!("/?key={hidden}"), String::new()),
    ] {
        assert_eq!(refused(&bench, target, &fields).await, Reason::PlaceholderMisplaced, "{target} {fields}");
    }
}

#[tokio::test]
async fn another_sessions_placeholder_and_an_invented_one_are_alike() {
    let (own, other) = (bench(kind("header:X-Key")), bench(kind("header:X-Key")));
    let invented = format!("egret_ph_{}", "a".repeat(32));
    for placeholder in [other.placeholder("token"), &invented] {
        let fields = format!("X-Key: {placeholder}\r\n");
        assert_eq!(refused(&own, "/", &fields).await, Reason::PlaceholderUnknown, "{placeholder}");
    }
}

#[tokio::test]
async fn more_than_a_few_placeholders_are_a_probe() {
    let bench = bench(kind("header:X-Key"));
    let many: String = (0..9).map(|n| format!("X-{n}: {}\r\n", bench.placeholder("token"))).collect();
    let line = bench.line("GET", "/");
    let asked = bench.asked(&format!("GET / HTTP/1.1\r\nHost: api.example.com\r\n{many}\r\n")).await;
    let routed = route(bench.exchange(), asked).unwrap();
    assert!(find(line.wanted().session, &routed).is_err());
}

#[tokio::test]
async fn a_placeholder_needs_the_rule_the_audience_tls_and_a_running_session() {
    let send = |bench: Bench| async move {
        let fields = format!("X-Key: {}\r\n", bench.placeholder("token"));
        refused(&bench, "/", &fields).await
    };
    let unused = Setup::new(&["{id: r, allow: {host: api.example.com}}"]).credential("token", kind("header:X-Key"));
    assert_eq!(send(unused.build()).await, Reason::PlaceholderMisplaced);
    let elsewhere = credential("token", kind("header:X-Key"), "other.example.com");
    let elsewhere = Setup::new(&[RULE]).with_credential(elsewhere);
    assert_eq!(send(elsewhere.build()).await, Reason::PlaceholderMisplaced);
    let mut plain = Setup::new(&["{id: r, allow: {host: api.example.com, scheme: http}}"]);
    plain.scheme = model::Scheme::Http;
    assert_eq!(send(plain.credential("token", kind("header:X-Key")).build()).await, Reason::DeniedPlaintext);
    let idle = bench(kind("header:X-Key"));
    idle.core.proxy.sessions.set_state(&idle.session.id, sessions::State::Idle, clock::now()).unwrap();
    assert_eq!(send(idle).await, Reason::PlaceholderMisplaced);
}

#[tokio::test]
async fn a_request_goes_without_a_credential_that_is_not_for_its_host_and_the_record_says_so() {
    let elsewhere = credential("token", Kind::bearer(), "other.example.com");
    let bench = Setup::new(&[RULE]).with_credential(elsewhere).build();
    let armed = armed(&bench, "/", "").await.unwrap();
    assert!(armed.leases.is_empty() && !armed.fields.contains("authorization"));
    let why = "without credential `token`: its audience does not include this host and port";
    assert_eq!(bench.closing()["detail"], why);
}

#[tokio::test]
async fn two_credentials_for_one_location_conflict_unless_a_placeholder_chooses() {
    let both = "{id: r, allow: {host: api.example.com}, use: [one, two]}";
    let bench = Setup::new(&[both]).credential("one", Kind::bearer()).credential("two", Kind::bearer()).build();
    assert_eq!(refused(&bench, "/", "").await, Reason::CredentialConflict);
    let fields = format!("Authorization: Bearer {}\r\n", bench.placeholder("two"));
    let armed = armed(&bench, "/", &fields).await.unwrap();
    assert_eq!(armed.lent.iter().map(|lent| lent.used.name.as_str()).collect::<Vec<_>>(), ["two"]);
}

#[tokio::test]
async fn a_use_is_counted_and_the_last_one_refuses_the_next() {
    let mut setup = Setup::new(&[RULE]).credential("token", Kind::bearer());
    setup.bounds.uses = Some(1);
    let bench = setup.build();
    assert!(armed(&bench, "/", "").await.unwrap().lent[0].counts);
    assert_eq!(refused(&bench, "/", "").await, Reason::BudgetExhausted);
}

#[tokio::test]
async fn other_authentication_of_the_client_is_removed_where_a_credential_goes() {
    let bench = bench(Kind::bearer());
    let armed = armed(&bench, "/?access_token=x&a=1", "X-Api-Key: mine\r\n").await.unwrap();
    assert!(!armed.fields.contains("x-api-key"));
    assert_eq!(armed.target.as_str(), "/?a=1");
    assert_eq!(armed.stripped, ["x-api-key", "query access_token"]);
    assert_eq!(refused(&bench, "/?X-Amz-Signature=x", "").await, Reason::ForeignCredential);
}

#[tokio::test]
async fn a_body_is_searched_where_the_session_has_placeholders() {
    let coded = "Content-Encoding: compress\r\nContent-Length: 2\r\n";
    assert_eq!(refused_with_body(&bench(kind("header:X-Key")), coded).await, Some(Reason::CodingUnsupported));
    assert_eq!(refused_with_body(&Bench::new(&["{id: r, allow: {host: api.example.com}}"]), coded).await, None);
    let plain = bench(kind("header:X-Key"));
    let line = plain.line("GET", "/");
    let asked = plain.asked(&format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nhi")).await;
    let routed = route(plain.exchange(), asked).unwrap();
    let armed = inject(line.wanted(), routed, &line.active, &mut plain.trail()).unwrap();
    assert!(armed.watch.unwrap().must_search && armed.trailers.is_some());
}

async fn refused_with_body(bench: &Bench, fields: &str) -> Option<Reason> {
    let line = bench.line("GET", "/");
    let asked = bench.asked(&format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\nhi")).await;
    let routed = route(bench.exchange(), asked).unwrap();
    inject(line.wanted(), routed, &line.active, &mut bench.trail()).err().map(|refusal| refusal.reason())
}
