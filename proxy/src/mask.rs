//! Finds secrets in a stream of bytes, however it is cut, and writes stars over them at the same length.
//!
//! What is held back never depends on how much of a secret has matched: a client that can make an upstream echo its guesses
//! would read the secret from it, byte by byte. Held back is the end of the data as far as it looks like a piece of any secret
//! at all, letters, digits and the signs of tokens, and is shorter than the longest secret. A line, a JSON value or an event ends
//! with another sign and passes at once.

use bytes::Bytes;
use memchr::memmem;

/// The byte forms of secrets that must not pass.
pub(crate) type Patterns = Vec<zeroize::Zeroizing<Vec<u8>>>;

/// What a found secret is replaced with, byte by byte.
const STAR: u8 = b'*';

/// Masks one stream.
pub(crate) struct Masker {
    patterns: Patterns,
    /// The longest pattern.
    longest: usize,
    /// Whether a secret holds signs beyond those of tokens.
    any_sign: bool,
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
        let longest = patterns.iter().map(|pattern| pattern.len()).max().unwrap_or_default();
        let any_sign = patterns.iter().any(|pattern| !pattern.iter().all(|byte| is_token_sign(*byte)));
        Self { patterns, longest, any_sign, held: Vec::new(), stars: Vec::new(), found: 0 }
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

    /// Where the end of `bytes` begins that could be a piece of some secret.
    fn may_begin_at(&self, bytes: &[u8]) -> usize {
        let limit = bytes.len().saturating_sub(self.longest.saturating_sub(1));
        let could = |byte: &u8| if self.any_sign { matches!(byte, b' '..=b'~' | 0x80..) } else { is_token_sign(*byte) };
        let run = bytes.iter().rev().take_while(|byte| could(byte)).count();
        limit.max(bytes.len() - run)
    }

    /// Whether a name, which is in lower case, holds a secret in lower case.
    pub(crate) fn is_in_name(&self, name: &str) -> bool {
        let name = name.as_bytes();
        self.patterns.iter().filter(|pattern| pattern.len() <= name.len()).any(|pattern| {
            let lower = zeroize::Zeroizing::new(pattern.to_ascii_lowercase());
            memmem::find(name, &lower).is_some()
        })
    }
}

/// The signs that tokens are made of, in their common forms.
fn is_token_sign(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=:%@!$*&".contains(&byte)
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
    fn lines_and_values_pass_at_once() {
        let mut masker = masker(&[b"secret"]);
        for whole in ["data: x\n\n", "data: sec\n\n", "{\"a\":1}", "[\"secr\"]", "\u{0}\u{1}"] {
            assert_eq!(masker.push(Bytes::from_static(whole.as_bytes())).as_ref(), whole.as_bytes(), "{whole}");
        }
    }

    #[test]
    fn t101_what_is_held_tells_nothing_of_the_secret() {
        for guess in ["s", "x", "secre", "secrx", "xxxxx", "ecret"] {
            let mut masker = masker(&[b"secret"]);
            let passed = masker.push(Bytes::from(format!("guess: {guess}")));
            assert_eq!(passed.as_ref(), b"guess: ", "{guess}");
            assert_eq!(masker.finish().as_ref(), guess.as_bytes());
        }
        // A secret with other signs in it makes every visible sign count.
        let mut masker = masker(&[b"a b{c}"]);
        assert_eq!(masker.push(Bytes::from_static(b"\n{x} y")).as_ref(), b"\n");
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
