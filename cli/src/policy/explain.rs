//! `egret policy explain`: what policies answer to a request and why, or what the code of a problem means.

use std::collections::BTreeMap;

use anyhow::anyhow;
use model::{PolicyName, TenantId, Timestamp};
use policies::{Question, Rules, Subject, Verdict};

use super::sources::named;
use crate::Context;
use crate::client::{Client, Missing, converse};
use crate::exit::{Answer, Failure, OrFail as _};
use crate::output;

/// Say what policies answer to a request and why; or what the code of a problem means.
#[derive(clap::Args)]
pub(super) struct Explain {
    /// The code of a problem, such as EG0012; or a method and a URL, such as GET https://api.example.com/v1.
    #[arg(value_name = "CODE | METHOD URL", num_args = 1..=2, required = true)]
    what: Vec<String>,
    /// A policy by name or file; several are judged together.
    #[arg(long = "policy", value_name = "NAME|FILE")]
    policies: Vec<String>,
    /// As this session would be answered: its tenant, agent, labels and policies.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// The tool call that the request belongs to, by the tool's name.
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// The request asks for a WebSocket.
    #[arg(long)]
    websocket: bool,
    /// When it is asked [default: now].
    #[arg(long, value_name = "TIME", value_parser = instant)]
    at: Option<Timestamp>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

/// An instant, or a day, which stands for its end.
fn instant(text: &str) -> Result<Timestamp, String> {
    let help =
        || "write an instant such as 2027-01-31T18:00:00Z, or a day such as 2027-01-31 (its end, UTC)".to_owned();
    policies::read_instant(text).ok_or_else(help)
}

impl Explain {
    /// # Errors
    /// 1 where the request is refused, 2 where there is no such code, policy or request.
    pub(super) fn execute(&self, context: &Context) -> Answer {
        match self.what.as_slice() {
            [one] => match one.split_once(' ') {
                // As a check writes it.
                Some((method, url)) => self.request(context, method, url.trim()),
                None => self.story(one),
            },
            [method, url] => self.request(context, method, url),
            _ => Err(Failure::usage(anyhow!("name a code such as EG0012, or a method and a URL"))),
        }
    }

    fn story(&self, code: &str) -> Answer {
        let story = policies::explain_code(code).ok_or_else(|| {
            let code = output::visible(code);
            Failure::usage(anyhow!(
                "there is no code {code}; a request is a method and a URL, as in GET https://host/path"
            ))
        })?;
        output::print(&story.markdown());
        Ok(())
    }

    fn request(&self, context: &Context, method: &str, url: &str) -> Answer {
        let (destination, path) = policies::read_url(url).map_err(|why| Failure::usage(anyhow!(why)))?;
        let rules = self.rules(context)?;
        let explanation = rules.explain(&Question {
            destination: &destination,
            method,
            path: &path,
            websocket: self.websocket,
            tool: self.tool.as_deref(),
            now: self.at.unwrap_or_else(Timestamp::now),
        });
        match self.format {
            output::Format::Json => output::print(&format!("{:#}\n", explanation.to_json())),
            output::Format::Table => output::print(&format!("{}\n", explanation.to_string().trim_end())),
        }
        match explanation.standing.verdict {
            Verdict::Allow | Verdict::Observe => Ok(()),
            Verdict::Ask | Verdict::Deny => Err(Failure::refused(anyhow!("the request is refused"))),
        }
    }

    fn rules(&self, context: &Context) -> Answer<std::sync::Arc<Rules>> {
        let Some(id) = &self.session else {
            if self.policies.is_empty() {
                return Err(Failure::usage(anyhow!("name policies with --policy, or a session with --session")));
            }
            let found = named(context, &self.policies)?;
            return found.set.rules_of(&found.policies).or_usage();
        };
        let path = format!("/v1/sessions/{id}");
        let session: control::wire::SessionView =
            converse(async { Client::find(context, Missing::Tell).await?.get(&path).await })?;
        // A file tells what the session would be answered with that file in force.
        let mut wanted: Vec<String> = session.policies.clone();
        wanted.extend(self.policies.iter().cloned());
        let found = named(context, &wanted)?;
        let (tenant, labels): (TenantId, BTreeMap<String, String>) =
            (TenantId::new(session.tenant.as_str()), session.labels);
        let mut policies: Vec<PolicyName> = found.policies;
        policies.sort();
        policies.dedup();
        let subject =
            Subject { tenant: &tenant, agent: session.agent.as_deref(), labels: &labels, policies: &policies };
        found.set.rules_for(&subject).or_usage()
    }
}
