//! One HTTP/1 connection, for both legs: the bytes read ahead, the body in progress, and the output buffer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::chunks::{BadChunk, Chunks};
use super::fields;
use super::outbox::Outbox;
use super::pieces::{READ_BYTES, poll_piece};

/// Where a body ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After this many bytes; zero without a body.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// With the end of the connection; for responses only.
    UntilClose,
}

/// Why a body cannot be read to its end.
#[derive(Debug, Error)]
pub(crate) enum BodyError {
    /// The peer closed or reset the connection within it.
    #[error("the peer broke off within a body")]
    Broken(#[source] io::Error),
    /// Its framing is not valid.
    #[error("the framing of a body is not valid")]
    Malformed,
    /// Its trailers exceed their bound.
    #[error("the trailers of a body are too large")]
    TrailersTooLarge,
}

impl From<BadChunk> for BodyError {
    fn from(bad: BadChunk) -> Self {
        match bad {
            BadChunk::Malformed => Self::Malformed,
            BadChunk::TrailersTooLarge => Self::TrailersTooLarge,
        }
    }
}

/// The body in progress.
#[derive(Debug)]
enum Body {
    Length(u64),
    Chunked(Box<Chunks>),
    /// The trailers follow, and nothing after them.
    Trailers(Bytes),
    UntilClose,
    Ended,
    Failed,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    pub(crate) io: S,
    /// Bytes that were read and not consumed.
    pub(crate) buffer: BytesMut,
    pub(crate) out: Outbox,
    body: Body,
}

impl<S> Wire<S> {
    pub(crate) fn new(io: S, buffer: BytesMut) -> Self {
        Self { io, buffer, out: Outbox::default(), body: Body::Ended }
    }

    /// Takes the first bytes of the read buffer.
    pub(crate) fn take(&mut self, length: usize) -> Bytes {
        if length >= self.buffer.len() {
            // An idle connection holds no buffer.
            return std::mem::take(&mut self.buffer).freeze();
        }
        // No bytes move: if a client pipelines short requests, each of them would otherwise move all following bytes.
        self.buffer.split_to(length).freeze()
    }

    /// Drops the first bytes of the read buffer.
    fn skip(&mut self, length: usize) {
        if length >= self.buffer.len() {
            self.buffer = BytesMut::new();
        } else {
            self.buffer.advance(length);
        }
    }

    /// A body begins with the next byte.
    pub(crate) fn begin_body(&mut self, framing: Framing) {
        self.body = match framing {
            Framing::Length(0) => Body::Ended,
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(Box::new(Chunks::new())),
            Framing::UntilClose => Body::UntilClose,
        };
    }

    /// Whether the body was read to its end.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.body, Body::Ended)
    }

    /// The length of the body that is still to come.
    pub(crate) fn hint(&self) -> SizeHint {
        match self.body {
            Body::Length(left) => SizeHint::with_exact(left),
            // With a length of zero, there would be no place for the trailers.
            Body::Trailers(ref section) if !section.is_empty() => SizeHint::default(),
            Body::Ended | Body::Trailers(_) => SizeHint::with_exact(0),
            Body::Chunked(_) | Body::UntilClose | Body::Failed => SizeHint::default(),
        }
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// Reads once from the socket into the buffer; returns the number of bytes.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        thread_local! {
            static SCRATCH: std::cell::RefCell<Box<[u8]>> = std::cell::RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
            let length = read.filled().len();
            self.buffer.extend_from_slice(read.filled());
            // The buffer lives as long as the thread, and may contain a secret that an upstream sent. It is in use afterwards, so
            // these writes cannot be optimized away.
            read.filled_mut().fill(0);
            Poll::Ready(Ok(length))
        })
    }

    /// Waits for the first byte of the body and leaves it in the buffer. A body that the end of the connection ends may be empty.
    ///
    /// # Errors
    /// The body ends or breaks before it.
    pub(crate) fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let polled = loop {
            if let Err(error) = self.take_framing() {
                break Err(error);
            }
            let is_begun = match &self.body {
                Body::Chunked(chunks) => chunks.is_in_data() && !self.buffer.is_empty(),
                Body::Length(_) => !self.buffer.is_empty(),
                Body::Trailers(_) | Body::UntilClose | Body::Ended => true,
                Body::Failed => break Err(BodyError::Malformed),
            };
            if is_begun {
                break Ok(());
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) => break Err(BodyError::Broken(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => break Err(BodyError::Broken(error)),
            }
        };
        if polled.is_err() {
            self.body = Body::Failed;
        }
        Poll::Ready(polled)
    }

    /// The next piece of the body.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = match &mut self.body {
            Body::Ended => return Poll::Ready(None),
            Body::Failed => Err(BodyError::Malformed),
            Body::Length(left) => {
                let left = *left;
                ready!(self.poll_length(left, cx)).map(Some)
            }
            Body::Chunked(_) => ready!(self.poll_chunked(cx)),
            Body::Trailers(section) => {
                let trailers = fields::read_trailers(section).map_err(|_| BodyError::Malformed);
                self.body = Body::Ended;
                trailers.map(|trailers| Some(Frame::trailers(trailers.into())))
            }
            Body::UntilClose => ready!(self.poll_until_close(cx)),
        };
        if polled.is_err() {
            self.body = Body::Failed;
        }
        Poll::Ready(polled.transpose())
    }

    fn poll_length(&mut self, left: u64, cx: &mut Context<'_>) -> Poll<Result<Frame<Bytes>, BodyError>> {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX);
        let data = match self.buffer.is_empty() {
            false => self.take(wanted.min(self.buffer.len())),
            true => ready!(self.poll_piece(wanted, cx)).map_err(BodyError::Broken)?,
        };
        let left = left - data.len() as u64;
        self.body = if left == 0 { Body::Ended } else { Body::Length(left) };
        Poll::Ready(Ok(Frame::data(data)))
    }

    /// At most this many bytes from the socket; an end is an error.
    fn poll_piece(&mut self, wanted: usize, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if wanted < READ_BYTES {
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            return Poll::Ready(Ok(self.take(wanted.min(self.buffer.len()))));
        }
        // Only this body can follow, so no byte has to be copied.
        let piece = ready!(poll_piece(&mut self.io, cx))?;
        Poll::Ready(if piece.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(piece) })
    }

    fn poll_chunked(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, BodyError>> {
        loop {
            if let Some(data) = self.next_chunk()? {
                return Poll::Ready(Ok(Some(Frame::data(data))));
            }
            if !matches!(self.body, Body::Chunked(_)) {
                return self.poll_body(cx).map(Option::transpose);
            }
            if ready!(self.poll_fill(cx)).map_err(BodyError::Broken)? == 0 {
                return Poll::Ready(Err(BodyError::Broken(io::ErrorKind::UnexpectedEof.into())));
            }
        }
    }

    /// The data that was read, and the framing after it, so that the end of a body is seen with its last piece.
    fn next_chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        self.take_framing()?;
        let Body::Chunked(chunks) = &mut self.body else { return Ok(None) };
        let length = chunks.data(self.buffer.len());
        if length == 0 {
            return Ok(None);
        }
        let data = self.take(length);
        // The next call finds an error after it again.
        let _later = self.take_framing();
        Ok(Some(data))
    }

    fn take_framing(&mut self) -> Result<(), BodyError> {
        let Body::Chunked(chunks) = &mut self.body else { return Ok(()) };
        let length = chunks.framing(&self.buffer)?;
        let trailers = chunks.is_done().then(|| chunks.take_trailers());
        self.skip(length);
        if let Some(trailers) = trailers {
            self.body = trailers.map_or(Body::Ended, Body::Trailers);
        }
        Ok(())
    }

    fn poll_until_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, BodyError>> {
        let length = self.buffer.len();
        if length > 0 {
            return Poll::Ready(Ok(Some(Frame::data(self.take(length)))));
        }
        let piece = ready!(poll_piece(&mut self.io, cx)).map_err(BodyError::Broken)?;
        if piece.is_empty() {
            self.body = Body::Ended;
            return Poll::Ready(Ok(None));
        }
        Poll::Ready(Ok(Some(Frame::data(piece))))
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// Writes and flushes the output buffer.
    pub(crate) fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.out.poll_flushed(&mut self.io, cx)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// The result of reading a body: its data, its trailers, the bytes after it, and the error that ends it.
    #[derive(Debug, PartialEq, Eq)]
    struct Read {
        data: Vec<u8>,
        trailers: Option<HeaderMap>,
        rest: Vec<u8>,
        error: Option<String>,
    }

    async fn read(framing: Framing, buffered: &[u8], pieces: &[&[u8]]) -> Read {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let mut wire = Wire::new(ours, BytesMut::from(buffered));
        let mut read = Read { data: vec![], trailers: None, rest: vec![], error: None };
        wire.begin_body(framing);
        let mut pieces = pieces.iter();
        loop {
            let next = std::future::poll_fn(|cx| {
                let polled = wire.poll_body(cx);
                Poll::Ready(if let Poll::Ready(frame) = polled { Some(frame) } else { None })
            });
            match (next.await, pieces.next()) {
                (None, Some(piece)) => theirs.write_all(piece).await.unwrap(),
                (None, None) => theirs.shutdown().await.unwrap(),
                (Some(None), _) => break,
                (Some(Some(Err(error))), _) => {
                    read.error = Some(error.to_string());
                    break;
                }
                (Some(Some(Ok(frame))), piece) => {
                    match frame.into_data() {
                        Ok(data) => read.data.extend_from_slice(&data),
                        Err(frame) => read.trailers = frame.into_trailers().ok(),
                    }
                    if let Some(piece) = piece {
                        theirs.write_all(piece).await.unwrap();
                    }
                }
            }
        }
        read.rest = wire.buffer.to_vec();
        read
    }

    fn whole(data: &[u8], rest: &[u8]) -> Read {
        Read { data: data.to_vec(), trailers: None, rest: rest.to_vec(), error: None }
    }

    #[tokio::test]
    async fn a_body_of_known_length_ends_there() {
        assert_eq!(read(Framing::Length(5), b"hello next", &[]).await, whole(b"hello", b" next"));
        assert_eq!(read(Framing::Length(5), b"he", &[b"l", b"lo next"]).await, whole(b"hello", b" next"));
        assert_eq!(read(Framing::Length(0), b"next", &[]).await, whole(b"", b"next"));
        let large = vec![7; 100_000];
        let (front, back) = large.split_at(40_000);
        assert_eq!(read(Framing::Length(100_000), front, &[back]).await, whole(&large, b""));
    }

    #[tokio::test]
    async fn a_chunked_body_ends_with_its_last_chunk() {
        let body = b"3\r\nhel\r\n2;x\r\nlo\r\n0\r\n\r\nnext";
        for cut in 0..body.len() {
            let (front, back) = body.split_at(cut);
            let got = read(Framing::Chunked, front, &[back]).await;
            assert_eq!((got.data.as_slice(), got.error), (b"hello".as_slice(), None), "{cut}");
        }
        assert_eq!(read(Framing::Chunked, body, &[]).await, whole(b"hello", b"next"));
    }

    #[tokio::test]
    async fn trailers_come_after_the_data() {
        let got = read(Framing::Chunked, b"1\r\na\r\n0\r\nX-Sum: 7\r\n\r\n", &[]).await;
        assert_eq!(got.trailers.unwrap().get("x-sum").unwrap(), "7");
        let bad = read(Framing::Chunked, b"1\r\na\r\n0\r\nno colon\r\n\r\n", &[]).await;
        assert_eq!(bad.error.unwrap(), BodyError::Malformed.to_string());
    }

    #[tokio::test]
    async fn t050_an_unfinished_body_never_looks_finished() {
        let broken = Some("the peer broke off within a body".to_owned());
        assert_eq!(read(Framing::Length(5), b"hell", &[]).await.error, broken);
        assert_eq!(read(Framing::Length(50_000), b"hell", &[]).await.error, broken);
        for body in [b"5\r\nhell".as_slice(), b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n", b"0\r\nA: b\r\n", b""] {
            assert_eq!(read(Framing::Chunked, body, &[]).await.error, broken, "{:?}", body.escape_ascii().to_string());
        }
        let malformed = Some(BodyError::Malformed.to_string());
        let got = read(Framing::Chunked, b"5\r\nhello!\r\n0\r\n\r\n", &[]).await;
        assert_eq!((got.data, got.error), (b"hello".to_vec(), malformed));
    }

    #[tokio::test]
    async fn a_body_without_a_length_ends_with_the_connection() {
        assert_eq!(read(Framing::UntilClose, b"hel", &[b"lo"]).await, whole(b"hello", b""));
        assert_eq!(read(Framing::UntilClose, b"", &[]).await, whole(b"", b""));
    }

    /// The result of waiting for the first byte of a body that arrives in one piece, and then the end; and the data after it.
    async fn begun(framing: Framing, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let mut wire = Wire::new(ours, BytesMut::new());
        wire.begin_body(framing);
        theirs.write_all(bytes).await.unwrap();
        drop(theirs);
        std::future::poll_fn(|cx| wire.poll_begin(cx)).await.map_err(|error| error.to_string())?;
        let mut data = Vec::new();
        while let Some(Ok(frame)) = std::future::poll_fn(|cx| wire.poll_body(cx)).await {
            data.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
        Ok(data)
    }

    #[tokio::test]
    async fn t062_a_body_breaks_before_its_first_byte_or_after_it() {
        for (framing, bytes) in [
            (Framing::Length(5), "hello"),
            (Framing::Chunked, "5\r\nhello\r\n0\r\n\r\n"),
            (Framing::Chunked, "5\r\nhello\r\n0x5"),
            (Framing::UntilClose, "hello"),
        ] {
            assert_eq!(begun(framing, bytes.as_bytes()).await.as_deref(), Ok(&b"hello"[..]), "{bytes:?}");
        }
        for (framing, bytes) in
            [(Framing::Chunked, "0\r\n\r\n"), (Framing::Chunked, "0\r\nX: y\r\n\r\n"), (Framing::UntilClose, "")]
        {
            assert_eq!(begun(framing, bytes.as_bytes()).await.as_deref(), Ok(&b""[..]), "{bytes:?}");
        }
        let malformed = Err(BodyError::Malformed.to_string());
        for bytes in ["0x5\r\nhello", "-5\r\nhello", "5\nhello", "5;\r\nhello", "\r\n"] {
            assert_eq!(begun(Framing::Chunked, bytes.as_bytes()).await, malformed, "{bytes:?}");
        }
        let broken = Err("the peer broke off within a body".to_owned());
        for bytes in ["", "5", "5\r\n", "0\r\n"] {
            assert_eq!(begun(Framing::Chunked, bytes.as_bytes()).await, broken, "{bytes:?}");
        }
        assert_eq!(begun(Framing::Length(5), b"").await, broken);
    }

    #[tokio::test]
    async fn the_end_is_seen_with_the_last_piece() {
        let (ours, _theirs) = tokio::io::duplex(10);
        let mut wire = Wire::new(ours, BytesMut::from(&b"2\r\nab\r\n0\r\n\r\n"[..]));
        wire.begin_body(Framing::Chunked);
        assert_eq!(wire.hint().exact(), None);
        let frame = std::future::poll_fn(|cx| wire.poll_body(cx)).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "ab");
        assert!(wire.has_ended());
        assert_eq!(wire.hint().exact(), Some(0));
    }
}
