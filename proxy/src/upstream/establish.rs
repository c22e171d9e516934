//! A new connection to an upstream, up to the start of its protocol.

use std::sync::Arc;
use std::time::Instant;

use hyper::rt::Executor as _;
use model::Reason;
use policies::Permit;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client::TlsStream;

use crate::context::Exchange;
use crate::http1::client::Client;
use crate::http2;
use crate::http2::frames::{Frames, Peer};
use crate::limits::quota::UpstreamSlot;
use crate::refusal::Refusal;
use crate::upstream::dial::{self, AllowedAddresses, Fresh, Stream};
use crate::upstream::pool::{Key, Sender, Upstream};

/// A slot among the upstream connections of the session.
///
/// # Errors
/// `session_quota`, `overloaded`.
pub(crate) fn upstream_slot(exchange: Exchange<'_>) -> Result<Arc<UpstreamSlot>, Refusal> {
    exchange.core.proxy.quotas.upstream(&exchange.session().id, exchange.destination).map(Arc::new)
}

/// Dials and starts the protocol. Callers box the future: it is large, and a pooled connection does not need it.
///
/// # Errors
/// `upstream_refused`, `upstream_tls`, `upstream_timeout`, `upstream_protocol`, `session_quota`, `overloaded`.
///
/// # Cancellation
/// Abandons the connection.
pub(crate) async fn establish(
    exchange: Exchange<'_>,
    permit: &Permit,
    (addresses, key): (&AllowedAddresses, &Key),
) -> Result<Upstream, Refusal> {
    let Exchange { core, destination, .. } = exchange;
    let session = exchange.session();
    let limit = permit.timeouts().connect.unwrap_or(core.proxy.limits.connect_timeout);
    let began = Instant::now();
    if let Some(preconnect) = exchange.preconnect
        && let Some((fresh, slot)) = preconnect.take(addresses, key, limit).await
        && let Ok(upstream) = Box::pin(begin(exchange, key, fresh, slot)).await
    {
        // The upstream may have closed it meanwhile, as one that was used before.
        return Ok(Upstream { reused: true, ..upstream });
    }
    let limit = limit.saturating_sub(began.elapsed());
    let slot = upstream_slot(exchange)?;
    let fresh = dial::connect(&core.proxy, &core.dialer, session, destination, addresses, key.versions, limit).await?;
    Box::pin(begin(exchange, key, fresh, slot)).await
}

/// Starts the protocol that was negotiated. A connection for HTTP/2 is in the pool at once, for concurrent requests.
///
/// # Errors
/// `upstream_protocol`.
async fn begin<S>(
    exchange: Exchange<'_>,
    key: &Key,
    fresh: Fresh<S>,
    slot: Arc<UpstreamSlot>,
) -> Result<Upstream, Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (core, slot) = (exchange.core, Some(slot));
    let Fresh { stream, address, chain } = fresh;
    let tls = stream.tls_version();
    let bounds = core.proxy.limits.response_head();
    let sender = match stream {
        Stream::Plain(tcp) => Sender::Http1(Client::new(tcp, bounds)),
        Stream::Tls(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2") => start_http2(tls, exchange).await?,
        Stream::Tls(tls) => Sender::Http1(Client::new(*tls, bounds)),
    };
    let upstream = |sender, reused| {
        let (slot, chain) = (slot.clone(), chain.clone());
        Upstream { sender, address, tls, chain, reused, slot }
    };
    if let Sender::Http2(shared) = &sender {
        core.pool.put(key.clone(), upstream(Sender::Http2(shared.clone()), true));
    }
    Ok(upstream(sender, false))
}

async fn start_http2<S>(stream: Box<TlsStream<S>>, exchange: Exchange<'_>) -> Result<Sender, Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let frames = Frames::new(*stream, Peer::Server, exchange.core.proxy.limits.max_control_frames);
    let bounds = exchange.core.proxy.limits.response_head();
    let (client, connection) = http2::client::Client::start(frames, bounds).await.map_err(|error| {
        tracing::debug!(%error, "an upstream did not begin HTTP/2");
        Refusal::of(Reason::UpstreamProtocol, "the upstream closed the connection or broke the protocol")
    })?;
    exchange.core.shares.spawner(&exchange.session().id).execute(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    });
    Ok(Sender::Http2(client))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use rustls_pki_types::ServerName;
    use tokio::io::DuplexStream;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::server;

    use super::*;
    use crate::testing::{ADDRESS, Bench, HOST, tls_client};
    use crate::upstream::dial::HttpVersions;

    fn bench() -> Bench {
        Bench::new(&["{id: r, allow: {host: api.example.com}}"])
    }

    fn fresh(stream: Stream<DuplexStream>) -> Fresh<DuplexStream> {
        Fresh { stream, address: SocketAddr::from((ADDRESS, 443)), chain: None }
    }

    /// A connection to an upstream that chose this protocol, and the upstream's end of it.
    async fn over_tls(bench: &Bench, protocol: &[u8]) -> (Fresh<DuplexStream>, server::TlsStream<DuplexStream>) {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let config = bench.core.proxy.leaves.server_config(bench.destination.host(), clock::now()).unwrap();
        let name = ServerName::try_from(HOST).unwrap();
        let connector = tls_client(&[protocol], true);
        let (ours, theirs) = tokio::join!(connector.connect(name, ours), TlsAcceptor::from(config).accept(theirs));
        (fresh(Stream::Tls(Box::new(ours.unwrap()))), theirs.unwrap())
    }

    async fn begun(bench: &Bench, fresh: Fresh<DuplexStream>) -> Result<Upstream, Refusal> {
        let slot = upstream_slot(bench.exchange()).unwrap();
        Box::pin(begin(bench.exchange(), &bench.key(HttpVersions::Http2OrHttp1), fresh, slot)).await
    }

    #[tokio::test]
    async fn the_protocol_is_the_one_that_was_negotiated() {
        let bench = bench();
        let (ours, _theirs) = tokio::io::duplex(64);
        let plain = Box::pin(begun(&bench, fresh(Stream::Plain(ours)))).await.ok().unwrap();
        assert!(matches!(plain.sender, Sender::Http1(_)));
        assert_eq!((plain.tls, plain.reused, plain.slot.is_some()), (None, false, true));
        let (one, _theirs) = over_tls(&bench, b"http/1.1").await;
        let one = Box::pin(begun(&bench, one)).await.ok().unwrap();
        assert!(matches!(one.sender, Sender::Http1(_)));
        assert_eq!((one.tls, one.address), (Some("1.3"), SocketAddr::from((ADDRESS, 443))));
        // One for HTTP/1.1 is in use until its exchange returns it.
        assert!(bench.core.pool.take(&bench.key(HttpVersions::Http2OrHttp1), |_| true).is_none());
    }

    #[tokio::test]
    async fn a_connection_for_http2_serves_concurrent_requests_at_once() {
        let bench = bench();
        let (two, _theirs) = over_tls(&bench, b"h2").await;
        let two = Box::pin(begun(&bench, two)).await.ok().unwrap();
        assert!(matches!(two.sender, Sender::Http2(_)));
        let pooled = bench.core.pool.take(&bench.key(HttpVersions::Http2OrHttp1), |_| true).unwrap();
        assert!(matches!(pooled.sender, Sender::Http2(_)));
        assert_eq!((two.reused, pooled.reused), (false, true));
        assert!(Arc::ptr_eq(&two.slot.unwrap(), &pooled.slot.unwrap()), "both hold one slot");
    }

    #[tokio::test]
    async fn an_upstream_that_closes_before_http2_begins_breaks_the_protocol() {
        let bench = bench();
        let (two, theirs) = over_tls(&bench, b"h2").await;
        drop(theirs);
        let refused = Box::pin(begun(&bench, two)).await.err().unwrap();
        assert_eq!(refused.reason(), Reason::UpstreamProtocol);
        assert!(bench.core.pool.take(&bench.key(HttpVersions::Http2OrHttp1), |_| true).is_none());
    }

    #[test]
    fn a_session_has_a_bounded_number_of_upstream_connections() {
        let mut setup = crate::testing::Setup::new(&["{id: r, allow: {host: api.example.com}}"]);
        setup.config.limits.max_session_upstreams = 1;
        let bench = setup.build();
        let first = upstream_slot(bench.exchange());
        assert_eq!(upstream_slot(bench.exchange()).err().unwrap().reason(), Reason::SessionQuota);
        drop(first);
        assert!(upstream_slot(bench.exchange()).is_ok());
    }
}
