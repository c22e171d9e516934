//! What every step of one exchange may look at.

use std::sync::Arc;

use model::Destination;
use policies::Permit;
use sessions::{Identified, Session};

use crate::Core;
use crate::active::ActiveExchange;
use crate::downlink::Downlink;

/// One exchange: borrowed, never changed.
#[derive(Clone, Copy)]
pub(crate) struct Exchange<'a> {
    pub(crate) core: &'a Core,
    pub(crate) client: &'a Identified,
    pub(crate) destination: &'a Destination,
    /// The connection or stream that it came on, which is closed where its client keeps an end from being seen.
    pub(crate) downlink: &'a Arc<Downlink>,
}

impl<'a> Exchange<'a> {
    /// The session of its client.
    pub(crate) fn session(&self) -> &'a Arc<Session> {
        self.client.session()
    }
}

/// An exchange that a rule permits.
#[derive(Clone, Copy)]
pub(crate) struct Permitted<'a> {
    pub(crate) exchange: Exchange<'a>,
    pub(crate) permit: &'a Permit,
    pub(crate) active: &'a Arc<ActiveExchange>,
}
