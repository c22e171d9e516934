//! `Authorization: Bearer` (RFC 6750 section 2.1).

use zeroize::Zeroizing;

use super::kind::{Options, Slot, Way};
use super::{ValueError, copy};

pub(super) struct Bearer;

impl Way for Bearer {
    fn name(&self) -> &'static str {
        "bearer"
    }

    fn slot<'o>(&self, _: &'o Options) -> Option<Slot<'o>> {
        Some(Slot::Header("authorization"))
    }

    /// Some clients send a token as the password of a pair.
    fn goes_in_pair(&self) -> bool {
        true
    }

    /// Visible ASCII: wider than the RFC's token, as tokens in use are, and still one word.
    fn check_value(&self, value: &[u8]) -> Result<(), ValueError> {
        match () {
            () if !value.is_ascii() => Err(ValueError::Ascii),
            () if value.iter().any(u8::is_ascii_whitespace) => Err(ValueError::Space),
            () => Ok(()),
        }
    }

    fn render(&self, _: &Options, value: &[u8]) -> Zeroizing<Vec<u8>> {
        copy(&[b"Bearer ", value])
    }
}
