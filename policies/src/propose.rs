//! A policy that allows what was seen and as little else as the chosen level of generalization lets it.

mod paths;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use model::{AddressClass, CredentialId, Host, Scheme, Timestamp};

use crate::compile::{PolicySource, compile, method_error};
use crate::fmt::fmt;
use crate::import::SCHEMA_LINE;
use crate::observation::Observation;
use crate::replay;
use crate::suffix::{self, Suffix};
use crate::verdict::Verdict;

/// How far a proposal goes beyond the very requests that were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The very paths.
    Exact,
    /// Numbers and ids in paths become wildcards.
    Path,
    /// Three paths of one folder become all paths below it.
    Folder,
    /// The whole host, with the methods that were seen; three names of one domain for all its names.
    Host,
}

/// What a proposal is made of.
#[derive(Clone, Debug)]
pub struct ProposeOptions {
    /// The name of the policy.
    pub name: String,
    /// How far it goes.
    pub level: Level,
    /// Whether what was refused is allowed as well.
    pub include_refused: bool,
}

/// Requests that can share a rule but for their paths.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    host: String,
    port: u16,
    cleartext: bool,
    unread: bool,
}

/// What came with the requests of one path, or of several that must share a rule.
#[derive(Clone, Debug, Default)]
struct Requests {
    methods: BTreeSet<String>,
    credentials: BTreeSet<CredentialId>,
    seen: Option<Seen>,
    patterns: BTreeSet<String>,
    example: String,
}

impl Requests {
    fn join(&mut self, other: Self) {
        self.methods.extend(other.methods);
        self.credentials.extend(other.credentials);
        self.patterns.extend(other.patterns);
        match (&mut self.seen, other.seen) {
            (Some(own), Some(other)) => own.join(other),
            (own, other) => *own = own.or(other),
        }
    }
}

/// How often something was seen, and when.
#[derive(Clone, Copy, Debug)]
struct Seen {
    count: usize,
    first: Timestamp,
    last: Timestamp,
}

impl Seen {
    fn add(seen: &mut Option<Self>, time: Timestamp) {
        let own = seen.get_or_insert(Self { count: 0, first: time, last: time });
        own.count += 1;
        own.first = own.first.min(time);
        own.last = own.last.max(time);
    }

    fn join(&mut self, other: Self) {
        self.count += other.count;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }

    fn words(self) -> String {
        let day = |time: Timestamp| time.to_string().chars().take(10).collect::<String>();
        let requests = if self.count == 1 { "1 request".to_owned() } else { format!("{} requests", self.count) };
        match (day(self.first), day(self.last)) {
            (first, last) if first == last => format!("{requests}, on {first}"),
            (first, last) => format!("{requests}, from {first} to {last}"),
        }
    }
}

/// One rule to be.
#[derive(Clone, Debug)]
struct Draft {
    hosts: BTreeSet<String>,
    place: Place,
    methods: BTreeSet<String>,
    paths: BTreeSet<String>,
    credentials: BTreeSet<CredentialId>,
    /// Those that are not globally routable, and so must be named.
    addresses: BTreeSet<IpAddr>,
    seen: Seen,
    /// A request that it must allow.
    example: String,
}

/// Writes a policy that allows what was seen: what was allowed, and what passed only because a policy observed.
/// Counts and days are in comments, refused requests at the end. The text compiles, its checks pass, and it is
/// laid out as [`fmt`] does.
pub fn propose(observations: &[Observation], options: &ProposeOptions) -> String {
    let taken = |one: &&Observation| match one.verdict {
        Verdict::Allow | Verdict::Observe => true,
        Verdict::Deny | Verdict::Ask => options.include_refused,
    };
    let sayable = |one: &Observation| {
        let path = options.level == Level::Host || one.bare_path().is_none_or(paths::can_be_said);
        path && one.method.as_deref().is_none_or(|method| method_error(method).is_none())
    };
    let fits = |one: &&Observation| taken(one) && one.is_whole() && sayable(one);
    let (wanted, left): (Vec<&Observation>, Vec<&Observation>) = observations.iter().partition(fits);
    let attempt = |wanted: &[&Observation], whole: &BTreeSet<String>| {
        let mut drafts = draft(wanted, options.level, whole);
        if options.level == Level::Host {
            drafts = widen_hosts(drafts);
        }
        let text = write(&drafts, &left, options, wanted.len());
        PolicySource { name: "proposal.yaml".to_owned(), text }
    };
    // Patterns of one host can overlap in a path of two readings, or where neither is more exact; then one rule has all
    // of that host. Each host is looked at alone, so that no other is widened for it.
    let hosts: BTreeSet<String> = wanted.iter().map(|one| one.host.to_string()).collect();
    let is_troubled = |host: &String| {
        let own: Vec<&Observation> = wanted.iter().filter(|one| one.host.to_string() == **host).copied().collect();
        !allows_all(&attempt(&own, &BTreeSet::new()), &own)
    };
    let source = attempt(&wanted, &hosts.into_iter().filter(is_troubled).collect());
    fmt(&source).unwrap_or(source.text)
}

/// Whether a proposal compiles and allows all of this.
fn allows_all(source: &PolicySource, wanted: &[&Observation]) -> bool {
    let rules = compile(std::slice::from_ref(source)).ok().and_then(|set| {
        let names: Vec<_> = set.names().cloned().collect();
        set.rules_for_policies(&names).ok()
    });
    rules.is_some_and(|rules| {
        wanted.iter().all(|one| replay::judge(one, &rules, one.time).is_none_or(|(answer, _)| answer.is_ok()))
    })
}

fn draft(wanted: &[&Observation], level: Level, whole: &BTreeSet<String>) -> Vec<Draft> {
    let mut places: BTreeMap<Place, (BTreeMap<String, Requests>, BTreeSet<IpAddr>)> = BTreeMap::new();
    for one in wanted {
        let place = place(one);
        let path = one.bare_path().unwrap_or_default().to_owned();
        let example = example(&place, one.method.as_ref(), &paths::without_secrets(&path, "x"));
        let (by_path, addresses) = places.entry(place).or_default();
        addresses.extend(one.address.filter(|address| AddressClass::of(*address) != AddressClass::Global));
        let requests = by_path.entry(path).or_insert_with(|| Requests { example, ..Requests::default() });
        requests.methods.extend(one.method.clone());
        requests.credentials.extend(one.credentials.iter().cloned());
        Seen::add(&mut requests.seen, one.time);
    }
    places
        .into_iter()
        .flat_map(|(place, (by_path, addresses))| {
            of_place(&place, by_path, &addresses, level, whole.contains(&place.host))
        })
        .collect()
}

/// The rules of one place. Paths that came with the same methods and credentials share one; others would get methods
/// that no request used on them.
fn of_place(
    place: &Place,
    by_path: BTreeMap<String, Requests>,
    addresses: &BTreeSet<IpAddr>,
    level: Level,
    whole: bool,
) -> Vec<Draft> {
    let level = if place.unread { Level::Host } else { level };
    let general = paths::generalize(by_path.keys().map(String::as_str), level);
    let mut groups: Vec<Requests> = Vec::new();
    for (path, mut requests) in by_path {
        requests.patterns = general.get(&path).into_iter().flatten().cloned().collect();
        // Both readings of a path must get one rule, so whatever shares a pattern is one group.
        let shares = |group: &Requests| {
            whole
                || (group.patterns.is_empty() && requests.patterns.is_empty())
                || !group.patterns.is_disjoint(&requests.patterns)
        };
        let (together, apart): (Vec<_>, Vec<_>) = groups.into_iter().partition(shares);
        groups = apart;
        let mut whole = together.into_iter().reduce(|mut all, group| {
            all.join(group);
            all
        });
        match &mut whole {
            Some(whole) => whole.join(requests),
            None => whole = Some(requests),
        }
        groups.extend(whole);
    }
    let mut drafts: BTreeMap<(BTreeSet<String>, BTreeSet<CredentialId>), Draft> = BTreeMap::new();
    for group in groups {
        let Some(seen) = group.seen else { continue };
        let credentials = group.credentials;
        let new = || Draft {
            hosts: BTreeSet::from([place.host.clone()]),
            place: place.clone(),
            methods: group.methods.clone(),
            paths: BTreeSet::new(),
            credentials: credentials.clone(),
            addresses: addresses.clone(),
            seen: Seen { count: 0, ..seen },
            example: group.example.clone(),
        };
        let draft = drafts.entry((group.methods.clone(), credentials.clone())).or_insert_with(new);
        draft.paths.extend(group.patterns);
        draft.seen.join(seen);
    }
    drafts.into_values().collect()
}

fn place(one: &Observation) -> Place {
    let (host, port) = (one.host.to_string(), one.port);
    Place { host, port, cleartext: one.scheme == Scheme::Http, unread: one.method.is_none() }
}

fn example(place: &Place, method: Option<&String>, path: &str) -> String {
    let scheme = if place.cleartext { "http" } else { "https" };
    let default = if place.cleartext { 80 } else { 443 };
    let port = if place.port == default { String::new() } else { format!(":{}", place.port) };
    let path = if path.is_empty() { "/" } else { path };
    format!("{} {scheme}://{}{port}{path}", method.map_or("GET", String::as_str), place.host)
}

/// Three names of one domain, in rules that are alike otherwise, become all its names.
fn widen_hosts(drafts: Vec<Draft>) -> Vec<Draft> {
    type Alike = (String, Place, BTreeSet<String>, BTreeSet<CredentialId>);
    let mut groups: BTreeMap<Alike, Vec<Draft>> = BTreeMap::new();
    for draft in drafts {
        let parent = parent_of(&draft.place.host).unwrap_or_else(|| draft.place.host.clone());
        let alike = Place { host: String::new(), ..draft.place.clone() };
        let key = (parent, alike, draft.methods.clone(), draft.credentials.clone());
        groups.entry(key).or_default().push(draft);
    }
    let mut widened = Vec::new();
    for ((parent, ..), mut group) in groups {
        if group.len() < 3 || suffix::of(&parent) != Suffix::Owned {
            widened.append(&mut group);
            continue;
        }
        let mut rest = group.into_iter();
        let Some(mut first) = rest.next() else { continue };
        for other in rest {
            first.seen.join(other.seen);
            first.addresses.extend(other.addresses);
        }
        first.hosts = BTreeSet::from([format!("*.{parent}")]);
        widened.push(first);
    }
    widened
}

/// The name above, of a name that has one with at least two labels.
fn parent_of(host: &str) -> Option<String> {
    match Host::parse(host) {
        Ok(Host::Name(name)) => name.split_once('.').map(|(_, parent)| parent.to_owned()).filter(|p| p.contains('.')),
        Ok(Host::V4(_) | Host::V6(_)) | Err(_) => None,
    }
}

fn write(drafts: &[Draft], left: &[&Observation], options: &ProposeOptions, count: usize) -> String {
    let mut text = format!("{SCHEMA_LINE}\npolicy: {}\n", quoted(&options.name));
    let _infallible = writeln!(text, "description: Proposed from {count} recorded requests.");
    text.push_str(if drafts.is_empty() { "rules: []\n" } else { "rules:\n" });
    let mut ids = BTreeSet::new();
    let mut checks = String::new();
    for draft in drafts {
        let id = id_of(draft, &mut ids);
        write_rule(&mut text, draft, &id);
        let _infallible = writeln!(checks, "  - {{request: {}, expect: allow}}", quoted(&draft.example));
    }
    if !checks.is_empty() {
        let _infallible = write!(text, "checks:\n{checks}");
    }
    text.push_str(&refused(left));
    text
}

fn write_rule(text: &mut String, draft: &Draft, id: &str) {
    let place = &draft.place;
    let mut keys = vec![format!("host: {}", list(draft.hosts.iter()))];
    if place.cleartext {
        keys.push("scheme: http".to_owned());
    }
    if place.port != if place.cleartext { 80 } else { 443 } {
        keys.push(format!("port: {}", place.port));
    }
    if !draft.methods.is_empty() {
        let plain = |method: &str| method.len() > 2 && method.bytes().all(|byte| byte.is_ascii_uppercase());
        let written = |method: &String| if plain(method) { method.clone() } else { quoted(method) };
        keys.push(format!("methods: [{}]", draft.methods.iter().map(written).collect::<Vec<_>>().join(", ")));
    }
    if !draft.paths.is_empty() {
        keys.push(format!("path: {}", list(draft.paths.iter())));
    }
    let _infallible = writeln!(text, "  # {}\n  - id: {id}\n    allow: {{{}}}", draft.seen.words(), keys.join(", "));
    if !draft.credentials.is_empty() && !place.cleartext {
        let names: Vec<&str> = draft.credentials.iter().map(CredentialId::as_str).collect();
        let _infallible = writeln!(text, "    use: [{}]", names.join(", "));
    }
    if place.unread {
        text.push_str("    tls: pass-through\n");
    }
    if !draft.addresses.is_empty() {
        let addresses: Vec<String> = draft.addresses.iter().map(|address| format!("\"{address}\"")).collect();
        let _infallible = writeln!(text, "    addresses: [{}]", addresses.join(", "));
    }
}

fn list<'a>(items: impl Iterator<Item = &'a String>) -> String {
    let items: Vec<String> = items.map(|item| quoted(item)).collect();
    match items.as_slice() {
        [one] => one.clone(),
        _ => format!("[{}]", items.join(", ")),
    }
}

/// A text in quotes, as YAML and JSON both read it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for sign in text.chars() {
        match sign {
            '"' | '\\' => out.extend(['\\', sign]),
            _ => out.push(sign),
        }
    }
    out.push('"');
    out
}

fn id_of(draft: &Draft, taken: &mut BTreeSet<String>) -> String {
    let host = draft.hosts.first().map_or("", String::as_str);
    let words: String = host.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let mut base: String = words.trim_matches('-').chars().take(48).collect();
    let reads = draft.methods.iter().all(|method| matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS"));
    base.push_str(if draft.place.unread {
        "-unread"
    } else if reads {
        "-read"
    } else {
        "-write"
    });
    let free = (1..).map(|n| if n == 1 { base.clone() } else { format!("{base}-{n}") });
    let id = free.into_iter().find(|id| !taken.contains(id)).unwrap_or(base);
    taken.insert(id.clone());
    id
}

/// What was refused, as comments: a proposal does not decide whether it should have been.
fn refused(left: &[&Observation]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for one in left {
        let method = one.method.as_deref().unwrap_or("CONNECT");
        let scheme = one.scheme.as_str();
        let path = paths::without_secrets(one.bare_path().unwrap_or_default(), "x");
        let what = match method {
            "CONNECT" => format!("CONNECT {}:{}", one.host, one.port),
            _ => format!("{method} {scheme}://{}:{}{path}", one.host, one.port),
        };
        let code = one.code.as_deref().unwrap_or(one.verdict.as_str());
        *counts.entry(format!("{what} ({code})")).or_default() += 1;
    }
    let mut text = String::new();
    if !counts.is_empty() {
        text.push_str("# Not allowed here: what was refused, and what a policy cannot say exactly:\n");
    }
    for (what, count) in counts {
        let printable: String = what.chars().filter(|sign| !sign.is_control()).collect();
        let _infallible = writeln!(text, "#   {count} x {printable}");
    }
    text
}

#[cfg(test)]
mod tests;
