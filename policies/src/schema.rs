//! The JSON Schema of a policy file (draft 2020-12), for editors: made of the very table that the decoder uses.
//!
//! What the schema refuses, the compiler refuses. Conversely, a schema cannot express everything: that a set
//! is defined, a name is unique, two rules tie, or a host is below a public suffix.

use model::Reason;
use serde_json::{Map, Value, json};

use crate::parse::keys::{Form, Key, MATCH, POLICY, RULE, Shape, TABLES, Table};

/// The JSON Schema of a policy file, as JSON with a line end.
pub fn schema() -> String {
    let mut definitions = Map::new();
    for table in TABLES.iter().filter(|table| table.what != POLICY.what) {
        definitions.insert(name(table).to_owned(), object(table));
    }
    for form in FORMS {
        definitions.insert(form_name(*form).to_owned(), single(*form));
    }
    let mut root = object(&POLICY);
    for (key, value) in [
        ("$schema", json!("https://json-schema.org/draft/2020-12/schema")),
        ("title", json!("Egret policy")),
        ("$defs", Value::Object(definitions)),
    ] {
        root[key] = value;
    }
    format!("{root:#}\n")
}

const FORMS: &[Form] = &[
    Form::Free,
    Form::PolicyName,
    Form::Name,
    Form::SetName,
    Form::End,
    Form::Host,
    Form::HostOrSet,
    Form::Port,
    Form::Method,
    Form::Path,
    Form::Parameter,
    Form::Header,
    Form::HeaderValue,
    Form::Pattern,
    Form::Address,
    Form::Rate,
    Form::Count,
    Form::Size,
    Form::Span,
    Form::Request,
    Form::Reason,
];

/// One kind of mapping, closed to keys that it does not have.
fn object(table: &Table) -> Value {
    let properties: Map<String, Value> = table.keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<_> = table.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut object = json!({
        "type": "object",
        "description": table.about,
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    let conditions = conditions(table);
    if !conditions.is_empty() {
        object["allOf"] = Value::Array(conditions);
    }
    if matches!(name(table), "applies_to" | "client_auth") {
        object["minProperties"] = json!(1);
    }
    object
}

fn property(key: &Key) -> Value {
    let mut property = shape(key.shape);
    if matches!(key.name, "query" | "labels" | "set") {
        property["minProperties"] = json!(1);
    }
    property["description"] = json!(key.about);
    let example: Value = serde_json::from_str(key.example).unwrap_or_default();
    property["examples"] = json!([example]);
    property
}

fn shape(shape: Shape) -> Value {
    match shape {
        Shape::Text(form) | Shape::Amount(form) => reference(form_name(form)),
        Shape::Flag => json!({"type": "boolean"}),
        Shape::Word(words) => json!({"enum": words()}),
        Shape::WordOr(words, table) => json!({"anyOf": [{"enum": words()}, reference(name(table))]}),
        Shape::Several(form) => several(form),
        Shape::Named(names, form) => json!({
            "type": "object",
            "propertyNames": reference(form_name(names)),
            "additionalProperties": several(form),
        }),
        Shape::Mapping(table) => reference(name(table)),
        Shape::Entries(table) => json!({"type": "array", "items": reference(name(table))}),
    }
}

fn several(form: Form) -> Value {
    let one = reference(form_name(form));
    json!({"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]})
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

/// How the definition of a table is called.
fn name(table: &Table) -> &'static str {
    match table.what {
        "a rule" => "rule",
        "what a rule matches" => "match",
        "a check" => "check",
        what => what.trim_matches('`'),
    }
}

/// What holds between keys of one mapping.
fn conditions(table: &Table) -> Vec<Value> {
    if table.what == RULE.what {
        rule_conditions()
    } else if table.what == POLICY.what {
        policy_conditions()
    } else {
        Vec::new()
    }
}

fn policy_conditions() -> Vec<Value> {
    vec![
        json!({
            "$comment": "Observing ends.",
            "if": {"properties": {"mode": {"const": "observe"}}, "required": ["mode"]},
            "then": {"required": ["until"]},
        }),
        json!({
            "$comment": "A ceiling enforces, and grants no credentials.",
            "if": {"properties": {"ceiling": {"const": true}}, "required": ["ceiling"]},
            "then": {"properties": {
                "mode": {"const": "enforce"},
                "rules": {"items": {"properties": {"use": false}}},
            }},
        }),
    ]
}

fn rule_conditions() -> Vec<Value> {
    let effects = ["allow", "ask", "deny"];
    let one: Vec<_> = effects.iter().map(|effect| json!({"required": [effect]})).collect();
    let none = |keys: &[&str]| -> Value {
        let keys: Map<String, Value> = keys.iter().map(|key| ((*key).to_owned(), json!(false))).collect();
        json!({"properties": keys})
    };
    let read: Vec<_> = ["methods", "path", "query", "tool", "upgrade"].into_iter().collect();
    debug_assert!(read.iter().all(|key| MATCH.keys.iter().any(|own| own.name == *key)), "keys of the table");
    let mut unread = none(&read);
    unread["properties"]["scheme"] = json!({"const": "https"});
    let cleartext = json!({"properties": {"scheme": {"const": "http"}}, "required": ["scheme"]});
    vec![
        json!({"$comment": "Exactly one effect.", "oneOf": one}),
        json!({
            "$comment": "A deny gives nothing.",
            "if": {"required": ["deny"]},
            "then": none(&["hold", "within", "tls", "limits", "timeouts", "use", "set", "client_auth", "addresses"]),
        }),
        json!({"$comment": "Only a rule that asks waits.", "if": {"required": ["allow"]}, "then": none(&["hold", "within"])}),
        json!({
            "$comment": "Credentials never travel in cleartext.",
            "if": {"anyOf": [
                {"properties": {"allow": cleartext}, "required": ["allow"]},
                {"properties": {"ask": cleartext}, "required": ["ask"]},
            ]},
            "then": none(&["use"]),
        }),
        json!({
            "$comment": "What is passed through is not read.",
            "if": {"properties": {"tls": {"const": "pass-through"}}, "required": ["tls"]},
            "then": {"properties": {
                "allow": unread,
                "ask": unread,
                "use": false,
                "set": false,
                "client_auth": false,
                "limits": none(&["requests", "request_body", "response_body"]),
            }},
        }),
    ]
}

/// How the definition of a kind of value is called.
fn form_name(form: Form) -> &'static str {
    match form {
        Form::Free => "text",
        Form::PolicyName => "policy-name",
        Form::Name => "name",
        Form::SetName => "set-name",
        Form::End => "end",
        Form::Host => "host",
        Form::HostOrSet => "host-or-set",
        Form::Port => "port",
        Form::Method => "method",
        Form::Path => "path",
        Form::Parameter => "parameter",
        Form::Header => "header",
        Form::HeaderValue => "header-value",
        Form::Pattern => "text-pattern",
        Form::Address => "address-range",
        Form::Rate => "rate",
        Form::Count => "count",
        Form::Size => "size",
        Form::Span => "span",
        Form::Request => "request",
        Form::Reason => "reason-code",
    }
}

/// A value of one kind. Patterns allow what the compiler might; it looks closer.
fn single(form: Form) -> Value {
    let text = |title: &str, pattern: &str, examples: &[&str]| json!({"title": title, "type": "string", "pattern": pattern, "examples": examples});
    match form {
        Form::Free => json!({"title": "a text", "type": "string"}),
        Form::Parameter => json!({"title": "the name of a parameter", "type": "string", "minLength": 1}),
        Form::PolicyName => {
            let mut name = text(
                "the name of a policy",
                r"^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*$",
                &["coding-agent", "library/pypi"],
            );
            name["maxLength"] = json!(64);
            name
        }
        Form::Name | Form::SetName => {
            let mut name = text("a name", r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", &["read-code", "github"]);
            name["maxLength"] = json!(64);
            name
        }
        Form::End => text(
            "a day (its end, UTC) or an instant (RFC 3339)",
            r"^([0-9]{4}-[0-9]{2}-[0-9]{2}|[+-]?[0-9]{4,6}-?[0-9]{2}-?[0-9]{2}[Tt ][0-9].*)$",
            &["2027-01-31", "2027-01-31T18:00:00Z"],
        ),
        Form::Host => text(
            "a host pattern",
            &format!("^({HOST})$"),
            &["pypi.org", "*.example.com", "**.example.com", "10.20.0.9"],
        ),
        Form::HostOrSet => text(
            "a host pattern, or a set as \"@name\"",
            &format!("^(@.*|{HOST})$"),
            &["pypi.org", "*.example.com", "@python-index"],
        ),
        Form::Port => json!({"title": "a port", "type": "integer", "minimum": 1, "maximum": 65535, "examples": [443]}),
        Form::Method => {
            let mut method =
                text("a method", r"^[A-Z0-9!#$%&'+.^_`|~-]+$", &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]);
            method["not"] = json!({"const": "CONNECT"});
            method
        }
        Form::Path => {
            let mut path =
                text("a path pattern", r"^(/[^?#]*|\*)$", &["/v1/messages", "/repos/acme/**", "/v1/*/files"]);
            path["maxLength"] = json!(1024);
            path
        }
        Form::Pattern => json!({
            "title": "a text in which `*` matches any run of characters",
            "type": ["string", "integer"],
            "maxLength": 256,
            "not": {"type": "string", "pattern": r"\*\*"},
            "minimum": i64::MIN,
            "maximum": i64::MAX,
        }),
        Form::Header => {
            let mut header = text(
                "the name of a header",
                r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
                &["X-Slack-Allowed-Workspaces-Requester"],
            );
            header["maxLength"] = json!(128);
            header
        }
        Form::HeaderValue => json!({
            "title": "the value of a header, in printable ASCII",
            "type": ["string", "integer"],
            "minLength": 1,
            "maxLength": 4096,
            "pattern": "^[!-~]([ -~]*[!-~])?$",
            "minimum": i64::MIN,
            "maximum": i64::MAX,
        }),
        Form::Address => text(
            "an address or a range of addresses",
            r"^[0-9A-Fa-f:.]+(/[0-9]+)?$",
            &["10.20.0.0/16", "10.20.0.9", "fd00:20::/32"],
        ),
        Form::Rate => {
            text("how many in a second, minute, hour or day", r"^[0-9]*[1-9][0-9]*/[smhd]$", &["10/s", "600/m"])
        }
        Form::Count => json!({"title": "a number from 1", "type": "integer", "minimum": 1, "maximum": i64::MAX}),
        Form::Size => json!({
            "title": "bytes, as a number or with a unit",
            "type": ["integer", "string"],
            "minimum": 0,
            "maximum": i64::MAX,
            "pattern": "^[0-9]+(B|KiB|MiB|GiB|TiB)$",
            "examples": [0, "64KiB", "10MiB"],
        }),
        Form::Span => text(
            "a span of time, at most seven days",
            r"^[0-9]*[1-9][0-9]*(ms|s|m|h|d)$",
            &["500ms", "10s", "5m", "2h"],
        ),
        Form::Request => text(
            "a method, a space and a URL",
            r"^[A-Z0-9!#$%&'+.^_`|~-]+ https?://[^/?#].*$",
            &["GET https://pypi.org/simple/"],
        ),
        Form::Reason => {
            let codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
            json!({"title": "the code of a refusal", "enum": codes})
        }
    }
}

/// A host, in a regular expression: a name or address, with a wildcard before it, or any host.
const HOST: &str = r"\*\*|(\*{1,2}\.)?[^\s/:*?#@\[\]\\]+|\[[0-9A-Fa-f:.]+\]";
