//! Stands between the socket and hyper: hyper is given a request's bytes only after the strict reader accepted its head.
//!
//! For each head that passes, its verdict is queued for the service, in the order of the requests. A head that does not
//! pass is replaced by a harmless one that asks for the connection to be closed: the service finds the refusal in the
//! queue and answers it in its turn, and no byte that was refused ever reaches a parser that might read it differently.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, BytesMut};
use model::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::chunks::Chunks;
use crate::config::Limits;
use crate::entrance::Entrance;
use crate::head::{self, Framing, Reach, RequestHead, Target};
use crate::refusal::Refusal;
use crate::share::pace;
use crate::steps::identify::Identified;

/// What hyper is given in place of a refused head.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused.invalid\r\nconnection: close\r\n\r\n";

/// Bytes asked of the socket at once.
const READ_BYTES: usize = 16 << 10;

/// The verdicts of one connection, in the order of its requests.
#[derive(Clone, Default)]
pub(crate) struct Verdicts(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<VecDeque<Result<RequestHead, Refusal>>>,
    in_flight: AtomicUsize,
}

impl Verdicts {
    fn push(&self, verdict: Result<RequestHead, Refusal>) {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(verdict);
    }

    fn in_flight(&self) -> bool {
        self.0.in_flight.load(Ordering::Relaxed) > 0
    }

    /// The verdict on the request that hyper hands over next, and the token that says it is being answered.
    pub(crate) fn next(&self) -> (Result<RequestHead, Refusal>, Flight) {
        let next = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        (next.unwrap_or_else(|| Err(Refusal::of(Reason::Internal, "a request has no verdict"))), Flight(self.0.clone()))
    }
}

/// While it lives, an answer is under way: a client that closes its half for good manners still waits for it.
pub(crate) struct Flight(Arc<Shared>);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who may send requests here, asked with each head before anything else of it is read.
pub(crate) enum Door {
    /// The inside of a tunnel: its session; CONNECT is refused.
    Tunnel(Identified),
    /// The listener: the client has to identify itself.
    Listener(Arc<Entrance>),
}

impl Door {
    /// # Errors
    /// As [`Entrance::identify`], and `malformed` for a head in which the credentials cannot be found.
    fn identify(&self, head: &[u8]) -> Result<Identified, Refusal> {
        match self {
            Self::Tunnel(client) => Ok(client.clone()),
            Self::Listener(listener) => listener.identify(head::credentials(head)?),
        }
    }

    fn is_tunnel(&self) -> bool {
        matches!(self, Self::Tunnel(_))
    }
}

/// The first head of a connection.
pub(crate) enum First {
    /// A CONNECT request; its bytes are consumed.
    Connect(RequestHead),
    /// Any other request; its bytes wait for hyper.
    Request,
    /// Nothing came.
    Closed,
}

enum State {
    /// Before or within a head.
    Head,
    /// So many bytes of the buffer go to hyper, then the body begins.
    Release(usize, Framing),
    /// Within a body of known length.
    Length(u64),
    /// Within a chunked body.
    Chunked(Chunks),
    /// So many bytes of the stand-in were given.
    Refused(usize),
    /// A CONNECT head came on a connection that hyper serves: hyper sees an end, `first` continues.
    Connect,
}

/// The guarded side of a connection; reads as a stream of accepted requests.
pub(crate) struct Guard<S> {
    io: S,
    buffer: BytesMut,
    seen: usize,
    state: State,
    verdicts: Verdicts,
    connect: Option<RequestHead>,
    door: Door,
    busy: bool,
    /// Whether hyper has begun to write what is not flushed yet.
    unflushed: bool,
    /// Who waits for the end of the stream to be shown.
    at_end: Option<Waker>,
    timer: Option<Pin<Box<Sleep>>>,
    deadline: Instant,
    limits: Arc<Limits>,
}

impl<S: AsyncRead + Unpin> Guard<S> {
    /// Guards a new connection or the inside of a tunnel.
    pub(crate) fn new(io: S, limits: Arc<Limits>, door: Door) -> Self {
        Self {
            io,
            buffer: BytesMut::new(),
            seen: 0,
            state: State::Head,
            verdicts: Verdicts::default(),
            connect: None,
            door,
            busy: false,
            unflushed: false,
            at_end: None,
            timer: None,
            deadline: Instant::now() + limits.head_timeout,
            limits,
        }
    }

    /// The queue that the service takes its verdicts from.
    pub(crate) fn verdicts(&self) -> Verdicts {
        self.verdicts.clone()
    }

    /// Whether a CONNECT waits for `first`.
    pub(crate) fn has_connect(&self) -> bool {
        self.connect.is_some()
    }

    /// The socket and what was read from it and not consumed.
    pub(crate) fn into_parts(self) -> (S, Vec<u8>) {
        (self.io, self.buffer.into())
    }

    /// Whether a part of a head has arrived.
    pub(crate) fn has_begun(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Waits for the next head without hyper.
    ///
    /// # Errors
    /// The refusal to answer with; nothing more can be read from the connection then.
    ///
    /// # Cancellation
    /// Safe: what was read stays in the guard.
    pub(crate) async fn first(&mut self) -> Result<First, Refusal> {
        if let Some(head) = self.connect.take() {
            self.state = State::Head;
            return Ok(First::Connect(head));
        }
        match std::future::poll_fn(|cx| self.poll_head(cx)).await {
            Ok(Some(_)) => match self.connect.take() {
                Some(head) => {
                    self.state = State::Head;
                    Ok(First::Connect(head))
                }
                None => Ok(First::Request),
            },
            Ok(None) | Err(HeadFault::Socket(_)) => Ok(First::Closed),
            Err(HeadFault::Refused(refusal)) => Err(refusal),
        }
    }

    /// Reads up to the end of a head, judges it and queues the verdict; gives `None` at the end of the stream.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<()>, HeadFault>> {
        loop {
            match head::reach(&self.buffer, self.seen) {
                Reach::End(length) => return Poll::Ready(self.judge(length).map(Some).map_err(HeadFault::Refused)),
                Reach::Broken => return refused(Reason::Malformed, "the head is not lines that end in CRLF"),
                Reach::Open => self.seen = self.buffer.len(),
            }
            if self.buffer.len() >= self.limits.max_head_bytes {
                return refused(Reason::HeadTooLarge, "the request head is too large");
            }
            if self.is_idle() && self.timed_out(cx) {
                return match self.buffer.is_empty() {
                    true => Poll::Ready(Ok(None)),
                    false => refused(Reason::TimeoutHead, "the request head did not arrive in time"),
                };
            }
            let was_empty = self.buffer.is_empty();
            if ready!(self.poll_fill(cx)).map_err(HeadFault::Socket)? == 0 {
                return match self.buffer.is_empty() {
                    true => Poll::Ready(Ok(None)),
                    false => refused(Reason::Malformed, "the connection ended within a request head"),
                };
            }
            if was_empty {
                self.deadline = Instant::now() + self.limits.head_timeout;
            }
        }
    }

    fn judge(&mut self, length: usize) -> Result<(), Refusal> {
        let bytes = self.buffer.get(..length).unwrap_or_default();
        if bytes.len() > self.limits.max_head_bytes {
            return Err(Refusal::of(Reason::HeadTooLarge, "the request head is too large"));
        }
        let client = self.door.identify(bytes)?;
        let head = head::read(bytes, &self.limits, &client)?;
        self.seen = 0;
        if matches!(head.target, Target::Authority(_)) {
            if self.door.is_tunnel() {
                return Err(Refusal::of(Reason::ProtocolNotAllowed, "CONNECT within a tunnel is not served"));
            }
            self.consume(length);
            self.state = State::Connect;
            self.connect = Some(head);
            return Ok(());
        }
        self.state = State::Release(length, head.framing);
        self.verdicts.push(Ok(head));
        Ok(())
    }

    /// Whether nothing is being answered; the time between two requests runs from the end of the answer.
    fn is_idle(&mut self) -> bool {
        let was_busy = std::mem::replace(&mut self.busy, self.verdicts.in_flight());
        if was_busy && !self.busy && self.buffer.is_empty() {
            self.deadline = Instant::now() + self.limits.keep_alive;
        }
        !self.busy
    }

    /// Whether the deadline has passed; otherwise the task is woken when it does.
    fn timed_out(&mut self, cx: &mut Context<'_>) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(self.deadline)));
        // The timer may stand earlier than the deadline, which moves with each request: it is set anew when it fires.
        if timer.deadline() > self.deadline {
            timer.as_mut().reset(self.deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= self.deadline {
                return true;
            }
            timer.as_mut().reset(self.deadline);
        }
        false
    }

    /// Reads from the socket into the buffer; gives the number of bytes.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        thread_local! {
            static SCRATCH: std::cell::RefCell<Box<[u8]>> = std::cell::RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
            self.buffer.extend_from_slice(read.filled());
            Poll::Ready(Ok(read.filled().len()))
        })
    }

    fn consume(&mut self, length: usize) {
        if length == self.buffer.len() {
            // An idle connection holds no buffer.
            self.buffer = BytesMut::new();
        } else {
            // No bytes move: a client that pipelines short requests would have each of them move all that follow.
            self.buffer.advance(length);
        }
    }

    /// Gives hyper up to `limit` bytes of the buffer.
    fn release(&mut self, limit: u64, out: &mut ReadBuf<'_>) -> usize {
        let count = out.remaining().min(self.buffer.len()).min(usize::try_from(limit).unwrap_or(usize::MAX));
        out.put_slice(self.buffer.get(..count).unwrap_or_default());
        self.consume(count);
        count
    }

    fn body(&mut self, framing: Framing) -> State {
        match framing {
            Framing::Length(0) => self.next_head(),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunks::new()),
        }
    }

    fn next_head(&mut self) -> State {
        self.seen = 0;
        self.deadline = Instant::now() + self.limits.keep_alive;
        State::Head
    }

    /// Bytes of a body of known length, `left` of them still to come.
    fn poll_length(&mut self, cx: &mut Context<'_>, left: u64, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut count = self.release(left, out) as u64;
        if count == 0 && out.remaining() as u64 <= left {
            let before = out.filled().len();
            ready!(Pin::new(&mut self.io).poll_read(cx, out))?;
            count = (out.filled().len() - before) as u64;
        } else if count == 0 {
            // The body ends within this read: what follows it is the next head, not hyper's yet.
            ready!(self.poll_fill(cx))?;
            count = self.release(left, out) as u64;
        }
        self.state = if count == left { self.next_head() } else { State::Length(left - count) };
        Poll::Ready(Ok(()))
    }

    fn poll_chunks(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut Chunks,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            ready!(self.poll_fill(cx))?;
        }
        let visible = self.buffer.len().min(out.remaining());
        let bytes = self.buffer.get(..visible).unwrap_or_default();
        let taken = chunks.take(bytes).map_err(|bad| io::Error::new(io::ErrorKind::InvalidData, bad))?;
        self.release(taken as u64, out);
        Poll::Ready(Ok(()))
    }
}

/// Why no head could be read.
enum HeadFault {
    Socket(io::Error),
    Refused(Refusal),
}

fn refused<T>(reason: Reason, detail: &'static str) -> Poll<Result<T, HeadFault>> {
    Poll::Ready(Err(HeadFault::Refused(Refusal::of(reason, detail))))
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(pace(cx));
        loop {
            match &mut this.state {
                State::Head => match ready!(this.poll_head(cx)) {
                    Ok(Some(())) => {}
                    // hyper takes an end for a client that left. One that only closed its half waits for its answer; a client
                    // that left TLS without saying so, or reset the connection, comes as an error.
                    // An answer is in progress until its last byte was flushed: the stream may take only a part of it at a time.
                    Ok(None) if this.verdicts.in_flight() || this.unflushed => {
                        this.at_end = Some(cx.waker().clone());
                        return Poll::Pending;
                    }
                    Ok(None) => return Poll::Ready(Ok(())),
                    Err(HeadFault::Socket(error)) => return Poll::Ready(Err(error)),
                    Err(HeadFault::Refused(refusal)) => {
                        this.verdicts.push(Err(refusal));
                        this.buffer = BytesMut::new();
                        this.state = State::Refused(0);
                    }
                },
                State::Release(left, framing) => {
                    let (left, framing) = (*left, *framing);
                    let given = this.release(left as u64, out);
                    this.state = if given == left { this.body(framing) } else { State::Release(left - given, framing) };
                    return Poll::Ready(Ok(()));
                }
                State::Length(left) => {
                    let left = *left;
                    return this.poll_length(cx, left, out);
                }
                State::Chunked(chunks) => {
                    let mut chunks = std::mem::replace(chunks, Chunks::new());
                    let polled = this.poll_chunks(cx, &mut chunks, out);
                    this.state = if chunks.is_done() { this.next_head() } else { State::Chunked(chunks) };
                    return polled;
                }
                State::Refused(given) => {
                    let rest = STAND_IN.get(*given..).unwrap_or_default();
                    if rest.is_empty() {
                        // Nothing more is read; hyper closes after the answer, as the stand-in asked.
                        return Poll::Pending;
                    }
                    let count = rest.len().min(out.remaining());
                    out.put_slice(rest.get(..count).unwrap_or_default());
                    *given += count;
                    return Poll::Ready(Ok(()));
                }
                State::Connect => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.unflushed = true;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.unflushed = false;
        if let Some(waker) = self.at_end.take() {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unflushed = true;
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
