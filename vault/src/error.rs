//! Errors of the vault, and the stable code of each.

use thiserror::Error;

use crate::credential::{CredentialError, ValueError};
use crate::format::FormatError;
use crate::kek::KeyError;
use crate::store::error::{StoreAction, StoreError};
use crate::weakness::Weakness;
use secret::RngUnavailable;

/// The longest of Egret's own values.
pub(crate) const MAX_INTERNAL_BYTES: usize = 64 * 1024;

/// Why an operation of the vault failed.
#[derive(Debug, Error)]
pub enum VaultError {
    /// A vault already exists.
    #[error("there is a vault already")]
    Exists,
    /// The vault does not exist.
    #[error("there is no vault")]
    Missing,
    /// The file could not be read, written or trusted.
    #[error("the vault's file cannot be used")]
    Store(#[from] StoreError),
    /// The key source returns no key.
    #[error("the vault's key is unavailable")]
    Key(#[from] KeyError),
    /// The file is not a vault.
    #[error("the file is not a vault")]
    NotAVault,
    /// Written by another version of Egret.
    #[error("the vault has format version {0}, this Egret reads version {READS}", READS = crate::format::VERSION)]
    Format(u16),
    /// The header's parameters are outside the bounds of any vault of ours.
    #[error("the vault's key parameters are outside their bounds")]
    Parameters,
    /// The key does not belong to the vault; a damaged header has the same symptom.
    #[error("the key does not open the vault, or its header is damaged")]
    Unseal,
    /// A part of the file was changed, moved, truncated or added.
    #[error("the vault was damaged or changed by someone else")]
    Corrupt,
    /// The lock of a backup differs from the current lock of the vault.
    #[error("the backup is locked with another key than the vault is now")]
    OtherLock,
    /// A key has sealed as much as one key may.
    #[error("a key has sealed as much as one key may; replace the vault's lock with `egret vault rekey`")]
    KeyExhausted,
    /// The system returned no random bytes.
    #[error("random bytes are unavailable")]
    Random,
    /// The value cannot be a credential of its kind.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The value is guessable, and the caller did not allow that.
    #[error("{}; to store it all the same, allow weak values (`--allow-weak`, `allow_weak` in the API)", .0.as_str())]
    Weak(Weakness),
    /// Another property of the credential is wrong.
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
            Self::Store(StoreError::Conflict { .. }) => "vault_conflict",
            Self::Store(StoreError::Unsafe { .. }) => "vault_unsafe",
            Self::Store(
                StoreError::Io { action: StoreAction::Write, .. }
                | StoreError::NotDurable { .. }
                | StoreError::TooLarge,
            ) => "vault_write_failed",
            Self::Store(StoreError::Io { .. }) => "vault_unavailable",
            Self::Key(_) => "vault_key_unavailable",
            Self::NotAVault | Self::Corrupt => "vault_corrupt",
            Self::Format(_) => "vault_version",
            Self::Parameters => "vault_params",
            Self::Unseal => "unseal_failed",
            Self::OtherLock => "vault_other_lock",
            Self::KeyExhausted => "vault_key_worn",
            Self::Random => "internal",
            Self::Value(_) | Self::Weak(_) => "vault_value_invalid",
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

impl From<RngUnavailable> for VaultError {
    fn from(RngUnavailable: RngUnavailable) -> Self {
        Self::Random
    }
}
