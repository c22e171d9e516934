//! Paths in classes that no path pattern of either side distinguishes, and requests whose path has several readings.

use std::collections::{BTreeSet, HashMap};

use model::{ENCODED_SLASH, PathReading, RequestPath, path_escape, written_path};

use crate::pattern::PathPattern;
use crate::pattern::atoms::path_atoms;

/// A path that no rule with a path covers: parsers read it in more ways than can be listed.
pub(super) const AMBIGUOUS: &str = "/..";

/// A path of each class.
#[derive(Debug)]
pub(super) struct Paths<'a> {
    pub(super) atoms: Vec<PathAtom>,
    /// Whether every class has its path.
    pub(super) complete: bool,
    patterns: Vec<&'a PathPattern>,
    classes: HashMap<Vec<bool>, usize>,
}

/// One class of paths.
#[derive(Debug)]
pub(super) struct PathAtom {
    /// A reading of it, and the same folded.
    pub(super) text: String,
    folded: String,
    /// Whether a request can have this reading and no other.
    pub(super) plain: bool,
    /// It is the only reading of the class.
    exact: bool,
}

impl PathAtom {
    pub(super) fn reading(&self) -> PathReading<'_> {
        PathReading::new(&self.text, &self.folded)
    }

    /// The reading as written in a request target.
    pub(super) fn target(&self) -> String {
        if self.text == "*" { self.text.clone() } else { written_path(&self.text) }
    }
}

impl<'a> Paths<'a> {
    /// The classes that these patterns distinguish, and the target `*`, which is not a path.
    pub(super) fn of(patterns: Vec<&'a PathPattern>) -> Self {
        let found = path_atoms(&patterns);
        let mut made = Self { atoms: Vec::new(), complete: found.complete, patterns, classes: HashMap::new() };
        for text in found.texts {
            let parsed = RequestPath::parse(&written_path(&text));
            let plain = parsed.is_ok_and(|path| !path.is_ambiguous() && path.readings().len() == 1);
            made.add(text, plain);
        }
        made.add("*".to_owned(), true);
        made
    }

    fn add(&mut self, text: String, plain: bool) {
        let folded = text.to_ascii_lowercase();
        let class = self.class(PathReading::new(&text, &folded));
        let is_it = |pattern: &&PathPattern| pattern.text() == text && !pattern.is_folded() && !text.contains('*');
        let exact = text == "*" || self.patterns.iter().any(is_it);
        self.atoms.push(PathAtom { text, folded, plain, exact });
        self.classes.entry(class).or_insert(self.atoms.len() - 1);
    }

    fn class(&self, path: PathReading<'_>) -> Vec<bool> {
        // The target `*` is distinct from every path, even if no pattern names it.
        let server = std::iter::once(path.text() == "*");
        server.chain(self.patterns.iter().map(|pattern| pattern.covers(path))).collect()
    }

    /// The class of a reading.
    pub(super) fn atom(&self, path: PathReading<'_>) -> Option<usize> {
        self.classes.get(&self.class(path)).copied()
    }

    /// Targets with several readings, each with the classes of its readings; one for each set of classes that was found.
    pub(super) fn ambiguous(&self) -> Vec<(String, Vec<usize>)> {
        let mut found: HashMap<BTreeSet<usize>, (String, Vec<usize>)> = HashMap::new();
        let spelled = self.atoms.iter().filter(|atom| atom.text != "*").flat_map(|atom| spellings(&atom.text));
        for target in spelled {
            let Ok(path) = RequestPath::parse(&target) else { continue };
            if path.is_ambiguous() || path.readings().len() == 1 {
                continue;
            }
            let Some(classes) = path.readings().map(|reading| self.atom(reading)).collect::<Option<Vec<_>>>() else {
                continue;
            };
            let set: BTreeSet<usize> = classes.iter().copied().collect();
            let shorter = found.get(&set).is_none_or(|(known, _)| (target.len(), &target) < (known.len(), known));
            if shorter {
                found.insert(set, (target, classes));
            }
        }
        let mut found: Vec<_> = found.into_values().collect();
        found.sort_by(|(a, _), (b, _)| (a.len(), a).cmp(&(b.len(), b)));
        found
    }

    /// Whether no request can be of one class as sent and of the other in another reading. Every reading of a path keeps
    /// the folder in which the path begins, because the text with several readings follows it; and a path that is
    /// the only one of its class has only the readings that were tried.
    pub(super) fn excludes(&self, sent: usize, other: usize) -> bool {
        let (sent, other) = (&self.atoms[sent], &self.atoms[other]);
        if sent.text == "*" || other.text == "*" || sent.exact {
            return true;
        }
        let of = |atom: &PathAtom| -> Vec<&PathPattern> {
            self.patterns.iter().copied().filter(|pattern| pattern.covers(atom.reading())).collect()
        };
        let others = of(other);
        of(sent).into_iter().filter(|pattern| is_kept(folder(pattern))).any(|own| {
            let lower = folder(own).to_ascii_lowercase();
            let apart = |theirs: &str| {
                let theirs = theirs.to_ascii_lowercase();
                !lower.starts_with(&theirs) && !theirs.starts_with(&lower)
            };
            // A pattern that covers all of the folder covers every reading.
            let covers_all = |pattern: &&&PathPattern| match pattern.text().strip_suffix("**") {
                Some(prefix) if pattern.is_folded() => lower.starts_with(prefix),
                Some(prefix) => !own.is_folded() && folder(own).starts_with(prefix),
                None => false,
            };
            self.patterns.iter().filter(covers_all).any(|pattern| !pattern.covers(other.reading()))
                || others.iter().any(|pattern| apart(folder(pattern)))
                || (other.exact && !other.folded.starts_with(&lower))
        })
    }
}

/// The folder in which everything is that a pattern covers.
fn folder(pattern: &PathPattern) -> &str {
    let prefix = pattern.literal_prefix();
    let end = prefix.rfind('/').map_or(0, |slash| slash + 1);
    prefix.get(..end).unwrap_or_default()
}

/// Whether a folder is the same in every reading of a path within it.
fn is_kept(folder: &str) -> bool {
    folder.len() > 1 && !folder.contains([ENCODED_SLASH, ';', '?', '#', '%'])
}

/// Targets that parsers can read as this text, and otherwise too.
fn spellings(text: &str) -> Vec<String> {
    let plain = written_path(text);
    let mut spelled = vec![plain.clone(), format!("{plain}%3F"), format!("{plain}%3Fx"), format!("{plain};x")];
    let mut front = String::new();
    let mut previous = None;
    for (at, c) in text.char_indices() {
        let behind = text.get(at + c.len_utf8()..).map(written_path).unwrap_or_default();
        if c == '/' && at > 0 {
            spelled.push(format!("{front}%2F{behind}"));
            spelled.push(format!("{front}%2F{}", behind.replace('/', "%2F")));
            spelled.push(format!("{front}%252F{behind}"));
            spelled.push(format!("{front};x/{behind}"));
            spelled.push(format!("{front};/{behind}"));
        }
        if c == '/' && at > 0 {
            spelled.push(format!("{front}//{behind}"));
        } else if previous == Some('/') {
            spelled.push(format!("{front};{}{behind}", path_escape(c)));
        }
        if c.is_ascii_alphanumeric() {
            spelled.push(format!("{front}%25{:02X}{behind}", u32::from(c)));
        }
        front.push_str(&path_escape(c));
        spelled.push(format!("{front}%3F{behind}"));
        spelled.push(format!("{front};{behind}"));
        previous = Some(c);
    }
    spelled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<PathPattern> {
        texts.iter().map(|text| PathPattern::parse(text).unwrap()).collect()
    }

    fn is_found(texts: &[&str], one: &str, other: &str) -> bool {
        let patterns = patterns(texts);
        let paths = Paths::of(patterns.iter().collect());
        let atom = |text: &str| paths.atom(PathReading::new(text, text)).unwrap();
        let both = BTreeSet::from([atom(one), atom(other)]);
        paths.ambiguous().iter().any(|(_, classes)| classes.iter().copied().collect::<BTreeSet<_>>() == both)
    }

    #[test]
    fn each_kind_of_ambiguity_is_found() {
        for (patterns, one, other) in [
            (&["/a*", "/a/**"][..], "/ax", "/a/x"),
            (&["/@a%2f*", "/@a/*"], "/@a\u{1}x", "/@a/x"),
            (&["/a/*", "/a/**"], "/a/x", "/a/x/y"),
            (&["/a/b", "/a/*"], "/a/b", "/a/x"),
        ] {
            assert!(is_found(patterns, one, other), "{patterns:?}");
        }
    }

    #[test]
    fn a_folder_is_kept_in_every_reading() {
        let patterns = patterns(&["/a/**", "/b/**", "/c/d", "/e*"]);
        let paths = Paths::of(patterns.iter().collect());
        let atom = |text: &str| paths.atom(PathReading::new(text, text)).unwrap();
        assert!(paths.excludes(atom("/a/x"), atom("/b/x")) && paths.excludes(atom("/a/x"), atom("/z")));
        assert!(paths.excludes(atom("/a/x"), atom("/c/d")) && paths.excludes(atom("/c/d"), atom("/a/x")));
        assert!(!paths.excludes(atom("/ex"), atom("/a/x")), "it may hold a slash");
    }
}
