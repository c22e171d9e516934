//! Egret as in production: client authentication, policies, one credential that is injected, responses masked, the journal on.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::{Prepared, Running};
use crate::lab::{HOST, Lab, free_port, loopback};
use crate::load::{Ask, Client, Route, Tunnel, authorization, numbered_host};

/// The rules of all measurements but those of the number of rules.
pub(crate) const RULES: usize = 1_000;

/// Names below the origin's that Egret resolves.
pub(crate) const NAMES: usize = 400;

/// Rules of one policy file.
const RULES_OF_A_FILE: usize = 1_000;

/// Calls of the control API at a time.
const CALLS: usize = 8;

/// Prepares a data folder with `rules` rules and one session.
pub(crate) fn prepare(lab: &Lab, rules: usize) -> Result<Prepared> {
    let (folder, port) = (lab.new_folder("egret-")?, free_port()?);
    let config = folder.path().join("egret.yaml");
    let policies = write_policies(&folder.path().join("policies"), rules, lab.origin.port)?;
    std::fs::write(&config, configuration(port, &lab.origin_ca))?;
    let (exact, below) = (format!("{HOST}:{}", lab.origin.port), format!("*.{HOST}:{}", lab.origin.port));
    let put = ["vault", "put", "bench", "--kind", "bearer", "--audience", &exact, "--audience", &below];
    run(&mut egret(lab, &config, &put), "sk-bench-0123456789abcdef0123456789abcdef")?;
    let mut create = egret(lab, &config, &["session", "create", "--credential", "bench", "--ttl", "24h"]);
    create.args(["--format", "json"]).args(policies.iter().flat_map(|policy| ["--policy", policy]));
    let session: Value = serde_json::from_slice(&run(&mut create, "")?)?;
    let tunnel = Tunnel { sessions: vec![proxy_authorization(&session)?] };
    let ca = folder.path().join("data/trust/ca.pem");
    Ok(Prepared {
        command: Some(egret(lab, &config, &["serve"])),
        route: Route::new(loopback(port), Some(tunnel), (HOST, lab.origin.port), &ca)?,
        log: lab.log("egret"),
        folder,
    })
}

/// Creates more sessions with the same rights, through the control API. Returns a value of `Proxy-Authorization` for each.
pub(crate) async fn create_sessions(running: &Running, count: usize) -> Result<Vec<String>> {
    let socket = running.folder().join("data/control.sock");
    let request = Ask::post("/v1/sessions", &json!({"policies": ["bench-0"], "credentials": ["bench"], "ttl": "24h"}));
    let mut tasks = JoinSet::new();
    for part in 0..CALLS {
        let (socket, request) = (socket.clone(), request.clone());
        tasks.spawn(async move {
            let stream = UnixStream::connect(&socket).await.context("cannot reach the control API")?;
            let mut client = Client::over(stream, "egret").await?;
            let mut sessions = Vec::new();
            for _ in (part..count).step_by(CALLS) {
                let answer = client.send(&request).await.context("cannot create a session")?;
                sessions.push(proxy_authorization(&serde_json::from_slice(&answer)?)?);
            }
            Ok::<_, anyhow::Error>(sessions)
        });
    }
    let mut all = Vec::new();
    while let Some(sessions) = tasks.join_next().await {
        all.extend(sessions??);
    }
    Ok(all)
}

/// A command of the binary with this configuration.
fn egret(lab: &Lab, config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(&lab.programs.egret);
    command.args(arguments).arg("--config").arg(config).env_clear();
    command
}

/// Runs a command that has to succeed; returns its standard output.
fn run(command: &mut Command, input: &str) -> Result<Vec<u8>> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    child.stdin.take().context("the command has no standard input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}: {errors}", output.status);
    Ok(output.stdout)
}

fn configuration(port: u16, origin_ca: &Path) -> String {
    let mut text = format!(
        "\
data_dir: data
listen:
  proxy: 127.0.0.1:{port}
policies: [policies]
limits:
  max_connections: 12000
upstream:
  ca_files: [{}]
  resolve:
    {HOST}: 127.0.0.1
",
        origin_ca.display()
    );
    for number in 0..NAMES {
        // Writing to a string does not fail.
        let _infallible = writeln!(text, "    {}: 127.0.0.1", numbered_host(HOST, number));
    }
    text
}

/// Writes the policies into `folder`; returns their names. The rule of the origin is the first, and all others are about other
/// hosts.
fn write_policies(folder: &Path, rules: usize, port: u16) -> Result<Vec<String>> {
    std::fs::create_dir(folder)?;
    let mut names = Vec::new();
    for first in (0..rules).step_by(RULES_OF_A_FILE) {
        let name = format!("bench-{}", names.len());
        let text = policy(&name, first..rules.min(first + RULES_OF_A_FILE), port);
        std::fs::write(folder.join(format!("{name}.yaml")), text)?;
        names.push(name);
    }
    Ok(names)
}

fn policy(name: &str, rules: std::ops::Range<usize>, port: u16) -> String {
    let mut text = format!("policy: {name}\ndescription: Rules of a benchmark.\nrules:\n");
    for number in rules {
        let _infallible = match number {
            0 => writeln!(
                text,
                "  - id: origin\n    allow: {{host: [{HOST}, \"*.{HOST}\"], port: {port}, methods: [GET, PUT]}}\n    addresses: [127.0.0.0/8]\n    use: [bench]"
            ),
            _ => writeln!(
                text,
                "  - {{id: rule-{number}, allow: {{host: host-{number}.example.com, methods: [GET], path: /v1/**}}}}"
            ),
        };
    }
    text
}

/// The value of `Proxy-Authorization` for the session in an answer of Egret.
fn proxy_authorization(session: &Value) -> Result<String> {
    let url = session["proxy_url"].as_str().context("the session has no proxy_url")?;
    let pair = url.split_once("://").and_then(|(_, rest)| rest.split_once('@'));
    let (user, password) = pair.and_then(|(pair, _)| pair.split_once(':')).context("proxy_url has no credentials")?;
    Ok(authorization(user, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_distributed_over_files() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("policies");
        assert_eq!(write_policies(&folder, 2_001, 443).unwrap(), ["bench-0", "bench-1", "bench-2"]);
        let rules = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap().matches("allow:").count();
        assert_eq!(["bench-0.yaml", "bench-1.yaml", "bench-2.yaml"].map(rules), [1_000, 1_000, 1]);
    }

    #[test]
    fn the_first_rule_is_the_origins() {
        let text = policy("bench-0", 0..2, 8443);
        assert!(text.contains("host: [origin.test, \"*.origin.test\"], port: 8443"), "{text}");
        assert!(text.ends_with("  - {id: rule-1, allow: {host: host-1.example.com, methods: [GET], path: /v1/**}}\n"));
    }

    #[test]
    fn credentials_are_those_of_the_proxy_url() {
        let session = json!({"proxy_url": "http://ses_1:egt_2@127.0.0.1:3128"});
        assert_eq!(proxy_authorization(&session).unwrap(), authorization("ses_1", "egt_2"));
        assert!(proxy_authorization(&json!({"proxy_url": "http://127.0.0.1:3128"})).is_err());
    }
}
