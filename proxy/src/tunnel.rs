//! A tunnel whose bytes are not read: `tls: pass-through`. One permit, one opening and one closing record for all of it.
//!
//! Nothing is decrypted and nothing is added. What a TLS client says in the clear, the name of the server it wants, must be
//! the name that was connected to; it is looked at once, before the first byte goes on.

use std::pin::pin;
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
use crate::refusal::Refusal;
use crate::rewound::Rewound;
use crate::steps::record::Open;

/// The longest ClientHello that is waited for, in bytes (RFC 8446 allows more; clients send less than a tenth).
const MAX_HELLO_BYTES: usize = 64 << 10;

/// A tunnel that was permitted and whose upstream was reached; the client was not answered yet.
pub(crate) struct Ready {
    upstream: TcpStream,
    standing: Arc<Standing>,
    permit: Permit,
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
    let standing = core.live.note(session, destination, Asked::Tunnel, permit.until());
    let located = dial::locate(&core.proxy.config, &core.proxy.own, &core.dialer, destination, &permit).await?;
    if let Some(first) = located.first() {
        open.address(first.ip());
    }
    open.permitted().await?;
    let limit = permit.timeouts().connect.unwrap_or(core.proxy.limits.connect_timeout);
    let (upstream, address) = dial::connect_unread(&located, limit).await?;
    open.address(address.ip());
    Ok(Ready { upstream, standing, permit })
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
    client: Rewound<TcpStream>,
    mut open: Open,
) {
    let Ready { upstream, standing, permit } = ready;
    let counts = Counts::default();
    let idle = permit.timeouts().idle.unwrap_or(core.proxy.limits.idle_timeout);
    let ending = {
        let mut both = pin!(copy(client, upstream, destination, &counts, idle, core.proxy.limits.handshake_timeout));
        tokio::select! {
            ending = both.as_mut() => ending,
            denied = standing.cut() => Ending::Cut(denied.reason),
            () = session.ended() => Ending::Cut(Reason::SessionEnded),
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
    /// The client's handshake names another server than the one it connected to.
    OtherName(String),
}

#[derive(Default)]
struct Counts {
    up: AtomicU64,
    down: AtomicU64,
}

async fn copy(
    mut client: Rewound<TcpStream>,
    upstream: TcpStream,
    destination: &Destination,
    counts: &Counts,
    idle: Duration,
    hello: Duration,
) -> Ending {
    // A server may speak first, as SSH does: its bytes need not wait for the client's.
    let (mut from_upstream, mut to_upstream) = upstream.into_split();
    let first = {
        let mut early = Vec::with_capacity(4 << 10);
        tokio::select! {
            first = client.peek() => Ok(first.map(<[u8]>::first).map(Option::<&u8>::copied)),
            read = from_upstream.read_buf(&mut early) => Err(read.map(|_| early)),
        }
    };
    match first {
        Ok(Ok(Some(0x16))) => {
            let named = tokio::time::timeout(hello, server_name(&mut client)).await;
            if let Ok(Some(name)) = named
                && !Host::parse(&name).is_ok_and(|host| host == *destination.host())
            {
                return Ending::OtherName(name);
            }
        }
        Ok(Ok(_)) => {}
        Ok(Err(_)) => return Ending::Client,
        Err(Ok(early)) if early.is_empty() => {}
        Err(Ok(early)) => {
            if client.write_all(&early).await.is_err() {
                return Ending::Client;
            }
            counts.down.fetch_add(early.len() as u64, Ordering::Relaxed);
        }
        Err(Err(_)) => return Ending::Upstream,
    }
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let moved = Moved::new();
    let up = one_way(&mut from_client, &mut to_upstream, &counts.up, &moved);
    let down = one_way(&mut from_upstream, &mut to_client, &counts.down, &moved);
    let both = async {
        let (up, down) = tokio::join!(up, down);
        match (up, down) {
            (Err(Side::Reading), _) | (_, Err(Side::Writing)) => Ending::Client,
            (_, Err(Side::Reading)) | (Err(Side::Writing), _) => Ending::Upstream,
            (Ok(()), Ok(())) => Ending::Closed,
        }
    };
    tokio::select! {
        ending = both => ending,
        () = moved.silent_for(idle) => Ending::Idle,
    }
}

/// Which end of one direction failed.
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

/// The server name of a ClientHello at the beginning of the stream, which stays unread; `None` where it names none or is
/// nothing that TLS clients send.
async fn server_name(stream: &mut Rewound<TcpStream>) -> Option<String> {
    let mut seen = 0;
    loop {
        let bytes = stream.peek_beyond(seen).await.ok()?;
        if bytes.len() == seen || bytes.len() > MAX_HELLO_BYTES {
            return None;
        }
        seen = bytes.len();
        let mut acceptor = Acceptor::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            acceptor.read_tls(&mut rest).ok()?;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return accepted.client_hello().server_name().map(str::to_owned),
            Ok(None) => {}
            Err(_) => return None,
        }
    }
}
