//! All sessions: made, found, authenticated, ended, and kept on disk.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::SignedDuration;
use model::{CredentialId, SessionId, Timestamp};
use tokio::sync::{Notify, watch};

use crate::budget::Budgets;
use crate::error::{Invalid, SessionError, Why};
use crate::file;
use crate::grant::{Grant, remembered};
use crate::identity::{Identified, Means, Proof, UnixPeer};
use crate::listener::{Listeners, SessionListener};
use crate::new_session::{GrantRequest, NewSession, check, check_ttl, wrong};
use crate::session::{Channel, Session, State};
use crate::token::{Fingerprint, Token, draw_placeholder, draw_token};
use model::placeholder::PLACEHOLDER_MARK;

const MAX_LIVE_SESSIONS: usize = 10_000;
const MAX_ENDED_SESSIONS: usize = 1_000;
const KEEP_ENDED: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A new session, with what is shown only now.
pub struct Created {
    /// The session.
    pub session: Arc<Session>,
    /// The proxy password.
    pub token: String,
    /// The placeholder of each grant, in the order they were asked for.
    pub placeholders: Vec<Offered>,
}

/// A placeholder as the client gets it.
pub struct Offered {
    /// The credential that it represents.
    pub credential: CredentialId,
    /// The environment variable to offer it under.
    pub env: Option<String>,
    /// The whole text, prefix and all.
    pub placeholder: String,
}

impl fmt::Debug for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Created").field("session", &self.session).finish_non_exhaustive()
    }
}

/// What [`Registry::end`] found.
#[derive(Debug)]
pub struct Ending {
    /// The session, now over.
    pub session: Arc<Session>,
    /// Whether this call ended it; false where it was over before.
    pub first: bool,
}

/// Whose placeholder it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceholderOwner {
    /// No session was given this placeholder, as far as is still known.
    Nobody,
    /// This session was; it may be over.
    Session(SessionId),
}

/// All sessions that are known: the live ones, and for a while those that are over.
pub struct Registry {
    dir: PathBuf,
    table: RwLock<Table>,
    channels: OnceLock<Channels>,
}

/// The channels of a running sidecar.
struct Channels {
    listeners: Listeners,
    /// Whether the proxy listens on a unix socket of all sessions.
    has_shared_socket: bool,
}

#[derive(Default)]
struct Table {
    sessions: HashMap<SessionId, Arc<Session>>,
    placeholders: HashMap<Fingerprint, SessionId>,
    /// The sessions whose clients are identified by the user of their process.
    peers: HashMap<u32, SessionId>,
}

impl Registry {
    /// Opens the folder, making it (0700) where it is missing, and reads every session in it.
    ///
    /// A file that cannot be understood is logged and left alone; its session is refused.
    ///
    /// # Errors
    /// When the folder cannot be made or listed.
    pub fn open(dir: &Path, now: Timestamp) -> Result<Self, SessionError> {
        Self::open_set_back(dir, now, SignedDuration::ZERO)
    }

    /// As [`Registry::open`], after a clock that was ahead by `ahead` was corrected: beginning and end of every live session
    /// are set back by as much, on disk too. What is left of each stays what it was, and none lives longer than was asked for.
    ///
    /// # Errors
    /// As [`Registry::open`], and when a session's file cannot be written.
    pub fn open_set_back(dir: &Path, now: Timestamp, ahead: SignedDuration) -> Result<Self, SessionError> {
        let failed = |doing| move |source| SessionError::File { doing, path: dir.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("make"))?;
        let mut table = Table::default();
        for entry in fs::read_dir(dir).map_err(failed("list"))? {
            let path = entry.map_err(failed("list"))?.path();
            match path.extension().and_then(|end| end.to_str()) {
                Some("json") => match file::load(&path) {
                    Ok(mut session) => {
                        if session.set_back(ahead) {
                            let budgets = session.budgets.to_save();
                            file::save(dir, &session, &budgets).map_err(failed("write"))?;
                        }
                        table.insert(Arc::new(session));
                    }
                    Err(error) => {
                        tracing::error!(file = %path.display(), %error, "a session file cannot be read; its session is refused");
                    }
                },
                Some("new") => forget_file(&path),
                _ => {}
            }
        }
        let registry = Self { dir: dir.to_owned(), table: RwLock::new(table), channels: OnceLock::new() };
        registry.prune(now);
        Ok(registry)
    }

    /// Makes a session and writes it down.
    ///
    /// # Errors
    /// A field that is not acceptable, too many sessions, or a file that cannot be written.
    pub fn create(&self, new: NewSession, now: Timestamp) -> Result<Created, SessionError> {
        check(&new)?;
        let ttl = check_ttl(new.ttl)?;
        let expires = now.checked_add(ttl).map_err(|_| wrong("ttl", "ends after the calendar"))?;
        self.prune(now);
        let live = self.read().sessions.values().filter(|session| session.is_live(now)).count();
        if live >= MAX_LIVE_SESSIONS {
            return Err(SessionError::TooMany(MAX_LIVE_SESSIONS));
        }
        let token = draw_token();
        let mut placeholders = Vec::with_capacity(new.grants.len());
        let grants = new.grants.iter().map(|request| offer(request, &mut placeholders)).collect();
        let session = Arc::new(Session {
            token: Some(Token::new(Fingerprint::of(token.as_bytes()))),
            ..assemble(new, grants, now, Some(expires))
        });
        self.open_channel(&session, now)?;
        if let Err(source) = file::save(&self.dir, &session, &[]) {
            self.close_channel(&session);
            return Err(self.failed("write", &session.id, source));
        }
        self.write().insert(session.clone());
        Ok(Created { session, token, placeholders })
    }

    /// Opens the channels of a running sidecar: the listener of each live session that has one, each in a folder of its own in
    /// `dir`, at most `max` of them. A listener that cannot be opened is logged, and its session reached by its token alone.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn open_channels(
        &self,
        dir: &Path,
        max: usize,
        has_shared_socket: bool,
        now: Timestamp,
    ) -> Result<(), SessionError> {
        let failed = |source| SessionError::File { doing: "list", path: dir.to_owned(), source };
        let listeners = Listeners::new(dir, max);
        let mut listening = self.list();
        listening.retain(|session| session.is_live(now) && matches!(session.channel, Channel::Listener { .. }));
        let is_live = |name: &str| listening.iter().any(|session| session.id.as_str() == name);
        listeners.remove_stale(is_live).map_err(failed)?;
        for session in &listening {
            if let Err(error) = listeners.open(session) {
                tracing::error!(session = %session.id, %error, source = ?std::error::Error::source(&error), "the listener of a session cannot be opened");
            }
        }
        let opened = self.channels.set(Channels { listeners, has_shared_socket });
        debug_assert!(opened.is_ok(), "a process runs one sidecar");
        Ok(())
    }

    /// The channel of the session identifies clients from now on: its record is durable.
    pub fn announce(&self, session: &Session) {
        session.announced.store(true, Ordering::Release);
    }

    /// Whether a session, live or over, names this user.
    pub fn has_peer(&self, peer: UnixPeer) -> bool {
        self.read().peers.contains_key(&peer.uid)
    }

    /// The listeners of sessions that are open, and a receiver that is notified when they change; `None` before
    /// [`Registry::open_channels`].
    pub fn listeners(&self) -> Option<(Vec<Arc<SessionListener>>, watch::Receiver<()>)> {
        let channels = self.channels.get()?;
        // Subscribed first: a change after the list was made must not go unseen.
        let changes = channels.listeners.changes();
        Some((channels.listeners.list(), changes))
    }

    /// The socket of a session's listener, where it is open.
    pub fn listener_path(&self, session: &Session) -> Option<PathBuf> {
        let listeners = &self.channels.get()?.listeners;
        listeners.is_open(&session.id).then(|| listeners.path_of(&session.id))
    }

    /// Whether a live session has no listener although it was created with one: it could not be opened after a restart.
    pub fn is_listener_missing(&self, session: &Session, now: Timestamp) -> bool {
        let has_listener = matches!(session.channel, Channel::Listener { .. }) && session.is_live(now);
        has_listener && self.channels.get().is_some_and(|channels| !channels.listeners.is_open(&session.id))
    }

    fn open_channel(&self, session: &Arc<Session>, now: Timestamp) -> Result<(), SessionError> {
        if session.channel == Channel::Token {
            return Ok(());
        }
        let channels = self.channels.get().ok_or_else(|| wrong("listen", "needs a running sidecar"))?;
        match session.channel {
            Channel::Token => Ok(()),
            Channel::Listener { .. } => channels.listeners.open(session).map_err(SessionError::Listener),
            Channel::Peer(uid) => {
                if !channels.has_shared_socket {
                    return Err(wrong("peer", "needs a unix socket in `listen.proxy`, or a listener of the session"));
                }
                let mut table = self.write();
                // One that is not in the table is about to be made.
                let is_live = |id: &SessionId| table.sessions.get(id).is_none_or(|other| other.is_live(now));
                if let Some(other) = table.peers.get(&uid).filter(|id| is_live(id)) {
                    let why = format!("uid:{uid} identifies {other} already; end it with `egret session end {other}`");
                    return Err(SessionError::Field { field: "peer", why });
                }
                table.peers.insert(uid, session.id.clone());
                Ok(())
            }
        }
    }

    fn close_channel(&self, session: &Session) {
        match session.channel {
            Channel::Token => {}
            Channel::Listener { .. } => {
                if let Some(channels) = self.channels.get() {
                    channels.listeners.close(&session.id);
                }
            }
            // One that was made keeps its user until a later session takes it: its clients are those of a session that is over.
            Channel::Peer(uid) => {
                let mut table = self.write();
                let was_made = table.sessions.contains_key(&session.id);
                if !was_made && table.peers.get(&uid) == Some(&session.id) {
                    table.peers.remove(&uid);
                }
            }
        }
    }

    /// Draws an id for a session to be: six bytes of milliseconds, so that ids sort by time, and ten random ones.
    pub fn draw_id(now: Timestamp) -> SessionId {
        let mut bytes = [0u8; 16];
        rand::fill(&mut bytes[6..]);
        let millis = u64::try_from(now.as_millisecond()).unwrap_or_default().to_be_bytes();
        bytes[..6].copy_from_slice(&millis[2..]);
        SessionId::from_bytes(bytes)
    }

    /// Makes the session of connections that bring no proxy credentials. It lives in memory, until
    /// the process ends, and has neither token nor placeholders.
    ///
    /// # Errors
    /// A field that is not acceptable.
    pub fn default_session(&self, new: NewSession, now: Timestamp) -> Result<Identified, SessionError> {
        check(&new)?;
        let bare = |request: &GrantRequest| Grant {
            credential: request.credential.clone(),
            env: None,
            bounds: request.bounds.clone(),
            audience: remembered(request.audience.clone()),
            prefix: String::new(),
            placeholder: None,
            used: AtomicU32::new(0),
            revoked: AtomicBool::new(false),
        };
        let grants = new.grants.iter().map(bare).collect();
        let session = Arc::new(assemble(new, grants, now, None));
        self.write().insert(session.clone());
        Ok(Identified::new(session, Means::DefaultSession, 0))
    }

    /// The client of a live session that proves so which one it belongs to.
    ///
    /// # Errors
    /// [`Invalid`], with the reason for the record.
    pub fn identify(&self, proof: Proof<'_>, now: Timestamp) -> Result<Identified, Invalid> {
        match proof {
            Proof::Token { id, token } => self.authenticate(id, token, now),
            Proof::Listener { session, peer } => of_listener(session, peer, now),
            Proof::Peer(peer) => {
                let table = self.read();
                let session = table.peers.get(&peer.uid).and_then(|id| table.sessions.get(id)).cloned();
                drop(table);
                let session = session.ok_or(Invalid { why: Why::Unknown })?;
                check_announced(&session)?;
                live(session, now).map(|session| Identified::new(session, Means::UnixPeer, 0))
            }
        }
    }

    /// The client with these proxy credentials. Takes the same time whatever is wrong with them.
    fn authenticate(&self, id: &str, token: &[u8], now: Timestamp) -> Result<Identified, Invalid> {
        let print = Fingerprint::of(token);
        let session = self.read().sessions.get(id).cloned();
        let held = session.as_ref().and_then(|session| session.token.as_ref()).map(Token::read);
        let (held, generation) = held.unwrap_or((Fingerprint::DUMMY, 0));
        let right = bool::from(held.matches(&print));
        let Some(session) = session else { return Err(Invalid { why: Why::Unknown }) };
        if !right {
            let is_void = session.token.is_some() && held == Fingerprint::DUMMY;
            return Err(Invalid { why: if is_void { Why::VoidToken } else { Why::WrongToken } });
        }
        live(session, now).map(|session| Identified::new(session, Means::ProxyCredentials, generation))
    }

    /// Wakes all tasks that wait in [`Session::ended`] for a session whose time is over: called several times a second, it makes an
    /// end take effect that no timer noticed, because the wall clock was set or the machine slept.
    pub fn wake_ended(&self, now: Timestamp) {
        let over = |session: &&Arc<Session>| session.is_expired(now) && session.stored_state() != State::Terminated;
        self.read().sessions.values().filter(over).for_each(|session| session.ended_notify.notify_waiters());
    }

    /// The session with this id, live or over.
    pub fn get(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.read().sessions.get(id).cloned()
    }

    /// Every session that is known, oldest first.
    pub fn list(&self) -> Vec<Arc<Session>> {
        let mut all: Vec<_> = self.read().sessions.values().cloned().collect();
        all.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        all
    }

    /// Ends a session: at once for everyone who holds it, then on disk. Ending it again changes nothing.
    ///
    /// # Errors
    /// No such session, or its file could not be written: then it is over for this process, and the
    /// call should be made again.
    pub fn end(&self, id: &SessionId, now: Timestamp) -> Result<Ending, SessionError> {
        let session = self.get(id).ok_or_else(|| SessionError::NotFound(id.clone()))?;
        let first = session.terminate(now);
        self.close_channel(&session);
        self.save(&session)?;
        self.prune(now);
        Ok(Ending { session, first })
    }

    /// Takes back the tokens of all live sessions, on disk too, and returns the sessions: someone else may have learned the tokens. Each
    /// session lives on and can be reached again with a token from [`Registry::renew_token`].
    ///
    /// # Errors
    /// A file that cannot be written: the tokens are void for this process all the same.
    pub fn void_tokens(&self, now: Timestamp) -> Result<Vec<Arc<Session>>, SessionError> {
        let mut sessions = self.list();
        sessions.retain(|session| session.token.is_some() && session.is_live(now));
        sessions.iter().for_each(|session| session.replace_token(Fingerprint::DUMMY));
        sessions.iter().try_for_each(|session| self.save(session))?;
        Ok(sessions)
    }

    /// Draws another token for a live session. The connections that were opened with the one before close, and it opens none.
    ///
    /// # Errors
    /// No such session, one that is over or has no token, or a file that cannot be written: then the session has no token.
    pub fn renew_token(&self, id: &SessionId, now: Timestamp) -> Result<(Arc<Session>, String), SessionError> {
        let session = self.get(id).ok_or_else(|| SessionError::NotFound(id.clone()))?;
        if session.token.is_none() || !session.is_live(now) {
            return Err(wrong("token", "cannot be renewed: the session is over, or is the one without credentials"));
        }
        let token = draw_token();
        session.replace_token(Fingerprint::of(token.as_bytes()));
        if let Err(error) = self.save(&session) {
            session.replace_token(Fingerprint::DUMMY);
            return Err(error);
        }
        Ok((session, token))
    }

    /// Says what a live session does now; `Terminated` is what [`Registry::end`] is for.
    ///
    /// # Errors
    /// No such session, one that is over, or a file that cannot be written.
    pub fn set_state(&self, id: &SessionId, state: State, now: Timestamp) -> Result<Arc<Session>, SessionError> {
        let session = self.get(id).ok_or_else(|| SessionError::NotFound(id.clone()))?;
        if state == State::Terminated {
            return self.end(id, now).map(|ending| ending.session);
        }
        if session.is_expired(now) || session.set_state(state) == State::Terminated {
            return Err(wrong("state", "cannot be changed: the session is over"));
        }
        self.save(&session)?;
        Ok(session)
    }

    /// Takes a credential away from a session: at once for everyone who holds it, then on disk. False where it had been taken
    /// away before.
    ///
    /// # Errors
    /// No such session, no such grant, or a file that cannot be written: then it holds for this process, and the call
    /// should be made again.
    pub fn revoke_grant(&self, id: &SessionId, credential: &CredentialId) -> Result<bool, SessionError> {
        let session = self.get(id).ok_or_else(|| SessionError::NotFound(id.clone()))?;
        let grant = session.grant(credential).ok_or_else(|| wrong("credentials", "do not hold this one"))?;
        let first = !grant.revoked.swap(true, Ordering::AcqRel);
        self.save(&session)?;
        Ok(first)
    }

    /// Writes a session down whose grants were drawn upon, so that the count outlives the process.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn persist_use_count(&self, session: &Session) -> Result<(), SessionError> {
        self.save(session)
    }

    /// Writes down how many bytes the session may count as sent, so that it may send them ([`crate::Spend::Unreserved`]).
    ///
    /// # Errors
    /// A file that cannot be written: nothing is reserved then.
    pub fn reserve_bytes(&self, session: &Session) -> Result<(), SessionError> {
        self.save(session)
    }

    /// Writes the exact numbers of bytes that sessions have sent. Nothing may be sent after it.
    pub fn settle_bytes(&self) {
        for session in self.list() {
            if session.budgets.settle()
                && let Err(error) = self.save(&session)
            {
                tracing::warn!(session = %session.id, %error, "the session's count of bytes stays at what was reserved");
            }
        }
    }

    /// Sets how often a grant was used, if the records count more uses than the session's file.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn raise_count(&self, session: &Session, credential: &CredentialId, used: u32) -> Result<(), SessionError> {
        let Some(grant) = session.grant(credential) else { return Ok(()) };
        if grant.used.fetch_max(used, Ordering::AcqRel) >= used { Ok(()) } else { self.save(session) }
    }

    /// Whose placeholder this is (with or without its prefix). The client must not learn it.
    pub fn find_placeholder(&self, text: &str) -> PlaceholderOwner {
        let Some(mark) = text.find(PLACEHOLDER_MARK).and_then(|at| text.get(at..)) else {
            return PlaceholderOwner::Nobody;
        };
        let owner = self.read().placeholders.get(&Fingerprint::of(mark.as_bytes())).cloned();
        owner.map_or(PlaceholderOwner::Nobody, PlaceholderOwner::Session)
    }

    fn save(&self, session: &Session) -> Result<(), SessionError> {
        let _alone = model::sync::lock(&session.saving);
        let budgets = session.budgets.to_save();
        // The default session has no file; what it has sent is forgotten with the process, as it is itself.
        if session.token.is_some() {
            file::save(&self.dir, session, &budgets).map_err(|source| self.failed("write", &session.id, source))?;
        }
        session.budgets.saved(&budgets);
        Ok(())
    }

    /// Forgets sessions that are over: those of a week ago, and the oldest where there are too many.
    fn prune(&self, now: Timestamp) {
        let mut over: Vec<(Timestamp, SessionId)> = {
            let table = self.read();
            table.sessions.values().filter_map(|s| Some((s.ended_at(now)?, s.id.clone()))).collect()
        };
        over.sort_unstable_by(|a, b| b.cmp(a));
        let old = |at: &Timestamp| now.duration_since(*at) > KEEP_ENDED;
        let gone = over.iter().enumerate().filter(|(place, (at, _))| *place >= MAX_ENDED_SESSIONS || old(at));
        for (_, (_, id)) in gone {
            self.write().remove(id);
            forget_file(&file::path_of(&self.dir, id));
        }
    }

    fn failed(&self, doing: &'static str, id: &SessionId, source: io::Error) -> SessionError {
        SessionError::File { doing, path: file::path_of(&self.dir, id), source }
    }

    // A panic while the lock is held leaves whole entries: the maps are changed by single calls.
    fn read(&self) -> RwLockReadGuard<'_, Table> {
        model::sync::read(&self.table)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        model::sync::write(&self.table)
    }
}

/// The session, where it is live.
fn live(session: Arc<Session>, now: Timestamp) -> Result<Arc<Session>, Invalid> {
    if session.is_live(now) {
        return Ok(session);
    }
    let by_call = session.stored_state() == State::Terminated && !session.is_expired(now);
    Err(Invalid { why: if by_call { Why::Ended } else { Why::Expired } })
}

/// A client of a session's listener. The user that the session names must be the one that connected.
fn of_listener(session: &Arc<Session>, peer: UnixPeer, now: Timestamp) -> Result<Identified, Invalid> {
    if let Channel::Listener { peer: Some(uid) } = session.channel
        && uid != peer.uid
    {
        return Err(Invalid { why: Why::WrongPeer });
    }
    check_announced(session)?;
    live(session.clone(), now).map(|session| Identified::new(session, Means::Listener, 0))
}

/// A client of a listener or of a user can come before the session is recorded: its channel is open by then.
fn check_announced(session: &Session) -> Result<(), Invalid> {
    if session.announced.load(Ordering::Acquire) { Ok(()) } else { Err(Invalid { why: Why::Unknown }) }
}

impl Table {
    fn insert(&mut self, session: Arc<Session>) {
        for print in session.grants.iter().filter_map(|grant| grant.placeholder) {
            self.placeholders.insert(print, session.id.clone());
        }
        if let Channel::Peer(uid) = session.channel {
            // Of several sessions that named a user one after the other, the live one counts.
            let is_over = session.stored_state() == State::Terminated;
            let known = self.peers.entry(uid).or_insert_with(|| session.id.clone());
            if !is_over {
                known.clone_from(&session.id);
            }
        }
        self.sessions.insert(session.id.clone(), session);
    }

    fn remove(&mut self, id: &SessionId) {
        let Some(session) = self.sessions.remove(id) else { return };
        for print in session.grants.iter().filter_map(|grant| grant.placeholder) {
            self.placeholders.remove(&print);
        }
        if let Channel::Peer(uid) = session.channel
            && self.peers.get(&uid) == Some(id)
        {
            self.peers.remove(&uid);
        }
    }
}

/// Draws the placeholder of one grant; keeps its digest, hands out its text.
fn offer(request: &GrantRequest, placeholders: &mut Vec<Offered>) -> Grant {
    let mark = draw_placeholder();
    let prefix = request.prefix.clone().unwrap_or_default();
    let placeholder = Some(Fingerprint::of(mark.as_bytes()));
    placeholders.push(Offered {
        credential: request.credential.clone(),
        env: request.env.clone(),
        placeholder: format!("{prefix}{mark}"),
    });
    Grant {
        credential: request.credential.clone(),
        env: request.env.clone(),
        bounds: request.bounds.clone(),
        audience: remembered(request.audience.clone()),
        prefix,
        placeholder,
        used: AtomicU32::new(0),
        revoked: AtomicBool::new(false),
    }
}

pub(crate) fn assemble(new: NewSession, grants: Vec<Grant>, now: Timestamp, expires: Option<Timestamp>) -> Session {
    Session {
        id: new.id.unwrap_or_else(|| Registry::draw_id(now)),
        tenant: new.tenant,
        user: new.user.map(Into::into),
        agent: new.agent.map(Into::into),
        labels: new.labels,
        policies: new.policies,
        documents: new.documents,
        grants,
        limits: new.limits,
        budgets: Budgets::default(),
        channel: new.channel,
        created: now,
        expires,
        announced: AtomicBool::new(false),
        token: None,
        token_replaced: Notify::new(),
        state: AtomicU8::new(State::Running as u8),
        ended_at: OnceLock::new(),
        ended_notify: Notify::new(),
        host_cookies: crate::cookies::HostCookies::default(),
        calls: crate::tool_call::ToolCalls::default(),
        saving: Mutex::new(()),
    }
}

fn forget_file(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(file = %path.display(), %error, "a file of a past session cannot be removed"),
    }
}

#[cfg(test)]
mod tests;
