//! Newtypes for every name that travels between crates. Cheap to clone; compared as text.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The characters of a 128-bit id in text: Crockford's base 32 in lower case, without i, l, o and u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Writes 16 bytes as 26 characters that sort as the bytes do.
fn spell(bytes: [u8; 16]) -> [u8; 26] {
    let mut rest = u128::from_be_bytes(bytes);
    let mut text = [0u8; 26];
    for place in text.iter_mut().rev() {
        *place = ALPHABET[(rest & 31) as usize];
        rest >>= 5;
    }
    text
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is; the code that reads it from outside has checked it.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }
    };
}

macro_rules! random_id {
    ($name:ident, $prefix:literal) => {
        impl $name {
            /// What every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// Makes an id from 16 bytes that the caller drew (their first six may be a time in milliseconds).
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                let mut text = [0u8; $prefix.len() + 26];
                text[..$prefix.len()].copy_from_slice($prefix.as_bytes());
                text[$prefix.len()..].copy_from_slice(&spell(bytes));
                Self(std::str::from_utf8(&text).expect("prefix and alphabet are ASCII").into())
            }
        }
    };
}

/// An id that every request draws: held in place, without an allocation.
macro_rules! inline_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $prefix.len() + 26]);

        impl $name {
            /// Makes an id from 16 bytes that the caller drew (their first six may be a time in milliseconds).
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                let mut text = [0u8; $prefix.len() + 26];
                text[..$prefix.len()].copy_from_slice($prefix.as_bytes());
                text[$prefix.len()..].copy_from_slice(&spell(bytes));
                Self(text)
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                std::str::from_utf8(&self.0).expect("prefix and alphabet are ASCII")
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

text_id! {
    /// A session, `ses_` and 26 characters.
    SessionId
}
random_id!(SessionId, "ses_");
inline_id! {
    /// One request with its response, `ex_` and 26 characters; the same in its opening and closing record.
    ExchangeId, "ex_"
}
inline_id! {
    /// One audit record, `rec_` and 26 characters.
    RecordId, "rec_"
}
text_id! {
    /// The isolation boundary for secrets, policies and records.
    TenantId
}
text_id! {
    /// The name of a credential, unique within its tenant.
    CredentialId
}
text_id! {
    /// The `id` of a rule, unique within its policy.
    RuleId
}
text_id! {
    /// The unique name of a policy, such as `coding-agent` or `library/pypi`.
    PolicyName
}
text_id! {
    /// The digest of the policy set that judged an exchange, `sha256:` and 64 hex digits.
    SnapshotDigest
}

impl Default for TenantId {
    /// The tenant where none is named.
    fn default() -> Self {
        Self::new("default")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_as_their_bytes() {
        let low = SessionId::from_bytes([0; 16]);
        let high = SessionId::from_bytes([0xff; 16]);
        assert_eq!(low.as_str(), "ses_00000000000000000000000000");
        assert_eq!(high.as_str(), "ses_7zzzzzzzzzzzzzzzzzzzzzzzzz");
        assert!(low < high);
    }

    #[test]
    fn ids_of_requests_are_their_text() {
        let (low, high) = (RecordId::from_bytes([0; 16]), RecordId::from_bytes([0xff; 16]));
        assert_eq!(
            (low.as_str(), high.to_string().as_str()),
            ("rec_00000000000000000000000000", "rec_7zzzzzzzzzzzzzzzzzzzzzzzzz")
        );
        assert_eq!(format!("{:?}", ExchangeId::from_bytes([0; 16])), "ExchangeId(ex_00000000000000000000000000)");
        assert!(low < high);
    }
}
