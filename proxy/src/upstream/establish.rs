//! A new connection to an upstream, up to the start of its protocol.

use std::sync::Arc;

use hyper::rt::Executor as _;
use model::Reason;
use policies::Permit;
use tokio::net::TcpStream;
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
    let slot = Some(upstream_slot(exchange)?);
    let limit = permit.timeouts().connect.unwrap_or(core.proxy.limits.connect_timeout);
    let fresh = dial::connect(&core.proxy, &core.dialer, session, destination, addresses, key.versions, limit).await?;
    let Fresh { stream, address, chain } = fresh;
    let tls = stream.tls_version();
    let sender = match stream {
        Stream::Plain(tcp) => Sender::Http1(Client::new(tcp)),
        Stream::Tls(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2") => start_http2(tls, exchange).await?,
        Stream::Tls(tls) => Sender::Http1(Client::new(*tls)),
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

async fn start_http2(stream: Box<TlsStream<TcpStream>>, exchange: Exchange<'_>) -> Result<Sender, Refusal> {
    let frames = Frames::new(*stream, Peer::Server, exchange.core.proxy.limits.max_control_frames);
    let (client, connection) = http2::client::Client::start(frames).await.map_err(|error| {
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
