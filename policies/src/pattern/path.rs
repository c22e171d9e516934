//! Path patterns: compared with the bytes of a request's path, case-sensitive, never decoded.

use std::fmt;

use super::PatternError;
use super::glob::Glob;

/// The longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1024;

/// One path pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathPattern {
    text: Box<str>,
    /// `None` where the pattern is a path without wildcards.
    glob: Option<Glob>,
}

/// How exactly a rule names a path; greater is more exact. The default is that of a rule without `path`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PathRank {
    class: PathClass,
    literal_prefix: usize,
    literals: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum PathClass {
    #[default]
    None,
    Pattern,
    Exact,
}

impl PathPattern {
    /// Reads a pattern as written.
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        // The target of a server-wide OPTIONS request, which is no path; only its very name covers it.
        if text == "*" {
            return Ok(Self { text: text.into(), glob: None });
        }
        if !text.starts_with('/') || text.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::new(
                format!("`{text}` is not a path pattern"),
                format!("a path begins with `/` and has at most {MAX_PATTERN_BYTES} bytes"),
            ));
        }
        refuse_foreign(text)?;
        refuse_unreachable(text)?;
        Ok(Self { text: text.into(), glob: text.contains('*').then(|| Glob::new(text)) })
    }

    /// Whether the path, in one of its readings, is one that the pattern names.
    pub(crate) fn matches(&self, path: &str) -> bool {
        match &self.glob {
            None => &*self.text == path,
            Some(glob) => path.as_bytes().starts_with(self.literal_prefix().as_bytes()) && glob.matches(path),
        }
    }

    /// Whether some path is one that both patterns name.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        match (&self.glob, &other.glob) {
            (Some(a), Some(b)) => a.meets(b),
            (_, None) => self.matches(&other.text),
            (None, _) => other.matches(&self.text),
        }
    }

    /// How exactly the pattern names the paths it matches.
    pub(crate) fn rank(&self) -> PathRank {
        PathRank {
            class: if self.glob.is_some() { PathClass::Pattern } else { PathClass::Exact },
            literal_prefix: self.literal_prefix().len(),
            literals: self.text.bytes().filter(|b| *b != b'*').count(),
        }
    }

    /// What stands before the first wildcard.
    pub(crate) fn literal_prefix(&self) -> &str {
        self.text.split('*').next().filter(|_| self.glob.is_some()).unwrap_or(&self.text)
    }

    /// A text that is either the whole path or one of its folders (with the slash) wherever the pattern matches.
    pub(crate) fn index_key(&self) -> &str {
        let prefix = self.literal_prefix();
        match (&self.glob, prefix.rfind('/')) {
            (Some(_), Some(slash)) => prefix.get(..=slash).unwrap_or(prefix),
            (_, _) => prefix,
        }
    }
}

fn refuse_foreign(text: &str) -> Result<(), PatternError> {
    if let Some(sign) = text.chars().find(|c| "?[]{}!\\#".contains(*c)) {
        let help = match sign {
            '?' => "the query is not part of `path`; as a wildcard, write `*`",
            '\\' => "nothing is escaped in a pattern; write paths with `/`",
            _ => "the only wildcards are `*` within a segment and `**` across segments; name several paths as a list",
        };
        return Err(PatternError::new(format!("`{sign}` cannot stand in a path pattern"), help));
    }
    if text.split('/').any(|segment| segment != "**" && segment.contains("**")) {
        return Err(PatternError::new(
            "`**` stands beside other signs",
            "`**` is a whole segment, as in `/x/**`; within a segment write `*`",
        ));
    }
    if let Some(sign) = text.chars().find(|c| !c.is_ascii_graphic() || "\"<>`".contains(*c)) {
        return Err(PatternError::new(
            format!("{sign:?} never stands in a request's path"),
            "write it percent-encoded, as clients send it",
        ));
    }
    Ok(())
}

/// A path with two readings gets a verdict in both, and these forms never stand in the resolved one.
fn refuse_unreachable(text: &str) -> Result<(), PatternError> {
    let inner = text.strip_prefix('/').unwrap_or(text);
    let folder = inner.strip_suffix('/').unwrap_or(inner);
    if text != "/" && folder.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(PatternError::new(
            "a pattern with dot segments or empty segments covers no path in both of its readings",
            "write the path as it reads when resolved",
        ));
    }
    Ok(())
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn other_languages_are_refused_with_a_hint() {
        for text in [
            "",
            "v1",
            "/a?b=c",
            "/[ab]",
            "/{a,b}",
            "/!a",
            "/a\\*",
            "/a**",
            "/**b/c",
            "/a***",
            "/***",
            "/a b",
            "/é",
            "/a#b",
            "/a//b",
            "/a/../b",
            "/./a",
            "//",
            "/a/.",
            &format!("/{}", "a".repeat(1024)),
        ] {
            assert!(PathPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn t071_paths_are_case_sensitive() {
        assert!(pattern("/v1/Models").matches("/v1/Models"));
        assert!(!pattern("/v1/models").matches("/v1/Models"));
        assert!(!pattern("/v1/**").matches("/V1/models"));
    }

    #[test]
    fn only_its_own_name_covers_the_server_wide_target() {
        assert!(pattern("*").matches("*"));
        assert!(!pattern("*").matches("/a"));
        assert!(!pattern("/**").matches("*"));
    }

    #[test]
    fn exactness_orders_patterns() {
        let order = ["/**", "/*/issues", "/repos/**", "/repos/*/site", "/repos/acme/**", "/repos/acme/*/pulls", "/a"];
        let ranks: Vec<PathRank> = order.iter().map(|p| pattern(p).rank()).collect();
        assert!(ranks.is_sorted_by(|a, b| a < b) && PathRank::default() < ranks[0]);
    }

    #[test]
    fn the_index_key_is_a_folder_or_the_whole_path() {
        for (text, key) in
            [("/**", "/"), ("/a/b*", "/a/"), ("/a/b/**", "/a/b/"), ("/a/b", "/a/b"), ("/a/b/", "/a/b/"), ("*", "*")]
        {
            assert_eq!(pattern(text).index_key(), key, "{text}");
        }
    }
}
