//! Finds secrets in a stream of bytes, however it is cut, and writes stars over them at the same length.
//!
//! Bytes are held back only while they could be the beginning of a secret; everything else passes at once.

use bytes::Bytes;
use memchr::memmem;

/// The byte forms of secrets that must not pass.
pub(crate) type Patterns = Vec<zeroize::Zeroizing<Vec<u8>>>;

/// What a found secret is replaced with, byte by byte.
const STAR: u8 = b'*';

/// Masks one stream.
pub(crate) struct Masker {
    patterns: Patterns,
    /// The end of what came so far, where a secret may have begun.
    held: Vec<u8>,
    /// Which of the held bytes belong to a secret that was found already.
    stars: Vec<bool>,
    found: u64,
}

impl Masker {
    /// Masks these patterns; empty ones are left out.
    pub(crate) fn new(mut patterns: Patterns) -> Self {
        patterns.retain(|pattern| !pattern.is_empty());
        Self { patterns, held: Vec::new(), stars: Vec::new(), found: 0 }
    }

    /// How many secrets were found so far.
    pub(crate) fn found(&self) -> u64 {
        self.found
    }

    /// How many bytes are held back.
    pub(crate) fn held(&self) -> u64 {
        self.held.len() as u64
    }

    /// Takes the next bytes; gives what may pass now, which can be empty.
    pub(crate) fn push(&mut self, chunk: Bytes) -> Bytes {
        if self.held.is_empty() && !self.contains(&chunk) && self.may_begin_at(&chunk) == chunk.len() {
            return chunk;
        }
        let known = self.held.len();
        let mut bytes = std::mem::take(&mut self.held);
        let mut stars = std::mem::take(&mut self.stars);
        bytes.extend_from_slice(&chunk);
        stars.resize(bytes.len(), false);
        for pattern in &self.patterns {
            for at in overlapping(&bytes, pattern) {
                let end = at + pattern.len();
                // What ends within the held bytes was found and counted when it came.
                if end > known {
                    self.found += 1;
                }
                stars.iter_mut().take(end).skip(at).for_each(|star| *star = true);
            }
        }
        let cut = self.may_begin_at(&bytes);
        self.held = bytes.split_off(cut);
        self.stars = stars.split_off(cut);
        cover(&mut bytes, &stars);
        bytes.into()
    }

    /// The stream has ended: gives what was held back.
    pub(crate) fn finish(&mut self) -> Bytes {
        let mut bytes = std::mem::take(&mut self.held);
        cover(&mut bytes, &std::mem::take(&mut self.stars));
        bytes.into()
    }

    /// Masks a value that is whole, such as a header field; `None` where nothing was found.
    pub(crate) fn whole(&mut self, value: &[u8]) -> Option<Vec<u8>> {
        if !self.contains(value) {
            return None;
        }
        let mut bytes = value.to_vec();
        for pattern in &self.patterns {
            for at in overlapping(value, pattern) {
                self.found += 1;
                bytes.iter_mut().skip(at).take(pattern.len()).for_each(|byte| *byte = STAR);
            }
        }
        Some(bytes)
    }

    fn contains(&self, bytes: &[u8]) -> bool {
        self.patterns.iter().any(|pattern| memmem::find(bytes, pattern).is_some())
    }

    /// Where the longest end of `bytes` begins that is a true beginning of a pattern.
    fn may_begin_at(&self, bytes: &[u8]) -> usize {
        let begins = |pattern: &zeroize::Zeroizing<Vec<u8>>| {
            let from = bytes.len().saturating_sub(pattern.len() - 1);
            let tail = bytes.get(from..).unwrap_or_default();
            let first = *pattern.first()?;
            memchr::memchr_iter(first, tail)
                .find(|at| tail.get(*at..).is_some_and(|end| pattern.starts_with(end)))
                .map(|at| from + at)
        };
        self.patterns.iter().filter_map(begins).min().unwrap_or(bytes.len())
    }
}

/// All places of a pattern, those that overlap included.
fn overlapping<'a>(bytes: &'a [u8], pattern: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let finder = memmem::Finder::new(pattern);
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + finder.find(bytes.get(from..)?)?;
        from = at + 1;
        Some(at)
    })
}

fn cover(bytes: &mut [u8], stars: &[bool]) {
    for (byte, star) in bytes.iter_mut().zip(stars) {
        if *star {
            *byte = STAR;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn masker(patterns: &[&[u8]]) -> Masker {
        Masker::new(patterns.iter().map(|p| p.to_vec().into()).collect())
    }

    fn run(patterns: &[&[u8]], pieces: &[&[u8]]) -> (Vec<u8>, u64) {
        let mut masker = masker(patterns);
        let mut out = Vec::new();
        for piece in pieces {
            out.extend_from_slice(&masker.push(Bytes::copy_from_slice(piece)));
        }
        out.extend_from_slice(&masker.finish());
        (out, masker.found())
    }

    #[test]
    fn t091_masked_at_every_split() {
        let secret = b"sk-live-0123456789abcdef";
        let text = [b"before ".as_slice(), secret, b" after sk-live sk-live-0123"].concat();
        let want = [b"before ".as_slice(), &[STAR; 24], b" after sk-live sk-live-0123"].concat();
        for cut in 0..text.len() {
            let (front, back) = text.split_at(cut);
            assert_eq!(run(&[secret], &[front, back]), (want.clone(), 1), "cut at {cut}");
        }
        let single: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(run(&[secret], &single), (want, 1));
    }

    #[test]
    fn nothing_is_held_that_begins_no_secret() {
        let mut masker = masker(&[b"secret"]);
        assert_eq!(masker.push(Bytes::from_static(b"data: x\n\n")).as_ref(), b"data: x\n\n");
        assert_eq!(masker.push(Bytes::from_static(b"data: sec")).as_ref(), b"data: ");
        assert_eq!(masker.push(Bytes::from_static(b"ond\n\n")).as_ref(), b"second\n\n");
    }

    #[test]
    fn overlapping_secrets_are_all_masked() {
        assert_eq!(run(&[b"aXb", b"bYc"], &[b"aXb", b"Yc!"]).0, b"*****!");
        assert_eq!(run(&[b"abab"], &[b"ab", b"abab"]), (b"******".to_vec(), 2));
        assert_eq!(masker(&[b"tok"]).whole(b"a tok b"), Some(b"a *** b".to_vec()));
        assert_eq!(masker(&[b"tok"]).whole(b"a to b"), None);
    }

    proptest! {
        #[test]
        fn the_same_however_it_is_cut(
            text in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'c')], 0..80),
            patterns in proptest::collection::vec(proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'c')], 1..6), 1..4),
            cuts in proptest::collection::vec(0usize..80, 0..6),
        ) {
            let patterns: Vec<&[u8]> = patterns.iter().map(Vec::as_slice).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).collect();
            cuts.sort_unstable();
            cuts.push(text.len());
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&text[from..cut]);
                from = cut;
            }
            let whole = run(&patterns, &[&text]);
            prop_assert_eq!(&run(&patterns, &pieces), &whole);
            prop_assert_eq!(whole.0.len(), text.len());
            // What passes holds no pattern that stood in the text.
            for pattern in patterns {
                prop_assert!(memmem::find(&whole.0, pattern).is_none());
            }
        }
    }
}
