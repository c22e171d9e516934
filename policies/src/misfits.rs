//! Rules that do not fit the vault or the configuration: valid as they are written, and requests go out without the credential
//! that the rule names, or are refused because of an address.
//!
//! Asked when files are checked and loaded, when a session is created and when a request is explained; never for a request.

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::field::{fold_name, same_name};
use model::{AddressClass, CredentialId, Host, PolicyName, RuleId, parameter_names};

use crate::combine::PolicySet;
use crate::explain::Explanation;
use crate::pattern::HostPattern;
use crate::problem::code;
use crate::rule::{Effect, Rule};
use crate::rules::Rules;
use crate::unenforced;

/// What is known of the vault and the configuration around the policies.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The credentials that are known.
    pub credentials: BTreeMap<CredentialId, CredentialFacts>,
    /// Whether these are all credentials that there are, so that any other name is an error.
    pub is_complete: bool,
    /// Fixed addresses of names in canonical form (`upstream.resolve`).
    pub resolve: BTreeMap<String, IpAddr>,
}

/// What is known of one credential; never its value.
#[derive(Clone, Debug, Default)]
pub struct CredentialFacts {
    /// Host patterns, with a port where it is not 443.
    pub audience: Vec<String>,
    /// Where a rule attaches it by itself, such as `header authorization`; `None` where it does not, or where that is unknown.
    pub location: Option<String>,
}

/// One rule that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The stable code, `EG` and four digits.
    pub code: &'static str,
    /// The policy of the rule.
    pub policy: PolicyName,
    /// The rule.
    pub rule: RuleId,
    /// What is wrong, in one sentence that names the rule.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "policy `{}`: {}; {}", self.policy, self.message, self.help)
    }
}

impl Rules {
    /// The credentials that its rules use, each as often as it is used.
    pub fn credentials(&self) -> impl Iterator<Item = &CredentialId> {
        self.all().iter().flat_map(|rule| &rule.credentials)
    }

    /// The rules of these policies that do not fit, or have a key without effect; those of policies that observe beside others are
    /// left out.
    pub fn misfits(&self, around: &Surroundings) -> Vec<Misfit> {
        self.all().iter().flat_map(|rule| of_loaded_rule(rule, around)).collect()
    }
}

impl PolicySet {
    /// The credentials that the rules of the `chosen` policies use, each as often as it is used.
    pub fn credentials(&self, chosen: impl Fn(&PolicyName) -> bool) -> impl Iterator<Item = &CredentialId> {
        let policies = self.policies().filter(move |policy| chosen(&policy.name));
        policies.flat_map(|policy| &policy.rules).flat_map(|rule| &rule.credentials)
    }

    /// The rules of the policies that are `chosen` and do not fit, or have a key without effect.
    pub fn misfits(&self, around: &Surroundings, chosen: impl Fn(&PolicyName) -> bool) -> Vec<Misfit> {
        let policies = self.policies().filter(|policy| chosen(&policy.name));
        policies.flat_map(|policy| &policy.rules).flat_map(|rule| of_loaded_rule(rule, around)).collect()
    }
}

impl Explanation {
    /// With what does not fit of the rule that decides.
    pub fn with_misfits(mut self, rules: &Rules, around: &Surroundings) -> Self {
        let Some(decides) = &self.decision.rule else { return self };
        let is_it = |misfit: &Misfit| misfit.policy == decides.policy && misfit.rule == decides.rule;
        self.warnings = rules.misfits(around).iter().filter(|one| is_it(one)).map(Misfit::to_string).collect();
        self
    }
}

/// Everything about one rule that is loaded: also the keys without effect, which a check of files reports at their places.
fn of_loaded_rule(rule: &Rule, around: &Surroundings) -> Vec<Misfit> {
    let unenforced = unenforced::of_rule(rule).into_iter().map(|one| Misfit {
        code: code::UNENFORCED,
        policy: rule.policy.clone(),
        rule: rule.id.clone(),
        message: format!(
            "rule `{}` ({}:{}, {}): {}",
            rule.id,
            rule.origin.file,
            rule.origin.line,
            code::UNENFORCED,
            one.message
        ),
        help: one.help.to_owned(),
    });
    of_rule(rule, around).into_iter().chain(unenforced).collect()
}

/// Everything about one rule and what is around it.
pub(crate) fn of_rule(rule: &Rule, around: &Surroundings) -> Vec<Misfit> {
    if rule.effect == Effect::Deny {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut note = |code, message, help: String| {
        found.push(Misfit { code, policy: rule.policy.clone(), rule: rule.id.clone(), message, help });
    };
    // An `ask` sends no request, so nothing goes out without a credential: see `unenforced.rs`.
    let is_ask = rule.effect == Effect::Ask;
    for credential in rule.credentials.iter().filter(|_| !is_ask) {
        match around.credentials.get(credential) {
            Some(facts) => {
                if let Some((message, help)) = outside(rule, credential, facts) {
                    note(code::OUTSIDE_AUDIENCE, message, help);
                }
            }
            None if around.is_complete => {
                let message = format!(
                    "rule `{}` uses `{credential}`, and the vault has no credential of this name: requests go out without it",
                    rule.id
                );
                let help = format!(
                    "put it with `egret vault put {credential}`, or correct the name (`egret vault list` prints all)"
                );
                note(code::UNKNOWN_CREDENTIAL, message, help);
            }
            None => {}
        }
    }
    if let Some((message, help)) = in_same_location(rule, around).filter(|_| !is_ask) {
        note(code::SAME_LOCATION, message, help);
    }
    for (name, address) in fixed(rule, around) {
        if let Some((message, help)) = unreachable(rule, name, *address) {
            note(code::RESOLVED_OUTSIDE, message, help);
        }
    }
    found
}

/// The first host and port of the rule that the audience lacks.
fn outside(rule: &Rule, credential: &CredentialId, facts: &CredentialFacts) -> Option<(String, String)> {
    let audience = places(facts);
    let mut places = rule.hosts.iter().flat_map(|host| rule.ports.iter().flatten().map(move |port| (host, *port)));
    let (host, port) = places.find(|(host, port)| !holds(&audience, host, *port))?;
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let message = format!(
        "rule `{}` uses `{credential}` at `{host}{port}`, which is not in its audience ({}): requests to it go out without the credential",
        rule.id,
        facts.audience.join(", ")
    );
    Some((
        message,
        format!("name hosts and ports of the audience, or put `{credential}` again with `{host}{port}` in it"),
    ))
}

/// The entries of an audience: a host pattern, and a port where it is not 443.
fn places(facts: &CredentialFacts) -> Vec<(HostPattern, u16)> {
    let place = |text: &String| {
        if let Ok(host) = HostPattern::parse(text) {
            return Some((host, 443));
        }
        let (host, port) = text.rsplit_once(':')?;
        Some((HostPattern::parse(host).ok()?, port.parse().ok()?))
    };
    facts.audience.iter().filter_map(place).collect()
}

/// Whether the audience of a credential has this host and port.
pub(crate) fn covers(facts: &CredentialFacts, host: &Host, port: u16) -> bool {
    places(facts).iter().any(|(own, at)| *at == port && own.matches(host))
}

/// Whether two credentials go to one location, in some spelling that servers read alike.
pub(crate) fn same_location(one: &str, other: &str) -> bool {
    let of_kind = |kind: &str| Some((one.strip_prefix(kind)?, other.strip_prefix(kind)?));
    if let Some((one, other)) = of_kind("header ") {
        return same_name(one, other);
    }
    if let Some((one, other)) = of_kind("query ") {
        let folded = |spelled| parameter_names(spelled).first().map(|name| fold_name(name).into_owned());
        return folded(one) == folded(other);
    }
    one == other
}

fn holds(audience: &[(HostPattern, u16)], host: &HostPattern, port: u16) -> bool {
    audience.iter().any(|(own, at)| *at == port && own.contains(host))
}

/// Two credentials of the rule that go to one location at one host.
fn in_same_location(rule: &Rule, around: &Surroundings) -> Option<(String, String)> {
    let known: Vec<_> = rule
        .credentials
        .iter()
        .filter_map(|credential| {
            let facts = around.credentials.get(credential)?;
            Some((credential, facts.location.as_deref()?, places(facts)))
        })
        .collect();
    let both = |a: &[(HostPattern, u16)], b: &[(HostPattern, u16)]| {
        let ports = || rule.ports.iter().flatten().copied();
        rule.hosts.iter().any(|host| ports().any(|port| holds(a, host, port) && holds(b, host, port)))
    };
    let mut pairs = known.iter().enumerate().flat_map(|(at, one)| known.iter().skip(at + 1).map(move |two| (one, two)));
    let ((first, location, _), (second, ..)) = pairs.find(|((_, location, audience), (_, other, others))| {
        same_location(location, other) && both(audience, others)
    })?;
    let message = format!(
        "rule `{}` uses `{first}` and `{second}`, which both go to {location}: a session that has both must send the placeholder of one of them",
        rule.id
    );
    Some((message, "write a rule for each credential, or grant a session only one of them".to_owned()))
}

/// The fixed addresses among which are those of the rule. A name is looked up, because there can be thousands of rules and of
/// addresses; only a rule with a wildcard is compared with all.
fn fixed<'a>(rule: &'a Rule, around: &'a Surroundings) -> Vec<(&'a String, &'a IpAddr)> {
    let by_name = |pattern: &HostPattern| match pattern {
        HostPattern::Exact(Host::Name(name)) => Some(around.resolve.get_key_value(&**name)),
        HostPattern::Exact(Host::V4(_) | Host::V6(_)) => Some(None),
        HostPattern::Child(_) | HostPattern::Below(_) | HostPattern::Any => None,
    };
    match rule.hosts.iter().map(by_name).collect::<Option<Vec<_>>>() {
        Some(found) => found.into_iter().flatten().collect(),
        None => around.resolve.iter().collect(),
    }
}

/// Whether the fixed address of a name that the rule covers is one that it may not dial.
fn unreachable(rule: &Rule, name: &str, address: IpAddr) -> Option<(String, String)> {
    if rule.allows_address(address) {
        return None;
    }
    let host = Host::parse(name).ok()?;
    if !rule.hosts.iter().any(|pattern| pattern.matches(&host)) {
        return None;
    }
    let why = match (&rule.addresses, AddressClass::of(address)) {
        (Some(_), _) => "the rule's `addresses` do not cover it",
        (None, _) => "it is not globally routable and the rule has no `addresses`",
    };
    let message = format!(
        "rule `{}` allows `{name}`, for which `upstream.resolve` gives {address}, but {why}: requests are refused as denied_address",
        rule.id
    );
    Some((message, format!("write `addresses: [{address}]` beside `allow`, or correct `upstream.resolve`")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PolicySource, compile};

    #[test]
    fn a_fixed_address_is_found_for_names_and_wildcards() {
        let names = |host: &str, address: &str| -> Vec<String> {
            let text = format!("policy: p\nrules:\n  - id: r\n    allow: {{host: {host}}}\n{address}");
            let resolve = ["a.example.com", "b.example.com", "c.a.example.org"]
                .map(|name| (name.to_owned(), [10, 0, 0, 1].into()));
            let around = Surroundings { resolve: resolve.into(), ..Surroundings::default() };
            let set = compile(&[PolicySource { name: "p.yaml".into(), text }]).unwrap();
            let misfits = set.misfits(&around, |_| true);
            misfits.iter().filter_map(|one| Some(one.message.split('`').nth(3)?.to_owned())).collect()
        };
        assert_eq!(names("A.example.com", ""), ["a.example.com"]);
        assert_eq!(names("[c.a.example.org, b.example.com, d.example.com]", "").len(), 2);
        assert_eq!(names("\"*.example.com\"", ""), ["a.example.com", "b.example.com"]);
        assert_eq!(names("\"**.example.org\"", ""), ["c.a.example.org"]);
        assert_eq!(names("a.example.com", "    addresses: [10.0.0.0/8]\n"), [""; 0]);
    }

    #[test]
    fn an_ask_sends_no_request_without_its_credential() {
        let codes = |effect: &str| -> Vec<&'static str> {
            let text = format!(
                "policy: p\nrules:\n  - id: r\n    {effect}: {{host: a.example.com}}\n    use: [missing, outside, one, other]\n"
            );
            let facts = |audience: &str| CredentialFacts {
                audience: vec![audience.to_owned()],
                location: Some("header authorization".to_owned()),
            };
            let credentials = [("outside", "b.example.com"), ("one", "a.example.com"), ("other", "a.example.com")]
                .map(|(name, audience)| (name.into(), facts(audience)));
            let around = Surroundings { credentials: credentials.into(), is_complete: true, ..Surroundings::default() };
            let set = compile(&[PolicySource { name: "p.yaml".into(), text }]).unwrap();
            set.misfits(&around, |_| true).iter().map(|misfit| misfit.code).collect()
        };
        assert_eq!(codes("allow"), ["EG0054", "EG0045", "EG0055"]);
        assert_eq!(codes("ask"), ["EG0060"]);
    }
}
