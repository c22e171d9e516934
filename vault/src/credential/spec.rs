//! The properties of a credential besides its name and its value. Putting, sealing and listing share this one set of
//! fields, and it is judged only here.

use model::{Audience, Timestamp};

use super::{
    BodySlots, CredentialError, Kind, MAX_DESCRIPTION_BYTES, MAX_FURTHER_LOCATIONS, MAX_NAME_BYTES, MAX_PREFIX_BYTES,
};

/// The properties of a credential. The kind, the audience and the locations in bodies are parsed before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialSpec {
    /// How it is attached to a request.
    pub kind: Kind,
    /// Additional kinds of locations in which its placeholder is substituted, because clients of one service differ. A rule's `use` adds
    /// the credential in the location of `kind` alone.
    pub also: Vec<Kind>,
    /// The hosts it may be sent to: `api.github.com`, `*.example.com`, `**.example.com:8443`.
    pub audience: Audience,
    /// The slots in bodies where its placeholder is substituted. A rule alone never adds a credential with such slots.
    pub body: BodySlots,
    /// The environment variable that contains its placeholder.
    pub env: Option<String>,
    /// The prefix of its placeholders, such as `sk-ant-`.
    pub prefix: Option<String>,
    /// The time from which it is no longer issued.
    pub expires: Option<Timestamp>,
    /// A description for people.
    pub description: Option<String>,
    /// The responsible person or team, for people.
    pub owner: Option<String>,
}

impl CredentialSpec {
    /// A credential with only its required properties.
    pub fn new(kind: Kind, audience: Audience) -> Self {
        Self {
            kind,
            also: Vec::new(),
            audience,
            body: BodySlots::default(),
            env: None,
            prefix: None,
            expires: None,
            description: None,
            owner: None,
        }
    }

    /// Every kind of location in which its placeholder is substituted: its own first.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        std::iter::once(&self.kind).chain(&self.also)
    }

    /// Judges all properties except the end, which depends on the time.
    ///
    /// # Errors
    /// [`CredentialError`] names the field.
    pub fn check(&self) -> Result<(), CredentialError> {
        let fits = |text: &Option<String>, fits: fn(&str) -> bool| text.as_deref().is_none_or(fits);
        if !fits(&self.env, is_variable) {
            return Err(CredentialError::Env);
        }
        if !fits(&self.prefix, is_prefix) {
            return Err(CredentialError::Prefix);
        }
        if !fits(&self.description, is_description) {
            return Err(CredentialError::Description);
        }
        if !fits(&self.owner, is_description) {
            return Err(CredentialError::Description);
        }
        if self.kind.slot().is_none() && self.body.is_empty() {
            return Err(CredentialError::NoSlot);
        }
        if !fits_beside(&self.kind, &self.also) {
            return Err(CredentialError::Also);
        }
        Ok(())
    }
}

/// Whether this can be the name of a credential or of a tenant.
pub(crate) fn is_name(name: &str) -> bool {
    let begins = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    begins && name.len() <= MAX_NAME_BYTES && is_plain(name)
}

/// Whether this can be the name of an environment variable.
pub fn is_variable(name: &str) -> bool {
    let begins = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    begins && name.len() <= MAX_NAME_BYTES && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether the same value can be sent in these additional locations: no duplicates, and no pair or body.
fn fits_beside(kind: &Kind, also: &[Kind]) -> bool {
    let is_plain = |kind: &Kind| kind.usable_as_full_value() && kind.slot().is_some();
    let distinct = also.iter().enumerate().all(|(n, one)| one.slot() != kind.slot() && !also[..n].contains(one));
    also.len() <= MAX_FURTHER_LOCATIONS && (also.is_empty() || is_plain(kind)) && also.iter().all(is_plain) && distinct
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_prefix(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_PREFIX_BYTES && is_plain(text)
}

fn is_description(text: &str) -> bool {
    text.len() <= MAX_DESCRIPTION_BYTES && !text.chars().any(char::is_control)
}
