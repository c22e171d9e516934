//! A connection to the upstream of a tunnel that is opened while the handshake of its client is in progress.
//!
//! Nothing of a request is known then. So it is opened only if every rule that could allow a request allows the address, and after a
//! record of it is durable: a lookup sends the name to name servers. The first request of the tunnel takes it if the permit of
//! that request allows the address, too. Without a request it is closed soon: it counts among the connections of its session.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use audit::{Kind, Record};
use hyper::rt::Executor as _;
use model::sync::lock;
use model::{Destination, Scheme};
use policies::Rules;
use sessions::Identified;
use tokio::sync::oneshot;

use crate::limits::quota::UpstreamSlot;
use crate::upstream::dial::{self, AddressBounds, AllowedAddresses, Fresh, HttpVersions, Target};
use crate::upstream::pool::Key;
use crate::{Core, facts, rules, share};

/// How long an open connection waits for a request. A request usually follows the handshake at once.
const UNUSED: Duration = Duration::from_secs(10);

/// A connection, and its slot among the upstream connections of the session.
type Opened = (Fresh, Arc<UpstreamSlot>);

/// A request for the connection, with the way to it.
type Wanted = oneshot::Sender<Opened>;

/// The connection of one tunnel, if one is opened before its first request; it is taken once.
#[derive(Default)]
pub(crate) struct Preconnect(Mutex<Option<Opening>>);

struct Opening {
    versions: HttpVersions,
    /// The serial of the trust that it is verified with.
    trust: u64,
    want: oneshot::Sender<Wanted>,
}

impl Preconnect {
    /// Begins to open a connection, if that is configured and allowed, and no pooled one is free. It is given up when this is dropped,
    /// when the session ends, and if no request takes it.
    pub(crate) fn open(
        core: &Arc<Core>,
        client: &Identified,
        destination: &Destination,
        versions: HttpVersions,
    ) -> Self {
        Self(Mutex::new(start(core, client, destination, versions)))
    }

    /// The connection for a request that may dial these addresses, if it is ready within `limit`.
    pub(crate) async fn take(&self, addresses: &AllowedAddresses, key: &Key, limit: Duration) -> Option<Opened> {
        let opening = lock(&self.0).take()?;
        if opening.versions != key.versions || opening.trust != key.trust {
            return None;
        }
        let (give, opened) = oneshot::channel();
        opening.want.send(give).ok()?;
        let (fresh, slot) = tokio::time::timeout(limit, opened).await.ok()?.ok()?;
        addresses.contains(fresh.address).then_some((fresh, slot))
    }
}

fn start(core: &Arc<Core>, client: &Identified, destination: &Destination, versions: HttpVersions) -> Option<Opening> {
    let (proxy, session) = (&core.proxy, client.session());
    if !proxy.config.preconnect || destination.scheme() != Scheme::Https {
        return None;
    }
    let rules = rules::in_force(proxy, session).ok()?;
    let may_dial = rules.may_preconnect(destination, None, share::judging_time());
    if !may_dial || core.pool.has(&session.id, destination, versions) {
        return None;
    }
    let slot = Arc::new(proxy.quotas.upstream(&session.id, destination).ok()?);
    let trust = proxy.trust.load().serial();
    let (want, wanted) = oneshot::channel();
    let spawner = core.shares.spawner(&session.id);
    let (core, client, destination) = (core.clone(), client.clone(), destination.clone());
    spawner.execute(async move {
        let opened = async { Some((dial(&core, &client, &destination, (&rules, versions)).await?, slot)) };
        tokio::select! {
            () = hand_over(Box::pin(opened), wanted) => {}
            () = client.ended() => {}
        }
    });
    Some(Opening { versions, trust, want })
}

/// Gives the connection to the request that wants it, even if that comes first. Ends when the tunnel is closed, or if no request comes.
async fn hand_over(opened: impl Future<Output = Option<Opened>> + Unpin, wanted: oneshot::Receiver<Wanted>) {
    let (mut opened, mut wanted) = (opened, wanted);
    let first = tokio::select! {
        biased;
        give = &mut wanted => match give {
            Ok(give) => Err(give),
            Err(_closed) => return,
        },
        opened = &mut opened => Ok(opened),
    };
    let (opened, give) = match first {
        Err(give) => (opened.await, Some(give)),
        Ok(opened) => (opened, tokio::time::timeout(UNUSED, wanted).await.ok().and_then(Result::ok)),
    };
    if let (Some(opened), Some(give)) = (opened, give) {
        // The request may have ended meanwhile.
        drop(give.send(opened));
    }
}

/// Dials what every rule allows; a failure leaves no trace but its record, and the first request dials again.
async fn dial(
    core: &Core,
    client: &Identified,
    destination: &Destination,
    (rules, versions): (&Rules, HttpVersions),
) -> Option<Fresh> {
    let Core { proxy, dialer, .. } = core;
    let bounds = AddressBounds::AllRules(rules, share::judging_time());
    let target = Target { config: &proxy.config, self_address: &proxy.self_address, dialer, destination, bounds };
    // If the addresses are known and one of them may not be dialed, there is nothing to record.
    target.known().ok()?;
    let recorded = proxy.journal.append_durable(record(client, destination));
    tokio::time::timeout(proxy.config.limits.audit_timeout, recorded).await.ok()?.ok()?;
    let session = client.session();
    let located = target.resolve_allowed(&proxy.lookups, &session.id).await.ok()?;
    dial::connect(proxy, dialer, session, destination, &located, versions, proxy.limits.connect_timeout).await.ok()
}

fn record(client: &Identified, destination: &Destination) -> Record {
    let facts = facts::of(client);
    Record {
        tenant: Some(facts.tenant),
        user: facts.user,
        agent: facts.agent,
        session: facts.session,
        attribution: facts.attribution,
        scheme: Some(destination.scheme()),
        host: Some(destination.host().clone()),
        port: Some(destination.port()),
        ..Record::new(Kind::UpstreamDialed)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::testing::{ADDRESS, Bench, Setup};
    use crate::upstream::dial::Stream;

    const RULE: &str = "{id: r, allow: {host: api.example.com}, addresses: [192.0.2.0/24]}";
    const LIMIT: Duration = Duration::from_secs(10);

    fn key(bench: &Bench) -> Key {
        bench.key(HttpVersions::Http1)
    }

    fn allowed(bench: &Bench) -> AllowedAddresses {
        let line = bench.line("GET", "/");
        Target::new(&bench.core, &bench.destination, &line.permit).known().unwrap().unwrap()
    }

    /// A connection at an address with this last part.
    async fn opened(bench: &Bench, last: u8) -> Opened {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (stream, _) = tokio::join!(
            async { tokio::net::TcpSocket::new_v4().unwrap().connect(listener.local_addr().unwrap()).await.unwrap() },
            listener.accept(),
        );
        let address = SocketAddr::from(([192, 0, 2, last], 443));
        let fresh = Fresh { stream: Stream::Plain(stream), address, chain: None };
        (fresh, Arc::new(bench.core.proxy.quotas.upstream(&bench.session.id, &bench.destination).unwrap()))
    }

    /// A tunnel's connection, and what hands it over.
    fn tunnel(
        bench: &Bench,
        opened: impl Future<Output = Option<Opened>> + Send + 'static,
    ) -> (Preconnect, tokio::task::JoinHandle<()>) {
        let (want, wanted) = oneshot::channel();
        let task = tokio::spawn(hand_over(Box::pin(opened), wanted));
        let opening = Opening { versions: HttpVersions::Http1, trust: key(bench).trust, want };
        (Preconnect(Mutex::new(Some(opening))), task)
    }

    async fn open(bench: &Bench, last: u8) -> Preconnect {
        let opened = opened(bench, last).await;
        tunnel(bench, async { Some(opened) }).0
    }

    #[tokio::test]
    async fn it_is_taken_once_by_a_request_that_may_dial_its_address() {
        let bench = Bench::new(&[RULE]);
        let last = ADDRESS[3];
        let preconnect = open(&bench, last).await;
        assert!(preconnect.take(&allowed(&bench), &key(&bench), LIMIT).await.is_some());
        assert!(preconnect.take(&allowed(&bench), &key(&bench), LIMIT).await.is_none());
        let other = open(&bench, last + 1).await;
        assert!(other.take(&allowed(&bench), &key(&bench), LIMIT).await.is_none(), "another address");
        for key in [
            Key { trust: key(&bench).trust + 1, ..key(&bench) },
            Key { versions: HttpVersions::Http2OrHttp1, ..key(&bench) },
        ] {
            assert!(open(&bench, last).await.take(&allowed(&bench), &key, LIMIT).await.is_none(), "{key:?}");
        }
        assert!(Preconnect::default().take(&allowed(&bench), &key(&bench), LIMIT).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_not_ready_in_time_or_fails_is_given_up() {
        let bench = Bench::new(&[RULE]);
        for preconnect in [tunnel(&bench, std::future::pending()).0, tunnel(&bench, async { None }).0] {
            assert!(preconnect.take(&allowed(&bench), &key(&bench), LIMIT).await.is_none());
        }
    }

    #[tokio::test]
    async fn a_request_may_come_before_the_connection_is_open() {
        let bench = Bench::new(&[RULE]);
        let (last, (open, opens)) = (ADDRESS[3], oneshot::channel());
        let (preconnect, _task) = tunnel(&bench, async { opens.await.ok() });
        let (addresses, key) = (allowed(&bench), key(&bench));
        let mut taken = Box::pin(preconnect.take(&addresses, &key, LIMIT));
        assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(taken.as_mut().poll(cx).is_pending())).await);
        assert!(open.send(opened(&bench, last).await).is_ok());
        assert!(taken.await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_request_it_is_closed() {
        let bench = Bench::new(&[RULE]);
        let opened_one = opened(&bench, ADDRESS[3]).await;
        let (preconnect, task) = tunnel(&bench, async { Some(opened_one) });
        task.await.unwrap();
        assert!(preconnect.take(&allowed(&bench), &key(&bench), LIMIT).await.is_none());
        // The tunnel closes first.
        let (preconnect, task) = tunnel(&bench, std::future::pending());
        drop(preconnect);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn nothing_is_opened_without_the_setting_over_cleartext_or_where_no_rule_allows_it() {
        let starts = |change: fn(&mut Setup), rule: &str, scheme| {
            let mut setup = Setup::new(&[rule]);
            setup.config.preconnect = true;
            change(&mut setup);
            let bench = setup.build();
            let destination = Destination::new(scheme, bench.destination.host().clone(), 443);
            let (core, client, _, _kept) = bench.into_parts();
            start(&core, &client, &destination, HttpVersions::Http1).is_some()
        };
        assert!(starts(|_| {}, RULE, Scheme::Https));
        assert!(!starts(|setup| setup.config.preconnect = false, RULE, Scheme::Https));
        assert!(!starts(|_| {}, RULE, Scheme::Http));
        assert!(!starts(|_| {}, "{id: r, allow: {host: other.example.com}}", Scheme::Https));
        assert!(!starts(|setup| setup.config.limits.max_session_upstreams = 0, RULE, Scheme::Https));
    }
}
