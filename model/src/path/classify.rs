//! Which decisions a path leaves to its reader: none, one kind, or more than can be listed.

use super::PathError;
use super::reading::{Readings, written};
use super::units::{TOO_DEEP, Unit, decoded_fully, decoded_once};

/// The kinds of ambiguity that are judged in each reading where they come alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kinds {
    /// `%2f`, `%23` or `%3f`.
    delimiters: bool,
    /// `//`.
    empty_segments: bool,
    /// `;`, also as `%3b`.
    parameters: bool,
    /// What takes two decodings, such as `%252f`.
    double_escape: bool,
}

impl Kinds {
    fn count(self) -> usize {
        [self.delimiters, self.empty_segments, self.parameters, self.double_escape].into_iter().filter(|is| *is).count()
    }
}

/// The path has more readings than can be listed.
struct Unlisted;

/// The readings of a path, and whether it is ambiguous beyond them.
///
/// # Errors
/// [`PathError::Escape`] for an escape of NUL and for what is not UTF-8 once decoded.
pub(super) fn classify(path: &str) -> Result<(Readings, bool), PathError> {
    let once = decoded_once(path.as_bytes());
    let is_nul = |unit: &Unit| unit.byte == 0;
    // An overlong or broken UTF-8 sequence is how a decoder is made to see a slash that is not there.
    if once.iter().any(is_nul) || std::str::from_utf8(&bytes(&once)).is_err() {
        return Err(PathError::Escape);
    }
    let full = decoded_fully(path.as_bytes());
    let texts = match kinds(&full) {
        Ok(kinds) if kinds.double_escape => {
            // Whoever decodes twice reads the path as another reads a path that is escaped once.
            let twice: Vec<Unit> =
                full.iter().map(|unit| Unit { depth: unit.depth.saturating_sub(1), ..*unit }).collect();
            let mut texts = vec![written(&once, true)];
            texts.extend(interpretations(&twice));
            texts
        }
        Ok(_) => interpretations(&once),
        Err(Unlisted) => return Ok((Readings::of(path, vec![written(&once, true)]), true)),
    };
    Ok((Readings::of(path, texts), false))
}

fn bytes(units: &[Unit]) -> Vec<u8> {
    units.iter().map(|unit| unit.byte).collect()
}

/// The kinds of ambiguity in a path, fully decoded.
fn kinds(full: &[Unit]) -> Result<Kinds, Unlisted> {
    let bytes = bytes(full);
    let text = std::str::from_utf8(&bytes).map_err(|_| Unlisted)?;
    let too_deep = full.iter().any(|unit| unit.depth >= TOO_DEEP);
    // Parsers strip controls, cut at them or end a line there; the path of an honest client has none.
    let is_broken = |unit: &Unit| unit.byte.is_ascii_control() || unit.byte == b'\\';
    // At the start, an empty segment can introduce a host (RFC 3986 section 4.2), and parsers differ in where it ends.
    let names_host = text.starts_with("//");
    if too_deep || names_host || full.iter().any(is_broken) || has_unicode_escape(&bytes) || has_dot_segment(text) {
        return Err(Unlisted);
    }
    let mut kinds = Kinds::default();
    // A text that takes two decodings has another reading on a server that decodes twice, and two kinds of those are too many.
    let mut inner = Kinds::default();
    let mut previous = None;
    for unit in full {
        let own = if unit.depth == 2 { &mut inner } else { &mut kinds };
        match unit.byte {
            b'/' | b'?' | b'#' if unit.depth > 0 => own.delimiters = true,
            b';' => own.parameters = true,
            _ => {}
        }
        kinds.double_escape |= unit.depth == 2;
        if let (b'/', Some(Unit { byte: b'/', depth })) = (unit.byte, previous) {
            if depth + unit.depth > 0 {
                return Err(Unlisted);
            }
            kinds.empty_segments = true;
        }
        previous = Some(*unit);
    }
    // Without its parameters, such a segment is empty: two kinds.
    let emptied = text.split('/').rev().skip(1).any(|segment| segment.starts_with(';'));
    if emptied || kinds.count() > 1 || inner.count() > 1 { Err(Unlisted) } else { Ok(kinds) }
}

/// Whether a segment, in any spelling, leads up or nowhere: only dots, perhaps with blanks around them, before any `;`,
/// `?` or `#`. Normalizing servers take full-width and one-dot-leader forms for dots and slashes too.
fn has_dot_segment(path: &str) -> bool {
    let is_slash = |c: char| matches!(c, '/' | '\u{ff0f}' | '\u{ff3c}' | '\u{2044}' | '\u{2215}');
    let is_dot = |c: char| matches!(c, '.' | '\u{ff0e}' | '\u{2024}' | '\u{2025}' | '\u{2026}' | '\u{fe52}');
    path.split(is_slash).any(|segment| {
        let name = segment.split([';', '?', '#']).next().unwrap_or_default();
        name.contains(is_dot) && name.chars().all(|c| is_dot(c) || c == ' ')
    })
}

/// Whether decoding leaves a `%uXXXX`, which some servers decode as well.
fn has_unicode_escape(bytes: &[u8]) -> bool {
    let is_escape = |window: &[u8]| match window {
        [b'%', b'u' | b'U', digits @ ..] => digits.iter().all(u8::is_ascii_hexdigit),
        _ => false,
    };
    bytes.windows(6).any(is_escape)
}

/// The readings of a path with at most one kind of ambiguity, the one that decides nothing first.
fn interpretations(units: &[Unit]) -> Vec<String> {
    let kept = written(units, true);
    let mut texts = vec![kept.clone()];
    texts.push(written(units, false));
    if units.iter().any(|unit| matches!(unit.byte, b'?' | b'#')) {
        let uncut = texts.clone();
        texts.extend(uncut.iter().flat_map(|text| ['?', '#'].map(|sign| before(text, sign).to_owned())));
    }
    if let Some(first) = units.iter().position(|unit| unit.byte == b';') {
        let raw = |unit: &Unit| unit.byte == b';' && unit.depth == 0;
        texts.push(written(&units[..first], true));
        texts.push(without_parameters(units, |unit| unit.byte == b';'));
        texts.push(without_parameters(units, raw));
        let last = units.iter().rposition(|unit| unit.byte == b'/').unwrap_or(0);
        let (front, end) = units.split_at(last);
        texts.push(written(front, true) + &without_parameters(end, |unit| unit.byte == b';'));
    }
    if kept.contains("//") {
        texts.push(merged(&kept));
    }
    texts
}

fn before(text: &str, sign: char) -> &str {
    text.split(sign).next().unwrap_or_default()
}

fn without_parameters(units: &[Unit], begins: impl Fn(&Unit) -> bool) -> String {
    let mut within = false;
    let mut kept = Vec::with_capacity(units.len());
    for unit in units {
        within = unit.byte != b'/' && (within || begins(unit));
        if !within {
            kept.push(*unit);
        }
    }
    written(&kept, true)
}

fn merged(text: &str) -> String {
    let mut merged = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '/' || !merged.ends_with('/') {
            merged.push(c);
        }
    }
    merged
}
