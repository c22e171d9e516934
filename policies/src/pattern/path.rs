//! Path patterns: compared with the bytes of a request's path, case-sensitive, never decoded.

use std::fmt;

use super::PatternError;
use super::glob::Glob;
use super::meet::meets;

/// The longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1024;

/// One path pattern.
#[derive(Clone, Debug)]
pub(crate) struct PathPattern {
    text: Box<str>,
    shape: Shape,
}

/// What it takes to match; nearly all patterns are of the first two shapes, which are text and no more.
#[derive(Clone, Debug)]
enum Shape {
    /// A path without wildcards.
    Exact,
    /// `/x/**`: whatever begins with the text before the wildcard.
    Below,
    Glob(Glob),
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
            return Ok(Self { text: text.into(), shape: Shape::Exact });
        }
        if !text.starts_with('/') || text.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::new(
                format!("`{text}` is not a path pattern"),
                format!("a path begins with `/` and has at most {MAX_PATTERN_BYTES} bytes"),
            ));
        }
        refuse_foreign(text)?;
        refuse_unreachable(text)?;
        Ok(Self { text: text.into(), shape: Shape::of(text)? })
    }

    /// Whether the path, in one of its readings, is one that the pattern names.
    pub(crate) fn matches(&self, path: &str) -> bool {
        match &self.shape {
            Shape::Exact => &*self.text == path,
            Shape::Below => path.starts_with(self.literal_prefix()),
            Shape::Glob(glob) => {
                path.starts_with(self.literal_prefix())
                    && path.ends_with(self.literal_suffix())
                    && glob.matches(&self.text, path)
            }
        }
    }

    /// Whether some path is one that both patterns name.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        match (&self.shape, &other.shape) {
            (_, Shape::Exact) => self.matches(&other.text),
            (Shape::Exact, _) => other.matches(&self.text),
            (_, _) => meets(&self.text, &other.text),
        }
    }

    /// How exactly the pattern names the paths it matches.
    pub(crate) fn rank(&self) -> PathRank {
        PathRank {
            class: if self.is_exact() { PathClass::Exact } else { PathClass::Pattern },
            literal_prefix: self.literal_prefix().len(),
            literals: self.text.bytes().filter(|b| *b != b'*').count(),
        }
    }

    /// What stands before the first wildcard.
    pub(crate) fn literal_prefix(&self) -> &str {
        self.text.split('*').next().filter(|_| !self.is_exact()).unwrap_or(&self.text)
    }

    /// What stands after the last wildcard.
    fn literal_suffix(&self) -> &str {
        self.text.rsplit('*').next().unwrap_or(&self.text)
    }

    fn is_exact(&self) -> bool {
        matches!(self.shape, Shape::Exact)
    }

    /// A text that is either the whole path or one of its folders (with the slash) wherever the pattern matches.
    pub(crate) fn index_key(&self) -> &str {
        let prefix = self.literal_prefix();
        match prefix.rfind('/') {
            Some(slash) if !self.is_exact() => prefix.get(..=slash).unwrap_or(prefix),
            Some(_) | None => prefix,
        }
    }

    /// The last segment below a wildcard that every matching path has at one place: its place, counted as
    /// `split('/')` does, and itself. Beyond a `**` no segment has a place.
    pub(crate) fn fixed_segment(&self) -> Option<(usize, &str)> {
        let placed = self.text.split('/').enumerate().take_while(|(_, segment)| *segment != "**");
        let below = placed.skip_while(|(_, segment)| !segment.contains('*'));
        below.filter(|(_, segment)| !segment.contains('*')).last()
    }
}

impl Shape {
    fn of(text: &str) -> Result<Self, PatternError> {
        match text.split_once('*') {
            None => Ok(Self::Exact),
            Some((before, "*")) if before.ends_with('/') => Ok(Self::Below),
            Some(_) => Glob::new(text).map(Self::Glob).map_err(|why| {
                PatternError::new(
                    format!("`{text}` is not a path pattern: {}", why.kind()),
                    "the only wildcards are `*` within a segment and `**` across segments",
                )
            }),
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
    use proptest::prelude::*;

    use super::*;

    fn patterns() -> impl Strategy<Value = PathPattern> {
        let segment = prop_oneof!["[ab]{1,2}", "[ab*]{1,4}", Just("**".to_owned())];
        prop::collection::vec(segment, 1..5)
            .prop_map(|segments| format!("/{}", segments.join("/")))
            .prop_filter_map("`**` is a whole segment", |text| PathPattern::parse(&text).ok())
    }

    proptest! {
        #[test]
        fn a_fixed_segment_is_in_every_path_that_matches(a in patterns(), path in "(/[ab]{0,2}){1,4}") {
            let is_there = a.fixed_segment().is_none_or(|(place, segment)| path.split('/').nth(place) == Some(segment));
            prop_assert!(is_there || !a.matches(&path));
        }

        #[test]
        fn patterns_that_match_one_path_meet(a in patterns(), b in patterns(), path in "(/[ab]{0,2}){1,4}") {
            prop_assert!(!(a.matches(&path) && b.matches(&path)) || a.meets(&b));
        }
    }

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
    fn only_what_needs_a_glob_engine_gets_one() {
        let shapes = ["/a", "/", "*", "/**", "/a/b/**"].map(|text| pattern(text).shape);
        assert!(shapes.iter().all(|shape| matches!(shape, Shape::Exact | Shape::Below)), "{shapes:?}");
        let shapes = ["/*", "/a*", "/a/*/b", "/**/b", "/a/*/**", "/a/**/**"].map(|text| pattern(text).shape);
        assert!(shapes.iter().all(|shape| matches!(shape, Shape::Glob(_))), "{shapes:?}");
    }

    #[test]
    fn a_glob_is_compiled_when_a_path_comes_down_to_it() {
        let pattern = pattern("/repos/*/issues");
        let Shape::Glob(glob) = &pattern.shape else { panic!("{pattern:?}") };
        assert!(!pattern.matches("/repos/site/pulls") && !pattern.matches("/users/site/issues"));
        assert!(glob.matcher.get().is_none());
        assert!(pattern.matches("/repos/site/issues") && glob.matcher.get().is_some());
    }

    #[test]
    fn folders_end_at_a_slash() {
        let below = pattern("/x/**");
        assert!(["/x/", "/x/a", "/x/a/b"].iter().all(|path| below.matches(path)));
        assert!(!["/x", "/xy/a", "/X/a", "/"].iter().any(|path| below.matches(path)));
        assert!(pattern("/**").matches("/"));
    }

    /// The engine has bounds of its own, and meets a pattern only when a request does.
    #[test]
    fn the_longest_patterns_compile() {
        for unit in ["/*", "/*a*b", "/**/a", "/**/a*"] {
            let text = unit.repeat(MAX_PATTERN_BYTES / unit.len());
            assert!(pattern(&text).matches(&text.replace("**", "x").replace('*', "")), "{unit}");
        }
    }

    #[test]
    fn exactness_orders_patterns() {
        let order = ["/**", "/*/issues", "/repos/**", "/repos/*/site", "/repos/acme/**", "/repos/acme/*/pulls", "/a"];
        let ranks: Vec<PathRank> = order.iter().map(|p| pattern(p).rank()).collect();
        assert!(ranks.is_sorted_by(|a, b| a < b) && PathRank::default() < ranks[0]);
    }

    #[test]
    fn a_segment_is_fixed_below_a_wildcard_and_before_any_number_of_folders() {
        for (text, fixed) in [
            ("/a/b", None),
            ("/a/**", None),
            ("/a/**/b", None),
            ("/a/*/b", Some((3, "b"))),
            ("/a/*/b/**/c", Some((3, "b"))),
            ("/*/b/c*", Some((2, "b"))),
            ("/a*/", Some((2, ""))),
            ("/*", None),
        ] {
            assert_eq!(pattern(text).fixed_segment(), fixed, "{text}");
        }
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
