//! The library: every file is valid alone, describes its purpose, and has checks that reach every rule.

use std::collections::BTreeSet;

use egret_policies::{PolicySource, Surroundings, Verdict, compile, coverage, library, lint};
use model::Timestamp;

#[test]
fn every_file_passes_its_checks_and_they_reach_every_rule() {
    for file in library().iter().map(PolicySource::from) {
        let set = compile(std::slice::from_ref(&file)).unwrap_or_else(|problems| panic!("{}", problems[0]));
        assert_eq!(set.warnings(), [], "{}", file.name);
        assert!(set.names().all(|name| set.description(name).is_some()), "{}", file.name);
        let results = set.run_checks(Timestamp::UNIX_EPOCH);
        for result in &results {
            assert!(result.passed(), "{}", result.problem.as_ref().unwrap());
        }
        assert!(results.len() >= 4, "{}", file.name);
        let found = lint(&set, std::slice::from_ref(&file), Timestamp::UNIX_EPOCH, &Surroundings::default());
        assert_eq!(found, [], "{}", file.name);
        for verdict in [Verdict::Allow, Verdict::Deny] {
            assert!(results.iter().any(|result| result.actual.verdict == verdict), "{}", file.name);
        }
        for rule in coverage(&set, &results) {
            assert!(rule.checks > 0, "no check of {} reaches {}", file.name, rule.rule);
        }
    }
}

#[test]
fn a_ready_policy_names_the_command_that_puts_its_credential() {
    for file in library() {
        let set = compile(&[PolicySource::from(file)]).unwrap();
        let credentials: BTreeSet<_> = set.credentials(|_| true).map(ToString::to_string).collect();
        let description = set.names().find_map(|name| set.description(name)).unwrap();
        for credential in credentials {
            assert!(description.contains(&format!("egret vault put {credential} --kind ")), "{description}");
        }
    }
}

#[test]
fn all_of_them_can_be_used_together() {
    let set = compile(&library().iter().map(PolicySource::from).collect::<Vec<_>>()).unwrap();
    let all: Vec<_> = set.names().cloned().collect();
    let lines = set.rules_for_policies(&all).unwrap().reach();
    assert!(lines.iter().all(|line| !line.asks && !line.methods.is_empty()));
    // Only package indexes whose clients verify signatures are read in the clear.
    let clear = lines.iter().filter(|line| line.scheme != "https");
    assert!(clear.into_iter().all(|line| line.rule.as_str() == "packages-in-the-clear"));
}
