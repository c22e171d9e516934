//! `egret status`: one screen about the sidecar that serves the data folder.

use anyhow::anyhow;
use api::{Status as Document, VaultView};

use crate::Context;
use crate::client::{Client, busy, converse};
use crate::exit::{Answer, Failure};
use crate::output::{self, Format};

/// The built-in policies, which are always in force and would fill the screen.
const LIBRARY: &str = "library/";

/// Show the state of the sidecar, the policies in force, and problems. Exit code 1: requests are refused, or policy files are rejected; 3: no
/// sidecar runs.
#[derive(clap::Args)]
pub(crate) struct Status {
    /// How to print it.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Status {
    /// # Errors
    /// 1 if requests cannot pass or policy files are rejected, 3 if no sidecar serves the data folder.
    pub(crate) fn execute(&self, context: &Context) -> Answer {
        let dir = context.data_dir(&context.config()?)?;
        let status: Document = converse(async {
            match Client::to_sidecar(&dir).await? {
                Some(mut client) => client.get("/v1/status").await,
                None if dir.ready().is_some() => Err(Failure::unreachable(anyhow!("{}", busy(&dir)))),
                None => Err(Failure::unreachable(anyhow!(
                    "no sidecar serves the data folder {}; `egret serve` starts one, and --data-dir or --config names another folder",
                    dir.path().display()
                ))),
            }
        })?;
        match self.format {
            Format::Json => output::json(&status)?,
            Format::Table => print(&status, &dir.socket().display().to_string()),
        }
        // The problems have been printed.
        if is_wrong(&status) { Err(Failure::code_of_command(1)) } else { Ok(()) }
    }
}

fn is_wrong(status: &Document) -> bool {
    !status.health.healthy || status.deny_all || status.health.policies_rejected.is_some()
}

fn print(status: &Document, socket: &str) {
    let mut facts = vec![
        ("version", format!("{}, process {}, since {}", status.version, status.pid, status.started)),
        ("data", status.data_dir.clone()),
        ("proxy", status.listeners.join(", ")),
        ("control", format!("unix:{socket}")),
        ("requests", requests(status).to_owned()),
        ("policies", policies(status)),
    ];
    let rejected = status.health.policies_rejected.iter().flat_map(|why| why.lines());
    facts.extend(rejected.enumerate().map(|(line, why)| (if line == 0 { "rejected" } else { "" }, why.to_owned())));
    facts.push(("vault", status.vault.as_ref().map_or_else(|| "open".to_owned(), vault)));
    let writable = if status.health.journal_writable { "writable" } else { "cannot be written: check the disk" };
    facts.push(("journal", format!("{writable}, {} records", status.last_record)));
    facts.push(("sessions", sessions(status)));
    facts.extend(status.warnings.iter().map(|warning| ("warning", warning.clone())));
    output::facts(&facts);
}

/// Whether requests can pass.
fn requests(status: &Document) -> &'static str {
    if status.deny_all {
        "all refused (denied_all): started with --deny-all"
    } else if status.health.healthy {
        "judged by the policies of their session"
    } else {
        "all refused (audit_unavailable)"
    }
}

fn policies(status: &Document) -> String {
    let (library, own): (Vec<&String>, Vec<&String>) =
        status.policies.iter().partition(|name| name.starts_with(LIBRARY));
    let mut parts: Vec<String> = own.into_iter().cloned().collect();
    parts.push(format!("{} built-in", library.len()));
    format!("{} (snapshot {})", parts.join(", "), status.snapshot)
}

fn vault(vault: &VaultView) -> String {
    let VaultView { open, key, credentials, memory, .. } = vault;
    let state = if *open { "open" } else { "sealed" };
    let number = if *credentials == 1 { "credential" } else { "credentials" };
    format!("{state} with {key}, {credentials} {number}, {memory} memory")
}

fn sessions(status: &Document) -> String {
    let states: Vec<_> = status.session_states.iter().map(|(state, number)| format!("{number} {state}")).collect();
    if states.is_empty() { "none live".to_owned() } else { format!("{} live: {}", status.sessions, states.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(health: serde_json::Value) -> Document {
        let document = serde_json::json!({
            "version": "1", "pid": 7, "started": "2026-01-01T00:00:00Z", "proxy": [], "data_dir": "/d", "sessions": 3,
            "session_states": {"idle": 1, "running": 2}, "credentials": 1, "snapshot": "abc",
            "policies": ["agent", "library/npm", "library/pypi"], "last_record": 9, "health": health,
        });
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn the_screen_tells_what_is_wrong() {
        let health = |writable: bool, rejected: Option<&str>| serde_json::json!({"healthy": writable, "journal_writable": writable, "policies_rejected": rejected, "vault_open": true});
        let mut good = status(health(true, None));
        assert!(!is_wrong(&good));
        assert_eq!(policies(&good), "agent, 2 built-in (snapshot abc)");
        assert_eq!(sessions(&good), "3 live: 1 idle, 2 running");
        good.deny_all = true;
        assert!(is_wrong(&good) && requests(&good).contains("denied_all"));
        assert!(is_wrong(&status(health(true, Some("a.yaml:1:1: bad")))));
        let full = status(health(false, None));
        assert!(is_wrong(&full) && requests(&full).contains("audit_unavailable"));
    }
}
