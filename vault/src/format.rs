//! The file `vault.egret`, version 2: its layout, and the proof that every byte is ours.
//!
//! Numbers are big-endian, dates are microseconds since 1970 (UTC). Names and dates are in clear; all else is sealed.
//! `docs/vault-format.md` specifies the format in detail, for authors of another reader.
//!
//! ```text
//! header   "EGRVAULT"  version u16
//!          sources u8 (1 passphrase, 2 key file, 4 external)  memory KiB u32  passes u32  lanes u32  hint u16+n
//!          salt 32  generation u64  wrappings u64
//!          HMAC-SHA-256 of the above 32            wrong: not this key, or a damaged header
//! keys     count u32, then each, in strictly ascending order of tenant:
//!          tenant u8+n  id u32  created i64  generation u64  sealings u64  key envelope
//! items    count u32, then each, in strictly ascending order of tenant, name and version:
//!          tenant u8+n  name u8+n  version u32  key id u32  generation u64  created i64  updated i64  expires u8+i64
//!          superseded u8+i64 (1 by its successor, 2 removed)  description envelope  value envelope
//!          each envelope: salt 32  commitment 32  nonce 12  tag 16  ciphertext u32+n
//! trailer  HMAC-SHA-256 of all of the above 32     wrong: something was changed, moved, cut off or added
//! ```

use hmac::{Hmac, KeyInit, Mac};
use model::{CredentialId, TenantId, Timestamp};
use sha2::Sha256;

use crate::envelope::Envelope;
use crate::kek::{Argon2id, Kek, KeyDerivation, SALT_BYTES};

const MAGIC: &[u8; 8] = b"EGRVAULT";
pub(crate) const VERSION: u16 = 2;
const MAC_BYTES: usize = 32;
/// The flag of an end that belongs to a removed version.
const REMOVED: u8 = 2;
const HEADER_MAC_LABEL: &[u8] = b"egret vault 2 header";
const FILE_MAC_LABEL: &[u8] = b"egret vault 2 file";

/// Why bytes are not a vault that can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FormatError {
    /// Not a vault at all.
    Magic,
    /// A vault of another version.
    Version(u16),
    /// Parameters that no vault of ours has.
    Parameters,
    /// Another key, or a damaged header: the two cannot be distinguished.
    Unseal,
    /// Changed, moved, truncated or extended.
    Corrupt,
}

/// The header of a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) recipe: KeyDerivation,
    pub(crate) salt: [u8; SALT_BYTES],
    /// How many times it was written; a number smaller than one seen before indicates an old copy.
    pub(crate) generation: u64,
    /// How many keys the KEK has wrapped.
    pub(crate) wrappings: u64,
}

/// A tenant's key, wrapped under the KEK.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct WrappedKey {
    pub(crate) label: KeyLabel,
    /// How many envelopes it has sealed.
    pub(crate) sealings: u64,
    pub(crate) key: Envelope,
}

/// The fields in clear next to a wrapped key, bound into its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyLabel {
    pub(crate) tenant: TenantId,
    /// The number of the tenant's key, 1 for the first.
    pub(crate) id: u32,
    pub(crate) created: Timestamp,
    /// The generation in which it was made.
    pub(crate) generation: u64,
}

impl KeyLabel {
    /// The context of the wrapped key.
    pub(crate) fn aad(&self) -> Vec<u8> {
        context(b"egret vault 2 tenant key", |aad| self.write(aad))
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_short(out, self.tenant.as_str());
        out.extend_from_slice(&self.id.to_be_bytes());
        out.extend_from_slice(&self.created.as_microsecond().to_be_bytes());
        out.extend_from_slice(&self.generation.to_be_bytes());
    }
}

/// One sealed item.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) label: Label,
    /// For a version with a successor: until when it is still redacted, and valid for exchanges that began with it. For a
    /// removed version: until when it is still redacted. Only the file's proof covers this, because it changes without the
    /// secret.
    pub(crate) superseded: Option<Timestamp>,
    /// Whether it was removed: it is only redacted.
    pub(crate) is_removed: bool,
    pub(crate) description: Envelope,
    pub(crate) value: Envelope,
}

/// The fields in clear next to a sealed item, bound into both of its envelopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) tenant: TenantId,
    pub(crate) id: CredentialId,
    pub(crate) version: u32,
    /// The number of the tenant's key that sealed it.
    pub(crate) key: u32,
    /// The generation in which it was sealed.
    pub(crate) generation: u64,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    pub(crate) expires: Option<Timestamp>,
}

impl Label {
    /// The context of the description.
    pub(crate) fn description_aad(&self) -> Vec<u8> {
        context(b"egret vault 2 description", |aad| self.write(aad))
    }

    /// The context of the value, including the description: kind and audience of a secret cannot be substituted.
    pub(crate) fn value_aad(&self, description: &[u8]) -> Vec<u8> {
        context(b"egret vault 2 value", |aad| {
            self.write(aad);
            put_long(aad, description);
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_short(out, self.tenant.as_str());
        put_short(out, self.id.as_str());
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&self.key.to_be_bytes());
        out.extend_from_slice(&self.generation.to_be_bytes());
        for date in [self.created, self.updated] {
            out.extend_from_slice(&date.as_microsecond().to_be_bytes());
        }
        put_end(out, self.expires);
    }
}

/// The bytes bound into an envelope: its purpose, the format's version, and the fields as they are in the file.
fn context(what: &[u8], fields: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut aad = what.to_vec();
    aad.extend_from_slice(&VERSION.to_be_bytes());
    fields(&mut aad);
    aad
}

/// A vault without its header.
pub(crate) struct Content<K, I> {
    pub(crate) keys: Vec<K>,
    pub(crate) items: Vec<I>,
}

/// The whole file.
pub(crate) fn write(header: &Header, content: &Content<WrappedKey, &Item>, kek: &Kek) -> Vec<u8> {
    let ciphertext: usize =
        content.items.iter().map(|item| item.value.ciphertext.len() + item.description.ciphertext.len()).sum();
    let mut out = Vec::with_capacity(ciphertext + 320 * (content.items.len() + content.keys.len() + 2));
    write_header(&mut out, header);
    let mac = mac(kek, HEADER_MAC_LABEL, &out);
    out.extend_from_slice(&mac.finalize().into_bytes());
    put_count(&mut out, content.keys.len());
    for key in &content.keys {
        key.label.write(&mut out);
        out.extend_from_slice(&key.sealings.to_be_bytes());
        write_envelope(&mut out, &key.key);
    }
    put_count(&mut out, content.items.len());
    for item in &content.items {
        item.label.write(&mut out);
        put_superseded(&mut out, item);
        write_envelope(&mut out, &item.description);
        write_envelope(&mut out, &item.value);
    }
    let mac = self::mac(kek, FILE_MAC_LABEL, &out);
    out.extend_from_slice(&mac.finalize().into_bytes());
    out
}

/// The header, before the key is known: only its form and bounds are judged.
pub(crate) fn read_header(bytes: &[u8]) -> Result<Header, FormatError> {
    let mut reader = Reader(bytes);
    if reader.take(MAGIC.len()).map_err(|_| FormatError::Magic)? != MAGIC {
        return Err(FormatError::Magic);
    }
    match u16::from_be_bytes(reader.array()?) {
        VERSION => {}
        other => return Err(FormatError::Version(other)),
    }
    let recipe = reader.recipe()?;
    if !recipe.is_acceptable() {
        return Err(FormatError::Parameters);
    }
    Ok(Header { recipe, salt: reader.array()?, generation: reader.u64()?, wrappings: reader.u64()? })
}

/// Keys and items, after every byte has been verified.
pub(crate) fn read(bytes: &[u8], header: &Header, kek: &Kek) -> Result<Content<WrappedKey, Item>, FormatError> {
    let mut clear = Vec::new();
    write_header(&mut clear, header);
    let header_mac = bytes.get(clear.len()..clear.len() + MAC_BYTES).ok_or(FormatError::Corrupt)?;
    mac(kek, HEADER_MAC_LABEL, &clear).verify_slice(header_mac).map_err(|_| FormatError::Unseal)?;
    let (content, file_mac) = bytes.split_last_chunk::<MAC_BYTES>().ok_or(FormatError::Corrupt)?;
    mac(kek, FILE_MAC_LABEL, content).verify_slice(file_mac).map_err(|_| FormatError::Corrupt)?;
    let mut reader = Reader(content.get(clear.len() + MAC_BYTES..).ok_or(FormatError::Corrupt)?);
    let keys = reader.ascending(Reader::wrapped_key, |key| key.label.tenant.clone())?;
    let items = reader.ascending(Reader::item, |item| {
        let label = &item.label;
        (label.tenant.clone(), label.id.clone(), label.version)
    })?;
    let young = |generation| generation > header.generation;
    if !reader.0.is_empty()
        || keys.iter().any(|key| young(key.label.generation))
        || items.iter().any(|item| young(item.label.generation))
    {
        return Err(FormatError::Corrupt);
    }
    Ok(Content { keys, items })
}

fn mac(kek: &Kek, label: &[u8], bytes: &[u8]) -> Hmac<Sha256> {
    let key = kek.0.derive::<32>(label, &[]);
    Hmac::<Sha256>::new_from_slice(&*key).expect("HMAC takes keys of any length").chain_update(bytes)
}

fn write_header(out: &mut Vec<u8>, header: &Header) {
    let argon2id = header.recipe.passphrase.as_ref();
    let hint = header.recipe.external.as_deref().unwrap_or_default();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.push(header.recipe.bits());
    for number in argon2id.map_or([0; 3], |a| [a.memory_kib, a.passes, a.lanes]) {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&u16::try_from(hint.len()).expect("hints are at most 4096 bytes").to_be_bytes());
    out.extend_from_slice(hint);
    out.extend_from_slice(&header.salt);
    out.extend_from_slice(&header.generation.to_be_bytes());
    out.extend_from_slice(&header.wrappings.to_be_bytes());
}

fn write_envelope(out: &mut Vec<u8>, envelope: &Envelope) {
    out.extend_from_slice(&envelope.salt);
    out.extend_from_slice(&envelope.commitment);
    out.extend_from_slice(&envelope.nonce);
    out.extend_from_slice(&envelope.tag);
    put_long(out, &envelope.ciphertext);
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).expect("a vault holds fewer than 2^32 items").to_be_bytes());
}

fn put_superseded(out: &mut Vec<u8>, item: &Item) {
    let at = out.len();
    put_end(out, item.superseded);
    if let Some(flag) = out.get_mut(at).filter(|_| item.is_removed) {
        *flag = REMOVED;
    }
}

fn put_end(out: &mut Vec<u8>, end: Option<Timestamp>) {
    out.push(u8::from(end.is_some()));
    out.extend_from_slice(&end.map_or(0, Timestamp::as_microsecond).to_be_bytes());
}

fn put_short(out: &mut Vec<u8>, text: &str) {
    out.push(u8::try_from(text.len()).expect("names are at most 128 bytes"));
    out.extend_from_slice(text.as_bytes());
}

fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).expect("values are at most 64 KiB").to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The bytes left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], FormatError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(FormatError::Corrupt)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(FormatError::Corrupt)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, FormatError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, FormatError> {
        self.array().map(u64::from_be_bytes)
    }

    fn text(&mut self) -> Result<&'a str, FormatError> {
        let length = self.byte()?;
        std::str::from_utf8(self.take(usize::from(length))?).map_err(|_| FormatError::Corrupt)
    }

    fn date(&mut self) -> Result<Timestamp, FormatError> {
        Timestamp::from_microsecond(i64::from_be_bytes(self.array()?)).map_err(|_| FormatError::Corrupt)
    }

    fn end(&mut self) -> Result<Option<Timestamp>, FormatError> {
        match (self.byte()?, self.date()?) {
            (0, date) if date == Timestamp::UNIX_EPOCH => Ok(None),
            (1, date) => Ok(Some(date)),
            _ => Err(FormatError::Corrupt),
        }
    }

    fn recipe(&mut self) -> Result<KeyDerivation, FormatError> {
        let sources = self.byte()?;
        let argon2id = Argon2id { memory_kib: self.u32()?, passes: self.u32()?, lanes: self.u32()? };
        let length = u16::from_be_bytes(self.array()?);
        let hint = self.take(usize::from(length))?;
        let recipe = KeyDerivation {
            passphrase: (sources & 1 != 0).then_some(argon2id),
            key_file: sources & 2 != 0,
            external: (sources & 4 != 0).then(|| hint.into()),
        };
        // Unused bits are zero, and no other bit is known: each recipe has exactly one form.
        let zero = Argon2id { memory_kib: 0, passes: 0, lanes: 0 };
        let unused =
            (recipe.passphrase.is_some() || argon2id == zero) && (recipe.external.is_some() || hint.is_empty());
        if unused && recipe.bits() == sources { Ok(recipe) } else { Err(FormatError::Parameters) }
    }

    /// A counted list in strictly ascending order of `key`.
    fn ascending<T, K: Ord>(
        &mut self,
        one: impl Fn(&mut Self) -> Result<T, FormatError>,
        key: impl Fn(&T) -> K,
    ) -> Result<Vec<T>, FormatError> {
        let count = self.u32()?;
        let mut all: Vec<T> = Vec::new();
        let mut last = None;
        for _ in 0..count {
            let next = one(self)?;
            let place = Some(key(&next));
            if last >= place {
                return Err(FormatError::Corrupt);
            }
            last = place;
            all.push(next);
        }
        Ok(all)
    }

    fn wrapped_key(&mut self) -> Result<WrappedKey, FormatError> {
        let tenant = self.text()?.into();
        let (id, created, generation) = (self.u32()?, self.date()?, self.u64()?);
        let label = KeyLabel { tenant, id, created, generation };
        Ok(WrappedKey { label, sealings: self.u64()?, key: self.envelope()? })
    }

    /// Until when a version is redacted, and whether it was removed.
    fn superseded(&mut self) -> Result<(Option<Timestamp>, bool), FormatError> {
        if self.0.first() == Some(&REMOVED) {
            self.byte()?;
            return Ok((Some(self.date()?), true));
        }
        Ok((self.end()?, false))
    }

    fn item(&mut self) -> Result<Item, FormatError> {
        let label = self.label()?;
        let (superseded, is_removed) = self.superseded()?;
        Ok(Item { label, superseded, is_removed, description: self.envelope()?, value: self.envelope()? })
    }

    fn label(&mut self) -> Result<Label, FormatError> {
        Ok(Label {
            tenant: self.text()?.into(),
            id: self.text()?.into(),
            version: self.u32()?,
            key: self.u32()?,
            generation: self.u64()?,
            created: self.date()?,
            updated: self.date()?,
            expires: self.end()?,
        })
    }

    fn envelope(&mut self) -> Result<Envelope, FormatError> {
        Ok(Envelope {
            salt: self.array()?,
            commitment: self.array()?,
            nonce: self.array()?,
            tag: self.array()?,
            ciphertext: {
                let length = self.u32()?;
                let length = usize::try_from(length).map_err(|_| FormatError::Corrupt)?;
                self.take(length)?.into()
            },
        })
    }
}
