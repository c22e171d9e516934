//! The vault: what others call. Readers take a snapshot and never wait for a writer; writers go to disk first.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use model::{CredentialId, Destination, Scheme, TenantId, Timestamp};

use crate::credential::{CredentialError, CredentialShape, NewCredential, check_name};
use crate::document;
use crate::envelope::random;
use crate::error::{MAX_INTERNAL_BYTES, VaultError};
use crate::format::{self, Header, Item, Label};
use crate::kek::{Kek, KeySource, Stretch};
use crate::lease::{Lease, LeaseError};
use crate::secret::Secret;
use crate::state::{CredentialSummary, Entry, INTERNAL, State};
use crate::store::{FileStore, Store, StoreError};

/// The number of a credential's value, 1 for the first.
pub type Version = u32;

/// An open vault.
pub struct Vault {
    store: Box<dyn Store>,
    kek: Kek,
    stretch: Stretch,
    salt: [u8; 32],
    state: ArcSwap<State>,
    /// Held while a change is written, never while a value is read.
    writing: Mutex<()>,
    reads: AtomicU64,
}

/// What a vault is locked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A key file.
    File,
    /// A passphrase.
    Passphrase,
}

/// The state of an open vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultStatus {
    /// How many times it was written.
    pub generation: u64,
    /// How many credentials it holds, of all tenants.
    pub credentials: usize,
    /// What it is locked with.
    pub key: KeyKind,
}

impl Vault {
    /// Makes an empty vault in a file that is not there yet.
    ///
    /// # Errors
    /// [`VaultError::Exists`], [`VaultError::Key`], [`VaultError::Store`].
    pub fn create(path: &Path, source: &dyn KeySource) -> Result<Self, VaultError> {
        Self::create_in(Box::new(FileStore::new(path)), source)
    }

    /// Opens the vault in a file; every byte of it is verified.
    ///
    /// # Errors
    /// [`VaultError::Missing`], [`VaultError::Unseal`] for a wrong key, [`VaultError::Corrupt`] for a changed file,
    /// and those of the file and the key source.
    pub fn open(path: &Path, source: &dyn KeySource) -> Result<Self, VaultError> {
        Self::open_in(Box::new(FileStore::new(path)), source)
    }

    /// Whether something lies where a vault would.
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
        let (stretch, salt) = (source.stretch(), random()?);
        let kek = source.kek(&stretch, &salt)?;
        let vault = Self::assemble(store, kek, Header { stretch, salt, generation: 0 }, State::default());
        vault.change(|_| Ok(()))?;
        Ok(vault)
    }

    /// As [`Vault::open`], in any store.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn open_in(store: Box<dyn Store>, source: &dyn KeySource) -> Result<Self, VaultError> {
        let bytes = store.read()?.ok_or(VaultError::Missing)?;
        let header = format::read_header(&bytes)?;
        let kek = source.kek(&header.stretch, &header.salt)?;
        let mut state = State { generation: header.generation, ..State::default() };
        for item in format::read(&bytes, &header, &kek)? {
            state.insert(Entry::opened(item, &kek).ok_or(VaultError::Corrupt)?);
        }
        Ok(Self::assemble(store, kek, header, state))
    }

    /// Puts a credential, or a new version of it, and gives the version.
    ///
    /// # Errors
    /// [`VaultError::Value`] or [`VaultError::Credential`] where it is refused, [`VaultError::Store`] where it could
    /// not be written.
    pub fn put(&self, new: NewCredential, value: Secret, now: Timestamp) -> Result<Version, VaultError> {
        new.kind.check_value(&value)?;
        if new.expires.is_some_and(|end| end <= now) {
            return Err(CredentialError::Expired.into());
        }
        self.change(|state| {
            let before = state.find(&new.tenant, &new.id).map(|entry| entry.item.label.clone());
            let version = state.last_version(&new.tenant, &new.id).saturating_add(1);
            let shape = new.shape(version)?;
            let label = Label {
                tenant: new.tenant,
                id: new.id,
                version,
                created: before.map_or(whole_micros(now), |label| label.created),
                updated: whole_micros(now),
                expires: new.expires.map(whole_micros),
            };
            let description = document::write(&shape);
            state.insert(Entry::sealed(label, &description, Some(CredentialShape::new(shape)), &value, &self.kek)?);
            Ok(version)
        })
    }

    /// The tenant's credentials, by name.
    pub fn list(&self, tenant: &TenantId) -> Vec<CredentialSummary> {
        let state = self.state.load();
        state.credentials.get(tenant).into_iter().flatten().filter_map(|(_, entry)| entry.summary()).collect()
    }

    /// One credential of the tenant.
    pub fn show(&self, tenant: &TenantId, id: &CredentialId) -> Option<CredentialSummary> {
        self.state.load().find(tenant, id)?.summary()
    }

    /// Removes a credential; what was lent before ends with its exchange.
    ///
    /// # Errors
    /// [`VaultError::Unknown`], [`VaultError::Store`].
    pub fn remove(&self, tenant: &TenantId, id: &CredentialId) -> Result<(), VaultError> {
        self.change(|state| {
            let credentials = state.credentials.get_mut(tenant).ok_or(VaultError::Unknown)?;
            let removed = credentials.remove(id).ok_or(VaultError::Unknown)?;
            if credentials.is_empty() {
                state.credentials.remove(tenant);
            }
            state.retired.insert((tenant.clone(), id.clone()), removed.item.label.version);
            Ok(())
        })
    }

    /// How the vault stands.
    pub fn status(&self) -> VaultStatus {
        let state = self.state.load();
        VaultStatus {
            generation: state.generation,
            credentials: state.credentials.values().map(BTreeMap::len).sum(),
            key: match self.stretch {
                Stretch::KeyFile => KeyKind::File,
                Stretch::Argon2id { .. } => KeyKind::Passphrase,
            },
        }
    }

    /// How many times the vault was written; changes with every change.
    pub fn generation(&self) -> u64 {
        self.state.load().generation
    }

    /// How many times a value was opened since the vault was.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Kind, audience and names of a credential; opens nothing.
    pub fn slot(&self, tenant: &TenantId, id: &CredentialId) -> Option<CredentialShape> {
        self.state.load().find(tenant, id)?.shape.clone()
    }

    /// Lends a credential for one exchange with this destination. Whatever speaks against it is judged before the
    /// value is opened.
    ///
    /// # Errors
    /// [`LeaseError`] names what speaks against it.
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
        if shape.expires().is_some() && shape.is_expired(Timestamp::now()) {
            return Err(LeaseError::Expired);
        }
        let value = self.open_value(entry).ok_or(LeaseError::Corrupt)?;
        Ok(Lease::new(entry.item.label.id.clone(), shape.clone(), value))
    }

    /// Seals a value of Egret's own, such as the key of the CA, in the place of one of the same name.
    ///
    /// # Errors
    /// [`VaultError::Credential`] for the name, [`VaultError::TooLarge`], [`VaultError::Store`].
    pub fn seal_internal(&self, name: &str, value: &Secret) -> Result<(), VaultError> {
        check_name(name)?;
        if value.len() > MAX_INTERNAL_BYTES {
            return Err(VaultError::TooLarge);
        }
        let now = whole_micros(Timestamp::now());
        self.change(|state| {
            let id = CredentialId::new(name);
            let before = state.internal.get(&id).map(|entry| entry.item.label.clone());
            let label = Label {
                tenant: INTERNAL.into(),
                version: before.as_ref().map_or(1, |label| label.version.saturating_add(1)),
                created: before.map_or(now, |label| label.created),
                updated: now,
                expires: None,
                id,
            };
            state.insert(Entry::sealed(label, b"", None, value, &self.kek)?);
            Ok(())
        })
    }

    /// Opens a value of Egret's own; `None` where there is none of this name.
    ///
    /// # Errors
    /// [`VaultError::Corrupt`] where it does not open.
    pub fn open_internal(&self, name: &str) -> Result<Option<Secret>, VaultError> {
        let state = self.state.load();
        let Some(entry) = state.internal.get(name) else { return Ok(None) };
        self.open_value(entry).map(Some).ok_or(VaultError::Corrupt)
    }

    fn assemble(store: Box<dyn Store>, kek: Kek, header: Header, state: State) -> Self {
        Self {
            store,
            kek,
            stretch: header.stretch,
            salt: header.salt,
            state: ArcSwap::from_pointee(state),
            writing: Mutex::new(()),
            reads: AtomicU64::new(0),
        }
    }

    /// The one place where a value is opened, so that the count of readings is true.
    fn open_value(&self, entry: &Entry) -> Option<Secret> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        entry.item.value.open(&self.kek, &entry.aad).ok()
    }

    /// Makes the next generation, on disk first; nothing changes where that fails.
    fn change<T>(&self, edit: impl FnOnce(&mut State) -> Result<T, VaultError>) -> Result<T, VaultError> {
        // The lock guards nothing but the order of writers; one that panicked left nothing half done.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = State::clone(&self.state.load());
        let done = edit(&mut next)?;
        next.generation += 1;
        let header = Header { stretch: self.stretch, salt: self.salt, generation: next.generation };
        let items: Vec<&Item> = next.entries().map(|entry| &entry.item).collect();
        match self.store.replace(&format::write(&header, items.into_iter(), &self.kek)) {
            Ok(()) => {
                self.state.store(Arc::new(next));
                Ok(done)
            }
            // The file shows the new generation, so memory does too; the caller still learns that it may not last.
            Err(error @ StoreError::NotDurable { .. }) => {
                self.state.store(Arc::new(next));
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({:?})", self.status())
    }
}

/// As dates are written: what is in memory is what a reopened vault shows.
fn whole_micros(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

#[cfg(test)]
mod tests;
