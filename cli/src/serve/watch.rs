//! Detects changes of policy files. Folders are watched, not files: editors and mounters replace files, and a watch
//! would stay on the removed one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::Instant;

/// Files are read once there was no change for this long, so that none is read while it is written.
const SETTLE: Duration = Duration::from_millis(200);
/// Changes that continue for longer than this are reported; the wait continues.
const RESTLESS: Duration = Duration::from_secs(10);

/// Future changes; dropping it ends the watch.
pub(super) struct Changes {
    noticed: Receiver<()>,
    _watcher: RecommendedWatcher,
}

/// Watches these files and folders in their current state. If a folder is replaced, this is detected, but the new one
/// has to be watched again: so the watch is renewed after every change.
pub(super) fn policies(paths: &[PathBuf]) -> notify::Result<Changes> {
    let (notice, noticed) = mpsc::channel(1);
    let places: Vec<Place> = paths.iter().flat_map(|path| Place::all_of(path)).collect();
    let seen = places.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        let matters = |event: &Event| {
            let named = event.paths.iter().any(|path| seen.iter().any(|place| place.holds(path)));
            changes(event.kind) && (named || event.paths.is_empty())
        };
        // A full channel already contains a pending change.
        if event.map_or(true, |event| matters(&event)) {
            let _waiting = notice.try_send(());
        }
    })?;
    let mut folders: Vec<&Path> = places.iter().map(Place::folder).collect();
    folders.sort_unstable();
    folders.dedup();
    for folder in folders {
        match watcher.watch(folder, RecursiveMode::NonRecursive) {
            // It may come back; its parent folder is watched for that.
            Err(error) if is_gone(&error) => {}
            watched => watched?,
        }
    }
    Ok(Changes { noticed, _watcher: watcher })
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
        notify::ErrorKind::Generic(_)
        | notify::ErrorKind::WatchNotFound
        | notify::ErrorKind::InvalidConfig(_)
        | notify::ErrorKind::MaxFilesWatch => false,
    }
}

/// How many links are followed for one path, as in Linux (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The path of a relevant change.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Anything directly in this folder.
    Within(PathBuf),
    /// This entry of its folder, which may be a link and may be replaced.
    Entry(PathBuf),
}

impl Place {
    /// The watched paths of a configured path: a folder and its own entry, or a file with its folder; every link on the
    /// path; and for a missing part, the entry that would restore it.
    fn all_of(path: &Path) -> Vec<Self> {
        let mut places = Vec::new();
        let mut way = path.to_owned();
        for _ in 0..MAX_LINKS {
            places.push(Self::Entry(way.clone()));
            let beginnings: Vec<&Path> = way.ancestors().collect();
            let link = beginnings.iter().rev().find_map(|front| Some((front.to_path_buf(), front.read_link().ok()?)));
            let Some((front, target)) = link else { break };
            let rest = way.strip_prefix(&front).unwrap_or(Path::new("")).to_owned();
            places.push(Self::Entry(front.clone()));
            let next = front.parent().unwrap_or(Path::new("/")).join(target);
            way = if rest.as_os_str().is_empty() { next } else { next.join(rest) };
        }
        let missing = way.ancestors().take_while(|front| !front.exists()).last();
        places.extend(missing.map(|front| Self::Entry(front.to_owned())));
        for path in [path, way.as_path()] {
            let folder = if path.is_dir() { Some(path) } else { path.parent() };
            places.extend(folder.map(|folder| Self::Within(folder.to_owned())));
        }
        places
    }

    fn folder(&self) -> &Path {
        let folder = match self {
            Self::Within(folder) => folder.as_path(),
            Self::Entry(path) => path.parent().unwrap_or(path),
        };
        if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
    }

    fn holds(&self, path: &Path) -> bool {
        match self {
            Self::Within(folder) => path.parent() == Some(folder) || path == folder,
            Self::Entry(own) => path == own,
        }
    }
}

/// A reload itself reads the files; the end of writing is reported as an access too.
fn changes(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(_)) || kind == EventKind::Access(AccessKind::Close(AccessMode::Write))
}

impl Changes {
    /// Resolves after a change once there was no further change for [`SETTLE`], however long that takes: within a burst
    /// of changes, a file may be half written.
    ///
    /// # Cancellation
    /// A change that was detected and not yet reported is reported by the next call, if something changes again; a
    /// caller that drops this future reloads by itself.
    pub(super) async fn next(&mut self) {
        settled(&mut self.noticed).await;
    }
}

/// Resolves at the end of a burst of notifications.
async fn settled(noticed: &mut Receiver<()>) {
    if noticed.recv().await.is_none() {
        return std::future::pending().await;
    }
    let first = Instant::now();
    let mut told = false;
    while tokio::time::timeout(SETTLE, noticed.recv()).await.is_ok() {
        if first.elapsed() > RESTLESS && !std::mem::replace(&mut told, true) {
            tracing::warn!("the policy folders keep changing; they are read once they are quiet for a moment");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::pin::pin;

    use super::*;

    /// The time before and after the moment at which a burst is over.
    const TICK: Duration = Duration::from_millis(10);

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_written_slowly_is_told_once_it_is_whole() {
        let (notice, mut noticed) = mpsc::channel(1);
        let mut told = pin!(settled(&mut noticed));
        assert!(tokio::time::timeout(RESTLESS, told.as_mut()).await.is_err(), "nothing has changed");
        // Longer than the threshold of the warning.
        for _ in 0..100 {
            notice.try_send(()).unwrap();
            assert!(tokio::time::timeout(SETTLE - TICK, told.as_mut()).await.is_err(), "it is still being written");
        }
        tokio::time::timeout(2 * TICK, told).await.unwrap();
    }

    #[tokio::test]
    async fn each_write_to_a_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let mut changes = policies(&[folder.path().to_owned()]).unwrap();
        let mut file = fs::File::create(folder.path().join("p.yaml")).unwrap();
        changes.next().await;
        file.write_all(b"x").unwrap();
        changes.next().await;
        drop(file);
        changes.next().await;
    }

    #[tokio::test]
    async fn a_link_is_followed_and_its_replacement_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for version in ["v1", "v2"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("p.yaml"), version).unwrap();
        }
        fs::create_dir(at("mount")).unwrap();
        std::os::unix::fs::symlink(at("v1"), at("mount/..data")).unwrap();
        std::os::unix::fs::symlink("..data/p.yaml", at("mount/p.yaml")).unwrap();
        let paths = [at("mount/p.yaml")];
        let mut changes = policies(&paths).unwrap();
        std::os::unix::fs::symlink(at("v2"), at("mount/..new")).unwrap();
        fs::rename(at("mount/..new"), at("mount/..data")).unwrap();
        changes.next().await;
        let mut changes = policies(&paths).unwrap();
        fs::write(at("v2/p.yaml"), "v3").unwrap();
        changes.next().await;
    }

    #[tokio::test]
    async fn a_folder_that_is_gone_is_noticed_when_it_comes_back() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("policies");
        fs::create_dir(&folder).unwrap();
        let paths = [folder.clone()];
        let mut changes = policies(&paths).unwrap();
        fs::remove_dir(&folder).unwrap();
        changes.next().await;
        let mut changes = policies(&paths).unwrap();
        fs::create_dir(&folder).unwrap();
        changes.next().await;
        let mut changes = policies(&paths).unwrap();
        fs::write(folder.join("p.yaml"), "x").unwrap();
        changes.next().await;
    }

    #[tokio::test]
    async fn every_link_of_a_chain_and_every_missing_folder_is_watched() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        for version in ["v1", "v2"] {
            fs::create_dir(at(version)).unwrap();
        }
        fs::create_dir(at("mnt")).unwrap();
        std::os::unix::fs::symlink("../v1", at("mnt/current")).unwrap();
        std::os::unix::fs::symlink("mnt/current", at("policies")).unwrap();
        let paths = [at("policies")];
        let mut changes = policies(&paths).unwrap();
        std::os::unix::fs::symlink("../v2", at("mnt/new")).unwrap();
        fs::rename(at("mnt/new"), at("mnt/current")).unwrap();
        changes.next().await;

        fs::create_dir_all(at("a/b")).unwrap();
        let paths = [at("a/b")];
        let mut changes = policies(&paths).unwrap();
        fs::remove_dir_all(at("a")).unwrap();
        changes.next().await;
        let mut changes = policies(&paths).unwrap();
        fs::create_dir_all(at("a/b")).unwrap();
        changes.next().await;
    }

    #[tokio::test]
    async fn what_stands_beside_a_folder_does_not_matter() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("policies");
        fs::create_dir(&folder).unwrap();
        let mut changes = policies(std::slice::from_ref(&folder)).unwrap();
        fs::write(parent.path().join("beside"), "x").unwrap();
        assert!(tokio::time::timeout(SETTLE * 3, changes.next()).await.is_err());
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
