//! Policy files: read from the configured paths, compiled, and put in force as a whole.
//!
//! A file that is not acceptable changes nothing: the previous set stays in force. The reason for the rejection is
//! logged, recorded and shown by `/healthz`. The same applies to files that are acceptable alone but would leave a live
//! session without rules, because the policies that it names contradict each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use audit::{Journal, Kind, Record};
use model::{Reason, SessionId};
use policies::{CombineError, InForce, PolicySet, PolicySource};
use sessions::{Registry, Session};

use crate::load_error::{LoadError, MAX_FILES};
use crate::policy_files::{read_all, read_library};
use crate::session::{about, own, subject};
use crate::session_documents::Store;

/// Reads policies and holds the set in force.
pub struct Loader {
    paths: Mutex<Vec<PathBuf>>,
    in_force: Arc<InForce>,
    pub(crate) documents: Store,
    /// Locked while files are read and compiled, so that the newest reading wins.
    reading: Mutex<()>,
    /// Why the configured files, as last read, are not in force. Locked while the snapshot is replaced and while a
    /// session is admitted, so that a session is judged by the snapshot that it begins with.
    rejected: Mutex<Option<String>>,
    /// The live sessions whose policies cannot be used, with the reported cause.
    reported: Mutex<BTreeMap<SessionId, String>>,
    /// The warnings that were logged.
    warned: Mutex<BTreeSet<String>>,
}

/// A guard: the snapshot is not replaced while it is held.
pub(crate) struct Admission<'a> {
    _rejected: MutexGuard<'a, Option<String>>,
}

impl Loader {
    /// Reads and compiles the built-in policies and `paths`: files, or folders of `*.yaml` and `*.yml`. The documents of
    /// sessions, below `session_dir`, are not included: see [`Loader::restore`].
    ///
    /// # Errors
    /// A path that cannot be read, or files that do not compile.
    pub fn open(paths: Vec<PathBuf>, session_dir: &Path) -> Result<Self, LoadError> {
        let snapshot = compile(&read_all(&paths)?)?;
        Self::assemble(paths, session_dir, snapshot, None)
    }

    /// The built-in policies alone, for commands that must work even if the files do not.
    ///
    /// # Errors
    /// If the built-in policies do not compile, which a test excludes.
    pub fn built_in(session_dir: &Path, rejected: String) -> Result<Self, LoadError> {
        Self::assemble(Vec::new(), session_dir, compile(&read_library())?, Some(rejected))
    }

    fn assemble(
        paths: Vec<PathBuf>,
        session_dir: &Path,
        snapshot: PolicySet,
        rejected: Option<String>,
    ) -> Result<Self, LoadError> {
        let failed = |source| LoadError::Read { path: session_dir.to_owned(), source };
        Ok(Self {
            paths: Mutex::new(paths),
            in_force: Arc::new(InForce::new(snapshot)),
            documents: Store::open(session_dir).map_err(failed)?,
            reading: Mutex::default(),
            rejected: Mutex::new(rejected),
            reported: Mutex::default(),
            warned: Mutex::default(),
        })
    }

    /// Restores the documents of live sessions, and removes those of others. A session whose documents are missing, changed or
    /// broken, or conflict with the files, is refused as `policy_unavailable`. That is recorded in `journal`, if there is one,
    /// and affects no other session.
    pub fn restore(&self, sessions: &Registry, journal: Option<&Journal>) {
        let now = clock::now();
        let live: Vec<_> =
            sessions.list().into_iter().filter(|session| session.is_live(now) && session.documents.is_some()).collect();
        self.documents.retain(&live);
        for session in live {
            let restored = self.documents.restore(&self.in_force, &session);
            let restored =
                restored.and_then(|()| self.rules_for_session(&session).map(drop).map_err(|error| error.to_string()));
            self.report(&session, restored.err(), journal);
        }
    }

    /// The policies in force; the snapshot in it is replaced as a whole.
    pub fn in_force(&self) -> &Arc<InForce> {
        &self.in_force
    }

    /// The snapshot in force: the result of the files.
    pub fn snapshot(&self) -> Arc<PolicySet> {
        self.in_force.snapshot()
    }

    /// The rules of this session now.
    ///
    /// # Errors
    /// As [`InForce::rules_for_session`].
    pub fn rules_for_session(&self, session: &Session) -> Result<Arc<policies::Rules>, CombineError> {
        self.in_force.rules_for_session(&subject(session), own(session))
    }

    /// Blocks the replacement of the snapshot while a session is judged and created.
    pub(crate) fn admission(&self) -> Admission<'_> {
        Admission { _rejected: self.lock() }
    }

    /// Reads these files and folders from the next reload on.
    pub fn set_paths(&self, paths: Vec<PathBuf>) {
        *model::sync::lock(&self.paths) = paths;
    }

    /// Why the files, as last read, are not in force, if they are not.
    pub fn rejected(&self) -> Option<String> {
        self.lock().clone()
    }

    /// Reads the configured files again and puts them in force; returns whether anything changed. The documents of live
    /// sessions cannot block this: a document that contradicts the new files leaves its own session without rules.
    ///
    /// # Errors
    /// A path that cannot be read, or files that do not compile. Also files that make the policies contradict each other
    /// that a live session names or that apply to it. The previous set stays in force.
    pub fn reload(&self, sessions: &Registry, journal: &Journal) -> Result<bool, LoadError> {
        let _newest = model::sync::lock(&self.reading);
        let paths = model::sync::lock(&self.paths).clone();
        let compiled = read_all(&paths).and_then(|sources| compile(&sources));
        let mut rejected = self.lock();
        let live: Vec<_> = sessions.list().into_iter().filter(|session| session.is_live(clock::now())).collect();
        let loaded = match compiled.and_then(|set| self.check_combinations(&set, &live).map(|()| set)) {
            Ok(set) => {
                if rejected.take().is_some() {
                    tracing::info!("the policy files are acceptable again");
                }
                for gone in self.snapshot().names().filter(|name| !set.is_known(name)) {
                    tracing::warn!(policy = %gone, "the policy is gone; sessions that name it are refused as policy_unavailable");
                }
                Ok(self.put_in_force(set, journal))
            }
            Err(error) => {
                let text = error.to_string();
                // The same broken file is reported once, however often it is read.
                if rejected.as_deref() != Some(text.as_str()) {
                    journal.append(Record {
                        detail: Some(error.brief().into()),
                        code: Some(Reason::PolicyRejected),
                        ..Record::new(Kind::PolicyRejected)
                    });
                    tracing::error!("policies are not taken, the ones before stay in force:\n{text}");
                    *rejected = Some(text);
                }
                Err(error)
            }
        };
        self.report_all(&live, journal);
        loaded
    }

    /// The policies that a live session uses from the files must not begin to contradict each other. Its own documents
    /// are not part of that: no session may block an operator's files.
    fn check_combinations(&self, set: &PolicySet, live: &[Arc<Session>]) -> Result<(), LoadError> {
        let old = self.snapshot();
        for session in live {
            let subject = subject(session);
            let is_conflict = |error: &CombineError| error.is_conflict();
            if let Err(error) = set.rules_for_session(&subject)
                && error.is_conflict()
                && !old.rules_for_session(&subject).is_err_and(|error| is_conflict(&error))
            {
                return Err(LoadError::Combination { session: named(session), error });
            }
        }
        Ok(())
    }

    /// Replaces the snapshot; returns whether it differs. The caller holds the lock.
    fn put_in_force(&self, set: PolicySet, journal: &Journal) -> bool {
        if set.digest() == self.snapshot().digest() {
            return false;
        }
        let snapshot = Some(set.digest().clone());
        tracing::info!(snapshot = %set.digest(), "policies are in force");
        self.in_force.replace(set);
        journal.append(Record { snapshot, ..Record::new(Kind::PolicyLoaded) });
        true
    }

    /// The live sessions whose requests are refused as `policy_unavailable`, each with the cause.
    pub fn unusable(&self, sessions: &Registry) -> Vec<(Arc<Session>, CombineError)> {
        let now = clock::now();
        let live = sessions.list().into_iter().filter(|session| session.is_live(now));
        live.filter_map(|session| self.rules_for_session(&session).err().map(|error| (session, error))).collect()
    }

    /// Reports each live session whose policies became unusable or usable since the last report. An older snapshot cannot help
    /// if the conflict exists since this start, or if a session's own documents are part of it.
    fn report_all(&self, live: &[Arc<Session>], journal: &Journal) {
        self.reported_lock().retain(|id, _| live.iter().any(|session| session.id == *id));
        for session in live {
            self.report(session, self.rules_for_session(session).err().map(|error| error.to_string()), Some(journal));
        }
    }

    /// Logs warnings that were not among those of the last time.
    pub(crate) fn log_misfits(&self, warnings: BTreeSet<String>) {
        let mut warned = model::sync::lock(&self.warned);
        warnings.difference(&warned).for_each(|warning| tracing::warn!("{warning}"));
        *warned = warnings;
    }

    /// Reports one session once for each cause.
    fn report(&self, session: &Session, error: Option<String>, journal: Option<&Journal>) {
        let Some(error) = error else {
            if self.reported_lock().remove(&session.id).is_some() {
                tracing::info!(session = %session.id, "the policies of the session can be used again");
            }
            return;
        };
        if self.reported_lock().insert(session.id.clone(), error.clone()).as_ref() == Some(&error) {
            return;
        }
        tracing::error!(session = %session.id, error, "the policies of a live session cannot be used; its requests are refused as policy_unavailable");
        if let Some(journal) = journal {
            let (code, detail) = (Some(Reason::PolicyUnavailable), Some(error.into()));
            journal.append(Record { code, detail, ..about(session, Kind::PolicyRejected) });
        }
    }

    fn reported_lock(&self) -> MutexGuard<'_, BTreeMap<SessionId, String>> {
        model::sync::lock(&self.reported)
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        model::sync::lock(&self.rejected)
    }
}

/// A session in the form of messages.
pub(crate) fn named(session: &Session) -> String {
    // Only the default session has no end.
    match session.expires {
        Some(_) => format!("session {}", session.id),
        None => "`sessions.default`".to_owned(),
    }
}

fn compile(sources: &[PolicySource]) -> Result<PolicySet, LoadError> {
    if sources.len() > MAX_FILES {
        return Err(LoadError::TooMany);
    }
    policies::compile(sources).map_err(LoadError::Problems)
}
