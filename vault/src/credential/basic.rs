//! `Authorization: Basic` (RFC 7617): user and password, joined by the first colon.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::credential_kind::{CredentialKind, Options, Slot};
use super::{SHORT_VALUE_BYTES, ValueError, copy};

pub(super) struct Basic;

impl CredentialKind for Basic {
    fn name(&self) -> &'static str {
        "basic"
    }

    fn slot<'o>(&self, _: &'o Options) -> Option<Slot<'o>> {
        Some(Slot::Header("authorization"))
    }

    /// A password is half of it.
    fn usable_as_full_value(&self) -> bool {
        false
    }

    fn usable_in_basic(&self) -> bool {
        true
    }

    /// A pair with a colon; the user may be empty, the password may not.
    fn check_value(&self, value: &[u8]) -> Result<(), ValueError> {
        if value.contains(&b'\t') {
            return Err(ValueError::Control);
        }
        if !value.contains(&b':') {
            return Err(ValueError::Colon);
        }
        if password(value).is_empty() {
            return Err(ValueError::Empty);
        }
        Ok(())
    }

    fn render(&self, _: &Options, value: &[u8]) -> Zeroizing<Vec<u8>> {
        copy(&[b"Basic ", &encoded(value)])
    }

    fn substitution_bytes<'v>(&self, value: &'v [u8]) -> &'v [u8] {
        password(value)
    }

    /// The pair, the pair in its sent form, and the password if it is too long to occur in ordinary text.
    fn patterns(&self, value: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
        let mut patterns = vec![copy(&[value]), encoded(value)];
        let password = password(value);
        if password.len() >= SHORT_VALUE_BYTES {
            patterns.push(copy(&[password]));
        }
        patterns
    }
}

/// The part after the first colon.
fn password(value: &[u8]) -> &[u8] {
    let colon = value.iter().position(|b| *b == b':');
    colon.and_then(|colon| value.get(colon + 1..)).unwrap_or_default()
}

fn encoded(value: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(STANDARD.encode(value).into_bytes())
}
