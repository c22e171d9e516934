//! Notices that policy files change. Folders are watched, not files: editors and mounters replace
//! files, and a watch would stay with the one that is gone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{self, Receiver};

/// Several changes close together are one.
const SETTLE: Duration = Duration::from_millis(200);

/// Changes to come; watching ends when it is dropped.
pub(super) struct Changes {
    noticed: Receiver<()>,
    _watcher: RecommendedWatcher,
}

/// Watches these files and folders.
pub(super) fn policies(paths: &[PathBuf]) -> notify::Result<Changes> {
    let (notice, noticed) = mpsc::channel(1);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // Reading is what a reload itself does. A full channel has a change waiting already.
        let read_only = matches!(event, Ok(Event { kind: EventKind::Access(_), .. }));
        if !read_only {
            let _waiting = notice.try_send(());
        }
    })?;
    let mut folders: Vec<&Path> = paths.iter().map(|path| folder_of(path)).collect();
    folders.sort_unstable();
    folders.dedup();
    for folder in folders {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
    }
    Ok(Changes { noticed, _watcher: watcher })
}

fn folder_of(path: &Path) -> &Path {
    if path.is_dir() { path } else { path.parent().unwrap_or(path) }
}

impl Changes {
    /// Resolves once something has changed and nothing more has for a moment; at most a second after the first change.
    ///
    /// # Cancellation
    /// A change that was noticed and not yet told is told by the next call, as far as something changes again;
    /// the caller that drops this future reloads by itself.
    pub(super) async fn next(&mut self) {
        if self.noticed.recv().await.is_none() {
            return std::future::pending().await;
        }
        for _ in 0..5 {
            if tokio::time::timeout(SETTLE, self.noticed.recv()).await.is_err() {
                return;
            }
        }
    }
}
