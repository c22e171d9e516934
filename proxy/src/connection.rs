//! The connection half of the line: from an accepted socket to a stream of requests. Each request goes to `exchange.rs`.
//!
//! CONNECT is answered here, because only its head is HTTP. Inside a tunnel, and for requests in absolute form, `http1/serve.rs` serves
//! the stream; if the client chose HTTP/2, `http2/serve.rs` does. As in `exchange.rs`, an outer function owns the record of a refusal.

use std::sync::Arc;

use ::http::Method;
use model::{Endpoint, Reason, Scheme};
use policies::Permit;
use sessions::Identified;

use crate::active::REPLACED_TOKEN;
use crate::body::answer::Body;
use crate::context::Exchange;
use crate::downlink::Downlink;
use crate::entry::arrival::{Arrival, TunnelArrival};
use crate::entry::channel::Channel;
use crate::entry::entrance::{Entrance, overloaded};
use crate::entry::http;
use crate::entry::listener::ClientStream;
use crate::entry::paced::Paced;
use crate::entry::patience::Patience;
use crate::entry::prefixed_stream::PrefixedStream;
use crate::entry::stall;
use crate::entry::stall::Unread;
use crate::flow::Flow;
use crate::http1::head::RequestHead;
use crate::http1::link::{Arrived, ClientCheck, HeadFault, Identify, Link, Received};
use crate::http1::serve::{End, Service, serve};
use crate::message::Response;
use crate::refusal::Refusal;
use crate::request::Asked;
use crate::steps::accept::{Downstream, TurnedAway};
use crate::steps::decide::Passage;
use crate::steps::identify;
use crate::steps::intercept::{Inner, intercept};
use crate::steps::respond;
use crate::steps::{decide, parse};
use crate::trail::Trail;
use crate::tunnel::{Tunnel, serve_http1, serve_http2};
use crate::upstream::preconnect::Preconnect;
use crate::{Core, Proxy, exchange, passthrough, share};

/// Serves one downstream connection to its end.
///
/// # Cancellation
/// Terminates everything on it, and records that.
pub(crate) async fn connection(core: Arc<Core>, downstream: Downstream<ClientStream>) {
    let Downstream { stream, slot, channel } = downstream;
    stall::bound_unsent(&stream);
    let entrance = Entrance::new(&core.proxy, slot, channel);
    let Some(stream) = handshake(&core.proxy, stream, &entrance).await else { return };
    let stream = Unread::new(Paced(stream), entrance.must_close().clone(), &core.proxy.limits);
    let link = Link::new(stream, core.proxy.limits.clone(), ClientCheck::Listener(Box::new(Client(entrance.clone()))));
    let first = match own_listener(&entrance) {
        Ok(()) => tokio::select! {
            first = link.next() => first,
            refusal = entrance.expired() => Err(HeadFault::Refused(refusal)),
            () = entrance.ended() => return,
            () = core.proxy.draining() => return,
        },
        Err(refusal) => return close_at_once(&link, &entrance, &refusal),
    };
    if let Some(session) = entrance.session() {
        core.shares.charge_to(&session.id);
    }
    let (client, connect) = match first {
        Ok(None) | Err(HeadFault::Socket) => return,
        Ok(Some(Arrived::Connect(client, head))) => (client, head),
        // A CONNECT may arrive on a connection that has carried requests in absolute form.
        Ok(Some(first)) => match Box::pin(plain(&core, &link, first, &entrance)).await {
            Some(connect) => connect,
            None => return,
        },
        // Browsers open connections ahead of their requests; such a connection has not requested anything yet.
        Err(HeadFault::Refused(refusal)) if refusal.reason() == Reason::TimeoutHead && !link.has_begun() => return,
        Err(HeadFault::Refused(refusal)) => {
            return Box::pin(refuse_first(&core.proxy, &link, &entrance, &refusal)).await;
        }
    };
    if let Some((stream, ahead)) = taken(&link) {
        let arrival = http::tunnel(client, connect, PrefixedStream::new(stream, ahead));
        Box::pin(tunnel(core, arrival, &entrance)).await;
    }
}

/// The client of an HTTP listener, for the reader of its heads.
struct Client(Arc<Entrance>);

impl Identify for Client {
    fn identify(&self, credentials: Option<&[u8]>) -> Result<Identified, Refusal> {
        let sent = credentials.map(http::ProxyCredentials::read).transpose()?;
        identify::identify(&self.0, sent.as_ref().map(http::ProxyCredentials::proof))
    }
}

/// Closes a connection that the listener of a session is not for. It gets what the kernel takes at once and holds no slot meanwhile:
/// any user may connect to a listener that names one.
fn close_at_once(link: &Listening, entrance: &Entrance, refusal: &Refusal) {
    let record = entrance.open().refuse(refusal);
    if let Some((stream, _)) = taken(link) {
        let written = stream.try_write(&http::answer_bytes(refusal, &record));
        tracing::debug!(?written, "a connection to the listener of a session was closed");
    }
}

/// A connection to a session's listener counts for the session at once. Its clients then use none of the slots of unidentified
/// clients.
fn own_listener(entrance: &Entrance) -> Result<(), Refusal> {
    match entrance.channel() {
        Channel::Listener(..) => identify::identify(entrance, None).map(drop),
        Channel::SharedSocket(_) | Channel::Network(_) => Ok(()),
    }
}

/// The connection of a listener while it is served.
type Listening = Link<Unread<Paced<ClientStream>>>;

/// The client's stream, with the bytes that were read from it and not consumed.
fn taken(link: &Listening) -> Option<(ClientStream, Vec<u8>)> {
    let (stream, ahead) = link.take_parts()?;
    Some((stream.into_inner().0, ahead))
}

/// The stream that carries HTTP. A TLS handshake counts towards the time in which a client must identify itself. A failed
/// handshake requested nothing, and its client could not read an answer.
async fn handshake(proxy: &Arc<Proxy>, stream: ClientStream, entrance: &Entrance) -> Option<ClientStream> {
    tokio::select! {
        // A connection without TLS is ready at once. It may have lost its slot before its first poll, and must then get the 503.
        biased;
        stream = stream.after_handshake() => {
            stream.inspect_err(|error| tracing::debug!(%error, "a TLS handshake with the proxy failed")).ok()
        }
        _expired = entrance.expired() => None,
        () = proxy.draining() => None,
    }
}

/// Refuses input that is not a valid first request. A client that does not read the answer blocks no other client: while
/// it is unidentified, its slot can be reassigned.
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
        http::write_refusal(stream, refusal, &record).await;
    };
    tokio::select! {
        () = answered => {}
        () = entrance.evicted() => {}
    }
}

/// Answers a connection for which there is no slot, and closes it. A limited number of them linger until the client has the
/// answer; the others may see a reset after it.
pub(crate) async fn turn_away(proxy: Arc<Proxy>, turned_away: TurnedAway<ClientStream>) {
    let TurnedAway { stream, source } = turned_away;
    let refusal = overloaded();
    let record = Trail::stranger(&proxy, source).refuse(&refusal);
    match proxy.turned_away.try_acquire() {
        Ok(_lingering) => {
            let handshake = tokio::time::timeout(proxy.limits.identify_timeout, stream.after_handshake());
            if let Ok(Ok(stream)) = handshake.await {
                http::write_refusal(stream, &refusal, &record).await;
            }
        }
        Err(_) => {
            let written = stream.try_write(&http::answer_bytes(&refusal, &record));
            tracing::debug!(?written, "a connection was turned away");
        }
    }
}

/// One tunnel: admits it, opens the inside, and serves its requests until it closes or its client is no longer allowed.
async fn tunnel(core: Arc<Core>, arrival: TunnelArrival, entrance: &Entrance) {
    let (endpoint, passage) = match admit(&core.proxy, &arrival) {
        Ok(admitted) => admitted,
        Err(rejected) => {
            let record = open_tunnel(entrance, rejected.endpoint.as_ref()).refuse(&rejected.refusal);
            return http::write_refusal(arrival.stream, &rejected.refusal, &record).await;
        }
    };
    let Arrival { client, mut stream, .. } = arrival;
    if let Passage::Passthrough(permit) = passage {
        // Its bytes are not read; the destination gets the scheme that its rule is for.
        let destination = endpoint.with_scheme(Scheme::Https);
        let downlink = entrance.must_close();
        let flow = Arc::new(Flow::new(share::now()));
        let exchange = Exchange {
            core: &core,
            client: &client,
            destination: &destination,
            flow: &flow,
            downlink,
            preconnect: None,
        };
        return Box::pin(pass_through(exchange, permit, stream)).await;
    }
    if http::establish(&mut stream).await.is_err() {
        return;
    }
    let destination = endpoint.clone().with_scheme(Scheme::Https);
    let mut preconnect = Preconnect::default();
    let begin = |versions| preconnect = Preconnect::open(&core, &client, &destination, versions);
    let inner = tokio::select! {
        inner = intercept(&core.proxy, stream, &endpoint, begin) => inner,
        () = client.ended() => Err(session_ended(&client)),
    };
    match inner {
        Err(refusal) => drop(open_tunnel(entrance, Some(&endpoint)).refuse(&refusal)),
        Ok(None) => {}
        Ok(Some(Inner::Plain(stream))) => {
            let destination = endpoint.with_scheme(Scheme::Http);
            serve_http1(Tunnel::new(core, client, destination, false), stream).await;
        }
        Ok(Some(Inner::Tls(stream))) => {
            let (_, tls) = stream.get_ref();
            let (http2, without_sni) = (tls.alpn_protocol() == Some(b"h2"), tls.server_name().is_none());
            let tunnel = Tunnel::new(core, client, destination, without_sni).with(preconnect);
            if http2 { Box::pin(serve_http2(tunnel, *stream)).await } else { serve_http1(tunnel, *stream).await }
        }
    }
}

fn session_ended(client: &Identified) -> Refusal {
    let refusal = Refusal::of(Reason::SessionEnded, "the session has ended, or its token was replaced");
    if client.token_is_replaced() { refusal.with_note(REPLACED_TOKEN) } else { refusal }
}

/// A tunnel whose bytes are not read. It connects to the upstream first, so that a failure can be the answer to the
/// CONNECT.
async fn pass_through(exchange: Exchange<'_>, permit: Permit, mut stream: PrefixedStream<ClientStream>) {
    let mut open = Trail::tunnel(exchange);
    let reached = tokio::select! {
        reached = passthrough::reach(exchange, permit, &mut open) => reached,
        () = exchange.client.ended() => Err(session_ended(exchange.client)),
    };
    match reached {
        Err(refusal) => {
            let record = open.refuse(&refusal);
            http::write_refusal(stream, &refusal, &record).await;
        }
        Ok(ready) => {
            if http::establish(&mut stream).await.is_ok() {
                Box::pin(passthrough::pass(exchange, ready, stream, open)).await;
            }
        }
    }
}

/// A request to the proxy itself that is refused, with the endpoint that it names.
struct Rejected {
    endpoint: Option<Endpoint>,
    refusal: Refusal,
}

/// Steps 3 and 4 for a request to the proxy itself; step 2 came before the rest of its head was read.
fn admit<S>(proxy: &Proxy, arrival: &Arrival<S>) -> Result<(Endpoint, Passage), Box<Rejected>> {
    let rejected = |endpoint: Option<&Endpoint>, refusal| Box::new(Rejected { endpoint: endpoint.cloned(), refusal });
    let endpoint = parse::parse(arrival).map_err(|refusal| rejected(None, refusal))?;
    let passage = decide::decide(proxy, arrival, endpoint);
    let counted = passage.and_then(|passage| decide::count_names(proxy, arrival, endpoint).map(|()| passage));
    counted.map(|passage| (endpoint.clone(), passage)).map_err(|refusal| rejected(Some(endpoint), refusal))
}

/// The record of a tunnel that is refused.
fn open_tunnel(entrance: &Entrance, endpoint: Option<&Endpoint>) -> Trail {
    let mut open = entrance.open();
    if let Some(endpoint) = endpoint {
        open.endpoint(endpoint);
    }
    open.asked(&Method::CONNECT, None, "http/1.1");
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
        let response = self.answer(received).await;
        if self.patience.is_exhausted_by(&response) { respond::closing(response) } else { response }
    }

    fn downlink(&self) -> &Downlink {
        self.entrance.must_close()
    }
}

impl Plain<'_> {
    async fn answer(&self, received: Result<Received, Refusal>) -> Response<Body> {
        let Self { core, entrance, .. } = self;
        let Received { client, head, version, fields, body } = match received {
            Ok(received) => received,
            Err(refusal) => return respond::refuse(entrance.open(), &refusal),
        };
        let arrival = http::request(client, &head);
        let destination = match admit(&core.proxy, &arrival) {
            // A host in pass-through accepts no request in absolute form: the rules of the host judge and refuse that
            // request.
            Ok((endpoint, _passage)) => endpoint.with_scheme(arrival.scheme.unwrap_or(Scheme::Https)),
            Err(rejected) => {
                let mut open = entrance.open();
                if let Some(endpoint) = rejected.endpoint {
                    open.destination(&endpoint.with_scheme(arrival.scheme.unwrap_or(Scheme::Https)));
                }
                open.asked(&head.method, head.target.path(), "http/1.1");
                return respond::refuse(open, &rejected.refusal);
            }
        };
        let (flow, downlink) = (Arc::new(Flow::new(share::now())), entrance.must_close());
        let exchange = Exchange {
            core,
            client: &arrival.client,
            destination: &destination,
            flow: &flow,
            downlink,
            preconnect: None,
        };
        let trail = Trail::new(exchange);
        exchange::exchange(exchange, Asked { head, version, fields, body: body.into() }, trail).await
    }
}

/// Serves requests in absolute form, beginning with `first`. Returns a CONNECT that arrives in place of another
/// request.
async fn plain(
    core: &Arc<Core>,
    link: &Arc<Listening>,
    first: Arrived,
    entrance: &Entrance,
) -> Option<(Identified, RequestHead)> {
    let patience = Patience::new(core.proxy.limits.max_refusals);
    let service = Plain { core, entrance, patience };
    let served = serve(link, &service, Some(first), core.proxy.draining());
    let ended = tokio::select! {
        ended = served => ended,
        () = entrance.ended() => End::Closed,
    };
    match ended {
        End::Connect(client, head) => Some((client, *head)),
        End::Closed => None,
    }
}

#[cfg(test)]
mod cost;
