//! The client's side, over streams in memory; the test is the client.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use model::{Reason, Timestamp};
use sessions::{Created, NewSession, Proof, Registry};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::Notify;

use super::*;
use crate::body::incoming::Incoming;
use crate::config::Limits;
use crate::http1::link::ClientCheck;
use crate::request::Asked;

/// The time before and after the moment at which a timer fires.
const TICK: Duration = Duration::from_millis(10);

/// Answers with the request that it got.
#[derive(Default)]
struct Echo {
    /// The requests, in the order of their arrival.
    seen: Mutex<Vec<String>>,
    /// The body of a request to `/hold`.
    held: Mutex<Option<Incoming>>,
    release: Notify,
    downlink: Downlink,
}

impl Echo {
    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Service for Arc<Echo> {
    async fn call(&self, received: Result<Received, Refusal>) -> Response<Body> {
        let asked = match received {
            Ok(received) => Asked::from(received),
            Err(refusal) => {
                let mut response = Response::new(Body::own(refusal.reason().code()));
                response.status = refusal.row().status;
                response.fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
                return response;
            }
        };
        let path = asked.head.target.path().map_or_else(String::new, |path| path.target().to_owned());
        self.seen.lock().unwrap().push(format!("{} {path}", asked.head.method));
        let Asked { head, body, .. } = asked;
        let text = match path.as_str() {
            "/ignore" => String::new(),
            "/hold" => {
                *self.held.lock().unwrap() = Some(body);
                String::new()
            }
            "/hints" => {
                for status in [103, 102] {
                    let mut interim = Response::new(());
                    interim.status = http::StatusCode::from_u16(status).unwrap();
                    interim.fields.append(header::LINK, HeaderValue::from_static("</a>"));
                    self.downlink.inform(interim);
                }
                tokio::task::yield_now().await;
                String::new()
            }
            "/wait" => {
                self.release.notified().await;
                String::new()
            }
            _ => match body.collect().await {
                Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
                Err(error) => error.to_string(),
            },
        };
        let mut response = Response::new(Body::own(Bytes::from(text)));
        if head.method == Method::DELETE {
            response.status = http::StatusCode::NO_CONTENT;
        }
        response
    }

    fn downlink(&self) -> &Downlink {
        &self.downlink
    }
}

struct Bench {
    client: DuplexStream,
    echo: Arc<Echo>,
    serving: tokio::task::JoinHandle<End>,
    closing: Arc<Notify>,
    _folder: tempfile::TempDir,
}

fn identified(folder: &tempfile::TempDir) -> Identified {
    let registry = Registry::open(folder.path(), Timestamp::now()).unwrap();
    let Created { session, token, .. } = registry.create(NewSession::default(), Timestamp::now()).unwrap();
    let proof = Proof::Token { id: session.id.as_str(), token: token.as_bytes() };
    registry.identify(proof, Timestamp::now()).unwrap()
}

impl Bench {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (client, ours) = tokio::io::duplex(64 << 10);
        let link = Link::new(ours, Arc::new(limits), ClientCheck::Tunnel(identified(&folder)));
        let (echo, closing) = (Arc::<Echo>::default(), Arc::<Notify>::default());
        let (service, closed) = (echo.clone(), closing.clone());
        let serving =
            tokio::spawn(async move { serve(&link, &service, None, async { closed.notified().await }).await });
        Self { client, echo, serving, closing, _folder: folder }
    }

    async fn send(&mut self, bytes: &str) {
        self.client.write_all(bytes.as_bytes()).await.unwrap();
    }

    async fn reads(&mut self, want: &str) {
        let mut read = vec![0; want.len()];
        self.client.read_exact(&mut read).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&read), want);
    }

    /// No byte arrives for all of this (paused) time.
    async fn stays_silent(&mut self, time: Duration) {
        assert!(tokio::time::timeout(time, self.client.read_u8()).await.is_err(), "within {time:?}");
    }

    /// Sends a request to `/hold`; returns its body, which begins with the byte `a`.
    async fn held(&mut self, framing_and_body: &str) -> Incoming {
        self.send(&format!("POST /hold HTTP/1.1\r\nHost: a\r\n{framing_and_body}")).await;
        self.reads(&answer("")).await;
        let mut held = self.echo.held.lock().unwrap().take().unwrap();
        assert_eq!(held.frame().await.unwrap().unwrap().into_data().unwrap(), "a");
        held
    }

    /// All bytes that arrive until the connection ends.
    async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.client.read_to_end(&mut rest).await.unwrap();
        String::from_utf8_lossy(&rest).into_owned()
    }
}

fn answer(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn t052_pipelined_requests_are_answered_in_order() {
    let mut bench = Bench::new();
    let one = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none";
    let two = "POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ntw\r\n1\r\no\r\n0\r\nT: v\r\n\r\n";
    let three = "HEAD /3 HTTP/1.1\r\nHost: a\r\n\r\n\r\nDELETE /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /5 HTTP/1.1\r\n";
    bench.send(&format!("{one}{two}{three}")).await;
    bench.reads(&answer("one")).await;
    bench.reads(&answer("two")).await;
    bench.reads("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    bench.reads("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
    assert_eq!(bench.rest().await, "");
    assert_eq!(bench.echo.seen(), ["POST /1", "POST /2", "HEAD /3", "DELETE /4"]);
}

#[tokio::test]
async fn t053_nothing_is_read_after_a_request_that_closes() {
    let mut bench = Bench::new();
    bench.send("GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(bench.rest().await, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    assert_eq!(bench.echo.seen(), ["GET /1"]);
}

#[tokio::test]
async fn heads_and_bodies_are_read_however_they_are_cut() {
    let all = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n";
    for cut in 1..all.len() {
        let mut bench = Bench::new();
        let (front, back) = all.split_at(cut);
        bench.send(front).await;
        tokio::task::yield_now().await;
        bench.send(back).await;
        bench.reads(&answer("one")).await;
        bench.reads(&answer("two")).await;
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_answered_and_ends_the_connection() {
    for (bytes, reason) in [
        ("GET / HTTP/1.1\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n", Reason::BadHost),
        ("GET / HTTP/1.1\nHost: a\n\n", Reason::Malformed),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Reason::Malformed),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", Reason::ProtocolNotAllowed),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            Reason::AmbiguousFraming,
        ),
    ] {
        let mut bench = Bench::new();
        bench.send(bytes).await;
        let rest = bench.rest().await;
        assert!(
            rest.ends_with(&format!(
                "connection: close\r\ncontent-length: {}\r\n\r\n{}",
                reason.code().len(),
                reason.code()
            )),
            "{rest}"
        );
        assert!(bench.echo.seen().is_empty(), "after {bytes:?}");
    }
}

#[tokio::test]
async fn t049_a_broken_chunk_never_ends_a_body() {
    let mut bench = Bench::new();
    bench.send("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n").await;
    let rest = bench.rest().await;
    assert!(rest.ends_with("the framing of a body is not valid"), "{rest}");
}

#[tokio::test]
async fn t055_the_client_is_told_to_continue_when_its_body_is_read() {
    let mut bench = Bench::new();
    let expect = "Host: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    bench.send(&format!("POST /x HTTP/1.1\r\n{expect}")).await;
    bench.reads("HTTP/1.1 100 Continue\r\n\r\n").await;
    bench.send("abc").await;
    bench.reads(&answer("abc")).await;
    // Without a reader, the client may send it or not: no other request can follow.
    bench.send(&format!("POST /ignore HTTP/1.1\r\n{expect}")).await;
    assert_eq!(bench.rest().await, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_passed_over_where_it_is_short() {
    let mut bench = Bench::new();
    bench.send("POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n").await;
    bench.reads(&answer("")).await;
    bench.send("abcGET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
    bench.reads(&answer("")).await;
    bench.send("POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n").await;
    assert_eq!(bench.rest().await, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    assert_eq!(bench.echo.seen(), ["POST /ignore", "GET /next", "POST /ignore"]);
}

#[tokio::test]
async fn the_body_of_an_earlier_request_reads_nothing_of_a_later_one() {
    let mut bench = Bench::new();
    let mut held = bench.held("Content-Length: 3\r\n\r\na").await;
    bench.send("bcPOST /next HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nlate").await;
    // The next request is read only after the body was.
    assert_eq!(held.frame().await.unwrap().unwrap().into_data().unwrap(), "bc");
    bench.reads(&answer("late")).await;
    assert!(held.frame().await.is_none());
    drop(held);
    bench.send("GET /last HTTP/1.1\r\nHost: a\r\n\r\n").await;
    bench.reads(&answer("")).await;
}

#[tokio::test]
async fn a_client_that_closes_its_half_gets_its_answer() {
    let mut bench = Bench::new();
    bench.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    bench.client.shutdown().await.unwrap();
    bench.echo.release.notify_one();
    assert_eq!(bench.rest().await, answer(""));
    assert!(matches!(bench.serving.await.unwrap(), End::Closed));
}

#[tokio::test]
async fn the_request_in_progress_is_the_last_one_of_a_connection_that_closes() {
    let mut bench = Bench::new();
    bench.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
    while bench.echo.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    bench.closing.notify_one();
    tokio::task::yield_now().await;
    bench.echo.release.notify_one();
    assert_eq!(bench.rest().await, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    assert_eq!(bench.echo.seen(), ["GET /wait"]);
    // An idle connection closes at once.
    let mut bench = Bench::new();
    bench.closing.notify_one();
    assert_eq!(bench.rest().await, "");
}

#[tokio::test]
async fn http_1_0_ends_with_its_answer_unless_it_asks() {
    let mut bench = Bench::new();
    bench.send("GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n").await;
    bench.reads("HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n").await;
    assert_eq!(bench.rest().await, "HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
}

#[tokio::test(start_paused = true)]
async fn t130_a_head_has_its_time_and_so_has_silence() {
    let limits = Limits::default();
    let (head, keep_alive) = (limits.head_timeout, limits.keep_alive);
    let mut bench = Bench::with(limits);
    bench.send("GET / HTTP/1.1\r\nHo").await;
    bench.stays_silent(head - TICK).await;
    let rest = bench.rest().await;
    assert!(rest.starts_with("HTTP/1.1 408 ") && rest.ends_with("timeout_head"), "{rest}");
    let mut bench = Bench::new();
    bench.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    bench.reads(&answer("")).await;
    bench.stays_silent(keep_alive - TICK).await;
    assert_eq!(bench.rest().await, "");
}

#[tokio::test]
async fn a_connection_that_is_dropped_ends_what_reads_from_it() {
    let mut bench = Bench::new();
    let mut held = bench.held("Content-Length: 3\r\n\r\na").await;
    let waiting = tokio::spawn(async move { held.frame().await.unwrap().is_err() });
    tokio::task::yield_now().await;
    bench.serving.abort();
    assert!(waiting.await.unwrap());
    assert_eq!(bench.rest().await, "");
}

#[tokio::test]
async fn t050_a_body_whose_connection_is_gone_has_not_ended() {
    let mut bench = Bench::new();
    let mut held = bench.held("Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n").await;
    bench.serving.abort();
    assert!(bench.serving.await.is_err());
    assert!(!held.is_end_stream() && held.size_hint().exact().is_none());
    assert!(held.frame().await.unwrap().is_err());
    // A body that had already ended still counts as ended.
    let mut bench = Bench::new();
    let mut held = bench.held("Content-Length: 1\r\n\r\na").await;
    bench.serving.abort();
    assert!(bench.serving.await.is_err());
    assert!(held.is_end_stream() && held.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn t130_the_rest_of_a_head_that_came_ahead_has_its_time() {
    let limits = Limits::default();
    let (head, keep_alive) = (limits.head_timeout, limits.keep_alive);
    assert!(head < keep_alive);
    let mut bench = Bench::with(limits);
    bench.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGE").await;
    bench.reads(&answer("")).await;
    bench.stays_silent(head - TICK).await;
    // Long before the timeout of an idle connection.
    let answer = tokio::time::timeout(2 * TICK, bench.rest()).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn t064_informational_responses_come_before_the_answer() {
    let mut bench = Bench::new();
    bench.send("GET /hints HTTP/1.1\r\nHost: a\r\n\r\n").await;
    bench
        .reads(
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\nlink: </a>\r\n\r\nHTTP/1.1 200 \
             OK\r\ncontent-length: 0\r\n\r\n",
        )
        .await;
    bench.send("GET /hints HTTP/1.0\r\nHost: a\r\n\r\n").await;
    bench.reads("HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
}

#[tokio::test]
async fn t190_nothing_is_read_after_a_request_for_a_websocket() {
    let mut bench = Bench::new();
    bench
        .send("GET /first HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    bench.reads("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    assert_eq!(bench.echo.seen(), ["GET /first"]);
}
