//! `egret policy explain`: the answer of policies to a request with its reason, or the meaning of a code.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::anyhow;
use api::{ExplainRequest, Explained, GrantView, List, PolicyDocument, SessionView, encode};
use model::{PolicyName, Reason, TenantId, Timestamp};
use policies::{GrantState, Grants, PolicySource, Question, Rules, SessionDocuments, Subject, Verdict};

use super::sources::{broken, named};
use super::surroundings;
use crate::Context;
use crate::client::{Client, IfMissing, converse};
use crate::exit::{Answer, Failure, OrFail as _};
use crate::output;

/// Print what policies answer to a request and why; or what a code means.
#[derive(clap::Args)]
pub(super) struct Explain {
    /// The code of a problem such as EG0012, or of a refusal such as denied_host; or a method and a URL, such as GET https://api.example.com/v1.
    #[arg(value_name = "CODE | METHOD URL", num_args = 1..=2, required = true)]
    what: Vec<String>,
    /// A policy by name or file; several are judged together.
    #[arg(long = "policy", value_name = "NAME|FILE")]
    policies: Vec<String>,
    /// Decide as for this session: its policies and documents, labels and grants.
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

/// An instant, or a day, which means its end.
fn instant(text: &str) -> Result<Timestamp, String> {
    let help =
        || "write an instant such as 2027-01-31T18:00:00Z, or a day such as 2027-01-31 (its end, UTC)".to_owned();
    policies::read_instant(text).ok_or_else(help)
}

impl Explain {
    /// # Errors
    /// 1 if the request is refused, 2 if there is no such code, policy or request.
    pub(super) fn execute(&self, context: &Context) -> Answer {
        match self.what.as_slice() {
            [one] => match one.split_once(' ') {
                // In the form of a check.
                Some((method, url)) => self.request(context, method, url.trim()),
                None => crate::explain::print(one),
            },
            [method, url] => self.request(context, method, url),
            _ => Err(Failure::usage(anyhow!("name a code such as EG0012, or a method and a URL"))),
        }
    }

    fn request(&self, context: &Context, method: &str, url: &str) -> Answer {
        match &self.session {
            Some(id) if self.policies.is_empty() => self.ask(context, id, method, url),
            Some(_) | None => self.judge(context, method, url),
        }
    }

    /// Asks the sidecar that judges the session's requests, with all policies in force for it.
    fn ask(&self, context: &Context, id: &str, method: &str, url: &str) -> Answer {
        let path = format!("/v1/sessions/{}/explain", encode(id));
        let request = ExplainRequest {
            method: method.to_owned(),
            url: url.to_owned(),
            tool: self.tool.clone(),
            websocket: self.websocket,
            at: self.at,
        };
        let explained: Explained =
            converse(async { Client::find(context, IfMissing::Fail).await?.post(&path, &request).await })?;
        self.print(&explained.explanation, &explained.text, explained.passes)
    }

    fn judge(&self, context: &Context, method: &str, url: &str) -> Answer {
        let (destination, path) = policies::read_url(url).map_err(|why| Failure::usage(anyhow!(why)))?;
        let (rules, session) = self.rules(context)?;
        let question = Question {
            destination: &destination,
            method,
            path: &path,
            websocket: self.websocket,
            tool: self.tool.as_deref(),
            now: self.at.unwrap_or_else(Timestamp::now),
        };
        // The sidecar of a session was asked already.
        let around = match &session {
            Some(_) => surroundings::of_vault(context)?,
            None => surroundings::read(context)?,
        };
        let mut explanation = rules.explain(&question).with_misfits(&rules, &around);
        if let Some(session) = session {
            explanation = explanation.with_grants(&question, &around, &grants(&session, method));
        }
        let explanation = explanation.with_address(&rules, &question, &around);
        let passes = match explanation.decision.verdict {
            Verdict::Allow | Verdict::Observe => true,
            Verdict::Ask | Verdict::Deny => false,
        };
        self.print(&explanation.to_json(), &explanation.to_string(), passes)
    }

    fn print(&self, json: &serde_json::Value, text: &str, passes: bool) -> Answer {
        match self.format {
            output::Format::Json => output::print(&format!("{json:#}\n")),
            output::Format::Table => output::print(&format!("{}\n", text.trim_end())),
        }
        match passes {
            true => Ok(()),
            false => Err(Failure::refused(anyhow!("the request is refused"))),
        }
    }

    /// The rules, and their session.
    fn rules(&self, context: &Context) -> Answer<(Arc<Rules>, Option<SessionView>)> {
        let Some(id) = &self.session else {
            if self.policies.is_empty() {
                return Err(Failure::usage(anyhow!("name policies with --policy, or a session with --session")));
            }
            let found = named(context, &self.policies)?;
            return Ok((found.set.rules_for_policies(&found.policies).or_usage()?, None));
        };
        let path = format!("/v1/sessions/{}", encode(id));
        let (session, brought): (SessionView, List<PolicyDocument>) = converse(async {
            let mut client = Client::find(context, IfMissing::Fail).await?;
            Ok((client.get(&path).await?, client.get(&format!("{path}/documents")).await?))
        })?;
        // With a file, the answer assumes that the file is in force.
        let mut wanted: Vec<String> = loaded(&session);
        wanted.extend(self.policies.iter().cloned());
        let found = named(context, &wanted)?;
        let (tenant, labels): (TenantId, BTreeMap<String, String>) =
            (TenantId::new(session.tenant.as_str()), session.labels.clone());
        let mut policies: Vec<PolicyName> = found.policies;
        policies.sort();
        policies.dedup();
        let subject =
            Subject { tenant: &tenant, agent: session.agent.as_deref(), labels: &labels, policies: &policies };
        let sources: Vec<_> =
            brought.items.into_iter().map(|one| PolicySource { name: one.name, text: one.text }).collect();
        let documents = SessionDocuments::compile(&sources).map_err(|problems| broken(&problems))?;
        let rules = found.set.rules_with(&subject, &documents).map(Arc::new).or_usage()?;
        Ok((rules, Some(session)))
    }
}

/// The effect on the session's credentials for a request with this method, as far as the session shows it.
fn grants(session: &SessionView, method: &str) -> Grants {
    let state = |one: &GrantView| {
        let methods = &one.grant.methods;
        if !methods.is_empty() && methods.iter().all(|own| own != method) {
            return GrantState::OtherMethod;
        }
        match one.grant.uses {
            Some(uses) if one.used >= uses => {
                let why = "it went on as many requests as the grant allows";
                GrantState::Refused(Reason::BudgetExhausted, why.to_owned())
            }
            Some(_) | None => GrantState::Usable,
        }
    };
    let granted = session.grants.iter().filter(|one| !one.revoked);
    Grants {
        is_running: session.state == "running",
        credentials: granted.map(|one| (one.grant.name.as_str().into(), state(one))).collect(),
    }
}

/// The policies that the session names; the rest are its own.
fn loaded(session: &SessionView) -> Vec<String> {
    let mut loaded = session.policies.clone();
    for own in &session.documents {
        if let Some(at) = loaded.iter().rposition(|name| name == own) {
            loaded.remove(at);
        }
    }
    loaded
}
