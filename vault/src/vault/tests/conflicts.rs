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

/// What a writer that has read this file expects.
fn stored(path: &Path) -> Stored {
    Stored::of(FileStore::new(path).read().unwrap().as_deref())
}

/// The number of the generation, of both sides of a conflict.
fn numbers((expected, found): (Stored, Stored)) -> (u64, u64) {
    let number = |stored| match stored {
        Stored::Generation { number, .. } => number,
        Stored::Nothing | Stored::Unreadable { .. } => panic!("not a vault: {stored:?}"),
    };
    (number(expected), number(found))
}

#[test]
fn t165_of_two_vaults_with_one_file_the_second_writer_is_refused_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.egret");
    let first = Vault::create(&path, &Key(1)).unwrap();
    let second = Vault::open(&path, &Key(1)).unwrap();
    let before = stored(&path);
    first.put(named("of-the-first"), canary(), now()).unwrap();
    let error = second.put(named("of-the-second"), canary(), now()).unwrap_err();
    assert_eq!(error.code(), "vault_conflict");
    assert_eq!(conflict::<()>(Err(error)), (before, stored(&path)));
    assert_eq!((second.generation(), names(&second)), (1, vec![]), "the second has what it read");
    assert_eq!(names(&Vault::open(&path, &Key(1)).unwrap()), ["of-the-first"]);
    let again = Vault::open(&path, &Key(1)).unwrap();
    again.put(named("of-the-second"), canary(), now()).unwrap();
    assert_eq!(names(&Vault::open(&path, &Key(1)).unwrap()), ["of-the-first", "of-the-second"]);
    assert_eq!(numbers(conflict(first.rotate(&TenantId::default()))), (2, 3));
}

#[test]
fn t165_a_file_that_diverged_is_not_written_over_although_its_generation_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("vault.egret"), folder.path().join("copy.egret"));
    let first = Vault::create(&path, &Key(1)).unwrap();
    std::fs::copy(&path, &copy).unwrap();
    Vault::open(&copy, &Key(1)).unwrap().put(named("foreign"), canary(), now()).unwrap();
    first.put(named("ours"), canary(), now()).unwrap();
    let ours = stored(&path);
    std::fs::rename(&copy, &path).unwrap();
    let foreign = std::fs::read(&path).unwrap();
    let error = first.put(named("ours-too"), canary(), now()).unwrap_err();
    let VaultError::Store(why) = &error else { panic!("{error:?}") };
    assert_eq!(
        why.to_string(),
        "the stored vault is generation 2, but its bytes differ: another process has replaced or damaged it; find that process, then restart Egret"
    );
    let sides = conflict::<()>(Err(error));
    assert_eq!((sides, numbers(sides)), ((ours, stored(&path)), (2, 2)));
    assert!(std::fs::read(&path).unwrap() == foreign, "the foreign file stays as it is");
    assert_eq!(names(&first), ["ours"], "and so does memory");
}

#[test]
fn t165_a_file_with_a_flipped_byte_or_a_part_of_it_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.egret");
    let vault = Vault::create(&path, &Key(1)).unwrap();
    vault.put(github(), canary(), now()).unwrap();
    let (intact, expected) = (std::fs::read(&path).unwrap(), stored(&path));
    let refuses = |damaged: &[u8], what: &str| {
        std::fs::write(&path, damaged).unwrap();
        let outcome = vault.put(github(), canary(), now());
        assert_eq!(conflict(outcome), (expected, Stored::of(Some(damaged))), "{what}");
        assert!(std::fs::read(&path).unwrap() == damaged, "{what}: the file stays as it is");
    };
    for offset in (0..intact.len()).step_by(16).chain([40, 100, intact.len() / 2, intact.len() - 1]) {
        let mut damaged = intact.clone();
        damaged[offset] ^= 1;
        refuses(&damaged, &format!("byte {offset}"));
    }
    for length in [0, 1, 100, intact.len() / 2, intact.len() - 1] {
        refuses(&intact[..length], &format!("truncated to {length}"));
    }
    refuses(&[&intact[..], b"\0"].concat(), "extended");
    std::fs::write(&path, &intact).unwrap();
    vault.put(github(), canary(), now()).unwrap();
    vault.put(github(), canary(), now()).unwrap();
    let again = Vault::open(&path, &Key(1)).unwrap();
    assert_eq!((again.generation(), again.show(&TenantId::default(), &"github".into()).unwrap().version), (4, 3));
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
        assert_eq!(conflict::<()>(Err(refused.into())), (Stored::Nothing, Stored::of(Some(&sealed[won[0]]))));
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
fn a_store_replaces_only_the_expected_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.egret");
    let vault = Vault::create(&path, &Key(1)).unwrap();
    let older = stored(&path);
    vault.put(github(), canary(), now()).unwrap();
    let (store, held, found) = (FileStore::new(&path), std::fs::read(&path).unwrap(), stored(&path));
    let Stored::Generation { sha256, .. } = found else { panic!("{found:?}") };
    let others = [
        older,
        Stored::Generation { number: 3, sha256 },
        Stored::Generation { number: 2, sha256: [0; 32] },
        Stored::Nothing,
        Stored::Unreadable { sha256 },
    ];
    for expected in others {
        let outcome = store.replace(expected, b"new").map_err(VaultError::from);
        assert_eq!(conflict(outcome), (expected, found));
        assert!(std::fs::read(&path).unwrap() == held, "{expected:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left");
    store.replace(found, b"new").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
}

#[test]
fn t165_a_file_that_was_removed_or_damaged_under_an_open_vault_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.egret");
    let vault = Vault::create(&path, &Key(1)).unwrap();
    let (backup, expected) = (vault.backup(), stored(&path));
    std::fs::remove_file(&path).unwrap();
    let seal = || vault.seal_internal("ca.key", &canary());
    assert_eq!(conflict(seal()), (expected, Stored::Nothing));
    assert!(!Vault::exists(&path));
    FileStore::new(&path).replace(Stored::Nothing, b"damaged").unwrap();
    let unreadable = stored(&path);
    assert!(matches!(unreadable, Stored::Unreadable { .. }), "{unreadable:?}");
    assert_eq!(conflict(seal()), (expected, unreadable));
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
