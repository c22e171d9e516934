//! The forms of a request to a host that rules distinguish: schemes, ports, methods, tools, queries and times.

use std::collections::{BTreeMap, BTreeSet};

use model::{RequestPath, Scheme, Timestamp};

use super::{BeforeAfter, Side};
use crate::pattern::TextPattern;
use crate::pattern::atoms::{cut_atoms, text_atoms};
use crate::query;
use crate::rule::{Effect, Rule};

/// How many queries are tried for the rules of one host.
const MAX_QUERIES: usize = 4096;

/// How many sets of values of one parameter are distinguished if it occurs more than once.
const MAX_UNIONS: usize = 64;

/// Every form of a request to one host that some rule could distinguish from the others.
#[derive(Debug)]
pub(super) struct RequestForms {
    pub(super) scheme_ports: Vec<(Scheme, u16)>,
    pub(super) methods: Vec<String>,
    /// The one that represents all that no rule names.
    pub(super) other_method: String,
    pub(super) websocket: Vec<bool>,
    pub(super) tools: Vec<Option<String>>,
    /// Each as a target of the path `/`.
    pub(super) queries: Vec<RequestPath>,
    pub(super) times: Vec<Timestamp>,
    /// Whether that is all.
    pub(super) complete: bool,
}

impl RequestForms {
    /// The forms that these rules distinguish from `now` on. If a policy observes, what no rule names passes too.
    pub(super) fn of(rules: &BeforeAfter<Vec<&Rule>>, observed: &[Timestamp], now: Timestamp) -> Self {
        let rules: Vec<&Rule> = [Side::Old, Side::New].into_iter().flat_map(|side| rules.side(side)).copied().collect();
        let observes = observed.iter().any(|until| now < *until);
        let (methods, other_method) = methods(&rules);
        let mut complete = true;
        let tools = tools(&rules, &mut complete);
        let queries = queries(&rules, &mut complete);
        let ends = rules.iter().filter_map(|rule| rule.until).chain(observed.iter().copied());
        let times: BTreeSet<Timestamp> = ends.filter(|end| now < *end).chain([now]).collect();
        Self {
            scheme_ports: scheme_ports(&rules, observes),
            methods,
            other_method,
            websocket: if observes || rules.iter().any(|rule| rule.websocket) {
                vec![false, true]
            } else {
                vec![false]
            },
            tools,
            queries,
            times: times.into_iter().collect(),
            complete,
        }
    }

    /// How many ways there are.
    pub(super) fn count(&self) -> usize {
        [self.methods.len(), self.websocket.len(), self.tools.len(), self.queries.len(), self.times.len()]
            .into_iter()
            .fold(self.scheme_ports.len(), usize::saturating_mul)
    }
}

/// Only what some rule allows or asks can pass, unless a policy observes.
fn scheme_ports(rules: &[&Rule], observes: bool) -> Vec<(Scheme, u16)> {
    let mut scheme_ports = BTreeSet::new();
    let https_first = |scheme: Scheme| scheme == Scheme::Http;
    for rule in rules.iter().filter(|rule| rule.effect != Effect::Deny) {
        let ports = rule.ports.iter().flatten();
        scheme_ports.extend(ports.filter_map(|port| Some((https_first(rule.scheme?), *port))));
    }
    if observes {
        let mut ports: BTreeSet<u16> = rules.iter().flat_map(|rule| rule.ports.iter().flatten().copied()).collect();
        ports.extend([80, 443]);
        ports.extend((1..=u16::MAX).rev().find(|port| !ports.contains(port)));
        scheme_ports.extend(ports.iter().flat_map(|port| [(false, *port), (true, *port)]));
    }
    let scheme = |http| if http { Scheme::Http } else { Scheme::Https };
    let mut scheme_ports: Vec<_> = scheme_ports.into_iter().map(|(http, port)| (scheme(http), port)).collect();
    scheme_ports.sort_by_key(|(scheme, port)| *port != scheme.default_port());
    scheme_ports
}

fn methods(rules: &[&Rule]) -> (Vec<String>, String) {
    const COMMON: [&str; 9] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PROPFIND", "REPORT"];
    let named: BTreeSet<&str> = rules.iter().flat_map(|rule| rule.methods.iter().flatten()).map(|m| &**m).collect();
    let made = (0..).map(|n| format!("METHOD{n}"));
    let mut other = COMMON.iter().map(ToString::to_string).chain(made);
    let other = other.find(|method| !named.contains(method.as_str())).unwrap_or_default();
    // What an allow without `methods` does not cover.
    let uncovered = ["TRACE", "TRACK", "CONNECT"].into_iter().find(|method| !named.contains(method));
    let mut methods: Vec<String> = named.iter().copied().chain(uncovered).map(str::to_owned).collect();
    methods.push(other.clone());
    methods.sort_by_key(|method| COMMON.iter().position(|common| common == method).unwrap_or(COMMON.len()));
    (methods, other)
}

/// No tool known, and one of each class that the patterns distinguish.
fn tools(rules: &[&Rule], complete: &mut bool) -> Vec<Option<String>> {
    let patterns: Vec<&TextPattern> = rules.iter().flat_map(|rule| rule.tools.iter().flatten()).collect();
    let mut tools = vec![None];
    if !patterns.is_empty() {
        let atoms = text_atoms(&patterns);
        *complete &= atoms.complete;
        tools.extend(atoms.texts.into_iter().map(Some));
    }
    tools
}

/// For each parameter that some rule names: absent, once with a value of each class, once with a value that
/// some servers cut at a `;`, and more than once with values of each set of classes.
fn queries(rules: &[&Rule], complete: &mut bool) -> Vec<RequestPath> {
    let mut limits: BTreeMap<&str, BTreeSet<&Vec<TextPattern>>> = BTreeMap::new();
    for (name, values) in rules.iter().flat_map(|rule| rule.query.iter().flatten()) {
        limits.entry(name).or_default().insert(values);
    }
    let mut queries = vec![String::new()];
    for (name, lists) in limits {
        let forms = parameter(name, &lists, complete);
        if queries.len().saturating_mul(forms.len()) > MAX_QUERIES {
            *complete = false;
            break;
        }
        let join = |front: &String, form: &String| match (front.as_str(), form.as_str()) {
            ("", one) | (one, "") => one.to_owned(),
            (front, form) => format!("{front}&{form}"),
        };
        queries = forms.iter().flat_map(|form| queries.iter().map(move |front| join(front, form))).collect();
    }
    let target = |query: &String| if query.is_empty() { "/".to_owned() } else { format!("/?{query}") };
    let parsed: Vec<RequestPath> = queries.iter().filter_map(|query| RequestPath::parse(&target(query)).ok()).collect();
    *complete &= parsed.len() == queries.len();
    parsed
}

/// The forms of one parameter, one for each answer that rules with these lists can have.
fn parameter(name: &str, lists: &BTreeSet<&Vec<TextPattern>>, complete: &mut bool) -> Vec<String> {
    let patterns: Vec<&TextPattern> = lists.iter().flat_map(|list| list.iter()).collect();
    let wanted: Vec<query::Parameters> =
        lists.iter().map(|list| query::Parameters::from([(name.into(), (*list).clone())])).collect();
    let answers = |query: &str| {
        let holds: Vec<bool> = wanted.iter().map(|wanted| query::holds(Some(query), wanted)).collect();
        let shows: Vec<bool> = wanted.iter().map(|wanted| query::shows(Some(query), wanted)).collect();
        (holds, shows)
    };
    let whole = text_atoms(&patterns);
    let (cut, all_cut) = cut_atoms(&patterns);
    *complete &= whole.complete && all_cut;
    let once = |value: &String| format!("{}={}", escaped(name, None), escaped(value, None));
    let split = |(value, at): &(String, usize)| format!("{}={}", escaped(name, None), escaped(value, Some(*at)));
    let singles: Vec<String> = whole.texts.iter().map(once).chain(cut.iter().map(split)).collect();
    let mut found: BTreeMap<(Vec<bool>, Vec<bool>), String> = BTreeMap::new();
    found.insert(answers(""), String::new());
    for single in &singles {
        found.entry(answers(single)).or_insert_with(|| single.clone());
    }
    // Twice the same, then every union of what the values show.
    let mut unions: BTreeMap<Vec<bool>, String> = BTreeMap::new();
    for single in &singles {
        let twice = format!("{single}&{single}");
        unions.entry(answers(&twice).1).or_insert(twice);
    }
    let mut waiting: Vec<String> = unions.values().cloned().collect();
    while let Some(query) = waiting.pop() {
        for single in &singles {
            let more = format!("{query}&{single}");
            let shown = answers(&more).1;
            if unions.contains_key(&shown) {
                continue;
            }
            if unions.len() >= MAX_UNIONS {
                *complete = false;
                waiting.clear();
                break;
            }
            unions.insert(shown, more.clone());
            waiting.push(more);
        }
    }
    for query in unions.into_values() {
        found.entry(answers(&query)).or_insert(query);
    }
    let mut forms: Vec<String> = found.into_values().collect();
    forms.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    forms
}

/// A name or a value as written in a query; the character at `raw` is not escaped.
fn escaped(text: &str, raw: Option<usize>) -> String {
    let mut escaped = String::new();
    for (at, byte) in text.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.~/:@!$()*,".contains(&byte) || raw == Some(at);
        if plain { escaped.push(char::from(byte)) } else { escaped.push_str(&format!("%{byte:02X}")) }
    }
    escaped
}
