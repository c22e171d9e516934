//! Bodies of the origin: whole, in frames, generated, with trailers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::canary::hex;

/// The body type of every answer.
pub type Answered = BoxBody<Bytes, Infallible>;

/// The frames of a channel.
struct Frames(mpsc::Receiver<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// A body and the channel of its frames; one frame at a time is in transit.
pub fn channel() -> (mpsc::Sender<Frame<Bytes>>, Answered) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, BodyExt::boxed(Frames(receiver)))
}

/// One whole body, with its length known.
pub fn whole(bytes: impl Into<Bytes>) -> Answered {
    http_body_util::Full::new(bytes.into()).boxed()
}

/// A body of these pieces, one frame each, then the trailers.
pub fn pieces(pieces: Vec<Bytes>, trailers: Option<HeaderMap>) -> Answered {
    let (sender, body) = channel();
    tokio::spawn(async move {
        for piece in pieces {
            if sender.send(Frame::data(piece)).await.is_err() {
                return;
            }
        }
        if let Some(trailers) = trailers {
            let _gone = sender.send(Frame::trailers(trailers)).await;
        }
    });
    body
}

const BLOCK: usize = 64 * 1024;

/// Block `number` of the generated body: no two blocks are equal, none compresses.
fn block(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1);
    let mut block = Vec::with_capacity(BLOCK);
    while block.len() < BLOCK {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        block.extend_from_slice(&state.to_le_bytes());
    }
    block
}

/// The pieces of the generated body of `size` bytes.
pub fn generated(size: u64) -> impl Iterator<Item = Bytes> + Send {
    // One block is generated and then only marked with its number: the origin must not be the bottleneck.
    let base = block(7);
    (0..size.div_ceil(BLOCK as u64)).map(move |number| {
        let mut piece = base.clone();
        piece[..8].copy_from_slice(&number.to_le_bytes());
        let left = size - number * BLOCK as u64;
        piece.truncate(usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK));
        Bytes::from(piece)
    })
}

/// The SHA-256 of the generated body, in hex.
pub fn generated_hash(size: u64) -> String {
    let mut hash = Sha256::new();
    for piece in generated(size) {
        hash.update(&piece);
    }
    hex(&hash.finalize())
}

/// The generated body itself.
pub fn generated_body(size: u64) -> Answered {
    let (sender, body) = channel();
    tokio::spawn(async move {
        for piece in generated(size) {
            if sender.send(Frame::data(piece)).await.is_err() {
                return;
            }
        }
    });
    body
}
