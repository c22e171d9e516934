//! Digests of policies.

use std::fmt::Write;

use model::{PolicyName, SnapshotDigest};
use sha2::{Digest, Sha256};

/// The digest of names and texts, each with its length before it, in the order of names.
pub(crate) fn digest(mut contents: Vec<(PolicyName, &str)>) -> SnapshotDigest {
    contents.sort();
    digest_of(contents.iter().flat_map(|(name, text)| [name.as_str(), text]))
}

/// The digest of these parts, each with its length before it.
pub(crate) fn digest_of<'a>(parts: impl IntoIterator<Item = &'a str>) -> SnapshotDigest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut text = String::from("sha256:");
    for byte in hash.finalize() {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
    }
    SnapshotDigest::new(text)
}
