//! A body as it arrives, from a client or from an upstream, over HTTP/1 or HTTP/2.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::http1::client::ResponseBody;
use crate::http1::link::RequestBody;
use crate::http1::wire::BodyError;
use crate::http2::body::{RequestBody as Http2Body, StreamBody};

/// A body that arrives.
pub(crate) enum Incoming {
    /// No body.
    Empty,
    /// The body of a request over HTTP/1.
    Request(RequestBody),
    /// The body of a response over HTTP/1.
    Response(ResponseBody),
    /// The body of a request over HTTP/2.
    Http2(Http2Body),
    /// The body of a response over HTTP/2.
    Stream(StreamBody),
    /// A body of which only the trailers remain.
    Trailers(Option<Frame<Bytes>>),
}

impl From<Option<RequestBody>> for Incoming {
    fn from(body: Option<RequestBody>) -> Self {
        body.map_or(Self::Empty, Self::Request)
    }
}

impl From<Option<ResponseBody>> for Incoming {
    fn from(body: Option<ResponseBody>) -> Self {
        body.map_or(Self::Empty, Self::Response)
    }
}

impl From<Option<StreamBody>> for Incoming {
    fn from(body: Option<StreamBody>) -> Self {
        body.map_or(Self::Empty, Self::Stream)
    }
}

impl Incoming {
    /// Waits for the first byte of a response's body, which stays to be read.
    ///
    /// # Errors
    /// The body ends or breaks before it.
    pub(crate) fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match self {
            Self::Response(body) => body.poll_begin(cx),
            Self::Stream(body) => body.poll_begin(cx),
            Self::Empty | Self::Request(_) | Self::Http2(_) | Self::Trailers(_) => Poll::Ready(Ok(())),
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Request(body) => body.poll_frame(cx),
            Self::Response(body) => body.poll_frame(cx),
            Self::Stream(body) => body.poll_frame(cx),
            Self::Trailers(trailers) => Poll::Ready(trailers.take().map(Ok)),
            Self::Http2(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Request(body) => body.has_ended(),
            Self::Response(body) => body.has_ended(),
            Self::Stream(body) => body.has_ended(),
            Self::Trailers(trailers) => trailers.is_none(),
            Self::Http2(body) => body.has_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Request(body) => body.hint(),
            Self::Response(body) => body.hint(),
            Self::Stream(body) => body.hint(),
            Self::Trailers(_) => SizeHint::with_exact(0),
            Self::Http2(body) => body.hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http_body_util::BodyExt as _;
    use tokio::sync::mpsc;

    use super::*;
    use crate::testing::{Bench, collect, response};

    /// The body of a request over HTTP/2 that begins with `half`, and the client's stream for the rest.
    async fn half_sent() -> (Incoming, h2::SendStream<Bytes>) {
        let (client, server) = tokio::io::duplex(64 << 10);
        let (sender, mut bodies) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let (mut connection, mut answers) = (h2::server::handshake(server).await.unwrap(), Vec::new());
            while let Some(Ok((request, answer))) = connection.accept().await {
                answers.push(answer);
                let stream = request.into_body();
                sender.send(Http2Body::new(StreamBody::new(stream, None), None)).ok();
            }
        });
        let (requests, connection) = h2::client::handshake(client).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post("https://a/").body(()).unwrap();
        let (_, mut stream) = requests.ready().await.unwrap().send_request(request, false).unwrap();
        stream.send_data("half".into(), false).unwrap();
        let mut body = Incoming::Http2(bodies.recv().await.unwrap());
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
        (body, stream)
    }

    #[tokio::test]
    async fn a_request_that_is_reset_within_its_body_is_not_whole() {
        for reason in [h2::Reason::NO_ERROR, h2::Reason::CANCEL, h2::Reason::INTERNAL_ERROR] {
            let (mut body, mut stream) = half_sent().await;
            stream.send_reset(reason);
            assert!(body.frame().await.unwrap().is_err(), "{reason:?}");
        }
    }

    #[tokio::test]
    async fn a_request_that_ends_its_stream_is_whole() {
        let (mut body, mut stream) = half_sent().await;
        stream.send_data("rest".into(), true).unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "rest");
        assert!(body.frame().await.is_none() && body.is_end_stream());
        let (mut body, mut stream) = half_sent().await;
        stream.send_trailers(http::HeaderMap::new()).unwrap();
        assert!(body.frame().await.is_none_or(|frame| frame.is_ok_and(|frame| frame.is_trailers())));
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_body_is_the_same_from_a_client_and_from_an_upstream() {
        let bench = Bench::new(&["{id: r, allow: {host: api.example.com}}"]);
        let asked = bench.asked("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").await;
        let came = response(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
        for body in [asked.body, came.body] {
            assert_eq!((body.is_end_stream(), body.size_hint().exact()), (false, Some(5)));
            assert_eq!(collect(body).await.unwrap(), ("hello".into(), None));
        }
    }

    #[tokio::test]
    async fn a_message_without_a_body_has_ended() {
        let bench = Bench::new(&["{id: r, allow: {host: api.example.com}}"]);
        let asked = bench.asked("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let came = response(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        for body in [asked.body, came.body, Incoming::Empty] {
            assert_eq!((body.is_end_stream(), body.size_hint().exact()), (true, Some(0)));
            assert_eq!(collect(body).await.unwrap(), (Bytes::new(), None));
        }
    }
}
