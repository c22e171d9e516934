//! The policies in force: one snapshot, made of files alone, and beside it the documents of each session that brought some.
//!
//! The one question is [`InForce::rules_for_session`]: what judges this session now. A session's documents are judged together with
//! what it names before they are published, are seen by that session alone, and never become part of the snapshot.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use arc_swap::ArcSwap;
use model::{SessionId, SnapshotDigest, TenantId};
use thiserror::Error;

use crate::combine::PolicySet;
use crate::combine_error::CombineError;
use crate::compile::PolicySource;
use crate::digest::digest_of;
use crate::problem::Problem;
use crate::rules::Rules;
use crate::selector::Subject;
use crate::session_documents::SessionDocuments;

/// How many bytes the documents of all live sessions may have, and how many rules. Of both, one tenant may use a half.
const MAX_BYTES: usize = 64 << 20;
const MAX_RULES: usize = 100_000;

/// The session that asks, and the digest of the documents that it brought.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    /// The session.
    pub session: &'a SessionId,
    /// What [`SessionDocuments::digest`] was when it brought them.
    pub digest: &'a SnapshotDigest,
}

/// Why a session's documents are refused after they compile.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PublishError {
    /// They contradict what the session names or what applies to it.
    #[error(transparent)]
    Combine(#[from] CombineError),
    /// The bound of all sessions, or the share of the tenant, is reached.
    #[error(
        "the policy documents of all live sessions, or of the tenant's, have reached their limit of bytes or rules"
    )]
    Full,
}

/// What judges every session.
#[derive(Debug)]
pub struct InForce {
    snapshot: ArcSwap<PolicySet>,
    namespaces: RwLock<HashMap<SessionId, Arc<Namespace>>>,
    /// Documents by the digest of their file names and texts, for as long as a session has them.
    compiled: Mutex<HashMap<SnapshotDigest, Weak<SessionDocuments>>>,
}

/// What one session brought.
#[derive(Debug)]
struct Namespace {
    tenant: TenantId,
    documents: Arc<SessionDocuments>,
    /// What the session is judged by, under the snapshot that it was made with.
    view: RwLock<Option<View>>,
}

#[derive(Clone, Debug)]
struct View {
    snapshot: Weak<PolicySet>,
    rules: Result<Arc<Rules>, CombineError>,
}

impl InForce {
    /// Puts a snapshot in force.
    pub fn new(snapshot: PolicySet) -> Self {
        Self { snapshot: ArcSwap::from_pointee(snapshot), namespaces: RwLock::default(), compiled: Mutex::default() }
    }

    /// The snapshot: what files make and every session can name.
    pub fn snapshot(&self) -> Arc<PolicySet> {
        self.snapshot.load_full()
    }

    /// Replaces the snapshot whole; what judges a session follows with its next question.
    pub fn replace(&self, snapshot: PolicySet) {
        self.snapshot.store(Arc::new(snapshot));
    }

    /// What judges this session now: the policies that it names, those that apply to it, the ceilings over it, and the
    /// documents that it brought. Made once for each snapshot and kept.
    ///
    /// # Errors
    /// [`CombineError`] where a policy is not there or not for this session, where its documents are not usable, or where
    /// two rules contradict each other.
    pub fn rules_for_session(&self, subject: &Subject<'_>, own: Option<Own<'_>>) -> Result<Arc<Rules>, CombineError> {
        let snapshot = self.snapshot.load();
        let Some(own) = own else { return snapshot.rules_for_session(subject) };
        let namespace = self.read().get(own.session).cloned().ok_or(CombineError::DocumentsUnavailable)?;
        if namespace.documents.digest() != own.digest {
            return Err(CombineError::DocumentsUnavailable);
        }
        namespace.view(&snapshot, subject)
    }

    /// Compiles the documents of a session, or finds them where another session brought the same.
    ///
    /// # Errors
    /// As [`SessionDocuments::compile`].
    pub fn compile(&self, sources: &[PolicySource]) -> Result<Arc<SessionDocuments>, Vec<Problem>> {
        // The names of files are part of it: explanations quote them, and they belong to the session.
        let key = digest_of(sources.iter().flat_map(|source| [source.name.as_str(), source.text.as_str()]));
        if let Some(known) = self.compiled().get(&key).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let documents = Arc::new(SessionDocuments::compile(sources)?);
        let mut compiled = self.compiled();
        compiled.retain(|_, known| known.strong_count() > 0);
        compiled.insert(key, Arc::downgrade(&documents));
        Ok(documents)
    }

    /// Publishes the documents of a session that is about to begin, once they are judged together with what the session
    /// names: nothing is in force before.
    ///
    /// # Errors
    /// [`PublishError`]; nothing has changed then.
    pub fn publish(
        &self,
        session: &SessionId,
        subject: &Subject<'_>,
        documents: Arc<SessionDocuments>,
    ) -> Result<(), PublishError> {
        let snapshot = self.snapshot();
        let rules = Arc::new(snapshot.rules_with(subject, &documents)?);
        let view = View { snapshot: Arc::downgrade(&snapshot), rules: Ok(rules) };
        let namespace = Namespace { tenant: subject.tenant.clone(), documents, view: RwLock::new(Some(view)) };
        let mut namespaces = self.write();
        if !has_room(&namespaces, &namespace) {
            return Err(PublishError::Full);
        }
        namespaces.insert(session.clone(), Arc::new(namespace));
        Ok(())
    }

    /// Publishes the documents that a live session brought before a restart. They are judged at the session's first
    /// question: what contradicts the files by now leaves that session without rules, and no other.
    pub fn restore(&self, session: &SessionId, tenant: &TenantId, documents: Arc<SessionDocuments>) {
        let namespace = Namespace { tenant: tenant.clone(), documents, view: RwLock::default() };
        self.write().insert(session.clone(), Arc::new(namespace));
    }

    /// Drops the documents of a session that is over.
    pub fn withdraw(&self, session: &SessionId) {
        self.write().remove(session);
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<SessionId, Arc<Namespace>>> {
        model::sync::read(&self.namespaces)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<SessionId, Arc<Namespace>>> {
        model::sync::write(&self.namespaces)
    }

    fn compiled(&self) -> MutexGuard<'_, HashMap<SnapshotDigest, Weak<SessionDocuments>>> {
        model::sync::lock(&self.compiled)
    }
}

impl Namespace {
    fn view(&self, snapshot: &Arc<PolicySet>, subject: &Subject<'_>) -> Result<Arc<Rules>, CombineError> {
        let kept = model::sync::read(&self.view).clone();
        // The weak reference keeps the address from being used again, so equal addresses are one snapshot.
        if let Some(view) = kept.filter(|view| std::ptr::eq(view.snapshot.as_ptr(), Arc::as_ptr(snapshot))) {
            return view.rules;
        }
        let rules = snapshot.rules_with(subject, &self.documents).map(Arc::new);
        let view = View { snapshot: Arc::downgrade(snapshot), rules: rules.clone() };
        *model::sync::write(&self.view) = Some(view);
        rules
    }
}

/// Whether the documents of all sessions, and those of the tenant, stay within their bounds with these.
fn has_room(namespaces: &HashMap<SessionId, Arc<Namespace>>, new: &Namespace) -> bool {
    let size = |namespace: &Namespace| (namespace.documents.bytes(), namespace.documents.rules());
    let sum = |(bytes, rules): (usize, usize), (more_bytes, more_rules)| (bytes + more_bytes, rules + more_rules);
    let all = namespaces.values().map(|namespace| size(namespace)).fold(size(new), sum);
    let of_tenant = namespaces.values().filter(|namespace| namespace.tenant == new.tenant);
    let own = of_tenant.map(|namespace| size(namespace)).fold(size(new), sum);
    all.0 <= MAX_BYTES && all.1 <= MAX_RULES && own.0 <= MAX_BYTES / 2 && own.1 <= MAX_RULES / 2
}
