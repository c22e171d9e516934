//! Files that only their owner reads or writes: the vault file and the key file.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::store::error::{StoreAction, StoreError, io_error};

/// Opens a file that only we can read, without a second name through which another process could write it.
pub(crate) fn open_alone(path: &Path) -> Result<File, StoreError> {
    let file = open_checked(path, OFlags::NOFOLLOW)?;
    let found = file.metadata().map_err(|source| io_error(path, StoreAction::Read, source))?;
    if found.nlink() != 1 {
        return Err(StoreError::Unsafe { path: path.to_owned(), why: "has a second name (hard link)" });
    }
    Ok(file)
}

/// Opens a file that only we can read; follows a symbolic link, because mounted secrets are links.
pub(crate) fn open_private(path: &Path) -> Result<File, StoreError> {
    open_checked(path, OFlags::empty())
}

fn open_checked(path: &Path, flags: OFlags) -> Result<File, StoreError> {
    // Without NONBLOCK, a pipe at this path would block us forever.
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
    if !found.is_file() {
        return refuse("is not a regular file");
    }
    if found.mode() & 0o077 != 0 {
        return refuse("can be read or written by others (its mode must be 0600)");
    }
    if !is_ours(&found) {
        return refuse("belongs to another user");
    }
    Ok(file)
}

/// Whether the file belongs to root or to our own user.
pub(crate) fn is_ours(found: &fs::Metadata) -> bool {
    found.uid() == 0 || found.uid() == rustix::process::geteuid().as_raw()
}
