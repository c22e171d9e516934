//! A request body, with the part that was read before it is sent.

use crate::body::incoming::Incoming;
use crate::body::trailers::{holds_placeholder, size_of};
use crate::http1::chunks::MAX_TRAILER_BYTES;
use crate::http1::wire::BodyError;
use crate::limits::allowance::{Allowance, Limited};
use crate::limits::budget::{Exhausted, Share};
use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame};
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// A request body, with the part that was read. Most requests have none, and store nothing for it.
pub(crate) struct Payload(pub(super) Option<Box<Contents>>);

/// The state of a request that has a body.
pub(super) struct Contents {
    /// The bytes that have arrived.
    pub(super) read: Bytes,
    pub(super) trailers: Option<Frame<Bytes>>,
    /// The bytes still to come.
    pub(super) incoming: Option<Incoming>,
    /// Whether its length was announced.
    pub(super) had_length: bool,
    /// Its share of the memory for buffered bodies.
    pub(super) share: Option<Share>,
    /// Its remaining limits.
    pub(super) allowance: Option<Allowance>,
}

/// Why a request body could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// The client closed the connection or stream.
    Broken,
    /// It exceeded the time limit.
    Slow,
    /// A trailer contains a placeholder.
    Misplaced,
    /// The trailers exceed their bound.
    TrailersTooLarge,
    /// No memory is left for it.
    Exhausted(Exhausted),
    /// It exceeds a limit.
    Over(Box<Limited>),
}

impl From<Incoming> for Payload {
    fn from(incoming: Incoming) -> Self {
        if incoming.is_end_stream() {
            return Self(None);
        }
        let had_length = incoming.size_hint().exact().is_some();
        let incoming = Some(incoming);
        Self(Some(Box::new(Contents {
            read: Bytes::new(),
            trailers: None,
            incoming,
            had_length,
            share: None,
            allowance: None,
        })))
    }
}

impl From<BodyError> for ReadError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TrailersTooLarge => Self::TrailersTooLarge,
            BodyError::Broken(_) | BodyError::Malformed => Self::Broken,
        }
    }
}

/// Judges trailers that arrived before any byte was sent.
///
/// # Errors
/// They exceed their bound, or contain a placeholder.
fn judge_trailers(trailers: Frame<Bytes>) -> Result<Frame<Bytes>, ReadError> {
    if size_of(&trailers) > MAX_TRAILER_BYTES as u64 {
        Err(ReadError::TrailersTooLarge)
    } else if holds_placeholder(&trailers) {
        Err(ReadError::Misplaced)
    } else {
        Ok(trailers)
    }
}

impl Payload {
    /// Whether none of it was read, and there is something to read.
    pub(crate) fn is_untouched(&self) -> bool {
        let untouched = |all: &Contents| all.read.is_empty() && all.trailers.is_none() && all.incoming.is_some();
        self.0.as_deref().is_some_and(untouched)
    }

    /// Whether there is no body.
    pub(crate) fn is_empty(&self) -> bool {
        let empty = |all: &Contents| all.read.is_empty() && all.trailers.is_none() && all.incoming.is_none();
        self.0.as_deref().is_none_or(empty)
    }

    /// Its length, if that was announced.
    pub(crate) fn announced(&self) -> Option<u64> {
        match self.0.as_deref() {
            None => Some(0),
            Some(Contents { incoming: Some(incoming), had_length, .. }) => {
                incoming.size_hint().exact().filter(|_| *had_length)
            }
            Some(Contents { incoming: None, read, .. }) => Some(read.len() as u64),
        }
    }

    /// Bounds the bytes still to come.
    pub(crate) fn bound(&mut self, allowance: Allowance) {
        if let Some(all) = &mut self.0 {
            all.allowance = Some(allowance);
        }
    }

    /// Whether it contains a byte: waits for the first one, or for its end.
    ///
    /// # Errors
    /// The client closed the connection or stream, or no byte arrived in time.
    ///
    /// # Cancellation
    /// Drops the bytes that arrived.
    pub(crate) async fn has_content(&mut self, timeout: Duration) -> Result<bool, ReadError> {
        match &mut self.0 {
            Some(all) => all.has_content(timeout).await,
            None => Ok(false),
        }
    }

    /// The bytes that were read.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_deref().map_or(&[], |all| &all.read)
    }

    /// Reads all of it, or more than `max` bytes; returns whether that is all.
    ///
    /// # Cancellation
    /// Drops the bytes that were read.
    pub(crate) async fn read(&mut self, max: usize, timeout: Duration, share: Share) -> Result<bool, ReadError> {
        match &mut self.0 {
            Some(all) => all.read(max, timeout, share).await,
            None => Ok(true),
        }
    }

    /// Replaces everything that was read with another body.
    pub(crate) fn replace(&mut self, body: Zeroizing<Vec<u8>>) {
        if let Some(all) = &mut self.0 {
            all.read = Bytes::from_owner(body);
        }
    }
}

impl Contents {
    async fn has_content(&mut self, timeout: Duration) -> Result<bool, ReadError> {
        let deadline = Instant::now() + timeout;
        while let Some(incoming) = &mut self.incoming {
            let next = std::future::poll_fn(|cx| Pin::new(&mut *incoming).poll_frame(cx));
            match tokio::time::timeout_at(deadline, next).await.map_err(|_| ReadError::Slow)? {
                None => self.incoming = None,
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(_) => return Ok(true),
                    Err(trailers) => self.trailers = Some(judge_trailers(trailers)?),
                },
            }
        }
        Ok(false)
    }

    /// Counts the bytes that arrived against its limits.
    async fn take(&mut self, bytes: usize, trailers: u64) -> Result<(), ReadError> {
        let Some(allowance) = &mut self.allowance else { return Ok(()) };
        let over = |limited| ReadError::Over(Box::new(limited));
        std::future::poll_fn(|cx| allowance.poll_take(bytes, cx)).await.map_err(over)?;
        std::future::poll_fn(|cx| allowance.poll_spend(trailers, cx)).await.map_err(over)
    }

    async fn read(&mut self, max: usize, timeout: Duration, mut share: Share) -> Result<bool, ReadError> {
        let mut read = BytesMut::new();
        let deadline = Instant::now() + timeout;
        while read.len() <= max {
            let Some(incoming) = &mut self.incoming else { break };
            let frame =
                tokio::time::timeout_at(deadline, std::future::poll_fn(|cx| Pin::new(&mut *incoming).poll_frame(cx)));
            match frame.await.map_err(|_| ReadError::Slow)? {
                None => self.incoming = None,
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.take(data.len(), 0).await?;
                        share.take(data.len()).map_err(ReadError::Exhausted)?;
                        read.extend_from_slice(&data);
                    }
                    Err(trailers) => {
                        let trailers = judge_trailers(trailers)?;
                        self.take(0, size_of(&trailers)).await?;
                        self.trailers = Some(trailers);
                    }
                },
            }
        }
        self.read = read.freeze();
        self.share = Some(share);
        Ok(self.incoming.is_none() && self.read.len() <= max)
    }
}

#[cfg(test)]
mod tests;
