//! Reads the pair of a Basic credential (RFC 7617).

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// Some servers require the padding and some do not, so a pair is read with and without it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The decoded `user:password` of a field value; `None` for another scheme or broken base64.
pub(crate) fn pair(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    LENIENT.decode(rest.trim_ascii()).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_basic_scheme_is_read() {
        assert_eq!(pair(b"basic dTpw").unwrap().as_slice(), b"u:p");
        assert_eq!(pair(b"Basic dTpwdw").unwrap().as_slice(), b"u:pw");
        assert_eq!(pair(b"Bearer dTpw"), None);
        assert_eq!(pair(b"Basic !"), None);
        assert_eq!(pair(b"Basic"), None);
    }
}
