//! A response body in transit to the client: masked if it could contain a secret, counted, and with all actions at its end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use model::field::is_forbidden_in_trailers;
use tokio::time::Sleep;

use crate::body::incoming::Incoming;
use crate::body::masked::Masked;
use crate::body::rewriter::{Rewriter, Unmaskable};
use crate::flow::Flow;
use crate::held::Held;
use crate::http1::wire::BodyError;
use crate::limits::allowance::ByteLimit;
use crate::share;
use crate::termination::Termination;
use crate::trail::Trail;
use crate::upstream::pool::{Key, Pool, Upstream};
use model::{Fields, Reason};
use thiserror::Error;

/// Why an answer ends early: the client's connection closes, or its stream is reset.
#[derive(Debug, Error)]
pub(crate) enum StreamError {
    /// The upstream closed the connection or stream within the body.
    #[error("the upstream broke off")]
    Upstream(#[source] BodyError),
    /// It exceeds the length limit.
    #[error("the response exceeds a limit")]
    TooLarge,
    /// Its permit has ended, or a timer fired.
    #[error("the exchange was terminated ({0})")]
    Termination(Reason),
    /// Secrets in the rest could not be masked.
    #[error(transparent)]
    Unmaskable(#[from] Unmaskable),
}

/// How long the upstream may pause before the masker's carry-over is released.
const FLUSH_INTERVAL: Duration = Duration::from_millis(50);

/// The return of an upstream connection to the pool after the exchange.
pub(crate) struct PoolReturn {
    pub(crate) pool: Arc<Pool>,
    pub(crate) key: Key,
    pub(crate) upstream: Upstream,
}

impl PoolReturn {
    fn put(self) {
        self.pool.put(self.key, self.upstream);
    }
}

/// A response body in transit to the client, with all actions at its end.
pub(crate) struct ResponseBody {
    incoming: Incoming,
    masked: Masked,
    /// Until the record is closed, or waits for the end of the request.
    open: Option<(Trail, Held)>,
    flow: Arc<Flow>,
    back: Option<PoolReturn>,
    /// The frame that follows the rest of the data.
    pending: Option<Result<Frame<Bytes>, StreamError>>,
    /// Runs while there is a carry-over and the upstream pauses.
    pause: Option<Pin<Box<Sleep>>>,
    /// Bytes to the client.
    bytes: u64,
    /// The bytes that the client may still get.
    limit: Option<ByteLimit>,
    ended: bool,
}

impl ResponseBody {
    /// Relays `incoming`; if the body is already empty, the exchange ends here.
    pub(crate) fn new(
        incoming: Incoming,
        masked: Masked,
        open: (Trail, Held),
        flow: Arc<Flow>,
        back: Option<PoolReturn>,
    ) -> Self {
        flow.head_came(incoming.size_hint().exact().is_some(), share::now());
        let limit = open.1.admission.response_body().cloned();
        let open = Some(open);
        let mut relay =
            Self { incoming, masked, open, flow, back, pending: None, pause: None, bytes: 0, limit, ended: false };
        // The decoded bytes from before the head are still to be sent.
        if relay.incoming.is_end_stream() && !relay.decodes() {
            relay.finish();
        }
        relay
    }

    /// Whether nothing follows, not even an error: a truncated body must not look complete.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended && self.pending.is_none()
    }

    pub(crate) fn hint(&self) -> SizeHint {
        self.masked.hint(self.incoming.size_hint().exact())
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        if let Some(pending) = self.pending.take() {
            if pending.is_ok() {
                self.finish();
            }
            return Poll::Ready(Some(pending));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(cut) = self.flow.poll_terminated(cx) {
            return Poll::Ready(Some(Err(self.cut(cut))));
        }
        let polled = self.poll_upstream(cx);
        match &polled {
            Poll::Pending => self.flow.download_waits(share::now()),
            Poll::Ready(_) => self.flow.download_passed(share::now()),
        }
        polled
    }

    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        loop {
            if let Err(error) = self.follow_vault() {
                return self.unmaskable(error);
            }
            match self.next_decoded() {
                Err(error) => return self.unmaskable(error),
                Ok(Some(data)) if data.is_empty() => continue,
                Ok(Some(data)) => return self.pass(data),
                Ok(None) => {}
            }
            let frame = match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Pending => {
                    return match self.poll_pause(cx) {
                        Ok(released) if released.is_empty() => Poll::Pending,
                        Ok(released) => self.pass(released),
                        Err(error) => self.unmaskable(error),
                    };
                }
                Poll::Ready(frame) => frame,
            };
            self.pause = None;
            // After the frame has arrived: the upstream may have its content from a value that was stored a moment ago.
            if let Err(error) = self.follow_vault() {
                return self.unmaskable(error);
            }
            let data = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(frame) => return self.trailers(frame),
                },
                Some(Err(error)) => return self.broken_off(error),
                None => return self.end(),
            };
            if let Err(timer) = self.flow.download_came(data.len(), share::now()) {
                return Poll::Ready(Some(Err(self.cut(timer.into()))));
            }
            // The decoded bytes are returned piece by piece; the end of the body follows the last piece.
            let last = self.incoming.is_end_stream() && !self.decodes();
            let data = match self.masked.rewriter() {
                None => Ok(data),
                Some(rewriter) => rewriter.take(data, last),
            };
            let data = match data.and_then(|data| self.masked.hold_memory().map(|()| data)) {
                Ok(data) => data,
                Err(error) => return self.unmaskable(error),
            };
            if let Err(error) = self.count(&data) {
                return Poll::Ready(Some(Err(error)));
            }
            if last {
                self.finish();
            }
            if !data.is_empty() || last {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    /// Whether the body has a coding.
    fn decodes(&self) -> bool {
        self.masked.rewrites().is_some_and(Rewriter::decodes)
    }

    /// The next bytes of the earlier input, decoded and masked.
    fn next_decoded(&mut self) -> Result<Option<Bytes>, Unmaskable> {
        let Some(rewriter) = self.masked.rewriter() else { return Ok(None) };
        let decoded = rewriter.next()?;
        // The window grows with each piece.
        self.masked.hold_memory().map(|()| decoded)
    }

    /// Also masks values that were stored in the meantime, in the rest of the body.
    fn follow_vault(&mut self) -> Result<(), Unmaskable> {
        self.masked.follow()
    }

    /// The upstream closed the connection or stream: releases the carry-over, then the error.
    fn broken_off(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let rest = match self.masked.rewriter().map_or(Ok(Bytes::new()), Rewriter::flush) {
            Ok(rest) => rest,
            Err(error) => return self.unmaskable(error),
        };
        if let Err(error) = self.count(&rest) {
            return Poll::Ready(Some(Err(error)));
        }
        self.fail(|open| open.upstream_reset());
        let error = Err(StreamError::Upstream(error));
        if rest.is_empty() {
            return Poll::Ready(Some(error));
        }
        self.pending = Some(error);
        Poll::Ready(Some(Ok(Frame::data(rest))))
    }

    fn pass(&mut self, data: Bytes) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        Poll::Ready(Some(self.count(&data).map(|()| Frame::data(data))))
    }

    /// The bytes to release because the upstream pauses.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Result<Bytes, Unmaskable> {
        if let Some(rewriter) = self.masked.rewriter() {
            rewriter.pause();
        }
        if !self.masked.rewrites().is_some_and(Rewriter::holds_back) {
            return Ok(Bytes::new());
        }
        let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(FLUSH_INTERVAL)));
        if pause.as_mut().poll(cx).is_pending() {
            return Ok(Bytes::new());
        }
        self.pause = None;
        self.masked.rewriter().map_or(Ok(Bytes::new()), Rewriter::flush)
    }

    /// No more may pass.
    fn unmaskable(&mut self, error: Unmaskable) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        self.fail(|open| open.unmaskable(&error));
        Poll::Ready(Some(Err(error.into())))
    }

    fn end(&mut self) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let rest = match self.masked.rewriter().map(Rewriter::finish).transpose() {
            Ok(rest) => rest.unwrap_or_default(),
            Err(error) => return self.unmaskable(error),
        };
        if let Err(error) = self.count(&rest) {
            return Poll::Ready(Some(Err(error)));
        }
        self.finish();
        Poll::Ready((!rest.is_empty()).then(|| Ok(Frame::data(rest))))
    }

    fn trailers(&mut self, frame: Frame<Bytes>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let mut trailers = Fields::from(frame.into_trailers().unwrap_or_default());
        crate::own_fields::remove_forged(&mut trailers);
        remove_forbidden(&mut trailers);
        let mut rest = Bytes::new();
        if let Some(rewriter) = self.masked.rewriter() {
            match rewriter.mask_trailers(&mut trailers).map_err(Unmaskable::from).and_then(|()| rewriter.finish()) {
                Ok(data) => rest = data,
                Err(error) => return self.unmaskable(error),
            }
        }
        if rest.is_empty() {
            self.finish();
            return Poll::Ready(Some(Ok(Frame::trailers(trailers.into()))));
        }
        if let Err(error) = self.count(&rest) {
            return Poll::Ready(Some(Err(error)));
        }
        self.pending = Some(Ok(Frame::trailers(trailers.into())));
        Poll::Ready(Some(Ok(Frame::data(rest))))
    }

    /// Counts the bytes to the client against its limit. The upstream's bytes can be fewer, or of a wider range.
    fn count(&mut self, data: &Bytes) -> Result<(), StreamError> {
        let bytes = self.bytes + data.len() as u64;
        if self.limit.as_ref().is_some_and(|limit| bytes > limit.bytes) {
            self.fail(|open| open.response_too_large());
            return Err(StreamError::TooLarge);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Secrets of the record's tenant that were masked, and their locations; those of others are for their own records.
    fn found(&self, open: &Trail) -> (u64, Vec<String>) {
        let Some(rewriter) = self.masked.rewrites() else { return (0, Vec::new()) };
        open.foreign_redactions(self.masked.host(), rewriter.foreign());
        (rewriter.found(), rewriter.locations())
    }

    fn cut(&mut self, cut: Termination) -> StreamError {
        let reason = cut.reason();
        self.fail(|open| open.terminated(&cut));
        StreamError::Termination(reason)
    }

    /// The whole response has passed: the record closes with the request, and the connection can serve another request.
    fn finish(&mut self) {
        self.ended = true;
        self.flow.download_ended();
        // An upstream that answered before it read all of the request may parse the rest as the next request.
        if let Some(back) = self.back.take()
            && self.flow.is_sent_whole()
        {
            back.put();
        }
        if let Some((mut open, held)) = self.open.take() {
            let (found, locations) = self.found(&open);
            open.response(self.bytes, found, locations);
            self.flow.when_upload_ends(move |end| {
                open.complete(end);
                drop(held);
            });
        }
    }

    fn fail(&mut self, close: impl FnOnce(Trail)) {
        self.ended = true;
        self.back = None;
        if let Some((mut open, held)) = self.open.take() {
            let (found, locations) = self.found(&open);
            open.response(self.bytes, found, locations);
            close(open);
            drop(held);
        }
    }
}

/// Removes fields from a response's trailers that are allowed in a head only: a client that merges both would treat them as
/// head fields.
fn remove_forbidden(trailers: &mut Fields) {
    trailers.remove_named(|name| is_forbidden_in_trailers(name.as_str()));
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.fail(Trail::abort);
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn t051_trailers_of_a_response_are_no_head() {
        let mut trailers = Fields::new();
        for name in ["grpc-status", "x-sum", "set-cookie", "content-length", "location", "content_type", "etag"] {
            trailers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        remove_forbidden(&mut trailers);
        let mut left: Vec<&str> = trailers.names().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["etag", "grpc-status", "x-sum"]);
    }
}
