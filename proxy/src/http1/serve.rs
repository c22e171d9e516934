//! The client's side of HTTP/1: one task reads requests, calls the service for each of them, and writes the answers in order. While
//! a response is waited for or written, the exchange reads the body of its request; both share the connection.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use sessions::Identified;
use tokio::io::{AsyncRead, AsyncWrite};

use super::head::{RequestHead, Wishes};
use super::link::{Arrived, Closing, HeadFault, Link, Received};
use crate::body::answer::Body;
use crate::downlink::Downlink;
use crate::message::Response;
use crate::refusal::Refusal;

/// How serving a connection ended.
pub(crate) enum End {
    /// It is closed.
    Closed,
    /// A CONNECT arrived on it; no other request can follow.
    Connect(Identified, Box<RequestHead>),
}

/// The service that answers requests.
pub(crate) trait Service {
    /// Answers one request, or input that could not be read as one.
    fn call(&self, asked: Result<Received, Refusal>) -> impl Future<Output = Response<Body>> + Send;

    /// The path of the answers to the client, with the informational responses before them.
    fn downlink(&self) -> &Downlink;
}

/// Serves the requests of a connection, beginning with `first`, until it closes or a CONNECT arrives. When `closing` is ready,
/// the request in progress is the last one.
///
/// # Cancellation
/// Terminates everything on the connection.
pub(crate) async fn serve<S>(
    link: &Arc<Link<S>>,
    service: &impl Service,
    first: Option<Arrived>,
    closing: impl Future<Output = ()>,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut first, mut closing, mut is_closing) = (first, pin!(closing), false);
    let served = Closing::new(link);
    loop {
        let arrived = match first.take() {
            Some(arrived) => Ok(Some(arrived)),
            None => tokio::select! {
                biased;
                arrived = link.next() => arrived,
                () = &mut closing => Ok(None),
            },
        };
        let (asked, wishes) = match arrived {
            Ok(Some(Arrived::Connect(client, head))) => {
                served.disarm();
                return End::Connect(client, Box::new(head));
            }
            Ok(Some(Arrived::Request(client, read))) => {
                let wishes = read.wishes;
                (Ok(link.request(client, *read)), wishes)
            }
            Ok(None) => {
                link.close(false).await;
                return End::Closed;
            }
            Err(HeadFault::Refused(refusal)) => (Err(refusal), Wishes::LAST),
            Err(HeadFault::Socket) => return End::Closed,
        };
        let was_refused = asked.is_err();
        service.downlink().begin_exchange();
        let response = {
            // Boxed for the time of the exchange alone: it is large, and an idle connection holds nothing.
            let mut call = Box::pin(service.call(asked));
            let mut answered = pin!(std::future::poll_fn(|cx| {
                let answered = call.as_mut().poll(cx);
                let informed = link.send_interim(service.downlink().take_interim(), wishes.version, cx);
                match answered {
                    Poll::Ready(response) => Poll::Ready(Some(response)),
                    Poll::Pending if informed.is_err() => Poll::Ready(None),
                    Poll::Pending => link.poll_left(cx).map(|()| None),
                }
            }));
            loop {
                tokio::select! {
                    biased;
                    response = &mut answered => break response,
                    () = &mut closing, if !is_closing => is_closing = true,
                }
            }
        };
        let Some(response) = response else { return End::Closed };
        let keeps = match link.answer(response, wishes, is_closing).await {
            Ok(keeps) => keeps,
            Err(error) => {
                tracing::debug!(%error, "an answer was not written to its end");
                return End::Closed;
            }
        };
        let is_whole = link.body_over().await || (keeps && link.drain().await);
        if !keeps || !is_whole {
            link.close(was_refused || !is_whole || link.has_begun()).await;
            return End::Closed;
        }
        link.end_answer();
    }
}

#[cfg(test)]
mod tests;
