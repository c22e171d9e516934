//! Bodies in transit: counted, bounded in time, masked where a credential was sent, and never held.

pub(crate) mod answer;
pub(crate) mod buffered;
pub(crate) mod download;
pub(crate) mod incoming;
pub(crate) mod known;
pub(crate) mod masked;
pub(crate) mod range;
pub(crate) mod rewriter;
pub(crate) mod trailers;
pub(crate) mod upload;
