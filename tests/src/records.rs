//! Audit records as the tests see them: JSON objects, read from the journal's files.

use std::path::Path;

use serde_json::Value;

use crate::wait;

/// One audit record.
#[derive(Clone, Debug)]
pub struct Record(pub Value);

impl Record {
    /// A field as text; numbers and booleans are spelled out, an absent field is "".
    pub fn text(&self, field: &str) -> String {
        match self.0.get(field) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }

    /// A field as a number; panics where it is none.
    pub fn number(&self, field: &str) -> u64 {
        self.0.get(field).and_then(Value::as_u64).unwrap_or_else(|| panic!("{field} is no number in {}", self.0))
    }

    /// Whether the field is there and not null.
    pub fn has(&self, field: &str) -> bool {
        self.0.get(field).is_some_and(|value| !value.is_null())
    }
}

/// Every complete line of the journal in `folder`, in order.
pub fn journal(folder: &Path) -> Vec<Record> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.retain(|path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "jsonl"));
    files.sort();
    let mut records = Vec::new();
    for file in files {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap_or_default()).into_owned();
        let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
        records.extend(whole.lines().filter_map(|line| serde_json::from_str(line).ok()).map(|v| Record(flatten(v))));
    }
    records
}

/// The contents of a record may stand in an object of their own beside the chain's fields.
fn flatten(mut value: Value) -> Value {
    for name in ["contents", "body", "content", "record"] {
        let Some(Value::Object(inner)) = value.as_object_mut().and_then(|outer| outer.remove(name)) else { continue };
        for (field, inner) in inner {
            value[field] = inner;
        }
    }
    value
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
