//! The only way by which a text enters a record: session tokens and placeholders in it are masked, then it is escaped.
//!
//! A client can put a token where Egret records what it was asked for: in a path, a query name, a host label, an SNI. A
//! token has one look (`egt_` and 43 letters and digits, a placeholder `egret_ph_` and 32), so it is found by its look, in
//! either case, since a host is recorded in lower case. A text that shows one only after decoding (percent, base64) is masked whole.

use std::borrow::Cow;

use crate::format;

/// What a masked part is replaced by.
const MASK: &str = "***";

/// What tokens and placeholders begin with.
const MARKS: [&[u8]; 2] = [b"egt_", b"egret_ph_"];

/// So many letters and digits after a mark make a token: fewer of its 43 (or 32) leave it unguessable.
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

/// The text without tokens and placeholders.
fn masked(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    if bytes.len() < MIN_LETTERS {
        return Cow::Borrowed(text);
    }
    if memchr::memchr(b'%', bytes).is_some() && is_hidden_by_percent(bytes) || is_in_base64(bytes) || is_in_hex(bytes) {
        return Cow::Borrowed(MASK);
    }
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

/// Whether undoing percent escapes shows a token that the text itself does not.
fn is_hidden_by_percent(bytes: &[u8]) -> bool {
    let count = |bytes: &[u8]| {
        let mut from = 0;
        std::iter::from_fn(|| find(bytes, from).inspect(|(_, end)| from = *end)).count()
    };
    let shown = count(bytes);
    let mut decoded = bytes.to_vec();
    for _ in 0..MAX_DECODINGS {
        decoded = decode(&decoded);
        if count(&decoded) > shown {
            return true;
        }
    }
    false
}

/// Undoes each escape once.
fn decode(bytes: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        let pair = match (byte, tail) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)),
            _ => None,
        };
        out.push(pair.map_or(byte, |(high, low)| high << 4 | low));
        rest = if pair.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    out
}

/// Whether a mark in base64 is followed by as much as a token takes, as in the value of Proxy-Authorization.
fn is_in_base64(bytes: &[u8]) -> bool {
    let follows = |at: usize| {
        let rest = bytes.get(at..).unwrap_or_default();
        rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte)).count()
            > MIN_LETTERS * 4 / 3
    };
    bytes.len() > MIN_LETTERS * 4 / 3
        && IN_BASE64.iter().any(|mark| memchr::memmem::find(bytes, mark).is_some_and(|at| follows(at + mark.len())))
}

/// Whether a mark in hex digits is followed by as much as a token takes.
fn is_in_hex(bytes: &[u8]) -> bool {
    let follows = |at: usize| {
        bytes.get(at..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_hexdigit()).count()
            >= MIN_LETTERS * 2
    };
    // The first digits of every mark are rare enough to be looked for one by one.
    memchr::memmem::find_iter(bytes, b"65677").any(|at| {
        let rest = bytes.get(at..).unwrap_or_default();
        let starts = |mark: &&[u8]| rest.get(..mark.len()).is_some_and(|start| start.eq_ignore_ascii_case(mark));
        IN_HEX.iter().any(|mark| starts(mark) && follows(at + mark.len()))
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
        ] {
            assert_eq!(text(&given), want, "{given}");
        }
    }

    #[test]
    fn t240_a_token_in_base64_is_masked_at_each_place_within_a_group() {
        use base64_of as encode;
        for ahead in ["", "s", "se", "ses", "ses_06dgqh1x8r9bnvkq4s0w2y7e5m:"] {
            for secret in [TOKEN, PLACEHOLDER] {
                let given = format!("/{}", encode(format!("{ahead}{secret}").as_bytes()));
                assert_eq!(text(&given), "***", "{ahead}{secret}");
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
