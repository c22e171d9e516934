//! Every code has its story, and every example of one gives that code.

use std::collections::BTreeMap;

use super::*;
use crate::problem::Problem;
use crate::{CredentialFacts, PolicySource, Surroundings, compile, conflicting_pairs, lint};

fn sources(files: &[&str]) -> Vec<PolicySource> {
    let source = |(n, text): (usize, &&str)| PolicySource { name: format!("{n}.yaml"), text: (*text).to_owned() };
    files.iter().enumerate().map(source).collect()
}

/// A vault and a configuration. The vault is known whole only where the story is about that.
fn surroundings(story: &Story) -> Surroundings {
    let facts = |host: &str| CredentialFacts {
        audience: vec![host.to_owned()],
        location: Some("header authorization".to_owned()),
    };
    Surroundings {
        credentials: BTreeMap::from([
            ("github".into(), facts("api.github.com")),
            ("work".into(), facts("git.example.com")),
            ("home".into(), facts("git.example.com")),
        ]),
        is_complete: story.code == "EG0054",
        resolve: BTreeMap::from([("wiki.fixed.example".to_owned(), [10, 1, 2, 3].into())]),
    }
}

/// Everything that any command would report about these files on the second day of the year 2027.
fn problems(story: &Story, files: &[&str]) -> Vec<Problem> {
    let sources = sources(files);
    let now = "2027-01-02T00:00:00Z".parse().unwrap();
    match compile(&sources) {
        Err(problems) => problems,
        Ok(set) => {
            let failed = set.run_checks(now).into_iter().filter_map(|result| result.problem);
            let linted = lint(&set, &sources, now, &surroundings(story));
            let pairs = conflicting_pairs(&set, &sources);
            set.warnings().iter().cloned().chain(linted).chain(pairs).chain(failed).collect()
        }
    }
}

fn codes() -> Vec<&'static str> {
    let source = include_str!("../problem.rs");
    source.split('"').filter(|text| text.len() == 6 && text.starts_with("EG0")).collect()
}

#[test]
fn every_code_has_one_story_in_its_order() {
    assert_eq!(stories().map(|story| story.code).collect::<Vec<_>>(), codes());
    assert_eq!(explain_code("eg0012").unwrap().code, "EG0012");
    assert_eq!(explain_code("EG9999"), None);
}

#[test]
fn every_broken_example_has_its_problem_and_every_mended_one_none() {
    for story in stories() {
        let broken = match story.code {
            // Judged only where a session brings it.
            "EG0048" => crate::SessionDocuments::compile(&sources(story.broken)).unwrap_err(),
            _ => problems(story, story.broken),
        };
        let told: Vec<_> = broken.iter().map(|problem| (problem.code, problem.severity)).collect();
        assert_eq!(told, [(story.code, story.severity)], "{}: {broken:?}", story.code);
        let mended = problems(story, story.mended);
        assert!(mended.is_empty(), "{}: {mended:?}", story.code);
    }
}

#[test]
fn stories_are_told_in_lines_and_in_markdown() {
    for story in stories() {
        let told = story.to_string();
        assert!(
            told.starts_with(&format!("{} (", story.code)) && told.ends_with('\n') && told.contains("\nInstead:\n")
        );
        assert!(told.lines().all(|line| line.chars().count() <= 88 + 4), "{told}");
        assert!(story.markdown().contains("```yaml\npolicy: "));
        assert!(!story.name().is_empty() && story.name().chars().all(|c| c.is_ascii_alphanumeric()));
        for text in [story.meaning, story.why] {
            assert!(text.ends_with('.'), "{text}");
        }
    }
    assert_eq!(explain_code("EG0004").unwrap().name(), "AKeyTwice");
}
