//! E: secrets. They go where all four keys fit, and come back masked.

use std::io::Write as _;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use egret_tests::canary::{Canary, contains};
use egret_tests::client::{self, Answer, H2, Tunnel};
use egret_tests::egret::Session;
use egret_tests::origin::script::{Script, Step};
use egret_tests::pki::Flaw;
use egret_tests::records::Record;
use egret_tests::refusal;
use egret_tests::shared::Shared;

use crate::world::World;

static SHARED: Shared<Secrets> = Shared::new();

const POLICY: &str = r#"
policy: secrets
rules:
  - id: bearer
    allow: {host: ["bearer.origin.test", "h1.origin.test", "raw.origin.test", "slow.origin.test", "partial.origin.test", "bad.origin.test"], port: PORT, LOCAL}
    use: [bearer]
  - id: basic
    allow: {host: ["basic.origin.test", "basic-h1.origin.test", "basic-raw.origin.test"], port: PORT, LOCAL}
    use: [basic]
  - id: header
    allow: {host: header.origin.test, port: PORT, LOCAL}
    use: [header]
  - id: query
    allow: {host: query.origin.test, port: PORT, LOCAL}
    use: [query]
  - id: open
    allow: {host: open.origin.test, port: PORT, LOCAL}
  - id: plain
    allow: {host: bearer.origin.test, port: PLAIN, scheme: http, LOCAL}
"#;

const HOSTS: &[&str] = &[
    "bearer.origin.test",
    "h1.origin.test",
    "raw.origin.test",
    "slow.origin.test",
    "partial.origin.test",
    "bad.origin.test",
    "basic.origin.test",
    "basic-h1.origin.test",
    "basic-raw.origin.test",
    "header.origin.test",
    "query.origin.test",
    "open.origin.test",
];

pub(crate) struct Secrets {
    pub(crate) world: World,
    bearer: Canary,
    password: Canary,
    header: Canary,
    query: Canary,
}

impl Secrets {
    fn new() -> Self {
        let world = World::new(HOSTS, &[POLICY], |setup| setup);
        let audience = |hosts: &[&str]| {
            hosts.iter().flat_map(|host| ["--audience".to_owned(), world.target(host)]).collect::<Vec<_>>()
        };
        let put = |name: &str, kind: &[&str], hosts: &[&str]| {
            let audience = audience(hosts);
            let options: Vec<&str> = kind.iter().copied().chain(audience.iter().map(String::as_str)).collect();
            world.egret.put(name, &options)
        };
        let bearer_hosts = ["bearer", "h1", "raw", "slow", "partial", "bad"].map(|name| format!("{name}.origin.test"));
        let bearer_hosts = bearer_hosts.each_ref().map(String::as_str);
        let bearer = put("bearer", &["--kind", "bearer", "--env", "BEARER_TOKEN"], &bearer_hosts);
        let header = put(
            "header",
            &["--kind", "header", "--header", "X-Api-Key", "--env", "HEADER_KEY"],
            &["header.origin.test"],
        );
        let query = put("query", &["--kind", "query", "--query", "key", "--env", "QUERY_KEY"], &["query.origin.test"]);
        let password = Canary::new("password");
        let audience = audience(&["basic.origin.test", "basic-h1.origin.test", "basic-raw.origin.test"]);
        let mut options = vec!["--kind", "basic", "--env", "BASIC_PASSWORD"];
        options.extend(audience.iter().map(String::as_str));
        world.egret.put_value("basic", &options, &format!("robot:{}", password.value()));
        world.egret.watch(password.clone());
        for host in ["h1.origin.test", "basic-h1.origin.test"] {
            world.origin.protocols(host, &["http/1.1"]);
        }
        world.origin.flaw("bad.origin.test", Flaw::SelfSigned);
        Self { world, bearer, password, header, query }
    }

    pub(crate) fn session(&self) -> Session {
        self.world.egret.session(&["secrets"], &["bearer", "basic", "header", "query"])
    }

    fn get(&self, session: &Session, host: &str, path: &str) -> Answer {
        self.get_with(session, host, path, "")
    }

    fn get_with(&self, session: &Session, host: &str, path: &str, fields: &str) -> Answer {
        client::get_with(&self.world.egret, session, &self.world.target(host), path, fields)
    }

    /// The value of Authorization for the basic credential.
    fn pair(&self) -> String {
        STANDARD.encode(format!("robot:{}", self.password.value()))
    }

    /// The answer contains none of the secrets.
    fn assert_masked(&self, answer: &Answer) {
        let everything = answer.everything();
        for canary in [&self.bearer, &self.password, &self.header, &self.query] {
            canary.assert_absent("an answer", &everything);
        }
        assert!(!contains(&everything, self.pair().as_bytes()), "the basic pair stands in an answer");
    }
}

pub(crate) fn secrets() -> Arc<Secrets> {
    SHARED.get(Secrets::new)
}

#[test]
fn every_kind_is_added() {
    let it = secrets();
    let session = it.session();
    assert_eq!(it.get(&session, "bearer.origin.test", "/added-bearer").status, 200);
    assert_eq!(it.get(&session, "basic.origin.test", "/added-basic").status, 200);
    assert_eq!(it.get(&session, "header.origin.test", "/added-header").status, 200);
    assert_eq!(it.get(&session, "query.origin.test", "/added-query?a=1").status, 200);
    let seen = |mark: &str| it.world.origin.seen_once(mark);
    assert_eq!(seen("/added-bearer").value("authorization"), Some(format!("Bearer {}", it.bearer.value())));
    assert_eq!(seen("/added-basic").value("authorization"), Some(format!("Basic {}", it.pair())));
    assert_eq!(seen("/added-header").value("x-api-key"), Some(it.header.value().to_owned()));
    let encoded = it.query.value().replace('/', "%2F");
    assert_eq!(seen("/added-query").target, format!("/added-query?a=1&key={encoded}"));
    let record = it.world.egret.record_where("the record", |r| {
        r.text("path").starts_with("/added-bearer") && r.text("kind") == "exchange.closed"
    });
    assert!(record.text("credentials").contains("bearer"), "{}", record.0);
    assert_eq!((record.text("decision"), record.text("outcome")), ("allow".to_owned(), "ok".to_owned()));
}

#[test]
fn placeholders_in_fields_are_swapped() {
    let it = secrets();
    let session = it.session();
    let bearer = session.placeholder("BEARER_TOKEN");
    let basic = STANDARD.encode(format!("robot:{}", session.placeholder("BASIC_PASSWORD")));
    let answer =
        it.get_with(&session, "bearer.origin.test", "/swapped-bearer", &format!("Authorization: Bearer {bearer}\r\n"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer =
        it.get_with(&session, "basic.origin.test", "/swapped-basic", &format!("Authorization: Basic {basic}\r\n"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let header = session.placeholder("HEADER_KEY");
    let answer = it.get_with(&session, "header.origin.test", "/swapped-header", &format!("X-Api-Key: {header}\r\n"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = |mark: &str| it.world.origin.seen_once(mark);
    assert_eq!(seen("/swapped-bearer").value("authorization"), Some(format!("Bearer {}", it.bearer.value())));
    assert_eq!(seen("/swapped-basic").value("authorization"), Some(format!("Basic {}", it.pair())));
    assert_eq!(seen("/swapped-header").value("x-api-key"), Some(it.header.value().to_owned()));
    it.world.origin.assert_saw_nothing_of("egret_ph_");
}

#[test]
fn a_placeholder_in_the_query_is_swapped() {
    let it = secrets();
    let session = it.session();
    let query = session.placeholder("QUERY_KEY");
    let answer = it.get(&session, "query.origin.test", &format!("/swapped-query?key={query}&a=1"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let target = it.world.origin.seen_once("/swapped-query").target;
    assert_eq!(target, format!("/swapped-query?a=1&key={}", it.query.value().replace('/', "%2F")));
    it.world.origin.assert_saw_nothing_of("egret_ph_");
}

#[test]
fn a_credential_that_was_not_granted_is_not_added() {
    let it = secrets();
    let session = it.world.egret.session(&["secrets"], &[]);
    let answer = it.get(&session, "bearer.origin.test", "/not-granted");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(it.world.origin.seen_once("/not-granted").value("authorization"), None);
}

#[test]
fn t080_placeholder_at_another_host() {
    let it = secrets();
    let session = it.session();
    let placeholder = session.placeholder("BEARER_TOKEN");
    let field = format!("Authorization: Bearer {placeholder}\r\n");
    for host in ["open.origin.test", "header.origin.test"] {
        let answer = it.get_with(&session, host, "/t080", &field);
        let record = refusal::expect_denied(&it.world.egret, &answer, 403, "placeholder_misplaced");
        assert_eq!(record.0["credentials"], serde_json::json!([{"name": "bearer", "version": 1}]), "{}", record.0);
        assert!(!contains(&answer.everything(), placeholder.as_bytes()), "the refusal repeats the placeholder");
    }
    it.world.origin.assert_saw_nothing_of("t080");
}

#[test]
fn t081_placeholder_outside_its_slot() {
    let it = secrets();
    let session = it.session();
    let placeholder = session.placeholder("BEARER_TOKEN");
    for (path, field) in [
        ("/t081", format!("Cookie: a={placeholder}\r\n")),
        ("/t081", format!("User-Agent: {placeholder}\r\n")),
        ("/t081", format!("Referer: https://x/{placeholder}\r\n")),
        ("/t081", format!("X-Api-Key: {placeholder}\r\n")),
        (&*format!("/t081/{placeholder}"), String::new()),
        (&*format!("/t081?a={placeholder}"), String::new()),
        (&*format!("/t081?{placeholder}"), String::new()),
    ] {
        let answer = it.get_with(&session, "bearer.origin.test", path, &field);
        assert_eq!(answer.status, 403, "{path} {field}: {answer:?}");
        refusal::expect_denied(&it.world.egret, &answer, 403, "placeholder_misplaced");
    }
    it.world.origin.assert_saw_nothing_of("t081");
}

/// Sends a body in chunks; gives the answer.
pub(crate) fn upload(
    it: &Secrets,
    session: &Session,
    host: &str,
    path: &str,
    coding: &str,
    chunks: &[&[u8]],
) -> Answer {
    let target = it.world.target(host);
    let (answer, wire) = client::connect(&it.world.egret, Some(session), &target);
    assert_eq!(answer.status, 200);
    let mut wire = wire.start_tls(client::client_config(&it.world.egret, &["http/1.1"]), host).unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nHost: {target}\r\n{coding}Transfer-Encoding: chunked\r\n\r\n");
    let mut all = head.into_bytes();
    for chunk in chunks {
        all.extend_from_slice(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    }
    all.extend_from_slice(b"0\r\n\r\n");
    // In one write: a client that still sends when the refusal comes may lose it to the closing connection.
    wire.send(all);
    wire.answer()
}

/// The placeholder of the bearer credential in this form, inside a body.
pub(crate) fn body_with(session: &Session, form: impl Fn(&str) -> String) -> Vec<u8> {
    format!("{{\"key\": \"{}\"}}", form(session.placeholder("BEARER_TOKEN"))).into_bytes()
}

/// Sent in pieces, over HTTP/2 and HTTP/1.1, a body is refused, and the origin gets nothing of the placeholder.
pub(crate) fn refused_in_body(it: &Secrets, session: &Session, coding: &str, pieces: &[&[u8]], code: &str) {
    for host in ["bearer.origin.test", "h1.origin.test"] {
        let answer = upload(it, session, host, "/body", coding, pieces);
        refusal::expect_denied(&it.world.egret, &answer, 403, code);
    }
    it.world.origin.assert_saw_nothing_of(session.placeholder("BEARER_TOKEN"));
}

#[test]
fn t081_placeholder_in_a_body() {
    let it = secrets();
    let session = it.session();
    let body = body_with(&session, str::to_owned);
    refused_in_body(&it, &session, "", &[&body], "placeholder_misplaced");
    let unknown = format!("egret_ph_{}", "Z".repeat(32));
    refused_in_body(&it, &session, "", &[unknown.as_bytes()], "placeholder_unknown");
    for innocent in ["egret_ph_", "a mark egret_ph_ and more", "%65gret%5Fph%5F", "egret_ph_0123456789"] {
        let answer = upload(&it, &session, "bearer.origin.test", "/innocent", "", &[innocent.as_bytes()]);
        assert_eq!(answer.status, 200, "{innocent}: {answer:?}");
        assert!(contains(&answer.body, innocent.as_bytes()), "{}", answer.text());
    }
}

#[test]
fn t082_placeholder_cut_or_compressed_in_a_body() {
    let it = secrets();
    let session = it.session();
    let body = body_with(&session, str::to_owned);
    for size in [1, 7, 30] {
        refused_in_body(&it, &session, "", &body.chunks(size).collect::<Vec<_>>(), "placeholder_misplaced");
    }
    let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    coder.write_all(&body).unwrap();
    let packed = coder.finish().unwrap();
    for size in [packed.len(), 1] {
        let pieces: Vec<&[u8]> = packed.chunks(size).collect();
        refused_in_body(&it, &session, "Content-Encoding: gzip\r\n", &pieces, "placeholder_misplaced");
    }
    for coding in ["compress", "br, zstd, gzip", "gzip, gzip, gzip"] {
        let coding = format!("Content-Encoding: {coding}\r\n");
        for host in ["bearer.origin.test", "open.origin.test"] {
            let answer = upload(&it, &session, host, "/t082-coded", &coding, &[b"whatever"]);
            refusal::expect_denied(&it.world.egret, &answer, 415, "coding_unsupported");
        }
        // Without credentials there are no placeholders to search for.
        let bare = it.world.egret.session(&["secrets"], &[]);
        assert_eq!(upload(&it, &bare, "open.origin.test", "/bare", &coding, &[b"whatever"]).status, 200);
    }
    let answer =
        upload(&it, &session, "h1.origin.test", "/t082-broken", "Content-Encoding: gzip\r\n", &[b"no gzip at all"]);
    refusal::expect_denied(&it.world.egret, &answer, 415, "coding_unsupported");
    it.world.origin.assert_saw_nothing_of("t082-coded");
}

#[test]
fn t082_placeholder_in_a_compressed_message() {
    let it = secrets();
    let session = it.session();
    let body = body_with(&session, str::to_owned);
    let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    coder.write_all(&body).unwrap();
    let message =
        |flags: u8, bytes: &[u8]| [&[flags][..], &u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let packed = message(1, &coder.finish().unwrap());
    let text = STANDARD.encode(&packed).into_bytes();
    let grpc = "Content-Type: application/grpc\r\nGrpc-Encoding: gzip\r\n";
    let web = "Content-Type: application/grpc-web-text\r\nGrpc-Encoding: gzip\r\n";
    for (head, body) in [(grpc, &packed), (web, &text)] {
        for size in [body.len(), 1] {
            refused_in_body(&it, &session, head, &body.chunks(size).collect::<Vec<_>>(), "placeholder_misplaced");
        }
    }
    let bare = it.world.egret.session(&["secrets"], &[]);
    for (coding, flags) in [("snappy", 0), ("identity", 1), ("gzip", 1)] {
        let head = format!("Content-Type: application/grpc\r\nGrpc-Encoding: {coding}\r\n");
        let body = message(flags, b"whatever");
        let answer = upload(&it, &session, "h1.origin.test", "/t082-message", &head, &[&body]);
        refusal::expect_denied(&it.world.egret, &answer, 415, "coding_unsupported");
        // Without credentials there are no placeholders to search for.
        assert_eq!(upload(&it, &bare, "open.origin.test", "/bare", &head, &[&body]).status, 200);
    }
}

#[test]
fn t083_placeholder_encoded_in_a_body() {
    let it = secrets();
    let session = it.session();
    let percent = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let json = |text: &str| text.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    let basic = |text: &str| STANDARD.encode(format!("robot:{text}"));
    for body in [body_with(&session, percent), body_with(&session, json), body_with(&session, basic)] {
        for size in [body.len(), 1] {
            refused_in_body(&it, &session, "", &body.chunks(size).collect::<Vec<_>>(), "placeholder_misplaced");
        }
    }
}

#[test]
fn t084_placeholders_that_are_not_this_sessions() {
    let it = secrets();
    let session = it.session();
    let own = session.placeholder("BEARER_TOKEN").to_owned();
    let other = it.session().placeholder("BEARER_TOKEN").to_owned();
    let old_session = it.session();
    let old = old_session.placeholder("BEARER_TOKEN").to_owned();
    it.world.egret.ok(&["session", "end", &old_session.id], "");
    let mut changed = own.clone().into_bytes();
    let last = changed.last_mut().unwrap();
    *last = if *last == b'a' { b'b' } else { b'a' };
    let changed = String::from_utf8(changed).unwrap();
    let unknown = format!("egret_ph_{}", "Z".repeat(32));
    let mut bodies = Vec::new();
    for placeholder in [other, old, unknown, changed] {
        let answer =
            it.get_with(&session, "bearer.origin.test", "/t084", &format!("Authorization: Bearer {placeholder}\r\n"));
        refusal::expect_denied(&it.world.egret, &answer, 403, "placeholder_unknown");
        let mut problem = refusal::problem(&answer);
        problem["record"] = "one".into();
        bodies.push(problem);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "the four answers differ: {bodies:#?}");
    it.world.origin.assert_saw_nothing_of("t084");
}

#[test]
fn t085_placeholders_by_the_thousand() {
    let it = secrets();
    let session = it.session();
    let placeholder = session.placeholder("BEARER_TOKEN").to_owned();
    // Nearly as many as a head can hold: a field for each, and all in one field.
    let fields: String = (0..90).map(|number| format!("X-{number}: {placeholder}\r\n")).collect();
    for fields in [fields, format!("Cookie: {}\r\n", format!("{placeholder} ").repeat(500))] {
        let answer = it.get_with(&session, "bearer.origin.test", "/t085", &fields);
        refusal::expect_denied(&it.world.egret, &answer, 403, "placeholder_misplaced");
    }
    // Nine good ones are more than one request has; which of them could go is not looked at.
    let nine: String = (0..9).map(|_| format!("Authorization: Bearer {placeholder}\r\n")).collect();
    let answer = it.get_with(&session, "bearer.origin.test", "/t085", &nine);
    refusal::expect_denied(&it.world.egret, &answer, 403, "placeholder_misplaced");
    // In bodies, over HTTP/2: there a refusal is not lost when more was on its way.
    let target = it.world.target("bearer.origin.test");
    let upload = |path: &str, body: Vec<u8>| {
        let request = http::Request::post(format!("https://{target}{path}"));
        let request = request.body(http_body_util::Full::from(body)).unwrap();
        H2::open(&it.world.egret, &session, &target).send(request).unwrap()
    };
    let answer = upload("/t085-many", placeholder.repeat(10_000).into_bytes());
    refusal::expect_denied(&it.world.egret, &answer, 403, "placeholder_misplaced");
    // Beginnings of placeholders from end to end, and one that is whole at last: work that grew with the square of the
    // length would not end before the test's patience does.
    let near = placeholder.chars().take(placeholder.len() - 16).chain([' ']).collect::<String>();
    let body = near.repeat((24 << 20) / near.len()) + &placeholder;
    let answer = upload("/t085-large", body.into_bytes());
    refusal::expect_denied(&it.world.egret, &answer, 403, "placeholder_misplaced");
    it.world.origin.assert_saw_nothing_of(&placeholder);
}

#[test]
fn t108_a_client_that_asks_for_its_secrets() {
    let it = secrets();
    let session = it.session();
    let listener = it.world.egret.proxy();
    let ask = |url: &str, host: &str| {
        let answer = client::absolute(&it.world.egret, &session, url, host);
        it.assert_masked(&answer);
        answer
    };
    for path in [
        "/v1/vaults/default/credentials",
        "/v1/vaults/default/credentials/bearer",
        "/v1/vaults/default/backup",
        "/v1/sessions",
        "/v1",
        "/healthz",
        "/metrics",
        "/openapi.json",
    ] {
        for host in ["egret.internal".to_owned(), listener.to_string(), "control.egret.internal".to_owned()] {
            let answer = ask(&format!("http://{host}{path}"), &host);
            refusal::expect_denied(&it.world.egret, &answer, 403, "denied_self");
        }
    }
    // A path that does not exist, or that only looks like one of the API's.
    for path in ["/secrets", "/v10", "//v1/sessions", "/%76%31/sessions"] {
        let answer = ask(&format!("http://egret.internal{path}"), "egret.internal");
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
    }
    for host in ["vault.egret.internal:443", "a.b.egret.internal:80"] {
        let (answer, _) = client::connect(&it.world.egret, Some(&session), host);
        refusal::expect_denied(&it.world.egret, &answer, 403, "denied_self");
    }
    // The socket has no name that a proxy could dial: what looks like one is a host that no rule allows, or none at all.
    for (host, code) in [
        ("control.sock", "denied_host"),
        ("egret", "denied_host"),
        ("localhost", "denied_host"),
        ("unix%3A%2Fcontrol.sock", "bad_host"),
    ] {
        let answer = ask(&format!("http://{host}/v1/vaults/default/credentials"), host);
        assert_eq!(refusal::problem(&answer)["code"], code, "{host}");
    }
    // What Egret does tell about credentials is their names.
    let told = ask("http://egret.internal/", "egret.internal");
    assert_eq!(told.status, 200);
    assert!(told.text().contains("BEARER_TOKEN"), "{}", told.text());
}

#[test]
fn t086_own_authorization_is_replaced() {
    let it = secrets();
    let session = it.session();
    let fields = "Authorization: Bearer mine\r\nauthorization: Basic bWluZTptaW5l\r\n";
    let answer = it.get_with(&session, "bearer.origin.test", "/t086-h1", fields);
    assert_eq!(answer.status, 200, "{answer:?}");
    let target = it.world.target("bearer.origin.test");
    let request = http::Request::get(format!("https://{target}/t086-h2"))
        .header("authorization", "Bearer mine")
        .header("authorization", "Bearer too")
        .body(http_body_util::Full::default())
        .unwrap();
    assert_eq!(H2::open(&it.world.egret, &session, &target).send(request).unwrap().status, 200);
    for mark in ["t086-h1", "t086-h2"] {
        let seen = it.world.origin.seen_once(mark);
        assert_eq!(seen.values("authorization"), [format!("Bearer {}", it.bearer.value())], "{mark}");
    }
    let record = it
        .world
        .egret
        .record_where("the record", |r| r.text("path") == "/t086-h1" && r.text("kind") == "exchange.closed");
    assert_eq!(record.text("decision"), "allow");
    assert_eq!(record.0["replaced"], serde_json::json!(["header authorization"]));
    // A placeholder is substituted, unless the location also contains text of the client.
    let placeholder = session.placeholder("BEARER_TOKEN");
    let swapped = format!("Authorization: Bearer {placeholder}\r\n");
    let query = session.placeholder("QUERY_KEY");
    for (host, path, fields, replaced) in [
        ("bearer.origin.test", "/t086-none", String::new(), serde_json::Value::Null),
        ("bearer.origin.test", "/t086-swapped", swapped.clone(), serde_json::Value::Null),
        (
            "bearer.origin.test",
            "/t086-beside",
            format!("{swapped}Authorization: Bearer mine\r\n"),
            serde_json::json!(["header authorization"]),
        ),
        ("query.origin.test", "/t086-query?key=mine&a=b", String::new(), serde_json::json!(["query"])),
        ("query.origin.test", &format!("/t086-query-swapped?key={query}"), String::new(), serde_json::Value::Null),
    ] {
        let answer = it.get_with(&session, host, path, &fields);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let path = path.split('?').next().unwrap();
        let record = it.world.egret.record_where("the record", |r| {
            r.text("path").split('?').next() == Some(path) && r.text("kind") == "exchange.closed"
        });
        assert_eq!(record.0["replaced"], replaced, "{path}");
    }
}

#[test]
fn t087_values_that_cannot_travel_are_refused_at_import() {
    let it = secrets();
    for (name, value) in
        [("cr", "before\rafter\n"), ("lf", "before\nafter\n"), ("nul", "before\0after\n"), ("empty", "")]
    {
        let output =
            it.world.egret.run(&["vault", "put", name, "--kind", "bearer", "--audience", "a.origin.test"], value);
        assert_eq!(output.status.code(), Some(2), "{name}: {output:?}");
        assert!(!contains(&output.stderr, b"before"), "{name}: the message repeats the value");
    }
    let list = it.world.egret.ok(&["vault", "list", "--format", "json"], "");
    assert!(!list.contains("a.origin.test"), "{list}");
}

#[test]
fn t088_nothing_is_injected_in_clear() {
    let it = secrets();
    let session = it.session();
    let plain = it.world.plain("bearer.origin.test");
    let mut wire = client::Wire::open(&it.world.egret);
    let placeholder = session.placeholder("BEARER_TOKEN");
    wire.send(format!(
        "GET http://{plain}/t088 HTTP/1.1\r\nHost: {plain}\r\nProxy-Authorization: {}\r\nAuthorization: Bearer {placeholder}\r\n\r\n",
        session.authorization()
    ));
    refusal::expect_denied(&it.world.egret, &wire.answer(), 403, "denied_plaintext");
    it.world.origin.assert_saw_nothing_of("t088");
}

#[test]
fn t089_no_byte_goes_to_a_bad_certificate() {
    let it = secrets();
    let session = it.session();
    let answer = it.get(&session, "bad.origin.test", "/t089");
    let record = refusal::expect(&it.world.egret, &answer, 502, "upstream_tls");
    assert_eq!(record.text("fault"), "upstream");
    it.world.origin.assert_saw_nothing_of("t089");
    assert!(it.world.origin.connections("bad.origin.test").iter().all(|c| c.bytes() == 0), "bytes went out");
}

#[test]
fn t090_echo_outside_the_body() {
    let it = secrets();
    let session = it.session();
    for host in
        ["bearer.origin.test", "h1.origin.test", "basic.origin.test", "basic-h1.origin.test", "header.origin.test"]
    {
        for (place, status) in [("header", 200), ("cookie", 200), ("location", 302), ("trailer", 200)] {
            let answer = it.get_with(&session, host, &format!("/into/{place}"), "TE: trailers\r\n");
            assert_eq!(answer.status, status, "{host} {place}: {answer:?}");
            it.assert_masked(&answer);
        }
    }
    let target = it.world.target("bearer.origin.test");
    let request = http::Request::get(format!("https://{target}/into/trailer")).header("te", "trailers");
    let answer = H2::open(&it.world.egret, &session, &target)
        .send(request.body(http_body_util::Full::default()).unwrap())
        .unwrap();
    it.assert_masked(&answer);
    assert!(answer.trailers.iter().any(|(name, value)| name == "x-echo" && value.contains('*')), "{answer:?}");
    for (place, field) in [
        ("header", "header x-echo"),
        ("cookie", "header set-cookie"),
        ("location", "header location"),
        ("trailer", "trailer x-echo"),
    ] {
        let of_place = |r: &Record| r.text("path") == format!("/into/{place}") && r.has("redactions");
        let redacted = it.world.egret.record_where("a record with redactions", of_place);
        assert_eq!((redacted.number("redactions"), &redacted.0["redacted_in"]), (1, &serde_json::json!([field])));
    }

    let phrase = format!("HTTP/1.1 200 {}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", it.bearer.value());
    it.world.origin.script("raw.origin.test", Script::new(vec![Step::Write(phrase.into_bytes()), Step::Close]));
    let answer = it.get(&session, "raw.origin.test", "/t090-phrase");
    assert_eq!((answer.status, answer.text()), (200, "ok".to_owned()));
    it.assert_masked(&answer);
}

/// The echo split at every byte, as frames of the upstream's body.
fn split_in_frames(it: &Secrets, host: &str, secret: &str) {
    let session = it.session();
    let target = it.world.target(host);
    let prefix = "before-".len();
    let mut wire = Tunnel::to(&target).open(&it.world.egret, &session);
    for at in prefix..=prefix + secret.len() + 7 {
        wire.send(format!("GET /split/{at} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
        let answer = wire.answer();
        assert_eq!(answer.status, 200, "{answer:?}");
        it.assert_masked(&answer);
        let text = answer.text();
        assert!(text.starts_with("before-") && text.ends_with("-after"), "split at {at}: {text}");
    }
}

#[test]
fn t091_echo_split_over_chunks() {
    let it = secrets();
    split_in_frames(&it, "h1.origin.test", it.bearer.value());
    split_in_frames(&it, "basic-h1.origin.test", &it.pair());
}

#[test]
fn t091_echo_split_over_data_frames() {
    let it = secrets();
    split_in_frames(&it, "bearer.origin.test", it.bearer.value());
    split_in_frames(&it, "basic.origin.test", &it.pair());
}

/// The echo split at every byte, as segments of a body with a Content-Length.
fn split_over_tcp(it: &Secrets, host: &str, secret: &str) {
    let session = it.session();
    let body = format!("before-{secret}-after");
    for at in "before-".len()..=body.len() - "-after".len() {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        let (first, second) = body.as_bytes().split_at(at);
        let mut steps = vec![Step::Write([head.as_bytes(), first].concat())];
        steps.extend([Step::Write(second.to_vec()), Step::Close]);
        it.world.origin.script(host, Script::new(steps));
        let answer = it.get(&session, host, "/t091");
        assert_eq!(answer.status, 200, "{answer:?}");
        it.assert_masked(&answer);
        let text = answer.text();
        assert_eq!(text.len(), body.len(), "the length changed under Content-Length: {text}");
        assert!(text.starts_with("before-") && text.ends_with("-after"), "split at {at}: {text}");
    }
}

#[test]
fn t091_echo_split_over_tcp() {
    let it = secrets();
    split_over_tcp(&it, "basic-raw.origin.test", &it.pair());
    split_over_tcp(&it, "basic-raw.origin.test", it.password.value());
}

#[test]
fn t091_echo_byte_by_byte() {
    let it = secrets();
    let session = it.session();
    // The pair is another host's: at this one it is text like any other.
    let body = format!("before-{}-{}-after", it.bearer.value(), it.pair());
    let mut steps = vec![Step::Write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec())];
    steps.extend(body.bytes().map(|byte| Step::Write(format!("1\r\n{}\r\n", char::from(byte)).into_bytes())));
    steps.push(Step::Write(b"0\r\n\r\n".to_vec()));
    it.world.origin.script("slow.origin.test", Script::new(steps));
    let answer = it.get(&session, "slow.origin.test", "/t091-slow");
    assert_eq!(answer.status, 200);
    it.bearer.assert_absent("an answer that came byte by byte", &answer.everything());
    let text = answer.text();
    assert!(text.starts_with("before-") && text.ends_with("-after"), "{text}");
}

#[test]
fn the_environment_of_a_session_holds_no_secret() {
    let it = secrets();
    let session = it.session();
    let printed = session.document.to_string();
    for canary in [&it.bearer, &it.password, &it.header, &it.query] {
        canary.assert_absent("the session's document", printed.as_bytes());
    }
    for command in [
        &["vault", "list", "--format", "json"][..],
        &["vault", "show", "bearer", "--format", "json"],
        &["session", "list", "--format", "json"],
    ] {
        let text = it.world.egret.ok(command, "");
        it.bearer.assert_absent(&command.join(" "), text.as_bytes());
        assert!(!text.contains(&session.token), "the token stands in {command:?}");
    }
}
