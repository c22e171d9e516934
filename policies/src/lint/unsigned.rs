//! Services that take only signed requests, which no kind of credential makes yet.

use super::Desk;
use crate::pattern::HostPattern;
use crate::policy::Policy;
use crate::problem::code;

/// Reports a `use` at AWS, which takes AWS Signature Version 4. Bedrock also takes API keys as bearer tokens.
pub(super) fn report(policy: &Policy, desk: &mut Desk<'_>) {
    for rule in policy.rules.iter().filter(|rule| !rule.credentials.is_empty()) {
        let Some(host) = rule.hosts.iter().find(|host| is_signed_only(host)) else { continue };
        let message = format!(
            "rule `{}` uses a credential at `{host}`, which takes only signed requests (AWS SigV4), and no kind of credential signs them yet",
            rule.id
        );
        let help = "remove `use`: the client has to sign, with `client_auth: allow` and a key of its own, or the objects have to be public";
        desk.rule(code::UNSIGNED, rule, message, help);
    }
}

fn is_signed_only(host: &HostPattern) -> bool {
    let text = host.to_string();
    let name = text.trim_start_matches("*.").trim_start_matches("*");
    let is_aws = [".amazonaws.com", ".amazonaws.com.cn"]
        .iter()
        .any(|end| format!(".{}", name.trim_start_matches('.')).ends_with(end));
    is_aws && !name.starts_with("bedrock")
}
