//! A 32-byte key for sealing, wiped when dropped, and the keys that are derived from it.

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use secret::Secret;
use secret::Slot;
use secret::{RngUnavailable, fill_random};

/// Bytes of a key file, of the KEK, of tenant keys and of data keys.
pub(crate) const KEY_BYTES: usize = 32;

/// A key of 256 bits, in locked pages. No `Clone`; `Debug` does not show it.
pub(crate) struct Key(Slot);

impl Key {
    /// Fills a key at its final location.
    pub(crate) fn generate_with<E>(fill: impl FnOnce(&mut [u8; KEY_BYTES]) -> Result<(), E>) -> Result<Self, E> {
        let mut key = Self(Slot::new(KEY_BYTES));
        let bytes: &mut [u8] = &mut key.0;
        fill(bytes.try_into().expect("a key has its length"))?;
        Ok(key)
    }

    /// A new key from the system's generator.
    pub(crate) fn random() -> Result<Self, RngUnavailable> {
        Self::generate_with(|key| fill_random(key))
    }

    /// The key that was sealed; `None` if it has another length.
    #[expect(clippy::disallowed_methods, reason = "an unwrapped key becomes a key")]
    pub(crate) fn of(secret: &Secret) -> Option<Self> {
        (secret.len() == KEY_BYTES).then(|| Self(Slot::of(secret.expose_secret())))
    }

    /// The same key in its own memory.
    pub(crate) fn copy(&self) -> Self {
        Self(Slot::of(&self.0))
    }

    /// The bytes, to be wrapped under another key.
    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        let bytes: &[u8] = &self.0;
        bytes.try_into().expect("a key has its length")
    }

    /// Bytes for one purpose (HKDF-Expand, RFC 5869 section 2.3; a key is uniform, so it needs no extraction).
    pub(crate) fn derive<const N: usize>(&self, label: &[u8], salt: &[u8]) -> Zeroizing<[u8; N]> {
        let mut derived = Zeroizing::new([0; N]);
        let hkdf = Hkdf::<Sha256>::from_prk(self.bytes()).expect("a key has the length of a SHA-256");
        hkdf.expand_multi_info(&[label, salt], &mut *derived).expect("N is far below the limit of HKDF");
        derived
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key([REDACTED])")
    }
}
