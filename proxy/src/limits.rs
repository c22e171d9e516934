//! What is counted and timed: requests, bytes, places in progress, and how fast bodies move.

pub(crate) mod admission;
pub(crate) mod allowance;
pub(crate) mod bucket;
pub(crate) mod budget;
pub(crate) mod counters;
pub(crate) mod meter;
pub(crate) mod quota;
pub(crate) mod timer;
