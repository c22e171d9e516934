//! A query parameter (RFC 3986 section 3.4, in the form of names and values).

use zeroize::Zeroizing;

use super::credential_kind::{CredentialKind, KindOption, Options, Slot};
use super::{CredentialError, MAX_NAME_BYTES, ValueError};

pub(super) struct Query;

impl CredentialKind for Query {
    fn name(&self) -> &'static str {
        "query"
    }

    fn options(&self) -> &'static [KindOption] {
        &[KindOption { name: "name", flag: "query", required: true, help: "the query parameter's name, such as key" }]
    }

    fn check_options(&self, options: &Options) -> Result<(), CredentialError> {
        let name = options.get("name");
        let legal = !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.chars().any(char::is_control);
        if legal { Ok(()) } else { Err(CredentialError::Query) }
    }

    fn slot<'o>(&self, options: &'o Options) -> Option<Slot<'o>> {
        Some(Slot::Query(options.get("name")))
    }

    /// Any text without control characters; characters that a URI does not allow are percent-encoded.
    fn check_value(&self, value: &[u8]) -> Result<(), ValueError> {
        if value.contains(&b'\t') { Err(ValueError::Control) } else { Ok(()) }
    }
}

/// Encodes all except unreserved characters (RFC 3986 section 2.3), in a buffer that never moves.
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
