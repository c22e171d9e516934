//! Key files and passphrases.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::*;

const SALT: [u8; SALT_BYTES] = [7; SALT_BYTES];
/// The weakest parameters that are allowed.
const QUICK: Argon2id = Argon2id { memory_kib: 19 * 1024, passes: 2, lanes: 1 };

impl Kek {
    /// A KEK of known bytes.
    pub(crate) fn for_tests(bytes: [u8; KEY_BYTES]) -> Self {
        Self(
            Key::generate_with(|key| {
                *key = bytes;
                Ok::<_, ()>(())
            })
            .unwrap(),
        )
    }

    fn derived(&self) -> [u8; KEY_BYTES] {
        *self.0.derive(b"test", b"")
    }
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(Secret::new(text.as_bytes().to_vec()))
}

#[test]
fn a_key_file_gives_the_same_key_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile(folder.path().join("vault.key"));
    file.create().unwrap();
    assert_eq!(fs::metadata(&file.0).unwrap().permissions().mode() & 0o777, 0o600);
    let kek = file.kek(&KeyDerivation::KEY_FILE, &SALT).unwrap();
    assert_eq!(kek.derived(), file.kek(&KeyDerivation::KEY_FILE, &SALT).unwrap().derived());
    assert_ne!(kek.derived(), file.kek(&KeyDerivation::KEY_FILE, &[8; SALT_BYTES]).unwrap().derived());
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
            matches!(file.kek(&KeyDerivation::KEY_FILE, &SALT), Err(KeyError::File(StoreError::Unsafe { .. }))),
            "{mode:o}"
        );
    }
    fs::set_permissions(&file.0, Permissions::from_mode(0o400)).unwrap();
    assert!(file.kek(&KeyDerivation::KEY_FILE, &SALT).is_ok());
}

#[test]
fn a_key_file_of_another_length_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for length in [0, 31, 33, 64] {
        let file = KeyFile(folder.path().join(length.to_string()));
        write_new(&file.0, &vec![1; length]).unwrap();
        assert!(matches!(file.kek(&KeyDerivation::KEY_FILE, &SALT), Err(KeyError::Length { .. })), "{length}");
    }
}

#[test]
fn a_passphrase_gives_the_same_key_again_and_another_does_not() {
    let key = |text, salt| passphrase(text).kek(&KeyDerivation::PASSPHRASE, &salt).unwrap().derived();
    let first = key("correct horse", SALT);
    assert_eq!(first, key("correct horse", SALT));
    assert_ne!(first, key("correct horsf", SALT));
    assert_ne!(first, key("correct horse", [8; SALT_BYTES]));
}

#[test]
fn the_wrong_kind_of_source_says_which_is_needed() {
    let said = |result: Result<Kek, KeyError>| result.unwrap_err().to_string();
    let wanted = "the vault is locked with a key file, but what was given is a passphrase";
    assert_eq!(said(passphrase("x").kek(&KeyDerivation::KEY_FILE, &SALT)), wanted);
    let file = KeyFile("/nowhere".into());
    let wanted = "the vault is locked with a passphrase, but what was given is a key file";
    assert_eq!(said(file.kek(&KeyDerivation::PASSPHRASE, &SALT)), wanted);
    let both = KeyDerivation { key_file: true, ..KeyDerivation::PASSPHRASE };
    let wanted = "the vault is locked with a passphrase and key file, but what was given is a passphrase";
    assert_eq!(said(passphrase("x").kek(&both, &SALT)), wanted);
    assert!(matches!(passphrase("").kek(&KeyDerivation::PASSPHRASE, &SALT), Err(KeyError::Empty)));
}

#[test]
fn a_passphrase_and_a_key_file_are_both_needed() {
    let folder = tempfile::tempdir().unwrap();
    let with = |text: &str, name: &str| {
        let key_file = KeyFile(folder.path().join(name));
        drop(key_file.create());
        let passphrase = Passphrase { argon2id: QUICK, ..passphrase(text) };
        let both = PassphraseAndKeyFile { passphrase, key_file };
        let recipe = both.recipe().unwrap();
        assert_eq!(recipe, KeyDerivation { passphrase: Some(QUICK), key_file: true, external: None });
        both.kek(&recipe, &SALT).unwrap().derived()
    };
    assert_eq!(with("a", "one"), with("a", "one"));
    assert_ne!(with("a", "one"), with("b", "one"));
    assert_ne!(with("a", "one"), with("a", "two"));
}

#[test]
fn another_keeper_of_keys_fits_in() {
    /// Returns the key that its hint names, as a KMS would unwrap one.
    struct Keeper;
    impl KeySource for Keeper {
        fn recipe(&self) -> Result<KeyDerivation, KeyError> {
            Ok(KeyDerivation { passphrase: None, key_file: false, external: Some(b"keeper:7".as_slice().into()) })
        }
        fn kek(&self, recipe: &KeyDerivation, salt: &[u8; SALT_BYTES]) -> Result<Kek, KeyError> {
            assert_eq!(recipe.external.as_deref(), Some(b"keeper:7".as_slice()));
            let external = Key::generate_with(|key| {
                *key = [7; KEY_BYTES];
                Ok::<_, ()>(())
            });
            Ok(Parts { external: external.ok(), ..Parts::default() }.kek(recipe, salt))
        }
    }
    let recipe = Keeper.recipe().unwrap();
    assert!(recipe.is_acceptable());
    assert_eq!(recipe.to_string(), "external source");
    assert_eq!(Keeper.kek(&recipe, &SALT).unwrap().derived(), Keeper.kek(&recipe, &SALT).unwrap().derived());
    assert!(!KeyDerivation { external: Some(vec![0; MAX_HINT_BYTES + 1].into()), ..recipe }.is_acceptable());
}

#[test]
fn t160_parameters_have_bounds() {
    let argon = |memory_kib, passes, lanes| Argon2id { memory_kib, passes, lanes }.is_acceptable();
    assert!(argon(65_536, 3, 4));
    assert!(argon(19 * 1024, 2, 1) && argon(4 << 20, 2, 1), "the floor and the cap");
    assert!(!argon(64 << 20, 3, 4), "64 GiB");
    assert!(!argon(8, 3, 4), "8 KiB");
    assert!(!argon(u32::MAX, u32::MAX, u32::MAX));
    assert!(!argon(19 * 1024 - 1, 2, 1) && !argon((4 << 20) + 1, 2, 1));
    assert!(!argon(65_536, 1, 4) && !argon(65_536, 33, 4) && !argon(65_536, 3, 0) && !argon(65_536, 3, 65));
    assert!(!KeyDerivation { passphrase: None, key_file: false, external: None }.is_acceptable());
    let weak = Passphrase { argon2id: Argon2id { passes: 1, ..QUICK }, ..passphrase("x") };
    assert!(matches!(weak.recipe(), Err(KeyError::Parameters)));
}

#[test]
fn keys_are_not_shown() {
    assert_eq!(format!("{:?}", Kek::for_tests([3; 32])), "Kek(Key([REDACTED]))");
    assert!(format!("{:?}", passphrase("hunter2")).starts_with("Passphrase { text: [REDACTED], "));
}
