//! Key files and passphrases.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::*;

const SALT: [u8; SALT_BYTES] = [7; SALT_BYTES];

impl Kek {
    /// A KEK of known bytes.
    pub(crate) fn for_tests(bytes: [u8; KEY_BYTES]) -> Self {
        Self::made(|kek| *kek = bytes)
    }

    fn derived(&self) -> [u8; KEY_BYTES] {
        *self.derive(b"test", b"")
    }
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase(Secret::new(text.as_bytes().to_vec()))
}

#[test]
fn a_key_file_gives_the_same_key_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile(folder.path().join("vault.key"));
    file.create().unwrap();
    assert_eq!(fs::metadata(&file.0).unwrap().permissions().mode() & 0o777, 0o600);
    let kek = file.kek(&Stretch::KeyFile, &SALT).unwrap();
    assert_eq!(kek.derived(), file.kek(&Stretch::KeyFile, &SALT).unwrap().derived());
    assert_ne!(kek.derived(), file.kek(&Stretch::KeyFile, &[8; SALT_BYTES]).unwrap().derived());
    assert!(matches!(file.create(), Err(KeyError::Create { .. })), "an existing key is never overwritten");
}

#[test]
fn t166_a_key_file_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile(folder.path().join("vault.key"));
    file.create().unwrap();
    for mode in [0o644, 0o640, 0o604, 0o620, 0o601] {
        fs::set_permissions(&file.0, Permissions::from_mode(mode)).unwrap();
        assert!(
            matches!(file.kek(&Stretch::KeyFile, &SALT), Err(KeyError::File(StoreError::Unsafe { .. }))),
            "{mode:o}"
        );
    }
    fs::set_permissions(&file.0, Permissions::from_mode(0o400)).unwrap();
    assert!(file.kek(&Stretch::KeyFile, &SALT).is_ok());
}

#[test]
fn a_key_file_of_another_length_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for length in [0, 31, 33, 64] {
        let file = KeyFile(folder.path().join(length.to_string()));
        write_new(&file.0, &vec![1; length]).unwrap();
        assert!(matches!(file.kek(&Stretch::KeyFile, &SALT), Err(KeyError::Length { .. })), "{length}");
    }
}

#[test]
fn a_passphrase_gives_the_same_key_again_and_another_does_not() {
    let key = |text, salt| passphrase(text).kek(&Stretch::PASSPHRASE, &salt).unwrap().derived();
    let first = key("correct horse", SALT);
    assert_eq!(first, key("correct horse", SALT));
    assert_ne!(first, key("correct horsf", SALT));
    assert_ne!(first, key("correct horse", [8; SALT_BYTES]));
}

#[test]
fn the_wrong_kind_of_source_says_which_is_needed() {
    assert!(matches!(passphrase("x").kek(&Stretch::KeyFile, &SALT), Err(KeyError::NeedsKeyFile)));
    let file = KeyFile("/nowhere".into());
    assert!(matches!(file.kek(&Stretch::PASSPHRASE, &SALT), Err(KeyError::NeedsPassphrase)));
    assert!(matches!(passphrase("").kek(&Stretch::PASSPHRASE, &SALT), Err(KeyError::Empty)));
}

#[test]
fn t160_parameters_have_bounds() {
    let argon = |memory_kib, passes, lanes| Stretch::Argon2id { memory_kib, passes, lanes }.is_acceptable();
    assert!(argon(65_536, 3, 4));
    assert!(!argon(64 << 20, 3, 4), "64 GiB");
    assert!(!argon(8, 3, 4), "8 KiB");
    assert!(!argon(u32::MAX, u32::MAX, u32::MAX));
    assert!(!argon(65_536, 2, 4) && !argon(65_536, 33, 4) && !argon(65_536, 3, 0) && !argon(65_536, 3, 17));
}

#[test]
fn keys_are_not_shown() {
    assert_eq!(format!("{:?}", Kek::for_tests([3; 32])), "Kek([REDACTED])");
    assert_eq!(format!("{:?}", passphrase("hunter2")), "Passphrase([REDACTED])");
}
