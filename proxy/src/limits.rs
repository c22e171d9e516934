//! Limits and timers: requests, bytes, slots of requests in progress, and the rate of bodies.

pub(crate) mod admission;
pub(crate) mod allowance;
pub(crate) mod bucket;
pub(crate) mod budget;
pub(crate) mod counters;
pub(crate) mod meter;
pub(crate) mod quota;
pub(crate) mod timer;
