//! A vault in a folder with two key files, and the state after its changes.

use std::path::Path;
use std::time::Duration;

use egret_vault::{Audience, CredentialSpec, KeyFile, Kind, NewCredential, Secret, Vault, VaultError};
use model::{Authority, Destination, Scheme, TenantId, Timestamp};
use tempfile::TempDir;

/// The key files; rekeying alternates between them.
pub(crate) const KEYS: [&str; 2] = ["vault.key", "other.key"];

/// A folder with a vault in which one credential has its first version.
pub(crate) fn prepared() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    KEYS.iter().for_each(|key| KeyFile(folder.path().join(key)).create().unwrap());
    put(&Vault::create(&folder.path().join("vault.egret"), &key(folder.path(), 0)).unwrap());
    folder
}

pub(crate) fn key(folder: &Path, number: usize) -> KeyFile {
    KeyFile(folder.join(KEYS[number]))
}

/// Opens with the current key of the vault; returns which one.
pub(crate) fn open(folder: &Path) -> (Vault, usize) {
    let open = |number| Vault::open(&folder.join("vault.egret"), &key(folder, number));
    match open(0) {
        Err(VaultError::Unseal) => (open(1).unwrap(), 1),
        opened => (opened.unwrap(), 0),
    }
}

/// Puts the next version, whose value contains its number.
pub(crate) fn put(vault: &Vault) {
    let next = vault.show(&TenantId::default(), &"name".into()).map_or(1, |shown| shown.version + 1);
    let new = NewCredential { grace: Duration::ZERO, ..named("name") };
    vault.put(new, Secret::new(value_of(next)), Timestamp::now()).unwrap();
}

/// Puts the next version and four others, in one change.
pub(crate) fn import(vault: &Vault) {
    let next = vault.show(&TenantId::default(), &"name".into()).map_or(1, |shown| shown.version + 1);
    let others = ["a", "b", "c", "d"].map(|name| (named(name), Secret::new(value_of(1))));
    let all = std::iter::once((named("name"), Secret::new(value_of(next)))).chain(others).collect();
    vault.put_all(all, Timestamp::now()).unwrap();
}

fn named(name: &str) -> NewCredential {
    let audience = Audience::parse(&["api.example.com"]).unwrap();
    NewCredential::new(name.into(), CredentialSpec::new(Kind::bearer(), audience))
}

pub(crate) fn value_of(version: u32) -> Vec<u8> {
    format!("the-value-of-version-{version}").into_bytes()
}

/// The version in use, which must have its own value.
pub(crate) fn version(vault: &Vault) -> u32 {
    let destination = Destination::of(Scheme::Https, Authority::parse("api.example.com", false).unwrap());
    let lease = vault.lease(&TenantId::default(), &"name".into(), &destination).unwrap();
    assert_eq!(lease.substitution_bytes(), value_of(lease.version()));
    lease.version()
}

/// How often each key of the vault was replaced.
pub(crate) fn key_number(vault: &Vault) -> u32 {
    vault.keys()[0].1
}
