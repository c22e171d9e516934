//! One entry of `rules` to one rule: defaults filled in, sets resolved, contradictions refused.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use model::{AddressClass, PolicyName, RuleId, Scheme, Timestamp};

use super::sets::HostSets;
use super::{identity, parts};
use crate::document::{Match, OneOrMany, RuleEntry, Scalar, SchemeName, Spanned, TlsName, place};
use crate::pattern::{HostPattern, PathPattern};
use crate::problem::{Place, Reporter, code, quote};
use crate::rule::{Effect, Origin, Rule};
use crate::suffix::{self, Suffix};
use crate::unenforced::{self, Unenforced};

/// What all rules of one policy have in common.
pub(super) struct Context<'a> {
    pub(super) policy: &'a PolicyName,
    pub(super) file: &'a Arc<str>,
    pub(super) ceiling: bool,
    /// The end of what the policy grants.
    pub(super) until: Option<Timestamp>,
}

/// Compiles one rule; `None` if it has none or several of allow, ask and deny.
pub(super) fn compile(
    context: &Context<'_>,
    entry: &RuleEntry,
    sets: &mut HostSets<'_>,
    reporter: &mut Reporter<'_>,
) -> Option<Rule> {
    let (effect, matched) = effect(entry, reporter)?;
    let (scheme, ports) = scheme_and_ports(effect, matched, reporter);
    let own_end = entry.until.as_ref().and_then(|until| parts::until(until, reporter));
    let rule = Rule {
        policy: context.policy.clone(),
        id: RuleId::new(entry.id.value.as_str()),
        origin: Origin { file: context.file.clone(), line: place(&entry.id).line },
        effect,
        hosts: hosts(&matched.host, effect, context.ceiling, sets, reporter),
        scheme,
        ports,
        methods: matched.methods.as_ref().map(|list| parts::methods(list, reporter)),
        paths: matched.path.as_ref().map(|list| {
            let patterns = parts::paths(list, reporter);
            // Where an origin ignores case, a deny has to as well.
            if effect == Effect::Deny { patterns.into_iter().map(PathPattern::folded).collect() } else { patterns }
        }),
        query: matched.query.as_ref().map(|pairs| parts::query(pairs, reporter)),
        tools: matched.tool.as_ref().map(|list| parts::text_patterns("tool", list, reporter)),
        websocket: matched.upgrade.is_some(),
        // What a policy grants ends with it; what it denies ends only if the rule has `until`.
        until: match effect {
            Effect::Deny => own_end,
            Effect::Allow | Effect::Ask => [own_end, context.until].into_iter().flatten().min(),
        },
        hold: entry.hold.as_ref().and_then(|hold| parts::duration(hold, reporter)),
        approval_timeout: entry.within.as_ref().and_then(|within| parts::duration(within, reporter)),
        pass_through: entry.tls.as_ref().is_some_and(|tls| tls.value == TlsName::PassThrough),
        addresses: entry.addresses.as_ref().map(|list| parts::addresses(list, reporter)),
        credentials: entry.credentials.as_ref().map(|list| parts::credentials(list, reporter)).unwrap_or_default(),
        limits: entry.limits.as_ref().map(|limits| parts::limits(&limits.value, reporter)).unwrap_or_default(),
        timeouts: entry.timeouts.as_ref().map(|times| parts::timeouts(&times.value, reporter)).unwrap_or_default(),
        set: entry.set.as_ref().map(|pairs| identity::set(pairs, reporter)).unwrap_or_default(),
        client_auth: entry.client_auth.as_ref().map(|own| identity::client_auth(own, reporter)),
        of_session: false,
        author_message: entry.reason.as_ref().map(|reason| reason.value.as_str().into()),
    };
    match effect {
        Effect::Allow | Effect::Ask => report_grant(context, entry, matched, &rule, reporter),
        Effect::Deny => report_deny(entry, reporter),
    }
    Some(rule)
}

fn effect<'a>(entry: &'a RuleEntry, reporter: &mut Reporter<'_>) -> Option<(Effect, &'a Match)> {
    let id = quote(&entry.id.value);
    let all = [(Effect::Allow, &entry.allow), (Effect::Ask, &entry.ask), (Effect::Deny, &entry.deny)];
    let mut said = all.into_iter().filter_map(|(effect, matched)| Some((effect, matched.as_ref()?)));
    match (said.next(), said.next()) {
        (Some((effect, matched)), None) => return Some((effect, &matched.value)),
        (None, _) => reporter.error(
            code::EFFECT,
            place(&entry.id),
            format!("rule {id} neither allows, asks nor denies"),
            "give it `allow`, `ask` or `deny`",
        ),
        (Some(_), Some((_, second))) => {
            let help = "make two rules of it; a deny wins over every ask, and an ask over every allow";
            reporter.error(code::EFFECT, place(second), format!("rule {id} has two effects"), help);
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
        Effect::Allow | Effect::Ask => {
            let scheme = scheme.unwrap_or(Scheme::Https);
            (Some(scheme), Some(ports.unwrap_or_else(|| BTreeSet::from([scheme.default_port()]))))
        }
    }
}

fn hosts(
    list: &Spanned<OneOrMany>,
    effect: Effect,
    ceiling: bool,
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
        if effect != Effect::Deny && !ceiling {
            named.iter().for_each(|pattern| report_wide(pattern, at, reporter));
        }
        hosts.extend(named.into_iter().filter(|pattern| seen.insert(pattern.clone())));
    }
    hosts
}

/// An allow names the hosts that it trusts; below a suffix that is open to the public, the owners are not known.
fn report_wide(pattern: &HostPattern, at: Place, reporter: &mut Reporter<'_>) {
    let tail = match pattern {
        HostPattern::Any => {
            let message = "`**` alone matches every host, so only a deny or a ceiling can say it";
            return reporter.error(code::WIDE_WILDCARD, at, message, "name the hosts that are allowed");
        }
        HostPattern::Exact(_) => return,
        HostPattern::Child(tail) | HostPattern::Below(tail) => tail,
    };
    match suffix::of(tail) {
        Suffix::Owned => {}
        Suffix::Registry => {
            let help = "put the wildcard below a registered name, as in \"*.example.com\"";
            let message = format!("`{pattern}` spans a whole public suffix: anyone can register a name there");
            reporter.error(code::WIDE_WILDCARD, at, message, help);
        }
        Suffix::Service => {
            let message = format!("`{pattern}` covers every customer of that service: anyone can get a name there");
            reporter.warn(code::PUBLIC_SUFFIX, at, message, "name the very hosts that are meant");
        }
    }
}

fn report_grant(context: &Context<'_>, entry: &RuleEntry, matched: &Match, rule: &Rule, reporter: &mut Reporter<'_>) {
    if let Some(credentials) = entry.credentials.as_ref().filter(|_| rule.scheme == Some(Scheme::Http)) {
        let help = "allow https, or remove `use`";
        reporter.error(code::CLEARTEXT_CREDENTIAL, place(credentials), "credentials never travel in cleartext", help);
    }
    if let Some(credentials) = entry.credentials.as_ref().filter(|_| context.ceiling) {
        let message = "a ceiling never grants credentials";
        reporter.error(code::CEILING, place(credentials), message, "remove `use`; the session's own policies say it");
    }
    if let Some(reason) = entry.reason.as_ref().filter(|_| rule.effect == Effect::Allow) {
        let message = "`reason` is for refused clients, and this rule refuses no one";
        reporter.warn(code::MEANINGLESS_KEY, place(reason), message, "make it a comment");
    }
    if rule.effect == Effect::Allow {
        for (key, what, at) in [
            ("hold", "how long a request waits for an approval", &entry.hold),
            ("within", "how long an approval stays open", &entry.within),
        ] {
            let Some(at) = at.as_ref().map(place) else { continue };
            let message = format!("`{key}` is {what}, and this rule asks no one");
            reporter.error(code::MEANINGLESS_KEY, at, message, "remove it, or write `ask`");
        }
    }
    report_unenforced(entry, matched, rule, reporter);
    if rule.pass_through {
        report_unread(entry, matched, rule, reporter);
    }
    for pattern in &rule.hosts {
        report_undialable(pattern, &matched.host, rule, reporter);
    }
}

/// Keys that are taken and have no effect in this version, each at its place.
fn report_unenforced(entry: &RuleEntry, matched: &Match, rule: &Rule, reporter: &mut Reporter<'_>) {
    for Unenforced { key, message, help } in unenforced::of_rule(rule) {
        let first_byte = || entry.timeouts.as_ref().and_then(|times| times.value.first_byte.as_ref().map(place));
        let at = match key {
            "hold" => entry.hold.as_ref().map(place),
            "within" => entry.within.as_ref().map(place),
            "use" => entry.credentials.as_ref().map(place),
            "set" => entry.set.as_ref().map(place),
            "client_auth" => entry.client_auth.as_ref().map(place),
            "limits" => entry.limits.as_ref().map(place),
            "timeouts" => entry.timeouts.as_ref().map(place),
            "upgrade" => matched.upgrade.as_ref().map(place),
            "first_byte" => first_byte(),
            _ => None,
        };
        reporter.warn(code::UNENFORCED, at.unwrap_or_else(|| place(&entry.id)), message, help);
    }
}

/// What cannot be kept where the bytes are not read.
fn report_unread(entry: &RuleEntry, matched: &Match, rule: &Rule, reporter: &mut Reporter<'_>) {
    let keys = [
        ("methods", matched.methods.as_ref().map(place)),
        ("path", matched.path.as_ref().map(place)),
        ("query", matched.query.as_ref().map(place)),
        ("tool", matched.tool.as_ref().map(place)),
        ("upgrade", matched.upgrade.as_ref().map(place)),
        ("use", entry.credentials.as_ref().map(place)),
        ("set", entry.set.as_ref().map(place)),
        ("client_auth", entry.client_auth.as_ref().map(place)),
    ];
    for (key, at) in keys.into_iter().filter_map(|(key, at)| Some((key, at?))) {
        let message = format!("`{key}` cannot be kept with `tls: pass-through`: the bytes are not read");
        reporter.error(code::UNREAD, at, message, format!("remove `{key}`, or remove `tls` so that requests are read"));
    }
    if rule.scheme == Some(Scheme::Http) {
        let at = matched.scheme.as_ref().map(place).unwrap_or_default();
        let help = "remove `scheme`, or remove `tls`";
        reporter.error(code::UNREAD, at, "`scheme: http` has no TLS to pass through", help);
    }
    let unread = entry.limits.iter().flat_map(|limits| {
        let limits = &limits.value;
        [
            ("requests", &limits.requests),
            ("request_body", &limits.request_body),
            ("response_body", &limits.response_body),
        ]
    });
    for (key, at) in unread.filter_map(|(key, limit)| Some((key, place(limit.as_ref()?)))) {
        let message = format!("`{key}` cannot be counted with `tls: pass-through`: the bytes are not read");
        reporter.error(code::UNREAD, at, message, "limit `concurrent` or `bytes_out`, or remove `tls`");
    }
}

fn report_deny(entry: &RuleEntry, reporter: &mut Reporter<'_>) {
    let grants = [
        ("hold", entry.hold.as_ref().map(place)),
        ("within", entry.within.as_ref().map(place)),
        ("tls", entry.tls.as_ref().map(place)),
        ("limits", entry.limits.as_ref().map(place)),
        ("timeouts", entry.timeouts.as_ref().map(place)),
        ("set", entry.set.as_ref().map(place)),
        ("client_auth", entry.client_auth.as_ref().map(place)),
    ];
    for (key, at) in grants.into_iter().filter_map(|(key, at)| Some((key, at?))) {
        let message = format!("`{key}` means nothing where a rule denies");
        reporter.error(code::MEANINGLESS_KEY, at, message, format!("remove `{key}`"));
    }
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
