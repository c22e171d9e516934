//! The forms of a value to find in responses: the plain value, its kind's sent form, and the common encodings. Each form is a
//! [`Secret`] of its own in the arena.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::credential::{Kind, SHORT_VALUE_BYTES, percent_encode};
use secret::Secret;

/// A copy that is wiped when it is dropped.
type Copy = Zeroizing<Vec<u8>>;

/// Every form of one value. For a value below 8 bytes, only the plain form: its encodings occur in ordinary text.
#[expect(clippy::disallowed_methods, reason = "the value is looked for in responses, to be masked")]
pub(crate) fn of<'k>(kinds: impl IntoIterator<Item = &'k Kind>, value: &Secret) -> Vec<Secret> {
    let mut forms: Vec<Copy> = Vec::new();
    let mut plains = vec![value.expose_secret()];
    for kind in kinds {
        forms.extend(kind.patterns(value));
        let plain = kind.substitution_bytes(value);
        if !plains.contains(&plain) {
            plains.push(plain);
        }
    }
    for plain in plains.into_iter().filter(|plain| plain.len() >= SHORT_VALUE_BYTES) {
        forms.extend(encodings(plain));
    }
    let mut kept: Vec<Secret> = Vec::with_capacity(forms.len());
    for form in forms {
        if !form.is_empty() && kept.iter().all(|one| one.expose_secret() != form.as_slice()) {
            kept.push(Secret::new(form.to_vec()));
        }
    }
    kept
}

fn encodings(plain: &[u8]) -> Vec<Copy> {
    let mut forms = Vec::new();
    let percent = percent_encode(plain);
    forms.push(Zeroizing::new(lower_escapes(percent.as_bytes())));
    forms.push(Zeroizing::new(percent.as_bytes().to_vec()));
    forms.push(Zeroizing::new(percent.replace("%20", "+").into_bytes()));
    if let Ok(text) = std::str::from_utf8(plain) {
        let quoted = Zeroizing::new(serde_json::to_string(text).unwrap_or_default());
        let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
        forms.push(Zeroizing::new(inner.as_bytes().to_vec()));
        forms.push(Zeroizing::new(inner.replace('/', "\\/").into_bytes()));
    }
    for offset in 0..3 {
        forms.push(base64_core(plain, offset, |bytes| STANDARD_NO_PAD.encode(bytes)));
        forms.push(base64_core(plain, offset, |bytes| URL_SAFE_NO_PAD.encode(bytes)));
    }
    let hex = Zeroizing::new(plain.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    forms.push(Zeroizing::new(hex.to_ascii_uppercase().into_bytes()));
    forms.push(Zeroizing::new(hex.as_bytes().to_vec()));
    forms
}

/// The characters of base64 that do not depend on the bytes around the value, `offset` bytes into a group of three.
fn base64_core(plain: &[u8], offset: usize, encode: impl Fn(&[u8]) -> String) -> Copy {
    let padded = Zeroizing::new([&[0, 0][..offset.min(2)], plain].concat());
    let coded = Zeroizing::new(encode(&padded));
    let (first, end) = ((offset * 8).div_ceil(6), padded.len() * 8 / 6);
    Zeroizing::new(coded.as_bytes().get(first..end).unwrap_or_default().to_vec())
}

/// `%2F` as `%2f`.
fn lower_escapes(percent: &[u8]) -> Vec<u8> {
    let mut out = percent.to_vec();
    for at in memchr::memchr_iter(b'%', percent) {
        out.iter_mut().skip(at + 1).take(2).for_each(|digit| digit.make_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "the tests look at made-up values")]
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn forms(kind: &str, value: &str) -> Vec<Vec<u8>> {
        let all = of([&Kind::new(kind, []).unwrap()], &Secret::new(value.as_bytes().to_vec()));
        all.iter().map(|form| form.expose_secret().to_vec()).collect()
    }

    fn found(forms: &[Vec<u8>], text: &str) -> bool {
        forms.iter().any(|form| memchr::memmem::find(text.as_bytes(), form).is_some())
    }

    #[test]
    fn t092_a_value_has_the_forms_of_common_encodings() {
        let value = "k/y+9_x\"Zq 7abc";
        let all = forms("bearer", "k/y+9_xZq7abcdef");
        assert!(all.iter().all(|form| form.len() >= SHORT_VALUE_BYTES), "{all:?}");
        let secret = Secret::new(value.as_bytes().to_vec());
        let kind = Kind::new("query", [("name", "key".to_owned())]).unwrap();
        let all: Vec<Vec<u8>> = of([&kind], &secret).iter().map(|form| form.expose_secret().to_vec()).collect();
        for (text, what) in [
            (value.to_owned(), "as it is"),
            ("k%2Fy%2B9_x%22Zq%207abc".to_owned(), "percent"),
            ("k%2fy%2b9_x%22Zq%207abc".to_owned(), "percent, lower case"),
            ("k%2Fy%2B9_x%22Zq+7abc".to_owned(), "form"),
            ("k/y+9_x\\\"Zq 7abc".to_owned(), "JSON"),
            ("k\\/y+9_x\\\"Zq 7abc".to_owned(), "JSON with escaped slashes"),
            (value.bytes().map(|byte| format!("{byte:02x}")).collect(), "hex"),
            (value.bytes().map(|byte| format!("{byte:02X}")).collect(), "hex, upper case"),
        ] {
            assert!(found(&all, &text), "{what}: {text}");
        }
        for front in ["", "a", "ab", "abc", "robot:"] {
            for back in ["", "x", "xy"] {
                let text = format!("{front}{value}{back}");
                assert!(found(&all, &STANDARD.encode(&text)), "base64 of {text}");
                assert!(found(&all, &URL_SAFE_NO_PAD.encode(&text)), "base64url of {text}");
            }
        }
    }

    #[test]
    fn a_pair_has_the_forms_of_its_password() {
        let all = forms("basic", "robot:q7Zk9_xP55aa");
        for text in ["robot:q7Zk9_xP55aa", "q7Zk9_xP55aa", &STANDARD.encode("robot:q7Zk9_xP55aa")] {
            assert!(found(&all, text), "{text}");
        }
        assert!(found(&all, &STANDARD.encode("someone-else:q7Zk9_xP55aa")), "with another user");
    }

    #[test]
    fn a_short_value_has_one_form() {
        assert_eq!(forms("bearer", "abc"), [b"abc".to_vec()]);
    }
}
