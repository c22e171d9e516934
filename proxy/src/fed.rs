//! Message bodies for tests: bodies that the test feeds, and encoded ones.

use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::{HeaderValue, header};
use http_body::Frame;
use model::Fields;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::body::upload::UploadError;
use crate::flow::{Flow, Pace, UploadEnd};

/// A request body that the test feeds, and that reports its end like the real one.
pub(crate) struct Fed {
    pieces: mpsc::UnboundedReceiver<Frame<Bytes>>,
    flow: Arc<Flow>,
}

impl Fed {
    pub(crate) fn new(flow: &Arc<Flow>) -> (Self, mpsc::UnboundedSender<Frame<Bytes>>) {
        let (sender, pieces) = mpsc::unbounded_channel();
        (Self { pieces, flow: flow.clone() }, sender)
    }
}

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if self.flow.poll_stopped(cx) {
            return Poll::Ready(Some(Err(UploadError::Withheld)));
        }
        let frame = ready!(self.pieces.poll_recv(cx));
        if frame.is_none() {
            self.flow.end_upload(UploadEnd::Whole, Instant::now());
        }
        Poll::Ready(frame.map(Ok))
    }
}

/// The flow of an exchange whose timers are a minute long.
pub(crate) fn flow(bodiless: bool) -> Arc<Flow> {
    let pace = Pace { first_byte: Duration::from_secs(60), idle: Duration::from_secs(60), unread: None, rate: None };
    let flow = Flow::new(Instant::now());
    flow.prepare(pace, bodiless, Instant::now());
    Arc::new(flow)
}

/// These bytes in several codings, one after the other: `gzip`, `zlib`, or deflate without a frame.
pub(crate) fn coded(codings: &[&str], bytes: &[u8]) -> Vec<u8> {
    codings.iter().fold(bytes.to_vec(), |bytes, coding| {
        let (level, mut out) = (Compression::default(), Vec::new());
        match *coding {
            "gzip" => GzEncoder::new(&mut out, level).write_all(&bytes).unwrap(),
            "zlib" => ZlibEncoder::new(&mut out, level).write_all(&bytes).unwrap(),
            _ => DeflateEncoder::new(&mut out, level).write_all(&bytes).unwrap(),
        }
        out
    })
}

/// The field that names these codings.
pub(crate) fn content_encoding(codings: &str) -> Fields {
    Fields::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_str(codings).unwrap())])
}
