//! What every step of one exchange may look at.

use std::sync::Arc;

use model::Destination;
use sessions::{Identified, Session};

use crate::Core;
use crate::downlink::Downlink;
use crate::flow::Flow;

/// One exchange: borrowed, never changed.
#[derive(Clone, Copy)]
pub(crate) struct Exchange<'a> {
    pub(crate) core: &'a Core,
    pub(crate) client: &'a Identified,
    pub(crate) destination: &'a Destination,
    /// How its bodies move, and what terminates it; of this exchange alone.
    pub(crate) flow: &'a Arc<Flow>,
    /// The connection or stream that it came on, which is closed where its client keeps an end from being seen.
    pub(crate) downlink: &'a Arc<Downlink>,
}

impl<'a> Exchange<'a> {
    /// The session of its client.
    pub(crate) fn session(&self) -> &'a Arc<Session> {
        self.client.session()
    }
}
