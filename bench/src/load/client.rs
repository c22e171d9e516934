//! One connection of a client: through a tunnel of a proxy or without one, TLS, then HTTP/1.1 or HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::events;
use crate::origin::{EVENTS, LARGE_BYTES, next_piece};

/// How long the connection, or one request, may take before it has failed.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The longest head of an answer to CONNECT.
const MAX_ANSWER_BYTES: usize = 8 * 1024;

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Http {
    One,
    Two,
}

/// How the origin is reached.
#[derive(Clone)]
pub(crate) struct Route {
    /// The address that is dialed.
    address: SocketAddr,
    /// Whether that is a proxy that expects CONNECT.
    tunnel: Option<Tunnel>,
    /// The origin's host name.
    pub(crate) host: String,
    /// The origin's port, which is part of every authority.
    port: u16,
    http1: TlsConnector,
    http2: TlsConnector,
}

/// Access to a proxy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tunnel {
    /// A value of `Proxy-Authorization` for each session; connections use them in turn. Empty if the proxy needs none.
    pub(crate) sessions: Vec<String>,
}

impl Route {
    /// A route to `host` and `port` over `address`. Only certificates of the CA in `ca` are accepted.
    pub(crate) fn new(address: SocketAddr, tunnel: Option<Tunnel>, origin: (&str, u16), ca: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).with_context(|| format!("cannot read {}", ca.display()))? {
            roots.add(certificate?)?;
        }
        let connector = |protocol: &[u8]| -> Result<TlsConnector> {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let mut config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            config.alpn_protocols = vec![protocol.to_vec()];
            // Every new connection is a full handshake, also for a server that offers tickets.
            config.resumption = Resumption::disabled();
            Ok(TlsConnector::from(Arc::new(config)))
        };
        let (http1, http2) = (connector(b"http/1.1")?, connector(b"h2")?);
        let (host, port) = origin;
        Ok(Self { address, tunnel, host: host.to_owned(), port, http1, http2 })
    }

    /// The same route with other sessions.
    pub(crate) fn with_sessions(&self, sessions: Vec<String>) -> Self {
        Self { tunnel: Some(Tunnel { sessions }), ..self.clone() }
    }
}

/// The nth additional name of `host`.
pub(crate) fn numbered_host(host: &str, number: usize) -> String {
    format!("n{number}.{host}")
}

/// A value of `Proxy-Authorization` (RFC 7617).
pub(crate) fn authorization(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A request, with the response that it has to get.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: Method,
    path: &'static str,
    body: Upload,
    expected: Expected,
}

/// What the body of a response has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expected {
    Bytes(u64),
    Text(String),
    /// Anything; it is returned.
    Any,
}

impl Ask {
    /// 1 KiB from the origin.
    pub(crate) fn small() -> Self {
        Self { method: Method::GET, path: "/small", body: Upload::empty(), expected: Expected::Bytes(1024) }
    }

    /// [`LARGE_BYTES`] from the origin.
    pub(crate) fn download() -> Self {
        Self { method: Method::GET, path: "/large", body: Upload::empty(), expected: Expected::Bytes(LARGE_BYTES) }
    }

    /// [`LARGE_BYTES`] to the origin.
    pub(crate) fn upload() -> Self {
        let body = Upload { chunk: Bytes::from(vec![b'x'; 64 * 1024]), left: LARGE_BYTES };
        let expected = Expected::Text(LARGE_BYTES.to_string());
        Self { method: Method::PUT, path: "/upload", body, expected }
    }

    /// A document for another server than the origin, with an answer of any length.
    pub(crate) fn post(path: &'static str, document: &serde_json::Value) -> Self {
        let chunk = Bytes::from(document.to_string());
        let body = Upload { left: chunk.len() as u64, chunk };
        Self { method: Method::POST, path, body, expected: Expected::Any }
    }
}

/// A request body: `left` bytes, made of repetitions of `chunk`.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    chunk: Bytes,
    left: u64,
}

impl Upload {
    fn empty() -> Self {
        Self { chunk: Bytes::new(), left: 0 }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let Self { chunk, left } = &mut *self;
        Poll::Ready(Some(Ok(Frame::data(next_piece(chunk, left)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// An open connection, or one of several users of the same HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct Client {
    sender: Sender,
    authority: String,
}

#[derive(Debug)]
enum Sender {
    One(http1::SendRequest<Upload>),
    Two(http2::SendRequest<Upload>),
}

impl Client {
    /// Connects to `host`, as the nth session if the route has several.
    pub(crate) async fn open(route: &Route, http: Http, host: &str, number: usize) -> Result<Self> {
        let opened = Box::pin(Self::open_in_any_time(route, http, host, number));
        tokio::time::timeout(TIMEOUT, opened).await.context("the connection timed out")?
    }

    async fn open_in_any_time(route: &Route, http: Http, host: &str, number: usize) -> Result<Self> {
        let authority = format!("{host}:{}", route.port);
        let mut stream = dial(route.address).await.context("dial")?;
        if let Some(tunnel) = &route.tunnel {
            let session = number.checked_rem(tunnel.sessions.len()).and_then(|turn| tunnel.sessions.get(turn));
            request_tunnel(&mut stream, &authority, session.map(String::as_str)).await.context("CONNECT")?;
        }
        let connector = match http {
            Http::One => &route.http1,
            Http::Two => &route.http2,
        };
        let name = ServerName::try_from(host.to_owned())?;
        let stream = TokioIo::new(connector.connect(name, stream).await.context("TLS")?);
        let sender = match http {
            Http::One => Self::http1(stream).await?,
            Http::Two => {
                let (sender, connection) = Box::pin(http2::handshake(TokioExecutor::new(), stream)).await?;
                tokio::spawn(connection);
                Sender::Two(sender)
            }
        };
        Ok(Self { sender, authority })
    }

    /// HTTP/1.1 over any stream, for `authority`.
    pub(crate) async fn over<S>(stream: S, authority: &str) -> Result<Self>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        Ok(Self { sender: Self::http1(TokioIo::new(stream)).await?, authority: authority.to_owned() })
    }

    async fn http1<S>(stream: S) -> Result<Sender>
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(stream).await?;
        // The sender reports every error that concerns a request.
        tokio::spawn(connection);
        Ok(Sender::One(sender))
    }

    /// Another user of the same connection; `None` over HTTP/1.1.
    pub(crate) fn share(&self) -> Option<Self> {
        match &self.sender {
            Sender::One(_) => None,
            Sender::Two(sender) => {
                Some(Self { sender: Sender::Two(sender.clone()), authority: self.authority.clone() })
            }
        }
    }

    /// Whether the connection can be used for another request.
    pub(crate) fn is_open(&self) -> bool {
        match &self.sender {
            Sender::One(sender) => !sender.is_closed(),
            Sender::Two(sender) => !sender.is_closed(),
        }
    }

    /// Sends a request and reads the response. Returns the body if any is accepted, and fails if it is another one than expected.
    pub(crate) async fn send(&mut self, ask: &Ask) -> Result<Vec<u8>> {
        tokio::time::timeout(TIMEOUT, self.exchange(ask)).await.context("the request timed out")?
    }

    async fn exchange(&mut self, ask: &Ask) -> Result<Vec<u8>> {
        let mut body = self.response(ask).await?.into_body();
        let (mut bytes, mut text) = (0, Vec::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.context("response body")?.into_data() else { continue };
            bytes += data.len() as u64;
            if !matches!(ask.expected, Expected::Bytes(_)) {
                text.extend_from_slice(&data);
            }
        }
        match &ask.expected {
            Expected::Bytes(expected) => ensure!(bytes == *expected, "the response has {bytes} bytes, not {expected}"),
            Expected::Text(expected) => {
                ensure!(text == expected.as_bytes(), "the response is not {expected} but {}", text.escape_ascii());
            }
            Expected::Any => {}
        }
        Ok(text)
    }

    /// Reads the events of the origin; returns the delay of each.
    pub(crate) async fn events(&mut self) -> Result<Vec<Duration>> {
        let ask = Ask { path: "/events", expected: Expected::Any, ..Ask::small() };
        let mut body = self.response(&ask).await?.into_body();
        let mut delays = events::Delays::default();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                delays.read(&data, crate::clock::monotonic()?)?;
            }
        }
        let delays = delays.finish()?;
        ensure!(delays.len() == EVENTS, "{} of {EVENTS} events arrived", delays.len());
        Ok(delays)
    }

    async fn response(&mut self, ask: &Ask) -> Result<Response<Incoming>> {
        let request = Request::builder().method(&ask.method);
        let response = match &mut self.sender {
            Sender::One(sender) => {
                let request = request.uri(ask.path).header(hyper::header::HOST, &self.authority);
                // The control API requires it; the origin drops what it gets.
                let request = match ask.body.left {
                    0 => request,
                    _ => request.header(hyper::header::CONTENT_TYPE, "application/json"),
                };
                sender.ready().await.context("the connection was closed")?;
                sender.send_request(request.body(ask.body.clone())?).await?
            }
            Sender::Two(sender) => {
                let request = request.uri(format!("https://{}{}", self.authority, ask.path));
                sender.ready().await.context("the connection was closed")?;
                sender.send_request(request.body(ask.body.clone())?).await?
            }
        };
        ensure!(response.status().is_success(), "{} {} got {}", ask.method, ask.path, response.status());
        Ok(response)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is a client; the rule is about Egret's upstream connections")]
async fn dial(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// CONNECT (RFC 9110 section 9.3.6), to the end of a successful answer.
async fn request_tunnel(stream: &mut TcpStream, authority: &str, session: Option<&str>) -> Result<()> {
    let mut head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    if let Some(session) = session {
        head.extend(["Proxy-Authorization: ", session, "\r\n"]);
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            bail!("the proxy closed the connection");
        }
        if is_tunnel(&answer)? {
            return Ok(());
        }
        ensure!(answer.len() <= MAX_ANSWER_BYTES, "the head of the answer exceeds {MAX_ANSWER_BYTES} bytes");
    }
}

/// Whether the head of the answer is complete. It has to be a success, and the server speaks only after the client in TLS.
fn is_tunnel(answer: &[u8]) -> Result<bool> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(false) };
    let line = answer.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let is_success = line.split(|&byte| byte == b' ').nth(1).is_some_and(|status| status.starts_with(b"2"));
    ensure!(is_success, "the proxy answered {}", line.escape_ascii());
    ensure!(end + 4 == answer.len(), "the proxy sent bytes after the head of its answer");
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_complete_success_is_a_tunnel() {
        assert!(is_tunnel(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n").unwrap());
        assert!(!is_tunnel(b"HTTP/1.1 200 OK\r\nA: b\r\n").unwrap());
        let error = |answer: &[u8]| is_tunnel(answer).unwrap_err().to_string();
        assert_eq!(error(b"HTTP/1.1 403 No\r\n\r\n"), "the proxy answered HTTP/1.1 403 No");
        assert_eq!(error(b"HTTP/1.1 200 OK\r\n\r\nx"), "the proxy sent bytes after the head of its answer");
    }

    #[test]
    fn credentials_are_encoded() {
        assert_eq!(authorization("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }

    #[test]
    fn additional_names_are_below_the_host() {
        assert_eq!(numbered_host("origin.test", 12), "n12.origin.test");
    }
}
