//! The upstream's side, over streams in memory; the test is the upstream.

use std::time::Duration;

use h2::server::SendResponse;
use http::StatusCode;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use http::HeaderName;

use super::*;
use crate::body::incoming::Incoming;
use crate::fed::{Fed, flow};
use crate::http1::wire::BodyError;
use crate::http2::frames::Peer;

type Arrived = (Request<RecvStream>, SendResponse<Bytes>);

/// A client, and an upstream that hands each request to the test.
struct Bench {
    client: Client,
    arrived: mpsc::UnboundedReceiver<Arrived>,
    serving: JoinHandle<()>,
    flow: Arc<Flow>,
}

impl Bench {
    async fn new() -> Self {
        let (ours, upstream) = tokio::io::duplex(64 << 10);
        let (sender, arrived) = mpsc::unbounded_channel();
        let serving = tokio::spawn(serve(upstream, sender));
        let frames = Frames::new(ours, Peer::Server, 10_000);
        let (client, connection) =
            Client::start(frames, crate::config::Limits::default().response_head()).await.unwrap();
        tokio::spawn(connection);
        Self { client, arrived, serving, flow: flow(false) }
    }

    /// Sends a request with this body, which the test feeds.
    fn send(&self, method: Method) -> (Sent, mpsc::UnboundedSender<Frame<Bytes>>) {
        let (body, feed) = Fed::new(&self.flow);
        (self.send_outgoing(outgoing(method, &[], Some(body))), feed)
    }

    fn send_outgoing(&self, outgoing: Outgoing<Fed>) -> Sent {
        let (mut client, flow) = (self.client.clone(), self.flow.clone());
        tokio::spawn(async move {
            client.ready().await.unwrap();
            let destination = Destination::new(model::Scheme::Https, model::Host::parse("api.test").unwrap(), 8443);
            client
                .send(&destination, outgoing, &flow, &mut |_, _| {})
                .await
                .map(|(response, rest)| (response.map(Incoming::from), rest))
        })
    }

    async fn arrives(&mut self) -> Arrived {
        self.arrived.recv().await.unwrap()
    }
}

type Sent = JoinHandle<Result<(Response<Incoming>, Option<Sending<Fed>>), Failure>>;

async fn serve(io: DuplexStream, arrived: mpsc::UnboundedSender<Arrived>) {
    let mut connection = h2::server::handshake(io).await.unwrap();
    while let Some(Ok(request)) = connection.accept().await {
        if request.0.uri().path() == "/goaway" {
            connection.abrupt_shutdown(Code::NO_ERROR);
            continue;
        }
        arrived.send(request).ok();
    }
}

fn outgoing(method: Method, sent: &[(&'static str, &'static str)], body: Option<Fed>) -> Outgoing<Fed> {
    let mut fields = Fields::new();
    for (name, value) in sent {
        fields.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    Outgoing { method, target: "/a?b".to_owned().into(), fields, body }
}

fn data(text: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

fn head(status: u16, sent: &[(&'static str, &'static str)]) -> http::Response<()> {
    let mut response = http::Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in sent {
        response.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    response
}

#[tokio::test]
async fn a_request_without_a_body_is_its_head() {
    let mut bench = Bench::new().await;
    for (method, length) in [(Method::GET, None), (Method::DELETE, None), (Method::POST, Some("0"))] {
        let sent = [("host", "other.test"), ("x-a", "1"), ("x-a", "2"), ("expect", "100-continue")];
        let sent = bench.send_outgoing(outgoing(method.clone(), &sent, None));
        let (request, mut respond) = bench.arrives().await;
        assert_eq!((request.method(), request.uri().to_string()), (&method, "https://api.test:8443/a?b".to_owned()));
        let field = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap());
        assert_eq!((field("host"), field("expect"), field("content-length")), (None, None, length), "{method}");
        assert_eq!(request.headers().get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert!(request.body().is_end_stream());
        respond.send_response(head(204, &[("x-b", "3")]), true).unwrap();
        let (response, rest) = sent.await.unwrap().unwrap();
        assert_eq!((response.status, rest.is_none()), (StatusCode::NO_CONTENT, true));
        assert_eq!(response.fields.get("x-b").unwrap(), "3");
        assert!(response.body.is_end_stream() && response.body.size_hint().exact() == Some(0));
    }
}

#[tokio::test]
async fn a_connection_outlives_many_responses_that_were_cancelled() {
    let mut bench = Bench::new().await;
    for _ in 0..5_000 {
        let sent = bench.send_outgoing(outgoing(Method::GET, &[], None));
        let (_request, mut respond) = bench.arrives().await;
        let mut stream = respond.send_response(head(200, &[]), false).unwrap();
        drop(sent.await.unwrap().expect("the response arrives"));
        assert_eq!(poll_fn(|cx| stream.poll_reset(cx)).await.unwrap(), Code::CANCEL);
    }
}

#[tokio::test]
async fn t211_a_body_goes_on_beside_its_response() {
    let mut bench = Bench::new().await;
    let (sent, feed) = bench.send(Method::POST);
    feed.send(data("one")).unwrap();
    let (request, mut respond) = bench.arrives().await;
    let mut upload = request.into_body();
    assert_eq!(upload.data().await.unwrap().unwrap(), "one");
    let mut stream = respond.send_response(head(200, &[("content-length", "8")]), false).unwrap();
    let (response, rest) = sent.await.unwrap().unwrap();
    let running = tokio::spawn(rest.unwrap().run());
    let mut body = response.body;
    assert_eq!(body.size_hint().exact(), Some(8));

    feed.send(data("two")).unwrap();
    assert_eq!(upload.data().await.unwrap().unwrap(), "two");
    stream.send_data(Bytes::from_static(b"pong"), false).unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "pong");
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(4), false));

    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("9"));
    feed.send(Frame::trailers(trailers.clone())).unwrap();
    assert!(upload.data().await.is_none());
    assert_eq!(upload.trailers().await.unwrap().unwrap(), trailers);
    running.await.unwrap();
    stream.send_data(Bytes::from_static(b"ping"), false).unwrap();
    stream.send_trailers(trailers.clone()).unwrap();
    let all = body.collect().await.unwrap();
    assert_eq!(all.trailers(), Some(&trailers));
    assert_eq!(all.to_bytes(), "ping");
}

#[tokio::test]
async fn an_upstream_that_has_answered_may_refuse_the_rest() {
    let mut bench = Bench::new().await;
    let (sent, feed) = bench.send(Method::PUT);
    feed.send(data("one")).unwrap();
    let (_request, mut respond) = bench.arrives().await;
    let mut stream = respond.send_response(head(413, &[]), false).unwrap();
    let (response, rest) = sent.await.unwrap().unwrap();
    stream.send_data(Bytes::from_static(b"too large"), true).unwrap();
    assert_eq!(response.body.collect().await.unwrap().to_bytes(), "too large");
    stream.send_reset(Code::NO_ERROR);
    rest.unwrap().run().await;
    assert!(feed.is_closed());
}

#[tokio::test]
async fn t050_a_response_that_is_reset_has_broken_off() {
    for code in [Code::NO_ERROR, Code::CANCEL, Code::INTERNAL_ERROR] {
        let mut bench = Bench::new().await;
        let sent = bench.send_outgoing(outgoing(Method::GET, &[], None));
        let (_request, mut respond) = bench.arrives().await;
        let mut stream = respond.send_response(head(200, &[]), false).unwrap();
        stream.send_data(Bytes::from_static(b"half"), false).unwrap();
        let mut body = sent.await.unwrap().unwrap().0.body;
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
        stream.send_reset(code);
        assert!(matches!(body.frame().await, Some(Err(BodyError::Broken(_)))), "{code}");
        assert!(!body.is_end_stream() || body.frame().await.is_none());
    }
}

#[tokio::test]
async fn t062_a_response_has_one_length() {
    let mut bench = Bench::new().await;
    let sent = bench.send_outgoing(outgoing(Method::GET, &[], None));
    let (_request, mut respond) = bench.arrives().await;
    let head = head(200, &[("content-length", "4"), ("content-length", "4")]);
    let _stream = respond.send_response(head, false).unwrap();
    assert!(matches!(sent.await.unwrap(), Err(Failure::Response(_))));
}

#[tokio::test]
async fn what_was_not_processed_can_be_sent_again() {
    let mut bench = Bench::new().await;
    let sent = bench.send_outgoing(outgoing(Method::GET, &[], None));
    let (_request, mut respond) = bench.arrives().await;
    respond.send_reset(Code::REFUSED_STREAM);
    assert!(matches!(sent.await.unwrap(), Err(Failure::Unanswered)), "refused");

    let sent = bench.send_outgoing(outgoing(Method::GET, &[], None));
    let (_request, mut respond) = bench.arrives().await;
    respond.send_reset(Code::INTERNAL_ERROR);
    assert!(matches!(sent.await.unwrap(), Err(Failure::Response(_))), "it may have been processed");

    let sent = bench.send_outgoing(outgoing(Method::GET, &[], None));
    let (_request, _respond) = bench.arrives().await;
    assert!(!bench.client.is_closed());
    bench.serving.abort();
    assert!(matches!(sent.await.unwrap(), Err(Failure::Unanswered)), "the connection closed");
    assert!(bench.client.is_closed());
    assert!(bench.client.ready().await.is_err());
}

#[tokio::test]
async fn a_connection_that_goes_away_takes_nothing_more() {
    let bench = Bench::new().await;
    let request = Outgoing { target: "/goaway".to_owned().into(), ..outgoing(Method::GET, &[], None) };
    assert!(bench.send_outgoing(request).await.unwrap().is_err());
    assert!(bench.client.is_closed());
}

#[tokio::test]
async fn a_body_that_is_withheld_resets_its_stream() {
    let mut bench = Bench::new().await;
    let (sent, feed) = bench.send(Method::POST);
    feed.send(data("one")).unwrap();
    let (request, _respond) = bench.arrives().await;
    let mut upload = request.into_body();
    upload.data().await.unwrap().unwrap();
    bench.flow.stop();
    assert!(matches!(sent.await.unwrap(), Err(Failure::Request)));
    assert_eq!(upload.data().await.unwrap().unwrap_err().reason(), Some(Code::CANCEL));
}

#[tokio::test]
async fn t133_a_client_is_read_no_further_than_the_upstream_takes() {
    let mut bench = Bench::new().await;
    let (sent, feed) = bench.send(Method::POST);
    let (_request, mut respond) = {
        feed.send(Frame::data(vec![7; 16 << 10].into())).unwrap();
        bench.arrives().await
    };
    // The upstream's window is 64 KiB, and it reads nothing.
    for _ in 0..20 {
        feed.send(Frame::data(vec![7; 16 << 10].into())).unwrap();
    }
    tokio::task::yield_now().await;
    respond.send_response(head(200, &[]), true).unwrap();
    let (_response, rest) = sent.await.unwrap().unwrap();
    let rest = tokio::spawn(rest.unwrap().run());
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!rest.is_finished());
    assert!(bench.flow.upload_end().is_none(), "pieces are left, and their end was not reached");
    // While the upstream accepts nothing, the end of the exchange is seen all the same.
    bench.flow.stop();
    tokio::time::timeout(Duration::from_secs(10), rest).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_target_is_sent_as_it_is_or_not_at_all() {
    let bench = Bench::new().await;
    for target in ["/a b", "/\u{7f}"] {
        let request = Outgoing { target: target.to_owned().into(), ..outgoing(Method::GET, &[], None) };
        assert!(matches!(bench.send_outgoing(request).await.unwrap(), Err(Failure::Target)), "{target:?}");
    }
}
