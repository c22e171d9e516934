//! docs/policy.md: every example compiles and passes its checks, and every code is listed.

use std::fs;
use std::path::Path;

use egret_policies::{PolicySource, compile, library, run_suite, stories};

use crate::support::set;

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy.md")).unwrap()
}

/// The examples whose fence has this word after `yaml`.
fn examples<'a>(page: &'a str, mark: &str) -> Vec<&'a str> {
    let fence = format!("```yaml{mark}\n");
    page.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn every_example_is_a_policy_that_passes_its_checks() {
    let page = page();
    let examples = examples(&page, "");
    assert!(examples.len() >= 4);
    for example in examples {
        let set = set(&[example]);
        // A rule for WebSockets is an example of what is not relayed yet.
        let unrelayed = example.matches("upgrade: websocket}\n").count();
        assert_eq!(
            set.warnings().iter().map(|one| one.code).collect::<Vec<_>>(),
            vec!["EG0060"; unrelayed],
            "{example}"
        );
        for result in set.run_checks(model::Timestamp::UNIX_EPOCH) {
            assert!(result.passed(), "{}", result.problem.unwrap());
        }
    }
}

#[test]
fn every_broken_example_has_the_problem_that_it_claims() {
    let page = page();
    let mut found = 0;
    for story in stories() {
        for example in examples(&page, &format!(" {}", story.code)) {
            found += 1;
            let source = PolicySource { name: "page.yaml".into(), text: example.into() };
            let problems = compile(&[source]).unwrap_err();
            assert!(problems.iter().any(|problem| problem.code == story.code), "{problems:?}");
        }
    }
    assert_eq!(found, page.matches("```yaml EG").count());
    assert!(found >= 2);
}

#[test]
fn every_file_of_checks_passes_with_the_library() {
    let page = page();
    let library: Vec<PolicySource> = library().iter().map(PolicySource::from).collect();
    let set = compile(&library).unwrap();
    let suites = examples(&page, " suite");
    assert!(!suites.is_empty());
    for suite in suites {
        let source = PolicySource { name: "page.test.yaml".into(), text: suite.into() };
        for result in run_suite(&source, &set, model::Timestamp::UNIX_EPOCH).unwrap() {
            assert!(result.passed(), "{}", result.problem.unwrap());
        }
    }
}

#[test]
fn every_ready_policy_is_named() {
    let page = page();
    for policy in library() {
        let name = policy.name.strip_prefix("library/").unwrap();
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn every_code_is_listed() {
    let page = page();
    let source = include_str!("../../src/problem.rs");
    let codes = source.split('"').filter(|text| text.len() == 6 && text.starts_with("EG0"));
    for code in codes {
        assert!(page.contains(&format!("| {code} |")), "{code}");
    }
}
