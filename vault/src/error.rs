//! Why the vault cannot do what was asked, and the stable code of each reason.

use thiserror::Error;

use crate::credential::{CredentialError, ValueError};
use crate::format::FormatError;
use crate::kek::KeyError;
use crate::store::error::{StoreAction, StoreError};
use crate::weakness::Weakness;
use secret::RngUnavailable;

/// The longest of Egret's own values.
pub(crate) const MAX_INTERNAL_BYTES: usize = 64 * 1024;

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
    #[error("the vault's key is unavailable")]
    Key(#[from] KeyError),
    /// Something else lies there.
    #[error("the file is not a vault")]
    NotAVault,
    /// Written by another version of Egret.
    #[error("the vault has format version {0}, this Egret reads version {READS}", READS = crate::format::VERSION)]
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
    /// A backup was locked with something else than the vault is now.
    #[error("the backup is locked with another key than the vault is now")]
    OtherLock,
    /// A key has sealed as much as one key may.
    #[error("a key has sealed as much as one key may; replace the vault's lock with `egret vault rekey`")]
    KeyExhausted,
    /// The system gave no random bytes.
    #[error("random bytes are unavailable")]
    Random,
    /// The value cannot be a credential of its kind.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The value can be guessed, and the caller did not allow that.
    #[error("{}; to store it all the same, allow weak values (`--allow-weak`, `allow_weak` in the API)", .0.as_str())]
    Weak(Weakness),
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
