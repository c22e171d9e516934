//! The checks of a credential before it is put: whether it can be put at all, and whether its value is too weak.
//!
//! Masking reveals, for each text that an upstream can be made to repeat, whether it is the value. If a few guesses suffice to
//! find the value, that breaks it; so such a value is refused unless the caller allows it.

use model::Timestamp;

use crate::credential::{CredentialError, Kind, NewCredential, SHORT_VALUE_BYTES};
use crate::error::VaultError;
use crate::weakness::{MIN_BITS, Weakness};
use secret::Secret;

/// Values that occur in examples and in lists of guesses, in lower case.
const COMMON: &[&str] = &[
    "00000000",
    "0123456789",
    "111111",
    "11111111",
    "123123",
    "1234",
    "12345",
    "123456",
    "1234567",
    "12345678",
    "123456789",
    "1234567890",
    "abc123",
    "abcd1234",
    "admin",
    "admin123",
    "administrator",
    "api-key",
    "api_key",
    "apikey",
    "asdfgh",
    "bearer",
    "change-me",
    "change_me",
    "changeit",
    "changeme",
    "default",
    "demo",
    "dummy",
    "example",
    "fake",
    "foobar",
    "guest",
    "hunter2",
    "iloveyou",
    "insert-your-key-here",
    "key",
    "letmein",
    "login",
    "master",
    "monkey",
    "none",
    "null",
    "p@ssw0rd",
    "pass",
    "passw0rd",
    "password",
    "password1",
    "password123",
    "passwort",
    "placeholder",
    "postgres",
    "qwerty",
    "qwerty123",
    "replace-me",
    "replace_me",
    "replaceme",
    "root",
    "s3cr3t",
    "s3cret",
    "sample",
    "secret",
    "secret123",
    "secretkey",
    "supersecret",
    "test",
    "test123",
    "test1234",
    "tester",
    "testing",
    "toor",
    "token",
    "undefined",
    "user",
    "welcome",
    "your-api-key",
    "your_api_key",
    "yourapikey",
    "your-token",
    "your_token",
];

/// The minimum bytes of a passphrase. An attacker with a copy of the vault can try passphrases without a counter.
pub const MIN_PASSPHRASE_BYTES: usize = 12;

/// Passphrases with fewer bits than this, by [`bits`], are guessable; each guess costs Argon2id.
const MIN_PASSPHRASE_BITS: f64 = 50.0;

/// Why a passphrase is too weak to lock a vault, as the rest of a sentence; `None` if it is strong enough.
#[expect(clippy::disallowed_methods, reason = "the strength of the passphrase is estimated; nothing of it is kept")]
pub fn passphrase_weakness(passphrase: &Secret) -> Option<&'static str> {
    let text = passphrase.expose_secret();
    let is_common = COMMON.iter().any(|common| text.eq_ignore_ascii_case(common.as_bytes()));
    if text.len() < MIN_PASSPHRASE_BYTES {
        return Some("is shorter than 12 bytes");
    }
    (is_common || bits(text) < MIN_PASSPHRASE_BITS).then_some("is easily guessed")
}

impl NewCredential {
    /// Judges all properties, without a vault.
    ///
    /// # Errors
    /// [`VaultError::Value`], [`VaultError::Weak`] or [`VaultError::Credential`].
    pub fn check(&self, value: &Secret, now: Timestamp) -> Result<(), VaultError> {
        self.spec.kinds().try_for_each(|kind| kind.check_value(value))?;
        self.check_fields()?;
        if let Some(weakness) = self.spec.kind.weaknesses(value).into_iter().next().filter(|_| !self.allow_weak) {
            return Err(VaultError::Weak(weakness));
        }
        if self.spec.expires.is_some_and(|end| end <= now) { Err(CredentialError::Expired.into()) } else { Ok(()) }
    }
}

impl Kind {
    /// The risk of a value of this kind; for a pair, of its password.
    pub fn weaknesses(&self, value: &Secret) -> Vec<Weakness> {
        let value = self.substitution_bytes(value);
        let same = value.split_first().is_some_and(|(first, rest)| rest.iter().all(|byte| byte == first));
        let common = same || COMMON.iter().any(|common| value.eq_ignore_ascii_case(common.as_bytes()));
        let short = value.len() < SHORT_VALUE_BYTES;
        let guessable = !short && !common && bits(value) < MIN_BITS;
        [(short, Weakness::Short), (common, Weakness::Common), (guessable, Weakness::Guessable)]
            .into_iter()
            .filter_map(|(is_so, weakness)| is_so.then_some(weakness))
            .collect()
    }
}

/// A rough upper estimate: as many bits as if each character were drawn from the classes that occur. Of repeating characters,
/// at most three times the number of different ones are counted.
fn bits(value: &[u8]) -> f64 {
    let has = |class: fn(&u8) -> bool| value.iter().any(class);
    let hex = value.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
    let letters = if hex { 6.0 } else { 26.0 };
    let classes = [
        (has(u8::is_ascii_digit), 10.0),
        (has(u8::is_ascii_lowercase), letters),
        (has(u8::is_ascii_uppercase), 26.0),
        (has(|byte| !byte.is_ascii_alphanumeric()), 32.0),
    ];
    let alphabet: f64 = classes.into_iter().filter(|(is_there, _)| *is_there).map(|(_, size)| size).sum();
    let different = value.iter().collect::<std::collections::HashSet<_>>().len();
    let counted = u32::try_from(value.len().min(3 * different)).unwrap_or(u32::MAX);
    f64::from(counted) * alphabet.max(1.0).log2()
}

#[cfg(test)]
mod tests {
    use model::Audience;

    use super::*;
    use crate::credential::CredentialSpec;

    fn kind(name: &str) -> Kind {
        Kind::new(name, []).unwrap()
    }

    #[test]
    fn short_and_common_values_are_told_from_others() {
        let of = |kind: Kind, value: &str| kind.weaknesses(&Secret::new(value.as_bytes().to_vec()));
        assert_eq!(of(kind("bearer"), "ghp_5f3a91c07be2"), []);
        assert_eq!(of(kind("bearer"), "q7Zk9_x"), [Weakness::Short]);
        assert_eq!(of(kind("bearer"), "q7Zk9_xP"), []);
        assert_eq!(of(kind("bearer"), "PassWord123"), [Weakness::Common]);
        assert_eq!(of(kind("bearer"), "xxxxxxxxxxxx"), [Weakness::Common]);
        assert_eq!(of(kind("bearer"), "test"), [Weakness::Short, Weakness::Common]);
        for guessable in ["20261128", "493817265", "deadbeef", "abababababab", "hellojoe"] {
            assert_eq!(of(kind("bearer"), guessable), [Weakness::Guessable], "{guessable}");
        }
        for fine in ["4938172650493", "9f86d081884c", "q7zk9xpw5m", "correct-horse"] {
            assert_eq!(of(kind("bearer"), fine), [], "{fine}");
        }
        // For a pair the password counts, however long the name is.
        assert_eq!(of(kind("basic"), "a-long-name@example.com:changeme"), [Weakness::Common]);
        assert_eq!(of(kind("basic"), "a:ghp_5f3a91c07be2"), []);
    }

    #[test]
    fn weak_passphrases_are_told_from_others() {
        let of = |text: &str| passphrase_weakness(&Secret::new(text.as_bytes().to_vec()));
        for short in ["", "x", "changeme", "q7zk9xpw5m."] {
            assert_eq!(of(short), Some("is shorter than 12 bytes"), "{short}");
        }
        for weak in ["aaaaaaaaaaaaaaaaaaaa", "abababababababab", "202611282026", "insert-your-key-here"] {
            assert_eq!(of(weak), Some("is easily guessed"), "{weak}");
        }
        for fine in ["correct horse battery staple", "q7zk9xpw5m2e", "8391 0467 2250 7713"] {
            assert_eq!(of(fine), None, "{fine}");
        }
    }

    #[test]
    fn the_list_of_common_values_is_in_lower_case() {
        assert!(COMMON.iter().all(|common| *common == common.to_lowercase()));
    }

    #[test]
    fn t099_what_a_vault_would_refuse_is_refused_without_one() {
        let now: Timestamp = "2026-11-26T00:00:00Z".parse().unwrap();
        let spec = || CredentialSpec::new(kind("bearer"), Audience::parse(&["api.example.com"]).unwrap());
        let new = || NewCredential::new("name".into(), spec());
        let value = || Secret::new(b"a-value-of-some-length".to_vec());
        assert!(new().check(&value(), now).is_ok());
        let misnamed = NewCredential { id: "-x".into(), ..new() };
        assert!(matches!(misnamed.check(&value(), now), Err(VaultError::Credential(CredentialError::Name))));
        let broken = Secret::new(b"two\nlines".to_vec());
        assert!(matches!(new().check(&broken, now), Err(VaultError::Value(_))));
        // Every location must support it.
        let cookie = Kind::new("cookie", [("name", "sid".to_owned())]).unwrap();
        let both = NewCredential { spec: CredentialSpec { also: vec![cookie], ..spec() }, ..new() };
        assert!(both.check(&value(), now).is_ok());
        let ends_a_cookie = Secret::new(b"a;value-of-some-length".to_vec());
        assert!(new().check(&ends_a_cookie, now).is_ok());
        assert!(matches!(both.check(&ends_a_cookie, now), Err(VaultError::Value(_))));
        for weak in ["test", "changeme", "12345678901"] {
            let value = || Secret::new(weak.as_bytes().to_vec());
            assert!(matches!(new().check(&value(), now), Err(VaultError::Weak(_))), "{weak}");
            let allowed = NewCredential { allow_weak: true, ..new() };
            assert!(allowed.check(&value(), now).is_ok(), "{weak}");
        }
        let over = NewCredential { spec: CredentialSpec { expires: Some(now), ..spec() }, ..new() };
        assert!(matches!(over.check(&value(), now), Err(VaultError::Credential(CredentialError::Expired))));
    }
}
