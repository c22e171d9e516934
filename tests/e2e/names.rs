//! B: names, addresses, ports. What is no plain name is refused before it could reach a resolver.

use std::sync::Arc;

use egret_tests::client::{self, Answer};
use egret_tests::egret::Session;
use egret_tests::refusal;
use egret_tests::shared::Shared;

use crate::world::World;

static WORLD: Shared<World> = Shared::new();

const POLICY: &str = r#"
policy: names
rules:
  - id: first
    allow: {host: first.origin.test, port: PORT, LOCAL}
  - id: children
    allow: {host: "*.wild.origin.test", port: PORT, LOCAL}
  - id: default-port
    allow: {host: standard.origin.test}
  - id: plain
    allow: {host: plain.origin.test, port: PLAIN, scheme: http, LOCAL}
  - id: unbounded
    allow: {host: ["*.range.origin.test", inside.origin.test], port: PORT}
  - id: covered
    allow: {host: "*.covered.origin.test", port: PORT}
    addresses: ["169.254.0.0/16", "fd00::/8", "168.63.129.0/24", "100.64.0.0/10"]
"#;

/// Special ranges, each with one address out of it (case 33).
const SPECIAL: &[(&str, &str)] = &[
    ("zero", "0.0.0.0"),
    ("ten", "10.1.2.3"),
    ("shared", "100.64.0.1"),
    ("loopback", "127.0.0.1"),
    ("link", "169.254.1.1"),
    ("b172", "172.16.0.1"),
    ("ietf", "192.0.0.8"),
    ("doc1", "192.0.2.1"),
    ("c192", "192.168.1.1"),
    ("bench", "198.18.0.1"),
    ("doc2", "198.51.100.1"),
    ("doc3", "203.0.113.1"),
    ("multicast", "224.0.0.1"),
    ("reserved", "240.0.0.1"),
    ("broadcast", "255.255.255.255"),
    ("local6", "::1"),
    ("mapped6", "::ffff:127.0.0.1"),
    ("unique6", "fc00::1"),
    ("link6", "fe80::1"),
    ("site6", "fec0::1"),
    ("multicast6", "ff02::1"),
    ("doc6", "2001:db8::1"),
    ("nat64", "64:ff9b::7f00:1"),
];

/// Metadata services of the large clouds (case 34).
const METADATA: &[(&str, &str)] = &[
    ("aws", "169.254.169.254"),
    ("ecs", "169.254.170.2"),
    ("aws6", "fd00:ec2::254"),
    ("azure", "168.63.129.16"),
    ("alibaba", "100.100.100.200"),
];

fn world() -> Arc<World> {
    let hosts =
        ["first.origin.test", "a.wild.origin.test", "plain.origin.test", "inside.origin.test", "standard.origin.test"];
    WORLD.get(|| {
        World::new(&hosts, &[POLICY], |mut setup| {
            for (name, address) in SPECIAL {
                setup = setup.resolving(&format!("{name}.range.origin.test"), address);
            }
            for (name, address) in METADATA {
                setup = setup.resolving(&format!("{name}.covered.origin.test"), address);
            }
            setup
        })
    })
}

fn session(world: &World) -> Session {
    world.egret.session(&["names"], &[])
}

fn connect(world: &World, session: &Session, target: &str) -> Answer {
    client::connect(&world.egret, Some(session), target).0
}

fn refused(world: &World, session: &Session, target: &str, status: u16, code: &str) {
    let answer = connect(world, session, target);
    assert_eq!(answer.status, status, "{target}: {answer:?}");
    refusal::expect_denied(&world.egret, &answer, status, code);
    assert!(answer.reason.contains(code), "the reason phrase of {target} is {:?}", answer.reason);
}

#[test]
fn t021_case_and_trailing_dot() {
    let world = world();
    let session = session(&world);
    let port = world.origin.port();
    for target in [format!("FIRST.Origin.TEST:{port}"), format!("first.origin.test.:{port}")] {
        let (answer, wire) = client::connect(&world.egret, Some(&session), &target);
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        let tls = client::client_config(&world.egret, &["http/1.1"]);
        let mut wire = wire.start_tls(tls, "first.origin.test").unwrap();
        wire.send(format!("GET /t021 HTTP/1.1\r\nHost: {target}\r\n\r\n"));
        let answer = wire.answer();
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
    }
    refused(&world, &session, &format!("first.origin.test..:{port}"), 400, "bad_host");
    for seen in world.origin.seen("t021") {
        assert_eq!(seen.authority, world.target("first.origin.test"), "the upstream gets the canonical name");
    }
}

#[test]
fn t022_empty_and_overlong_labels() {
    let world = world();
    let session = session(&world);
    let long_label = "a".repeat(64);
    let long_name = ["abcdefghi"; 30].join(".");
    for host in ["first.origin.test..", "first..origin.test", ".first.origin.test", ".", &long_label, &long_name] {
        refused(&world, &session, &format!("{host}:443"), 400, "bad_host");
    }
}

#[test]
fn t023_wildcard_is_one_label() {
    let world = world();
    let session = session(&world);
    let answer = client::get(&world.egret, &session, &world.target("a.wild.origin.test"), "/t023");
    assert_eq!(answer.status, 200, "{answer:?}");
    for host in ["wild.origin.test", "a.b.wild.origin.test", "evilwild.origin.test", "a.wild.origin.test.evil.net"] {
        refused(&world, &session, &world.target(host), 403, "denied_host");
    }
    refused(&world, &session, &world.target(".wild.origin.test"), 400, "bad_host");
}

#[test]
fn t026_hosts_that_are_no_hosts() {
    let world = world();
    let session = session(&world);
    for host in [
        "first%2eorigin.test",
        "first.origin.test%00.evil.test",
        "first\u{ff0e}origin.test",
        "fi\u{ad}rst.origin.test",
        "fir$t.origin.test",
    ] {
        let answer = connect(&world, &session, &world.target(host));
        assert_eq!((answer.status, refusal::problem(&answer)["code"].as_str()), (400, Some("bad_host")), "{host}");
    }
}

#[test]
fn t027_port_tricks() {
    let world = world();
    let session = session(&world);
    for port in [":0443", ":+443", ":65536", ":0", ":443:80", ":", "", ":4a3", ":99999999999999999999"] {
        let answer = connect(&world, &session, &format!("first.origin.test{port}"));
        assert_eq!(answer.status, 400, "{port}: {answer:?}");
        refusal::expect_denied(&world.egret, &answer, 400, "bad_host");
    }
    let answer = connect(&world, &session, "first.origin.test:443 ");
    assert_eq!(answer.status, 400, "{answer:?}");
    // In absolute form an empty port is the scheme's, which no rule has.
    let answer = client::absolute(&world.egret, &session, "http://plain.origin.test:/t027", "plain.origin.test");
    refusal::expect_denied(&world.egret, &answer, 403, "denied_port");
    world.origin.assert_saw_nothing_of("t027");
}

#[test]
fn t028_allowed_host_on_another_port() {
    let world = world();
    let session = session(&world);
    refused(&world, &session, "first.origin.test:444", 403, "denied_port");
    refused(&world, &session, &world.plain("first.origin.test"), 403, "denied_port");
    assert!(world.origin.connections("first.origin.test").iter().all(|c| c.tls));
}

#[test]
fn t029_ports_of_other_protocols() {
    let world = world();
    let session = session(&world);
    for port in [22, 25, 53, 465, 6379] {
        refused(&world, &session, &format!("standard.origin.test:{port}"), 403, "denied_port");
    }
}

#[test]
fn t030_public_address_without_a_rule() {
    let world = world();
    let session = session(&world);
    for host in ["8.8.8.8", "1.1.1.1", "[2606:4700::1111]"] {
        refused(&world, &session, &format!("{host}:443"), 403, "denied_host");
    }
}

#[test]
fn t031_ipv4_in_disguise() {
    let world = world();
    let session = session(&world);
    for host in
        ["2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0x7f000001", "127.000.000.001", "127.0.0.1", "127.0.0.1."]
    {
        refused(&world, &session, &world.target(host), 403, "denied_address");
    }
    // The last label is a number, the whole is no address.
    for host in ["256.256.256.256", "1.2.3.4.5", "first.origin.0x1ffffffff"] {
        refused(&world, &session, &world.target(host), 400, "bad_host");
    }
    assert!(world.origin.connections("127.0.0.1").is_empty());
}

#[test]
fn t032_ipv6_in_disguise() {
    let world = world();
    let session = session(&world);
    for host in [
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2001::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::FFFF:7F00:1]",
    ] {
        refused(&world, &session, &format!("{host}:443"), 403, "denied_address");
    }
    for host in ["[fe80::1%25eth0]", "[fe80::1%eth0]", "[::1", "[]", "[::g]", "::1"] {
        let answer = connect(&world, &session, &format!("{host}:443"));
        assert_eq!(answer.status, 400, "{host}: {answer:?}");
    }
}

#[test]
fn t033_special_ranges() {
    let world = world();
    let session = session(&world);
    for (name, address) in SPECIAL {
        let literal = if address.contains(':') { format!("[{address}]") } else { (*address).to_owned() };
        refused(&world, &session, &format!("{literal}:443"), 403, "denied_address");
        let host = format!("{name}.range.origin.test");
        let answer = client::get(&world.egret, &session, &world.target(&host), "/t033");
        assert_eq!(answer.status, 403, "{host}: {answer:?}");
        refusal::expect_denied(&world.egret, &answer, 403, "denied_address");
        assert!(world.origin.connections(&host).is_empty(), "{host} was dialed");
    }
    world.origin.assert_saw_nothing_of("t033");
}

#[test]
fn t034_metadata_needs_its_exact_address() {
    let world = world();
    let session = session(&world);
    for (name, address) in METADATA {
        let literal = if address.contains(':') { format!("[{address}]") } else { (*address).to_owned() };
        refused(&world, &session, &format!("{literal}:80"), 403, "denied_address");
        // A range that covers it is not enough.
        let answer =
            client::get(&world.egret, &session, &world.target(&format!("{name}.covered.origin.test")), "/t034");
        assert_eq!(answer.status, 403, "{name}: {answer:?}");
        refusal::expect_denied(&world.egret, &answer, 403, "denied_address");
    }
    refused(&world, &session, "metadata.google.internal:443", 403, "denied_host");
}

#[test]
fn t035_allowed_name_with_a_private_address() {
    let world = world();
    let session = session(&world);
    let answer = client::get(&world.egret, &session, &world.target("inside.origin.test"), "/t035");
    let record = refusal::expect_denied(&world.egret, &answer, 403, "denied_address");
    assert_eq!(record.text("host"), "inside.origin.test");
    assert!(record.text("address").contains("127.0.0.1"), "the record keeps the address: {}", record.0);
    assert!(!answer.text().contains("127.0.0.1"), "the answer tells the address");
    assert!(world.origin.connections("inside.origin.test").is_empty(), "it was dialed");
}
