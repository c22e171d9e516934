//! Problems for their readers: people, programs, code scanning, the log of a pipeline.
//!
//! Every function gives a text and prints nothing. Columns count characters from 1, and an end is the first
//! column after what is marked.

mod sarif;

use std::fmt::Write;

use serde_json::{Value, json};

use crate::codes::explain_code;
use crate::problem::{Problem, Severity};

pub use self::sarif::sarif;

/// For people: each problem with its line and a mark under it, separated by empty lines.
pub fn human(problems: &[Problem]) -> String {
    let told: Vec<String> = problems.iter().map(|problem| format!("{problem}\n")).collect();
    told.join("\n")
}

/// For programs: an array of objects, each with `code`, `severity`, `message`, `file`, `line`, `column`,
/// `end_column`, `source_line`, `help`, `title` and `explain`. `line` and what follows it in the line are null
/// where the whole file is meant.
pub fn json(problems: &[Problem]) -> String {
    let all: Vec<Value> = problems.iter().map(object).collect();
    pretty(&Value::Array(all))
}

fn object(problem: &Problem) -> Value {
    let here = problem.line > 0;
    json!({
        "code": problem.code,
        "severity": severity(problem.severity),
        "message": problem.message,
        "file": problem.file,
        "line": here.then_some(problem.line),
        "column": here.then_some(problem.column),
        "end_column": here.then(|| end_column(problem)),
        "source_line": here.then_some(&problem.source_line),
        "help": problem.help,
        "title": explain_code(problem.code).map(|story| story.title),
        "explain": explain(problem.code),
    })
}

/// For the log of a pipeline on GitHub, which shows each line at its place in the changed files.
pub fn github(problems: &[Problem]) -> String {
    let mut out = String::new();
    for problem in problems {
        let command = severity(problem.severity);
        let mut at = format!("file={}", property(&problem.file));
        if problem.line > 0 {
            let (line, column, end) = (problem.line, problem.column, end_column(problem));
            write!(at, ",line={line},endLine={line},col={column},endColumn={end}").expect("a string takes all");
        }
        let (title, message) = (property(problem.code), escaped(&with_help(problem)));
        writeln!(out, "::{command} {at},title={title}::{message}").expect("a string takes all");
    }
    out
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn end_column(problem: &Problem) -> usize {
    problem.column + problem.width
}

/// Where the code is explained.
fn explain(code: &str) -> String {
    format!("egret policy explain {code}")
}

fn with_help(problem: &Problem) -> String {
    match &problem.help {
        Some(help) => format!("{}\nhelp: {help}", problem.message),
        None => problem.message.clone(),
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// The text of a workflow command, which ends with its line.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property of a workflow command, which also ends with a comma or a colon.
fn property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::stories;

    fn problem(file: &str, line: usize, message: &str) -> Problem {
        Problem {
            code: "EG0021",
            severity: Severity::Error,
            message: message.to_owned(),
            file: file.to_owned(),
            line,
            column: 5,
            width: 3,
            source_line: "    get".to_owned(),
            help: Some("write GET".to_owned()),
        }
    }

    #[test]
    fn a_workflow_command_stays_one() {
        let told = github(&[problem("a,b:c%/d.yaml", 2, "50% of\r\n::error::x")]);
        assert_eq!(
            told,
            "::error file=a%2Cb%3Ac%25/d.yaml,line=2,endLine=2,col=5,endColumn=8,title=EG0021::50%25 of%0D%0A::error::x%0Ahelp: write GET\n"
        );
        let warning = Problem { severity: Severity::Warning, help: None, ..problem("x.yaml", 0, "m") };
        assert_eq!(github(&[warning]), "::warning file=x.yaml,title=EG0021::m\n");
        assert_eq!(github(&[]), "");
    }

    #[test]
    fn programs_get_every_field() {
        let told: Value = serde_json::from_str(&json(&[problem("a.yaml", 2, "m"), problem("a.yaml", 0, "m")])).unwrap();
        assert_eq!(
            told[0],
            json!({
                "code": "EG0021", "severity": "error", "message": "m", "file": "a.yaml", "line": 2, "column": 5,
                "end_column": 8, "source_line": "    get", "help": "write GET",
                "title": explain_code("EG0021").unwrap().title, "explain": "egret policy explain EG0021",
            })
        );
        assert_eq!((&told[1]["line"], &told[1]["end_column"]), (&Value::Null, &Value::Null));
        assert_eq!(json(&[]), "[]\n");
    }

    #[test]
    fn code_scanning_finds_rules_and_regions() {
        let log: Value = serde_json::from_str(&sarif(&[problem("a b/ü.yaml", 2, "m"), problem("a", 0, "m")])).unwrap();
        let run = &log["runs"][0];
        let (rules, results) = (run["tool"]["driver"]["rules"].as_array().unwrap(), run["results"].as_array().unwrap());
        assert_eq!(rules.len(), stories().count());
        for result in results {
            let at = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(rules[at]["id"], result["ruleId"]);
        }
        let place = &results[0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b/%C3%BC.yaml");
        assert_eq!((&place["region"]["startColumn"], &place["region"]["endColumn"]), (&json!(5), &json!(8)));
        assert_eq!(results[1]["locations"][0]["physicalLocation"]["region"], json!({"startLine": 1}));
    }

    #[test]
    fn people_see_the_line() {
        let told = human(&[problem("a.yaml", 2, "m"), problem("b.yaml", 0, "m")]);
        assert_eq!(told.matches("error[EG0021]: m").count(), 2);
        assert!(told.contains("    get\n") && told.contains("^^^"));
    }
}
