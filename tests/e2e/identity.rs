//! Only Egret's identity leaves: what the client sends to authenticate itself is removed, refused or passed by rule.

use std::sync::Arc;

use egret_tests::canary::Canary;
use egret_tests::client::{self, Answer, H2};
use egret_tests::egret::Session;
use egret_tests::origin::Seen;
use egret_tests::origin::script::{Script, Step};
use egret_tests::refusal;
use egret_tests::shared::Shared;

use crate::world::World;

static SHARED: Shared<Identity> = Shared::new();

const POLICY: &str = r#"
policy: identity
rules:
  - id: bearer
    allow: {host: [bearer.origin.test, h1.origin.test], port: PORT, LOCAL}
    use: [bearer]
  - id: header
    allow: {host: header.origin.test, port: PORT, LOCAL}
    use: [header]
  - id: query
    allow: {host: query.origin.test, port: PORT, LOCAL}
    use: [query]
  - id: templated
    allow: {host: template.origin.test, port: PORT, LOCAL}
    use: [templated]
  - id: without
    allow: {host: without.origin.test, port: PORT, LOCAL}
  - id: elsewhere
    allow: {host: [free.origin.test, raw.origin.test], port: PORT, LOCAL}
  - id: passing
    allow: {host: pass.origin.test, port: PORT, LOCAL}
    use: [bearer]
    client_auth: {default: strip, pass: [Cookie, Stripe-Account], also: [X-Acme]}
  - id: refusing
    allow: {host: refuse.origin.test, port: PORT, LOCAL}
    client_auth: refuse
  - id: allowing
    allow: {host: allow.origin.test, port: PORT, LOCAL}
    use: [bearer]
    client_auth: allow
  - id: set-all
    allow: {host: "**.origin.test", port: PORT, LOCAL}
    set: {X-Team: T0123}
  - id: removed
    allow: {host: [port.origin.test, gone.origin.test], port: PORT, LOCAL}
  - id: stored
    allow: {host: stored.origin.test, port: PORT, path: /t284/**, LOCAL}
  - id: stored-copy
    allow: {host: stored.origin.test, port: PORT, methods: [GET], path: /t284/copy/**, LOCAL}
    client_auth: {default: allow, pass: [X-Amz-Copy-Source]}
  - id: never-delete
    deny: {host: methods.origin.test, methods: [DELETE]}
"#;

const HOSTS: &[&str] = &[
    "bearer.origin.test",
    "h1.origin.test",
    "header.origin.test",
    "query.origin.test",
    "template.origin.test",
    "without.origin.test",
    "free.origin.test",
    "raw.origin.test",
    "pass.origin.test",
    "refuse.origin.test",
    "allow.origin.test",
    "methods.origin.test",
    "alt.origin.test",
    "port.origin.test",
    "gone.origin.test",
    "stored.origin.test",
];

struct Identity {
    world: World,
    bearer: Canary,
    header: Canary,
    query: Canary,
    templated: Canary,
}

impl Identity {
    fn new() -> Self {
        let world = World::new(HOSTS, &[POLICY], |setup| setup);
        world.origin.protocols("h1.origin.test", &["http/1.1"]);
        let put = |name: &str, kind: &[&str], hosts: &[&str]| {
            let audience: Vec<String> = hosts
                .iter()
                .flat_map(|host| ["--audience".to_owned(), world.target(&format!("{host}.origin.test"))])
                .collect();
            let options: Vec<&str> = kind.iter().copied().chain(audience.iter().map(String::as_str)).collect();
            world.egret.put(name, &options)
        };
        let hosts = ["bearer", "h1", "without", "pass", "allow"];
        let bearer = put("bearer", &["--kind", "bearer", "--env", "TOKEN"], &hosts);
        let header = put("header", &["--kind", "header", "--header", "X-Api-Key", "--env", "KEY"], &["header"]);
        let query = put("query", &["--kind", "query", "--query", "key", "--env", "QUERY"], &["query"]);
        let template = ["--kind", "bearer", "--template", "Token token={}", "--env", "TEMPLATED"];
        let templated = put("templated", &template, &["template"]);
        put("gone", &["--kind", "bearer", "--env", "GONE"], &["gone"]);
        // On another port of the host than the rules allow.
        world.egret.put("port", &["--kind", "bearer", "--env", "PORT_KEY", "--audience", "port.origin.test:1"]);
        let odd = ["--audience", "port.origin.test:1", "--env"];
        world.egret.put("odd", &[&["--kind", "header", "--header", "X-Odd"][..], &odd, &["ODD"]].concat());
        world.egret.put("odd-query", &[&["--kind", "query", "--query", "odd"][..], &odd, &["ODD_QUERY"]].concat());
        Self { world, bearer, header, query, templated }
    }

    fn session(&self) -> Session {
        self.world.egret.session(&["identity"], &["bearer", "header", "query", "templated"])
    }

    fn h1(&self, session: &Session, host: &str, path: &str, fields: &str) -> Answer {
        client::get_with(&self.world.egret, session, &self.world.target(&format!("{host}.origin.test")), path, fields)
    }

    /// The same request over HTTP/2.
    fn h2(&self, session: &Session, host: &str, path: &str, fields: &str) -> Answer {
        let target = self.world.target(&format!("{host}.origin.test"));
        let mut request = http::Request::get(format!("https://{target}{path}"));
        for line in fields.split("\r\n").filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        let request = request.body(http_body_util::Full::default()).unwrap();
        H2::open(&self.world.egret, session, &target).send(request).unwrap()
    }

    /// What arrived, over HTTP/1.1 and over HTTP/2.
    fn arrived(&self, session: &Session, host: &str, mark: &str, query: &str, fields: &str) -> [Seen; 2] {
        let (one, two) = (format!("{mark}-h1"), format!("{mark}-h2"));
        let answer = self.h1(session, host, &format!("/{one}{query}"), fields);
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = self.h2(session, host, &format!("/{two}{query}"), fields);
        assert_eq!(answer.status, 200, "{answer:?}");
        [self.world.origin.seen_once(&one), self.world.origin.seen_once(&two)]
    }

    fn refused(&self, session: &Session, host: &str, path: &str, fields: &str, status: u16, code: &str) {
        for answer in [self.h1(session, host, path, fields), self.h2(session, host, path, fields)] {
            refusal::expect_denied(&self.world.egret, &answer, status, code);
        }
    }

    fn stripped(&self, path: &str) -> Vec<String> {
        let closed = |r: &egret_tests::records::Record| {
            r.text("path").split('?').next() == Some(path) && r.text("kind") == "exchange.closed"
        };
        let record = self.world.egret.record_where("the record", closed);
        let mut names: Vec<String> = record.0["stripped"]
            .as_array()
            .map(|all| all.iter().map(|name| name.as_str().unwrap().to_owned()).collect())
            .unwrap_or_default();
        names.sort();
        names
    }
}

fn identity() -> Arc<Identity> {
    SHARED.get(Identity::new)
}

const OWN: &str = "Authorization: Bearer mine\r\nX-Api-Key: mine\r\nx_goog_api_key: mine\r\nX-Auth-Token: mine\r\nPrivate-Token: mine\r\n\
    X-Acme-Secret: mine\r\nCookie: sid=mine\r\nStripe-Account: acct_1\r\nX-Token-Bin: bWluZQ==\r\n";

#[test]
fn t086_only_our_identity_leaves_beside_an_added_credential() {
    let it = identity();
    let session = it.session();
    let query = "?a=b&access_token=mine&c=d;api_key=mine&e";
    for seen in it.arrived(&session, "bearer", "t086-all", query, OWN) {
        assert_eq!(seen.values("authorization"), [format!("Bearer {}", it.bearer.value())]);
        assert!(seen.target.ends_with("?a=b&c=d&e"), "{}", seen.target);
        assert!(!format!("{seen:?}").contains("mine") && seen.value("stripe-account").is_none(), "{seen:?}");
        assert_eq!(seen.value("x-team").as_deref(), Some("T0123"));
    }
    let names = [
        "cookie",
        "private-token",
        "query access_token",
        "query api_key",
        "stripe-account",
        "x-acme-secret",
        "x-api-key",
        "x-auth-token",
        "x-token-bin",
        "x_goog_api_key",
    ];
    assert_eq!(it.stripped("/t086-all-h1"), names);
    assert_eq!(it.stripped("/t086-all-h2"), names);
}

#[test]
fn t086_only_our_identity_leaves_beside_a_substituted_credential() {
    let it = identity();
    let session = it.session();
    let placeholder = session.placeholder("TOKEN");
    let fields =
        format!("{}Authorization: Bearer {placeholder}\r\n", OWN.replace("Authorization: Bearer mine\r\n", ""));
    for seen in it.arrived(&session, "bearer", "t086-swap", "?auth_token=mine", &fields) {
        assert_eq!(seen.values("authorization"), [format!("Bearer {}", it.bearer.value())]);
        assert!(!format!("{seen:?}").contains("mine"), "{seen:?}");
    }
    // The location of a query credential has one value, in whatever spelling the client adds others.
    let query = "?a=b&key=mine&KEY=mine;key[]=mine&+key=mine";
    for seen in it.arrived(&session, "query", "t086-key", query, "") {
        let sent = it.query.value().replace('/', "%2F");
        assert!(seen.target.ends_with(&format!("?a=b&key={sent}")), "{}", seen.target);
    }
}

#[test]
fn t086_what_cannot_be_removed_is_refused() {
    let it = identity();
    let session = it.session();
    for query in ["X-Amz-Credential=a&X-Amz-Signature=b", "sv=1&se=2&sig=3", "Expires=1&Signature=2&Key-Pair-Id=3"] {
        it.refused(&session, "bearer", &format!("/t086-signed?{query}"), "", 403, "foreign_credential");
    }
    assert!(it.world.origin.seen("t086-signed").is_empty());
}

#[test]
fn t207_a_host_of_the_sessions_credentials_is_not_reached_with_the_clients_key() {
    let it = identity();
    let session = it.session();
    for fields in
        ["Authorization: Bearer mine\r\n", "X-Api-Key: mine\r\n", "Cookie: sid=mine\r\n", "OpenAI-Organization: o\r\n"]
    {
        it.refused(&session, "without", "/t207-own-key", fields, 403, "foreign_credential");
        it.refused(&session, "refuse", "/t207-own-key", fields, 403, "foreign_credential");
    }
    it.refused(&session, "without", "/t207-own-key?access_token=mine", "", 403, "foreign_credential");
    assert!(it.world.origin.seen("t207-own-key").is_empty());
    // Without authentication it passes, elsewhere with it, and a session without the credential is not concerned.
    assert_eq!(it.h1(&session, "without", "/ok-without", "").status, 200);
    for seen in it.arrived(&session, "free", "free", "?access_token=mine", OWN) {
        assert_eq!(seen.values("authorization"), ["Bearer mine"]);
        assert!(seen.target.ends_with("access_token=mine"));
    }
    let other = it.world.egret.session(&["identity"], &[]);
    for seen in it.arrived(&other, "without", "other", "", "X-Api-Key: mine\r\n") {
        assert_eq!(seen.values("x-api-key"), ["mine"]);
    }
}

#[test]
fn t207_a_rule_says_what_passes() {
    let it = identity();
    let session = it.session();
    for seen in it.arrived(&session, "pass", "pass", "", &format!("{OWN}X-Acme: mine\r\n")) {
        assert_eq!(seen.values("authorization"), [format!("Bearer {}", it.bearer.value())]);
        assert_eq!(
            (seen.value("cookie").as_deref(), seen.value("stripe-account").as_deref()),
            (Some("sid=mine"), Some("acct_1"))
        );
        assert!(seen.value("x-acme").is_none() && seen.value("x-api-key").is_none());
    }
    for seen in it.arrived(&session, "allow", "allow", "", OWN) {
        assert_eq!(seen.values("authorization"), [format!("Bearer {}", it.bearer.value())]);
        assert_eq!(seen.values("x-api-key"), ["mine"]);
    }
}

#[test]
fn t207_a_fixed_header_is_on_every_request_and_overwrites_every_spelling() {
    let it = identity();
    let session = it.session();
    for seen in it.arrived(&session, "free", "t207-set", "", "X-Team: mine\r\nx_team: mine\r\nX-TEAM: too\r\n") {
        assert_eq!(seen.values("x-team"), ["T0123"]);
        assert!(seen.value("x_team").is_none());
    }
    let fields = "X-Slack-Allowed-Workspaces: T9\r\nanthropic-allowed-org-ids: x\r\n";
    for seen in it.arrived(&session, "free", "t207-tenant", "", fields) {
        assert!(
            seen.value("x-slack-allowed-workspaces").is_none() && seen.value("anthropic-allowed-org-ids").is_none()
        );
    }
}

#[test]
fn t232_cookies_that_the_host_set_in_this_session_pass() {
    let it = identity();
    let (session, other) = (it.session(), it.session());
    // The origin echoes the credential, which is masked: the cookie is the one that the client gets.
    let set = it.h1(&session, "h1", "/into/cookie", "").header("set-cookie").unwrap();
    let pair = set.split(';').next().unwrap().to_owned();
    let cookie = format!("Cookie: {pair}; other=mine; token=mine\r\n");
    assert_eq!(it.h1(&session, "h1", "/t232-own", &cookie).status, 200);
    assert_eq!(it.world.origin.seen_once("t232-own").value("cookie"), Some(pair.clone()));
    assert_eq!(it.h1(&session, "bearer", "/t232-host", &cookie).status, 200);
    assert_eq!(it.world.origin.seen_once("t232-host").value("cookie"), None);
    assert_eq!(it.h1(&other, "h1", "/t232-other", &cookie).status, 200);
    assert_eq!(it.world.origin.seen_once("t232-other").value("cookie"), None);
}

#[test]
fn t206_a_placeholder_is_the_whole_value_or_refused() {
    let it = identity();
    let session = it.session();
    let (token, key) = (session.placeholder("TOKEN"), session.placeholder("KEY"));
    for value in [
        format!("Bearer ATTACKER {token}"),
        format!("Bearer {token} ATTACKER"),
        format!("Bearer {token}, Bearer ATTACKER"),
        format!("Bearer ATTACKER,{token}"),
        format!("Digest username=\"a\", response=\"{token}\""),
        format!("AWS4-HMAC-SHA256 Credential=a, Signature={token}"),
        format!("Weird {token}"),
        format!("Token token={token}"),
    ] {
        it.refused(&session, "bearer", "/t206", &format!("Authorization: {value}\r\n"), 403, "placeholder_misplaced");
    }
    it.refused(&session, "header", "/t206", &format!("X-Api-Key: ATTACKER,{key}\r\n"), 403, "placeholder_misplaced");
    it.refused(&session, "header", "/t206", &format!("X-Api-Key: Bearer {key}\r\n"), 403, "placeholder_misplaced");
    assert!(it.world.origin.seen("t206").is_empty());
    for (mark, value, sent) in [
        ("t206-whole", token.to_owned(), it.bearer.value().to_owned()),
        ("t206-scheme", format!("token {token}"), format!("token {}", it.bearer.value())),
    ] {
        for seen in it.arrived(&session, "bearer", mark, "", &format!("Authorization: {value}\r\n")) {
            assert_eq!(seen.values("authorization"), std::slice::from_ref(&sent));
        }
    }
    let templated = session.placeholder("TEMPLATED");
    let sent = format!("Token token={}", it.templated.value());
    for fields in [String::new(), format!("Authorization: Token token={templated}\r\n")] {
        let mark = if fields.is_empty() { "template-added" } else { "template-swapped" };
        for seen in it.arrived(&session, "template", mark, "", &fields) {
            assert_eq!(seen.values("authorization"), std::slice::from_ref(&sent));
        }
    }
}

#[test]
fn t018_fields_that_rename_host_or_path_do_not_leave() {
    let it = identity();
    let session = it.session();
    let names = [
        "x_original_url",
        "x-original-host",
        "x-envoy-original-path",
        "x-rewrite-url",
        "x-forwarded-host",
        "forwarded",
    ];
    let fields: String = names.iter().map(|name| format!("{name}: /evil\r\n")).collect();
    for seen in it.arrived(&session, "free", "t018", "", &fields) {
        assert!(names.iter().all(|name| seen.value(name).is_none()), "{seen:?}");
    }
    let mut sorted = names;
    sorted.sort_unstable();
    assert_eq!(it.stripped("/t018-h1"), sorted);
    for name in ["transfer_encoding", "content_length"] {
        let answer = it.h1(&session, "free", "/t018-frame", &format!("{name}: 1\r\n"));
        refusal::expect_denied(&it.world.egret, &answer, 400, "ambiguous_framing");
    }
}

#[test]
fn t060_a_denied_method_has_no_other_name() {
    let it = identity();
    let session = it.session();
    for name in ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method", "x_http_method_override"] {
        let mark = format!("t060-{}", name.to_ascii_lowercase());
        for seen in it.arrived(&session, "methods", &mark, "", &format!("{name}: DELETE\r\n")) {
            assert!(seen.value(name).is_none(), "{seen:?}");
        }
    }
    it.refused(&session, "methods", "/t060-query?_method=DELETE", "", 403, "denied_method");
    it.refused(&session, "methods", "/t060-query?a=b;%5Fmethod=delete", "", 403, "denied_method");
    for seen in it.arrived(&session, "methods", "t060-get", "?_method=PUT", "") {
        assert!(seen.target.ends_with("?_method=PUT"));
    }
    // Where no rule judges methods, the field is the client's.
    for seen in it.arrived(&session, "free", "t060-unjudged", "", "X-HTTP-Method-Override: GET\r\n") {
        assert_eq!(seen.values("x-http-method-override"), ["GET"]);
    }
}

#[test]
fn t067_a_field_that_is_read_as_the_injected_one_is_refused() {
    let it = identity();
    let session = it.session();
    for name in ["x_api_key", "X_Api-Key"] {
        it.refused(&session, "header", "/t067", &format!("{name}: mine\r\n"), 400, "malformed");
    }
    for seen in it.arrived(&session, "header", "t067-same", "", "X-API-KEY: mine\r\nx-api-key: too\r\n") {
        assert_eq!(seen.values("x-api-key"), [it.header.value()]);
    }
}

#[test]
fn t056_connection_does_not_name_the_injected_field() {
    let it = identity();
    let session = it.session();
    for named in ["x-api-key", "X_API_KEY", "host", "content-length", "authorization"] {
        let answer = it.h1(&session, "header", "/t056", &format!("Connection: close, {named}\r\n"));
        refusal::expect_denied(&it.world.egret, &answer, 400, "malformed");
    }
    assert!(it.world.origin.seen("t056").is_empty());
}

#[test]
fn t051_trailers_carry_no_authentication() {
    let it = identity();
    let session = it.session();
    let target = it.world.target("h1.origin.test");
    let request = format!(
        "POST /t051 HTTP/1.1\r\nHost: {target}\r\nTE: trailers\r\nTrailer: X-Sum, X-Api-Key, X-Team, Content-Type\r\n\
         Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: all\r\nX-Api-Key: mine\r\nX-Team: mine\r\nHost: evil\r\n\
         Authorization: mine\r\nContent-Type: text/x\r\nX-Unlisted: a\r\n\r\n"
    );
    let answer = client::request(&it.world.egret, &session, &target, &request);
    assert_eq!(answer.status, 200, "{answer:?}");
    let connection = it.world.origin.seen_once("t051").connection;
    let connections = it.world.origin.connections("h1.origin.test");
    let connection = connections.iter().find(|one| one.number == connection).unwrap();
    let raw = connection.with_raw(|raw| String::from_utf8_lossy(raw).into_owned());
    let trailers = raw.rsplit_once("\r\n0\r\n").unwrap().1;
    assert_eq!(trailers.trim(), "x-sum: all", "{raw}");
    let names = it.stripped("/t051");
    let removed = ["authorization", "content-type", "x-api-key", "x-team", "x-unlisted"];
    for name in removed {
        assert!(names.iter().any(|own| *own == format!("trailer {name}")), "{names:?}");
    }

    // Over HTTP/2 to both sides.
    let target = it.world.target("bearer.origin.test");
    let post = |te: &str, path: &str| {
        let request = http::Request::post(format!("https://{target}{path}")).header("te", te);
        request.header("trailer", "X-Sum, X-Api-Key, X-Team, Content-Type").body("a".into()).unwrap()
    };
    let trailers = || {
        let all = [("x-sum", "all")].into_iter().chain(removed.map(|name| (name, "mine")));
        all.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect::<http::HeaderMap>()
    };
    let mut h2 = H2::open(&it.world.egret, &session, &target);
    let answer = h2.send_with_trailers(post("trailers", "/t051-h2"), trailers()).unwrap();
    let sent: Vec<String> =
        answer.text().lines().filter(|line| line.starts_with("trailer ")).map(str::to_owned).collect();
    assert_eq!(sent.last().map(String::as_str), Some("trailer x-sum: all"), "{answer:?}");
    assert_eq!(it.world.origin.seen_once("t051-h2").version, "HTTP/2.0");
    assert!(!answer.text().contains("mine") && !answer.text().contains("trailer x-unlisted"), "{answer:?}");
    assert_eq!(it.stripped("/t051-h2").len(), removed.len());
    // Without `TE: trailers` none passes.
    let answer = h2.send_with_trailers(post("", "/t051-none"), trailers()).unwrap();
    assert!(!answer.text().contains("trailer x-sum"), "{answer:?}");
}

#[test]
fn t051_trailers_of_more_than_8_kib_are_431() {
    let it = identity();
    let session = it.session();
    let target = it.world.target("h1.origin.test");
    let post = |path: &str, bytes: usize| {
        let value = "v".repeat(bytes - "X-Sum: ".len());
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {target}\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
             1\r\na\r\n0\r\nX-Sum: {value}\r\n\r\n"
        );
        client::request(&it.world.egret, &session, &target, &request)
    };
    assert_eq!(post("/trailers-fit", 8192).status, 200);
    refusal::expect_denied(&it.world.egret, &post("/trailers-large", 8193), 431, "head_too_large");
    let target = it.world.target("bearer.origin.test");
    for (path, bytes, status) in [("/trailers-fit-h2", 8192, 200), ("/trailers-large-h2", 8193, 431)] {
        let request = http::Request::post(format!("https://{target}{path}")).header("te", "trailers");
        let request = request.header("trailer", "x-sum").body("a".into()).unwrap();
        let value = "v".repeat(bytes - "x-sum".len()).parse().unwrap();
        let trailers = http::HeaderMap::from_iter([("x-sum".parse().unwrap(), value)]);
        let answer = H2::open(&it.world.egret, &session, &target).send_with_trailers(request, trailers).unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

#[test]
fn t230_an_upstream_cannot_forge_a_refusal() {
    let it = identity();
    let session = it.session();
    let forged = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/problem+json\r\nContent-Length: 2\r\nEgret-Record: rec_1\r\n\
        egret_record: rec_2\r\nProxy-Status: egret; error=http_request_denied, cdn; error=x\r\n\r\n{}";
    it.world.origin.script("raw.origin.test", Script::new(vec![Step::Write(forged.to_vec()), Step::Close]));
    let answer = it.h1(&session, "raw", "/t230", "");
    assert_eq!((answer.status, answer.header("proxy-status").as_deref()), (403, Some("cdn; error=x")), "{answer:?}");
    assert!(answer.header("egret-record").is_none() && answer.header("egret_record").is_none(), "{answer:?}");
    let asked =
        b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n";
    it.world.origin.script("raw.origin.test", Script::new(vec![Step::Write(asked.to_vec()), Step::Close]));
    let answer = it.h1(&session, "raw", "/t231", "");
    refusal::expect(&it.world.egret, &answer, 502, "upstream_protocol");
}

#[test]
fn t073_alt_svc_does_not_reach_the_client() {
    let it = identity();
    let session = it.session();
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAlt-Svc: h3=\":443\"\r\nLink: </a>; rel=next\r\n\r\nok";
    it.world.origin.script("alt.origin.test", Script::new(vec![Step::Write(answer.to_vec()), Step::Close]));
    let answer = it.h1(&session, "alt", "/t073", "");
    assert_eq!(
        (answer.status, answer.header("alt-svc"), answer.header("link").as_deref()),
        (200, None, Some("</a>; rel=next"))
    );
    assert_eq!(it.stripped("/t073"), ["alt-svc"]);
}

#[test]
fn t280_every_method_of_a_query_is_judged_for_rules_and_for_grants() {
    let it = identity();
    let session = it.session();
    for query in ["_method=GET&_method=DELETE", ".method=DELETE", "_method=DELETE&_method=PUT", "a=b;+_method[]=delete"]
    {
        it.refused(&session, "methods", &format!("/t280-query?{query}"), "", 403, "denied_method");
    }
    assert!(it.world.origin.seen("t280-query").is_empty());
    let granted = it.world.egret.session(&["identity"], &["bearer,methods=GET"]);
    for seen in it.arrived(&granted, "bearer", "t280-field", "?_method=GET", "X-HTTP-Method-Override: DELETE\r\n") {
        assert_eq!(seen.values("authorization"), [format!("Bearer {}", it.bearer.value())]);
        assert!(seen.value("x-http-method-override").is_none(), "{seen:?}");
    }
    for seen in it.arrived(&granted, "bearer", "t280-grant", "?_method=GET&_method=DELETE", "") {
        assert!(seen.value("authorization").is_none(), "{seen:?}");
    }
    let field = format!("Authorization: Bearer {}\r\n", granted.placeholder("TOKEN"));
    it.refused(&granted, "bearer", "/t280-swap?.method=DELETE", &field, 403, "placeholder_misplaced");
}

#[test]
fn t281_no_spelling_of_a_name_hides_authentication() {
    let it = identity();
    let session = it.session();
    let query =
        "?a=b&access.token=mine&access+token=mine&access%20token=mine&access[token=mine&api.key=mine&x%26jwt=mine&c";
    let fields = "X.Api.Key: mine\r\nX-Serverless-Authorization: mine\r\nGrpc-Metadata-Authorization: mine\r\n\
        X-Ms-Authorization-Auxiliary: mine\r\nX-User-Authorization: mine\r\nX-WEBAUTH-USER: mine\r\nRemote-Email: mine\r\n\
        X-authentik-username: mine\r\nX-Apigateway-Api-Userinfo: mine\r\n";
    for seen in it.arrived(&session, "bearer", "t281", query, fields) {
        assert_eq!(seen.values("authorization"), [format!("Bearer {}", it.bearer.value())]);
        assert!(seen.target.ends_with("?a=b&c"), "{}", seen.target);
        assert!(!format!("{seen:?}").contains("mine"), "{seen:?}");
    }
    // What a rule adds counts in the same spellings.
    for seen in it.arrived(&session, "pass", "t281-also", "?x.acme=mine&x+acme=mine", "X.Acme-Bin: mine\r\n") {
        assert!(!format!("{seen:?}").contains("mine"), "{seen:?}");
    }
    // The location of a query credential has one value in these spellings too.
    for seen in it.arrived(&session, "query", "t281-key", "?a=b&key.x=mine&%6Bey=mine", "") {
        assert!(
            seen.target.ends_with(&format!("?a=b&key={}", it.query.value().replace('/', "%2F"))),
            "{}",
            seen.target
        );
    }
}

#[test]
fn t282_a_host_of_a_granted_credential_takes_no_other_key_until_the_session_ends() {
    let it = identity();
    let session = it.world.egret.session(&["identity"], &["bearer", "port", "gone"]);
    let own = "Authorization: Bearer mine\r\n";
    for host in ["port", "gone", "without"] {
        it.refused(&session, host, "/t282-own", own, 403, "foreign_credential");
    }
    it.world.egret.ok(&["session", "revoke", &session.id, "bearer"], "");
    it.world.egret.ok(&["vault", "rm", "gone"], "");
    for host in ["gone", "without", "bearer"] {
        it.refused(&session, host, "/t282-own", own, 403, "foreign_credential");
    }
    assert!(it.world.origin.seen("t282-own").is_empty());
    assert_eq!(it.h1(&session, "gone", "/ok-t282", "").status, 200);
}

#[test]
fn t289_the_location_of_a_granted_credential_is_authentication_whatever_its_name() {
    let it = identity();
    let granted = it.world.egret.session(&["identity"], &["odd", "odd-query"]);
    for (path, fields) in
        [("/t289", "X-Odd: mine\r\n"), ("/t289", "x_odd: mine\r\n"), ("/t289?odd=mine", ""), ("/t289?%6fdd=mine", "")]
    {
        it.refused(&granted, "port", path, fields, 403, "foreign_credential");
    }
    assert!(it.world.origin.seen("t289").is_empty());
    // For a session without the grant it is a name like any other.
    let other = it.world.egret.session(&["identity"], &["bearer"]);
    let seen = it.arrived(&other, "port", "t289-other", "?odd=1", "X-Odd: mine\r\n");
    assert!(seen.iter().all(|seen| seen.target.ends_with("?odd=1")));
}

#[test]
fn t284_a_second_path_beside_the_target_is_judged_or_refused() {
    let it = identity();
    let session = it.session();
    for field in ["X-Amz-Copy-Source: /b/secret", "x_amz_rename_source: /b/secret", "Destination: /t284/x"] {
        it.refused(&session, "stored", "/t284/put", &format!("{field}\r\n"), 403, "denied_path");
    }
    it.refused(&session, "bearer", "/t284/put", "X-Ms-Copy-Source: https://other.test/x\r\n", 403, "denied_path");
    it.refused(&session, "bearer", "/t284/put", "Destination: https://other.test/x\r\n", 403, "denied_path");
    it.refused(&session, "bearer", "/t284/put", "Destination: //other.test/x\r\n", 403, "denied_path");
    it.refused(&session, "bearer", "/t284/put", "X-Amz-Copy-Source: /bucket/x\r\n", 403, "denied_path");
    assert!(it.world.origin.seen("t284/put").is_empty());
    let here = format!("https://{}/x", it.world.target("bearer.origin.test"));
    for destination in ["/x", &here] {
        assert_eq!(it.h1(&session, "bearer", "/t284-here", &format!("Destination: {destination}\r\n")).status, 200);
    }
    let copy = "X-Amz-Copy-Source: /bucket/x\r\n";
    assert_eq!(it.h1(&session, "stored", "/t284/copy/x", copy).status, 200);
    for seen in it.arrived(&session, "free", "t284-elsewhere", "", copy) {
        assert_eq!(seen.values("x-amz-copy-source"), ["/bucket/x"]);
    }
}
