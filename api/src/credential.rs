//! Calls about credentials.

use std::collections::BTreeMap;
use std::fmt;

use model::Timestamp;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The properties of a credential besides its name and its value: the fields that a request sets and a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialDocument {
    /// `bearer`, `basic`, `header`, `query`, `cookie` or `body`; in a list with its location, such as `header X-Api-Key`.
    pub kind: String,
    /// Additional locations in which its placeholder is substituted: `bearer`, `header:NAME`, `query:NAME`, `cookie:NAME`; a list,
    /// or a text with commas between them.
    #[serde(default, deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// The hosts it may be sent to; a list, or a text with commas between them.
    #[serde(deserialize_with = "texts")]
    pub audience: Vec<String>,
    /// The slots in bodies where its placeholder is substituted; in a query as JSON: `[{"json": "/auth/secret"},
    /// {"form": "secret"}]`.
    #[serde(default, deserialize_with = "slots_or_text", skip_serializing_if = "Vec::is_empty")]
    pub body: Vec<BodySlotDocument>,
    /// How often it may be substituted in one body; once by default.
    #[serde(default, deserialize_with = "number_or_text", skip_serializing_if = "Option::is_none")]
    pub body_swaps: Option<u8>,
    /// The environment variable that contains its placeholder.
    #[serde(default)]
    pub env: Option<String>,
    /// The prefix of its placeholders.
    #[serde(default)]
    pub prefix: Option<String>,
    /// When it ends.
    #[serde(default)]
    pub expires: Option<Timestamp>,
    /// Its purpose.
    #[serde(default)]
    pub description: Option<String>,
    /// Its owner.
    #[serde(default)]
    pub owner: Option<String>,
}

/// The query of `PUT /v1/vaults/default/credentials/{name}`; the body is the raw value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialRequest {
    /// Its properties.
    #[serde(flatten)]
    pub spec: CredentialDocument,
    /// How long the previous version is still redacted, such as `1h`; 10 minutes by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<String>,
    /// The isolation boundary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Whether a guessable value is accepted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_weak: bool,
    /// The options of the kind: `header` and `header_prefix`, `template`, `query`, `cookie`. Any other name is refused.
    #[serde(flatten)]
    pub options: BTreeMap<String, String>,
}

/// One slot in bodies where a placeholder is substituted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BodySlotDocument {
    /// The text at this pointer of a JSON document (RFC 6901).
    Json(String),
    /// The field of this name in a form.
    Form(String),
}

impl fmt::Display for BodySlotDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(pointer) => write!(f, "json {pointer}"),
            Self::Form(field) => write!(f, "form {field}"),
        }
    }
}

/// A list, or its text form in a query.
fn slots_or_text<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<BodySlotDocument>, D::Error> {
    let expected = "a list such as [{\"json\": \"/secret\"}, {\"form\": \"secret\"}]";
    let read = |text: &str| serde_json::from_str(text).map_err(|error| error.to_string());
    source.deserialize_any(ListOrText { expected, read })
}

/// Texts separated by commas: one such text, or a list of them.
fn texts<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<String>, D::Error> {
    let read = |text: &str| Ok(vec![text.to_owned()]);
    let all: Vec<String> = source.deserialize_any(ListOrText { expected: "a text, or a list of texts", read })?;
    let each = all.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|text| !text.is_empty());
    Ok(each.map(str::to_owned).collect())
}

/// Accepts a list, or a text in the form of one.
struct ListOrText<T> {
    expected: &'static str,
    read: fn(&str) -> Result<Vec<T>, String>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListOrText<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        (self.read)(text).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list))
    }
}

/// A number, or its digits in a query.
fn number_or_text<'de, D: Deserializer<'de>>(source: D) -> Result<Option<u8>, D::Error> {
    struct Either;
    impl Visitor<'_> for Either {
        type Value = Option<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number from 0 to 255")
        }

        fn visit_unit<E: de::Error>(self) -> Result<Option<u8>, E> {
            Ok(None)
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Option<u8>, E> {
            u8::try_from(number).map(Some).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<u8>, E> {
            text.parse().map(Some).map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }
    source.deserialize_any(Either)
}

/// A credential in a list; never its value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CredentialView {
    /// Its name.
    pub name: String,
    /// The isolation boundary.
    pub tenant: String,
    /// Its properties.
    #[serde(flatten)]
    pub spec: CredentialDocument,
    /// The location where a rule attaches it by itself, such as `header authorization`; `null` if only a placeholder in a body
    /// selects it.
    #[serde(default)]
    pub location: Option<String>,
    /// The version in use, from 1.
    pub version: u32,
    /// When that version was put.
    pub updated: Option<Timestamp>,
    /// When its first value was put.
    pub created: Option<Timestamp>,
    /// Its versions, the oldest first and the one in use last.
    #[serde(default)]
    pub versions: Vec<VersionView>,
    /// How many requests it was attached to, from the records; `null` if they are unavailable.
    pub uses: Option<u64>,
    /// When it was last attached to a request; `null` if never.
    pub last_used: Option<Timestamp>,
}

/// One version of a credential.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VersionView {
    /// Its number, from 1.
    pub version: u32,
    /// Sixteen hex digits that distinguish it from other versions, and reveal nothing about it.
    pub fingerprint: String,
    /// When it was put.
    pub put: Timestamp,
    /// Until when it is still redacted after its successor came; `null` for the one in use.
    pub until: Option<Timestamp>,
}

/// A credential as `POST /v1/vaults/default/credentials` put it, or would.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImportedView {
    /// Its name.
    pub name: String,
    /// The isolation boundary.
    pub tenant: String,
    /// Its properties.
    #[serde(flatten)]
    pub spec: CredentialDocument,
    /// The version that it got, or would get; 1 for a new credential.
    pub version: u32,
}

/// The tenant; `default` if none is named.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantQuery {
    /// The isolation boundary.
    pub tenant: Option<String>,
}

/// The query of `DELETE /v1/vaults/default/credentials/{name}`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CredentialQuery {
    /// The isolation boundary.
    pub tenant: Option<String>,
    /// The version; the whole credential if none is named.
    pub version: Option<u32>,
}

/// The query of `POST /v1/vaults/default/credentials`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImportQuery {
    /// Only report the changes.
    pub dry_run: bool,
}

/// Texts that may contain a value of the vault, by name.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanRequest {
    /// The tenant of the values; `default` if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The texts.
    pub texts: BTreeMap<String, String>,
}

/// The texts that contain one.
#[derive(Serialize, Deserialize)]
pub struct ScanDocument {
    /// The names.
    pub found: Vec<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn full() -> CredentialRequest {
        CredentialRequest {
            spec: CredentialDocument {
                kind: "header".into(),
                also: vec!["bearer".into(), "query:key".into()],
                audience: vec!["a.example".into(), "*.b.example:8443".into()],
                body: vec![BodySlotDocument::Json("/a,b".into()), BodySlotDocument::Form("secret".into())],
                body_swaps: Some(2),
                env: Some("KEY".into()),
                prefix: Some("sk-".into()),
                expires: Some("2030-01-31T18:00:00Z".parse().expect("a time")),
                description: Some("reads, and writes".into()),
                owner: Some("platform".into()),
            },
            grace: Some("1h".into()),
            tenant: Some("acme".into()),
            allow_weak: true,
            options: BTreeMap::from([("header".into(), "X-Api-Key".into())]),
        }
    }

    #[test]
    fn a_document_is_read_as_it_was_written() {
        let document = serde_json::to_value(full()).expect("it is JSON");
        assert_eq!(document["audience"], json!(["a.example", "*.b.example:8443"]));
        assert_eq!((&document["header"], &document["body_swaps"]), (&json!("X-Api-Key"), &json!(2)));
        assert_eq!(serde_json::from_value::<CredentialRequest>(document).expect("its own form"), full());
        let least =
            CredentialDocument { kind: "bearer".into(), audience: vec!["a.example".into()], ..Default::default() };
        let document = serde_json::to_value(&least).expect("it is JSON");
        assert_eq!(
            document,
            json!({"kind": "bearer", "audience": ["a.example"], "env": null, "prefix": null, "expires": null, "description": null, "owner": null})
        );
        assert_eq!(serde_json::from_value::<CredentialDocument>(document).expect("its own form"), least);
        let nothing = json!({"kind": "", "audience": "", "body_swaps": null});
        let nothing: CredentialDocument = serde_json::from_value(nothing).expect("null is nothing");
        assert_eq!((nothing.body_swaps, nothing.audience.len()), (None, 0));
    }

    #[test]
    fn texts_of_a_query_are_read_as_lists_and_numbers() {
        let read = |field: &str, value: &str| {
            let mut document = json!({"kind": "bearer", "audience": "a.example"});
            document[field] = value.into();
            serde_json::from_value::<CredentialRequest>(document)
        };
        let hosts = read("audience", " a.example ,b.example,, ").expect("a list with commas").spec.audience;
        assert_eq!(hosts, ["a.example", "b.example"]);
        let listed: CredentialDocument =
            serde_json::from_value(json!({"kind": "", "audience": ["a.example, b.example", "c.example"]}))
                .expect("a list");
        assert_eq!(listed.audience, ["a.example", "b.example", "c.example"]);
        assert_eq!(read("also", "bearer,query:key").expect("two locations").spec.also, ["bearer", "query:key"]);
        assert_eq!(read("body_swaps", "3").expect("a number").spec.body_swaps, Some(3));
        let slots = read("body", r#"[{"form": "a"}]"#).expect("a list in JSON").spec.body;
        assert_eq!(slots, [BodySlotDocument::Form("a".into())]);
        for (field, value) in [("body_swaps", "256"), ("body_swaps", "x"), ("body", "[1]"), ("expires", "soon")] {
            assert!(read(field, value).is_err(), "{field} {value}");
        }
        assert_eq!(read("template", "{}").expect("an option").options["template"], "{}");
    }
}
