//! Whether a text contains a value of the vault, plain or in an encoding. Used to check the environment of a command that must
//! not have one.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// A shorter form is found only if it is the whole text: within a text it would match by accident.
const MIN_PART_BYTES: usize = 8;

/// One value in all searched forms.
pub(crate) struct Needles(Vec<Zeroizing<Vec<u8>>>);

impl Needles {
    /// The forms of a value: plain, in hex, percent-encoded, and in base64 at any offset of the encoded bytes.
    pub(crate) fn of(value: &[u8]) -> Self {
        let mut forms = vec![value.to_vec()];
        for digits in [b"0123456789abcdef", b"0123456789ABCDEF"] {
            let digit = |nibble: u8| digits[usize::from(nibble & 15)];
            forms.push(value.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect());
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            let percent = |byte: &u8| match plain(*byte) {
                true => vec![*byte],
                false => vec![b'%', digit(byte >> 4), digit(*byte)],
            };
            forms.push(value.iter().flat_map(percent).collect());
        }
        for shift in 0..3 {
            let shifted: Zeroizing<Vec<u8>> = Zeroizing::new([&[0; 2][..shift], value].concat());
            // Only the digits that depend on the value alone.
            let digits = (shift * 8).div_ceil(6)..shifted.len() * 8 / 6;
            for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                let encoded = Zeroizing::new(engine.encode(&*shifted).into_bytes());
                forms.push(encoded.get(digits.clone()).unwrap_or_default().to_vec());
            }
        }
        forms.sort_unstable();
        forms.dedup();
        Self(forms.into_iter().filter(|form| !form.is_empty()).map(Zeroizing::new).collect())
    }

    /// Whether the text contains one of the forms.
    pub(crate) fn are_in(&self, text: &[u8]) -> bool {
        self.0.iter().any(|form| match form.len() {
            ..MIN_PART_BYTES => text == form.as_slice(),
            length => text.windows(length).any(|part| part == form.as_slice()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn t257_a_value_is_found_plain_and_encoded() {
        let value = b"s3cret/with+signs";
        let needles = Needles::of(value);
        let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        for text in [
            "s3cret/with+signs".to_owned(),
            "https://user:s3cret/with+signs@host".to_owned(),
            "key=s3cret%2Fwith%2Bsigns".to_owned(),
            "key=s3cret%2fwith%2bsigns".to_owned(),
            format!("0x{hex}"),
            hex.to_uppercase(),
            STANDARD.encode(value),
            format!("Basic {}", STANDARD.encode([b"u:", &value[..]].concat())),
            URL_SAFE_NO_PAD.encode([b"user:", &value[..], b"\n"].concat()),
        ] {
            assert!(needles.are_in(text.as_bytes()), "{text}");
        }
        for text in ["", "s3cret", "s3cret/with-signs", "c2VjcmV0"] {
            assert!(!needles.are_in(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn t257_a_short_value_is_found_only_as_the_whole_text() {
        let needles = Needles::of(b"dev");
        assert!(needles.are_in(b"dev"));
        assert!(!needles.are_in(b"/dev/null"));
    }
}
