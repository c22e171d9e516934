//! Starts a command with the caller's limits: the restrictions that [`crate::harden`] set on this process do not apply
//! to its child.

use std::process::ExitStatus;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};
use tokio::process::{Child, Command};

use crate::harden::Before;

/// Starts the command under the limits and the file mask that the caller of `egret` had.
pub(crate) fn spawn(command: &mut Command, before: Before) -> std::io::Result<Child> {
    let ours = [Resource::Core, Resource::Nofile, Resource::Memlock].map(|which| (which, getrlimit(which)));
    // All files of this process are created with explicit modes, so a short time under another mask changes none.
    let mask = umask(before.umask);
    lend(Resource::Core, before.core);
    lend(Resource::Nofile, before.files);
    lend(Resource::Memlock, before.memlock);
    let child = command.spawn();
    for (which, limit) in ours {
        lend(which, limit);
    }
    umask(mask);
    child
}

fn lend(which: Resource, limit: Rlimit) {
    if let Err(error) = setrlimit(which, limit) {
        tracing::warn!(?which, %error, "a limit of the command could not be set");
    }
}

/// The exit code of a shell: the command's own, or 128 plus the signal that ended it.
pub(crate) fn code_of(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}
