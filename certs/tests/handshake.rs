//! Real handshakes in memory: certificates of upstreams, and our certificates for clients.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use egret_certs::{Ca, Leaves, TlsClass, Trust, classify, provider};
use model::{Host, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, Error, RootCertStore, ServerConfig, ServerConnection};
use time::{Duration, OffsetDateTime};

/// A CA of the outside world.
type World = CertifiedIssuer<'static, KeyPair>;

fn world() -> World {
    world_named("World CA")
}

fn world_named(name: &str) -> World {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    World::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A good certificate for `up.example`, to be modified.
fn server_params() -> CertificateParams {
    let mut params = CertificateParams::new(vec!["up.example".to_owned()]).unwrap();
    params.not_before = OffsetDateTime::now_utc() - Duration::days(2);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(2);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

struct Upstream {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

impl Upstream {
    fn signed_by(world: &World, params: &CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        Self { chain: vec![params.signed_by(&key, world).unwrap().der().clone()], key }
    }

    fn self_signed(params: &CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        Self { chain: vec![params.self_signed(&key).unwrap().der().clone()], key }
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    fn config(&self) -> ServerConfig {
        ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key())
            .unwrap()
    }
}

fn own() -> Ca {
    Ca::create(Timestamp::now()).unwrap().0
}

/// Trust in these anchors in addition to the system's.
fn trust(anchors: &[&str], own: &Ca) -> Trust {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("anchors.pem");
    std::fs::write(&file, anchors.concat()).unwrap();
    Trust::load(&[file], own).unwrap()
}

/// Runs both ends until both are done, or returns the client's error, else the server's.
fn shake(
    client: ClientConfig,
    name: &str,
    server: Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(server)?;
    for _ in 0..10 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        let judged_by_server = server.process_new_packets();
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
        judged_by_server?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

/// The class of the failure against this upstream, with `world` among the anchors; `None` if it is accepted.
fn class(world: &World, upstream: &Upstream) -> Option<TlsClass> {
    let client = trust(&[&world.pem()], &own()).client_config(&[b"http/1.1"]);
    shake(client, "up.example", Arc::new(upstream.config())).err().map(|error| classify(&error))
}

#[test]
fn t256_a_chain_is_judged_again_by_other_anchors() {
    let (world, other, own) = (world(), world_named("Other CA"), own());
    let upstream = Upstream::signed_by(&world, &server_params());
    let name = |text: &str| ServerName::try_from(text.to_owned()).unwrap();
    let first = trust(&[&world.pem()], &own);
    let chain = first.verified(upstream.chain.clone(), name("up.example"));
    assert!(first.still_verifies(&chain), "nothing changed");
    assert!(trust(&[&world.pem()], &own).still_verifies(&chain), "read again");
    assert!(trust(&[&other.pem(), &world.pem()], &own).still_verifies(&chain), "one more");
    assert!(!trust(&[&other.pem()], &own).still_verifies(&chain), "another one");
    let elsewhere = first.verified(upstream.chain, name("other.example"));
    assert!(!trust(&[&world.pem()], &own).still_verifies(&elsewhere), "of another name");
}

#[test]
fn a_good_upstream_is_accepted_in_both_versions() {
    let world = world();
    let upstream = Upstream::signed_by(&world, &server_params());
    assert_eq!(class(&world, &upstream), None);
    let old = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(upstream.chain.clone(), upstream.key())
        .unwrap();
    let client = trust(&[&world.pem()], &own()).client_config(&[]);
    assert!(shake(client, "up.example", Arc::new(old)).is_ok());
}

#[test]
fn t109_dates_and_names() {
    let world = world();
    let with = |edit: fn(&mut CertificateParams)| {
        let mut params = server_params();
        edit(&mut params);
        class(&world, &Upstream::signed_by(&world, &params))
    };
    assert_eq!(
        with(|params| params.not_after = OffsetDateTime::now_utc() - Duration::days(1)),
        Some(TlsClass::Expired)
    );
    assert_eq!(
        with(|params| params.not_before = OffsetDateTime::now_utc() + Duration::days(1)),
        Some(TlsClass::Expired)
    );
    let name = |name: &str| SanType::DnsName(name.try_into().unwrap());
    for names in [vec![name("other.example")], vec![name("*.up.example")], vec![name("*.example.com")], vec![]] {
        let mut params = server_params();
        params.distinguished_name.push(DnType::CommonName, "up.example");
        params.subject_alt_names = names.clone();
        assert_eq!(class(&world, &Upstream::signed_by(&world, &params)), Some(TlsClass::WrongHost), "{names:?}");
    }
}

#[test]
fn t109_an_address_in_a_dns_name_is_the_wrong_host() {
    let world = world();
    let mut params = server_params();
    params.subject_alt_names = vec![SanType::DnsName("127.0.0.1".try_into().unwrap())];
    let upstream = Upstream::signed_by(&world, &params);
    let client = trust(&[&world.pem()], &own()).client_config(&[]);
    let error = shake(client, "127.0.0.1", Arc::new(upstream.config())).unwrap_err();
    assert_eq!(classify(&error), TlsClass::WrongHost);
}

#[test]
fn t109_unknown_and_self_signed() {
    let world = world();
    for other in [world_named("Other CA"), world_named("World CA")] {
        assert_eq!(class(&world, &Upstream::signed_by(&other, &server_params())), Some(TlsClass::UnknownCa));
    }
    assert_eq!(class(&world, &Upstream::self_signed(&server_params())), Some(TlsClass::UnknownCa));
    let mut as_ca = server_params();
    as_ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(class(&world, &Upstream::self_signed(&as_ca)), Some(TlsClass::UnknownCa));
}

#[test]
fn t109_a_key_for_something_else_is_refused() {
    let world = world();
    let mut params = server_params();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    assert_eq!(class(&world, &Upstream::signed_by(&world, &params)), Some(TlsClass::Other));
}

#[test]
fn t109_without_the_configured_file_its_upstream_is_unknown() {
    let own = own();
    let upstream = Upstream::signed_by(&world(), &server_params());
    let client = Trust::load(&[], &own).unwrap().client_config(&[]);
    let error = shake(client, "up.example", Arc::new(upstream.config())).unwrap_err();
    assert_eq!(classify(&error), TlsClass::UnknownCa);
}

#[test]
fn t110_what_our_own_ca_issued_is_refused_even_where_it_is_an_anchor() {
    let own = Arc::new(own());
    let leaves = Leaves::new(own.clone(), 10).unwrap();
    let server = leaves.server_config(&Host::parse("up.example").unwrap(), Timestamp::now()).unwrap();
    for anchors in [vec![], vec![own.cert_pem()]] {
        let pem = world().pem();
        let anchors = [anchors, vec![pem.as_str()]].concat();
        let error = shake(trust(&anchors, &own).client_config(&[]), "up.example", server.clone()).unwrap_err();
        assert_eq!(classify(&error), TlsClass::OwnCa);
    }
}

#[test]
fn t110_our_own_ca_anywhere_in_the_chain_is_refused() {
    let (own, world) = (own(), world());
    let mut upstream = Upstream::signed_by(&world, &server_params());
    assert_eq!(class(&world, &upstream), None);
    upstream.chain.push(own.cert_der().clone());
    let client = trust(&[&world.pem(), own.cert_pem()], &own).client_config(&[]);
    let error = shake(client, "up.example", Arc::new(upstream.config())).unwrap_err();
    assert_eq!(classify(&error), TlsClass::OwnCa);
}

#[test]
fn t110_an_intermediate_of_a_stolen_key_is_refused() {
    let (own, key) = Ca::create(Timestamp::now()).unwrap();
    // The path length forbids intermediates; webpki does not check that of an anchor.
    let key = KeyPair::try_from(&PrivatePkcs8KeyDer::from(key.as_slice())).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(own.cert_der()).unwrap();
    let common_name = parsed.subject().iter_common_name().next().unwrap().as_str().unwrap();
    let mut issuer = CertificateParams::default();
    issuer.distinguished_name = rcgen::DistinguishedName::new();
    issuer.distinguished_name.push(DnType::OrganizationName, "Egret");
    issuer.distinguished_name.push(DnType::CommonName, common_name);
    let issuer = rcgen::Issuer::new(issuer, key);
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let middle = World::signed_by(params, KeyPair::generate().unwrap(), &issuer).unwrap();
    let mut upstream = Upstream::signed_by(&middle, &server_params());
    upstream.chain.push(middle.der().clone());
    let client = trust(&[own.cert_pem()], &own).client_config(&[]);
    let error = shake(client, "up.example", Arc::new(upstream.config())).unwrap_err();
    assert_eq!(classify(&error), TlsClass::OwnCa);
}

#[test]
fn t112_no_version_in_common() {
    let world = world();
    let upstream = Upstream::signed_by(&world, &server_params());
    // A TLS 1.1 ServerHello, as an old server answers.
    let mut client = ClientConnection::new(
        Arc::new(trust(&[&world.pem()], &own()).client_config(&[])),
        ServerName::try_from("up.example").unwrap(),
    )
    .unwrap();
    client.write_tls(&mut Vec::new()).unwrap();
    let body = [&[3u8, 2][..], &[7; 32], &[0], &[0xc0, 0x09], &[0]].concat();
    let hello = [&[2u8, 0, 0, u8::try_from(body.len()).unwrap()][..], &body].concat();
    let record = [&[22u8, 3, 2, 0, u8::try_from(hello.len()).unwrap()][..], &hello].concat();
    client.read_tls(&mut record.as_slice()).unwrap();
    assert_eq!(classify(&client.process_new_packets().unwrap_err()), TlsClass::Version);
    drop(upstream);
}

#[test]
fn t114_an_upstream_that_wants_a_client_certificate() {
    let world = world();
    let upstream = Upstream::signed_by(&world, &server_params());
    let mut roots = RootCertStore::empty();
    roots.add(world.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
    let server = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(upstream.chain.clone(), upstream.key())
        .unwrap();
    let client = trust(&[&world.pem()], &own()).client_config(&[]);
    let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from("up.example").unwrap()).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    let error = (0..10).find_map(|_| {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        drop(server.process_new_packets());
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets().err()
    });
    assert_eq!(error.map(|error| classify(&error)), Some(TlsClass::ClientCert));
}

#[test]
fn clients_that_trust_our_ca_accept_our_leaves() {
    let own = Arc::new(own());
    let leaves = Leaves::new(own.clone(), 10).unwrap();
    for (host, name) in [("up.example", "up.example"), ("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")] {
        let server = leaves.server_config(&Host::parse(host).unwrap(), Timestamp::now()).unwrap();
        let (client, _) = shake(sandbox(&own, &[b"h2"]), name, server).unwrap();
        assert_eq!(client.alpn_protocol(), Some(&b"h2"[..]));
        let suite = client.negotiated_cipher_suite().unwrap().suite();
        assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
        assert_eq!(client.peer_certificates().unwrap().len(), 1);
    }
    let server = leaves.server_config(&Host::parse("other.example").unwrap(), Timestamp::now()).unwrap();
    assert!(shake(sandbox(&own, &[]), "up.example", server).is_err(), "one name only");
}

#[test]
fn a_client_that_comes_back_resumes() {
    let own = Arc::new(own());
    let leaves = Leaves::new(own.clone(), 10).unwrap();
    let server = leaves.server_config(&Host::parse("up.example").unwrap(), Timestamp::now()).unwrap();
    let client = sandbox(&own, &[b"h2"]);
    let kind = |client| shake(client, "up.example", server.clone()).unwrap().0.handshake_kind();
    assert_eq!(kind(client.clone()), Some(rustls::HandshakeKind::Full));
    assert_eq!(kind(client), Some(rustls::HandshakeKind::Resumed));
}

#[test]
fn t146_nothing_is_resumed_across_two_configurations() {
    let world = world();
    let upstream = Arc::new(Upstream::signed_by(&world, &server_params()).config());
    let trust = trust(&[&world.pem()], &own());
    let kind = |client| shake(client, "up.example", upstream.clone()).unwrap().0.handshake_kind();
    let one = trust.client_config(&[]);
    assert_eq!(kind(one.clone()), Some(rustls::HandshakeKind::Full));
    assert_eq!(kind(one), Some(rustls::HandshakeKind::Resumed));
    assert_eq!(kind(trust.client_config(&[])), Some(rustls::HandshakeKind::Full));
}

#[test]
fn the_key_log_variable_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("keys.log");
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["a_good_upstream_is_accepted_in_both_versions", "a_client_that_comes_back_resumes", "--exact"])
        .env("SSLKEYLOGFILE", &log)
        .stdout(std::process::Stdio::null())
        .status();
    assert!(status.unwrap().success());
    assert!(!log.exists());
}

/// A client inside a sandbox.
fn sandbox(own: &Ca, alpn: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(own.cert_der().clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

#[test]
fn ca_files_that_are_no_use_are_named() {
    let own = own();
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str, content: Option<&str>| {
        let path: PathBuf = folder.path().join(name);
        if let Some(content) = content {
            std::fs::File::create(&path).unwrap().write_all(content.as_bytes()).unwrap();
        }
        let error = Trust::load(&[path], &own).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        error
    };
    assert!(refused("missing.pem", None).contains("cannot be read"));
    assert!(refused("empty.pem", Some("")).contains(":1: there is no certificate in PEM form"));
    assert!(refused("text.pem", Some("hello")).contains(":1: there is no certificate in PEM form"));
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert!(refused("key.pem", Some(key)).contains(":1: there is no certificate in PEM form"));
    let half = own.cert_pem().split_once("-----END").unwrap().0;
    assert!(refused("half.pem", Some(half)).contains(":1: a block has no END line"));
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(refused("junk.pem", Some(junk)).contains(":1: the certificate cannot be used"));
}

#[test]
fn the_bundle_holds_the_roots_of_the_system_and_our_ca() {
    let own = own();
    let trust = trust(&[&world().pem()], &own);
    let bundle = trust.bundle_pem();
    let blocks = bundle.matches("-----BEGIN CERTIFICATE-----").count();
    assert!(blocks > trust.system_roots(), "{blocks}");
    assert!(bundle.ends_with(own.cert_pem()));
}
