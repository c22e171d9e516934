//! `egret policy propose` and `replay`: policies and recorded requests.

use anyhow::anyhow;
use api::{List, RecordQuery};
use model::{CredentialId, Host, PolicyName, RuleId, Scheme, Timestamp};
use policies::{Level, Observation, ProposeOptions, Verdict};
use serde_json::Value;

use super::sources::named;
use crate::Context;
use crate::audit_command::instant;
use crate::client::{Client, IfMissing, converse, path_with};
use crate::exit::{Answer, Failure, OrFail as _};
use crate::output;

/// How many records are requested at a time.
const PAGE: u32 = 1_000;

/// The name under which Egret itself answers: no policy allows or refuses it.
const OWN_NAME: &str = "egret.internal";

/// Which records.
#[derive(clap::Args)]
struct Recorded {
    /// Not older than this: a length of time such as 7d, or an instant (RFC 3339).
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = instant)]
    since: Timestamp,
    /// Of this session.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
}

/// Write a policy that allows what was recorded.
#[derive(clap::Args)]
pub(super) struct Propose {
    #[command(flatten)]
    recorded: Recorded,
    /// How far to generalize the recorded requests.
    #[arg(long, value_enum, default_value_t = Generalize::Path)]
    level: Generalize,
    /// The name of the policy.
    #[arg(long, value_name = "NAME", default_value = "proposed")]
    name: String,
    /// Allow what was refused as well.
    #[arg(long)]
    include_refused: bool,
}

/// How far a proposal goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Generalize {
    /// Exactly the recorded paths.
    Exact,
    /// Numbers and ids in paths become wildcards.
    Path,
    /// Three paths of one folder become all paths below it.
    Folder,
    /// The whole host, with the methods that were seen.
    Host,
}

/// Judge recorded requests by a candidate, and list what would be answered otherwise.
#[derive(clap::Args)]
pub(super) struct Replay {
    #[command(flatten)]
    recorded: Recorded,
    /// The candidate: a policy by name or file; several are judged together.
    #[arg(value_name = "NAME|FILE", required = true)]
    candidate: Vec<String>,
    /// Exit with 1 where something that passed would be refused, or would lose a credential.
    #[arg(long)]
    fail_on_flip: bool,
    /// How to print it.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

impl Propose {
    /// # Errors
    /// 2 if there are no records, 3 if there is no journal.
    pub(super) fn execute(&self, context: &Context) -> Answer {
        let observations = self.recorded.read(context)?;
        if observations.is_empty() {
            let message = "no request is on record for that time; widen --since, or name another --session";
            return Err(Failure::usage(anyhow!(message)));
        }
        let level = match self.level {
            Generalize::Exact => Level::Exact,
            Generalize::Path => Level::Path,
            Generalize::Folder => Level::Folder,
            Generalize::Host => Level::Host,
        };
        let options = ProposeOptions { name: self.name.clone(), level, include_refused: self.include_refused };
        output::print(&policies::propose(&observations, &options));
        Ok(())
    }
}

impl Replay {
    /// # Errors
    /// 1 if a passing request would be refused and that was asked for, 2 if the candidate cannot be used, 3 if there is
    /// no journal.
    pub(super) fn execute(&self, context: &Context) -> Answer {
        let found = named(context, &self.candidate)?;
        let rules = found.set.rules_for_policies(&found.policies).or_usage()?;
        let observations = self.recorded.read(context)?;
        let replay = policies::replay(&observations, &rules, Timestamp::now());
        match self.format {
            output::Format::Json => output::print(&format!("{:#}\n", replay.to_json())),
            output::Format::Table => output::print(&format!("{replay}\n")),
        }
        if self.fail_on_flip && replay.narrows() {
            return Err(Failure::refused(anyhow!("the candidate takes away what was used")));
        }
        Ok(())
    }
}

impl Recorded {
    fn read(&self, context: &Context) -> Answer<Vec<Observation>> {
        let mut all = Vec::new();
        for kind in ["exchange.closed", "tunnel.closed"] {
            let mut after = 0_u64;
            loop {
                let query = RecordQuery {
                    since: Some(self.since),
                    session: self.session.clone(),
                    kind: Some(kind.to_owned()),
                    after: Some(after),
                    limit: Some(PAGE),
                    ..RecordQuery::default()
                };
                let path = path_with("/v1/records", &query)?;
                let page: List<Value> =
                    converse(async { Client::find(context, IfMissing::Fail).await?.get(&path).await })?;
                let seen = page.items.iter().filter_map(|record| record["seq"].as_u64()).max();
                all.extend(page.items.iter().filter_map(observation));
                match seen {
                    Some(seen) if seen > after && page.items.len() == PAGE as usize => after = seen,
                    Some(_) | None => break,
                }
            }
        }
        Ok(all)
    }
}

/// The request of a record; `None` if no client was identified, no rule was evaluated, or Egret itself answered.
fn observation(record: &Value) -> Option<Observation> {
    let text = |field: &str| record[field].as_str().map(str::to_owned);
    let unread = record["kind"] == "tunnel.closed";
    let host = record["host"].as_str()?;
    if host == OWN_NAME || host.strip_suffix(OWN_NAME).is_some_and(|front| front.ends_with('.')) {
        return None;
    }
    // A request that failed for reasons other than policy shows nothing about policy.
    let verdict = match record["decision"].as_str()? {
        "allow" => Verdict::Allow,
        "observe" => Verdict::Observe,
        "ask" => Verdict::Ask,
        _ => Verdict::Deny,
    };
    let credentials = record["credentials"].as_array().into_iter().flatten();
    Some(Observation {
        time: record["time"].as_str()?.parse().ok()?,
        record: text("id").unwrap_or_default(),
        method: text("method").filter(|_| !unread),
        scheme: if record["scheme"] == "http" { Scheme::Http } else { Scheme::Https },
        host: Host::parse(host).ok()?,
        port: record["port"].as_u64().and_then(|port| u16::try_from(port).ok())?,
        path: text("path").filter(|_| !unread),
        tool: text("tool"),
        verdict,
        code: text("code"),
        rule: text("rule").map(|rule| RuleId::new(rule.as_str())),
        policy: text("policy").map(|policy| PolicyName::new(policy.as_str())),
        credentials: credentials.filter_map(|one| Some(CredentialId::new(one["name"].as_str()?))).collect(),
        address: record["address"].as_str().and_then(|address| address.parse().ok()),
    })
}
