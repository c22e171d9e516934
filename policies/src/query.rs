//! Parameters of a query, as the rules that limit them see them.
//!
//! Servers split at `&`, some at `;` too, and decode `+` and escapes (the form encoding of the URL standard). An
//! allow must hold however it is split; what any reading shows counts against a request.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::pattern::TextPattern;

/// What a rule asks of a query: each name with the values it may have.
pub(crate) type Parameters = BTreeMap<Box<str>, Vec<TextPattern>>;

/// Whether each named parameter stands exactly once, with a value that fits, in every way to split the query.
pub(crate) fn holds(query: Option<&str>, wanted: &Parameters) -> bool {
    let query = query.unwrap_or_default();
    let by_ampersand = |c: char| c == '&';
    let by_both = |c: char| matches!(c, '&' | ';');
    wanted.iter().all(|(name, values)| {
        once(occurrences(query, by_ampersand, name), values)
            && (!query.contains(';') || once(occurrences(query, by_both, name), values))
    })
}

/// Whether each named parameter stands somewhere with a value that fits, in any way to split the query.
pub(crate) fn shows(query: Option<&str>, wanted: &Parameters) -> bool {
    let query = query.unwrap_or_default();
    let by_ampersand = |c: char| c == '&';
    let by_both = |c: char| matches!(c, '&' | ';');
    wanted.iter().all(|(name, values)| {
        let fits = |value: Cow<'_, str>| fits(&value, values);
        occurrences(query, by_ampersand, name).any(fits) || occurrences(query, by_both, name).any(fits)
    })
}

fn once<'a>(mut values: impl Iterator<Item = Cow<'a, str>>, wanted: &[TextPattern]) -> bool {
    values.next().is_some_and(|value| fits(&value, wanted)) && values.next().is_none()
}

fn fits(value: &str, wanted: &[TextPattern]) -> bool {
    wanted.iter().any(|pattern| pattern.matches(value))
}

/// The decoded values of all parameters of this name.
fn occurrences<'a>(
    query: &'a str,
    separator: impl Fn(char) -> bool + 'a,
    name: &'a str,
) -> impl Iterator<Item = Cow<'a, str>> {
    let pieces = query.split(separator).map(|piece| piece.split_once('=').unwrap_or((piece, "")));
    pieces.filter(move |(own, _)| decoded(own) == name).map(|(_, value)| decoded(value))
}

/// Undoes the form encoding once; allocates only where there is something to undo.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let escaped = tail.first_chunk::<2>().and_then(|pair| Some(hex(pair[0])? << 4 | hex(pair[1])?));
        match (byte, escaped) {
            (b'%', Some(value)) => {
                bytes.push(value);
                rest = tail.get(2..).unwrap_or_default();
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(name: &str, values: &[&str]) -> Parameters {
        let values = values.iter().map(|text| TextPattern::parse(text).unwrap()).collect();
        Parameters::from([(name.into(), values)])
    }

    #[test]
    fn t070_each_occurrence_of_a_limited_parameter_is_judged() {
        let main = wanted("ref", &["main", "release-*"]);
        for query in ["ref=main", "a=b&ref=release-1", "%72ef=m%61in", "ref=main&x=%3F%26"] {
            assert!(holds(Some(query), &main), "{query}");
        }
        for query in [
            "",
            "ref",
            "ref=evil",
            "ref=main&ref=main",
            "ref=main&ref=evil",
            "ref=main&%72ef=evil",
            "ref=main%26ref=evil",
            "ref=main?ref=evil",
            "ref=main;ref=evil",
            "a=1;ref=evil&ref=main",
            "a=1;ref=main",
        ] {
            assert!(!holds(Some(query), &main), "{query}");
        }
        assert!(!holds(None, &main));
    }

    #[test]
    fn any_occurrence_counts_against_a_request() {
        let force = wanted("force", &["true", "1"]);
        for query in ["force=true", "force=0&force=1", "a=1;force=true", "f%6Frce=tru%65"] {
            assert!(shows(Some(query), &force), "{query}");
        }
        assert!(!shows(Some("force=0&xforce=1"), &force) && !shows(None, &force));
    }
}
