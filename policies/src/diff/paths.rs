//! Paths in classes that no path pattern of either side tells apart, and requests whose path has two readings.

use std::collections::HashMap;

use model::RequestPath;

use crate::pattern::PathPattern;
use crate::pattern::atoms::path_atoms;

/// How many pairs of classes are tried before it is said that it is not known.
const MAX_TRIED: usize = 4000;

/// A path of each class.
#[derive(Debug)]
pub(super) struct Paths<'a> {
    pub(super) atoms: Vec<PathAtom>,
    /// Whether every class has its path.
    pub(super) complete: bool,
    patterns: Vec<&'a PathPattern>,
    classes: HashMap<Vec<bool>, usize>,
    known: HashMap<(usize, usize), Reachable>,
    tails: HashMap<String, Vec<Vec<bool>>>,
}

/// One class of paths.
#[derive(Debug)]
pub(super) struct PathAtom {
    /// A path of it.
    pub(super) text: String,
    /// Whether a request can have this path and no other reading of it.
    pub(super) plain: bool,
    /// It is the only path of the class.
    exact: bool,
}

/// Whether a request can be of one class as sent and of another when resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reachable {
    /// By this path.
    By(String),
    Never,
    /// None was found, and none is excluded.
    Unknown,
}

impl<'a> Paths<'a> {
    /// The classes that these patterns tell apart, and the target `*`, which is no path.
    pub(super) fn of(patterns: Vec<&'a PathPattern>) -> Self {
        let found = path_atoms(&patterns);
        let mut made = Self {
            atoms: Vec::new(),
            complete: found.complete,
            patterns,
            classes: HashMap::new(),
            known: HashMap::new(),
            tails: HashMap::new(),
        };
        for text in found.texts {
            let plain = RequestPath::parse(&text).is_ok_and(|path| path.resolved().is_none());
            made.add(text, plain);
        }
        made.add("*".to_owned(), true);
        made
    }

    fn add(&mut self, text: String, plain: bool) {
        let class = self.class(&text);
        let exact =
            text == "*" || self.patterns.iter().any(|pattern| pattern.to_string() == text && !text.contains('*'));
        self.atoms.push(PathAtom { text, plain, exact });
        self.classes.entry(class).or_insert(self.atoms.len() - 1);
    }

    fn class(&self, path: &str) -> Vec<bool> {
        // The target `*` is told from every path, also where no pattern names it.
        let server = std::iter::once(path == "*");
        server.chain(self.patterns.iter().map(|pattern| pattern.matches(path))).collect()
    }

    fn atom(&self, path: &str) -> Option<usize> {
        self.classes.get(&self.class(path)).copied()
    }

    /// The path of a request that is of the class `sent` as it is sent, and of the class `resolved` when resolved.
    pub(super) fn both(&mut self, sent: usize, resolved: usize) -> Reachable {
        if let Some(known) = self.known.get(&(sent, resolved)) {
            return known.clone();
        }
        if self.known.len() >= MAX_TRIED {
            return Reachable::Unknown;
        }
        let found = self.find(sent, resolved);
        self.known.insert((sent, resolved), found.clone());
        found
    }

    fn find(&mut self, sent: usize, resolved: usize) -> Reachable {
        let text = self.atoms[sent].text.clone();
        if text == "*" || self.atoms[resolved].text == "*" {
            return Reachable::Never;
        }
        if self.is_of(&text, sent, resolved) {
            return Reachable::By(text);
        }
        if self.atoms[sent].exact || self.tail_excludes(&text, resolved) {
            return Reachable::Never;
        }
        let target = self.atoms[resolved].text.clone();
        let found = detours(&text, &target).find(|path| self.is_of(path, sent, resolved));
        found.map_or(Reachable::Unknown, Reachable::By)
    }

    fn is_of(&self, path: &str, sent: usize, resolved: usize) -> bool {
        RequestPath::parse(path).is_ok_and(|parsed| {
            parsed.resolved().is_some_and(|other| self.atom(other) == Some(resolved)) && self.atom(path) == Some(sent)
        })
    }

    /// Whether every path of the first class ends with segments that no path of the other class ends with: what a
    /// pattern says behind its last wildcard segment stands at the end of both readings.
    fn tail_excludes(&mut self, text: &str, resolved: usize) -> bool {
        let tails: Vec<String> = self
            .patterns
            .iter()
            .filter(|pattern| pattern.matches(text))
            .filter_map(|pattern| {
                let pattern = pattern.to_string();
                let (_, behind) = pattern.rsplit_once('*')?;
                let tail = behind.get(behind.find('/')?..)?.to_owned();
                let plain = RequestPath::parse(&tail).is_ok_and(|path| path.resolved().is_none());
                (plain && tail.len() > 1).then_some(tail)
            })
            .collect();
        let class = self.class(&self.atoms[resolved].text.clone());
        tails.iter().any(|tail| !self.classes_ending(tail).contains(&class))
    }

    /// The classes of which some path ends so; all where that is not known.
    fn classes_ending(&mut self, tail: &str) -> &[Vec<bool>] {
        if !self.tails.contains_key(tail) {
            let ending = PathPattern::parse(&format!("/**{tail}")).ok();
            let more: Vec<&PathPattern> = self.patterns.iter().copied().chain(ending.as_ref()).collect();
            let found = path_atoms(&more);
            let whole = found.complete && ending.is_some();
            let texts = found.texts.iter().filter(|text| text.ends_with(tail)).map(|text| self.class(text));
            let classes = if whole { texts.collect() } else { self.classes.keys().cloned().collect() };
            self.tails.insert(tail.to_owned(), classes);
        }
        &self.tails[tail]
    }
}

/// Paths that begin like one and lead to another, for whoever resolves them.
fn detours(text: &str, target: &str) -> impl Iterator<Item = String> {
    let up = text.matches('/').count() + 1;
    let (text, target) = (text.to_owned(), target.to_owned());
    (1..=text.len()).rev().filter(|at| text.is_char_boundary(*at)).collect::<Vec<_>>().into_iter().flat_map(move |at| {
        let (front, back) = text.split_at(at);
        let whole = target.strip_prefix('/').unwrap_or(&target);
        let cut = whole.strip_suffix(back).unwrap_or(whole);
        let hidden = |goal: &str| format!("%2f{}{}", "..%2f".repeat(up), goal.replace('/', "%2f"));
        let open = |goal: &str| format!("/{}{goal}", "../".repeat(up));
        [
            format!("{front}{}{back}", hidden(cut)),
            format!("{front}{};{back}", hidden(whole)),
            format!("{front}{}{back}", open(cut)),
            format!("{front}{};{back}", open(whole)),
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<PathPattern> {
        texts.iter().map(|text| PathPattern::parse(text).unwrap()).collect()
    }

    fn both(texts: &[&str], sent: &str, resolved: &str) -> Reachable {
        let patterns = patterns(texts);
        let mut paths = Paths::of(patterns.iter().collect());
        let (sent, resolved) = (paths.atom(sent).unwrap(), paths.atom(resolved).unwrap());
        paths.both(sent, resolved)
    }

    #[test]
    fn a_wildcard_leads_to_every_path() {
        for (patterns, sent, resolved) in [
            (["/a/**", "/b/**"], "/a/x", "/b/x"),
            (["/a/*", "/b/*"], "/a/x", "/b/x"),
            (["/a/*", "/b/c"], "/a/x", "/b/c"),
            (["/a*z", "/b/c"], "/az", "/b/c"),
            (["/a/*/edit", "/b/edit"], "/a/x/edit", "/b/edit"),
            (["/@a%2f*", "/@a/*"], "/@a%2fx", "/@a/x"),
        ] {
            assert!(matches!(both(&patterns, sent, resolved), Reachable::By(_)), "{patterns:?}");
        }
    }

    #[test]
    fn what_has_one_reading_leads_nowhere() {
        assert_eq!(both(&["/a", "/b/**"], "/a", "/b/x"), Reachable::Never);
        assert_eq!(both(&["/a/*/edit", "/b/*/view"], "/a/x/edit", "/b/x/view"), Reachable::Never);
    }
}
