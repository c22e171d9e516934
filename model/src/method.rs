//! Methods of requests (RFC 9110 section 9.1).

use thiserror::Error;

use crate::field::is_token;

/// The methods whose other spellings are refused.
const KNOWN: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "TRACK"];

/// The longest method, in bytes.
const MAX_BYTES: usize = 32;

/// Why a method is not acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MethodError {
    /// It is not a token, or too long.
    #[error("the method is not a token of at most 32 characters")]
    NoToken,
    /// It is a known method in another case.
    #[error("the method is a known one in another case")]
    OtherCase,
}

/// Judges a method, which is case-sensitive: `delete` is not DELETE here, but could be at the upstream.
///
/// # Errors
/// [`MethodError`].
pub fn check_method(method: &str) -> Result<(), MethodError> {
    if method.is_empty() || method.len() > MAX_BYTES || !method.bytes().all(is_token) {
        return Err(MethodError::NoToken);
    }
    if KNOWN.iter().any(|known| known.eq_ignore_ascii_case(method) && *known != method) {
        return Err(MethodError::OtherCase);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_a_token_in_its_own_case() {
        for method in ["GET", "M-SEARCH", "PROPFIND", "purge", &"A".repeat(32)] {
            assert_eq!(check_method(method), Ok(()), "{method}");
        }
        for method in ["", "A B", "GET\n", "caf\u{e9}", &"A".repeat(33)] {
            assert_eq!(check_method(method), Err(MethodError::NoToken), "{method}");
        }
        for method in ["get", "Delete", "tRACE", "connecT"] {
            assert_eq!(check_method(method), Err(MethodError::OtherCase), "{method}");
        }
    }
}
