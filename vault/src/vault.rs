//! The vault in memory: descriptions open, values sealed. Readers take a snapshot and never wait for a writer.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use model::{CredentialId, Destination, Scheme, TenantId, Timestamp};
use thiserror::Error;

use crate::credential::{CredentialError, CredentialShape, Kind, NewCredential, ValueError, check_name};
use crate::document;
use crate::envelope::{Envelope, NoRandom, random};
use crate::format::{self, FormatError, Header, Item, Label};
use crate::kek::{Kek, KeyError, KeySource, Stretch};
use crate::lease::{Lease, LeaseError};
use crate::secret::Secret;
use crate::store::{FileStore, Store, StoreError};

/// The number of a credential's value, 1 for the first.
pub type Version = u32;

/// The tenant of Egret's own values; no tenant can be named so.
const INTERNAL: &str = "egret:internal";
/// The longest of Egret's own values.
const MAX_INTERNAL_BYTES: usize = 64 * 1024;

/// Why the vault cannot do it.
#[derive(Debug, Error)]
pub enum VaultError {
    /// There is a vault already.
    #[error("there is a vault already")]
    Exists,
    /// There is no vault.
    #[error("there is no vault")]
    Missing,
    /// The file could not be read, written or trusted.
    #[error("the vault's file cannot be used")]
    Store(#[from] StoreError),
    /// The key source gives no key.
    #[error("the vault's key cannot be had")]
    Key(#[from] KeyError),
    /// Something else lies there.
    #[error("the file is no vault")]
    NotAVault,
    /// Written by another version of Egret.
    #[error("the vault has format version {0}, this Egret reads version 1")]
    Format(u16),
    /// The header asks for more or less than any vault of ours.
    #[error("the vault's key parameters are outside their bounds")]
    Parameters,
    /// The key is not the vault's; a damaged header looks the same.
    #[error("the key does not open the vault, or its header is damaged")]
    Unseal,
    /// Something in the file was changed, moved, cut off or added.
    #[error("the vault was damaged or changed by someone else")]
    Corrupt,
    /// The system gave no random bytes.
    #[error("no random bytes could be had")]
    Random,
    /// The value cannot be a credential of its kind.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// Something else about the credential is wrong.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The tenant has no such credential.
    #[error("there is no such credential")]
    Unknown,
    /// A value of Egret's own is too long.
    #[error("the value exceeds {MAX_INTERNAL_BYTES} bytes")]
    TooLarge,
}

impl VaultError {
    /// The stable code in records and messages.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Exists => "vault_exists",
            Self::Missing => "vault_missing",
            Self::Store(StoreError::Unsafe { .. }) => "vault_unsafe",
            Self::Store(StoreError::Io { .. } | StoreError::NotDurable { .. } | StoreError::TooLarge) => {
                "vault_write_failed"
            }
            Self::Key(_) => "vault_key_unavailable",
            Self::NotAVault | Self::Corrupt => "vault_corrupt",
            Self::Format(_) => "vault_version",
            Self::Parameters => "vault_params",
            Self::Unseal => "unseal_failed",
            Self::Random => "internal",
            Self::Value(_) => "vault_value_invalid",
            Self::Credential(_) => "credential_invalid",
            Self::Unknown => "credential_unknown",
            Self::TooLarge => "vault_value_invalid",
        }
    }
}

impl From<FormatError> for VaultError {
    fn from(error: FormatError) -> Self {
        match error {
            FormatError::Magic => Self::NotAVault,
            FormatError::Version(version) => Self::Format(version),
            FormatError::Parameters => Self::Parameters,
            FormatError::Unseal => Self::Unseal,
            FormatError::Corrupt => Self::Corrupt,
        }
    }
}

impl From<NoRandom> for VaultError {
    fn from(NoRandom: NoRandom) -> Self {
        Self::Random
    }
}

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

/// One generation of the vault.
#[derive(Clone, Default)]
struct State {
    generation: u64,
    credentials: BTreeMap<TenantId, BTreeMap<CredentialId, Arc<Entry>>>,
    internal: BTreeMap<CredentialId, Arc<Entry>>,
    /// The last version of what was removed since the vault was opened: a value put under the name of a removed one
    /// must not pass for it where a connection or a stream is known by name and version.
    retired: BTreeMap<(TenantId, CredentialId), Version>,
}

/// One item, with what of it is in use all the time.
struct Entry {
    item: Item,
    /// The context of the value's envelope.
    aad: Vec<u8>,
    /// `None` for Egret's own values.
    shape: Option<CredentialShape>,
}

/// What is known of a credential besides its value.
#[derive(Clone, Debug)]
pub struct CredentialSummary {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name.
    pub id: CredentialId,
    /// How it goes onto a request.
    pub kind: Kind,
    /// The hosts it may go to.
    pub audience: Vec<String>,
    /// The variable its placeholder is offered under.
    pub env: Option<String>,
    /// What its placeholders begin with.
    pub prefix: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// The number of its value.
    pub version: Version,
    /// When its first value was put.
    pub created: Timestamp,
    /// When its present value was put.
    pub updated: Timestamp,
    /// From when on it is no longer lent.
    pub expires: Option<Timestamp>,
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

impl State {
    fn find(&self, tenant: &TenantId, id: &CredentialId) -> Option<&Arc<Entry>> {
        self.credentials.get(tenant)?.get(id)
    }

    /// The version of what is or was there; 0 where nothing was.
    fn last_version(&self, tenant: &TenantId, id: &CredentialId) -> Version {
        let retired = || self.retired.get(&(tenant.clone(), id.clone())).copied();
        self.find(tenant, id).map(|entry| entry.item.label.version).or_else(retired).unwrap_or(0)
    }

    fn insert(&mut self, entry: Entry) {
        let label = &entry.item.label;
        let items = match &entry.shape {
            Some(_) => self.credentials.entry(label.tenant.clone()).or_default(),
            None => &mut self.internal,
        };
        items.insert(label.id.clone(), Arc::new(entry));
    }

    /// All entries in the order of the file.
    fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        let mut all: Vec<&Arc<Entry>> =
            self.credentials.values().flat_map(BTreeMap::values).chain(self.internal.values()).collect();
        all.sort_by(|a, b| {
            let key = |entry: &Arc<Entry>| (entry.item.label.tenant.clone(), entry.item.label.id.clone());
            key(a).cmp(&key(b))
        });
        all.into_iter()
    }
}

impl Entry {
    #[expect(clippy::disallowed_methods, reason = "the value is sealed")]
    fn sealed(
        label: Label,
        description: &[u8],
        shape: Option<CredentialShape>,
        value: &Secret,
        kek: &Kek,
    ) -> Result<Self, NoRandom> {
        let aad = label.value_aad(description);
        let value = Envelope::seal(kek, &aad, value.expose_secret())?;
        let description = Envelope::seal(kek, &label.description_aad(), description)?;
        Ok(Self { item: Item { label, description, value }, aad, shape })
    }

    /// Opens the description, not the value.
    #[expect(clippy::disallowed_methods, reason = "a description is sealed like a value, but may be known")]
    fn opened(item: Item, kek: &Kek) -> Option<Self> {
        let description = item.description.open(kek, &item.label.description_aad()).ok()?;
        let description = description.expose_secret();
        let aad = item.label.value_aad(description);
        let shape = match item.label.tenant.as_str() {
            INTERNAL => None,
            _ => {
                let shape = document::read(description, item.label.version, item.label.expires)?;
                Some(CredentialShape::new(shape))
            }
        };
        Some(Self { item, aad, shape })
    }

    fn summary(&self) -> Option<CredentialSummary> {
        let shape = self.shape.as_ref()?;
        let label = &self.item.label;
        Some(CredentialSummary {
            tenant: label.tenant.clone(),
            id: label.id.clone(),
            kind: shape.kind().clone(),
            audience: shape.audience().patterns(),
            env: shape.env().map(str::to_owned),
            prefix: shape.prefix().map(str::to_owned),
            description: shape.description().map(str::to_owned),
            version: label.version,
            created: label.created,
            updated: label.updated,
            expires: label.expires,
        })
    }
}

/// As dates are written: what is in memory is what a reopened vault shows.
fn whole_micros(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

#[cfg(test)]
mod tests;
