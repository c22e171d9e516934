//! The connection half of the line: from an accepted socket to a stream of requests, each of which goes to `exchange.rs`.
//!
//! A CONNECT is answered here, since nothing but its head is HTTP. Within the tunnel, and for requests in absolute form, `http1/serve.rs`
//! or, where the client chose HTTP/2, hyper serves the stream. As in `exchange.rs`, an outer function owns the record of what is refused.

use std::sync::Arc;

use http::Response;
use model::{Destination, Reason, Scheme};
use policies::Permit;
use sessions::Session;

use crate::body::answer::Body;
use crate::context::Exchange;
use crate::entry::entrance::{Entrance, overloaded};
use crate::entry::http::{answer_bytes, establish, write_refusal};
use crate::entry::listener::ClientStream;
use crate::entry::paced::Paced;
use crate::entry::patience::Patience;
use crate::entry::prefixed_stream::PrefixedStream;
use crate::entry::stall;
use crate::entry::stall::Unread;
use crate::exchange::exchange;
use crate::http1::head::RequestHead;
use crate::http1::link::{Arrived, Door, HeadFault, Link, Received};
use crate::http1::serve::{End, Service, serve};
use crate::refusal::Refusal;
use crate::request::Asked;
use crate::steps::accept::{Downstream, TurnedAway};
use crate::steps::decide::Passage;
use crate::steps::intercept::{Inner, intercept};
use crate::steps::respond;
use crate::steps::{decide, parse};
use crate::trail::Trail;
use crate::tunnel::{Tunnel, serve_http1, serve_http2};
use crate::{Core, Proxy, passthrough};

/// Serves one downstream connection to its end.
///
/// # Cancellation
/// Everything on it is cut, and recorded as such.
pub(crate) async fn connection(core: Arc<Core>, downstream: Downstream) {
    let Downstream { stream, place } = downstream;
    stall::bound_unsent(&stream);
    let entrance = Entrance::new(&core.proxy, place);
    let Some(stream) = handshake(&core.proxy, stream, &entrance).await else { return };
    let stream = Unread::new(Paced(stream), entrance.must_close().clone(), &core.proxy.limits);
    let link = Link::new(stream, core.proxy.limits.clone(), Door::Listener(entrance.clone()));
    let first = tokio::select! {
        first = link.next() => first,
        refusal = entrance.expired() => Err(HeadFault::Refused(refusal)),
        () = core.proxy.draining() => return,
    };
    if let Some(session) = entrance.session() {
        core.shares.charge_to(&session.id);
    }
    let connect = match first {
        Ok(None) | Err(HeadFault::Socket) => return,
        Ok(Some(Arrived::Connect(head))) => head,
        // A CONNECT may come on a connection that has carried requests in absolute form.
        Ok(Some(first)) => match Box::pin(plain(&core, &link, first, &entrance)).await {
            Some(head) => head,
            None => return,
        },
        // A client that opens connections ahead of its requests, as browsers do, has asked for nothing yet.
        Err(HeadFault::Refused(refusal)) if refusal.reason() == Reason::TimeoutHead && !link.has_begun() => return,
        Err(HeadFault::Refused(refusal)) => {
            return Box::pin(refuse_first(&core.proxy, &link, &entrance, &refusal)).await;
        }
    };
    if let Some((stream, ahead)) = taken(&link) {
        Box::pin(tunnel(core, connect, stream, ahead, &entrance)).await;
    }
}

/// The connection of a listener, as it is served.
type Listening = Link<Unread<Paced<ClientStream>>>;

/// The client's stream, with what was read from it and not consumed.
fn taken(link: &Listening) -> Option<(ClientStream, Vec<u8>)> {
    let (stream, ahead) = link.take_parts()?;
    Some((stream.into_inner().0, ahead))
}

/// The stream on which HTTP is spoken. A handshake counts to the time in which a client must identify itself; one that fails has
/// asked for nothing, and could not read an answer.
async fn handshake(proxy: &Arc<Proxy>, stream: ClientStream, entrance: &Entrance) -> Option<ClientStream> {
    tokio::select! {
        // A connection without TLS is ready at once. It may have lost its place before its first poll, and must get the 503 for that.
        biased;
        stream = stream.after_handshake() => {
            stream.inspect_err(|error| tracing::debug!(%error, "a TLS handshake with the proxy failed")).ok()
        }
        _expired = entrance.expired() => None,
        () = proxy.draining() => None,
    }
}

/// Refuses what came instead of a first request. A client that does not read the answer holds nobody out: while it is not
/// identified, its place can be given to another one.
async fn refuse_first(proxy: &Arc<Proxy>, link: &Listening, entrance: &Entrance, refusal: &Refusal) {
    let Some((stream, _)) = taken(link) else { return };
    if refusal.reason() == Reason::Overloaded {
        return turn_away(proxy.clone(), TurnedAway { stream, source: entrance.source() }).await;
    }
    let delay = entrance.delay_of(refusal);
    let record = entrance.open().refuse(refusal);
    let answered = async {
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        write_refusal(stream, refusal, &record).await;
    };
    tokio::select! {
        () = answered => {}
        () = entrance.evicted() => {}
    }
}

/// Answers a connection for which there is no place, and closes it. Only so many of them linger until the answer has arrived; the
/// others may see a reset behind it.
pub(crate) async fn turn_away(proxy: Arc<Proxy>, turned_away: TurnedAway) {
    let TurnedAway { stream, source } = turned_away;
    let refusal = overloaded();
    let record = Trail::stranger(&proxy, source).refuse(&refusal);
    match proxy.turned_away.try_acquire() {
        Ok(_lingering) => {
            let handshake = tokio::time::timeout(proxy.limits.identify_timeout, stream.after_handshake());
            if let Ok(Ok(stream)) = handshake.await {
                write_refusal(stream, &refusal, &record).await;
            }
        }
        Err(_) => {
            let written = stream.try_write(&answer_bytes(&refusal, &record));
            tracing::debug!(?written, "a connection was turned away");
        }
    }
}

/// One CONNECT: admits it, opens the inside, serves the requests in it until it closes or its session ends.
async fn tunnel(core: Arc<Core>, head: RequestHead, mut stream: ClientStream, ahead: Vec<u8>, entrance: &Entrance) {
    let Admitted { session, destination, passage } = match admit(&core.proxy, entrance, &head) {
        Ok(admitted) => admitted,
        Err(rejected) => {
            let Rejected { open, refusal } = *rejected;
            let record = open.refuse(&refusal);
            return write_refusal(stream, &refusal, &record).await;
        }
    };
    if let Passage::Passthrough(permit) = passage {
        let downlink = entrance.must_close();
        let exchange = Exchange { core: &core, session: &session, destination: &destination, downlink };
        return Box::pin(pass_through(exchange, permit, stream, ahead)).await;
    }
    if establish(&mut stream).await.is_err() {
        return;
    }
    let inner = tokio::select! {
        inner = intercept(&core.proxy, PrefixedStream::new(stream, ahead), &destination) => inner,
        () = session.ended() => Err(Refusal::of(Reason::SessionEnded, "the session has ended")),
    };
    match inner {
        Err(refusal) => drop(open_connect(entrance, &head, Some(&destination)).refuse(&refusal)),
        Ok(None) => {}
        Ok(Some(Inner::Plain(stream))) => {
            let destination = Destination::new(Scheme::Http, destination.host().clone(), destination.port());
            serve_http1(Tunnel::new(core, session, destination, false), stream).await;
        }
        Ok(Some(Inner::Tls(stream))) => {
            let (_, tls) = stream.get_ref();
            let (http2, without_sni) = (tls.alpn_protocol() == Some(b"h2"), tls.server_name().is_none());
            let tunnel = Tunnel::new(core, session, destination, without_sni);
            if http2 { serve_http2(tunnel, *stream).await } else { serve_http1(tunnel, *stream).await }
        }
    }
}

/// A tunnel whose bytes are not read: reaches its upstream first, so that a failure is an answer to the CONNECT.
async fn pass_through(exchange: Exchange<'_>, permit: Permit, mut stream: ClientStream, prefix: Vec<u8>) {
    let mut open = Trail::tunnel(exchange);
    let reached = tokio::select! {
        reached = passthrough::reach(exchange, permit, &mut open) => reached,
        () = exchange.session.ended() => Err(Refusal::of(Reason::SessionEnded, "the session has ended")),
    };
    match reached {
        Err(refusal) => {
            let record = open.refuse(&refusal);
            write_refusal(stream, &refusal, &record).await;
        }
        Ok(ready) => {
            if establish(&mut stream).await.is_ok() {
                passthrough::pass(exchange, ready, (stream, prefix), open).await;
            }
        }
    }
}

/// A request to the proxy itself that gets in.
struct Admitted {
    session: Arc<Session>,
    destination: Destination,
    passage: Passage,
}

/// A request to the proxy itself that does not get in, with its open record.
struct Rejected {
    open: Trail,
    refusal: Refusal,
}

/// Steps 3 and 4 for a request to the proxy itself; the strict reader has asked for step 2.
fn admit(proxy: &Arc<Proxy>, entrance: &Entrance, head: &RequestHead) -> Result<Admitted, Box<Rejected>> {
    let rejected = |destination: Option<&Destination>, refusal| {
        Box::new(Rejected { open: open_connect(entrance, head, destination), refusal })
    };
    let unknown = || rejected(None, Refusal::of(Reason::Internal, "a request was read before its session was known"));
    let session = entrance.session().cloned().ok_or_else(unknown)?;
    let destination = parse::parse(head).map_err(|refusal| rejected(None, refusal))?;
    match decide::decide(proxy, &session, &destination) {
        Ok(passage) => match decide::count_names(proxy, &session, &destination, head) {
            Ok(()) => Ok(Admitted { session, destination, passage }),
            Err(refusal) => Err(rejected(Some(&destination), refusal)),
        },
        Err(refusal) => Err(rejected(Some(&destination), refusal)),
    }
}

fn open_connect(entrance: &Entrance, head: &RequestHead, destination: Option<&Destination>) -> Trail {
    let mut open = entrance.open();
    if let Some(destination) = destination {
        open.destination(destination);
    }
    open.asked(&head.method, head.target.path(), "http/1.1");
    open
}

/// Requests in absolute form on one connection.
struct Plain<'a> {
    core: &'a Core,
    entrance: &'a Entrance,
    patience: Patience,
}

impl Service for Plain<'_> {
    async fn call(&self, received: Result<Received, Refusal>) -> Response<Body> {
        let response = self.answer(received.map(Asked::from)).await;
        if self.patience.is_exhausted_by(&response) { respond::closing(response) } else { response }
    }
}

impl Plain<'_> {
    async fn answer(&self, asked: Result<Asked, Refusal>) -> Response<Body> {
        let Self { core, entrance, .. } = self;
        let asked = match asked {
            Ok(asked) => asked,
            Err(refusal) => return respond::refuse(entrance.open(), &refusal),
        };
        let (session, destination) = match admit(&core.proxy, entrance, &asked.head) {
            // A host that is not read takes no request in absolute form: that one is judged, and refused, by its rules.
            Ok(Admitted { session, destination, passage: _ }) => (session, destination),
            Err(rejected) => return respond::refuse(rejected.open, &rejected.refusal),
        };
        let mut open = entrance.open();
        open.destination(&destination);
        let downlink = entrance.must_close();
        exchange(Exchange { core, session: &session, destination: &destination, downlink }, asked, open).await
    }
}

/// Serves requests in absolute form, `first` before others. Gives the head of a CONNECT that comes instead of another one.
async fn plain(core: &Arc<Core>, link: &Arc<Listening>, first: Arrived, entrance: &Entrance) -> Option<RequestHead> {
    let patience = Patience::new(core.proxy.limits.max_refusals);
    let service = Plain { core, entrance, patience };
    let served = serve(link, &service, Some(first), core.proxy.draining());
    let ended = tokio::select! {
        ended = served => ended,
        () = entrance.ended() => End::Closed,
    };
    match ended {
        End::Connect(head) => Some(head),
        End::Closed => None,
    }
}
