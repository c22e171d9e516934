//! A panic while serving one request ends that request alone, with `internal` and a record.
//!
//! The guards that a request holds (its record, leases, slots in budgets) are dropped as on any other exit, which returns
//! what they hold. Shared state changes only in single steps that a panic cannot leave half done.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::Poll;

use model::Reason;

use crate::refusal::Refusal;

/// Runs `work`; a panic in it becomes `internal`. The process's panic hook logs the message. The caller pins `work`, because it is
/// large and an argument by value would store it twice.
///
/// # Errors
/// Those of `work`, and `internal`.
///
/// # Cancellation
/// As that of `work`.
pub(crate) async fn contain<T>(mut work: Pin<&mut impl Future<Output = Result<T, Refusal>>>) -> Result<T, Refusal> {
    std::future::poll_fn(|cx| {
        // The future is not polled again after a panic: its result is given at once.
        match std::panic::catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(polled) => polled,
            Err(_) => Poll::Ready(Err(Refusal::of(Reason::Internal, "a fault of Egret ended the request"))),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn t137_a_panic_is_an_internal_error_and_others_pass() {
        let panics = async {
            tokio::task::yield_now().await;
            let empty: Vec<u8> = Vec::new();
            Ok(empty[std::hint::black_box(3)])
        };
        let (panics, passes) = (pin!(panics), pin!(async { Ok(7) }));
        let (panicked, other) = tokio::join!(contain(panics), contain(passes));
        assert_eq!(panicked.unwrap_err().reason(), Reason::Internal);
        assert_eq!(other.ok(), Some(7));
        let refused = contain(pin!(async { Err::<(), _>(Refusal::of(Reason::DeniedPath, "no")) })).await;
        assert_eq!(refused.unwrap_err().reason(), Reason::DeniedPath);
    }
}
