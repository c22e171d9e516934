//! The fixture folders: `good` policies with requests and their answers, `broken` ones with one mistake each.

use std::fs;
use std::path::{Path, PathBuf};

use egret_policies::{PolicySource, compile, render};
use model::PolicyName;

use crate::support::{answer, list};

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|own| own == extension));
    files.sort();
    assert!(!files.is_empty());
    files
}

fn source(path: &Path) -> PolicySource {
    PolicySource {
        name: path.file_name().unwrap().to_str().unwrap().to_owned(),
        text: fs::read_to_string(path).unwrap(),
    }
}

/// Next to `x.yaml` is `x.requests`: one request and its answer on each line.
#[test]
fn good_policies_answer_as_written_beside_them() {
    for path in files("good", "yaml") {
        let set = compile(&[source(&path)]).unwrap_or_else(|problems| panic!("{}", list(&problems)));
        assert_eq!(set.warnings(), [], "{}", path.display());
        for result in set.run_checks(model::Timestamp::UNIX_EPOCH) {
            assert!(result.passed(), "{result:?}");
        }
        let names: Vec<PolicyName> = set.names().cloned().collect();
        let rules = set.rules_for_policies(&names).unwrap();
        let requests = fs::read_to_string(path.with_extension("requests")).unwrap();
        for line in requests.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (request, expected) = line.split_once(" => ").unwrap();
            assert_eq!(answer(&rules, request.trim()), expected.trim(), "{}: {request}", path.display());
        }
    }
}

/// The first line of each file is `# CODE LINE:COLUMN`; that problem is found, and no other.
#[test]
fn broken_policies_are_refused_with_the_code_and_the_place() {
    let (mut told, mut wrong) = (String::new(), Vec::new());
    for path in files("broken", "yaml") {
        let source = source(&path);
        let expected = source.text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap().to_owned();
        let problems = compile(&[source]).map_or_else(|problems| problems, |set| set.warnings().to_vec());
        let found: Vec<String> = problems.iter().map(|p| format!("{} {}:{}", p.code, p.line, p.column)).collect();
        // The meaning of text that is not YAML is unknown.
        let hinted = problems.iter().all(|p| p.help.is_some() || p.code == "EG0002");
        if !hinted || found != [expected.as_str()] {
            wrong.push((path, expected, found));
        }
        told.push_str(&list(&problems));
        told.push('\n');
    }
    assert_eq!(wrong, []);
    insta::assert_snapshot!(told);
}

/// The first lines of each file are `# CODE LINE:COLUMN`; all of these problems are reported in one run, in the order of their places.
#[test]
fn every_problem_of_a_file_is_told_in_one_run() {
    for path in files("many", "yaml") {
        let source = source(&path);
        let expected: Vec<_> = source
            .text
            .lines()
            .map_while(|line| line.strip_prefix("# ").filter(|place| place.starts_with("EG")))
            .map(str::to_owned)
            .collect();
        let problems = compile(&[source]).expect_err("many problems");
        let found: Vec<_> = problems.iter().map(|p| format!("{} {}:{}", p.code, p.line, p.column)).collect();
        assert_eq!(found, expected, "{}\n{}", path.display(), list(&problems));
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        insta::assert_snapshot!(format!("many-{name}-human"), render::human(&problems));
        insta::assert_snapshot!(format!("many-{name}-json"), render::json(&problems));
        insta::assert_snapshot!(format!("many-{name}-github"), render::github(&problems));
        let mut log: serde_json::Value = serde_json::from_str(&render::sarif(&problems)).unwrap();
        log["runs"][0]["results"].as_array_mut().unwrap().truncate(2);
        let driver = &mut log["runs"][0]["tool"]["driver"];
        // The version changes, and what is left out is like the first two.
        driver["semanticVersion"] = "0.0.0".into();
        driver["rules"].as_array_mut().unwrap().truncate(2);
        insta::assert_json_snapshot!(format!("many-{name}-sarif"), log);
    }
}
