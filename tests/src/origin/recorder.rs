//! The origin's records: connections with their raw bytes, and requests.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::lock;

/// Recorded bytes of one connection; heads of requests are much shorter.
const KEPT: usize = 512 * 1024;

/// One accepted connection.
#[derive(Debug)]
pub struct Connection {
    /// Counted from the origin's start.
    pub number: usize,
    /// Whether it speaks TLS.
    pub tls: bool,
    sni: Option<String>,
    alpn: Mutex<Option<String>>,
    raw: Mutex<Vec<u8>>,
    bytes: AtomicU64,
}

impl Connection {
    pub(super) fn new(number: usize, sni: Option<String>, alpn: Option<String>, tls: bool) -> Self {
        Self { number, tls, sni, alpn: Mutex::new(alpn), raw: Mutex::default(), bytes: AtomicU64::new(0) }
    }

    /// The server name that the client sent.
    pub fn sni(&self) -> Option<&str> {
        self.sni.as_deref()
    }

    /// The negotiated protocol.
    pub fn alpn(&self) -> Option<String> {
        lock(&self.alpn).clone()
    }

    pub(super) fn set_alpn(&self, alpn: Option<String>) {
        *lock(&self.alpn) = alpn;
    }

    /// Bytes that arrived, within TLS.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Passes the first bytes that arrived, within TLS, to a function.
    pub fn with_raw<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        look(&lock(&self.raw))
    }

    fn keep(&self, bytes: &[u8]) {
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let mut raw = lock(&self.raw);
        let room = KEPT.saturating_sub(raw.len()).min(bytes.len());
        raw.extend_from_slice(&bytes[..room]);
    }
}

/// One request, as the origin's own parser read it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its connection.
    pub connection: usize,
    /// The server name of that connection.
    pub sni: Option<String>,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The Host field or `:authority`.
    pub authority: String,
    /// Fields in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Seen {
    /// All values of one field.
    pub fn values(&self, name: &str) -> Vec<String> {
        let fields = self.headers.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// The one value of a field; `None` if it is absent.
    pub fn value(&self, name: &str) -> Option<String> {
        let mut values = self.values(name);
        assert!(values.len() < 2, "{name} came {} times", values.len());
        values.pop()
    }
}

/// A stream that copies the bytes read into the connection's record.
#[derive(Debug)]
pub(super) struct Tee<S> {
    inner: S,
    connection: Arc<Connection>,
}

impl<S> Tee<S> {
    pub(super) fn new(inner: S, connection: Arc<Connection>) -> Self {
        Self { inner, connection }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tee<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.connection.keep(&buf.filled()[before..]);
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tee<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
