//! docs/policy.md: every example compiles and passes its checks, and every code is listed.

use std::fs;
use std::path::Path;

use crate::support::set;

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy.md")).unwrap()
}

#[test]
fn every_example_is_a_policy_that_passes_its_checks() {
    let page = page();
    let examples: Vec<&str> = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() >= 4);
    for example in examples {
        let set = set(&[example]);
        assert_eq!(set.warnings(), []);
        for result in set.run_checks(model::Timestamp::UNIX_EPOCH) {
            assert!(result.passed(), "{}", result.problem.unwrap());
        }
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
