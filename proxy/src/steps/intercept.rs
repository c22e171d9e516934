//! Step 5: the inside of a CONNECT. Distinguishes TLS from cleartext HTTP by the first bytes, and terminates TLS with a leaf
//! certificate for the one name of the CONNECT.

use std::io;

use model::{Endpoint, Host, Reason, Timestamp};
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::Proxy;
use crate::entry::prefixed_stream::PrefixedStream;
use crate::refusal::Refusal;
use crate::upstream::dial::HttpVersions;

/// The stream within a tunnel, ready to be read.
pub(crate) enum Inner<S> {
    /// Cleartext HTTP/1.1; the destination's scheme is http.
    Plain(PrefixedStream<S>),
    /// TLS, terminated here, with HTTP/1.1 or HTTP/2 chosen.
    Tls(Box<TlsStream<PrefixedStream<S>>>),
}

/// The fatal alert `unrecognized_name` (RFC 8446 section 6.2), as a record that precedes any key.
const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 112];

/// Opens the inside of a tunnel to `endpoint`; its first bytes show the scheme. Once a client's first message names its protocols, calls
/// `on_hello` with those that its requests can be sent on with.
///
/// # Errors
/// These are recorded and the connection is closed, without an answer: `authority_mismatch` (after a TLS alert),
/// `protocol_not_allowed`, `malformed`, `client_rejected_ca`, `timeout_head`. `Ok(None)` if the client sent nothing.
///
/// # Cancellation
/// The connection is closed.
pub(crate) async fn intercept<S: AsyncRead + AsyncWrite + Unpin>(
    proxy: &Proxy,
    mut stream: PrefixedStream<S>,
    endpoint: &Endpoint,
    on_hello: impl FnOnce(HttpVersions),
) -> Result<Option<Inner<S>>, Refusal> {
    let limit = proxy.config.limits.handshake_timeout;
    let first = match tokio::time::timeout(limit, stream.peek()).await {
        Err(_) => return Err(Refusal::of(Reason::TimeoutHead, "nothing was sent through the tunnel in time")),
        Ok(Err(_)) => return Ok(None),
        Ok(Ok(bytes)) => bytes.first().copied(),
    };
    match first {
        None => Ok(None),
        Some(0x16) => match tokio::time::timeout(limit, end_tls(proxy, stream, &endpoint.host, on_hello)).await {
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
async fn looks_like_http<S: AsyncRead + Unpin>(stream: &mut PrefixedStream<S>, limit: std::time::Duration) -> bool {
    let peek = tokio::time::timeout(limit, stream.peek_line(24)).await;
    let Ok(Ok(bytes)) = peek else { return false };
    let word = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
    let token = word.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-');
    token && word != b"PRI" && !word.is_empty() && (word.len() < bytes.len() || bytes.len() < 24)
}

async fn end_tls<S: AsyncRead + AsyncWrite + Unpin>(
    proxy: &Proxy,
    stream: PrefixedStream<S>,
    host: &Host,
    on_hello: impl FnOnce(HttpVersions),
) -> Result<TlsStream<PrefixedStream<S>>, Refusal> {
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
    // Where a client offers HTTP/2, it is chosen.
    let offers_http2 = start.client_hello().alpn().is_some_and(|mut names| names.any(|name| name == b"h2"));
    on_hello(if offers_http2 { HttpVersions::Http2OrHttp1 } else { HttpVersions::Http1 });
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

#[cfg(test)]
mod tests {
    use rustls_pki_types::ServerName;
    use tokio::io::{AsyncReadExt as _, DuplexStream};

    use super::*;
    use crate::testing::{Bench, HOST, tls_client};

    fn endpoint() -> Endpoint {
        Endpoint { host: Host::parse(HOST).unwrap(), port: 443 }
    }

    fn bench() -> Bench {
        Bench::new(&["{id: r, allow: {host: api.example.com}}"])
    }

    type Intercepted = Result<Option<Inner<DuplexStream>>, Refusal>;

    /// The inside of a tunnel in which the client sends these bytes and nothing more.
    async fn sent(bytes: &[u8]) -> Intercepted {
        let (mut client, ours) = tokio::io::duplex(1 << 10);
        client.write_all(bytes).await.unwrap();
        drop(client);
        intercept(&bench().core.proxy, PrefixedStream::new(ours, Vec::new()), &endpoint(), |_| {}).await
    }

    fn reason(intercepted: Intercepted) -> Reason {
        intercepted.err().unwrap().reason()
    }

    /// A tunnel in which a client begins TLS with this server name.
    async fn with_tls(name: &str, alpn: &[&[u8]], trusts: bool) -> (Intercepted, bool) {
        let (client, ours) = tokio::io::duplex(64 << 10);
        let (bench, name) = (bench(), ServerName::try_from(name.to_owned()).unwrap());
        let endpoint = endpoint();
        let (inner, connected) = tokio::join!(
            intercept(&bench.core.proxy, PrefixedStream::new(ours, Vec::new()), &endpoint, |_| {}),
            tls_client(alpn, trusts).connect(name, client),
        );
        (inner, connected.is_ok())
    }

    fn protocol(inner: Intercepted) -> Option<Vec<u8>> {
        match inner.ok().unwrap() {
            Some(Inner::Tls(tls)) => tls.get_ref().1.alpn_protocol().map(<[u8]>::to_vec),
            Some(Inner::Plain(_)) | None => panic!("no TLS"),
        }
    }

    #[tokio::test]
    async fn tls_is_terminated_with_the_protocol_of_the_client() {
        for (offered, chosen) in [
            (&[b"h2".as_slice(), b"http/1.1"][..], Some(b"h2".to_vec())),
            (&[b"http/1.1"], Some(b"http/1.1".to_vec())),
            (&[], None),
        ] {
            let (inner, connected) = Box::pin(with_tls(HOST, offered, true)).await;
            assert_eq!((protocol(inner), connected), (chosen, true));
        }
    }

    #[tokio::test]
    async fn an_sni_of_another_host_gets_an_alert_and_no_certificate() {
        let (inner, connected) = Box::pin(with_tls("other.example.com", &[], true)).await;
        assert_eq!((reason(inner), connected), (Reason::AuthorityMismatch, false));
    }

    #[tokio::test]
    async fn a_client_that_does_not_trust_the_ca_is_told_apart_from_broken_tls() {
        let (inner, connected) = Box::pin(with_tls(HOST, &[], false)).await;
        // The client's alert comes after its side of the handshake has failed.
        assert_eq!((reason(inner), connected), (Reason::ClientRejectedCa, false));
        assert_eq!(reason(sent(&[0x16, 3, 1, 0, 2, 9, 9]).await), Reason::Malformed);
        assert_eq!(reason(sent(&[0x16]).await), Reason::Malformed);
    }

    #[tokio::test]
    async fn cleartext_http_keeps_all_of_its_bytes() {
        for request in ["GET / HTTP/1.1\r\n\r\n", "M-SEARCH * HTTP/1.1\r\n", "G ", "PURGE"] {
            let Ok(Some(Inner::Plain(mut stream))) = sent(request.as_bytes()).await else { panic!("{request}") };
            let mut all = String::new();
            stream.read_to_string(&mut all).await.unwrap();
            assert_eq!(all, request);
        }
    }

    #[tokio::test]
    async fn other_protocols_are_refused() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice();
        let long = [b'A'; 24];
        for bytes in [preface, b"SSH-2.0-OpenSSH_9\r\n", b"get / HTTP/1.1\r\n", b"\x00\x01", b" GET /", &long] {
            assert_eq!(reason(sent(bytes).await), Reason::ProtocolNotAllowed, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_client_that_sends_nothing_has_requested_nothing() {
        assert!(matches!(sent(b"").await, Ok(None)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_keeps_silent_is_timed_out() {
        let bench = bench();
        for begun in [b"".as_slice(), &[0x16, 3, 1, 0, 200]] {
            let (mut client, ours) = tokio::io::duplex(1 << 10);
            client.write_all(begun).await.unwrap();
            let inner = intercept(&bench.core.proxy, PrefixedStream::new(ours, Vec::new()), &endpoint(), |_| {}).await;
            assert_eq!(reason(inner), Reason::TimeoutHead, "{begun:?}");
        }
    }
}
