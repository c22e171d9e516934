//! Writes trust stores that Java reads: the JKS format, version 2, of public certificates only.
//!
//! Its digest is keyed with the password, which is public (`changeit`). The format's digest guards against accidents
//! only, and the store contains no secrets.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use rustls_pki_types::CertificateDer;

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
const TRUSTED_CERTIFICATE: u32 = 2;
/// The prefix of the format's digest, after the password.
const WHITENER: &[u8] = b"Mighty Aphrodite";

/// A Java trust store of these certificates, under the aliases `egret-0`, `egret-1` and so on.
pub fn truststore_jks(certificates: &[CertificateDer<'_>], password: &str) -> Vec<u8> {
    let mut store = Vec::new();
    put_u32(&mut store, MAGIC);
    put_u32(&mut store, VERSION);
    put_u32(&mut store, count(certificates.len()));
    for (number, certificate) in certificates.iter().enumerate() {
        put_u32(&mut store, TRUSTED_CERTIFICATE);
        put_text(&mut store, &format!("egret-{number}"));
        // The date of entry, in milliseconds; the same content always creates the same file.
        store.extend_from_slice(&0u64.to_be_bytes());
        put_text(&mut store, "X.509");
        put_u32(&mut store, count(certificate.len()));
        store.extend_from_slice(certificate);
    }
    let digest = digest(&store, password);
    store.extend_from_slice(&digest);
    store
}

/// SHA-1 over the password in UTF-16, the whitener and the store.
fn digest(store: &[u8], password: &str) -> [u8; 20] {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for unit in password.encode_utf16() {
        context.update(&unit.to_be_bytes());
    }
    context.update(WHITENER);
    context.update(store);
    let mut bytes = [0u8; 20];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

fn put_u32(store: &mut Vec<u8>, number: u32) {
    store.extend_from_slice(&number.to_be_bytes());
}

/// Java's modified UTF-8, which is ASCII for the ASCII texts written here.
fn put_text(store: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("aliases and type names are short");
    store.extend_from_slice(&length.to_be_bytes());
    store.extend_from_slice(text.as_bytes());
}

fn count(number: usize) -> u32 {
    u32::try_from(number).expect("certificates are fewer and smaller than 4 GiB")
}
