//! Responses of upstreams: one that two parsers could read differently reaches no client, over HTTP/1.1 or HTTP/2.

use std::sync::Arc;

use egret_tests::client::{Answer, H2, Tunnel};
use egret_tests::egret::Session;
use egret_tests::origin::script::{Script, Step};
use egret_tests::records::Record;
use egret_tests::refusal;
use egret_tests::shared::Shared;
use http_body_util::Full;

use crate::world::World;

static WORLD: Shared<World> = Shared::new();

const POLICY: &str = "
policy: responses
rules:
  - id: api
    allow: {host: \"*.origin.test\", port: PORT, LOCAL}
";

/// A host for each test: its script is its own.
const HOSTS: [&str; 14] = [
    "t043.origin.test",
    "t044.origin.test",
    "t045.origin.test",
    "t046.origin.test",
    "t047.origin.test",
    "t048.origin.test",
    "t049.origin.test",
    "t062.origin.test",
    "t063.origin.test",
    "t064.origin.test",
    "t065.origin.test",
    "odd.origin.test",
    "early.origin.test",
    "trailers-only.origin.test",
];

fn world() -> Arc<World> {
    WORLD.get(|| {
        let limits = "limits: {max_response_head_bytes: 16KiB, max_response_fields: 50}";
        World::new(&HOSTS, &[POLICY], |setup| setup.config(limits))
    })
}

struct Bench {
    world: Arc<World>,
    session: Session,
    host: &'static str,
}

impl Bench {
    fn new(host: &'static str) -> Self {
        let world = world();
        let session = world.egret.session(&["responses"], &[]);
        Self { world, session, host }
    }

    fn script(&self, bytes: &[u8]) {
        self.world.origin.script(self.host, Script::answer(bytes));
    }

    /// The answers over HTTP/1.1, as raw bytes and parsed, and over HTTP/2.
    fn get(&self, fields: &str) -> [Answer; 2] {
        let target = self.world.target(self.host);
        let mut wire = Tunnel::to(&target).open(&self.world.egret, &self.session);
        wire.send(format!("GET /{} HTTP/1.1\r\nHost: {target}\r\n{fields}\r\n", self.host));
        let first = wire.answer();
        let mut request = http::Request::get(format!("https://{target}/{}", self.host));
        for field in fields.lines() {
            let (name, value) = field.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        let second = H2::open(&self.world.egret, &self.session, &target).send(request.body(Full::default()).unwrap());
        [first, second.unwrap()]
    }

    /// A head with these fields, and this body, is 502 over both versions, with a record.
    fn refuse(&self, bytes: &[u8]) -> Vec<Record> {
        self.script(bytes);
        let shown = bytes.get(..bytes.len().min(200)).unwrap().escape_ascii();
        let refused = |answer: &Answer| {
            assert_eq!(answer.status, 502, "{shown}: {answer:?}");
            let record = refusal::expect(&self.world.egret, answer, 502, "upstream_protocol");
            let facts = ["decision", "outcome", "fault"].map(|name| record.text(name));
            assert_eq!(facts, ["allow", "upstream_reset", "upstream"], "{shown}");
            record
        };
        self.get("").iter().map(refused).collect()
    }

    fn refuse_fields(&self, fields: &[u8], body: &[u8]) {
        self.refuse(&[b"HTTP/1.1 200 OK\r\n", fields, b"\r\n", body].concat());
    }
}

#[test]
fn t043_a_response_with_length_and_chunks_is_502() {
    let bench = Bench::new("t043.origin.test");
    bench.refuse_fields(b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n");
    bench.refuse_fields(b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", b"0\r\n\r\n");
}

#[test]
fn t044_a_response_without_one_length_is_502() {
    let bench = Bench::new("t044.origin.test");
    for fields in [
        &b"Content-Length: 2\r\nContent-Length: 2\r\n"[..],
        b"Content-Length: 2\r\nContent-Length: 3\r\n",
        b"Content-Length: 2, 2\r\n",
        b"Content-Length: +2\r\n",
        b"Content-Length: 0x2\r\n",
        b"Content-Length: 2_0\r\n",
        b"Content-Length: -2\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: 2 2\r\n",
        b"Content-Length: 999999999999999999999\r\n",
    ] {
        bench.refuse_fields(fields, b"ok");
    }
    // Leading zeros have one meaning; the client gets none.
    bench.script(b"HTTP/1.1 200 OK\r\nContent-Length: 002\r\n\r\nok");
    for answer in bench.get("") {
        assert_eq!((answer.header("content-length").as_deref(), answer.text().as_str()), (Some("2"), "ok"));
    }
}

#[test]
fn t045_a_response_in_another_coding_is_502() {
    let bench = Bench::new("t045.origin.test");
    for value in [
        &b",chunked"[..],
        b"cow, chunked",
        b"chunked, identity",
        b"xchunked",
        b"chunked;x=1",
        b"\x0bchunked",
        b"\xa0chunked",
    ] {
        bench.refuse_fields(&[b"Transfer-Encoding: ", value, b"\r\n"].concat(), b"0\r\n\r\n");
    }
    bench.refuse_fields(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n");
    bench.refuse(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
}

#[test]
fn t046_a_response_with_an_odd_field_name_is_502() {
    let bench = Bench::new("t046.origin.test");
    for line in [&b"no colon"[..], b": empty", b"X A: 1", b"X(A): 1", b"X\x7fA: 1"] {
        bench.refuse_fields(&[line, b"\r\nContent-Length: 2\r\n"].concat(), b"ok");
    }
}

#[test]
fn t047_a_folded_response_is_502() {
    let bench = Bench::new("t047.origin.test");
    for fields in [&b"X-A: 1\r\n 2\r\n"[..], b"X-A: 1\r\n\t2\r\n", b"X-A:\r\n 2\r\n"] {
        bench.refuse_fields(&[fields, b"Content-Length: 2\r\n"].concat(), b"ok");
    }
}

#[test]
fn t048_a_response_with_control_bytes_is_502() {
    let bench = Bench::new("t048.origin.test");
    for fields in [&b"X: a\0b\r\n"[..], b"X: a\rb\r\n", b"X: \x01\r\n"] {
        bench.refuse_fields(&[fields, b"Content-Length: 2\r\n"].concat(), b"ok");
    }
}

#[test]
fn t049_a_response_whose_first_chunk_is_broken_is_502() {
    let bench = Bench::new("t049.origin.test");
    let long = [b"5;a=".as_slice(), &[b'x'; 2_000], b"\r\nhello\r\n0\r\n\r\n"].concat();
    for chunk in [
        &b"0x5\r\nhello\r\n0\r\n\r\n"[..],
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5;\r\nhello\r\n0\r\n\r\n",
        b"11111111111111111\r\nhello",
        b"\r\n5\r\nhello\r\n0\r\n\r\n",
        &long,
    ] {
        bench.refuse_fields(b"Transfer-Encoding: chunked\r\n", chunk);
    }
}

#[test]
fn t062_a_response_head_beyond_egrets_bounds_is_named() {
    let bench = Bench::new("t062.origin.test");
    let many: String = (0..60).map(|n| format!("X-{n}: 1\r\n")).collect();
    let large = format!("X: {}\r\n", "a".repeat(20_000));
    for fields in [many, large] {
        bench.script(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok").as_bytes());
        for answer in bench.get("") {
            let record = refusal::expect(&bench.world.egret, &answer, 502, "response_too_large");
            assert_eq!(["detail", "fault"].map(|name| record.text(name)), ["head", "egret"], "{}", record.0);
            let detail = refusal::problem(&answer)["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains("limits.max_response_head_bytes"), "{detail}");
        }
    }
}

#[test]
fn t063_a_second_response_reaches_no_client() {
    let bench = Bench::new("t063.origin.test");
    let two = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    bench.script(two);
    let target = bench.world.target(bench.host);
    let mut wire = Tunnel::to(&target).open(&bench.world.egret, &bench.session);
    for _ in 0..3 {
        wire.send(format!("GET /t063 HTTP/1.1\r\nHost: {target}\r\n\r\n"));
        assert_eq!(wire.answer().text(), "ok");
    }
    let mut h2 = H2::open(&bench.world.egret, &bench.session, &target);
    for _ in 0..3 {
        assert_eq!(h2.get(&target, "/t063").unwrap().text(), "ok");
    }
}

#[test]
fn t064_hints_pass_and_an_unasked_101_does_not() {
    let bench = Bench::new("t064.origin.test");
    bench.refuse(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    bench.script(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 \
          OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let target = bench.world.target(bench.host);
    let mut wire = Tunnel::to(&target).open(&bench.world.egret, &bench.session);
    wire.send(format!("GET /t064 HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    let heads: Vec<_> = (0..3).map(|_| wire.one_answer("GET").unwrap()).collect();
    assert_eq!(heads.iter().map(|head| head.status).collect::<Vec<_>>(), [103, 102, 200]);
    assert_eq!(heads[0].headers, [("Link".to_owned(), "</a>".to_owned())]);
    assert_eq!((&heads[1].headers[..], heads[2].text().as_str()), (&[][..], "ok"));
    // A client of HTTP/1.0 does not understand them.
    let mut wire = Tunnel::to(&target).open(&bench.world.egret, &bench.session);
    wire.send(format!("GET /t064 HTTP/1.0\r\nHost: {target}\r\n\r\n"));
    assert_eq!(wire.one_answer("GET").unwrap().status, 200);
}

#[test]
fn t065_a_204_has_neither_length_nor_body() {
    let bench = Bench::new("t065.origin.test");
    bench.script(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello");
    for answer in bench.get("") {
        assert_eq!((answer.status, answer.header("content-length"), answer.body.len()), (204, None, 0));
    }
}

#[test]
fn t051_framing_names_in_the_trailers_of_a_response_are_dropped() {
    let bench = Bench::new("odd.origin.test");
    let names = "Content-Length: 9\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nKeep-Alive: 1\r\nUpgrade: h2c\r\nTE: trailers\r\n";
    bench.script(
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n{names}X-Sum: 1\r\n\r\n")
            .as_bytes(),
    );
    for answer in bench.get("TE: trailers\r\n") {
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        assert_eq!(answer.trailers, [("x-sum".to_owned(), "1".to_owned())]);
    }
}

#[test]
fn t050_a_response_that_ends_early_never_looks_whole() {
    let policy = POLICY.replace("responses", "early");
    let world = World::new(&["t050.origin.test"], &[&policy], |setup| setup);
    let session = world.egret.session(&["early"], &[]);
    let target = world.target("t050.origin.test");
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    for rest in ["0x5\r\nhello\r\n0\r\n\r\n", "5\r\nhel"] {
        let steps = vec![Step::Write(head.into()), Step::Write(rest.into()), Step::Close];
        world.origin.script("t050.origin.test", Script::new(steps));
        let mut wire = Tunnel::to(&target).open(&world.egret, &session);
        wire.send(format!("GET /t050 HTTP/1.1\r\nHost: {target}\r\n\r\n"));
        let bytes = wire.rest();
        assert!(
            bytes.starts_with(b"HTTP/1.1 200 OK\r\n") && !bytes.ends_with(b"0\r\n\r\n"),
            "{}",
            bytes.escape_ascii()
        );
        assert!(H2::open(&world.egret, &session, &target).get(&target, "/t050").is_err(), "{rest:?}");
    }
}

#[test]
fn an_early_end_over_http2_comes_behind_what_arrived() {
    let bench = Bench::new("early.origin.test");
    let answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".as_slice(), &[b'a'; 10_000]].concat();
    bench.world.origin.script(bench.host, Script::new(vec![Step::Write(answer), Step::Close]));
    let target = bench.world.target(bench.host);
    let mut h2 = H2::open(&bench.world.egret, &bench.session, &target);
    for _ in 0..5 {
        let mut arrived = false;
        let request = http::Request::get(format!("https://{target}/early")).body(Full::default()).unwrap();
        let ended = h2.send_and_pause(request, 10_000, || arrived = true);
        assert!(arrived, "the record says that they were sent");
        assert!(ended.is_err(), "the response must not look complete");
    }
}

#[test]
fn trailers_of_an_empty_response_arrive() {
    let bench = Bench::new("trailers-only.origin.test");
    bench.script(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: abc\r\n\r\n");
    for answer in bench.get("TE: trailers\r\n") {
        assert_eq!((answer.status, answer.text().as_str()), (200, ""));
        assert_eq!(answer.trailers, [("x-sum".to_owned(), "abc".to_owned())], "{answer:?}");
    }
}
