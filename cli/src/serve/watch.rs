//! Notices that policy files change. Folders are watched, not files: editors and mounters replace
//! files, and a watch would stay with the one that is gone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::Instant;

/// Files are read once nothing has changed for so long, so that none is read while it is written.
const SETTLE: Duration = Duration::from_millis(200);
/// Changes that go on for longer than this are told of; they are waited for all the same.
const RESTLESS: Duration = Duration::from_secs(10);

/// Changes to come; watching ends when it is dropped.
pub(super) struct Changes {
    noticed: Receiver<()>,
    _watcher: RecommendedWatcher,
}

/// Watches these files and folders.
pub(super) fn policies(paths: &[PathBuf]) -> notify::Result<Changes> {
    let (notice, noticed) = mpsc::channel(1);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // A full channel has a change waiting already.
        if event.map_or(true, |event| changes(event.kind)) {
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

/// Reading is what a reload itself does; the end of writing is told as an access too.
fn changes(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(_)) || kind == EventKind::Access(AccessKind::Close(AccessMode::Write))
}

fn folder_of(path: &Path) -> &Path {
    if path.is_dir() { path } else { path.parent().unwrap_or(path) }
}

impl Changes {
    /// Resolves once something has changed and nothing more has for [`SETTLE`], however long that takes: what is seen
    /// within a burst of changes may be half a file.
    ///
    /// # Cancellation
    /// A change that was noticed and not yet told is told by the next call, as far as something changes again;
    /// the caller that drops this future reloads by itself.
    pub(super) async fn next(&mut self) {
        if self.noticed.recv().await.is_none() {
            return std::future::pending().await;
        }
        let first = Instant::now();
        let mut told = false;
        while tokio::time::timeout(SETTLE, self.noticed.recv()).await.is_ok() {
            if first.elapsed() > RESTLESS && !std::mem::replace(&mut told, true) {
                tracing::warn!("the policy folders keep changing; they are read once they are quiet for a moment");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    const PIECES: usize = 250;

    #[tokio::test]
    async fn a_file_that_is_written_slowly_is_told_once_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slow.yaml");
        let mut changes = policies(&[folder.path().to_owned()]).unwrap();
        let target = path.clone();
        let writer = std::thread::spawn(move || {
            let mut file = fs::File::create(target).unwrap();
            for _ in 0..PIECES {
                file.write_all(b"x").unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        changes.next().await;
        assert_eq!(fs::read(&path).unwrap().len(), PIECES);
        writer.join().unwrap();
    }

    #[tokio::test]
    async fn reading_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.yaml");
        fs::write(&path, "x").unwrap();
        let mut changes = policies(std::slice::from_ref(&path)).unwrap();
        fs::read(&path).unwrap();
        assert!(tokio::time::timeout(SETTLE * 3, changes.next()).await.is_err());
        fs::rename(&path, folder.path().join("two.yaml")).unwrap();
        changes.next().await;
    }
}
