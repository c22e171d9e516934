//! Seals and opens one value with AES-256-GCM under a data key of its own, with its context bound in as AAD.
//!
//! The data key is derived from the KEK and a random salt that is drawn for every sealing, so no key ever
//! seals twice and the random 96-bit nonce cannot repeat under one.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use rand::TryRng;
use rand::rngs::SysRng;

use crate::kek::Kek;
use crate::secret::Secret;

pub(crate) const SALT_BYTES: usize = 32;
pub(crate) const NONCE_BYTES: usize = 12;
pub(crate) const TAG_BYTES: usize = 16;

/// What a data key is derived for; changes with the construction.
const LABEL: &[u8] = b"egret vault 1 data key";

/// A sealed value; holds nothing that is secret without the KEK.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) salt: [u8; SALT_BYTES],
    pub(crate) nonce: [u8; NONCE_BYTES],
    pub(crate) tag: [u8; TAG_BYTES],
    pub(crate) ciphertext: Box<[u8]>,
}

/// The envelope does not open: changed, for another context, or under another key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unopened;

/// The system gave no random bytes.
#[derive(Debug)]
pub(crate) struct NoRandom;

impl Envelope {
    /// Seals a value for the context that `aad` describes.
    pub(crate) fn seal(kek: &Kek, aad: &[u8], value: &[u8]) -> Result<Self, NoRandom> {
        let salt = random()?;
        let nonce = random()?;
        let mut ciphertext = vec![0u8; value.len()].into_boxed_slice();
        let buffer = InOutBuf::new(value, &mut ciphertext).expect("both have the length of the value");
        let tag = cipher(kek, &salt)
            .encrypt_inout_detached(&nonce.into(), aad, buffer)
            .expect("values and contexts are far below the 64 GiB of GCM");
        Ok(Self { salt, nonce, tag: tag.into(), ciphertext })
    }

    /// Opens the value where key, context and every bit are those of the sealing.
    pub(crate) fn open(&self, kek: &Kek, aad: &[u8]) -> Result<Secret, Unopened> {
        Secret::made_in_place(self.ciphertext.len(), |plaintext| {
            let buffer = InOutBuf::new(&self.ciphertext, plaintext).map_err(|_| Unopened)?;
            cipher(kek, &self.salt)
                .decrypt_inout_detached(&self.nonce.into(), aad, buffer, &self.tag.into())
                .map_err(|_| Unopened)
        })
    }
}

fn cipher(kek: &Kek, salt: &[u8; SALT_BYTES]) -> Aes256Gcm {
    let key = kek.derive(LABEL, salt);
    Aes256Gcm::new((&*key).into())
}

/// Bytes from the system's generator: a fork or a clone of the machine does not repeat them.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], NoRandom> {
    let mut bytes = [0u8; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| NoRandom)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
