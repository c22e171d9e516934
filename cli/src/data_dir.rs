//! The data folder: its path, its content, its permissions, and the process that works in it.
//!
//! Other users may traverse the folder itself (0711) to reach `trust/`; all other content is private.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

/// The folders from the environment; read once, in `main.rs`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// `$EGRET_DATA_DIR`.
    pub data_dir: Option<PathBuf>,
    /// `$XDG_DATA_HOME`.
    pub xdg_data_home: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
}

/// The data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataDir(PathBuf);

/// Held while a process works in the folder; the kernel releases it with the process.
pub(crate) struct Lock {
    _file: File,
}

/// `egret.json`: the process that serves this folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// The sidecar's process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// The addresses of the proxy.
    pub proxy: Vec<String>,
    /// The control socket.
    pub control: String,
}

impl DataDir {
    /// The flag, else `$EGRET_DATA_DIR`, else the file, else `$XDG_DATA_HOME/egret`, else `~/.local/share/egret`.
    pub(crate) fn resolve(flag: Option<&Path>, file: Option<&Path>, places: &Places) -> anyhow::Result<Self> {
        let named = flag.or(places.data_dir.as_deref()).or(file).map(Path::to_owned);
        let shared =
            || places.xdg_data_home.as_deref().filter(|path| path.is_absolute()).map(|path| path.join("egret"));
        let home = || places.home.as_deref().map(|path| path.join(".local/share/egret"));
        let Some(path) = named.or_else(shared).or_else(home) else {
            bail!("no data folder is named: give --data-dir, or set EGRET_DATA_DIR or HOME");
        };
        Ok(Self(std::path::absolute(&path).with_context(|| format!("cannot use the data folder {}", path.display()))?))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn vault(&self) -> PathBuf {
        self.0.join("vault.egret")
    }

    pub(crate) fn vault_key(&self) -> PathBuf {
        self.0.join("vault.key")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.0.join("index.db")
    }

    pub(crate) fn sessions(&self) -> PathBuf {
        self.0.join("sessions")
    }

    /// Whether there are files of sessions.
    pub(crate) fn has_sessions(&self) -> bool {
        let is_session = |entry: fs::DirEntry| entry.path().extension().is_some_and(|end| end == "json");
        fs::read_dir(self.sessions()).is_ok_and(|entries| entries.flatten().any(is_session))
    }

    /// Whether a file exists that is created after the vault.
    pub(crate) fn was_in_use(&self) -> bool {
        let has_journal = fs::read_dir(self.journal()).is_ok_and(|mut entries| entries.next().is_some());
        has_journal || self.index().exists() || self.has_sessions() || self.trust().join("ca.pem").exists()
    }

    pub(crate) fn session_policies(&self) -> PathBuf {
        self.0.join("session-policies")
    }

    pub(crate) fn trust(&self) -> PathBuf {
        self.0.join("trust")
    }

    /// The folder of the session listeners.
    pub(crate) fn listeners(&self) -> PathBuf {
        self.0.join("listeners")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }

    fn ready_file(&self) -> PathBuf {
        self.0.join("egret.json")
    }

    /// Creates the folder and `trust/` if they are missing, and sets their modes.
    ///
    /// # Errors
    /// A folder that cannot be created, belongs to another user, or can be written by others.
    pub(crate) fn prepare(&self) -> anyhow::Result<()> {
        for (path, mode) in [(self.0.clone(), 0o711), (self.trust(), 0o755)] {
            let shown = path.display();
            make_with_parents(&path)?;
            let found = fs::metadata(&path).with_context(|| format!("cannot read {shown}"))?;
            let own = rustix::process::geteuid().as_raw();
            if found.uid() != own {
                bail!(
                    "{shown} belongs to user {}, not to the user {own} that runs Egret; use another folder, or run as that user",
                    found.uid()
                );
            }
            if found.mode() & 0o022 != 0 {
                bail!("{shown} can be written by other users; take that right away first: chmod go-w {shown}");
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))
                .with_context(|| format!("cannot set the mode of {shown}"))?;
        }
        Ok(())
    }

    /// Locks the folder for this process; `None` if another one holds the lock.
    ///
    /// # Errors
    /// A lock file that cannot be opened.
    pub(crate) fn try_lock(&self) -> anyhow::Result<Option<Lock>> {
        let path = self.0.join("lock");
        let shown = path.display();
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.with_context(|| format!("cannot open {shown}"))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot lock {shown}")),
        }
    }

    /// The process that serves the folder, if there is one.
    pub(crate) fn ready(&self) -> Option<Ready> {
        serde_json::from_slice(&fs::read(self.ready_file()).ok()?).ok()
    }

    /// Whether the last sidecar did not stop cleanly; call only with the lock held.
    pub(crate) fn is_left_unclean(&self) -> bool {
        self.ready_file().exists()
    }

    /// Records that this process serves the folder now.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(crate) fn announce(&self, ready: &Ready) -> anyhow::Result<()> {
        let text = serde_json::to_vec(ready).context("cannot write egret.json")?;
        match replace(&self.ready_file(), &text, 0o600) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => self.announce_in_place(&text),
            written => written,
        }
        .context("cannot write egret.json")
    }

    /// On a full disk: writes into the file of the last run, whose space is still allocated.
    fn announce_in_place(&self, text: &[u8]) -> io::Result<()> {
        let spare = self.spare_ready_file();
        let mut file = OpenOptions::new().write(true).open(&spare)?;
        file.write_all(text)?;
        file.set_len(text.len() as u64)?;
        fs::rename(spare, self.ready_file())
    }

    /// The content of `egret.json` between two runs: the next one can reuse its space even if the disk is full.
    fn spare_ready_file(&self) -> PathBuf {
        self.0.join("egret.json.last")
    }

    /// Removes the files by which others find a sidecar; call only with the lock held.
    pub(crate) fn withdraw(&self) {
        let withdrawn = [
            (self.ready_file(), fs::rename(self.ready_file(), self.spare_ready_file())),
            (self.socket(), fs::remove_file(self.socket())),
        ];
        for (path, done) in withdrawn {
            match done {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(file = %path.display(), %error, "a file of a past run cannot be removed"),
            }
        }
    }
}

/// Creates a folder and its missing parents with mode 0755, whatever the umask: other users reach `trust/` through all of
/// them.
fn make_with_parents(path: &Path) -> anyhow::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    for folder in missing.into_iter().rev() {
        let shown = folder.display();
        match DirBuilder::new().mode(0o700).create(folder) {
            Ok(()) => fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
                .with_context(|| format!("cannot set the mode of {shown}"))?,
            // Another process may create the same ones.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(error) => return Err(error).with_context(|| format!("cannot make {shown}")),
        }
    }
    Ok(())
}

/// Writes a whole file: to a temporary file, flushed, then renamed. Its mode does not depend on the umask.
pub(crate) fn replace(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    let written = file.write_all(text).and_then(|()| file.sync_all());
    if written.is_err() {
        // A partial file is useless; if it cannot be removed, it is overwritten the next time.
        drop(fs::remove_file(&fresh));
    }
    written?;
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn the_nearest_word_decides_where_the_folder_is() {
        let some = |text: &str| Some(PathBuf::from(text));
        let all = Places { data_dir: some("/env"), xdg_data_home: some("/xdg"), home: some("/home/ann") };
        let resolve = |flag: Option<&str>, file: Option<&str>, places: &Places| {
            DataDir::resolve(flag.map(Path::new), file.map(Path::new), places).map(|dir| dir.0)
        };
        assert_eq!(resolve(Some("/flag"), Some("/file"), &all).unwrap(), Path::new("/flag"));
        assert_eq!(resolve(None, Some("/file"), &all).unwrap(), Path::new("/env"));
        let less = Places { data_dir: None, ..all };
        assert_eq!(resolve(None, Some("/file"), &less).unwrap(), Path::new("/file"));
        assert_eq!(resolve(None, None, &less).unwrap(), Path::new("/xdg/egret"));
        let home = Places { xdg_data_home: some("relative"), ..less };
        assert_eq!(resolve(None, None, &home).unwrap(), Path::new("/home/ann/.local/share/egret"));
        assert!(resolve(None, None, &Places::default()).is_err());
    }

    #[test]
    fn the_folder_is_passable_and_trust_is_readable() {
        let place = tempfile::tempdir().unwrap();
        let dir = DataDir(place.path().join("a/b"));
        dir.prepare().unwrap();
        assert_eq!((mode(dir.path()), mode(&dir.trust())), (0o711, 0o755));
        assert_eq!(mode(&place.path().join("a")), 0o755);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        dir.prepare().unwrap();
        assert_eq!(mode(dir.path()), 0o711);
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let said = DataDir(place.path().to_owned()).prepare().unwrap_err().to_string();
        assert!(said.contains("chmod go-w"), "{said}");
        assert_eq!(mode(place.path()), 0o777);
    }

    #[test]
    fn one_process_at_a_time_works_in_the_folder() {
        let place = tempfile::tempdir().unwrap();
        let dir = DataDir(place.path().to_owned());
        let lock = dir.try_lock().unwrap();
        assert!(lock.is_some());
        assert!(dir.try_lock().unwrap().is_none());
        assert_eq!(mode(&place.path().join("lock")), 0o600);
        drop(lock);
        assert!(dir.try_lock().unwrap().is_some());
    }

    #[test]
    fn the_announcement_is_read_back_and_withdrawn() {
        let place = tempfile::tempdir().unwrap();
        let dir = DataDir(place.path().to_owned());
        assert!(dir.ready().is_none());
        let ready = Ready { pid: 7, version: "1".into(), proxy: vec!["127.0.0.1:1".into()], control: "x".into() };
        dir.announce(&ready).unwrap();
        assert_eq!(dir.ready().unwrap().pid, 7);
        assert_eq!(mode(&place.path().join("egret.json")), 0o600);
        dir.withdraw();
        assert!(dir.ready().is_none());
    }
}
