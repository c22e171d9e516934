//! One entry of `rules` to one rule: defaults filled in, patterns canonical, contradictions refused.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{AddressClass, CredentialId, PolicyName, RuleId, Scheme};
use serde_saphyr::{Location, Spanned};

use super::policy::{HostSets, check_name};
use crate::document::{Match, OneOrMany, RuleEntry, SchemeName};
use crate::pattern::{HostPattern, PathPattern, PatternError};
use crate::problem::{Reporter, code};
use crate::rule::{Effect, Rule};

/// The metadata services of the large clouds, to warn of ranges that hold one. What counts as one when a
/// request is dialed is `model::AddressClass`.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(std::net::Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(std::net::Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Compiles one rule; `None` where it has no effect to compile. What is wrong with its parts is reported,
/// and the parts that are right are kept, so that one run finds everything.
pub(super) fn compile(
    policy: &PolicyName,
    entry: &RuleEntry,
    sets: &mut HostSets<'_>,
    reporter: &mut Reporter<'_>,
) -> Option<Rule> {
    let (effect, matched) = effect(entry, reporter)?;
    let allow = effect == Effect::Allow;
    let scheme = matched.scheme.as_ref().map(|scheme| match scheme.value {
        SchemeName::Http => Scheme::Http,
        SchemeName::Https => Scheme::Https,
    });
    // What an allow leaves out has a default; what a deny leaves out it does not limit.
    let scheme = scheme.or(allow.then_some(Scheme::Https));
    let ports = matched.port.as_ref().map(|ports| compile_ports(ports, reporter));
    let default_port = scheme.filter(|_| allow).map(|scheme| BTreeSet::from([scheme.default_port()]));
    let rule = Rule {
        policy: policy.clone(),
        id: RuleId::new(entry.id.value.as_str()),
        effect,
        hosts: compile_hosts(&matched.host, effect, sets, reporter),
        scheme,
        ports: ports.or(default_port),
        methods: matched.methods.as_ref().map(|methods| compile_methods(methods, reporter)),
        paths: matched.path.as_ref().map(|paths| compile_paths(paths, reporter)),
        addresses: entry.addresses.as_ref().map(|addresses| compile_addresses(addresses, reporter)),
        credentials: entry.credentials.as_ref().map(|names| compile_credentials(names, reporter)).unwrap_or_default(),
        words: entry.reason.as_ref().map(|reason| reason.value.as_str().into()),
    };
    report_meaningless(entry, &rule, reporter);
    if allow {
        report_undialable(&matched.host, &rule, reporter);
    }
    Some(rule)
}

fn effect<'a>(entry: &'a RuleEntry, reporter: &mut Reporter<'_>) -> Option<(Effect, &'a Match)> {
    match (&entry.allow, &entry.deny) {
        (Some(matched), None) => Some((Effect::Allow, &matched.value)),
        (None, Some(matched)) => Some((Effect::Deny, &matched.value)),
        (None, None) => {
            reporter.error(
                code::EFFECT,
                entry.id.referenced,
                format!("rule `{}` neither allows nor denies", entry.id.value),
                "give it `allow` or `deny`",
            );
            None
        }
        (Some(_), Some(deny)) => {
            reporter.error(
                code::EFFECT,
                deny.referenced,
                format!("rule `{}` allows and denies", entry.id.value),
                "make two rules of it; a deny wins over every allow",
            );
            None
        }
    }
}

/// A list that limits a rule and has no entry would make a rule that never matches.
fn items<'a, T>(key: &str, list: &'a Spanned<OneOrMany<T>>, reporter: &mut Reporter<'_>) -> Vec<(&'a T, Location)> {
    let items = OneOrMany::items(list);
    if items.is_empty() {
        reporter.error(
            code::EMPTY_LIST,
            list.referenced,
            format!("`{key}` is an empty list, so the rule can never match"),
            format!("name what it matches, or leave `{key}` out"),
        );
    }
    items
}

fn compile_hosts(
    hosts: &Spanned<OneOrMany<String>>,
    effect: Effect,
    sets: &mut HostSets<'_>,
    reporter: &mut Reporter<'_>,
) -> Vec<HostPattern> {
    let mut patterns = Vec::new();
    for (text, at) in items("host", hosts, reporter) {
        let named = match text.strip_prefix('@') {
            None => host_pattern(text, at, reporter).into_iter().collect(),
            Some(set) => named_set(set, at, sets, reporter),
        };
        if effect == Effect::Allow {
            report_wide(&named, at, reporter);
        }
        patterns.extend(named);
    }
    patterns
}

fn named_set(set: &str, at: Location, sets: &mut HostSets<'_>, reporter: &mut Reporter<'_>) -> Vec<HostPattern> {
    if let Some(patterns) = sets.resolve(set) {
        return patterns.to_vec();
    }
    let known: Vec<String> = sets.names().map(|name| format!("\"@{name}\"")).collect();
    let help = if known.is_empty() {
        format!("define it: `hosts: {{{set}: [..]}}`")
    } else {
        format!("the sets of this policy are {}", known.join(", "))
    };
    reporter.error(code::UNKNOWN_SET, at, format!("there is no set `{set}`"), help);
    Vec::new()
}

/// Reads one pattern, or reports it.
pub(super) fn host_pattern(text: &str, at: Location, reporter: &mut Reporter<'_>) -> Option<HostPattern> {
    HostPattern::parse(text)
        .map_err(|PatternError { message, help }| reporter.error(code::HOST_PATTERN, at, message, help))
        .ok()
}

/// An allow names whom it trusts; nobody knows all the owners below a top-level domain.
fn report_wide(patterns: &[HostPattern], at: Location, reporter: &mut Reporter<'_>) {
    for pattern in patterns {
        if *pattern == HostPattern::Any {
            reporter.error(
                code::WIDE_WILDCARD,
                at,
                "`**` alone matches every host, so only a deny can say it",
                "name the hosts that are allowed",
            );
        } else if pattern.spans_a_top_level() {
            let message = format!("`{pattern}` spans a whole top-level domain");
            reporter.error(
                code::WIDE_WILDCARD,
                at,
                message,
                "put the wildcard below a name that somebody owns, as in `*.example.com`",
            );
        }
    }
}

fn compile_ports(ports: &Spanned<OneOrMany<u16>>, reporter: &mut Reporter<'_>) -> BTreeSet<u16> {
    let items = items("port", ports, reporter);
    for (_, at) in items.iter().filter(|(port, _)| **port == 0) {
        reporter.error(code::PORT, *at, "0 is not a port", "a port is a number from 1 to 65535");
    }
    items.into_iter().map(|(port, _)| *port).collect()
}

fn compile_methods(methods: &Spanned<OneOrMany<String>>, reporter: &mut Reporter<'_>) -> BTreeSet<Box<str>> {
    let items = items("methods", methods, reporter);
    for (method, at) in &items {
        if let Some(why) = method_error(method) {
            reporter.error(code::METHOD, *at, why, "methods are written as they are sent, such as GET or POST");
        }
    }
    items.into_iter().map(|(method, _)| method.as_str().into()).collect()
}

/// What is wrong with a method (RFC 9110 section 9.1); `None` where nothing is.
pub(super) fn method_error(method: &str) -> Option<String> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if method == "CONNECT" {
        return Some("CONNECT opens the way to a host and port; no rule names it".to_owned());
    }
    if method.is_empty()
        || method == "*"
        || !method.chars().all(token)
        || method.chars().any(|c| c.is_ascii_lowercase())
    {
        return Some(format!("`{method}` is not a method in upper case"));
    }
    None
}

fn compile_paths(paths: &Spanned<OneOrMany<String>>, reporter: &mut Reporter<'_>) -> Vec<PathPattern> {
    let mut patterns = Vec::new();
    for (text, at) in items("path", paths, reporter) {
        match PathPattern::parse(text) {
            Ok(pattern) => patterns.push(pattern),
            Err(PatternError { message, help }) => reporter.error(code::PATH_PATTERN, at, message, help),
        }
    }
    patterns
}

fn compile_addresses(addresses: &Spanned<OneOrMany<String>>, reporter: &mut Reporter<'_>) -> BTreeSet<IpNet> {
    let mut nets = BTreeSet::new();
    let items = items("addresses", addresses, reporter);
    for (text, at) in &items {
        match parse_net(text) {
            Ok(net) => {
                nets.insert(net);
            }
            Err(help) => reporter.error(code::CIDR, *at, format!("`{text}` is not an address range"), help),
        }
    }
    for (text, at) in items {
        report_metadata(text, at, &nets, reporter);
    }
    nets
}

fn parse_net(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let net: IpNet = text.parse().map_err(|_| "write it as 10.1.0.0/16 or fd00:1::/32".to_owned())?;
    if net.addr() != net.network() {
        Err(format!("the range that holds this address is {}", net.trunc()))
    } else {
        Ok(net)
    }
}

fn report_metadata(text: &str, at: Location, nets: &BTreeSet<IpNet>, reporter: &mut Reporter<'_>) {
    let Ok(net) = parse_net(text) else { return };
    let exact = |address: &IpAddr| nets.contains(&IpNet::from(*address));
    for address in METADATA.iter().filter(|address| net.contains(*address) && !exact(address)) {
        let message = format!("`{text}` holds the metadata service {address}, which a range never allows");
        reporter.warn(code::METADATA_RANGE, at, message, format!("name it exactly ({address}) where it is meant"));
    }
}

fn compile_credentials(names: &Spanned<OneOrMany<String>>, reporter: &mut Reporter<'_>) -> Vec<CredentialId> {
    let mut credentials: Vec<CredentialId> = Vec::new();
    for (name, at) in items("use", names, reporter) {
        check_name("credential", name, at, reporter);
        let name = CredentialId::new(name.as_str());
        if !credentials.contains(&name) {
            credentials.push(name);
        }
    }
    credentials
}

fn report_meaningless(entry: &RuleEntry, rule: &Rule, reporter: &mut Reporter<'_>) {
    if let Some(credentials) = &entry.credentials {
        let at = credentials.referenced;
        if rule.effect == Effect::Deny {
            reporter.error(code::MEANINGLESS_KEY, at, "a rule that denies uses no credentials", "remove `use`");
        } else if rule.scheme == Some(Scheme::Http) {
            reporter.error(
                code::CLEARTEXT_CREDENTIAL,
                at,
                "credentials never travel in cleartext",
                "allow https, or remove `use`",
            );
        }
    }
    if let Some(addresses) = &entry.addresses
        && rule.effect == Effect::Deny
    {
        reporter.error(
            code::MEANINGLESS_KEY,
            addresses.referenced,
            "`addresses` bounds what an allowed request may dial; a rule that denies dials nothing",
            "remove `addresses`, or name the addresses as `host`",
        );
    }
    if let Some(reason) = &entry.reason
        && rule.effect == Effect::Allow
    {
        reporter.warn(
            code::MEANINGLESS_KEY,
            reason.referenced,
            "`reason` is said to whoever is refused, and this rule refuses nobody",
            "put it into a comment",
        );
    }
}

/// An address literal that the dial would refuse makes a rule that never works.
fn report_undialable(hosts: &Spanned<OneOrMany<String>>, rule: &Rule, reporter: &mut Reporter<'_>) {
    for pattern in &rule.hosts {
        let HostPattern::Exact(host) = pattern else { continue };
        let Some(address) = host.address().filter(|address| !rule.allows_address(*address)) else { continue };
        let text = pattern.to_string();
        let at =
            OneOrMany::items(hosts).into_iter().find(|(item, _)| **item == text).map_or(hosts.referenced, |(_, at)| at);
        let message = match AddressClass::of(address) {
            AddressClass::Global => format!("`addresses` does not cover {address}, so the rule can never match"),
            AddressClass::Special | AddressClass::Metadata => {
                format!("{address} is not globally routable and is dialed only where `addresses` names it")
            }
        };
        reporter.error(
            code::UNDIALABLE,
            at,
            message,
            format!("add it beside `allow`: `addresses: [\"{}\"]`", IpNet::from(address)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_services_warned_of_are_those_never_dialed_by_range() {
        assert!(METADATA.iter().all(|address| AddressClass::of(*address) == AddressClass::Metadata));
    }
}
