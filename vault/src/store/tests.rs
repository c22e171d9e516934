//! The vault's file under faults.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

fn folder() -> (TempDir, FileStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(&folder.path().join("vault.egret"));
    (folder, store)
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn why(store: &FileStore) -> &'static str {
    match store.read() {
        Err(StoreError::Unsafe { why, .. }) => why,
        other => panic!("not refused as unsafe: {other:?}"),
    }
}

#[test]
fn what_is_written_is_read() {
    let (_folder, store) = folder();
    assert!(store.read().unwrap().is_none());
    let mut expected = Stored::Nothing;
    for content in [&b"one"[..], b"two, longer", b""] {
        store.replace(expected, content).unwrap();
        expected = Stored::of(Some(content));
        assert_eq!(store.read().unwrap().as_deref(), Some(content));
    }
    assert_eq!(fs::metadata(&store.path).unwrap().mode() & 0o777, 0o600);
    assert!(!store.temporary.exists());
}

#[test]
fn t166_a_link_in_the_place_of_the_vault_is_refused() {
    let (folder, store) = folder();
    let real = folder.path().join("real");
    FileStore::new(&real).replace(Stored::Nothing, b"x").unwrap();
    symlink(&real, &store.path).unwrap();
    assert_eq!(why(&store), "is a symbolic link");
    fs::remove_file(&store.path).unwrap();
    symlink(folder.path().join("nothing"), &store.path).unwrap();
    assert_eq!(why(&store), "is a symbolic link");
    fs::remove_file(&store.path).unwrap();
    fs::hard_link(&real, &store.path).unwrap();
    assert_eq!(why(&store), "has a second name (hard link)");
}

#[test]
fn t166_modes_that_let_others_in_are_refused() {
    let (folder, store) = folder();
    store.replace(Stored::Nothing, b"x").unwrap();
    for bits in [0o644, 0o660, 0o602, 0o610] {
        mode(&store.path, bits);
        assert!(why(&store).contains("0600"), "{bits:o}");
    }
    mode(&store.path, 0o600);
    for bits in [0o777, 0o775, 0o707, 0o1777] {
        mode(folder.path(), bits);
        assert_eq!(why(&store), "is a folder that others may write", "{bits:o}");
        assert!(matches!(store.replace(Stored::of(Some(b"x")), b"y"), Err(StoreError::Unsafe { .. })), "{bits:o}");
    }
    mode(folder.path(), 0o711);
    assert_eq!(store.read().unwrap().as_deref(), Some(&b"x"[..]));
}

#[test]
fn t166_what_is_no_file_is_refused() {
    let (_folder, store) = folder();
    fs::create_dir(&store.path).unwrap();
    mode(&store.path, 0o700);
    assert_eq!(why(&store), "is not a regular file");
    fs::remove_dir(&store.path).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &store.path, fifo, rustix::fs::Mode::from(0o600), 0).unwrap();
    assert_eq!(why(&store), "is not a regular file");
}

#[test]
fn t167_what_a_crash_left_is_removed_and_never_read() {
    let (_folder, store) = folder();
    store.replace(Stored::Nothing, b"old").unwrap();
    fs::write(&store.temporary, b"half of the n").unwrap();
    assert_eq!(store.read().unwrap().as_deref(), Some(&b"old"[..]));
    assert!(!store.temporary.exists());
    fs::write(&store.temporary, b"half of the n").unwrap();
    store.replace(Stored::of(Some(b"old")), b"new").unwrap();
    assert_eq!(store.read().unwrap().as_deref(), Some(&b"new"[..]));
}

#[test]
fn t166_a_link_in_the_place_of_the_new_file_is_not_followed() {
    let (folder, store) = folder();
    let victim = folder.path().join("victim");
    fs::write(&victim, b"untouched").unwrap();
    symlink(&victim, &store.temporary).unwrap();
    store.replace(Stored::Nothing, b"new").unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"untouched");
    assert_eq!(store.read().unwrap().as_deref(), Some(&b"new"[..]));
}

#[test]
fn t164_a_failed_write_leaves_the_old_file() {
    let (folder, store) = folder();
    store.replace(Stored::Nothing, b"old").unwrap();
    // A folder at the path of the new file can neither be removed as a file nor written.
    fs::create_dir(&store.temporary).unwrap();
    fs::write(store.temporary.join("x"), b"").unwrap();
    assert!(matches!(store.replace(Stored::of(Some(b"old")), b"new"), Err(StoreError::Io { .. })));
    assert_eq!(fs::read(&store.path).unwrap(), b"old");
    drop(folder);
    let gone = store.replace(Stored::Nothing, b"new");
    assert!(matches!(gone, Err(StoreError::Io { .. })), "the folder itself is gone");
}

#[test]
fn a_vault_without_bounds_is_not_read() {
    let (_folder, store) = folder();
    store.replace(Stored::Nothing, b"").unwrap();
    File::options().write(true).open(&store.path).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
    assert!(matches!(store.read(), Err(StoreError::TooLarge)));
    let replaced = store.replace(Stored::of(Some(b"")), b"new");
    assert!(matches!(replaced, Err(StoreError::Conflict { .. })), "{replaced:?}");
    assert_eq!(fs::metadata(&store.path).unwrap().len(), MAX_FILE_BYTES + 1, "the file stays as it is");
}
