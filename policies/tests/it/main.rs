//! The policy decision point through its public API: fixtures, threat cases, properties, the documentation.

mod decisions;
mod docs;
mod fixtures;
mod problems;
mod properties;
mod set;
mod support;
mod threats;
