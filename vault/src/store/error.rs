//! Why ciphertext cannot be read or written.

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
            Self::Read => "read",
            Self::Write => "written",
            Self::Remove => "removed",
        }
    }
}

/// Why ciphertext could not be read or written.
#[derive(Debug, Error)]
pub enum StoreError {
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

pub(crate) fn io_error(path: &Path, action: StoreAction, source: io::Error) -> StoreError {
    StoreError::Io { path: path.to_owned(), action, source }
}
