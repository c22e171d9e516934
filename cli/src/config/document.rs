//! The file as written.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Document {
    pub(super) data_dir: Option<Spanned<String>>,
    pub(super) listen: ListenDocument,
    pub(super) sessions: SessionsDocument,
    pub(super) policies: Vec<Spanned<String>>,
    pub(super) vault: VaultDocument,
    pub(super) audit: AuditDocument,
    pub(super) upstream: UpstreamDocument,
    pub(super) control: ControlDocument,
    pub(super) containment: Option<Spanned<String>>,
    pub(super) limits: BTreeMap<String, Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ListenDocument {
    pub(super) proxy: Option<Spanned<OneOrMany>>,
    pub(super) proxy_unix_mode: Option<Spanned<String>>,
    pub(super) proxy_tls: Option<Spanned<TlsListenDocument>>,
    pub(super) socks: Option<Spanned<IgnoredAny>>,
    pub(super) socks_tls: Option<Spanned<IgnoredAny>>,
    pub(super) reverse: Option<Spanned<IgnoredAny>>,
    pub(super) transparent: Option<Spanned<IgnoredAny>>,
    pub(super) dns: Option<Spanned<IgnoredAny>>,
    pub(super) control: Option<Spanned<IgnoredAny>>,
    pub(super) health: Option<Spanned<IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsListenDocument {
    pub(super) address: Spanned<String>,
    pub(super) certificate: String,
    pub(super) key: String,
}

/// One text, or a list of them.
pub(super) struct OneOrMany(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Vec<String>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(vec![text.to_owned()])
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = items.next_element()? {
                    texts.push(text);
                }
                Ok(texts)
            }
        }
        deserializer.deserialize_any(Texts).map(Self)
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SessionsDocument {
    pub(super) default: Option<DefaultDocument>,
    pub(super) danger_default_credentials: bool,
    pub(super) void_tokens_after_unclean_stop: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DefaultDocument {
    pub(super) policies: Vec<String>,
    pub(super) credentials: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct VaultDocument {
    pub(super) key: Option<Spanned<KeyDocument>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct KeyDocument {
    pub(super) file: Option<String>,
    pub(super) passphrase_file: Option<String>,
    pub(super) passphrase_env: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AuditDocument {
    pub(super) durability: Option<Spanned<String>>,
    pub(super) retention: Option<Spanned<RetentionDocument>>,
}

/// How long records are retained, and how many bytes of them; a duration may be given alone.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RetentionBounds {
    pub(super) time: Option<Spanned<String>>,
    pub(super) size: Option<Spanned<String>>,
}

/// The written value.
pub(super) enum RetentionDocument {
    Time(String),
    Bounds(RetentionBounds),
}

impl<'de> Deserialize<'de> for RetentionDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TimeOrBounds;
        impl<'de> Visitor<'de> for TimeOrBounds {
            type Value = RetentionDocument;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time, or `time` and `size`")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(RetentionDocument::Time(text.to_owned()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(RetentionDocument::Time(number.to_string()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(RetentionDocument::Time(number.to_string()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                RetentionBounds::deserialize(MapAccessDeserializer::new(map)).map(RetentionDocument::Bounds)
            }
        }
        deserializer.deserialize_any(TimeOrBounds)
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ControlDocument {
    pub(super) peers: BTreeMap<String, Spanned<Vec<Spanned<String>>>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UpstreamDocument {
    pub(super) ca_files: Vec<Spanned<String>>,
    pub(super) resolve: BTreeMap<String, Spanned<String>>,
    pub(super) preconnect: bool,
    pub(super) proxy: Option<Spanned<IgnoredAny>>,
}
