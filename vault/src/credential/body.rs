//! A credential that is attached only to the bodies of requests, in its declared slots.

use super::ValueError;
use super::credential_kind::{CredentialKind, Options, Slot};

pub(super) struct Body;

impl CredentialKind for Body {
    fn name(&self) -> &'static str {
        "body"
    }

    fn slot<'o>(&self, _: &'o Options) -> Option<Slot<'o>> {
        None
    }

    /// Text: it is escaped as the body requires.
    fn check_value(&self, value: &[u8]) -> Result<(), ValueError> {
        if std::str::from_utf8(value).is_ok() { Ok(()) } else { Err(ValueError::Text) }
    }
}
