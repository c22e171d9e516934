//! A marked secret, and the search for it in every encoding of a possible leak.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// A secret value that exists nowhere else on the machine.
#[derive(Clone, Debug)]
pub struct Canary {
    value: String,
    needles: Vec<(&'static str, Vec<u8>)>,
}

impl Canary {
    /// A new one; letters, digits and one slash, so that percent-encoding and escaping change it.
    pub fn new(mark: &str) -> Self {
        Self::of(&format!("cnry{mark}/{}", random_hex(20)))
    }

    /// The search for an existing value (a token, a pair).
    pub fn of(value: &str) -> Self {
        Self { value: value.to_owned(), needles: needles(value.as_bytes()) }
    }

    /// The secret itself.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The name of the first encoding in which `bytes` contain the secret.
    pub fn find(&self, bytes: &[u8]) -> Option<&'static str> {
        self.needles.iter().find(|(_, needle)| contains(bytes, needle)).map(|(name, _)| *name)
    }

    /// Panics if `bytes` contain the secret.
    pub fn assert_absent(&self, place: &str, bytes: &[u8]) {
        if let Some(coding) = self.find(bytes) {
            panic!("the secret stands in {place} ({coding})");
        }
    }

    /// Panics if a file below `folder`, or its name, contains the secret.
    pub fn assert_absent_below(&self, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            self.assert_absent("a file name", path.as_os_str().as_encoded_bytes());
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                self.assert_absent_below(&path);
            } else if kind.is_file() {
                // A file may disappear while the folder is read; a removed one contains nothing.
                let bytes = std::fs::read(&path).unwrap_or_default();
                self.assert_absent(&path.display().to_string(), &bytes);
            }
        }
    }
}

/// Random hex digits, `bytes` times two.
pub fn random_hex(bytes: usize) -> String {
    hex(&random_bytes(bytes))
}

/// Bytes that do not compress.
pub fn random_bytes(count: usize) -> Vec<u8> {
    let mut raw = vec![0u8; count];
    crate::pki::provider().secure_random.fill(&mut raw).unwrap();
    raw
}

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

/// Whether `bytes` contain `needle`.
pub fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(bytes, needle).is_some()
}

fn needles(value: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut all = vec![
        ("raw", value.to_vec()),
        ("hex", hex(value).into_bytes()),
        ("hex, upper case", hex(value).to_uppercase().into_bytes()),
        ("reversed", value.iter().rev().copied().collect()),
        ("percent", percent(value, false, false)),
        ("percent, lower case", percent(value, false, true)),
        ("percent, every byte", percent(value, true, false)),
        ("JSON", String::from_utf8_lossy(value).replace('/', "\\/").into_bytes()),
        ("UTF-16", value.iter().flat_map(|byte| [*byte, 0]).collect()),
    ];
    for shift in 0..3 {
        all.push(("base64", shifted(value, shift, &STANDARD_NO_PAD)));
        all.push(("base64url", shifted(value, shift, &URL_SAFE_NO_PAD)));
    }
    all
}

fn percent(value: &[u8], every: bool, lower: bool) -> Vec<u8> {
    let mut text = String::new();
    for byte in value {
        match (byte.is_ascii_alphanumeric() && !every, lower) {
            (true, _) => text.push(char::from(*byte)),
            (false, true) => write!(text, "%{byte:02x}").unwrap(),
            (false, false) => write!(text, "%{byte:02X}").unwrap(),
        }
    }
    text.into_bytes()
}

/// The digits of a base64 text that do not depend on the text around the value.
fn shifted(value: &[u8], shift: usize, engine: &impl Engine) -> Vec<u8> {
    let mut padded = vec![0u8; shift];
    padded.extend_from_slice(value);
    let digits = engine.encode(&padded).into_bytes();
    let start = (shift * 8).div_ceil(6);
    let end = padded.len() * 8 / 6;
    digits[start..end].to_vec()
}
