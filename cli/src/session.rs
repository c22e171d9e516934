//! `egret session`: sessions for sandboxes.

use std::collections::BTreeMap;

use anyhow::anyhow;
use api::{
    EndRequest, GrantDocument, GrantView, LimitsDocument, List, Rollout, SessionCreated, SessionRequest, SessionToken,
    SessionView, TokenQuery, ViewDocument, encode,
};

use crate::Context;
use crate::client::{Client, IfMissing, converse, path_with};
use crate::exit::{Answer, Failure};
use crate::output::{self, Format, shell_quoted};
use crate::session_options::{NO_POLICY, documents, grant, looks_like_path};

/// Open and end sessions.
#[derive(clap::Args)]
pub(crate) struct Session {
    #[command(subcommand)]
    command: SessionCommand,
}

#[derive(clap::Subcommand)]
enum SessionCommand {
    /// Create a session; its token and placeholders are shown only once.
    Create(Box<Create>),
    /// List live and recently ended sessions.
    List {
        /// How to print it.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show one session.
    Show {
        /// The id of the session.
        id: String,
        /// How to print it.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Replace a session's token and print its environment. The old token stops working and its connections are closed; placeholders
    /// remain valid.
    Env {
        /// The id of the session.
        id: String,
        /// The path of `trust/` inside the sandbox, if it differs from the path here.
        #[arg(long, value_name = "DIR")]
        ca_path: Option<String>,
        /// How to print it; for a shell: `eval "$(egret session env ID --format sh)"`.
        #[arg(long, value_enum, default_value_t)]
        format: Shown,
    },
    /// Revoke a credential of a session; responses in progress with it are terminated.
    Revoke {
        /// The session's id.
        id: String,
        /// The credential.
        credential: String,
    },
    /// End a session, or all of them; requests in progress are terminated.
    #[command(group = clap::ArgGroup::new("which").required(true).args(["id", "all"]))]
    End {
        /// The id of the session.
        id: Option<String>,
        /// End every live session: the switch for incidents.
        #[arg(long)]
        all: bool,
        /// With --all: end only the sessions to which this credential was granted.
        #[arg(long, value_name = "NAME", requires = "all", conflicts_with = "id")]
        credential: Option<String>,
    },
}

#[derive(clap::Args)]
struct Create {
    /// A policy by name, or a policy file that is in force for this session alone; none means that nothing is allowed.
    #[arg(long = "policy", value_name = "NAME|FILE")]
    policies: Vec<String>,
    /// A credential it may use; bounds may follow: github,uses=10,for=15m,methods=GET+HEAD,per=tool_call.
    #[arg(long = "credential", value_name = "NAME", value_parser = grant)]
    credentials: Vec<GrantDocument>,
    /// A policy with `mode: observe` for a share of sessions, such as candidate@25; without @, for all.
    #[arg(long, value_name = "NAME@PERCENT", value_parser = crate::session_options::rollout)]
    observe: Vec<Rollout>,
    /// Limits for all its requests together: requests=600/m,concurrent=8,request_body=10MiB,response_body=1GiB,bytes_out=1GiB.
    #[arg(long = "limit", value_name = "NAME=LIMIT,..", value_parser = limit)]
    limits: Vec<LimitsDocument>,
    /// How long it lives, such as 90s, 1h or 7d [default: 24h].
    #[arg(long, value_name = "TIME")]
    ttl: Option<String>,
    /// The person on whose behalf it works.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The agent's name.
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// The tenant it belongs to.
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// A label.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// The path of `trust/` inside the sandbox, if it differs from the path here.
    #[arg(long, value_name = "DIR")]
    ca_path: Option<String>,
    /// Open a unix socket for this session alone: its clients need no proxy credentials. Mount its folder into the sandbox.
    #[arg(long)]
    listen: bool,
    /// The user whose processes are its clients: with --listen on its own socket, otherwise on the unix sockets of listen.proxy.
    #[arg(long, value_name = "uid:NUMBER")]
    peer: Option<String>,
    /// How to print it; for a shell: `eval "$(egret session create --format sh)"`.
    #[arg(long, value_enum, default_value_t)]
    format: Shown,
}

/// How a new session is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Shown {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// Lines for a shell, which reads them with `eval "$(..)"`.
    Sh,
    /// Lines for docker run --env-file.
    Docker,
}

/// Limits for a whole session: names with their values.
fn limit(text: &str) -> Result<LimitsDocument, String> {
    let mut limits = LimitsDocument::default();
    for part in text.split(',') {
        let (name, value) = part.split_once('=').ok_or("write NAME=LIMIT, such as requests=600/m")?;
        let known = "the limits are requests, concurrent, request_body, response_body and bytes_out";
        let slot = limits.slot(name).ok_or_else(|| format!("there is no limit {name:?}; {known}"))?;
        if slot.replace(value.to_owned()).is_some() {
            return Err(format!("{name} is given twice"));
        }
    }
    Ok(limits)
}

/// The limits of several options as one.
fn merge_limits(given: &[LimitsDocument]) -> Result<LimitsDocument, Failure> {
    let mut all = LimitsDocument::default();
    for (name, value) in given.iter().flat_map(LimitsDocument::named) {
        if all.slot(name).and_then(|slot| slot.replace(value.to_owned())).is_some() {
            return Err(Failure::usage(anyhow!("the limit {name} is given twice")));
        }
    }
    Ok(all)
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Session {
    /// # Errors
    /// 1 if the session is not found, 2 if its options are invalid, 3 if no sidecar answers.
    pub(crate) fn execute(&self, context: &Context) -> Answer {
        match &self.command {
            SessionCommand::Create(create) => create.execute(context),
            SessionCommand::List { format } => list(context, *format),
            SessionCommand::Show { id, format } => show(context, id, *format),
            SessionCommand::Env { id, ca_path, format } => renew(context, id, ca_path.clone(), *format),
            SessionCommand::Revoke { id, credential } => revoke(context, id, credential),
            SessionCommand::End { id: Some(id), .. } => end(context, id),
            SessionCommand::End { id: None, credential, .. } => end_all(context, credential.clone()),
        }
    }
}

impl Create {
    fn execute(&self, context: &Context) -> Answer {
        let (files, names): (Vec<&String>, Vec<&String>) = self.policies.iter().partition(|text| looks_like_path(text));
        let mut labels = BTreeMap::new();
        for (key, value) in &self.labels {
            if labels.insert(key.clone(), value.clone()).is_some() {
                return Err(Failure::usage(anyhow!("the label {key:?} is given twice")));
            }
        }
        let request = SessionRequest {
            tenant: self.tenant.clone(),
            user: self.user.clone(),
            agent: self.agent.clone(),
            labels,
            policies: names.into_iter().cloned().collect(),
            observe: self.observe.clone(),
            documents: documents(files.into_iter())?,
            credentials: self.credentials.clone(),
            limits: merge_limits(&self.limits)?,
            ttl: self.ttl.clone(),
            ca_path: self.ca_path.clone(),
            listen: self.listen,
            peer: self.peer.clone(),
        };
        let (created, sidecar) = converse(async {
            let mut client = Client::find(context, IfMissing::Fail).await?;
            let created: SessionCreated = client.post("/v1/sessions", &request).await?;
            Ok((created, client.is_sidecar()))
        })?;
        self.print(&created)?;
        created.warnings.iter().for_each(|warning| output::say(&format!("warning: {warning}")));
        if !sidecar {
            output::say("no sidecar is running; the session can be used once `egret serve` does");
        }
        if self.policies.is_empty() {
            output::say(NO_POLICY);
        }
        Ok(())
    }

    fn print(&self, created: &SessionCreated) -> Answer {
        match self.format {
            Shown::Json => return output::json(created),
            Shown::Sh => output::print(&shell_lines(&created.env)),
            Shown::Docker => output::print(&docker_lines(&created.env)),
            Shown::Table => {
                let expires = created.session.expires.map(|end| end.to_string()).unwrap_or_default();
                let mut facts = vec![
                    ("id", created.session.id.clone()),
                    ("token", created.token.clone()),
                    ("proxy", created.proxy_url.clone()),
                    ("expires", expires),
                    ("trust", created.ca.bundle.clone()),
                ];
                facts.extend(created.session.listener.clone().map(|path| ("listener", path)));
                facts.extend(created.session.peer.clone().map(|peer| ("peer", peer)));
                let offered = created.placeholders.iter();
                facts.extend(offered.map(|(name, text)| ("placeholder", format!("{text} ({name})"))));
                output::facts(&facts);
            }
        }
        Ok(())
    }
}

/// Replaces the token of a session.
fn renew(context: &Context, id: &str, ca_path: Option<String>, format: Shown) -> Answer {
    let path = path_with(&format!("/v1/sessions/{}/token", encode(id)), &TokenQuery { ca_path })?;
    let renewed: SessionToken = converse(async {
        let mut client = Client::find(context, IfMissing::Fail).await?;
        client.post_empty(&path).await
    })?;
    match format {
        Shown::Json => return output::json(&renewed),
        Shown::Sh => output::print(&shell_lines(&renewed.env)),
        Shown::Docker => output::print(&docker_lines(&renewed.env)),
        Shown::Table => output::facts(&[("id", renewed.id), ("token", renewed.token), ("proxy", renewed.proxy_url)]),
    }
    Ok(())
}

/// `export` lines, each value quoted.
fn shell_lines(env: &BTreeMap<String, String>) -> String {
    env.iter().map(|(name, value)| format!("export {name}={}\n", shell_quoted(value))).collect()
}

/// `NAME=value` lines; docker takes the rest of the line literally.
fn docker_lines(env: &BTreeMap<String, String>) -> String {
    env.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
}

fn list(context: &Context, format: Format) -> Answer {
    let found: List<SessionView> =
        converse(async { Client::find(context, IfMissing::Fail).await?.get("/v1/sessions").await })?;
    if format == Format::Json {
        return output::json(&found.items);
    }
    let rows = found.items.into_iter().map(|one| {
        let expires = one.expires.map(|end| end.to_string()).unwrap_or_else(|| "never".to_owned());
        let who = one.user.or(one.agent).unwrap_or_default();
        [one.id, one.state, who, one.policies.join(","), one.credentials.join(","), expires]
    });
    output::table(["id", "state", "who", "policies", "credentials", "expires"], rows);
    Ok(())
}

fn show(context: &Context, id: &str, format: Format) -> Answer {
    let path = format!("/v1/sessions/{}", encode(id));
    let one: SessionView = converse(async { Client::find(context, IfMissing::Fail).await?.get(&path).await })?;
    if format == Format::Json {
        return output::json(&one);
    }
    let labels: Vec<_> = one.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let time = |time: Option<model::Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
    output::facts(&[
        ("id", one.id),
        ("state", one.state),
        ("tenant", one.tenant),
        ("user", one.user.unwrap_or_default()),
        ("agent", one.agent.unwrap_or_default()),
        ("labels", labels.join(", ")),
        ("policies", one.policies.join(", ")),
        ("of its own", one.documents.join(", ")),
        ("judged by", one.view.map(judged).unwrap_or_default()),
        ("credentials", one.grants.iter().map(told).collect::<Vec<_>>().join("; ")),
        ("limits", limits_text(&one.limits, one.bytes_out)),
        ("listener", one.listener.unwrap_or_default()),
        ("peer", one.peer.unwrap_or_default()),
        ("created", one.created.to_string()),
        ("expires", time(one.expires)),
        ("ended", time(one.ended)),
    ]);
    Ok(())
}

/// Limits in words: `requests 600/m, bytes_out 1GiB (used 4096)`.
fn limits_text(limits: &LimitsDocument, bytes_out: Option<u64>) -> String {
    let used =
        |name| bytes_out.filter(|_| name == "bytes_out").map_or_else(String::new, |used| format!(" (used {used})"));
    limits.named().map(|(name, limit)| format!("{name} {limit}{}", used(name))).collect::<Vec<_>>().join(", ")
}

/// Its rules: the digest in its records, or why it has none.
fn judged(view: ViewDocument) -> String {
    view.snapshot.or(view.unusable.map(|why| format!("nothing: {why}"))).unwrap_or_default()
}

/// A grant in words: `github (used 3 of 10, for 15m, GET HEAD)`.
fn told(grant: &GrantView) -> String {
    let GrantView { grant: GrantDocument { name, uses, time, methods, per }, used, revoked } = grant;
    let used = match uses {
        Some(uses) if per.is_none() => format!("used {used} of {uses}"),
        Some(uses) => format!("used {used}, {uses} a tool call"),
        None => format!("used {used}"),
    };
    let more = [
        time.as_ref().map(|time| format!("for {time}")),
        (!methods.is_empty()).then(|| methods.join(" ")),
        per.as_ref().map(|_| "by the tool call".to_owned()),
        revoked.then(|| "taken away".to_owned()),
    ];
    let all: Vec<String> = std::iter::once(used).chain(more.into_iter().flatten()).collect();
    format!("{name} ({})", all.join(", "))
}

fn revoke(context: &Context, id: &str, credential: &str) -> Answer {
    let path = format!("/v1/sessions/{}/credentials/{}", encode(id), encode(credential));
    converse(async { Client::find(context, IfMissing::Fail).await?.delete(&path).await })?;
    output::say(&format!("the session {id} has lost the credential {credential}"));
    Ok(())
}

fn end(context: &Context, id: &str) -> Answer {
    let path = format!("/v1/sessions/{}/end", encode(id));
    let one: SessionView = converse(async { Client::find(context, IfMissing::Fail).await?.post_empty(&path).await })?;
    output::say(&format!("the session {} is over", one.id));
    Ok(())
}

/// Ends every live session, or those with the credential; prints their ids.
fn end_all(context: &Context, credential: Option<String>) -> Answer {
    let request = EndRequest { credential };
    let ended: List<SessionView> =
        converse(async { Client::find(context, IfMissing::Fail).await?.post("/v1/sessions/end", &request).await })?;
    for one in &ended.items {
        output::print(&format!("{}\n", one.id));
    }
    let number = ended.items.len();
    let only = request.credential.map(|name| format!(" with the credential {}", output::visible(&name)));
    output::say(&format!(
        "ended {number} {}{}",
        if number == 1 { "session" } else { "sessions" },
        only.unwrap_or_default()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_every_value_as_it_is() {
        let env = BTreeMap::from([
            ("A".to_owned(), "plain/path:1".to_owned()),
            ("B".to_owned(), "it's $HOME `x` \"y\"".to_owned()),
            ("C".to_owned(), "a|b".to_owned()),
        ]);
        assert_eq!(shell_lines(&env), "export A=plain/path:1\nexport B='it'\\''s $HOME `x` \"y\"'\nexport C='a|b'\n");
        let script = format!("{}printf %s \"$B\"", shell_lines(&env));
        let said = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
        assert_eq!(String::from_utf8(said.stdout).unwrap(), env["B"]);
    }

    #[test]
    fn a_grant_is_a_name_with_bounds() {
        assert_eq!(grant("github"), Ok(GrantDocument::of("github")));
        let bounded = grant("github,uses=10,for=15m,methods=GET+HEAD,per=tool_call").unwrap();
        assert_eq!((bounded.uses, bounded.time.as_deref()), (Some(10), Some("15m")));
        assert_eq!((bounded.methods.join(" "), bounded.per.as_deref()), ("GET HEAD".to_owned(), Some("tool_call")));
        let view = GrantView { grant: bounded, used: 3, revoked: false };
        assert_eq!(told(&view), "github (used 3, 10 a tool call, for 15m, GET HEAD, by the tool call)");
        for wrong in ["github,uses=ten", "github,often", "github,use=1", "github,uses=-1", "github,uses=1,uses=5"] {
            assert!(grant(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits_are_names_with_what_they_allow() {
        let limits = limit("requests=600/m,bytes_out=1GiB").unwrap();
        assert_eq!(limits_text(&limits, Some(4096)), "requests 600/m, bytes_out 1GiB (used 4096)");
        for wrong in ["requests", "often=1", "requests=1/s,requests=2/s", ""] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
        assert!(merge_limits(&[limits.clone(), limit("concurrent=8").unwrap()]).is_ok());
        assert!(merge_limits(&[limits.clone(), limits]).is_err());
    }

    #[test]
    fn labels_are_pairs() {
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(label("a").is_err());
    }
}
