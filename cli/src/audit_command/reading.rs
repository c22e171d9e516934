//! Reads a journal without changing its folder. The index for the query is built in a temporary folder, from a copy of the
//! existing index if there is one, and removed with the command.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use audit::{Filter, Index, KnownHead};
use serde_json::value::RawValue;

use crate::exit::{Answer, Failure, OrFail as _};

/// The records of a journal that match a filter.
///
/// # Errors
/// 3 if the journal cannot be read.
pub(super) fn records(journal: &Path, index: Option<&Path>, filter: &Filter) -> Answer<Vec<Box<RawValue>>> {
    if !journal.is_dir() {
        return Err(Failure::unreachable(anyhow!(
            "there is no journal {}; --data-dir, --config or --journal names another",
            journal.display()
        )));
    }
    let scratch = Scratch::new().or_unreachable()?;
    // If the index is missing or unreadable, it is built from the journal.
    let own = scratch.copy_of(index);
    let rows = || -> anyhow::Result<Vec<Box<RawValue>>> {
        let index = Index::open(journal, &own)?;
        index.catch_up()?;
        let rows = index.query(filter)?;
        rows.iter().map(|row| Ok(RawValue::from_string(serde_json::to_string(row)?)?)).collect()
    };
    rows().or_unreachable()
}

/// The last record of an index; `None` if there is no readable index. No process may be writing to it.
///
/// # Errors
/// 3 if there is no room for a copy.
pub(super) fn last_indexed(journal: &Path, index: &Path) -> Answer<Option<KnownHead>> {
    let scratch = Scratch::new().or_unreachable()?;
    let own = scratch.copy_of(Some(index));
    let head = own.exists().then(|| Index::open(journal, &own).and_then(|index| index.known_head()));
    Ok(head.and_then(Result::ok).filter(|head| head.seq > 0))
}

/// A folder that only we can read, removed with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let parent = std::env::temp_dir();
        let now = clock::now().as_nanosecond();
        let path = parent.join(format!("egret-audit-{}-{now}", std::process::id()));
        // Not recursive: a folder that another user has created there is an error.
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("cannot make the folder {} for an index", path.display()))?;
        Ok(Self(path))
    }

    /// The path of the copied index, if it could be copied.
    fn copy_of(&self, index: Option<&Path>) -> PathBuf {
        let own = self.0.join("index.db");
        for (index, suffix) in index.into_iter().flat_map(|index| [(index, ""), (index, "-wal")]) {
            let part = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
            let copied = fs::copy(part(index), part(&own));
            tracing::debug!(copied = copied.is_ok(), suffix, "the index");
        }
        own
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "a folder could not be removed");
        }
    }
}
