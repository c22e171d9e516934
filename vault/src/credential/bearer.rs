//! `Authorization: Bearer` (RFC 6750 section 2.1).

use super::{Placement, ValueError, copy};

/// Visible ASCII: wider than the RFC's token, as tokens in use are, and still one word.
pub(super) fn check_value(value: &[u8]) -> Result<(), ValueError> {
    match () {
        () if !value.is_ascii() => Err(ValueError::Ascii),
        () if value.iter().any(u8::is_ascii_whitespace) => Err(ValueError::Space),
        () => Ok(()),
    }
}

pub(super) fn placement(value: &[u8]) -> Placement {
    Placement::Header { name: "authorization".to_owned(), value: copy(&[b"Bearer ", value]) }
}
