//! The vault as its operators handle it: locks, keys, versions, backups, and copies of yesterday.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Output};

use egret_tests::canary::Canary;
use egret_tests::client::{self, Wire};
use egret_tests::egret::{Egret, Session, Setup};
use egret_tests::records::Record;
use egret_tests::tools;
use serde_json::Value;

use crate::world::World;

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
    egret.watch(Canary::of(value));
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

    // A passphrase, then a passphrase and a key file: neither is enough alone. The secrets are not sealed again.
    let passphrase = egret.folder().join("passphrase").display().to_string();
    let key = egret.folder().join("other.key").display().to_string();
    egret.ok(&["vault", "rekey", "--passphrase-file", &passphrase], "");
    assert_eq!(found(&read(&egret, &vault, &["--passphrase-file", "passphrase"])), expected);
    let said = fails(&egret, 2, &["vault", "list"]);
    assert!(said.contains("locked with a passphrase, but what was given is a key file"), "{said}");
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
    // What is not named is not dropped in silence.
    let said = fails(&egret, 2, &["vault", "rekey", "--passphrase-file", &passphrase, "--config", &file]);
    assert!(said.contains("--only"), "{said}");
    assert_eq!(found(&read(&egret, &vault, &both)), expected);
    egret.ok(&["vault", "rekey", "--passphrase-file", &passphrase, "--only", "--config", &file], "");
    assert_eq!(found(&read(&egret, &vault, &["--passphrase-file", "passphrase"])), expected);
}

#[test]
fn a_weak_passphrase_is_taken_with_a_warning() {
    let egret = Egret::prepare(&Setup::default());
    let [weak, better] = [("weak", "changeme\n"), ("better", "q7zk9xpw5m2e\n")].map(|(name, text)| {
        let path = egret.folder().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    });
    let config = egret.folder().join("weak.yaml");
    std::fs::write(&config, format!("vault:\n  key: {{passphrase_file: {weak}}}\n")).unwrap();
    let config = config.display().to_string();
    let warned = |args: &[&str]| {
        let output = egret.run(args, "");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).contains("shorter than 12 bytes")
    };
    assert!(warned(&["vault", "init", "--config", &config]));
    assert!(!warned(&["vault", "status", "--config", &config]), "once is enough");
    assert!(warned(&["vault", "rekey", "--passphrase-file", &weak, "--config", &config]));
    assert!(!warned(&["vault", "rekey", "--passphrase-file", &better, "--config", &config]));
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
    let restored = |record: &Record| record.text("kind") == "vault.restored";
    assert_eq!(egret.records().into_iter().filter(restored).count(), 2);
}

#[test]
fn t155_a_wrong_passphrase_ends_with_2_and_changes_nothing() {
    let egret = prepared("vault:\n  key: {passphrase_file: ./passphrase}");
    let passphrase = egret.folder().join("passphrase");
    let lock = format!("vault:\n  key: {{passphrase_file: {}}}\n", passphrase.display());
    let config = egret.folder().join("locked.yaml");
    std::fs::write(&config, lock).unwrap();
    let config = config.display().to_string();
    egret.ok(&["vault", "init", "--config", &config], "");
    let vault = egret.data().join("vault.egret");
    let before = std::fs::read(&vault).unwrap();
    std::fs::write(&passphrase, "correct horse battery stable\n").unwrap();
    let said = fails(&egret, 2, &["vault", "list", "--config", &config]);
    assert!(said.contains("the key does not open the vault, or its header is damaged"), "{said}");
    assert!(!said.contains("stable") && std::fs::read(&vault).unwrap() == before);
    // The next try has to wait, from any process; a second later than that it may.
    std::fs::write(&passphrase, format!("{PASSPHRASE}\n")).unwrap();
    let tries = egret.data().join("vault.tries");
    let counted =
        |wrong: u32| std::fs::write(&tries, format!("{{\"wrong\":{wrong},\"last\":\"2026-01-01T00:00:00Z\"}}"));
    assert!(std::fs::read_to_string(&tries).unwrap().contains("\"wrong\":1"));
    counted(9).unwrap();
    let unsealed = |record: &Record| record.text("code") == "unseal_failed";
    assert!(!egret.records().iter().any(unsealed), "there is no journal without the vault");
    egret.ok(&["vault", "list", "--config", &config], "");
    assert!(!tries.exists(), "forgotten where somebody knew it");
    // Recorded as soon as it opens: how many, and when the last of them was. Once.
    egret.ok(&["vault", "list", "--config", &config], "");
    let told: Vec<_> = egret.records().into_iter().filter(unsealed).collect();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].text("kind").as_str(), told[0].number("count")), ("vault.refused", 9));
    assert_eq!(told[0].text("last"), "2026-01-01T00:00:00.000000Z");
    let mut damaged = before.clone();
    damaged[40] ^= 1; // in the salt
    std::fs::write(&vault, &damaged).unwrap();
    assert_eq!(fails(&egret, 2, &["vault", "list", "--config", &config]), said);
}

#[test]
fn t156_after_wrong_passphrases_the_next_try_has_to_wait() {
    let egret = prepared("");
    let config = egret.folder().join("locked.yaml");
    let passphrase = egret.folder().join("passphrase");
    std::fs::write(&config, format!("vault:\n  key: {{passphrase_file: {}}}\n", passphrase.display())).unwrap();
    let config = config.display().to_string();
    egret.ok(&["vault", "init", "--config", &config], "");
    let before = std::fs::read(egret.data().join("vault.egret")).unwrap();
    std::fs::write(&passphrase, "correct horse battery stable\n").unwrap();
    // Nine wrong tries long ago; the tenth begins a wait of 512 s.
    let counted = "{\"wrong\":9,\"last\":\"2026-01-01T00:00:00Z\"}";
    std::fs::write(egret.data().join("vault.tries"), counted).unwrap();
    fails(&egret, 2, &["vault", "list", "--config", &config]);
    std::fs::write(&passphrase, format!("{PASSPHRASE}\n")).unwrap();
    let said = fails(&egret, 2, &["vault", "list", "--config", &config]);
    assert!(said.contains("10 times in a row") && said.contains("wait for 8m"), "{said}");
    assert!(std::fs::read(egret.data().join("vault.egret")).unwrap() == before);
}

#[test]
fn t161_a_replaced_key_is_recorded() {
    let egret = prepared("");
    put(&egret, "token", BEARER, "value-under-a-key");
    egret.launch();
    egret.ok(&["vault", "rotate", "--tenant", "default"], "");
    egret.ok(&["vault", "rotate"], "");
    let rotated: Vec<_> = egret.records().into_iter().filter(|record| record.text("code") == "key_rotated").collect();
    let told: Vec<_> = rotated.iter().map(|record| (record.text("tenant"), record.text("detail"))).collect();
    let of = |tenant: &str, number: u32| (tenant.to_owned(), format!("the key of the tenant is number {number} now"));
    assert_eq!(told, [of("default", 2), of("default", 3), of("egret:internal", 2)]);
    assert!(rotated.iter().all(|record| record.text("kind") == "vault.rekeyed" && record.has("generation")));
}

#[test]
fn t167_what_a_crash_left_is_removed_and_recorded() {
    let egret = prepared("");
    put(&egret, "token", BEARER, "value-beside-a-torn-file");
    let left = egret.data().join(".vault.egret.new");
    let torn = std::fs::read(egret.data().join("vault.egret")).unwrap();
    std::fs::write(&left, &torn[..torn.len() / 2]).unwrap();
    assert_eq!(shown(&egret, &["vault", "list", "--format", "json"])[0]["name"], "token");
    assert!(!left.exists());
    egret.ok(&["vault", "list"], "");
    let told: Vec<_> = egret.records().into_iter().filter(|record| record.text("code") == "recovered").collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].text("kind"), "vault.opened");
    assert!(told[0].text("detail").contains("was removed"), "{}", told[0].0);
}

#[test]
fn t165_a_second_process_says_who_has_the_vault() {
    let egret = prepared("");
    egret.launch();
    let config = egret.config().display().to_string();
    let said = fails(&egret, 3, &["serve", "--config", &config, "--listen", "127.0.0.1:0"]);
    assert!(said.contains(&egret.pid().to_string()), "{said}");
    put(&egret, "token", BEARER, "goes-through-the-first");
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
    egret.serve_once("--accept-rollback", || {
        assert_eq!(shown(&egret, &["vault", "list", "--format", "json"])[0]["name"], "token");
    });
    // Accepted once, it is the one that the records know.
    egret.ok(&["vault", "list"], "");
    let accepted =
        egret.record_where("the acceptance", |record| record.text("kind") == "vault.opened" && record.has("code"));
    assert_eq!(accepted.text("code"), "vault_rollback");
}

const STREAMS: &str =
    "policy: streams\nrules:\n  - id: api\n    allow: {host: api.origin.test, port: PORT, LOCAL}\n    use: [token]\n";

/// A download with the credential, of which the first event came.
fn download(world: &World, session: &Session, gate: &str) -> Wire {
    let target = world.target("api.origin.test");
    let (answer, wire) = client::connect(&world.egret, Some(session), &target);
    assert_eq!(answer.status, 200);
    let mut wire = wire.start_tls(client::client_config(&world.egret, &["http/1.1"]), "api.origin.test").unwrap();
    wire.send(format!("GET /gated/{gate} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    wire.read_until("data: first\n\n\r\n");
    wire
}

fn seconds(record: &Record) -> f64 {
    let time: jiff::Timestamp = record.text("time").parse().unwrap();
    time.as_microsecond() as f64 / 1e6
}

#[test]
fn t106_a_rotated_credential_finishes_and_a_revoked_one_is_cut() {
    let world = World::new(&["api.origin.test"], &[STREAMS], |setup| setup);
    let audience = world.target("api.origin.test");
    let options = ["--kind", "bearer", "--audience", &audience];
    let [first, second] = ["first-value-of-token", "second-value-of-token"];
    world.egret.put_value("token", &options, first);
    let session = world.egret.session(&["streams"], &["token"]);
    let mut rotated = download(&world, &session, "t106-rotated");
    world.egret.put_value("token", &options, second);
    let mut revoked = download(&world, &session, "t106-revoked");
    let backup = world.egret.folder().join("backup").display().to_string();
    world.egret.ok(&["vault", "backup", &backup], "");
    let get = |path: &str| client::get_with(&world.egret, &session, &audience, path, "");
    // What the upstream was given a moment ago it may still echo, the new value too.
    for value in [first, second] {
        let answer = get(&format!("/echo?{value}"));
        assert_eq!(answer.status, 200);
        assert!(!egret_tests::canary::contains(&answer.body, value.as_bytes()), "{}", answer.text());
    }
    let closing = |path: &str| {
        world.egret.record_where("the end of a download", |record| {
            record.text("path") == path && record.text("kind") == "exchange.closed"
        })
    };
    world.origin.open_gate("t106-rotated");
    rotated.read_until("data: second");
    assert_eq!(closing("/gated/t106-rotated").text("outcome"), "ok");
    world.egret.ok(&["vault", "rm", "token"], "");
    let removed = world.egret.record_where("the removal", |record| record.text("kind") == "credential.removed");
    let cut = closing("/gated/t106-revoked");
    assert_eq!((cut.text("outcome").as_str(), cut.text("code").as_str()), ("aborted", "credential_unavailable"));
    assert!(seconds(&cut) - seconds(&removed) < 1.0);
    assert!(revoked.is_closed());
    let answer = get("/after");
    egret_tests::refusal::expect(&world.egret, &answer, 502, "credential_unavailable");
    world.origin.assert_saw_nothing_of("/after");
    // What a backup brings back is in force at once.
    world.egret.ok(&["vault", "restore", &backup], "");
    assert_eq!(get("/restored").status, 200);
    let mut restored = download(&world, &session, "t106-restored");
    world.egret.put_value("other", &options, "another-value");
    assert_eq!(get("/beside").status, 200);
    world.origin.open_gate("t106-restored");
    restored.read_until("data: second");
}

/// Runs `vault put` at a terminal, types this when it asks, and gives how it ended and all that the terminal showed.
fn typed(egret: &Egret, keys: &[u8]) -> (bool, String) {
    let binary = egret_tests::egret::binary();
    let line = format!("'{}' vault put token --kind bearer --audience api.origin.test; stty -a", binary.display());
    let mut script = Command::new(tools::program("script"));
    script.args(["-qec", &line, "/dev/null"]).env_clear().env("EGRET_DATA_DIR", egret.data());
    script.env("HOME", egret.folder()).env("PATH", std::env::var_os("PATH").unwrap());
    script.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = script.spawn().unwrap();
    let (mut shown, mut out) = (Vec::new(), child.stdout.take().unwrap());
    let mut some = [0; 256];
    let mut asked = false;
    loop {
        match out.read(&mut some).unwrap() {
            0 => break,
            count => shown.extend_from_slice(&some[..count]),
        }
        if !asked && egret_tests::canary::contains(&shown, b"(not shown): ") {
            asked = true;
            child.stdin.as_mut().unwrap().write_all(keys).unwrap();
        }
    }
    child.wait().unwrap();
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(asked && !shown.contains("-echo "), "the terminal shows again what is typed: {shown}");
    (shown.contains("put the credential token"), shown)
}

#[test]
fn put_asks_at_a_terminal_and_shows_nothing() {
    let egret = prepared("");
    let (put, shown) = typed(&egret, b"some\x03");
    assert!(!put && shown.contains("given up"), "{shown}");
    let (put, shown) = typed(&egret, b"wrong\x15typed-value-of-tokem\x7fn\n");
    assert!(put && !shown.contains("typed-value"), "{shown}");
    assert_eq!(found(&read_default(&egret)), [("token".to_owned(), 1, "typed-value-of-token".to_owned())]);
}

fn read_default(egret: &Egret) -> Value {
    read(egret, &egret.data().join("vault.egret"), &["--key-file", "data/vault.key"])
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
