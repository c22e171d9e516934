//! The one decoder of percent escapes (RFC 3986 section 2.1) and of form encoding for the workspace. An escape that is not two hex digits
//! stays as it is.

/// Undoes each percent escape once.
pub fn percent_decoded(bytes: &[u8]) -> Vec<u8> {
    percent_encoding::percent_decode(bytes).collect()
}

/// The same for form encoding, which writes a blank as `+`.
pub fn form_decoded(bytes: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_decoded(&spaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_escape_is_undone_once() {
        for (text, percent, form) in [
            ("a%20b+c%2525%", "a b+c%25%", "a b c%25%"),
            ("%4", "%4", "%4"),
            ("%zz%41", "%zzA", "%zzA"),
            ("%%41", "%A", "%A"),
            ("%2b%2B", "++", "++"),
            ("", "", ""),
        ] {
            assert_eq!(percent_decoded(text.as_bytes()), percent.as_bytes(), "{text}");
            assert_eq!(form_decoded(text.as_bytes()), form.as_bytes(), "{text}");
        }
        assert_eq!(percent_decoded(b"%ff"), [0xff]);
    }
}
