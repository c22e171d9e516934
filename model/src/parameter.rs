//! Names of query parameters as servers read them: one reader, used by the rules that limit a query and by what finds credentials
//! and methods in one.
//!
//! Servers decode names once or more, trim them, cut them at NUL, take `ref[]`, `ref[0]` and `ref.x` for parts of `ref`, take `.`,
//! blank and `[` for `_` (PHP), and some ignore case. The loose reading takes every one of those liberties at once: decoded again
//! and again, split at everything that some parser splits at, names compared without what some parser trims, drops or replaces.

use std::borrow::Cow;

use crate::field::{FieldRole, field_role, fold_name};
use crate::path::fully_decoded;

/// The longest name, in characters, of which parts are read as names of their own. No table and no rule has a longer one.
const MAX_PART: usize = 256;

/// A query in its loose reading.
#[derive(Debug)]
pub struct LooseQuery<'a> {
    text: Cow<'a, str>,
}

impl<'a> LooseQuery<'a> {
    /// Reads a query; allocates only where something is encoded.
    pub fn of(query: &'a str) -> Self {
        Self { text: loosely_decoded(query) }
    }

    /// Whether some server would stop within the query.
    pub fn is_cut(&self) -> bool {
        self.text.contains('\0')
    }

    /// The values of every parameter that some parser takes for this one.
    pub fn values<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'b str> {
        self.pairs().filter(move |(own, _)| is_read_as(own, name)).map(|(_, value)| value)
    }

    /// Every parameter: its name and value, decoded.
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.text.split(['&', ';', '?']).map(|piece| piece.split_once('=').unwrap_or((piece, "")))
    }
}

/// Every name that some server takes this spelled one for, in lower case and with `_` for what PHP replaces: first the whole
/// name, then what is before a bracket or a dot. A name that holds an encoded separator has the names on both sides of it.
pub fn parameter_names(spelled: &str) -> Vec<String> {
    let decoded = loosely_decoded(spelled);
    let mut names = Vec::new();
    for piece in decoded.split(['&', ';', '?']) {
        let own = piece.split('=').next().unwrap_or_default();
        for own in spellings(own) {
            names.push(own.chars().filter(|c| !is_dropped(*c)).map(folded).collect());
            let ends = own.char_indices().take(MAX_PART).filter(|(at, c)| *at > 0 && is_end(*c));
            let parts = ends.filter_map(|(at, _)| own.get(..at));
            names.extend(parts.map(|part| part.chars().filter(|c| *c != ']').map(folded).collect::<String>()));
        }
    }
    names
}

/// The methods that a query asks for: every value of a parameter that frameworks read in place of the method of the request
/// (`_method`, and the names of the header fields that do the same), in every spelling and reading. In upper case.
pub fn method_overrides(query: &str) -> Vec<String> {
    if !may_override(query) {
        return Vec::new();
    }
    let loose = LooseQuery::of(query);
    let renames = |name: &str| may_override(name) && parameter_names(name).iter().any(|name| is_override(name));
    let mut methods: Vec<String> = Vec::new();
    let mut note = |value: &str| {
        let method = value.split('\0').next().unwrap_or_default().trim().to_ascii_uppercase();
        if !methods.contains(&method) {
            methods.push(method);
        }
    };
    loose.pairs().filter(|(name, _)| renames(name)).for_each(|(_, value)| note(value));
    // A value that is decoded once may be another one than the same value decoded again and again.
    for piece in query.split(['&', ';', '?']) {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        if renames(name) {
            note(&form_decoded(value));
        }
    }
    methods
}

/// Whether a query or a name has to be looked into for methods: all names have this word, unless it is encoded or has characters in
/// it that some parser drops.
fn may_override(text: &str) -> bool {
    let has_word = || text.as_bytes().windows(6).any(|word| word.eq_ignore_ascii_case(b"method"));
    text.chars().any(|c| c == '%' || is_dropped(c)) || has_word()
}

fn is_override(name: &str) -> bool {
    name == "_method" || field_role(&fold_name(name)) == FieldRole::Method
}

/// Whether some parser takes `own` for the parameter `name`, or for a part of it. Both are decoded.
fn is_read_as(own: &str, name: &str) -> bool {
    spellings(own).any(|own| spellings(name).any(|name| is_like(own, name)))
}

fn is_like(own: &str, name: &str) -> bool {
    let wanted = || name.chars().filter(|c| !is_dropped(*c)).map(folded);
    if wanted().eq(own.chars().filter(|c| !is_dropped(*c)).map(folded)) {
        return true;
    }
    // `ref[0]` and `ref.x` are parts of `ref`, and `ref` is what is before a NUL.
    let mut rest = own.chars().skip_while(|c| is_dropped(*c));
    for wanted in wanted() {
        let next = rest.by_ref().find(|c| *c != ']');
        if next.map(folded) != Some(wanted) {
            return false;
        }
    }
    rest.next().is_none_or(is_end)
}

/// A name without what parsers trim at both ends, and where it begins with a bracket, which some ignore, also without that.
fn spellings(name: &str) -> impl Iterator<Item = &str> {
    let is_blank = |c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}';
    let trimmed = name.trim_matches(is_blank);
    let bare = trimmed.trim_start_matches('[');
    std::iter::once(bare).chain((bare.len() < trimmed.len()).then_some(trimmed))
}

fn is_end(c: char) -> bool {
    matches!(c, '[' | ']' | '.') || c.is_control()
}

fn is_dropped(c: char) -> bool {
    c == ']' || c.is_control()
}

fn folded(c: char) -> char {
    match c {
        ' ' | '.' | '[' => '_',
        _ => c.to_lowercase().next().unwrap_or(c),
    }
}

/// Decoded until no escape is left. The form encoding writes a blank as `+`.
fn loosely_decoded(text: &str) -> Cow<'_, str> {
    match text.contains('+') {
        true => Cow::Owned(fully_decoded(&text.replace('+', " ")).into_owned()),
        false => fully_decoded(text),
    }
}

/// Undoes the form encoding once; allocates only where there is something to undo. Broken UTF-8 is replaced.
pub fn form_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let bytes = crate::escape::form_decoded(text.as_bytes());
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t281_a_name_is_read_in_every_spelling() {
        for (spelled, name) in [
            ("access_token", "access_token"),
            ("access.token", "access_token"),
            ("access+token", "access_token"),
            ("access%20token", "access_token"),
            ("access[token", "access_token"),
            ("access%5Btoken", "access_token"),
            ("access%255Ftoken", "access_token"),
            ("ACCESS_TOKEN", "access_token"),
            ("access_token[]", "access_token"),
            ("access_token.x", "access_token"),
            ("access_token%00x", "access_token"),
            ("+access_token%0a", "access_token"),
            ("[access_token]", "access_token"),
            ("?access_token", "access_token"),
            ("x%26access_token", "access_token"),
            ("x%3baccess_token", "access_token"),
            ("access_token%3Dx", "access_token"),
            (".method", "_method"),
            ("[method", "_method"),
            ("+.method", "_method"),
        ] {
            assert!(parameter_names(spelled).iter().any(|own| own == name), "{spelled}");
            let query = format!("a=1&{spelled}=v");
            assert_eq!(LooseQuery::of(&query).values(name).count(), 1, "{spelled}");
        }
        assert_eq!(parameter_names("filter[name].x"), ["filter_name_x", "filter", "filter_name", "filter_name"]);
        assert!(!parameter_names("xaccess_token").iter().any(|own| own == "access_token"));
        assert!(parameter_names(&"[".repeat(16384)).len() <= 2 * MAX_PART + 2);
    }

    #[test]
    fn t280_every_method_that_a_query_asks_for_is_found() {
        for query in [
            "_method=delete",
            "a=b;_METHOD=DELETE",
            "%5Fmethod=%44ELETE",
            "+_method[]=delete+",
            ".method=DELETE",
            "[method=DELETE",
            "%2emethod=DELETE",
            "_method=DELETE%00x",
            "_method[x]=DELETE",
            "x-http-method-override=DELETE",
            "X_HTTP_Method_Override=DELETE",
            "x.http.method=DELETE",
            "a%26_method=DELETE",
        ] {
            assert_eq!(method_overrides(query), ["DELETE"], "{query}");
        }
        assert_eq!(method_overrides("_method=GET&_method=DELETE&a=b&.method=put"), ["GET", "DELETE", "PUT"]);
        assert_eq!(method_overrides("_method=%2544ELETE"), ["DELETE", "%44ELETE"]);
        assert_eq!(method_overrides("_method"), [""]);
        for query in ["", "method=DELETE", "a=_method", "payment_method=card", "a=%5fmethod", "methods=x"] {
            assert!(method_overrides(query).is_empty(), "{query}");
        }
    }

    #[test]
    fn escapes_of_a_form_are_undone_once() {
        assert_eq!(form_decoded("a%20b+c%2525%"), "a b c%25%");
    }
}
