//! What every reader of a text file passes over, whichever editor wrote it.

/// U+FEFF in UTF-8, which some editors write in front of a text (RFC 3629 section 6). It does not belong to the text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The bytes of a text file without a byte order mark.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)
}

/// Takes the byte order mark off a text.
pub fn remove_mark(text: &mut String) {
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mark_in_front_is_passed_over() {
        for (text, rest) in [("\u{feff}a", "a"), ("a\u{feff}", "a\u{feff}"), ("\u{feff}\u{feff}", "\u{feff}"), ("", "")]
        {
            assert_eq!(without_mark(text.as_bytes()), rest.as_bytes());
            let mut owned = text.to_owned();
            remove_mark(&mut owned);
            assert_eq!(owned, rest);
        }
    }
}
