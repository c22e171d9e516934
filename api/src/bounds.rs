//! What a session and the grants of its credentials are bounded by.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Limits for a whole session, written as in policies: `600/m`, `8`, `10MiB`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsDocument {
    /// Requests in a second, minute, hour or day.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text_or_number")]
    pub requests: Option<String>,
    /// Exchanges at once.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text_or_number")]
    pub concurrent: Option<String>,
    /// Bytes of one request's body.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text_or_number")]
    pub request_body: Option<String>,
    /// Bytes of one response's body.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text_or_number")]
    pub response_body: Option<String>,
    /// Bytes of all requests together.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text_or_number")]
    pub bytes_out: Option<String>,
}

impl LimitsDocument {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Each limit that is set, by name.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("requests", &self.requests),
            ("concurrent", &self.concurrent),
            ("request_body", &self.request_body),
            ("response_body", &self.response_body),
            ("bytes_out", &self.bytes_out),
        ];
        all.into_iter().filter_map(|(name, limit)| Some((name, limit.as_deref()?)))
    }

    /// The limit of this name.
    pub fn slot(&mut self, name: &str) -> Option<&mut Option<String>> {
        match name {
            "requests" => Some(&mut self.requests),
            "concurrent" => Some(&mut self.concurrent),
            "request_body" => Some(&mut self.request_body),
            "response_body" => Some(&mut self.response_body),
            "bytes_out" => Some(&mut self.bytes_out),
            _ => None,
        }
    }
}

/// A text, or a number for one of digits alone.
fn text_or_number<'de, D: Deserializer<'de>>(source: D) -> Result<Option<String>, D::Error> {
    struct Either;
    impl Visitor<'_> for Either {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a limit such as \"600/m\", 8 or \"10MiB\"")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
            Ok(number.to_string())
        }
    }
    source.deserialize_any(Either).map(Some)
}

/// That a session may use a credential, within bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantDocument {
    /// The credential.
    pub name: String,
    /// How many requests it may go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// For how long it may be used, such as `15m`.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The methods of the requests that it may go on; none for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// What uses and time are counted by: `session` (as where nothing is said), or `tool_call`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<String>,
}

impl GrantDocument {
    /// A grant that is bounded by its session alone.
    pub fn of(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// A grant as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantView {
    /// Its bounds.
    #[serde(flatten)]
    pub grant: GrantDocument,
    /// How many requests it went on so far.
    pub used: u32,
    /// Whether it was taken back.
    pub revoked: bool,
}

/// A list in which a name stands for a grant without bounds.
pub(crate) fn names_or_grants<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<GrantDocument>, D::Error> {
    struct One(GrantDocument);
    impl<'de> Deserialize<'de> for One {
        fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
            struct Either;
            impl<'de> Visitor<'de> for Either {
                type Value = GrantDocument;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a credential's name, or a grant such as {\"name\": \"github\", \"uses\": 10}")
                }

                fn visit_str<E: de::Error>(self, name: &str) -> Result<GrantDocument, E> {
                    Ok(GrantDocument::of(name))
                }

                fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<GrantDocument, A::Error> {
                    GrantDocument::deserialize(MapAccessDeserializer::new(map))
                }
            }
            source.deserialize_any(Either).map(One)
        }
    }
    let all: Vec<One> = Vec::deserialize(source)?;
    Ok(all.into_iter().map(|One(grant)| grant).collect())
}
