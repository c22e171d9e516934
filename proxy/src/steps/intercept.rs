//! Step 5: the inside of a CONNECT. Distinguishes TLS from cleartext HTTP by the first bytes, and terminates TLS with a leaf
//! certificate for the one name of the CONNECT.

use std::io;

use model::{Endpoint, Host, Reason, Timestamp};
use rustls::server::Acceptor;
use tokio::io::AsyncWriteExt;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::Proxy;
use crate::entry::listener::ClientStream;
use crate::entry::prefixed_stream::PrefixedStream;
use crate::refusal::Refusal;

/// The stream within a tunnel, ready to be read.
pub(crate) enum Inner {
    /// Cleartext HTTP/1.1; the destination's scheme is http.
    Plain(PrefixedStream<ClientStream>),
    /// TLS, terminated here, with HTTP/1.1 or HTTP/2 chosen.
    Tls(Box<TlsStream<PrefixedStream<ClientStream>>>),
}

/// The fatal alert `unrecognized_name` (RFC 8446 section 6.2), as a record that precedes any key.
const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 112];

/// Opens the inside of a tunnel to `endpoint`; its first bytes show the scheme.
///
/// # Errors
/// These are recorded and the connection is closed, without an answer: `authority_mismatch` (after a TLS alert),
/// `protocol_not_allowed`, `malformed`, `client_rejected_ca`, `timeout_head`. `Ok(None)` if the client sent nothing.
///
/// # Cancellation
/// The connection is closed.
pub(crate) async fn intercept(
    proxy: &Proxy,
    mut stream: PrefixedStream<ClientStream>,
    endpoint: &Endpoint,
) -> Result<Option<Inner>, Refusal> {
    let limit = proxy.config.limits.handshake_timeout;
    let first = match tokio::time::timeout(limit, stream.peek()).await {
        Err(_) => return Err(Refusal::of(Reason::TimeoutHead, "nothing was sent through the tunnel in time")),
        Ok(Err(_)) => return Ok(None),
        Ok(Ok(bytes)) => bytes.first().copied(),
    };
    match first {
        None => Ok(None),
        Some(0x16) => match tokio::time::timeout(limit, end_tls(proxy, stream, &endpoint.host)).await {
            Ok(tls) => tls.map(|tls| Some(Inner::Tls(Box::new(tls)))),
            Err(_) => Err(Refusal::of(Reason::TimeoutHead, "the TLS handshake took too long")),
        },
        Some(byte) if byte.is_ascii_uppercase() && looks_like_http(&mut stream, limit).await => {
            Ok(Some(Inner::Plain(stream)))
        }
        Some(_) => Err(Refusal::of(Reason::ProtocolNotAllowed, "the tunnel carries neither TLS nor HTTP")),
    }
}

/// Whether the first bytes begin a request line; the preface of cleartext HTTP/2 does not pass.
async fn looks_like_http(stream: &mut PrefixedStream<ClientStream>, limit: std::time::Duration) -> bool {
    let peek = tokio::time::timeout(limit, stream.peek_line(24)).await;
    let Ok(Ok(bytes)) = peek else { return false };
    let word = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
    let token = word.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-');
    token && word != b"PRI" && !word.is_empty() && (word.len() < bytes.len() || bytes.len() < 24)
}

async fn end_tls(
    proxy: &Proxy,
    stream: PrefixedStream<ClientStream>,
    host: &Host,
) -> Result<TlsStream<PrefixedStream<ClientStream>>, Refusal> {
    let start = match LazyConfigAcceptor::new(Acceptor::default(), stream).await {
        Ok(start) => start,
        Err(error) => return Err(handshake_failed(&error)),
    };
    if let Some(name) = start.client_hello().server_name()
        && !is_named(host, name)
    {
        let refusal = Refusal::of(Reason::AuthorityMismatch, "the SNI differs from the CONNECT target").with_sni(name);
        // No certificate is made for a name other than that of the CONNECT.
        let mut io = start.io;
        let sent = io.write_all(&UNRECOGNIZED_NAME).await;
        tracing::debug!(?sent, "an SNI differs from the CONNECT target");
        return Err(refusal);
    }
    let config = proxy.leaves.server_config(host, Timestamp::now()).map_err(|error| {
        model::log_limited!(error, %error, "a leaf certificate could not be made");
        Refusal::of(Reason::Internal, "a leaf certificate could not be made")
    })?;
    start.into_stream(config).await.map_err(|error| handshake_failed(&error))
}

/// Whether an SNI is the name of the CONNECT. A client that connects to an address literal sends none.
fn is_named(host: &Host, sni: &str) -> bool {
    Host::parse(sni).is_ok_and(|named| named == *host)
}

fn handshake_failed(error: &io::Error) -> Refusal {
    use rustls::{AlertDescription as Alert, Error};
    let rejected = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).is_some_and(|inner| {
        matches!(
            inner,
            Error::AlertReceived(
                Alert::UnknownCA | Alert::BadCertificate | Alert::CertificateUnknown | Alert::UnsupportedCertificate
            )
        )
    });
    tracing::debug!(%error, "the TLS handshake with a client failed");
    match rejected {
        true => Refusal::of(Reason::ClientRejectedCa, "the client does not trust the CA"),
        false => Refusal::of(Reason::Malformed, "the client's TLS handshake failed"),
    }
}
