//! Problems for code scanning: SARIF 2.1.0.

use std::fmt::Write as _;

use serde_sarif::sarif::{
    ArtifactContent, ArtifactLocation, Location, Message, MultiformatMessageString, PhysicalLocation, PropertyBag,
    Region, ReportingConfiguration, ReportingDescriptor, Result as SarifResult, ResultLevel, Run, Sarif, Tool,
    ToolComponent,
};

use super::{end_column, pretty, severity, with_help};
use crate::codes::{Story, stories};
use crate::problem::{Problem, Severity};

/// How SARIF calls its format.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// For code scanning: one SARIF 2.1.0 run, with every code as a rule.
pub fn sarif(problems: &[Problem]) -> String {
    let driver = ToolComponent::builder()
        .name("egret")
        .semantic_version(env!("CARGO_PKG_VERSION"))
        .rules(stories().map(rule).collect::<Vec<_>>())
        .build();
    let run = Run::builder()
        .tool(Tool::builder().driver(driver).build())
        .column_kind("unicodeCodePoints")
        .results(problems.iter().map(result).collect::<Vec<_>>())
        .build();
    let log = Sarif::builder().schema(SCHEMA).version("2.1.0").runs(vec![run]).build();
    pretty(&serde_json::to_value(log).expect("texts and numbers are always JSON"))
}

fn rule(story: &Story) -> ReportingDescriptor {
    let text = |text: String| MultiformatMessageString::builder().text(text).build();
    let help = MultiformatMessageString::builder().text(story.to_string()).markdown(story.markdown()).build();
    let tags = ["security", "policy"].map(str::to_owned).to_vec();
    ReportingDescriptor::builder()
        .id(story.code)
        .name(story.name())
        .short_description(text(story.title.to_owned()))
        .full_description(text(format!("{} {}", story.meaning, story.why)))
        .help(help)
        .default_configuration(ReportingConfiguration::builder().level(severity(story.severity)).build())
        .properties(PropertyBag::builder().tags(tags).build())
        .build()
}

fn result(problem: &Problem) -> SarifResult {
    let place = PhysicalLocation::builder()
        .artifact_location(ArtifactLocation::builder().uri(uri(&problem.file)).build())
        .region(region(problem))
        .build();
    let mut result = SarifResult::builder()
        .rule_id(problem.code)
        .level(match problem.severity {
            Severity::Error => ResultLevel::Error,
            Severity::Warning => ResultLevel::Warning,
        })
        .message(Message::builder().text(with_help(problem)).build())
        .locations(vec![Location::builder().physical_location(place).build()])
        .build();
    result.rule_index = stories().position(|story| story.code == problem.code).map(number);
    result
}

fn region(problem: &Problem) -> Region {
    if problem.line == 0 {
        return Region::builder().start_line(1).build();
    }
    Region::builder()
        .start_line(number(problem.line))
        .start_column(number(problem.column))
        .end_line(number(problem.line))
        .end_column(number(end_column(problem)))
        .snippet(ArtifactContent::builder().text(problem.source_line.as_str()).build())
        .build()
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A path as the reference of a URI (RFC 3986): what is not unreserved is percent-encoded.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            write!(uri, "%{byte:02X}").expect("a string takes all");
        }
    }
    uri
}
