//! Data on standard output, messages on standard error.

use std::io::{self, Write as _};

use anyhow::Context as _;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::exit::{Answer, OrFail as _};

/// How lists are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
}

/// Writes data; a closed reader is not an error.
pub(crate) fn print(text: &str) {
    let _gone = io::stdout().lock().write_all(text.as_bytes());
}

/// Prints a message for the user at the terminal.
pub(crate) fn say(text: &str) {
    let _gone = writeln!(io::stderr().lock(), "{text}");
}

/// Prints one JSON document on one line.
pub(crate) fn json(value: &impl Serialize) -> Answer {
    let text = serde_json::to_string(value).context("cannot write JSON").or_unreachable()?;
    print(&format!("{text}\n"));
    Ok(())
}

/// Prints a table; only its head if there are no rows.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.map(str::to_uppercase));
    for row in rows {
        table.add_row(row.map(|cell| visible(&cell)));
    }
    let line = |line: String| format!("{}\n", line.strip_prefix(' ').unwrap_or(&line).trim_end());
    let trimmed: String = table.lines().map(line).collect();
    print(&trimmed);
}

/// Prints a group, a line each.
pub(crate) fn facts(facts: &[(&str, String)]) {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines: String = facts.iter().map(|(name, value)| format!("{name:width$}  {}\n", visible(value))).collect();
    print(&lines);
}

/// Text without characters that control a terminal.
pub(crate) fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Text that a shell reads literally.
pub(crate) fn shell_quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@,=+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
