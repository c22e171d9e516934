//! Keeps ciphertext only: one file, replaced whole, so that a crash leaves the old or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::OFlags;
use rustix::io::Errno;
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

/// Opens a file that only we can read, and that has no second name through which another process could write it.
fn open_alone(path: &Path) -> Result<File, StoreError> {
    let file = open_checked(path, OFlags::NOFOLLOW)?;
    let found = file.metadata().map_err(|source| io_error(path, StoreAction::Read, source))?;
    if found.nlink() != 1 {
        return Err(StoreError::Unsafe { path: path.to_owned(), why: "has a second name (hard link)" });
    }
    Ok(file)
}

/// Opens a file that only we can read; a symbolic link is followed, as mounted secrets are such.
pub(crate) fn open_private(path: &Path) -> Result<File, StoreError> {
    open_checked(path, OFlags::empty())
}

fn open_checked(path: &Path, flags: OFlags) -> Result<File, StoreError> {
    // Without NONBLOCK, a pipe in the file's place would hold us forever.
    let flags = i32::try_from((flags | OFlags::NONBLOCK).bits()).expect("open flags are small");
    let file =
        OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|source| match source.raw_os_error() {
            Some(code) if code == Errno::LOOP.raw_os_error() => {
                StoreError::Unsafe { path: path.to_owned(), why: "is a symbolic link" }
            }
            Some(_) | None => io_error(path, StoreAction::Open, source),
        })?;
    let found = file.metadata().map_err(|source| io_error(path, StoreAction::Read, source))?;
    let refuse = |why| Err(StoreError::Unsafe { path: path.to_owned(), why });
    match () {
        () if !found.is_file() => refuse("is no regular file"),
        () if found.mode() & 0o077 != 0 => refuse("can be read or written by others (its mode must be 0600)"),
        () if !is_ours(&found) => refuse("belongs to another user"),
        () => Ok(file),
    }
}

/// Root and we ourselves are no others.
fn is_ours(found: &fs::Metadata) -> bool {
    found.uid() == 0 || found.uid() == rustix::process::geteuid().as_raw()
}

fn io_error(path: &Path, action: StoreAction, source: io::Error) -> StoreError {
    StoreError::Io { path: path.to_owned(), action, source }
}

#[cfg(test)]
mod tests;
