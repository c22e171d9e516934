//! A policy file as written: its values, with the place of every value that can be wrong.
//!
//! `parse` makes it. No value is empty and no text reads as a boolean, so an `Option` is `None` only where
//! the key is not there, or if its value was reported and the file is refused.

use crate::auth_mode::AuthMode;
use crate::problem::Place;

/// A value and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// The place of a value.
pub(crate) fn place<T>(value: &Spanned<T>) -> Place {
    value.place
}

/// The whole file.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) policy: Spanned<String>,
    pub(crate) description: Option<String>,
    pub(crate) mode: Option<Spanned<Mode>>,
    pub(crate) until: Option<Spanned<String>>,
    pub(crate) ceiling: Option<Spanned<bool>>,
    pub(crate) applies_to: Option<Spanned<AppliesTo>>,
    pub(crate) hosts: Pairs<Spanned<OneOrMany>>,
    pub(crate) rules: Vec<RuleEntry>,
    pub(crate) checks: Vec<CheckEntry>,
}

/// One entry of `rules`.
#[derive(Debug)]
pub(crate) struct RuleEntry {
    pub(crate) id: Spanned<String>,
    pub(crate) allow: Option<Spanned<Match>>,
    pub(crate) ask: Option<Spanned<Match>>,
    pub(crate) deny: Option<Spanned<Match>>,
    pub(crate) hold: Option<Spanned<Scalar>>,
    pub(crate) within: Option<Spanned<Scalar>>,
    pub(crate) until: Option<Spanned<String>>,
    pub(crate) tls: Option<Spanned<TlsName>>,
    pub(crate) limits: Option<Spanned<LimitsEntry>>,
    pub(crate) timeouts: Option<Spanned<TimeoutsEntry>>,
    pub(crate) addresses: Option<Spanned<OneOrMany>>,
    /// The key `use`.
    pub(crate) credentials: Option<Spanned<OneOrMany>>,
    pub(crate) set: Option<Spanned<Pairs<Spanned<OneOrMany>>>>,
    pub(crate) client_auth: Option<Spanned<ClientAuthEntry>>,
    pub(crate) reason: Option<Spanned<String>>,
}

/// What a rule matches.
#[derive(Debug)]
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
#[derive(Debug)]
pub(crate) struct AppliesTo {
    pub(crate) tenants: Option<Spanned<OneOrMany>>,
    pub(crate) agents: Option<Spanned<OneOrMany>>,
    pub(crate) labels: Option<Spanned<Pairs<Spanned<OneOrMany>>>>,
}

/// How much may pass under a rule.
#[derive(Debug)]
pub(crate) struct LimitsEntry {
    pub(crate) requests: Option<Spanned<Scalar>>,
    pub(crate) concurrent: Option<Spanned<Scalar>>,
    pub(crate) request_body: Option<Spanned<Scalar>>,
    pub(crate) response_body: Option<Spanned<Scalar>>,
    pub(crate) bytes_out: Option<Spanned<Scalar>>,
}

/// What happens to authentication of the client.
#[derive(Debug)]
pub(crate) struct ClientAuthEntry {
    pub(crate) default: Option<Spanned<AuthModeName>>,
    pub(crate) pass: Option<Spanned<OneOrMany>>,
    pub(crate) also: Option<Spanned<OneOrMany>>,
}

/// How long a request may wait under a rule.
#[derive(Debug)]
pub(crate) struct TimeoutsEntry {
    pub(crate) connect: Option<Spanned<Scalar>>,
    pub(crate) first_byte: Option<Spanned<Scalar>>,
    pub(crate) idle: Option<Spanned<Scalar>>,
}

/// One entry of `checks`.
#[derive(Debug)]
pub(crate) struct CheckEntry {
    pub(crate) request: Spanned<String>,
    pub(crate) expect: Expect,
    pub(crate) rule: Option<Spanned<String>>,
    pub(crate) code: Option<Spanned<String>>,
    pub(crate) tool: Option<Spanned<String>>,
    pub(crate) upgrade: Option<Spanned<UpgradeName>>,
    pub(crate) at: Option<Spanned<String>>,
}

/// One of a few words that a key accepts.
pub(crate) trait Word: Copy + 'static {
    /// Each word as it is written.
    const WORDS: &'static [(&'static str, Self)];
}

/// A file of checks.
#[derive(Debug)]
pub(crate) struct SuiteDocument {
    /// Where it begins.
    pub(crate) place: Place,
    pub(crate) policy: Option<Spanned<String>>,
    pub(crate) policies: Option<Spanned<OneOrMany>>,
    pub(crate) session: Option<Spanned<SuiteSession>>,
    pub(crate) checks: Vec<CheckEntry>,
}

/// Whose requests a file of checks is about.
#[derive(Debug)]
pub(crate) struct SuiteSession {
    pub(crate) tenant: Option<Spanned<String>>,
    pub(crate) agent: Option<Spanned<String>>,
    pub(crate) labels: Option<Spanned<Pairs<Spanned<OneOrMany>>>>,
}

/// Whether verdicts are enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Enforce,
    Observe,
}

impl Word for Mode {
    const WORDS: &'static [(&'static str, Self)] = &[("enforce", Self::Enforce), ("observe", Self::Observe)];
}

/// What is done with TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsName {
    Intercept,
    PassThrough,
}

impl Word for TlsName {
    const WORDS: &'static [(&'static str, Self)] =
        &[("intercept", Self::Intercept), ("pass-through", Self::PassThrough)];
}

/// What a connection may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpgradeName {
    Websocket,
}

impl Word for UpgradeName {
    const WORDS: &'static [(&'static str, Self)] = &[("websocket", Self::Websocket)];
}

/// How requests travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SchemeName {
    Http,
    Https,
}

impl Word for SchemeName {
    const WORDS: &'static [(&'static str, Self)] = &[("http", Self::Http), ("https", Self::Https)];
}

/// What happens to authentication of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AuthModeName(pub(crate) AuthMode);

impl Word for AuthModeName {
    const WORDS: &'static [(&'static str, Self)] =
        &[("strip", Self(AuthMode::Strip)), ("refuse", Self(AuthMode::Refuse)), ("allow", Self(AuthMode::Allow))];
}

/// What a check expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    Allow,
    Ask,
    Deny,
    Observe,
}

impl Word for Expect {
    const WORDS: &'static [(&'static str, Self)] =
        &[("allow", Self::Allow), ("ask", Self::Ask), ("deny", Self::Deny), ("observe", Self::Observe)];
}

/// One value of a key that takes several.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    Text(String),
    Number(i64),
    /// Text without quotes that YAML reads as something that no key accepts.
    Other(String),
}

/// Values written alone or as a list.
#[derive(Debug)]
pub(crate) enum OneOrMany {
    One(Scalar),
    Many(Vec<Spanned<Scalar>>),
}

impl OneOrMany {
    /// Each value with its place; a single value has the place of the whole.
    pub(crate) fn items(whole: &Spanned<Self>) -> Vec<(&Scalar, Place)> {
        match &whole.value {
            Self::One(value) => vec![(value, place(whole))],
            Self::Many(values) => values.iter().map(|item| (&item.value, place(item))).collect(),
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
