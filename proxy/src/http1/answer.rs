//! Writes an answer to a client: its head, framed for the request that it answers, and its body as it arrives (RFC 9112 section
//! 6).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{StatusCode, Version, header};
use http_body::Body as _;
use model::Fields;
use tokio::io::{AsyncRead, AsyncWrite};

use super::encoder::{Encoder, WrongLength};
use super::fields;
use super::head::Wishes;
use super::link::Link;
use super::outbox::Outbox;
use super::writer::{self, Content};
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
        let content = Content { known: body.size_hint().exact(), is_own: body.is_own() };
        let encoder = writer::frame_answer(status, &mut fields, content, wishes);
        let keeps = !must_close && wishes.keep_alive && encoder.is_none_or(Encoder::keeps_connection);
        let keeps = self.begin_answer((status, &fields), wishes.version, keeps);
        let mut progress = Progress { encoder, broken: None };
        std::future::poll_fn(|cx| self.poll_answer(&mut progress, &mut body, cx)).await?;
        Ok(keeps)
    }

    /// Writes informational responses, and what waits to be written of earlier ones. A client of HTTP/1.0 does not understand them
    /// (RFC 9110 section 15.2).
    ///
    /// # Errors
    /// The client has left, or reads nothing for too long.
    pub(super) fn send_interim(
        &self,
        interim: Vec<Response<()>>,
        version: Version,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        let mut state = self.lock();
        if version != Version::HTTP_11 || (interim.is_empty() && state.waiting_bytes() == 0) {
            return Ok(());
        }
        for Response { status, fields, body: () } in interim {
            let put = |out: &mut Outbox| -> Result<(), WrongLength> {
                writer::put_answer(out.last(), status, &fields, version, false);
                Ok(())
            };
            state.put(put)?;
        }
        // What is left is written in the next poll, or with the answer.
        state.poll_written(cx).map(|_written| ())
    }

    /// Writes the head; returns whether the connection is kept, if it `may` be.
    fn begin_answer(&self, (status, fields): (StatusCode, &Fields), version: Version, may_keep: bool) -> bool {
        let mut state = self.lock();
        let keeps = may_keep && !state.must_close() && !fields::lists(fields, &header::CONNECTION, b"close");
        state.begin_answer(|out| writer::put_answer(out, status, fields, version, !keeps));
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
