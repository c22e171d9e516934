//! Outcomes of checks as JUnit XML, which every pipeline shows.

use std::collections::BTreeMap;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite, XmlString};

use crate::checks::CheckResult;
use crate::problem::{Problem, Severity};

/// One document: a suite for each file, a case for each check, named after its policy and its request. What keeps
/// files from being used is a case that ended in an error.
pub fn junit(results: &[CheckResult], problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    let errors = errors.map(|error| (&error.file, error_case(error)));
    let results = results.iter().map(|result| (&result.file, result_case(result)));
    let mut suites: BTreeMap<&str, TestSuite> = BTreeMap::new();
    for (file, mut case) in errors.chain(results) {
        case.extra.insert("file".into(), legal(file));
        suites.entry(file).or_insert_with(|| TestSuite::new(legal(file))).add_test_case(case);
    }
    let mut report = Report::new("egret policy check");
    report.add_test_suites(suites.into_values());
    report.to_string().expect("a string takes every text")
}

fn error_case(error: &Problem) -> TestCase {
    case(("policy file", error.code), error.line, failed(NonSuccessKind::Error, error))
}

fn result_case(result: &CheckResult) -> TestCase {
    let failure = result.problem.as_ref().map(|problem| failed(NonSuccessKind::Failure, problem));
    let status = failure.unwrap_or_else(TestCaseStatus::success);
    case((result.policy.as_str(), &result.request), result.line, status)
}

fn case((class, name): (&str, &str), line: usize, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(legal(name), status);
    case.set_classname(legal(class));
    case.extra.insert("line".into(), line.to_string().into());
    case
}

fn failed(kind: NonSuccessKind, problem: &Problem) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(problem.code).set_message(legal(&problem.message)).set_description(legal(&problem.to_string()));
    status
}

/// Characters that XML 1.0 does not have are replaced, and tabs are blanks. The library removes tabs and some of those characters,
/// and passes on U+FFFE and U+FFFF, with which no reader accepts the document.
fn legal(text: &str) -> XmlString {
    let is_illegal = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{fffe}' | '\u{ffff}');
    text.replace('\t', " ").replace(is_illegal, "\u{fffd}").into()
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;
    use crate::compile::{PolicySource, compile};

    #[test]
    fn a_failure_says_what_differs() {
        let text = "policy: p\nrules:\n  - {id: a, allow: {host: a.example.com, methods: [GET]}}\nchecks:\n  - {request: \"GET https://a.example.com/?a=1&b=2\", expect: allow}\n  - {request: POST https://a.example.com/, expect: allow, rule: a}\n";
        let set = compile(&[PolicySource { name: "p.yaml".into(), text: text.into() }]).unwrap();
        insta::assert_snapshot!(junit(&set.run_checks(Timestamp::UNIX_EPOCH), &[]));
    }

    #[test]
    fn a_file_that_is_not_acceptable_is_an_error() {
        let problems = compile(&[PolicySource { name: "p.yaml".into(), text: "policy: p\nrule: []\n".into() }]);
        let text = junit(&[], &problems.expect_err("there is no such key"));
        assert!(
            text.contains("tests=\"1\" skipped=\"0\" failures=\"0\" errors=\"1\"") && text.contains("type=\"EG0006\">"),
            "{text}"
        );
    }

    #[test]
    fn characters_that_xml_does_not_have_are_replaced() {
        let marked = legal("a\u{fffe}b\u{ffff}c\u{1b}[1md\u{0}e\u{85}\nf\tg");
        assert_eq!(marked.as_str(), "a\u{fffd}b\u{fffd}c\u{fffd}[1md\u{fffd}e\u{fffd}\nf g");
        assert_eq!(
            XmlString::new("a\tb\u{0}\u{fffe}\u{ffff}").as_str(),
            "ab\u{fffe}\u{ffff}",
            "as the library does it"
        );
    }
}
