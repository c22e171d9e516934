//! Stores ciphertext only: one file, replaced as a whole, so that a crash leaves the old or the new one.

pub(crate) mod error;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};

use self::error::io_error;
use crate::format;
use crate::private_file::{is_ours, open_alone};

pub use self::error::{MAX_FILE_BYTES, StoreAction, StoreError, Stored};

/// The storage of one vault's sealed bytes.
pub trait Store: Send + Sync {
    /// The bytes; `None` if there is no vault yet.
    ///
    /// # Errors
    /// [`StoreError`] if the stored bytes cannot be read or trusted.
    fn read(&self) -> Result<Option<Vec<u8>>, StoreError>;

    /// Replaces the old bytes with these, completely or not at all, and only if the old ones are the expected ones
    /// (compare and swap). Of two writers that expect the same, one wins and the other gets [`StoreError::Conflict`].
    ///
    /// The comparison is [`Stored::of`] the bytes that are stored at this moment, and [`Stored::check`]. Nothing may change
    /// them until the new ones are in place: a file needs a lock, a database one transaction.
    ///
    /// # Errors
    /// [`StoreError::NotDurable`] if they are in place but may be lost; for any other error the old ones are still in
    /// place.
    fn replace(&self, expected: Stored, bytes: &[u8]) -> Result<(), StoreError>;

    /// Whether a file left by a crash was removed when the bytes were read.
    fn has_recovered(&self) -> bool {
        false
    }
}

impl Stored {
    /// The version of a store with these bytes. The header's proof needs the key and is not verified: a changed number
    /// blocks a writer, and opens nothing.
    pub fn of(bytes: Option<&[u8]>) -> Self {
        let Some(bytes) = bytes else { return Self::Nothing };
        let sha256 = Sha256::digest(bytes).into();
        match format::read_header(bytes) {
            Err(_) => Self::Unreadable { sha256 },
            Ok(header) => Self::Generation { number: header.generation, sha256 },
        }
    }

    /// Whether this is the version that a writer expects.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it is not.
    pub fn check(self, expected: Self) -> Result<(), StoreError> {
        if self == expected { Ok(()) } else { Err(StoreError::Conflict { expected, found: self }) }
    }
}

/// A vault in a file of mode 0600, in a folder that only its owner may write.
///
/// The lock of the data folder excludes a second sidecar. A writer locks the folder itself (`flock`) from the comparison to
/// the last sync, so that no change is lost even if two processes use one file.
#[derive(Clone, Debug)]
pub struct FileStore {
    path: PathBuf,
    temporary: PathBuf,
    recovered: Arc<AtomicBool>,
}

impl FileStore {
    /// A store at this path; no file is touched yet.
    pub fn new(path: &Path) -> Self {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".new");
        Self { path: path.to_owned(), temporary: path.with_file_name(name), recovered: Arc::default() }
    }

    fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        }
    }

    /// A user who may write the folder may replace the vault's file.
    fn check_folder(&self) -> Result<(), StoreError> {
        let folder = self.folder();
        let found = fs::metadata(folder).map_err(|source| io_error(folder, StoreAction::Find, source))?;
        let refuse = |why| Err(StoreError::Unsafe { path: folder.to_owned(), why });
        if found.mode() & 0o022 != 0 {
            return refuse("is a folder that others may write");
        }
        if !is_ours(&found) {
            return refuse("is a folder of another user");
        }
        Ok(())
    }

    /// Removes a file left by a crash, and returns whether there was one; it is ciphertext, and never read.
    fn remove_temporary(&self) -> Result<bool, StoreError> {
        match fs::remove_file(&self.temporary) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(io_error(&self.temporary, StoreAction::Remove, error)),
        }
    }

    /// Opens the folder and waits for another writer, which holds the lock for one write; closing the folder releases
    /// it.
    fn lock_folder(&self) -> Result<File, StoreError> {
        let path = self.folder();
        let folder = File::open(path).map_err(|source| io_error(path, StoreAction::Open, source))?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&folder, FlockOperation::LockExclusive))
            .map_err(|error| io_error(path, StoreAction::Lock, error.into()))?;
        Ok(folder)
    }

    /// The bytes of the file; `None` if there is no file. Of a file that is too large, one byte more than a vault may have,
    /// so that it differs from any vault.
    fn read_bounded(&self) -> Result<Option<Vec<u8>>, StoreError> {
        if fs::symlink_metadata(&self.path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Ok(None);
        }
        let file = open_alone(&self.path)?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| io_error(&self.path, StoreAction::Read, source))?;
        Ok(Some(bytes))
    }

    fn write_temporary(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&self.temporary, &self.path)
    }
}

impl Store for FileStore {
    fn read(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.check_folder()?;
        let _folder = self.lock_folder()?;
        if self.remove_temporary()? {
            self.recovered.store(true, Ordering::Relaxed);
        }
        let bytes = self.read_bounded()?;
        let is_too_large = bytes.as_ref().is_some_and(|bytes| bytes.len() as u64 > MAX_FILE_BYTES);
        if is_too_large { Err(StoreError::TooLarge) } else { Ok(bytes) }
    }

    fn replace(&self, expected: Stored, bytes: &[u8]) -> Result<(), StoreError> {
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(StoreError::TooLarge);
        }
        self.check_folder()?;
        let folder = self.lock_folder()?;
        Stored::of(self.read_bounded()?.as_deref()).check(expected)?;
        self.remove_temporary()?;
        if let Err(source) = self.write_temporary(bytes) {
            // After a failed fsync the pages may be gone: the file is removed, never synced again.
            drop(self.remove_temporary());
            return Err(io_error(&self.path, StoreAction::Write, source));
        }
        folder.sync_all().map_err(|source| StoreError::NotDurable { path: self.path.clone(), source })
    }

    fn has_recovered(&self) -> bool {
        self.recovered.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
