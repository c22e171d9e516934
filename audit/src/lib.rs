//! What happened, kept as evidence: the record, the journal it is written to, the chain that binds
//! the records, the trail of a running exchange, and the index that makes all of it queryable.
//!
//! This crate cannot name the vault, so that no record can contain a secret by accident. It has no
//! runtime either: its futures work on any executor.

mod aggregate;
mod chain;
mod draft;
mod format;
mod index;
mod journal;
mod line;
mod query;
mod record;
mod refusals;
mod sanitize;
#[cfg(test)]
mod testing;
mod trail;
mod verify;

#[doc(hidden)]
pub mod measure;

pub use index::{FollowerHandle, Index, IndexError, Past, SessionHistory, Uses};
pub use journal::{Durability, Found, HeadFile, Journal, JournalError, Recovery, Settings, Unavailable};
pub use line::LineError;
pub use query::{Filter, MAX_ROWS, Row};
pub use record::{Attribution, CONTENTS, CredentialUse, Decision, Fault, Kind, Outcome, Record, Text};
pub use refusals::RefusalBudget;
pub use trail::{Facts, Trail};
pub use verify::{Broken, KnownHead, Verified, Why, verify, verify_against};
