//! The context of one exchange, for every step.

use std::sync::Arc;

use model::Destination;
use sessions::{Identified, Session};

use crate::Core;
use crate::downlink::Downlink;
use crate::flow::Flow;
use crate::upstream::preconnect::Preconnect;

/// One exchange: borrowed, never changed.
#[derive(Clone, Copy)]
pub(crate) struct Exchange<'a> {
    pub(crate) core: &'a Core,
    pub(crate) client: &'a Identified,
    pub(crate) destination: &'a Destination,
    /// The progress of its bodies, and their termination; of this exchange alone.
    pub(crate) flow: &'a Arc<Flow>,
    /// The connection or stream that it arrived on. It is closed if the client's inactivity hides a termination.
    pub(crate) downlink: &'a Arc<Downlink>,
    /// The connection that was opened before the first request of its tunnel.
    pub(crate) preconnect: Option<&'a Preconnect>,
}

impl<'a> Exchange<'a> {
    /// The session of its client.
    pub(crate) fn session(&self) -> &'a Arc<Session> {
        self.client.session()
    }
}
