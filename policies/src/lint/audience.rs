//! Credentials where they may not go.

use super::{Audiences, Desk};
use crate::combine::Policy;
use crate::pattern::HostPattern;
use crate::problem::code;

/// Reports a `use` of a credential at a host that its audience does not hold.
pub(super) fn report(policy: &Policy, audiences: &Audiences, desk: &mut Desk<'_>) {
    for rule in &policy.rules {
        for credential in &rule.credentials {
            let Some(audience) = audiences.get(credential) else { continue };
            let held: Vec<(HostPattern, u16)> = audience.iter().filter_map(|text| place(text)).collect();
            let places = rule.hosts.iter().flat_map(|host| rule.ports.iter().flatten().map(move |port| (host, port)));
            let holds = |host: &HostPattern, port: u16| held.iter().any(|(own, at)| *at == port && own.contains(host));
            if let Some((host, port)) = places.into_iter().find(|(host, port)| !holds(host, **port)) {
                let port = if *port == 443 { String::new() } else { format!(":{port}") };
                let message = format!(
                    "rule `{}` uses `{credential}` at `{host}{port}`, which its audience ({}) does not hold: it is never added there",
                    rule.id,
                    audience.join(", ")
                );
                let help = "name hosts of the audience, or put the credential again with a wider one";
                desk.rule(code::OUTSIDE_AUDIENCE, rule, message, help);
            }
        }
    }
}

/// One entry of an audience: a host pattern, and a port where it is not 443.
fn place(text: &str) -> Option<(HostPattern, u16)> {
    if let Ok(host) = HostPattern::parse(text) {
        return Some((host, 443));
    }
    let (host, port) = text.rsplit_once(':')?;
    Some((HostPattern::parse(host).ok()?, port.parse().ok()?))
}
