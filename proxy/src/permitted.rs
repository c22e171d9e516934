//! The input of the steps after the permit.

use std::sync::Arc;

use policies::Permit;

use crate::active::ActiveExchange;
use crate::context::Exchange;

/// An exchange that a rule permits.
#[derive(Clone, Copy)]
pub(crate) struct Permitted<'a> {
    pub(crate) exchange: Exchange<'a>,
    pub(crate) permit: &'a Permit,
    pub(crate) active: &'a Arc<ActiveExchange>,
}
