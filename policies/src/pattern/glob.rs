//! Path patterns with wildcards that only a glob engine can judge, which is globset.
//!
//! A compiled pattern takes some 7 KiB, and each thread that matches against it some 5 KiB more for
//! the engine's cache. So one is compiled when a path first reaches it (about 0.1 ms, once), and
//! a hundred thousand patterns that no request touches cost nothing. The cache grows with the first
//! paths that a thread matches; after them a match allocates nothing.

use std::sync::OnceLock;

use globset::{Candidate, GlobBuilder, GlobMatcher};

/// The matcher of one pattern, whose text its owner keeps.
#[derive(Clone, Debug)]
pub(super) struct Glob {
    pub(super) matcher: OnceLock<Box<GlobMatcher>>,
}

impl Glob {
    /// Reads a pattern, without compiling it.
    ///
    /// # Errors
    /// Where globset has another idea of what is a pattern.
    pub(super) fn new(pattern: &str) -> Result<Self, globset::Error> {
        read(pattern)?;
        Ok(Self { matcher: OnceLock::new() })
    }

    /// Whether the whole path is one that the pattern names.
    pub(super) fn matches(&self, pattern: &str, path: &str) -> bool {
        let compile = || Box::new(read(pattern).expect("`new` has read it").compile_matcher());
        self.matcher.get_or_init(compile).is_match_candidate(&Candidate::from_bytes(path))
    }
}

/// `*` stays within a segment, case counts, and no other character is special.
fn read(pattern: &str) -> Result<globset::Glob, globset::Error> {
    let special = |c: char| "?[]{}".contains(c);
    let mut text = String::with_capacity(pattern.len());
    for c in pattern.chars() {
        match special(c) {
            true => text.extend(['[', c, ']']),
            false => text.push(c),
        }
    }
    GlobBuilder::new(&text).literal_separator(true).case_insensitive(false).backslash_escape(false).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(pattern: &str, path: &str) -> bool {
        Glob::new(pattern).unwrap().matches(pattern, path)
    }

    #[test]
    fn one_star_stays_within_its_segment() {
        assert!(
            hits("/v1/*", "/v1/models")
                && hits("/v1/*", "/v1/")
                && hits("/a*c/x", "/abc/x")
                && hits("/a*b*c", "/axbxbc")
        );
        assert!(!hits("/v1/*", "/v1") && !hits("/v1/*", "/v1/a/b") && !hits("/v1/*", "/V1/a") && !hits("/a*ab", "/ab"));
    }

    #[test]
    fn two_stars_are_whole_segments() {
        assert!(hits("/x/**", "/x/a") && hits("/x/**", "/x/a/b") && hits("/x/**", "/x/") && hits("/**", "/"));
        assert!(!hits("/x/**", "/x") && !hits("/x/**", "/xy/a"));
        assert!(hits("/a/**/b", "/a/b") && hits("/a/**/b", "/a/x/y/b") && !hits("/a/**/b", "/a/x/y/c"));
        assert!(hits("/a/**/b/*/c", "/a/b/x/b/y/c") && hits("/**/b", "/b"));
    }
}
