//! The kinds of credentials. Each is one file in this folder that implements [`CredentialKind`], and one line in [`KINDS`].

use std::fmt;

use zeroize::Zeroizing;

use super::credential_kind::{CredentialKind, KindOption, Options, Slot};
use super::query::percent_encode;
use super::{CredentialError, MAX_VALUE_BYTES, Placement, ValueError, basic, bearer, body, cookie, header, query};
use secret::Secret;

/// Every kind.
static KINDS: [&dyn CredentialKind; 6] =
    [&bearer::Bearer, &basic::Basic, &header::Header, &query::Query, &cookie::Cookie, &body::Body];

/// How a credential is attached to a request: its kind, with its options.
#[derive(Clone)]
pub struct Kind {
    kind: &'static dyn CredentialKind,
    options: Options,
}

impl Kind {
    /// The kind of this name, with its options by [`KindOption::name`].
    ///
    /// # Errors
    /// [`CredentialError`] for an unknown kind, an option that is missing or unknown, or one that is refused.
    pub fn new<'n>(name: &str, given: impl IntoIterator<Item = (&'n str, String)>) -> Result<Self, CredentialError> {
        let kind = KINDS.into_iter().find(|kind| kind.name() == name);
        let kind = kind.ok_or_else(|| CredentialError::UnknownKind(name.to_owned()))?;
        let mut options = Options::default();
        for (given, value) in given {
            let known = kind.options().iter().find(|option| option.name == given);
            let known =
                known.ok_or_else(|| CredentialError::UnknownOption { kind: kind.name(), option: given.to_owned() })?;
            options.set(known.name, value);
        }
        if let Some(missing) = kind.options().iter().find(|option| option.required && !options.has(option.name)) {
            return Err(CredentialError::MissingOption { kind: kind.name(), option: missing });
        }
        kind.check_options(&options)?;
        Ok(Self { kind, options })
    }

    /// A location as text: `bearer`, `header:NAME`, `query:NAME` or `cookie:NAME`.
    ///
    /// # Errors
    /// [`CredentialError`] for another text.
    pub fn location(text: &str) -> Result<Self, CredentialError> {
        let (name, option) = text.split_once(':').map_or((text, None), |(name, option)| (name, Some(option)));
        let required = Self::options_of(name).iter().find(|option| option.required);
        match (required, option) {
            (Some(required), Some(option)) => Self::new(name, [(required.name, option.to_owned())]),
            (None, None) => Self::new(name, []),
            (Some(_), None) | (None, Some(_)) => Err(CredentialError::Also),
        }
    }

    /// The names of all kinds.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KINDS.into_iter().map(|kind| kind.name())
    }

    /// The options of the kind of this name; empty if there is none.
    pub fn options_of(name: &str) -> &'static [KindOption] {
        KINDS.into_iter().find(|kind| kind.name() == name).map_or(&[], |kind| kind.options())
    }

    /// `Authorization: Bearer ..` (RFC 6750).
    pub fn bearer() -> Self {
        Self { kind: &bearer::Bearer, options: Options::default() }
    }

    /// The name in messages for people.
    pub fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// The options that are set, by [`KindOption::name`].
    pub fn options(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.options.iter()
    }

    /// The location in the head of a request; `None` for a credential that is attached only to bodies.
    pub fn slot(&self) -> Option<Slot<'_>> {
        self.kind.slot(&self.options)
    }

    /// Whether its placeholder may be in the slot itself, with or without other text.
    pub fn usable_as_full_value(&self) -> bool {
        self.kind.usable_as_full_value()
    }

    /// Whether its placeholder may be in the slot with exactly these bytes around it: none, the scheme that it names, or the rest of
    /// its template. Any other text is the client's own and could be read as the credential.
    pub fn frames(&self, before: &[u8], after: &[u8]) -> bool {
        self.kind.frames(&self.options, before, after)
    }

    /// Whether its placeholder may be in the pair of `Authorization: Basic`.
    pub fn usable_in_basic(&self) -> bool {
        self.kind.usable_in_basic()
    }

    /// Whether this value can be a credential of this kind.
    ///
    /// # Errors
    /// [`ValueError`] names the problem, never the value.
    #[expect(clippy::disallowed_methods, reason = "a value is judged before it is sealed")]
    pub fn check_value(&self, value: &Secret) -> Result<(), ValueError> {
        let value = value.expose_secret();
        if value.is_empty() {
            return Err(ValueError::Empty);
        }
        if value.len() > MAX_VALUE_BYTES {
            return Err(ValueError::Length);
        }
        if value.iter().any(|b| b.is_ascii_control() && *b != b'\t') {
            return Err(ValueError::Control);
        }
        self.kind.check_value(value)
    }

    /// The location and bytes to attach in a head; `None` for a credential that is attached only to bodies.
    #[expect(clippy::disallowed_methods, reason = "the value is placed on one request")]
    pub(crate) fn placement(&self, value: &Secret) -> Option<Placement> {
        let rendered = self.kind.render(&self.options, value.expose_secret());
        Some(match self.slot()? {
            Slot::Header(name) => Placement::Header { name: name.to_ascii_lowercase(), value: rendered },
            Slot::Query(name) => {
                Placement::Query { name: percent_encode(name.as_bytes()).to_string(), value: percent_encode(&rendered) }
            }
            Slot::Cookie(name) => Placement::Cookie { name: name.to_owned(), value: rendered },
        })
    }

    #[expect(clippy::disallowed_methods, reason = "the value takes a placeholder's place on one request")]
    pub(crate) fn substitution_bytes<'v>(&self, value: &'v Secret) -> &'v [u8] {
        self.kind.substitution_bytes(value.expose_secret())
    }

    #[expect(clippy::disallowed_methods, reason = "the value is looked for in responses, to be taken out")]
    pub(crate) fn patterns(&self, value: &Secret) -> Vec<Zeroizing<Vec<u8>>> {
        self.kind.patterns(value.expose_secret())
    }
}

/// As it is listed: `bearer`, `header X-Api-Key`, `cookie sid`.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let required = self.kind.options().iter().filter(|option| option.required);
        required.into_iter().try_for_each(|option| write!(f, " {}", self.options.get(option.name)))
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kind({} {:?})", self.name(), self.options)
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.options == other.options
    }
}

impl Eq for Kind {}
