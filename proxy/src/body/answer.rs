//! The body of an answer to a client: our own text, or the upstream's bytes.

use crate::body::download::ResponseBody;
use crate::body::download::StreamError;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A response body towards the client.
pub(crate) struct Body {
    kind: Kind,
}

enum Kind {
    /// Our own text.
    Own(Option<Bytes>),
    /// The upstream's body, in transit.
    Relayed(Box<ResponseBody>),
}

impl Body {
    /// A body that is complete.
    pub(crate) fn own(bytes: impl Into<Bytes>) -> Self {
        let bytes = Some(bytes.into()).filter(|bytes: &Bytes| !bytes.is_empty());
        Self { kind: Kind::Own(bytes) }
    }

    /// The upstream's body.
    pub(crate) fn relayed(relay: ResponseBody) -> Self {
        Self { kind: Kind::Relayed(Box::new(relay)) }
    }

    /// Without content, as required for an answer to HEAD.
    pub(crate) fn for_head(self) -> Self {
        if self.is_own() { Self { kind: Kind::Own(None) } } else { self }
    }

    /// Whether the body is ours and not the upstream's.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self.kind, Kind::Own(_))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        match &mut self.get_mut().kind {
            Kind::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Relayed(relay) => relay.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own(bytes) => bytes.is_none(),
            Kind::Relayed(relay) => relay.has_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Relayed(relay) if relay.has_ended() => SizeHint::with_exact(0),
            Kind::Relayed(relay) => relay.hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::collect;

    #[tokio::test]
    async fn a_body_of_ours_is_one_piece_of_known_length() {
        let body = Body::own("hello");
        assert_eq!((body.is_own(), body.is_end_stream(), body.size_hint().exact()), (true, false, Some(5)));
        assert_eq!(collect(body).await.unwrap(), ("hello".into(), None));
    }

    #[tokio::test]
    async fn an_empty_body_and_one_for_head_have_ended() {
        for body in [Body::own(""), Body::own("hello").for_head()] {
            assert_eq!((body.is_own(), body.is_end_stream(), body.size_hint().exact()), (true, true, Some(0)));
            assert_eq!(collect(body).await.unwrap(), (Bytes::new(), None));
        }
    }
}
