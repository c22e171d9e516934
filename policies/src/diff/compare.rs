//! The comparison itself: every class of requests is put to both sides, and what differs is gathered by the
//! rules that decide.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use model::{Destination, PathReading, RequestPath, Scheme, Timestamp};

use super::findings::{Finding, findings};
use super::hosts::{HostGroup, Hosts};
use super::outcome::{Entrance, LayerAnswer, Outcome, Reading, SideRules};
use super::paths::{AMBIGUOUS, Paths};
use super::requests::RequestForms;
use super::{BeforeAfter, Sample, Side};
use crate::decide::ConnectQuery;
use crate::pattern::PathPattern;
use crate::question::Question;
use crate::rule::{Rule, covered_unnamed};
use crate::rules::Rules;

/// How many classes of requests to one group of hosts are compared, before the result is undecided.
const MAX_CLASSES: usize = 3_000_000;

/// How many pairs of classes of paths are weighed for one way to ask.
const MAX_PAIRS: usize = 250_000;

/// How many classes of each side of a pair are weighed.
const MAX_TRIES: usize = 6;

/// What changes, gathered by what it is and by the rules that decide.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) finding: Finding,
    pub(super) old: Option<usize>,
    pub(super) new: Option<usize>,
    /// Only for paths with two readings.
    pub(super) ambiguous: bool,
}

/// Where one change is found.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) hosts: BTreeSet<String>,
    pub(super) scheme_ports: BTreeSet<(u16, &'static str)>,
    pub(super) methods: BTreeSet<String>,
    /// The methods that rules distinguish here and that are not among those; only where all that no rule names are.
    pub(super) every_method_but: Option<BTreeSet<String>>,
    pub(super) paths: BTreeSet<String>,
    pub(super) tools: BTreeSet<String>,
    /// The tools that rules distinguish here.
    pub(super) all_tools: BTreeSet<String>,
    pub(super) websocket: BTreeSet<bool>,
    pub(super) since: Option<Timestamp>,
    pub(super) sample: Option<Sample>,
    groups: BTreeSet<usize>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) drafts: BTreeMap<Key, Draft>,
    /// What could not be decided, in words.
    pub(super) undecided: BTreeSet<String>,
}

struct Comparison<'a> {
    sides: BeforeAfter<SideRules<'a>>,
    hosts: &'a Hosts<'a>,
    found: Found,
    known: HashMap<(Outcome, Outcome), Arc<[Finding]>>,
}

/// One group of hosts with everything that is compared for it.
struct GroupScope<'a> {
    at: usize,
    group: &'a HostGroup,
    forms: RequestForms,
    rules: BeforeAfter<Vec<&'a Rule>>,
    /// Targets with several readings, each with the classes of its readings.
    ambiguous: Vec<(String, Vec<usize>)>,
    unclear: RequestPath,
}

/// Classes with the same answers of both sides, and the answers.
type Group<'a> = (&'a (Reading, Reading), Vec<usize>);

/// One way to ask.
#[derive(Clone, Copy)]
struct RequestForm<'a> {
    scheme: Scheme,
    port: u16,
    method: &'a str,
    websocket: bool,
    tool: Option<&'a str>,
    query: Option<&'a str>,
    now: Timestamp,
}

/// Compares all requests from `now` on.
pub(super) fn compare(old: &Arc<Rules>, new: &Arc<Rules>, now: Timestamp) -> Found {
    let sides = BeforeAfter { old: SideRules { rules: old }, new: SideRules { rules: new } };
    let hosts = Hosts::of(BeforeAfter { old: old.all(), new: new.all() });
    let contents = contents(BeforeAfter { old: old.all(), new: new.all() });
    let ceilings = |rules: &Rules| rules.ceilings.iter().map(|layer| layer.policy.clone()).collect::<Vec<_>>();
    let alike = old.observe_until() == new.observe_until() && ceilings(old) == ceilings(new);
    let mut comparison = Comparison { sides, hosts: &hosts, found: Found::default(), known: HashMap::new() };
    for (at, group) in hosts.groups.iter().enumerate() {
        if !(alike && hosts.is_unchanged(group, &contents)) {
            comparison.compare_group(at, group, now);
        }
    }
    comparison.found
}

/// A number for everything in a rule except its hosts, the same on both sides.
fn contents(rules: BeforeAfter<&[Arc<Rule>]>) -> BeforeAfter<Vec<usize>> {
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut numbers = |rules: &[Arc<Rule>]| {
        let number = |rule: &Arc<Rule>| {
            let paths: Option<Vec<String>> = rule.paths.as_ref().map(|p| p.iter().map(ToString::to_string).collect());
            let text = format!(
                "{:?}",
                (
                    (&rule.policy, &rule.id, rule.effect, rule.scheme, &rule.ports, &rule.methods, paths, &rule.query),
                    (&rule.tools, rule.websocket, rule.until, rule.hold, rule.approval_timeout, rule.pass_through),
                    (&rule.addresses, &rule.credentials, rule.limits, rule.timeouts),
                    (&rule.set, &rule.client_auth, rule.of_session),
                )
            );
            let next = known.len();
            *known.entry(text).or_insert(next)
        };
        rules.iter().map(number).collect()
    };
    BeforeAfter { old: numbers(rules.old), new: numbers(rules.new) }
}

impl<'a> Comparison<'a> {
    fn compare_group(&mut self, at: usize, group: &'a HostGroup, now: Timestamp) {
        let rules = BeforeAfter {
            old: group.rules.old.iter().map(|rule| self.sides.old.rule(*rule)).collect::<Vec<_>>(),
            new: group.rules.new.iter().map(|rule| self.sides.new.rule(*rule)).collect(),
        };
        let special = crate::denied::is_special(&group.host);
        let observed: Vec<Timestamp> = [self.sides.old, self.sides.new]
            .into_iter()
            .filter_map(|side| side.rules.observe_until())
            .filter(|_| !special)
            .collect();
        let forms = RequestForms::of(&rules, &observed, now);
        if forms.scheme_ports.is_empty() {
            return;
        }
        let patterns: Vec<&PathPattern> =
            [&rules.old, &rules.new].into_iter().flatten().flat_map(|rule| rule.paths.iter().flatten()).collect();
        let paths = Paths::of(distinct(patterns));
        if !(paths.complete && forms.complete) {
            self.undecided(group, "has patterns with more meanings than are distinguished");
        }
        if forms.count().saturating_mul(paths.atoms.len()) > MAX_CLASSES {
            self.undecided(group, "has rules with more combinations than are judged");
            return;
        }
        let ambiguous = paths.ambiguous();
        let unclear = RequestPath::parse(AMBIGUOUS).expect("a path");
        let scope = GroupScope { at, group, forms, rules, ambiguous, unclear };
        for &now in &scope.forms.times {
            for &(scheme, port) in &scope.forms.scheme_ports {
                let connect = ConnectQuery { host: &group.host, port, now };
                let entrances = BeforeAfter {
                    old: self.sides.old.entrance(scheme, &connect),
                    new: self.sides.new.entrance(scheme, &connect),
                };
                self.compare_scheme_port(&scope, &paths, &entrances, (scheme, port, now));
            }
        }
    }

    fn undecided(&mut self, group: &HostGroup, why: &str) {
        self.found.undecided.insert(format!("{} {why}", group.host));
    }

    fn compare_scheme_port(
        &mut self,
        scope: &GroupScope<'a>,
        paths: &Paths<'_>,
        entrances: &BeforeAfter<Entrance>,
        (scheme, port, now): (Scheme, u16, Timestamp),
    ) {
        let destination = Destination::new(scheme, scope.group.host.clone(), port);
        for method in &scope.forms.methods {
            for &websocket in &scope.forms.websocket {
                for tool in &scope.forms.tools {
                    for query in &scope.forms.queries {
                        let tool = tool.as_deref();
                        let question =
                            Question { destination: &destination, method, path: query, websocket, tool, now };
                        let query = query.query();
                        let form = RequestForm { scheme, port, method, websocket, tool, query, now };
                        self.compare_form(scope, paths, entrances, &question, form);
                    }
                }
            }
        }
    }

    /// Puts every class of paths to both sides, then those with several readings.
    fn compare_form(
        &mut self,
        scope: &GroupScope<'a>,
        paths: &Paths<'_>,
        entrances: &BeforeAfter<Entrance>,
        question: &Question<'_>,
        form: RequestForm<'_>,
    ) {
        let sides = self.sides;
        let read = |reading: PathReading<'_>| {
            let read = |side: SideRules<'_>, entrance: &Entrance| match entrance {
                Entrance::Read => side.read(question, reading),
                Entrance::Settled(_) => Reading::default(),
            };
            (read(sides.old, &entrances.old), read(sides.new, &entrances.new))
        };
        let outcomes = |readings: &[&(Reading, Reading)]| {
            let settle = |side: SideRules<'_>, entrance: &Entrance, readings: &[&Reading]| match entrance {
                Entrance::Read => side.outcome(question, readings),
                Entrance::Settled(outcome) => outcome.clone(),
            };
            let (old, new): (Vec<_>, Vec<_>) = readings.iter().map(|(old, new)| (old, new)).unzip();
            (settle(sides.old, &entrances.old, &old), settle(sides.new, &entrances.new, &new))
        };
        let by_class: Vec<(Reading, Reading)> = paths.atoms.iter().map(|atom| read(atom.reading())).collect();
        let mut groups: HashMap<&(Reading, Reading), Vec<usize>> = HashMap::new();
        // The target `*` has no query.
        let judged = |at: &usize| paths.atoms[*at].text != "*" || form.query.is_none();
        for at in (0..by_class.len()).filter(judged) {
            groups.entry(&by_class[at]).or_default().push(at);
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_key(|(_, atoms)| atoms[0]);
        let mut seen = HashSet::new();
        for (readings, atoms) in &groups {
            let (old, new) = outcomes(&[readings]);
            let plain: Vec<&str> =
                atoms.iter().filter(|at| paths.atoms[**at].plain).map(|at| paths.atoms[*at].text.as_str()).collect();
            if let Some(first) = atoms.iter().find(|at| paths.atoms[**at].plain) {
                self.record(scope, form, (&plain, &paths.atoms[*first].target()), false, (&old, &new));
                seen.insert((old, new));
            }
        }
        if matches!((&entrances.old, &entrances.new), (Entrance::Settled(_), Entrance::Settled(_))) {
            return;
        }
        for (target, classes) in &scope.ambiguous {
            let (old, new) = outcomes(&classes.iter().map(|class| &by_class[*class]).collect::<Vec<_>>());
            if seen.insert((old.clone(), new.clone())) {
                let texts: Vec<&str> = classes.iter().map(|class| paths.atoms[*class].text.as_str()).collect();
                self.record(scope, form, (&texts, target), true, (&old, &new));
            }
        }
        let sent = scope.unclear.readings().next().expect("a path has a reading");
        let (before, after) = read(sent);
        let unclear = Question { path: &scope.unclear, ..*question };
        let settle = |side: SideRules<'_>, entrance: &Entrance, reading: &Reading| match entrance {
            Entrance::Read => side.unclear(&unclear, reading),
            Entrance::Settled(outcome) => outcome.clone(),
        };
        let (old, new) = (settle(sides.old, &entrances.old, &before), settle(sides.new, &entrances.new, &after));
        if seen.insert((old.clone(), new.clone())) {
            self.record(scope, form, (&[AMBIGUOUS], AMBIGUOUS), true, (&old, &new));
        }
        self.weigh_pairs(scope, paths, form, question, (&groups, &seen), outcomes);
    }

    /// Looks for pairs of classes that could get more as the readings of one path, where no such path was found and
    /// none is excluded.
    fn weigh_pairs(
        &mut self,
        scope: &GroupScope<'a>,
        paths: &Paths<'_>,
        form: RequestForm<'_>,
        question: &Question<'_>,
        (groups, seen): (&[Group<'_>], &HashSet<(Outcome, Outcome)>),
        outcomes: impl Fn(&[&(Reading, Reading)]) -> (Outcome, Outcome),
    ) {
        let unlike: Vec<bool> = if self.observe_alike(question) {
            unlike(groups, paths)
        } else {
            // What no rule allows in every reading is refused on one side and passes on the other.
            vec![true; groups.len()]
        };
        let pairs = unlike.iter().filter(|unlike| **unlike).count().saturating_mul(2 * groups.len());
        if pairs > MAX_PAIRS {
            self.undecided(scope.group, "has more pairs of paths that could be two readings of one than are weighed");
            return;
        }
        for (n, (sent, sent_atoms)) in groups.iter().enumerate() {
            for (m, (other, other_atoms)) in groups.iter().enumerate() {
                if n == m || !(unlike[n] || unlike[m]) {
                    continue;
                }
                let (old, new) = outcomes(&[sent, other]);
                if seen.contains(&(old.clone(), new.clone())) || self.findings(&old, &new).is_empty() {
                    continue;
                }
                if !is_excluded(paths, sent_atoms, other_atoms) {
                    self.unreached(scope, form, paths, (sent_atoms[0], other_atoms[0]), &old, &new);
                }
            }
        }
    }

    /// Whether both sides do the same with what no rule allows.
    fn observe_alike(&self, question: &Question<'_>) -> bool {
        let observes = |side: SideRules<'_>| side.observes(question);
        observes(self.sides.old) == observes(self.sides.new)
    }

    /// For example, two rules became one, and it is not known whether a request can match both.
    fn unreached(
        &mut self,
        scope: &GroupScope<'_>,
        form: RequestForm<'_>,
        paths: &Paths<'_>,
        (sent, resolved): (usize, usize),
        old: &Outcome,
        new: &Outcome,
    ) {
        if self.findings(old, new).iter().any(|finding| finding.wider) {
            let (sent, resolved) = (paths.atoms[sent].target(), paths.atoms[resolved].target());
            self.undecided(
                scope.group,
                &format!("could get more for {} where a path reads as `{sent}` and as `{resolved}`", form.method),
            );
        }
    }

    fn findings(&mut self, old: &Outcome, new: &Outcome) -> Arc<[Finding]> {
        if let Some(known) = self.known.get(&(old.clone(), new.clone())) {
            return Arc::clone(known);
        }
        let found: Arc<[Finding]> = findings(self.sides, old, new).into();
        self.known.insert((old.clone(), new.clone()), Arc::clone(&found));
        found
    }

    fn record(
        &mut self,
        scope: &GroupScope<'a>,
        form: RequestForm<'_>,
        (readings, target): (&[&str], &str),
        ambiguous: bool,
        (old, new): (&Outcome, &Outcome),
    ) {
        for finding in self.findings(old, new).iter() {
            let key = Key { finding: finding.clone(), old: old.decides(), new: new.decides(), ambiguous };
            // The rule that is more exact about the place describes it.
            let rules: Vec<(Side, usize)> = [(Side::Old, key.old), (Side::New, key.new)]
                .into_iter()
                .filter_map(|(side, at)| Some((side, at?)))
                .collect();
            let draft = self.found.drafts.entry(key).or_default();
            if draft.groups.insert(scope.at) {
                let hosts = self.hosts.patterns_of(scope.group, &rules);
                if hosts.is_empty() {
                    draft.hosts.insert(scope.group.host.to_string());
                }
                draft.hosts.extend(hosts);
            }
            let rules: Vec<&Rule> = rules
                .into_iter()
                .map(|(side, rule)| match side {
                    Side::Old => self.sides.old.rule(rule),
                    Side::New => self.sides.new.rule(rule),
                })
                .collect();
            draft.add(scope, form, (readings, target), &rules);
        }
    }
}

impl GroupScope<'_> {
    /// The tool in words: those of a pattern, where one names it.
    fn tool(&self, tool: Option<&str>) -> String {
        let mut named = self.rules.old.iter().chain(&self.rules.new).flat_map(|rule| rule.tools.iter().flatten());
        let Some(tool) = tool else { return "no known tool".to_owned() };
        match named.find(|pattern| pattern.matches(tool)) {
            Some(pattern) => format!("tool `{pattern}`"),
            None => "any other tool".to_owned(),
        }
    }
}

impl Draft {
    fn add(
        &mut self,
        scope: &GroupScope<'_>,
        form: RequestForm<'_>,
        (readings, target): (&[&str], &str),
        rules: &[&Rule],
    ) {
        self.scheme_ports.insert((form.port, form.scheme.as_str()));
        if !self.methods.contains(form.method) {
            self.methods.insert(form.method.to_owned());
        }
        if form.method == scope.forms.other_method && self.every_method_but.is_none() {
            let uncovered = |method: &&String| covered_unnamed(method);
            self.every_method_but = Some(scope.forms.methods.iter().filter(uncovered).cloned().collect());
        }
        if scope.forms.tools.len() > 1 {
            self.all_tools.extend(scope.forms.tools.iter().map(|tool| scope.tool(tool.as_deref())));
            self.tools.insert(scope.tool(form.tool));
        }
        self.websocket.insert(form.websocket);
        self.since = Some(self.since.map_or(form.now, |since| since.min(form.now)));
        for text in readings {
            let folded = text.to_ascii_lowercase();
            let patterns = rules.iter().flat_map(|rule| rule.paths.iter().flatten());
            let path = PathReading::new(text, &folded);
            let best = patterns.filter(|pattern| pattern.covers(path)).max_by_key(|pattern| pattern.rank());
            if let Some(pattern) = best {
                self.paths.insert(pattern.to_string());
            } else if self.paths.is_empty() {
                self.paths.insert(String::new());
            }
        }
        if self.sample.is_none() {
            self.sample = Some(Sample {
                host: scope.group.host.clone(),
                scheme: form.scheme,
                port: form.port,
                method: form.method.to_owned(),
                target: form.query.map_or_else(|| target.to_owned(), |query| format!("{target}?{query}")),
                websocket: form.websocket,
                tool: form.tool.map(str::to_owned),
                at: form.now,
            });
        }
    }
}

/// The classes whose pairs could get something else than each of them alone does: where the sides differ in kind,
/// or where a rule of one side corresponds to several of the other.
fn unlike(groups: &[Group<'_>], paths: &Paths<'_>) -> Vec<bool> {
    let layers = |reading: &Reading| {
        std::iter::once(reading.granting).chain(reading.ceilings.iter().copied()).collect::<Vec<_>>()
    };
    let mut partners: HashMap<(bool, usize, usize), BTreeSet<usize>> = HashMap::new();
    for ((old, new), _) in groups.iter() {
        for (layer, both) in layers(old).into_iter().zip(layers(new)).enumerate() {
            // No rule both allows and asks.
            let both = match both {
                (LayerAnswer::Allows(old), LayerAnswer::Allows(new))
                | (LayerAnswer::Asks(old), LayerAnswer::Asks(new)) => Some((old, new)),
                (LayerAnswer::Allows(_) | LayerAnswer::Asks(_) | LayerAnswer::Nothing, _) => None,
            };
            if let Some((old, new)) = both {
                partners.entry((false, layer, old)).or_default().insert(new);
                partners.entry((true, layer, new)).or_default().insert(old);
            }
        }
    }
    let several = |key| partners.get(&key).is_some_and(|partners| partners.len() > 1);
    let is_unlike = |((old, new), atoms): &Group<'_>| {
        let (before, after) = (layers(old), layers(new));
        let layers_differ = before.len() != after.len()
            || before.iter().zip(&after).enumerate().any(|(layer, both)| match both {
                (LayerAnswer::Allows(old), LayerAnswer::Allows(new))
                | (LayerAnswer::Asks(old), LayerAnswer::Asks(new)) => {
                    several((false, layer, *old)) || several((true, layer, *new))
                }
                (LayerAnswer::Nothing, LayerAnswer::Nothing) => false,
                (LayerAnswer::Allows(_) | LayerAnswer::Asks(_) | LayerAnswer::Nothing, _) => true,
            });
        let differs = old.denies.is_some() != new.denies.is_some() || layers_differ;
        // What no plain path shows was not judged alone.
        differs || atoms.iter().all(|at| !paths.atoms[*at].plain)
    };
    groups.iter().map(is_unlike).collect()
}

/// Whether no path is of one of the first classes as sent, and of one of the others in another reading.
fn is_excluded(paths: &Paths<'_>, sent: &[usize], other: &[usize]) -> bool {
    sent.len() <= MAX_TRIES
        && other.len() <= MAX_TRIES
        && sent.iter().all(|sent| other.iter().all(|other| paths.excludes(*sent, *other)))
}

fn distinct(patterns: Vec<&PathPattern>) -> Vec<&PathPattern> {
    let by_text: BTreeMap<(&str, bool), &PathPattern> =
        patterns.into_iter().map(|pattern| ((pattern.text(), pattern.is_folded()), pattern)).collect();
    by_text.into_values().collect()
}

impl Sample {
    /// The parts of the question.
    pub(super) fn asked(&self) -> (Destination, Option<RequestPath>) {
        let path = match self.target.strip_prefix('*') {
            Some(_) => Some(RequestPath::asterisk()),
            None => RequestPath::parse(&self.target).ok(),
        };
        (Destination::new(self.scheme, self.host.clone(), self.port), path)
    }
}
