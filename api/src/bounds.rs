//! The bounds of a session and of the grants of its credentials.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Limits for a whole session, in the form of policies: `600/m`, `8`, `10MiB`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsDocument {
    /// Requests per second, minute, hour or day.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text_or_number")]
    pub requests: Option<String>,
    /// Concurrent exchanges.
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
    /// Whether there is no limit.
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

/// A text, or a number if the text consists of digits.
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

/// The permission of a session to use a credential, within bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantDocument {
    /// The credential.
    pub name: String,
    /// How many requests it may be attached to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// How long it may be used, such as `15m`.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The methods of the requests that it may be attached to; empty for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// The scope of the counts of uses and time: `session` (the default), or `tool_call`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<String>,
}

impl GrantDocument {
    /// A grant that is bounded by its session alone.
    pub fn of(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// The state of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantView {
    /// Its bounds.
    #[serde(flatten)]
    pub grant: GrantDocument,
    /// How many requests it was attached to so far.
    pub used: u32,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// A list in which a name means a grant without bounds.
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
