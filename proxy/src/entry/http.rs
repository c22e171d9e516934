//! The entry over HTTP/1: a CONNECT, or requests in absolute form. Reads the proxy credentials, turns a head into an [`Arrival`], and
//! answers a CONNECT.

use model::{Endpoint, Reason};
use sessions::{Identified, Proof};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use crate::basic;
use crate::entry::arrival::{Arrival, TunnelArrival};
use crate::entry::listener::ClientStream;
use crate::entry::prefixed_stream::PrefixedStream;
use crate::http1::head::{RequestHead, Target};
use crate::refusal::Refusal;

/// The pair of a Proxy-Authorization field: a session's id and its token.
pub(crate) struct ProxyCredentials {
    pair: Zeroizing<Vec<u8>>,
    colon: usize,
}

impl ProxyCredentials {
    /// Reads the value of the field (RFC 7617).
    ///
    /// # Errors
    /// `session_required` for another scheme, and for a value that is not a pair.
    pub(crate) fn read(field: &[u8]) -> Result<Self, Refusal> {
        let required = |detail: &'static str| Refusal::of(Reason::SessionRequired, detail);
        let pair = basic::pair(field).ok_or_else(|| required("the proxy credentials are not of the Basic scheme"))?;
        let colon = memchr::memchr(b':', &pair).ok_or_else(|| required("the proxy credentials have no password"))?;
        Ok(Self { pair, colon })
    }

    /// The session that they prove.
    pub(crate) fn proof(&self) -> Proof<'_> {
        let (id, token) = self.pair.split_at(self.colon);
        Proof::Token { id: std::str::from_utf8(id).unwrap_or_default(), token: token.get(1..).unwrap_or_default() }
    }
}

/// One request in absolute form; a request in another form names no endpoint.
pub(crate) fn request(client: Identified, head: &RequestHead) -> Arrival {
    let (endpoint, scheme) = match &head.target {
        Target::Absolute(destination, _) => {
            let endpoint = Endpoint { host: destination.host().clone(), port: destination.port() };
            (Some(endpoint), Some(destination.scheme()))
        }
        Target::Authority(endpoint) => (Some(endpoint.clone()), None),
        Target::Origin(_) | Target::Asterisk => (None, None),
    };
    // The reader has compared the Host field with a target in absolute form.
    Arrival { client, endpoint, repeated: None, scheme, stream: () }
}

/// A CONNECT, with the connection that it came on.
pub(crate) fn tunnel(client: Identified, head: RequestHead, stream: PrefixedStream<ClientStream>) -> TunnelArrival {
    let Arrival { client, endpoint, scheme, .. } = request(client, &head);
    Arrival { client, endpoint, repeated: head.host, scheme, stream }
}

/// The answer to an admitted CONNECT.
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection Established\r\n\r\n";

/// Answers an admitted CONNECT.
pub(crate) async fn establish(stream: &mut PrefixedStream<ClientStream>) -> std::io::Result<()> {
    stream.write_all(ESTABLISHED).await?;
    // Over TLS, the last bytes may remain in the library's buffer.
    stream.flush().await
}

/// Writes a refusal of a CONNECT, with the code in the reason phrase, because clients display that for a failed CONNECT.
pub(crate) async fn write_refusal<S>(mut stream: S, refusal: &Refusal, record: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = answer_bytes(refusal, record);
    let linger = async {
        stream.write_all(&answer).await?;
        stream.shutdown().await?;
        // Closing while the client still sends would reset the connection and discard the answer.
        let mut sink = vec![0; 4 << 10];
        while stream.read(&mut sink).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    if let Ok(Err(error)) = tokio::time::timeout(std::time::Duration::from_secs(2), linger).await {
        tracing::debug!(%error, "a refusal could not be written");
    }
}

/// A refusal as an HTTP/1.1 response that closes the connection.
pub(crate) fn answer_bytes(refusal: &Refusal, record: &str) -> Vec<u8> {
    let body = refusal.problem(record);
    let mut answer = format!("HTTP/1.1 {} {}\r\n", refusal.row().status.as_u16(), refusal.reason().code()).into_bytes();
    for (name, value) in refusal.fields(record).iter() {
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()).as_bytes());
    answer.extend_from_slice(&body);
    answer
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    fn read(pair: &str) -> Result<ProxyCredentials, Refusal> {
        let field = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
        ProxyCredentials::read(field.as_bytes())
    }

    #[test]
    fn the_first_colon_ends_the_id() {
        let read = read("ses_a:egt_b:c").unwrap();
        let Proof::Token { id, token } = read.proof() else { panic!("proxy credentials prove by token") };
        assert_eq!((id, token), ("ses_a", b"egt_b:c".as_slice()));
    }

    #[test]
    fn what_is_not_a_pair_is_not_read() {
        let refused = |read: Result<ProxyCredentials, Refusal>| read.err().map(|refusal| refusal.reason());
        assert_eq!(refused(read("ses_a")), Some(Reason::SessionRequired));
        assert_eq!(refused(ProxyCredentials::read(b"Bearer egt_b")), Some(Reason::SessionRequired));
    }
}
