//! How placeholders look, and where they are in bytes.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

/// Every placeholder contains it; the credential's own prefix may come before it.
pub const PLACEHOLDER_MARK: &str = "egret_ph_";

/// How many letters and digits follow the mark: 62^32 > 2^190.
pub const PLACEHOLDER_LETTERS: usize = 32;
/// The places of placeholders in `bytes`, without their prefixes: the mark and the 32 bytes after it.
///
/// One of the 32 may be no letter or digit, so that a damaged placeholder is still seen as one and
/// refused instead of sent on. Linear in `bytes`.
pub fn find_marks(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    // Made once: it is asked for every value of every head.
    static MARK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(PLACEHOLDER_MARK));
    MARK.find_iter(bytes).filter_map(|start| {
        let range = start..start + PLACEHOLDER_MARK.len() + PLACEHOLDER_LETTERS;
        let letters = bytes.get(start + PLACEHOLDER_MARK.len()..range.end)?;
        let plain = letters.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
        (plain + 1 >= PLACEHOLDER_LETTERS).then_some(range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_wherever_they_stand() {
        let mark = format!("egret_ph_{}", "a".repeat(32));
        let text = format!("Bearer sk-{mark}, {mark}{mark} egret_ph_short egret_ph_{}", "b".repeat(31));
        let found: Vec<_> = find_marks(text.as_bytes()).collect();
        assert_eq!(found, [10..51, 53..94, 94..135]);
    }

    #[test]
    fn a_damaged_mark_is_still_one() {
        let text = format!("egret_ph_{}!{}", "a".repeat(10), "a".repeat(21));
        assert_eq!(find_marks(text.as_bytes()).count(), 1);
        let text = format!("egret_ph_{}!!{}", "a".repeat(10), "a".repeat(20));
        assert_eq!(find_marks(text.as_bytes()).count(), 0);
    }
}
