//! Checks our certificates and trust stores with other programs; reports the missing ones.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use egret_certs::leaf::{LeafKey, mint};
use egret_certs::{Ca, truststore_jks};
use model::{Host, Timestamp};

/// Runs a program; `None`, noted in the output, if it is missing.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn run(program: &str, arguments: &[&str]) -> Option<Output> {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output();
    if output.is_err() {
        println!("skipped: {program} is missing");
    }
    output.ok()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn path(folder: &Path, name: &str, content: &[u8]) -> String {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn openssl_accepts_every_leaf_in_its_strict_mode() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::create(Timestamp::now()).unwrap().0;
    let ca_file = path(folder.path(), "ca.pem", ca.cert_pem().as_bytes());
    let key = LeafKey::generate().unwrap();
    let long = format!("{}.example", ["label-of-eleven"; 8].join("."));
    for (host, check, name) in [
        ("api.example.com", "-verify_hostname", "api.example.com"),
        ("a_b.example.com", "-verify_hostname", "a_b.example.com"),
        ("xn--bcher-kva.example", "-verify_hostname", "xn--bcher-kva.example"),
        (long.as_str(), "-verify_hostname", long.as_str()),
        ("127.0.0.1", "-verify_ip", "127.0.0.1"),
        ("[::1]", "-verify_ip", "::1"),
    ] {
        let leaf = mint(&ca, &key, &Host::parse(host).unwrap(), Timestamp::now()).unwrap();
        let leaf_file = path(folder.path(), "leaf.der", &leaf.certificate);
        let verify = |name| {
            let strict =
                ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", &ca_file, check, name, &leaf_file];
            run("openssl", &strict)
        };
        let Some(output) = verify(name) else { return };
        assert!(output.status.success(), "{host}: {}", text(&output));
        let other = if check == "-verify_ip" { "127.0.0.2" } else { "other.example.com" };
        assert!(!verify(other).unwrap().status.success(), "{host} is not {other}");
    }
}

#[test]
fn openssl_reads_the_profiles() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::create(Timestamp::now()).unwrap().0;
    let ca_file = path(folder.path(), "ca.pem", ca.cert_pem().as_bytes());
    let Some(output) = run("openssl", &["x509", "-in", &ca_file, "-noout", "-text"]) else { return };
    let shown = text(&output);
    for part in [
        "CA:TRUE, pathlen:0",
        "Certificate Sign, CRL Sign",
        "Subject Key Identifier",
        "CN = Egret CA ",
        "NIST CURVE: P-256",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let strict = run("openssl", &["verify", "-x509_strict", "-CAfile", &ca_file, &ca_file]).unwrap();
    assert!(strict.status.success(), "{}", text(&strict));
    let leaf = mint(&ca, &LeafKey::generate().unwrap(), &Host::parse("api.example.com").unwrap(), Timestamp::now());
    let leaf_file = path(folder.path(), "leaf.der", &leaf.unwrap().certificate);
    let shown = text(&run("openssl", &["x509", "-in", &leaf_file, "-noout", "-text"]).unwrap());
    for part in [
        "CA:FALSE",
        "Digital Signature",
        "TLS Web Server Authentication",
        "Authority Key Identifier",
        "Subject Key Identifier",
        "DNS:api.example.com",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(shown.matches("DNS:").count(), 1);
}

#[test]
fn java_reads_the_trust_store() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (Ca::create(Timestamp::now()).unwrap().0, Ca::create(Timestamp::now()).unwrap().0);
    let store = truststore_jks(&[one.cert_der().clone(), two.cert_der().clone()], "changeit");
    let file = path(folder.path(), "truststore.jks", &store);
    let Some(output) = run("keytool", &["-list", "-v", "-keystore", &file, "-storepass", "changeit"]) else { return };
    let shown = text(&output);
    assert!(output.status.success(), "{shown}");
    assert_eq!(shown.matches("Entry type: trustedCertEntry").count(), 2, "{shown}");
    for ca in [&one, &two] {
        let digits: Vec<char> = ca.fingerprint().to_uppercase().chars().collect();
        let colons = digits.chunks(2).map(String::from_iter).collect::<Vec<_>>().join(":");
        assert!(shown.contains(&colons), "{colons}: {shown}");
    }
    let wrong = run("keytool", &["-list", "-keystore", &file, "-storepass", "changeme"]).unwrap();
    assert!(!wrong.status.success(), "the digest is keyed with the password");
}
