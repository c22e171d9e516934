//! The harness, tried without the proxy: an oracle that cannot see would approve of everything.

use std::net::TcpStream;

use egret_tests::canary::{Canary, hex};
use egret_tests::client::Wire;
use egret_tests::origin::script::{Script, Step};
use egret_tests::origin::{Origin, body};
use egret_tests::pki;
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};

fn open(origin: &Origin, host: &str) -> Wire {
    let mut roots = RootCertStore::empty();
    for certificate in pki::certificates(&origin.ca_file()) {
        roots.add(certificate).unwrap();
    }
    let config = ClientConfig::builder_with_provider(pki::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(("127.0.0.1", origin.port())).unwrap();
    Wire::over(socket).start_tls(config, host).unwrap()
}

fn get(wire: &mut Wire, path: &str, fields: &str) {
    wire.send(format!("GET {path} HTTP/1.1\r\nHost: api.origin.test\r\n{fields}\r\n"));
}

#[test]
fn a_canary_is_found_in_every_coding() {
    use base64::Engine;
    let canary = Canary::new("self");
    let value = canary.value();
    assert_eq!(canary.find(format!("x{value}y").as_bytes()), Some("raw"));
    assert_eq!(canary.find(b"nothing here"), None);
    for before in ["", "x", "xy", "user:"] {
        let text = base64::engine::general_purpose::STANDARD.encode(format!("{before}{value}after"));
        assert_eq!(canary.find(text.as_bytes()), Some("base64"), "after {before:?}");
    }
    for (text, coding) in [
        (hex(value.as_bytes()), "hex"),
        (value.replace('/', "%2F"), "percent"),
        (value.replace('/', "%2f"), "percent, lower case"),
        (value.replace('/', "\\/"), "JSON"),
    ] {
        assert_eq!(canary.find(text.as_bytes()), Some(coding));
    }
}

#[test]
fn a_canary_is_found_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let canary = Canary::new("disk");
    std::fs::create_dir(folder.path().join("deep")).unwrap();
    std::fs::write(folder.path().join("deep/file"), format!("..{}..", canary.value())).unwrap();
    let search = std::panic::catch_unwind(|| canary.assert_absent_below(folder.path()));
    assert!(search.is_err(), "the search found nothing");
}

#[test]
fn the_origin_remembers_what_it_got() {
    let origin = Origin::start();
    let mut wire = open(&origin, "api.origin.test");
    get(&mut wire, "/echo?mark-1", "X-A: b\r\n");
    let answer = wire.answer();
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("x-a: b"), "{answer:?}");
    let seen = origin.seen_once("mark-1");
    assert_eq!((seen.value("x-a"), seen.sni.as_deref()), (Some("b".to_owned()), Some("api.origin.test")));
    assert!(origin.saw("mark-1") && !origin.saw("mark-2"));
    assert_eq!(origin.connections("api.origin.test").len(), 1);
    let oracle = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| origin.assert_saw_nothing_of("mark-1")));
    assert!(oracle.is_err(), "the oracle does not see");
}

#[test]
fn the_origin_generates_what_it_says() {
    let origin = Origin::start();
    let mut wire = open(&origin, "api.origin.test");
    get(&mut wire, "/sized/200000", "");
    assert_eq!(hex(&Sha256::digest(&wire.answer().body)), body::generated_hash(200_000));
    get(&mut wire, "/split/9", "Authorization: secret\r\n");
    assert_eq!(wire.answer().text(), "before-secret-after");
    get(&mut wire, "/into/trailer", "Authorization: secret\r\nTE: trailers\r\n");
    assert_eq!(wire.answer().trailers, [("x-echo".to_owned(), "secret".to_owned())]);
    get(&mut wire, "/gated/g", "");
    wire.read_until("data: first\n\n");
    origin.open_gate("g");
    wire.read_until("data: second\n\n");
}

#[test]
fn the_origin_asks_for_its_secret() {
    let origin = Origin::start();
    origin.require("api.origin.test", "authorization", "Bearer right");
    let mut wire = open(&origin, "api.origin.test");
    get(&mut wire, "/a", "");
    assert_eq!(wire.answer().status, 401);
    get(&mut wire, "/a", "Authorization: Bearer right\r\n");
    assert_eq!(wire.answer().status, 200);
    get(&mut wire, "/a", "Authorization: Bearer right\r\nAuthorization: Bearer right\r\n");
    assert_eq!(wire.answer().status, 401, "two are not one");
}

#[test]
fn the_origin_plays_scripts() {
    let origin = Origin::start();
    let steps = vec![
        Step::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab".to_vec()),
        Step::Write(b"cd".to_vec()),
        Step::Close,
    ];
    origin.script("raw.origin.test", Script::new(steps));
    let mut wire = open(&origin, "raw.origin.test");
    get(&mut wire, "/", "");
    assert_eq!(wire.answer().text(), "abcd");
    assert!(wire.is_closed());
}
