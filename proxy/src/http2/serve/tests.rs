//! The client's side over streams in memory; the test is the client.

use std::sync::Mutex;

use h2::client::SendRequest;
use http::Method;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::{Notify, oneshot};

use super::*;
use crate::body::incoming::Incoming;
use crate::downlink::Downlink;
use crate::http2::frames::Peer;
use crate::share::Shares;

/// Answers by path, and notes what the library rejected.
#[derive(Default)]
struct Echo {
    /// Notified for each request.
    called: Notify,
    rejected: Mutex<Vec<Rejected>>,
}

impl Service for Echo {
    async fn call(&self, request: Request<RequestBody>) -> Result<Response<Body>, Code> {
        self.called.notify_one();
        let path = request.uri().path().to_owned();
        let mut response = Response::new(Body::own("done"));
        match path.as_str() {
            "/reset" => return Err(Code::PROTOCOL_ERROR),
            "/hints" => {
                for status in [103, 102] {
                    let mut interim = Response::new(());
                    interim.status = StatusCode::from_u16(status).unwrap();
                    interim.fields.append(header::LINK, HeaderValue::from_static("</a>"));
                    streams::current().unwrap().inform(interim);
                }
            }
            "/whole" => {
                let body = Incoming::Http2(request.into_body()).collect().await.unwrap().to_bytes();
                response = Response::new(Body::own(body));
            }
            "/empty" => {
                response = Response::new(Body::own(""));
                response.status = StatusCode::NO_CONTENT;
                response.fields.insert(header::CONTENT_LENGTH, HeaderValue::from_static("5"));
                response.fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            // The request is dropped unread.
            _ => response.status = StatusCode::PAYLOAD_TOO_LARGE,
        }
        Ok(response)
    }

    fn rejected(&self, rejected: Rejected) {
        self.rejected.lock().unwrap().push(rejected);
    }
}

/// Serves one connection, and returns the client's end of it.
fn connect(limits: Limits) -> (DuplexStream, Arc<Echo>, oneshot::Sender<()>) {
    let (client, server) = tokio::io::duplex(1 << 20);
    let echo = Arc::new(Echo::default());
    let (close, closing) = oneshot::channel();
    let service = echo.clone();
    let spawner = Shares::new().spawner(&model::SessionId::new("s"));
    let streams = StreamExecutor::new(spawner, Arc::<Downlink>::default(), Duration::from_secs(60));
    tokio::spawn(async move {
        let io = Frames::new(server, Peer::Client, 1_000);
        let closing = async { drop(closing.await) };
        serve(io, service, (streams, &limits), closing).await
    });
    (client, echo, close)
}

async fn h2_client(limits: Limits) -> (SendRequest<Bytes>, Arc<Echo>, oneshot::Sender<()>) {
    let (client, echo, close) = connect(limits);
    let (requests, connection) = h2::client::handshake(client).await.unwrap();
    tokio::spawn(connection);
    (requests.ready().await.unwrap(), echo, close)
}

fn request(method: Method, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("https://a{path}")).body(()).unwrap()
}

#[tokio::test]
async fn an_early_answer_leaves_the_client_time_for_the_rest_of_its_request() {
    let (mut requests, _echo, _close) = h2_client(Limits::default()).await;
    let (answer, mut upload) = requests.send_request(request(Method::POST, "/large"), false).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 413);
    let mut body = answer.into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "done");
    assert!(body.data().await.is_none() && body.is_end_stream());
    // Far more than the window of the stream: it is read, and the stream is not reset.
    let mut left = 8_usize << 20;
    while left > 0 {
        upload.reserve_capacity(left.min(64 << 10));
        let granted = poll_fn(|cx| upload.poll_capacity(cx)).await.unwrap().unwrap();
        left -= granted.min(left);
        upload.send_data(vec![0; granted].into(), left == 0).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_without_an_end_is_reset_after_a_while() {
    let (mut requests, _echo, _close) = h2_client(Limits::default()).await;
    let (answer, mut upload) = requests.send_request(request(Method::POST, "/large"), false).unwrap();
    assert_eq!(answer.await.unwrap().status(), 413);
    assert_eq!(poll_fn(|cx| upload.poll_reset(cx)).await.unwrap(), Code::NO_ERROR);
}

#[tokio::test]
async fn t064_informational_responses_come_before_the_answer() {
    let (mut requests, _echo, _close) = h2_client(Limits::default()).await;
    let (mut answer, _) = requests.send_request(request(Method::GET, "/hints"), true).unwrap();
    for status in [103, 102] {
        let interim = poll_fn(|cx| answer.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!(
            (interim.status().as_u16(), interim.headers().get("link").unwrap().as_bytes()),
            (status, &b"</a>"[..])
        );
    }
    assert!(poll_fn(|cx| answer.poll_informational(cx)).await.is_none());
    assert_eq!(answer.await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_answer_has_no_field_of_http1() {
    let (mut requests, _echo, _close) = h2_client(Limits::default()).await;
    let (answer, _) = requests.send_request(request(Method::GET, "/empty"), true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers().len(), answer.body().is_end_stream()), (204, 0, true));
    let (answer, mut upload) = requests.send_request(request(Method::POST, "/whole"), false).unwrap();
    upload.send_data("hello".into(), true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.headers().get("content-length").unwrap(), "5");
    assert_eq!(answer.into_body().data().await.unwrap().unwrap(), "hello");
}

#[tokio::test]
async fn a_request_is_reset_alone() {
    let (mut requests, _echo, _close) = h2_client(Limits::default()).await;
    let (answer, _) = requests.send_request(request(Method::GET, "/reset"), true).unwrap();
    assert_eq!(answer.await.unwrap_err().reason(), Some(Code::PROTOCOL_ERROR));
    let (answer, _) = requests.send_request(request(Method::GET, "/other"), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 413);
}

#[tokio::test]
async fn requests_in_progress_end_before_the_connection_closes() {
    let (mut requests, echo, close) = h2_client(Limits::default()).await;
    let (answer, mut upload) = requests.send_request(request(Method::POST, "/whole"), false).unwrap();
    upload.send_data("hello".into(), false).unwrap();
    echo.called.notified().await;
    close.send(()).unwrap();
    upload.send_data(" world".into(), true).unwrap();
    assert_eq!(answer.await.unwrap().into_body().data().await.unwrap().unwrap(), "hello world");
    while requests.clone().ready().await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn t066_what_the_library_rejects_is_reported() {
    let (mut client, echo, _close) = connect(Limits { max_header_list_bytes: 200, ..Limits::default() });
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    // :method GET, :scheme https, and :path / come from the static table; then a connection field, or a long one.
    let malformed = [&[0x82, 0x87, 0x84, 0x00, 10][..], b"connection", &[5], b"close"].concat();
    let large = [&[0x82, 0x87, 0x84, 0x00, 1, b'x', 100][..], &[b'a'; 100]].concat();
    let bytes = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(1, 5, 1, &malformed),
        frame(1, 5, 3, &large),
        frame(1, 5, 5, &[0x82, 0x87, 0x84]),
    ];
    client.write_all(&bytes.concat()).await.unwrap();
    let mut got = Vec::new();
    while !got.windows(4).any(|part| part == b"done") {
        assert!(client.read_buf(&mut got).await.unwrap() > 0);
    }
    assert_eq!(*echo.rejected.lock().unwrap(), [Rejected::Malformed, Rejected::TooLarge]);
}

/// Seconds until the connection that sends `requests` closes.
async fn open_for(requests: SendRequest<Bytes>) -> u64 {
    let (began, mut requests) = (tokio::time::Instant::now(), requests);
    loop {
        match requests.ready().await {
            Ok(ready) => requests = ready,
            Err(_) => return began.elapsed().as_secs(),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_streams_is_closed_after_keep_alive() {
    let limits = Limits { keep_alive: Duration::from_secs(60), ..Limits::default() };
    let (requests, _echo, _close) = h2_client(limits.clone()).await;
    assert!((60..=62).contains(&open_for(requests).await));

    let (mut requests, echo, _close) = h2_client(limits).await;
    let (answer, mut upload) = requests.send_request(request(Method::POST, "/whole"), false).unwrap();
    echo.called.notified().await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    upload.send_data("late".into(), true).unwrap();
    assert_eq!(answer.await.unwrap().into_body().data().await.unwrap().unwrap(), "late", "a stream keeps it open");
    assert!((60..=62).contains(&open_for(requests).await), "the time counts from the end of the last stream");
}
