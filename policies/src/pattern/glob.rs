//! The two wildcards of a path pattern: `*` within a segment, `**` for whole segments.
//!
//! Written out rather than built on a regular expression engine: a match never allocates, which the
//! data path promises, and a hundred thousand patterns cost kilobytes, not gigabytes. The engine
//! that it must agree with (globset with literal separators) is the oracle of its tests.

/// A pattern cut at its slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// One segment, in which `*` stands for any run of characters.
    Segment(Box<str>),
    /// Any number of segments, also none.
    Segments,
}

impl Glob {
    /// Cuts a checked pattern; `**` stands only as a whole segment.
    pub(crate) fn new(pattern: &str) -> Self {
        let mut parts = Vec::new();
        let mut segments = pattern.split('/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            if segment != "**" {
                parts.push(Part::Segment(segment.into()));
                continue;
            }
            // At the end it stands for one segment or more: `/x/**` does not match `/x`.
            if segments.peek().is_none() {
                parts.push(Part::Segment("*".into()));
            }
            if parts.last() != Some(&Part::Segments) {
                parts.push(Part::Segments);
            }
        }
        Self { parts }
    }

    /// Whether the whole path is one that the pattern names.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let mut parts = self.parts.as_slice();
        let mut segments = path.split('/').skip(1);
        // Where to go on when a segment does not fit: after the last `Segments`, one segment further.
        let mut retry = None;
        loop {
            let mut ahead = segments.clone();
            match (parts.split_first(), ahead.next()) {
                (None, None) => return true,
                (Some((Part::Segments, after)), _) => {
                    retry = Some((after, segments.clone()));
                    parts = after;
                    continue;
                }
                (Some((Part::Segment(pattern), after)), Some(segment)) if segment_matches(pattern, segment) => {
                    (parts, segments) = (after, ahead);
                    continue;
                }
                (None | Some((Part::Segment(_), _)), _) => {}
            }
            let Some((after, from)) = &mut retry else { return false };
            if from.next().is_none() {
                return false;
            }
            (parts, segments) = (after, from.clone());
        }
    }

    /// Whether some path is one that both patterns name.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        meet(
            &self.parts,
            &other.parts,
            |part| *part == Part::Segments,
            |a, b| match (a, b) {
                (Part::Segment(a), Part::Segment(b)) => {
                    meet(a.as_bytes(), b.as_bytes(), |byte| *byte == b'*', |a, b| a == b)
                }
                (Part::Segments, _) | (_, Part::Segments) => false,
            },
        )
    }
}

/// One segment against a pattern with stars: each star takes as little as it can, the last may take more.
fn segment_matches(pattern: &str, segment: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == segment };
    let Some(mut rest) = segment.strip_prefix(head) else { return false };
    let mut runs = tail.split('*');
    let last = runs.next_back().unwrap_or_default();
    for run in runs {
        let Some((_, after)) = rest.split_once(run) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// Whether one sequence fits two patterns, in which `any` marks what stands for any run; by the table
/// of whether their ends meet, so in time proportional to its size.
fn meet<T>(a: &[T], b: &[T], any: impl Fn(&T) -> bool, same: impl Fn(&T, &T) -> bool) -> bool {
    let width = b.len() + 1;
    let mut ends = vec![false; (a.len() + 1) * width];
    for place in (0..ends.len()).rev() {
        let (i, j) = (place / width, place % width);
        let at = |i: usize, j: usize| i <= a.len() && j < width && ends[i * width + j];
        ends[place] = match (a.get(i), b.get(j)) {
            (None, None) => true,
            (Some(x), _) if any(x) => at(i + 1, j) || at(i, j + 1),
            (_, Some(y)) if any(y) => at(i, j + 1) || at(i + 1, j),
            (Some(x), Some(y)) => same(x, y) && at(i + 1, j + 1),
            (None, Some(_)) | (Some(_), None) => false,
        };
    }
    ends[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hits(pattern: &str, path: &str) -> bool {
        Glob::new(pattern).matches(path)
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

    #[test]
    fn patterns_meet_where_one_path_fits_both() {
        let meets = |a: &str, b: &str| Glob::new(a).meets(&Glob::new(b));
        assert!(meets("/a/*", "/*/b") && meets("/a*", "/*z") && meets("/a/**", "/**/z") && meets("/a/**", "/a/*/c"));
        assert!(!meets("/a/*", "/b/*") && !meets("/a/*", "/a/*/c") && !meets("/a*x", "/a*y") && !meets("/a/**", "/a"));
    }

    fn pattern() -> impl Strategy<Value = String> {
        prop::collection::vec(prop_oneof!["[ab*]{0,4}", Just("**".to_owned())], 1..5)
            .prop_map(|segments| format!("/{}", segments.join("/")))
            .prop_filter("`**` is a whole segment", |p| p.split('/').all(|s| s == "**" || !s.contains("**")))
    }

    proptest! {
        #[test]
        fn agrees_with_globset(pattern in pattern(), path in "(/[ab]{0,3}){1,5}") {
            let oracle = globset::GlobBuilder::new(&pattern).literal_separator(true).build().unwrap().compile_matcher();
            prop_assert_eq!(hits(&pattern, &path), oracle.is_match(&path), "{} {}", pattern, path);
        }

        #[test]
        fn patterns_that_match_one_path_meet(a in pattern(), b in pattern(), path in "(/[ab]{0,2}){1,4}") {
            let (a, b) = (Glob::new(&a), Glob::new(&b));
            prop_assert!(!(a.matches(&path) && b.matches(&path)) || a.meets(&b));
        }
    }
}
