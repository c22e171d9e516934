//! The real binary, run like a user runs it: a configuration file, a data folder, the command line.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::canary::Canary;
use crate::origin::Origin;
use crate::records::{self, Record};
use crate::wait;

/// How the sidecar of a test is set up.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The text of the policy file; several policies are several entries.
    pub policies: Vec<String>,
    /// Fictional names and the addresses they resolve to.
    pub resolve: BTreeMap<String, String>,
    /// A file with additional trusted CAs besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Additional lines of `upstream`.
    pub upstream: String,
    /// Additional lines of the configuration file, at its top level.
    pub extra: String,
    /// The proxy's port; 0 selects a free one.
    pub port: u16,
    /// Additional lines of `listen`.
    pub listen: String,
    /// The log level of the sidecar; `trace` unless a test moves gigabytes.
    pub log: Option<&'static str>,
    /// Variables that only the sidecar gets.
    pub env: BTreeMap<String, String>,
}

impl Setup {
    /// A setup in which every one of `hosts` is the origin.
    pub fn for_origin(origin: &Origin, hosts: &[&str]) -> Self {
        let resolve = hosts.iter().map(|host| ((*host).to_owned(), "127.0.0.1".to_owned())).collect();
        Self { resolve, ca_file: Some(origin.ca_file()), ..Self::default() }
    }

    /// Adds a policy file.
    #[must_use]
    pub fn policy(mut self, text: &str) -> Self {
        self.policies.push(text.to_owned());
        self
    }

    /// Adds a fixed answer for a name.
    #[must_use]
    pub fn resolving(mut self, name: &str, address: &str) -> Self {
        self.resolve.insert(name.to_owned(), address.to_owned());
        self
    }

    /// Listens on this port of loopback.
    #[must_use]
    pub fn listening(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Adds lines to the listeners of the configuration file.
    #[must_use]
    pub fn listen(mut self, lines: &str) -> Self {
        self.listen.push_str(lines);
        self
    }

    /// Logs only this level and above.
    #[must_use]
    pub fn logging(mut self, level: &'static str) -> Self {
        self.log = Some(level);
        self
    }

    /// Adds a variable to the environment of the sidecar, not to that of commands.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a line to `upstream`.
    #[must_use]
    pub fn upstream(mut self, line: &str) -> Self {
        self.upstream.push_str(&format!("  {line}\n"));
        self
    }

    /// Adds lines to the configuration file.
    #[must_use]
    pub fn config(mut self, lines: &str) -> Self {
        self.extra.push_str(lines);
        self.extra.push('\n');
        self
    }

    /// Writes configuration and policies into `folder`; returns the configuration's path.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let policies = folder.join("policies");
        std::fs::create_dir_all(&policies).unwrap();
        for (number, text) in self.policies.iter().enumerate() {
            std::fs::write(policies.join(format!("policy-{number}.yaml")), text).unwrap();
        }
        let mut config = format!("listen:\n  proxy: 127.0.0.1:{}\n{}policies:\n", self.port, self.listen);
        writeln!(config, "  - {}", policies.display()).unwrap();
        if self.policies.is_empty() {
            config = config.replace(&format!("policies:\n  - {}\n", policies.display()), "");
        }
        config.push_str("upstream:\n");
        if let Some(file) = &self.ca_file {
            writeln!(config, "  ca_files: [{}]", file.display()).unwrap();
        }
        config.push_str("  resolve:\n");
        for (name, address) in &self.resolve {
            writeln!(config, "    {name}: \"{address}\"").unwrap();
        }
        if self.resolve.is_empty() {
            config = config.replace("  resolve:\n", "  resolve: {}\n");
        }
        config.push_str(&self.upstream);
        config.push_str(&self.extra);
        let path = folder.join("egret.yaml");
        std::fs::write(&path, config).unwrap();
        path
    }
}

/// A running sidecar; stopped, and its records verified, when it is dropped.
#[derive(Debug)]
pub struct Egret {
    folder: tempfile::TempDir,
    config: PathBuf,
    log: &'static str,
    env: BTreeMap<String, String>,
    running: Mutex<Option<Running>>,
    canaries: Mutex<Vec<Canary>>,
    starts: Mutex<u32>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    proxy: SocketAddr,
}

/// A session as its creator sees it.
#[derive(Clone, Debug)]
pub struct Session {
    /// `ses_...`.
    pub id: String,
    /// `egt_...`.
    pub token: String,
    /// The value of `HTTPS_PROXY`.
    pub proxy_url: String,
    /// The environment block for clients.
    pub env: BTreeMap<String, String>,
    /// The document that the command printed.
    pub document: Value,
}

impl Session {
    /// The placeholder in an environment variable.
    pub fn placeholder(&self, variable: &str) -> &str {
        self.env
            .get(variable)
            .unwrap_or_else(|| panic!("{variable} is not in the session's environment: {:#?}", self.env))
    }

    /// The value of Proxy-Authorization.
    pub fn authorization(&self) -> String {
        use base64::Engine;
        let pair = format!("{}:{}", self.id, self.token);
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    }
}

/// The path of the binary under test.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("EGRET_BIN") {
        return PathBuf::from(path);
    }
    // target/<profile>/deps/e2e-<hash> is next to target/<profile>/egret.
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    let path = path.join("egret");
    assert!(path.exists(), "{} is missing: run `cargo xtask test`, or `cargo build -p egret` first", path.display());
    path
}

impl Egret {
    /// Starts a sidecar and waits until it is ready.
    pub fn start(setup: &Setup) -> Self {
        let egret = Self::prepare(setup);
        egret.launch();
        egret
    }

    /// Creates the folders and files, and starts no process.
    pub fn prepare(setup: &Setup) -> Self {
        let folder = tempfile::Builder::new().prefix("egret-e2e-").tempdir().unwrap();
        let config = setup.write(folder.path());
        std::fs::create_dir(folder.path().join("cores")).unwrap();
        let log = setup.log.unwrap_or("trace");
        let env = setup.env.clone();
        Self {
            folder,
            config,
            log,
            env,
            running: Mutex::default(),
            canaries: Mutex::default(),
            starts: Mutex::default(),
        }
    }

    /// Starts it (again) and waits until it is ready.
    pub fn launch(&self) {
        self.launch_with(&[]);
    }

    /// As [`Egret::launch`], with additional options of `serve`.
    pub fn launch_with(&self, options: &[&str]) {
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        *starts += 1;
        let log = self.log_path(*starts);
        let mut child = self
            .command(&["serve"])
            .args(options)
            .arg("--config")
            .arg(&self.config)
            .env("RUST_LOG", self.log)
            .envs(&self.env)
            .current_dir(self.folder.path().join("cores"))
            .stdin(Stdio::null())
            .stdout(File::create(&log).unwrap())
            .stderr(File::options().append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        let proxy = wait::until("the sidecar to be ready", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("egret serve ended with {status}:\n{}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            // A file of a killed run does not show readiness.
            proxy_address(&self.ready_path(), child.id())
        });
        *self.lock() = Some(Running { child, proxy });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder that contains all files of this sidecar.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The journal's folder.
    pub fn journal_folder(&self) -> PathBuf {
        self.data().join("journal")
    }

    fn ready_path(&self) -> PathBuf {
        self.data().join("egret.json")
    }

    fn log_path(&self, start: u32) -> PathBuf {
        self.folder.path().join(format!("serve-{start}.log"))
    }

    /// The address of the proxy.
    pub fn proxy(&self) -> SocketAddr {
        self.lock().as_ref().expect("the sidecar runs").proxy
    }

    /// The process id of the sidecar.
    pub fn pid(&self) -> u32 {
        self.lock().as_ref().expect("the sidecar runs").child.id()
    }

    /// The CA that clients trust.
    pub fn ca_file(&self) -> PathBuf {
        self.data().join("trust").join("ca.pem")
    }

    /// A command of the binary with a clean environment and this data folder.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(args).env_clear().env("EGRET_DATA_DIR", self.data()).env("HOME", self.folder.path());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }

    /// Runs a command to its end with this on standard input.
    pub fn run(&self, args: &[&str], input: &str) -> Output {
        let mut child =
            self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that fails early does not read its input.
        let _unread = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Runs a command that must succeed; returns its output.
    pub fn ok(&self, args: &[&str], input: &str) -> String {
        let output = self.run(args, input);
        assert!(
            output.status.success(),
            "egret {} ended with {}:\n{}{}",
            args.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Puts a credential whose value is a new canary; `options` are those of `vault put`.
    pub fn put(&self, name: &str, options: &[&str]) -> Canary {
        let canary = Canary::new(name);
        self.put_value(name, options, canary.value());
        self.watch(canary.clone());
        canary
    }

    /// Puts a credential with a value from the caller.
    pub fn put_value(&self, name: &str, options: &[&str], value: &str) {
        let mut args = vec!["vault", "put", name];
        args.extend_from_slice(options);
        self.ok(&args, &format!("{value}\n"));
    }

    /// Searches for this secret too, when the sidecar is stopped.
    pub fn watch(&self, canary: Canary) {
        self.canaries.lock().unwrap_or_else(PoisonError::into_inner).push(canary);
    }

    /// Creates a session.
    pub fn session(&self, policies: &[&str], credentials: &[&str]) -> Session {
        self.session_with(policies, credentials, &[])
    }

    /// Creates a session with additional options of `session create`.
    pub fn session_with(&self, policies: &[&str], credentials: &[&str], options: &[&str]) -> Session {
        let mut args = vec!["session", "create", "--format", "json"];
        for policy in policies {
            args.extend_from_slice(&["--policy", policy]);
        }
        for credential in credentials {
            args.extend_from_slice(&["--credential", credential]);
        }
        args.extend_from_slice(options);
        let session = parse_session(&self.ok(&args, ""));
        self.watch(Canary::of(&session.token));
        session
    }

    /// Every record of the journal.
    pub fn records(&self) -> Vec<Record> {
        records::journal(&self.journal_folder())
    }

    /// The record with this id.
    pub fn record(&self, id: &str) -> Record {
        records::by_id(&self.journal_folder(), id)
    }

    /// The newest matching record, once there is one.
    pub fn record_where(&self, what: &str, fits: impl Fn(&Record) -> bool) -> Record {
        wait::until(what, || self.records().into_iter().rev().find(|record| fits(record)))
    }

    /// The sidecar's log of all starts.
    pub fn log(&self) -> String {
        let starts = *self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        (1..=starts).map(|n| std::fs::read_to_string(self.log_path(n)).unwrap_or_default()).collect()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the sidecar's end.
    pub fn wait_end(&self) -> ExitStatus {
        let mut running = self.lock().take().expect("the sidecar runs");
        wait::within(std::time::Duration::from_secs(60), "", || running.child.try_wait().unwrap())
            .expect("the sidecar ends after its signal")
    }

    /// Kills it with SIGKILL, like the kernel does.
    pub fn kill(&self) -> ExitStatus {
        self.signal(Signal::KILL);
        self.wait_end()
    }

    /// Serves once with an option, runs `meanwhile` when it is ready, and stops cleanly.
    pub fn serve_once(&self, option: &str, meanwhile: impl FnOnce()) {
        let config = self.config().display().to_string();
        let mut command = self.command(&["serve", option, "--config", &config]);
        let mut serving = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait::until("it serves", || self.data().join("egret.json").exists().then_some(()));
        meanwhile();
        kill_process(Pid::from_child(&serving), Signal::TERM).unwrap();
        assert!(serving.wait().unwrap().success());
    }

    /// Stops it cleanly; its exit code must be 0.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
        let status = self.wait_end();
        assert_eq!(status.code(), Some(0), "the end after SIGTERM was {status}:\n{}", tail(&self.log()));
    }

    /// Verifies the chain (oracle O4); panics if it is broken.
    pub fn verify(&self) {
        self.ok(&["audit", "verify"], "");
    }

    /// Searches data folder, logs and all other files below the folder for the canaries (oracle O3).
    pub fn assert_no_leaks(&self) {
        for canary in self.canaries.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            canary.assert_absent_below(self.folder.path());
        }
    }

    /// Peak resident memory in KiB.
    pub fn peak_memory(&self) -> u64 {
        status_field(self.pid(), "VmHWM:")
    }

    /// Private resident memory in KiB, without pages of files.
    pub fn memory(&self) -> u64 {
        status_field(self.pid(), "RssAnon:")
    }

    /// The time that all its threads have run, in ticks of 10 ms (proc(5), `utime` and `stime`).
    pub fn processor_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        [11, 12].map(|at| fields[at].parse::<u64>().unwrap()).into_iter().sum()
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }
}

impl Drop for Egret {
    fn drop(&mut self) {
        let runs = self.lock().is_some();
        if std::thread::panicking() {
            if let Some(mut running) = self.lock().take() {
                // The test has already failed; the process must only end.
                let _dead = (running.child.kill(), running.child.wait());
            }
            eprintln_tail(&self.log());
            return;
        }
        if runs {
            self.terminate();
            self.verify();
        }
        self.assert_no_leaks();
        let cores = std::fs::read_dir(self.folder.path().join("cores")).unwrap().count();
        assert_eq!(cores, 0, "the sidecar left files in its working folder");
    }
}

#[expect(clippy::print_stderr, reason = "what a failed test needs to be understood")]
fn eprintln_tail(log: &str) {
    eprintln!("the end of the sidecar's log:\n{}", tail(log));
}

fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().filter(|line| !line.contains("TRACE") && !line.contains("DEBUG")).collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

fn status_field(pid: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The first address of the proxy in `egret.json`, once that process has written it.
fn proxy_address(path: &Path, pid: u32) -> Option<SocketAddr> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => panic!("{}: {error}", path.display()),
    };
    // It is replaced as a whole, so it is never visible half written.
    let document: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    if document.get("pid").and_then(Value::as_u64) != Some(pid.into()) {
        return None;
    }
    // Listeners of unix sockets have no address.
    let proxies = document["proxy"].as_array().unwrap_or_else(|| panic!("no listeners in {text}"));
    Some(proxies.first().and_then(Value::as_str).unwrap_or_else(|| panic!("no listener in {text}")).parse().unwrap())
}

/// A session from the output of `session create --format json`.
pub fn parse_session(text: &str) -> Session {
    let document: Value =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("no JSON document ({error}): {text}"));
    let field = |name: &str| {
        document
            .get(name)
            .or_else(|| document.pointer(&format!("/session/{name}")))
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("{name} is not in {document}"))
            .to_owned()
    };
    let env = document["env"].as_object().unwrap_or_else(|| panic!("env is not in {document}"));
    let env = env.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
    Session { id: field("id"), token: field("token"), proxy_url: field("proxy_url"), env, document }
}
