//! Text patterns, for values of the query and names of tools: `*` matches any run of characters.

use std::fmt;

use super::PatternError;
use super::meet::texts_meet;

/// The longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 256;

/// One text pattern; no other character is special, and case counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TextPattern(Box<str>);

impl TextPattern {
    /// Reads a pattern as written.
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_PATTERN_BYTES || text.chars().any(char::is_control) {
            return Err(PatternError::new(
                "the pattern is too long or holds a control character",
                format!("write at most {MAX_PATTERN_BYTES} bytes"),
            ));
        }
        if text.contains("**") {
            return Err(PatternError::new("`**` means nothing here", "`*` already matches any run of characters"));
        }
        Ok(Self(text.into()))
    }

    /// The pattern as written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole text is one that the pattern names; linear in the text for each part of the pattern.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return *self.0 == *text };
        let Some(mut left) = text.strip_prefix(first) else { return false };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        for part in middle.split('*').filter(|part| !part.is_empty()) {
            match left.find(part) {
                Some(at) => left = left.get(at + part.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        left.ends_with(last)
    }

    /// Whether some text is one that both patterns name.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        texts_meet(&self.0, &other.0)
    }
}

impl fmt::Display for TextPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_run_of_characters() {
        let hits = |pattern: &str, text: &str| TextPattern::parse(pattern).unwrap().matches(text);
        assert!(hits("main", "main") && hits("release-*", "release-") && hits("*", "") && hits("a*b*c", "abbc"));
        assert!(hits("*x", "xx") && hits("mcp__*__read", "mcp__a__read") && hits("a*a", "aa"));
        assert!(!hits("main", "Main") && !hits("a*a", "a") && !hits("a*b*c", "acb") && !hits("release-*", "xrelease-"));
    }
}
