//! Hosts that many customers share: who may write there with a key of their own can send data to an account of their own.

use super::Desk;
use crate::pattern::HostPattern;
use crate::policy::Policy;
use crate::problem::code;
use crate::rule::{Effect, Rule};

const READING: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// Hosts that distinguish their customers only by the credential of a request.
const SHARED: &[&str] = &[
    "anthropic.com",
    "api.airtable.com",
    "api.anthropic.com",
    "api.bitbucket.org",
    "api.cloudflare.com",
    "api.cohere.com",
    "api.deepseek.com",
    "api.discord.com",
    "api.dropboxapi.com",
    "api.fastly.com",
    "api.figma.com",
    "api.github.com",
    "api.groq.com",
    "api.linear.app",
    "api.mailgun.net",
    "api.mistral.ai",
    "api.notion.com",
    "api.openai.com",
    "api.replicate.com",
    "api.sendgrid.com",
    "api.stripe.com",
    "api.telegram.org",
    "api.together.xyz",
    "api.trello.com",
    "api.twilio.com",
    "api.vercel.com",
    "api.x.ai",
    "api.x.com",
    "auth.docker.io",
    "bitbucket.org",
    "chatgpt.com",
    "claude.ai",
    "claude.com",
    "cloudcode-pa.googleapis.com",
    "content.dropboxapi.com",
    "crates.io",
    "discord.com",
    "docs.google.com",
    "drive.google.com",
    "dropbox.com",
    "generativelanguage.googleapis.com",
    "ghcr.io",
    "gist.github.com",
    "github.com",
    "gitlab.com",
    "gmail.googleapis.com",
    "graph.facebook.com",
    "graph.microsoft.com",
    "hooks.slack.com",
    "huggingface.co",
    "idbroker.webex.com",
    "login.microsoftonline.com",
    "openrouter.ai",
    "pastebin.com",
    "quay.io",
    "registry-1.docker.io",
    "registry.npmjs.org",
    "rubygems.org",
    "s3.amazonaws.com",
    "sheets.googleapis.com",
    "slack.com",
    "storage.googleapis.com",
    "sts.amazonaws.com",
    "upload.pypi.org",
    "uploads.github.com",
    "webexapis.com",
    "www.googleapis.com",
    "zoom.us",
];

/// Reports an allow of writing at such a host that nothing ties to an account of the organization.
pub(super) fn report(policy: &Policy, desk: &mut Desk<'_>) {
    // The rules of a ceiling are under the `use` of other policies.
    if policy.ceiling {
        return;
    }
    let writes = |rule: &&std::sync::Arc<Rule>| rule.effect != Effect::Deny && !rule.pass_through && !only_reads(rule);
    for rule in policy.rules.iter().filter(writes).filter(|rule| rule.credentials.is_empty()) {
        let tied = |host: &HostPattern| policy.rules.iter().any(|other| ties(other, rule, host));
        let Some(shared) = rule.hosts.iter().filter(|host| !tied(host)).find_map(shared_by) else { continue };
        let message = format!(
            "rule `{}` allows writing to `{shared}`, which many customers share, and ties the request to no account",
            rule.id
        );
        let help = "name a credential in `use`, set a tenant restriction with `set`, or write `client_auth: refuse`";
        desk.rule(code::SHARED_HOST, rule, message, help);
    }
}

/// Whether the other rule's `set` or `client_auth` applies to every request of this host that the rule allows.
fn ties(other: &Rule, rule: &Rule, host: &HostPattern) -> bool {
    let itself = other.id == rule.id;
    let covers =
        other.is_unconditional() && other.effect != Effect::Deny && other.hosts.iter().any(|own| own.contains(host));
    (itself || covers) && (!other.set.is_empty() || other.client_auth.is_some())
}

fn shared_by(pattern: &HostPattern) -> Option<&'static str> {
    SHARED.iter().copied().find(|name| HostPattern::parse(name).is_ok_and(|shared| pattern.contains(&shared)))
}

/// By its methods, or because it is the request of `git fetch`, which is a POST.
fn only_reads(rule: &Rule) -> bool {
    let fetches = |path: &crate::pattern::PathPattern| path.to_string().ends_with("/git-upload-pack");
    rule.methods.as_ref().is_some_and(|methods| methods.iter().all(|method| READING.contains(&&**method)))
        || rule.paths.as_ref().is_some_and(|paths| paths.iter().all(fetches))
}
