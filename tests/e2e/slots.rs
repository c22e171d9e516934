//! E: credentials in the bodies of requests, in the places that were declared for them, and in cookies.

use std::sync::Arc;

use egret_tests::canary::{Canary, contains};
use egret_tests::client::{self, Answer};
use egret_tests::egret::Session;
use egret_tests::refusal;
use egret_tests::shared::Shared;

use crate::world::World;

static SHARED: Shared<Slots> = Shared::new();

const POLICY: &str = r#"
policy: slots
rules:
  - id: api
    allow: {host: [api.origin.test, h1.origin.test], port: PORT, LOCAL}
    use: [secret, twice, cookie]
  - id: other
    allow: {host: other.origin.test, port: PORT, LOCAL}
"#;

const HOSTS: &[&str] = &["api.origin.test", "h1.origin.test", "other.origin.test"];

struct Slots {
    world: World,
    secret: Canary,
    twice: Canary,
    cookie: Canary,
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

impl Slots {
    fn new() -> Self {
        let limits = "limits: {max_slot_body_bytes: 4KiB}";
        let world = World::new(HOSTS, &[POLICY], |setup| setup.config(limits));
        world.origin.protocols("h1.origin.test", &["http/1.1"]);
        let targets = HOSTS.map_targets(&world);
        let put = |name: &str, options: &[&str]| {
            let audience = targets.iter().flat_map(|target| ["--audience", target.as_str()]);
            world.egret.put(name, &options.iter().copied().chain(audience).collect::<Vec<_>>())
        };
        let body = &["--kind", "body", "--env", "SECRET", "--body-json", "/auth/client_secret"];
        let secret = put("secret", &[&body[..], &["--body-json", "/list/1", "--body-form", "client_secret"]].concat());
        let twice =
            &["--kind", "bearer", "--env", "TWICE", "--body-json", "/a", "--body-json", "/b", "--body-swaps", "2"];
        let twice = put("twice", twice);
        let cookie = put("cookie", &["--kind", "cookie", "--cookie", "sid", "--env", "COOKIE"]);
        Self { world, secret, twice, cookie }
    }

    fn session(&self) -> Session {
        self.world.egret.session(&["slots"], &["secret", "twice"])
    }

    /// Posts a body, with its length or in chunks.
    fn post(&self, session: &Session, host: &str, path: &str, kind: &str, body: &str, size: Option<usize>) -> Answer {
        let target = self.world.target(host);
        let (answer, wire) = client::connect(&self.world.egret, Some(session), &target);
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut wire = wire.start_tls(client::client_config(&self.world.egret, &["http/1.1"]), host).unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: {target}\r\nContent-Type: {kind}\r\nDigest: sha-256=old\r\n");
        let mut all = head.into_bytes();
        match size {
            None => all.extend_from_slice(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()),
            Some(size) => {
                all.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in body.as_bytes().chunks(size) {
                    all.extend_from_slice(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
                }
                all.extend_from_slice(b"0\r\n\r\n");
            }
        }
        wire.send(all);
        wire.answer()
    }

    fn assert_masked(&self, answer: &Answer) {
        for canary in [&self.secret, &self.twice, &self.cookie] {
            canary.assert_absent("an answer", &answer.everything());
        }
    }
}

trait Targets {
    fn map_targets(&self, world: &World) -> Vec<String>;
}

impl Targets for [&str] {
    fn map_targets(&self, world: &World) -> Vec<String> {
        self.iter().map(|host| world.target(host)).collect()
    }
}

fn slots() -> Arc<Slots> {
    SHARED.get(Slots::new)
}

/// The request as the origin got it over HTTP/1.1, from its path on.
fn raw(it: &Slots, path: &str) -> String {
    let seen = it.world.origin.seen_once(path);
    let connections = it.world.origin.connections("h1.origin.test");
    let connection = connections.iter().find(|one| one.number == seen.connection).unwrap();
    let text = connection.with_raw(|raw| String::from_utf8_lossy(raw).into_owned());
    text.get(text.find(path).unwrap()..).unwrap().to_owned()
}

#[test]
fn a_placeholder_in_a_json_slot_is_swapped_with_its_length() {
    let it = slots();
    let session = it.session();
    let placeholder = session.placeholder("SECRET");
    let body = |secret: &str| {
        format!(
            "{{\"note\": \"caf\\u00e9 \", \"auth\": {{\"client_secret\": \"{secret}\", \"n\": 1.50}}, \"z\": [ ]}}\n"
        )
    };
    for (path, size) in [("/json-length", None), ("/json-chunks", Some(7)), ("/json-single", Some(1))] {
        let answer = it.post(&session, "h1.origin.test", path, JSON, &body(placeholder), size);
        assert_eq!(answer.status, 200, "{answer:?}");
        it.assert_masked(&answer);
        let raw = raw(&it, path);
        let sent = body(it.secret.value());
        match size {
            // Nothing else of the body changed, and its length is right.
            None => {
                assert!(raw.contains(&format!("Content-Length: {}\r\n", sent.len())), "{raw}");
                assert!(raw.contains(&format!("\r\n\r\n{sent}")), "{raw}");
            }
            Some(_) => {
                assert!(raw.contains("transfer-encoding: chunked\r\n") && !raw.contains("Content-Length"), "{raw}");
                assert!(raw.contains(&format!("{:X}\r\n{sent}\r\n0\r\n\r\n", sent.len())), "{raw}");
            }
        }
        assert!(!raw.to_ascii_lowercase().contains("digest: sha-256"), "a digest of another body went out: {raw}");
        assert!(!raw.contains("authorization"), "a credential for bodies was added to the head: {raw}");
        let record = it.world.egret.record_where("the record", |record| {
            record.text("path") == path && record.text("kind") == "exchange.closed"
        });
        assert!(record.text("injected_into").contains("body json /auth/client_secret"), "{}", record.0);
        assert!(record.text("stripped").contains("digest"), "{}", record.0);
    }
    let answer = it.post(&session, "api.origin.test", "/json-h2", "application/x+json; v=1", &body(placeholder), None);
    assert_eq!(answer.status, 200, "{answer:?}");
    it.assert_masked(&answer);
    it.world.origin.assert_saw_nothing_of(placeholder);
}

#[test]
fn a_placeholder_in_a_form_is_swapped_and_escaped() {
    let it = slots();
    let session = it.session();
    let body = |secret: &str| format!("grant_type=client_credentials&client_secret={secret}&scope=a+b%2Bc");
    let answer = it.post(&session, "h1.origin.test", "/form", FORM, &body(session.placeholder("SECRET")), None);
    assert_eq!(answer.status, 200, "{answer:?}");
    it.assert_masked(&answer);
    let encoded = it.secret.value().replace('/', "%2F").replace('+', "%2B").replace('=', "%3D");
    let raw = raw(&it, "/form");
    assert!(raw.contains(&format!("\r\n\r\n{}", body(&encoded))), "{raw}");
    assert!(!contains(&answer.body, encoded.as_bytes()), "the escaped form came back: {}", answer.text());
}

#[test]
fn t081_a_body_without_placeholders_is_not_touched() {
    let it = slots();
    let session = it.session();
    for (path, kind, body) in [
        ("/untouched-json", JSON, "{\"auth\": {\"client_secret\": \"my own\"}, \"a\": 1, \"a\": 2} trailing"),
        ("/untouched-form", FORM, "client_secret=egret_ph_&client_secret=%"),
        ("/untouched-long", JSON, &*format!("\"{}\"", "x".repeat(100_000))),
    ] {
        for size in [None, Some(1000)] {
            let path = format!("{path}-{}", size.is_some());
            let answer = it.post(&session, "h1.origin.test", &path, kind, body, size);
            assert_eq!(answer.status, 200, "{answer:?}");
            assert!(contains(&answer.body, body.as_bytes()), "the body changed");
            let raw = raw(&it, &path);
            assert_eq!(raw.contains("transfer-encoding: chunked"), size.is_some(), "another framing");
            assert!(raw.to_ascii_lowercase().contains("digest: sha-256=old"), "{path}");
        }
    }
}

#[test]
fn a_body_that_ends_within_a_mark_arrives_before_its_trailers() {
    let it = slots();
    let session = it.session();
    let target = it.world.target("h1.origin.test");
    let (answer, wire) = client::connect(&it.world.egret, Some(&session), &target);
    assert_eq!(answer.status, 200);
    let config = client::client_config(&it.world.egret, &["http/1.1"]);
    let mut wire = wire.start_tls(config, "h1.origin.test").unwrap();
    wire.send(format!(
        "POST /mark-at-end HTTP/1.1\r\nHost: {target}\r\nContent-Type: {JSON}\r\nTE: trailers\r\nTrailer: X-After\r\n\
         Transfer-Encoding: chunked\r\n\r\n11\r\n\"a\" egret_ph_0123\r\n0\r\nX-After: all\r\n\r\n"
    ));
    let answer = wire.answer();
    assert!(answer.status == 200 && contains(&answer.body, b"\"a\" egret_ph_0123"), "{answer:?}");
    let raw = raw(&it, "/mark-at-end");
    let (data, trailer) = (raw.find("egret_ph_0123").unwrap(), raw.find("x-after: all").unwrap());
    assert!(data < trailer, "{raw}");
}

#[test]
fn t081_a_placeholder_beside_its_slot_is_refused() {
    let it = slots();
    let session = it.session();
    let (secret, twice) = (session.placeholder("SECRET"), session.placeholder("TWICE"));
    let escaped: String = secret.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    let percent: String = secret.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let unknown = format!("egret_ph_{}", "Z".repeat(32));
    let misplaced = "placeholder_misplaced";
    for (n, (kind, body, code)) in [
        (JSON, format!("{{\"auth\": {{\"secret\": \"{secret}\"}}}}"), misplaced),
        (JSON, format!("{{\"auth\": {{\"client_secret\": [\"{secret}\"]}}}}"), misplaced),
        (JSON, format!("{{\"auth\": {{\"{secret}\": \"client_secret\"}}}}"), misplaced),
        (JSON, format!("{{\"auth\": {{\"client_secret\": \"{twice}\"}}}}"), misplaced),
        (JSON, format!("{{\"auth\": {{\"client_secret\": \"{unknown}\"}}}}"), "placeholder_unknown"),
        (JSON, format!("{{\"auth\": {{\"client_secret\": \"{escaped}\"}}}}"), misplaced),
        (JSON, format!("{{\"auth\": {{\"client_secret\": \"{secret} {secret}\"}}}}"), misplaced),
        (JSON, format!("{{\"auth\": {{\"client_secret\": \"{secret}\", \"client_secret\": \"x\"}}}}"), misplaced),
        (JSON, format!("{{\"auth\": {{\"client_secret\": \"{secret}\"}}, \"list\": [0, \"{secret}\"]}}"), misplaced),
        (JSON, format!("{{\"auth\": {{\"client_secret\": \"{secret}\"}}, \"also\": \"{secret}\"}}"), misplaced),
        (JSON, format!("{{\"auth\": {{\"client_secret\": \"{secret}\"}}"), misplaced),
        (JSON, format!("client_secret={secret}"), misplaced),
        (FORM, format!("client_secret={percent}"), misplaced),
        (FORM, format!("client_secret={secret}&client_secret={secret}"), misplaced),
        (FORM, format!("other={secret}"), misplaced),
        (FORM, format!("{secret}=client_secret"), misplaced),
        ("text/plain", format!("client_secret={secret}"), misplaced),
        ("multipart/form-data; boundary=b", format!("--b\r\n\r\n{secret}\r\n--b--"), misplaced),
    ]
    .into_iter()
    .enumerate()
    {
        for (host, size) in [("h1.origin.test", None), ("h1.origin.test", Some(5)), ("api.origin.test", None)] {
            let answer = it.post(&session, host, &format!("/beside-{n}"), kind, &body, size);
            refusal::expect_denied(&it.world.egret, &answer, 403, code);
            it.assert_masked(&answer);
        }
    }
    it.world.origin.assert_saw_nothing_of(secret);
    for canary in [&it.secret, &it.twice] {
        it.world.origin.assert_saw_nothing_of(&format!("beside\": \"{}", canary.value()));
    }
    // The host of another rule has no slot, even if the audience names it.
    let body = format!("{{\"auth\": {{\"client_secret\": \"{secret}\"}}}}");
    let answer = it.post(&session, "other.origin.test", "/elsewhere", JSON, &body, None);
    refusal::expect_denied(&it.world.egret, &answer, 403, misplaced);
    it.world.origin.assert_saw_nothing_of(secret);
}

#[test]
fn t085_a_body_over_the_bound_is_refused_and_never_shortened() {
    let it = slots();
    let session = it.session();
    let body = format!(
        "{{\"auth\": {{\"client_secret\": \"{}\"}}, \"pad\": \"{}\"}}",
        session.placeholder("SECRET"),
        "x".repeat(5000)
    );
    for size in [None, Some(512)] {
        let answer = it.post(&session, "h1.origin.test", "/over", JSON, &body, size);
        refusal::expect(&it.world.egret, &answer, 413, "body_too_large");
    }
    it.world.origin.assert_saw_nothing_of("/over");
    // Behind the bound it streams, and is looked through all the same.
    let body = format!("{{\"pad\": \"{}\", \"key\": \"{}\"}}", "x".repeat(90_000), session.placeholder("SECRET"));
    let answer = it.post(&session, "h1.origin.test", "/behind", JSON, &body, Some(4096));
    refusal::expect_denied(&it.world.egret, &answer, 403, "placeholder_misplaced");
    it.world.origin.assert_saw_nothing_of(session.placeholder("SECRET"));
}

#[test]
fn a_credential_goes_into_a_body_as_often_as_was_declared() {
    let it = slots();
    let session = it.session();
    let twice = session.placeholder("TWICE");
    let body = |secret: &str| format!("{{\"a\": \"Bearer {secret}\", \"b\": \"{secret}\"}}");
    let answer = it.post(&session, "h1.origin.test", "/twice", JSON, &body(twice), None);
    assert_eq!(answer.status, 200, "{answer:?}");
    it.assert_masked(&answer);
    assert!(raw(&it, "/twice").contains(&body(it.twice.value())));
    // The same credential in its place in the head, at the same time.
    let target = it.world.target("h1.origin.test");
    let fields = format!("Authorization: Bearer {twice}\r\n");
    assert_eq!(client::get_with(&it.world.egret, &session, &target, "/head", &fields).status, 200);
    let seen = it.world.origin.seen_once("/head");
    assert_eq!(seen.value("authorization"), Some(format!("Bearer {}", it.twice.value())));
}

#[test]
fn a_cookie_is_added_or_swapped_among_others() {
    let it = slots();
    let session = it.world.egret.session(&["slots"], &["cookie"]);
    let target = it.world.target("h1.origin.test");
    let placeholder = session.placeholder("COOKIE");
    let value = it.cookie.value();
    // The host set none of the other cookies in this session, so they are the client's own and are removed.
    for (path, fields, want) in [
        ("/cookie-added", String::new(), format!("sid={value}")),
        ("/cookie-among", "Cookie: a=b; sid=mine; c=d\r\n".to_owned(), format!("sid={value}")),
        ("/cookie-swapped", format!("Cookie: a=b; sid={placeholder}; c=d\r\n"), format!("sid={value}")),
    ] {
        let answer = client::get_with(&it.world.egret, &session, &target, path, &fields);
        assert_eq!(answer.status, 200, "{answer:?}");
        it.assert_masked(&answer);
        assert_eq!(it.world.origin.seen_once(path).values("cookie"), [want], "{path}");
    }
    for field in [
        format!("Cookie: other={placeholder}"),
        format!("Cookie: sid=x{placeholder}"),
        format!("X-Cookie: sid={placeholder}"),
        format!("Authorization: Bearer {placeholder}"),
    ] {
        let answer = client::get_with(&it.world.egret, &session, &target, "/cookie-astray", &format!("{field}\r\n"));
        refusal::expect_denied(&it.world.egret, &answer, 403, "placeholder_misplaced");
    }
    it.world.origin.assert_saw_nothing_of("/cookie-astray");
}

#[test]
fn t083_a_placeholder_that_hides_in_a_head_is_refused() {
    use base64::Engine as _;
    let it = slots();
    let session = it.session();
    let target = it.world.target("h1.origin.test");
    let placeholder = session.placeholder("TWICE");
    let percent: String = placeholder.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let pair = |text: &str| base64::prelude::BASE64_STANDARD.encode(text);
    let coded = pair(&format!("user:{placeholder}"));
    for (path, field) in [
        (format!("/hidden?key={percent}"), String::new()),
        (format!("/hidden/{percent}"), String::new()),
        (format!("/hidden?key={coded}"), String::new()),
        ("/hidden".to_owned(), format!("X-Key: {percent}\r\n")),
        ("/hidden".to_owned(), format!("X-Key: %e{placeholder} %65{}\r\n", placeholder.get(1..).unwrap())),
        ("/hidden".to_owned(), format!("X-{placeholder}: a\r\n")),
        ("/hidden".to_owned(), format!("Authorization: Basic {}\r\n", pair(&format!("user:a{placeholder}")))),
        ("/hidden".to_owned(), format!("Authorization: Basic {}\r\n", pair(placeholder))),
        ("/hidden".to_owned(), format!("X-Key: Basic {coded}\r\n")),
        ("/hidden".to_owned(), format!("Cookie: a={coded}\r\n")),
        ("/hidden".to_owned(), format!("Authorization: Custom {coded}\r\n")),
    ] {
        let answer = client::get_with(&it.world.egret, &session, &target, &path, &field);
        refusal::expect_denied(&it.world.egret, &answer, 403, "placeholder_misplaced");
    }
    it.world.origin.assert_saw_nothing_of("/hidden");
    let session = it.session();
    for (path, kind) in [("/trailer-json", JSON), ("/trailer-text", "text/plain")] {
        let (answer, wire) = client::connect(&it.world.egret, Some(&session), &target);
        assert_eq!(answer.status, 200);
        let config = client::client_config(&it.world.egret, &["http/1.1"]);
        let mut wire = wire.start_tls(config, "h1.origin.test").unwrap();
        wire.send(format!(
            "POST {path} HTTP/1.1\r\nHost: {target}\r\nContent-Type: {kind}\r\nTE: trailers\r\nTrailer: X-T\r\n\
             Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\nX-T: {percent}\r\n\r\n"
        ));
        refusal::expect_denied(&it.world.egret, &wire.answer(), 403, "placeholder_misplaced");
    }
    it.world.origin.assert_saw_nothing_of(&percent);
}

#[test]
fn a_client_that_waits_for_100_and_one_that_leaves() {
    let it = slots();
    let session = it.session();
    let target = it.world.target("h1.origin.test");
    let open = || {
        let (answer, wire) = client::connect(&it.world.egret, Some(&session), &target);
        assert_eq!(answer.status, 200);
        wire.start_tls(client::client_config(&it.world.egret, &["http/1.1"]), "h1.origin.test").unwrap()
    };
    let body = format!("client_secret={}", session.placeholder("SECRET"));
    let head = |path: &str| {
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\nHost: {target}\r\nContent-Type: {FORM}\r\nContent-Length: {length}\r\n")
    };
    let mut wire = open();
    wire.send(format!("{}Expect: 100-continue\r\n\r\n", head("/expect")));
    assert_eq!(wire.one_answer("POST").unwrap().status, 100);
    wire.send(&body);
    assert_eq!(wire.answer().status, 200);
    assert!(raw(&it, "/expect").contains(&it.secret.value().replace('/', "%2F")));
    // The client closes within the body: nothing goes out, and the record names the client as the cause.
    let mut wire = open();
    wire.send(format!("{}\r\n{}", head("/leaves"), body.get(..20).unwrap()));
    drop(wire);
    let record = it.world.egret.record_where("the record", |record| record.text("path") == "/leaves");
    assert_eq!((record.text("kind").as_str(), record.text("outcome").as_str()), ("exchange.closed", "client_abort"));
    it.world.origin.assert_saw_nothing_of("/leaves");
}

#[test]
fn t085_a_body_of_nothing_but_marks_is_not_held() {
    let policy = "policy: marks\nrules:\n  - id: api\n    allow: {host: h1.origin.test, port: PORT, LOCAL}\n";
    let world = World::new(&["h1.origin.test"], &[policy], |setup| setup);
    world.origin.protocols("h1.origin.test", &["http/1.1"]);
    let session = world.egret.session(&["marks"], &[]);
    let target = world.target("h1.origin.test");
    let (answer, wire) = client::connect(&world.egret, Some(&session), &target);
    assert_eq!(answer.status, 200);
    let config = client::client_config(&world.egret, &["http/1.1"]);
    let mut wire = wire.start_tls(config, "h1.origin.test").unwrap();
    let piece = "egret_ph_".repeat(7_000);
    let pieces = 1_000;
    let before = world.egret.peak_memory();
    let length = piece.len() * pieces;
    wire.send(format!("POST /hash HTTP/1.1\r\nHost: {target}\r\nContent-Length: {length}\r\n\r\n"));
    (0..pieces).for_each(|_| wire.send(&piece));
    let answer = wire.answer();
    assert_eq!(answer.status, 200, "{answer:?}");
    let grown = world.egret.peak_memory() - before;
    assert!(grown < 16_000, "63 MB of marks took {grown} KiB of memory");
}

#[test]
fn t138_bodies_that_are_kept_take_no_more_than_their_part() {
    let policy =
        "policy: kept\nrules:\n  - id: api\n    allow: {host: h1.origin.test, port: PORT, LOCAL}\n    use: [secret]\n";
    let limits = "limits: {max_slot_bodies_bytes: 1MiB, max_slot_body_bytes: 256KiB}";
    let world = World::new(&["h1.origin.test"], &[policy], |setup| setup.config(limits));
    let target = world.target("h1.origin.test");
    let slot = ["--kind", "body", "--body-json", "/a", "--env", "SECRET", "--audience", &target];
    world.egret.put("secret", &slot);
    let [greedy, other] = [(); 2].map(|()| world.egret.session(&["kept"], &["secret"]));
    let begin = |session: &Session, path: &str, length: usize, bytes: usize| {
        let (answer, wire) = client::connect(&world.egret, Some(session), &target);
        assert_eq!(answer.status, 200);
        let config = client::client_config(&world.egret, &["http/1.1"]);
        let mut wire = wire.start_tls(config, "h1.origin.test").unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {target}\r\nContent-Type: {JSON}\r\nContent-Length: {length}\r\n\r\n"
        );
        wire.send(format!("{head}{}", "x".repeat(bytes)));
        wire
    };
    // The first one waits for the rest of its body; a session may have a quarter of a mebibyte. Where the second one was read before
    // it, both are begun again.
    let (mut waiting, refused) = egret_tests::wait::until("the first one is kept", || {
        let waiting = begin(&greedy, "/kept-1", 200_000, 199_000);
        let answer = begin(&greedy, "/kept-2", 100_000, 100_000).answer();
        (answer.status == 429).then_some((waiting, answer))
    });
    refusal::expect_denied(&world.egret, &refused, 429, "session_quota");
    // Another session is served all the same, and so is the first one when it goes on.
    let mut wire = begin(&other, "/kept-3", 200_000, 200_000);
    assert_eq!(wire.answer().status, 200);
    waiting.send("x".repeat(1_000));
    assert_eq!(waiting.answer().status, 200);
    let mut wire = begin(&greedy, "/kept-4", 200_000, 200_000);
    assert_eq!(wire.answer().status, 200, "what was kept is given back");
}
