//! What holds for all policies: the index agrees with the plain reading of the language, nothing that
//! restricts widens, and neither order nor file matters.
//!
//! Each runs `PROPTEST_CASES` cases, or 256.

mod plain;
mod spec;

use std::sync::Arc;

use model::{Authority, Destination, Host, PolicyName, RequestPath, Scheme, Timestamp, written_path};
use proptest::prelude::*;

use egret_policies::{ConnectQuery, PolicySet, Question, Rules, compile};

use crate::support::{config, question, sources};
use plain::{Verdict, host_matches, path_matches, query_matches, text_matches, verdict};
use spec::{Asked, Effect, File, Kind, Spec, asked, file, files, spec};

fn compiled(files: &[File]) -> PolicySet {
    let texts: Vec<String> = files.iter().map(File::yaml).collect();
    compile(&sources(&texts.iter().map(String::as_str).collect::<Vec<_>>())).unwrap()
}

/// The rules of a session that names every policy that is no ceiling.
fn rules_for_policies(files: &[File]) -> Arc<Rules> {
    let own = files.iter().filter(|file| file.kind != Kind::Ceiling);
    let names: Vec<PolicyName> = own.map(|file| file.name.as_str().into()).collect();
    compiled(files).rules_for_policies(&names).unwrap()
}

/// A request while it is judged.
struct Request {
    destination: Destination,
    path: RequestPath,
    now: Timestamp,
}

impl Request {
    fn of(asked: &Asked) -> Self {
        let target = [asked.path, asked.query.map_or("", |_| "?"), asked.query.unwrap_or_default()].concat();
        Self {
            destination: Destination::new(asked.scheme, Host::parse(asked.host).unwrap(), asked.port),
            path: RequestPath::parse(&target).unwrap(),
            now: Timestamp::from_second(asked.now).unwrap(),
        }
    }

    fn question<'a>(&'a self, asked: &Asked) -> Question<'a>
    where
        Asked: 'a,
    {
        Question {
            destination: &self.destination,
            method: asked.method,
            path: &self.path,
            websocket: asked.websocket,
            tool: asked.tool,
            now: self.now,
        }
    }
}

fn judged(rules: &Arc<Rules>, asked: &Asked) -> Verdict {
    let request = Request::of(asked);
    match rules.authorize(&request.question(asked)) {
        Ok(permit) => permit.rule().map_or(Verdict::Observe, |rule| Verdict::Allow(rule.to_string())),
        Err(denied) if denied.is_ask() => Verdict::Ask(denied.rule.unwrap().to_string()),
        Err(_) => Verdict::Deny,
    }
}

/// Whether a CONNECT to the same host and port is let in.
fn lets_in(rules: &Arc<Rules>, asked: &Asked) -> bool {
    let Request { destination, now, .. } = Request::of(asked);
    rules.decide(&ConnectQuery { host: destination.host(), port: destination.port(), now }).is_ok()
}

fn texts(files: &[File]) -> String {
    files.iter().map(File::yaml).collect::<Vec<_>>().join("---\n")
}

fn path_patterns() -> impl Strategy<Value = String> {
    let segment = prop_oneof!["[ab.+(|$^]{1,3}", "[ab*]{1,4}", "[a.+*]{1,3}", Just("**".to_owned())];
    prop::collection::vec(segment, 1..5)
        .prop_map(|segments| format!("/{}", segments.join("/")))
        .prop_filter("`**` is a whole segment", |text| text.split('/').all(|s| s == "**" || !s.contains("**")))
        .prop_filter("no dot segments", |text| text.split('/').all(|s| s.is_empty() || s.contains(|c| c != '.')))
}

/// A path by chance, or one that the pattern is likely to name.
fn asked_path(pattern: &str) -> impl Strategy<Value = String> + use<> {
    let likely = ("(a|b|a/b|bab|)", "(a|b|)").prop_map({
        let pattern = pattern.to_owned();
        move |(deep, flat)| pattern.replace("**", &deep).replace('*', &flat)
    });
    prop_oneof!["(/[ab.+(|$^]{0,3}){1,5}", likely]
}

/// Some requests.
fn some_asked() -> impl Strategy<Value = Vec<Asked>> {
    prop::collection::vec(asked(), 1..5)
}

/// The files with one more rule in one of them.
fn with(files: &[File], rule: &Spec, place: usize) -> Vec<File> {
    let mut more = files.to_vec();
    let at = place % more.len();
    more[at].specs.push(rule.clone());
    more
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_index_agrees_with_the_plain_reading(files in files(), asked in some_asked()) {
        let rules = rules_for_policies(&files);
        for asked in asked {
            let verdict = verdict(&files, &asked);
            prop_assert_eq!(&judged(&rules, &asked), &verdict, "{:?}\n{}", asked, texts(&files));
            prop_assert!(lets_in(&rules, &asked) || !verdict.passes(), "{:?}\n{}", asked, texts(&files));
        }
    }

    #[test]
    fn an_observer_beside_others_only_records(
        own in file("p", Kind::Enforce, 5), observer in file("o", Kind::Observe, 5), asked in some_asked()
    ) {
        let alone = rules_for_policies(std::slice::from_ref(&own));
        let both = rules_for_policies(&[own, observer.clone()]);
        for asked in asked {
            prop_assert_eq!(judged(&alone, &asked), judged(&both, &asked));
            let request = Request::of(&asked);
            let seen: Vec<_> = both.would_deny(&request.question(&asked)).into_iter().map(|o| o.policy.to_string()).collect();
            let in_force = observer.until.is_some_and(|until| asked.now < until);
            let allows = matches!(verdict(std::slice::from_ref(&observer), &asked), Verdict::Allow(_));
            let would_refuse = in_force && !allows;
            prop_assert_eq!(seen, if would_refuse { vec!["o".to_owned()] } else { Vec::new() });
        }
    }

    #[test]
    fn a_pattern_names_what_it_reads(
        (pattern, path) in path_patterns().prop_flat_map(|p| { let path = asked_path(&p); (Just(p), path) })
    ) {
        let text = format!("policy: p\nrules:\n  - {{id: r, allow: {{host: a.example, path: \"{pattern}\"}}}}\n");
        let rules = compile(&sources(&[&text])).unwrap().rules_for_policies(&["p".into()]).unwrap();
        let destination = Destination::new(Scheme::Https, Host::parse("a.example").unwrap(), 443);
        let asked = RequestPath::parse(&path).unwrap();
        let question = question(&destination, "GET", &asked);
        // Readings are decoded, and the patterns here hold nothing that has to be.
        let named = !asked.is_ambiguous() && asked.readings().all(|path| path_matches(&pattern, path.text()));
        prop_assert_eq!(rules.authorize(&question).is_ok(), named, "{} {}", pattern, path);
    }

    #[test]
    fn a_text_pattern_names_what_it_reads(
        pattern in "[ab]{0,2}(\\*[ab]{1,2}){0,3}\\*?", tool in "[ab]{0,6}", query in "([xya=;&+]|%61|%3[Bbd]|%26|%7[89]){0,10}"
    ) {
        prop_assume!(!pattern.is_empty());
        let rule = |id: &str, effect: &str, key: &str| format!("  - {{id: {id}, {effect}: {{host: {id}.example, {key}}}}}\n");
        let by_query = format!("query: {{x: \"{pattern}\"}}");
        let text = [
            "policy: p\nrules:\n".to_owned(),
            rule("t", "allow", &format!("tool: \"{pattern}\"")),
            rule("q", "allow", &by_query),
            rule("d", "deny", &by_query),
            "  - {id: e, allow: {host: d.example}}\n".to_owned(),
        ].concat();
        let rules = compile(&sources(&[&text])).unwrap().rules_for_policies(&["p".into()]).unwrap();
        let path = RequestPath::parse(&format!("/?{query}")).unwrap();
        let passes = |host: &str| {
            let destination = Destination::new(Scheme::Https, Host::parse(host).unwrap(), 443);
            rules.authorize(&Question { tool: Some(&tool), ..question(&destination, "GET", &path) }).is_ok()
        };
        prop_assert_eq!(passes("t.example"), text_matches(&pattern, &tool), "{} {}", pattern, tool);
        prop_assert_eq!(passes("q.example"), query_matches(Some(&query), "x", &[&pattern], true), "{} {}", pattern, query);
        prop_assert_eq!(!passes("d.example"), query_matches(Some(&query), "x", &[&pattern], false), "{} {}", pattern, query);
    }

    #[test]
    fn a_host_pattern_names_what_it_reads(wildcard in "(\\*\\.|\\*\\*\\.)?", tail in "[ab]{1,2}(\\.[ab]{1,2}){0,2}\\.example", host in "([ab]{1,2}\\.){0,4}example") {
        let pattern = format!("{wildcard}{tail}");
        let text = format!("policy: p\nrules:\n  - {{id: r, allow: {{host: \"{pattern}\"}}}}\n");
        let rules = compile(&sources(&[&text])).unwrap().rules_for_policies(&["p".into()]).unwrap();
        let path = RequestPath::parse("/").unwrap();
        for host in [host, tail.clone(), format!("a.{tail}"), format!("a.b.{tail}"), format!("a{tail}")] {
            let destination = Destination::new(Scheme::Https, Host::parse(&host).unwrap(), 443);
            let passes = rules.authorize(&question(&destination, "GET", &path)).is_ok();
            prop_assert_eq!(passes, host_matches(&pattern, &host), "{} {}", pattern, host);
        }
    }

    #[test]
    fn a_deny_never_widens(files in files(), deny in spec("z9".into(), false), place in 0..4usize, asked in some_asked()) {
        let more = with(&files, &Spec { effect: Effect::Deny, ..deny }, place);
        let (before, after) = (rules_for_policies(&files), rules_for_policies(&more));
        for asked in asked {
            let (before, after) = (judged(&before, &asked), judged(&after, &asked));
            prop_assert!(after == before || after == Verdict::Deny, "{:?} {:?}\n{}", before, after, texts(&more));
        }
    }

    #[test]
    fn an_ask_never_widens(files in files(), ask in spec("z9".into(), false), place in 0..4usize, asked in some_asked()) {
        prop_assume!(ask.hosts.iter().all(|host| *host != "**"));
        let more = with(&files, &Spec { effect: Effect::Ask, ..ask }, place);
        let (before, after) = (rules_for_policies(&files), rules_for_policies(&more));
        for asked in asked {
            let (before, after) = (judged(&before, &asked), judged(&after, &asked));
            // Where policies only observe, an allow turns into less: without credentials.
            let less = after == Verdict::Observe && before.passes();
            prop_assert!(after == before || less || !after.passes(), "{:?} {:?}\n{}", before, after, texts(&more));
        }
    }

    #[test]
    fn a_ceiling_never_widens(files in files(), ceiling in file("u", Kind::Ceiling, 4), asked in some_asked()) {
        let more: Vec<File> = files.iter().cloned().chain([ceiling]).collect();
        let (before, after) = (rules_for_policies(&files), rules_for_policies(&more));
        for asked in asked {
            let (before, after) = (judged(&before, &asked), judged(&after, &asked));
            prop_assert!(after == before || !after.passes(), "{:?} {:?}\n{}", before, after, texts(&more));
        }
    }

    #[test]
    fn what_ends_never_comes_back(files in files(), asked in some_asked()) {
        // Denies that end would open again what they held back.
        prop_assume!(files.iter().flat_map(|file| &file.specs).all(|spec| spec.until.is_none()));
        let rules = rules_for_policies(&files);
        // A path of several readings is refused while different rules allow them, and one of those may end.
        for asked in asked.into_iter().filter(|asked| RequestPath::parse(asked.path).unwrap().readings().len() == 1) {
            let later = judged(&rules, &Asked { now: 40, ..asked.clone() });
            let now = judged(&rules, &asked);
            // An ask that has ended no longer precedes an allow of another policy.
            let asked_before = matches!(now, Verdict::Ask(_));
            prop_assert!(!later.passes() || now.passes() || asked_before, "{:?} {:?}\n{}", now, later, texts(&files));
        }
    }

    #[test]
    fn order_does_not_matter(
        (files, shuffled) in files().prop_flat_map(|files| (Just(files.clone()), Just(files).prop_shuffle())),
        turn in 0..4usize, asked in some_asked()
    ) {
        let mut shuffled = shuffled;
        for file in &mut shuffled {
            file.specs.reverse();
            let count = file.specs.len().max(1);
            file.specs.rotate_left(turn % count);
            for spec in &mut file.specs {
                spec.hosts.reverse();
                spec.paths.reverse();
                spec.methods.reverse();
                spec.query.reverse();
                spec.tools.reverse();
            }
        }
        let (one, other) = (rules_for_policies(&files), rules_for_policies(&shuffled));
        for asked in asked {
            let request = Request::of(&asked);
            let answer = |rules: &Arc<Rules>| {
                let permit = rules.authorize(&request.question(&asked));
                permit.map(|permit| (permit.rule().cloned(), permit.policy().clone(), permit.until()))
            };
            prop_assert_eq!(answer(&one), answer(&other), "{}", texts(&files));
        }
    }

    #[test]
    fn files_do_not_matter(whole in file("p", Kind::Enforce, 7), asked in some_asked(), cut in 0..7usize) {
        let (front, back) = whole.specs.split_at(cut.min(whole.specs.len()));
        let part = |name: &str, specs: &[Spec]| File { name: name.to_owned(), specs: specs.to_vec(), ..whole.clone() };
        // Of rules that rank equal and give the same, the first by policy and id counts: the parts keep that order.
        let (one, two) = (rules_for_policies(std::slice::from_ref(&whole)), rules_for_policies(&[part("p", front), part("q", back)]));
        for asked in asked {
            prop_assert_eq!(judged(&one, &asked).passes(), judged(&two, &asked).passes());
        }
    }

    #[test]
    fn a_destination_is_read_as_it_is_written(
        https in any::<bool>(), port in 1..u16::MAX,
        host in prop_oneof!["[a-zA-Z0-9_-]{1,8}(\\.[a-z0-9-]{1,8}){0,3}\\.?", "[0-9]{1,10}", "(0x)?[0-9a-f]{1,3}(\\.[0-9]{1,3}){0,3}", "\\[[0-9a-f]{1,4}(:[0-9a-f]{0,4}){2,7}\\]", "[äöüßéж]{1,4}\\.example"]
    ) {
        let Ok(host) = Host::parse(&host) else { return Ok(()) };
        let scheme = if https { Scheme::Https } else { Scheme::Http };
        let destination = Destination::new(scheme, host, port);
        let again = Destination::of(scheme, Authority::parse(&destination.authority(), false).unwrap());
        prop_assert_eq!(&again, &destination);
        prop_assert_eq!(again.to_string(), destination.to_string());
    }

    #[test]
    fn a_reading_reads_as_itself(target in "/([ab./;\\\\%?=&]|%2[eEfF5]|%5c|%3b|%3f|%252e|%c3%a9|%20|//|\\.\\.){0,12}") {
        let Ok(path) = RequestPath::parse(&target) else { return Ok(()) };
        prop_assert_eq!(path.target(), &target);
        prop_assert!(target.starts_with(path.as_sent()));
        for reading in path.readings() {
            let again = RequestPath::parse(&written_path(reading.text())).unwrap();
            // The text `%2f` in a reading is written as an escape again, and what follows an ambiguous path is not read.
            let same = again.readings().any(|other| other.text() == reading.text());
            prop_assert!(same, "{} reads as {:?}", target, reading.text());
            prop_assert_eq!(reading.folded(), reading.text().to_ascii_lowercase());
        }
    }

    #[test]
    fn a_deny_in_any_reading_counts(target in "/([abA./;\\\\%]|%2[eEfF5]|%5c|%3[bf]|%61|%252f|//|\\.\\.){0,8}") {
        let Ok(path) = RequestPath::parse(&target) else { return Ok(()) };
        let text = "policy: p\nrules:\n  - {id: a, allow: {host: a.example}}\n  - {id: d, deny: {host: a.example, path: [/a, \"/a/**\"]}}\n";
        let rules = compile(&sources(&[text])).unwrap().rules_for_policies(&["p".into()]).unwrap();
        let destination = Destination::new(Scheme::Https, Host::parse("a.example").unwrap(), 443);
        let denied = |path: &str| path.eq_ignore_ascii_case("/a") || path.to_ascii_lowercase().starts_with("/a/");
        let refused = path.is_ambiguous() || path.readings().any(|reading| denied(reading.text()));
        prop_assert_eq!(rules.authorize(&question(&destination, "GET", &path)).is_err(), refused, "{}", target);
    }

    /// Whatever a file holds, compiling ends with a set or with problems that have places within it.
    #[test]
    fn any_text_is_a_policy_or_a_problem(text in "(policy: p\n)?(rules:\n)?([ ]{0,4}(- )?(id|allow|deny|ask|host|port|path|query|tool|use|until|\"|\\{|\\[|\\]|\\}|:|,|\\*|&|!|a\\.b|443|\n| ){1,3}\n?){0,12}") {
        if let Err(problems) = compile(&sources(&[&text])) {
            prop_assert!(!problems.is_empty());
            for problem in problems {
                prop_assert!(problem.line <= text.lines().count() + 1);
                prop_assert!(!problem.to_string().is_empty());
            }
        }
    }
}
