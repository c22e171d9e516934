//! The file `vault.egret`, version 1: what stands where, and the proof that all of it is ours.
//!
//! Numbers are big-endian. Names and dates are in clear; everything else is sealed.
//!
//! ```text
//! header   "EGRVAULT"  version u16
//!          stretch u8 (0 key file, 1 Argon2id)  memory KiB u32  passes u32  lanes u32
//!          salt 32  generation u64
//!          HMAC-SHA-256 of the above 32            wrong: not this key, or a damaged header
//! items    count u32, then each, in strictly ascending order of tenant and name:
//!          tenant u8+n  name u8+n  version u32  created i64  updated i64  expires u8+i64   (microseconds, UTC)
//!          description envelope  value envelope    each: salt 32  nonce 12  tag 16  ciphertext u32+n
//! trailer  HMAC-SHA-256 of all of the above 32     wrong: something was changed, moved, cut off or added
//! ```

use hmac::{Hmac, KeyInit, Mac};
use model::{CredentialId, TenantId, Timestamp};
use sha2::Sha256;

use crate::envelope::Envelope;
use crate::kek::{Kek, SALT_BYTES, Stretch};

const MAGIC: &[u8; 8] = b"EGRVAULT";
const VERSION: u16 = 1;
const MAC_BYTES: usize = 32;
const HEADER_MAC_LABEL: &[u8] = b"egret vault 1 header";
const FILE_MAC_LABEL: &[u8] = b"egret vault 1 file";

/// Why bytes are no vault that can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FormatError {
    /// Not a vault at all.
    Magic,
    /// A vault of another version.
    Version(u16),
    /// Parameters that no vault of ours has.
    Parameters,
    /// Another key, or a damaged header: the two cannot be told apart.
    Unseal,
    /// Changed, moved, cut off or added to.
    Corrupt,
}

/// What a vault says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) stretch: Stretch,
    pub(crate) salt: [u8; SALT_BYTES],
    /// How many times it was written; a smaller number than one seen before means an old copy.
    pub(crate) generation: u64,
}

/// One sealed item.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) label: Label,
    pub(crate) description: Envelope,
    pub(crate) value: Envelope,
}

/// What stands in clear beside a sealed item, and is bound into both of its envelopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) tenant: TenantId,
    pub(crate) id: CredentialId,
    pub(crate) version: u32,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    pub(crate) expires: Option<Timestamp>,
}

impl Label {
    /// The context of the description.
    pub(crate) fn description_aad(&self) -> Vec<u8> {
        let mut aad = b"egret vault 1 description".to_vec();
        self.write(&mut aad);
        aad
    }

    /// The context of the value, with the description: kind and audience of a secret cannot be exchanged under it.
    pub(crate) fn value_aad(&self, description: &[u8]) -> Vec<u8> {
        let mut aad = b"egret vault 1 value".to_vec();
        self.write(&mut aad);
        put_long(&mut aad, description);
        aad
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_short(out, self.tenant.as_str());
        put_short(out, self.id.as_str());
        out.extend_from_slice(&self.version.to_be_bytes());
        for date in [self.created, self.updated] {
            out.extend_from_slice(&date.as_microsecond().to_be_bytes());
        }
        out.push(u8::from(self.expires.is_some()));
        out.extend_from_slice(&self.expires.map_or(0, Timestamp::as_microsecond).to_be_bytes());
    }
}

/// The whole file.
pub(crate) fn write<'a>(header: &Header, items: impl ExactSizeIterator<Item = &'a Item>, kek: &Kek) -> Vec<u8> {
    let mut out = Vec::new();
    write_header(&mut out, header);
    let mac = mac(kek, HEADER_MAC_LABEL, &out);
    out.extend_from_slice(&mac.finalize().into_bytes());
    out.extend_from_slice(&u32::try_from(items.len()).expect("a vault holds fewer than 2^32 items").to_be_bytes());
    for item in items {
        item.label.write(&mut out);
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
    let kind = reader.byte()?;
    let (memory_kib, passes, lanes) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let stretch = match kind {
        0 if (memory_kib, passes, lanes) == (0, 0, 0) => Stretch::KeyFile,
        1 => Stretch::Argon2id { memory_kib, passes, lanes },
        _ => return Err(FormatError::Parameters),
    };
    if !stretch.is_acceptable() {
        return Err(FormatError::Parameters);
    }
    Ok(Header { stretch, salt: reader.array()?, generation: u64::from_be_bytes(reader.array()?) })
}

/// The items, once every byte has proved to be ours.
pub(crate) fn read(bytes: &[u8], header: &Header, kek: &Kek) -> Result<Vec<Item>, FormatError> {
    let mut clear = Vec::new();
    write_header(&mut clear, header);
    let header_mac = bytes.get(clear.len()..clear.len() + MAC_BYTES).ok_or(FormatError::Corrupt)?;
    mac(kek, HEADER_MAC_LABEL, &clear).verify_slice(header_mac).map_err(|_| FormatError::Unseal)?;
    let (content, file_mac) = bytes.split_last_chunk::<MAC_BYTES>().ok_or(FormatError::Corrupt)?;
    mac(kek, FILE_MAC_LABEL, content).verify_slice(file_mac).map_err(|_| FormatError::Corrupt)?;
    read_items(content.get(clear.len() + MAC_BYTES..).ok_or(FormatError::Corrupt)?)
}

fn read_items(bytes: &[u8]) -> Result<Vec<Item>, FormatError> {
    let mut reader = Reader(bytes);
    let count = reader.u32()?;
    let mut items: Vec<Item> = Vec::new();
    for _ in 0..count {
        let item = Item { label: reader.label()?, description: reader.envelope()?, value: reader.envelope()? };
        let key = |item: &Item| (item.label.tenant.clone(), item.label.id.clone());
        if items.last().is_some_and(|last| key(last) >= key(&item)) {
            return Err(FormatError::Corrupt);
        }
        items.push(item);
    }
    if reader.0.is_empty() { Ok(items) } else { Err(FormatError::Corrupt) }
}

fn mac(kek: &Kek, label: &[u8], bytes: &[u8]) -> Hmac<Sha256> {
    let key = kek.derive(label, &[]);
    Hmac::<Sha256>::new_from_slice(&*key).expect("HMAC takes keys of any length").chain_update(bytes)
}

fn write_header(out: &mut Vec<u8>, header: &Header) {
    let (kind, numbers) = match header.stretch {
        Stretch::KeyFile => (0, [0, 0, 0]),
        Stretch::Argon2id { memory_kib, passes, lanes } => (1, [memory_kib, passes, lanes]),
    };
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.push(kind);
    for number in numbers {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&header.salt);
    out.extend_from_slice(&header.generation.to_be_bytes());
}

fn write_envelope(out: &mut Vec<u8>, envelope: &Envelope) {
    out.extend_from_slice(&envelope.salt);
    out.extend_from_slice(&envelope.nonce);
    out.extend_from_slice(&envelope.tag);
    put_long(out, &envelope.ciphertext);
}

fn put_short(out: &mut Vec<u8>, text: &str) {
    out.push(u8::try_from(text.len()).expect("names are at most 128 bytes"));
    out.extend_from_slice(text.as_bytes());
}

fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).expect("values are at most 64 KiB").to_be_bytes());
    out.extend_from_slice(bytes);
}

/// What is left to read.
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

    fn text(&mut self) -> Result<&'a str, FormatError> {
        let length = self.byte()?;
        std::str::from_utf8(self.take(usize::from(length))?).map_err(|_| FormatError::Corrupt)
    }

    fn date(&mut self) -> Result<Timestamp, FormatError> {
        Timestamp::from_microsecond(i64::from_be_bytes(self.array()?)).map_err(|_| FormatError::Corrupt)
    }

    fn label(&mut self) -> Result<Label, FormatError> {
        Ok(Label {
            tenant: self.text()?.into(),
            id: self.text()?.into(),
            version: self.u32()?,
            created: self.date()?,
            updated: self.date()?,
            expires: match (self.byte()?, self.date()?) {
                (0, date) if date == Timestamp::UNIX_EPOCH => None,
                (1, date) => Some(date),
                _ => return Err(FormatError::Corrupt),
            },
        })
    }

    fn envelope(&mut self) -> Result<Envelope, FormatError> {
        Ok(Envelope {
            salt: self.array()?,
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
