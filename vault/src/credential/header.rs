//! A header field of the credential's own name (RFC 9110 section 5).

use super::{CredentialError, MAX_NAME_BYTES, MAX_PREFIX_BYTES, Placement, ValueError, copy};

/// Fields that decide where a message goes or ends, or that belong to one connection: never a credential's place.
const RESERVED: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

pub(super) fn check_names(name: &str, prefix: Option<&str>) -> Result<(), CredentialError> {
    let lower = name.to_ascii_lowercase();
    let legal = !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(is_token);
    if !legal || lower.starts_with("proxy-") || RESERVED.contains(&lower.as_str()) {
        return Err(CredentialError::Header);
    }
    match prefix {
        Some(text) if text.len() > MAX_PREFIX_BYTES || !text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) => {
            Err(CredentialError::HeaderPrefix)
        }
        Some(text) if text.starts_with(' ') => Err(CredentialError::HeaderPrefix),
        Some(_) | None => Ok(()),
    }
}

/// A field value: no control characters but tabs (judged before), no white space at the ends, which parsers cut off.
pub(super) fn check_value(value: &[u8]) -> Result<(), ValueError> {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_whitespace);
    if edge(value.first()) || edge(value.last()) { Err(ValueError::Space) } else { Ok(()) }
}

pub(super) fn placement(name: &str, prefix: Option<&str>, value: &[u8]) -> Placement {
    let prefix = prefix.unwrap_or_default().as_bytes();
    Placement::Header { name: name.to_ascii_lowercase(), value: copy(&[prefix, value]) }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
