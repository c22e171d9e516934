//! `Authorization: Basic` (RFC 7617): user and password, joined by the first colon.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{Placement, SHORT_VALUE_BYTES, ValueError, copy};

const SCHEME: &[u8] = b"Basic ";

/// A pair with a colon; the user may be empty, the password not.
pub(super) fn check_value(value: &[u8]) -> Result<(), ValueError> {
    match () {
        () if value.contains(&b'\t') => Err(ValueError::Control),
        () if !value.contains(&b':') => Err(ValueError::Colon),
        () if password(value).is_empty() => Err(ValueError::Empty),
        () => Ok(()),
    }
}

pub(super) fn placement(value: &[u8]) -> Placement {
    Placement::Header { name: "authorization".to_owned(), value: copy(&[SCHEME, &encoded(value)]) }
}

/// What follows the first colon.
pub(super) fn password(value: &[u8]) -> &[u8] {
    let colon = value.iter().position(|b| *b == b':');
    colon.and_then(|colon| value.get(colon + 1..)).unwrap_or_default()
}

/// The pair, the pair as it is sent, and the password where it is long enough not to stand in ordinary text.
pub(super) fn patterns(value: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let mut patterns = vec![copy(&[value]), encoded(value)];
    let password = password(value);
    if password.len() >= SHORT_VALUE_BYTES {
        patterns.push(copy(&[password]));
    }
    patterns
}

fn encoded(value: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(STANDARD.encode(value).into_bytes())
}
