//! Differences, compared with thousands of requests: each change that grants more is reported, and each request that is
//! reported gets the reported answers.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use egret_policies::{
    Denied, Diff, Judgement, Kind, Limits, Permit, PolicySet, Question, Rules, Verdict, compile, diff, diff_sets,
};
use model::{Destination, Host, RequestPath, Scheme, Timestamp};
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use crate::support::{config, sources};

/// A rule as an author thinks of it.
#[derive(Clone, Debug)]
struct Spec {
    id: usize,
    effect: &'static str,
    hosts: Vec<&'static str>,
    conditions: Vec<&'static str>,
    methods: Vec<&'static str>,
    paths: Vec<&'static str>,
    given: Vec<&'static str>,
}

/// Policies as an author thinks of them: rules, those of a ceiling, and whether the policy observes.
#[derive(Clone, Debug)]
pub(crate) struct Book {
    rules: Vec<Spec>,
    ceiling: Vec<Spec>,
    observe: bool,
}

const PATHS: [&str; 11] = ["/a", "/b", "/a/*", "/a/**", "/*/b", "/**/b", "/a*", "/**", "/@a%2f*", "/@a/*", "/a;*"];

fn spec(id: usize) -> impl Strategy<Value = Spec> {
    let effect = prop_oneof![5 => Just("allow"), 2 => Just("deny"), 1 => Just("ask")];
    let hosts = subsequence(vec!["c.example", "b.c.example", "*.c.example", "**.c.example", "192.0.2.1"], 1..3);
    let condition = prop_oneof![
        8 => Just(vec![]),
        1 => Just(vec!["tool: \"t*\""]),
        1 => Just(vec!["tool: [tx, \"*y\"]"]),
        1 => Just(vec!["query: {ref: main}"]),
        1 => Just(vec!["query: {ref: [main, \"m*x\"], q: \"*\"}"]),
        1 => Just(vec!["upgrade: websocket"]),
        1 => Just(vec!["scheme: http"]),
        1 => Just(vec!["port: [443, 8443]"]),
    ];
    let methods = subsequence(vec!["GET", "POST", "TRACE"], 0..3);
    let paths = prop_oneof![1 => Just(vec![]), 3 => subsequence(PATHS.to_vec(), 1..3)];
    let given = prop_oneof![
        6 => Just(vec![]),
        2 => Just(vec!["use: [one]"]),
        1 => Just(vec!["use: [one, two]"]),
        1 => Just(vec!["limits: {request_body: 10, requests: 10/s}"]),
        1 => Just(vec!["limits: {request_body: 20, requests: 600/m}"]),
        1 => Just(vec!["addresses: [\"10.0.0.0/8\", \"192.0.2.1\"]"]),
        1 => Just(vec!["until: 2030-01-01"]),
        1 => Just(vec!["timeouts: {idle: 5s}"]),
    ];
    (effect, hosts, condition, methods, paths, given).prop_map(
        move |(effect, hosts, conditions, methods, paths, given)| {
            let given = if effect == "deny" {
                given.into_iter().filter(|key| key.starts_with("until")).collect()
            } else {
                given
            };
            Spec { id, effect, hosts, conditions, methods, paths, given }
        },
    )
}

pub(crate) fn book() -> impl Strategy<Value = Book> {
    let specs = (1..6usize).prop_flat_map(|count| (0..count).map(spec).collect::<Vec<_>>());
    let ceiling = prop_oneof![3 => Just(vec![]), 1 => spec(50).prop_map(|spec| vec![spec])];
    let observe = prop_oneof![7 => Just(false), 1 => Just(true)];
    (specs, ceiling, observe).prop_map(|(rules, ceiling, observe)| Book { rules, ceiling, observe })
}

impl Spec {
    fn yaml(&self) -> String {
        let quoted = |list: &[&str]| list.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(", ");
        let mut matched = format!("host: [{}]", quoted(&self.hosts));
        for condition in &self.conditions {
            write!(matched, ", {condition}").unwrap();
        }
        if !self.methods.is_empty() {
            write!(matched, ", methods: [{}]", quoted(&self.methods)).unwrap();
        }
        if !self.paths.is_empty() {
            write!(matched, ", path: [{}]", quoted(&self.paths)).unwrap();
        }
        let given: String = self.given.iter().map(|key| format!(", {key}")).collect();
        format!("  - {{id: r{}, {}: {{{matched}}}{given}}}\n", self.id, self.effect)
    }
}

impl Book {
    fn set(&self) -> Option<PolicySet> {
        let rules: String = self.rules.iter().map(Spec::yaml).collect();
        let mode = if self.observe { "mode: observe\nuntil: 2031-01-01\n" } else { "" };
        let mut texts = vec![match rules.as_str() {
            "" => format!("policy: p\n{mode}"),
            rules => format!("policy: p\n{mode}rules:\n{rules}"),
        }];
        if !self.ceiling.is_empty() {
            let rules: String = self.ceiling.iter().map(Spec::yaml).collect();
            texts.push(format!("policy: c\nceiling: true\nrules:\n{rules}"));
        }
        compile(&sources(&texts.iter().map(String::as_str).collect::<Vec<_>>())).ok()
    }

    pub(crate) fn rules(&self) -> Option<Arc<Rules>> {
        self.set()?.rules_for_policies(&["p".into()]).ok()
    }
}

/// A small change, as authors make them.
#[derive(Clone, Debug)]
enum Edit {
    Remove(Index),
    Replace(Index, Spec),
    Add(Spec),
    Effect(Index, &'static str),
    Unite(Index, Index),
    DropPath(Index),
    DropMethod(Index),
    Forget(Index),
    Ceiling(Option<Spec>),
    Observe,
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        any::<Index>().prop_map(Edit::Remove),
        (any::<Index>(), spec(7)).prop_map(|(at, spec)| Edit::Replace(at, spec)),
        spec(8).prop_map(Edit::Add),
        (any::<Index>(), select(vec!["allow", "deny", "ask"])).prop_map(|(at, effect)| Edit::Effect(at, effect)),
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Edit::Unite(a, b)),
        any::<Index>().prop_map(Edit::DropPath),
        any::<Index>().prop_map(Edit::DropMethod),
        any::<Index>().prop_map(Edit::Forget),
        prop::option::of(spec(51)).prop_map(Edit::Ceiling),
        Just(Edit::Observe),
    ]
}

impl Book {
    fn edited(&self, edit: &Edit) -> Self {
        let mut book = self.clone();
        let rules = &mut book.rules;
        let count = rules.len();
        match edit {
            Edit::Remove(at) => drop(rules.remove(at.index(count))),
            Edit::Replace(at, spec) => rules[at.index(count)] = spec.clone(),
            Edit::Add(spec) => rules.push(spec.clone()),
            Edit::Effect(at, effect) => {
                let spec = &mut rules[at.index(count)];
                spec.effect = effect;
                spec.given.retain(|key| *effect != "deny" || key.starts_with("until"));
            }
            Edit::Unite(a, b) => {
                let other = rules[b.index(count)].clone();
                let spec = &mut rules[a.index(count)];
                let merge = |own: &mut Vec<&'static str>, other: &[&'static str]| {
                    own.extend(other.iter().filter(|one| !own.contains(one)).copied().collect::<Vec<_>>());
                };
                merge(&mut spec.paths, &other.paths);
                merge(&mut spec.hosts, &other.hosts);
                if a.index(count) != b.index(count) {
                    rules.remove(b.index(count));
                }
            }
            Edit::DropPath(at) => drop(rules[at.index(count)].paths.pop()),
            Edit::DropMethod(at) => drop(rules[at.index(count)].methods.pop()),
            Edit::Forget(at) => {
                rules[at.index(count)].given.clear();
                rules[at.index(count)].conditions.clear();
            }
            Edit::Ceiling(spec) => book.ceiling = spec.iter().cloned().collect(),
            Edit::Observe => book.observe = !book.observe,
        }
        book
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Asked {
    host: &'static str,
    scheme: Scheme,
    port: u16,
    method: &'static str,
    path: String,
    query: &'static str,
    websocket: bool,
    tool: Option<&'static str>,
    at: &'static str,
}

const ASKED_PATHS: [&str; 24] = [
    "/",
    "/a",
    "/b",
    "/a/",
    "/a/b",
    "/a/x",
    "/a/b/c",
    "/x/b",
    "/ab",
    "/@a/x",
    "/@a%2fx",
    "/a/../b",
    "/a/x/../../b",
    "/a;x",
    "/a;/b",
    "/a%2fb",
    "/x/%2e%2e/a",
    "/a//b",
    "/x/..;/b",
    "/a/%2f..%2f..%2fb",
    "/a%2f..%2fb",
    "/a/b;c",
    "/%61",
    "/a;%2f..%2f@a%2fb",
];

/// A path put together of what servers read in several ways.
fn pieced() -> impl Strategy<Value = String> {
    let piece = select(vec!["/", "/", "a", "b", "..", "%2f", "%2e%2e", ";", "x", "@a", "%5c", "%252f", "%61"]);
    prop::collection::vec(piece, 0..9).prop_map(|pieces| format!("/{}", pieces.concat()))
}

pub(crate) fn asked() -> impl Strategy<Value = Asked> {
    let place = (
        select(vec!["c.example", "b.c.example", "x.c.example", "y.x.c.example", "example", "192.0.2.1", "10.0.0.1"]),
        select(vec![Scheme::Https, Scheme::Https, Scheme::Http]),
        select(vec![443, 443, 80, 8443, 9]),
    );
    let request = (
        select(vec!["GET", "POST", "TRACE", "PUT"]),
        prop_oneof![1 => select(ASKED_PATHS.to_vec()).prop_map(str::to_owned), 1 => pieced()],
        prop_oneof![
            3 => Just(""),
            1 => select(vec!["?ref=main", "?ref=mx&q=", "?ref=main&ref=evil", "?ref=evil", "?ref=main;q=1", "?q=1", "?ref=main&q=2"]),
        ],
    );
    let context = (
        select(vec![false, false, true]),
        select(vec![None, None, Some("tx"), Some("t"), Some("ay"), Some("ty"), Some("z")]),
        select(vec!["2029-01-01T00:00:00Z", "2029-01-01T00:00:00Z", "2030-06-01T00:00:00Z", "2032-01-01T00:00:00Z"]),
    );
    (place, request, context).prop_map(|((host, scheme, port), (method, path, query), (websocket, tool, at))| Asked {
        host,
        scheme,
        port,
        method,
        path,
        query,
        websocket,
        tool,
        at,
    })
}

fn now() -> Timestamp {
    "2029-01-01T00:00:00Z".parse().unwrap()
}

impl Asked {
    fn judge(&self, rules: &Arc<Rules>) -> Judgement {
        self.with(|question| rules.judge(question))
    }

    /// Puts the request as a question.
    pub(crate) fn with<T>(&self, put: impl FnOnce(&Question<'_>) -> T) -> T {
        let destination = Destination::new(self.scheme, Host::parse(self.host).unwrap(), self.port);
        let path = RequestPath::parse(&format!("{}{}", self.path, self.query)).unwrap();
        put(&Question {
            destination: &destination,
            method: self.method,
            path: &path,
            websocket: self.websocket,
            tool: self.tool,
            now: self.at.parse().unwrap(),
        })
    }

    /// Whether the second answer grants something that the first does not.
    fn is_wider(&self, old: &Arc<Rules>, new: &Arc<Rules>) -> bool {
        let (old, new) = (self.judge(old), self.judge(new));
        let ((old, old_unread), (new, new_unread)) = ((old.answer, old.unread), (new.answer, new.unread));
        let level = |answer: &Result<Permit, Denied>| match Verdict::of(answer) {
            Verdict::Deny => 0,
            Verdict::Ask => 1,
            Verdict::Observe | Verdict::Allow => 2,
        };
        if level(&new) != level(&old) {
            return level(&new) > level(&old);
        }
        let (Ok(old), Ok(new)) = (old, new) else { return false };
        let addresses = ["1.1.1.1", "10.1.1.1", "192.168.0.1", "192.0.2.1"].map(|text| text.parse::<IpAddr>().unwrap());
        let looser = |old: Option<u64>, new: Option<u64>| old.is_some_and(|old| new.is_none_or(|new| new > old));
        let (before, after): (Limits, Limits) = (old.limits(), new.limits());
        new.credentials().iter().any(|one| !old.credentials().contains(one))
            || addresses.iter().any(|one| new.allows_address(*one) && !old.allows_address(*one))
            || looser(before.request_body, after.request_body)
            || (before.requests.is_some() && after.requests.is_none())
            || (old.timeouts().idle.is_some() && new.timeouts().idle.is_none())
            || (new.rule().is_none() && old.rule().is_some())
            || (new_unread && !old_unread)
    }
}

/// Whether the verdicts of the named request are those that such a change is about.
fn is_shown(kind: Kind, wider: bool, old: Verdict, new: Verdict) -> bool {
    use Verdict::{Allow, Ask, Deny, Observe};
    match (kind, wider) {
        (Kind::Reachable, _) => (old, new) == (Deny, Allow),
        (Kind::Unreachable, _) => matches!(old, Allow | Observe) && new == Deny,
        (Kind::Asked, true) => (old, new) == (Deny, Ask),
        (Kind::Asked, false) => matches!(old, Allow | Observe) && new == Ask,
        (Kind::Unasked, true) => old == Ask && matches!(new, Allow | Observe),
        (Kind::Unasked, false) => (old, new) == (Ask, Deny),
        // Where a ceiling asks, it passes without a rule only after that.
        (Kind::Observed, _) => (old != Observe && new == Observe) || (old != Deny && new == Ask),
        (Kind::Unobserved, _) => (old == Observe && new != Observe) || (old == Ask && new != Deny),
        (Kind::CredentialUsable, _) => matches!(new, Allow | Ask),
        (Kind::CredentialLost, _) => matches!(old, Allow | Ask),
        (Kind::AddressesWidened | Kind::AddressesNarrowed | Kind::LimitsLoosened | Kind::LimitsTightened, _) => {
            old != Deny && new != Deny
        }
        (Kind::IdentityLoosened | Kind::IdentityTightened, _) => old != Deny && new != Deny,
        (Kind::Unread | Kind::Read, _) => old != Deny && new != Deny,
        (Kind::DenyDropped, _) => new != Deny,
        (Kind::CeilingDropped | Kind::CeilingAdded | Kind::AppliesTo | Kind::Undecided, _) => false,
    }
}

fn check_claims(found: &Diff, old: &Arc<Rules>, new: &Arc<Rules>) -> Result<(), TestCaseError> {
    for change in found.changes() {
        let Some(request) = &change.request else {
            prop_assert_eq!(change.kind, Kind::Undecided, "{}", change);
            continue;
        };
        let path = match request.target.as_str() {
            "*" => RequestPath::asterisk(),
            target => RequestPath::parse(target).unwrap(),
        };
        let destination = Destination::new(request.scheme, request.host.clone(), request.port);
        let question = Question {
            destination: &destination,
            method: &request.method,
            path: &path,
            websocket: request.websocket,
            tool: request.tool.as_deref(),
            now: request.at,
        };
        let verdict = |rules| Verdict::of(&Rules::judge(rules, &question).answer);
        let (before, after) = (verdict(old), verdict(new));
        prop_assert!(is_shown(change.kind, change.wider, before, after), "{change}");
        prop_assert_eq!(change.old.as_ref().map(|decision| decision.verdict), Some(before));
        prop_assert_eq!(change.new.as_ref().map(|decision| decision.verdict), Some(after));
        prop_assert!(!change.to_json().is_null() && !change.to_string().is_empty());
    }
    Ok(())
}

fn edits() -> impl Strategy<Value = (Book, Book)> {
    (book(), prop::collection::vec(edit(), 1..3), any::<bool>()).prop_map(|(book, edits, back)| {
        let edited =
            edits.iter().fold(book.clone(), |book, edit| if book.rules.is_empty() { book } else { book.edited(edit) });
        if back { (edited, book) } else { (book, edited) }
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn nothing_that_grants_more_escapes(
        (old, new) in edits().prop_filter_map("policies", |(old, new)| Some((old.rules()?, new.rules()?))),
        asked in prop::collection::vec(asked(), 200),
    ) {
        let found = diff(&old, &new, now());
        check_claims(&found, &old, &new)?;
        for asked in &asked {
            if asked.is_wider(&old, &new) {
                prop_assert!(found.is_wider(), "{asked:?}\n{found}");
            }
            if asked.is_wider(&new, &old) {
                prop_assert!(!found.is_empty(), "{asked:?}");
            }
        }
    }

    #[test]
    fn the_same_rules_differ_in_nothing(book in book()) {
        if let (Some(old), Some(new), Some(set)) = (book.rules(), book.rules(), book.set()) {
            prop_assert!(diff(&old, &new, now()).is_empty());
            prop_assert!(diff_sets(&set, &set, now()).is_empty());
        }
    }

    #[test]
    fn a_deny_more_is_never_wider(book in book(), deny in spec(99)) {
        let mut more = book.clone();
        let given = deny.given.into_iter().filter(|key| key.starts_with("until")).collect();
        more.rules.push(Spec { effect: "deny", given, ..deny });
        if let (Some(old), Some(new)) = (book.rules(), more.rules()) {
            let found = diff(&old, &new, now());
            prop_assert!(!found.is_wider(), "{found}");
        }
        if let (Some(old), Some(new)) = (book.set(), more.set()) {
            let found = diff_sets(&old, &new, now());
            prop_assert!(!found.is_wider(), "{found}");
        }
    }
}
