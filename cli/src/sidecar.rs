//! The sidecar: the data path, the control socket, the index and the watch on policy files. They are started in this
//! order over an open foundation, and stopped in reverse.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use audit::{FollowerHandle, Kind, Record};
use certs::{Leaves, Trust};
use control::{Control, Gate};
use proxy::{Limits, Listen, Parts, Running};
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::config::TlsListener;
use crate::data_dir::{DataDir, Ready};
use crate::evidence;
use crate::exit::{Answer, Failure, OrFail as _};
use crate::foundation::{self, Foundation};
use crate::memory;
use crate::timekeeper;
use crate::warnings::warnings;

/// The size of the cache of leaf certificates.
const LEAVES: u64 = 1_000;
/// A socket's path must fit into 108 bytes with its terminator (unix(7)).
const MAX_SOCKET_PATH: usize = 100;
/// The time for active control calls while the sidecar stops.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// The running sidecar.
pub(crate) struct Sidecar {
    pub(crate) control: Arc<Control>,
    trust: Arc<ArcSwap<Trust>>,
    running: Running,
    api: JoinHandle<std::io::Result<()>>,
    timekeeper: JoinHandle<()>,
    stop_api: oneshot::Sender<()>,
    follower: FollowerHandle,
    memory: JoinHandle<()>,
    ca: Arc<certs::Ca>,
    dir: DataDir,
    /// Holds the folder's lock.
    _lock: crate::data_dir::Lock,
}

impl Sidecar {
    /// Starts all parts; no listener opens before all of them work.
    ///
    /// # Errors
    /// 2 for an address that cannot be used, 3 for all other errors.
    pub(crate) async fn start(foundation: Foundation) -> Answer<Self> {
        let started = clock::now();
        let warnings = warnings(&foundation);
        let ca = foundation.ca_facts();
        let Foundation { dir, config, vault, ca: signer, trust, journal, index, sessions, policies, notes: _, lock } =
            foundation;
        let void_tokens = config.void_tokens_after_unclean_stop && dir.is_left_unclean();
        dir.withdraw();
        let leaves = Arc::new(Leaves::new(signer.clone(), LEAVES).or_unreachable()?);
        let trust = Arc::new(ArcSwap::from_pointee(trust));
        let limits = fitted(config.limits, descriptors());
        let max_target_bytes = limits.max_target_bytes;
        let with_tls = config.proxy_tls.as_ref().map(TlsListener::open).transpose().map_err(Failure::usage)?;
        let listen: Vec<_> = std::iter::once(Listen::Tcp(config.proxy)).chain(config.further).chain(with_tls).collect();
        let resolve = config.resolve.clone().into_iter().collect();
        let parts = Parts {
            config: proxy::Config {
                listen: listen.clone(),
                session_listeners: Some(dir.listeners()),
                resolve: config.resolve,
                preconnect: config.preconnect,
                default_session: config.default_session,
                limits,
                own_names: foundation::own_names(),
                deny_all: config.deny_all,
                on_thread_start: crate::wipe::retain_blocks,
                ..proxy::Config::default()
            },
            sessions: sessions.clone(),
            policies: policies.in_force().clone(),
            vault: vault.clone(),
            leaves,
            trust: trust.clone(),
            journal: journal.clone(),
        };
        let listener = bind(&dir).or_unreachable()?;
        // Before any request is possible, so that the exchanges that this run leaves open follow this record.
        let code = config.deny_all.then_some(model::Reason::DeniedAll);
        let detail = Some(env!("CARGO_PKG_VERSION").into());
        journal.append(Record { code, detail, ..Record::new(Kind::SidecarStarted) });
        if void_tokens {
            let count =
                control::void_tokens(&sessions, &journal).context("tokens cannot be taken back").or_unreachable()?;
            tracing::warn!(
                sessions = count,
                "the last run did not stop cleanly: `egret session env ID` gives each session another token"
            );
        }
        let running = match start_proxy(parts).await {
            Ok(running) => running,
            Err(failure) => {
                dir.withdraw();
                return Err(failure);
            }
        };
        let follower = index.clone().follow();
        let self_address = running.self_address();
        let control = Arc::new(Control {
            sessions,
            vault,
            policies,
            journal: journal.clone(),
            index,
            resolve,
            ca,
            proxy: running.addresses().to_vec(),
            requests: control::RequestBounds {
                max_target_bytes,
                is_listener: Box::new(move |endpoint| self_address.is_named_by(endpoint)),
            },
            start: control::Start {
                listeners: shown(&listen, running.addresses()),
                deny_all: config.deny_all,
                warnings,
            },
            data_dir: dir.path().to_owned(),
            version: env!("CARGO_PKG_VERSION"),
            started,
        });
        let (stop_api, stopped) = oneshot::channel();
        let api = control::serve(Gate::Socket(listener), control.clone(), async { drop(stopped.await) });
        let api = tokio::spawn(api);
        let timekeeper = tokio::spawn(timekeeper::watch(control.clone()));
        let snapshot = Some(control.policies.snapshot().digest().clone());
        journal.append(Record { snapshot, ..Record::new(Kind::PolicyLoaded) });
        let memory = tokio::spawn(memory::give_back(control.index.clone()));
        // So that the records of this start have an anchor from the beginning, and the next run has the time.
        journal.flush();
        journal.note_time(clock::now());
        let sidecar =
            Self { control, trust, running, api, timekeeper, stop_api, follower, memory, ca: signer, dir, _lock: lock };
        sidecar.announce()?;
        Ok(sidecar)
    }

    /// Publishes the sidecar for commands. On a full disk it continues without: it refuses every request, and its
    /// socket reports why.
    fn announce(&self) -> Answer {
        match self.dir.announce(&self.ready()) {
            Err(error) if !self.control.journal.is_writable() => {
                tracing::error!(error = format!("{error:#}"), "commands do not find this sidecar");
                Ok(())
            }
            announced => announced.or_unreachable(),
        }
    }

    /// The information by which others find it.
    pub(crate) fn ready(&self) -> Ready {
        Ready {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            proxy: self.running.addresses().iter().map(SocketAddr::to_string).collect(),
            control: self.dir.socket().display().to_string(),
        }
    }

    /// Trusts these files from now on, in addition to the current system roots.
    ///
    /// # Errors
    /// A file that cannot be used: the previous trust stays.
    pub(crate) fn replace_trust(&self, ca_files: &[PathBuf]) -> anyhow::Result<()> {
        let fresh = Trust::load(ca_files, &self.ca).context("the trust before stays in force")?;
        self.trust.store(Arc::new(fresh));
        Ok(())
    }

    /// Stops accepting connections, lets active exchanges finish, terminates them after `limit`, and writes the last
    /// record.
    ///
    /// # Cancellation
    /// When dropped, the drain continues in its thread until the process ends.
    pub(crate) async fn stop(self, limit: Duration) {
        self.dir.withdraw();
        let Self { control, running, mut api, timekeeper, stop_api, follower, memory, .. } = self;
        memory.abort();
        let drained = tokio::task::spawn_blocking(move || running.drain(limit)).await;
        match drained {
            Ok(drained) if drained.cut > 0 => {
                tracing::warn!(connections = drained.cut, "connections were cut at the end of the drain")
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the drain failed"),
        }
        // No more bytes are sent: the counts become exact.
        control.sessions.settle_bytes();
        // A caller that holds its connection open does not block the stop.
        let _gone = stop_api.send(());
        if tokio::time::timeout(LAST_CALLS, &mut api).await.is_err() {
            api.abort();
        }
        drop(follower);
        timekeeper.abort();
        control.journal.flush();
        control.journal.append(Record::new(Kind::SidecarStopped));
        control.journal.note_time(clock::now());
        if let Err(error) = evidence::seal(&control.vault, &control.journal) {
            tracing::warn!(error = format!("{error:#}"), "the vault keeps its older anchor");
        }
        control.journal.close();
    }
}

/// The listeners as text, with the addresses that were bound in place of those with port 0.
fn shown(listen: &[Listen], bound: &[SocketAddr]) -> Vec<String> {
    let mut bound = bound.iter();
    let mut address = |asked: &SocketAddr| *bound.next().unwrap_or(asked);
    let shown = |listen: &Listen| match listen {
        Listen::Tcp(asked) => address(asked).to_string(),
        Listen::Tls(asked, _) => format!("https://{}", address(asked)),
        Listen::Unix { .. } => listen.to_string(),
    };
    listen.iter().map(shown).collect()
}

/// Lowers the limits of connections to the process's descriptors, and logs any change.
fn fitted(limits: Limits, descriptors: usize) -> Limits {
    let fitted = limits.clone().within(descriptors);
    if fitted.max_connections < limits.max_connections {
        tracing::warn!("{}", lowered(&limits, &fitted, descriptors));
    }
    fitted
}

/// That max_connections was lowered, and which limit of open files is sufficient: each connection has two, and some are reserved.
fn lowered(limits: &Limits, fitted: &Limits, descriptors: usize) -> String {
    let sufficient = limits.max_connections.saturating_mul(2).saturating_add(limits.reserved_descriptors);
    format!(
        "max_connections is lowered from {} to {}, because the limit of open files is {descriptors}; raise that limit to {sufficient} (ulimit -n, LimitNOFILE= of systemd), or lower max_connections",
        limits.max_connections, fitted.max_connections
    )
}

/// How many descriptors this process may have.
fn descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// The data path has runtimes of its own, which must not begin on a thread of this one.
async fn start_proxy(parts: Parts) -> Answer<Running> {
    let starting = tokio::task::spawn_blocking(move || proxy::start(parts)).await;
    starting.context("the data path could not start").or_unreachable()?.or_usage()
}

/// A path to the control socket that fits into a socket address, with the guard that keeps it valid.
pub(crate) struct ShortPath {
    pub(crate) path: PathBuf,
    _folder: Option<File>,
}

/// The control socket's path, through `/proc/self/fd` if it is too long; `None` if there is no folder.
pub(crate) fn short_path(dir: &DataDir) -> Option<ShortPath> {
    let path = dir.socket();
    if path.as_os_str().len() <= MAX_SOCKET_PATH {
        return Some(ShortPath { path, _folder: None });
    }
    let folder = File::open(dir.path()).ok()?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/control.sock", folder.as_raw_fd()));
    Some(ShortPath { path, _folder: Some(folder) })
}

fn bind(dir: &DataDir) -> anyhow::Result<UnixListener> {
    let shown = dir.socket();
    let short = short_path(dir).with_context(|| format!("cannot open {}", dir.path().display()))?;
    // The umask excludes others even before the mode is set.
    let listener = UnixListener::bind(&short.path).with_context(|| format!("cannot listen on {}", shown.display()))?;
    std::fs::set_permissions(&shown, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("cannot set the mode of {}", shown.display()))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lowered_limit_is_reported_with_a_sufficient_one() {
        let limits = Limits::default();
        let fitted = limits.clone().within(20_000);
        assert_eq!(
            lowered(&limits, &fitted, 20_000),
            "max_connections is lowered from 10000 to 9872, because the limit of open files is 20000; raise that limit to 20256 (ulimit -n, LimitNOFILE= of systemd), or lower max_connections"
        );
        assert_eq!(limits.clone().within(20_256).max_connections, 10_000);
        assert_eq!(limits.within(20_255).max_connections, 9_999);
    }

    #[test]
    fn listeners_are_listed_with_their_bound_addresses() {
        let any = "127.0.0.1:0".parse().unwrap();
        let listen = [Listen::Tcp(any), Listen::Unix { path: "/run/p.sock".into(), mode: 0o600 }, Listen::Tcp(any)];
        let bound = ["127.0.0.1:7", "127.0.0.1:8"].map(|address| address.parse().unwrap());
        assert_eq!(shown(&listen, &bound), ["127.0.0.1:7", "unix:/run/p.sock", "127.0.0.1:8"]);
    }
}
