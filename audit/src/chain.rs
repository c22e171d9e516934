//! How records are bound to one another, and the line that each of them is.
//!
//! ```text
//! {"v":1,"seq":12,"time":"..","kind":"..","digest":"..","previous":"..","hash":"..","salt":"..","contents":{..}}
//!
//! digest = SHA-256(salt || contents)              salt as 16 bytes, contents as written in the line
//! hash   = SHA-256(previous || digest || head)    both as 32 bytes, head is the line before `,"digest"`
//! ```
//!
//! The envelope stays when contents are deleted (the line then ends after `hash`), so that the chain
//! still verifies; the salt goes with the contents, so that they cannot be guessed from the digest.

use std::io;
use std::path::Path;

use model::Timestamp;
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

/// The facts of a record before it is written.
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

pub(crate) fn hash_of(previous: &Hash, digest: &Hash, head: &[u8]) -> Hash {
    let mut sha = Sha256::new();
    sha.update(previous);
    sha.update(digest);
    sha.update(head);
    sha.finalize().into()
}

/// The file beside the segments that holds the last head the journal noted.
pub(crate) const HEAD_FILE: &str = "head";

impl Head {
    /// The hash as written in lines.
    pub(crate) fn hash_text(&self) -> String {
        format::hex::<32, 64>(&self.hash).map(char::from).iter().collect()
    }
}

/// The contents of the head file besides the head itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(crate) head: Head,
    /// How many exchanges and tunnels were open then.
    pub(crate) open: u64,
    /// None of them was opened in an earlier segment.
    pub(crate) oldest_open: u32,
    /// The latest time that was seen then, in microseconds since 1970; 0 where an older Egret wrote the head.
    pub(crate) latest: i64,
}

impl Noted {
    /// What is noted before the first record: from then on, a journal without a head has lost it.
    pub(crate) const START: Self = Self { head: Head::START, open: 0, oldest_open: 1, latest: 0 };
}

/// Reads the head that the journal last noted; `None` where there is none.
pub(crate) fn read_head(dir: &Path) -> io::Result<Option<Noted>> {
    let text = match std::fs::read(dir.join(HEAD_FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let document: HeadDocument =
        serde_json::from_slice(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let hash = format::unhex(document.hash.as_bytes()).ok_or(io::ErrorKind::InvalidData)?;
    let head = Head { seq: document.seq, hash };
    let latest = document.latest.map_or(0, Timestamp::as_microsecond);
    Ok(Some(Noted { head, open: document.open, oldest_open: document.oldest_open, latest }))
}

/// Notes a head, whole or not at all.
pub(crate) fn write_head(dir: &Path, noted: &Noted) -> io::Result<()> {
    let Noted { head, open, oldest_open, latest } = noted;
    let (seq, hash) = (head.seq, head.hash_text());
    let mut text =
        format!("{{\"seq\":{seq},\"hash\":\"{hash}\",\"open\":{open},\"oldest_open\":{oldest_open},\"latest\":\"")
            .into_bytes();
    format::instant(&mut text, *latest);
    text.extend_from_slice(b"\"}\n");
    let next = dir.join("head.next");
    std::fs::write(&next, text)?;
    std::fs::rename(&next, dir.join(HEAD_FILE))
}

#[derive(serde::Deserialize)]
struct HeadDocument {
    seq: u64,
    hash: String,
    open: u64,
    oldest_open: u32,
    #[serde(default)]
    latest: Option<Timestamp>,
}
