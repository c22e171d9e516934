//! The needles of a host: whose values they are, and when they are opened and let go of.

use super::*;

fn found(vault: &Vault, host: &str, text: &str) -> Vec<String> {
    let host = Host::parse(host).unwrap();
    let mut owners = Vec::new();
    if let Some(needles) = vault.needles(&host).unwrap() {
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
    let wild = vec!["*.registry.example:8443".to_owned()];
    vault.put(github(), value("value-of-default"), now()).unwrap();
    vault.put(NewCredential { tenant: "acme".into(), ..github() }, value("value-of-acme-7"), now()).unwrap();
    vault
        .put(NewCredential { id: "other".into(), audience: wild, ..github() }, value("value-of-other"), now())
        .unwrap();
    let text = "value-of-default value-of-acme-7 value-of-other";
    assert_eq!(found(&vault, "api.github.com", text), ["acme github 1", "default github 1"]);
    assert_eq!(found(&vault, "a.registry.example", text), ["default other 1"], "on any port");
    assert!(vault.needles(&Host::parse("open.example").unwrap()).unwrap().is_none());
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
    assert_eq!(found(&vault, "api.github.com", text), Vec::<String>::new());
}
