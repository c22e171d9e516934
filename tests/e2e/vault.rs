//! The vault as its operators handle it: locks, keys, versions, backups, and copies of yesterday.

use std::path::Path;
use std::process::{Command, Output};

use egret_tests::egret::{Egret, Setup};
use egret_tests::{tools, wait};
use serde_json::Value;

const PASSPHRASE: &str = "correct horse battery staple";

/// A prepared folder, in which nothing runs.
fn prepared(lock: &str) -> Egret {
    let egret = Egret::prepare(&Setup::default().config(lock));
    std::fs::write(egret.folder().join("passphrase"), format!("{PASSPHRASE}\n")).unwrap();
    egret
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs a command that must fail with this code; gives what it said.
fn fails(egret: &Egret, code: i32, args: &[&str]) -> String {
    let output = egret.run(args, "");
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output));
    text(&output)
}

fn put(egret: &Egret, name: &str, options: &[&str], value: &str) {
    egret.put_value(name, options, value);
}

const BEARER: &[&str] = &["--kind", "bearer", "--audience", "api.origin.test"];

fn shown(egret: &Egret, args: &[&str]) -> Value {
    serde_json::from_str(&egret.ok(args, "")).unwrap()
}

/// What the independent reader finds.
fn read(egret: &Egret, file: &Path, lock: &[&str]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("vault_reader.py");
    let lock: Vec<String> = lock
        .chunks(2)
        .flat_map(|pair| [pair[0].to_owned(), egret.folder().join(pair[1]).display().to_string()])
        .collect();
    let printed = tools::succeed(Command::new(tools::python()).arg(script).arg(file).args(lock));
    serde_json::from_str(&printed).unwrap()
}

/// The names, versions and values that it found, without Egret's own.
fn found(document: &Value) -> Vec<(String, u64, String)> {
    use base64::Engine as _;
    let items = document["items"].as_array().unwrap().iter();
    let items = items.filter(|item| item["tenant"] != "egret:internal");
    items
        .map(|item| {
            let value = base64::prelude::BASE64_STANDARD.decode(item["value"].as_str().unwrap()).unwrap();
            let value = String::from_utf8(value).unwrap();
            (item["name"].as_str().unwrap().to_owned(), item["version"].as_u64().unwrap(), value)
        })
        .collect()
}

#[test]
fn an_independent_reader_agrees_on_every_record() {
    let egret = prepared("");
    put(&egret, "token", BEARER, "first-value-of-token");
    put(
        &egret,
        "token",
        &[BEARER, &["--owner", "ann", "--env", "TOKEN", "--grace", "1h"]].concat(),
        "second-value-of-token",
    );
    put(&egret, "pair", &["--kind", "basic", "--audience", "*.origin.test:8443"], "user:pass-word");
    put(
        &egret,
        "head",
        &["--kind", "header", "--header", "X-Key", "--audience", "a.test", "--tenant", "acme"],
        "header-value",
    );
    put(
        &egret,
        "param",
        &["--kind", "query", "--query", "key", "--audience", "a.test", "--tenant", "acme"],
        "query-value",
    );
    let vault = egret.data().join("vault.egret");
    let expected: Vec<(String, u64, String)> = [
        ("head", 1, "header-value"),
        ("param", 1, "query-value"),
        ("pair", 1, "user:pass-word"),
        ("token", 1, "first-value-of-token"),
        ("token", 2, "second-value-of-token"),
    ]
    .map(|(name, version, value)| (name.to_owned(), version, value.to_owned()))
    .to_vec();
    let document = read(&egret, &vault, &["--key-file", "data/vault.key"]);
    assert_eq!(found(&document), expected);
    let item = |name: &str| {
        let items = document["items"].as_array().unwrap();
        items.iter().rfind(|item| item["name"] == name).unwrap().clone()
    };
    let description = &item("token")["description"];
    assert_eq!(
        (&description["kind"], &description["owner"], &description["env"]),
        (&"bearer".into(), &"ann".into(), &"TOKEN".into())
    );
    assert_eq!(item("param")["description"]["kind"]["query"]["name"], "key");
    let one = shown(&egret, &["vault", "show", "token", "--format", "json"]);
    assert_eq!(one["versions"][1]["fingerprint"], description["fingerprint"]);
    assert_eq!(one["version"], 2);

    // A passphrase, then a passphrase and a key file: neither is enough alone. The secrets are not sealed anew.
    let passphrase = egret.folder().join("passphrase").display().to_string();
    let key = egret.folder().join("other.key").display().to_string();
    egret.ok(&["vault", "rekey", "--passphrase-file", &passphrase], "");
    assert_eq!(found(&read(&egret, &vault, &["--passphrase-file", "passphrase"])), expected);
    let said = fails(&egret, 3, &["vault", "list"]);
    assert!(said.contains("locked with passphrase, and key file was given"), "{said}");
    let config = std::fs::read_to_string(egret.config()).unwrap();
    std::fs::write(egret.config(), format!("{config}\nvault:\n  key: {{passphrase_file: {passphrase}}}\n")).unwrap();
    let file = egret.config().display().to_string();
    egret.ok(&["vault", "rekey", "--passphrase-file", &passphrase, "--key-file", &key, "--config", &file], "");
    let both = ["--passphrase-file", "passphrase", "--key-file", "other.key"];
    assert_eq!(found(&read(&egret, &vault, &both)), expected);
    std::fs::write(
        egret.config(),
        format!("{config}\nvault:\n  key: {{passphrase_file: {passphrase}, file: {key}}}\n"),
    )
    .unwrap();
    egret.ok(&["vault", "rotate", "--config", &file], "");
    let after = read(&egret, &vault, &both);
    assert_eq!(found(&after), expected);
    assert_eq!((&after["keys"]["acme"]["id"], &document["keys"]["acme"]["id"]), (&2.into(), &1.into()));
    assert_eq!(
        shown(&egret, &["vault", "status", "--format", "json", "--config", &file])["key"],
        "passphrase and key file"
    );
}

#[test]
fn a_backup_is_taken_while_serving_and_put_back() {
    let egret = prepared("");
    egret.launch();
    put(&egret, "token", BEARER, "value-that-is-kept");
    let backup = egret.folder().join("vault.backup").display().to_string();
    egret.ok(&["vault", "backup", &backup], "");
    assert!(fails(&egret, 2, &["vault", "backup", &backup]).contains("exists"), "never over another file");
    assert_eq!(found(&read(&egret, Path::new(&backup), &["--key-file", "data/vault.key"])).len(), 1);
    egret.ok(&["vault", "rm", "token"], "");
    egret.ok(&["vault", "restore", &backup], "");
    assert_eq!(shown(&egret, &["vault", "list", "--format", "json"])[0]["name"], "token");
    let cut = egret.folder().join("cut.backup").display().to_string();
    let bytes = std::fs::read(&backup).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() - 1]).unwrap();
    assert!(fails(&egret, 2, &["vault", "restore", &cut]).contains("damaged or changed"));
    egret.terminate();

    // Offline, where the vault is lost; a restored vault is never older than the records.
    std::fs::remove_file(egret.data().join("vault.egret")).unwrap();
    assert!(fails(&egret, 3, &["vault", "list"]).contains("restore it"));
    egret.ok(&["vault", "restore", &backup], "");
    assert_eq!(shown(&egret, &["vault", "list", "--format", "json"])[0]["name"], "token");
    let restored = |record: &egret_tests::records::Record| record.text("kind") == "vault.restored";
    assert_eq!(egret.records().into_iter().filter(restored).count(), 2);
}

#[test]
fn t159_yesterdays_vault_is_refused() {
    let egret = prepared("");
    put(&egret, "token", BEARER, "value-of-yesterday");
    let vault = egret.data().join("vault.egret");
    let yesterday = std::fs::read(&vault).unwrap();
    egret.ok(&["vault", "rm", "token"], "");
    std::fs::write(&vault, &yesterday).unwrap();
    for args in [&["vault", "list"][..], &["serve", "--config", &egret.config().display().to_string()]] {
        let said = fails(&egret, 3, args);
        assert!(said.contains("vault_rollback") && said.contains("--accept-rollback"), "{said}");
    }
    let refused = egret.record_where("the refusal", |record| record.text("kind") == "vault.refused");
    assert_eq!(refused.text("code"), "vault_rollback");
    let config = egret.config().display().to_string();
    let mut serving = egret
        .command(&["serve", "--accept-rollback", "--config", &config])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait::until("it serves the old vault", || egret.data().join("egret.json").exists().then_some(()));
    assert_eq!(shown(&egret, &["vault", "list", "--format", "json"])[0]["name"], "token");
    rustix::process::kill_process(rustix::process::Pid::from_child(&serving), rustix::process::Signal::TERM).unwrap();
    assert!(serving.wait().unwrap().success());
    // Accepted once, it is the one that the records know.
    egret.ok(&["vault", "list"], "");
    let accepted =
        egret.record_where("the acceptance", |record| record.text("kind") == "vault.opened" && record.has("code"));
    assert_eq!(accepted.text("code"), "vault_rollback");
}

#[test]
fn a_version_can_be_revoked_before_its_grace_time_is_over() {
    let egret = prepared("");
    put(&egret, "token", BEARER, "first-value-of-token");
    put(&egret, "token", BEARER, "second-value-of-token");
    let versions = || shown(&egret, &["vault", "show", "token", "--format", "json"])["versions"].clone();
    assert_eq!(versions().as_array().unwrap().len(), 2);
    assert!(versions()[0]["until"].is_string() && versions()[1]["until"].is_null());
    egret.ok(&["vault", "rm", "token", "--version", "1"], "");
    assert_eq!(versions()[0]["version"], 2);
    fails(&egret, 1, &["vault", "rm", "token", "--version", "1"]);
    let said = fails(&egret, 2, &["vault", "rekey"]);
    assert!(said.contains("--passphrase-file"), "{said}");
}
