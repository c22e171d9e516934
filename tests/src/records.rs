//! Audit records in the form that tests use: JSON objects, read from the journal's files.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::wait;

/// One audit record.
#[derive(Clone, Debug)]
pub struct Record(pub Value);

impl Record {
    /// A field as text; numbers and booleans are formatted, an absent field is "".
    pub fn text(&self, field: &str) -> String {
        match self.0.get(field) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }

    /// A field as a number; panics if it is not one.
    pub fn number(&self, field: &str) -> u64 {
        self.0.get(field).and_then(Value::as_u64).unwrap_or_else(|| panic!("{field} is no number in {}", self.0))
    }

    /// Whether the field exists and is not null.
    pub fn has(&self, field: &str) -> bool {
        self.0.get(field).is_some_and(|value| !value.is_null())
    }
}

/// Every complete line of the journal in `folder`, in order; empty if there is no folder. Panics for a complete line that is not
/// a record.
pub fn journal(folder: &Path) -> Vec<Record> {
    let mut files = match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => panic!("{}: {error}", folder.display()),
    };
    files.retain(|path: &PathBuf| path.extension().is_some_and(|end| end == "jsonl"));
    files.sort();
    files.iter().flat_map(|file| lines(file)).collect()
}

/// The complete lines of one file.
fn lines(file: &Path) -> Vec<Record> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        // The folder was moved away after it was listed.
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        Err(error) => panic!("{}: {error}", file.display()),
    };
    let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
    let record = |line| match serde_json::from_str(line) {
        Ok(value) => Record(flatten(value)),
        Err(error) => panic!("{}: {error}: {line}", file.display()),
    };
    whole.lines().map(record).collect()
}

/// The contents of a record, in addition to the fields of the chain; they are absent if they were deleted.
fn flatten(mut line: Value) -> Value {
    let fields = line.as_object_mut().unwrap_or_else(|| panic!("a line of the journal is not an object"));
    match fields.remove("contents") {
        Some(Value::Object(contents)) => fields.extend(contents),
        Some(other) => panic!("the contents of a record are not an object: {other}"),
        None => {}
    }
    line
}

/// The record with this id, once it is written.
pub fn by_id(folder: &Path, id: &str) -> Record {
    wait::until(&format!("record {id}"), || journal(folder).into_iter().rev().find(|record| record.text("id") == id))
}

/// JSON that a command printed: one document (an array or an object with an array) or one object a line.
pub fn parse_output(text: &str) -> Vec<Record> {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(all)) => all.into_iter().map(Record).collect(),
        Ok(Value::Object(map)) => match map.get("records").cloned() {
            Some(Value::Array(all)) => all.into_iter().map(Record).collect(),
            _ => vec![Record(Value::Object(map))],
        },
        Ok(other) => vec![Record(other)],
        Err(_) => text.lines().map(|line| Record(serde_json::from_str(line).unwrap())).collect(),
    }
}
