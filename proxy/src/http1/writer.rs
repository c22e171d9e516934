//! Writes the heads of messages (RFC 9112 sections 3 to 5), and chooses the framing of their bodies (section 6).

use bytes::BytesMut;
use http::{HeaderValue, Method, StatusCode, Version, header};
use model::Fields;

use super::encoder::Encoder;
use super::fields;
use super::head::Wishes;

/// The framing of a request's body, which its head gets; `None` without a body. A body of unknown length is chunked, for any method.
pub(crate) fn frame_request(fields: &mut Fields, has_body: bool) -> Option<Encoder> {
    if !has_body {
        fields.remove(header::EXPECT);
        return None;
    }
    let length = fields::content_length(fields);
    if length.is_none() {
        fields.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    Some(length.map_or(Encoder::Chunked { trailers: true }, Encoder::Length))
}

/// Writes the head of a request; `target` is its path and query, as written.
pub(crate) fn put_request(out: &mut BytesMut, method: &Method, target: &str, fields: &Fields) {
    out.reserve(512);
    out.extend_from_slice(method.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    fields::put(out, fields);
    out.extend_from_slice(b"\r\n");
}

/// The body of an answer, as far as its framing depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    /// Its length in bytes, if it is known.
    pub(crate) known: Option<u64>,
    /// Whether it is our own text, and not the upstream's.
    pub(crate) is_own: bool,
}

/// The framing of an answer to a request with these wishes, which its head gets; `None` if it has no body.
pub(crate) fn frame_answer(status: StatusCode, head: &mut Fields, content: Content, wishes: Wishes) -> Option<Encoder> {
    let is_empty = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let Content { known, is_own } = content;
    if status == StatusCode::NO_CONTENT {
        head.remove(header::CONTENT_LENGTH);
    }
    if is_empty || wishes.is_head {
        let own = known.filter(|_| wishes.is_head && is_own && !head.contains(header::CONTENT_LENGTH));
        if let Some(length) = own {
            head.insert(header::CONTENT_LENGTH, length.into());
        }
        return None;
    }
    Some(match (fields::content_length(head), known) {
        (Some(length), _) => Encoder::Length(length),
        (None, Some(length)) => {
            head.insert(header::CONTENT_LENGTH, length.into());
            Encoder::Length(length)
        }
        (None, None) if wishes.version == Version::HTTP_11 => {
            head.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            Encoder::Chunked { trailers: wishes.accepts_trailers }
        }
        (None, None) => Encoder::UntilClose,
    })
}

/// Writes the head of an answer to a client of this version. With `closes`, the connection ends after it.
pub(crate) fn put_answer(out: &mut BytesMut, status: StatusCode, head: &Fields, version: Version, closes: bool) {
    out.reserve(512);
    out.extend_from_slice(if version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    fields::put(out, head);
    if closes && !head.contains(header::CONNECTION) {
        out.extend_from_slice(b"connection: close\r\n");
    } else if !closes && version == Version::HTTP_10 {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}
