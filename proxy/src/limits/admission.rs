//! The resources that an exchange was admitted with.

use crate::limits::allowance::ByteLimit;
use crate::limits::counters::Slot;

/// A slot in every budget that applies to an exchange; dropping it returns the slot.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    /// Among the concurrent exchanges.
    _slots: Vec<Slot>,
    /// The limit of the response body, and its owner.
    response_body: Option<ByteLimit>,
}

impl Admission {
    /// These slots, with the maximum of the response body.
    pub(crate) fn new(slots: Vec<Slot>, response_body: Option<ByteLimit>) -> Self {
        Self { _slots: slots, response_body }
    }

    /// The maximum of the response body.
    pub(crate) fn response_body(&self) -> Option<&ByteLimit> {
        self.response_body.as_ref()
    }
}
