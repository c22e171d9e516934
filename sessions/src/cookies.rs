//! The cookies that hosts set in one session, as salted digests: what a host set itself is not a credential that the client
//! brought along.
//!
//! The number is bounded; the oldest are forgotten first. They live in memory and are not saved with the session.

use std::collections::VecDeque;
use std::sync::{Mutex, OnceLock};

use sha2::{Digest, Sha256};

/// How many cookies are remembered for one session.
const MAX_COOKIES: usize = 512;

type Print = [u8; 16];

/// Cookies by host, name and value.
#[derive(Default)]
pub struct HostCookies {
    salt: OnceLock<[u8; 32]>,
    known: Mutex<VecDeque<Print>>,
}

impl HostCookies {
    /// Notes that the host set a cookie.
    pub fn note(&self, host: &str, name: &[u8], value: &[u8]) {
        let print = self.print(host, name, value);
        let mut known = model::sync::lock(&self.known);
        if known.contains(&print) {
            return;
        }
        if known.len() >= MAX_COOKIES {
            known.pop_front();
        }
        known.push_back(print);
    }

    /// Whether the host set this cookie, name and value.
    pub fn knows(&self, host: &str, name: &[u8], value: &[u8]) -> bool {
        let print = self.print(host, name, value);
        model::sync::lock(&self.known).contains(&print)
    }

    fn print(&self, host: &str, name: &[u8], value: &[u8]) -> Print {
        let salt = self.salt.get_or_init(|| {
            let mut salt = [0u8; 32];
            rand::fill(&mut salt[..]);
            salt
        });
        let mut hash = Sha256::new();
        hash.update(salt);
        for part in [host.as_bytes(), name, value] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut print = [0; 16];
        print.copy_from_slice(&hash.finalize()[..16]);
        print
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_known_for_its_host_name_and_value_alone() {
        let cookies = HostCookies::default();
        cookies.note("a.example", b"sid", b"1");
        assert!(cookies.knows("a.example", b"sid", b"1"));
        for (host, name, value) in [("b.example", "sid", "1"), ("a.example", "si", "d1"), ("a.example", "sid", "2")] {
            assert!(!cookies.knows(host, name.as_bytes(), value.as_bytes()), "{host} {name} {value}");
        }
        assert!(!HostCookies::default().knows("a.example", b"sid", b"1"));
    }

    #[test]
    fn the_oldest_cookies_are_forgotten() {
        let cookies = HostCookies::default();
        for n in 0..=MAX_COOKIES {
            cookies.note("a.example", b"sid", n.to_string().as_bytes());
        }
        assert!(!cookies.knows("a.example", b"sid", b"0"));
        assert!(cookies.knows("a.example", b"sid", b"1"));
        assert_eq!(cookies.known.lock().unwrap().len(), MAX_COOKIES);
    }
}
