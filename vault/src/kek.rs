//! The sources of the key-encryption key: a passphrase through Argon2id (RFC 9106), a key file, both, or an external
//! source.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use hkdf::Hkdf;
use sha2::Sha256;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::key::{KEY_BYTES, Key};
use crate::private_file::open_private;
use crate::store::error::StoreError;
use secret::Secret;

/// Bytes of a vault's salt.
pub const SALT_BYTES: usize = 32;

/// The purpose of the derived KEK; changes with the construction.
const KEK_LABEL: &[u8] = b"egret vault 2 kek";

/// How a vault's KEK is derived from its sources; stored in the header. It has at least one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDerivation {
    /// A passphrase, with these parameters of Argon2id.
    pub passphrase: Option<Argon2id>,
    /// A key file.
    pub key_file: bool,
    /// A key from an external source, and the hint that the source needs to return it (such as the wrapped key).
    pub external: Option<Box<[u8]>>,
}

/// Argon2id, version 0x13 (RFC 9106).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argon2id {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

/// The longest hint of an external source.
const MAX_HINT_BYTES: usize = 4096;

impl Argon2id {
    /// RFC 9106 section 4, second recommended option: 64 MiB, 3 passes, 4 lanes.
    pub const DEFAULT: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 };

    /// Bounds: no weaker than anyone should use (19 MiB, 2 passes), and not so large that they exhaust memory or time (4
    /// GiB, 32 passes).
    pub fn is_acceptable(&self) -> bool {
        (19 * 1024..=4 * 1024 * 1024).contains(&self.memory_kib)
            && (2..=32).contains(&self.passes)
            && (1..=64).contains(&self.lanes)
    }
}

impl KeyDerivation {
    /// A key file alone.
    pub const KEY_FILE: Self = Self { passphrase: None, key_file: true, external: None };
    /// A passphrase alone, with our parameters.
    pub const PASSPHRASE: Self = Self { passphrase: Some(Argon2id::DEFAULT), key_file: false, external: None };

    /// Whether a vault of ours can have this lock. Judged before any allocation, because a changed header is detected
    /// only with the key that it describes.
    pub(crate) fn is_acceptable(&self) -> bool {
        let external = self.external.as_ref();
        (self.passphrase.is_some() || self.key_file || external.is_some())
            && self.passphrase.as_ref().is_none_or(Argon2id::is_acceptable)
            && external.is_none_or(|hint| hint.len() <= MAX_HINT_BYTES)
    }

    /// Its sources, without their parameters: a passphrase, a key file, another source.
    fn parts(&self) -> [bool; 3] {
        [self.passphrase.is_some(), self.key_file, self.external.is_some()]
    }

    /// The sources as the header's bits and as the KEK's context.
    pub(crate) fn bits(&self) -> u8 {
        self.parts().iter().rev().fold(0, |bits, part| bits << 1 | u8::from(*part))
    }

    fn needs(&self, given: &Self) -> Result<(), KeyError> {
        if self.parts() == given.parts() {
            return Ok(());
        }
        Err(KeyError::OtherSource { vault: self.to_string(), given: given.to_string() })
    }
}

/// `passphrase`, `key file`, `passphrase and key file`, ..
impl fmt::Display for KeyDerivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["passphrase", "key file", "external source"];
        let used: Vec<&str> = self.parts().iter().zip(names).filter_map(|(part, name)| part.then_some(name)).collect();
        f.write_str(&used.join(" and "))
    }
}

/// Why a source returns no KEK.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The key file is not usable in its current state.
    #[error("the key file cannot be used")]
    File(#[source] StoreError),
    /// The key file cannot be created.
    #[error("key file {} cannot be created", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The key file has the wrong size.
    #[error("key file {} does not hold exactly 32 bytes", path.display())]
    Length {
        /// The file.
        path: PathBuf,
    },
    /// There is no passphrase.
    #[error("the passphrase is empty")]
    Empty,
    /// The lock of the vault differs from the given sources.
    #[error("the vault is locked with a {vault}, but what was given is a {given}")]
    OtherSource {
        /// The sources that the vault requires.
        vault: String,
        /// The given sources.
        given: String,
    },
    /// Argon2id's parameters are outside their bounds.
    #[error("Argon2id takes 19 MiB to 4 GiB, 2 to 32 passes and 1 to 64 lanes")]
    Parameters,
    /// Not enough memory for Argon2id.
    #[error("no memory to stretch the passphrase")]
    Memory,
    /// The system returned no random bytes.
    #[error("random bytes are unavailable")]
    Random,
}

/// The source of the KEK. Another key source (a KMS, a TPM) is one more implementation. It creates a key for a new
/// vault, stores in the recipe the hint that it needs to return that key, and passes the key to `Parts`.
pub trait KeySource: Send + Sync {
    /// How a new vault under this source derives its KEK.
    ///
    /// # Errors
    /// [`KeyError`] if the source cannot lock a vault.
    fn recipe(&self) -> Result<KeyDerivation, KeyError>;

    /// The KEK of a vault with this recipe and salt. It is not checked whether it is the right one.
    ///
    /// # Errors
    /// [`KeyError`] if the source cannot be read or is of another kind than the vault's.
    fn kek(&self, recipe: &KeyDerivation, salt: &[u8; SALT_BYTES]) -> Result<Kek, KeyError>;
}

/// A file of 32 random bytes that only its owner may read (mode 0600).
#[derive(Clone, Debug)]
pub struct KeyFile(pub PathBuf);

impl KeyFile {
    /// Creates the file with a fresh key; it must not exist.
    ///
    /// # Errors
    /// [`KeyError::Create`] if it exists or cannot be written, [`KeyError::Random`].
    pub fn create(&self) -> Result<(), KeyError> {
        let key = Key::random().map_err(|_| KeyError::Random)?;
        write_new(&self.0, key.bytes()).map_err(|source| KeyError::Create { path: self.0.clone(), source })
    }

    fn read(&self) -> Result<Key, KeyError> {
        let length = || KeyError::Length { path: self.0.clone() };
        let file = open_private(&self.0).map_err(KeyError::File)?;
        let bytes = Secret::from_reader(file, KEY_BYTES).map_err(|_| length())?;
        Key::of(&bytes).ok_or_else(length)
    }
}

impl KeySource for KeyFile {
    fn recipe(&self) -> Result<KeyDerivation, KeyError> {
        Ok(KeyDerivation::KEY_FILE)
    }

    fn kek(&self, recipe: &KeyDerivation, salt: &[u8; SALT_BYTES]) -> Result<Kek, KeyError> {
        recipe.needs(&KeyDerivation::KEY_FILE)?;
        Ok(Parts { key_file: Some(self.read()?), ..Parts::default() }.kek(recipe, salt))
    }
}

/// A passphrase, stretched with Argon2id.
#[derive(Debug)]
pub struct Passphrase {
    /// The passphrase itself, from a person or a secret store.
    pub text: Secret,
    /// The parameters for a new vault; an existing vault stores its own.
    pub argon2id: Argon2id,
}

impl Passphrase {
    /// A passphrase with the default parameters.
    pub fn new(text: Secret) -> Self {
        Self { text, argon2id: Argon2id::DEFAULT }
    }

    #[expect(clippy::disallowed_methods, reason = "the passphrase is stretched into a key")]
    fn stretched(&self, argon2id: &Argon2id, salt: &[u8; SALT_BYTES]) -> Result<Key, KeyError> {
        if self.text.is_empty() {
            return Err(KeyError::Empty);
        }
        let params = Params::new(argon2id.memory_kib, argon2id.passes, argon2id.lanes, Some(KEY_BYTES))
            .map_err(|_| KeyError::Parameters)?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut memory = Vec::new();
        memory.try_reserve_exact(argon.params().block_count()).map_err(|_| KeyError::Memory)?;
        memory.resize(argon.params().block_count(), Block::new());
        let key = Key::generate_with(|key| {
            argon.hash_password_into_with_memory(self.text.expose_secret(), salt, &mut *key, &mut memory)
        });
        memory.zeroize();
        key.map_err(|_| KeyError::Memory)
    }
}

impl KeySource for Passphrase {
    fn recipe(&self) -> Result<KeyDerivation, KeyError> {
        if !self.argon2id.is_acceptable() {
            return Err(KeyError::Parameters);
        }
        Ok(KeyDerivation { passphrase: Some(self.argon2id), ..KeyDerivation::PASSPHRASE })
    }

    fn kek(&self, recipe: &KeyDerivation, salt: &[u8; SALT_BYTES]) -> Result<Kek, KeyError> {
        recipe.needs(&KeyDerivation::PASSPHRASE)?;
        let argon2id = recipe.passphrase.as_ref().ok_or(KeyError::Parameters)?;
        Ok(Parts { passphrase: Some(self.stretched(argon2id, salt)?), ..Parts::default() }.kek(recipe, salt))
    }
}

/// A passphrase and a key file: neither alone opens the vault.
#[derive(Debug)]
pub struct PassphraseAndKeyFile {
    /// The passphrase.
    pub passphrase: Passphrase,
    /// The key file.
    pub key_file: KeyFile,
}

impl KeySource for PassphraseAndKeyFile {
    fn recipe(&self) -> Result<KeyDerivation, KeyError> {
        Ok(KeyDerivation { key_file: true, ..self.passphrase.recipe()? })
    }

    fn kek(&self, recipe: &KeyDerivation, salt: &[u8; SALT_BYTES]) -> Result<Kek, KeyError> {
        recipe.needs(&KeyDerivation { key_file: true, ..KeyDerivation::PASSPHRASE })?;
        let argon2id = recipe.passphrase.as_ref().ok_or(KeyError::Parameters)?;
        let key_file = Some(self.key_file.read()?);
        let passphrase = Some(self.passphrase.stretched(argon2id, salt)?);
        Ok(Parts { passphrase, key_file, external: None }.kek(recipe, salt))
    }
}

/// The keys of the sources, before they become one.
#[derive(Default)]
pub(crate) struct Parts {
    pub(crate) passphrase: Option<Key>,
    pub(crate) key_file: Option<Key>,
    pub(crate) external: Option<Key>,
}

impl Parts {
    /// Mixes them (HKDF, RFC 5869): an attacker who lacks one has no usable key. Each has 32 bytes and the recipe lists
    /// the present ones, so no two sets of parts make the same input.
    pub(crate) fn kek(&self, recipe: &KeyDerivation, salt: &[u8; SALT_BYTES]) -> Kek {
        let mut all = Zeroizing::new(Vec::with_capacity(3 * KEY_BYTES));
        for part in [&self.passphrase, &self.key_file, &self.external].into_iter().flatten() {
            all.extend_from_slice(part.bytes());
        }
        let hkdf = Hkdf::<Sha256>::new(Some(salt), &all);
        let made = Key::generate_with(|key| hkdf.expand_multi_info(&[KEK_LABEL, &[recipe.bits()]], key));
        Kek(made.expect("32 bytes are far below the limit of HKDF"))
    }
}

/// A key-encryption key: wraps the keys of tenants and proves the file.
#[derive(Debug)]
pub struct Kek(pub(crate) Key);

impl Kek {
    /// The same key in its own memory.
    pub(crate) fn copy(&self) -> Self {
        Self(self.0.copy())
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
