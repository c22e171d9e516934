//! The load generator: what clients of a proxy do, and what they observe.

mod client;
mod events;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

pub(crate) use client::{Ask, Client, Http, Route, Tunnel, authorization, numbered_host};

/// The results of many requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// The time of each request that succeeded.
    pub(crate) latencies: Vec<Duration>,
    /// The errors of those that failed.
    pub(crate) failures: Vec<String>,
}

impl Tally {
    fn note<T>(&mut self, started: Instant, outcome: Result<T>) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.latencies.push(started.elapsed());
                Some(value)
            }
            Err(error) => {
                self.failures.push(format!("{error:#}"));
                None
            }
        }
    }
}

/// Opens `connections`, and splits each into `streams` clients that share it. The nth connection belongs to the nth session of
/// the route.
pub(crate) async fn open(route: &Route, http: Http, connections: usize, streams: usize) -> Result<Vec<Client>> {
    let mut clients = Vec::with_capacity(connections * streams);
    for number in 0..connections {
        let client = Client::open(route, http, &route.host, number).await?;
        clients.extend((1..streams).filter_map(|_| client.share()));
        clients.push(client);
    }
    Ok(clients)
}

/// Repeats `GET /small` with each client for `time`. The first failure ends a client's part, because its connection may be
/// unusable.
pub(crate) async fn repeat(clients: Vec<Client>, time: Duration) -> Result<(Vec<Client>, Tally)> {
    let end = Instant::now() + time;
    let mut tasks = JoinSet::new();
    for mut client in clients {
        tasks.spawn(async move {
            let mut tally = Tally::default();
            while Instant::now() < end && tally.failures.is_empty() {
                let started = Instant::now();
                let outcome = client.send(&Ask::small()).await;
                tally.note(started, outcome);
            }
            (client, tally)
        });
    }
    collect(tasks).await
}

/// New connections, each for one request over HTTP/1.1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connect {
    pub(crate) count: usize,
    /// How many are being made at a time.
    pub(crate) concurrency: usize,
    /// Whether each has a host name of its own.
    pub(crate) new_names: bool,
    /// Whether they stay open.
    pub(crate) keep: bool,
}

/// Makes the connections. A time is from the dial to the end of the response. Returns those that stay open.
pub(crate) async fn connect(route: &Arc<Route>, plan: Connect) -> Result<(Vec<Client>, Tally)> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..plan.concurrency {
        let (route, next) = (Arc::clone(route), Arc::clone(&next));
        tasks.spawn(async move {
            let (mut kept, mut tally) = (Vec::new(), Tally::default());
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= plan.count {
                    return (kept, tally);
                }
                let host = if plan.new_names { numbered_host(&route.host, number) } else { route.host.clone() };
                let started = Instant::now();
                let outcome = once(&route, &host, number).await;
                kept.extend(tally.note(started, outcome).filter(|_| plan.keep));
            }
        });
    }
    let (kept, tally) = collect(tasks).await?;
    Ok((kept.into_iter().flatten().collect(), tally))
}

/// A new connection with one request over HTTP/1.1.
pub(crate) async fn once(route: &Route, host: &str, number: usize) -> Result<Client> {
    let mut client = Client::open(route, Http::One, host, number).await?;
    client.send(&Ask::small()).await?;
    Ok(client)
}

/// One request on a new connection, which is not part of the measured time. The tally has one entry.
pub(crate) async fn single(route: &Route, ask: &Ask) -> Result<Tally> {
    let mut client = Client::open(route, Http::One, &route.host, 0).await?;
    let (started, mut tally) = (Instant::now(), Tally::default());
    let outcome = client.send(ask).await;
    tally.note(started, outcome);
    Ok(tally)
}

/// Reads the stream of events; the times are the delays of the events.
pub(crate) async fn events(route: &Route) -> Result<Tally> {
    let mut client = Client::open(route, Http::One, &route.host, 0).await?;
    let latencies = client.events().await?;
    Ok(Tally { latencies, failures: Vec::new() })
}

/// Waits for all tasks.
async fn collect<T: 'static>(mut tasks: JoinSet<(T, Tally)>) -> Result<(Vec<T>, Tally)> {
    let (mut values, mut all) = (Vec::new(), Tally::default());
    while let Some(one) = tasks.join_next().await {
        let (value, tally) = one.context("a task of the load generator ended early")?;
        values.push(value);
        all.latencies.extend(tally.latencies);
        all.failures.extend(tally.failures);
    }
    Ok((values, all))
}
