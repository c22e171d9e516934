//! The resources that an exchange holds from its beginning until its record is closed.

use std::sync::Arc;

use crate::active::ActiveExchange;
use crate::limits::admission::Admission;
use crate::limits::quota::RequestSlot;

/// Dropping it returns all of them.
pub(crate) struct Held {
    /// Its slot among the requests in progress.
    _slot: RequestSlot,
    /// Its slots in the budgets of rules and of the session.
    pub(crate) admission: Admission,
    /// Its entry in the list of active exchanges, which are re-evaluated. Without it, a stream would continue after its
    /// credential was revoked or its rule was removed.
    _active: Arc<ActiveExchange>,
}

impl Held {
    pub(crate) fn new(slot: RequestSlot, admission: Admission, active: &Arc<ActiveExchange>) -> Self {
        Self { _slot: slot, admission, _active: active.clone() }
    }
}
