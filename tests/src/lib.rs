//! The harness of the end-to-end tests: the real binary, real origins on loopback, clients that can
//! send any byte, and the oracles that every threat case is judged by.
//!
//! Nothing here is asynchronous on the outside: a test is a straight line that blocks. The origin
//! has a runtime and a thread of its own.
#![expect(clippy::unwrap_used, reason = "a harness fails by panicking where it stands")]

pub mod canary;
pub mod client;
pub mod control;
pub mod egret;
pub mod origin;
pub mod pki;
pub mod records;
pub mod refusal;
pub mod scene;
pub mod shared;
pub mod tools;
pub mod wait;
