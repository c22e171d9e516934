//! K: life cycle. Starting only when everything is as configured, ending in order, and surviving a kill.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use egret_tests::client::{self, H2, Tunnel, Wire};
use egret_tests::egret::{Egret, Session, Setup};
use egret_tests::origin::Origin;
use egret_tests::{refusal, wait};
use rustix::process::Signal;

use crate::world::{World, fill};

const POLICY: &str = r#"
policy: lifecycle
rules:
  - id: api
    allow: {host: api.origin.test, port: PORT, LOCAL}
"#;

fn world() -> World {
    World::new(&["api.origin.test"], &[POLICY], |setup| setup)
}

/// `egret serve` with this setup ends by itself, not listening, and names `why`.
fn refuses_to_start(setup: &Setup, why: &str, code: Option<i32>) {
    let egret = Egret::prepare(setup);
    let config = egret.config().display().to_string();
    let mut child = egret
        .command(&["serve", "--config", &config])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let Some(status) = wait::within(Duration::from_secs(20), "", || child.try_wait().unwrap()) else {
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        panic!("it started although {why}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!status.success(), "it ended well although {why}: {said}");
    if code.is_some() {
        assert_eq!(status.code(), code, "{why}: {said}");
    }
    assert!(said.contains(why), "the message does not name {why}: {said}");
    assert!(!egret.data().join("egret.json").exists(), "it said that it was ready although {why}");
}

#[test]
fn t185_what_is_configured_must_be_there() {
    let absent = Setup::default();
    refuses_to_start(&Setup { ca_file: Some("absent-ca.pem".into()), ..absent.clone() }, "absent-ca.pem", None);
    refuses_to_start(
        &absent.clone().config("vault:\n  key: {passphrase_file: ./absent-passphrase}"),
        "absent-passphrase",
        None,
    );
    refuses_to_start(
        &absent.clone().policy("policy: broken\nrules:\n  - id: x\n    alow: {host: a.b}\n"),
        "policy-0.yaml:4",
        Some(2),
    );
    refuses_to_start(&absent.clone().config("unknown_key: 1"), "unknown_key", Some(2));
    // A folder where the journal's folder should be made, taken by a file.
    let egret = Egret::prepare(&absent);
    std::fs::create_dir_all(egret.data()).unwrap();
    std::fs::write(egret.data().join("journal"), "in the way").unwrap();
    let output = egret.run(&["serve", "--config", &egret.config().display().to_string()], "");
    assert!(!output.status.success(), "{output:?}");
    assert!(!egret.data().join("egret.json").exists());
    // A vault that does not open with its key.
    let egret = Egret::prepare(&absent);
    egret.launch();
    egret.terminate();
    std::fs::write(egret.data().join("vault.key"), [7u8; 32]).unwrap();
    let output = egret.run(&["serve", "--config", &egret.config().display().to_string()], "");
    assert!(!output.status.success(), "{output:?}");
}

#[test]
fn t185_default_session_of_policies_that_are_not_there() {
    refuses_to_start(
        &Setup::default().config("sessions:\n  default: {policies: [absent-policy], credentials: []}"),
        "absent-policy",
        None,
    );
}

#[test]
fn a_data_folder_is_made_and_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let egret = Egret::prepare(&Setup::default());
    egret.launch();
    let mode = |name: &str| std::fs::metadata(egret.data().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(""), 0o711);
    assert_eq!(mode("trust"), 0o755);
    assert_eq!(mode("trust/ca.pem"), 0o644);
    assert_eq!(mode("trust/bundle.pem"), 0o644);
    for entry in std::fs::read_dir(egret.data()).unwrap().flatten() {
        let name = entry.file_name();
        if name != "trust" {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o077;
            assert_eq!(mode, 0, "{} is open to others", name.display());
        }
    }
}

#[test]
fn a_second_sidecar_on_the_same_data_is_refused() {
    let world = world();
    let output = world.egret.run(&["serve", "--config", &world.egret.config().display().to_string()], "");
    assert!(!output.status.success(), "{output:?}");
}

#[test]
fn t187_sigterm_drains() {
    let world = world();
    let session = world.egret.session(&["lifecycle"], &[]);
    let target = world.target("api.origin.test");
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!("GET /gated/t187 HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    wire.read_until("data: first\n\n");
    let proxy = world.egret.proxy();
    world.egret.signal(Signal::TERM);
    wait::until("the listener to close", || std::net::TcpStream::connect(proxy).is_err().then_some(()));
    world.origin.open_gate("t187");
    wire.read_until("data: second\n\n");
    let status = world.egret.wait_end();
    assert_eq!(status.code(), Some(0), "{status}");
    let records = world.egret.records();
    let closed = records.iter().find(|r| r.text("kind") == "exchange.closed").expect("the exchange was closed");
    assert_eq!(closed.text("outcome"), "ok", "{}", closed.0);
    assert_eq!(records.last().unwrap().text("kind"), "sidecar.stopped");
    world.egret.verify();
}

#[test]
fn no_core_is_left_behind() {
    let world = world();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", world.egret.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    world.egret.signal(Signal::ABORT);
    let status = world.egret.wait_end();
    assert!(!status.success() && !status.to_string().contains("core dumped"), "{status}");
    // The working folder is searched for files when the sidecar is dropped.
    world.egret.launch();
}

/// Clients that send requests until they are stopped.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(world: &Arc<World>, session: &Session, round: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let numbers = Arc::new(AtomicUsize::new(0));
        let threads = (0..4).map(|client| {
            let (world, session, stop, numbers) =
                (Arc::clone(world), session.clone(), Arc::clone(&stop), Arc::clone(&numbers));
            let proxy = world.egret.proxy();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    // The sidecar dies in the middle: every way to fail is fine here, the records are what counts.
                    let _whole = ask(&world, &session, proxy, &format!("/load-{round}-{client}-{number}"));
                }
            })
        });
        Self { threads: threads.collect(), stop }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

fn ask(world: &World, session: &Session, proxy: std::net::SocketAddr, path: &str) -> Option<u16> {
    let target = world.target("api.origin.test");
    let mut wire = Wire::over(std::net::TcpStream::connect(proxy).ok()?);
    let authorization = session.authorization();
    wire.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: {authorization}\r\n\r\n"));
    if wire.try_answer_to("CONNECT")?.status != 200 {
        return None;
    }
    let mut wire = wire.start_tls(client::client_config(&world.egret, &["http/1.1"]), "api.origin.test").ok()?;
    for number in 0..20 {
        wire.send(format!("GET {path}-{number} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
        wire.try_answer_to("GET")?;
    }
    Some(200)
}

#[test]
fn t188_killed_under_load() {
    let rounds = std::env::var_os("EGRET_CRASH_ROUNDS").map_or(5, |text| text.to_string_lossy().parse().unwrap());
    let origin = Origin::start();
    let setup = Setup::for_origin(&origin, &["api.origin.test"]).policy(&fill(&origin, POLICY)).logging("warn");
    let world = Arc::new(World { egret: Egret::start(&setup), origin });
    let session = world.egret.session(&["lifecycle"], &[]);
    for round in 0..rounds {
        let load = Load::start(&world, &session, round);
        let mark = format!("/load-{round}-");
        // Killed after a different number of requests each time.
        wait::until("some load", || (world.origin.seen(&mark).len() > 20 + round * 7 % 60).then_some(()));
        world.egret.kill();
        load.stop();
        world.egret.launch();
        check_after_crash(&world, &mark);
        let answer = client::get(&world.egret, &session, &world.target("api.origin.test"), &format!("/after-{round}"));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

fn check_after_crash(world: &World, mark: &str) {
    let records = world.egret.records();
    let of_kind = |kind: &str| -> std::collections::HashMap<String, String> {
        let mine = records.iter().filter(|r| r.text("kind") == kind && r.text("path").starts_with(mark));
        mine.map(|r| (r.text("path"), r.text("outcome"))).collect()
    };
    let (opened, closed) = (of_kind("exchange.opened"), of_kind("exchange.closed"));
    for seen in world.origin.seen(mark) {
        assert!(opened.contains_key(&seen.target), "{} went out without a record", seen.target);
    }
    for path in opened.keys() {
        let outcome = closed.get(path).unwrap_or_else(|| panic!("{path} was never closed"));
        // A closing record is written a moment after its exchange has ended. One that was not when the process was killed was
        // written by the next start, which cannot tell how the exchange would have ended.
        assert!(["ok", "aborted"].contains(&outcome.as_str()), "{path} ended as {outcome}");
    }
    world.egret.verify();
}

#[test]
fn policies_are_reloaded_and_a_bad_file_changes_nothing() {
    let world = world();
    let session = world.egret.session(&["lifecycle"], &[]);
    let target = world.target("api.origin.test");
    let path = world.egret.folder().join("policies/policy-0.yaml");
    let good = std::fs::read_to_string(&path).unwrap();
    let mut kept = Tunnel::to(&target).open(&world.egret, &session);
    let mut ask_kept = |mark: &str| {
        kept.send(format!("GET /{mark} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
        kept.answer()
    };
    assert_eq!(ask_kept("reload-before").status, 200);

    std::fs::write(&path, "policy: lifecycle\nrules:\n  - id: [").unwrap();
    world.egret.signal(Signal::HUP);
    let rejected = world.egret.record_where("the rejected policy", |r| r.text("kind") == "policy.rejected");
    assert_eq!(rejected.text("code"), "policy_rejected");
    assert_eq!(ask_kept("reload-rejected").status, 200);

    std::fs::write(&path, good.replace("allow: {", "deny: {").replace("    addresses: [\"127.0.0.1/32\"]\n", ""))
        .unwrap();
    world.egret.signal(Signal::HUP);
    wait::until("the new policy", || {
        let answer = client::get(&world.egret, &session, &target, "/reload-probe");
        (answer.status == 403).then_some(())
    });
    // Case 74: each request on an old connection is judged by the snapshot of its own time.
    let refused = ask_kept("reload-denied");
    // The deny reaches as far as the port.
    refusal::expect_denied(&world.egret, &refused, 403, "denied_port");
    world.origin.assert_saw_nothing_of("reload-denied");
    std::fs::write(&path, good).unwrap();
    wait::until("the old policy, found by watching", || {
        (client::get(&world.egret, &session, &target, "/reload-again").status == 200).then_some(())
    });
}

#[test]
fn t147_an_ended_session_is_closed_with_all_that_streams() {
    let world = world();
    let session = world.egret.session(&["lifecycle"], &[]);
    let target = world.target("api.origin.test");
    let mut wire = Tunnel::to(&target).open(&world.egret, &session);
    wire.send(format!("GET /gated/never HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    wire.read_until("data: first\n\n");
    let mut h2 = H2::open(&world.egret, &session, &target);
    assert_eq!(h2.get(&target, "/cut-before").unwrap().status, 200);
    world.egret.ok(&["session", "end", &session.id], "");
    // The stream never ends by itself: the gate stays shut.
    let rest = wire.rest();
    assert!(!rest.windows(5).any(|window| window == b"0\r\n\r\n"), "the cut body looks finished");
    // Until its connection is closed too, a request on it is refused.
    wait::until("the end of the other connection", || h2.get(&target, "/cut-after").is_err().then_some(()));
    world.origin.assert_saw_nothing_of("/cut-after");
    let record = world.egret.record_where("the cut exchange", |r| {
        r.text("kind") == "exchange.closed" && r.text("path").starts_with("/gated") && r.text("session") == session.id
    });
    assert_eq!(record.text("code"), "session_ended", "{}", record.0);
}

/// One client's round of everything ordinary: answers, refusals, bodies both ways, an unfinished request.
fn mixed_round(world: &World, session: &Session, number: usize) {
    let target = world.target("api.origin.test");
    for path in ["/soak", "/sized/300000", "/gzip/x"] {
        assert_eq!(client::get(&world.egret, session, &target, path).status, 200);
    }
    let (refused, _) = client::connect(&world.egret, Some(session), "other.origin.test:443");
    assert_eq!(refused.status, 403);
    assert_eq!(client::connect(&world.egret, None, &target).0.status, 407);
    let mut wire = Tunnel::to(&target).open(&world.egret, session);
    wire.send(format!("POST /hash HTTP/1.1\r\nHost: {target}\r\nContent-Length: 100000\r\n\r\n"));
    wire.send(vec![b'x'; 100_000]);
    assert_eq!(wire.answer().status, 200);
    let mut left = Tunnel::to(&target).open(&world.egret, session);
    left.send(format!("POST /hash HTTP/1.1\r\nHost: {target}\r\nContent-Length: 100\r\n\r\nless"));
    drop(left);
    let mut h2 = H2::open(&world.egret, session, &target);
    assert_eq!(h2.get(&target, &format!("/soak-h2-{number}")).unwrap().status, 200);
}

#[test]
fn memory_and_descriptors_stay() {
    let seconds: u64 = std::env::var_os("EGRET_SOAK_SECONDS").map_or(5, |text| text.to_string_lossy().parse().unwrap());
    let origin = Origin::start();
    let setup = Setup::for_origin(&origin, &["api.origin.test"]).policy(&fill(&origin, POLICY)).logging("warn");
    let world = World { egret: Egret::start(&setup), origin };
    let session = world.egret.session(&["lifecycle"], &[]);
    let load = |seconds: u64| {
        let end = Instant::now() + Duration::from_secs(seconds);
        std::thread::scope(|scope| {
            for client in 0..4 {
                let (world, session) = (&world, &session);
                scope.spawn(move || {
                    for round in (0..).take_while(|_| Instant::now() < end) {
                        mixed_round(world, session, client * 1_000_000 + round);
                    }
                });
            }
        });
    };
    // Caches, arenas and pools fill first; what grows after that does not end.
    load(seconds.div_ceil(2).max(6));
    let (descriptors, memory) = (world.egret.descriptors(), world.egret.memory());
    load(seconds);
    let settled = wait::within(Duration::from_secs(20), "", || {
        let (now, bytes) = (world.egret.descriptors(), world.egret.memory());
        (now <= descriptors + descriptors / 20 + 2 && bytes <= memory + memory / 20 + 4096).then_some(())
    });
    let now = (world.egret.descriptors(), world.egret.memory());
    assert!(settled.is_some(), "descriptors and KiB were {descriptors} and {memory}, and are {now:?}");
}
