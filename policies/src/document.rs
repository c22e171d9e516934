//! A policy file as it is written: serde types only, with the place of every value that can be wrong.
//!
//! No value is empty and no text reads as a boolean: `parse` has seen to it before this comes to be, so an
//! `Option` is `None` only where the key is not there.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use crate::problem::Place;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    pub(crate) policy: Spanned<String>,
    pub(crate) description: Option<String>,
    pub(crate) mode: Option<Spanned<Mode>>,
    pub(crate) until: Option<Spanned<String>>,
    pub(crate) ceiling: Option<Spanned<bool>>,
    pub(crate) applies_to: Option<Spanned<AppliesTo>>,
    #[serde(default)]
    pub(crate) hosts: Pairs<Spanned<OneOrMany>>,
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
    pub(crate) allow: Option<Spanned<Match>>,
    pub(crate) ask: Option<Spanned<Match>>,
    pub(crate) deny: Option<Spanned<Match>>,
    pub(crate) within: Option<Spanned<Scalar>>,
    pub(crate) until: Option<Spanned<String>>,
    pub(crate) tls: Option<Spanned<TlsName>>,
    pub(crate) limits: Option<Spanned<LimitsEntry>>,
    pub(crate) timeouts: Option<Spanned<TimeoutsEntry>>,
    pub(crate) addresses: Option<Spanned<OneOrMany>>,
    #[serde(rename = "use")]
    pub(crate) credentials: Option<Spanned<OneOrMany>>,
    pub(crate) reason: Option<Spanned<String>>,
}

/// What a rule matches.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Match {
    pub(crate) host: Spanned<OneOrMany>,
    pub(crate) port: Option<Spanned<OneOrMany>>,
    pub(crate) scheme: Option<Spanned<SchemeName>>,
    pub(crate) methods: Option<Spanned<OneOrMany>>,
    pub(crate) path: Option<Spanned<OneOrMany>>,
    pub(crate) query: Option<Spanned<Pairs<Spanned<OneOrMany>>>>,
    pub(crate) tool: Option<Spanned<OneOrMany>>,
    pub(crate) upgrade: Option<Spanned<UpgradeName>>,
}

/// To which sessions a policy applies without being named; what is left out does not limit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AppliesTo {
    pub(crate) tenants: Option<Spanned<OneOrMany>>,
    pub(crate) agents: Option<Spanned<OneOrMany>>,
    pub(crate) labels: Option<Spanned<Pairs<Spanned<OneOrMany>>>>,
}

/// How much may pass under a rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitsEntry {
    pub(crate) requests: Option<Spanned<Scalar>>,
    pub(crate) concurrent: Option<Spanned<Scalar>>,
    pub(crate) request_body: Option<Spanned<Scalar>>,
    pub(crate) response_body: Option<Spanned<Scalar>>,
    pub(crate) bytes_out: Option<Spanned<Scalar>>,
}

/// How long a request may wait under a rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimeoutsEntry {
    pub(crate) connect: Option<Spanned<Scalar>>,
    pub(crate) first_byte: Option<Spanned<Scalar>>,
    pub(crate) idle: Option<Spanned<Scalar>>,
}

/// What is done with TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TlsName {
    Intercept,
    PassThrough,
}

/// What a connection may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UpgradeName {
    Websocket,
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
    pub(crate) rule: Option<Spanned<String>>,
    pub(crate) code: Option<Spanned<String>>,
    pub(crate) tool: Option<Spanned<String>>,
    pub(crate) upgrade: Option<Spanned<UpgradeName>>,
    pub(crate) at: Option<Spanned<String>>,
}

/// What a check expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Expect {
    Allow,
    Ask,
    Deny,
    Observe,
}

/// One value of a key that takes several.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    Text(String),
    Number(i64),
    /// What stands without quotes and reads as something that no key takes.
    Other(String),
}

/// Values written alone or as a list.
#[derive(Debug)]
pub(crate) enum OneOrMany {
    One(Scalar),
    Many(Vec<Spanned<Scalar>>),
}

impl OneOrMany {
    /// Each value with its place; a value written alone stands where the whole stands.
    pub(crate) fn items(whole: &Spanned<Self>) -> Vec<(&Scalar, Place)> {
        match &whole.value {
            Self::One(value) => vec![(value, place(whole))],
            Self::Many(values) => values.iter().map(|item| (&item.value, place(item))).collect(),
        }
    }
}

/// Where a value stands.
pub(crate) fn place<T>(value: &Spanned<T>) -> Place {
    Place::from(value.referenced)
}

impl From<Location> for Place {
    fn from(at: Location) -> Self {
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Self { line: number(at.line()), column: number(at.column()), width: number(at.span().len()) }
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

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a number")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Other(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Number(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Scalar, E> {
        Ok(i64::try_from(value).map_or_else(|_| Scalar::Other(value.to_string()), Scalar::Number))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Other(format!("{value:?}")))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_owned()))
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor)
    }
}

struct OneOrManyVisitor;

impl<'de> Visitor<'de> for OneOrManyVisitor {
    type Value = OneOrMany;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number or a list of them")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<OneOrMany, E> {
        ScalarVisitor.visit_bool(value).map(OneOrMany::One)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<OneOrMany, E> {
        ScalarVisitor.visit_i64(value).map(OneOrMany::One)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<OneOrMany, E> {
        ScalarVisitor.visit_u64(value).map(OneOrMany::One)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<OneOrMany, E> {
        ScalarVisitor.visit_f64(value).map(OneOrMany::One)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<OneOrMany, E> {
        ScalarVisitor.visit_str(value).map(OneOrMany::One)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<OneOrMany, A::Error> {
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
