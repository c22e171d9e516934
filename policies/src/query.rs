//! Parameters of a query, as the rules that limit them see them.
//!
//! Servers split a query at `&`, some at `;` too, some decode it first, and they read names in many spellings. So a query has two
//! readings here. The *strict* one is the form encoding of the URL standard, with a name spelled as the rule spells it; the
//! *loose* one ([`LooseQuery`]) takes every liberty of every server at once. An allow must hold in both, with one occurrence each,
//! so a spelling that only some parsers take for the parameter is refused; what either reading shows counts against a request,
//! and for what restricts it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use model::LooseQuery;
use model::parameter::form_decoded as decoded;
use model::query::pairs;

use crate::pattern::TextPattern;

/// What a rule asks of a query: each name with the values it may have.
pub(crate) type Parameters = BTreeMap<Box<str>, Vec<TextPattern>>;

/// Whether each named parameter is there exactly once, in both readings, with a value that fits.
pub(crate) fn holds(query: Option<&str>, wanted: &Parameters) -> bool {
    let query = query.unwrap_or_default();
    let loose = LooseQuery::of(query);
    let once = |count: usize, fitting: usize| count == 1 && fitting == 1;
    !loose.is_cut()
        && wanted.iter().all(|(name, values)| {
            let fits = |value: &str| fits(value, values) && !value.contains(char::is_control);
            once(strict(query, name).count(), strict(query, name).filter(|value| fits(value)).count())
                && once(loose.values(name).count(), loose.values(name).filter(|value| fits(value)).count())
        })
}

/// Whether each named parameter is somewhere with a value that fits, in either reading.
pub(crate) fn shows(query: Option<&str>, wanted: &Parameters) -> bool {
    let query = query.unwrap_or_default();
    let loose = LooseQuery::of(query);
    wanted.iter().all(|(name, values)| {
        // A server that decodes with C stops a value at NUL, and many trim it.
        let fits = |value: &str| {
            let cut = value.split('\0').next().unwrap_or_default();
            fits(value, values) || fits(cut, values) || fits(cut.trim(), values)
        };
        strict(query, name).any(|value| fits(&value)) || loose.values(name).any(fits)
    })
}

/// Whether a named parameter occurs more often in the loose reading than in the strict one.
pub(crate) fn is_loose(query: Option<&str>, wanted: &Parameters) -> bool {
    let query = query.unwrap_or_default();
    let loose = LooseQuery::of(query);
    wanted.keys().any(|name| loose.values(name).count() > strict(query, name).count())
}

fn fits(value: &str, wanted: &[TextPattern]) -> bool {
    wanted.iter().any(|pattern| pattern.matches(value))
}

/// The decoded values of the parameters whose name is spelled as here: escaped only where it has to be.
fn strict<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
    let named = pairs(query).filter(move |pair| is_spelled(pair.name, name));
    named.map(|pair| decoded(pair.value.unwrap_or_default()))
}

fn is_spelled(own: &str, name: &str) -> bool {
    own == name || (own.contains(['%', '+']) && decoded(own) == name && !has_needless_escape(own))
}

/// Whether a character is escaped that never has to be (RFC 3986 section 2.3).
fn has_needless_escape(text: &str) -> bool {
    text.as_bytes().windows(3).any(|window| {
        let value = hex(window[1]).zip(hex(window[2])).map(|(high, low)| high << 4 | low);
        window[0] == b'%' && value.is_some_and(|value| value.is_ascii_alphanumeric() || b"-._~".contains(&value))
    })
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
        for query in ["ref=main", "a=b&ref=release-1", "ref=m%61in", "ref=main&x=%3F%26", "xref=1&ref=main&ref_=2&re=3"]
        {
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
            "a=1%26ref=evil&ref=main",
        ] {
            assert!(!holds(Some(query), &main), "{query}");
        }
        assert!(!holds(None, &main));
    }

    #[test]
    fn t070_no_other_spelling_of_a_limited_name_passes() {
        let main = wanted("ref", &["*"]);
        for name in [
            "+ref",
            "%20ref",
            "ref%20",
            "ref+",
            "%09ref",
            "ref%0a",
            "ref%00",
            "ref%00x",
            "re%00f",
            "ref[]",
            "ref%5B%5D",
            "ref[0]",
            "ref[x][y]",
            "ref%5b",
            "ref.x",
            "ref.",
            "ref%2Ex",
            "REF",
            "Ref",
            "%72ef",
            "%2572ef",
            "%25%37%32ef",
            "[ref]",
            "?ref",
            "%EF%BB%BFref",
            "x;ref",
            "x%26ref",
            "x%3Bref",
            "x%2526ref",
        ] {
            assert!(!holds(Some(&format!("{name}=main")), &main), "{name} alone");
            assert!(!holds(Some(&format!("{name}=evil&ref=main")), &main), "{name} before");
            assert!(!holds(Some(&format!("ref=main&{name}=evil")), &main), "{name} behind");
            assert!(!holds(Some(&format!("ref=main&{name}")), &main), "{name} without a value");
            assert!(is_loose(Some(&format!("ref=main&{name}=evil")), &main), "{name}");
            assert!(shows(Some(&format!("{name}=evil")), &wanted("ref", &["evil"])), "{name}");
        }
    }

    #[test]
    fn t070_php_takes_other_characters_for_an_underscore() {
        let main = wanted("my_ref", &["main"]);
        for name in ["my.ref", "my+ref", "my%20ref", "my[ref", "my[ref]", "%20my.ref"] {
            assert!(!holds(Some(&format!("my_ref=main&{name}=evil")), &main), "{name}");
        }
        let nested = wanted("filter[name]", &["main"]);
        assert!(holds(Some("filter[name]=main"), &nested) && holds(Some("filter%5Bname%5D=main&filter[x]=y"), &nested));
        for name in ["filter.name", "filter[name][]", "filter_name", "filter%5bname%5d%20", "filter%5Bn%61me%5D"] {
            assert!(!holds(Some(&format!("filter[name]=main&{name}=evil")), &nested), "{name}");
        }
    }

    #[test]
    fn t070_a_value_fits_in_both_readings() {
        let tail = wanted("ref", &["*-ok"]);
        assert!(holds(Some("ref=a-ok"), &tail));
        for query in
            ["ref=evil%00-ok", "ref=a%0a-ok", "ref=evil;-ok", "ref=evil%2526-ok", "%00&ref=a-ok", "ref=a-ok&x=%00"]
        {
            assert!(!holds(Some(query), &tail), "{query}");
        }
        assert!(!holds(Some("ref=m%2561in"), &wanted("ref", &["m%61in"])));
        assert!(shows(Some("ref=m%2561in"), &wanted("ref", &["main"])));
        assert!(shows(Some("ref=main%00x"), &wanted("ref", &["main"])));
        assert!(shows(Some("ref=+main%0a"), &wanted("ref", &["main"])));
    }

    #[test]
    fn any_occurrence_counts_against_a_request() {
        let force = wanted("force", &["true", "1"]);
        for query in ["force=true", "force=0&force=1", "a=1;force=true", "f%6Frce=tru%65", "FORCE[]=1"] {
            assert!(shows(Some(query), &force), "{query}");
        }
        assert!(!shows(Some("force=0&xforce=1"), &force) && !shows(None, &force));
    }
}
