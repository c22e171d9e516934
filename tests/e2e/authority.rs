//! A: who is asked for. CONNECT, SNI, Host and `:authority` name one host, or nothing is sent.

use std::sync::Arc;

use bytes::Bytes;
use egret_tests::client::{self, Answer, H2, Tunnel, Wire};
use egret_tests::refusal;
use egret_tests::shared::Shared;
use http_body_util::Full;
use rustls::AlertDescription;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::world::World;

static WORLD: Shared<World> = Shared::new();

const POLICY: &str = r#"
policy: authority
rules:
  - id: first
    allow: {host: first.origin.test, port: PORT, LOCAL}
  - id: second
    allow: {host: second.origin.test, port: PORT, LOCAL}
  - id: plain
    allow: {host: plain.origin.test, port: PLAIN, scheme: http, LOCAL}
"#;

fn world() -> Arc<World> {
    WORLD
        .get(|| World::new(&["first.origin.test", "second.origin.test", "plain.origin.test"], &[POLICY], |setup| setup))
}

/// Sends a raw head with the session's credentials in clear to the proxy.
fn send_plain(world: &World, line: &str, fields: &str) -> (Answer, Wire) {
    let session = world.egret.session(&["authority"], &[]);
    let mut wire = Wire::open(&world.egret);
    wire.send(format!("{line}\r\n{fields}Proxy-Authorization: {}\r\n\r\n", session.authorization()));
    (wire.answer(), wire)
}

#[test]
fn t001_sni_differs_from_connect_target() {
    let world = world();
    let session = world.egret.session(&["authority"], &[]);
    for evil in ["evil.origin.test", "second.origin.test"] {
        let error =
            Tunnel::to(&world.target("first.origin.test")).sni(evil).try_open(&world.egret, &session).unwrap_err();
        assert_eq!(error.alert(), Some(AlertDescription::UnrecognisedName), "{error:?}");
        let record =
            world.egret.record_where("the mismatch", |r| r.text("session") == session.id && r.text("sni") == evil);
        assert_eq!(record.text("code"), "authority_mismatch");
        assert_eq!(record.text("decision"), "deny");
        assert_eq!(record.text("host"), "first.origin.test");
        assert!(world.origin.connections(evil).is_empty());
    }
}

#[test]
fn t002_inner_host_differs() {
    let world = world();
    let session = world.egret.session(&["authority"], &[]);
    let mut wire = Tunnel::to(&world.target("first.origin.test")).open(&world.egret, &session);
    wire.send(format!("GET /t002 HTTP/1.1\r\nHost: {}\r\n\r\n", world.target("second.origin.test")));
    let answer = wire.answer();
    refusal::expect_denied(&world.egret, &answer, 421, "authority_mismatch");
    assert!(wire.is_closed(), "the connection stays open after 421");
    world.origin.assert_saw_nothing_of("t002");
}

#[test]
fn t003_inner_authority_differs_over_h2() {
    let world = world();
    let session = world.egret.session(&["authority"], &[]);
    let mut h2 = H2::open(&world.egret, &session, &world.target("first.origin.test"));
    let answer = h2.get(&world.target("second.origin.test"), "/t003").unwrap();
    refusal::expect_denied(&world.egret, &answer, 421, "authority_mismatch");
    let answer = h2.get(&world.target("first.origin.test"), "/t003-same-connection").unwrap();
    assert_eq!(answer.status, 200, "the other streams of the connection go on");
    assert!(world.origin.seen("/t003").iter().all(|seen| seen.target == "/t003-same-connection"));
}

#[test]
fn t004_authority_and_host_differ_over_h2() {
    let world = world();
    let session = world.egret.session(&["authority"], &[]);
    let mut h2 = H2::open(&world.egret, &session, &world.target("first.origin.test"));
    let request = http::Request::get(format!("https://{}/t004", world.target("first.origin.test")))
        .header("host", world.target("second.origin.test"))
        .body(Full::<Bytes>::default())
        .unwrap();
    let error = h2.send(request).unwrap_err();
    assert!(format!("{error:?}").contains("PROTOCOL_ERROR"), "{error:?}");
    let record = world.egret.record_where("the record", |r| r.text("session") == session.id && r.has("code"));
    assert_eq!(record.text("code"), "malformed");
    world.origin.assert_saw_nothing_of("t004");
}

#[test]
fn t005_coalescing_is_never_invited() {
    let world = world();
    let session = world.egret.session(&["authority"], &[]);
    let wire = Tunnel::to(&world.target("first.origin.test")).open(&world.egret, &session);
    let certificates = wire.peer_certificates();
    let (_, leaf) = X509Certificate::from_der(&certificates[0]).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
    assert_eq!(names, vec![GeneralName::DNSName("first.origin.test")], "the leaf has exactly one name");

    let mut h2 = H2::open(&world.egret, &session, &world.target("first.origin.test"));
    assert_eq!(h2.get(&world.target("first.origin.test"), "/t005-a").unwrap().status, 200);
    let answer = h2.get(&world.target("second.origin.test"), "/t005-b").unwrap();
    refusal::expect_denied(&world.egret, &answer, 421, "authority_mismatch");
    world.origin.assert_saw_nothing_of("t005-b");
}

#[test]
fn t006_no_sni_inside_a_named_tunnel() {
    let world = world();
    let session = world.egret.session(&["authority"], &[]);
    let target = world.target("first.origin.test");
    let mut wire = Tunnel::to(&target).no_sni().open(&world.egret, &session);
    wire.send(format!("GET /t006 HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    assert_eq!(wire.answer().status, 200);
    let record = world
        .egret
        .record_where("the record", |r| r.text("session") == session.id && r.text("kind") == "exchange.closed");
    assert_eq!((record.text("decision"), record.text("sni")), ("allow".to_owned(), "absent".to_owned()));
    assert_eq!(world.origin.seen_once("t006").sni.as_deref(), Some("first.origin.test"));
}

#[test]
fn t010_absolute_form_and_host_differ() {
    let world = world();
    let line = format!("GET http://{}/t010 HTTP/1.1", world.plain("plain.origin.test"));
    let (answer, mut wire) = send_plain(&world, &line, "Host: evil.origin.test\r\n");
    refusal::expect_denied(&world.egret, &answer, 400, "bad_host");
    assert!(wire.is_closed());
    world.origin.assert_saw_nothing_of("t010");
}

#[test]
fn t012_absolute_form_of_other_schemes() {
    let world = world();
    let host = world.plain("plain.origin.test");
    for url in [
        format!("ftp://{host}/t012"),
        "file:///t012".to_owned(),
        format!("gopher://{host}/t012"),
        format!("ws://{host}/t012"),
    ] {
        let (answer, _) = send_plain(&world, &format!("GET {url} HTTP/1.1"), &format!("Host: {host}\r\n"));
        refusal::expect_denied(&world.egret, &answer, 400, "bad_target");
    }
    world.origin.assert_saw_nothing_of("t012");
}

#[test]
fn t015_host_missing_or_doubtful() {
    let world = world();
    let session = world.egret.session(&["authority"], &[]);
    let target = world.target("first.origin.test");
    let other = world.target("second.origin.test");
    for fields in [
        String::new(),
        format!("Host: {target}\r\nHost: {target}\r\n"),
        format!("Host: {target}\r\nHost: {other}\r\n"),
        format!("Host: {target}, {other}\r\n"),
        format!("Host: {target},{target}\r\n"),
        "Host:\r\n".to_owned(),
        "Host: \r\n".to_owned(),
        format!("Host: {target}/path\r\n"),
        format!("Host: user@{target}\r\n"),
        "Host: first.origin.test evil.origin.test\r\n".to_owned(),
        format!("Host: first.origin.test\t:{}\r\n", world.origin.port()),
    ] {
        let mut wire = Tunnel::to(&target).open(&world.egret, &session);
        wire.send(format!("GET /t015 HTTP/1.1\r\n{fields}X-After: 1\r\n\r\n"));
        let answer = wire.answer();
        assert_eq!(answer.status, 400, "{fields:?}");
        refusal::expect_denied(&world.egret, &answer, 400, "bad_host");
        assert!(wire.is_closed(), "{fields:?}");
    }
    world.origin.assert_saw_nothing_of("t015");
}

#[test]
fn t016_host_only_in_a_fold_or_trailer() {
    let world = world();
    let session = world.egret.session(&["authority"], &[]);
    let target = world.target("first.origin.test");
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!("GET /t016 HTTP/1.1\r\nX-A: 1\r\n Host: {target}\r\n\r\n"));
    refusal::expect_denied(&world.egret, &wire.answer(), 400, "malformed");
    assert!(wire.is_closed());
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!(
        "POST /t016 HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTrailer: Host\r\n\r\n0\r\nHost: {target}\r\n\r\n"
    ));
    // The head alone shows that the host is missing; the trailer is never read.
    refusal::expect_denied(&world.egret, &wire.answer(), 400, "bad_host");
    world.origin.assert_saw_nothing_of("t016");
}

#[test]
fn t017_userinfo_in_the_target() {
    let world = world();
    let good = world.plain("plain.origin.test");
    for url in [
        format!("http://plain.origin.test@evil.origin.test:{}/t017", world.origin.plain_port()),
        format!("http://user:password@{good}/t017"),
        format!("http://evil.origin.test#@{good}/t017"),
        format!("http://evil.origin.test\\@{good}/t017"),
    ] {
        let (answer, _) = send_plain(&world, &format!("GET {url} HTTP/1.1"), &format!("Host: {good}\r\n"));
        refusal::expect_denied(&world.egret, &answer, 400, "bad_target");
    }
    world.origin.assert_saw_nothing_of("t017");
}

#[test]
fn t020_one_verdict_by_every_way_in() {
    let world = world();
    let session = world.egret.session(&["authority"], &[]);
    let target = world.target("first.origin.test");
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!("GET /t020?h1 HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    assert_eq!(wire.answer().status, 200);
    let mut wire = Tunnel::to(&target).alpn(&[]).open(&world.egret, &session);
    wire.send(format!("GET /t020?no-alpn HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    assert_eq!(wire.answer().status, 200);
    assert_eq!(H2::open(&world.egret, &session, &target).get(&target, "/t020?h2").unwrap().status, 200);
    let upper = world.target("FIRST.Origin.TEST");
    let mut wire = Tunnel::to(&upper).open(&world.egret, &session);
    wire.send(format!("GET /t020?upper HTTP/1.1\r\nHost: {upper}\r\n\r\n"));
    assert_eq!(wire.answer().status, 200);
    let absolute = client::absolute(&world.egret, &session, &format!("https://{target}/t020?absolute"), &target);
    // Case 11: sent over TLS under the full policy, or refused; never sent in clear.
    if absolute.status != 200 {
        refusal::expect_denied(&world.egret, &absolute, 403, "protocol_not_allowed");
    }
    let closed = egret_tests::wait::until("four records", || {
        let records = world.egret.records();
        let mine = records.into_iter().filter(|r| {
            r.text("session") == session.id && r.text("kind") == "exchange.closed" && r.text("decision") == "allow"
        });
        Some(mine.collect::<Vec<_>>()).filter(|all| all.len() >= 4)
    });
    for record in closed {
        assert_eq!((record.text("rule"), record.text("policy")), ("first".to_owned(), "authority".to_owned()));
        assert_eq!((record.text("host"), record.text("scheme")), ("first.origin.test".to_owned(), "https".to_owned()));
    }
    for ways in [["GET /secret HTTP/1.1", ""], ["DELETE /secret HTTP/1.1", ""]] {
        // The denied side of the same comparison: a host without a rule, by every way in.
        let denied = world.target("third.origin.test");
        let (answer, _) = client::connect(&world.egret, Some(&session), &denied);
        refusal::expect_denied(&world.egret, &answer, 403, "denied_host");
        let line = ways[0].replace("/secret", &format!("https://{denied}/secret"));
        let (answer, _) = send_plain(&world, &line, &format!("Host: {denied}\r\n"));
        assert_eq!(answer.status, 403, "{answer:?}");
    }
}
