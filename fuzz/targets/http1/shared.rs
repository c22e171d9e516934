//! What both targets of HTTP/1 share: the decoder of chunked bodies and the writer of messages, each beside another reader.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use model::Fields;

use crate::http1::chunks::{BadChunk, Chunks};
use crate::http1::encoder::Encoder;
use crate::http1::fields;
use crate::http1::outbox::Outbox;
use crate::http1::wire::Framing;
use crate::oracle;

/// What was decoded: the data, how many bytes the body takes, the trailer section, and whether the body has ended.
type Decoded = Result<(Vec<u8>, usize, Bytes, bool), BadChunk>;

pub(crate) fn decode(pieces: &[&[u8]]) -> Decoded {
    let (mut chunks, mut data, mut taken) = (Chunks::new(), Vec::new(), 0);
    for piece in pieces {
        let mut rest = *piece;
        loop {
            let framing = chunks.framing(rest)?;
            rest = &rest[framing..];
            let length = chunks.data(rest.len());
            data.extend_from_slice(&rest[..length]);
            rest = &rest[length..];
            taken += framing + length;
            if length == 0 {
                break;
            }
        }
        if chunks.is_done() {
            break;
        }
    }
    let trailers = chunks.take_trailers().unwrap_or_default();
    Ok((data, taken, trailers, chunks.is_done()))
}

/// A body as it was read.
pub(crate) struct Body {
    pub(crate) data: Vec<u8>,
    pub(crate) trailers: Option<Fields>,
}

/// The body with this framing at the beginning of `rest`; `None` if it is not whole or not valid. A chunked body is the same however
/// it is cut, and to another reader.
pub(crate) fn body(framing: Framing, rest: &[u8], cut: u8) -> Option<Body> {
    match framing {
        Framing::Length(length) => {
            let data = rest.get(..usize::try_from(length).ok()?)?.to_vec();
            Some(Body { data, trailers: None })
        }
        Framing::UntilClose => Some(Body { data: rest.to_vec(), trailers: None }),
        Framing::Chunked => {
            let whole = decode(&[rest]);
            let (front, back) = rest.split_at(usize::from(cut) % (rest.len() + 1));
            assert_eq!(whole, decode(&[front, back]), "cut at {}", front.len());
            let bytes: Vec<&[u8]> = rest.chunks(1).collect();
            assert_eq!(whole, decode(&bytes), "byte by byte");
            let Ok((data, taken, section, true)) = whole else { return None };
            // A trailer that is not a field is found when it is read.
            let trailers = fields::read_trailers(&section).ok()?;
            let other = oracle::chunked(&rest[..taken]).expect("another reader takes it");
            assert_eq!(
                (&data, oracle::by_name(listed(&trailers)), taken),
                (&other.0, oracle::by_name(other.1), other.2)
            );
            Some(Body { data, trailers: Some(trailers).filter(|trailers| !trailers.is_empty()) })
        }
    }
}

/// Writes a message with this head; its body in pieces.
pub(crate) fn written(head: BytesMut, encoder: Option<Encoder>, body: &Body, cut: u8) -> Vec<u8> {
    let mut out = Outbox::default();
    *out.last() = head;
    if let Some(mut encoder) = encoder {
        for piece in body.data.chunks(usize::from(cut) + 1) {
            encoder.put(&mut out, Bytes::copy_from_slice(piece)).expect("it is as long as was announced");
        }
        encoder
            .end(&mut out, body.trailers.clone().map(HeaderMap::from).as_ref())
            .expect("it is as long as was announced");
    }
    out.last().to_vec()
}

pub(crate) fn listed(fields: &Fields) -> Vec<oracle::Field> {
    fields.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}
