//! `egret demo`: the product on loopback, with an origin and a sandbox of its own; it leaves no files.

mod client;
mod origin;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use api::{CredentialDocument, CredentialRequest, CredentialView, List, RecordQuery, SessionCreated, SessionRequest};
use bytes::Bytes;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::client::{Answered, Sandbox};
use self::origin::Origin;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::exit::{Answer, Failure, OrFail as _};
use crate::logging;
use crate::output::{self, print};
use crate::run::become_sidecar;
use crate::serve::control_runtime;
use crate::sidecar::Sidecar;
use crate::{Common, Context};

/// A name that no one has (RFC 6761): only the fixed answer of the demo leads to it.
const HOST: &str = "api.demo.test";
const VARIABLE: &str = "DEMO_TOKEN";
const DRAIN: Duration = Duration::from_secs(1);

/// Show the product on loopback: a policy, a placeholder in the sandbox, the credential at the origin, the records. Needs no network,
/// no configuration and no data folder, and removes what it makes. Interrupted by a signal, it removes that too and exits with 128 plus
/// the number of the signal.
#[derive(clap::Args)]
pub(crate) struct Demo {}

/// An option of every command that has no effect here.
fn unused_option(common: &Common) -> Option<&'static str> {
    let options = [("--config", &common.config), ("--data-dir", &common.data_dir)];
    options.into_iter().find_map(|(name, value)| value.as_ref().map(|_| name))
}

impl Demo {
    /// # Errors
    /// 3 if a folder, a socket or a store of the demo cannot be created; 128 and the number of a signal that interrupts it.
    pub(crate) fn execute(&self, context: &Context) -> Answer {
        logging::start("error", false)?;
        if let Some(option) = unused_option(&context.common) {
            return Err(Failure::usage(anyhow!(
                "`egret demo` does not use {option}: it has its own policy, vault and data folder; run it without the option"
            )));
        }
        let runtime = control_runtime()?;
        // Caught before there are files to remove.
        let mut signals =
            runtime.block_on(async { Signals::catch() }).context("cannot catch signals").or_unreachable()?;
        let folder = Folder::make(&std::env::temp_dir()).or_unreachable()?;
        let done = runtime.block_on(async {
            tokio::select! {
                biased;
                signal = signals.next() => Err(Failure::code_of_command(signal.exit_code())),
                done = show(context, &folder.0) => done,
            }
        });
        runtime.shutdown_timeout(DRAIN);
        done
    }
}

/// The signals that end the demo, so that its folder is removed then too.
struct Signals(Vec<(Interruption, Signal)>);

/// A signal that ended the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interruption(SignalKind);

impl Interruption {
    /// The exit code of a shell for a command that a signal ended.
    fn exit_code(self) -> u8 {
        // The four have numbers below 16.
        u8::try_from(self.0.as_raw_value()).map_or(u8::MAX, |number| number.saturating_add(128))
    }
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()];
        let caught = kinds.into_iter().map(|kind| Ok((Interruption(kind), signal(kind)?)));
        caught.collect::<std::io::Result<_>>().map(Self)
    }

    async fn next(&mut self) -> Interruption {
        std::future::poll_fn(|cx| {
            let came = self.0.iter_mut().find_map(|(kind, signal)| signal.poll_recv(cx).is_ready().then_some(*kind));
            came.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// A folder that is removed with all its content.
struct Folder(PathBuf);

impl Folder {
    fn make(parent: &Path) -> anyhow::Result<Self> {
        let name = format!("egret-demo-{}-{}", std::process::id(), clock::now().as_nanosecond());
        let path = parent.join(name);
        DirBuilder::new().mode(0o700).create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            output::say(&format!("egret: warning: {} cannot be removed: {error}", self.0.display()));
        }
    }
}

/// A tour in seven steps, and the end of all parts that it started.
async fn show(context: &Context, folder: &Path) -> Answer {
    let origin = Origin::start(HOST).await.or_unreachable()?;
    let policy = policy(origin.port());
    let (policy_file, ca_file) = (folder.join("demo.yaml"), folder.join("origin-ca.pem"));
    for (path, text) in [(&policy_file, policy.as_str()), (&ca_file, origin.ca_pem())] {
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display())).or_unreachable()?;
    }
    let dir = DataDir::resolve(Some(&folder.join("data")), None, &context.places).or_unreachable()?;
    dir.prepare().or_unreachable()?;
    let lock = dir.try_lock().or_unreachable()?.context("the new data folder is locked").or_unreachable()?;
    let mut config = Config { policies: vec![policy_file], ca_files: vec![ca_file], ..Config::default() };
    config.proxy.set_port(0);
    config.resolve.insert(HOST.to_owned(), [127, 0, 0, 1].into());
    let (client, sidecar) = Box::pin(become_sidecar(config, dir, lock, |_note| {})).await?;
    let shown = Box::pin(tour(client, &origin, &policy)).await;
    if let Some(sidecar) = sidecar {
        Sidecar::stop(sidecar, DRAIN).await;
    }
    shown
}

async fn tour(mut control: crate::client::Client, origin: &Origin, policy: &str) -> Answer {
    let port = origin.port();
    print(&format!(
        "1. The policy: what sandboxes may reach, and which credential is attached there.\n\n{}\n",
        indented(policy)
    ));
    let secret = origin::made_up_secret().or_unreachable()?;
    let spec = CredentialDocument {
        kind: "bearer".to_owned(),
        audience: vec![format!("{HOST}:{port}")],
        env: Some(VARIABLE.to_owned()),
        ..CredentialDocument::default()
    };
    let request = CredentialRequest { spec, ..CredentialRequest::default() };
    let path = crate::client::path_with("/v1/vaults/default/credentials/demo", &request)?;
    let _put: CredentialView = control.put(&path, Bytes::from(secret.clone())).await?;
    print(&format!("2. The vault holds a credential, made up for this demo:\n\n   {secret}\n\n"));
    let request = SessionRequest {
        policies: vec!["demo".to_owned()],
        credentials: vec![api::GrantDocument::of("demo")],
        ..SessionRequest::default()
    };
    let session: SessionCreated = control.post("/v1/sessions", &request).await?;
    let placeholder = session.env.get(VARIABLE).cloned().unwrap_or_default();
    print(&format!(
        "3. The sandbox holds a placeholder, the proxy's address and Egret's CA:\n\n   {VARIABLE}={placeholder}\n\n"
    ));
    let sandbox = Sandbox::new(&session).or_unreachable()?;
    let url = format!("https://{HOST}:{port}/hello");
    print(&format!(
        "4. The sandbox sends a request with its placeholder:\n\n   curl -H \"Authorization: Bearer ${VARIABLE}\" {url}\n\n"
    ));
    let answered = sandbox.get(HOST, port, "/hello", &placeholder).await.or_unreachable()?;
    let seen = origin.seen().unwrap_or_default();
    print(&format!(
        "5. The origin received the credential; the sandbox received an answer in which it is masked:\n\n   origin:  Authorization: {seen}\n   sandbox: {}\n\n",
        line(&answered)
    ));
    let refused = sandbox.connect("example.com", 443).await.or_unreachable()?;
    print(&format!(
        "6. A host that no rule allows is refused, before its name is looked up:\n\n   CONNECT example.com:443\n   {}\n\n",
        line(&refused)
    ));
    let query = RecordQuery { session: Some(session.session.id.clone()), ..RecordQuery::default() };
    let records: List<Value> = control.get(&crate::client::path_with("/v1/records", &query)?).await?;
    print("7. The records, written before a byte left (`egret audit query`):\n\n");
    let rows = records.items.iter().map(|record| {
        let text = |name: &str| record.get(name).map(plain).unwrap_or_default();
        [
            text("kind"),
            text("decision"),
            text("code"),
            text("method"),
            text("host"),
            text("path"),
            text("status"),
            credentials(record),
        ]
    });
    output::table(["kind", "decision", "code", "method", "host", "path", "status", "credential"], rows);
    print("\nThe demo ends and removes its files. Next: egret serve\n");
    Ok(())
}

fn policy(port: u16) -> String {
    format!(
        "policy: demo\nrules:\n  - id: hello\n    allow: {{host: {HOST}, port: {port}, methods: [GET], path: /hello}}\n    use: [demo]\n    addresses: [127.0.0.1/32]\n"
    )
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("   {line}\n")).collect()
}

/// Status and body, on one line.
fn line(Answered { status, body }: &Answered) -> String {
    format!("{status}  {}", output::visible(body.trim_end()))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The credentials that were attached, with their versions.
fn credentials(record: &Value) -> String {
    let used = record.get("credentials").and_then(Value::as_array).into_iter().flatten();
    let shown = used.map(|one| {
        let part = |name: &str| one.get(name).map(plain).unwrap_or_default();
        format!("{} v{}", part("name"), part("version"))
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_without_effect_are_refused() {
        let common = |config: Option<&str>, data_dir: Option<&str>| Common {
            config: config.map(PathBuf::from),
            data_dir: data_dir.map(PathBuf::from),
        };
        assert_eq!(unused_option(&common(None, None)), None);
        assert_eq!(unused_option(&common(Some("egret.yaml"), None)), Some("--config"));
        assert_eq!(unused_option(&common(None, Some("data"))), Some("--data-dir"));
    }
}
