//! F: certificates of upstreams. What does not verify gets no byte of a request.

use std::io::copy;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

use egret_tests::client;
use egret_tests::egret::Session;
use egret_tests::pki::Flaw;
use egret_tests::refusal;
use egret_tests::shared::Shared;

use crate::world::World;

static WORLD: Shared<World> = Shared::new();

const POLICY: &str = r#"
policy: tls
rules:
  - id: origins
    allow: {host: "*.origin.test", port: PORT, LOCAL}
"#;

const FLAWS: &[(&str, Flaw, &str)] = &[
    ("expired.origin.test", Flaw::Expired, "expired"),
    ("early.origin.test", Flaw::NotYetValid, "expired"),
    ("wrong.origin.test", Flaw::WrongHost, "wrong_host"),
    ("self.origin.test", Flaw::SelfSigned, "unknown_ca"),
    ("unknown.origin.test", Flaw::UnknownCa, "unknown_ca"),
];

fn world() -> Arc<World> {
    WORLD.get(|| {
        let hosts: Vec<&str> =
            FLAWS.iter().map(|(host, ..)| *host).chain(["good.origin.test", "own.origin.test"]).collect();
        let world = World::new(&hosts, &[POLICY], |setup| setup);
        for (host, flaw, _) in FLAWS {
            world.origin.flaw(host, *flaw);
        }
        world
    })
}

#[test]
fn t109_bad_certificates() {
    let world = world();
    let session = world.egret.session(&["tls"], &[]);
    assert_eq!(client::get(&world.egret, &session, &world.target("good.origin.test"), "/t109-good").status, 200);
    for (host, _, class) in FLAWS {
        let answer = client::get(&world.egret, &session, &world.target(host), "/t109");
        let record = refusal::expect(&world.egret, &answer, 502, "upstream_tls");
        assert_eq!(refusal::problem(&answer)["class"], *class, "{host}");
        assert!(record.0.to_string().contains(class), "the record names no class {class}: {}", record.0);
        assert_eq!((record.text("fault"), record.text("rule")), ("upstream".to_owned(), "origins".to_owned()));
        for connection in world.origin.connections(host) {
            assert_eq!(connection.bytes(), 0, "{host} got bytes");
        }
    }
    world.origin.assert_saw_nothing_of("/t109 ");
}

/// Passes connections on to the sidecar itself, so that its "upstream" is its own leaf certificate.
fn mirror(world: &World, host: &str, session: &Session) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = world.target(host);
    let (answer, mut inner) = (world.egret.proxy(), session.authorization());
    inner = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: {inner}\r\n\r\n");
    std::thread::spawn(move || {
        let (mut outside, _) = listener.accept().unwrap();
        let mut inside = TcpStream::connect(answer).unwrap();
        std::io::Write::write_all(&mut inside, inner.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0u8; 1];
            std::io::Read::read_exact(&mut inside, &mut byte).unwrap();
            head.push(byte[0]);
        }
        let (mut from, mut to) = (outside.try_clone().unwrap(), inside.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ended = copy(&mut from, &mut to);
            let _closed = to.shutdown(Shutdown::Write);
        });
        let _ended = copy(&mut inside, &mut outside);
        let _closed = outside.shutdown(Shutdown::Write);
    });
    port
}

#[test]
fn t110_own_ca_is_no_upstreams_ca() {
    // The policy of this world needs the port of the mirror, which is known only when it runs.
    let world = World::new(&["own.origin.test"], &[POLICY], |setup| setup);
    let session = world.egret.session(&["tls"], &[]);
    let port = mirror(&world, "own.origin.test", &session);
    let policy = format!(
        "policy: mirror\nrules:\n  - id: mirror\n    allow: {{host: own.origin.test, port: {port}}}\n    addresses: [\"127.0.0.1/32\"]\n"
    );
    std::fs::write(world.egret.folder().join("policies/mirror.yaml"), policy).unwrap();
    world.egret.signal(rustix::process::Signal::HUP);
    let session = egret_tests::wait::until("the policy to be loaded", || {
        let output = world.egret.run(&["session", "create", "--policy", "mirror", "--format", "json"], "");
        output.status.success().then(|| egret_tests::egret::parse_session(&String::from_utf8(output.stdout).unwrap()))
    });
    let answer = client::get(&world.egret, &session, &format!("own.origin.test:{port}"), "/t110");
    let record = refusal::expect(&world.egret, &answer, 502, "upstream_tls");
    assert_eq!(refusal::problem(&answer)["class"], "own_ca");
    assert_eq!(record.text("fault"), "upstream");
    world.origin.assert_saw_nothing_of("t110");
}
