//! How records are bound to one another, and the line that each of them is.
//!
//! ```text
//! {"v":1,"seq":12,"time":"..","kind":"..","digest":"..","previous":"..","hash":"..","salt":"..","contents":{..}}
//!
//! digest = SHA-256(salt || contents)              salt as 16 bytes, contents as they stand in the line
//! hash   = SHA-256(previous || digest || head)    both as 32 bytes, head is the line before `,"digest"`
//! ```
//!
//! The envelope stays when contents are deleted (the line then ends after `hash`), so that the chain
//! still verifies; the salt goes with the contents, so that they cannot be guessed from the digest.

use sha2::{Digest as _, Sha256};

use crate::format;
use crate::record::Kind;

/// The version of the form that is written.
pub(crate) const VERSION: &[u8] = b"{\"v\":1,\"seq\":";

/// The longest line that the form allows, in bytes: every field at its limit, twice over.
pub(crate) const MAX_LINE_BYTES: usize = 64 * 1024;

/// SHA-256, of contents or of a record.
pub(crate) type Hash = [u8; 32];

/// 16 random bytes that make the digest of contents unguessable.
pub(crate) type Salt = [u8; 16];

/// The last record that was written: where the next one continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) seq: u64,
    pub(crate) hash: Hash,
}

impl Head {
    /// Before the first record.
    pub(crate) const START: Self = Self { seq: 0, hash: [0; 32] };

    /// Writes the next line and moves on to it.
    pub(crate) fn write_line(&mut self, link: &Link, contents: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(VERSION);
        format::decimal(out, self.seq + 1);
        out.extend_from_slice(b",\"time\":\"");
        format::instant(out, link.time);
        out.extend_from_slice(b"\",\"kind\":\"");
        out.extend_from_slice(link.kind.as_str().as_bytes());
        out.push(b'"');
        let hash = hash_of(&self.hash, &link.digest, &out[start..]);
        out.extend_from_slice(b",\"digest\":\"");
        out.extend_from_slice(&format::hex::<32, 64>(&link.digest));
        out.extend_from_slice(b"\",\"previous\":\"");
        out.extend_from_slice(&format::hex::<32, 64>(&self.hash));
        out.extend_from_slice(b"\",\"hash\":\"");
        out.extend_from_slice(&format::hex::<32, 64>(&hash));
        out.extend_from_slice(b"\",\"salt\":\"");
        out.extend_from_slice(&format::hex::<16, 32>(&link.salt));
        out.extend_from_slice(b"\",\"contents\":");
        out.extend_from_slice(contents);
        out.extend_from_slice(b"}\n");
        *self = Self { seq: self.seq + 1, hash };
    }
}

/// What is known of a record before its turn comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) time: i64,
    pub(crate) kind: Kind,
    pub(crate) salt: Salt,
    pub(crate) digest: Hash,
}

/// The digest of contents under their salt.
pub(crate) fn digest_of(salt: &Salt, contents: &[u8]) -> Hash {
    let mut sha = Sha256::new();
    sha.update(salt);
    sha.update(contents);
    sha.finalize().into()
}

fn hash_of(previous: &Hash, digest: &Hash, head: &[u8]) -> Hash {
    let mut sha = Sha256::new();
    sha.update(previous);
    sha.update(digest);
    sha.update(head);
    sha.finalize().into()
}
