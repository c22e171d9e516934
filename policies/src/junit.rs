//! Outcomes of checks as JUnit XML, which every pipeline shows.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::checks::CheckResult;

/// One document: a suite for each file, a case for each check, named after its policy and its request.
pub fn junit(results: &[CheckResult]) -> String {
    let mut files: BTreeMap<&str, Vec<&CheckResult>> = BTreeMap::new();
    for result in results {
        files.entry(&result.file).or_default().push(result);
    }
    let failed = |results: &mut dyn Iterator<Item = &CheckResult>| results.filter(|result| !result.passed()).count();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let failures = failed(&mut results.iter());
    let mut line = |text: String| writeln!(out, "{text}").expect("a string takes every text");
    line(format!("<testsuites name=\"egret policy check\" tests=\"{}\" failures=\"{failures}\">", results.len()));
    for (file, results) in files {
        let failures = failed(&mut results.iter().copied());
        line(format!(
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\">",
            escaped(file),
            results.len()
        ));
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

/// Text for an attribute or an element; signs that XML does not have are replaced.
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
        insta::assert_snapshot!(junit(&set.run_checks(Timestamp::UNIX_EPOCH)));
    }
}
