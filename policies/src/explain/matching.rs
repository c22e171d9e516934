//! Rule by rule: whether one matches, why another overrides it, and which conditions it does not meet.

use std::cmp::Ordering;

use model::{Host, PathReading, Scheme, written_path};

use super::{ClosestRule, RulePlace};
use crate::authorize::covers_query;
use crate::pattern::{HostPattern, PathPattern};
use crate::question::Question;
use crate::rule::{Effect, Rule};

/// Whether a rule matches one reading of the request; where bytes are not read, the host and port.
pub(super) fn matches(rule: &Rule, question: &Question<'_>, path: PathReading<'_>, unread: bool) -> bool {
    let destination = question.destination;
    let reached = rule.hosts.iter().any(|pattern| pattern.matches(destination.host()))
        && rule.covers_scheme(destination.scheme())
        && rule.covers_port(destination.port())
        && rule.is_in_force(question.now);
    if unread {
        return reached && rule.is_unconditional();
    }
    reached
        && !rule.pass_through
        && rule.covers_method(question.method)
        && covers_path(rule, path)
        && covers_query(rule, question)
        && rule.covers_tool(question.tool)
        && rule.covers_upgrade(question.websocket)
}

fn covers_path(rule: &Rule, path: PathReading<'_>) -> bool {
    rule.paths.as_ref().map_or_else(|| rule.covers_any_path(path.text()), |own| own.iter().any(|one| one.covers(path)))
}

/// Why a rule that matches does not decide, and another does.
pub(super) fn why_overridden(winner: &Rule, rule: &Rule, question: &Question<'_>, path: PathReading<'_>) -> String {
    match (winner.effect, rule.effect) {
        (Effect::Deny, Effect::Deny) => {
            "it denies too; the one that names the request more exactly is reported".to_owned()
        }
        (Effect::Deny, Effect::Allow) => "a deny wins over every allow".to_owned(),
        (Effect::Deny, Effect::Ask) => "a deny wins over every ask".to_owned(),
        (Effect::Ask, Effect::Allow) => "an ask wins over every allow".to_owned(),
        (Effect::Ask, Effect::Ask) | (Effect::Allow, Effect::Allow) => by_rank(winner, rule, question, path),
        (Effect::Allow, Effect::Ask) | (Effect::Ask | Effect::Allow, Effect::Deny) => {
            "it matches another layer or reading".to_owned()
        }
    }
}

/// The first respect in which the winner is more exact.
fn by_rank(winner: &Rule, rule: &Rule, question: &Question<'_>, path: PathReading<'_>) -> String {
    let host = question.destination.host();
    let (ours, theirs) = (best_host(rule, host), best_host(winner, host));
    if let (Some(ours), Some(theirs)) = (ours, theirs)
        && host_rank(ours) < host_rank(theirs)
    {
        return format!("it names the host less exactly: `{ours}`, and not `{theirs}`");
    }
    let (ours, theirs) = (best_path(rule, path), best_path(winner, path));
    match (ours, theirs) {
        (None, Some(theirs)) => return format!("it names no path, and the other names `{theirs}`"),
        (Some(ours), Some(theirs)) if ours.rank() < theirs.rank() => {
            let exact = |pattern: &PathPattern| !pattern.to_string().contains('*');
            let why = match ours.literal_prefix().len().cmp(&theirs.literal_prefix().len()) {
                _ if exact(theirs) && !exact(ours) => "is a pattern, and not the very path",
                Ordering::Less => "has a shorter literal prefix than",
                Ordering::Equal | Ordering::Greater => "has fewer literal signs than",
            };
            return format!("its path `{ours}` {why} `{theirs}`");
        }
        (Some(_) | None, _) => {}
    }
    let parameters = |rule: &Rule| rule.query.as_ref().map_or(0, |query| query.len());
    let methods = |rule: &Rule| rule.methods.as_ref().map_or(usize::MAX, |methods| methods.len());
    let ports = |rule: &Rule| rule.ports.as_ref().map_or(usize::MAX, |ports| ports.len());
    let why = if rule.tools.is_none() && winner.tools.is_some() {
        "it names no tool"
    } else if !rule.websocket && winner.websocket {
        "it is not about upgrades"
    } else if parameters(rule) < parameters(winner) {
        "it names fewer parameters of the query"
    } else if methods(rule) > methods(winner) {
        "it allows more methods"
    } else if ports(rule) > ports(winner) {
        "it allows more ports"
    } else {
        "it ranks equal and gives the same; the order of names decides which of them is reported"
    };
    why.to_owned()
}

fn best_host<'a>(rule: &'a Rule, host: &Host) -> Option<&'a HostPattern> {
    rule.hosts.iter().filter(|pattern| pattern.matches(host)).max_by_key(|pattern| host_rank(pattern))
}

/// As the index visits them: exact names, then the longest tail, `*` before `**`.
fn host_rank(pattern: &HostPattern) -> (bool, usize, bool) {
    match pattern {
        HostPattern::Exact(_) => (true, 0, true),
        HostPattern::Child(tail) => (false, tail.split('.').count(), true),
        HostPattern::Below(tail) => (false, tail.split('.').count(), false),
        HostPattern::Any => (false, 0, false),
    }
}

fn best_path<'a>(rule: &'a Rule, path: PathReading<'_>) -> Option<&'a PathPattern> {
    rule.paths.iter().flatten().filter(|pattern| pattern.covers(path)).max_by_key(|pattern| pattern.rank())
}

/// The closest rule, and its unmet conditions; among equals the one with the fewest, then
/// the one that names the host most exactly.
pub(super) fn closest<'a>(rules: impl Iterator<Item = &'a Rule>, question: &Question<'_>) -> Option<ClosestRule> {
    let host = question.destination.host();
    let granting: Vec<&Rule> = rules.filter(|rule| rule.effect != Effect::Deny).collect();
    let known = granting.iter().filter_map(|rule| Some((*rule, best_host(rule, host)?)));
    let best = known.map(|(rule, pattern)| (rule, pattern, unmet_conditions(rule, question))).max_by(|a, b| {
        let key = |(rule, pattern, unmet): &(&Rule, &HostPattern, Vec<UnmetCondition>)| {
            let first = unmet.first().map_or(usize::MAX, |unmet| unmet.stage);
            (first, std::cmp::Reverse(unmet.len()), host_rank(pattern), path_rank(rule))
        };
        let order = key(a).cmp(&key(b));
        order.then_with(|| (&b.0.policy, &b.0.id).cmp(&(&a.0.policy, &a.0.id)))
    });
    if let Some((rule, _, unmet)) = best {
        if question.path.is_ambiguous() && unmet.iter().all(|unmet| unmet.stage == PATH) {
            let words = "does not cover a path with a dot segment, a backslash or more than one kind of ambiguity, \
                         because parsers read it differently";
            return Some(ClosestRule { rule: RulePlace::of(rule), unmet_conditions: words.to_owned() });
        }
        let verb = if rule.effect == Effect::Ask { "asks for" } else { "allows" };
        let words = match unmet.as_slice() {
            [] => "matches, but not as the only rule of every reading of the path".to_owned(),
            unmet => unmet.iter().map(|unmet| format!("{verb} {}", unmet.words)).collect::<Vec<_>>().join("; "),
        };
        return Some(ClosestRule { rule: RulePlace::of(rule), unmet_conditions: words });
    }
    let name = host.name()?;
    let relative = |rule: &&Rule| rule.hosts.iter().find_map(|pattern| related(pattern, name));
    let (rule, words) = granting.iter().find_map(|rule| Some((*rule, relative(rule)?)))?;
    Some(ClosestRule { rule: RulePlace::of(rule), unmet_conditions: words })
}

fn path_rank(rule: &Rule) -> Option<crate::pattern::PathRank> {
    rule.paths.iter().flatten().map(PathPattern::rank).max()
}

/// A host pattern that is often meant to cover a name and does not.
fn related(pattern: &HostPattern, name: &str) -> Option<String> {
    let below = |tail: &str| name.strip_suffix(tail).is_some_and(|front| front.ends_with('.'));
    match pattern {
        HostPattern::Exact(Host::Name(own)) if below(own) => {
            Some(format!("names {own}, and {name} is a name below it: `**.{own}` would cover it"))
        }
        HostPattern::Child(tail) | HostPattern::Below(tail) if **tail == *name => {
            Some(format!("names `{pattern}`, which never includes {name} itself"))
        }
        HostPattern::Child(tail) if below(tail) => {
            Some(format!("names `{pattern}`, which is one label, and {name} has more: `**.{tail}` would cover it"))
        }
        HostPattern::Exact(_) | HostPattern::Child(_) | HostPattern::Below(_) | HostPattern::Any => None,
    }
}

/// The stage of the path.
const PATH: usize = 4;

/// One condition that is not met; later stages are closer.
struct UnmetCondition {
    stage: usize,
    words: String,
}

/// The conditions of a rule of this host that a request does not meet, in the order in which they are evaluated.
fn unmet_conditions(rule: &Rule, question: &Question<'_>) -> Vec<UnmetCondition> {
    let destination = question.destination;
    let mut unmet = Vec::new();
    let mut note = |missing: bool, stage: usize, words: &dyn Fn() -> String| {
        if missing {
            unmet.push(UnmetCondition { stage, words: words() });
        }
    };
    let scheme = |scheme: Option<Scheme>| scheme.map_or("any scheme", Scheme::as_str);
    note(!rule.covers_scheme(destination.scheme()), 1, &|| {
        format!("{} here; this is {}", scheme(rule.scheme), destination.scheme().as_str())
    });
    note(!rule.covers_port(destination.port()), 2, &|| {
        let ports: Vec<String> = rule.ports.iter().flatten().map(ToString::to_string).collect();
        format!("port {} here; this is {}", ports.join(", "), destination.port())
    });
    note(!rule.covers_method(question.method), 3, &|| {
        let methods: Vec<&str> = rule.methods.iter().flatten().map(|method| &**method).collect();
        let named =
            if methods.is_empty() { "every method but CONNECT and TRACE".to_owned() } else { methods.join(", ") };
        format!("{named} here; this is {}", question.method)
    });
    let missed = question.path.readings().find(|path| !covers_path(rule, *path));
    note(missed.is_some(), PATH, &|| {
        let mut paths: Vec<String> = rule.paths.iter().flatten().map(ToString::to_string).collect();
        paths.dedup();
        let named = if paths.is_empty() { "every path but the server as a whole".to_owned() } else { paths.join(", ") };
        let reading = if missed == question.path.readings().next() { "this is" } else { "some parsers read" };
        format!("{named}; {reading} {}", missed.map(|path| written_path(path.text())).unwrap_or_default())
    });
    note(!covers_query(rule, question), 5, &|| {
        let named = rule.query.iter().flatten();
        let pairs: Vec<String> = named
            .map(|(name, values)| {
                let values: Vec<String> = values.iter().map(ToString::to_string).collect();
                format!("{name}={}", values.join(" or "))
            })
            .collect();
        format!("the query parameter {}, exactly once and in this spelling", pairs.join(" and "))
    });
    note(!rule.covers_tool(question.tool), 6, &|| {
        let tools: Vec<String> = rule.tools.iter().flatten().map(ToString::to_string).collect();
        format!("tool {}; this is {}", tools.join(", "), question.tool.unwrap_or("no known tool"))
    });
    note(!rule.covers_upgrade(question.websocket), 7, &|| match rule.websocket {
        true => "WebSocket handshakes; this is none".to_owned(),
        false => {
            "requests; this is a WebSocket handshake, which only a rule with `upgrade: websocket` is about".to_owned()
        }
    });
    note(!rule.is_in_force(question.now), 8, &|| {
        format!("it no longer: it ended on {}", rule.until.map(|until| until.to_string()).unwrap_or_default())
    });
    note(rule.pass_through && destination.scheme() == Scheme::Http, 9, &|| {
        "TLS that passes through unread; this is cleartext".to_owned()
    });
    unmet
}
