//! Why ciphertext cannot be read or written.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The largest vault that is read or written.
pub const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// What a store does with its file.
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

/// What a store has, by the header of the bytes: their generation is the number by which writers find each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Nothing yet.
    Nothing,
    /// Bytes without the header of a vault.
    Unreadable,
    /// A vault of this generation.
    Generation(u64),
}

/// Why ciphertext could not be read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another writer was faster: the old bytes are not those that the new ones were made from. Nothing was written.
    #[error("the stored vault is {found} and not {expected}: another process has replaced it")]
    Conflict {
        /// What the new bytes were made from.
        expected: Stored,
        /// What the store has.
        found: Stored,
    },
    /// The file does not lie there safely.
    #[error("{} {why}", path.display())]
    Unsafe {
        /// The file or its folder.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The system refused.
    #[error("{} cannot be {}", path.display(), action.as_participle())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: StoreAction,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The new file is in place, but power loss could still undo it.
    #[error("{} is written but not known to survive power loss", path.display())]
    NotDurable {
        /// The file.
        path: PathBuf,
        /// What the system said.
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
