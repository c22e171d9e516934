//! The JSON Schema agrees with the compiler: what it refuses is refused, and what is refused for its structure
//! it refuses.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use egret_policies::{PolicySource, Severity, compile, library, schema, stories};
use jsonschema::Validator;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

/// Codes of structure: wherever the compiler reports one, the schema refuses the file.
const WITHIN: [&str; 15] = [
    "EG0005", // a value of no text, but see `YAML_ALONE`
    "EG0006", "EG0007", "EG0008", "EG0010", "EG0013", "EG0014", "EG0015", "EG0020", "EG0021", "EG0026", "EG0035",
    "EG0037", "EG0038", "EG0046",
];

/// Codes whose values the schema describes by a pattern alone: it refuses some of them.
const IN_PART: [&str; 11] =
    ["EG0016", "EG0022", "EG0023", "EG0028", "EG0031", "EG0032", "EG0033", "EG0034", "EG0018", "EG0049", "EG0051"];

/// Codes beyond a schema: bounds and signs of YAML, which JSON does not have; names that other places define;
/// public suffixes; rules and checks judged together; what is only warned of; what depends on who brings the file.
const BEYOND: [&str; 33] = [
    "EG0001", "EG0002", "EG0003", "EG0004", "EG0011", "EG0012", "EG0017", "EG0019", "EG0024", "EG0025", "EG0027",
    "EG0029", "EG0030", "EG0036", "EG0039", "EG0040", "EG0041", "EG0042", "EG0043", "EG0044", "EG0045", "EG0047",
    "EG0048", "EG0050", "EG0052", "EG0053", "EG0054", "EG0055", "EG0056", "EG0057", "EG0058", "EG0059", "EG0060",
];

/// Fixtures whose mistake is gone once they are read as YAML and written as JSON.
const YAML_ALONE: [&str; 4] =
    ["implicit-boolean.yaml", "port-fraction.yaml", "port-hexadecimal.yaml", "port-octal.yaml"];

fn validator() -> Validator {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::draft202012::new(&schema).unwrap()
}

/// The codes of the errors in a file.
fn errors(text: &str) -> BTreeSet<&'static str> {
    match compile(&[PolicySource { name: "p.yaml".into(), text: text.to_owned() }]) {
        Ok(_) => BTreeSet::new(),
        Err(problems) => problems.iter().filter(|p| p.severity == Severity::Error).map(|p| p.code).collect(),
    }
}

/// What is wrong with the agreement on one file; `None` where nothing is.
fn disagreement(validator: &Validator, text: &str, value: &Value) -> Option<String> {
    let refused: Vec<String> = validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    let errors = errors(text);
    if !refused.is_empty() && errors.is_empty() {
        return Some(format!("only the schema refuses it: {refused:?}\n{text}"));
    }
    let structural = errors.iter().any(|code| WITHIN.contains(code));
    (refused.is_empty() && structural).then(|| format!("only the compiler refuses it: {errors:?}\n{text}"))
}

fn fixtures(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let yaml = paths.filter(|path| path.extension().is_some_and(|own| own == "yaml"));
    yaml.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect()
}

fn value(text: &str) -> Option<Value> {
    serde_saphyr::from_str(text).ok()
}

#[test]
fn every_code_is_within_the_schema_in_part_or_beyond_it() {
    let mut listed: Vec<_> = [&WITHIN[..], &IN_PART, &BEYOND].concat();
    listed.sort_unstable();
    assert_eq!(listed, stories().map(|story| story.code).collect::<Vec<_>>());
}

#[test]
fn good_files_are_accepted_by_both() {
    let validator = validator();
    let ready = library().iter().map(|policy| (policy.name.to_owned(), policy.text.to_owned()));
    let mended =
        stories().flat_map(|story| story.mended.iter().map(|text| (story.code.to_owned(), (*text).to_owned())));
    for (name, text) in ready.chain(mended).chain(fixtures("good")) {
        let value = value(&text).unwrap();
        let refused: Vec<String> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
        assert_eq!((refused, errors(&text)), (Vec::new(), BTreeSet::new()), "{name}");
    }
}

#[test]
fn broken_files_are_refused_by_both_where_a_schema_can() {
    let validator = validator();
    let stories =
        stories().flat_map(|story| story.broken.iter().map(|text| (story.code.to_owned(), (*text).to_owned())));
    let mut compared = 0;
    for (name, text) in fixtures("broken").into_iter().chain(stories) {
        let Some(value) = value(&text).filter(|_| !YAML_ALONE.contains(&&*name) && name != "EG0005") else { continue };
        assert_eq!(disagreement(&validator, &text, &value), None, "{name}");
        compared += 1;
    }
    assert!(compared > 60, "{compared}");
}

#[test]
fn the_schema_tells_editors_what_each_key_is() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let validator = validator();
    let mut tables = vec![&schema];
    tables.extend(schema["$defs"].as_object().unwrap().values().filter(|table| table["type"] == "object"));
    for table in tables {
        assert!(table["description"].is_string());
        for (name, key) in table["properties"].as_object().unwrap() {
            assert!(key["description"].as_str().unwrap().ends_with('.'), "{name}");
            // The example fits the key.
            let mut alone = key.clone();
            alone["$defs"] = schema["$defs"].clone();
            let example = &key["examples"][0];
            assert!(jsonschema::draft202012::is_valid(&alone, example), "{name}: {example}");
        }
    }
    assert!(validator.is_valid(&everything()));
    assert_eq!(errors(&everything().to_string()), BTreeSet::new());
}

/// A policy with every key.
fn everything() -> Value {
    json!({
        "policy": "team/all", "description": "Every key.", "mode": "observe", "until": "2099-01-31", "ceiling": false,
        "applies_to": {"tenants": ["acme"], "agents": "bot-*", "labels": {"team": ["a", 7]}},
        "hosts": {"index": ["pypi.org", "**.example.com"]},
        "rules": [
            {
                "id": "read",
                "allow": {
                    "host": "@index", "port": [443, 8443], "scheme": "https", "methods": ["GET"], "path": "/v1/**",
                    "query": {"q": ["a*", 1]}, "tool": ["search"],
                },
                "until": "2098-01-31T18:00:00Z", "tls": "intercept", "use": ["token"], "addresses": ["10.0.0.0/8"],
                "limits": {"requests": "600/m", "concurrent": 8, "request_body": 0, "response_body": "1MiB", "bytes_out": "1GiB"},
                "timeouts": {"connect": "10s", "first_byte": "60s", "idle": "5m"},
                "set": {"X-Acme-Tenant": "t-17", "X-Number": 7},
                "client_auth": {"default": "strip", "pass": ["Cookie"], "also": "X-Acme-Key"},
            },
            {"id": "live", "ask": {"host": "a.example.com", "upgrade": "websocket"}, "hold": "25s", "within": "10m", "reason": "Ask."},
            {"id": "pinned", "allow": {"host": "b.example.org"}, "tls": "pass-through", "limits": {"bytes_out": 9}},
            {"id": "own", "allow": {"host": "d.example.org"}, "client_auth": "refuse"},
            {"id": "plain", "allow": {"host": "c.example.net", "scheme": "http"}},
            {"id": "never", "deny": {"host": "**.example.com", "methods": ["DELETE"], "port": 443, "scheme": "http"}, "reason": "No."},
        ],
        "checks": [
            {"request": "GET https://pypi.org/v1/x?q=a", "expect": "allow", "rule": "read", "tool": "search"},
            {"request": "GET https://a.example.com/", "expect": "ask", "upgrade": "websocket", "at": "2030-01-01"},
            {"request": "DELETE http://pypi.org/", "expect": "deny", "code": "denied_method"},
        ],
    })
}

/// One change somewhere in a document.
#[derive(Clone, Debug)]
enum Change {
    Delete,
    Replace(Value),
    Add(String, Value),
    Rename(String),
    Double,
}

fn keys() -> impl Strategy<Value = String> {
    select(vec![
        "policy",
        "mode",
        "until",
        "ceiling",
        "applies_to",
        "hosts",
        "rules",
        "checks",
        "id",
        "allow",
        "ask",
        "deny",
        "hold",
        "within",
        "tls",
        "limits",
        "timeouts",
        "addresses",
        "use",
        "set",
        "client_auth",
        "pass",
        "default",
        "reason",
        "host",
        "port",
        "scheme",
        "methods",
        "path",
        "query",
        "tool",
        "upgrade",
        "requests",
        "idle",
        "request",
        "expect",
        "code",
        "at",
        "unknown",
        "a b",
        "",
    ])
    .prop_map(str::to_owned)
}

fn values() -> impl Strategy<Value = Value> {
    select(vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(-1),
        json!(443),
        json!(70000),
        json!(1.5),
        json!(""),
        json!("text"),
        json!("not a name"),
        json!("a/b"),
        json!("http"),
        json!("ftp"),
        json!("observe"),
        json!("pass-through"),
        json!("websocket"),
        json!("deny"),
        json!("GET"),
        json!("get"),
        json!("CONNECT"),
        json!("/v1"),
        json!("*"),
        json!("**"),
        json!("*.example.com"),
        json!("@index"),
        json!("a**b"),
        json!("10.0.0.0/8"),
        json!("2099-01-31"),
        json!("10s"),
        json!("0s"),
        json!("9999999d"),
        json!("600/m"),
        json!("0/m"),
        json!("10MB"),
        json!("1MiB"),
        json!([]),
        json!({}),
        json!([[]]),
        json!([1, "a"]),
        json!([null]),
        json!({"a": "b"}),
        json!({"host": "a.example.com"}),
        json!({"id": "x", "allow": {"host": "a.example.com"}}),
        json!({"host": "a.example.com", "scheme": "http"}),
        json!([{"id": "x"}]),
        json!("denied_host"),
        json!("x".repeat(300)),
        json!("GET https://a.example.com/"),
    ])
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Delete),
        values().prop_map(Change::Replace),
        (keys(), values()).prop_map(|(key, value)| Change::Add(key, value)),
        keys().prop_map(Change::Rename),
        Just(Change::Double),
    ]
}

/// How many values there are in a document.
fn count(value: &Value) -> usize {
    let inner: Box<dyn Iterator<Item = &Value>> = match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(entries) => Box::new(entries.values()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Box::new(std::iter::empty()),
    };
    1 + inner.map(count).sum::<usize>()
}

/// Changes the value with this number, in their order; the root has number 0 and is only added to.
fn apply(value: &mut Value, at: usize, change: &Change) {
    if at == 0 {
        if let (Value::Object(entries), Change::Add(key, new)) = (value, change) {
            entries.insert(key.clone(), new.clone());
        }
        return;
    }
    let mut left = at - 1;
    match value {
        Value::Array(items) => {
            for place in 0..items.len() {
                let size = count(&items[place]);
                if left >= size {
                    left -= size;
                    continue;
                }
                match change {
                    Change::Delete if left == 0 => drop(items.remove(place)),
                    Change::Replace(new) if left == 0 => items[place] = new.clone(),
                    Change::Double if left == 0 => items.push(items[place].clone()),
                    Change::Delete | Change::Replace(_) | Change::Add(..) | Change::Rename(_) | Change::Double => {
                        apply(&mut items[place], left, change);
                    }
                }
                return;
            }
        }
        Value::Object(entries) => {
            for key in entries.keys().cloned().collect::<Vec<_>>() {
                let size = count(&entries[&key]);
                if left >= size {
                    left -= size;
                    continue;
                }
                match change {
                    Change::Delete if left == 0 => drop(entries.remove(&key)),
                    Change::Replace(new) if left == 0 => drop(entries.insert(key, new.clone())),
                    Change::Double if left == 0 => entries[&key] = json!([entries[&key], entries[&key]]),
                    Change::Rename(new) if left == 0 => {
                        let old: Map<String, Value> = std::mem::take(entries);
                        *entries =
                            old.into_iter().map(|(own, v)| (if own == key { new.clone() } else { own }, v)).collect();
                    }
                    Change::Delete | Change::Replace(_) | Change::Add(..) | Change::Rename(_) | Change::Double => {
                        apply(&mut entries[&key], left, change);
                    }
                }
                return;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn changed_files_are_refused_by_both_or_by_neither() {
    let validator = validator();
    let mut bases: Vec<Value> = fixtures("good").iter().filter_map(|(_, text)| value(text)).collect();
    bases.extend(library().iter().filter_map(|policy| value(policy.text)));
    bases.extend(stories().flat_map(|story| story.mended).filter_map(|text| value(text)));
    bases.extend(std::iter::repeat_n(everything(), bases.len()));
    let changes = proptest::collection::vec((any::<Index>(), change()), 1..4);
    let config = ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(base in select(bases), changes in changes)| {
        let mut value = base;
        for (at, change) in &changes {
            let at = at.index(count(&value));
            apply(&mut value, at, change);
        }
        let wrong = disagreement(&validator, &value.to_string(), &value);
        prop_assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
    });
}
