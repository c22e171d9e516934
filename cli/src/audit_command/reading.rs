//! Reads a journal without touching its folder: the index that answers is made in a folder of its own, from a copy of the one
//! that is there where there is one, and goes with the command.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use audit::{Filter, Index};
use serde_json::value::RawValue;

use crate::exit::{Answer, Failure, OrFail as _};

/// The records of a journal that a filter wants.
///
/// # Errors
/// 3 where the journal cannot be read.
pub(super) fn records(journal: &Path, index: Option<&Path>, filter: &Filter) -> Answer<Vec<Box<RawValue>>> {
    if !journal.is_dir() {
        return Err(Failure::unreachable(anyhow!(
            "there is no journal {}; --data-dir, --config or --journal names another",
            journal.display()
        )));
    }
    let scratch = Scratch::new().or_unreachable()?;
    let own = scratch.0.join("index.db");
    if let Some(index) = index {
        for suffix in ["", "-wal"] {
            let part = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
            // One that is not there, or not ours to read, is made from the journal.
            let copied = fs::copy(part(index), part(&own));
            tracing::debug!(copied = copied.is_ok(), suffix, "the index");
        }
    }
    let rows = || -> anyhow::Result<Vec<Box<RawValue>>> {
        let index = Index::open(journal, &own)?;
        index.catch_up()?;
        let rows = index.query(filter)?;
        rows.iter().map(|row| Ok(RawValue::from_string(serde_json::to_string(row)?)?)).collect()
    };
    rows().or_unreachable()
}

/// A folder that only we can read, removed with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let parent = std::env::temp_dir();
        let now = clock::now().as_nanosecond();
        let path = parent.join(format!("egret-audit-{}-{now}", std::process::id()));
        // Not recursive: a folder that somebody else has made there is an error.
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("cannot make the folder {} for an index", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "a folder could not be removed");
        }
    }
}
