//! The trait of every kind of credential.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::{CredentialError, ValueError, copy};

/// How credentials of one kind are attached to requests.
pub(super) trait CredentialKind: Sync {
    /// The name in messages for people.
    fn name(&self) -> &'static str;

    /// The options besides the value.
    fn options(&self) -> &'static [KindOption] {
        &[]
    }

    /// Judges the options: every required option is present, and no unknown one.
    fn check_options(&self, _: &Options) -> Result<(), CredentialError> {
        Ok(())
    }

    /// The location in the head of a request; `None` for a credential that is attached only to bodies.
    fn slot<'o>(&self, options: &'o Options) -> Option<Slot<'o>>;

    /// Whether its placeholder may be in the slot itself, with or without other text.
    fn usable_as_full_value(&self) -> bool {
        true
    }

    /// Whether its placeholder may be in the slot with exactly these bytes around it. By default, it is the whole
    /// value.
    fn frames(&self, _: &Options, before: &[u8], after: &[u8]) -> bool {
        before.is_empty() && after.is_empty()
    }

    /// Whether its placeholder may be in the pair of `Authorization: Basic`.
    fn usable_in_basic(&self) -> bool {
        false
    }

    /// Judges a value that is neither empty nor too long and contains no control characters but tabs.
    fn check_value(&self, value: &[u8]) -> Result<(), ValueError>;

    /// The whole value of the slot.
    fn render(&self, _: &Options, value: &[u8]) -> Zeroizing<Vec<u8>> {
        copy(&[value])
    }

    /// The bytes that replace a placeholder.
    fn substitution_bytes<'v>(&self, value: &'v [u8]) -> &'v [u8] {
        value
    }

    /// Every plain form to mask in responses.
    fn patterns(&self, value: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
        vec![copy(&[value])]
    }
}

/// An option of a kind.
#[derive(Debug, PartialEq, Eq)]
pub struct KindOption {
    /// Its name in the sealed description.
    pub name: &'static str,
    /// Its name on the command line; the control API uses `_` for `-`.
    pub flag: &'static str,
    /// Whether it is required.
    pub required: bool,
    /// Its description, for people.
    pub help: &'static str,
}

/// The options of one credential, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options(BTreeMap<&'static str, String>);

impl Options {
    /// Sets one option.
    pub(super) fn set(&mut self, name: &'static str, value: String) {
        self.0.insert(name, value);
    }

    /// Whether the option was given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The options that are set, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// One option; empty if it was left out.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

/// The location of a credential in the head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot<'a> {
    /// A field of this name, in lower case.
    Header(&'a str),
    /// A query parameter of this name, unencoded.
    Query(&'a str),
    /// A cookie of this name.
    Cookie(&'a str),
}
