//! The connection that a request gets, and the connections that are closed.

use model::{Host, Scheme};
use tokio::io::{AsyncReadExt as _, DuplexStream};

use super::*;
use crate::http2::frames::{Frames, Peer};
use crate::testing::{ADDRESS, upstream};

const MINUTE: Duration = Duration::from_secs(60);

fn key(session: &str) -> Key {
    Key {
        session: SessionId::new(session),
        destination: Destination::new(Scheme::Https, Host::parse("api.example.com").unwrap(), 443),
        versions: HttpVersions::Http1,
        credentials: vec![("token".into(), 1)],
        trust: 7,
    }
}

/// Puts a connection that is identified by the last part of its address; returns the upstream's end.
fn put(pool: &Pool, key: &Key, number: u8) -> DuplexStream {
    let (mut kept, theirs) = upstream();
    kept.address = SocketAddr::from(([192, 0, 2, number], 443));
    pool.put(key.clone(), kept);
    theirs
}

/// The connection that a request of this key gets.
fn take(pool: &Pool, key: &Key) -> Option<u8> {
    let SocketAddr::V4(address) = pool.take(key, |_| true)?.address else { panic!("IPv6") };
    Some(address.ip().octets()[3])
}

fn count(pool: &Pool) -> usize {
    pool.idle.lock().unwrap().count
}

/// Whether we have closed a connection.
async fn is_closed(theirs: &mut DuplexStream) -> bool {
    let mut byte = [0];
    tokio::select! {
        biased;
        read = theirs.read(&mut byte) => read.unwrap() == 0,
        () = std::future::ready(()) => false,
    }
}

#[tokio::test]
async fn the_latest_connection_of_the_very_same_key_goes_out_once() {
    let pool = Pool::new(9, 9, MINUTE);
    let _open = [put(&pool, &key("a"), 1), put(&pool, &key("a"), 2)];
    assert_eq!([take(&pool, &key("a")), take(&pool, &key("a")), take(&pool, &key("a"))], [Some(2), Some(1), None]);
}

#[tokio::test]
async fn no_part_of_the_key_may_differ() {
    let pool = Pool::new(9, 9, MINUTE);
    let _open = put(&pool, &key("a"), 1);
    let host = |name, port| Destination::new(Scheme::Https, Host::parse(name).unwrap(), port);
    for other in [
        key("b"),
        Key { destination: host("other.example.com", 443), ..key("a") },
        Key { destination: host("api.example.com", 8443), ..key("a") },
        Key { versions: HttpVersions::Http2OrHttp1, ..key("a") },
        Key { credentials: vec![("token".into(), 2)], ..key("a") },
        Key { credentials: Vec::new(), ..key("a") },
        Key { trust: 8, ..key("a") },
    ] {
        assert_eq!(take(&pool, &other), None, "{other:?}");
    }
    assert_eq!(take(&pool, &key("a")), Some(1));
}

#[tokio::test]
async fn what_goes_out_is_marked_and_has_no_place_of_its_own() {
    let pool = Pool::new(9, 9, MINUTE);
    let _open = put(&pool, &key("a"), ADDRESS[3]);
    let taken = pool.take(&key("a"), |_| true).unwrap();
    assert!(taken.reused && taken.slot.is_none());
    assert_eq!((taken.address, taken.tls), (SocketAddr::from((ADDRESS, 443)), Some("1.3")));
}

#[tokio::test]
async fn a_connection_that_is_closed_or_leads_elsewhere_is_passed_over_and_closed() {
    let pool = Pool::new(9, 9, MINUTE);
    let mut first = put(&pool, &key("a"), 1);
    let mut second = put(&pool, &key("a"), 2);
    drop(put(&pool, &key("a"), 3));
    let only_first = |address: SocketAddr| address == SocketAddr::from(([192, 0, 2, 1], 443));
    let taken = pool.take(&key("a"), only_first).unwrap();
    assert!(only_first(taken.address));
    assert!(is_closed(&mut second).await && !is_closed(&mut first).await);
    assert_eq!(take(&pool, &key("a")), None);
}

#[tokio::test]
async fn a_closed_connection_is_not_kept() {
    let pool = Pool::new(9, 9, MINUTE);
    let (closed, theirs) = upstream();
    drop(theirs);
    pool.put(key("a"), closed);
    assert_eq!((count(&pool), take(&pool, &key("a"))), (0, None));
}

#[tokio::test]
async fn a_connection_of_http2_serves_many_at_once_and_stays_until_it_closes() {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let serving = tokio::spawn(async move {
        let mut connection = h2::server::handshake(theirs).await.unwrap();
        while connection.accept().await.is_some() {}
    });
    let frames = Frames::new(ours, Peer::Server, 1_000);
    let (client, connection) =
        http2::client::Client::start(frames, crate::config::Limits::default().response_head()).await.unwrap();
    let running = tokio::spawn(connection);
    let pool = Pool::new(9, 9, MINUTE);
    let address = SocketAddr::from((ADDRESS, 443));
    let shared =
        Upstream { sender: Sender::Http2(client), address, tls: Some("1.3"), chain: None, reused: false, slot: None };
    pool.put(key("a"), shared);
    let both = [pool.take(&key("a"), |_| true).unwrap(), pool.take(&key("a"), |_| true).unwrap()];
    assert!(both.iter().all(|taken| taken.reused && taken.address == address));
    assert_eq!(count(&pool), 1);
    serving.abort();
    running.await.unwrap().ok();
    assert_eq!((take(&pool, &key("a")), count(&pool)), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_for_so_long_without_use() {
    let pool = Pool::new(9, 9, MINUTE);
    let _open = put(&pool, &key("a"), 1);
    tokio::time::advance(MINUTE).await;
    let taken = pool.take(&key("a"), |_| true).unwrap();
    pool.put(key("a"), taken);
    tokio::time::advance(MINUTE + Duration::from_millis(1)).await;
    assert_eq!(take(&pool, &key("a")), None);
}

#[tokio::test]
async fn a_newer_connection_of_a_session_takes_the_place_of_its_oldest() {
    let pool = Pool::new(9, 2, MINUTE);
    let elsewhere = Key { credentials: Vec::new(), ..key("a") };
    let mut oldest = put(&pool, &elsewhere, 1);
    let _open = [put(&pool, &key("a"), 2), put(&pool, &key("b"), 3), put(&pool, &key("a"), 4)];
    assert!(is_closed(&mut oldest).await);
    assert_eq!([take(&pool, &elsewhere), take(&pool, &key("b"))], [None, Some(3)]);
    assert_eq!([take(&pool, &key("a")), take(&pool, &key("a")), take(&pool, &key("a"))], [Some(4), Some(2), None]);
}

#[tokio::test]
async fn a_full_pool_keeps_what_it_has() {
    let pool = Pool::new(1, 9, MINUTE);
    let _open = put(&pool, &key("a"), 1);
    assert!(is_closed(&mut put(&pool, &key("b"), 2)).await);
    assert_eq!([take(&pool, &key("b")), take(&pool, &key("a"))], [None, Some(1)]);
    let _again = put(&pool, &key("b"), 3);
    assert_eq!(take(&pool, &key("b")), Some(3), "its place is free again");
}

#[tokio::test(start_paused = true)]
async fn a_sweep_closes_what_no_request_may_get_any_more() {
    let pool = Pool::new(9, 9, MINUTE);
    let mut old = put(&pool, &key("old"), 1);
    tokio::time::advance(MINUTE + Duration::from_millis(1)).await;
    let mut distrusted = put(&pool, &Key { trust: 6, ..key("a") }, 2);
    let mut over = put(&pool, &key("over"), 3);
    let mut stays = put(&pool, &key("a"), 4);
    pool.sweep(7, |session| *session != SessionId::new("over"));
    assert!(is_closed(&mut old).await && is_closed(&mut distrusted).await && is_closed(&mut over).await);
    assert!(!is_closed(&mut stays).await);
    assert_eq!((count(&pool), take(&pool, &key("a"))), (1, Some(4)));
}

#[tokio::test]
async fn any_connection_of_the_session_to_the_destination_counts_whatever_it_has_carried() {
    let pool = Pool::new(9, 9, MINUTE);
    let has = |key: &Key| pool.has(&key.session, &key.destination, key.versions);
    assert!(!has(&key("a")));
    let _open = put(&pool, &Key { credentials: Vec::new(), trust: 8, ..key("a") }, 1);
    let other = Destination::new(Scheme::Https, Host::parse("other.example.com").unwrap(), 443);
    let others =
        [key("b"), Key { destination: other, ..key("a") }, Key { versions: HttpVersions::Http2OrHttp1, ..key("a") }];
    assert!(has(&key("a")) && !others.iter().any(has));
    assert!(pool.take(&Key { credentials: Vec::new(), trust: 8, ..key("a") }, |_| true).is_some());
    assert!(!has(&key("a")), "it is in use");
}
