//! The only way by which a text that is not Egret's own enters a record: session tokens and placeholders in it are masked, then it is escaped.
//!
//! A client can put a token where Egret records what it was asked for: in a path, a query name, a host label, an SNI. A
//! token has one form (`egt_` and 43 letters and digits, a placeholder `egret_ph_` and 32), so it is found by its form, in
//! either case, since a host is recorded in lower case. A text that shows one only after decoding (percent, base64) is masked whole.

use std::borrow::Cow;

use crate::format;

/// What a masked part is replaced by.
const MASK: &str = "***";

/// What tokens and placeholders begin with.
const MARKS: [&[u8]; 2] = [b"egt_", b"egret_ph_"];

/// This many letters and digits after a mark make a token: fewer of its 43 (or 32) leave it unguessable.
const MIN_LETTERS: usize = 16;

/// How often percent escapes are undone.
const MAX_DECODINGS: usize = 3;

/// The marks in base64 at each of the three places within a group, without the characters that neighbors share.
const IN_BASE64: [&[u8]; 7] = [b"ZWd0X", b"lZ3Rf", b"VndF8", b"VndF9", b"ZWdyZXRfcGhf", b"lZ3JldF9waF", b"VncmV0X3BoX"];

/// The marks in hex, in lower case.
const IN_HEX: [&[u8]; 2] = [b"6567745f", b"65677265745f70685f"];

/// Writes a text as it is in a record; true where it was shortened.
pub(crate) fn write(out: &mut Vec<u8>, text: &str) -> bool {
    format::escaped(out, &masked(text))
}

/// Writes a text that Egret itself made: an id, a digest, a word of a closed list. It can hold nothing of what a client sent.
pub(crate) fn write_own(out: &mut Vec<u8>, text: &str) -> bool {
    format::escaped(out, text)
}

/// The text without tokens and placeholders.
fn masked(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let is_escaped = memchr::memchr(b'%', bytes).is_some();
    // This is called for every text of every record, and most texts are short words: they are passed in steps.
    if !is_escaped && !has_run(bytes) {
        return Cow::Borrowed(text);
    }
    if is_encoded(bytes) {
        return Cow::Borrowed(MASK);
    }
    let shown = without_tokens(text);
    if is_escaped && is_hidden_by_percent(shown.as_bytes()) { Cow::Borrowed(MASK) } else { shown }
}

/// Whether so many characters of tokens or of their encodings follow one another as a token has at least.
fn has_run(bytes: &[u8]) -> bool {
    let mut from = 0;
    while let Some(window) = bytes.get(from..from + MIN_LETTERS) {
        match window.iter().rposition(|byte| !is_base64(*byte)) {
            Some(at) => from += at + 1,
            None => return true,
        }
    }
    false
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// The text with each token in it masked.
fn without_tokens(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let Some(first) = find(bytes, 0) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len());
    let (mut from, mut next) = (0, Some(first));
    while let Some((start, end)) = next {
        out.push_str(text.get(from..start).unwrap_or_default());
        out.push_str(MASK);
        from = end;
        next = find(bytes, end);
    }
    out.push_str(text.get(from..).unwrap_or_default());
    Cow::Owned(out)
}

/// The part after a mark of the first token at or after `from`: from its mark's end to its last letter or digit.
fn find(bytes: &[u8], from: usize) -> Option<(usize, usize)> {
    // Every mark ends in an underscore, which is rare.
    for at in memchr::memchr_iter(b'_', bytes.get(from..)?).map(|at| from + at) {
        let (before, after) = bytes.split_at_checked(at + 1)?;
        let ends = |mark: &&[u8]| {
            before.get(before.len().wrapping_sub(mark.len())..).is_some_and(|end| end.eq_ignore_ascii_case(mark))
        };
        if MARKS.iter().any(ends) {
            let letters = after.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            if letters >= MIN_LETTERS {
                return Some((at + 1, at + 1 + letters));
            }
        }
    }
    None
}

/// Whether undoing percent escapes shows a token, in a text in which none shows.
fn is_hidden_by_percent(bytes: &[u8]) -> bool {
    let mut decoded = bytes.to_vec();
    (0..MAX_DECODINGS).any(|_| {
        decoded = model::escape::percent_decoded(&decoded);
        find(&decoded, 0).is_some() || is_encoded(&decoded)
    })
}

/// Whether a mark in base64 (as in the value of Proxy-Authorization) or in hex is followed by as much as a token takes.
fn is_encoded(bytes: &[u8]) -> bool {
    let follows = |rest: &[u8], length: usize, fits: fn(u8) -> bool| {
        rest.get(..length).is_some_and(|rest| rest.iter().all(|byte| fits(*byte)))
    };
    let in_base64 = |rest: &[u8]| {
        let after = |mark: &&[u8]| rest.strip_prefix(*mark);
        IN_BASE64.iter().filter_map(after).any(|rest| follows(rest, MIN_LETTERS * 4 / 3 + 1, is_base64))
    };
    let in_hex = |rest: &[u8]| {
        let after = |mark: &&[u8]| {
            let (start, rest) = rest.split_at_checked(mark.len())?;
            start.eq_ignore_ascii_case(mark).then_some(rest)
        };
        IN_HEX.iter().filter_map(after).any(|rest| follows(rest, MIN_LETTERS * 2, |byte| byte.is_ascii_hexdigit()))
    };
    bytes.iter().enumerate().any(|(at, first)| match first {
        b'Z' | b'l' | b'V' => in_base64(bytes.get(at..).unwrap_or_default()),
        b'6' => in_hex(bytes.get(at..).unwrap_or_default()),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "egt_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg";
    const PLACEHOLDER: &str = "egret_ph_0123456789ABCDEFGHIJKLMNOPQRSTUV";

    fn text(text: &str) -> String {
        let mut out = Vec::new();
        write(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn t240_a_token_is_masked_wherever_it_is_in_a_text() {
        for (given, want) in [
            (format!("/v1/{TOKEN}/x"), "/v1/egt_***/x"),
            (format!("/v1?{TOKEN}&a"), "/v1?egt_***&a"),
            (format!("{TOKEN}.example.com").to_lowercase(), "egt_***.example.com"),
            (TOKEN.to_uppercase(), "EGT_***"),
            (format!("/sk-ant-{PLACEHOLDER}/{TOKEN}"), "/sk-ant-egret_ph_***/egt_***"),
            (format!("/{}", TOKEN.get(..20).unwrap()), "/egt_***"),
            (format!("/{}", TOKEN.replace('t', "%74")), "***"),
            (format!("/{}", TOKEN.replace('_', "%255F")), "***"),
            (format!("/{TOKEN}/{}", TOKEN.replace('g', "%67")), "***"),
            // A decoy that is a token only as long as nothing is decoded.
            (format!("/%c3%aEgt_AAAAAAAAAAAAAAAAAAAA/{}", TOKEN.replace('g', "%67")), "***"),
            (format!("/{}", TOKEN.replace('e', "%65").replace('g', "%67").replace('_', "%5f")), "***"),
        ] {
            assert_eq!(text(&given), want, "{given}");
        }
    }

    #[test]
    fn t240_a_token_in_base64_is_masked_at_each_place_within_a_group() {
        use base64_of as encode;
        for ahead in ["", "s", "se", "ses", "ses_06dgqh1x8r9bnvkq4s0w2y7e5m:"] {
            for secret in [TOKEN, PLACEHOLDER] {
                let encoded = encode(format!("{ahead}{secret}").as_bytes());
                // Behind a mark that nothing follows, and with its first character escaped.
                for given in [
                    format!("/{encoded}"),
                    format!("/ZWd0X/VndF8?{encoded}"),
                    format!("/%{:02x}{}", encoded.as_bytes()[0], encoded.get(1..).unwrap()),
                ] {
                    assert_eq!(text(&given), "***", "{ahead}{secret}");
                }
            }
        }
    }

    #[test]
    fn t240_a_token_in_hex_is_masked() {
        for secret in [TOKEN, PLACEHOLDER] {
            let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(
                (text(&format!("/{hex}")), text(&format!("/{}", hex.to_uppercase()))),
                ("***".into(), "***".into())
            );
        }
    }

    #[test]
    fn what_only_looks_a_little_like_a_token_stays() {
        for same in [
            "/docs/egt_overview",
            "/egret_ph_",
            "/a_b_c",
            "/aWxsZWd0Xy",
            "/50%25",
            "/caf%C3%A9",
            "egt_",
            "/x?egt_=1",
            "/6567745f",
        ] {
            assert_eq!(text(same), same);
        }
    }

    /// Base64 without padding (RFC 4648 section 4).
    fn base64_of(bytes: &[u8]) -> String {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut out = String::new();
        for group in bytes.chunks(3) {
            let word = group.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
            for place in 0..=group.len() {
                out.push(char::from(letters[(word >> (18 - 6 * place) & 63) as usize]));
            }
        }
        out
    }
}
