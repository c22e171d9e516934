//! The origin of the demo: HTTPS on loopback, under a CA of its own. It answers with the received credential, so that the masking
//! is visible.

use std::io::Read as _;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use certs::{Ca, Leaves};
use model::Host;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The maximum bytes of a request head; only the demo's own client connects.
const MAX_HEAD_BYTES: u64 = 16 << 10;

/// Listens until the runtime ends.
pub(super) struct Origin {
    port: u16,
    ca_pem: String,
    /// The value of the last Authorization field.
    seen: Arc<Mutex<Option<String>>>,
}

impl Origin {
    /// # Errors
    /// A certificate or a listener that cannot be created.
    pub(super) async fn start(host: &str) -> anyhow::Result<Self> {
        let (ca, _key) = Ca::create(clock::now()).context("cannot make the CA of the origin")?;
        let ca = Arc::new(ca);
        let ca_pem = ca.cert_pem().to_owned();
        let leaves = Leaves::new(ca, 1).context("cannot make the certificate of the origin")?;
        let host = Host::parse(host).context("the name of the origin")?;
        let settings =
            leaves.server_config(&host, clock::now()).context("cannot make the certificate of the origin")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen on loopback")?;
        let port = listener.local_addr().context("cannot listen on loopback")?.port();
        let seen = Arc::<Mutex<Option<String>>>::default();
        let acceptor = TlsAcceptor::from(settings);
        let noted = seen.clone();
        // Ends with the runtime.
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Err(error) = answer(&acceptor, stream, &noted).await {
                    tracing::debug!(%error, "a connection of the demo's origin");
                }
            }
        });
        Ok(Self { port, ca_pem, seen })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The value of the Authorization field of the last request.
    pub(super) fn seen(&self) -> Option<String> {
        model::sync::lock(&self.seen).clone()
    }
}

/// Answers one request and closes.
async fn answer(acceptor: &TlsAcceptor, stream: TcpStream, seen: &Mutex<Option<String>>) -> std::io::Result<()> {
    let mut tls = acceptor.accept(stream).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() as u64 <= MAX_HEAD_BYTES {
        head.push(tls.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut values =
        fields.filter(|(name, _)| name.eq_ignore_ascii_case("authorization")).map(|(_, value)| value.trim());
    let value = values.next().unwrap_or_default().to_owned();
    let body = format!("hello, you sent Authorization: {value}\n");
    *model::sync::lock(seen) = Some(value);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    tls.write_all(head.as_bytes()).await?;
    tls.write_all(body.as_bytes()).await?;
    tls.shutdown().await
}

/// A value that opens nothing.
///
/// # Errors
/// The system returns no random bytes.
pub(super) fn made_up_secret() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).context("no random bytes")?;
    Ok(format!("demo-secret-{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}
