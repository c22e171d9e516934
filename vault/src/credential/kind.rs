//! What a kind of credential is. Each is one file beside this one that implements [`Way`], and one line in [`WAYS`].

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use super::query::percent_encode;
use super::{
    CredentialError, MAX_VALUE_BYTES, Placement, ValueError, basic, bearer, body, cookie, copy, header, query,
};
use crate::secret::Secret;

/// Every kind.
static WAYS: [&dyn Way; 6] =
    [&bearer::Bearer, &basic::Basic, &header::Header, &query::Query, &cookie::Cookie, &body::Body];

/// How credentials of one kind go onto requests.
pub(super) trait Way: Sync {
    /// What people call it.
    fn name(&self) -> &'static str;

    /// What it needs to know besides the value.
    fn options(&self) -> &'static [KindOption] {
        &[]
    }

    /// Judges the options, of which every required one is there and none that is not listed.
    fn check_options(&self, _: &Options) -> Result<(), CredentialError> {
        Ok(())
    }

    /// Where it goes in the head of a request; `None` for what only goes into bodies.
    fn slot<'o>(&self, options: &'o Options) -> Option<Slot<'o>>;

    /// Whether its placeholder may stand in the slot itself, with or without other text.
    fn stands_alone(&self) -> bool {
        true
    }

    /// Whether its placeholder may be in the slot with exactly these bytes around it. By itself it is the whole value.
    fn frames(&self, _: &Options, before: &[u8], after: &[u8]) -> bool {
        before.is_empty() && after.is_empty()
    }

    /// Whether its placeholder may stand in the pair of `Authorization: Basic`.
    fn goes_in_pair(&self) -> bool {
        false
    }

    /// Judges a value that is neither empty nor too long and holds no control characters but tabs.
    fn check_value(&self, value: &[u8]) -> Result<(), ValueError>;

    /// All that stands in the slot.
    fn render(&self, _: &Options, value: &[u8]) -> Zeroizing<Vec<u8>> {
        copy(&[value])
    }

    /// What takes the place of a placeholder.
    fn swap_value<'v>(&self, value: &'v [u8]) -> &'v [u8] {
        value
    }

    /// Every plain form to take out of responses.
    fn patterns(&self, value: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
        vec![copy(&[value])]
    }
}

/// Something that a kind needs to know.
#[derive(Debug, PartialEq, Eq)]
pub struct KindOption {
    /// Its name in the sealed description.
    pub name: &'static str,
    /// Its name on the command line; the control API has `_` for `-`.
    pub flag: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// What it is, for people.
    pub help: &'static str,
}

/// The options of one credential, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options(BTreeMap<&'static str, String>);

impl Options {
    /// One option; empty where it was left out.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

/// Where a credential goes in the head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot<'a> {
    /// A field of this name, in lower case.
    Header(&'a str),
    /// A query parameter of this name, unencoded.
    Query(&'a str),
    /// A cookie of this name.
    Cookie(&'a str),
}

/// How a credential goes onto a request: its kind, with what that needs to know.
#[derive(Clone)]
pub struct Kind {
    way: &'static dyn Way,
    options: Options,
}

impl Kind {
    /// The kind of this name, with its options by [`KindOption::name`].
    ///
    /// # Errors
    /// [`CredentialError`] for a name that is no kind's, an option that is missing or not the kind's, or one that is refused.
    pub fn new<'n>(name: &str, given: impl IntoIterator<Item = (&'n str, String)>) -> Result<Self, CredentialError> {
        let way = WAYS.into_iter().find(|way| way.name() == name);
        let way = way.ok_or_else(|| CredentialError::UnknownKind(name.to_owned()))?;
        let mut options = Options::default();
        for (given, value) in given {
            let known = way.options().iter().find(|option| option.name == given);
            let known =
                known.ok_or_else(|| CredentialError::UnknownOption { kind: way.name(), option: given.to_owned() })?;
            options.0.insert(known.name, value);
        }
        if let Some(missing) =
            way.options().iter().find(|option| option.required && !options.0.contains_key(option.name))
        {
            return Err(CredentialError::MissingOption { kind: way.name(), option: missing });
        }
        way.check_options(&options)?;
        Ok(Self { way, options })
    }

    /// The names of all kinds.
    pub fn names() -> impl Iterator<Item = &'static str> {
        WAYS.into_iter().map(|way| way.name())
    }

    /// What a kind of this name needs to know; nothing where there is none.
    pub fn options_of(name: &str) -> &'static [KindOption] {
        WAYS.into_iter().find(|way| way.name() == name).map_or(&[], |way| way.options())
    }

    /// `Authorization: Bearer ..` (RFC 6750).
    pub fn bearer() -> Self {
        Self { way: &bearer::Bearer, options: Options::default() }
    }

    /// What people call it.
    pub fn name(&self) -> &'static str {
        self.way.name()
    }

    /// The options that were given, by [`KindOption::name`].
    pub fn options(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.options.0.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// Where it goes in the head of a request; `None` for what only goes into bodies.
    pub fn slot(&self) -> Option<Slot<'_>> {
        self.way.slot(&self.options)
    }

    /// Whether its placeholder may stand in the slot itself, with or without other text.
    pub fn stands_alone(&self) -> bool {
        self.way.stands_alone()
    }

    /// Whether its placeholder may be in the slot with exactly these bytes around it: none, the scheme that it names, or the rest of
    /// its template. Anything else is the client's own and could be read as the credential.
    pub fn frames(&self, before: &[u8], after: &[u8]) -> bool {
        self.way.frames(&self.options, before, after)
    }

    /// Whether its placeholder may stand in the pair of `Authorization: Basic`.
    pub fn goes_in_pair(&self) -> bool {
        self.way.goes_in_pair()
    }

    /// Whether this value can be a credential of this kind.
    ///
    /// # Errors
    /// [`ValueError`] names what is wrong with it, never what it is.
    #[expect(clippy::disallowed_methods, reason = "a value is judged before it is sealed")]
    pub fn check_value(&self, value: &Secret) -> Result<(), ValueError> {
        let value = value.expose_secret();
        match () {
            () if value.is_empty() => Err(ValueError::Empty),
            () if value.len() > MAX_VALUE_BYTES => Err(ValueError::Length),
            () if value.iter().any(|b| b.is_ascii_control() && *b != b'\t') => Err(ValueError::Control),
            () => self.way.check_value(value),
        }
    }

    /// What to put where in a head; `None` for what only goes into bodies.
    #[expect(clippy::disallowed_methods, reason = "the value is placed on one request")]
    pub(crate) fn placement(&self, value: &Secret) -> Option<Placement> {
        let rendered = self.way.render(&self.options, value.expose_secret());
        Some(match self.slot()? {
            Slot::Header(name) => Placement::Header { name: name.to_ascii_lowercase(), value: rendered },
            Slot::Query(name) => {
                Placement::Query { name: percent_encode(name.as_bytes()).to_string(), value: percent_encode(&rendered) }
            }
            Slot::Cookie(name) => Placement::Cookie { name: name.to_owned(), value: rendered },
        })
    }

    #[expect(clippy::disallowed_methods, reason = "the value takes a placeholder's place on one request")]
    pub(crate) fn swap_value<'v>(&self, value: &'v Secret) -> &'v [u8] {
        self.way.swap_value(value.expose_secret())
    }

    #[expect(clippy::disallowed_methods, reason = "the value is looked for in responses, to be taken out")]
    pub(crate) fn patterns(&self, value: &Secret) -> Vec<Zeroizing<Vec<u8>>> {
        self.way.patterns(value.expose_secret())
    }
}

/// As it is listed: `bearer`, `header X-Api-Key`, `cookie sid`.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let required = self.way.options().iter().filter(|option| option.required);
        required.into_iter().try_for_each(|option| write!(f, " {}", self.options.get(option.name)))
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kind({} {:?})", self.name(), self.options.0)
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.options == other.options
    }
}

impl Eq for Kind {}
