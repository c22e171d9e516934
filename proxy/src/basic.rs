//! Reads the pair of a Basic credential (RFC 7617).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

/// The decoded `user:password` of a field value; `None` for another scheme or broken base64.
pub(crate) fn pair(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    BASE64_STANDARD.decode(rest.trim_ascii()).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_basic_scheme_is_read() {
        assert_eq!(pair(b"basic dTpw").unwrap().as_slice(), b"u:p");
        assert_eq!(pair(b"Bearer dTpw"), None);
        assert_eq!(pair(b"Basic !"), None);
        assert_eq!(pair(b"Basic"), None);
    }
}
