//! The vault's interface for its callers. Readers use a snapshot and never wait for a writer; writers write to disk
//! first.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::ArcSwap;
use model::{CredentialId, Destination, Host, Scheme, TenantId, Timestamp};

use crate::credential::{CredentialError, CredentialShape, MAX_VERSIONS, NewCredential, Shape, check_name};
use crate::document;
use crate::error::{MAX_INTERNAL_BYTES, VaultError};
use crate::format;
use crate::kek::{KeyDerivation, KeySource};
use crate::lease::{Lease, LeaseError};
use crate::search;
use crate::state::{CredentialSummary, Draft, Entry, INTERNAL, State, VaultLock, Version, summary};
use crate::store::{FileStore, Store, StoreError, Stored};
use secret::random;
use secret::{Secret, SecretForms};

/// An open vault.
pub struct Vault {
    store: Box<dyn Store>,
    state: ArcSwap<State>,
    /// The newest generation that is visible to readers. Never older than that of `state`.
    newest: AtomicU64,
    /// The content of the store, as last read or written by this vault, and so expected next. Locked while a change is
    /// written, never while a value is read.
    stored: Mutex<Stored>,
    reads: AtomicU64,
    /// Keys that were replaced automatically, until a caller records it.
    replaced: Mutex<Vec<(TenantId, u32)>>,
    /// A value of Egret's own that every change also seals.
    along: OnceLock<Along>,
}

/// The name of a value of Egret's own, and its source at each change.
struct Along {
    name: &'static str,
    value: Box<dyn Fn() -> Option<Secret> + Send + Sync>,
}

/// The state of an open vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultStatus {
    /// How many times it was written.
    pub generation: u64,
    /// How many credentials it holds, of all tenants.
    pub credentials: usize,
    /// Its lock.
    pub lock: KeyDerivation,
}

/// The values of one host, of one generation of the vault.
pub struct HostValues {
    /// The generation, for [`Vault::is_at`].
    pub generation: u64,
    /// Each value in its forms.
    pub values: Vec<Arc<SecretForms>>,
    /// When the grace time of an older version is over, so that the set shrinks.
    pub valid_until: Option<Timestamp>,
}

impl Vault {
    /// Creates an empty vault in a file that does not exist yet.
    ///
    /// # Errors
    /// [`VaultError::Exists`], [`VaultError::Key`], [`VaultError::Store`].
    pub fn create(path: &Path, source: &dyn KeySource) -> Result<Self, VaultError> {
        Self::create_in(Box::new(FileStore::new(path)), source)
    }

    /// Opens the vault in a file; every byte of it is verified.
    ///
    /// # Errors
    /// [`VaultError::Missing`], [`VaultError::Unseal`] for a wrong key, [`VaultError::Corrupt`] for a changed file, and
    /// those of the file and the key source.
    pub fn open(path: &Path, source: &dyn KeySource) -> Result<Self, VaultError> {
        Self::open_in(Box::new(FileStore::new(path)), source)
    }

    /// Whether a file exists at the vault's path.
    pub fn exists(path: &Path) -> bool {
        path.symlink_metadata().is_ok()
    }

    /// As [`Vault::create`], in any store.
    ///
    /// # Errors
    /// As [`Vault::create`].
    pub fn create_in(store: Box<dyn Store>, source: &dyn KeySource) -> Result<Self, VaultError> {
        if store.read()?.is_some() {
            return Err(VaultError::Exists);
        }
        let vault = Self::assemble(store, Stored::Nothing, State::new(lock(source)?));
        vault.change(|_| Ok(()))?;
        Ok(vault)
    }

    /// As [`Vault::open`], in any store.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn open_in(store: Box<dyn Store>, source: &dyn KeySource) -> Result<Self, VaultError> {
        let bytes = store.read()?.ok_or(VaultError::Missing)?;
        Ok(Self::assemble(store, Stored::of(Some(&bytes)), open_bytes(&bytes, source)?))
    }

    /// Puts a credential, or a new version of it, and returns the version.
    ///
    /// # Errors
    /// [`VaultError::Value`] or [`VaultError::Credential`] if it is refused, [`VaultError::Store`] if it could not be
    /// written.
    pub fn put(&self, new: NewCredential, value: Secret, now: Timestamp) -> Result<Version, VaultError> {
        let versions = self.put_all(vec![(new, value)], now)?;
        versions.first().copied().ok_or(VaultError::Unknown)
    }

    /// Puts all of these, or none of them; returns the versions, in the same order.
    ///
    /// # Errors
    /// As [`Vault::put`], for the first that is refused.
    pub fn put_all(&self, all: Vec<(NewCredential, Secret)>, now: Timestamp) -> Result<Vec<Version>, VaultError> {
        let now = whole_micros(now);
        check_all(&all, now)?;
        self.change(|state| put_each(state, all, now))
    }

    /// The versions that [`Vault::put_all`] would return now; puts none.
    ///
    /// # Errors
    /// As [`Vault::put_all`], except those of writing.
    pub fn versions_if_put(
        &self,
        all: Vec<(NewCredential, Secret)>,
        now: Timestamp,
    ) -> Result<Vec<Version>, VaultError> {
        let now = whole_micros(now);
        check_all(&all, now)?;
        put_each(&mut State::clone(&self.state.load()), all, now)
    }

    /// The tenant's credentials, by name.
    pub fn list(&self, tenant: &TenantId) -> Vec<CredentialSummary> {
        self.state.load().credentials(tenant).filter_map(summary).collect()
    }

    /// One credential of the tenant.
    pub fn show(&self, tenant: &TenantId, id: &CredentialId) -> Option<CredentialSummary> {
        summary(self.state.load().versions(tenant, id))
    }

    /// Removes a credential with all its versions. Its hosts may still echo them, so they stay masked for [`crate::DEFAULT_GRACE`].
    ///
    /// # Errors
    /// [`VaultError::Unknown`], [`VaultError::Store`].
    pub fn remove(&self, tenant: &TenantId, id: &CredentialId) -> Result<(), VaultError> {
        self.change(|state| state.remove(tenant, id, None, whole_micros(clock::now())))
    }

    /// Removes one version before its grace time is over; removing the one in use removes the whole credential. Masked as
    /// in [`Vault::remove`].
    ///
    /// # Errors
    /// [`VaultError::Unknown`], [`VaultError::Store`].
    pub fn revoke(&self, tenant: &TenantId, id: &CredentialId, version: Version) -> Result<(), VaultError> {
        self.change(|state| state.remove(tenant, id, Some(version), whole_micros(clock::now())))
    }

    /// Gives a tenant a new key and reseals all its items; returns the key's number. Readers continue in the meantime.
    ///
    /// # Errors
    /// [`VaultError::Unknown`] for a tenant without items, [`VaultError::Corrupt`], [`VaultError::Store`].
    pub fn rotate(&self, tenant: &TenantId) -> Result<u32, VaultError> {
        let now = whole_micros(Timestamp::now());
        self.change(|state| state.rotate(tenant, now))
    }

    /// The tenants that have a key of their own, including Egret's own values, and the number of each key.
    pub fn keys(&self) -> Vec<(TenantId, u32)> {
        let state = self.state.load();
        state
            .tenants()
            .into_iter()
            .filter_map(|tenant| Some((state.key_id(&tenant)?, tenant)))
            .map(|(id, tenant)| (tenant, id))
            .collect()
    }

    /// The keys that were replaced because they had sealed enough, with their new numbers, since the last call.
    pub fn take_replaced_keys(&self) -> Vec<(TenantId, u32)> {
        std::mem::take(&mut *model::sync::lock(&self.replaced))
    }

    /// Whether a file that a crash had left next to the vault was removed when it was opened.
    pub fn is_recovered(&self) -> bool {
        self.store.has_recovered()
    }

    /// Changes the lock of the vault: every tenant's key is rewrapped, no secret is resealed.
    ///
    /// # Errors
    /// [`VaultError::Key`], [`VaultError::Store`].
    pub fn rekey(&self, source: &dyn KeySource) -> Result<(), VaultError> {
        let lock = lock(source)?;
        self.change(|state| state.rekey(lock))
    }

    /// The file as it would be written now: one whole generation, sealed.
    pub fn backup(&self) -> Vec<u8> {
        encode(&self.state.load())
    }

    /// Replaces the vault's content with a backup, as a new generation; returns the generation. Values that the backup lacks are
    /// masked as removed ones.
    ///
    /// # Errors
    /// [`VaultError::OtherLock`] if the lock of the backup differs from the vault's, those of [`Vault::open`], and
    /// [`VaultError::Store`].
    pub fn restore(&self, backup: &[u8]) -> Result<u64, VaultError> {
        let header = format::read_header(backup)?;
        self.change(|state| {
            let lock = &state.lock;
            if (&header.recipe, &header.salt) != (&lock.recipe, &lock.salt) {
                return Err(VaultError::OtherLock);
            }
            let content = format::read(backup, &header, &lock.kek)?;
            let lock = VaultLock { kek: lock.kek.copy(), recipe: lock.recipe.clone(), salt: lock.salt };
            let restored = State::opened(lock, &header, content).ok_or(VaultError::Corrupt)?;
            *state = restored.after(state, whole_micros(clock::now()))?;
            Ok(state.generation)
        })
    }

    /// Puts a backup at the path of a vault, with a generation after `generation` and after that of an existing file.
    ///
    /// # Errors
    /// Those of [`Vault::open`] for the backup, and [`VaultError::Store`].
    pub fn restore_to(path: &Path, source: &dyn KeySource, backup: &[u8], generation: u64) -> Result<Self, VaultError> {
        let store = FileStore::new(path);
        let held = store.read()?;
        let stored = Stored::of(held.as_deref());
        let mut state = open_bytes(backup, source)?;
        // Values that are lost with it must still be masked. Under another lock, only its generation is known.
        if let Some(held) = held.as_deref().and_then(|held| open_bytes(held, source).ok()) {
            state = state.after(&held, whole_micros(clock::now()))?;
        }
        let written = match stored {
            Stored::Nothing | Stored::Unreadable { .. } => 0,
            Stored::Generation { number, .. } => number,
        };
        state.generation = state.generation.max(generation).max(written);
        let vault = Self::assemble(Box::new(store), stored, state);
        vault.change(|_| Ok(()))?;
        Ok(vault)
    }

    /// The status of the vault.
    pub fn status(&self) -> VaultStatus {
        let state = self.state.load();
        VaultStatus { generation: state.generation, credentials: state.count(), lock: state.lock.recipe.clone() }
    }

    /// How many times the vault was written; changes with every change.
    pub fn generation(&self) -> u64 {
        self.state.load().generation
    }

    /// Whether no change was written since this generation. One atomic load, because each piece of a response asks for
    /// it.
    pub fn is_at(&self, generation: u64) -> bool {
        self.newest.load(Ordering::Acquire) == generation
    }

    /// How many times a value was opened since the vault was opened.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Kind, audience and names of a credential; opens no value.
    pub fn shape(&self, tenant: &TenantId, id: &CredentialId) -> Option<CredentialShape> {
        self.state.load().find(tenant, id)?.shape.clone()
    }

    /// Whether credentials issued from this version must not be used any more.
    pub fn is_revoked(&self, tenant: &TenantId, id: &CredentialId, version: Version) -> bool {
        self.state.load().is_revoked(tenant, id, version)
    }

    /// Issues a credential for one exchange with this destination. All objections are checked before the value is
    /// opened.
    ///
    /// # Errors
    /// [`LeaseError`] names the objection.
    pub fn lease(&self, tenant: &TenantId, id: &CredentialId, destination: &Destination) -> Result<Lease, LeaseError> {
        let state = self.state.load();
        let entry = state.find(tenant, id).ok_or(LeaseError::Unknown)?;
        let shape = entry.shape.as_ref().ok_or(LeaseError::Unknown)?;
        if destination.scheme() != Scheme::Https {
            return Err(LeaseError::Plaintext);
        }
        if !shape.covers(destination) {
            return Err(LeaseError::Audience);
        }
        let versions = state.versions(tenant, id);
        if shape.expires().is_some() && shape.is_expired(clock::now()) {
            return Err(LeaseError::Expired);
        }
        let value = self.open_value(entry).ok_or(LeaseError::Corrupt)?;
        // An older Egret may have accepted a value that this one refuses: never truncated, never sent.
        shape.kinds().try_for_each(|kind| kind.check_value(&value)).map_err(|_| LeaseError::Invalid)?;
        let mut lease = Lease::new(entry.item.label.id.clone(), shape.clone(), value);
        if versions.len() > 1 {
            self.add_superseded(versions, &mut lease)?;
        }
        Ok(lease)
    }

    /// Which of these texts contain a value of the tenant, plain or encoded, of any version that is not yet removed. A value
    /// that does not open is skipped.
    pub fn holding_a_value(&self, tenant: &TenantId, texts: &[impl AsRef<[u8]>]) -> Vec<bool> {
        let state = self.state.load();
        let mut holding = vec![false; texts.len()];
        for entry in state.credentials(tenant).flatten() {
            let Some((shape, value)) = entry.shape.as_ref().zip(self.open_value(entry)) else { continue };
            let needles: Vec<_> = shape
                .kinds()
                .flat_map(|kind| kind.patterns(&value))
                .map(|pattern| search::Needles::of(&pattern))
                .collect();
            for (held, text) in holding.iter_mut().zip(texts) {
                *held = *held || needles.iter().any(|needles| needles.are_in(text.as_ref()));
            }
        }
        holding
    }

    /// The values to mask in responses of a host: those of every credential whose audience names it, including older versions
    /// within their grace time. Each value is opened once, and stays in the arena.
    ///
    /// # Errors
    /// [`LeaseError::Corrupt`] if a value does not open: it could then come back undetected.
    pub fn values_at(&self, host: &Host) -> Result<HostValues, LeaseError> {
        let state = self.state.load();
        let entries = state.known_to(host, clock::now());
        let valid_until = entries.iter().filter_map(|entry| entry.item.superseded).min();
        let values: Option<Vec<_>> = entries.iter().map(|entry| entry.forms(|entry| self.open_value(entry))).collect();
        Ok(HostValues { generation: state.generation, values: values.ok_or(LeaseError::Corrupt)?, valid_until })
    }

    /// Seals a value of Egret's own, such as the key of the CA, and replaces one of the same name.
    ///
    /// # Errors
    /// [`VaultError::Credential`] for the name, [`VaultError::TooLarge`], [`VaultError::Store`].
    pub fn seal_internal(&self, name: &str, value: &Secret) -> Result<(), VaultError> {
        check_name(name)?;
        if value.len() > MAX_INTERNAL_BYTES {
            return Err(VaultError::TooLarge);
        }
        self.change(|state| put_internal(state, name, value))
    }

    /// From now on every change also seals this value of Egret's own, under `name`; without a new one, the previous one
    /// stays. Only the first call has an effect.
    pub fn seal_along(&self, name: &'static str, value: impl Fn() -> Option<Secret> + Send + Sync + 'static) {
        self.along.get_or_init(|| Along { name, value: Box::new(value) });
    }

    /// Opens a value of Egret's own; `None` if there is none of this name.
    ///
    /// # Errors
    /// [`VaultError::Corrupt`] if it does not open.
    pub fn open_internal(&self, name: &str) -> Result<Option<Secret>, VaultError> {
        let state = self.state.load();
        let Some(entry) = state.internal(name) else { return Ok(None) };
        self.open_value(entry).map(Some).ok_or(VaultError::Corrupt)
    }

    fn assemble(store: Box<dyn Store>, stored: Stored, state: State) -> Self {
        Self {
            store,
            newest: AtomicU64::new(state.generation),
            state: ArcSwap::from_pointee(state),
            stored: Mutex::new(stored),
            reads: AtomicU64::default(),
            replaced: Mutex::default(),
            along: OnceLock::new(),
        }
    }

    /// An upstream may still echo a value that it was sent a moment ago.
    fn add_superseded(&self, versions: &[Arc<Entry>], lease: &mut Lease) -> Result<(), LeaseError> {
        let is_recent = |entry: &&Arc<Entry>| entry.item.superseded.is_some_and(|until| until > clock::now());
        for entry in versions.iter().filter(is_recent) {
            if let Some(shape) = &entry.shape {
                lease.also_redact(shape.clone(), self.open_value(entry).ok_or(LeaseError::Corrupt)?);
            }
        }
        Ok(())
    }

    /// The only function that opens a value, so that the count of readings is correct.
    fn open_value(&self, entry: &Entry) -> Option<Secret> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        entry.value().ok()
    }

    /// Creates the next generation, on disk first; if that fails, the state does not change.
    ///
    /// A conflict is reported and not retried. A retry would have to adopt another process's write without the check at a
    /// start (is it an old copy?). The edit was also made for this vault's content only.
    fn change<T>(&self, edit: impl FnOnce(&mut State) -> Result<T, VaultError>) -> Result<T, VaultError> {
        // A panic left no partial change: the store is written last.
        let mut stored = model::sync::lock(&self.stored);
        let mut next = State::clone(&self.state.load());
        next.generation += 1;
        next.replaced.clear();
        next.forget_removed(clock::now());
        let done = edit(&mut next)?;
        if let Some(along) = self.along.get()
            && let Some(value) = (along.value)()
        {
            put_internal(&mut next, along.name, &value)?;
        }
        let bytes = encode(&next);
        let replaced = self.store.replace(*stored, &bytes);
        // If only the last sync failed, the file shows the new generation, so memory does too; the caller still gets the error
        // that it may be lost.
        if matches!(replaced, Ok(()) | Err(StoreError::NotDurable { .. })) {
            *stored = Stored::of(Some(&bytes));
            self.show_generation(next);
        }
        replaced.map(|()| done).map_err(VaultError::from)
    }

    /// Makes a generation that is on disk visible to readers.
    fn show_generation(&self, next: State) {
        model::sync::lock(&self.replaced).extend_from_slice(&next.replaced);
        // First: a reader of a response must not miss a value that another request can already be sent with.
        self.newest.store(next.generation, Ordering::Release);
        self.state.store(Arc::new(next));
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({:?})", self.status())
    }
}

/// Seals a value of Egret's own and replaces one of the same name.
fn put_internal(state: &mut State, name: &str, value: &Secret) -> Result<(), VaultError> {
    let now = whole_micros(Timestamp::now());
    let tenant = TenantId::from(INTERNAL);
    let before = state.internal(name).map(|entry| entry.item.label.clone());
    let version = before.as_ref().map_or(1, |label| label.version.saturating_add(1));
    let created = before.map_or(now, |label| label.created);
    let key = state.key(&tenant, now)?;
    let label = Draft::label(tenant, CredentialId::new(name), version, &key, [created, now], None);
    state.put(Draft { label, description: b"", shape: None }, value, None)
}

fn check_all(all: &[(NewCredential, Secret)], now: Timestamp) -> Result<(), VaultError> {
    all.iter().try_for_each(|(new, value)| new.check(value, now))
}

fn put_each(state: &mut State, all: Vec<(NewCredential, Secret)>, now: Timestamp) -> Result<Vec<Version>, VaultError> {
    state.forget_superseded(now);
    all.into_iter().map(|(new, value)| put_one(state, new, &value, now)).collect()
}

fn put_one(state: &mut State, new: NewCredential, value: &Secret, now: Timestamp) -> Result<Version, VaultError> {
    if state.versions(&new.tenant, &new.id).len() >= MAX_VERSIONS {
        return Err(CredentialError::Versions.into());
    }
    let created = state.find(&new.tenant, &new.id).map_or(now, |entry| entry.item.label.created);
    let version = state.last_version(&new.tenant, &new.id).saturating_add(1);
    let key = state.key(&new.tenant, now)?;
    let mut spec = new.spec;
    spec.expires = spec.expires.map(whole_micros);
    let label = Draft::label(new.tenant, new.id, version, &key, [created, now], spec.expires);
    let shape = Shape { spec, fingerprint: key.fingerprint(value), version };
    let description = document::write(&shape);
    let draft = Draft { label, description: &description, shape: Some(CredentialShape::new(shape)) };
    let until = now.checked_add(new.grace).map_err(|_| CredentialError::Grace)?;
    state.put(draft, value, Some(until))?;
    Ok(version)
}

/// The new lock of a vault under this source, with a fresh salt.
fn lock(source: &dyn KeySource) -> Result<VaultLock, VaultError> {
    let (recipe, salt) = (source.recipe()?, random()?);
    Ok(VaultLock { kek: source.kek(&recipe, &salt)?, recipe, salt })
}

fn open_bytes(bytes: &[u8], source: &dyn KeySource) -> Result<State, VaultError> {
    let header = format::read_header(bytes)?;
    let kek = source.kek(&header.recipe, &header.salt)?;
    let content = format::read(bytes, &header, &kek)?;
    let lock = VaultLock { kek, recipe: header.recipe.clone(), salt: header.salt };
    State::opened(lock, &header, content).ok_or(VaultError::Corrupt)
}

fn encode(state: &State) -> Vec<u8> {
    let (header, content) = state.file();
    format::write(&header, &content, &state.lock.kek)
}

/// Rounded like written dates: memory shows the same dates as a reopened vault.
fn whole_micros(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

#[cfg(test)]
mod tests;
