//! Keeps ciphertext only: one file, replaced whole, so that a crash leaves the old or the new one.

pub(crate) mod error;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use self::error::io_error;
use crate::private_file::{is_ours, open_alone};

pub use self::error::{MAX_FILE_BYTES, StoreAction, StoreError};

/// Where the sealed bytes of one vault lie.
pub trait Store: Send + Sync {
    /// The bytes; `None` where there is no vault yet.
    ///
    /// # Errors
    /// [`StoreError`] where something is there that cannot be read or trusted.
    fn read(&self) -> Result<Option<Vec<u8>>, StoreError>;

    /// Puts these bytes in the place of the old ones, whole or not at all.
    ///
    /// # Errors
    /// [`StoreError::NotDurable`] where they are in place and may not last; any other where the old ones still are.
    fn replace(&self, bytes: &[u8]) -> Result<(), StoreError>;

    /// Whether something that a crash had left was removed when the bytes were read.
    fn has_recovered(&self) -> bool {
        false
    }
}

/// A vault in a file of mode 0600 in a folder that only its owner writes.
///
/// A second process is kept out by the lock of the data folder, not here.
#[derive(Clone, Debug)]
pub struct FileStore {
    path: PathBuf,
    temporary: PathBuf,
    recovered: Arc<AtomicBool>,
}

impl FileStore {
    /// A store at this path; nothing is touched yet.
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

    /// Whoever may write the folder may put another file in the vault's place.
    fn check_folder(&self) -> Result<(), StoreError> {
        let folder = self.folder();
        let found = fs::metadata(folder).map_err(|source| io_error(folder, StoreAction::Find, source))?;
        let refuse = |why| Err(StoreError::Unsafe { path: folder.to_owned(), why });
        match () {
            () if found.mode() & 0o022 != 0 => refuse("is a folder that others may write"),
            () if !is_ours(&found) => refuse("is a folder of another user"),
            () => Ok(()),
        }
    }

    /// Removes what a crash left, and says whether there was something; it is ciphertext, and never read.
    fn remove_temporary(&self) -> Result<bool, StoreError> {
        match fs::remove_file(&self.temporary) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(io_error(&self.temporary, StoreAction::Remove, error)),
        }
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
        if self.remove_temporary()? {
            self.recovered.store(true, Ordering::Relaxed);
        }
        if fs::symlink_metadata(&self.path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Ok(None);
        }
        let file = open_alone(&self.path)?;
        let mut bytes = Vec::new();
        let read = |source| io_error(&self.path, StoreAction::Read, source);
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(read)?;
        if bytes.len() as u64 > MAX_FILE_BYTES { Err(StoreError::TooLarge) } else { Ok(Some(bytes)) }
    }

    fn replace(&self, bytes: &[u8]) -> Result<(), StoreError> {
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(StoreError::TooLarge);
        }
        self.check_folder()?;
        self.remove_temporary()?;
        if let Err(source) = self.write_temporary(bytes) {
            // After a failed fsync the pages may be gone: the file is thrown away, never synced again.
            drop(self.remove_temporary());
            return Err(io_error(&self.path, StoreAction::Write, source));
        }
        let synced = File::open(self.folder()).and_then(|folder| folder.sync_all());
        synced.map_err(|source| StoreError::NotDurable { path: self.path.clone(), source })
    }

    fn has_recovered(&self) -> bool {
        self.recovered.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
