//! Text files as editors of other systems write them: with a byte order mark, with CRLF, without a last line end.

use std::path::Path;

use egret_tests::client;
use egret_tests::egret::{Egret, Setup};
use egret_tests::origin::Origin;

use crate::world::fill;

const POLICY: &str =
    "policy: files\nrules:\n  - id: api\n    allow: {host: api.origin.test, port: PORT, LOCAL}\n    use: [token]\n";
const OWN: &str = "policy: own\nrules:\n  - id: api\n    allow: {host: other.origin.test, port: PORT}\n";

/// Writes the file as the other editor does.
fn rewrite(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    std::fs::write(path, format!("\u{feff}{}", text.trim_end().replace('\n', "\r\n"))).unwrap();
}

#[test]
fn every_text_file_is_read_whichever_editor_wrote_it() {
    let origin = Origin::start();
    let setup = Setup::for_origin(&origin, &["api.origin.test", "other.origin.test"])
        .policy(&fill(&origin, POLICY))
        .config("vault:\n  key: {passphrase_file: ./passphrase}");
    let egret = Egret::prepare(&Setup { ca_file: Some("ca.pem".into()), ..setup });
    let at = |name: &str| egret.folder().join(name);
    std::fs::copy(origin.ca_file(), at("ca.pem")).unwrap();
    std::fs::write(at("passphrase"), "correct horse battery staple\n").unwrap();
    // The vault is made with the passphrase as it was, and opened with the file of the other editor.
    let config = egret.config().display().to_string();
    egret.ok(&["vault", "init", "--config", &config], "");
    for name in ["egret.yaml", "policies/policy-0.yaml", "ca.pem", "passphrase"] {
        rewrite(&at(name));
    }
    egret.launch();
    let target = format!("api.origin.test:{}", origin.port());
    std::fs::write(at("values.env"), "TOKEN=sEcReT-value-of-the-file-1\nOTHER=sEcReT-value-of-the-file-2\n").unwrap();
    let json = format!(
        "{{\"json\": {{\"kind\": \"bearer\",\n\"audience\": \"{target}\", \"value\": \"sEcReT-value-of-the-file-3\"}}}}\n"
    );
    std::fs::write(at("values.json"), json).unwrap();
    std::fs::write(at("own.yaml"), fill(&origin, OWN)).unwrap();
    for name in ["values.env", "values.json", "own.yaml"] {
        rewrite(&at(name));
    }
    let path = |name: &str| at(name).display().to_string();
    egret.ok(&["vault", "import", &path("values.env"), "--audience", &target], "");
    egret.ok(&["vault", "import", &path("values.json")], "");
    egret.ok(&["policy", "check", &path("policies/policy-0.yaml"), &path("own.yaml")], "");
    let session = egret.session(&["files", &path("own.yaml")], &["token"]);
    assert_eq!(client::get(&egret, &session, &target, "/first").status, 200);
    assert_eq!(origin.seen_once("/first").values("authorization"), ["Bearer sEcReT-value-of-the-file-1"]);
    let values = egret.ok(&["vault", "list", "--format", "json"], "");
    assert!(values.contains("\"other\"") && values.contains("\"json\""), "{values}");
    egret.terminate();
    for folder in ["data/sessions", "data/session-policies"] {
        let files: Vec<_> = std::fs::read_dir(at(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{folder}");
        files.iter().for_each(|file| rewrite(file));
    }
    egret.launch();
    assert_eq!(client::get(&egret, &session, &target, "/second").status, 200);
}

#[test]
fn a_certificate_that_is_not_read_ends_the_start() {
    let origin = Origin::start();
    let egret = Egret::prepare(&Setup { ca_file: Some("ca.pem".into()), ..Setup::default() });
    let good = std::fs::read_to_string(origin.ca_file()).unwrap();
    let damaged = good.replace("-----END CERTIFICATE", "----END CERTIFICATE");
    std::fs::write(egret.folder().join("ca.pem"), format!("{good}{damaged}")).unwrap();
    let output = egret.run(&["serve", "--config", &egret.config().display().to_string()], "");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&format!("ca.pem:{}: ", good.lines().count() + 1)), "{said}");
}
