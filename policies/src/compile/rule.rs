//! One entry of `rules` to one rule: defaults filled in, sets resolved, contradictions refused.

use std::collections::{BTreeSet, HashSet};

use model::{AddressClass, PolicyName, RuleId, Scheme};
use serde_saphyr::Spanned;

use super::parts;
use super::sets::HostSets;
use crate::document::{Match, OneOrMany, RuleEntry, Scalar, SchemeName, place};
use crate::pattern::HostPattern;
use crate::problem::{Place, Reporter, code, quote};
use crate::rule::{Effect, Rule};

/// Compiles one rule; `None` where it says neither or both of allow and deny.
pub(super) fn compile(
    policy: &PolicyName,
    entry: &RuleEntry,
    sets: &mut HostSets<'_>,
    reporter: &mut Reporter<'_>,
) -> Option<Rule> {
    let (effect, matched) = effect(entry, reporter)?;
    let (scheme, ports) = scheme_and_ports(effect, matched, reporter);
    let rule = Rule {
        policy: policy.clone(),
        id: RuleId::new(entry.id.value.as_str()),
        effect,
        hosts: hosts(&matched.host, effect, sets, reporter),
        scheme,
        ports,
        methods: matched.methods.as_ref().map(|list| parts::methods(list, reporter)),
        paths: matched.path.as_ref().map(|list| parts::paths(list, reporter)),
        addresses: entry.addresses.as_ref().map(|list| parts::addresses(list, reporter)),
        credentials: entry.credentials.as_ref().map(|list| parts::credentials(list, reporter)).unwrap_or_default(),
        words: entry.reason.as_ref().map(|reason| reason.value.as_str().into()),
    };
    match effect {
        Effect::Allow => report_allow(entry, matched, &rule, reporter),
        Effect::Deny => report_deny(entry, reporter),
    }
    Some(rule)
}

fn effect<'a>(entry: &'a RuleEntry, reporter: &mut Reporter<'_>) -> Option<(Effect, &'a Match)> {
    let id = quote(&entry.id.value);
    match (&entry.allow, &entry.deny) {
        (Some(matched), None) => return Some((Effect::Allow, &matched.value)),
        (None, Some(matched)) => return Some((Effect::Deny, &matched.value)),
        (None, None) => {
            reporter.error(
                code::EFFECT,
                place(&entry.id),
                format!("rule {id} neither allows nor denies"),
                "give it `allow` or `deny`",
            );
        }
        (Some(_), Some(deny)) => {
            let help = "make two rules of it; a deny wins over every allow";
            reporter.error(code::EFFECT, place(deny), format!("rule {id} allows and denies"), help);
        }
    }
    None
}

/// What an allow leaves out has a default; what a deny leaves out it does not limit, since a deny that
/// another port or scheme escapes protects nothing.
fn scheme_and_ports(
    effect: Effect,
    matched: &Match,
    reporter: &mut Reporter<'_>,
) -> (Option<Scheme>, Option<BTreeSet<u16>>) {
    let scheme = matched.scheme.as_ref().map(|scheme| match scheme.value {
        SchemeName::Http => Scheme::Http,
        SchemeName::Https => Scheme::Https,
    });
    let ports = matched.port.as_ref().map(|list| parts::ports(list, reporter));
    match effect {
        Effect::Deny => (scheme, ports),
        Effect::Allow => {
            let scheme = scheme.unwrap_or(Scheme::Https);
            (Some(scheme), Some(ports.unwrap_or_else(|| BTreeSet::from([scheme.default_port()]))))
        }
    }
}

fn hosts(
    list: &Spanned<OneOrMany>,
    effect: Effect,
    sets: &mut HostSets<'_>,
    reporter: &mut Reporter<'_>,
) -> Vec<HostPattern> {
    let mut hosts = Vec::new();
    let mut seen = HashSet::new();
    for (text, at) in parts::texts("host", list, reporter) {
        let named = match text.strip_prefix('@') {
            None => parts::host_pattern(text, at, reporter).into_iter().collect(),
            Some(set) => sets.resolve(set, at, reporter),
        };
        if effect == Effect::Allow {
            named.iter().for_each(|pattern| report_wide(pattern, at, reporter));
        }
        hosts.extend(named.into_iter().filter(|pattern| seen.insert(pattern.clone())));
    }
    hosts
}

/// An allow names whom it trusts; nobody knows all the owners below a top-level domain.
fn report_wide(pattern: &HostPattern, at: Place, reporter: &mut Reporter<'_>) {
    if *pattern == HostPattern::Any {
        let message = "`**` alone matches every host, so only a deny can say it";
        reporter.error(code::WIDE_WILDCARD, at, message, "name the hosts that are allowed");
    } else if pattern.spans_a_top_level() {
        let help = "put the wildcard below a name that somebody owns, as in \"*.example.com\"";
        reporter.error(code::WIDE_WILDCARD, at, format!("`{pattern}` spans a whole top-level domain"), help);
    }
}

fn report_allow(entry: &RuleEntry, matched: &Match, rule: &Rule, reporter: &mut Reporter<'_>) {
    if let Some(credentials) = &entry.credentials
        && rule.scheme == Some(Scheme::Http)
    {
        let help = "allow https, or remove `use`";
        reporter.error(code::CLEARTEXT_CREDENTIAL, place(credentials), "credentials never travel in cleartext", help);
    }
    if let Some(reason) = &entry.reason {
        let message = "`reason` is said to whoever is refused, and this rule refuses nobody";
        reporter.warn(code::MEANINGLESS_KEY, place(reason), message, "make it a comment");
    }
    for pattern in &rule.hosts {
        report_undialable(pattern, &matched.host, rule, reporter);
    }
}

fn report_deny(entry: &RuleEntry, reporter: &mut Reporter<'_>) {
    if let Some(credentials) = &entry.credentials {
        reporter.error(
            code::MEANINGLESS_KEY,
            place(credentials),
            "a rule that denies uses no credentials",
            "remove `use`",
        );
    }
    if let Some(addresses) = &entry.addresses {
        let message = "`addresses` bounds what an allowed request may dial; a rule that denies dials nothing";
        reporter.error(code::MEANINGLESS_KEY, place(addresses), message, "remove it, or name the addresses as `host`");
    }
}

/// An address literal that the dial would refuse makes a rule that never works.
fn report_undialable(pattern: &HostPattern, written: &Spanned<OneOrMany>, rule: &Rule, reporter: &mut Reporter<'_>) {
    let HostPattern::Exact(host) = pattern else { return };
    let Some(address) = host.address().filter(|address| !rule.allows_address(*address)) else { return };
    let is_it = |item: &Scalar| *item == Scalar::Text(host.to_string());
    let at = OneOrMany::items(written).into_iter().find(|(item, _)| is_it(item)).map_or(place(written), |(_, at)| at);
    let message = match AddressClass::of(address) {
        AddressClass::Global => format!("`addresses` does not cover {address}, so the rule can never match"),
        AddressClass::Special => format!("{address} is not globally routable, and `addresses` does not cover it"),
        AddressClass::Metadata => format!("{address} is a metadata service, and `addresses` does not name it exactly"),
    };
    let help = format!("add it beside `allow`: `addresses: [\"{address}\"]`");
    reporter.error(code::UNDIALABLE, at, message, help);
}
