//! Tokens and placeholders: how they are drawn, how they look, how they rest.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use model::placeholder::{PLACEHOLDER_LETTERS, PLACEHOLDER_MARK};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

const TOKEN_MARK: &str = "egt_";
const TOKEN_LETTERS: usize = 43; // 62^43 > 2^256
const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The SHA-256 of a token or placeholder: what is kept of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// A digest that no bytes are known to have: what an absent session is compared with, and that of a void token.
    pub(crate) const DUMMY: Self = Self([0; 32]);

    /// Compares in constant time.
    pub(crate) fn matches(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }

    pub(crate) fn to_hex(self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes every write");
            text
        })
    }

    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

/// The token of a session, and how often it was replaced.
pub(crate) struct Token {
    print: Mutex<Fingerprint>,
    /// Changed while `print` is locked; read without, for each request.
    generation: AtomicU32,
}

impl Token {
    pub(crate) fn new(print: Fingerprint) -> Self {
        Self { print: Mutex::new(print), generation: AtomicU32::new(0) }
    }

    /// The digest, with the generation that it belongs to.
    pub(crate) fn read(&self) -> (Fingerprint, u32) {
        let print = model::sync::lock(&self.print);
        (*print, self.generation.load(Ordering::Acquire))
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn replace(&self, fresh: Fingerprint) {
        let mut print = model::sync::lock(&self.print);
        *print = fresh;
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}

/// Draws a session token: `egt_` and 43 letters and digits (256 random bits).
pub(crate) fn draw_token() -> String {
    format!("{TOKEN_MARK}{}", draw(TOKEN_LETTERS))
}

/// Draws what follows the credential's prefix: `egret_ph_` and 32 letters and digits.
pub(crate) fn draw_placeholder() -> String {
    format!("{PLACEHOLDER_MARK}{}", draw(PLACEHOLDER_LETTERS))
}

/// Uniform characters: bytes that would favor the first characters are drawn again.
fn draw(count: usize) -> String {
    let fair = u8::MAX - u8::MAX % 62;
    let mut text = String::with_capacity(count);
    let mut pool = [0u8; 64];
    while text.len() < count {
        rand::fill(&mut pool[..]);
        let letters = pool.iter().filter(|byte| **byte < fair).map(|byte| char::from(LETTERS[usize::from(byte % 62)]));
        text.extend(letters.take(count - text.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use model::placeholder::find_marks;

    use super::*;

    #[test]
    fn tokens_and_placeholders_have_their_form() {
        let token = draw_token();
        assert_eq!(token.len(), 47);
        assert!(token.starts_with("egt_"));
        let placeholder = draw_placeholder();
        assert_eq!(placeholder.len(), 41);
        assert!(find_marks(placeholder.as_bytes()).eq(std::iter::once(0..41)));
    }

    #[test]
    fn letters_are_drawn_evenly() {
        let text = draw(62 * 2000);
        for letter in LETTERS {
            let seen = text.bytes().filter(|b| b == letter).count();
            // Six standard deviations around the mean of 2,000.
            assert!((1733..=2267).contains(&seen), "{} stands {seen} times", char::from(*letter));
        }
    }

    #[test]
    fn fingerprints_read_back() {
        let print = Fingerprint::of(b"token");
        assert!(Fingerprint::from_hex(&print.to_hex()) == Some(print));
        assert!(Fingerprint::from_hex("zz").is_none());
        assert!(Fingerprint::from_hex(&"zz".repeat(32)).is_none());
    }
}
