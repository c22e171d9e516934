//! Clients that can send any bytes: raw connections, tunnels with a chosen SNI and ALPN, HTTP/2.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::egret::{Egret, Session};
use crate::pki;

/// How long a read may take before the test fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// One response.
#[derive(Clone, Default)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The reason phrase; empty over HTTP/2.
    pub reason: String,
    /// Fields in order.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// Trailer fields in order.
    pub trailers: Vec<(String, String)>,
    /// All bytes of the response; empty over HTTP/2.
    pub raw: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(600)]).into_owned();
        write!(f, "{} {} {:?} {body:?} {:?}", self.status, self.reason, self.headers, self.trailers)
    }
}

impl Answer {
    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// All parts: head, body and trailers.
    pub fn everything(&self) -> Vec<u8> {
        let mut all = self.raw.clone();
        for (name, value) in self.headers.iter().chain(&self.trailers) {
            all.extend_from_slice(format!("{name}: {value}\n").as_bytes());
        }
        all.extend_from_slice(&self.body);
        all
    }
}

/// A blocking connection, in clear or within TLS.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    read: Vec<u8>,
    ended: bool,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

/// The error of a TLS handshake.
#[derive(Debug)]
pub struct HandshakeError(pub std::io::Error);

impl HandshakeError {
    /// The alert of the server, if it ended the handshake.
    pub fn alert(&self) -> Option<rustls::AlertDescription> {
        let error = self.0.get_ref()?.downcast_ref::<rustls::Error>()?;
        if let rustls::Error::AlertReceived(alert) = error { Some(*alert) } else { None }
    }
}

impl Wire {
    /// A connection to the proxy.
    pub fn open(egret: &Egret) -> Self {
        Self::over(TcpStream::connect(egret.proxy()).unwrap())
    }

    /// An existing connection.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self { stream: Stream::Plain(stream), read: Vec::new(), ended: false }
    }

    /// Sends these bytes. A peer that has already closed is not a failure: its answer is still to be read.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _closed = match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes.as_ref()).and_then(|()| stream.flush()),
            Stream::Tls(stream) => stream.write_all(bytes.as_ref()).and_then(|()| stream.flush()),
        };
    }

    /// Sends these bytes; returns whether the peer accepted them.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        let sent = match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        };
        sent.is_ok()
    }

    /// Reads some bytes and drops them; returns their number, 0 at the end.
    pub fn discard(&mut self) -> usize {
        let known = std::mem::take(&mut self.read).len();
        let mut buffer = [0u8; 16 * 1024];
        if known > 0 { known } else { self.stream.read(&mut buffer).unwrap_or_default() }
    }

    /// Reads more; returns false at the end of the connection.
    fn more(&mut self) -> bool {
        let mut buffer = [0u8; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(count) => self.read.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came within {DEADLINE:?}; so far: {}", String::from_utf8_lossy(&self.read));
            }
            Err(_reset) => self.ended = true,
        }
        !self.ended
    }

    /// Whether the peer has closed, with no bytes left to read.
    pub fn is_closed(&mut self) -> bool {
        while !self.ended {
            if !self.read.is_empty() {
                return false;
            }
            self.more();
        }
        self.read.is_empty()
    }

    /// All bytes up to the end of the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.read)
    }

    /// Reads until `mark` has arrived; returns all bytes up to and including it.
    pub fn read_until(&mut self, mark: &str) -> Vec<u8> {
        loop {
            if let Some(at) = find(&self.read, mark.as_bytes()) {
                return self.read.drain(..at + mark.len()).collect();
            }
            assert!(self.more(), "the connection ended before {mark:?}: {}", String::from_utf8_lossy(&self.read));
        }
    }

    /// The next response to a request with a body in its answer.
    pub fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    /// The next final response to a request with this method.
    pub fn answer_to(&mut self, method: &str) -> Answer {
        self.try_answer_to(method).unwrap_or_else(|| {
            panic!("the connection ended before an answer: {:?}", String::from_utf8_lossy(&self.read))
        })
    }

    /// As [`Wire::answer_to`]; `None` if the connection ends before a complete head.
    pub fn try_answer_to(&mut self, method: &str) -> Option<Answer> {
        loop {
            let answer = self.one_answer(method)?;
            if answer.status >= 200 || answer.status == 101 {
                return Some(answer);
            }
        }
    }

    /// The next response, also an interim one.
    pub fn one_answer(&mut self, method: &str) -> Option<Answer> {
        while find(&self.read, b"\r\n\r\n").is_none() {
            if !self.more() {
                return None;
            }
        }
        let end = find(&self.read, b"\r\n\r\n").unwrap() + 4;
        let head: Vec<u8> = self.read.drain(..end).collect();
        let mut answer = parse_head(&head);
        self.read_body(&mut answer, method);
        Some(answer)
    }

    fn read_body(&mut self, answer: &mut Answer, method: &str) {
        let bodiless = method == "HEAD"
            || matches!(answer.status, 100..=199 | 204 | 304)
            || (method == "CONNECT" && answer.status == 200);
        if bodiless {
            return;
        }
        let chunked = answer.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
        if chunked {
            self.read_chunks(answer);
        } else if let Some(length) = answer.header("content-length") {
            answer.body = self.exactly(length.parse().unwrap());
            answer.raw.extend_from_slice(&answer.body);
        } else {
            answer.body = self.rest();
            answer.raw.extend_from_slice(&answer.body);
        }
    }

    fn read_chunks(&mut self, answer: &mut Answer) {
        loop {
            let line = self.line();
            let size = usize::from_str_radix(line.trim_end().split(';').next().unwrap(), 16).unwrap();
            answer.raw.extend_from_slice(line.as_bytes());
            if size == 0 {
                break;
            }
            let data = self.exactly(size + 2);
            answer.raw.extend_from_slice(&data);
            assert!(data.ends_with(b"\r\n"), "a chunk does not end where its size says");
            answer.body.extend_from_slice(&data[..size]);
        }
        loop {
            let line = self.line();
            answer.raw.extend_from_slice(line.as_bytes());
            let Some((name, value)) = line.trim_end().split_once(':') else { return };
            answer.trailers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> String {
        String::from_utf8_lossy(&self.read_until("\r\n")).into_owned()
    }

    fn exactly(&mut self, count: usize) -> Vec<u8> {
        let whole = self.try_exactly(count);
        whole.unwrap_or_else(|| panic!("the body ended after {} of {count} bytes", self.read.len()))
    }

    /// The next `count` bytes; `None` if the connection ends before them.
    pub fn try_exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.read.len() < count {
            if !self.more() {
                return None;
            }
        }
        Some(self.read.drain(..count).collect())
    }

    /// Starts TLS over a plain connection.
    ///
    /// # Errors
    /// [`HandshakeError`] if the handshake fails.
    pub fn start_tls(self, config: ClientConfig, name: &str) -> Result<Self, HandshakeError> {
        let Stream::Plain(mut socket) = self.stream else { panic!("the connection speaks TLS already") };
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        while connection.is_handshaking() {
            if let Err(error) = connection.complete_io(&mut socket) {
                // The client's own alert is sent as well.
                let _closed = connection.complete_io(&mut socket);
                return Err(HandshakeError(error));
            }
        }
        let stream = StreamOwned::new(connection, socket);
        Ok(Self { stream: Stream::Tls(Box::new(stream)), read: self.read, ended: false })
    }

    /// The certificates of the server.
    pub fn peer_certificates(&self) -> Vec<CertificateDer<'static>> {
        match &self.stream {
            Stream::Tls(stream) => stream.conn.peer_certificates().unwrap_or_default().to_vec(),
            Stream::Plain(_) => Vec::new(),
        }
    }

    /// Ends our half of a cleartext connection.
    pub fn half_close(&mut self) {
        match &mut self.stream {
            Stream::Plain(stream) => stream.shutdown(std::net::Shutdown::Write).unwrap(),
            Stream::Tls(stream) => {
                stream.conn.send_close_notify();
                // The other side may have closed the connection already.
                if let Err(error) = stream.flush() {
                    let gone = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
                    assert!(gone.contains(&error.kind()), "{error}");
                }
            }
        }
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, needle)
}

fn parse_head(head: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(head).into_owned();
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let mut words = first.splitn(3, ' ');
    assert!(words.next().is_some_and(|v| v.starts_with("HTTP/1.")), "no status line: {first:?}");
    let status = words.next().unwrap_or_default().parse().unwrap();
    let reason = words.next().unwrap_or_default().to_owned();
    let fields = lines.filter_map(|line| line.split_once(':'));
    let headers = fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    Answer { status, reason, headers, raw: head.to_vec(), ..Answer::default() }
}

/// The options of a tunnel.
#[derive(Clone, Debug)]
pub struct Tunnel<'a> {
    target: &'a str,
    sni: Option<&'a str>,
    alpn: Vec<&'a str>,
}

impl<'a> Tunnel<'a> {
    /// To `host:port`, with the SNI of that host and HTTP/1.1.
    pub fn to(target: &'a str) -> Self {
        let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
        Self { target, sni: Some(host), alpn: vec!["http/1.1"] }
    }

    /// With another SNI.
    #[must_use]
    pub fn sni(mut self, name: &'a str) -> Self {
        self.sni = Some(name);
        self
    }

    /// Without an SNI.
    #[must_use]
    pub fn no_sni(mut self) -> Self {
        self.sni = None;
        self
    }

    /// Offering these protocols.
    #[must_use]
    pub fn alpn(mut self, names: &[&'a str]) -> Self {
        self.alpn = names.to_vec();
        self
    }

    /// Sends the CONNECT; panics if the proxy does not accept it.
    pub fn connect(&self, egret: &Egret, session: &Session) -> Wire {
        let (answer, wire) = connect(egret, Some(session), self.target);
        assert_eq!(answer.status, 200, "CONNECT {} was refused: {answer:#?}", self.target);
        wire
    }

    /// Opens the tunnel and starts TLS in it.
    ///
    /// # Errors
    /// [`HandshakeError`] if the handshake fails.
    pub fn try_open(&self, egret: &Egret, session: &Session) -> Result<Wire, HandshakeError> {
        let wire = self.connect(egret, session);
        let host = self.target.rsplit_once(':').map_or(self.target, |(host, _)| host);
        let mut config = client_config(egret, &self.alpn);
        config.enable_sni = self.sni.is_some();
        if self.sni != Some(host) {
            // The server name in the handshake is not the one to verify, so the verifier checks only the chain.
            config.dangerous().set_certificate_verifier(Arc::new(AnyCertificate));
        }
        wire.start_tls(config, self.sni.unwrap_or("absent.invalid"))
    }

    /// Opens the tunnel; panics if the handshake fails.
    pub fn open(&self, egret: &Egret, session: &Session) -> Wire {
        self.try_open(egret, session).unwrap_or_else(|error| panic!("TLS to {}: {error:?}", self.target))
    }
}

/// Sends `CONNECT target`; returns the answer and the connection.
pub fn connect(egret: &Egret, session: Option<&Session>, target: &str) -> (Answer, Wire) {
    let mut wire = Wire::open(egret);
    wire.send(connect_head(session, target));
    let answer = wire.answer_to("CONNECT");
    (answer, wire)
}

fn connect_head(session: Option<&Session>, target: &str) -> String {
    let authorization = session.map(|s| format!("Proxy-Authorization: {}\r\n", s.authorization())).unwrap_or_default();
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n")
}

/// A TLS client that trusts the sidecar's CA.
pub fn client_config(egret: &Egret, alpn: &[&str]) -> ClientConfig {
    config_trusting(&egret.ca_file(), alpn)
}

/// A TLS client that trusts the CAs of a file.
pub fn config_trusting(ca_file: &Path, alpn: &[&str]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in pki::certificates(ca_file) {
        roots.add(certificate).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(pki::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

/// Accepts any certificate, for handshakes whose SNI is not the requested name.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        pki::provider().signature_verification_algorithms.supported_schemes()
    }
}

/// One GET through a tunnel over HTTP/1.1.
pub fn get(egret: &Egret, session: &Session, target: &str, path: &str) -> Answer {
    request(egret, session, target, &format!("GET {path} HTTP/1.1\r\nHost: {target}\r\n\r\n"))
}

/// One GET with additional fields, each with its line end.
pub fn get_with(egret: &Egret, session: &Session, target: &str, path: &str, fields: &str) -> Answer {
    request(egret, session, target, &format!("GET {path} HTTP/1.1\r\nHost: {target}\r\n{fields}\r\n"))
}

/// Raw bytes through a tunnel, and the answer; for a refused CONNECT, its answer.
pub fn request(egret: &Egret, session: &Session, target: &str, bytes: &str) -> Answer {
    let (answer, wire) = connect(egret, Some(session), target);
    if answer.status != 200 {
        return answer;
    }
    let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
    let mut wire = wire.start_tls(client_config(egret, &["http/1.1"]), host).unwrap();
    wire.send(bytes);
    wire.answer_to(bytes.split(' ').next().unwrap_or_default())
}

/// One request in absolute form, in clear to the proxy.
pub fn absolute(egret: &Egret, session: &Session, url: &str, host: &str) -> Answer {
    let mut wire = Wire::open(egret);
    let authorization = session.authorization();
    wire.send(format!("GET {url} HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: {authorization}\r\n\r\n"));
    wire.answer()
}

/// An HTTP/2 connection in a tunnel.
#[derive(Debug)]
pub struct H2 {
    runtime: tokio::runtime::Runtime,
    sender: SendRequest<Content>,
}

/// A body, whose length may be unknown.
#[derive(Debug)]
struct Content {
    bytes: Full<Bytes>,
    announced: bool,
    trailers: Option<http::HeaderMap>,
}

impl http_body::Body for Content {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        match Pin::new(&mut self.bytes).poll_frame(cx) {
            Poll::Ready(None) => Poll::Ready(self.trailers.take().map(|fields| Ok(http_body::Frame::trailers(fields)))),
            more @ (Poll::Ready(Some(_)) | Poll::Pending) => more,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.announced && self.trailers.is_none() && self.bytes.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        if self.announced { self.bytes.size_hint() } else { http_body::SizeHint::default() }
    }
}

impl H2 {
    /// Opens a tunnel to `target` and starts HTTP/2 in it.
    pub fn open(egret: &Egret, session: &Session, target: &str) -> Self {
        let wire = Tunnel::to(target).connect(egret, session);
        let Stream::Plain(socket) = wire.stream else { panic!("a new connection is plain") };
        let host = target.rsplit_once(':').map_or(target, |(host, _)| host).to_owned();
        let config = client_config(egret, &["h2"]);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let sender = runtime.block_on(async {
            socket.set_nonblocking(true).unwrap();
            let socket = tokio::net::TcpStream::from_std(socket).unwrap();
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            let tls = connector.connect(ServerName::try_from(host).unwrap(), socket).await.unwrap();
            assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "the proxy does not offer h2");
            let (sender, connection) =
                Box::pin(hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls))).await.unwrap();
            tokio::spawn(async move { drop(connection.await) });
            sender
        });
        Self { runtime, sender }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// hyper's, if the stream or the connection is reset.
    pub fn send(&mut self, request: http::Request<Full<Bytes>>) -> Result<Answer, hyper::Error> {
        self.exchange(request.map(|bytes| Content { bytes, announced: true, trailers: None }))
    }

    /// Sends a request whose body has no announced length.
    ///
    /// # Errors
    /// As [`H2::send`].
    pub fn send_unannounced(&mut self, request: http::Request<Full<Bytes>>) -> Result<Answer, hyper::Error> {
        self.exchange(request.map(|bytes| Content { bytes, announced: false, trailers: None }))
    }

    /// Sends a request with trailers.
    ///
    /// # Errors
    /// As [`H2::send`].
    pub fn send_with_trailers(
        &mut self,
        request: http::Request<Full<Bytes>>,
        trailers: http::HeaderMap,
    ) -> Result<Answer, hyper::Error> {
        self.exchange(request.map(|bytes| Content { bytes, announced: false, trailers: Some(trailers) }))
    }

    /// Sends a GET and reads only the head of its answer.
    ///
    /// # Errors
    /// As [`H2::send`].
    pub fn get_unread(
        &mut self,
        target: &str,
        path: &str,
    ) -> Result<http::Response<hyper::body::Incoming>, hyper::Error> {
        let body = Content { bytes: Full::default(), announced: true, trailers: None };
        let request = http::Request::get(format!("https://{target}{path}")).body(body).unwrap();
        let sender = &mut self.sender;
        self.runtime.block_on(async {
            sender.ready().await?;
            sender.send_request(request).await
        })
    }

    fn exchange(&mut self, request: http::Request<Content>) -> Result<Answer, hyper::Error> {
        let sender = &mut self.sender;
        self.runtime.block_on(async {
            sender.ready().await?;
            let response = sender.send_request(request).await?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await?;
            let trailers = body.trailers().map(fields).unwrap_or_default();
            Ok(Answer {
                status: parts.status.as_u16(),
                headers: fields(&parts.headers),
                trailers,
                body: body.to_bytes().to_vec(),
                ..Answer::default()
            })
        })
    }

    /// Sends a request and reads its answer up to the first `bytes` bytes of the body. Then runs `meanwhile`, and reads
    /// the rest. Returns the first part and the whole answer.
    ///
    /// # Errors
    /// As [`H2::send`].
    pub fn send_and_pause(
        &mut self,
        request: http::Request<Full<Bytes>>,
        bytes: usize,
        meanwhile: impl FnOnce(),
    ) -> Result<(Vec<u8>, Answer), hyper::Error> {
        let sender = &mut self.sender;
        self.runtime.block_on(async {
            sender.ready().await?;
            let (parts, mut body) = sender
                .send_request(request.map(|bytes| Content { bytes, announced: true, trailers: None }))
                .await?
                .into_parts();
            let mut first = Vec::new();
            while first.len() < bytes {
                let Some(frame) = body.frame().await else { break };
                first.extend_from_slice(frame?.data_ref().map_or(&[][..], |data| data));
            }
            meanwhile();
            let rest = body.collect().await?;
            let trailers = rest.trailers().map(fields).unwrap_or_default();
            let whole = [first.as_slice(), &rest.to_bytes()].concat();
            let answer = Answer {
                status: parts.status.as_u16(),
                headers: fields(&parts.headers),
                trailers,
                body: whole,
                ..Answer::default()
            };
            Ok((first, answer))
        })
    }

    /// One GET.
    ///
    /// # Errors
    /// As [`H2::send`].
    pub fn get(&mut self, target: &str, path: &str) -> Result<Answer, hyper::Error> {
        let uri = format!("https://{target}{path}");
        self.send(http::Request::get(uri).body(Full::default()).unwrap())
    }
}

fn fields(map: &http::HeaderMap) -> Vec<(String, String)> {
    map.iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect()
}
