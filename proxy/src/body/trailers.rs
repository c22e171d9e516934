//! Trailers of a request.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use http_body::Frame;
use sessions::PLACEHOLDER_MARK;

use redaction::placeholder::is_hidden_in;

/// The bytes of a trailer section.
pub(crate) fn size_of(trailers: &Frame<Bytes>) -> u64 {
    let field = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    trailers.trailers_ref().map_or(0, |fields| fields.iter().map(field).sum::<usize>() as u64)
}

/// Whether a request's trailers hold a placeholder, in whatever encoding: it is swapped only in a head or a body.
pub(crate) fn holds_placeholder(trailers: &Frame<Bytes>) -> bool {
    let held = |(name, value): (&HeaderName, &HeaderValue)| {
        let named = name.as_str().contains(PLACEHOLDER_MARK);
        named || sessions::find_marks(value.as_bytes()).next().is_some() || is_hidden_in(value.as_bytes())
    };
    trailers.trailers_ref().is_some_and(|fields| fields.iter().any(held))
}
