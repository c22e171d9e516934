//! Whether two path patterns name one path: what decides if two rules can tie.
//!
//! Asked when policies are read and combined, never for a request.

/// A part of a pattern cut at its slashes.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    /// One segment, in which `*` matches any run of characters.
    Segment(&'a str),
    /// Any number of segments, also none.
    Segments,
}

/// Whether some path is one that both patterns name.
pub(super) fn meets(a: &str, b: &str) -> bool {
    let same = |a: &Part<'_>, b: &Part<'_>| match (a, b) {
        (Part::Segment(a), Part::Segment(b)) => texts_meet(a, b),
        (Part::Segments, _) | (_, Part::Segments) => false,
    };
    ends_fit(a, b) && meet(&parts(a), &parts(b), |part| *part == Part::Segments, same)
}

/// Whether some text is one that both patterns name, in which `*` matches any run of characters. Linear where both or
/// none have a wildcard: two patterns whose ends fit name the text of the longer beginning, what the first and then what the
/// second has between its wildcards, and the longer end.
pub(super) fn texts_meet(a: &str, b: &str) -> bool {
    let fit = ends_fit(a, b);
    match (a.contains('*'), b.contains('*')) {
        (true, true) => fit,
        (false, false) => a == b,
        (true, false) | (false, true) => fit && meet(a.as_bytes(), b.as_bytes(), |byte| *byte == b'*', |a, b| a == b),
    }
}

/// Whether the texts before the first wildcard and after the last do not differ already, which is quick to find: of
/// thousands of rules for one host, most differ there.
fn ends_fit(a: &str, b: &str) -> bool {
    let fixed = |(x, y): &(u8, u8)| *x != b'*' && *y != b'*';
    let same = |(x, y): (u8, u8)| x == y;
    a.bytes().zip(b.bytes()).take_while(fixed).all(same)
        && a.bytes().rev().zip(b.bytes().rev()).take_while(fixed).all(same)
}

fn parts(pattern: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut segments = pattern.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        if segment != "**" {
            parts.push(Part::Segment(segment));
            continue;
        }
        // At the end it matches one segment or more: `/x/**` does not match `/x`.
        if segments.peek().is_none() {
            parts.push(Part::Segment("*"));
        }
        if parts.last() != Some(&Part::Segments) {
            parts.push(Part::Segments);
        }
    }
    parts
}

/// Whether one sequence fits two patterns, in which `any` marks a wildcard for any run; by the table
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
    use super::*;

    #[test]
    fn patterns_meet_where_one_path_fits_both() {
        assert!(meets("/a/*", "/*/b") && meets("/a*", "/*z") && meets("/a/**", "/**/z") && meets("/a/**", "/a/*/c"));
        assert!(meets("/a/**/b", "/a/b") && meets("/**/b", "/b") && meets("/a/**", "/**/a") && meets("/**", "/a/b"));
        assert!(
            texts_meet("ab*", "abc*")
                && texts_meet("*c", "*bc")
                && texts_meet("a*b", "ab")
                && !texts_meet("a*b", "a*c")
        );
        assert!(!meets("/a/**/b", "/a/c") && !meets("/a/**/x", "/b/**/x") && !texts_meet("ab", "abc"));
        assert!(!meets("/a/*", "/b/*") && !meets("/a/*", "/a/*/c") && !meets("/a*x", "/a*y") && !meets("/a/**", "/a"));
    }
}
