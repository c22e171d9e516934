//! Measures the vault: `cargo run --release -p egret-vault --example bench_vault [-- --short]`.
#![expect(clippy::print_stdout, reason = "printing is its purpose")]

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use egret_vault::{
    Argon2id, Audience, CredentialSpec, KeyFile, KeySource, Kind, NewCredential, Passphrase, Secret, Vault,
};
use model::{Authority, Destination, Scheme, TenantId, Timestamp};

/// Calls of each kind.
fn rounds() -> u32 {
    if is_short() { 20_000 } else { 200_000 }
}

/// Credentials of a large vault.
fn large() -> usize {
    if is_short() { 10_000 } else { 100_000 }
}

/// Whether fewer repetitions suffice.
fn is_short() -> bool {
    std::env::args().any(|argument| argument == "--short")
}

fn main() -> Result<(), Box<dyn Error>> {
    small()?;
    many()?;
    unlock()
}

/// The calls of the data path, in a vault of a hundred.
fn small() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let vault = filled(folder.path(), 100)?;
    let (tenant, id) = (TenantId::default(), "name-42".into());
    let destination = Destination::of(Scheme::Https, Authority::parse("api.github.com", false)?);
    let measure = |what: &str, call: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..rounds()).for_each(|_| call());
        println!("{what:<44} {:>9.0} ns", start.elapsed().as_nanos() as f64 / f64::from(rounds()));
    };
    measure("slot", &mut || drop(black_box(vault.shape(&tenant, &id))));
    measure("lease", &mut || drop(black_box(vault.lease(&tenant, &id, &destination))));
    let lease = vault.lease(&tenant, &id, &destination)?;
    measure("placement", &mut || drop(black_box(lease.placement())));
    measure("patterns", &mut || drop(black_box(lease.patterns())));
    let puts = 200;
    timed(&format!("put, with {} there, each", vault.status().credentials), puts, || {
        (0..puts).try_for_each(|number| put(&vault, &format!("put-{number}")))
    })
}

/// A vault of the maximum size.
fn many() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let vault = timed(&format!("{} credentials put at once", large()), 1, || filled_at_once(folder.path()))?;
    println!("{:<44} {:>9} KiB", "its file", std::fs::metadata(path(folder.path()))?.len() >> 10);
    let key = KeyFile(folder.path().join("vault.key"));
    timed("one more put", 1, || put(&vault, "one-more"))?;
    timed("a tenant's key rotated", 1, || vault.rotate(&TenantId::default()).map_err(Into::into))?;
    drop(vault);
    let vault = timed("opened, with a key file", 1, || Ok(Vault::open(&path(folder.path()), &key)?))?;
    timed("listed", 1, || Ok(black_box(vault.list(&TenantId::default()).len())))?;
    let destination = Destination::of(Scheme::Https, Authority::parse("api.github.com", false)?);
    timed("each of them leased once, each", large(), || {
        for number in 0..large() {
            let id = format!("name-{number}").as_str().into();
            drop(black_box(vault.lease(&TenantId::default(), &id, &destination)?));
        }
        Ok(())
    })
}

/// The cost of a passphrase at the start.
fn unlock() -> Result<(), Box<dyn Error>> {
    for argon2id in [Argon2id::DEFAULT, Argon2id { memory_kib: 19 * 1024, passes: 2, lanes: 1 }] {
        let passphrase = Passphrase { text: Secret::new(b"correct horse".to_vec()), argon2id };
        let Argon2id { memory_kib, passes, lanes } = argon2id;
        let what = format!("passphrase, {} MiB, {passes} passes, {lanes} lanes", memory_kib >> 10);
        timed(&what, 1, || Ok(passphrase.kek(&passphrase.recipe()?, &[7; 32])?))?;
    }
    Ok(())
}

fn timed<T>(what: &str, times: usize, work: impl FnOnce() -> Result<T, Box<dyn Error>>) -> Result<T, Box<dyn Error>> {
    let start = Instant::now();
    let done = work()?;
    println!("{what:<44} {:>9.1} us", start.elapsed().as_secs_f64() * 1e6 / times as f64);
    Ok(done)
}

fn path(folder: &Path) -> std::path::PathBuf {
    folder.join("vault.egret")
}

fn filled(folder: &Path, count: usize) -> Result<Vault, Box<dyn Error>> {
    let key = KeyFile(folder.join("vault.key"));
    key.create()?;
    let vault = Vault::create(&path(folder), &key)?;
    (0..count).try_for_each(|number| put(&vault, &format!("name-{number}")))?;
    Ok(vault)
}

fn filled_at_once(folder: &Path) -> Result<Vault, Box<dyn Error>> {
    let vault = filled(folder, 0)?;
    let all = (0..large()).map(|number| (new(&format!("name-{number}")), Secret::new(vec![b'x'; 40]))).collect();
    vault.put_all(all, Timestamp::now())?;
    Ok(vault)
}

fn put(vault: &Vault, id: &str) -> Result<(), Box<dyn Error>> {
    vault.put(new(id), Secret::new(vec![b'x'; 40]), Timestamp::now())?;
    Ok(())
}

fn new(id: &str) -> NewCredential {
    let audience = Audience::parse(&["**.example.com", "api.github.com"]).expect("two hosts");
    // The values are all alike, which matters only to an attacker who guesses.
    NewCredential { allow_weak: true, ..NewCredential::new(id.into(), CredentialSpec::new(Kind::bearer(), audience)) }
}
