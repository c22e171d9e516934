//! The processes under test: their files, their start, and the route through them.

pub(crate) mod egret;
mod hudsucker;
mod nginx;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::figures::Subject;
use crate::lab::{HOST, Lab, loopback};
use crate::load::{self, Route};
use crate::process::Process;

/// How long a process may take to its first response.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A process whose files are ready.
pub(crate) struct Prepared {
    /// `None` if there is no process between client and origin.
    command: Option<Command>,
    route: Route,
    log: PathBuf,
    /// Its own files; removed at the end.
    folder: tempfile::TempDir,
}

/// A running process that has answered a request.
pub(crate) struct Running {
    process: Option<Process>,
    pub(crate) route: Arc<Route>,
    /// From its start to the first response.
    pub(crate) start_up: Duration,
    folder: tempfile::TempDir,
}

/// Prepares a fresh process of `subject`; Egret has [`egret::RULES`] rules.
pub(crate) fn prepare(lab: &Lab, subject: Subject) -> Result<Prepared> {
    match subject {
        Subject::Direct => direct(lab),
        Subject::Egret => egret::prepare(lab, egret::RULES),
        Subject::Nginx => nginx::prepare(lab),
        Subject::Hudsucker => hudsucker::prepare(lab),
    }
    .with_context(|| format!("cannot prepare {}", subject.name()))
}

fn direct(lab: &Lab) -> Result<Prepared> {
    let port = lab.origin.port;
    Ok(Prepared {
        command: None,
        route: Route::new(loopback(port), None, (HOST, port), &lab.origin_ca)?,
        log: lab.log("direct"),
        folder: lab.new_folder("direct-")?,
    })
}

impl Prepared {
    /// Starts the process and repeats a request until it succeeds. Failures before that are not counted.
    pub(crate) async fn start(self) -> Result<Running> {
        let started = Instant::now();
        let mut process = match self.command {
            Some(mut command) => Some(Process::start(&mut command, &self.log)?),
            None => None,
        };
        loop {
            let outcome = load::once(&self.route, HOST, 0).await;
            let start_up = started.elapsed();
            match outcome {
                Ok(_) => {
                    let route = Arc::new(self.route);
                    return Ok(Running { process, route, start_up, folder: self.folder });
                }
                Err(error) if start_up > START_TIMEOUT => {
                    return Err(error.context(format!("no response; its output is in {}", self.log.display())));
                }
                Err(_) => {}
            }
            if let Some(process) = &mut process {
                process.ensure_running().with_context(|| output(&self.log))?;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// The end of what a process printed.
fn output(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

impl Running {
    /// The id of the process, if there is one.
    pub(crate) fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// The folder with its files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}
