//! What happened, kept as evidence: the record, the journal it is written to, the chain that binds
//! the records, the trail of a running exchange, and the index that makes all of it queryable.
//!
//! This crate does not know the vault, so that no record can hold a secret by accident. It has no
//! runtime either: the futures it gives work on any executor.

mod chain;
mod format;
mod record;
mod trail;

pub mod journal;

pub use journal::{Durability, Journal, JournalError, Recovery, Unavailable};
pub use record::{Attribution, CredentialUse, Decision, Fault, Kind, Outcome, Record, Text};
pub use trail::{Facts, Trail};
