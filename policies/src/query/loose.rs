//! The loose reading of a query: decoded again and again, then split at everything that some parser splits at, its
//! names compared without what some parser trims, drops or replaces.

use std::borrow::Cow;

/// A query in its loose reading.
pub(super) struct Loose<'a> {
    text: Cow<'a, str>,
}

impl<'a> Loose<'a> {
    /// Reads a query; allocates only where something is encoded.
    pub(super) fn of(query: &'a str) -> Self {
        // The form encoding writes a blank as `+`.
        let text = match query.contains('+') {
            true => Cow::Owned(model::fully_decoded(&query.replace('+', " ")).into_owned()),
            false => model::fully_decoded(query),
        };
        Self { text }
    }

    /// Whether some server would stop within the query.
    pub(super) fn is_cut(&self) -> bool {
        self.text.contains('\0')
    }

    /// The values of every parameter that some parser takes for this one.
    pub(super) fn values<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'b str> {
        let pieces = self.text.split(['&', ';', '?']).map(|piece| piece.split_once('=').unwrap_or((piece, "")));
        pieces.filter(move |(own, _)| is_like(own, name)).map(|(_, value)| value)
    }
}

/// Whether some parser takes `own` for the parameter `name`, or for a part of it.
fn is_like(own: &str, name: &str) -> bool {
    let mut characters = trimmed(own).chars().filter(|c| !is_dropped(*c)).map(folded);
    if trimmed(name).chars().filter(|c| !is_dropped(*c)).map(folded).eq(characters.by_ref()) {
        return true;
    }
    // `ref[0]` and `ref.x` are parts of `ref`, and `ref` is what is before a NUL.
    let is_end = |c: char| matches!(c, '[' | ']' | '.') || c.is_control();
    let mut rest = trimmed(own).chars().skip_while(|c| is_dropped(*c));
    for wanted in trimmed(name).chars().filter(|c| !is_dropped(*c)).map(folded) {
        let next = rest.by_ref().find(|c| *c != ']');
        if next.map(folded) != Some(wanted) {
            return false;
        }
    }
    rest.next().is_none_or(is_end)
}

/// What parsers trim at both ends of a name, and a bracket that some ignore.
fn trimmed(name: &str) -> &str {
    let is_blank = |c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}';
    name.trim_matches(is_blank).trim_start_matches('[')
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
