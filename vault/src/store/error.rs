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

/// The content of a store, by the header of the bytes: writers find each other by the generation number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Empty.
    Nothing,
    /// Bytes without the header of a vault.
    Unreadable,
    /// A vault of this generation.
    Generation(u64),
}

/// Why reading or writing ciphertext failed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another writer was faster: the old bytes are not those on which the new ones are based. No byte was written.
    #[error("the stored vault is {found} and not {expected}: another process has replaced it")]
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
            Self::Unreadable => f.write_str("unreadable"),
            Self::Generation(number) => write!(f, "generation {number}"),
        }
    }
}

pub(crate) fn io_error(path: &Path, action: StoreAction, source: io::Error) -> StoreError {
    StoreError::Io { path: path.to_owned(), action, source }
}
