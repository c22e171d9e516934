//! The needles of a host: the owners of their values, and when they are opened and released.

use redaction::Needles;

use super::*;

fn needles(vault: &Vault, host: &Host) -> Option<Needles> {
    let HostValues { values, valid_until, .. } = vault.values_at(host).unwrap();
    Needles::new(values, valid_until).unwrap()
}

fn found(vault: &Vault, host: &str, text: &str) -> Vec<String> {
    let host = Host::parse(host).unwrap();
    let mut owners = Vec::new();
    if let Some(needles) = needles(vault, &host) {
        needles.find(text.as_bytes(), |hit| {
            let owner = hit.owner.unwrap();
            owners.push(format!("{} {} {}", owner.tenant, owner.credential, owner.version));
        });
    }
    owners.sort_unstable();
    owners.dedup();
    owners
}

#[test]
fn t102_the_needles_of_a_host_are_every_tenants() {
    let (_store, vault) = created();
    let value = |text: &str| Secret::new(text.as_bytes().to_vec());
    let wild = with_audience(&["*.registry.example:8443"]);
    vault.put(github(), value("value-of-default"), now()).unwrap();
    vault.put(NewCredential { tenant: "acme".into(), ..github() }, value("value-of-acme-7"), now()).unwrap();
    vault.put(NewCredential { id: "other".into(), ..wild }, value("value-of-other"), now()).unwrap();
    let text = "value-of-default value-of-acme-7 value-of-other";
    assert_eq!(found(&vault, "api.github.com", text), ["acme github 1", "default github 1"]);
    assert_eq!(found(&vault, "a.registry.example", text), ["default other 1"], "on any port");
    assert!(needles(&vault, &Host::parse("open.example").unwrap()).is_none());
}

#[test]
fn t102_needles_follow_the_vault_and_are_opened_once() {
    let (_store, vault) = created();
    let value = |text: &str| Secret::new(text.as_bytes().to_vec());
    let grace = |seconds| NewCredential { grace: std::time::Duration::from_secs(seconds), ..github() };
    let text = "first-value second-value third-value";
    let (tenant, id) = (TenantId::default(), "github".into());
    vault.put(github(), value("first-value"), Timestamp::now()).unwrap();
    assert_eq!(found(&vault, "api.github.com", text), ["default github 1"]);
    let reads = vault.reads();
    for _ in 0..10 {
        found(&vault, "api.github.com", text);
    }
    vault.put(NewCredential { id: "other".into(), ..github() }, value("another-value"), Timestamp::now()).unwrap();
    found(&vault, "api.github.com", text);
    assert_eq!(vault.reads(), reads + 1, "what was open stays open when another credential is put");
    vault.put(grace(3600), value("second-value"), Timestamp::now()).unwrap();
    assert_eq!(found(&vault, "api.github.com", text), ["default github 1", "default github 2"]);
    let past = Timestamp::now().checked_sub(std::time::Duration::from_secs(3)).unwrap();
    vault.put(grace(1), value("third-value"), past).unwrap();
    assert_eq!(
        found(&vault, "api.github.com", text),
        ["default github 1", "default github 3"],
        "its grace time is over"
    );
    vault.remove(&tenant, &id).unwrap();
    assert_eq!(found(&vault, "api.github.com", text), ["default github 1", "default github 3"], "masked for a while");
}

fn value(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

const HOST: &str = "api.github.com";
const TEXT: &str = "first-value second-value third-value";

#[test]
fn t272_what_is_removed_stays_masked_and_is_nothing_else() {
    let (store, vault) = created();
    let (tenant, id) = (TenantId::default(), "github".into());
    let put = |text: &str| vault.put(github(), value(text), clock::now()).unwrap();
    put("first-value");
    put("second-value");
    vault.revoke(&tenant, &id, 1).unwrap();
    let shown = vault.show(&tenant, &id).unwrap();
    assert_eq!(shown.versions.iter().map(|one| one.version).collect::<Vec<_>>(), [2]);
    vault.remove(&tenant, &id).unwrap();
    let again = open(&store.bytes()).unwrap();
    for vault in [&vault, &again] {
        assert_eq!(found(vault, HOST, TEXT), ["default github 1", "default github 2"], "and after a restart");
        assert!(vault.list(&tenant).is_empty() && vault.show(&tenant, &id).is_none());
        assert_eq!(vault.status().credentials, 0);
        assert!(vault.shape(&tenant, &id).is_none());
        let lease = vault.lease(&tenant, &id, &to(Scheme::Https, HOST));
        assert_eq!(lease.unwrap_err(), LeaseError::Unknown);
        assert!(matches!(vault.remove(&tenant, &id), Err(VaultError::Unknown)));
        assert!(matches!(vault.revoke(&tenant, &id, 2), Err(VaultError::Unknown)));
        assert!(vault.is_revoked(&tenant, &id, 1) && vault.is_revoked(&tenant, &id, 2));
    }
    // A value of the same name is another version, also in the file next to them, under a new key and a new lock.
    assert_eq!(again.put(github(), value("third-value"), clock::now()).unwrap(), 3);
    again.rotate(&tenant).unwrap();
    again.rekey(&Key(1)).unwrap();
    let last = open(&again.backup()).unwrap();
    let all = ["default github 1", "default github 2", "default github 3"];
    assert_eq!(
        (found(&again, HOST, TEXT), found(&last, HOST, TEXT)),
        (all.map(String::from).into(), all.map(String::from).into())
    );
    assert_eq!(last.list(&tenant).len(), 1);
    let lease = last.lease(&tenant, &id, &to(Scheme::Https, HOST)).unwrap();
    assert_eq!(lease.patterns().len(), 1, "lent alone");
}

#[test]
fn t272_what_another_audience_takes_the_place_of_stays_masked() {
    let (_store, vault) = created();
    let audience = |host: &str| with_audience(&[host]);
    vault.put(audience(HOST), value("first-value"), clock::now()).unwrap();
    // The same value for another host, then another value.
    vault.put(audience("other.example"), value("first-value"), clock::now()).unwrap();
    vault.put(audience("other.example"), value("second-value"), clock::now()).unwrap();
    assert_eq!(found(&vault, HOST, TEXT), ["default github 1"]);
    vault.remove(&TenantId::default(), &"github".into()).unwrap();
    assert_eq!(found(&vault, HOST, TEXT), ["default github 1"]);
    assert_eq!(found(&vault, "other.example", TEXT), ["default github 2", "default github 3"]);
}

#[test]
fn t272_what_a_restored_backup_lacks_stays_masked() {
    let (_store, vault) = created();
    let (tenant, id) = (TenantId::default(), CredentialId::new("github"));
    vault.put(github(), value("first-value"), clock::now()).unwrap();
    let backup = vault.backup();
    let grace = std::time::Duration::ZERO;
    vault.put(NewCredential { grace, ..github() }, value("second-value"), clock::now()).unwrap();
    vault.put(NewCredential { tenant: "acme".into(), ..github() }, value("third-value"), clock::now()).unwrap();
    vault.restore(&backup).unwrap();
    let all = ["acme github 1", "default github 1", "default github 2"];
    assert_eq!(found(&vault, HOST, TEXT), all);
    assert_eq!((lent(&vault, "default", "github"), vault.status().credentials), (b"first-value".to_vec(), 1));
    // Twice, and with a backup that contains removed ones: no removed value returns to use.
    let with_removed = vault.backup();
    vault.restore(&with_removed).unwrap();
    vault.restore(&backup).unwrap();
    assert_eq!((found(&vault, HOST, TEXT), vault.status().credentials), (all.map(String::from).into(), 1));
    assert_eq!(vault.put(github(), canary(), clock::now()).unwrap(), 3);
    vault.remove(&tenant, &id).unwrap();
    vault.restore(&with_removed).unwrap();
    assert_eq!(lent(&vault, "default", "github"), b"first-value");
    // The same number with another value, from before a restart that forgot it.
    let (_store, other) = created();
    other.put(github(), value("second-value"), clock::now()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.egret");
    drop(Vault::restore_to(&path, &Key(1), &other.backup(), 0).unwrap());
    let last = Vault::restore_to(&path, &Key(1), &backup, 0).unwrap();
    assert_eq!(found(&last, HOST, TEXT), ["default github 1", "default github 2"]);
    assert_eq!(lent(&last, "default", "github"), b"first-value");
    assert_eq!(found(&Vault::open(&path, &Key(1)).unwrap(), HOST, TEXT), ["default github 1", "default github 2"]);
}

#[test]
fn t272_a_removed_value_is_forgotten_when_its_grace_time_is_over() {
    let (_store, vault) = filled();
    let tenant = TenantId::default();
    vault.remove(&tenant, &"github".into()).unwrap();
    let state = State::clone(&vault.state.load());
    let keys = |state: &State| state.tenants().len();
    let host = Host::parse(HOST).unwrap();
    let after = |minutes: u64| clock::now().checked_add(std::time::Duration::from_secs(60 * minutes)).unwrap();
    assert_eq!((state.known_to(&host, after(9)).len(), state.known_to(&host, after(11)).len()), (1, 0));
    let mut early = state.clone();
    early.forget_removed(after(9));
    assert_eq!(keys(&early), 1);
    let mut late = state;
    late.forget_removed(after(11));
    assert_eq!(keys(&late), 0, "and the key that had sealed nothing else");
}
