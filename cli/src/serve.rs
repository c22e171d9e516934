//! `egret serve`: the sidecar until a signal.

mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::Context;
use crate::client::busy;
use crate::config::{self, Config};
use crate::data_dir::{DataDir, Lock};
use crate::exit::{Answer, Failure, OrFail as _};
use crate::foundation::{EarlierClock, Foundation, OnPolicyError, Rollback};
use crate::logging;
use crate::output::{print, say};
use crate::sidecar::Sidecar;
use crate::warnings::warnings;

/// How long active exchanges may continue after SIGTERM.
const DRAIN: Duration = Duration::from_secs(30);
/// How long another process may take to release the folder.
const HANDOVER: Duration = Duration::from_secs(5);

/// Run the sidecar until SIGTERM or SIGINT. SIGHUP reloads policies and trusted CAs.
#[derive(clap::Args)]
pub(crate) struct Serve {
    /// Listen on this address instead of the configured one; port 0 takes a free port.
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    listen: Option<SocketAddr>,
    /// Print one line of JSON on standard output when ready, and log in JSON.
    #[arg(long)]
    json: bool,
    /// Start even if the vault is an old copy or records are missing. Credentials revoked since that copy are valid again.
    /// Sessions end where records are missing.
    #[arg(long)]
    accept_rollback: bool,
    /// Trust the wall clock even if the records contain a later time. Each session keeps its remaining time.
    #[arg(long)]
    accept_clock: bool,
    /// Refuse every request (denied_all) until a start without this option. Sessions, credentials and records are kept.
    #[arg(long)]
    deny_all: bool,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write an IP address and a port, such as 127.0.0.1:3128".to_owned())
}

impl Serve {
    fn rollback(&self) -> Rollback {
        if self.accept_rollback { Rollback::Accept } else { Rollback::Refuse }
    }

    fn earlier_clock(&self) -> EarlierClock {
        if self.accept_clock { EarlierClock::Accept } else { EarlierClock::Distrust }
    }

    /// # Errors
    /// 2 if a configured part is unusable, 3 if a store is; no listener is open then.
    pub(crate) fn execute(&self, context: &Context) -> Answer {
        logging::start("info", self.json)?;
        let mut config = crate::client::with_listener(context.config()?, self.listen);
        config.deny_all = self.deny_all;
        let dir = context.data_dir(&config)?;
        dir.prepare().or_unreachable()?;
        let lock = acquire_lock(&dir)?;
        let (rollback, earlier_clock) = (self.rollback(), self.earlier_clock());
        let foundation = Foundation::open(config, dir, lock, OnPolicyError::Fail, rollback, earlier_clock)?;
        for warning in warnings(&foundation) {
            tracing::warn!("{warning}");
        }
        let runtime = control_runtime()?;
        let done = runtime.block_on(self.serve(context, foundation));
        // A second signal abandons the drain in its thread.
        runtime.shutdown_background();
        done
    }

    async fn serve(&self, context: &Context, foundation: Foundation) -> Answer {
        let notes = foundation.notes.clone();
        let mut watched = foundation.config.policies.clone();
        // Before any listener opens, so that no signal is lost in between.
        let mut signals = Signals::catch().or_unreachable()?;
        let sidecar = Box::pin(Sidecar::start(foundation)).await?;
        let watch = |paths: &[PathBuf]| watch::policies(paths).context("cannot watch the policy files");
        let mut changes = watch(&watched).or_unreachable()?;
        // Changes since the files were read at the start, before they were watched.
        reload_policies(&sidecar).await;
        self.greet(&sidecar, &notes);
        loop {
            tokio::select! {
                _ = signals.hangup.recv() => watched = reload(context, &sidecar).await.unwrap_or(watched),
                () = changes.next() => {}
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
            }
            // Watched again before they are read, so that no change is lost in between.
            match watch(&watched) {
                Ok(anew) => changes = anew,
                Err(error) => tracing::error!("{error:#}; they are still read on SIGHUP and by call"),
            }
            reload_policies(&sidecar).await;
        }
        tracing::info!("draining; another signal stops at once");
        tokio::select! {
            () = sidecar.stop(DRAIN) => Ok(()),
            _ = signals.terminate.recv() => Err(Failure::refused(anyhow!("stopped before the drain was over"))),
            _ = signals.interrupt.recv() => Err(Failure::refused(anyhow!("stopped before the drain was over"))),
        }
    }

    fn greet(&self, sidecar: &Sidecar, notes: &[String]) {
        let ready = sidecar.ready();
        let listeners = &sidecar.control.start.listeners;
        if self.json {
            notes.iter().for_each(|note| tracing::info!("{note}"));
            print(&format!(
                "{}\n",
                serde_json::json!({"event": "ready", "pid": ready.pid, "version": ready.version, "proxy": ready.proxy, "listeners": listeners, "control": ready.control, "ca": sidecar.control.ca.files.ca(), "bundle": sidecar.control.ca.files.bundle()})
            ));
            return;
        }
        notes.iter().for_each(|note| say(note));
        say(&format!(
            "egret {} is ready
  proxy     {}
  data      {}
  clients   trust {}
next
  put a credential      egret vault put github --kind bearer --audience api.github.com --env GITHUB_TOKEN
  open a session        egret session create --policy library/pypi --credential github --format sh
  or run one command    egret run --policy library/pypi -- pip download requests",
            ready.version,
            listeners.join(", "),
            sidecar.control.data_dir.display(),
            sidecar.control.ca.files.bundle().display(),
        ));
    }
}

/// The runtime of signals and the control API; the data path has threads of its own.
pub(crate) fn control_runtime() -> Answer<Runtime> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("egret-control").enable_all().build();
    runtime.context("cannot start").or_unreachable()
}

/// Locks the folder; a command that works in it gets a moment to finish.
fn acquire_lock(dir: &DataDir) -> Answer<Lock> {
    let end = std::time::Instant::now() + HANDOVER;
    loop {
        if let Some(lock) = dir.try_lock().or_unreachable()? {
            return Ok(lock);
        }
        if dir.ready().is_some() || std::time::Instant::now() >= end {
            return Err(Failure::unreachable(anyhow!("{}", busy(dir))));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// SIGHUP: the parts of the configuration that can change at run time; returns the paths of policies, if they were read again.
async fn reload(context: &Context, sidecar: &Sidecar) -> Option<Vec<PathBuf>> {
    match read_again(context) {
        Ok(Some(config)) => {
            sidecar.control.policies.set_paths(config.policies.clone());
            if let Err(error) = sidecar.replace_trust(&config.ca_files) {
                tracing::error!(error = format!("{error:#}"), "upstream.ca_files cannot be used");
            }
            tracing::info!("read the configuration again: policies and upstream.ca_files; other keys need a restart");
            Some(config.policies)
        }
        Ok(None) => None,
        Err(error) => {
            tracing::error!("the configuration is not taken: {error:#}");
            None
        }
    }
}

fn read_again(context: &Context) -> anyhow::Result<Option<Config>> {
    let Some(path) = &context.common.config else { return Ok(None) };
    config::load(path, context.places.home.as_deref()).map(Some)
}

async fn reload_policies(sidecar: &Sidecar) {
    let control = sidecar.control.clone();
    let loaded = tokio::task::spawn_blocking(move || control.reload_policies().is_ok()).await;
    // The reload itself has logged and recorded the problems of the files.
    tracing::debug!(taken = loaded.unwrap_or(false), "looked at the policy files");
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn catch() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("cannot catch signals");
        Ok(Self {
            hangup: catch(SignalKind::hangup())?,
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
        })
    }
}
