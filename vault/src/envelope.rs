//! Seals and opens one value with AES-256-GCM under a data key of its own, with its context bound in as AAD.
//!
//! The data key is derived from a key and a random salt. Each sealing draws a new salt, so no data key ever seals twice
//! and a nonce cannot repeat under one. GCM alone allows a ciphertext that opens under two keys. So 32 more derived bytes
//! are stored with it and compared before it is opened: they commit to the key.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::key::{KEY_BYTES, Key};
use secret::Secret;
use secret::{RngUnavailable, random};

pub(crate) const SALT_BYTES: usize = 32;
pub(crate) const COMMITMENT_BYTES: usize = 32;
pub(crate) const NONCE_BYTES: usize = 12;
pub(crate) const TAG_BYTES: usize = 16;

/// The purpose of a derived data key; changes with the construction.
const LABEL: &[u8] = b"egret vault 2 data key";

/// A sealed value; it reveals no secret without the key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) salt: [u8; SALT_BYTES],
    /// Identifies the data key, so that no other is ever tried.
    pub(crate) commitment: [u8; COMMITMENT_BYTES],
    pub(crate) nonce: [u8; NONCE_BYTES],
    pub(crate) tag: [u8; TAG_BYTES],
    pub(crate) ciphertext: Box<[u8]>,
}

/// The envelope does not open: it was changed, has another context, or is under another key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OpenError;

impl Envelope {
    /// Seals a value for the context that `aad` describes.
    pub(crate) fn seal(key: &Key, aad: &[u8], value: &[u8]) -> Result<Self, RngUnavailable> {
        let salt = random()?;
        let nonce = random()?;
        let data = DataKey::derived(key, &salt);
        let mut ciphertext = vec![0u8; value.len()].into_boxed_slice();
        let buffer = InOutBuf::new(value, &mut ciphertext).expect("both have the length of the value");
        let tag = data
            .cipher()
            .encrypt_inout_detached(&nonce.into(), aad, buffer)
            .expect("values and contexts are far below the 64 GiB of GCM");
        Ok(Self { salt, commitment: *data.commitment(), nonce, tag: tag.into(), ciphertext })
    }

    /// Opens the value if key, context and every bit are those of the sealing.
    pub(crate) fn open(&self, key: &Key, aad: &[u8]) -> Result<Secret, OpenError> {
        let data = DataKey::derived(key, &self.salt);
        if !bool::from(data.commitment().ct_eq(&self.commitment)) {
            return Err(OpenError);
        }
        Secret::init_in_place(self.ciphertext.len(), |plaintext| {
            let buffer = InOutBuf::new(&self.ciphertext, plaintext).map_err(|_| OpenError)?;
            data.cipher()
                .decrypt_inout_detached(&self.nonce.into(), aad, buffer, &self.tag.into())
                .map_err(|_| OpenError)
        })
    }
}

/// The key of one envelope, and the bytes that commit to it.
struct DataKey(Zeroizing<[u8; KEY_BYTES + COMMITMENT_BYTES]>);

impl DataKey {
    fn derived(key: &Key, salt: &[u8; SALT_BYTES]) -> Self {
        Self(key.derive(LABEL, salt))
    }

    fn cipher(&self) -> Aes256Gcm {
        let key: &[u8; KEY_BYTES] = self.0.first_chunk().expect("a data key has both parts");
        Aes256Gcm::new(key.into())
    }

    fn commitment(&self) -> &[u8; COMMITMENT_BYTES] {
        self.0.last_chunk().expect("a data key has both parts")
    }
}

#[cfg(test)]
mod tests;
