//! C: framing and grammar of request heads. Where two parsers could disagree, nothing goes out.

use std::sync::Arc;

use egret_tests::client::{Tunnel, Wire};
use egret_tests::egret::Session;
use egret_tests::records::Record;
use egret_tests::refusal;
use egret_tests::shared::Shared;

use crate::world::World;

static WORLD: Shared<World> = Shared::new();

const POLICY: &str = r#"
policy: framing
rules:
  - id: api
    allow: {host: api.origin.test, port: PORT, LOCAL}
  - id: plain
    allow: {host: plain.origin.test, port: PLAIN, scheme: http, LOCAL}
"#;

fn world() -> Arc<World> {
    WORLD.get(|| World::new(&["api.origin.test", "plain.origin.test"], &[POLICY], |setup| setup))
}

/// The bytes of each case within a tunnel and in clear: refused with this code, closed, and unseen upstream.
struct Bench {
    world: Arc<World>,
    session: Session,
    mark: &'static str,
}

impl Bench {
    fn new(mark: &'static str) -> Self {
        let world = world();
        let session = world.egret.session(&["framing"], &[]);
        Self { world, session, mark }
    }

    /// `fields` follow a valid request line and Host; `body` follows the empty line.
    fn refuse(&self, method: &str, fields: &[u8], body: &str, code: &str) {
        let target = self.world.target("api.origin.test");
        let head = format!("{method} /{} HTTP/1.1\r\nHost: {target}\r\n", self.mark);
        let bytes = [head.as_bytes(), fields, b"\r\n", body.as_bytes()].concat();
        self.refuse_raw(&bytes, code);

        let target = self.world.plain("plain.origin.test");
        let head = format!("{method} http://{target}/{} HTTP/1.1\r\nHost: {target}\r\n", self.mark);
        let authorization = format!("Proxy-Authorization: {}\r\n", self.session.authorization());
        let bytes = [head.as_bytes(), authorization.as_bytes(), fields, b"\r\n", body.as_bytes()].concat();
        let mut wire = Wire::open(&self.world.egret);
        wire.send(&bytes);
        // A head that cannot be read names no session.
        drop(self.judge(wire, &bytes, code));
    }

    /// These very bytes, within a tunnel.
    fn refuse_raw(&self, bytes: &[u8], code: &str) {
        let target = self.world.target("api.origin.test");
        let mut wire = Tunnel::to(&target).open(&self.world.egret, &self.session);
        wire.send(bytes);
        let record = self.judge(wire, bytes, code);
        assert_eq!(record.text("session"), self.session.id, "after {}", bytes.escape_ascii());
    }

    fn judge(&self, mut wire: Wire, bytes: &[u8], code: &str) -> Record {
        let shown = bytes.escape_ascii();
        let answer = wire.try_answer_to("GET").unwrap_or_else(|| panic!("closed without an answer after {shown}"));
        assert_eq!(answer.status, 400, "after {shown}: {answer:?}");
        let got = refusal::problem(&answer)["code"].clone();
        assert_eq!(got, code, "after {shown}");
        let record = refusal::expect_denied(&self.world.egret, &answer, 400, code);
        assert!(wire.is_closed(), "the connection stays open after {shown}");
        record
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.world.origin.assert_saw_nothing_of(self.mark);
        }
    }
}

#[test]
fn t043_content_length_with_transfer_encoding() {
    let bench = Bench::new("t043");
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 0\r\ntransfer-encoding: Chunked\r\n",
    ] {
        bench.refuse("POST", fields.as_bytes(), "0\r\n\r\nGET /t043-smuggled HTTP/1.1\r\n\r\n", "ambiguous_framing");
    }
}

#[test]
fn t044_content_length_that_is_no_number() {
    let bench = Bench::new("t044");
    for fields in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5_0\r\n",
        "Content-Length: -1\r\n",
        "Content-Length:\r\n",
        "Content-Length: \r\n",
        "Content-Length: 999999999999999999999\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: \"5\"\r\n",
        "Content-Length: 5.0\r\n",
    ] {
        bench.refuse("POST", fields.as_bytes(), "hello", "ambiguous_framing");
    }
}

#[test]
fn t045_transfer_encoding_other_than_chunked() {
    let bench = Bench::new("t045");
    for value in [
        &b",chunked"[..],
        b"cow, chunked",
        b"chunked, chunked",
        b"chunked, identity",
        b"identity",
        b"xchunked",
        b"chunked;x=1",
        b"gzip, chunked",
        b"",
        b"chunked,",
        b"\"chunked\"",
    ] {
        let fields = [b"Transfer-Encoding: ", value, b"\r\n"].concat();
        bench.refuse("POST", &fields, "0\r\n\r\n", "ambiguous_framing");
    }
    bench.refuse(
        "POST",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "0\r\n\r\n",
        "ambiguous_framing",
    );
    let target = bench.world.target("api.origin.test");
    let old = format!("POST /t045 HTTP/1.0\r\nHost: {target}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    bench.refuse_raw(old.as_bytes(), "ambiguous_framing");
}

#[test]
fn t045_white_space_that_is_none_beside_chunked() {
    let bench = Bench::new("t045ws");
    for value in [
        &b"\x0bchunked"[..],
        b"chunked\x0b",
        b"\x85chunked",
        b"chunked\xa0",
        b"\x00chunked",
        b"chunked\x00",
        b"\x0cchunked",
    ] {
        let fields = [b"Transfer-Encoding: ", value, b"\r\n"].concat();
        let target = bench.world.target("api.origin.test");
        let mut wire = Tunnel::to(&target).open(&bench.world.egret, &bench.session);
        wire.send(
            [format!("POST /t045ws HTTP/1.1\r\nHost: {target}\r\n").as_bytes(), &fields, b"\r\n0\r\n\r\n"].concat(),
        );
        let answer = wire.answer();
        assert_eq!(answer.status, 400, "{}: {answer:?}", value.escape_ascii());
        let code = refusal::problem(&answer)["code"].clone();
        let is_malformed = value.iter().any(|byte| byte.is_ascii_control());
        assert_eq!(code, if is_malformed { "malformed" } else { "ambiguous_framing" }, "{}", value.escape_ascii());
        assert!(wire.is_closed());
    }
}

#[test]
fn t046_field_names_that_are_none() {
    let bench = Bench::new("t046");
    for line in [
        "X-A : 1",
        "X-A\t: 1",
        "no colon",
        ": empty",
        "X A: 1",
        "X(A): 1",
        "X\"A: 1",
        "X\x7fA: 1",
        "Content-Length : 0",
        "\u{e9}: 1",
    ] {
        bench.refuse("GET", format!("{line}\r\n").as_bytes(), "", "malformed");
    }
}

#[test]
fn t047_obs_fold() {
    let bench = Bench::new("t047");
    for fields in ["X-A: 1\r\n 2\r\n", "X-A: 1\r\n\t2\r\n", "X-A:\r\n 2\r\n", "X-A: 1\r\n \r\n"] {
        bench.refuse("GET", fields.as_bytes(), "", "malformed");
    }
    bench.refuse("GET", b"Transfer-Encoding:\r\n chunked\r\n", "", "ambiguous_framing");
    let target = bench.world.target("api.origin.test");
    bench.refuse_raw(format!("GET /t047 HTTP/1.1\r\n X-First: 1\r\nHost: {target}\r\n\r\n").as_bytes(), "malformed");
}

#[test]
fn t048_line_ends_and_nul() {
    let bench = Bench::new("t048");
    let target = bench.world.target("api.origin.test");
    for head in [
        format!("GET /t048 HTTP/1.1\nHost: {target}\n\n"),
        format!("GET /t048 HTTP/1.1\r\nHost: {target}\r\nX-A: 1\n\r\n"),
        format!("GET /t048 HTTP/1.1\r\nHost: {target}\nX-A: 1\r\n\r\n"),
        format!("GET /t048 HTTP/1.1\rHost: {target}\r\r"),
        format!("GET /t048 HTTP/1.1\r\nHost: {target}\r\nX-A: 1\r2\r\n\r\n"),
        format!("GET /t048 HTTP/1.1\r\nHost: {target}\r\nX-A: 1\02\r\n\r\n"),
        format!("GET /t048 HTTP/1.1\r\nHost: {target}\r\nX-A: \0\r\n\r\n"),
        format!("GET /t048\0 HTTP/1.1\r\nHost: {target}\r\n\r\n"),
    ] {
        bench.refuse_raw(head.as_bytes(), "malformed");
    }
}

#[test]
fn t058_request_lines() {
    let bench = Bench::new("t058");
    let target = bench.world.target("api.origin.test");
    for line in [
        "GET  /t058 HTTP/1.1",
        "GET /t058  HTTP/1.1",
        "GET\t/t058 HTTP/1.1",
        "GET /t058\tHTTP/1.1",
        "GET /t058 HTTP/1.1 HTTP/1.0",
        "GET /t058",
        "GET /t058 HTTP/0.9",
        "GET /t058 HTTP/1.9",
        "GET /t058 HTTP/2.0",
        "GET /t058 HTTP/11.1",
        "GET /t058 http/1.1",
        "GET /t058 HTTP/1",
        "GET HTTP/1.1",
        " GET /t058 HTTP/1.1",
        "G(T /t058 HTTP/1.1",
    ] {
        bench.refuse_raw(format!("{line}\r\nHost: {target}\r\n\r\n").as_bytes(), "malformed");
    }
}

#[test]
fn t052_pipelined_requests_are_answered_in_order() {
    let world = world();
    let session = world.egret.session(&["framing"], &[]);
    let target = world.target("api.origin.test");
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!(
        "GET /t052-first HTTP/1.1\r\nHost: {target}\r\n\r\nGET /t052-second HTTP/1.1\r\nHost: other.origin.test\r\n\r\n"
    ));
    assert_eq!(wire.answer().status, 200);
    refusal::expect_denied(&world.egret, &wire.answer(), 421, "authority_mismatch");
    assert!(wire.is_closed());
    world.origin.assert_saw_nothing_of("t052-second");
}
