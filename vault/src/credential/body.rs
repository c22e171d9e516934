//! What goes only into the bodies of requests, where a slot was declared for it.

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

    /// Text: it is escaped as the body needs it.
    fn check_value(&self, value: &[u8]) -> Result<(), ValueError> {
        if std::str::from_utf8(value).is_ok() { Ok(()) } else { Err(ValueError::Text) }
    }
}
