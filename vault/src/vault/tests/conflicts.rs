//! Several writers: of one vault, which serializes them, and of one store, where each replaces only bytes that it has
//! read.

use std::sync::Barrier;

use super::*;

fn named(name: &str) -> NewCredential {
    NewCredential { id: name.into(), ..github() }
}

fn names(vault: &Vault) -> Vec<String> {
    vault.list(&TenantId::default()).iter().map(|summary| summary.id.to_string()).collect()
}

/// The result of both sides of a conflict; any other outcome is a failure.
fn conflict<T: fmt::Debug>(outcome: Result<T, VaultError>) -> (Stored, Stored) {
    match outcome {
        Err(VaultError::Store(StoreError::Conflict { expected, found })) => (expected, found),
        other => panic!("not a conflict: {other:?}"),
    }
}

#[test]
fn t165_of_two_vaults_with_one_file_the_second_writer_is_refused_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.egret");
    let first = Vault::create(&path, &Key(1)).unwrap();
    let second = Vault::open(&path, &Key(1)).unwrap();
    first.put(named("of-the-first"), canary(), now()).unwrap();
    let error = second.put(named("of-the-second"), canary(), now()).unwrap_err();
    assert_eq!(error.code(), "vault_conflict");
    assert_eq!(conflict::<()>(Err(error)), (Stored::Generation(1), Stored::Generation(2)));
    assert_eq!((second.generation(), names(&second)), (1, vec![]), "the second has what it read");
    assert_eq!(names(&Vault::open(&path, &Key(1)).unwrap()), ["of-the-first"]);
    let again = Vault::open(&path, &Key(1)).unwrap();
    again.put(named("of-the-second"), canary(), now()).unwrap();
    assert_eq!(names(&Vault::open(&path, &Key(1)).unwrap()), ["of-the-first", "of-the-second"]);
    assert_eq!(conflict(first.rotate(&TenantId::default())), (Stored::Generation(2), Stored::Generation(3)));
}

#[test]
fn of_many_writers_with_the_same_expectation_exactly_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.egret");
    let sealed: Vec<Vec<u8>> = (0..8).map(|_| created().0.bytes()).collect();
    let start = Barrier::new(sealed.len());
    let outcomes: Vec<Result<(), StoreError>> = std::thread::scope(|scope| {
        let writers = sealed.iter().map(|bytes| {
            scope.spawn(|| {
                let store = FileStore::new(&path);
                start.wait();
                store.replace(Stored::Nothing, bytes)
            })
        });
        let writers: Vec<_> = writers.collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let won: Vec<usize> = (0..sealed.len()).filter(|number| outcomes[*number].is_ok()).collect();
    assert_eq!(won.len(), 1, "{outcomes:?}");
    assert!(FileStore::new(&path).read().unwrap().unwrap() == sealed[won[0]]);
    for refused in outcomes.into_iter().filter_map(Result::err) {
        assert_eq!(conflict::<()>(Err(refused.into())), (Stored::Nothing, Stored::Generation(1)));
    }
}

#[test]
fn writers_that_try_again_after_a_conflict_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.egret");
    drop(Vault::create(&path, &Key(1)).unwrap());
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let path = &path;
            scope.spawn(move || {
                for number in 0..5 {
                    let name = format!("name-{thread}-{number}");
                    while let Err(error) = Vault::open(path, &Key(1)).unwrap().put(named(&name), canary(), now()) {
                        conflict::<()>(Err(error));
                    }
                }
            });
        }
    });
    let vault = Vault::open(&path, &Key(1)).unwrap();
    assert_eq!((names(&vault).len(), vault.generation()), (15, 16));
}

#[test]
fn a_store_replaces_only_the_expected_generation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.egret");
    let vault = Vault::create(&path, &Key(1)).unwrap();
    vault.put(github(), canary(), now()).unwrap();
    let (store, held) = (FileStore::new(&path), std::fs::read(&path).unwrap());
    for expected in [Stored::Generation(1), Stored::Generation(3), Stored::Nothing, Stored::Unreadable] {
        let outcome = store.replace(expected, b"new").map_err(VaultError::from);
        assert_eq!(conflict(outcome), (expected, Stored::Generation(2)));
        assert!(std::fs::read(&path).unwrap() == held, "{expected:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left");
    store.replace(Stored::Generation(2), b"new").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
}

#[test]
fn t165_a_file_that_was_removed_or_damaged_under_an_open_vault_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.egret");
    let vault = Vault::create(&path, &Key(1)).unwrap();
    let backup = vault.backup();
    std::fs::remove_file(&path).unwrap();
    let seal = || vault.seal_internal("ca.key", &canary());
    assert_eq!(conflict(seal()), (Stored::Generation(1), Stored::Nothing));
    assert!(!Vault::exists(&path));
    FileStore::new(&path).replace(Stored::Nothing, b"damaged").unwrap();
    assert_eq!(conflict(seal()), (Stored::Generation(1), Stored::Unreadable));
    assert_eq!(Vault::restore_to(&path, &Key(1), &backup, 0).unwrap().generation(), 2, "a restore expects the damage");
}

#[test]
fn a_change_that_may_not_last_is_what_the_next_one_expects() {
    let (store, vault) = filled();
    store.fail(Some(Fault::Sync));
    assert!(vault.put(named("first"), canary(), now()).is_err());
    store.fail(None);
    vault.put(named("second"), canary(), now()).unwrap();
    assert_eq!(names(&open(&store.bytes()).unwrap()), ["first", "github", "second"]);
}

#[test]
fn writers_on_many_threads_lose_nothing() {
    let (store, vault) = created();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let vault = &vault;
            scope.spawn(move || {
                for number in 0..10 {
                    let id = format!("name-{thread}-{number}");
                    vault.put(NewCredential { id: id.as_str().into(), ..github() }, canary(), now()).unwrap();
                    assert_eq!(lent(vault, "default", &id), CANARY);
                }
            });
        }
    });
    let again = open(&store.bytes()).unwrap();
    assert_eq!(again.list(&TenantId::default()).len(), 40);
    assert_eq!(again.generation(), 41);
}
