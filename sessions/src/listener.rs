//! Listeners of sessions: a unix socket for each session that asked for one. A client that connects to it belongs to the session,
//! without proxy credentials.
//!
//! Each socket is alone in a folder of its own, so that the folder can be mounted into a sandbox: it stays the same when a
//! restart makes the socket again.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use model::{SessionId, log_limited};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::sync::watch;

use crate::error::{ListenerError, MAX_PATH_BYTES};
use crate::session::{Channel, Session};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// The name of the socket in its session's folder.
const NAME: &str = "proxy.sock";

/// Binds a unix socket with this mode, ready for a runtime. A socket that a killed run left is replaced; one on which a process
/// listens is not, nor is anything else at the path.
///
/// # Errors
/// Whatever the system reports; `AddrInUse` where the path is taken.
pub fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() || UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before it listens, so that no other user gets in between.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The open listener of one session. Dropping the last holder closes it.
#[derive(Debug)]
pub struct SessionListener {
    session: Arc<Session>,
    socket: UnixListener,
}

impl SessionListener {
    /// The session that its clients belong to.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The listening socket, which does not block.
    pub fn socket(&self) -> &UnixListener {
        &self.socket
    }
}

/// The listeners of all sessions, in a folder of their own.
pub(crate) struct Listeners {
    dir: PathBuf,
    max: usize,
    open: Mutex<HashMap<SessionId, Arc<SessionListener>>>,
    changes: watch::Sender<()>,
}

impl Listeners {
    /// None yet; the folder is made with the first one.
    pub(crate) fn new(dir: &Path, max: usize) -> Self {
        Self { dir: dir.to_owned(), max, open: Mutex::default(), changes: watch::Sender::new(()) }
    }

    /// Removes the folders of sessions that are not `live`.
    pub(crate) fn remove_stale(&self, live: impl Fn(&str) -> bool) -> io::Result<()> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(&live) {
                self.remove(&entry.path());
            }
        }
        Ok(())
    }

    pub(crate) fn path_of(&self, id: &SessionId) -> PathBuf {
        self.dir.join(id.as_str()).join(NAME)
    }

    /// Opens the listener of a session. Where the session names the user of its clients, every user may connect to the socket and
    /// the kernel tells who did; otherwise only our own user may.
    pub(crate) fn open(&self, session: &Arc<Session>) -> Result<(), ListenerError> {
        let path = self.path_of(&session.id);
        if path.as_os_str().len() > MAX_PATH_BYTES {
            return Err(ListenerError::TooLong(path));
        }
        let mut open = model::sync::lock(&self.open);
        if open.len() >= self.max {
            return Err(ListenerError::TooMany(self.max));
        }
        let mode = if session.channel == (Channel::Listener { peer: None }) { 0o600 } else { 0o666 };
        let socket = self.bind(&session.id, mode).map_err(|source| ListenerError::Bind { path, source })?;
        open.insert(session.id.clone(), Arc::new(SessionListener { session: session.clone(), socket }));
        drop(open);
        self.changes.send_replace(());
        Ok(())
    }

    fn bind(&self, id: &SessionId, mode: u32) -> io::Result<UnixListener> {
        let folder = self.dir.join(id.as_str());
        for folder in [&self.dir, &folder] {
            match fs::DirBuilder::new().create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                // Users that may use one socket can reach it, and list none, whatever the umask of the process.
                Ok(()) | Err(_) => fs::set_permissions(folder, fs::Permissions::from_mode(0o711))?,
            }
        }
        bind_unix(&folder.join(NAME), mode)
    }

    /// Closes the listener of a session and removes its folder.
    pub(crate) fn close(&self, id: &SessionId) {
        if model::sync::lock(&self.open).remove(id).is_some() {
            self.remove(&self.dir.join(id.as_str()));
            self.changes.send_replace(());
        }
    }

    fn remove(&self, folder: &Path) {
        if let Err(error) = fs::remove_dir_all(folder) {
            log_limited!(warn, folder = %folder.display(), %error, "the listener of a past session cannot be removed");
        }
    }

    pub(crate) fn is_open(&self, id: &SessionId) -> bool {
        model::sync::lock(&self.open).contains_key(id)
    }

    pub(crate) fn list(&self) -> Vec<Arc<SessionListener>> {
        model::sync::lock(&self.open).values().cloned().collect()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t259_a_unix_socket_is_its_owners_alone_and_only_a_dead_one_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy.sock");
        let first = bind_unix(&path, 0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(bind_unix(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        drop(bind_unix(&path, 0o666).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "a file").unwrap();
        assert_eq!(bind_unix(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
