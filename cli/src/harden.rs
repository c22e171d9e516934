//! Restrictions that the process sets on itself before it handles a secret.

use rustix::process::{self, DumpableBehavior, Resource, Rlimit};

/// The limits to restore for a command that `run` starts.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    pub(crate) core: Rlimit,
    pub(crate) files: Rlimit,
    pub(crate) memlock: Rlimit,
    pub(crate) umask: rustix::fs::Mode,
}

/// No core dumps, no debugger of the same user, no file that others can read unless its mode is set explicitly, and as
/// many descriptors and locked pages as the system grants.
pub(crate) fn harden() -> anyhow::Result<Before> {
    use anyhow::Context as _;
    let core = process::getrlimit(Resource::Core);
    let files = process::getrlimit(Resource::Nofile);
    process::set_dumpable_behavior(DumpableBehavior::NotDumpable).context("cannot forbid core dumps")?;
    process::setrlimit(Resource::Core, Rlimit { current: Some(0), ..core }).context("cannot forbid core dumps")?;
    let umask = process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    // Fewer descriptors mean fewer connections; the limits of the data path account for that.
    if process::setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).is_err() {
        tracing::warn!("the limit of open files could not be raised");
    }
    // The vault's status shows a failure.
    let memlock = process::getrlimit(Resource::Memlock);
    let _refused = process::setrlimit(Resource::Memlock, Rlimit { current: memlock.maximum, ..memlock });
    Ok(Before { core, files, memlock, umask })
}
