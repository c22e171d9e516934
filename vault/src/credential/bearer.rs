//! `Authorization: Bearer` (RFC 6750 section 2.1).

use zeroize::Zeroizing;

use super::credential_kind::{CredentialKind, KindOption, Options, Slot};
use super::{CredentialError, ValueError, copy, template};

/// Schemes whose whole credential is the token; GitHub's tools write `token`.
const SCHEMES: [&[u8]; 2] = [b"Bearer ", b"token "];

pub(super) struct Bearer;

impl CredentialKind for Bearer {
    fn name(&self) -> &'static str {
        "bearer"
    }

    fn options(&self) -> &'static [KindOption] {
        &[template::OPTION]
    }

    fn check_options(&self, options: &Options) -> Result<(), CredentialError> {
        template::check(options)
    }

    fn slot<'o>(&self, _: &'o Options) -> Option<Slot<'o>> {
        Some(Slot::Header("authorization"))
    }

    /// Some clients send a token as the password of a pair.
    fn usable_in_basic(&self) -> bool {
        true
    }

    /// Visible ASCII: wider than the RFC's token, because tokens in use are, and still one word.
    fn check_value(&self, value: &[u8]) -> Result<(), ValueError> {
        if !value.is_ascii() {
            return Err(ValueError::Ascii);
        }
        if value.iter().any(u8::is_ascii_whitespace) {
            return Err(ValueError::Space);
        }
        Ok(())
    }

    fn frames(&self, options: &Options, before: &[u8], after: &[u8]) -> bool {
        let scheme = before.is_empty() || SCHEMES.iter().any(|scheme| scheme.eq_ignore_ascii_case(before));
        (after.is_empty() && scheme) || template::frames(options, before, after)
    }

    fn render(&self, options: &Options, value: &[u8]) -> Zeroizing<Vec<u8>> {
        template::render(options, value).unwrap_or_else(|| copy(&[b"Bearer ", value]))
    }
}
