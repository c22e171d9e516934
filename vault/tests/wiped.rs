//! Searches the memory of the process for secrets after they were dropped.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;

use egret_vault::{Audience, CredentialSpec, KeyFile, Kind, Memory, NewCredential, Secret, Vault, memory};
use model::{Authority, Destination, Scheme, TenantId, Timestamp};

/// The secret is this pattern with every bit inverted, so that the search puts no copy of it into memory.
const MASKED: &[u8; 44] = b"~~~~this never stands in memory unmasked~~~~";

fn bytes() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MASKED.len());
    bytes.extend(MASKED.iter().map(|byte| !black_box(*byte)));
    bytes
}

fn unmasked() -> Secret {
    Secret::new(bytes())
}

#[test]
fn nothing_of_a_secret_stays_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyFile(folder.path().join("vault.key"));
    key.create().unwrap();
    let vault = Vault::create(&folder.path().join("vault.egret"), &key).unwrap();
    let mut ordinary = bytes();
    assert!(copies() > 0, "the search finds what is there");
    ordinary.fill(0);
    black_box(&ordinary);
    let held = unmasked();
    // The kernel itself cannot read these pages, so no process can read them through it.
    assert_eq!(copies(), usize::from(memory() != Memory::Secret), "{:?}", memory());
    drop(held);
    vault.put(credential(), unmasked(), Timestamp::now()).unwrap();
    vault.seal_internal("ca.key", &unmasked()).unwrap();
    let destination = Destination::of(Scheme::Https, Authority::parse("api.example.com", false).unwrap());
    for _ in 0..10 {
        let lease = vault.lease(&TenantId::default(), &"name".into(), &destination).unwrap();
        black_box((lease.placement(), lease.patterns(), lease.substitution_bytes().len()));
        black_box(vault.open_internal("ca.key").unwrap());
    }
    assert_eq!(copies(), 0);
}

fn credential() -> NewCredential {
    let kind = Kind::new("header", [("name", "x-api-key".to_owned())]).unwrap();
    NewCredential::new("name".into(), CredentialSpec::new(kind, Audience::parse(&["api.example.com"]).unwrap()))
}

/// How often the secret occurs in the writable memory of this process.
fn copies() -> usize {
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let writable = maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|mode| mode.starts_with("rw")));
    let mut found = 0;
    for line in writable {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (start, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        // Some special mappings cannot be read; they contain no heap and no stack.
        if memory.read_exact_at(&mut bytes, start).is_ok() {
            found +=
                bytes.windows(MASKED.len()).filter(|window| window.iter().zip(MASKED).all(|(a, b)| *a == !*b)).count();
        }
        // Cleared before it is freed, or the next search would find the copies in it.
        bytes.iter_mut().for_each(|byte| *byte = 0);
        black_box(&bytes);
    }
    found
}
