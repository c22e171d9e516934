//! What holds for all policies: the index agrees with the plain reading of the language, a deny never
//! widens, and neither order nor file matters.

use std::cmp::Reverse;
use std::fmt::Write;
use std::sync::Arc;

use model::{Destination, Host, RequestPath, Scheme, Timestamp};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use egret_policies::{Knock, PolicySet, Rules, compile};

use crate::support::{question, sources};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// A rule as an author thinks of it.
#[derive(Clone, Debug)]
struct Spec {
    id: usize,
    deny: bool,
    hosts: Vec<&'static str>,
    scheme: Option<Scheme>,
    ports: Vec<u16>,
    methods: Vec<&'static str>,
    paths: Vec<&'static str>,
}

const HOSTS: [&str; 6] = ["c.example", "b.c.example", "a.b.c.example", "*.c.example", "**.c.example", "*.b.c.example"];
const PATHS: [&str; 9] = ["/", "/a", "/a/*", "/a/**", "/*/b", "/a/b", "/**/b", "/a*", "/**"];
const ASKED_HOSTS: [&str; 6] =
    ["example", "c.example", "b.c.example", "a.b.c.example", "x.a.b.c.example", "xc.example"];
const ASKED_PATHS: [&str; 11] =
    ["/", "/a", "/a/", "/a/b", "/a/b/c", "/b", "/ab", "/x/../a", "/a%2fb", "/a//b", "/x/..;/b"];

fn spec(id: usize) -> impl Strategy<Value = Spec> {
    let scheme = prop_oneof![3 => Just(None), 1 => Just(Some(Scheme::Http)), 1 => Just(Some(Scheme::Https))];
    let hosts = subsequence(HOSTS.to_vec(), 1..3);
    let ports = subsequence(vec![80, 443, 8443], 0..3);
    let methods = subsequence(vec!["GET", "POST", "TRACE"], 0..3);
    (any::<bool>(), hosts, scheme, ports, methods, subsequence(PATHS.to_vec(), 0..3)).prop_map(
        move |(deny, hosts, scheme, ports, methods, paths)| Spec { id, deny, hosts, scheme, ports, methods, paths },
    )
}

fn specs() -> impl Strategy<Value = Vec<Spec>> {
    (0..7usize).prop_flat_map(|count| (0..count).map(spec).collect::<Vec<_>>())
}

impl Spec {
    fn yaml(&self) -> String {
        let quoted = |list: &[&str]| list.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(", ");
        let mut matched = format!("host: [{}]", quoted(&self.hosts));
        if let Some(scheme) = self.scheme {
            write!(matched, ", scheme: {}", scheme.as_str()).unwrap();
        }
        if !self.ports.is_empty() {
            write!(matched, ", port: {:?}", self.ports).unwrap();
        }
        if !self.methods.is_empty() {
            write!(matched, ", methods: [{}]", quoted(&self.methods)).unwrap();
        }
        if !self.paths.is_empty() {
            write!(matched, ", path: [{}]", quoted(&self.paths)).unwrap();
        }
        let effect = if self.deny { "deny" } else { "allow" };
        format!("  - {{id: r{}, {effect}: {{{matched}}}}}\n", self.id)
    }

    /// The language read plainly, rule by rule, without an index.
    fn covers(&self, asked: &Asked, path: &str) -> bool {
        let allow_scheme = self.scheme.unwrap_or(Scheme::Https);
        let scheme = self.deny && self.scheme.is_none() || allow_scheme == asked.scheme;
        let port = match self.ports.as_slice() {
            [] => self.deny || asked.port == allow_scheme.default_port(),
            ports => ports.contains(&asked.port),
        };
        let method = match self.methods.as_slice() {
            [] => self.deny || asked.method != "TRACE",
            methods => methods.contains(&asked.method),
        };
        let host = self.hosts.iter().any(|pattern| host_matches(pattern, asked.host));
        host && scheme
            && port
            && method
            && (self.paths.is_empty() || self.paths.iter().any(|pattern| path_matches(pattern, path)))
    }
}

impl Spec {
    /// How exactly the rule names the request; greater wins.
    fn rank(&self, asked: &Asked, path: &str) -> impl Ord + use<> {
        let host = |pattern: &&&str| (!pattern.contains('*'), pattern.split('.').count(), !pattern.starts_with("**"));
        let host = self
            .hosts
            .iter()
            .filter(|pattern| host_matches(pattern, asked.host))
            .max_by_key(host)
            .map(|pattern| host(&pattern));
        let rank = |pattern: &str| {
            let literals = pattern.chars().filter(|c| *c != '*').count();
            (!pattern.contains('*'), pattern.find('*').unwrap_or(pattern.len()), literals)
        };
        let path = self.paths.iter().filter(|pattern| path_matches(pattern, path)).map(|pattern| rank(pattern)).max();
        let methods = if self.methods.is_empty() { usize::MAX } else { self.methods.len() };
        (host, path, Reverse(methods), Reverse(self.ports.len().max(1)))
    }
}

fn host_matches(pattern: &str, host: &str) -> bool {
    let front = |tail: &str| host.strip_suffix(tail)?.strip_suffix('.').map(str::to_owned);
    match (pattern.strip_prefix("**."), pattern.strip_prefix("*.")) {
        (Some(tail), _) => front(tail).is_some(),
        (None, Some(tail)) => front(tail).is_some_and(|front| !front.contains('.')),
        (None, None) => pattern == host,
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    names(pattern.as_bytes(), path.as_bytes())
}

/// The wildcards read plainly, sign by sign: every way to place them is tried.
fn names(pattern: &[u8], path: &[u8]) -> bool {
    match (pattern, path) {
        (b"/**", _) => path.starts_with(b"/"),
        ([b'/', b'*', b'*', rest @ ..], [b'/', ..]) => {
            (0..path.len()).any(|at| path[at] == b'/' && names(rest, &path[at..]))
        }
        ([b'*', rest @ ..], [] | [b'/', ..]) => names(rest, path),
        ([b'*', rest @ ..], [_, after @ ..]) => names(rest, path) || names(pattern, after),
        ([sign, rest @ ..], [byte, after @ ..]) => sign == byte && names(rest, after),
        ([], _) | (_, []) => pattern.len() == path.len(),
    }
}

fn path_patterns() -> impl Strategy<Value = String> {
    let segment = prop_oneof!["[ab.+(|$^]{1,3}", "[ab*]{1,4}", "[a.+*]{1,3}", Just("**".to_owned())];
    prop::collection::vec(segment, 1..5)
        .prop_map(|segments| format!("/{}", segments.join("/")))
        .prop_filter("`**` is a whole segment", |text| text.split('/').all(|s| s == "**" || !s.contains("**")))
        .prop_filter("no dot segments", |text| text.split('/').all(|s| s != "." && s != ".."))
}

/// A path by chance, or one that the pattern is likely to name.
fn asked_path(pattern: &str) -> impl Strategy<Value = String> + use<> {
    let likely = ("(a|b|a/b|bab|)", "(a|b|)").prop_map({
        let pattern = pattern.to_owned();
        move |(deep, flat)| pattern.replace("**", &deep).replace('*', &flat)
    });
    prop_oneof!["(/[ab.+(|$^]{0,3}){1,5}", likely]
}

#[derive(Clone, Debug)]
struct Asked {
    host: &'static str,
    scheme: Scheme,
    port: u16,
    method: &'static str,
    path: &'static str,
}

fn asked() -> impl Strategy<Value = Asked> {
    let scheme = select(vec![Scheme::Http, Scheme::Https, Scheme::Https]);
    (
        select(ASKED_HOSTS.to_vec()),
        scheme,
        select(vec![80, 443, 443, 8443]),
        select(vec!["GET", "GET", "POST", "TRACE"]),
        select(ASKED_PATHS.to_vec()),
    )
        .prop_map(|(host, scheme, port, method, path)| Asked { host, scheme, port, method, path })
}

fn text(specs: &[Spec]) -> String {
    let rules: String = specs.iter().map(Spec::yaml).collect();
    if rules.is_empty() { "policy: p\n".to_owned() } else { format!("policy: p\nrules:\n{rules}") }
}

fn compiled(specs: &[Spec]) -> PolicySet {
    compile(&sources(&[&text(specs)])).unwrap()
}

/// The rule that allows, or the code and rule of the denial.
fn verdict(rules: &Arc<Rules>, asked: &Asked) -> Result<String, (String, Option<String>)> {
    let destination = Destination::new(asked.scheme, Host::parse(asked.host).unwrap(), asked.port);
    let path = RequestPath::parse(asked.path).unwrap();
    let denied = |denied: egret_policies::Denied| (denied.reason.to_string(), denied.rule.map(|rule| rule.to_string()));
    rules.decide(&Knock { host: destination.host(), port: destination.port(), now: NOW }).map_err(denied)?;
    let question = question(&destination, asked.method, &path);
    rules.authorize(&question).map(|permit| permit.rule().unwrap().to_string()).map_err(denied)
}

fn verdict_of(specs: &[Spec], asked: &Asked) -> Result<String, (String, Option<String>)> {
    verdict(&compiled(specs).rules_of(&["p".into()]).unwrap(), asked)
}

/// The answer by the plain reading: nothing where a deny covers either reading of the path, else the rule
/// that wins both.
fn plain(specs: &[Spec], asked: &Asked) -> Option<String> {
    let path = RequestPath::parse(asked.path).unwrap();
    let readings: Vec<&str> = [Some(path.as_sent()), path.resolved()].into_iter().flatten().collect();
    if specs.iter().any(|spec| spec.deny && readings.iter().any(|path| spec.covers(asked, path))) {
        return None;
    }
    let allows = || specs.iter().filter(|spec| !spec.deny);
    let winner = |path: &str| {
        allows().filter(|spec| spec.covers(asked, path)).max_by_key(|spec| (spec.rank(asked, path), Reverse(spec.id)))
    };
    let mut winners = readings.iter().map(|path| winner(path).map(|spec| spec.id));
    let first = winners.next()??;
    winners.all(|other| other == Some(first)).then(|| format!("r{first}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn the_index_agrees_with_the_plain_reading(specs in specs(), asked in asked()) {
        prop_assert_eq!(verdict_of(&specs, &asked).ok(), plain(&specs, &asked), "{}", text(&specs));
    }

    #[test]
    fn a_pattern_names_what_it_reads(
        (pattern, path) in path_patterns().prop_flat_map(|p| { let path = asked_path(&p); (Just(p), path) })
    ) {
        let text = format!("policy: p\nrules:\n  - {{id: r, allow: {{host: a.example, path: \"{pattern}\"}}}}\n");
        let rules = compile(&sources(&[&text])).unwrap().rules_of(&["p".into()]).unwrap();
        let destination = Destination::new(Scheme::Https, Host::parse("a.example").unwrap(), 443);
        let asked = RequestPath::parse(&path).unwrap();
        let question = question(&destination, "GET", &asked);
        let mut readings = [Some(asked.as_sent()), asked.resolved()].into_iter().flatten();
        let named = readings.all(|path| path_matches(&pattern, path));
        prop_assert_eq!(rules.authorize(&question).is_ok(), named, "{} {}", pattern, path);
    }

    #[test]
    fn a_deny_never_widens(specs in specs(), deny in spec(99), asked in asked()) {
        let mut more = specs.clone();
        more.push(Spec { deny: true, ..deny });
        let (before, after) = (verdict_of(&specs, &asked), verdict_of(&more, &asked));
        if let Ok(rule) = &after {
            prop_assert_eq!(before.as_ref(), Ok(rule), "{}", text(&more));
        }
        if before.is_err() {
            prop_assert!(after.is_err());
        }
    }

    #[test]
    fn the_order_of_rules_does_not_matter(
        (specs, shuffled) in specs().prop_flat_map(|specs| (Just(specs.clone()), Just(specs).prop_shuffle())),
        asked in asked(),
    ) {
        prop_assert_eq!(verdict_of(&specs, &asked), verdict_of(&shuffled, &asked));
    }

    #[test]
    fn files_do_not_matter(specs in specs(), asked in asked(), cut in 0..7usize) {
        let (front, back) = specs.split_at(cut.min(specs.len()));
        let texts = [text(front), text(back).replacen("policy: p", "policy: q", 1)];
        let split = compile(&sources(&[&texts[0], &texts[1]])).unwrap();
        let rules = split.rules_of(&["q".into(), "p".into()]).unwrap();
        prop_assert_eq!(verdict(&rules, &asked).is_ok(), verdict_of(&specs, &asked).is_ok());
    }

    /// Whatever a file holds, compiling ends with a set or with problems that have places within it.
    #[test]
    fn any_text_is_a_policy_or_a_problem(text in "(policy: p\n)?(rules:\n)?([ ]{0,4}(- )?(id|allow|deny|host|port|path|use|\"|\\{|\\[|\\]|\\}|:|,|\\*|&|!|a\\.b|443|\n| ){1,3}\n?){0,12}") {
        if let Err(problems) = compile(&sources(&[&text])) {
            prop_assert!(!problems.is_empty());
            for problem in problems {
                prop_assert!(problem.line <= text.lines().count() + 1);
                prop_assert!(!problem.to_string().is_empty());
            }
        }
    }
}
