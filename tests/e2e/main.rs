//! End-to-end tests: the real binary, real origins, real clients, and the threat cases by number.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking where it stands")]

mod authority;
mod clients;
mod clocks;
mod contention;
mod evidence;
mod faults;
mod framing;
mod grants;
mod harness;
mod identity;
mod import;
mod journal;
mod keys;
mod lifecycle;
mod limits;
mod masking;
mod memory;
mod misfits;
mod names;
mod namespaces;
mod paths;
mod policies;
mod promises;
mod quotas;
mod rules;
mod sdks;
mod secrets;
mod sessions;
mod slots;
mod strangers;
mod timers;
mod tls;
mod uses;
mod vault;
mod world;
