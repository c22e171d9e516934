//! `egret run`: one command in a session of its own.
//!
//! It joins the sidecar that serves the data folder, or starts one on a free port until its last session ends; others
//! join it then.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use api::{GrantDocument, Rollout, SessionCreated, SessionRequest, SessionView, encode};
use rustix::process::{Pid, Signal, kill_process};
use sessions::Session;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as Unix, SignalKind, signal};
use tokio::time::Instant;

use crate::Context;
use crate::child;
use crate::client::{Client, busy};
use crate::config::{Config, Key};
use crate::data_dir::DataDir;
use crate::exit::{Answer, Failure, OrFail as _};
use crate::foundation::{EarlierClock, Foundation, OnPolicyError, Rollback};
use crate::logging;
use crate::output::{say, visible};
use crate::serve::control_runtime;
use crate::session_options::{NO_POLICY, documents, looks_like_path};
use crate::sidecar::Sidecar;
use crate::variables;

/// How long another process may take between locking the folder and answering.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
/// The time for active exchanges after the last session has ended; no client is left to read them.
const DRAIN: Duration = Duration::from_secs(2);

/// Run one command in a session of its own; it ends with the command.
#[derive(clap::Args)]
pub(crate) struct Run {
    /// A policy by name, or a policy file that is in force for this session alone; none means that nothing is allowed.
    #[arg(long = "policy", value_name = "NAME|FILE")]
    policies: Vec<String>,
    /// A credential the command may use; bounds may follow: github,uses=10,for=15m,methods=GET+HEAD.
    #[arg(long = "credential", value_name = "NAME", value_parser = crate::session_options::grant)]
    credentials: Vec<GrantDocument>,
    /// A policy with `mode: observe` for a share of sessions, such as candidate@25; without @, for all.
    #[arg(long, value_name = "NAME@PERCENT", value_parser = crate::session_options::rollout)]
    observe: Vec<Rollout>,
    /// How long the session lives at most, such as 1h [default: 24h].
    #[arg(long, value_name = "TIME")]
    ttl: Option<String>,
    /// The path of `trust/` inside the sandbox, if it differs from the path here.
    #[arg(long, value_name = "DIR")]
    ca_path: Option<String>,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Run {
    /// # Errors
    /// The command's own code; 2 and 3 as everywhere, before it starts.
    pub(crate) fn execute(&self, context: &Context) -> Answer {
        logging::start("warn", false)?;
        let runtime = control_runtime()?;
        let done = runtime.block_on(self.run(context));
        runtime.shutdown_background();
        done
    }

    async fn run(&self, context: &Context) -> Answer {
        let config = context.config()?;
        let hidden = match &config.key {
            Key::PassphraseEnv(name) => Some(name.clone()),
            Key::Default | Key::File(_) | Key::PassphraseFile(_) | Key::PassphraseAndFile { .. } => None,
        };
        let request = self.request()?;
        let (mut client, host) = Box::pin(join_or_become(context, config, &request)).await?;
        let created: SessionCreated = match client.post("/v1/sessions", &request).await {
            Ok(created) => created,
            Err(failure) => {
                stop(host).await;
                return Err(failure);
            }
        };
        say(
            "egret: without isolation, a command of your own user could read the vault's key file and use the control socket; run what you do not trust in a sandbox or as another user",
        );
        created.warnings.iter().for_each(|warning| say(&format!("egret: warning: {warning}")));
        if self.policies.is_empty() {
            say(&format!("egret: {NO_POLICY}"));
        }
        let mut signals = Signals::catch().context("cannot catch signals").or_unreachable()?;
        let mut withheld: Vec<OsString> = hidden.into_iter().map(OsString::from).collect();
        let ended = match variables::holding_a_value(&mut client, &created.env).await {
            Ok(found) => {
                withheld.extend(found);
                self.command(context, &created, &withheld, &mut signals).await
            }
            Err(failure) => Err(failure),
        };
        let over = end(&mut client, &created.session.id).await;
        drop(client);
        if let Some(sidecar) = &host {
            wait_for_other_sessions(sidecar, &mut signals).await;
        }
        stop(host).await;
        let status = ended?;
        // The command's result counts; its session ends by itself at the latest when its time is over.
        if let Err(failure) = over {
            say(&format!("egret: warning: the session {} could not be ended: {failure}", created.session.id));
        }
        match child::code_of(status) {
            0 => Ok(()),
            code => Err(Failure::code_of_command(code)),
        }
    }

    fn request(&self) -> Answer<SessionRequest> {
        let (files, names): (Vec<&String>, Vec<&String>) = self.policies.iter().partition(|text| looks_like_path(text));
        Ok(SessionRequest {
            policies: names.into_iter().cloned().collect(),
            observe: self.observe.clone(),
            documents: documents(files.into_iter())?,
            credentials: self.credentials.clone(),
            ttl: self.ttl.clone(),
            ca_path: self.ca_path.clone(),
            agent: self
                .command
                .first()
                .and_then(|name| Path::new(name).file_name())
                .map(|name| visible(&name.to_string_lossy())),
            ..SessionRequest::default()
        })
    }

    async fn command(
        &self,
        context: &Context,
        created: &SessionCreated,
        withheld: &[OsString],
        signals: &mut Signals,
    ) -> Answer<ExitStatus> {
        let (program, arguments) =
            self.command.split_first().ok_or_else(|| Failure::usage(anyhow!("there is no command")))?;
        let mut command = Command::new(program);
        // Placeholders replace real values that the caller's environment may contain.
        command.args(arguments).envs(&created.env);
        for name in withheld {
            command.env_remove(name);
        }
        let child = child::spawn(&mut command, context.before);
        let child = child.with_context(|| format!("cannot run {}", program.to_string_lossy())).or_usage()?;
        wait(child, signals).await.context("cannot wait for the command").or_unreachable()
    }
}

/// Refuses what no sidecar of this configuration would accept, before a key, a vault or a CA is created for it.
fn check(request: &SessionRequest, config: &Config) -> Answer {
    let spans = request.ttl.iter().chain(request.credentials.iter().filter_map(|grant| grant.time.as_ref()));
    for span in spans {
        control::parse_span(span).map_err(|why| Failure::usage(anyhow!("{why}")))?;
    }
    let mut sources = control::read_library();
    // The start itself reports files that cannot be read or do not compile.
    for path in &config.policies {
        let Ok(files) = control::read_path(path) else { return Ok(()) };
        sources.extend(files);
    }
    let Ok(set) = policies::compile(&sources) else { return Ok(()) };
    match request.policies.iter().find(|name| !set.is_known(&name.as_str().into())) {
        None => Ok(()),
        Some(name) => Err(Failure::usage(anyhow!(
            "policy `{}` is not loaded; name a built-in policy, such as library/pypi, or add its file to `policies` of egret.yaml",
            visible(name)
        ))),
    }
}

async fn join_or_become(
    context: &Context,
    mut config: Config,
    request: &SessionRequest,
) -> Answer<(Client, Option<Sidecar>)> {
    let dir = context.data_dir(&config)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(client) = Client::to_sidecar(&dir).await? {
            return Ok((client, None));
        }
        check(request, &config)?;
        dir.prepare().or_unreachable()?;
        if let Some(lock) = dir.try_lock().or_unreachable()? {
            config.proxy = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            config.further.clear();
            config.proxy_tls = None;
            return Box::pin(become_sidecar(config, dir, lock, |note| say(&format!("egret: {note}")))).await;
        }
        if Instant::now() >= deadline {
            return Err(Failure::unreachable(anyhow!("{}", busy(&dir))));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Starts a sidecar in this process; `tell` gets messages about created parts and other facts.
///
/// # Errors
/// As [`Foundation::open`] and [`Sidecar::start`].
pub(crate) async fn become_sidecar(
    config: Config,
    dir: DataDir,
    lock: crate::data_dir::Lock,
    tell: impl Fn(&str),
) -> Answer<(Client, Option<Sidecar>)> {
    let (policies, rollback) = (OnPolicyError::Fail, Rollback::Refuse);
    let foundation = Foundation::open(config, dir.clone(), lock, policies, rollback, EarlierClock::Distrust)?;
    foundation.notes.iter().for_each(|note| tell(note));
    let sidecar = Box::pin(Sidecar::start(foundation)).await?;
    let client = Client::to_sidecar(&dir).await?;
    let client = client.ok_or_else(|| Failure::unreachable(anyhow!("the control socket does not answer")))?;
    Ok((client, Some(sidecar)))
}

/// The signals that end the command; once they are caught, all of them are handled.
struct Signals {
    interrupt: Unix,
    terminate: Unix,
    hangup: Unix,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hangup.recv() => Signal::HUP,
        }
    }
}

/// Waits for the command. Signals of the terminal reach it directly; any other signal is forwarded.
async fn wait(mut child: Child, signals: &mut Signals) -> std::io::Result<ExitStatus> {
    let from_terminal = std::io::stdin().is_terminal();
    loop {
        tokio::select! {
            status = child.wait() => return status,
            signal = signals.next() => if !from_terminal || signal == Signal::TERM { pass_on(&child, signal) },
        }
    }
}

fn pass_on(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    // A command that has ended needs no signal.
    let _gone = pid.map(|pid| kill_process(pid, signal));
}

async fn end(client: &mut Client, id: &str) -> Answer {
    let path = format!("/v1/sessions/{}/end", encode(id));
    client.post_empty::<SessionView>(&path).await.map(drop)
}

/// Waits until the sessions of others that joined are over. Earlier sessions got another address, and do not use this
/// sidecar.
async fn wait_for_other_sessions(sidecar: &Sidecar, signals: &mut Signals) {
    let mut said = false;
    let started = sidecar.control.started;
    loop {
        let now = clock::now();
        let joined =
            |session: &Session| session.is_live(now) && session.created >= started && session.expires.is_some();
        let mut live = sidecar.control.sessions.list().into_iter().filter(|session| joined(session));
        let Some(next) = live.next() else { return };
        if !std::mem::replace(&mut said, true) {
            say("egret: other sessions use this sidecar; it goes on until they end (Ctrl-C or SIGTERM ends it now)");
        }
        tokio::select! {
            () = next.ended() => {}
            _ = signals.next() => return,
        }
        // The control API writes the end of the session to disk at about the same time.
        tokio::time::sleep(PAUSE).await;
    }
}

async fn stop(host: Option<Sidecar>) {
    if let Some(sidecar) = host {
        sidecar.stop(DRAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_policies_and_times_are_refused_before_the_start() {
        let config = Config::default();
        let request = |policy: &str, ttl: &str, time: &str| SessionRequest {
            policies: vec![policy.to_owned()],
            credentials: vec![GrantDocument { time: Some(time.to_owned()), ..GrantDocument::of("github") }],
            ttl: Some(ttl.to_owned()),
            ..SessionRequest::default()
        };
        assert!(check(&request("library/pypi", "5m", "1h"), &config).is_ok());
        let refused = |policy, ttl, time| {
            let failure = check(&request(policy, ttl, time), &config).unwrap_err();
            (failure.code(), failure.to_string())
        };
        let typo = "policy `library/pipy` is not loaded; name a built-in policy, such as library/pypi, or add its file to `policies` of egret.yaml";
        assert_eq!(refused("library/pipy", "5m", "1h"), (2, typo.to_owned()));
        let span = "\"5x\" is not a length of time; write for example 90s, 15m, 1h30m or 7d";
        assert_eq!(refused("library/pypi", "5x", "1h"), (2, span.to_owned()));
        assert_eq!(refused("library/pypi", "5m", "5x"), (2, span.to_owned()));
    }
}
