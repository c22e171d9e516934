//! The policy decision point through its public API: fixtures, threat cases, properties, the documentation.

#![expect(clippy::unwrap_used, reason = "what a test needs and does not have ends the test")]

mod combinations;
mod decisions;
mod diff;
mod diff_properties;
mod docs;
mod explain;
mod fixtures;
mod identity;
mod isolation;
mod language;
mod layout;
mod library;
mod lint;
mod oracle;
mod problems;
mod properties;
mod replay;
mod schema;
mod session_documents;
mod set;
mod support;
mod template;
mod threats;
