//! Outcomes of checks as JUnit XML, which every pipeline shows.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::checks::CheckResult;
use crate::problem::{Problem, Severity};

/// One document: a suite for each file, a case for each check, named after its policy and its request. What keeps
/// files from being used is a case that ended in an error.
pub fn junit(results: &[CheckResult], problems: &[Problem]) -> String {
    let mut files: BTreeMap<&str, (Vec<&CheckResult>, Vec<&Problem>)> = BTreeMap::new();
    for result in results {
        files.entry(&result.file).or_default().0.push(result);
    }
    let errors: Vec<&Problem> = problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
    for error in &errors {
        files.entry(&error.file).or_default().1.push(error);
    }
    let failed = |results: &mut dyn Iterator<Item = &CheckResult>| results.filter(|result| !result.passed()).count();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let failures = failed(&mut results.iter());
    let mut line = |text: String| writeln!(out, "{text}").expect("a string takes every text");
    line(format!(
        "<testsuites name=\"egret policy check\" tests=\"{}\" failures=\"{failures}\" errors=\"{}\">",
        results.len() + errors.len(),
        errors.len()
    ));
    for (file, (results, errors)) in files {
        let failures = failed(&mut results.iter().copied());
        line(format!(
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"{}\" skipped=\"0\">",
            escaped(file),
            results.len() + errors.len(),
            errors.len()
        ));
        for error in errors {
            line(format!(
                "    <testcase classname=\"policy file\" name=\"{}\" file=\"{}\" line=\"{}\">",
                error.code,
                escaped(file),
                error.line
            ));
            line(format!(
                "      <error type=\"{}\" message=\"{}\">{}</error>",
                error.code,
                escaped(&error.message),
                escaped(&error.to_string())
            ));
            line("    </testcase>".to_owned());
        }
        for result in results {
            let case = format!(
                "    <testcase classname=\"{}\" name=\"{}\" file=\"{}\" line=\"{}\"",
                escaped(result.policy.as_str()),
                escaped(&result.request),
                escaped(file),
                result.line
            );
            match &result.problem {
                None => line(format!("{case}/>")),
                Some(problem) => {
                    line(format!("{case}>"));
                    line(format!(
                        "      <failure type=\"{}\" message=\"{}\">{}</failure>",
                        problem.code,
                        escaped(&problem.message),
                        escaped(&problem.to_string())
                    ));
                    line("    </testcase>".to_owned());
                }
            }
        }
        line("  </testsuite>".to_owned());
    }
    line("</testsuites>".to_owned());
    out
}

/// Text for an attribute or an element; characters that XML does not have are replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(sign),
            _ if sign.is_control() || matches!(sign, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            _ => out.push(sign),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::junit;
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
            text.contains("tests=\"1\" failures=\"0\" errors=\"1\"") && text.contains("<error type=\"EG0006\""),
            "{text}"
        );
    }
}
