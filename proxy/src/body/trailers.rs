//! Trailers of a request.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use http_body::Frame;
use sessions::PLACEHOLDER_MARK;

use redaction::placeholder::is_hidden_in;

/// The size of a trailer section in bytes.
pub(crate) fn size_of(trailers: &Frame<Bytes>) -> u64 {
    let field = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    trailers.trailers_ref().map_or(0, |fields| fields.iter().map(field).sum::<usize>() as u64)
}

/// Whether a request's trailers contain a placeholder, in any encoding: it is substituted only in a head or a body.
pub(crate) fn holds_placeholder(trailers: &Frame<Bytes>) -> bool {
    let held = |(name, value): (&HeaderName, &HeaderValue)| {
        let named = name.as_str().contains(PLACEHOLDER_MARK);
        named || sessions::find_marks(value.as_bytes()).next().is_some() || is_hidden_in(value.as_bytes())
    };
    trailers.trailers_ref().is_some_and(|fields| fields.iter().any(held))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::testing::fields;

    fn trailers(all: &[(&'static str, &str)]) -> Frame<Bytes> {
        Frame::trailers(fields(all).into())
    }

    #[test]
    fn names_and_values_count_and_data_does_not() {
        assert_eq!(size_of(&trailers(&[("x-sum", "12"), ("y", "")])), 8);
        assert_eq!(size_of(&Frame::data("12345".into())), 0);
    }

    #[test]
    fn a_placeholder_is_found_in_names_and_values_also_in_an_encoding() {
        let placeholder = format!("egret_ph_{}", "a1".repeat(16));
        let escaped: String = placeholder.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for value in [&placeholder, &format!("Bearer {placeholder} "), &escaped, &STANDARD.encode(&placeholder)] {
            assert!(holds_placeholder(&trailers(&[("x", "1"), ("y", value)])), "{value}");
        }
        let named = HeaderName::from_bytes(placeholder.as_bytes()).unwrap();
        let named = Frame::trailers([(named, HeaderValue::from_static("1"))].into_iter().collect());
        assert!(holds_placeholder(&named));
        for value in ["1", "egret", "egret_ph", "an egret phrase"] {
            assert!(!holds_placeholder(&trailers(&[("x", value)])), "{value}");
        }
        assert!(!holds_placeholder(&Frame::data(placeholder.into())), "data is searched as it streams");
    }
}
