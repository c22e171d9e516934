//! Calls about credentials.

use std::collections::BTreeMap;
use std::fmt;

use model::Timestamp;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The query of `PUT /v1/vaults/default/credentials/{name}`; the body is the value, as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CredentialRequest {
    /// `bearer`, `basic`, `header`, `query`, `cookie` or `body`.
    pub kind: String,
    /// Further locations in which its placeholder is substituted: `bearer`, `header:NAME`, `query:NAME`, `cookie:NAME`; separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub also: Option<String>,
    /// Hosts, separated by commas.
    pub audience: String,
    /// Where in bodies its placeholder is swapped; in a query as JSON: `[{"json": "/auth/secret"}, {"form": "secret"}]`.
    #[serde(default, deserialize_with = "slots_or_text", skip_serializing_if = "Vec::is_empty")]
    pub body: Vec<BodySlotDocument>,
    /// How often it may be swapped in one body; once where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_swaps: Option<u8>,
    /// The environment variable its placeholder is offered under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// What clients expect before the placeholder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// How long the version before it is still redacted, such as `1h`; 10 minutes where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<String>,
    /// The isolation boundary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Whether a value is taken that can be guessed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_weak: bool,
    /// What the kind needs to know: `header` and `header_prefix`, `template`, `query`, `cookie`. Anything else here is refused.
    #[serde(flatten)]
    pub options: BTreeMap<String, String>,
}

/// One place in bodies where a placeholder is swapped.
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

/// A list, or the text of one, as a query has it.
fn slots_or_text<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<BodySlotDocument>, D::Error> {
    struct Either;
    impl<'de> Visitor<'de> for Either {
        type Value = Vec<BodySlotDocument>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list such as [{\"json\": \"/secret\"}, {\"form\": \"secret\"}]")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            serde_json::from_str(text).map_err(E::custom)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(list))
        }
    }
    source.deserialize_any(Either)
}

/// A credential as it is listed; never its value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CredentialView {
    /// Its name.
    pub name: String,
    /// The isolation boundary.
    pub tenant: String,
    /// Its kind, with the place it goes to.
    pub kind: String,
    /// Further locations in which its placeholder is substituted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// Where a rule attaches it by itself, such as `header authorization`; `null` where only a placeholder in a body brings it.
    #[serde(default)]
    pub location: Option<String>,
    /// The hosts it may go to.
    pub audience: Vec<String>,
    /// Where in bodies its placeholder is swapped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub body: Vec<BodySlotDocument>,
    /// How often it may be swapped in one body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_swaps: Option<u8>,
    /// The environment variable its placeholder is offered under.
    pub env: Option<String>,
    /// What its placeholders begin with.
    pub prefix: Option<String>,
    /// The version in use, from 1.
    pub version: u32,
    /// When that version was put.
    pub updated: Option<Timestamp>,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// What it is for.
    pub description: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// When its first value was put.
    pub created: Option<Timestamp>,
    /// Its versions, the oldest first and the one in use last.
    #[serde(default)]
    pub versions: Vec<VersionView>,
    /// With how many requests it went, as the records tell; `null` where they were not asked.
    pub uses: Option<u64>,
    /// When it last went on a request; `null` where it never did.
    pub last_used: Option<Timestamp>,
}

/// One version of a credential.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VersionView {
    /// Its number, from 1.
    pub version: u32,
    /// Sixteen hex digits that tell it from other versions, and nothing of what it is.
    pub fingerprint: String,
    /// When it was put.
    pub put: Timestamp,
    /// Until when it is still redacted, though it has a successor; `null` for the one in use.
    pub until: Option<Timestamp>,
}

/// A credential as `POST /v1/vaults/default/credentials` put it, or would.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImportedView {
    /// Its name.
    pub name: String,
    /// The isolation boundary.
    pub tenant: String,
    /// Its kind.
    pub kind: String,
    /// The hosts it may go to.
    pub audience: Vec<String>,
    /// The environment variable its placeholder is offered under.
    pub env: Option<String>,
    /// The version that it got, or would get; 1 for a credential that was not there.
    pub version: u32,
}

/// Which tenant is meant; `default` where none is named.
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
    /// The version that is meant; all of the credential where none is named.
    pub version: Option<u32>,
}

/// The query of `POST /v1/vaults/default/credentials`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImportQuery {
    /// Only say what would be done.
    pub dry_run: bool,
}

/// Texts that may hold a value of the vault, by name.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanRequest {
    /// Whose values; `default` where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The texts.
    pub texts: BTreeMap<String, String>,
}

/// Which of them do.
#[derive(Serialize, Deserialize)]
pub struct ScanDocument {
    /// The names.
    pub found: Vec<String>,
}
