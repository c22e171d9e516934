//! L: missing evidence, clocks across restarts, copies of a journal, and what a command must not inherit.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use egret_tests::client::{self, H2};
use egret_tests::egret::{Egret, Setup};
use egret_tests::pki::TestCa;
use egret_tests::records::Record;
use egret_tests::wait;
use rustix::process::Signal;

use crate::world::World;

const POLICY: &str = "policy: evidence\nrules:\n  - id: api\n    allow: {host: api.origin.test, port: PORT, LOCAL}\n";

const BEARER: &[&str] = &["--kind", "bearer", "--audience", "api.origin.test"];

/// A sidecar that was used and has ended in order.
fn used() -> Egret {
    let egret = Egret::prepare(&Setup::default());
    egret.launch();
    egret.put("token", BEARER);
    egret.session(&[], &[]);
    egret.terminate();
    egret
}

fn serve(egret: &Egret, options: &[&str]) -> Output {
    let config = egret.config().display().to_string();
    egret.run(&[&["serve", "--config", &config][..], options].concat(), "")
}

/// The start is refused with the reason, and the folder is unchanged.
fn refused(egret: &Egret, why: &str) {
    // SQLite's shared memory between processes is not part of the index.
    let whole = || {
        let mut all = contents(&egret.data());
        all.retain(|(path, ..)| !path.ends_with("index.db-shm"));
        all
    };
    let before = whole();
    for _ in 0..2 {
        let output = serve(egret, &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{why}: {said}");
        assert!(said.contains("vault_rollback") && said.contains(why) && said.contains("--accept-rollback"), "{said}");
        let after = whole();
        let changed: Vec<_> = after.iter().filter(|entry| !before.contains(entry)).map(|(path, ..)| path).collect();
        assert!(after == before, "{why}: a refused start changed {changed:?}");
    }
}

fn verify(egret: &Egret) -> (Option<i32>, serde_json::Value) {
    let output = egret.run(&["audit", "verify", "--format", "json"], "");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {output:?}")))
}

fn remove_index(egret: &Egret) {
    for name in ["index.db", "index.db-wal", "index.db-shm"] {
        let _absent = std::fs::remove_file(egret.data().join(name));
    }
}

fn cut(journal: &Path, lines: usize) {
    let file = journal.join("00000001.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    let kept: String = text.lines().take(lines).map(|line| format!("{line}\n")).collect();
    std::fs::write(file, kept).unwrap();
}

#[test]
fn t213_a_journal_that_is_gone_refuses_the_start() {
    let egret = used();
    let (here, away) = (egret.journal_folder(), egret.data().join("journal.away"));
    std::fs::rename(&here, &away).unwrap();
    refused(&egret, "the journal is gone");
    assert!(!here.exists(), "a refused start makes no journal");
    remove_index(&egret);
    refused(&egret, "the journal is gone");
    std::fs::rename(&away, &here).unwrap();
    egret.launch();
    let rebuilt = egret.record_where("the index", |record| record.text("kind") == "sidecar.index_rebuilt");
    assert_eq!(rebuilt.text("code"), "");
    egret.terminate();
    egret.verify();
}

#[test]
fn t213_a_cut_journal_without_its_head_refuses_the_start() {
    let egret = used();
    std::fs::remove_file(egret.journal_folder().join("head")).unwrap();
    refused(&egret, "`head` is gone");
    let (code, document) = verify(&egret);
    assert_eq!(
        (code, document["verdict"].as_str(), document["ok"].as_bool()),
        (Some(1), Some("no_anchor"), Some(false))
    );
    cut(&egret.journal_folder(), 3);
    remove_index(&egret);
    refused(&egret, "which the vault was sealed with");
    let (code, document) = verify(&egret);
    assert_eq!((code, document["verdict"].as_str()), (Some(1), Some("no_anchor")));
}

#[test]
fn t291_a_cut_journal_with_an_earlier_head_is_not_what_the_index_has() {
    let egret = used();
    let (journal, head) = (egret.journal_folder(), egret.journal_folder().join("head"));
    let (lines, earlier) = (egret.records().len(), std::fs::read(&head).unwrap());
    egret.launch();
    egret.session(&[], &[]);
    egret.terminate();
    assert_eq!(verify(&egret).0, Some(0));
    std::fs::write(&head, earlier).unwrap();
    cut(&journal, lines);
    let (code, document) = verify(&egret);
    assert_eq!((code, document["verdict"].as_str()), (Some(1), Some("broken")), "{document}");
    // Of a journal alone nothing else shows it.
    let output = egret.run(&["audit", "verify", "--journal", &journal.display().to_string()], "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn t213_what_is_missing_is_accepted_once_and_recorded() {
    let world = World::new(&["api.origin.test"], &[POLICY], |setup| setup);
    let egret = &world.egret;
    let target = world.target("api.origin.test");
    let session = egret.session(&["evidence"], &[]);
    assert_eq!(client::get(egret, &session, &target, "/t213-before").status, 200);
    egret.terminate();
    std::fs::rename(egret.journal_folder(), egret.data().join("journal.away")).unwrap();
    egret.serve_once("--accept-rollback", || {});
    let accepted = egret.record_where("the acceptance", |record| record.text("code") == "vault_rollback");
    assert_eq!(accepted.text("kind"), "vault.opened");
    assert!(accepted.text("detail").contains("the journal is gone"), "{}", accepted.0);
    // From now on this journal is the vault's, and the session stays over.
    egret.launch();
    assert_eq!(client::connect(egret, Some(&session), &target).0.status, 407);
    let ended = egret.record_where("the end", |record| record.text("kind") == "session.ended");
    assert_eq!(ended.text("session"), session.id);
}

#[test]
fn t213_a_session_that_was_put_back_stays_over() {
    let world = World::new(&["api.origin.test"], &[POLICY], |setup| setup);
    let egret = &world.egret;
    let target = world.target("api.origin.test");
    let [session, other] = [(); 2].map(|()| egret.session(&["evidence"], &[]));
    let file = egret.data().join("sessions").join(format!("{}.json", session.id));
    let before = std::fs::read(&file).unwrap();
    egret.ok(&["session", "end", &session.id], "");
    egret.terminate();
    std::fs::write(&file, before).unwrap();
    egret.launch();
    assert_eq!(client::connect(egret, Some(&session), &target).0.status, 407);
    assert_eq!(client::get(egret, &other, &target, "/t213-other").status, 200);
}

/// As if the machine had shown a much later time before its clock was set back.
fn note_a_later_time(egret: &Egret) {
    let head = egret.journal_folder().join("head");
    let text = std::fs::read_to_string(&head).unwrap();
    let (before, _) = text.split_once("\"latest\":\"").unwrap();
    std::fs::write(&head, format!("{before}\"latest\":\"2099-01-01T00:00:00.000000Z\"}}\n")).unwrap();
}

#[test]
fn t215_a_clock_that_is_accepted_lengthens_no_session_and_is_recorded() {
    let world = World::new(&["api.origin.test"], &[POLICY], |setup| setup);
    let egret = &world.egret;
    let target = world.target("api.origin.test");
    egret.terminate();
    note_a_later_time(egret);
    egret.launch();
    let session = egret.session_with(&["evidence"], &[], &["--ttl", "1h"]);
    egret.terminate();
    egret.serve_once("--accept-clock", || {});
    let accepted = egret.record_where("the acceptance", |record| record.text("detail").starts_with("accepted: "));
    assert_eq!(accepted.text("kind"), "sidecar.clock_step");
    egret.launch();
    let shown = egret.ok(&["session", "show", &session.id, "--format", "json"], "");
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let expires: jiff::Timestamp = shown["expires"].as_str().unwrap().parse().unwrap();
    assert!(expires <= jiff::Timestamp::now() + std::time::Duration::from_secs(3_600), "{expires}");
    assert_eq!(client::get(egret, &session, &target, "/t215-accepted").status, 200);
}

#[test]
fn t215_a_clock_that_was_set_back_before_a_restart_revives_nothing() {
    let world = World::new(&["api.origin.test"], &[POLICY], |setup| setup);
    let egret = &world.egret;
    let target = world.target("api.origin.test");
    let session = egret.session_with(&["evidence"], &[], &["--ttl", "1h"]);
    assert_eq!(client::get(egret, &session, &target, "/t215-before").status, 200);
    egret.terminate();
    note_a_later_time(egret);
    egret.launch();
    let step = egret.record_where("the step", |record| record.text("kind") == "sidecar.clock_step");
    assert_eq!(
        (step.text("code"), step.text("first")),
        ("clock_step".to_owned(), "2099-01-01T00:00:00.000000Z".to_owned())
    );
    assert_eq!(client::connect(egret, Some(&session), &target).0.status, 407);
    // A new session is judged by the same time, and works.
    let session = egret.session_with(&["evidence"], &[], &["--ttl", "1h"]);
    assert_eq!(client::get(egret, &session, &target, "/t215-after").status, 200);
}

/// Everything in a folder: path, mode and bytes.
fn contents(folder: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, metadata) = (entry.path(), entry.metadata().unwrap());
        if metadata.is_dir() {
            found.extend(contents(&path));
            found.push((path, metadata.permissions().mode(), Vec::new()));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            found.push((path, metadata.permissions().mode(), bytes));
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.metadata().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.metadata().unwrap().is_file() {
            std::fs::copy(entry.path(), &target).unwrap();
            std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o444)).unwrap();
        }
    }
}

#[test]
fn t217_a_copy_is_read_and_does_not_change() {
    let world = World::new(&["api.origin.test"], &[POLICY], |setup| setup);
    let egret = &world.egret;
    let target = world.target("api.origin.test");
    let session = egret.session(&["evidence"], &[]);
    let mut wire = client::Tunnel::to(&target).open(egret, &session);
    wire.send(format!("GET /gated/t217 HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    wire.read_until("data: first\n\n");
    egret.ok(&["audit", "query"], "");
    // Taken while an exchange is open: an ordinary start would close it there.
    let folder = egret.folder().join("copy");
    wait::until("the head to be noted", || {
        let noted = std::fs::read_to_string(egret.journal_folder().join("head")).unwrap();
        noted.contains("\"open\":1").then_some(())
    });
    copy(&egret.data(), &folder);
    let data = folder.display().to_string();
    let journal = folder.join("journal").display().to_string();
    let before = contents(&folder);
    for args in [
        &["audit", "query", "--data-dir", &data, "--format", "json"][..],
        &["audit", "query", "--journal", &journal, "--format", "json"],
    ] {
        let printed = egret.ok(args, "");
        assert!(printed.contains("/gated/t217"), "{printed}");
    }
    egret.ok(&["audit", "verify", "--data-dir", &data], "");
    egret.ok(&["audit", "verify", "--journal", &journal], "");
    assert_eq!(contents(&folder), before);
    world.origin.open_gate("t217");
    wire.read_until("data: second\n\n");
}

/// Takes `upstream.ca_files` out of the configuration, and has it read again.
fn remove_cas(egret: &Egret) {
    let config = std::fs::read_to_string(egret.config()).unwrap();
    let without: String =
        config.lines().filter(|line| !line.contains("ca_files")).map(|line| format!("{line}\n")).collect();
    assert_ne!(config, without);
    std::fs::write(egret.config(), without).unwrap();
    egret.signal(Signal::HUP);
}

#[test]
fn t256_what_streams_ends_when_its_ca_is_removed_and_not_before() {
    let world = World::new(&["api.origin.test"], &[POLICY], |setup| setup);
    let egret = &world.egret;
    let target = world.target("api.origin.test");
    let session = egret.session(&["evidence"], &[]);
    let open = |gate: &str| {
        let (answer, wire) = client::connect(egret, Some(&session), &target);
        assert_eq!(answer.status, 200);
        let mut wire = wire.start_tls(client::client_config(egret, &["http/1.1"]), "api.origin.test").unwrap();
        wire.send(format!("GET /gated/{gate} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
        wire.read_until("data: first");
        wire
    };
    let request = http::Request::get(format!("https://{target}/gated/t256-h2"));
    let request = request.body(http_body_util::Full::default()).unwrap();
    let mut h2 = H2::open(egret, &session, &target);
    let broken = h2.send_and_pause(request, 4, || {
        let mut kept = open("t256-kept");
        // Read again with the same CA, the stream goes on.
        egret.signal(Signal::HUP);
        wait::until("the configuration to be read", || {
            egret.log().contains("read the configuration again").then_some(())
        });
        // Until a session of a second has ended, what is open was looked at several times.
        let short = egret.session_with(&["evidence"], &[], &["--ttl", "1s"]);
        wait::until("a second", || (client::connect(egret, Some(&short), &target).0.status == 407).then_some(()));
        world.origin.open_gate("t256-kept");
        kept.read_until("data: second");
        let mut ended = open("t256-ended");
        remove_cas(egret);
        ended.rest();
    });
    assert!(broken.is_err(), "the stream over HTTP/2 goes on: {broken:?}");
    for path in ["/gated/t256-ended", "/gated/t256-h2"] {
        let closed = |record: &Record| record.text("kind") == "exchange.closed" && record.text("path") == path;
        let record = egret.record_where("the record", closed);
        let texts = ["outcome", "code", "detail"].map(|name| record.text(name));
        assert_eq!(texts, ["aborted", "upstream_tls", "ca_removed"], "{:?}", record.0);
    }
}

#[test]
fn t256_a_connection_that_a_removed_ca_vouched_for_is_not_used_again() {
    let world = World::new(&["api.origin.test"], &[POLICY], |setup| setup);
    let egret = &world.egret;
    let target = world.target("api.origin.test");
    let session = egret.session(&["evidence"], &[]);
    assert_eq!(client::get(egret, &session, &target, "/t256-before").status, 200);
    remove_cas(egret);
    let refused = wait::until("the trust to be replaced", || {
        let answer = client::get(egret, &session, &target, "/t256-after");
        (answer.status != 200).then_some(answer)
    });
    egret_tests::refusal::expect(egret, &refused, 502, "upstream_tls");
}

#[test]
fn t257_a_variable_that_holds_a_value_of_the_vault_does_not_reach_the_command() {
    let egret = Egret::prepare(&Setup::default());
    egret.launch();
    let canary = egret.put("token", BEARER);
    let script = "echo ${DATABASE_URL-none} ${OTHER-none}";
    let output = egret
        .command(&["run", "--", "sh", "-c", script])
        .env("DATABASE_URL", format!("postgres://user:{}@db/main", canary.value()))
        .env("OTHER", "kept")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "none kept\n", "{said}");
    assert!(said.contains("DATABASE_URL") && !said.contains(canary.value()), "{said}");
}

#[test]
fn t258_a_default_session_with_credentials_needs_a_danger_setting() {
    let setup =
        |danger: &str| Setup::default().config(&format!("sessions:\n  default: {{credentials: [token]}}\n{danger}"));
    let egret = Egret::prepare(&setup(""));
    egret.put("token", BEARER);
    let output = serve(&egret, &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("danger_default_credentials"), "{said}");
    let egret = Egret::prepare(&setup("  danger_default_credentials: true\n"));
    egret.put("token", BEARER);
    egret.launch();
    assert_eq!(egret.log().matches("danger_default_credentials").count(), 1);
}

#[test]
fn t259_the_proxy_answers_on_a_unix_socket_too() {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    let origin = egret_tests::origin::Origin::start();
    let setup = Setup::for_origin(&origin, &["api.origin.test"]).policy(&crate::world::fill(&origin, POLICY));
    let egret = Egret::prepare(&setup);
    let text = std::fs::read_to_string(egret.config()).unwrap();
    let listen = "  proxy: [127.0.0.1:0, \"unix:proxy.sock\"]\n";
    std::fs::write(egret.config(), text.replace("  proxy: 127.0.0.1:0\n", listen)).unwrap();
    egret.launch();
    let socket = egret.folder().join("proxy.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let session = egret.session(&["evidence"], &[]);
    let target = format!("api.origin.test:{}", origin.port());
    let connect = |authorization: &str| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        write!(stream, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n").unwrap();
        let mut answer = vec![0; 13];
        stream.read_exact(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    };
    assert_eq!(connect(&format!("Proxy-Authorization: {}\r\n", session.authorization())), "HTTP/1.1 200 ");
    assert_eq!(connect(""), "HTTP/1.1 407 ");
    // A killed run leaves its socket, which the next one takes over.
    egret.kill();
    egret.launch();
    assert_eq!(connect(""), "HTTP/1.1 407 ");
}

#[test]
fn t259_tokens_are_void_after_a_kill_where_that_is_configured() {
    let world = World::new(&["api.origin.test"], &[POLICY], |setup| {
        setup.config("sessions: {void_tokens_after_unclean_stop: true}\n")
    });
    let egret = &world.egret;
    let target = world.target("api.origin.test");
    let mut session = egret.session(&["evidence"], &[]);
    egret.terminate();
    egret.launch();
    assert_eq!(client::get(egret, &session, &target, "/t259").status, 200, "a stop in order");
    egret.kill();
    egret.launch();
    assert_eq!(client::connect(egret, Some(&session), &target).0.status, 407);
    let refused = egret.record_where("the refusal", |record| record.text("code") == "session_invalid");
    assert_eq!(refused.text("detail"), "void_token");
    assert!(egret.log().contains("egret session env ID"), "{}", egret.log());

    let shown = egret.ok(&["session", "env", &session.id, "--format", "json"], "");
    let renewed: serde_json::Value = serde_json::from_str(&shown).unwrap();
    session.token = renewed["token"].as_str().unwrap().to_owned();
    assert!(renewed["env"]["HTTPS_PROXY"].as_str().unwrap().contains(&session.token));
    assert_eq!(client::get(egret, &session, &target, "/t259").status, 200);
}

#[test]
fn t259_clients_verify_a_proxy_that_offers_tls() {
    let (ca, folder) = (TestCa::new("Proxy CA"), tempfile::tempdir().unwrap());
    let [ca_file, certificate, key] = ["ca.pem", "proxy.pem", "proxy.key"].map(|name| folder.path().join(name));
    let (chain, secret) = ca.leaf_pem("proxy.test");
    for (path, text) in [(&ca_file, ca.pem()), (&certificate, &chain), (&key, &secret)] {
        std::fs::write(path, text).unwrap();
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let world = World::new(&["api.origin.test"], &[POLICY], |setup| {
        let files = format!("certificate: {}, key: {}", certificate.display(), key.display());
        setup.listen(&format!("  proxy_tls: {{address: \"127.0.0.1:{port}\", {files}}}\n"))
    });
    let session = world.egret.session(&["evidence"], &[]);
    let curl = |trusted: &Path, proxy: &str, more: &[&str]| {
        let mut curl = std::process::Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--max-time",
            "10",
            "--proxy-user",
            &format!("{}:{}", session.id, session.token),
        ]);
        curl.args([
            "--connect-to",
            &format!("proxy.test:{port}:127.0.0.1:{port}"),
            "--resolve",
            &format!("proxy.test:{port}:127.0.0.1"),
        ]);
        curl.arg("--proxy").arg(proxy).arg("--proxy-cacert").arg(trusted).arg("--cacert").arg(world.egret.ca_file());
        curl.args(more).arg(format!("https://{}/sized/100000", world.target("api.origin.test")));
        curl.output().unwrap()
    };
    let proxy = format!("https://proxy.test:{port}");
    for version in ["--http1.1", "--http2"] {
        let output = curl(&ca_file, &proxy, &[version]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 100_000), "{output:?}");
    }
    // Before the proxy has proven itself, nothing is sent; without TLS nothing is answered.
    let output = curl(&world.egret.ca_file(), &proxy, &[]);
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    let output = curl(&ca_file, &format!("http://proxy.test:{port}"), &[]);
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    world.egret.verify();
}
