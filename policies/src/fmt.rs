//! One layout for policy files: what `egret policy fmt` writes.
//!
//! The source is laid out again from the parser's events: comments stay at their values, lines stay
//! broken where their author broke them, and nothing moves but the keys within a rule. Before a text is given
//! back it is read again and compared, value by value, with the one that came in.

mod read;
mod tree;
mod write;

use serde_saphyr::granit_parser::{self, Event, Parser};

use crate::compile::{PolicySource, compile};
use crate::parse::is_strict;
use crate::problem::{Place, Problem, Reporter, Severity, code};

/// Lays a policy file out: two blanks of indentation, at most one blank line, no blanks at the ends of lines, one
/// way to put blanks and quotes in lists and mappings, the keys of a rule in the order of the documentation. Rules,
/// hosts and checks stay in their order, all comments stay, and the meaning is the same. A file of checks is laid
/// out as well. A host pattern like `*.example.com`, which YAML reads as an alias, gets its quotes.
///
/// # Errors
/// What keeps the text from being read. A text that could not be laid out without a change of its meaning is
/// refused too.
pub fn fmt(source: &PolicySource) -> Result<String, Vec<Problem>> {
    let text = source.text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let text = quote_patterns(&text);
    let mut reporter = Reporter::new(&source.name, &text);
    if !is_strict(&mut reporter) {
        return Err(reporter.into_problems());
    }
    let laid_out = read::read(&text).map(|mut file| {
        tree::put_in_order(&mut file.root);
        write::write(&file)
    });
    match laid_out {
        Some(new) if is_same(source, &text, &new) => Ok(new),
        _ => {
            let message = "the file cannot be laid out without a change of what it says";
            reporter.error(code::SYNTAX, Place::default(), message, "write it as the examples in docs/policy.md are");
            Err(reporter.into_problems())
        }
    }
}

/// Puts quotes around what can only be meant as a pattern: `*.example.com` reads as an alias that no one defined.
fn quote_patterns(text: &str) -> String {
    let mut options = granit_parser::Options::default();
    options.emit_unresolved_aliases = true;
    let mut new = String::with_capacity(text.len());
    let mut done = 0;
    for event in Parser::new_from_str_with_options(text, options) {
        let Ok((event, span)) = event else { break };
        let Event::UnresolvedAlias(name) = event else { continue };
        let pattern = name.contains('.') && !name.contains(['"', '\\']);
        let Some((range, true)) = span.byte_range().map(|range| (range, pattern)) else { continue };
        let (Some(before), Some(alias)) = (text.get(done..range.start), text.get(range.clone())) else { continue };
        new.extend([before, "\"", alias, "\""]);
        done = range.end;
    }
    new.push_str(text.get(done..).unwrap_or_default());
    new
}

/// Whether both texts mean the same: value by value, and for the compiler.
fn is_same(source: &PolicySource, old: &str, new: &str) -> bool {
    let (Some(before), Some(after)) = (read::read(old), read::read(new)) else { return false };
    before.root.says() == after.root.says()
        && before.comments() == after.comments()
        && verdict(source, old) == verdict(source, new)
}

/// The kinds of problems that the compiler finds, in no order.
fn verdict(source: &PolicySource, text: &str) -> Vec<(&'static str, Severity)> {
    let source = PolicySource { text: text.to_owned(), ..source.clone() };
    let mut found: Vec<_> = match compile(&[source]) {
        Ok(set) => set.warnings().iter().map(|problem| (problem.code, problem.severity)).collect(),
        Err(problems) => problems.iter().map(|problem| (problem.code, problem.severity)).collect(),
    };
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests;
