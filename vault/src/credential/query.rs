//! A query parameter (RFC 3986 section 3.4, in the form of names and values).

use zeroize::Zeroizing;

use super::{CredentialError, MAX_NAME_BYTES, Placement, ValueError};

pub(super) fn check_name(name: &str) -> Result<(), CredentialError> {
    let legal = !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.chars().any(char::is_control);
    if legal { Ok(()) } else { Err(CredentialError::Query) }
}

/// Anything without control characters; what a URI cannot hold is percent-encoded.
pub(super) fn check_value(value: &[u8]) -> Result<(), ValueError> {
    if value.contains(&b'\t') { Err(ValueError::Control) } else { Ok(()) }
}

pub(super) fn placement(name: &str, value: &[u8]) -> Placement {
    Placement::Query { name: percent_encode(name.as_bytes()).to_string(), value: percent_encode(value) }
}

/// Encodes everything but unreserved characters (RFC 3986 section 2.3), in a buffer that never moves.
pub fn percent_encode(bytes: &[u8]) -> Zeroizing<String> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = Zeroizing::new(String::with_capacity(bytes.len() * 3));
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    text
}
