//! Finding secrets and placeholders in bytes, and masking them: pure, without sockets, files or clocks.

pub mod cache;
pub mod codec;
pub mod messages;
pub mod needles;
pub mod placeholder;
pub mod stream;

pub use cache::NeedleCache;
pub use needles::Needles;
