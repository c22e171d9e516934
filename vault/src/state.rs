//! One generation of the vault in memory: descriptions open, values sealed.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{CredentialId, TenantId, Timestamp};

use crate::credential::{CredentialShape, Kind};
use crate::document;
use crate::envelope::{Envelope, NoRandom};
use crate::format::{Item, Label};
use crate::kek::Kek;
use crate::secret::Secret;
use crate::vault::Version;

/// The tenant of Egret's own values; no tenant can be named so.
pub(crate) const INTERNAL: &str = "egret:internal";

/// One generation of the vault.
#[derive(Clone, Default)]
pub(crate) struct State {
    pub(crate) generation: u64,
    pub(crate) credentials: BTreeMap<TenantId, BTreeMap<CredentialId, Arc<Entry>>>,
    pub(crate) internal: BTreeMap<CredentialId, Arc<Entry>>,
    /// The last version of what was removed since the vault was opened: a value put under the name of a removed one
    /// must not pass for it where a connection or a stream is known by name and version.
    pub(crate) retired: BTreeMap<(TenantId, CredentialId), Version>,
}

/// One item, with what of it is in use all the time.
pub(crate) struct Entry {
    pub(crate) item: Item,
    /// The context of the value's envelope.
    pub(crate) aad: Vec<u8>,
    /// `None` for Egret's own values.
    pub(crate) shape: Option<CredentialShape>,
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

impl State {
    pub(crate) fn find(&self, tenant: &TenantId, id: &CredentialId) -> Option<&Arc<Entry>> {
        self.credentials.get(tenant)?.get(id)
    }

    /// The version of what is or was there; 0 where nothing was.
    pub(crate) fn last_version(&self, tenant: &TenantId, id: &CredentialId) -> Version {
        let retired = || self.retired.get(&(tenant.clone(), id.clone())).copied();
        self.find(tenant, id).map(|entry| entry.item.label.version).or_else(retired).unwrap_or(0)
    }

    pub(crate) fn insert(&mut self, entry: Entry) {
        let label = &entry.item.label;
        let items = match &entry.shape {
            Some(_) => self.credentials.entry(label.tenant.clone()).or_default(),
            None => &mut self.internal,
        };
        items.insert(label.id.clone(), Arc::new(entry));
    }

    /// All entries in the order of the file.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
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
    pub(crate) fn sealed(
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
    pub(crate) fn opened(item: Item, kek: &Kek) -> Option<Self> {
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

    pub(crate) fn summary(&self) -> Option<CredentialSummary> {
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
