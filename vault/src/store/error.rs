//! Errors of reading and writing ciphertext.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The largest vault that is read or written.
pub const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// A store's operation on its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreAction {
    /// Looks for it.
    Find,
    /// Opens it.
    Open,
    /// Locks it against other writers.
    Lock,
    /// Reads it.
    Read,
    /// Writes it.
    Write,
    /// Removes it.
    Remove,
}

impl StoreAction {
    /// As a participle, for messages.
    pub fn as_participle(self) -> &'static str {
        match self {
            Self::Find => "found",
            Self::Open => "opened",
            Self::Lock => "locked",
            Self::Read => "read",
            Self::Write => "written",
            Self::Remove => "removed",
        }
    }
}

/// Identifies the content of a store: two values are equal only if all bytes are. The generation alone does not suffice.
/// Two copies of one vault that are each written once have the same generation, and damage after the header does not
/// change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Empty.
    Nothing,
    /// Bytes without the header of a vault.
    Unreadable {
        /// Of all bytes.
        sha256: [u8; 32],
    },
    /// A vault.
    Generation {
        /// How many times it was written, according to its header.
        number: u64,
        /// Of all bytes.
        sha256: [u8; 32],
    },
}

/// Why reading or writing ciphertext failed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The stored bytes are not those on which the new ones are based: another writer was faster, or they were damaged.
    /// No byte was written.
    #[error("{}; find that process, then restart Egret", conflict_message(expected, found))]
    Conflict {
        /// The base of the new bytes.
        expected: Stored,
        /// The content of the store.
        found: Stored,
    },
    /// The file's location is not safe.
    #[error("{} {why}", path.display())]
    Unsafe {
        /// The file or its folder.
        path: PathBuf,
        /// The problem.
        why: &'static str,
    },
    /// The system returned an error.
    #[error("{} cannot be {}", path.display(), action.as_participle())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operation.
        action: StoreAction,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The new file is in place, but power loss could still undo it.
    #[error("{} is written but not known to survive power loss", path.display())]
    NotDurable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Larger than any vault.
    #[error("the vault exceeds {MAX_FILE_BYTES} bytes")]
    TooLarge,
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("missing"),
            Self::Unreadable { .. } => f.write_str("unreadable"),
            Self::Generation { number, .. } => write!(f, "generation {number}"),
        }
    }
}

/// If only the digests differ, the two sides would read the same.
fn conflict_message(expected: &Stored, found: &Stored) -> String {
    let (expected, found) = (expected.to_string(), found.to_string());
    if expected == found {
        format!("the stored vault is {found}, but its bytes differ: another process has replaced or damaged it")
    } else {
        format!("the stored vault is {found} and not {expected}: another process has replaced it")
    }
}

pub(crate) fn io_error(path: &Path, action: StoreAction, source: io::Error) -> StoreError {
    StoreError::Io { path: path.to_owned(), action, source }
}
