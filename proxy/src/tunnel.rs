//! A tunnel whose bytes are not read: `tls: pass-through`. One permit, one opening and one closing record for all of it.
//!
//! Nothing is decrypted and nothing is added. What a TLS client says in the clear, the name of the server it wants, must be
//! the name that was connected to; it is looked at once, before the first byte goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use audit::{Fault, Outcome};
use model::{Destination, Host, Reason};
use policies::Permit;
use rustls::server::Acceptor;
use sessions::Session;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::Core;
use crate::dial;
use crate::live::{Asked, Standing};
use crate::quota::UpstreamSlot;
use crate::refusal::Refusal;
use crate::rewound::Rewound;
use crate::share::pace;
use crate::steps::record::Open;

/// The longest ClientHello that is waited for, in bytes (RFC 8446 allows more; clients send less than a tenth).
const MAX_HELLO_BYTES: usize = 64 << 10;

/// The first byte of a TLS client: a record of the handshake (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// A tunnel that was permitted and whose upstream was reached; the client was not answered yet.
pub(crate) struct Ready {
    upstream: TcpStream,
    standing: Arc<Standing>,
    permit: Permit,
    slot: UpstreamSlot,
}

/// Reaches the upstream of a tunnel, once the opening record is durable.
///
/// # Errors
/// `upstream_dns`, `denied_address`, `denied_self`, `upstream_refused`, `upstream_timeout`, `audit_unavailable`.
///
/// # Cancellation
/// The record is closed, the socket too.
pub(crate) async fn reach(
    core: &Core,
    session: &Arc<Session>,
    destination: &Destination,
    permit: Permit,
    open: &mut Open,
) -> Result<Ready, Refusal> {
    open.snapshot(permit.snapshot());
    open.permit(&permit);
    open.tls("pass-through");
    open.takes(core.proxy.quotas.request(&session.id)?);
    let slot = core.proxy.quotas.upstream(&session.id, destination)?;
    let standing = core.live.note(session, destination, Asked::Tunnel, permit.until(), open.connection().clone());
    let located = dial::locate(&core.proxy.config, &core.proxy.own, &core.dialer, destination, &permit).await?;
    if let Some(first) = located.first() {
        open.address(first.ip());
    }
    open.permitted().await?;
    let limit = permit.timeouts().connect.unwrap_or(core.proxy.limits.connect_timeout);
    let (upstream, address) = dial::connect_unread(&located, limit).await?;
    open.address(address.ip());
    Ok(Ready { upstream, standing, permit, slot })
}

/// Passes bytes both ways until both ends are closed, one fails, nothing moves for too long, the session ends or the
/// permit does; then closes the record.
///
/// # Cancellation
/// Both ends are closed, and the record says so.
pub(crate) async fn pass(
    core: &Core,
    session: &Session,
    destination: &Destination,
    ready: Ready,
    client: TcpStream,
    ahead: Vec<u8>,
    mut open: Open,
) {
    let Ready { upstream, standing, permit, slot: _slot } = ready;
    let counts = Counts::default();
    let idle = permit.timeouts().idle.unwrap_or(core.proxy.limits.idle_timeout);
    let ending = {
        let ways = Ways { client, ahead, upstream, hello: core.proxy.limits.handshake_timeout };
        tokio::select! {
            biased;
            denied = standing.cut() => Ending::Cut(denied.reason),
            () = session.ended() => Ending::Cut(Reason::SessionEnded),
            ending = ways.copy(destination, &counts, idle) => ending,
        }
    };
    let Counts { up, down } = &counts;
    open.body(up.load(Ordering::Relaxed), down.load(Ordering::Relaxed), 0);
    match ending {
        Ending::Closed => open.close(Outcome::Ok, None, None),
        Ending::Client => open.close(Outcome::ClientAbort, Some(Fault::Downstream), None),
        Ending::Upstream => open.close(Outcome::UpstreamReset, Some(Fault::Upstream), Some(Reason::UpstreamProtocol)),
        Ending::Idle => open.close(Outcome::Timeout, Some(Fault::Downstream), None),
        Ending::Cut(reason) => open.close(Outcome::Aborted, Some(Fault::Policy), Some(reason)),
        Ending::OddHello => open.close(Outcome::Aborted, Some(Fault::Downstream), Some(Reason::Malformed)),
        Ending::OtherName(name) => {
            open.sni(&name);
            open.close(Outcome::Aborted, Some(Fault::Downstream), Some(Reason::AuthorityMismatch));
        }
    }
}

/// How a tunnel ended.
enum Ending {
    /// Both sides said that they were done.
    Closed,
    Client,
    Upstream,
    Idle,
    Cut(Reason),
    /// The client begins TLS in a way in which nobody can tell whom it asks for.
    OddHello,
    /// The client's handshake names another server than the one it connected to.
    OtherName(String),
}

#[derive(Default)]
struct Counts {
    up: AtomicU64,
    down: AtomicU64,
}

/// Both ends of a tunnel.
struct Ways {
    client: TcpStream,
    /// What was read of the client beyond its CONNECT.
    ahead: Vec<u8>,
    upstream: TcpStream,
    /// How long a ClientHello may take.
    hello: Duration,
}

impl Ways {
    /// Copies both directions until one fails, both have ended, or nothing moves for `idle`.
    async fn copy(self, destination: &Destination, counts: &Counts, idle: Duration) -> Ending {
        let (from_client, mut to_client) = self.client.into_split();
        let (mut from_upstream, mut to_upstream) = self.upstream.into_split();
        let mut from_client = Rewound::new(from_client, self.ahead);
        let moved = Moved::new();
        // A server may speak first, as SSH does: its bytes do not wait for the client's, and excuse the client's nothing.
        let up = async {
            check_hello(&mut from_client, destination, self.hello).await?;
            let failed = |side| if side == Side::Reading { Ending::Client } else { Ending::Upstream };
            one_way(&mut from_client, &mut to_upstream, &counts.up, &moved).await.map_err(failed)
        };
        let down = async {
            let failed = |side| if side == Side::Reading { Ending::Upstream } else { Ending::Client };
            one_way(&mut from_upstream, &mut to_client, &counts.down, &moved).await.map_err(failed)
        };
        let both = async { tokio::try_join!(up, down).map_or_else(|ending| ending, |_both| Ending::Closed) };
        tokio::select! {
            ending = both => ending,
            () = moved.silent_for(idle) => Ending::Idle,
        }
    }
}

/// Holds a client that begins TLS to the name that it connected to. Whoever begins otherwise, or names nobody, passes.
async fn check_hello<S>(client: &mut Rewound<S>, destination: &Destination, limit: Duration) -> Result<(), Ending>
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

/// Which end of one direction failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Reading,
    Writing,
}

/// Copies one direction and passes its end on, so that a side that only closed its half still gets the rest.
async fn one_way(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    count: &AtomicU64,
    moved: &Moved,
) -> Result<(), Side> {
    let mut buffer = vec![0; 32 << 10];
    loop {
        std::future::poll_fn(|cx| pace(cx)).await;
        let read = from.read(&mut buffer).await.map_err(|_| Side::Reading)?;
        if read == 0 {
            return to.shutdown().await.map_err(|_| Side::Writing);
        }
        to.write_all(buffer.get(..read).unwrap_or_default()).await.map_err(|_| Side::Writing)?;
        count.fetch_add(read as u64, Ordering::Relaxed);
        moved.now();
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

/// The server name of a ClientHello at the beginning of the stream, which stays unread; `None` where it names none.
async fn server_name<S: AsyncRead + Unpin>(stream: &mut Rewound<S>) -> Result<Option<String>, Ending> {
    let mut acceptor = Acceptor::default();
    let mut seen = 0;
    loop {
        let bytes = stream.peek_beyond(seen).await.map_err(|_| Ending::Client)?;
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
