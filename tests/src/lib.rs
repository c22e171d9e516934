//! The harness of the end-to-end tests: the real binary, real origins on loopback, clients that can send any bytes, and
//! the oracles that judge every threat case.
//!
//! Its interface is not asynchronous: a test is a sequence of blocking calls. The origin has its own runtime and
//! thread.
#![expect(clippy::unwrap_used, reason = "a harness fails by panicking where it stands")]

pub mod canary;
pub mod client;
pub mod control;
pub mod egret;
pub mod frames;
pub mod origin;
pub mod pki;
pub mod records;
pub mod refusal;
pub mod scene;
pub mod shared;
pub mod tools;
pub mod tree;
pub mod wait;
