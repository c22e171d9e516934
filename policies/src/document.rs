//! A policy file as it is written: serde types only, with the place of every value that can be wrong.
//!
//! No key may be empty: an empty value would read as "not limited", so `null` is an error everywhere.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    pub(crate) policy: Spanned<String>,
    #[serde(default, deserialize_with = "given")]
    pub(crate) description: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub(crate) mode: Option<Spanned<Mode>>,
    #[serde(default)]
    pub(crate) hosts: Pairs<Spanned<OneOrMany<String>>>,
    #[serde(default)]
    pub(crate) rules: Vec<RuleEntry>,
    #[serde(default)]
    pub(crate) checks: Vec<CheckEntry>,
}

/// Whether verdicts are enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    Enforce,
    Observe,
}

/// One entry of `rules`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleEntry {
    pub(crate) id: Spanned<String>,
    #[serde(default, deserialize_with = "given")]
    pub(crate) allow: Option<Spanned<Match>>,
    #[serde(default, deserialize_with = "given")]
    pub(crate) deny: Option<Spanned<Match>>,
    #[serde(default, deserialize_with = "given")]
    pub(crate) addresses: Option<Spanned<OneOrMany<String>>>,
    #[serde(default, rename = "use", deserialize_with = "given")]
    pub(crate) credentials: Option<Spanned<OneOrMany<String>>>,
    #[serde(default, deserialize_with = "given")]
    pub(crate) reason: Option<Spanned<String>>,
}

/// What a rule matches.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Match {
    pub(crate) host: Spanned<OneOrMany<String>>,
    #[serde(default, deserialize_with = "given")]
    pub(crate) port: Option<Spanned<OneOrMany<u16>>>,
    #[serde(default, deserialize_with = "given")]
    pub(crate) scheme: Option<Spanned<SchemeName>>,
    #[serde(default, deserialize_with = "given")]
    pub(crate) methods: Option<Spanned<OneOrMany<String>>>,
    #[serde(default, deserialize_with = "given")]
    pub(crate) path: Option<Spanned<OneOrMany<String>>>,
}

/// How requests travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SchemeName {
    Http,
    Https,
}

/// One entry of `checks`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckEntry {
    pub(crate) request: Spanned<String>,
    pub(crate) expect: Expect,
    #[serde(default, deserialize_with = "given")]
    pub(crate) rule: Option<Spanned<String>>,
}

/// What a check expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Expect {
    Allow,
    Deny,
}

/// A value that may be written alone or as a list.
#[derive(Debug)]
pub(crate) enum OneOrMany<T> {
    One(T),
    Many(Vec<Spanned<T>>),
}

impl<T> OneOrMany<T> {
    /// Each value with its place; a value written alone stands where the whole stands.
    pub(crate) fn items(whole: &Spanned<Self>) -> Vec<(&T, Location)> {
        match &whole.value {
            Self::One(value) => vec![(value, whole.referenced)],
            Self::Many(values) => values.iter().map(|item| (&item.value, item.referenced)).collect(),
        }
    }
}

/// A mapping in the order of the file, with the place of each key.
#[derive(Debug)]
pub(crate) struct Pairs<T>(pub(crate) Vec<(Spanned<String>, T)>);

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Reads a value that stands there; `null` is not taken for its absence.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor(PhantomData))
    }
}

struct OneOrManyVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or a list of values")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        T::deserialize(value.into_deserializer()).map(OneOrMany::One)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        T::deserialize(value.into_deserializer()).map(OneOrMany::One)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        T::deserialize(value.into_deserializer()).map(OneOrMany::One)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        T::deserialize(value.into_deserializer()).map(OneOrMany::One)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        T::deserialize(value.into_deserializer()).map(OneOrMany::One)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(values)).map(OneOrMany::Many)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }
}

struct PairsVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for PairsVisitor<T> {
    type Value = Pairs<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = entries.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}
