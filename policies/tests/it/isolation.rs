//! What one session brings never changes what another one gets: no verdict, no error text, no listing, no digest.
//!
//! Runs `PROPTEST_CASES` cases, or 256. Each case plays the calls of one session twice: alone, and among the calls of a session
//! of another tenant. Everything that the first session or an operator can observe must be equal.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use egret_policies::{InForce, Own, PolicySource, Question, Subject, compile};
use model::{Authority, Destination, PolicyName, RequestPath, Scheme, SessionId, SnapshotDigest, TenantId, Timestamp};
use proptest::prelude::*;

use crate::support::config;

const NAMES: [&str; 4] = ["agent", "web", "library/pypi", "mine"];
const REQUESTS: [(&str, &str, &str); 6] = [
    ("GET", "a.example", "/x/1"),
    ("DELETE", "a.example", "/admin"),
    ("GET", "b.example", "/x/y"),
    ("POST", "c.a.example", "/"),
    ("GET", "10.0.0.1", "/"),
    ("PUT", "b.example", "/z"),
];

/// A document: with a name that others have too, and sometimes with what no session may bring or what no one can read.
fn document() -> impl Strategy<Value = String> {
    let rule = (
        prop_oneof![5 => Just("allow"), 2 => Just("deny"), 1 => Just("ask")],
        prop_oneof![
            Just("a.example"),
            Just("b.example"),
            Just("\"*.a.example\""),
            Just("[a.example, b.example]"),
            Just("\"**\""),
            Just("10.0.0.1")
        ],
        prop_oneof![3 => Just(""), 1 => Just(", path: /x/*"), 1 => Just(", path: /x/**"), 1 => Just(", methods: [GET]")],
        prop_oneof![
            4 => Just(""),
            1 => Just("use: [github]"),
            1 => Just("use: [other]"),
            1 => Just("addresses: [10.0.0.0/8]"),
            1 => Just("tls: pass-through")
        ],
    );
    let rule = rule.prop_map(|(effect, host, more, beside)| {
        let beside = if effect == "deny" || beside.is_empty() { String::new() } else { format!(", {beside}") };
        format!("{effect}: {{host: {host}{more}}}{beside}")
    });
    let top = prop_oneof![
        8 => Just(""),
        1 => Just("applies_to: {tenants: \"*\"}\n"),
        1 => Just("ceiling: true\n"),
        1 => Just("mode: observe\nuntil: 2040-01-01\n"),
        1 => Just("rules: [\n")
    ];
    (prop::sample::select(NAMES.to_vec()), top, prop::collection::vec(rule, 1..4)).prop_map(|(name, top, rules)| {
        let mut text = format!("policy: {name}\n{top}rules:\n");
        for (n, rule) in rules.iter().enumerate() {
            writeln!(text, "  - {{id: r{n}, {rule}}}").unwrap();
        }
        text
    })
}

#[derive(Clone, Debug)]
struct Session {
    id: &'static str,
    tenant: &'static str,
    names: Vec<&'static str>,
    documents: Vec<PolicySource>,
}

fn session(id: &'static str, tenant: &'static str) -> impl Strategy<Value = Session> {
    let file = prop_oneof![Just("own.yaml"), Just("/home/one/own.yaml"), Just("documents")];
    let documents = prop::collection::vec((file, document()), 0..3);
    let names = prop::sample::subsequence(NAMES.to_vec(), 0..3);
    (names, documents).prop_map(move |(names, documents)| {
        let source = |(name, text): (&str, String)| PolicySource { name: name.to_owned(), text };
        Session { id, tenant, names, documents: documents.into_iter().map(source).collect() }
    })
}

/// What happens, in order.
#[derive(Clone, Copy, Debug)]
enum Step {
    Begin,
    Ask,
    End,
}

/// The policies in force, and what a session has of them.
struct World {
    in_force: InForce,
    digests: BTreeMap<&'static str, SnapshotDigest>,
}

impl World {
    fn new(files: &[String]) -> Self {
        Self { in_force: InForce::new(compile(&usable(files)).unwrap()), digests: BTreeMap::new() }
    }

    /// Plays one step of a session; gives everything that can be observed of it.
    fn play(&mut self, session: &Session, step: Step) -> String {
        let (tenant, id) = (TenantId::new(session.tenant), SessionId::new(session.id));
        let policies: Vec<PolicyName> = session.names.iter().map(|name| (*name).into()).collect();
        let labels = BTreeMap::new();
        let subject = Subject { tenant: &tenant, agent: None, labels: &labels, policies: &policies };
        match step {
            Step::Begin => match self.in_force.compile(&session.documents) {
                Err(problems) => problems.iter().map(|problem| format!("{problem}\n{problem:?}\n")).collect(),
                Ok(documents) => {
                    let said = format!("{:?} {:?}", documents.digest(), documents.names());
                    self.digests.insert(session.id, documents.digest().clone());
                    match self.in_force.publish(&id, &subject, documents) {
                        Ok(()) => said,
                        Err(error) => format!("{said} {error} {error:?}"),
                    }
                }
            },
            Step::Ask => {
                let own = self.digests.get(session.id).map(|digest| Own { session: &id, digest });
                match self.in_force.rules_for_session(&subject, own) {
                    Err(error) => format!("{error} {error:?}"),
                    Ok(rules) => {
                        let answers = REQUESTS.iter().map(|(method, host, path)| {
                            let destination = Destination::of(Scheme::Https, Authority::parse(host, true).unwrap());
                            let path = RequestPath::parse(path).unwrap();
                            let now = Timestamp::UNIX_EPOCH;
                            let question = Question {
                                destination: &destination,
                                method,
                                path: &path,
                                websocket: false,
                                tool: None,
                                now,
                            };
                            format!("{}\n", rules.explain(&question).to_json())
                        });
                        let answers: String = answers.collect();
                        format!("{} {:?} {answers}", rules.snapshot(), rules.reach())
                    }
                }
            }
            Step::End => {
                self.in_force.withdraw(&id);
                String::new()
            }
        }
    }

    /// What an operator sees.
    fn listing(&self) -> String {
        let snapshot = self.in_force.snapshot();
        format!("{} {:?} {:?}", snapshot.digest(), snapshot.names().collect::<Vec<_>>(), snapshot.warnings())
    }

    /// Takes other files, as a reload does.
    fn reload(&self, files: &[String]) {
        self.in_force.replace(compile(&usable(files)).unwrap());
    }
}

/// The files that are acceptable together, in their order.
fn usable(files: &[String]) -> Vec<PolicySource> {
    let mut taken = Vec::new();
    for (n, text) in files.iter().enumerate() {
        taken.push(PolicySource { name: format!("{n}.yaml"), text: text.clone() });
        if compile(&taken).is_err() {
            taken.pop();
        }
    }
    taken
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn t200_what_one_session_brings_changes_nothing_of_another(
        files in prop::collection::vec(document(), 0..4),
        newer in prop::collection::vec(document(), 0..4),
        one in session("ses_one", "first"),
        other in session("ses_other", "second"),
        places in prop::collection::vec(0..8_usize, 3),
    ) {
        let script = [Step::Begin, Step::Ask, Step::Ask, Step::Ask, Step::End, Step::Ask];
        let play = |others: bool| {
            let mut world = World::new(&files);
            let mut seen = String::new();
            for (at, step) in script.iter().enumerate() {
                for (place, step) in places.iter().zip([Step::Begin, Step::Ask, Step::End]) {
                    if others && *place == at {
                        world.play(&other, step);
                    }
                }
                if at == 3 {
                    world.reload(&newer);
                }
                seen.push_str(&world.play(&one, *step));
                seen.push_str(&world.listing());
            }
            seen
        };
        prop_assert_eq!(play(false), play(true));
    }

    #[test]
    fn t201_a_refused_document_is_never_in_force(
        files in prop::collection::vec(document(), 0..4),
        one in session("ses_one", "first"),
    ) {
        let mut world = World::new(&files);
        let before = world.listing();
        world.play(&one, Step::Begin);
        let id = SessionId::new(one.id);
        let Some(digest) = world.digests.get(one.id) else { return Ok(()) };
        let policies: Vec<PolicyName> = one.names.iter().map(|name| (*name).into()).collect();
        let (tenant, labels) = (TenantId::new(one.tenant), BTreeMap::new());
        let subject = Subject { tenant: &tenant, agent: None, labels: &labels, policies: &policies };
        // Whatever was published is usable whole, and whatever was not is not there.
        match world.in_force.rules_for_session(&subject, Some(Own { session: &id, digest })) {
            Ok(rules) => prop_assert!(rules.snapshot() != world.in_force.snapshot().digest()),
            Err(error) => prop_assert!(!error.is_conflict(), "{}", error),
        }
        prop_assert_eq!(before, world.listing());
    }
}
