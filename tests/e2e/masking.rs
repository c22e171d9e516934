//! E and L: responses of a host that was sent a secret, for any session, in any part, coding or rhythm.

use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;

use egret_tests::canary::{Canary, contains};
use egret_tests::client::{self, H2, Tunnel};
use egret_tests::egret::Session;
use egret_tests::origin::script::{Script, Step};
use egret_tests::refusal;
use egret_tests::shared::Shared;
use egret_tests::tools;

use crate::world::World;

static SHARED: Shared<Masking> = Shared::new();

const POLICY: &str = r#"
policy: masking
rules:
  - id: used
    allow: {host: ["host.origin.test", "h1.origin.test"], port: PORT, methods: [POST], LOCAL}
    use: [token]
  - id: unused
    allow: {host: ["host.origin.test", "h1.origin.test", "raw.origin.test", "cut.origin.test"], port: PORT, methods: [GET, HEAD, PUT], LOCAL}
  - id: late
    allow: {host: ["late.origin.test", "later.origin.test", "gone.origin.test"], port: PORT, LOCAL}
  - id: small
    allow: {host: small.origin.test, port: PORT, LOCAL}
    limits: {response_body: 100B}
  - id: plain
    allow: {host: host.origin.test, port: PLAIN, scheme: http, LOCAL}
  - id: other
    allow: {host: other.origin.test, port: PORT, LOCAL}
"#;

const HOSTS: &[&str] = &[
    "host.origin.test",
    "h1.origin.test",
    "raw.origin.test",
    "cut.origin.test",
    "other.origin.test",
    "late.origin.test",
    "later.origin.test",
    "gone.origin.test",
    "small.origin.test",
];

struct Masking {
    world: World,
    token: Canary,
}

fn masking() -> Arc<Masking> {
    SHARED.get(|| {
        let world = World::new(HOSTS, &[POLICY], |setup| setup);
        let hosts = ["host", "h1", "raw", "cut", "small"].map(|name| world.target(&format!("{name}.origin.test")));
        let mut options = vec!["--kind", "bearer"];
        options.extend(hosts.iter().flat_map(|host| ["--audience", host.as_str()]));
        let token = world.egret.put("token", &options);
        world.origin.protocols("h1.origin.test", &["http/1.1"]);
        Masking { world, token }
    })
}

impl Masking {
    fn session(&self) -> Session {
        self.world.egret.session(&["masking"], &["token"])
    }

    /// Lets the origin see the secret.
    fn use_it(&self, host: &str) {
        let target = self.world.target(host);
        let request = format!("POST /used HTTP/1.1\r\nHost: {target}\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client::request(&self.world.egret, &self.session(), &target, &request).status, 200);
    }

    fn put(&self, path: &str, kind: &'static str, bytes: Vec<u8>) {
        self.world.origin.packages(|packages| packages.put(path, kind, bytes));
    }

    /// The URL of a path at a host, and a curl in the session's environment.
    fn curl(&self, session: &Session, host: &str, path: &str, options: &[&str]) -> std::process::Output {
        let mut command = Command::new(tools::program("curl"));
        command.args(["--silent", "--show-error"]).args(options);
        command.arg(format!("https://{}{path}", self.world.target(host)));
        command.env_clear().envs(&session.env).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        tools::output(&mut command)
    }
}

#[test]
fn t102_masked_whichever_request_asks_and_whoever_owns_it() {
    let it = masking();
    it.use_it("host.origin.test");
    let without = it.world.egret.session(&["masking"], &[]);
    let elsewhere = it.world.egret.session_with(&["masking"], &[], &["--tenant", "acme"]);
    let host = it.world.target("host.origin.test");
    for session in [&it.session(), &without, &elsewhere] {
        for version in ["h1", "h2"] {
            let answer = match version {
                "h1" => client::get(&it.world.egret, session, &host, "/last/t102"),
                _ => H2::open(&it.world.egret, session, &host).get(&host, "/last/t102").unwrap(),
            };
            assert_eq!(answer.status, 200, "{answer:?}");
            it.token.assert_absent("an answer to a request without a credential", &answer.everything());
            assert!(answer.text().starts_with("the last request had Bearer ****"), "{}", answer.text());
            assert!(answer.header("x-last").unwrap().contains("****"));
        }
    }
    // In clear on another port of the host, too.
    let plain = it.world.plain("host.origin.test");
    let answer = client::absolute(&it.world.egret, &without, &format!("http://{plain}/last/t102"), &plain);
    assert_eq!(answer.status, 200, "{answer:?}");
    it.token.assert_absent("an answer in clear", &answer.everything());
    // Counted for its own tenant; of the other's record it is no part, and the owner has a record of its own.
    let closed = |session: &Session| {
        let fits =
            |r: &egret_tests::records::Record| r.text("session") == session.id && r.text("kind") == "exchange.closed";
        it.world.egret.record_where("the record", fits)
    };
    assert_eq!(closed(&without).number("redactions"), 2);
    assert!(!closed(&elsewhere).has("redactions") && !closed(&elsewhere).0.to_string().contains("token"));
    let told = it.world.egret.record_where("the owner's record", |r| r.text("kind") == "credential.masked");
    assert_eq!((told.text("tenant"), told.number("redactions")), ("default".to_owned(), 2));
    assert!(told.text("credentials").contains("token") && !told.0.to_string().contains("acme"), "{}", told.0);
    // Responses of a host in no audience are not changed.
    let other = it.world.target("other.origin.test");
    let answer = client::get_with(&it.world.egret, &without, &other, "/t102-other", "Accept-Encoding: br\r\n");
    assert!(answer.text().contains("accept-encoding: br"), "{}", answer.text());
}

#[test]
fn t093_coded_answers_are_decoded_and_masked() {
    let it = masking();
    let session = it.session();
    let text = [b"before ".as_slice(), it.token.value().as_bytes(), b" after"].concat();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&text).unwrap();
    it.put("/stored/t093-gzip", "gzip", gzip.finish().unwrap());
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(&text).unwrap();
    it.put("/stored/t093-deflate", "deflate", zlib.finish().unwrap());
    it.put("/stored/t093-zstd", "zstd", zstd::encode_all(&text[..], 3).unwrap());
    it.put("/stored/t093-other", "compress", text.clone());
    let stars = [b"before ".as_slice(), &vec![b'*'; it.token.value().len()], b" after"].concat();
    for host in ["host.origin.test", "h1.origin.test"] {
        let target = it.world.target(host);
        for path in ["/stored/t093-gzip", "/stored/t093-deflate", "/stored/t093-zstd"] {
            let h1 = client::get_with(&it.world.egret, &session, &target, path, "Accept-Encoding: gzip\r\n");
            let h2 = H2::open(&it.world.egret, &session, &target).get(&target, path).unwrap();
            for answer in [h1, h2] {
                assert_eq!((answer.status, answer.body.as_slice()), (200, stars.as_slice()), "{host}{path}");
                assert_eq!((answer.header("content-encoding"), answer.header("content-md5")), (None, None));
                assert_eq!(answer.header("etag").as_deref(), Some("W/\"v1\""));
            }
        }
        let answer = client::get(&it.world.egret, &session, &target, "/stored/t093-other");
        refusal::expect(&it.world.egret, &answer, 502, "redaction_impossible");
    }
    let seen = it.world.origin.seen("t093");
    assert!(seen.iter().all(|seen| seen.value("accept-encoding").as_deref() == Some("identity")));
}

#[test]
fn t219_a_part_of_a_masked_object() {
    let it = masking();
    let session = it.session();
    let token = it.token.value();
    let object = format!("{}{token}{}", "0123456789".repeat(20), "abcdefghij".repeat(20));
    let masked = object.replace(token, &"*".repeat(token.len()));
    it.put("/stored/t219", "application/octet-stream", object.clone().into_bytes());
    let total = object.len();
    for host in ["host.origin.test", "h1.origin.test"] {
        let target = it.world.target(host);
        let get = |range: &str, fields: &str| {
            let fields = format!("Range: {range}\r\n{fields}");
            client::get_with(&it.world.egret, &session, &target, "/stored/t219", &fields)
        };
        // Three bytes at a time over the secret: no part of it shows.
        for first in (190..200 + token.len() + 10).step_by(3) {
            let answer = get(&format!("bytes={first}-{}", first + 2), "");
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (206, masked.get(first..first + 3).unwrap()),
                "{first}"
            );
            let range = format!("bytes {first}-{}/{total}", first + 2);
            assert_eq!(answer.header("content-range"), Some(range));
        }
        for (range, from, to) in [
            ("bytes=0-0", 0, 1),
            ("bytes=200-", 200, total),
            ("bytes=-5", total - 5, total),
            ("bytes=0-1,5-6", 0, 7),
            ("bytes=0-1, -2", 0, total),
            (&*format!("bytes=0-{}", total + 50), 0, total),
        ] {
            let answer = get(range, "");
            assert_eq!((answer.status, answer.text().as_str()), (206, masked.get(from..to).unwrap()), "{range}");
            assert_eq!(answer.header("content-range"), Some(format!("bytes {from}-{}/{total}", to - 1)), "{range}");
            let request = http::Request::get(format!("https://{target}/stored/t219")).header("range", range);
            let request = request.body(http_body_util::Full::default()).unwrap();
            let answer = H2::open(&it.world.egret, &session, &target).send(request).unwrap();
            assert_eq!((answer.status, answer.text().as_str()), (206, masked.get(from..to).unwrap()), "{range}");
        }
        // After the end, although the wider part that is requested from the upstream begins before it.
        for range in [format!("bytes={total}-"), format!("bytes={}-", total * 9), "bytes=-0".to_owned()] {
            let answer = get(&range, "");
            assert_eq!((answer.status, answer.body.len()), (416, 0), "{range}");
            assert_eq!(answer.header("content-range"), Some(format!("bytes */{total}")), "{range}");
        }
        assert_eq!(get("bytes=0-2", "If-Range: \"v1\"\r\n").status, 206);
        let changed = get("bytes=0-2", "If-Range: \"v0\"\r\n");
        assert_eq!((changed.status, changed.text()), (200, masked.clone()));
        let before = it.world.origin.seen("/stored/t219").len();
        for range in ["bytes=5", "bytes = 0-1"] {
            refusal::expect(&it.world.egret, &get(range, ""), 502, "redaction_impossible");
        }
        assert_eq!(it.world.origin.seen("/stored/t219").len(), before, "the upstream was asked");
    }
    // Other units are no bytes.
    let target = it.world.target("host.origin.test");
    let answer = client::get_with(&it.world.egret, &session, &target, "/t219-unit", "Range: items=0-9\r\n");
    assert!(answer.status == 200 && answer.text().contains("range: items=0-9"), "{}", answer.text());
    // A part that was not requested.
    let partial = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-2/10\r\nContent-Length: 3\r\n\r\nabc";
    it.world.origin.script("raw.origin.test", Script::answer(partial));
    let raw = it.world.target("raw.origin.test");
    let answer = client::get(&it.world.egret, &session, &raw, "/t219-unasked");
    refusal::expect(&it.world.egret, &answer, 502, "redaction_impossible");
}

#[test]
fn t219_curl_resumes_a_download() {
    let it = masking();
    let session = it.session();
    let object: Vec<u8> = (0..3_000_000u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
    it.put("/stored/large-t219", "application/octet-stream", object.clone());
    let folder = tempfile::tempdir().unwrap();
    for (host, version) in [("host.origin.test", "--http2"), ("h1.origin.test", "--http1.1")] {
        let file = folder.path().join(version);
        let shown = file.display().to_string();
        std::fs::write(&file, &object[..5_000_001]).unwrap();
        let output = it.curl(&session, host, "/stored/large-t219", &[version, "-C", "-", "-o", &shown]);
        assert!(output.status.success(), "{output:?}");
        assert!(std::fs::read(&file).unwrap() == object, "{version}: the file is another");
        let output = it.curl(&session, host, "/stored/large-t219", &[version, "-r", "100-199", "-o", &shown]);
        assert!(output.status.success() && std::fs::read(&file).unwrap() == object[100..200], "{version}");
    }
}

#[test]
fn t220_a_stream_that_pauses_within_a_word() {
    let it = masking();
    let session = it.session();
    for host in ["host.origin.test", "h1.origin.test"] {
        let target = it.world.target(host);
        let gate = format!("t220-{host}");
        let mut wire = Tunnel::to(&target).open(&it.world.egret, &session);
        wire.send(format!("GET /paused/{gate} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
        wire.read_until("a-word-without-an-end");
        it.world.origin.open_gate(&gate);
        wire.read_until("-and-the-rest\n");
        let gate = format!("t220-h2-{host}");
        let request = http::Request::get(format!("https://{target}/paused/{gate}"));
        let request = request.body(http_body_util::Full::default()).unwrap();
        let mut h2 = H2::open(&it.world.egret, &session, &target);
        let (first, whole) = h2.send_and_pause(request, 21, || it.world.origin.open_gate(&gate)).unwrap();
        assert_eq!(first, b"a-word-without-an-end");
        assert_eq!(whole.text(), "a-word-without-an-end-and-the-rest\n");
    }
}

#[test]
fn t220_messages_of_grpc_pass_and_are_masked() {
    let it = masking();
    let session = it.session();
    let target = it.world.target("host.origin.test");
    let request = http::Request::post(format!("https://{target}/grpc/t220-grpc")).header("te", "trailers");
    let request = request.body(http_body_util::Full::default()).unwrap();
    let mut h2 = H2::open(&it.world.egret, &session, &target);
    let (first, whole) = h2.send_and_pause(request, 12, || it.world.origin.open_gate("t220-grpc")).unwrap();
    assert_eq!(first, b"\0\0\0\0\x01x\0\0\0\0\x01y");
    it.token.assert_absent("a message", &whole.everything());
    let echo = format!("echo Bearer {}", "*".repeat(it.token.value().len()));
    assert!(contains(&whole.body, echo.as_bytes()), "{}", whole.text());
    assert_eq!(whole.trailers, [("grpc-status".to_owned(), "0".to_owned())]);
}

#[test]
fn t218_a_response_that_breaks_off_within_a_secret() {
    let it = masking();
    let session = it.session();
    let token = it.token.value();
    let most = token.get(..token.len() - 1).unwrap();
    for (name, head, tail) in
        [("length", "Content-Length: 500", String::new()), ("chunked", "Transfer-Encoding: chunked", "\r\n".to_owned())]
    {
        let text = format!("x {most}");
        let begin = if name == "chunked" { format!("{:x}\r\n", text.len()) } else { String::new() };
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{begin}{text}{tail}");
        it.world.origin.script("cut.origin.test", Script::new(vec![Step::Write(answer.into_bytes()), Step::Close]));
        let target = it.world.target("cut.origin.test");
        let mut wire = Tunnel::to(&target).open(&it.world.egret, &session);
        wire.send(format!("GET /t218-{name} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
        let came = wire.rest();
        assert!(
            !contains(&came, most.as_bytes().get(..most.len() / 2 + 2).unwrap()),
            "{}",
            String::from_utf8_lossy(&came)
        );
        assert!(!contains(&came, b"\r\n0\r\n\r\n"), "what broke off looks whole: {}", String::from_utf8_lossy(&came));
        let path = format!("/t218-{name}");
        let record = it
            .world
            .egret
            .record_where("the record", |r| r.text("path") == path && r.text("kind") == "exchange.closed");
        assert_eq!(record.text("outcome"), "upstream_reset", "{}", record.0);
    }
}

#[test]
fn t216_an_echo_of_guesses_does_not_tell_the_right_one() {
    let it = masking();
    let session = it.session();
    let token = it.token.value();
    // The value is in hexadecimal, so none of these is right by chance.
    let guess = |n: usize| format!("{}g{n:03x}", token.get(..token.len() - 4).unwrap());
    // The pieces of the response are as the network cuts them: past the hundredth guess all of them have to be refused.
    for right in [200, 1500, 3000] {
        let guesses: Vec<String> = (0..3001).map(|n| if n == right { token.to_owned() } else { guess(n) }).collect();
        let guesses = guesses.join("\n");
        for host in ["host.origin.test", "h1.origin.test"] {
            let target = it.world.target(host);
            let mut wire = Tunnel::to(&target).open(&it.world.egret, &session);
            let length = guesses.len();
            wire.send(format!("PUT /t216 HTTP/1.1\r\nHost: {target}\r\nContent-Length: {length}\r\n\r\n{guesses}"));
            let came = wire.rest();
            it.token.assert_absent("an echo of guesses", &came);
            assert!(!contains(&came, b"***"), "the right guess of {right} shows");
        }
    }
    let record =
        it.world.egret.record_where("the record", |r| r.text("path") == "/t216" && r.text("kind") == "exchange.closed");
    assert_eq!(
        (record.text("code"), record.text("outcome")),
        ("redaction_impossible".to_owned(), "refused".to_owned())
    );
    // Wrong guesses alone come back as they are.
    let target = it.world.target("host.origin.test");
    let wrong: String = (0..3001).map(|n| guess(n) + "\n").collect();
    let length = wrong.len();
    let request = format!("PUT /t216-wrong HTTP/1.1\r\nHost: {target}\r\nContent-Length: {length}\r\n\r\n{wrong}");
    let answer = client::request(&it.world.egret, &session, &target, &request);
    assert!(answer.status == 200 && contains(&answer.body, wrong.as_bytes()));
}

#[test]
fn t094_identity_is_asked_for() {
    let it = masking();
    let session = it.session();
    let target = it.world.target("host.origin.test");
    for (asked, stripped) in [("dcb, br, gzip", true), ("identity", false)] {
        let path = format!("/t094-{stripped}");
        client::get_with(&it.world.egret, &session, &target, &path, &format!("Accept-Encoding: {asked}\r\n"));
        assert_eq!(it.world.origin.seen_once(&path).value("accept-encoding").as_deref(), Some("identity"));
        let fits = |r: &egret_tests::records::Record| r.text("path") == path && r.text("kind") == "exchange.closed";
        let record = it.world.egret.record_where("the record", fits);
        assert_eq!(record.text("stripped").contains("accept-encoding"), stripped, "{}", record.0);
    }
}

#[test]
fn t270_an_open_stream_does_not_show_what_is_stored_later() {
    let it = masking();
    let session = it.world.egret.session(&["masking"], &[]);
    let target = it.world.target("late.origin.test");
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len()).into_bytes();
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    // The first value of the host, and one that takes its place.
    for turn in ["first", "second"] {
        let value = Canary::new("late");
        it.world.egret.watch(value.clone());
        let gate = format!("t270-{turn}");
        let steps = vec![
            Step::Write([head.clone(), chunk("data: open\n\n")].concat()),
            Step::Gate(gate.clone()),
            Step::Write(chunk(&format!("data: {}\n\n", value.value()))),
            Step::Write(chunk("data: more\n\n")),
            Step::Write(b"0\r\n\r\n".to_vec()),
        ];
        it.world.origin.script("late.origin.test", Script::new(steps));
        let mut wire = Tunnel::to(&target).open(&it.world.egret, &session);
        wire.send(format!("GET /t270-{turn} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n"));
        wire.read_until("data: open");
        it.world.egret.put_value("late", &["--kind", "bearer", "--audience", &target], value.value());
        it.world.origin.open_gate(&gate);
        let came = wire.rest();
        value.assert_absent("a stream that was open", &came);
        let stars = format!("data: {}\n", "*".repeat(value.value().len()));
        assert!(contains(&came, stars.as_bytes()), "{turn}: {}", String::from_utf8_lossy(&came));
        assert!(contains(&came, b"data: more"), "{turn}: {}", String::from_utf8_lossy(&came));
    }
}

#[test]
fn t270_a_coded_response_ends_when_a_value_is_stored_for_its_host() {
    let it = masking();
    let session = it.world.egret.session(&["masking"], &[]);
    let target = it.world.target("later.origin.test");
    let head = "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 200\r\n\r\nbegin\n";
    let steps = vec![Step::Write(head.into()), Step::Gate("t270-coded".to_owned()), Step::Write(vec![b'x'; 194])];
    it.world.origin.script("later.origin.test", Script::new(steps));
    let mut wire = Tunnel::to(&target).open(&it.world.egret, &session);
    wire.send(format!("GET /t270-coded HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    wire.read_until("begin\n");
    it.world.egret.put("later", &["--kind", "bearer", "--audience", &target]);
    it.world.origin.open_gate("t270-coded");
    let came = wire.rest();
    assert!(!contains(&came, b"xx"), "{}", String::from_utf8_lossy(&came));
    ended_unmaskable(&it.world, "/t270-coded");
}

/// The exchange for this path was terminated because its response could not be masked.
fn ended_unmaskable(world: &World, path: &str) {
    let fits = |r: &egret_tests::records::Record| r.text("path") == path && r.text("kind") == "exchange.closed";
    assert_eq!(world.egret.record_where("the record", fits).text("code"), "redaction_impossible");
}

#[test]
fn t271_messages_and_deltas_come_in_no_coding() {
    let it = masking();
    let session = it.session();
    let target = it.world.target("host.origin.test");
    let fields = "Content-Type: application/grpc\r\nGrpc-Accept-Encoding: gzip\r\nA-IM: gzip\r\n";
    client::get_with(&it.world.egret, &session, &target, "/t271-asked", fields);
    let seen = it.world.origin.seen_once("/t271-asked");
    assert_eq!((seen.value("grpc-accept-encoding").as_deref(), seen.value("a-im")), (Some("identity"), None));
    // An upstream that codes all the same.
    let raw = it.world.target("raw.origin.test");
    for head in [
        "200 OK\r\nContent-Type: application/grpc\r\nGrpc-Encoding: gzip",
        "200 OK\r\nContent-Type: application/connect+json\r\nConnect-Content-Encoding: gzip",
        "226 IM Used\r\nIM: gzip",
        // A field that describes the content is not a field of the connection.
        "200 OK\r\nConnection: grpc-encoding, content-type\r\nContent-Type: application/grpc\r\nGrpc-Encoding: gzip",
        "200 OK\r\nConnection: Content-Encoding\r\nContent-Encoding: compress",
        "226 IM Used",
    ] {
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 7\r\n\r\n\u{1}\0\0\0\u{2}xy");
        it.world.origin.script("raw.origin.test", Script::answer(answer.as_bytes()));
        let answer = client::get(&it.world.egret, &session, &raw, "/t271-coded");
        refusal::expect(&it.world.egret, &answer, 502, "redaction_impossible");
    }
    let unnamed = b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nContent-Length: 14\r\n\r\n\0\0\0\0\x02xy\x01\0\0\0\x02zz";
    it.world.origin.script("raw.origin.test", Script::answer(unnamed));
    let mut wire = Tunnel::to(&raw).open(&it.world.egret, &session);
    wire.send(format!("GET /t271-unnamed HTTP/1.1\r\nHost: {raw}\r\n\r\n"));
    assert!(!contains(&wire.rest(), b"zz"));
    ended_unmaskable(&it.world, "/t271-unnamed");
}

#[test]
fn t272_a_removed_value_is_still_masked() {
    let it = masking();
    let target = it.world.target("gone.origin.test");
    let gone = it.world.egret.put("gone", &["--kind", "bearer", "--audience", &target]);
    let text = format!("it was {}\n", gone.value());
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    it.world.origin.script("gone.origin.test", Script::answer(answer.as_bytes()));
    let session = it.world.egret.session(&["masking"], &[]);
    let masked = format!("it was {}\n", "*".repeat(gone.value().len()));
    assert_eq!(client::get(&it.world.egret, &session, &target, "/t272-before").text(), masked);
    it.world.egret.ok(&["vault", "rm", "gone"], "");
    assert_eq!(client::get(&it.world.egret, &session, &target, "/t272-after").text(), masked);
    assert!(!it.world.egret.ok(&["vault", "list"], "").contains("gone"));
}

#[test]
fn t274_the_limit_of_a_response_counts_what_goes_to_the_client() {
    let it = masking();
    let session = it.session();
    let target = it.world.target("small.origin.test");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&[b"0123456789\n".as_slice(); 900].concat()).unwrap();
    let coded = gzip.finish().unwrap();
    assert!(coded.len() < 100);
    it.put("/stored/t274-gzip", "gzip", coded);
    it.put("/stored/t274-plain", "application/octet-stream", vec![b'.'; 5_000]);
    let mut wire = Tunnel::to(&target).open(&it.world.egret, &session);
    wire.send(format!("GET /stored/t274-gzip HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    let came = wire.rest();
    let body = came.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| came.len() - at - 4);
    assert!(body < 120, "{body} bytes came");
    let fits =
        |r: &egret_tests::records::Record| r.text("path") == "/stored/t274-gzip" && r.text("kind") == "exchange.closed";
    assert_eq!(it.world.egret.record_where("the record", fits).text("code"), "response_too_large");
    // A part is judged by itself, not by the wider one that the upstream is asked for.
    let part = |range: &str| {
        let fields = format!("Range: bytes={range}\r\n");
        client::get_with(&it.world.egret, &session, &target, "/stored/t274-plain", &fields)
    };
    let answer = part("1000-1099");
    assert_eq!((answer.status, answer.body.len()), (206, 100));
    refusal::expect(&it.world.egret, &part("1000-1100"), 502, "response_too_large");
}
