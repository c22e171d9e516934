//! What decoding a response takes: no session takes it from another one, and a response that finds none is refused, not empty.

use std::io::Write as _;

use egret_tests::canary::contains;
use egret_tests::client::{self, Answer, Tunnel, Wire};
use egret_tests::egret::Session;
use egret_tests::origin::script::{Script, Step};
use egret_tests::records::Record;
use egret_tests::refusal;

use crate::world::World;

const HOSTS: [&str; 8] = [
    "open.origin.test",
    "text.origin.test",
    "large.origin.test",
    "broken.origin.test",
    "short.origin.test",
    "empty.origin.test",
    "trailers.origin.test",
    "small.origin.test",
];

const POLICY: &str = "policy: decoding
rules:
  - id: all
    allow: {host: \"*.origin.test\", port: PORT, LOCAL}
";

/// So many bytes that do not compress, then a line; more follows.
fn open_body(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 1, 22);
    for _ in 0..bytes / 8 {
        encoder.write_all(&noise()).unwrap();
    }
    encoder.write_all(b"\nthat was it\n").unwrap();
    encoder.flush().unwrap();
    encoder.get_ref().clone()
}

fn brotli(text: &[u8]) -> Vec<u8> {
    let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
    encoder.write_all(text).unwrap();
    encoder.into_inner()
}

/// A window of 8 MiB, of which nearly nothing is used.
fn large_zstd() -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(23).unwrap();
    encoder.write_all(b"some text").unwrap();
    encoder.finish().unwrap()
}

/// An answer with this body in this coding, in one chunk, and what ends it.
fn answer(coding: &str, body: &[u8], end: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut answer = head.into_bytes();
    if !body.is_empty() {
        answer.extend([format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat());
    }
    answer.extend(end.as_bytes());
    answer
}

/// A world in which every response of the origin is masked.
fn world(limits: &str) -> World {
    let world = World::new(&HOSTS, &[POLICY], |setup| setup.config(&format!("limits: {{{limits}}}")));
    let audiences: Vec<String> = HOSTS.iter().map(|host| world.target(host)).collect();
    let audience = audiences.iter().flat_map(|host| ["--audience", host.as_str()]);
    world.egret.put("token", &["--kind", "bearer"].into_iter().chain(audience).collect::<Vec<_>>());
    let script = |host: &str, steps: Vec<Step>| world.origin.script(host, Script::new(steps));
    for (host, bytes) in [(HOSTS[0], 100 << 10), (HOSTS[7], 500)] {
        let steps = vec![Step::Write(answer("br", &open_body(bytes), "")), Step::Gate("t293".to_owned()), Step::Close];
        script(host, steps);
    }
    script(HOSTS[1], vec![Step::Write(answer("br", &brotli(b"some text"), "0\r\n\r\n"))]);
    script(HOSTS[2], vec![Step::Write(answer("zstd", &large_zstd(), "0\r\n\r\n"))]);
    script(HOSTS[3], vec![Step::Write(answer("br", b"\xff\xff\xff", "0\r\n\r\n"))]);
    script(HOSTS[4], vec![Step::Write(answer("br", &brotli(b"some text")[..1], "")), Step::Close]);
    script(HOSTS[5], vec![Step::Write(answer("br", b"", "0\r\n\r\n"))]);
    script(HOSTS[6], vec![Step::Write(answer("br", b"", "0\r\nx-sum: 1\r\n\r\n"))]);
    world
}

fn get(world: &World, session: &Session, host: &str) -> Answer {
    client::get(&world.egret, session, &world.target(host), "/t293")
}

/// A response that is read to its last line, and goes on.
fn hold(world: &World, session: &Session, host: &str) -> Wire {
    let target = world.target(host);
    let mut wire = Tunnel::to(&target).open(&world.egret, session);
    wire.send(format!("GET /t293 HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    wire.read_until("that was it\n");
    wire
}

#[test]
fn t293_sessions_that_hold_coded_responses_leave_memory_for_an_honest_one() {
    // A large open response takes three steps of 64 KiB, as much as a session may have; a small one takes one.
    let world = world("max_slot_bodies_bytes: 1MiB, max_session_slot_bodies_bytes: 192KiB");
    let greedy = [(); 4].map(|()| world.egret.session(&["decoding"], &[]));
    let honest = world.egret.session(&["decoding"], &[]);
    let mut open: Vec<Wire> = greedy.iter().map(|session| hold(&world, session, HOSTS[0])).collect();
    for session in &greedy {
        let record = refusal::expect(&world.egret, &get(&world, session, HOSTS[1]), 429, "session_quota");
        assert_eq!(
            (record.text("detail"), record.text("fault")),
            ("slot_bodies_bytes".to_owned(), "policy".to_owned())
        );
    }
    let read = get(&world, &honest, HOSTS[1]);
    assert_eq!((read.status, read.text()), (200, "some text".to_owned()));
    // Four steps are left. The last one is for no session: it would have more than is left for others.
    let more = [(); 3].map(|()| world.egret.session(&["decoding"], &[]));
    open.extend(more.iter().map(|session| hold(&world, session, HOSTS[7])));
    let record = refusal::expect(&world.egret, &get(&world, &honest, HOSTS[1]), 503, "overloaded");
    assert_eq!((record.text("detail"), record.text("fault")), ("slot_bodies_bytes".to_owned(), "egret".to_owned()));
    // What they held is given back.
    drop(open);
    world.origin.open_gate("t293");
    egret_tests::wait::until("the memory of the first one", || {
        (get(&world, &greedy[0], HOSTS[1]).status == 200).then_some(())
    });
}

#[test]
fn t293_a_response_that_outgrows_the_memory_ends_with_the_cause() {
    let world = world("max_session_slot_bodies_bytes: 128KiB");
    let session = world.egret.session(&["decoding"], &[]);
    let target = world.target(HOSTS[0]);
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!("GET /t293-grows HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    let came = wire.rest();
    assert!(came.starts_with(b"HTTP/1.1 200 ") && !contains(&came, b"that was it") && !came.ends_with(b"0\r\n\r\n"));
    let fits = |record: &Record| record.text("path") == "/t293-grows" && record.text("kind") == "exchange.closed";
    let record = world.egret.record_where("the record", fits);
    let told = ["code", "detail", "fault", "outcome"].map(|name| record.text(name));
    assert_eq!(told, ["session_quota", "there is no memory left to decode the response", "policy", "refused"]);
}

#[test]
fn t293_a_response_that_cannot_be_decoded_is_refused_before_its_head() {
    let world = world("max_session_slot_bodies_bytes: 4MiB");
    let session = world.egret.session(&["decoding"], &[]);
    let large = get(&world, &session, HOSTS[2]);
    assert_eq!(refusal::expect(&world.egret, &large, 429, "session_quota").text("detail"), "slot_bodies_bytes");
    // Uploads share the same memory.
    let target = world.target(HOSTS[1]);
    let (head, body) = (format!("POST /t293 HTTP/1.1\r\nHost: {target}\r\nContent-Encoding: zstd\r\n"), large_zstd());
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send([format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat());
    refusal::expect(&world.egret, &wire.answer(), 429, "session_quota");
    refusal::expect(&world.egret, &get(&world, &session, HOSTS[3]), 502, "redaction_impossible");
    refusal::expect(&world.egret, &get(&world, &session, HOSTS[4]), 502, "upstream_protocol");
    for host in &HOSTS[5..7] {
        let empty = get(&world, &session, host);
        assert_eq!((empty.status, empty.text()), (200, String::new()), "{host}");
    }
}
