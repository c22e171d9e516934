//! The one reader of a query string, and of a form body, as sent: where its pairs are. What servers make of their names is in
//! [`crate::parameter`].

use std::ops::Range;

/// One pair of a query or of a form body, as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentPair<'a> {
    /// The bytes of the whole pair.
    pub range: Range<usize>,
    /// What is before the first `=`, or the whole pair.
    pub name: &'a str,
    /// What is after it; `None` without a `=`.
    pub value: Option<&'a str>,
}

/// The pairs of a query as the URL standard splits it: at `&` alone. Empty pairs are among them.
pub fn pairs(query: &str) -> impl Iterator<Item = SentPair<'_>> {
    split(query, &['&'])
}

/// The pairs of a query for servers that split at `;` too.
pub fn pairs_at_any_separator(query: &str) -> impl Iterator<Item = SentPair<'_>> {
    split(query, &['&', ';'])
}

fn split<'a>(query: &'a str, separators: &'static [char]) -> impl Iterator<Item = SentPair<'a>> {
    let mut at = 0;
    query.split(separators).map(move |pair| {
        let range = at..at + pair.len();
        at = range.end + 1;
        let (name, value) = pair.split_once('=').map_or((pair, None), |(name, value)| (name, Some(value)));
        SentPair { range, name, value }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_split_where_they_are_sent() {
        let pair = |range, name, value| SentPair { range, name, value };
        let query = "a=1;b=2&&c";
        let strict: Vec<_> = pairs(query).collect();
        assert_eq!(strict, [pair(0..7, "a", Some("1;b=2")), pair(8..8, "", None), pair(9..10, "c", None)]);
        let any: Vec<_> = pairs_at_any_separator(query).map(|pair| pair.range).collect();
        assert_eq!(any, [0..3, 4..7, 8..8, 9..10]);
    }
}
