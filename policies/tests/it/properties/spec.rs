//! Policies as an author thinks of them, by chance, and their text.

use std::fmt::Write;

use model::Scheme;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Allow,
    Ask,
    Deny,
}

/// A rule.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) id: String,
    pub(super) effect: Effect,
    /// Patterns, or names of sets.
    pub(super) hosts: Vec<&'static str>,
    pub(super) scheme: Option<Scheme>,
    pub(super) ports: Vec<u16>,
    pub(super) methods: Vec<&'static str>,
    pub(super) paths: Vec<&'static str>,
    pub(super) query: Vec<(&'static str, Vec<&'static str>)>,
    pub(super) tools: Vec<&'static str>,
    pub(super) websocket: bool,
    /// In seconds.
    pub(super) until: Option<i64>,
}

/// What a policy is to the sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Enforce,
    Observe,
    Ceiling,
}

/// A policy.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) until: Option<i64>,
    pub(super) specs: Vec<Spec>,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) host: &'static str,
    pub(super) scheme: Scheme,
    pub(super) port: u16,
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) query: Option<&'static str>,
    pub(super) websocket: bool,
    pub(super) tool: Option<&'static str>,
    pub(super) now: i64,
}

/// The host sets that every policy declares.
pub(super) const SETS: [(&str, &[&str]); 2] =
    [("near", &["c.example", "*.b.c.example"]), ("far", &["**.c.example", "8.8.8.8"])];

const HOSTS: [&str; 10] = [
    "c.example",
    "b.c.example",
    "a.b.c.example",
    "*.c.example",
    "**.c.example",
    "*.b.c.example",
    "@near",
    "@far",
    "8.8.8.8",
    "**",
];
const PATHS: [&str; 9] = ["/", "/a", "/a/*", "/a/**", "/*/b", "/a/b", "/**/b", "/a*", "/**"];
const VALUES: [&str; 4] = ["1", "2*", "*", "*x*y"];
const TOOLS: [&str; 4] = ["read", "read_*", "*", "*_file"];
const ASKED_HOSTS: [&str; 8] =
    ["example", "c.example", "b.c.example", "a.b.c.example", "x.a.b.c.example", "xc.example", "8.8.8.8", "10.0.0.1"];
const ASKED_PATHS: [&str; 18] = [
    "/", "/a", "/a/", "/a/b", "/a/b/c", "/b", "/ab", "/x/../a", "/a%2fb", "/a//b", "/x/..;/b", "/A", "/a/B", "//x/b",
    "/a;x/b", "/a%252fb", "/a%3fb", "/%61/b",
];
const ASKED_QUERIES: [&str; 14] = [
    "",
    "a=1",
    "a=1&a=1",
    "%61=%31",
    "a=2+2",
    "a=1;b=1",
    "a=1&x;a=3",
    "b",
    "b=xy&a=1",
    "a=%32&c=&b=",
    "a=1%26a=3",
    "b=zx%79y;c=d",
    "a;b=2&a=1",
    "=&a=1&=",
];

/// A rule by chance, for a ceiling or for a policy that is none.
pub(super) fn spec(id: String, ceiling: bool) -> impl Strategy<Value = Spec> {
    let effect = select(vec![Effect::Allow, Effect::Allow, Effect::Ask, Effect::Deny]);
    let scheme = prop_oneof![3 => Just(None), 1 => Just(Some(Scheme::Http)), 1 => Just(Some(Scheme::Https))];
    let hosts = subsequence(HOSTS.to_vec(), 1..3);
    let ports = subsequence(vec![80, 443, 8443], 0..3);
    let methods = subsequence(vec!["GET", "POST", "TRACE"], 0..3);
    let paths = subsequence(PATHS.to_vec(), 0..3);
    let values = || subsequence(VALUES.to_vec(), 1..3);
    let query = (any::<[bool; 4]>(), values(), values()).prop_map(|([a, b, c, d], first, second)| {
        let named = [(a && b, ("a", first)), (c && d, ("b", second))];
        named.into_iter().filter_map(|(is_named, pair)| is_named.then_some(pair)).collect()
    });
    let tools = prop_oneof![3 => Just(Vec::new()), 1 => subsequence(TOOLS.to_vec(), 1..3)];
    let websocket = prop::bool::weighted(0.15);
    let until = prop_oneof![3 => Just(None), 1 => select(vec![10, 20]).prop_map(Some)];
    (effect, hosts, scheme, ports, methods, paths, query, (tools, websocket, until)).prop_map(
        move |(effect, mut hosts, scheme, ports, methods, paths, query, (tools, websocket, until))| {
            // Only a deny or a ceiling may say it.
            if effect != Effect::Deny && !ceiling {
                hosts.iter_mut().filter(|host| **host == "**").for_each(|host| *host = "x.a.b.c.example");
            }
            Spec { id: id.clone(), effect, hosts, scheme, ports, methods, paths, query, tools, websocket, until }
        },
    )
}

/// A policy by chance, with less than `most` rules.
pub(super) fn file(name: &'static str, kind: Kind, most: usize) -> impl Strategy<Value = File> {
    let specs = (0..most).prop_flat_map(move |count| {
        let rules = (0..count).map(|n| spec(format!("{name}{n}"), kind == Kind::Ceiling));
        rules.collect::<Vec<_>>()
    });
    let until = match kind {
        Kind::Observe => select(vec![Some(10), Some(20), Some(30)]).boxed(),
        Kind::Enforce | Kind::Ceiling => prop_oneof![4 => Just(None), 1 => Just(Some(20))].boxed(),
    };
    (specs, until).prop_map(move |(specs, until)| File { name: name.to_owned(), kind, until, specs })
}

/// One or two policies of a session, enforcing or observing, under at most two ceilings.
pub(super) fn files() -> impl Strategy<Value = Vec<File>> {
    let own = prop_oneof![
        3 => file("p", Kind::Enforce, 6).prop_map(|p| vec![p]),
        1 => (file("p", Kind::Enforce, 4), file("q", Kind::Enforce, 4)).prop_map(|(p, q)| vec![p, q]),
        1 => (file("p", Kind::Enforce, 4), file("q", Kind::Observe, 4)).prop_map(|(p, q)| vec![p, q]),
        1 => file("p", Kind::Observe, 5).prop_map(|p| vec![p]),
        1 => (file("p", Kind::Observe, 4), file("q", Kind::Observe, 4)).prop_map(|(p, q)| vec![p, q]),
    ];
    let over = prop_oneof![
        2 => Just(Vec::new()),
        1 => file("s", Kind::Ceiling, 4).prop_map(|s| vec![s]),
        1 => (file("s", Kind::Ceiling, 4), file("t", Kind::Ceiling, 4)).prop_map(|(s, t)| vec![s, t]),
    ];
    (own, over).prop_map(|(own, over)| own.into_iter().chain(over).collect())
}

/// A request by chance.
pub(super) fn asked() -> impl Strategy<Value = Asked> {
    (
        select(ASKED_HOSTS.to_vec()),
        select(vec![Scheme::Http, Scheme::Https, Scheme::Https]),
        select(vec![80, 443, 443, 8443]),
        select(vec!["GET", "GET", "POST", "TRACE"]),
        select(ASKED_PATHS.to_vec()),
        prop_oneof![1 => Just(None), 2 => select(ASKED_QUERIES.to_vec()).prop_map(Some)],
        prop::bool::weighted(0.15),
        prop_oneof![Just(None), select(vec!["read", "read_file", "write"]).prop_map(Some)],
        select(vec![0, 9, 10, 20, 25]),
    )
        .prop_map(|(host, scheme, port, method, path, query, websocket, tool, now)| Asked {
            host,
            scheme,
            port,
            method,
            path,
            query,
            websocket,
            tool,
            now,
        })
}

impl Spec {
    fn yaml(&self) -> String {
        let mut matched = format!("host: {}", quoted(&self.hosts));
        if let Some(scheme) = self.scheme {
            write!(matched, ", scheme: {}", scheme.as_str()).unwrap();
        }
        if !self.ports.is_empty() {
            write!(matched, ", port: {:?}", self.ports).unwrap();
        }
        if !self.query.is_empty() {
            let pairs: Vec<_> = self.query.iter().map(|(name, values)| format!("{name}: {}", quoted(values))).collect();
            write!(matched, ", query: {{{}}}", pairs.join(", ")).unwrap();
        }
        for (key, list) in [("methods", &self.methods), ("path", &self.paths), ("tool", &self.tools)] {
            if !list.is_empty() {
                write!(matched, ", {key}: {}", quoted(list)).unwrap();
            }
        }
        if self.websocket {
            matched += ", upgrade: websocket";
        }
        let effect = match self.effect {
            Effect::Allow => "allow",
            Effect::Ask => "ask",
            Effect::Deny => "deny",
        };
        let until = self.until.map(|until| format!(", until: {}", instant(until))).unwrap_or_default();
        format!("  - {{id: {}, {effect}: {{{matched}}}{until}}}\n", self.id)
    }
}

impl File {
    /// The policy as a file holds it.
    pub(super) fn yaml(&self) -> String {
        let mut text = format!("policy: {}\nhosts:\n", self.name);
        for (name, hosts) in SETS {
            writeln!(text, "  {name}: {}", quoted(hosts)).unwrap();
        }
        match self.kind {
            Kind::Enforce => {}
            Kind::Observe => text += "mode: observe\n",
            Kind::Ceiling => text += "ceiling: true\n",
        }
        if let Some(until) = self.until {
            writeln!(text, "until: {}", instant(until)).unwrap();
        }
        if !self.specs.is_empty() {
            text += "rules:\n";
            self.specs.iter().for_each(|spec| text += &spec.yaml());
        }
        text
    }
}

fn quoted(list: &[&str]) -> String {
    format!("[{}]", list.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(", "))
}

fn instant(seconds: i64) -> String {
    format!("\"1970-01-01T00:00:{seconds:02}Z\"")
}
