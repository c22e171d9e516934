//! What an exchange was admitted with.

use crate::limits::allowance::ByteLimit;
use crate::limits::counters::Slot;

/// A slot in every budget that concerns an exchange; dropping it gives it back.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    /// Among the exchanges that run at once.
    _slots: Vec<Slot>,
    /// The response's limit, and whose it is.
    response_body: Option<ByteLimit>,
}

impl Admission {
    /// Of these slots, with the most that the response's body may be.
    pub(crate) fn new(slots: Vec<Slot>, response_body: Option<ByteLimit>) -> Self {
        Self { _slots: slots, response_body }
    }

    /// The most that the response's body may be.
    pub(crate) fn response_body(&self) -> Option<&ByteLimit> {
        self.response_body.as_ref()
    }
}
