//! Honest targets of unusual form, under rules as people write them: all of them pass.

use std::sync::Arc;

use egret_policies::{PolicySource, Question, Rules, compile, read_url};
use model::Timestamp;

const POLICY: &str = include_str!("../honest/policy.yaml");
const TARGETS: &str = include_str!("../honest/targets.txt");

#[test]
fn t205_honest_targets_pass() {
    let set = compile(&[PolicySource { name: "honest.yaml".to_owned(), text: POLICY.to_owned() }]);
    let set = set.unwrap_or_else(|problems| panic!("{problems:#?}"));
    let rules: Arc<Rules> = set.rules_for_policies(&["honest".into()]).unwrap();
    let targets: Vec<&str> = TARGETS.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(targets.len() >= 200, "{}", targets.len());
    let mut refused = Vec::new();
    for line in &targets {
        let [method, url, rule] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (destination, path) = read_url(url).unwrap_or_else(|why| panic!("{line}: {why}"));
        let question = Question {
            destination: &destination,
            method,
            path: &path,
            websocket: false,
            tool: None,
            now: Timestamp::UNIX_EPOCH,
        };
        let answer = rules.authorize(&question).map(|permit| permit.rule().unwrap().to_string());
        if answer.as_deref() != Ok(rule) {
            refused.push(format!("{line}: {answer:?}"));
        }
        assert!(url.ends_with(path.target()), "{line} is sent on as it came");
    }
    assert!(refused.is_empty(), "{refused:#?}");
}
