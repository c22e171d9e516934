//! A request body in transit to the upstream; the test is the client and polls as the connection does.

use http_body_util::BodyExt as _;
use model::Fields;
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use vault::Kind;

use super::*;
use crate::fed::{coded, content_encoding, flow};
use crate::limits::allowance::ByteLimit;
use crate::limits::budget::Exhausted;
use crate::request::Asked;
use crate::testing::{Bench, HOST, Line, Setup, collect};

fn bench() -> Bench {
    Setup::new(&["{id: r, allow: {host: api.example.com}}"]).credential("token", Kind::bearer()).build()
}

/// A body that streams, its flow, and the client's end of its connection.
struct Streaming<'b> {
    line: Line<'b>,
    flow: Arc<Flow>,
    upload: Upload,
    client: DuplexStream,
}

impl<'b> Streaming<'b> {
    /// A chunked body of which these bytes have arrived; it is scanned as the fields require.
    async fn begin(bench: &'b Bench, fields: &Fields, bytes: &[u8]) -> Self {
        let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
        let (asked, client) = bench.arriving(&head).await;
        let mut streaming = Self::of(bench, asked, client, |payload| payload);
        let watch = BodyScanner {
            scanner: Scanner::new(fields).unwrap(),
            session: bench.session.clone(),
            active: streaming.line.active.clone(),
            must_search: true,
        };
        streaming.upload.0.as_mut().unwrap().watch = Some(watch);
        streaming.chunk(bytes).await;
        streaming
    }

    fn of(bench: &'b Bench, asked: Asked, client: DuplexStream, change: impl FnOnce(Payload) -> Payload) -> Self {
        let line = bench.line("POST", "/");
        let (flow, decoding) = (flow(false), bench.core.proxy.slot_bodies.decoding(&bench.session.id));
        let payload = change(Payload::from(asked.body));
        let upload = Upload::new(payload, None, None, &line.active, (&flow, decoding));
        Self { line, flow, upload, client }
    }

    async fn chunk(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
            self.client.write_all(&chunk).await.unwrap();
        }
    }

    async fn end(&mut self, trailers: &str) {
        self.client.write_all(format!("0\r\n{trailers}\r\n").as_bytes()).await.unwrap();
    }

    /// The part that may be sent now; `None` while there is none.
    fn passed(&mut self) -> Option<Result<Bytes, UploadError>> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match Pin::new(&mut self.upload).poll_frame(&mut cx) {
            Poll::Pending => None,
            Poll::Ready(frame) => Some(frame.unwrap().map(|frame| frame.into_data().unwrap())),
        }
    }

    fn reason(&self) -> Option<Reason> {
        self.line.active.termination().map(Termination::reason)
    }
}

#[tokio::test]
async fn a_body_passes_live_and_is_counted_to_its_end() {
    let bench = bench();
    let mut body = Streaming::begin(&bench, &Fields::new(), b"one").await;
    assert_eq!(body.passed().unwrap().unwrap(), "one");
    assert!(body.passed().is_none());
    body.chunk(b"two").await;
    assert_eq!(body.passed().unwrap().unwrap(), "two");
    assert_eq!((body.flow.sent(), body.flow.upload_end()), (6, None));
    body.end("").await;
    assert!(body.upload.frame().await.is_none());
    assert_eq!((body.flow.sent(), body.flow.upload_end()), (6, Some(UploadEnd::Whole)));
}

#[tokio::test]
async fn a_length_that_was_announced_stays_and_one_that_was_not_is_not_made_up() {
    let bench = bench();
    let (asked, client) =
        bench.arriving(&format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9\r\n\r\n")).await;
    assert_eq!(Streaming::of(&bench, asked, client, |payload| payload).upload.size_hint().exact(), Some(9));
    let body = Streaming::begin(&bench, &Fields::new(), b"one").await;
    assert_eq!(body.upload.size_hint().exact(), None);
    let (asked, client) = bench.arriving(&format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    let empty = Streaming::of(&bench, asked, client, |payload| payload).upload;
    assert!(empty.is_end_stream() && empty.size_hint().exact() == Some(0));
}

#[tokio::test]
async fn a_placeholder_ends_the_exchange_before_its_first_byte_wherever_it_is_cut() {
    let bench = bench();
    let placeholder = bench.placeholder("token").to_owned();
    for cut in 1..placeholder.len() {
        let (front, back) = placeholder.split_at(cut);
        let mut body = Streaming::begin(&bench, &Fields::new(), format!("before {front}").as_bytes()).await;
        let mut sent = body.passed().map_or(Bytes::new(), Result::unwrap).to_vec();
        body.chunk(back.as_bytes()).await;
        while let Some(Ok(more)) = body.passed() {
            sent.extend_from_slice(&more);
        }
        // The bytes that begin a similar word are sent as long as they are fewer than its mark.
        let of_placeholder = sent.strip_prefix(b"before ").unwrap_or_default();
        assert!(of_placeholder.len() < sessions::PLACEHOLDER_MARK.len(), "{cut}: {}", String::from_utf8_lossy(&sent));
        assert_eq!(body.reason(), Some(Reason::PlaceholderMisplaced), "{cut}");
        assert_eq!(body.flow.upload_end(), Some(UploadEnd::Stopped));
    }
}

#[tokio::test]
async fn what_only_began_like_a_placeholder_goes_on() {
    let bench = bench();
    let mut body = Streaming::begin(&bench, &Fields::new(), b"an egret").await;
    let first = body.passed();
    body.chunk(b" stands").await;
    body.end("X: 1\r\n").await;
    let rest = collect(body.upload).await.unwrap().0;
    let first = first.map_or(Bytes::new(), Result::unwrap);
    assert_eq!([first, rest].concat(), b"an egret stands");
}

#[tokio::test]
async fn a_placeholder_of_nobody_is_told_from_one_that_is_misplaced() {
    let bench = bench();
    let invented = format!("egret_ph_{}", "c".repeat(32));
    let mut body = Streaming::begin(&bench, &Fields::new(), invented.as_bytes()).await;
    assert!(body.passed().unwrap().is_err());
    assert_eq!(body.reason(), Some(Reason::PlaceholderUnknown));
}

#[tokio::test]
async fn a_placeholder_is_found_through_a_coding_and_what_is_not_in_it_does_not_pass() {
    let bench = bench();
    let text = format!("{} {}", "x".repeat(3000), bench.placeholder("token"));
    let fields = content_encoding("gzip");
    let mut body = Streaming::begin(&bench, &fields, &coded(&["gzip"], text.as_bytes())).await;
    body.end("").await;
    assert_eq!(collect(&mut body.upload).await.unwrap_err(), "the request body is not sent on");
    assert_eq!(body.reason(), Some(Reason::PlaceholderMisplaced));
    let mut body = Streaming::begin(&bench, &fields, b"this is not gzip").await;
    assert!(body.passed().unwrap().is_err());
    assert_eq!(body.reason(), Some(Reason::CodingUnsupported));
    let plain = coded(&["gzip"], b"nothing of the kind");
    let mut body = Streaming::begin(&bench, &fields, &plain).await;
    body.end("").await;
    assert_eq!(collect(&mut body.upload).await.unwrap().0, plain);
}

#[tokio::test]
async fn trailers_pass_only_through_their_filter() {
    let bench = bench();
    let mut body = Streaming::begin(&bench, &Fields::new(), b"a").await;
    body.end("X-Sum: 1\r\n").await;
    assert_eq!(collect(body.upload).await.unwrap(), ("a".into(), Some(http::HeaderMap::new())));
    let mut body = Streaming::begin(&bench, &Fields::new(), b"a").await;
    body.end(&format!("X-Sum: {}\r\n", bench.placeholder("token"))).await;
    assert_eq!(collect(&mut body.upload).await.unwrap_err(), "the request body is not sent on");
    assert_eq!(body.reason(), Some(Reason::PlaceholderMisplaced));
}

#[tokio::test]
async fn trailers_beyond_their_bound_end_the_exchange() {
    let bench = bench();
    let mut body = Streaming::begin(&bench, &Fields::new(), b"").await;
    body.end(&format!("X: {}\r\n", "y".repeat(MAX_TRAILER_BYTES))).await;
    assert!(collect(&mut body.upload).await.is_err());
    assert_eq!(body.reason(), Some(Reason::HeadTooLarge));
}

#[tokio::test]
async fn a_client_that_breaks_off_and_one_that_breaks_the_framing_are_told_apart() {
    let bench = bench();
    let Streaming { line: _line, flow, mut upload, client } = Streaming::begin(&bench, &Fields::new(), b"one").await;
    drop(client);
    assert_eq!(collect(&mut upload).await.unwrap_err(), "the client broke off");
    assert_eq!(flow.upload_end(), Some(UploadEnd::Client));
    let mut body = Streaming::begin(&bench, &Fields::new(), b"one").await;
    body.client.write_all(b"no size\r\n").await.unwrap();
    assert_eq!(collect(&mut body.upload).await.unwrap_err(), "the client broke off");
    assert_eq!(body.flow.upload_end(), Some(UploadEnd::Malformed));
}

#[tokio::test]
async fn a_body_ends_at_its_limit_before_the_byte_that_exceeds_it() {
    let bench = bench();
    let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let (asked, client) = bench.arriving(&head).await;
    let bounded = |mut payload: Payload| {
        let body = Some(ByteLimit { scope: sessions::Scope::Session, bytes: 5 });
        payload.bound(Allowance::new(&bench.session, &bench.core.proxy.sessions, body, Vec::new()).unwrap());
        payload
    };
    let mut body = Streaming::of(&bench, asked, client, bounded);
    body.chunk(b"four").await;
    assert_eq!(body.passed().unwrap().unwrap(), "four");
    body.chunk(b"56").await;
    assert!(body.passed().unwrap().is_err());
    assert_eq!((body.reason(), body.flow.sent()), (Some(Reason::BodyTooLarge), 4));
}

#[tokio::test]
async fn nothing_passes_once_it_was_stopped_and_one_that_is_dropped_was_not_whole() {
    let bench = bench();
    let mut body = Streaming::begin(&bench, &Fields::new(), b"one").await;
    body.flow.stop();
    assert!(body.passed().unwrap().is_err());
    assert_eq!(body.flow.sent(), 0);
    let Streaming { flow, upload, .. } = Streaming::begin(&bench, &Fields::new(), b"one").await;
    drop(upload);
    assert_eq!(flow.upload_end(), Some(UploadEnd::Stopped));
}

#[test]
fn memory_that_is_spent_names_whose() {
    assert_eq!([Exhausted::Session.reason(), Exhausted::Whole.reason()], [Reason::SessionQuota, Reason::Overloaded]);
}
