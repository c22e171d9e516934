//! The upstream's side, over streams in memory; the test is the upstream.

use http::HeaderValue;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use model::Fields;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use http::HeaderName;

use super::*;
use crate::body::incoming::Incoming;
use crate::body::upload::UploadError;
use crate::fed::{Fed, flow};
use crate::flow::UploadEnd;

/// The time before and after the moment at which a timer fires.
const TICK: Duration = Duration::from_millis(10);

struct Bench {
    client: Arc<Client>,
    upstream: DuplexStream,
    flow: Arc<Flow>,
}

impl Bench {
    fn new() -> Self {
        let (ours, upstream) = tokio::io::duplex(16 << 10);
        Self {
            client: Client::new(ours, crate::config::Limits::default().response_head()),
            upstream,
            flow: flow(false),
        }
    }

    fn request(
        &self,
        method: Method,
        fields: &[(&'static str, &'static str)],
    ) -> (Outgoing<Fed>, mpsc::UnboundedSender<Frame<Bytes>>) {
        let (body, sender) = Fed::new(&self.flow);
        let mut map = Fields::new();
        for (name, value) in fields {
            map.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        (Outgoing { method, target: "/a?b".to_owned().into(), fields: map, body: Some(body) }, sender)
    }

    /// Sends a request.
    fn send<B: Body + 'static>(&self, mut outgoing: Outgoing<B>) -> Sent<B> {
        let client = self.client.clone();
        let flow = if outgoing.body.is_some() { self.flow.clone() } else { flow(true) };
        Sent(tokio::spawn(async move {
            let (response, rest) = client.send(&mut outgoing, &flow, &mut |_, _| {}).await?;
            Ok((response.map(Incoming::from), rest))
        }))
    }

    /// Waits until the upstream has read these bytes.
    async fn reads(&mut self, want: &str) {
        let mut read = vec![0; want.len()];
        self.upstream.read_exact(&mut read).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&read), want);
    }

    async fn writes(&mut self, bytes: &str) {
        self.upstream.write_all(bytes.as_bytes()).await.unwrap();
    }
}

/// The result of a sent request.
struct Sent<B>(JoinHandle<Result<Answered<B>, Failure>>);

/// A response, and the rest of its request.
type Answered<B> = (Response<Incoming>, Option<Sending<B>>);

impl<B: Send + 'static> Sent<B> {
    async fn both(self) -> Answered<B> {
        self.0.await.unwrap().unwrap()
    }

    async fn response(self) -> Response<Incoming> {
        self.both().await.0
    }

    async fn failure(self) -> Failure {
        self.0.await.unwrap().err().unwrap()
    }
}

fn empty(method: Method) -> Outgoing<Frames> {
    Outgoing { method, target: "/a".to_owned().into(), fields: Fields::new(), body: None }
}

async fn text(response: Response<Incoming>) -> Result<String, BodyError> {
    let bytes = response.body.collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn a_request_without_a_body_and_its_response() {
    let mut bench = Bench::new();
    let sent = bench.send(empty(Method::GET));
    bench.reads("GET /a HTTP/1.1\r\n\r\n").await;
    bench.writes("HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 5\r\n\r\nhello").await;
    let (response, rest) = sent.both().await;
    assert!(rest.is_none());
    assert_eq!((response.status, response.fields.get("x").unwrap().as_bytes()), (StatusCode::OK, &b"y"[..]));
    assert!(!bench.client.is_idle(), "its body is not read yet");
    assert_eq!(response.body.size_hint().exact(), Some(5));
    assert_eq!(text(response).await.unwrap(), "hello");
    assert!(bench.client.is_idle());
}

#[tokio::test]
async fn t063_a_connection_with_bytes_that_nobody_asked_for_is_not_used_again() {
    for (extra, later) in [("HTTP/1.1 200 OK\r\n\r\n", ""), ("", "x")] {
        let mut bench = Bench::new();
        let sent = bench.send(empty(Method::GET));
        bench.writes(&format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi{extra}")).await;
        assert_eq!(text(sent.response().await).await.unwrap(), "hi");
        bench.writes(later).await;
        assert!(!bench.client.is_idle(), "{extra:?} {later:?}");
    }
}

#[tokio::test]
async fn t065_a_response_that_has_no_body_sends_none() {
    for (method, head) in [
        (Method::HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        (Method::GET, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
        (Method::GET, "HTTP/1.1 304 Not Modified\r\n\r\n"),
    ] {
        let mut bench = Bench::new();
        let sent = bench.send(empty(method));
        bench.writes(&format!("{head}hello")).await;
        let response = sent.response().await;
        assert!(&response.body.is_end_stream());
        assert_eq!(text(response).await.unwrap(), "");
        assert!(!bench.client.is_idle(), "after {head:?} with a body");
    }
}

#[tokio::test]
async fn a_connection_that_its_upstream_closes_is_not_used_again() {
    let mut bench = Bench::new();
    let sent = bench.send(empty(Method::GET));
    bench.writes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    sent.response().await;
    assert!(!bench.client.is_idle());
    let (ours, theirs) = tokio::io::duplex(10);
    let fresh = Client::new(ours, crate::config::Limits::default().response_head());
    assert!(fresh.is_idle());
    drop(theirs);
    assert!(!fresh.is_idle());
}

#[tokio::test]
async fn a_body_goes_up_in_its_framing() {
    let mut bench = Bench::new();
    let (outgoing, pieces) = bench.request(Method::POST, &[("content-length", "5")]);
    let sent = bench.send(outgoing);
    pieces.send(Frame::data(Bytes::from_static(b"he"))).unwrap();
    bench.reads("POST /a?b HTTP/1.1\r\ncontent-length: 5\r\n\r\nhe").await;
    pieces.send(Frame::data(Bytes::from_static(b"llo"))).unwrap();
    bench.reads("llo").await;
    drop(pieces);
    bench.writes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n").await;
    let body = sent.response().await.body.collect().await.unwrap();
    assert_eq!(body.trailers().unwrap().get("x-sum").unwrap(), "1");
    assert_eq!(body.to_bytes(), "ok");
    assert!(bench.client.is_idle() && bench.flow.is_sent_whole());

    // The same connection, a body of unknown length with trailers.
    bench.flow = flow(false);
    let (outgoing, pieces) = bench.request(Method::GET, &[]);
    let sent = bench.send(outgoing);
    pieces.send(Frame::data(Bytes::from_static(b"hello worlds and more"))).unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("2"));
    pieces.send(Frame::trailers(trailers)).unwrap();
    bench.reads("GET /a?b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n15\r\nhello worlds and more\r\n0\r\nx-sum: 2\r\n\r\n").await;
    bench.writes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    sent.response().await;
}

#[tokio::test]
async fn an_early_response_arrives_while_the_body_goes_on() {
    let mut bench = Bench::new();
    let (outgoing, pieces) = bench.request(Method::POST, &[("content-length", "9")]);
    let sent = bench.send(outgoing);
    pieces.send(Frame::data(Bytes::from_static(b"one"))).unwrap();
    bench.reads("POST /a?b HTTP/1.1\r\ncontent-length: 9\r\n\r\none").await;
    bench.writes("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\near").await;
    let (response, rest) = sent.both().await;
    let running = tokio::spawn(rest.unwrap().run());
    let reading = tokio::spawn(text(response));
    pieces.send(Frame::data(Bytes::from_static(b"two"))).unwrap();
    bench.reads("two").await;
    bench.writes("ly.").await;
    assert_eq!(reading.await.unwrap().unwrap(), "early.");
    assert!(!bench.client.is_idle() || !bench.flow.is_sent_whole());
    pieces.send(Frame::data(Bytes::from_static(b"end"))).unwrap();
    drop(pieces);
    bench.reads("end").await;
    running.await.unwrap();
}

#[tokio::test]
async fn an_upstream_that_answered_and_closes_ends_the_upload() {
    let mut bench = Bench::new();
    let (outgoing, pieces) = bench.request(Method::POST, &[("content-length", "9")]);
    let sent = bench.send(outgoing);
    bench.writes("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n").await;
    let (response, rest) = sent.both().await;
    assert_eq!(response.status, StatusCode::PAYLOAD_TOO_LARGE);
    drop(bench.upstream);
    // No piece arrives: the end of the connection alone ends it.
    rest.unwrap().run().await;
    assert!(!bench.client.is_idle());
    drop(pieces);
}

#[tokio::test]
async fn a_stopped_upload_ends_the_connection() {
    let mut bench = Bench::new();
    let (outgoing, pieces) = bench.request(Method::POST, &[("content-length", "9")]);
    let sent = bench.send(outgoing);
    bench.writes("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n").await;
    let (response, rest) = sent.both().await;
    let (running, reading) = (tokio::spawn(rest.unwrap().run()), tokio::spawn(text(response)));
    bench.flow.stop();
    running.await.unwrap();
    assert!(matches!(reading.await.unwrap(), Err(BodyError::Broken(_))));
    assert_eq!(
        bench.upstream.read_to_end(&mut Vec::new()).await.unwrap(),
        "POST /a?b HTTP/1.1\r\ncontent-length: 9\r\n\r\n".len()
    );
    drop(pieces);
}

#[tokio::test(start_paused = true)]
async fn t055_a_body_waits_for_100_or_a_second_of_silence() {
    let expect = [("content-length", "2"), ("expect", "100-continue")];
    let head = "POST /a?b HTTP/1.1\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n";
    for answers in [true, false] {
        let mut bench = Bench::new();
        let (outgoing, pieces) = bench.request(Method::POST, &expect);
        pieces.send(Frame::data(Bytes::from_static(b"hi"))).unwrap();
        drop(pieces);
        let sent = bench.send(outgoing);
        bench.reads(head).await;
        // No more arrives until the upstream has answered or the time is over.
        let waited = if answers { CONTINUE_WAIT / 2 } else { CONTINUE_WAIT - TICK };
        assert!(tokio::time::timeout(waited, bench.upstream.read_u8()).await.is_err());
        if answers {
            bench.writes("HTTP/1.1 100 Continue\r\n\r\n").await;
        }
        tokio::time::timeout(2 * TICK, bench.reads("hi")).await.unwrap();
        bench.writes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(sent.response().await.status, StatusCode::OK);
    }
    // A final response instead: the body is never sent.
    let mut bench = Bench::new();
    let (outgoing, pieces) = bench.request(Method::POST, &expect);
    pieces.send(Frame::data(Bytes::from_static(b"hi"))).unwrap();
    let sent = bench.send(outgoing);
    bench.reads(head).await;
    bench.writes("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await;
    let (response, rest) = sent.both().await;
    assert_eq!((response.status, rest.is_some()), (StatusCode::UNAUTHORIZED, false));
    assert!(!bench.client.is_idle(), "the upstream may read what comes next as the body");
    drop((response, bench.client));
    assert_eq!(bench.upstream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
}

#[tokio::test]
async fn t064_informational_responses_are_passed_over_and_bounded() {
    for (count, fails) in [(MAX_INTERIM, false), (MAX_INTERIM + 1, true)] {
        let mut bench = Bench::new();
        let sent = bench.send(empty(Method::GET));
        for _ in 0..count {
            bench.writes("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n").await;
        }
        bench.writes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        match fails {
            true => assert!(matches!(sent.failure().await, Failure::Interim)),
            false => assert_eq!(sent.response().await.status, StatusCode::OK),
        }
    }
}

#[tokio::test]
async fn t062_what_is_no_response_is_a_failure() {
    for (bytes, closes) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", false),
        ("SSH-2.0-x\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\nX: y", false),
        ("HTTP/1.1 103 Early Hints\r\n\r\n", false),
        ("", true),
    ] {
        let mut bench = Bench::new();
        let sent = bench.send(empty(Method::GET));
        bench.writes(bytes).await;
        drop(bench.upstream);
        match sent.failure().await {
            Failure::Closed => assert!(closes, "{bytes:?}"),
            Failure::Response(_) => assert!(!closes, "{bytes:?}"),
            other @ (Failure::Request | Failure::HeadTooLarge | Failure::Interim) => {
                panic!("{other:?} after {bytes:?}")
            }
        }
    }
}

#[tokio::test]
async fn a_head_has_a_bound() {
    let mut bench = Bench::new();
    let sent = bench.send(empty(Method::GET));
    bench.writes("HTTP/1.1 200 OK\r\nX: ").await;
    while bench.upstream.write_all(&[b'a'; 1_000]).await.is_ok() && !sent.0.is_finished() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(sent.failure().await, Failure::HeadTooLarge));
}

#[tokio::test]
async fn the_body_of_an_earlier_response_is_over() {
    let mut bench = Bench::new();
    let first = bench.send(empty(Method::GET));
    bench.writes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let mut first = first.response().await.body;
    assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), "hi");
    let second = bench.send(empty(Method::GET));
    bench.writes("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother").await;
    let mut second = second.response().await.body;
    assert!(first.frame().await.is_none() && first.is_end_stream(), "it is not the body of the second one");
    drop(first);
    assert_eq!(second.frame().await.unwrap().unwrap().into_data().unwrap(), "other");
    assert!(bench.client.is_idle(), "the end of the first one says nothing of the second");
}

#[tokio::test]
async fn a_body_that_ends_early_is_not_completed() {
    let mut bench = Bench::new();
    let pieces = Frames(vec![Ok(Frame::data(Bytes::from_static(b"abc"))), Err(UploadError::Withheld)].into_iter());
    let mut fields = Fields::new();
    fields.insert(HeaderName::from_static("x"), HeaderValue::from_static("y"));
    let mut outgoing = Outgoing { method: Method::PUT, target: "/a".to_owned().into(), fields, body: Some(pieces) };
    let failure = bench.client.send(&mut outgoing, &bench.flow, &mut |_, _| {}).await.err().unwrap();
    assert!(matches!(failure, Failure::Request), "{failure:?}");
    drop(bench.client);
    let mut seen = String::new();
    bench.upstream.read_to_string(&mut seen).await.unwrap();
    assert!(!seen.contains("0\r\n\r\n"), "{seen:?}");
}

/// A body of frames that are available at once.
struct Frames(std::vec::IntoIter<Result<Frame<Bytes>, UploadError>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        Poll::Ready(self.0.next())
    }
}

#[tokio::test]
async fn t211_an_upload_that_the_upstream_does_not_take_is_stopped_and_has_not_ended() {
    let mut bench = Bench::new();
    let (outgoing, pieces) = bench.request(Method::POST, &[]);
    bench.flow.begin(Instant::now());
    let sent = bench.send(outgoing);
    // More than the stream accepts, and the end of the body: no part of it is left to be polled.
    pieces.send(Frame::data(Bytes::from(vec![7; 40_000]))).unwrap();
    drop(pieces);
    bench.writes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let (_, rest) = sent.both().await;
    let running = tokio::spawn(rest.unwrap().run());
    tokio::task::yield_now().await;
    assert!(bench.flow.is_taken_whole() && bench.flow.upload_end().is_none(), "it waits to be written");
    bench.flow.stop();
    running.await.unwrap();
    assert_eq!(bench.flow.upload_end(), Some(UploadEnd::Stopped));
    drop(bench.client);
    let mut seen = Vec::new();
    bench.upstream.read_to_end(&mut seen).await.unwrap();
    assert!(!seen.ends_with(b"0\r\n\r\n") && seen.len() < 40_000, "{}", seen.len());
}
