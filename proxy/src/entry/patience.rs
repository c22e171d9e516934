//! How many refused requests a connection may have.
//!
//! A refusal costs a client some bytes, and Egret an answer and a record. A client that sends thousands of them has to open a new
//! connection again and again. There, its slot and its session's share of the work bound it.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::body::answer::Body;
use crate::message::Response;

/// The refusals of one connection.
#[derive(Debug)]
pub(crate) struct Patience {
    max: usize,
    refused: AtomicUsize,
    exhausted: Notify,
}

impl Patience {
    /// For a connection that is closed with its refusal number `max`.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, refused: AtomicUsize::new(0), exhausted: Notify::new() }
    }

    /// Counts an answer if it is a refusal; true if the connection must close after it.
    pub(crate) fn is_exhausted_by(&self, response: &Response<Body>) -> bool {
        response.body.is_own() && response.status.as_u16() >= 400 && self.count_refusal()
    }

    /// Counts a refusal; true if the connection must close after it.
    pub(crate) fn count_refusal(&self) -> bool {
        let is_over = self.refused.fetch_add(1, Ordering::Relaxed) + 1 >= self.max;
        if is_over {
            self.exhausted.notify_one();
        }
        is_over
    }

    /// Resolves when the connection must close.
    pub(crate) async fn exhausted(&self) {
        self.exhausted.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: Body) -> Response<Body> {
        Response { status: http::StatusCode::from_u16(status).unwrap(), ..Response::new(body) }
    }

    #[test]
    fn t209_a_connection_ends_with_its_last_refusal_and_answers_do_not_count() {
        let patience = Patience::new(3);
        let refused = || response(403, Body::own("no"));
        let counted = [refused(), response(200, Body::own("yes")), refused(), refused(), refused()]
            .map(|answer| patience.is_exhausted_by(&answer));
        assert_eq!(counted, [false, false, false, true, true]);
    }
}
