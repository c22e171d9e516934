//! Listeners of sessions: a unix socket for each session that asked for one. A client that connects to it belongs to the session,
//! without proxy credentials.
//!
//! Each socket is alone in a folder of its own, so that the folder can be mounted into a sandbox: it stays the same when a
//! restart makes the socket again.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use model::{SessionId, log_limited};
use rustix::fs::{Mode, OFlags};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::sync::watch;

use crate::error::{ListenerError, MAX_PATH_BYTES};
use crate::session::{Channel, Session};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// The name of the socket in its session's folder.
const NAME: &str = "proxy.sock";

/// The folder in which sockets are made.
const NEW: &str = ".new";

/// Binds a unix socket with this mode, ready for a runtime. A socket that a killed run left is replaced; one on which a process
/// listens is not, nor is anything else at the path.
///
/// # Errors
/// Whatever the system reports; `AddrInUse` where the path is taken.
pub fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() || is_listened_on(path) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        fs::remove_file(path)?;
    }
    bind(path, mode)
}

/// Whether a process listens on a socket. Without blocking: a listener whose backlog is full would hold up the start.
fn is_listened_on(path: &Path) -> bool {
    let connected = Socket::new(Domain::UNIX, Type::STREAM, None).and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    });
    !connected.is_err_and(|error| matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound))
}

fn bind(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before it listens, so that no other user gets in between.
    set_socket_mode(path, mode)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Sets the permissions of a socket, and of nothing else: the folder may be one that a sandbox can write to, which could put a link
/// to another file of ours in its place between the bind and this.
fn set_socket_mode(path: &Path, mode: u32) -> io::Result<()> {
    let found = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let opened = format!("/proc/self/fd/{}", found.as_raw_fd());
    if !fs::metadata(&opened)?.file_type().is_socket() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    fs::set_permissions(opened, fs::Permissions::from_mode(mode))
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

    /// Removes the folders of sessions that are not `live`, and what a killed run left of new sockets.
    pub(crate) fn remove_stale(&self, live: impl Fn(&str) -> bool) -> io::Result<()> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_name() == NEW {
                // No sandbox gets this folder.
                fs::remove_dir_all(entry.path())?;
            } else if !entry.file_name().to_str().is_some_and(&live) {
                self.remove(&entry.path());
            }
        }
        Ok(())
    }

    pub(crate) fn path_of(&self, id: &SessionId) -> PathBuf {
        self.dir.join(id.as_str()).join(NAME)
    }

    /// Opens the listener of a session. Where the session names the user of its clients, every user may connect to the socket and
    /// the kernel reports which user did; otherwise only our own user may.
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

    /// Makes the socket in a folder that no sandbox gets, then moves it into the session's folder. Nothing in the session's folder is
    /// followed, asked or trusted: a sandbox that got it writable may have put anything there.
    fn bind(&self, id: &SessionId, mode: u32) -> io::Result<UnixListener> {
        let (folder, new) = (self.dir.join(id.as_str()), self.dir.join(NEW));
        // Users that may use one socket can reach it, and list none, whatever the umask of the process.
        for (folder, mode) in [(&self.dir, 0o711), (&folder, 0o711), (&new, 0o700)] {
            match fs::DirBuilder::new().create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => fs::set_permissions(folder, fs::Permissions::from_mode(mode))?,
            }
        }
        let made = new.join(id.as_str());
        let socket = bind(&made, mode)?;
        fs::rename(&made, folder.join(NAME)).inspect_err(|_| drop(fs::remove_file(&made)))?;
        Ok(socket)
    }

    /// Closes the listener of a session and removes its folder.
    pub(crate) fn close(&self, id: &SessionId) {
        model::sync::lock(&self.open).remove(id);
        self.remove(&self.dir.join(id.as_str()));
        self.changes.send_replace(());
    }

    /// Removes the socket and the folder. What a sandbox left in the folder stays: its removal could take any time, memory and
    /// descriptors, since it may be nested without end.
    fn remove(&self, folder: &Path) {
        let removed = match fs::remove_file(folder.join(NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => fs::remove_dir(folder),
        };
        if let Err(error) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            log_limited!(warn, folder = %folder.display(), %error, "the folder of a session's listener cannot be removed; remove it by hand");
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
    use std::os::unix::net::UnixStream;

    use model::Timestamp;

    use super::*;
    use crate::new_session::NewSession;

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

    fn session(id: &str, peer: Option<u32>) -> Arc<Session> {
        let new =
            NewSession { id: Some(SessionId::new(id)), channel: Channel::Listener { peer }, ..NewSession::default() };
        Arc::new(crate::registry::assemble(new, Vec::new(), Timestamp::now(), None))
    }

    #[test]
    fn t299_nothing_in_a_folder_that_a_sandbox_can_write_to_is_followed() {
        let place = tempfile::tempdir().unwrap();
        let (dir, victim) = (place.path().join("listeners"), place.path().join("vault.key"));
        fs::write(&victim, "key").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
        let listeners = Listeners::new(&dir, 10);
        let folder = dir.join("ses_a");
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(&victim, folder.join(NAME)).unwrap();
        listeners.open(&session("ses_a", Some(1000))).unwrap();
        assert_eq!((mode(&victim), mode(&folder.join(NAME))), (0o600, 0o666));
        assert!(UnixStream::connect(folder.join(NAME)).is_ok());
        assert!(set_socket_mode(&victim, 0o666).is_err());
        std::os::unix::fs::symlink(&victim, folder.join("link")).unwrap();
        assert!(set_socket_mode(&folder.join("link"), 0o666).is_err());
        assert_eq!(mode(&victim), 0o600);
        // A socket of its own, with a backlog that is full, does not hold up another start.
        fs::remove_file(folder.join(NAME)).unwrap();
        let planted = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        planted.bind(&SockAddr::unix(folder.join(NAME)).unwrap()).unwrap();
        planted.listen(0).unwrap();
        let full: Vec<_> = std::iter::from_fn(|| connects(&folder.join(NAME))).take(100).collect();
        assert!(full.len() < 100 && is_listened_on(&folder.join(NAME)));
        let again = Listeners::new(&dir, 10);
        again.open(&session("ses_a", None)).unwrap();
        assert_eq!(mode(&folder.join(NAME)), 0o600);
        again.close(&SessionId::new("ses_a"));
        assert!(!folder.join(NAME).exists() && folder.join("link").symlink_metadata().is_ok());
        again.remove_stale(|_| false).unwrap();
        assert!(!dir.join(NEW).exists() && victim.exists());
    }

    #[test]
    fn t299_folders_that_a_sandbox_nested_end_neither_a_session_nor_a_start() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("listeners");
        let listeners = Listeners::new(&dir, 10);
        listeners.open(&session("ses_a", None)).unwrap();
        fs::create_dir_all(dir.join("ses_a/d/d/d")).unwrap();
        listeners.close(&SessionId::new("ses_a"));
        listeners.remove_stale(|_| false).unwrap();
        // Thousands of levels would take the stack of a recursive removal.
        assert!(dir.join("ses_a/d/d/d").exists() && !dir.join("ses_a").join(NAME).exists());
    }

    /// One more connection that waits to be accepted; `None` where the backlog is full.
    fn connects(path: &Path) -> Option<Socket> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.connect(&SockAddr::unix(path).unwrap()).ok().map(|()| socket)
    }
}
