//! What is judged of a credential before it is put: whether it can be put at all, and what is risky about its value.

use model::Timestamp;

use crate::credential::{CredentialError, Kind, NewCredential, SHORT_VALUE_BYTES};
use crate::error::VaultError;
use crate::secret::Secret;

/// What is risky about a value that can be put nonetheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// So short that it stands in ordinary text too.
    Short,
    /// One of those that people guess first.
    Common,
}

impl Weakness {
    /// What it means, as the rest of a sentence about the credential; never what the value is.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Short => {
                "the value is shorter than 8 bytes: it may stand in ordinary text too, where masking it spoils responses"
            }
            Self::Common => "the value is one of those that people guess first: replace it at whoever takes it",
        }
    }
}

/// Values that stand in examples and in lists of guesses, in lower case.
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

impl NewCredential {
    /// Judges all of it, without a vault.
    ///
    /// # Errors
    /// [`VaultError::Value`] or [`VaultError::Credential`].
    pub fn check(&self, value: &Secret, now: Timestamp) -> Result<(), VaultError> {
        self.kind.check_value(value)?;
        self.shape(1, String::new())?;
        if self.expires.is_some_and(|end| end <= now) { Err(CredentialError::Expired.into()) } else { Ok(()) }
    }
}

impl Kind {
    /// What is risky about a value of this kind; of a pair, about its password.
    pub fn weaknesses(&self, value: &Secret) -> Vec<Weakness> {
        let value = self.swap_value(value);
        let same = value.split_first().is_some_and(|(first, rest)| rest.iter().all(|byte| byte == first));
        let common = same || COMMON.iter().any(|common| value.eq_ignore_ascii_case(common.as_bytes()));
        [(value.len() < SHORT_VALUE_BYTES, Weakness::Short), (common, Weakness::Common)]
            .into_iter()
            .filter_map(|(is_so, weakness)| is_so.then_some(weakness))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        // Of a pair the password counts, however long the name is.
        assert_eq!(of(kind("basic"), "a-long-name@example.com:changeme"), [Weakness::Common]);
        assert_eq!(of(kind("basic"), "a:ghp_5f3a91c07be2"), []);
    }

    #[test]
    fn the_list_of_common_values_is_in_lower_case() {
        assert!(COMMON.iter().all(|common| *common == common.to_lowercase()));
    }

    #[test]
    fn what_a_vault_would_refuse_is_refused_without_one() {
        let now: Timestamp = "2026-11-26T00:00:00Z".parse().unwrap();
        let new = |audience: &str| NewCredential::new("name".into(), kind("bearer"), vec![audience.to_owned()]);
        let value = || Secret::new(b"a-value-of-some-length".to_vec());
        assert!(new("api.example.com").check(&value(), now).is_ok());
        assert!(matches!(new("*").check(&value(), now), Err(VaultError::Credential(_))));
        let broken = Secret::new(b"two\nlines".to_vec());
        assert!(matches!(new("api.example.com").check(&broken, now), Err(VaultError::Value(_))));
        let over = NewCredential { expires: Some(now), ..new("api.example.com") };
        assert!(matches!(over.check(&value(), now), Err(VaultError::Credential(CredentialError::Expired))));
    }
}
