//! Writes an answer to a client: its head, framed for the request that it answers, and its body as it arrives (RFC 9112 section
//! 6).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use http::{HeaderValue, StatusCode, Version, header};
use http_body::Body as _;
use model::Fields;
use tokio::io::{AsyncRead, AsyncWrite};

use super::encoder::Encoder;
use super::fields;
use super::head::Wishes;
use super::link::Link;
use crate::body::answer::Body;
use crate::config::MAX_BUFFER;
use crate::message::Response;

/// The progress of an answer.
struct Progress {
    /// `None` if no more of the body is written.
    encoder: Option<Encoder>,
    /// Why the body ends early, while its earlier bytes are written.
    broken: Option<io::Error>,
}

/// The progress of gathering a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gathered {
    /// The whole answer is written or waits to be written.
    All,
    /// The output buffer is full.
    Much,
    /// More of the body follows.
    Waits,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Link<S> {
    /// Writes an answer; returns whether the connection can continue.
    ///
    /// # Errors
    /// The client has left, or the body ended early: the written part must not look complete.
    pub(super) async fn answer(&self, response: Response<Body>, wishes: Wishes, must_close: bool) -> io::Result<bool> {
        let Response { status, mut fields, mut body } = response;
        let encoder = frame(status, &mut fields, &body, wishes);
        let keeps = !must_close && wishes.keep_alive && encoder.is_none_or(Encoder::keeps_connection);
        let keeps = self.begin_answer((status, &fields), wishes.version, keeps);
        let mut progress = Progress { encoder, broken: None };
        std::future::poll_fn(|cx| self.poll_answer(&mut progress, &mut body, cx)).await?;
        Ok(keeps)
    }

    /// Writes the head; returns whether the connection is kept, if it `may` be.
    fn begin_answer(&self, (status, fields): (StatusCode, &Fields), version: Version, may_keep: bool) -> bool {
        let mut state = self.lock();
        let keeps = may_keep && !state.must_close() && !fields::lists(fields, &header::CONNECTION, b"close");
        state.begin_answer(|out| put_head(out, (status, fields), version, !keeps));
        keeps
    }

    fn poll_answer(&self, progress: &mut Progress, body: &mut Body, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let gathered = match &progress.broken {
                None => self.gather(&mut progress.encoder, body, cx),
                Some(_) => Ok(Gathered::All),
            };
            // Bytes before the early end of the body are written: they were recorded as sent.
            let gathered = gathered.unwrap_or_else(|error| {
                progress.broken = Some(error);
                Gathered::All
            });
            let written = self.lock().poll_written(cx)?;
            match (written, gathered) {
                (Poll::Ready(()), Gathered::All) => return Poll::Ready(progress.broken.take().map_or(Ok(()), Err)),
                (Poll::Ready(()), Gathered::Much) => {}
                (Poll::Ready(()), Gathered::Waits) | (Poll::Pending, _) => break,
            }
        }
        match self.poll_left(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Adds the available part of the body to the output buffer.
    fn gather(&self, encoder: &mut Option<Encoder>, body: &mut Body, cx: &mut Context<'_>) -> io::Result<Gathered> {
        loop {
            if self.lock().waiting_bytes() >= MAX_BUFFER {
                return Ok(Gathered::Much);
            }
            if body.is_end_stream() {
                self.lock().put(|out| encoder.take().map_or(Ok(()), |encoder| encoder.end(out, None)))?;
                return Ok(Gathered::All);
            }
            let frame = match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => return Ok(Gathered::Waits),
                Poll::Ready(Some(frame)) => frame.map_err(io::Error::other)?,
                Poll::Ready(None) => continue,
            };
            match frame.into_data() {
                Ok(data) => self.lock().put(|out| match encoder {
                    Some(encoder) => encoder.put(out, data),
                    None => Ok(()),
                })?,
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    self.lock()
                        .put(|out| encoder.take().map_or(Ok(()), |encoder| encoder.end(out, Some(&trailers))))?;
                }
            }
        }
    }
}

/// Frames an answer to a request with these wishes, and completes its head; `None` if it has no body.
fn frame(status: StatusCode, head: &mut Fields, body: &Body, wishes: Wishes) -> Option<Encoder> {
    let is_empty = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let known = body.size_hint().exact();
    if status == StatusCode::NO_CONTENT {
        head.remove(header::CONTENT_LENGTH);
    }
    if is_empty || wishes.is_head {
        let own = known.filter(|_| wishes.is_head && body.is_own() && !head.contains(header::CONTENT_LENGTH));
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

fn put_head(out: &mut BytesMut, (status, fields): (StatusCode, &Fields), version: Version, closes: bool) {
    out.reserve(512);
    out.extend_from_slice(if version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    fields::put(out, fields);
    if closes && !fields.contains(header::CONNECTION) {
        out.extend_from_slice(b"connection: close\r\n");
    } else if !closes && version == Version::HTTP_10 {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}
