//! The vault as its callers see it.

#![expect(clippy::disallowed_methods, reason = "the tests look at made-up values")]

mod conflicts;
mod needles;

use model::{Audience, Authority, Host};
use proptest::prelude::*;

use super::*;
use crate::credential::{CredentialSpec, Kind, MAX_VALUE_BYTES};
use crate::envelope::Envelope;
use crate::format::{Content, Item, WrappedKey};
use crate::kek::{Kek, KeyError, KeyFile, Passphrase};
use crate::state::{REFUSE_AT, ROTATE_AT, TenantKey};
use crate::store::StoreAction;

const CANARY: &[u8] = b"canary-7f3a91c05e";

/// A store in memory that can be made to fail.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    bytes: Option<Vec<u8>>,
    fault: Option<Fault>,
}

#[derive(Clone, Copy)]
enum Fault {
    Write,
    Sync,
}

impl Memory {
    fn of(bytes: &[u8]) -> Self {
        Self(Arc::new(Mutex::new(Held { bytes: Some(bytes.to_vec()), fault: None })))
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().bytes.clone().unwrap()
    }

    fn fail(&self, fault: Option<Fault>) {
        self.0.lock().unwrap().fault = fault;
    }
}

impl Store for Memory {
    fn read(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.lock().unwrap().bytes.clone())
    }

    fn replace(&self, expected: Stored, bytes: &[u8]) -> Result<(), StoreError> {
        let mut content = self.0.lock().unwrap();
        Stored::of(content.bytes.as_deref()).check(expected)?;
        let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
        match content.fault {
            Some(Fault::Write) => Err(StoreError::Io { path: "memory".into(), action: StoreAction::Write, source }),
            fault => {
                content.bytes = Some(bytes.to_vec());
                match fault {
                    Some(_) => Err(StoreError::NotDurable { path: "memory".into(), source }),
                    None => Ok(()),
                }
            }
        }
    }
}

/// A key without a file; accepts any parameters, as an attacker's changed header might require.
struct Key(u8);

impl KeySource for Key {
    fn recipe(&self) -> Result<KeyDerivation, KeyError> {
        Ok(KeyDerivation::KEY_FILE)
    }

    fn kek(&self, _: &KeyDerivation, _: &[u8; 32]) -> Result<Kek, KeyError> {
        Ok(Kek::for_tests([self.0; 32]))
    }
}

fn now() -> Timestamp {
    "2026-11-20T12:00:00.123456789Z".parse().unwrap()
}

fn github() -> NewCredential {
    with_audience(&["api.github.com"])
}

/// `github` for these hosts.
fn with_audience(hosts: &[&str]) -> NewCredential {
    let spec = CredentialSpec {
        env: Some("GITHUB_TOKEN".to_owned()),
        prefix: Some("ghp_".to_owned()),
        description: Some("reads the site".to_owned()),
        ..CredentialSpec::new(Kind::bearer(), Audience::parse(hosts).unwrap())
    };
    NewCredential::new("github".into(), spec)
}

fn canary() -> Secret {
    Secret::new(CANARY.to_vec())
}

fn to(scheme: Scheme, authority: &str) -> Destination {
    Destination::of(scheme, Authority::parse(authority, false).unwrap())
}

fn created() -> (Memory, Vault) {
    let store = Memory::default();
    let vault = Vault::create_in(Box::new(store.clone()), &Key(1)).unwrap();
    (store, vault)
}

fn filled() -> (Memory, Vault) {
    let (store, vault) = created();
    vault.put(github(), canary(), now()).unwrap();
    (store, vault)
}

fn open(bytes: &[u8]) -> Result<Vault, VaultError> {
    Vault::open_in(Box::new(Memory::of(bytes)), &Key(1))
}

fn lent(vault: &Vault, tenant: &str, id: &str) -> Vec<u8> {
    vault.lease(&tenant.into(), &id.into(), &to(Scheme::Https, "api.github.com")).unwrap().substitution_bytes().to_vec()
}

#[test]
fn what_is_put_is_there_after_opening_again() {
    let (store, vault) = filled();
    let mut basic = with_audience(&["*.registry.example:8443", "api.github.com"]);
    (basic.tenant, basic.id, basic.allow_weak) = ("acme".into(), "registry".into(), true);
    basic.spec.kind = Kind::new("basic", []).unwrap();
    basic.spec.expires = Some("2030-01-01T00:00:00Z".parse().unwrap());
    vault.put(basic, Secret::new(b"user:password".to_vec()), now()).unwrap();
    vault.seal_internal("ca.key", &canary()).unwrap();
    let again = open(&store.bytes()).unwrap();
    for vault in [&vault, &again] {
        let shown = vault.show(&"acme".into(), &"registry".into()).unwrap();
        assert_eq!(shown.spec.audience.patterns(), ["*.registry.example:8443", "api.github.com"]);
        assert_eq!((shown.spec.kind, shown.version), (Kind::new("basic", []).unwrap(), 1));
        assert_eq!(shown.created.to_string(), "2026-11-20T12:00:00.123456Z");
        assert_eq!(shown.spec.expires.unwrap().to_string(), "2030-01-01T00:00:00Z");
        let shown = vault.show(&TenantId::default(), &"github".into()).unwrap();
        assert_eq!(shown.spec, github().spec);
        assert_eq!(lent(vault, "default", "github"), CANARY);
        assert_eq!(lent(vault, "acme", "registry"), b"password");
        assert_eq!(vault.open_internal("ca.key").unwrap().unwrap().expose_secret(), CANARY);
        assert!(vault.open_internal("other").unwrap().is_none());
        assert_eq!(vault.status(), VaultStatus { generation: 4, credentials: 2, lock: KeyDerivation::KEY_FILE });
    }
}

#[test]
fn put_again_is_a_new_version_and_removing_ends_it() {
    let (store, vault) = filled();
    let later = "2026-11-21T00:00:00Z".parse().unwrap();
    assert_eq!(vault.put(github(), Secret::new(b"second-value".to_vec()), later).unwrap(), 2);
    assert_eq!(lent(&vault, "default", "github"), b"second-value");
    let shown = open(&store.bytes()).unwrap().show(&TenantId::default(), &"github".into()).unwrap();
    assert_eq!((shown.version, shown.updated), (2, later));
    assert!(shown.created < shown.updated);
    vault.remove(&TenantId::default(), &"github".into()).unwrap();
    assert!(vault.shape(&TenantId::default(), &"github".into()).is_none());
    assert!(matches!(vault.remove(&TenantId::default(), &"github".into()), Err(VaultError::Unknown)));
    assert!(open(&store.bytes()).unwrap().list(&TenantId::default()).is_empty());
    assert_eq!(vault.put(github(), canary(), now()).unwrap(), 3, "never passes for the removed one");
}

#[test]
fn a_lease_keeps_the_version_it_began_with() {
    let (_store, vault) = filled();
    let lease = vault.lease(&TenantId::default(), &"github".into(), &to(Scheme::Https, "api.github.com")).unwrap();
    vault.put(github(), Secret::new(b"second-value".to_vec()), now()).unwrap();
    assert_eq!((lease.version(), lease.substitution_bytes()), (1, CANARY));
    assert_eq!(format!("{lease:?}"), "Lease(github version 1)");
}

#[test]
fn t080_nothing_is_opened_for_a_host_outside_the_audience() {
    let (_store, vault) = filled();
    let tenant = TenantId::default();
    let lease = |id: &str, scheme, host| vault.lease(&tenant, &id.into(), &to(scheme, host)).unwrap_err();
    assert_eq!(lease("github", Scheme::Https, "evil.example"), LeaseError::Audience);
    assert_eq!(lease("github", Scheme::Https, "api.github.com:8443"), LeaseError::Audience);
    assert_eq!(lease("github", Scheme::Http, "api.github.com:443"), LeaseError::Plaintext);
    assert_eq!(lease("gitlab", Scheme::Https, "api.github.com"), LeaseError::Unknown);
    let slot = vault.shape(&tenant, &"github".into()).unwrap();
    assert!(!slot.covers(&Destination::new(Scheme::Https, Host::parse("evil.example").unwrap(), 443)));
    assert_eq!(vault.reads(), 0);
    lent(&vault, "default", "github");
    assert_eq!(vault.reads(), 1);
}

#[test]
fn an_expired_credential_is_not_lent() {
    let (_store, vault) = created();
    let end: Timestamp = "2001-01-01T00:00:00Z".parse().unwrap();
    let new = || {
        let mut new = github();
        new.spec.expires = Some(end);
        new
    };
    assert!(matches!(vault.put(new(), canary(), now()), Err(VaultError::Credential(CredentialError::Expired))));
    vault.put(new(), canary(), "2000-01-01T00:00:00Z".parse().unwrap()).unwrap();
    let lease = vault.lease(&TenantId::default(), &"github".into(), &to(Scheme::Https, "api.github.com"));
    assert_eq!(lease.unwrap_err(), LeaseError::Expired);
    assert_eq!(vault.reads(), 0);
}

#[test]
fn another_tenant_sees_and_gets_nothing() {
    let (_store, vault) = filled();
    let other = TenantId::from("acme");
    assert!(vault.list(&other).is_empty());
    assert!(vault.show(&other, &"github".into()).is_none());
    assert!(vault.shape(&other, &"github".into()).is_none());
    assert!(vault.list(&INTERNAL.into()).is_empty());
    let lease = vault.lease(&other, &"github".into(), &to(Scheme::Https, "api.github.com"));
    assert_eq!(lease.unwrap_err(), LeaseError::Unknown);
}

#[test]
fn t087_a_refused_value_changes_nothing() {
    let (store, vault) = filled();
    let before = store.bytes();
    let error = vault.put(github(), Secret::new(b"two\r\nlines".to_vec()), now()).unwrap_err();
    assert_eq!(error.code(), "vault_value_invalid");
    assert!(!format!("{error} {error:?}").contains("lines"));
    assert!(store.bytes() == before);
}

#[test]
fn t087_an_old_value_that_no_header_may_hold_is_not_lent() {
    let (store, vault) = filled();
    // As an Egret with less strict rules would have stored it: sealed without being judged.
    for value in [&b"two\r\nlines"[..], b"nul\0nul", b"a space", b"", &[b'a'; MAX_VALUE_BYTES + 1]] {
        let old = Secret::new(value.to_vec());
        vault.change(|state| put_one(state, github(), &old, now())).unwrap();
        for vault in [&vault, &open(&store.bytes()).unwrap()] {
            let refused =
                vault.lease(&TenantId::default(), &"github".into(), &to(Scheme::Https, "api.github.com")).unwrap_err();
            assert_eq!(refused, LeaseError::Invalid);
        }
        vault.remove(&TenantId::default(), &"github".into()).unwrap();
    }
    vault.put(github(), canary(), now()).unwrap();
    assert_eq!(lent(&vault, "default", "github"), CANARY);
}

#[test]
fn at_rest_nothing_shows_but_names_and_dates() {
    let (store, vault) = filled();
    vault.seal_internal("ca.key", &canary()).unwrap();
    let bytes = store.bytes();
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(holds(b"github") && holds(b"default"));
    for hidden in [CANARY, b"api.github.com", b"bearer", b"GITHUB_TOKEN", b"ghp_", b"reads the site"] {
        assert!(!holds(hidden), "{}", String::from_utf8_lossy(hidden));
    }
}

#[test]
fn t155_a_wrong_key_is_not_told_from_a_damaged_header() {
    let (store, _vault) = filled();
    let wrong = Vault::open_in(Box::new(store.clone()), &Key(2)).unwrap_err();
    assert_eq!((wrong.code(), matches!(wrong, VaultError::Unseal)), ("unseal_failed", true));
    let mut bytes = store.bytes();
    bytes[40] ^= 1; // in the salt
    assert!(matches!(open(&bytes), Err(VaultError::Unseal)));
}

#[test]
fn t155_a_wrong_passphrase_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.egret");
    let passphrase = |text: &str| Passphrase::new(Secret::new(text.as_bytes().to_vec()));
    let vault = Vault::create(&path, &passphrase("correct horse")).unwrap();
    vault.put(github(), canary(), now()).unwrap();
    assert_eq!(vault.status().lock, KeyDerivation::PASSPHRASE);
    assert!(matches!(Vault::open(&path, &passphrase("correct horsf")), Err(VaultError::Unseal)));
    let file = KeyFile(folder.path().join("vault.key"));
    assert!(matches!(Vault::open(&path, &file), Err(VaultError::Key(KeyError::OtherSource { .. }))));
    assert_eq!(lent(&Vault::open(&path, &passphrase("correct horse")).unwrap(), "default", "github"), CANARY);
}

#[test]
fn t157_every_single_flipped_bit_is_detected() {
    let (store, vault) = filled();
    for number in 0..9 {
        vault.put(NewCredential { id: format!("name-{number}").as_str().into(), ..github() }, canary(), now()).unwrap();
    }
    let mut bytes = store.bytes();
    assert!((4096..5120).contains(&bytes.len()), "{}", bytes.len());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            assert!(open(&bytes).is_err(), "byte {at} bit {bit}");
            bytes[at] ^= 1 << bit;
        }
    }
    assert!(open(&bytes).is_ok());
}

#[test]
fn t158_truncated_at_every_length_or_extended_is_detected() {
    let (store, _vault) = filled();
    let mut bytes = store.bytes();
    for length in 0..bytes.len() {
        assert!(open(&bytes[..length]).is_err(), "{length}");
    }
    bytes.push(0);
    assert!(matches!(open(&bytes), Err(VaultError::Corrupt)));
}

#[test]
fn t160_parameters_out_of_bounds_are_refused_before_the_key_is_asked_for() {
    struct Never;
    impl KeySource for Never {
        fn recipe(&self) -> Result<KeyDerivation, KeyError> {
            Ok(KeyDerivation::PASSPHRASE)
        }
        fn kek(&self, _: &KeyDerivation, _: &[u8; 32]) -> Result<Kek, KeyError> {
            panic!("asked for the key")
        }
    }
    let (store, _vault) = filled();
    for memory in [8u32, 64 << 20, u32::MAX] {
        let mut bytes = store.bytes();
        bytes[10] = 1;
        bytes[11..15].copy_from_slice(&memory.to_be_bytes());
        bytes[15..19].copy_from_slice(&3u32.to_be_bytes());
        bytes[19..23].copy_from_slice(&4u32.to_be_bytes());
        let error = Vault::open_in(Box::new(Memory::of(&bytes)), &Never).unwrap_err();
        assert_eq!(error.code(), "vault_params", "{memory}");
    }
}

#[test]
fn t189_another_format_version_is_refused_clearly() {
    let (store, _vault) = filled();
    let mut bytes = store.bytes();
    bytes[9] = 3;
    assert!(matches!(open(&bytes), Err(VaultError::Format(3))));
    assert!(matches!(open(b"not a vault at all"), Err(VaultError::NotAVault)));
    assert!(matches!(open(b""), Err(VaultError::NotAVault)));
}

/// The content of a file, for editing.
type Edited = Content<WrappedKey, Item>;

/// Writes the file with correct MACs, as only the holder of the KEK could: the envelopes alone must detect the change.
fn forged(edit: impl FnOnce(&mut Edited)) -> Result<Vault, VaultError> {
    let (store, vault) = filled();
    vault.put(NewCredential { tenant: "acme".into(), ..github() }, canary(), now()).unwrap();
    vault.put(NewCredential { id: "gitlab".into(), ..github() }, canary(), now()).unwrap();
    let (header, mut content) = read(&store.bytes());
    edit(&mut content);
    open(&written(&header, content))
}

fn read(bytes: &[u8]) -> (format::Header, Edited) {
    let header = format::read_header(bytes).unwrap();
    let content = format::read(bytes, &header, &Kek::for_tests([1; 32])).unwrap();
    (header, content)
}

fn written(header: &format::Header, Content { keys, items }: Edited) -> Vec<u8> {
    format::write(header, &Content { keys, items: items.iter().collect() }, &Kek::for_tests([1; 32]))
}

#[test]
fn t158_items_under_another_name_or_tenant_do_not_open() {
    // In the order of the file: acme github, default github, default gitlab.
    assert!(forged(|_| ()).is_ok());
    let corrupt = |edit: fn(&mut Edited)| matches!(forged(edit), Err(VaultError::Corrupt));
    assert!(corrupt(|file| file.items[0].label.tenant = "beta".into()));
    assert!(corrupt(|file| file.items[2].label.id = "gitlac".into()));
    assert!(corrupt(|file| file.items[0].label.version = 2));
    assert!(corrupt(|file| file.items[0].label.generation -= 1));
    assert!(corrupt(|file| file.items[0].label.generation += 100), "sealed in times to come");
    assert!(corrupt(|file| file.items[0].label.key = 2));
    assert!(corrupt(|file| file.items[0].label.expires = Some(now())));
    assert!(corrupt(|file| file.items[0].superseded = Some(now())), "none is in use");
    assert!(corrupt(|file| file.items[1].description = file.items[2].description.clone()));
    assert!(corrupt(|file| file.items.swap(1, 2)), "out of order");
    assert!(corrupt(|file| file.items.push(file.items[2].clone())), "twice");
}

#[test]
fn t158_keys_of_tenants_cannot_be_exchanged() {
    let corrupt = |edit: fn(&mut Edited)| matches!(forged(edit), Err(VaultError::Corrupt));
    assert!(corrupt(|file| file.keys.swap(0, 1)), "out of order");
    assert!(corrupt(|file| drop(file.keys.remove(0))), "items without a key");
    assert!(corrupt(|file| file.keys[0].key = file.keys[1].key.clone()), "another tenant's");
    assert!(corrupt(|file| file.keys[0].label.id = 2));
    assert!(corrupt(|file| file.keys[0].label.generation -= 1));
    assert!(corrupt(|file| file.keys[0].label.created = Timestamp::UNIX_EPOCH));
}

#[test]
fn t158_an_item_of_an_older_generation_does_not_pass_for_the_one_in_use() {
    let (store, vault) = filled();
    let old = read(&store.bytes()).1;
    vault.rotate(&TenantId::default()).unwrap();
    let (header, mut content) = read(&store.bytes());
    content.items[0] = old.items[0].clone();
    assert!(matches!(open(&written(&header, content)), Err(VaultError::Corrupt)));
}

#[test]
fn t158_a_value_under_another_name_or_tenant_is_not_lent() {
    for (from, into) in [(0, 1), (1, 2)] {
        let vault = forged(|file| file.items[into].value = file.items[from].value.clone()).unwrap();
        let id = ["github", "github", "gitlab"][into];
        let lease = vault.lease(&TenantId::default(), &id.into(), &to(Scheme::Https, "api.github.com"));
        assert_eq!(lease.unwrap_err(), LeaseError::Corrupt);
    }
}

#[test]
fn the_value_is_bound_to_its_audience() {
    // Even with a description that opens, a value sealed for another audience does not.
    let vault = forged(|file| {
        let kek = Kek::for_tests([1; 32]);
        let acme = file.keys.iter().find(|key| key.label.tenant.as_str() == "acme").unwrap();
        let key = TenantKey::opened(acme.label.clone(), acme.key.clone(), &kek).unwrap();
        let item = file.items.iter_mut().find(|item| item.label.tenant.as_str() == "acme").unwrap();
        let spec = with_audience(&["**.github.com"]).spec;
        let wide = document::write(&Shape { spec, fingerprint: String::new(), version: 1 });
        item.description = Envelope::seal(key.key(), &item.label.description_aad(), &wide).unwrap();
    });
    let (vault, acme) = (vault.unwrap(), TenantId::from("acme"));
    assert_eq!(vault.show(&acme, &"github".into()).unwrap().spec.audience.patterns(), ["**.github.com"]);
    let lease = vault.lease(&acme, &"github".into(), &to(Scheme::Https, "api.github.com"));
    assert_eq!(lease.unwrap_err(), LeaseError::Corrupt);
}

#[test]
fn t106_the_version_before_is_redacted_for_its_grace_time() {
    let (store, vault) = created();
    let grace = |seconds| NewCredential { grace: std::time::Duration::from_secs(seconds), ..github() };
    let value = |text: &str| Secret::new(text.as_bytes().to_vec());
    let now = Timestamp::now();
    vault.put(github(), value("first-value"), now).unwrap();
    vault.put(grace(3600), value("second-value"), now).unwrap();
    vault.put(grace(3600), value("third-value"), now).unwrap();
    for vault in [&vault, &open(&store.bytes()).unwrap()] {
        let lease = vault.lease(&TenantId::default(), &"github".into(), &to(Scheme::Https, "api.github.com")).unwrap();
        assert_eq!(lease.substitution_bytes(), b"third-value");
        let patterns: Vec<_> = lease.patterns().iter().map(|pattern| pattern.to_vec()).collect();
        assert_eq!(patterns, [&b"third-value"[..], b"first-value", b"second-value"]);
    }
    let shown = vault.show(&TenantId::default(), &"github".into()).unwrap();
    let numbers: Vec<_> = shown.versions.iter().map(|one| (one.version, one.until.is_some())).collect();
    assert_eq!(numbers, [(1, true), (2, true), (3, false)]);
    let prints: std::collections::HashSet<_> = shown.versions.iter().map(|one| &one.fingerprint).collect();
    assert_eq!(prints.len(), 3);
    vault.revoke(&TenantId::default(), &"github".into(), 2).unwrap();
    assert!(matches!(vault.revoke(&TenantId::default(), &"github".into(), 2), Err(VaultError::Unknown)));
    // Three seconds before the last, so that its grace time is over at once.
    let past = now.checked_sub(std::time::Duration::from_secs(3)).unwrap();
    vault.put(grace(1), value("fourth-value"), past).unwrap();
    let lease = vault.lease(&TenantId::default(), &"github".into(), &to(Scheme::Https, "api.github.com")).unwrap();
    let patterns: Vec<_> = lease.patterns().iter().map(|pattern| pattern.to_vec()).collect();
    assert_eq!(patterns, [&b"fourth-value"[..], b"first-value"]);
    vault.put(grace(3600), value("fifth-value"), now).unwrap();
    let shown = vault.show(&TenantId::default(), &"github".into()).unwrap();
    assert_eq!(shown.versions.iter().map(|one| one.version).collect::<Vec<_>>(), [1, 4, 5], "the third is forgotten");
    vault.revoke(&TenantId::default(), &"github".into(), 5).unwrap();
    assert!(vault.show(&TenantId::default(), &"github".into()).is_none(), "the one in use takes all with it");
}

#[test]
fn t106_what_was_rotated_may_finish_and_what_was_revoked_may_not() {
    let (_store, vault) = created();
    let (tenant, id) = (TenantId::default(), "github".into());
    let now = Timestamp::now();
    let revoked = |versions: &[Version]| {
        let all = 1..=5;
        assert_eq!(all.filter(|version| vault.is_revoked(&tenant, &id, *version)).collect::<Vec<_>>(), versions);
    };
    let put = |grace| {
        let grace = std::time::Duration::from_secs(grace);
        vault.put(NewCredential { grace, ..github() }, canary(), now).unwrap();
    };
    revoked(&[1, 2, 3, 4, 5]);
    put(0);
    revoked(&[]);
    put(0);
    put(3600);
    revoked(&[]);
    vault.revoke(&tenant, &id, 2).unwrap();
    revoked(&[2]);
    vault.remove(&tenant, &id).unwrap();
    revoked(&[1, 2, 3, 4, 5]);
    put(0);
    revoked(&[1, 2, 3]);
}

#[test]
fn versions_within_their_grace_time_are_bounded() {
    let (_store, vault) = created();
    let now = Timestamp::now();
    for _ in 0..MAX_VERSIONS {
        vault.put(github(), canary(), now).unwrap();
    }
    let refused = vault.put(github(), canary(), now).unwrap_err();
    assert!(matches!(refused, VaultError::Credential(CredentialError::Versions)), "{refused:?}");
}

#[test]
fn rotating_seals_everything_of_the_tenant_anew_and_nothing_else() {
    let (store, vault) = filled();
    vault.put(NewCredential { tenant: "acme".into(), ..github() }, canary(), now()).unwrap();
    vault.put(github(), Secret::new(b"second-value".to_vec()), Timestamp::now()).unwrap();
    let before = read(&store.bytes()).1;
    assert_eq!(vault.rotate(&TenantId::default()).unwrap(), 2);
    assert!(matches!(vault.rotate(&"nobody".into()), Err(VaultError::Unknown)));
    let after = read(&store.bytes()).1;
    assert!(before.items[0] == after.items[0], "acme's");
    for (old, new) in before.items.iter().zip(&after.items).skip(1) {
        assert_eq!((old.label.version, old.superseded), (new.label.version, new.superseded));
        assert_eq!((new.label.key, new.label.generation), (2, 5));
        assert!(old.value.ciphertext != new.value.ciphertext && old.description.salt != new.description.salt);
    }
    for vault in [&vault, &open(&store.bytes()).unwrap()] {
        assert_eq!(lent(vault, "default", "github"), b"second-value");
        assert_eq!(lent(vault, "acme", "github"), CANARY);
        assert_eq!(vault.keys(), [("acme".into(), 1), (TenantId::default(), 2)]);
    }
}

#[test]
fn rekeying_changes_the_key_and_no_secret() {
    let (store, vault) = filled();
    let before = read(&store.bytes());
    vault.rekey(&Key(2)).unwrap();
    assert!(matches!(open(&store.bytes()), Err(VaultError::Unseal)));
    let again = Vault::open_in(Box::new(store.clone()), &Key(2)).unwrap();
    assert_eq!(lent(&again, "default", "github"), CANARY);
    again.put(github(), Secret::new(b"second-value".to_vec()), now()).unwrap();
    again.rekey(&Key(1)).unwrap();
    let after = read(&store.bytes());
    assert!(before.0.salt != after.0.salt);
    assert!(before.1.items[0].value == after.1.items[0].value, "not sealed anew");
    assert!(before.1.keys[0].key != after.1.keys[0].key);
    assert_eq!(lent(&open(&store.bytes()).unwrap(), "default", "github"), b"second-value");
}

#[test]
fn t161_a_worn_key_is_replaced_and_a_worn_out_one_refuses() {
    let (store, vault) = filled();
    let tenant = TenantId::default();
    let use_up = |sealings, wrappings| {
        vault.change(|state| {
            state.use_up(&tenant, sealings, wrappings);
            Ok(())
        })
    };
    use_up(ROTATE_AT - 1, 1).unwrap();
    vault.put(github(), canary(), now()).unwrap();
    assert_eq!(vault.keys(), [(tenant.clone(), 1)]);
    assert_eq!(vault.take_replaced_keys(), []);
    assert_eq!(read(&store.bytes()).1.keys[0].sealings, ROTATE_AT + 1);
    vault.put(github(), canary(), now()).unwrap();
    assert_eq!(vault.keys(), [(tenant.clone(), 2)], "replaced before it seals again");
    assert_eq!(vault.take_replaced_keys(), [(tenant.clone(), 2)], "told once, for the records");
    assert_eq!(vault.take_replaced_keys(), []);
    assert_eq!(lent(&open(&store.bytes()).unwrap(), "default", "github"), CANARY);
    use_up(ROTATE_AT, REFUSE_AT).unwrap();
    let refused = vault.put(github(), canary(), now()).unwrap_err();
    assert_eq!(refused.code(), "vault_key_worn");
    assert_eq!(vault.take_replaced_keys(), [], "nothing was replaced");
    vault.rekey(&Key(1)).unwrap();
    vault.put(github(), canary(), now()).unwrap();
    assert_eq!(vault.keys(), [(tenant, 3)]);
}

#[test]
fn a_backup_is_the_whole_vault_and_opens_alone() {
    let (store, vault) = filled();
    let backup = vault.backup();
    assert!(backup == store.bytes());
    vault.remove(&TenantId::default(), &"github".into()).unwrap();
    assert_eq!(lent(&open(&backup).unwrap(), "default", "github"), CANARY);
}

#[test]
fn a_restored_backup_is_a_generation_of_its_own() {
    let (store, vault) = filled();
    let backup = vault.backup();
    vault.put(github(), Secret::new(b"second-value".to_vec()), now()).unwrap();
    vault.put(NewCredential { id: "gitlab".into(), ..github() }, canary(), now()).unwrap();
    assert_eq!(vault.restore(&backup).unwrap(), 5);
    for vault in [&vault, &open(&store.bytes()).unwrap()] {
        assert_eq!((vault.generation(), vault.status().credentials), (5, 1));
        assert_eq!(lent(vault, "default", "github"), CANARY);
    }
    let revoked = |version| vault.is_revoked(&TenantId::default(), &"github".into(), version);
    assert!(!revoked(1) && revoked(2), "what came back is in force, what was lost is not");
    vault.remove(&TenantId::default(), &"github".into()).unwrap();
    assert!(revoked(1));
    vault.restore(&backup).unwrap();
    assert!(!revoked(1));
    assert_eq!(vault.put(github(), canary(), now()).unwrap(), 3, "the number of the lost version is not used again");
    assert!(matches!(vault.restore(&backup[..backup.len() - 1]), Err(VaultError::Corrupt)));
    vault.rekey(&Key(1)).unwrap();
    assert!(matches!(vault.restore(&backup), Err(VaultError::OtherLock)));
}

#[test]
fn a_backup_is_restored_where_no_vault_opens() {
    let (_store, vault) = filled();
    let backup = vault.backup();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.egret");
    assert!(matches!(Vault::restore_to(&path, &Key(2), &backup, 0), Err(VaultError::Unseal)));
    assert!(!Vault::exists(&path));
    assert_eq!(Vault::restore_to(&path, &Key(1), &backup, 40).unwrap().generation(), 41);
    assert_eq!(Vault::restore_to(&path, &Key(1), &backup, 0).unwrap().generation(), 42);
    assert_eq!(lent(&Vault::open(&path, &Key(1)).unwrap(), "default", "github"), CANARY);
}

#[test]
fn t164_a_failed_write_changes_nothing() {
    let (store, vault) = filled();
    let before = store.bytes();
    store.fail(Some(Fault::Write));
    let error = vault.put(github(), Secret::new(b"second-value".to_vec()), now()).unwrap_err();
    assert_eq!(error.code(), "vault_write_failed");
    assert!(vault.remove(&TenantId::default(), &"github".into()).is_err());
    assert!(vault.seal_internal("ca.key", &canary()).is_err());
    assert_eq!(lent(&vault, "default", "github"), CANARY);
    assert_eq!(vault.generation(), 2);
    assert!(store.bytes() == before);
    store.fail(None);
    assert_eq!(vault.put(github(), canary(), now()).unwrap(), 2);
}

#[test]
fn t164_memory_shows_what_the_file_shows_when_only_the_last_sync_failed() {
    let (store, vault) = filled();
    store.fail(Some(Fault::Sync));
    assert!(vault.put(github(), Secret::new(b"second-value".to_vec()), now()).is_err());
    assert_eq!(lent(&vault, "default", "github"), b"second-value");
    assert_eq!(lent(&open(&store.bytes()).unwrap(), "default", "github"), b"second-value");
}

#[test]
fn a_vault_is_never_created_over_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.egret");
    assert!(matches!(Vault::open(&path, &Key(1)), Err(VaultError::Missing)));
    assert!(!Vault::exists(&path));
    drop(Vault::create(&path, &Key(1)).unwrap());
    assert!(Vault::exists(&path));
    assert!(matches!(Vault::create(&path, &Key(1)), Err(VaultError::Exists)));
    assert!(Vault::open(&path, &Key(1)).is_ok());
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(open(&bytes).is_err());
    }

    #[test]
    fn any_splice_of_two_generations_is_refused(cut in any::<prop::sample::Index>()) {
        let (store, vault) = filled();
        let old = store.bytes();
        vault.put(github(), Secret::new(b"canary-7f3a91c05f".to_vec()), now()).unwrap();
        let new = store.bytes();
        let cut = 1 + cut.index(old.len().min(new.len()) - 1);
        let spliced = [&old[..cut], &new[cut..]].concat();
        prop_assert!(open(&spliced).is_err() || spliced == new || spliced == old);
    }
}
