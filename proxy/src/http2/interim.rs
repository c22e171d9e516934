//! Informational (1xx) responses of upstreams: at most 32 for one request (RFC 9110 section 15.2 sets no bound, and a 103
//! costs the upstream nothing).
//!
//! HTTP/1: our reader counts them. HTTP/2: the library queues them without a bound, so the frames are counted before it reads
//! them. A stream has at most this many HEADERS that do not end it, including the head of the response. Exceeding the bound
//! ends the connection at its next read, even if more input follows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use model::Fields;
use model::map::FastMap;

use super::frame::{DATA, END_STREAM, HEADERS, Head, RST_STREAM};

/// Receives the informational responses to one request, except 100 and 101.
pub(crate) type Inform<'a> = dyn FnMut(StatusCode, Fields) + Send + 'a;

/// Informational responses to one request.
pub(crate) const MAX_INTERIM: u32 = 32;

/// Whether an upstream connection exceeded the bound, shared with its requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interim(Arc<AtomicBool>);

impl Interim {
    fn exceed(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether there were more than allowed.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts the heads of the responses on one upstream connection. Only streams that are open on both sides are counted, so it is as
/// large as the number of requests in progress.
#[derive(Debug, Default)]
pub(super) struct ResponseHeads {
    interim: Interim,
    /// The HEADERS of each open stream that did not end it.
    streams: FastMap<u32, u32>,
    last_opened: u32,
}

impl ResponseHeads {
    /// The flag that its requests share.
    pub(super) fn interim(&self) -> Interim {
        self.interim.clone()
    }

    /// A frame of ours: a request opens its stream, and a reset closes it.
    pub(super) fn sent(&mut self, frame: Head) {
        match frame.kind {
            HEADERS if frame.stream > self.last_opened => {
                self.last_opened = frame.stream;
                self.streams.insert(frame.stream, 0);
            }
            RST_STREAM => {
                self.streams.remove(&frame.stream);
            }
            _ => {}
        }
    }

    /// A frame of the upstream; returns whether it is within the bound.
    pub(super) fn admits(&mut self, frame: Head) -> bool {
        let ends = frame.kind == RST_STREAM || (matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0);
        if ends {
            self.streams.remove(&frame.stream);
        } else if frame.kind == HEADERS
            && let Some(heads) = self.streams.get_mut(&frame.stream)
        {
            *heads += 1;
            // The head of the response itself is one of them.
            if *heads > MAX_INTERIM + 1 {
                self.interim.exceed();
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32) -> Head {
        Head { length: 0, kind, flags, stream, code: 0 }
    }

    /// Streams 1, 3, .. to 9, opened.
    fn opened() -> ResponseHeads {
        let mut heads = ResponseHeads::default();
        (1..10).step_by(2).for_each(|stream| heads.sent(frame(HEADERS, 4, stream)));
        heads
    }

    /// How many heads of stream 7 pass, with `between` after each.
    fn passing(between: Head) -> u32 {
        let mut heads = opened();
        let exceeds = |_: &u32| !heads.admits(frame(HEADERS, 4, 7)) || !heads.admits(between);
        (0..1_000).find(exceeds).unwrap_or(1_000)
    }

    #[test]
    fn a_stream_has_32_informational_responses_and_its_own_head() {
        assert_eq!(passing(frame(0x77, 0, 0)), MAX_INTERIM + 1);
        assert_eq!(passing(frame(DATA, 0, 7)), MAX_INTERIM + 1);
        assert_eq!(passing(frame(HEADERS, END_STREAM | 4, 9)), MAX_INTERIM + 1, "another stream");
        assert_eq!(passing(frame(HEADERS, END_STREAM | 4, 7)), 1_000, "trailers end a stream");
        assert_eq!(passing(frame(DATA, END_STREAM, 7)), 1_000, "so does data");
        assert_eq!(passing(frame(RST_STREAM, 0, 7)), 1_000, "so does a reset");
    }

    #[test]
    fn streams_that_we_reset_are_forgotten_and_trailers_of_a_request_open_none() {
        let mut heads = ResponseHeads::default();
        for stream in (1..200_000).step_by(2) {
            heads.sent(frame(HEADERS, 4, stream));
            assert!(heads.admits(frame(HEADERS, 4, stream)));
            heads.sent(frame(RST_STREAM, 0, stream));
            assert!(heads.admits(frame(HEADERS, 4, stream)));
            heads.sent(frame(HEADERS, END_STREAM | 4, stream));
        }
        assert!(heads.streams.is_empty() && !heads.interim().is_exceeded());
    }
}
