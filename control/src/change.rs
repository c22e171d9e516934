//! Changes of the vault, and the additional records of each: a key that was replaced automatically, or a file that could
//! not be written.

use audit::{Kind, Record};
use model::{Reason, TenantId};
use vault::{StoreError, Vault, VaultError};

use crate::Control;

impl Control {
    /// Changes the vault. The caller records the requested change; this function records the rest.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&Vault) -> Result<T, VaultError>) -> Result<T, VaultError> {
        let done = change(&self.vault);
        for (tenant, key) in self.vault.take_replaced_keys() {
            self.journal.append(key_replaced(&self.vault, &tenant, key));
        }
        if let Some(record) = done.as_ref().err().and_then(|error| write_failed(&self.vault, error)) {
            self.journal.append(record);
            self.journal.flush();
        }
        done
    }
}

/// The record of a key that was replaced because the previous one had sealed enough.
pub fn key_replaced(vault: &Vault, tenant: &TenantId, key: u32) -> Record {
    let why = "since the one before had sealed enough";
    Record {
        detail: Some(format!("the key of the tenant is number {key} now, {why}").into()),
        ..key_rotated(vault, tenant)
    }
}

/// The record of a tenant's new key, without the reason.
pub(crate) fn key_rotated(vault: &Vault, tenant: &TenantId) -> Record {
    Record {
        code: Some(Reason::KeyRotated),
        tenant: Some(tenant.clone()),
        generation: Some(vault.generation()),
        ..Record::new(Kind::VaultRekeyed)
    }
}

/// The record of a change that could not be written; `None` for any other error.
pub fn write_failed(vault: &Vault, error: &VaultError) -> Option<Record> {
    let VaultError::Store(error) = error else { return None };
    let why = match error {
        StoreError::Io { action, source, .. } => format!("not {}: {source}", action.as_participle()),
        StoreError::NotDurable { source, .. } => format!("written, and may not survive power loss: {source}"),
        StoreError::Conflict { .. } => format!("not written: {error}"),
        StoreError::Unsafe { why, .. } => format!("the file or its folder {why}"),
        StoreError::TooLarge => error.to_string(),
    };
    Some(Record {
        code: Some(Reason::VaultWriteFailed),
        detail: Some(why.into()),
        generation: Some(vault.generation()),
        ..Record::new(Kind::VaultFailed)
    })
}
