//! Removes a secret environment variable from the process's initial memory. Otherwise the kernel would still show it
//! (`/proc/PID/environ`), and children would inherit it.
#![expect(unsafe_code, reason = "the block is raw memory that the kernel set up; the use says why it is sound")]

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::ptr;

/// Empties the variable and wipes its value in place.
///
/// Call this while the process has one thread: no other code reads the environment then.
pub(crate) fn wipe(name: &OsStr) {
    // SAFETY: `environ` is a list of pointers to NUL-terminated texts, which ends with a null pointer. This process may write
    // to the memory of the texts. There is one thread, so no other code reads it.
    unsafe {
        let mut entry = libc::environ;
        while !entry.is_null() && !(*entry).is_null() {
            let text = CStr::from_ptr(*entry).to_bytes();
            let value = text.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
            if let Some(length) = value.map(<[u8]>::len) {
                let start = (*entry).cast::<u8>().add(text.len() - length);
                ptr::write_bytes(start, 0, length);
                std::hint::black_box(start);
            }
            entry = entry.add(1);
        }
    }
}
