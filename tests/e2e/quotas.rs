//! What one session may have at once and in a minute, and what a peer may send in control frames.

use egret_tests::client::{self, Tunnel, Wire};
use egret_tests::refusal;
use egret_tests::wait;

use crate::world::World;

const POLICY: &str = r#"
policy: quotas
rules:
  - id: api
    allow: {host: ["api.origin.test", "*.names.origin.test"], port: PORT, LOCAL}
  - id: plain
    allow: {host: ["api.origin.test", "*.names.origin.test"], scheme: http, port: PLAIN, LOCAL}
"#;

const NAMES: [&str; 4] =
    ["data-1.names.origin.test", "data-2.names.origin.test", "data-3.names.origin.test", "data-4.names.origin.test"];

fn world(limits: &str) -> World {
    let hosts: Vec<&str> = ["api.origin.test"].into_iter().chain(NAMES).collect();
    World::new(&hosts, &[POLICY], |setup| setup.config(&format!("limits: {{{limits}}}")))
}

/// One request that the origin does not answer before the gate `t138` opens.
fn hanging(world: &World, session: &egret_tests::egret::Session, target: &str) -> Wire {
    let mut wire = Tunnel::to(target).open(&world.egret, session);
    let before = world.origin.seen("/hang/t138").len();
    wire.send(format!("GET /hang/t138 HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    wait::until("the request at the origin", || (world.origin.seen("/hang/t138").len() > before).then_some(()));
    wire
}

#[test]
fn t138_a_session_has_its_part_of_the_requests_in_progress() {
    let world = world("max_session_requests: 2, max_requests: 3");
    let (greedy, modest) = (world.egret.session(&["quotas"], &[]), world.egret.session(&["quotas"], &[]));
    let target = world.target("api.origin.test");
    let mut open: Vec<Wire> = (0..2).map(|_| hanging(&world, &greedy, &target)).collect();
    let refused = client::get(&world.egret, &greedy, &target, "/t138-third");
    refusal::expect_denied(&world.egret, &refused, 429, "session_quota");
    assert_eq!(client::get(&world.egret, &modest, &target, "/t138-modest").status, 200);
    // A refused request has given its place back.
    open.push(hanging(&world, &modest, &target));
    let refused = client::get(&world.egret, &modest, &target, "/t138-fourth");
    refusal::expect(&world.egret, &refused, 503, "overloaded");
    world.origin.assert_saw_nothing_of("t138-third");
    world.origin.assert_saw_nothing_of("t138-fourth");
    // So does one that ends, and one whose client leaves.
    drop(open.pop());
    wait::until("the place of the client that left", || {
        (client::get(&world.egret, &modest, &target, "/t138-after").status == 200).then_some(())
    });
    world.origin.open_gate("t138");
    for wire in &mut open {
        assert_eq!(wire.answer().status, 200);
    }
    assert_eq!(client::get(&world.egret, &greedy, &target, "/t138-again").status, 200);
}

#[test]
fn t138_a_session_has_its_part_of_the_upstream_connections() {
    let world = world("max_host_upstreams: 1, max_session_upstreams: 2");
    let session = world.egret.session(&["quotas"], &[]);
    let target = world.target("api.origin.test");
    let mut open = hanging(&world, &session, &target);
    let refused = client::get(&world.egret, &session, &target, "/t138-second-to-host");
    refusal::expect(&world.egret, &refused, 429, "session_quota");
    assert_eq!(client::get(&world.egret, &session, &world.target(NAMES[0]), "/t138-other-host").status, 200);
    world.origin.assert_saw_nothing_of("t138-second-to-host");
    world.origin.open_gate("t138");
    assert_eq!(open.answer().status, 200);
    // Idle connections give way to new ones.
    for name in NAMES {
        assert_eq!(client::get(&world.egret, &session, &world.target(name), "/t138-each").status, 200);
    }
}

#[test]
fn t136_memory_is_promised_before_it_is_used() {
    let world = world("max_session_buffer_bytes: 256KiB, max_buffer_bytes: 512KiB");
    let sessions = [(); 3].map(|()| world.egret.session(&["quotas"], &[]));
    let target = world.target("api.origin.test");
    let [one, two, three] = &sessions;
    let mut open = [hanging(&world, one, &target), hanging(&world, two, &target)];
    let refused = client::get(&world.egret, one, &target, "/t136-own");
    refusal::expect_denied(&world.egret, &refused, 429, "session_quota");
    let refused = client::get(&world.egret, three, &target, "/t136-all");
    refusal::expect(&world.egret, &refused, 503, "overloaded");
    world.origin.open_gate("t138");
    for wire in &mut open {
        assert_eq!(wire.answer().status, 200);
    }
    assert_eq!(client::get(&world.egret, three, &target, "/t136-after").status, 200);
}

#[test]
fn t040_too_many_different_names_in_a_minute() {
    let world = world("max_names_per_minute: 3");
    let session = world.egret.session(&["quotas"], &[]);
    let ask = |name: &str| {
        let host = world.plain(name);
        client::absolute(&world.egret, &session, &format!("http://{host}/t040"), &host)
    };
    for name in &NAMES[..3] {
        assert_eq!(ask(name).status, 200, "{name}");
    }
    let before = world.origin.plain_connections();
    refusal::expect_denied(&world.egret, &ask(NAMES[3]), 429, "rate_limited");
    assert_eq!(world.origin.plain_connections(), before, "nothing was dialed");
    let (refused, _) = client::connect(&world.egret, Some(&session), &world.target(NAMES[3]));
    refusal::expect_denied(&world.egret, &refused, 429, "rate_limited");
    assert_eq!(ask(NAMES[0]).status, 200, "a name that was asked for before");
    let other = world.egret.session(&["quotas"], &[]);
    assert_eq!(client::get(&world.egret, &other, &world.target(NAMES[3]), "/t040").status, 200);
}

#[test]
fn t117_too_many_new_leaves_in_a_minute() {
    let world = world("max_mints_per_minute: 2");
    let session = world.egret.session(&["quotas"], &[]);
    for name in &NAMES[..2] {
        assert_eq!(client::get(&world.egret, &session, &world.target(name), "/t117").status, 200, "{name}");
    }
    let (refused, _) = client::connect(&world.egret, Some(&session), &world.target(NAMES[2]));
    refusal::expect_denied(&world.egret, &refused, 429, "mint_limited");
    assert_eq!(refused.reason, "mint_limited");
    assert!(world.origin.connections(NAMES[2]).is_empty());
    // A leaf that is there already costs nothing, whichever session needed it first.
    let other = world.egret.session(&["quotas"], &[]);
    assert_eq!(client::get(&world.egret, &other, &world.target(NAMES[2]), "/t117").status, 200);
    assert_eq!(client::get(&world.egret, &session, &world.target(NAMES[2]), "/t117").status, 200);
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00";
/// GOAWAY with ENHANCE_YOUR_CALM, without the last stream.
const CALM: (&[u8], &[u8]) = (b"\x00\x00\x08\x07\x00\x00\x00\x00\x00", b"\x00\x00\x00\x0b");

#[test]
fn t126_a_flood_of_control_frames_ends_the_connection() {
    let world = world("max_control_frames: 50");
    let target = world.target("api.origin.test");
    let floods: [(&str, &[u8]); 7] = [
        ("SETTINGS", SETTINGS),
        ("PING", b"\x00\x00\x08\x06\x00\x00\x00\x00\x00abcdefgh"),
        ("PING that acknowledges", b"\x00\x00\x08\x06\x01\x00\x00\x00\x00abcdefgh"),
        ("PRIORITY", b"\x00\x00\x05\x02\x00\x00\x00\x00\x01\x00\x00\x00\x00\x10"),
        ("WINDOW_UPDATE", b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x01"),
        ("unknown", b"\x00\x00\x01\xee\x00\x00\x00\x00\x00x"),
        ("unknown, on a stream", b"\x00\x00\x00\xef\x00\x00\x00\x00\x05"),
    ];
    for (name, frame) in floods {
        let session = world.egret.session(&["quotas"], &[]);
        let mut wire = Tunnel::to(&target).alpn(&["h2"]).open(&world.egret, &session);
        wire.send([PREFACE, SETTINGS, &frame.repeat(60)].concat());
        let got = wire.rest();
        let at = memchr::memmem::find(&got, CALM.0).unwrap_or_else(|| panic!("{name}: no GOAWAY in {got:?}"));
        assert_eq!(&got[at + 13..], CALM.1, "{name}: GOAWAY is the last frame, and says why");
        let record = world.egret.record_where(name, |r| {
            r.text("session") == session.id && r.text("code") == "rate_limited" && r.text("kind") == "exchange.closed"
        });
        assert_eq!(record.text("detail"), "control_frames", "{name}: {}", record.0);
    }
    // One that keeps to the budget is served.
    let session = world.egret.session(&["quotas"], &[]);
    assert_eq!(client::H2::open(&world.egret, &session, &target).get(&target, "/t126").unwrap().status, 200);
}

#[test]
fn t127_a_client_that_opens_its_window_by_a_byte_makes_nothing_pile_up() {
    let world = world("max_requests: 100");
    let session = world.egret.session(&["quotas"], &[]);
    let target = world.target("api.origin.test");
    let mut wire = Tunnel::to(&target).alpn(&["h2"]).open(&world.egret, &session);
    // SETTINGS_INITIAL_WINDOW_SIZE is 1.
    let settings = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x01";
    // :method GET, :scheme https, and :path and :authority as literals.
    let path = b"/sized/20000000";
    let fields = [
        b"\x82\x87\x04".as_slice(),
        &[u8::try_from(path.len()).unwrap()],
        path,
        b"\x01",
        &[u8::try_from(target.len()).unwrap()],
        target.as_bytes(),
    ]
    .concat();
    let head = [&[0, 0, u8::try_from(fields.len()).unwrap(), 1, 5, 0, 0, 0, 1], fields.as_slice()].concat();
    wire.send([PREFACE, settings, &head].concat());
    // The first byte of the body.
    let data = "\u{0}\u{0}\u{1}\u{0}\u{0}\u{0}\u{0}\u{0}\u{1}";
    wire.read_until(data);
    for _ in 0..5 {
        wire.send(b"\x00\x00\x04\x08\x00\x00\x00\x00\x01\x00\x00\x00\x01");
        wire.read_until(data);
    }
    drop(wire);
    let record = world.egret.record_where("the end of the stream", |r| {
        r.text("session") == session.id && r.text("kind") == "exchange.closed" && r.text("path").starts_with("/sized")
    });
    let bytes = record.number("response_bytes");
    assert!(bytes <= 256 << 10, "{bytes} bytes were taken from upstream for a client that took six");
    assert_eq!(record.text("outcome"), "client_abort", "{}", record.0);
}

#[test]
fn t128_broken_frames_end_the_connection() {
    let world = world("max_requests: 100");
    let target = world.target("api.origin.test");
    // Each ends in GOAWAY with this reason (RFC 9113 section 7).
    let broken: [(&str, &[u8], u8); 6] = [
        ("a window of more than 2^31 - 1", b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\xff\xff", 3),
        ("DATA on a stream that was never opened", b"\x00\x00\x01\x00\x00\x00\x00\x00\x05x", 1),
        ("DATA on stream 0", b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x", 1),
        ("a stream of the client with an even number", b"\x00\x00\x01\x01\x05\x00\x00\x00\x02\x82", 1),
        ("a frame above the greatest size", b"\x00\xff\xff\x00\x00\x00\x00\x00\x01", 6),
        // The RFC asks for FRAME_SIZE_ERROR; the library ends the connection with PROTOCOL_ERROR.
        ("a PING of seven bytes", b"\x00\x00\x07\x06\x00\x00\x00\x00\x00abcdefg", 1),
    ];
    for (name, frame, reason) in broken {
        let session = world.egret.session(&["quotas"], &[]);
        let mut wire = Tunnel::to(&target).alpn(&["h2"]).open(&world.egret, &session);
        wire.send([PREFACE, SETTINGS, frame].concat());
        let got = wire.rest();
        let at = memchr::memmem::find(&got, CALM.0).unwrap_or_else(|| panic!("{name}: no GOAWAY in {got:?}"));
        assert_eq!(got[at + 16], reason, "{name}");
        let record = world.egret.record_where(name, |r| {
            r.text("session") == session.id && r.text("kind") == "exchange.closed" && r.text("code") == "malformed"
        });
        assert_eq!(record.text("detail"), "http2", "{name}: {}", record.0);
    }
}

#[test]
fn t116_a_denied_name_costs_no_leaf_and_no_lookup() {
    let world = world("max_mints_per_minute: 1, max_names_per_minute: 1");
    let session = world.egret.session(&["quotas"], &[]);
    for number in 0..50 {
        let (refused, _) = client::connect(&world.egret, Some(&session), &format!("n{number}.denied.test:443"));
        assert_eq!((refused.status, refused.reason.as_str()), (403, "denied_host"));
    }
    // Denied names count neither as names nor as leaves.
    assert_eq!(client::get(&world.egret, &session, &world.target("api.origin.test"), "/t116").status, 200);
}
