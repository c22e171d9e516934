//! The memory of the sidecar: forced core dumps, searched for everything that must not be in them; and what
//! the process leaves for others to see.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use egret_tests::canary::{self, Canary};
use egret_tests::client::{self, H2, Wire};
use egret_tests::egret::{Egret, Session, Setup};
use egret_tests::{tools, wait};

use crate::world::World;

const POLICY: &str = "policy: memory\nrules:\n  - id: api\n    allow: {host: [h1.origin.test, h2.origin.test], port: PORT, LOCAL}\n    use: [token, pair]\n";

const HOSTS: &[&str] = &["h1.origin.test", "h2.origin.test"];

const PASSPHRASE: &str = "correct horse battery staple of the memory tests";

/// A sidecar whose vault is locked with a passphrase, and its origin. The folder holds the passphrase.
fn world(folder: &tempfile::TempDir) -> World {
    let passphrase = folder.path().join("passphrase");
    std::fs::write(&passphrase, PASSPHRASE).unwrap();
    let lock = format!("vault:\n  key: {{passphrase_file: {}}}", passphrase.display());
    let world = World::new(HOSTS, &[POLICY], |setup| setup.config(&lock));
    world.origin.protocols("h1.origin.test", &["http/1.1"]);
    world
}

/// A core of the running process. A debugger of root's takes it, whatever the process forbids; like the kernel it leaves
/// out the pages that are not to be dumped.
fn core(egret: &Egret, folder: &tempfile::TempDir) -> Vec<u8> {
    let prefix = folder.path().join("core");
    let file = PathBuf::from(format!("{}.{}", prefix.display(), egret.pid()));
    let gcore = tools::program("gcore").display().to_string();
    let script = format!("'{gcore}' -o '{}' {} && chmod 644 '{}'", prefix.display(), egret.pid(), file.display());
    let mut shell = match rustix::process::getuid().is_root() {
        true => Command::new("sh"),
        false => Command::new("sudo"),
    };
    if !rustix::process::getuid().is_root() {
        shell.arg("sh");
    }
    tools::succeed(shell.args(["-c", &script]));
    let core = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(core.starts_with(b"\x7fELF") && core.len() > 1 << 20, "no core: {} bytes", core.len());
    // Most of it is room that was never used.
    core.chunks(ZEROS.len()).filter(|page| *page != ZEROS.get(..page.len()).unwrap()).flatten().copied().collect()
}

const ZEROS: [u8; 4096] = [0; 4096];

/// The secret as text, and as the basic pair that clients and servers see.
fn forms(secret: &Canary) -> [Canary; 2] {
    use base64::Engine as _;
    let pair = base64::prelude::BASE64_STANDARD.encode(format!("robot:{}", secret.value()));
    [secret.clone(), Canary::of(&pair)]
}

fn count(core: &[u8], secret: &Canary) -> usize {
    memchr::memmem::find_iter(core, secret.value().as_bytes()).count()
}

struct Secrets {
    token: Canary,
    password: Canary,
}

impl Secrets {
    fn put(world: &World) -> Self {
        let targets = HOSTS.iter().map(|host| world.target(host)).collect::<Vec<_>>();
        let audience = targets.iter().flat_map(|target| ["--audience", target.as_str()]);
        let options = |kind: &'static str, env: &'static str| {
            ["--kind", kind, "--env", env].into_iter().chain(audience.clone()).collect::<Vec<_>>()
        };
        let token = world.egret.put("token", &options("bearer", "TOKEN"));
        let password = Canary::new("password");
        let pair = format!("robot:{}", password.value());
        world.egret.put_value("pair", &options("basic", "PASSWORD"), &pair);
        world.egret.watch(password.clone());
        Self { token, password }
    }

    fn assert_absent(&self, when: &str, core: &[u8]) {
        for secret in forms(&self.token).iter().chain(&forms(&self.password)) {
            secret.assert_absent(&format!("a core, {when}"), core);
        }
        Canary::of(PASSPHRASE).assert_absent(&format!("a core, {when}"), core);
    }
}

/// A download that began, of the host's protocol.
fn download(world: &World, session: &Session, gate: &str) -> Wire {
    let target = world.target("h1.origin.test");
    let (answer, wire) = client::connect(&world.egret, Some(session), &target);
    assert_eq!(answer.status, 200);
    let mut wire = wire.start_tls(client::client_config(&world.egret, &["http/1.1"]), "h1.origin.test").unwrap();
    wire.send(format!("GET /gated/{gate} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    wire.read_until("data: first\n\n\r\n");
    wire
}

/// Requests that carry each credential, added and swapped, over both protocols; the origin echoes them.
fn use_all(world: &World, secrets: &Secrets) -> [Session; 2] {
    use base64::Engine as _;
    ["token", "pair"].map(|name| {
        let session = world.egret.session(&["memory"], &[name]);
        let field = match name {
            "token" => format!("Authorization: Bearer {}\r\n", session.placeholder("TOKEN")),
            _ => {
                let pair = format!("robot:{}", session.placeholder("PASSWORD"));
                format!("Authorization: Basic {}\r\n", base64::prelude::BASE64_STANDARD.encode(pair))
            }
        };
        for (n, fields) in ["", field.as_str()].into_iter().enumerate() {
            let path = format!("/memory-{name}-{n}");
            let answer = client::get_with(&world.egret, &session, &world.target("h1.origin.test"), &path, fields);
            assert_eq!(answer.status, 200, "{answer:?}");
            let sent = world.origin.seen_once(&path).value("authorization").unwrap();
            let wanted = forms(if name == "token" { &secrets.token } else { &secrets.password });
            assert!(wanted.iter().any(|secret| canary::contains(sent.as_bytes(), secret.value().as_bytes())), "{sent}");
        }
        let target = world.target("h2.origin.test");
        let mut h2 = H2::open(&world.egret, &session, &target);
        for path in ["/memory-h2-0", "/memory-h2-1"] {
            assert_eq!(h2.get(&target, path).unwrap().status, 200);
        }
        session
    })
}

#[test]
fn t168_no_core_holds_a_secret_that_is_not_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(&folder);
    let secrets = Secrets::put(&world);
    secrets.assert_absent("after values were put", &core(&world.egret, &folder));

    // Opened again, before any request.
    world.egret.terminate();
    world.egret.launch();
    secrets.assert_absent("after the start", &core(&world.egret, &folder));

    // During an exchange over HTTP/1.1 the request is already written, encrypted and wiped. The session id, which is not secret, must be
    // in the core: this proves that the search works.
    let session = world.egret.session(&["memory"], &["token"]);
    let at_rest = world.egret.descriptors();
    let mut wire = download(&world, &session, "memory");
    let live = core(&world.egret, &folder);
    assert!(Canary::of(&session.id).find(&live).is_some(), "the search does not find what is in memory");
    secrets.assert_absent("while an exchange is in progress", &live);
    world.origin.open_gate("memory");
    wire.read_until("data: second");
    drop(wire);

    let sessions = use_all(&world, &secrets);
    let kept = core(&world.egret, &folder);
    println!(
        "after exchanges, with their upstream connections kept: {} copies of the token, {} of the password",
        count(&kept, &secrets.token),
        count(&kept, &secrets.password)
    );
    for session in sessions.iter().chain([&session]) {
        world.egret.ok(&["session", "end", &session.id], "");
    }
    // The connections of a session that is over are closed, and their buffers wiped, by the next sweep of the pool.
    // A process is stopped while its core is dumped: without pauses between the dumps it would not make progress.
    wait::until("the upstream connections are closed", || (world.egret.descriptors() <= at_rest).then_some(()));
    let clean = |core: &[u8]| [&secrets.token, &secrets.password].iter().all(|secret| secret.find(core).is_none());
    wait::until("their buffers are wiped", || clean(&core(&world.egret, &folder)).then_some(()));
    secrets.assert_absent("after all of it", &core(&world.egret, &folder));
}

#[test]
fn t168_children_get_no_descriptor() {
    let egret = Egret::prepare(&Setup::default());
    let listed = egret.ok(&["run", "--", "sh", "-c", "for fd in /proc/self/fd/*; do readlink $fd || true; done"], "");
    let foreign: Vec<&str> = listed
        .lines()
        .filter(|target| target.contains("socket:") || target.contains("egret-e2e") || target.contains("anon_inode"))
        .collect();
    assert!(!listed.is_empty() && foreign.is_empty(), "the command got {foreign:?} of {listed}");
    egret.launch();
    // Every descriptor of the sidecar but the standard ones is closed where another program begins.
    let flags = |fd: &str| {
        let text = std::fs::read_to_string(format!("/proc/{}/fdinfo/{fd}", egret.pid())).unwrap_or_default();
        let octal = text.lines().find_map(|line| line.strip_prefix("flags:")).map(str::trim).unwrap_or("02000000");
        u32::from_str_radix(octal, 8).unwrap()
    };
    let mut seen = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{}/fd", egret.pid())).unwrap().flatten() {
        let fd = entry.file_name().into_string().unwrap();
        let target = std::fs::read_link(entry.path()).unwrap_or_default().display().to_string();
        if fd.parse::<u32>().unwrap() > 2 {
            seen.insert(fd.clone(), (flags(&fd), target));
        }
    }
    assert!(seen.len() > 5, "{seen:?}");
    // What this program was started with and hands on is not the sidecar's.
    let inherited = |fd: &String, target: &String| {
        std::fs::read_link(format!("/proc/self/fd/{fd}")).is_ok_and(|own| own.display().to_string() == *target)
    };
    let open: Vec<_> =
        seen.iter().filter(|(fd, (flags, target))| flags & 0o2_000_000 == 0 && !inherited(fd, target)).collect();
    assert!(open.is_empty(), "not closed on exec: {open:?}");
}

#[test]
fn t169_a_passphrase_of_the_environment_is_wiped_there() {
    let egret = Egret::prepare(&Setup::default());
    let config = egret.folder().join("env.yaml");
    std::fs::write(&config, "vault:\n  key: {passphrase_env: EGRET_TEST_PASSPHRASE}\n").unwrap();
    let config = config.display().to_string();
    let mut command = egret.command(&["serve", "--config", &config, "--listen", "127.0.0.1:0"]);
    command.env("EGRET_TEST_PASSPHRASE", PASSPHRASE).env("EGRET_TEST_OTHER", "stays");
    let mut serving = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait::until("it serves", || egret.data().join("egret.json").exists().then_some(()));
    let environ = std::fs::read(format!("/proc/{}/environ", serving.id())).unwrap();
    let arguments = std::fs::read(format!("/proc/{}/cmdline", serving.id())).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&serving), rustix::process::Signal::TERM).unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(serving.stderr.as_mut().unwrap(), &mut said).unwrap();
    assert!(serving.wait().unwrap().success(), "{said}");
    assert!(canary::contains(&environ, b"EGRET_TEST_OTHER=stays"), "the search sees nothing");
    assert!(canary::contains(&environ, b"EGRET_TEST_PASSPHRASE="), "{}", String::from_utf8_lossy(&environ));
    for place in [&environ[..], &arguments, said.as_bytes()] {
        Canary::of(PASSPHRASE).assert_absent("what the process shows", place);
    }
    assert!(said.contains("the passphrase comes from the environment"), "{said}");
    // It was the passphrase all the same.
    let mut listing = egret.command(&["vault", "list", "--config", &config]);
    assert!(tools::output(listing.env("EGRET_TEST_PASSPHRASE", PASSPHRASE)).status.success());
    let mut listing = egret.command(&["vault", "list", "--config", &config]);
    assert_eq!(tools::output(listing.env("EGRET_TEST_PASSPHRASE", "another")).status.code(), Some(2));
}

#[test]
fn t153_what_the_vault_says_of_itself() {
    let egret = Egret::start(&Setup::default());
    let status: serde_json::Value =
        serde_json::from_str(&egret.ok(&["vault", "status", "--format", "json"], "")).unwrap();
    // Which of them it is depends on what the kernel of the machine offers.
    assert!(["secret", "locked", "ordinary"].contains(&status["memory"].as_str().unwrap()), "{status}");
    // Neither a debugger of the same user nor /proc shows its memory: the process is not dumpable.
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(format!("/proc/{}/mem", egret.pid())).unwrap());
    assert_eq!(owner, 0);
    let me = std::fs::read_to_string(format!("/proc/{}/status", egret.pid())).unwrap();
    assert!(me.contains("CoreDumping:\t0"), "{me}");
}
