//! A request body that is read before it is sent; the test is the client.

use sessions::Scope;
use tokio::io::{AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::limits::allowance::ByteLimit;
use crate::limits::budget::Budget;
use crate::testing::{Bench, HOST};

const LONG: Duration = Duration::from_secs(60);

fn bench() -> Bench {
    Bench::new(&["{id: r, allow: {host: api.example.com}}"])
}

/// A body with this framing, of which these bytes have arrived.
async fn payload(bench: &Bench, framing: &str, bytes: &str) -> (Payload, DuplexStream) {
    let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n{bytes}");
    let (asked, client) = bench.arriving(&head).await;
    (Payload::from(asked.body), client)
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

fn share(bench: &Bench) -> Share {
    bench.core.proxy.slot_bodies.share(&bench.session.id)
}

#[tokio::test]
async fn a_body_is_read_whole_up_to_its_bound() {
    let bench = bench();
    let (mut body, _client) = payload(&bench, "Content-Length: 5\r\n", "hello").await;
    assert!(body.is_untouched() && !body.is_empty());
    assert_eq!((body.announced(), body.read(5, LONG, share(&bench)).await), (Some(5), Ok(true)));
    assert_eq!((body.bytes(), body.is_untouched(), body.announced()), (&b"hello"[..], false, Some(5)));
    let (mut body, _client) = payload(&bench, "Content-Length: 5\r\n", "hello").await;
    assert_eq!(body.read(4, LONG, share(&bench)).await, Ok(false));
    let (mut body, _client) = payload(&bench, CHUNKED, "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n").await;
    assert_eq!((body.announced(), body.read(9, LONG, share(&bench)).await), (None, Ok(true)));
    assert_eq!(body.bytes(), b"hello");
}

#[tokio::test]
async fn a_request_without_a_body_has_nothing() {
    let bench = bench();
    let (mut body, _client) = payload(&bench, "Content-Length: 0\r\n", "").await;
    assert!(body.is_empty() && !body.is_untouched());
    assert_eq!((body.announced(), body.has_content(LONG).await), (Some(0), Ok(false)));
    assert_eq!((body.read(9, LONG, share(&bench)).await, body.bytes()), (Ok(true), &b""[..]));
}

#[tokio::test]
async fn the_first_byte_or_the_end_tells_whether_there_is_one() {
    let bench = bench();
    let (mut body, _client) = payload(&bench, CHUNKED, "1\r\na\r\n").await;
    assert_eq!(body.has_content(LONG).await, Ok(true));
    let (mut body, _client) = payload(&bench, CHUNKED, "0\r\nX-Sum: 1\r\n\r\n").await;
    assert_eq!((body.has_content(LONG).await, body.is_empty()), (Ok(false), false), "its trailers are left");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_come_and_what_breaks_off_are_told_apart() {
    let bench = bench();
    let (mut body, client) = payload(&bench, "Content-Length: 5\r\n", "he").await;
    assert_eq!(body.read(9, LONG, share(&bench)).await, Err(ReadError::Slow));
    drop(client);
    let (mut body, client) = payload(&bench, "Content-Length: 5\r\n", "he").await;
    drop(client);
    assert_eq!(body.read(9, LONG, share(&bench)).await, Err(ReadError::Broken));
    let (mut body, mut client) = payload(&bench, CHUNKED, "").await;
    assert_eq!(body.has_content(LONG).await, Err(ReadError::Slow));
    client.write_all(b"no size\r\n").await.unwrap();
    assert_eq!(body.has_content(LONG).await, Err(ReadError::Broken));
}

#[tokio::test]
async fn trailers_are_judged_before_anything_is_sent() {
    let bench = bench();
    let with = |trailers: String| format!("1\r\na\r\n0\r\n{trailers}\r\n");
    let held = with(format!("X: egret_ph_{}\r\n", "a".repeat(32)));
    let (mut body, _client) = payload(&bench, CHUNKED, &held).await;
    assert_eq!(body.read(9, LONG, share(&bench)).await, Err(ReadError::Misplaced));
    let (mut body, _client) =
        payload(&bench, CHUNKED, &with(format!("X: {}\r\n", "y".repeat(MAX_TRAILER_BYTES)))).await;
    assert_eq!(body.read(9, LONG, share(&bench)).await, Err(ReadError::TrailersTooLarge));
    let (mut body, _client) = payload(&bench, CHUNKED, &with("X-Sum: 1\r\n".to_owned())).await;
    assert_eq!(body.read(9, LONG, share(&bench)).await, Ok(true));
    assert!(body.0.unwrap().trailers.is_some());
}

#[tokio::test]
async fn its_memory_and_its_limits_are_counted() {
    let bench = bench();
    // A session may use a quarter of it.
    let budget = Budget::new(16, 16);
    let (mut body, _client) = payload(&bench, "Content-Length: 5\r\n", "hello").await;
    let spent = body.read(9, LONG, budget.share(&bench.session.id)).await;
    assert_eq!(spent, Err(ReadError::Exhausted(Exhausted::Session)));
    let (mut body, _client) = payload(&bench, "Content-Length: 4\r\n", "four").await;
    assert_eq!(body.read(9, LONG, budget.share(&bench.session.id)).await, Ok(true));
    assert_eq!(budget.share(&bench.session.id).take(1), Err(Exhausted::Session), "it is held as long as the body");
    drop(body);
    assert_eq!(budget.share(&bench.session.id).take(4), Ok(()));
    let (mut body, _client) = payload(&bench, CHUNKED, "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n").await;
    let limit = Some(ByteLimit { scope: Scope::Session, bytes: 4 });
    body.bound(Allowance::new(&bench.session, &bench.core.proxy.sessions, limit, Vec::new()).unwrap());
    let Err(ReadError::Over(limited)) = body.read(9, LONG, share(&bench)).await else { panic!("within its limit") };
    assert_eq!(limited.reason, model::Reason::BodyTooLarge);
}

#[tokio::test]
async fn another_body_takes_the_place_of_what_was_read() {
    let bench = bench();
    let (mut body, _client) = payload(&bench, "Content-Length: 5\r\n", "hello").await;
    assert_eq!(body.read(9, LONG, share(&bench)).await, Ok(true));
    body.replace(b"another".to_vec().into());
    assert_eq!((body.bytes(), body.announced()), (&b"another"[..], Some(7)));
}
