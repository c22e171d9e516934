//! All sessions: made, found, authenticated, ended, and kept on disk.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::SignedDuration;
use model::{Audience, CredentialId, Limits, PolicyName, SessionId, TenantId, Timestamp};
use tokio::sync::Notify;

use crate::budget::Budgets;
use crate::error::{Invalid, SessionError, Why};
use crate::file;
use crate::grant::{Bounds, Grant, remembered};
use crate::session::{OwnDocuments, Session, State};
use crate::token::{Fingerprint, draw_placeholder, draw_token};
use model::placeholder::PLACEHOLDER_MARK;

const MAX_LIVE_SESSIONS: usize = 10_000;
const MAX_ENDED_SESSIONS: usize = 1_000;
const KEEP_ENDED: SignedDuration = SignedDuration::from_hours(7 * 24);
const DEFAULT_TTL: SignedDuration = SignedDuration::from_hours(24);
const MAX_TTL: SignedDuration = SignedDuration::from_hours(366 * 24);
const MAX_TEXT_BYTES: usize = 256;
const MAX_ITEMS: usize = 64;

/// What a new session shall be.
#[derive(Clone, Debug, Default)]
pub struct NewSession {
    /// From [`Registry::draw_id`], where the id must be known before; drawn where none is given.
    pub id: Option<SessionId>,
    /// The isolation boundary.
    pub tenant: TenantId,
    /// The person on whose behalf it works.
    pub user: Option<String>,
    /// The agent's name.
    pub agent: Option<String>,
    /// Marks that policies may select on.
    pub labels: BTreeMap<String, String>,
    /// The loaded policies that it names.
    pub policies: Vec<PolicyName>,
    /// The policy documents that it brings.
    pub documents: Option<OwnDocuments>,
    /// The credentials it may use.
    pub grants: Vec<GrantRequest>,
    /// What all its requests together may take.
    pub limits: Limits,
    /// How long it lives; 24 hours where nothing is said.
    pub ttl: Option<SignedDuration>,
}

/// A credential that a new session may use.
#[derive(Clone, Debug)]
pub struct GrantRequest {
    /// The credential, of the session's tenant.
    pub credential: CredentialId,
    /// The environment variable to offer the placeholder under.
    pub env: Option<String>,
    /// What clients expect before the placeholder, such as `sk-ant-`.
    pub prefix: Option<String>,
    /// What bounds its use.
    pub bounds: Bounds,
    /// The hosts that the credential may go to, where it is in the vault.
    pub audience: Option<Audience>,
}

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
    /// The credential it stands for.
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
}

#[derive(Default)]
struct Table {
    sessions: HashMap<SessionId, Arc<Session>>,
    placeholders: HashMap<Fingerprint, SessionId>,
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
        let registry = Self { dir: dir.to_owned(), table: RwLock::new(table) };
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
        let session = Session {
            token: Some(Mutex::new(Fingerprint::of(token.as_bytes()))),
            ..assemble(new, grants, now, Some(expires))
        };
        file::save(&self.dir, &session, &[]).map_err(|source| self.failed("write", &session.id, source))?;
        let session = Arc::new(session);
        self.write().insert(session.clone());
        Ok(Created { session, token, placeholders })
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
    pub fn default_session(&self, new: NewSession, now: Timestamp) -> Result<Arc<Session>, SessionError> {
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
        Ok(session)
    }

    /// The live session of these proxy credentials. Takes the same time whatever is wrong with them.
    ///
    /// # Errors
    /// [`Invalid`], with the reason for the record.
    pub fn authenticate(&self, id: &str, token: &[u8], now: Timestamp) -> Result<Arc<Session>, Invalid> {
        let print = Fingerprint::of(token);
        let session = self.read().sessions.get(id).cloned();
        let held = session.as_ref().and_then(|session| session.token()).unwrap_or(Fingerprint::DUMMY);
        let right = bool::from(held.matches(&print));
        let Some(session) = session else { return Err(Invalid { why: Why::Unknown }) };
        if !right {
            let why = if session.token() == Some(Fingerprint::DUMMY) { Why::VoidToken } else { Why::WrongToken };
            return Err(Invalid { why });
        }
        if session.is_live(now) {
            return Ok(session);
        }
        let by_call = session.stored_state() == State::Terminated && !session.is_expired(now);
        Err(Invalid { why: if by_call { Why::Ended } else { Why::Expired } })
    }

    /// Wakes all who wait in [`Session::ended`] for a session whose time is over: called several times a second, it makes an
    /// end take effect that no timer noticed, because the wall clock was set or the machine slept.
    pub fn wake_ended(&self, now: Timestamp) {
        let over = |session: &&Arc<Session>| session.is_expired(now) && session.stored_state() != State::Terminated;
        self.read().sessions.values().filter(over).for_each(|session| session.over.notify_waiters());
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
        self.save(&session)?;
        self.prune(now);
        Ok(Ending { session, first })
    }

    /// Takes back the tokens of all live sessions, on disk too, and gives the sessions: someone else may have learned the tokens. Each
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

    /// Draws another token for a live session; the one before opens no connection any more; those that are open stay.
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

    /// Sets how often a grant was drawn upon, where the records say more than the session's file.
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

impl Table {
    fn insert(&mut self, session: Arc<Session>) {
        for print in session.grants.iter().filter_map(|grant| grant.placeholder) {
            self.placeholders.insert(print, session.id.clone());
        }
        self.sessions.insert(session.id.clone(), session);
    }

    fn remove(&mut self, id: &SessionId) {
        let Some(session) = self.sessions.remove(id) else { return };
        for print in session.grants.iter().filter_map(|grant| grant.placeholder) {
            self.placeholders.remove(&print);
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

fn assemble(new: NewSession, grants: Vec<Grant>, now: Timestamp, expires: Option<Timestamp>) -> Session {
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
        created: now,
        expires,
        token: None,
        state: AtomicU8::new(State::Running as u8),
        ended_at: OnceLock::new(),
        over: Notify::new(),
        host_cookies: crate::cookies::HostCookies::default(),
        calls: crate::tool_call::ToolCalls::default(),
        saving: Mutex::new(()),
    }
}

fn check(new: &NewSession) -> Result<(), SessionError> {
    check_text("tenant", new.tenant.as_str())?;
    check_text("user", new.user.as_deref().unwrap_or("-"))?;
    check_text("agent", new.agent.as_deref().unwrap_or("-"))?;
    for (name, value) in &new.labels {
        check_text("labels", name)?;
        check_text("labels", if value.is_empty() { "-" } else { value })?;
    }
    for (field, count) in
        [("labels", new.labels.len()), ("policies", new.policies.len()), ("credentials", new.grants.len())]
    {
        if count > MAX_ITEMS {
            return Err(wrong(field, &format!("are {count}, more than the limit of {MAX_ITEMS}")));
        }
    }
    if new.limits.concurrent == Some(0) {
        return Err(wrong("limits", "allow no exchange at all: `concurrent` is a number from 1"));
    }
    for (place, grant) in new.grants.iter().enumerate() {
        check_grant(grant)?;
        if new.grants.iter().take(place).any(|other| other.credential == grant.credential) {
            return Err(wrong("credentials", &format!("name {} twice", grant.credential)));
        }
    }
    Ok(())
}

fn check_text(field: &'static str, text: &str) -> Result<(), SessionError> {
    if text.is_empty() || text.len() > MAX_TEXT_BYTES || text.chars().any(char::is_control) {
        return Err(wrong(field, &format!("must be 1 to {MAX_TEXT_BYTES} bytes without control characters")));
    }
    Ok(())
}

fn check_grant(grant: &GrantRequest) -> Result<(), SessionError> {
    let env = grant.env.as_deref().unwrap_or("A");
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if env.is_empty()
        || env.len() > MAX_TEXT_BYTES
        || !env.chars().all(word)
        || env.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(wrong(
            "env",
            &format!("of credential {} is not the name of an environment variable", grant.credential),
        ));
    }
    let Bounds { uses, time, methods, per: _ } = &grant.bounds;
    let of = |what: &str| format!("of credential {} {what}", grant.credential);
    if *uses == Some(0) {
        return Err(wrong("uses", &of("must be at least 1")));
    }
    if time.is_some_and(|time| time < SignedDuration::from_secs(1) || time > MAX_TTL) {
        return Err(wrong("for", &of("must be between one second and 366 days")));
    }
    let is_method = |method: &String| !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    if methods.len() > MAX_ITEMS || !methods.iter().all(is_method) {
        return Err(wrong("methods", &of("must be methods in upper case, such as GET")));
    }
    let prefix = grant.prefix.as_deref().unwrap_or_default();
    if prefix.len() > 64 || !prefix.bytes().all(|b| b.is_ascii_graphic()) || prefix.contains(PLACEHOLDER_MARK) {
        return Err(wrong(
            "prefix",
            &format!("of credential {} must be at most 64 visible characters", grant.credential),
        ));
    }
    Ok(())
}

fn check_ttl(ttl: Option<SignedDuration>) -> Result<SignedDuration, SessionError> {
    let ttl = ttl.unwrap_or(DEFAULT_TTL);
    if ttl < SignedDuration::from_secs(1) || ttl > MAX_TTL {
        return Err(wrong("ttl", "must be between one second and 366 days"));
    }
    Ok(ttl)
}

fn wrong(field: &'static str, why: &str) -> SessionError {
    SessionError::Field { field, why: why.to_owned() }
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
