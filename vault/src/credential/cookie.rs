//! One cookie among those that the client sends (RFC 6265 section 4.1.1).

use super::credential_kind::{CredentialKind, KindOption, Options, Slot};
use super::header::is_token;
use super::{CredentialError, MAX_NAME_BYTES, ValueError};

pub(super) struct Cookie;

impl CredentialKind for Cookie {
    fn name(&self) -> &'static str {
        "cookie"
    }

    fn options(&self) -> &'static [KindOption] {
        &[KindOption { name: "name", flag: "cookie", required: true, help: "the cookie's name, such as session" }]
    }

    fn check_options(&self, options: &Options) -> Result<(), CredentialError> {
        let name = options.get("name");
        let legal = !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(is_token);
        if legal { Ok(()) } else { Err(CredentialError::Cookie) }
    }

    fn slot<'o>(&self, options: &'o Options) -> Option<Slot<'o>> {
        Some(Slot::Cookie(options.get("name")))
    }

    /// Visible ASCII without characters that end a cookie or are ambiguous.
    fn check_value(&self, value: &[u8]) -> Result<(), ValueError> {
        if !value.is_ascii() {
            return Err(ValueError::Ascii);
        }
        if value.iter().any(u8::is_ascii_whitespace) {
            return Err(ValueError::Space);
        }
        if value.iter().any(|byte| b"\",;\\".contains(byte)) {
            return Err(ValueError::Cookie);
        }
        Ok(())
    }
}
