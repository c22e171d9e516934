//! A tunnel whose bytes are not read: `tls: pass-through`. One permit, one opening and one closing record cover all of
//! it.
//!
//! Egret decrypts nothing and adds nothing. A TLS client sends the server name in the clear; it must be the name of the
//! CONNECT. It is checked once, before the first byte is forwarded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use audit::{Fault, Outcome};
use model::{Destination, Host, Reason};
use policies::Permit;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::active::{ActiveExchange, Asked};
use crate::context::Exchange;
use crate::entry::listener::ClientStream;
use crate::entry::prefixed_stream::PrefixedStream;
use crate::held::Held;
use crate::limits::allowance::{Allowance, ByteLimit};
use crate::limits::quota::UpstreamSlot;
use crate::limits::timer::Timer;
use crate::refusal::Refusal;
use crate::share::pace;
use crate::steps::limit;
use crate::steps::limit::TunnelAdmission;
use crate::termination::Termination;
use crate::trail::Trail;
use crate::upstream::dial;
use crate::upstream::dial::Target;

/// The longest ClientHello that is read, in bytes (RFC 8446 allows more; clients send less than a tenth).
const MAX_HELLO_BYTES: usize = 64 << 10;

/// The first byte of a TLS client: a record of the handshake (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// A permitted tunnel with an upstream connection; the client has no answer yet.
pub(crate) struct Ready {
    upstream: TcpStream,
    active: Arc<ActiveExchange>,
    permit: Permit,
    slot: UpstreamSlot,
    held: Held,
    /// The limit of the client's bytes.
    allowance: Option<Allowance>,
}

/// Connects to the upstream of a tunnel, once the opening record is durable.
///
/// # Errors
/// `rate_limited`, `budget_exhausted`, `upstream_dns`, `denied_address`, `denied_self`, `upstream_refused`, `upstream_timeout`, `audit_unavailable`.
///
/// # Cancellation
/// Closes the record and the socket.
pub(crate) async fn reach(exchange: Exchange<'_>, permit: Permit, open: &mut Trail) -> Result<Ready, Refusal> {
    let Exchange { core, destination, .. } = exchange;
    let session = exchange.session();
    open.snapshot(permit.snapshot());
    open.permit(&permit);
    open.tls("pass-through");
    let request = core.proxy.quotas.request(&session.id)?;
    let slot = core.proxy.quotas.upstream(&session.id, destination)?;
    let active = core.active.add(exchange, Asked::Tunnel, &permit);
    let TunnelAdmission { admission, allowance } = limit::limit_tunnel(core, session, &permit)?;
    let held = Held::new(request, admission, &active);
    let target = Target::new(core, destination, &permit);
    // With known addresses, a tunnel can be refused before any network traffic, so it needs no opening record.
    if let Some(first) = target.known()?.and_then(|located| located.first()) {
        open.address(first.ip());
    }
    open.permitted().await?; // durable before a name is looked up or a byte leaves
    let located = target.resolve_allowed(&core.proxy.lookups, &session.id).await?;
    let limit = permit.timeouts().connect.unwrap_or(core.proxy.limits.connect_timeout);
    let (upstream, address) = dial::connect_passthrough(&located, limit).await?;
    open.address(address.ip());
    Ok(Ready { upstream, active, permit, slot, held, allowance })
}

/// Passes bytes in both directions and then closes the record. It ends when both ends are closed, one fails, no byte
/// moves for too long, or the session or the permit ends.
///
/// # Cancellation
/// Closes both ends, and records that.
pub(crate) async fn pass(exchange: Exchange<'_>, ready: Ready, client: PrefixedStream<ClientStream>, open: Trail) {
    let Exchange { core, destination, .. } = exchange;
    let Ready { upstream, active, permit, slot: _slot, held, allowance } = ready;
    let counts = Counts::default();
    let response_body = held.admission.response_body().cloned();
    let idle = permit.timeouts().idle.unwrap_or(core.proxy.limits.idle_timeout);
    let ending = {
        let limits = &core.proxy.limits;
        let (hello, unread) = (limits.handshake_timeout, limits.unread_timeout);
        let (client, ahead) = client.into_parts();
        let ways = Ways { client, ahead, upstream: upstream.into_split(), hello, unread, allowance, response_body };
        tokio::select! {
            biased;
            cut = active.terminated() => Ending::Termination(cut),
            () = exchange.client.ended() => Ending::SessionEnded,
            ending = ways.copy(destination, &counts, idle) => ending,
        }
    };
    close(open, &counts, ending);
    drop(held);
}

/// Ends the record of a tunnel.
fn close(mut open: Trail, counts: &Counts, ending: Ending) {
    let Counts { up, down } = counts;
    open.body(up.load(Ordering::Relaxed), down.load(Ordering::Relaxed));
    match ending {
        Ending::Closed => open.close(Outcome::Ok, None, None),
        Ending::Client => open.close(Outcome::ClientAbort, Some(Fault::Downstream), None),
        Ending::Upstream => open.close(Outcome::UpstreamReset, Some(Fault::Upstream), Some(Reason::UpstreamProtocol)),
        Ending::Idle => {
            open.detail(Timer::Idle.name());
            open.close(Outcome::Timeout, Some(Fault::Downstream), None);
        }
        Ending::Termination(cut) => open.terminated(&cut),
        Ending::SessionEnded => open.session_ended(),
        Ending::TooLarge => open.response_too_large(),
        Ending::OddHello => open.close(Outcome::Aborted, Some(Fault::Downstream), Some(Reason::Malformed)),
        Ending::OtherName(name) => {
            open.sni(&name);
            open.close(Outcome::Aborted, Some(Fault::Downstream), Some(Reason::AuthorityMismatch));
        }
    }
}

/// How a tunnel ended.
#[derive(Debug)]
enum Ending {
    /// Both sides closed their half.
    Closed,
    Client,
    Upstream,
    Idle,
    Termination(Termination),
    SessionEnded,
    /// The upstream sent more than a response may be.
    TooLarge,
    /// The client begins TLS with a ClientHello whose server name cannot be read.
    OddHello,
    /// The client's handshake names another server than the CONNECT.
    OtherName(String),
}

#[derive(Default)]
struct Counts {
    up: AtomicU64,
    down: AtomicU64,
}

/// Both ends of a tunnel.
struct Ways<C, R, W> {
    client: C,
    /// The bytes that the client sent after its CONNECT.
    ahead: Vec<u8>,
    /// The buffers of the upstream, for reading and writing.
    upstream: (R, W),
    /// The time limit of a ClientHello.
    hello: Duration,
    /// How long a client may leave bytes unread.
    unread: Duration,
    /// The limit of the client's bytes.
    allowance: Option<Allowance>,
    /// The most that may be sent to the client.
    response_body: Option<ByteLimit>,
}

impl<C: AsyncRead + AsyncWrite, R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Ways<C, R, W> {
    /// Copies both directions until one fails, both have ended, or nothing moves for `idle`.
    async fn copy(self, destination: &Destination, counts: &Counts, idle: Duration) -> Ending {
        let (from_client, mut to_client) = tokio::io::split(self.client);
        let (mut from_upstream, mut to_upstream) = self.upstream;
        let mut from_client = PrefixedStream::new(from_client, self.ahead);
        let moved = Moved::new();
        let mut allowance = self.allowance;
        let mut received: u64 = 0;
        // A server may speak first, as SSH does. Its bytes do not wait for the client's, and do not count as progress of
        // the client.
        let up = async {
            check_hello(&mut from_client, destination, self.hello).await?;
            let mut buffer = vec![0; BUFFER];
            while let Some(piece) = read(&mut from_client, &mut buffer, Ending::Client).await? {
                if let Some(allowance) = &mut allowance {
                    let taken = std::future::poll_fn(|cx| allowance.poll_take(piece.len(), cx)).await;
                    taken.map_err(|limited| Ending::Termination(limited.into()))?;
                }
                to_upstream.write_all(piece).await.map_err(|_| Ending::Upstream)?;
                counts.up.fetch_add(piece.len() as u64, Ordering::Relaxed);
                moved.now();
            }
            to_upstream.shutdown().await.map_err(|_| Ending::Upstream)
        };
        let down = async {
            let mut buffer = vec![0; BUFFER];
            while let Some(piece) = read(&mut from_upstream, &mut buffer, Ending::Upstream).await? {
                received += piece.len() as u64;
                if self.response_body.as_ref().is_some_and(|limit| received > limit.bytes) {
                    return Err(Ending::TooLarge);
                }
                let written = tokio::time::timeout(self.unread, to_client.write_all(piece)).await;
                written.map_err(|_| Ending::Termination(Timer::Unread.into()))?.map_err(|_| Ending::Client)?;
                counts.down.fetch_add(piece.len() as u64, Ordering::Relaxed);
                moved.now();
            }
            to_client.shutdown().await.map_err(|_| Ending::Client)
        };
        let both = async { tokio::try_join!(up, down).map_or_else(|ending| ending, |_both| Ending::Closed) };
        tokio::select! {
            ending = both => ending,
            () = moved.silent_for(idle) => Ending::Idle,
        }
    }
}

/// Bytes that are copied at once.
const BUFFER: usize = 32 << 10;

/// The next piece of one direction; `None` at its end. The end is passed on, so that a side that closed only its half
/// still gets the rest.
async fn read<'b>(
    from: &mut (impl AsyncRead + Unpin),
    buffer: &'b mut [u8],
    failed: Ending,
) -> Result<Option<&'b [u8]>, Ending> {
    std::future::poll_fn(|cx| pace(cx)).await;
    let Ok(count) = from.read(buffer).await else { return Err(failed) };
    Ok(buffer.get(..count).filter(|piece| !piece.is_empty()))
}

/// Requires a TLS client to name the server of its CONNECT. Other protocols, and handshakes without a server name,
/// pass.
async fn check_hello<S>(
    client: &mut PrefixedStream<S>,
    destination: &Destination,
    limit: Duration,
) -> Result<(), Ending>
where
    S: AsyncRead + Unpin,
{
    let first = client.peek().await.map_err(|_| Ending::Client)?.first().copied();
    if first != Some(TLS_HANDSHAKE) {
        return Ok(());
    }
    let hello = tokio::time::timeout(limit, server_name(client)).await;
    match hello.unwrap_or(Err(Ending::OddHello))? {
        Some(name) if !Host::parse(&name).is_ok_and(|host| host == *destination.host()) => Err(Ending::OtherName(name)),
        Some(_) | None => Ok(()),
    }
}

/// When a byte last moved, in milliseconds since the tunnel began.
struct Moved {
    began: Instant,
    last: AtomicU64,
}

impl Moved {
    fn new() -> Self {
        Self { began: Instant::now(), last: AtomicU64::new(0) }
    }

    fn now(&self) {
        let at = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(at, Ordering::Relaxed);
    }

    async fn silent_for(&self, limit: Duration) {
        loop {
            let last = self.began + Duration::from_millis(self.last.load(Ordering::Relaxed));
            if last.elapsed() >= limit {
                return;
            }
            tokio::time::sleep_until(last + limit).await;
        }
    }
}

/// The server name of a ClientHello at the beginning of the stream, which stays unread; `None` if it has no server
/// name.
async fn server_name<S: AsyncRead + Unpin>(stream: &mut PrefixedStream<S>) -> Result<Option<String>, Ending> {
    let mut acceptor = Acceptor::default();
    let mut seen = 0;
    loop {
        let bytes = stream.peek_more(seen).await.map_err(|_| Ending::Client)?;
        let mut fresh = bytes.get(seen..).unwrap_or_default();
        if fresh.is_empty() || bytes.len() > MAX_HELLO_BYTES {
            return Err(Ending::OddHello);
        }
        seen = bytes.len();
        while !fresh.is_empty() {
            acceptor.read_tls(&mut fresh).map_err(|_| Ending::OddHello)?;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(accepted.client_hello().server_name().map(str::to_owned)),
            Ok(None) => {}
            Err(_) => return Err(Ending::OddHello),
        }
    }
}

#[cfg(test)]
mod tests;
