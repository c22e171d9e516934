//! Where the key-encryption key comes from: a passphrase through Argon2id (RFC 9106), or a key file.

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

use crate::envelope::random;
use crate::secret::Secret;
use crate::store::{StoreError, open_private};

/// Bytes of a key file, of the KEK and of every key derived from it.
pub const KEY_BYTES: usize = 32;
/// Bytes of a vault's salt.
pub const SALT_BYTES: usize = 32;

/// What a key file is stretched for; changes with the construction.
const KEY_FILE_LABEL: &[u8] = b"egret vault 1 key file";

/// How a vault's key source becomes its KEK; stands in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// The source is a random key already.
    KeyFile,
    /// Argon2id, version 0x13.
    Argon2id {
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes over the memory.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
}

impl Stretch {
    /// RFC 9106 section 4, second recommended option: 64 MiB, 3 passes, 4 lanes.
    pub const PASSPHRASE: Self = Self::Argon2id { memory_kib: 64 * 1024, passes: 3, lanes: 4 };

    /// Whether the parameters are neither weaker than ours nor meant to exhaust memory or time. Judged before
    /// anything is allocated, since a changed header is found out only with the key it describes.
    pub(crate) fn is_acceptable(&self) -> bool {
        match *self {
            Self::KeyFile => true,
            Self::Argon2id { memory_kib, passes, lanes } => {
                (64 * 1024..=1024 * 1024).contains(&memory_kib)
                    && (3..=32).contains(&passes)
                    && (1..=16).contains(&lanes)
            }
        }
    }
}

/// Why a source gives no KEK.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The key file cannot be used as it lies there.
    #[error("the key file cannot be used")]
    File(#[source] StoreError),
    /// The key file cannot be made.
    #[error("key file {} cannot be created", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The key file has another size.
    #[error("key file {} does not hold exactly 32 bytes", path.display())]
    Length {
        /// The file.
        path: PathBuf,
    },
    /// There is no passphrase.
    #[error("the passphrase is empty")]
    Empty,
    /// A key file was given for a vault under a passphrase.
    #[error("the vault is locked with a passphrase, not with a key file")]
    NeedsPassphrase,
    /// A passphrase was given for a vault under a key file.
    #[error("the vault is locked with a key file, not with a passphrase")]
    NeedsKeyFile,
    /// Not enough memory for Argon2id.
    #[error("no memory to stretch the passphrase")]
    Memory,
    /// The system gave no random bytes.
    #[error("no random bytes could be had")]
    Random,
}

/// Where the KEK comes from.
pub trait KeySource: Send + Sync {
    /// How a new vault under this source makes its KEK.
    fn stretch(&self) -> Stretch;

    /// The KEK of a vault with this stretch and salt. Says nothing of whether it is the right one.
    ///
    /// # Errors
    /// [`KeyError`] where the source cannot be read or is of another kind than the vault's.
    fn kek(&self, stretch: &Stretch, salt: &[u8; SALT_BYTES]) -> Result<Kek, KeyError>;
}

/// A file of 32 random bytes that nobody else may read (mode 0600).
#[derive(Clone, Debug)]
pub struct KeyFile(pub PathBuf);

impl KeyFile {
    /// Makes the file, which must not be there, with a fresh key.
    ///
    /// # Errors
    /// [`KeyError::Create`] where it exists or cannot be written, [`KeyError::Random`].
    pub fn create(&self) -> Result<(), KeyError> {
        let key = Zeroizing::new(random::<KEY_BYTES>().map_err(|_| KeyError::Random)?);
        write_new(&self.0, &*key).map_err(|source| KeyError::Create { path: self.0.clone(), source })
    }
}

impl KeySource for KeyFile {
    fn stretch(&self) -> Stretch {
        Stretch::KeyFile
    }

    #[expect(clippy::disallowed_methods, reason = "the key file's bytes become the KEK")]
    fn kek(&self, stretch: &Stretch, salt: &[u8; SALT_BYTES]) -> Result<Kek, KeyError> {
        match stretch {
            Stretch::Argon2id { .. } => Err(KeyError::NeedsPassphrase),
            Stretch::KeyFile => {
                let length = |_| KeyError::Length { path: self.0.clone() };
                let file = open_private(&self.0).map_err(KeyError::File)?;
                let key = Secret::from_reader(file, KEY_BYTES).map_err(length)?;
                if key.len() != KEY_BYTES {
                    return Err(KeyError::Length { path: self.0.clone() });
                }
                Ok(Kek::made(|kek| expand(&Hkdf::new(Some(salt), key.expose_secret()), &[KEY_FILE_LABEL], kek)))
            }
        }
    }
}

/// A passphrase, stretched with Argon2id.
#[derive(Debug)]
pub struct Passphrase(pub Secret);

impl KeySource for Passphrase {
    fn stretch(&self) -> Stretch {
        Stretch::PASSPHRASE
    }

    #[expect(clippy::disallowed_methods, reason = "the passphrase is stretched into the KEK")]
    fn kek(&self, stretch: &Stretch, salt: &[u8; SALT_BYTES]) -> Result<Kek, KeyError> {
        let Stretch::Argon2id { memory_kib, passes, lanes } = *stretch else { return Err(KeyError::NeedsKeyFile) };
        if self.0.is_empty() {
            return Err(KeyError::Empty);
        }
        let params = Params::new(memory_kib, passes, lanes, Some(KEY_BYTES)).map_err(|_| KeyError::Memory)?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut memory = Vec::new();
        memory.try_reserve_exact(argon.params().block_count()).map_err(|_| KeyError::Memory)?;
        memory.resize(argon.params().block_count(), Block::new());
        let mut kek = Kek::zero();
        let done = argon.hash_password_into_with_memory(self.0.expose_secret(), salt, &mut **kek.0, &mut memory);
        memory.zeroize();
        done.map(|()| kek).map_err(|_| KeyError::Memory)
    }
}

/// A key-encryption key: 32 bytes, wiped when dropped.
pub struct Kek(Box<Zeroizing<[u8; KEY_BYTES]>>);

impl Kek {
    fn made(fill: impl FnOnce(&mut [u8; KEY_BYTES])) -> Self {
        let mut kek = Self::zero();
        fill(&mut kek.0);
        kek
    }

    fn zero() -> Self {
        Self(Box::new(Zeroizing::new([0; KEY_BYTES])))
    }

    /// A key for one purpose (HKDF-Expand, RFC 5869 section 2.3; the KEK is a uniform key, so it needs no extraction).
    pub(crate) fn derive(&self, label: &[u8], salt: &[u8]) -> Zeroizing<[u8; KEY_BYTES]> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        let hkdf = Hkdf::from_prk(&**self.0).expect("the KEK has the length of a SHA-256");
        expand(&hkdf, &[label, salt], &mut key);
        key
    }
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kek([REDACTED])")
    }
}

fn expand(hkdf: &Hkdf<Sha256>, info: &[&[u8]], key: &mut [u8; KEY_BYTES]) {
    hkdf.expand_multi_info(info, key).expect("32 bytes are far below the limit of HKDF");
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
