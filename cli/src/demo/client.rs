//! The sandbox of the demo: a client with only a session's environment.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use api::SessionCreated;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certs::{Ca, Trust};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

/// The maximum bytes of an answer; the origin of the demo sends a line.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// The response that the sandbox received.
pub(super) struct Answered {
    /// The status line without the version.
    pub(super) status: String,
    pub(super) body: String,
}

/// Connects to the proxy with the session's credentials, and trusts the CA in `NODE_EXTRA_CA_CERTS`.
pub(super) struct Sandbox {
    proxy: SocketAddr,
    /// The value of Proxy-Authorization.
    authorization: String,
    trust: Trust,
}

impl Sandbox {
    /// # Errors
    /// An environment without a proxy, or a CA that cannot be read.
    pub(super) fn new(session: &SessionCreated) -> anyhow::Result<Self> {
        let (_, proxy) = session.proxy_url.rsplit_once('@').context("the proxy URL has no address")?;
        let pair = format!("{}:{}", session.session.id, session.token);
        // A CA that nothing trusts: `Trust` never accepts its owner's own for an upstream.
        let (own, _key) = Ca::create(clock::now()).context("cannot make a CA")?;
        Ok(Self {
            proxy: proxy.parse().context("the proxy URL has no address")?,
            authorization: format!("Basic {}", STANDARD.encode(pair)),
            trust: Trust::load(&[session.ca.certificate.clone().into()], &own).context("cannot trust the CA")?,
        })
    }

    /// A request with a bearer token, through a tunnel of its own.
    ///
    /// # Errors
    /// A connection that fails.
    pub(super) async fn get(&self, host: &str, port: u16, path: &str, token: &str) -> anyhow::Result<Answered> {
        let mut tcp = self.dial().await?;
        tcp.write_all(self.connect_head(host, port).as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tcp.read_u8().await.context("the proxy closed the connection")?);
        }
        ensure!(head.starts_with(b"HTTP/1.1 200 "), "the proxy refused: {}", String::from_utf8_lossy(&head));
        let connector = TlsConnector::from(Arc::new(self.trust.client_config(&[b"http/1.1"])));
        let name = ServerName::try_from(host.to_owned()).context("the host is not a name")?;
        let mut tls = connector.connect(name, tcp).await.context("the TLS handshake failed")?;
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        tls.write_all(head.as_bytes()).await?;
        read_answer(tls).await
    }

    /// The answer to a CONNECT that is refused.
    ///
    /// # Errors
    /// A connection that fails.
    pub(super) async fn connect(&self, host: &str, port: u16) -> anyhow::Result<Answered> {
        let mut tcp = self.dial().await?;
        tcp.write_all(self.connect_head(host, port).as_bytes()).await?;
        tcp.shutdown().await?;
        read_answer(tcp).await
    }

    async fn dial(&self) -> anyhow::Result<tokio::net::TcpStream> {
        let socket = if self.proxy.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        socket?.connect(self.proxy).await.context("the proxy does not answer")
    }

    fn connect_head(&self, host: &str, port: u16) -> String {
        let Self { authorization, .. } = self;
        format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\nProxy-Authorization: {authorization}\r\n\r\n")
    }
}

async fn read_answer(stream: impl AsyncRead + Unpin) -> anyhow::Result<Answered> {
    let mut bytes = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut bytes).await.context("the answer broke off")?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").context("the answer has no head")?;
    let status = head.lines().next().and_then(|line| line.split_once(' ')).map_or("", |(_, status)| status);
    Ok(Answered { status: status.to_owned(), body: body.to_owned() })
}
