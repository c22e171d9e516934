//! What an exchange holds from its beginning until its record is closed.

use std::sync::Arc;

use crate::active::ActiveExchange;
use crate::limits::admission::Admission;
use crate::limits::quota::RequestSlot;

/// Dropping it gives all of it back.
pub(crate) struct Held {
    /// Its place among the requests in progress.
    _slot: RequestSlot,
    /// Its slots in the budgets of rules and of the session.
    pub(crate) admission: Admission,
    /// Its entry in the list of exchanges that are evaluated again while they are in progress. Without it, a stream would go on
    /// after its credential was revoked or its rule was removed.
    _active: Arc<ActiveExchange>,
}

impl Held {
    pub(crate) fn new(slot: RequestSlot, admission: Admission, active: &Arc<ActiveExchange>) -> Self {
        Self { _slot: slot, admission, _active: active.clone() }
    }
}
