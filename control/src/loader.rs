//! Policy files: read from where the configuration says, compiled, and put in force whole.
//!
//! A file that is not acceptable changes nothing: the set before stays in force, and why the new
//! one was refused is logged, recorded and shown by `/healthz`. So it is with files that are acceptable alone and would
//! leave a live session without rules, because what it names contradicts itself.

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

/// Reads policies and holds what is in force.
pub struct Loader {
    paths: Mutex<Vec<PathBuf>>,
    in_force: Arc<InForce>,
    pub(crate) documents: Store,
    /// Held while files are read and compiled, so that the newest reading wins.
    reading: Mutex<()>,
    /// Why the configured files as they were last seen are not in force. Held while the snapshot is replaced and while a
    /// session is admitted, so that a session is judged by the snapshot that it begins with.
    rejected: Mutex<Option<String>>,
    /// The live sessions whose policies cannot be used, with the cause that was reported.
    reported: Mutex<BTreeMap<SessionId, String>>,
    /// The warnings that were logged.
    warned: Mutex<BTreeSet<String>>,
}

/// That the snapshot is not replaced meanwhile.
pub(crate) struct Admission<'a> {
    _rejected: MutexGuard<'a, Option<String>>,
}

impl Loader {
    /// Reads and compiles the built-in policies and `paths`: files, or folders of `*.yaml` and `*.yml`. The documents of
    /// sessions, below `session_dir`, are no part of it: see [`Loader::restore`].
    ///
    /// # Errors
    /// A path that cannot be read, or files that do not compile.
    pub fn open(paths: Vec<PathBuf>, session_dir: &Path) -> Result<Self, LoadError> {
        let snapshot = compile(&read_all(&paths)?)?;
        Self::assemble(paths, session_dir, snapshot, None)
    }

    /// The built-in policies alone, for commands that must work where the files do not.
    ///
    /// # Errors
    /// When the built-in policies do not compile, which a test rules out.
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

    /// Brings back the documents of live sessions, and removes those of others. A session whose documents are missing, changed
    /// or broken, or conflict with the files, is refused as `policy_unavailable`; that is recorded in `journal`, where there
    /// is one, and nothing else is affected.
    pub fn restore(&self, sessions: &Registry, journal: Option<&Journal>) {
        let now = clock::now();
        let live: Vec<_> =
            sessions.list().into_iter().filter(|session| session.is_live(now) && session.documents.is_some()).collect();
        self.documents.retain(&live);
        for session in live {
            let restored = self.documents.restore(&self.in_force, &session);
            let restored = restored.and_then(|()| self.rules_of(&session).map(drop).map_err(|error| error.to_string()));
            self.report(&session, restored.err(), journal);
        }
    }

    /// What is in force; the snapshot in it is replaced whole.
    pub fn in_force(&self) -> &Arc<InForce> {
        &self.in_force
    }

    /// The snapshot in force: what files make.
    pub fn snapshot(&self) -> Arc<PolicySet> {
        self.in_force.snapshot()
    }

    /// What judges this session now.
    ///
    /// # Errors
    /// As [`InForce::rules_for_session`].
    pub fn rules_of(&self, session: &Session) -> Result<Arc<policies::Rules>, CombineError> {
        self.in_force.rules_for_session(&subject(session), own(session))
    }

    /// Keeps the snapshot from being replaced while a session is judged and made.
    pub(crate) fn admission(&self) -> Admission<'_> {
        Admission { _rejected: self.lock() }
    }

    /// Reads these files and folders from the next reload on.
    pub fn set_paths(&self, paths: Vec<PathBuf>) {
        *model::sync::lock(&self.paths) = paths;
    }

    /// Why the files as they were last seen are not in force, if so.
    pub fn rejected(&self) -> Option<String> {
        self.lock().clone()
    }

    /// Reads the configured files again and puts them in force; tells whether anything changed. The documents of live
    /// sessions have no say in it: one that contradicts the new files leaves its own session without rules.
    ///
    /// # Errors
    /// A path that cannot be read, files that do not compile, or files with which the policies that a live session names
    /// or that apply to it contradict each other: the set before stays in force.
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
                // The same broken file is told once, however often it is looked at.
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

    /// What a live session has of the files must not begin to contradict itself. Its own documents are not part of that:
    /// no session may keep an operator's files from being taken.
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

    /// Replaces the snapshot; returns whether it is another one. For the holder of the lock.
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
        live.filter_map(|session| self.rules_of(&session).err().map(|error| (session, error))).collect()
    }

    /// Reports each live session whose policies became unusable or usable since the last report. There is no older snapshot to
    /// keep where the conflict is as old as this start, or where a session's own documents are part of it.
    fn report_all(&self, live: &[Arc<Session>], journal: &Journal) {
        self.reported_lock().retain(|id, _| live.iter().any(|session| session.id == *id));
        for session in live {
            self.report(session, self.rules_of(session).err().map(|error| error.to_string()), Some(journal));
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

/// A session as messages name it.
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
