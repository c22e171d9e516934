//! One generation of the vault in memory: keys and descriptions open, values sealed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use model::{CredentialId, Host, TenantId, Timestamp};
use zeroize::Zeroizing;

use crate::credential::{CredentialShape, CredentialSpec, DEFAULT_GRACE};
use crate::document;
use crate::envelope::{Envelope, OpenError};
use crate::error::VaultError;
use crate::format::{Content, Header, Item, KeyLabel, Label, WrappedKey};
use crate::forms;
use crate::kek::{Kek, KeyDerivation, SALT_BYTES};
use crate::key::Key;
use secret::RngUnavailable;
use secret::Secret;
use secret::{NeedleOwner, SecretForms};

/// The number of a credential's value, 1 for the first.
pub type Version = u32;

/// The tenant of Egret's own values; no tenant can have this name.
pub(crate) const INTERNAL: &str = "egret:internal";

/// The number of sealings after which a tenant's key is replaced before its next sealing. Every sealing has its own
/// data key, so this is far below the limit of GCM; it bounds the data that one key ever protects.
pub(crate) const ROTATE_AT: u64 = 1 << 20;
/// The number of sealings after which a key seals no more: nine tenths of the limit of random nonces for one GCM key
/// (NIST SP 800-38D).
pub(crate) const REFUSE_AT: u64 = (1 << 32) / 10 * 9;

/// The most removed values of a tenant; beyond that, the values that end first are removed.
const MAX_REMOVED: usize = 16_384;

/// The purpose of an envelope's fingerprint; changes with the construction.
const FINGERPRINT_LABEL: &[u8] = b"egret vault 2 fingerprint";

/// The lock of the vault; rekeying replaces it.
pub(crate) struct VaultLock {
    pub(crate) kek: Kek,
    pub(crate) recipe: KeyDerivation,
    pub(crate) salt: [u8; SALT_BYTES],
}

/// One generation of the vault.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) lock: Arc<VaultLock>,
    pub(crate) generation: u64,
    /// How many keys the KEK has wrapped.
    pub(crate) wrappings: u64,
    tenants: BTreeMap<TenantId, Arc<Tenant>>,
    /// The last versions of credentials removed since the vault was opened. A connection or a stream is identified by
    /// name and version, so a new value under the name of a removed one must not match.
    pub(crate) retired: BTreeMap<(TenantId, CredentialId), Version>,
    /// Keys that were replaced in this generation because they had sealed enough, with their new numbers.
    pub(crate) replaced: Vec<(TenantId, u32)>,
    /// Versions that were removed since the vault was opened, while their credential stayed.
    revoked: BTreeSet<(TenantId, CredentialId, Version)>,
}

/// The state of one tenant.
#[derive(Clone)]
struct Tenant {
    key: Arc<TenantKey>,
    sealings: u64,
    /// The versions of each credential, the one in use last.
    credentials: BTreeMap<CredentialId, Vec<Arc<Entry>>>,
    /// Values removed recently. Their hosts may still echo them, so they are masked until their grace time is over. For all
    /// other purposes they do not exist.
    removed: Vec<Arc<Entry>>,
}

/// A tenant's key, in use and at rest.
pub(crate) struct TenantKey {
    label: KeyLabel,
    key: Key,
    wrapped: Envelope,
}

/// One item, with its parts that are always in use.
pub(crate) struct Entry {
    pub(crate) item: Item,
    /// The context of the value's envelope.
    aad: Vec<u8>,
    key: Arc<TenantKey>,
    /// `None` for Egret's own values.
    pub(crate) shape: Option<CredentialShape>,
    /// The forms searched in responses, from the first response on.
    opened: OnceLock<Arc<SecretForms>>,
}

/// The public properties of a credential, without its value.
#[derive(Clone, Debug)]
pub struct CredentialSummary {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its name.
    pub id: CredentialId,
    /// Its properties.
    pub spec: CredentialSpec,
    /// The number of its value.
    pub version: Version,
    /// When its first value was put.
    pub created: Timestamp,
    /// When its current value was put.
    pub updated: Timestamp,
    /// Its versions, the oldest first and the one in use last.
    pub versions: Vec<VersionSummary>,
}

/// The public properties of one version of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionSummary {
    /// Its number.
    pub version: Version,
    /// Sixteen hex digits that distinguish it from other versions, and reveal nothing about it.
    pub fingerprint: String,
    /// When it was put.
    pub put: Timestamp,
    /// Until when it is still redacted after its successor came; `None` for the one in use.
    pub until: Option<Timestamp>,
}

impl TenantKey {
    fn generate_with(label: KeyLabel, kek: &Kek) -> Result<Self, RngUnavailable> {
        let key = Key::random()?;
        let wrapped = Envelope::seal(&kek.0, &label.aad(), key.bytes())?;
        Ok(Self { label, key, wrapped })
    }

    pub(crate) fn opened(label: KeyLabel, wrapped: Envelope, kek: &Kek) -> Option<Self> {
        let key = Key::of(&wrapped.open(&kek.0, &label.aad()).ok()?)?;
        Some(Self { label, key, wrapped })
    }

    /// The same key under another KEK, in the given generation.
    fn rewrap(&self, kek: &Kek, generation: u64) -> Result<Self, VaultError> {
        let label = KeyLabel { generation, ..self.label.clone() };
        let wrapped = Envelope::seal(&kek.0, &label.aad(), self.key.bytes())?;
        Ok(Self { label, key: self.key.copy(), wrapped })
    }

    #[cfg(test)]
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Distinguishes values of one tenant: a keyed digest, so that guesses cannot be tested against it.
    #[expect(clippy::disallowed_methods, reason = "the value is digested under a secret key")]
    pub(crate) fn fingerprint(&self, value: &Secret) -> String {
        use hmac::{Hmac, KeyInit as _, Mac as _};
        let key: Zeroizing<[u8; 32]> = self.key.derive(FINGERPRINT_LABEL, &[]);
        let mac = Hmac::<sha2::Sha256>::new_from_slice(&*key).expect("HMAC takes keys of any length");
        let digest = mac.chain_update(value.expose_secret()).finalize().into_bytes();
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl State {
    pub(crate) fn new(lock: VaultLock) -> Self {
        Self {
            lock: Arc::new(lock),
            generation: 0,
            wrappings: 0,
            tenants: BTreeMap::new(),
            retired: BTreeMap::new(),
            replaced: Vec::new(),
            revoked: BTreeSet::new(),
        }
    }

    /// The content of a file; `None` if one of its envelopes does not open.
    pub(crate) fn opened(lock: VaultLock, header: &Header, content: Content<WrappedKey, Item>) -> Option<Self> {
        let mut state = Self { generation: header.generation, wrappings: header.wrappings, ..Self::new(lock) };
        for WrappedKey { label, sealings, key } in content.keys {
            let name = label.tenant.clone();
            let key = Arc::new(TenantKey::opened(label, key, &state.lock.kek)?);
            state
                .tenants
                .insert(name, Arc::new(Tenant { key, sealings, credentials: BTreeMap::new(), removed: Vec::new() }));
        }
        for item in content.items {
            let tenant = Arc::make_mut(state.tenants.get_mut(&item.label.tenant)?);
            let entry = Entry::opened(item, &tenant.key)?;
            if entry.item.is_removed {
                tenant.removed.push(Arc::new(entry));
                continue;
            }
            let versions = tenant.credentials.entry(entry.item.label.id.clone()).or_default();
            // Only the last version has no successor.
            if versions.last().is_some_and(|last| last.item.superseded.is_none()) {
                return None;
            }
            versions.push(Arc::new(entry));
        }
        let in_use = |versions: &Vec<Arc<Entry>>| versions.last().is_some_and(|last| last.item.superseded.is_none());
        state.tenants.values().all(|tenant| tenant.credentials.values().all(in_use)).then_some(state)
    }

    /// This content as the generation that follows `other`: a version that was put since keeps its number exclusively, and
    /// values that only `other` has count as removed now.
    pub(crate) fn after(mut self, other: &Self, now: Timestamp) -> Result<Self, VaultError> {
        self.generation = other.generation.max(self.generation + 1);
        self.retired = other.retired.clone();
        self.revoked = other.revoked.clone();
        for (name, tenant) in &other.tenants {
            for id in tenant.credentials.keys() {
                let last = other.last_version(name, id);
                if self.last_version(name, id) != last {
                    self.retired.insert((name.clone(), id.clone()), last);
                }
            }
        }
        let grace = now.checked_add(DEFAULT_GRACE).unwrap_or(now);
        for (name, tenant) in other.tenants.iter().filter(|(name, _)| name.as_str() != INTERNAL) {
            for entry in tenant.credentials.values().flatten().chain(&tenant.removed) {
                let until = entry.item.superseded.unwrap_or(grace);
                if until > now && !self.masks(name, entry, until) {
                    self.adopt_removed(name, entry, until, now)?;
                }
            }
        }
        self.forget_removed(now);
        Ok(self)
    }

    /// Whether this state masks the value of another state's version until then.
    fn masks(&self, tenant: &TenantId, entry: &Entry, until: Timestamp) -> bool {
        let fingerprint = |entry: &Entry| entry.shape.as_ref().map(|shape| shape.fingerprint().to_owned());
        let (label, wanted) = (&entry.item.label, fingerprint(entry));
        let is_same = |one: &Arc<Entry>| {
            one.item.label.id == label.id
                && one.item.label.version == label.version
                && one.item.superseded.is_none_or(|end| end >= until)
                && fingerprint(one) == wanted
        };
        self.tenants.get(tenant).is_some_and(|tenant| {
            tenant.credentials.get(&label.id).into_iter().flatten().chain(&tenant.removed).any(is_same)
        })
    }

    /// Seals a version of another state as a removed one, under a new number if its own is taken. A version that does not open
    /// is lost.
    fn adopt_removed(
        &mut self,
        tenant: &TenantId,
        entry: &Entry,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), VaultError> {
        let key = self.key(tenant, now)?;
        let id = &entry.item.label.id;
        let is_taken =
            |one: &Arc<Entry>| one.item.label.id == *id && one.item.label.version == entry.item.label.version;
        let held = self.tenants.get(tenant);
        let mut all = held.into_iter().flat_map(|held| held.credentials.values().flatten().chain(&held.removed));
        let taken = all.any(is_taken).then(|| self.last_version(tenant, id).saturating_add(1));
        let version = taken.unwrap_or(entry.item.label.version);
        let sealed = match entry.reseal(&key, self.generation, version) {
            Err(VaultError::Corrupt) => return Ok(()),
            sealed => sealed?,
        };
        let held = Arc::make_mut(self.tenants.get_mut(tenant).ok_or(VaultError::Unknown)?);
        held.sealings += 2;
        held.remove(Arc::new(sealed), until);
        Ok(())
    }

    /// The header and content of the file.
    pub(crate) fn file(&self) -> (Header, Content<WrappedKey, &Item>) {
        let header = Header {
            recipe: self.lock.recipe.clone(),
            salt: self.lock.salt,
            generation: self.generation,
            wrappings: self.wrappings,
        };
        let wrapped = |tenant: &Arc<Tenant>| WrappedKey {
            label: tenant.key.label.clone(),
            sealings: tenant.sealings,
            key: tenant.key.wrapped.clone(),
        };
        let mut items: Vec<&Item> = Vec::new();
        for tenant in self.tenants.values() {
            let begin = items.len();
            items.extend(tenant.entries().map(|entry| &entry.item));
            if let Some(unsorted) = items.get_mut(begin..).filter(|_| !tenant.removed.is_empty()) {
                unsorted.sort_unstable_by(|a, b| (&a.label.id, a.label.version).cmp(&(&b.label.id, b.label.version)));
            }
        }
        let keys = self.tenants.values().map(wrapped).collect();
        (header, Content { keys, items })
    }

    /// The version in use.
    pub(crate) fn find(&self, tenant: &TenantId, id: &CredentialId) -> Option<&Arc<Entry>> {
        self.versions(tenant, id).last()
    }

    /// All versions, the one in use last.
    pub(crate) fn versions(&self, tenant: &TenantId, id: &CredentialId) -> &[Arc<Entry>] {
        self.tenants.get(tenant).and_then(|tenant| tenant.credentials.get(id)).map(Vec::as_slice).unwrap_or_default()
    }

    /// One of Egret's own values.
    pub(crate) fn internal(&self, name: &str) -> Option<&Arc<Entry>> {
        self.tenants.get(&TenantId::from(INTERNAL))?.credentials.get(name)?.last()
    }

    /// The tenant's credentials, by name.
    pub(crate) fn credentials(&self, tenant: &TenantId) -> impl Iterator<Item = &[Arc<Entry>]> {
        self.tenants.get(tenant).into_iter().flat_map(|tenant| tenant.credentials.values()).map(Vec::as_slice)
    }

    /// The versions of every tenant that a host may echo: those in use, and those within their grace time, including removed
    /// ones.
    pub(crate) fn known_to(&self, host: &Host, now: Timestamp) -> Vec<&Arc<Entry>> {
        let entries = self.tenants.values().flat_map(|tenant| tenant.entries());
        let known = |entry: &&Arc<Entry>| {
            entry.item.superseded.is_none_or(|until| until > now)
                && entry.shape.as_ref().is_some_and(|shape| shape.audience().names(host))
        };
        entries.filter(known).collect()
    }

    /// How many credentials there are, of all tenants.
    pub(crate) fn count(&self) -> usize {
        self.tenants.iter().filter(|(name, _)| name.as_str() != INTERNAL).map(|(_, one)| one.credentials.len()).sum()
    }

    /// The tenants that have a key, including Egret's own.
    pub(crate) fn tenants(&self) -> Vec<TenantId> {
        self.tenants.keys().cloned().collect()
    }

    /// The number of the tenant's key.
    pub(crate) fn key_id(&self, tenant: &TenantId) -> Option<u32> {
        self.tenants.get(tenant).map(|tenant| tenant.key.label.id)
    }

    /// The version that exists or existed; 0 if there was none.
    pub(crate) fn last_version(&self, tenant: &TenantId, id: &CredentialId) -> Version {
        let retired = self.retired.get(&(tenant.clone(), id.clone())).copied();
        let all = self.tenants.get(tenant).into_iter().flat_map(|tenant| {
            tenant
                .credentials
                .get(id)
                .into_iter()
                .flatten()
                .chain(tenant.removed.iter().filter(|one| one.item.label.id == *id))
        });
        all.map(|entry| entry.item.label.version).max().max(retired).unwrap_or(0)
    }

    /// Whether credentials issued from this version must end: it was removed, with its credential or alone. A version
    /// with a successor does not count, even after its grace time.
    pub(crate) fn is_revoked(&self, tenant: &TenantId, id: &CredentialId, version: Version) -> bool {
        let versions = self.versions(tenant, id);
        // An existing version is in force, even if it was gone before a backup restored it.
        if versions.is_empty() || versions.iter().any(|entry| entry.item.label.version == version) {
            return versions.is_empty();
        }
        let retired = self.retired.get(&(tenant.clone(), id.clone())).is_some_and(|last| version <= *last);
        retired || self.revoked.contains(&(tenant.clone(), id.clone(), version))
    }

    /// The tenant's key. Creates it if there is none, and replaces it if it has sealed enough.
    pub(crate) fn key(&mut self, tenant: &TenantId, now: Timestamp) -> Result<Arc<TenantKey>, VaultError> {
        match self.tenants.get(tenant) {
            Some(held) if held.sealings < ROTATE_AT => {}
            Some(_) => {
                let id = self.rotate(tenant, now)?;
                self.replaced.push((tenant.clone(), id));
            }
            None => {
                let key = self.fresh_key(tenant, 1, now)?;
                let made = Tenant { key, sealings: 0, credentials: BTreeMap::new(), removed: Vec::new() };
                self.tenants.insert(tenant.clone(), Arc::new(made));
            }
        }
        self.tenants.get(tenant).map(|tenant| tenant.key.clone()).ok_or(VaultError::Unknown)
    }

    /// Seals a new version, which replaces the one in use; the old one stays until `superseded`.
    pub(crate) fn put(
        &mut self,
        draft: Draft<'_>,
        value: &Secret,
        superseded: Option<Timestamp>,
    ) -> Result<(), VaultError> {
        let label = Label { generation: self.generation, ..draft.label };
        let tenant = self.tenants.get_mut(&label.tenant).ok_or(VaultError::Unknown)?;
        let tenant = Arc::make_mut(tenant);
        let entry = Entry::sealed(label, draft.description, draft.shape, value, &tenant.key)?;
        tenant.sealings += 2;
        let versions = tenant.credentials.entry(entry.item.label.id.clone()).or_default();
        match (superseded, versions.pop()) {
            (Some(until), Some(before)) => versions.push(Arc::new(before.ending(until, false))),
            (None, _) | (_, None) => versions.clear(),
        }
        versions.push(Arc::new(entry));
        Ok(())
    }

    /// Removes a credential, or one of its versions that has a successor. A removed value stays masked for a while.
    pub(crate) fn remove(
        &mut self,
        tenant: &TenantId,
        id: &CredentialId,
        version: Option<Version>,
        now: Timestamp,
    ) -> Result<(), VaultError> {
        let grace = now.checked_add(DEFAULT_GRACE).unwrap_or(now);
        let held = Arc::make_mut(self.tenants.get_mut(tenant).ok_or(VaultError::Unknown)?);
        let versions = held.credentials.get_mut(id).ok_or(VaultError::Unknown)?;
        let last = versions.last().map_or(0, |entry| entry.item.label.version);
        match version {
            Some(version) if version != last => {
                let found = versions.iter().position(|entry| entry.item.label.version == version);
                let entry = versions.remove(found.ok_or(VaultError::Unknown)?);
                held.remove(entry, grace);
                self.revoked.insert((tenant.clone(), id.clone(), version));
                Ok(())
            }
            Some(_) | None => {
                for entry in held.credentials.remove(id).unwrap_or_default() {
                    if entry.item.superseded.is_none_or(|until| until > now) {
                        held.remove(entry, grace);
                    }
                }
                // Values missing from a restored backup count too.
                let retired = self.retired.entry((tenant.clone(), id.clone())).or_default();
                *retired = last.max(*retired);
                Ok(())
            }
        }
    }

    /// Removes the versions whose grace time is over.
    pub(crate) fn forget_superseded(&mut self, now: Timestamp) {
        let over = |entry: &Arc<Entry>| entry.item.superseded.is_some_and(|until| until <= now);
        for tenant in self.tenants.values_mut() {
            if tenant.credentials.values().flatten().any(over) {
                for versions in Arc::make_mut(tenant).credentials.values_mut() {
                    versions.retain(|entry| !over(entry));
                }
            }
        }
    }

    /// Removes values whose masking has ended, and tenants that have no other items.
    pub(crate) fn forget_removed(&mut self, now: Timestamp) {
        let over = |entry: &Arc<Entry>| entry.item.superseded.is_none_or(|until| until <= now);
        for tenant in self.tenants.values_mut() {
            if tenant.removed.iter().any(over) {
                Arc::make_mut(tenant).removed.retain(|entry| !over(entry));
            }
        }
        self.tenants.retain(|_, tenant| !(tenant.credentials.is_empty() && tenant.removed.is_empty()));
    }

    /// Gives the tenant a new key and reseals all its items under it; returns the key's number.
    pub(crate) fn rotate(&mut self, tenant: &TenantId, now: Timestamp) -> Result<u32, VaultError> {
        let held = self.tenants.get(tenant).ok_or(VaultError::Unknown)?.clone();
        let id = held.key.label.id.checked_add(1).ok_or(VaultError::KeyExhausted)?;
        let key = self.fresh_key(tenant, id, now)?;
        let mut fresh = Tenant { key, sealings: 0, credentials: BTreeMap::new(), removed: Vec::new() };
        for (id, versions) in &held.credentials {
            let mut sealed = Vec::with_capacity(versions.len());
            for entry in versions {
                sealed.push(Arc::new(entry.reseal(&fresh.key, self.generation, entry.item.label.version)?));
                fresh.sealings += 2;
            }
            fresh.credentials.insert(id.clone(), sealed);
        }
        for entry in &held.removed {
            let sealed = entry.reseal(&fresh.key, self.generation, entry.item.label.version)?;
            fresh.removed.push(Arc::new(sealed));
            fresh.sealings += 2;
        }
        self.tenants.insert(tenant.clone(), Arc::new(fresh));
        Ok(id)
    }

    /// Changes the lock of the vault: rewraps every tenant's key, and touches no secret.
    pub(crate) fn rekey(&mut self, lock: VaultLock) -> Result<(), VaultError> {
        for tenant in self.tenants.values_mut() {
            let key = tenant.key.rewrap(&lock.kek, self.generation)?;
            Arc::make_mut(tenant).hold(Arc::new(key));
        }
        self.wrappings = self.tenants.len() as u64;
        self.lock = Arc::new(lock);
        Ok(())
    }

    fn fresh_key(&mut self, tenant: &TenantId, id: u32, now: Timestamp) -> Result<Arc<TenantKey>, VaultError> {
        if self.wrappings >= REFUSE_AT {
            return Err(VaultError::KeyExhausted);
        }
        self.wrappings += 1;
        let label = KeyLabel { tenant: tenant.clone(), id, created: now, generation: self.generation };
        Ok(Arc::new(TenantKey::generate_with(label, &self.lock.kek)?))
    }

    #[cfg(test)]
    pub(crate) fn use_up(&mut self, tenant: &TenantId, sealings: u64, wrappings: u64) {
        Arc::make_mut(self.tenants.get_mut(tenant).unwrap()).sealings = sealings;
        self.wrappings = wrappings;
    }
}

impl Tenant {
    /// All versions, those that were removed last.
    fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.credentials.values().flatten().chain(&self.removed)
    }

    /// Stores a removed version, to be masked until then, or longer if it was to be masked anyway.
    fn remove(&mut self, entry: Arc<Entry>, until: Timestamp) {
        let until = entry.item.superseded.map_or(until, |own| own.max(until));
        self.removed.push(Arc::new(entry.ending(until, true)));
        if self.removed.len() > MAX_REMOVED {
            self.removed.sort_by_key(|entry| entry.item.superseded);
            self.removed.drain(..self.removed.len() - MAX_REMOVED);
        }
    }

    /// The same key in another wrapping.
    fn hold(&mut self, key: Arc<TenantKey>) {
        for entry in self.credentials.values_mut().flatten().chain(&mut self.removed) {
            *entry = Arc::new(Entry {
                item: entry.item.clone(),
                aad: entry.aad.clone(),
                key: key.clone(),
                shape: entry.shape.clone(),
                opened: entry.opened.clone(),
            });
        }
        self.key = key;
    }
}

/// A version to be sealed; its generation is that of the state that seals it.
pub(crate) struct Draft<'a> {
    pub(crate) label: Label,
    pub(crate) description: &'a [u8],
    pub(crate) shape: Option<CredentialShape>,
}

impl Draft<'_> {
    /// The label of a version; its key is known, its generation is not yet.
    pub(crate) fn label(
        tenant: TenantId,
        id: CredentialId,
        version: Version,
        key: &TenantKey,
        [created, updated]: [Timestamp; 2],
        expires: Option<Timestamp>,
    ) -> Label {
        Label { tenant, id, version, key: key.label.id, generation: 0, created, updated, expires }
    }
}

impl Entry {
    #[expect(clippy::disallowed_methods, reason = "the value is sealed")]
    fn sealed(
        label: Label,
        description: &[u8],
        shape: Option<CredentialShape>,
        value: &Secret,
        key: &Arc<TenantKey>,
    ) -> Result<Self, RngUnavailable> {
        let aad = label.value_aad(description);
        let value = Envelope::seal(&key.key, &aad, value.expose_secret())?;
        let description = Envelope::seal(&key.key, &label.description_aad(), description)?;
        Ok(Self {
            item: Item { label, superseded: None, is_removed: false, description, value },
            aad,
            key: key.clone(),
            shape,
            opened: OnceLock::new(),
        })
    }

    /// Opens the description, not the value.
    #[expect(clippy::disallowed_methods, reason = "a description is sealed like a value, but may be known")]
    fn opened(item: Item, key: &Arc<TenantKey>) -> Option<Self> {
        if item.label.key != key.label.id {
            return None;
        }
        let description = item.description.open(&key.key, &item.label.description_aad()).ok()?;
        let description = description.expose_secret();
        let aad = item.label.value_aad(description);
        let shape = match item.label.tenant.as_str() {
            INTERNAL => None,
            _ => {
                let shape = document::read(description, item.label.version, item.label.expires)?;
                Some(CredentialShape::new(shape))
            }
        };
        Some(Self { item, aad, key: key.clone(), shape, opened: OnceLock::new() })
    }

    /// The forms of its value, which stay open after the first time; `open` opens the value. `None` if that fails.
    pub(crate) fn forms(&self, open: impl FnOnce(&Self) -> Option<Secret>) -> Option<Arc<SecretForms>> {
        if let Some(opened) = self.opened.get() {
            return Some(opened.clone());
        }
        let shape = self.shape.as_ref()?;
        let label = &self.item.label;
        let owner = NeedleOwner { tenant: label.tenant.clone(), credential: label.id.clone(), version: label.version };
        let forms = forms::of(shape.kinds(), &open(self)?);
        Some(self.opened.get_or_init(|| Arc::new(SecretForms { owner, forms })).clone())
    }

    /// Opens the value.
    pub(crate) fn value(&self) -> Result<Secret, OpenError> {
        self.item.value.open(&self.key.key, &self.aad)
    }

    #[expect(clippy::disallowed_methods, reason = "description and value are sealed again")]
    fn reseal(&self, key: &Arc<TenantKey>, generation: u64, version: Version) -> Result<Self, VaultError> {
        let old = &self.item.label;
        let opened = self.item.description.open(&self.key.key, &old.description_aad());
        let description = opened.map_err(|_| VaultError::Corrupt)?;
        let value = self.value().map_err(|_| VaultError::Corrupt)?;
        let label = Label { key: key.label.id, generation, version, ..old.clone() };
        let sealed = Self::sealed(label, description.expose_secret(), self.shape.clone(), &value, key)?;
        let (superseded, is_removed) = (self.item.superseded, self.item.is_removed);
        Ok(Self { item: Item { superseded, is_removed, ..sealed.item }, ..sealed })
    }

    /// The same with a successor, or removed.
    fn ending(&self, until: Timestamp, is_removed: bool) -> Self {
        Self {
            item: Item { superseded: Some(until), is_removed, ..self.item.clone() },
            aad: self.aad.clone(),
            key: self.key.clone(),
            shape: self.shape.clone(),
            opened: self.opened.clone(),
        }
    }
}

/// The public properties of a credential, from its versions.
pub(crate) fn summary(versions: &[Arc<Entry>]) -> Option<CredentialSummary> {
    let entry = versions.last()?;
    let shape = entry.shape.as_ref()?;
    let label = &entry.item.label;
    let version = |entry: &Arc<Entry>| VersionSummary {
        version: entry.item.label.version,
        fingerprint: entry.shape.as_ref().map(|shape| shape.fingerprint().to_owned()).unwrap_or_default(),
        put: entry.item.label.updated,
        until: entry.item.superseded,
    };
    Some(CredentialSummary {
        tenant: label.tenant.clone(),
        id: label.id.clone(),
        spec: shape.spec().clone(),
        version: label.version,
        created: label.created,
        updated: label.updated,
        versions: versions.iter().map(version).collect(),
    })
}
