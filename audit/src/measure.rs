//! The steps of a record one by one, for the benchmark alone.

use crate::chain::{self, Head, Link};
use crate::record::Record;

/// Writes the contents of a record.
pub fn contents(record: &Record, out: &mut Vec<u8>) {
    record.write_contents(record.id.as_ref().expect("the benchmark sets it"), out);
}

/// Digests contents under a salt.
pub fn digest(contents: &[u8]) -> [u8; 32] {
    chain::digest_of(&[7; 16], contents)
}

/// Chains lines of one record.
pub struct Chain {
    head: Head,
    link: Link,
}

impl Chain {
    /// A chain of records with these contents.
    pub fn new(record: &Record, digest: [u8; 32]) -> Self {
        Self { head: Head::START, link: Link { time: 1_700_000_000_123_456, kind: record.kind, salt: [7; 16], digest } }
    }

    /// Writes the next line.
    pub fn line(&mut self, contents: &[u8], out: &mut Vec<u8>) {
        self.head.write_line(&self.link, contents, out);
    }
}
