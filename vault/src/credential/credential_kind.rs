//! What a kind of credential implements.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::{CredentialError, ValueError, copy};

/// How credentials of one kind go onto requests.
pub(super) trait CredentialKind: Sync {
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
    fn usable_as_full_value(&self) -> bool {
        true
    }

    /// Whether its placeholder may be in the slot with exactly these bytes around it. By itself it is the whole value.
    fn frames(&self, _: &Options, before: &[u8], after: &[u8]) -> bool {
        before.is_empty() && after.is_empty()
    }

    /// Whether its placeholder may stand in the pair of `Authorization: Basic`.
    fn usable_in_basic(&self) -> bool {
        false
    }

    /// Judges a value that is neither empty nor too long and holds no control characters but tabs.
    fn check_value(&self, value: &[u8]) -> Result<(), ValueError>;

    /// All that stands in the slot.
    fn render(&self, _: &Options, value: &[u8]) -> Zeroizing<Vec<u8>> {
        copy(&[value])
    }

    /// What takes the place of a placeholder.
    fn substitution_bytes<'v>(&self, value: &'v [u8]) -> &'v [u8] {
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
    /// Sets one option.
    pub(super) fn set(&mut self, name: &'static str, value: String) {
        self.0.insert(name, value);
    }

    /// Whether the option was given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The options that were given, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }

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
