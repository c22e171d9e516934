//! Path patterns: compared with a reading of a request's path, character by character, both of them decoded.
//!
//! In a pattern as in a reading every character has one spelling, so `%61` and `a` are the same, and a wildcard never
//! matches half an escape. Only an encoded slash stays another character than a slash. Allows differ by case; the
//! pattern of a deny is folded, and compared with the folded reading.

use std::fmt;

use model::{ENCODED_SLASH, LITERAL_STAR, PathReading};

use super::PatternError;
use super::glob::Glob;
use super::meet::meets;

/// The longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1024;

/// One path pattern.
#[derive(Clone, Debug)]
pub(crate) struct PathPattern {
    /// As written.
    source: Box<str>,
    /// Decoded, with its wildcards.
    text: Box<str>,
    /// In lower case, for a rule that denies.
    folded: bool,
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
        // The target of a server-wide OPTIONS request, which is not a path; only `*` itself covers it.
        if text == "*" {
            return Ok(Self { source: text.into(), text: text.into(), folded: false, shape: Shape::Exact });
        }
        if !text.starts_with('/') || text.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::new(
                format!("`{text}` is not a path pattern"),
                format!("a path begins with `/` and has at most {MAX_PATTERN_BYTES} bytes"),
            ));
        }
        refuse_foreign(text)?;
        let decoded = decoded(text)?;
        refuse_unreachable(&decoded)?;
        Ok(Self { source: text.into(), shape: Shape::of(&decoded)?, text: decoded.into(), folded: false })
    }

    /// The pattern with its encoded slashes decoded, where it has any: what it names is read in that way too.
    pub(crate) fn with_slashes_decoded(&self) -> Option<Self> {
        let text = self.text.contains(ENCODED_SLASH).then(|| self.text.replace(ENCODED_SLASH, "/"))?;
        let shape = Shape::of(&text).ok()?;
        Some(Self { source: self.source.clone(), text: text.into(), folded: self.folded, shape })
    }

    /// The pattern for a rule that denies: letters match in either case.
    pub(crate) fn folded(self) -> Self {
        let text = self.text.to_ascii_lowercase();
        let shape = Shape::of(&text).unwrap_or(self.shape);
        Self { text: text.into(), folded: true, shape, ..self }
    }

    /// Whether letters match in either case.
    pub(crate) fn is_folded(&self) -> bool {
        self.folded
    }

    /// The pattern decoded, with its wildcards.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it names this reading of a path.
    pub(crate) fn covers(&self, path: PathReading<'_>) -> bool {
        self.matches(if self.folded { path.folded() } else { path.text() })
    }

    /// Whether it names the text of a reading, which is the folded one for a folded pattern.
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

    /// Whether some path is one that both patterns name; both are folded or neither is.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        match (&self.shape, &other.shape) {
            (_, Shape::Exact) => self.matches(&other.text),
            (Shape::Exact, _) => other.matches(&self.text),
            (_, _) => meets(&self.text, &other.text),
        }
    }

    /// The pattern as written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// How exactly the pattern names the paths it matches.
    pub(crate) fn rank(&self) -> PathRank {
        PathRank {
            class: if self.is_exact() { PathClass::Exact } else { PathClass::Pattern },
            literal_prefix: self.literal_prefix().len(),
            literals: self.text.bytes().filter(|b| *b != b'*').count(),
        }
    }

    /// The text before the first wildcard.
    pub(crate) fn literal_prefix(&self) -> &str {
        self.text.split('*').next().filter(|_| !self.is_exact()).unwrap_or(&self.text)
    }

    /// The text after the last wildcard.
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
        return Err(PatternError::new(format!("`{sign}` is not allowed in a path pattern"), help));
    }
    if text.split('/').any(|segment| segment != "**" && segment.contains("**")) {
        return Err(PatternError::new(
            "`**` is beside other characters",
            "`**` is a whole segment, as in `/x/**`; within a segment write `*`",
        ));
    }
    if let Some(sign) = text.chars().find(|c| !c.is_ascii_graphic() || "\"<>`".contains(*c)) {
        return Err(PatternError::new(
            format!("{sign:?} never occurs in a request's path"),
            "write it percent-encoded, as clients send it",
        ));
    }
    Ok(())
}

/// The pattern with its escapes decoded once.
fn decoded(text: &str) -> Result<String, PatternError> {
    let broken = |message: &str| {
        PatternError::new(message, "escape a character as `%` and two hex digits of its UTF-8 form, as clients send it")
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let value = value.ok_or_else(|| broken("the pattern holds a broken percent escape"))?;
        rest = tail.get(2..).unwrap_or_default();
        bytes.push(match value {
            b'/' => ENCODED_SLASH as u8,
            b'*' => LITERAL_STAR as u8,
            b'\\' | 0..=0x1f | 0x7f => {
                return Err(broken("no rule with a path covers a path with an encoded backslash or control character"));
            }
            value => value,
        });
    }
    String::from_utf8(bytes).map_err(|_| broken("the pattern is not UTF-8 once it is decoded"))
}

/// A path with more than one reading gets a verdict in each, and these forms are never in all of them.
fn refuse_unreachable(text: &str) -> Result<(), PatternError> {
    let inner = text.strip_prefix('/').unwrap_or(text);
    let folder = inner.strip_suffix('/').unwrap_or(inner);
    let is_unreachable = |segment: &str| segment.is_empty() || segment.bytes().all(|byte| byte == b'.');
    if text != "/" && folder.split(['/', ENCODED_SLASH]).any(is_unreachable) {
        return Err(PatternError::new(
            "a pattern with dot segments or empty segments covers no path in all of its readings",
            "write the path as it reads when resolved",
        ));
    }
    Ok(())
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
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
            "/a/%2e%2e/b",
            "/a%2f/b",
            "/a%2F..%2Fb",
            "/a/...",
            "/a%2*",
            "/a%",
            "/a%5cb",
            "/a%00",
            "/a%0a",
            "/a%ff",
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
    fn a_character_has_one_spelling() {
        assert!(pattern("/%61/%40b/c%2Ad").matches("/a/@b/c\u{2}d"));
        assert!(pattern("/caf%c3%a9").matches("/café") && pattern("/a%20b").matches("/a b"));
        assert!(pattern("/a%5B%7B%3F%5D%7D*").matches("/a[{?]}x") && !pattern("/a%5Bb%5D*").matches("/ab"));
        assert!(!pattern("/x*0").matches("/x "), "a wildcard never matches half an escape");
    }

    #[test]
    fn an_encoded_slash_is_no_slash_until_it_is_decoded() {
        let kept = pattern("/@a%2f*");
        assert!(kept.matches("/@a\u{1}x") && !kept.matches("/@a/x"));
        let decoded = kept.with_slashes_decoded().unwrap();
        assert!(decoded.matches("/@a/x") && !decoded.matches("/@a\u{1}x") && !decoded.matches("/@a/x/y"));
        assert!(pattern("/@a/*").with_slashes_decoded().is_none());
        assert_eq!((decoded.to_string().as_str(), decoded.text()), ("/@a%2f*", "/@a/*"));
    }

    #[test]
    fn the_pattern_of_a_deny_is_folded() {
        let deny = pattern("/Admin/*.PHP").folded();
        assert!(deny.covers(PathReading::new("/ADMIN/x.php", "/admin/x.php")));
        assert!(!pattern("/Admin/*").covers(PathReading::new("/ADMIN/x", "/admin/x")));
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
