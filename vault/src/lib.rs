//! Secrets at rest and in use. Values can be written but not read back, except as a [`Lease`] for one exchange.
//!
//! One line from disk to request: `store` holds only ciphertext, `format` verifies every byte, `envelope` opens one
//! secret under `kek`'s key, `audience` checks the destination, and `lease` issues it. The vault contains no HTTP: it
//! returns the bytes and the location, and its callers attach them to a request.

pub mod credential;
mod document;
mod envelope;
mod error;
mod format;
mod forms;
pub mod kek;
mod key;
pub mod lease;
mod private_file;
pub mod search;
mod state;
pub mod store;
pub mod strength;
pub mod vault;
mod weakness;

pub use credential::{
    BodySlot, BodySlots, CredentialError, CredentialShape, CredentialSpec, DEFAULT_GRACE, Kind, KindOption,
    NewCredential, Placement, Slot, ValueError, percent_encode,
};
pub use error::VaultError;
pub use kek::{Argon2id, KeyDerivation, KeyError, KeyFile, KeySource, Passphrase, PassphraseAndKeyFile};
pub use lease::{Lease, LeaseError};
pub use model::Audience;
pub use secret::{Memory, NeedleOwner, Secret, memory, probe};
pub use state::Version;
pub use state::{CredentialSummary, VersionSummary};
pub use store::{Store, StoreAction, StoreError, Stored};
pub use strength::passphrase_weakness;
pub use vault::{HostValues, Vault, VaultStatus};
pub use weakness::Weakness;
