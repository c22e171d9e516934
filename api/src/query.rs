//! Queries in the form that clients send: the parameters of a document, percent-encoded (RFC 3986).

use serde::Serialize;
use serde_json::Value;

/// The parameters of a document: a text unchanged, a list of texts separated by commas, any other value as JSON. Unset fields
/// and `false` are left out.
///
/// # Errors
/// The document is not an object in JSON.
pub fn parameters(document: &impl Serialize) -> Result<Vec<(String, String)>, serde_json::Error> {
    let fields: serde_json::Map<String, Value> = serde_json::from_value(serde_json::to_value(document)?)?;
    Ok(fields.into_iter().filter_map(|(name, value)| Some((name, parameter(value)?))).collect())
}

fn parameter(value: Value) -> Option<String> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) => Some(text),
        Value::Array(items) => match items.iter().map(Value::as_str).collect::<Option<Vec<_>>>() {
            Some(texts) => Some(texts.join(",")),
            None => Some(Value::Array(items).to_string()),
        },
        other @ (Value::Bool(true) | Value::Number(_) | Value::Object(_)) => Some(other.to_string()),
    }
}

/// A path with the parameters of a document.
///
/// # Errors
/// As [`parameters`].
pub fn path_with(path: &str, document: &impl Serialize) -> Result<String, serde_json::Error> {
    let given = parameters(document)?;
    let given: Vec<_> = given.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    Ok(if given.is_empty() { path.to_owned() } else { format!("{path}?{}", given.join("&")) })
}

/// One segment, name or value, percent-encoded.
pub fn encode(text: &str) -> String {
    let character = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(character).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CredentialQuery, ImportQuery, KeyQuery, RecordQuery};

    fn path(document: &impl Serialize) -> String {
        path_with("/x", document).expect("an object")
    }

    #[test]
    fn what_is_not_set_is_left_out() {
        assert_eq!(path(&CredentialQuery::default()), "/x");
        assert_eq!(path(&ImportQuery { dry_run: false }), "/x");
        assert_eq!(path(&ImportQuery { dry_run: true }), "/x?dry_run=true");
        assert_eq!(
            path(&CredentialQuery { tenant: Some("a b&c=d/ü".into()), version: Some(2) }),
            "/x?tenant=a%20b%26c%3Dd%2F%C3%BC&version=2"
        );
    }

    #[test]
    fn values_have_the_form_that_the_server_reads() {
        let since = Some("2026-11-20T12:00:00Z".parse().expect("a time"));
        let records = RecordQuery { since, limit: Some(5), ..RecordQuery::default() };
        assert_eq!(path(&records), "/x?limit=5&since=2026-11-20T12%3A00%3A00Z");
        let key = KeyQuery { passphrase: true, key_file: Some("/k".into()), only: false };
        assert_eq!(path(&key), "/x?key_file=%2Fk&passphrase=true");
    }
}
