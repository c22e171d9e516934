//! Secrets at rest and in use. Values go in, never out, but as a [`Lease`] for one exchange.
//!
//! One line from disk to request: `store` keeps ciphertext only, `format` proves that every byte of it
//! is ours, `envelope` opens one secret under `kek`'s key, `audience` says where it may go, and `lease`
//! lends it. Knows no HTTP: it says what to put on a request, and others put it there.

pub mod advice;
mod arena;
pub mod credential;
mod document;
mod envelope;
mod error;
mod format;
mod forms;
pub mod kek;
mod key;
pub mod lease;
mod needle_cache;
pub mod needles;
pub mod search;
mod secret;
mod state;
pub mod store;
pub mod vault;

pub use advice::{Weakness, passphrase_weakness};
pub use arena::{Memory, memory, probe};
pub use credential::{
    BodySlot, BodySlots, CredentialError, CredentialShape, DEFAULT_GRACE, Kind, KindOption, NewCredential, Placement,
    Slot, ValueError, percent_encode,
};
pub use error::VaultError;
pub use kek::{Argon2id, KeyError, KeyFile, KeySource, Passphrase, PassphraseAndKeyFile, Recipe};
pub use lease::{Lease, LeaseError};
pub use model::Audience;
pub use needles::{Alphabet, Hit, NeedleOwner, Needles, classes_of, is_token_character};
pub use secret::Secret;
pub use state::{CredentialSummary, VersionSummary};
pub use store::{Store, StoreError};
pub use vault::{Vault, VaultStatus, Version};
