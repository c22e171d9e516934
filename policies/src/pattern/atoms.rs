//! One text for each way in which a text can fit several patterns at once.
//!
//! The patterns of a comparison split all texts into classes whose members no pattern
//! distinguishes. This walks the patterns side by side, character by character, as one automaton: each set of places that can be
//! reached at the same time is one state, and each set of patterns that can end at the same time is one class.
//! A character that no pattern has at its place represents all the others, so nothing is sampled. Paths are walked as
//! readings: decoded, in both cases of a letter where a folded pattern asks for it.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use model::{RequestPath, written_path};

use super::{PathPattern, TextPattern};

/// How many states are looked at, before the answer is that it is not known.
const MAX_STATES: usize = 40_000;

/// How often patterns without wildcards are added to the walk, because a text met them by chance.
const MAX_ROUNDS: usize = 6;

/// One text of each class.
#[derive(Clone, Debug, Default)]
pub(crate) struct Atoms {
    /// The texts, the shortest first.
    pub(crate) texts: Vec<String>,
    /// Whether every class has its text.
    pub(crate) complete: bool,
}

/// One thing that a pattern asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Is(char),
    /// Any run without a slash.
    Run,
    /// Behind a slash: any number of segments, each with its slash.
    Folders,
    /// Any run.
    Rest,
}

/// A pattern as its steps.
#[derive(Clone, Debug)]
struct Program {
    steps: Vec<Step>,
    /// Letters fit in either case.
    folded: bool,
}

/// A pattern and a place in it; the last bit is set while a segment of `Folders` is open.
type Place = (u32, u32);

/// The classes of paths, each with a reading of it, one that is the only reading of a path where there is one.
pub(crate) fn path_atoms(patterns: &[&PathPattern]) -> Atoms {
    let texts: BTreeSet<(&str, bool)> =
        patterns.iter().map(|pattern| (pattern.text(), pattern.is_folded())).filter(|(text, _)| *text != "*").collect();
    // A folded pattern with letters names several paths.
    let is_wild = |(text, folded): &&(&str, bool)| {
        text.contains('*') || (*folded && text.bytes().any(|byte| byte.is_ascii_alphabetic()))
    };
    let (wild, exact): (Vec<_>, Vec<_>) = texts.into_iter().partition(|one| is_wild(&one));
    let mut walked: BTreeSet<(&str, bool)> = wild.into_iter().collect();
    for round in 0..=MAX_ROUNDS {
        let programs: Vec<Program> = walked.iter().map(|(text, folded)| path_program(text, *folded)).collect();
        let walk = Walk { programs: &programs, path: true };
        let (found, complete) = walk.classes(vec![]);
        let met: Vec<(&str, bool)> = exact
            .iter()
            .copied()
            .filter(|one| !walked.contains(one) && found.values().any(|best| best.text == one.0))
            .collect();
        if met.is_empty() || round == MAX_ROUNDS {
            let usable = found.values().all(|best| best.worth != Worth::Broken);
            let own = found.into_values().filter(|best| best.worth != Worth::Broken).map(|best| best.text);
            let mut texts: Vec<String> = own.chain(exact.iter().map(|(text, _)| (*text).to_owned())).collect();
            texts.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
            texts.dedup();
            return Atoms { texts, complete: complete && usable && met.is_empty() };
        }
        match round {
            0..3 => walked.extend(met),
            _ => walked.extend(exact.iter().copied()),
        }
    }
    Atoms::default()
}

/// The classes of texts.
pub(crate) fn text_atoms(patterns: &[&TextPattern]) -> Atoms {
    let programs = text_programs(patterns);
    let walk = Walk { programs: &programs, path: false };
    let (found, complete) = walk.classes(walk.start());
    let mut texts: Vec<String> = found.into_values().map(|best| best.text).collect();
    texts.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    Atoms { texts, complete }
}

/// The classes of texts with a `;`, each distinguished from the others also by the class of the text before the `;`:
/// the texts, each with the place of the `;`, and whether that is all.
pub(crate) fn cut_atoms(patterns: &[&TextPattern]) -> (Vec<(String, usize)>, bool) {
    const MAX_FRONTS: usize = 400;
    let programs = text_programs(patterns);
    let walk = Walk { programs: &programs, path: false };
    let (fronts, mut complete) = walk.states(walk.start(), |_, _| {});
    complete &= fronts.len() <= MAX_FRONTS;
    let mut found = HashMap::new();
    for (state, text) in fronts.into_iter().take(MAX_FRONTS) {
        let (backs, whole) = walk.classes(walk.step(&state, ';'));
        complete &= whole;
        for (hits, back) in backs {
            let joined = format!("{text};{}", back.text);
            found.entry((walk.hits(&state), hits)).or_insert((joined, text.len()));
        }
    }
    let mut texts: Vec<(String, usize)> = found.into_values().collect();
    texts.sort();
    (texts, complete)
}

fn path_program(text: &str, folded: bool) -> Program {
    let mut program = Vec::new();
    let mut segments = text.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        if program.last() != Some(&Step::Folders) {
            program.push(Step::Is('/'));
        }
        match segment {
            "**" if segments.peek().is_none() => program.push(Step::Rest),
            "**" => program.push(Step::Folders),
            _ => program.extend(segment.chars().map(|c| if c == '*' { Step::Run } else { Step::Is(c) })),
        }
    }
    Program { steps: program, folded }
}

fn text_programs(patterns: &[&TextPattern]) -> Vec<Program> {
    let texts: BTreeSet<&str> = patterns.iter().map(|pattern| pattern.as_str()).collect();
    let step = |c| if c == '*' { Step::Rest } else { Step::Is(c) };
    let program = |text: &str| Program { steps: text.chars().map(step).collect(), folded: false };
    texts.into_iter().map(program).collect()
}

/// How good a text is as the example of its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// No request can hold it.
    Broken,
    /// It has two readings.
    Ambiguous,
    /// Good, but it ends at a slash.
    Folder,
    Good,
}

/// The best text of a class so far.
#[derive(Debug)]
struct Best {
    worth: Worth,
    text: String,
}

struct Walk<'a> {
    programs: &'a [Program],
    path: bool,
}

impl Walk<'_> {
    fn start(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for (pattern, _) in self.programs.iter().enumerate() {
            self.enter(&mut places, u32::try_from(pattern).unwrap_or(u32::MAX), 0);
        }
        finish(places)
    }

    /// The classes of what can follow, by the patterns that match.
    fn classes(&self, start: Vec<Place>) -> (HashMap<Vec<u32>, Best>, bool) {
        let mut found: HashMap<Vec<u32>, Best> = HashMap::new();
        let start = if self.path { self.step(&self.start(), '/') } else { start };
        let (_, complete) = self.states(start, |hits, text| {
            let known = found.get(&hits).map(|best| best.worth);
            if known == Some(Worth::Good) {
                return;
            }
            let worth = if self.path { path_worth(text) } else { Worth::Good };
            if known.is_none_or(|known| worth > known) {
                found.insert(hits, Best { worth, text: text.to_owned() });
            }
        });
        (found, complete)
    }

    /// Every state that can be reached, with a text that leads there; reports each text that was tried.
    fn states(&self, start: Vec<Place>, mut tell: impl FnMut(Vec<u32>, &str)) -> (Vec<(Vec<Place>, String)>, bool) {
        let first = if self.path { "/" } else { "" };
        tell(self.hits(&start), first);
        // After a slash the next character is not a slash, so that is part of the state.
        let slash = |text: &str| self.path && text.ends_with('/');
        let mut seen: HashSet<(Vec<Place>, bool)> = HashSet::from([(start.clone(), slash(first))]);
        let mut waiting = VecDeque::from([(start, first.to_owned())]);
        let mut reached = Vec::new();
        while let Some((state, text)) = waiting.pop_front() {
            for sign in self.signs(&state) {
                // A pattern never asks for an empty segment, so one is enough.
                if sign == '/' && slash(&text) {
                    continue;
                }
                let next = self.step(&state, sign);
                let longer = format!("{text}{sign}");
                tell(self.hits(&next), &longer);
                let key = (next, slash(&longer));
                if seen.contains(&key) {
                    continue;
                }
                if seen.len() >= MAX_STATES {
                    return (reached, false);
                }
                waiting.push_back((key.0.clone(), longer));
                seen.insert(key);
            }
            reached.push((state, text));
        }
        (reached, true)
    }

    /// The characters that some pattern has here, and one that none has.
    fn signs(&self, state: &[Place]) -> Vec<char> {
        let asked: BTreeSet<char> = state
            .iter()
            .flat_map(|place| match self.at(*place) {
                Some(Step::Is(c)) if self.is_folded(*place) => [Some(c), Some(c.to_ascii_uppercase())],
                Some(Step::Is(c)) => [Some(c), None],
                Some(Step::Run | Step::Folders | Step::Rest) | None => [None, None],
            })
            .flatten()
            .chain(self.path.then_some('/'))
            .collect();
        let other = ('a'..='z').rev().cycle().skip(2).take(26).chain('0'..='9').chain('A'..='Z').chain("-_~".chars());
        let other = other.chain(if self.path { '-'..='-' } else { '\u{e0}'..='\u{17f}' }).find(|c| !asked.contains(c));
        // Longer texts with plain characters read better, so the other character comes first.
        other.into_iter().chain(asked).collect()
    }

    fn is_folded(&self, (pattern, _): Place) -> bool {
        self.programs.get(pattern as usize).is_some_and(|program| program.folded)
    }

    fn at(&self, (pattern, place): Place) -> Option<Step> {
        self.programs.get(pattern as usize)?.steps.get((place >> 1) as usize).copied()
    }

    /// The places after one more character.
    fn step(&self, state: &[Place], sign: char) -> Vec<Place> {
        let mut next = Vec::new();
        for &(pattern, place) in state {
            match self.at((pattern, place)) {
                Some(Step::Is(c))
                    if c == sign || (self.is_folded((pattern, place)) && c == sign.to_ascii_lowercase()) =>
                {
                    self.enter(&mut next, pattern, place + 2);
                }
                Some(Step::Run) if sign != '/' => self.enter(&mut next, pattern, place),
                Some(Step::Rest) => self.enter(&mut next, pattern, place),
                Some(Step::Folders) if sign == '/' => self.enter(&mut next, pattern, place & !1),
                Some(Step::Folders) => next.push((pattern, place | 1)),
                Some(Step::Is(_) | Step::Run) | None => {}
            }
        }
        finish(next)
    }

    /// Adds a place and those that are reached from it without a character.
    fn enter(&self, places: &mut Vec<Place>, pattern: u32, place: u32) {
        places.push((pattern, place));
        match self.at((pattern, place)) {
            Some(Step::Run | Step::Rest | Step::Folders) => self.enter(places, pattern, place + 2),
            Some(Step::Is(_)) | None => {}
        }
    }

    /// The patterns that end here.
    fn hits(&self, state: &[Place]) -> Vec<u32> {
        let ended = |place: &&Place| self.at(**place).is_none();
        state.iter().filter(ended).map(|(pattern, _)| *pattern).collect()
    }
}

fn finish(mut places: Vec<Place>) -> Vec<Place> {
    places.sort_unstable();
    places.dedup();
    places
}

fn path_worth(text: &str) -> Worth {
    let Ok(path) = RequestPath::parse(&written_path(text)) else { return Worth::Broken };
    let mut readings = path.readings();
    match (readings.next().is_some_and(|reading| reading.text() == text), readings.next()) {
        (false, _) => Worth::Broken,
        (true, _) if path.is_ambiguous() => Worth::Broken,
        (true, Some(_)) => Worth::Ambiguous,
        (true, None) if text.len() > 1 && text.ends_with('/') => Worth::Folder,
        (true, None) => Worth::Good,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn paths(texts: &[&str]) -> Vec<PathPattern> {
        texts.iter().map(|text| PathPattern::parse(text).unwrap()).collect()
    }

    fn classes(patterns: &[PathPattern]) -> HashSet<Vec<bool>> {
        let atoms = path_atoms(&patterns.iter().collect::<Vec<_>>());
        assert!(atoms.complete, "{patterns:?}");
        atoms.texts.iter().map(|text| patterns.iter().map(|pattern| pattern.matches(text)).collect()).collect()
    }

    #[test]
    fn each_class_has_its_text() {
        let patterns = paths(&["/v1/**", "/v1/models", "/v1/*/edit"]);
        let found = classes(&patterns);
        let want = [[false, false, false], [true, false, false], [true, true, false], [true, false, true]];
        assert_eq!(found, want.into_iter().map(Vec::from).collect());
    }

    #[test]
    fn a_text_reads_as_it_is_sent_where_one_can() {
        let patterns = paths(&["/.*", "/a%20*", "/caf%C3%A9*", "/**/b", "/a/", "/a/*"]);
        let atoms = path_atoms(&patterns.iter().collect::<Vec<_>>());
        assert!(atoms.complete);
        for text in &atoms.texts {
            assert_eq!(RequestPath::parse(&written_path(text)).unwrap().readings().len(), 1, "{text}");
        }
        let ambiguous = path_atoms(&[&paths(&["/@a%2f*"])[0]]);
        assert!(ambiguous.texts.iter().any(|text| text.starts_with("/@a\u{1}")));
    }

    #[test]
    fn a_folded_pattern_is_walked_in_both_cases() {
        let (allow, deny) = (paths(&["/a/**"]), paths(&["/a/b"]).remove(0).folded());
        let atoms = path_atoms(&[&allow[0], &deny]);
        let hits = |text: &str| (allow[0].matches(text), deny.matches(&text.to_ascii_lowercase()));
        let found: HashSet<(bool, bool)> = atoms.texts.iter().map(|text| hits(text)).collect();
        assert_eq!(found, HashSet::from([(true, true), (true, false), (false, true), (false, false)]));
    }

    #[test]
    fn a_thousand_patterns_are_walked() {
        let texts: Vec<String> = (0..1000).map(|n| format!("/repos/acme/site-{n}/**")).collect();
        let patterns = paths(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(classes(&patterns).len(), 1001);
    }

    fn pattern() -> impl Strategy<Value = PathPattern> {
        let segment = prop_oneof!["[ab]{1,2}", "[ab*]{1,3}", Just("**".to_owned()), Just(String::new())];
        prop::collection::vec(segment, 1..4)
            .prop_map(|segments| format!("/{}", segments.join("/")))
            .prop_filter_map("a pattern", |text| PathPattern::parse(&text).ok())
    }

    proptest! {
        #[test]
        fn every_path_is_of_a_known_class(
            patterns in prop::collection::vec(pattern(), 1..6),
            asked in prop::collection::vec("(/[abx]{1,3}){1,4}/?", 20),
        ) {
            let known = classes(&patterns);
            for path in asked {
                let hits: Vec<bool> = patterns.iter().map(|pattern| pattern.matches(&path)).collect();
                prop_assert!(known.contains(&hits), "{path}");
            }
        }

        #[test]
        fn every_text_is_of_a_known_class(
            texts in prop::collection::vec("[ab]{0,2}[*]?[ab]{0,2}[*]?[ab]?", 1..5),
            asked in prop::collection::vec("[abx;]{0,6}", 20),
        ) {
            let patterns: Vec<TextPattern> = texts.iter().filter_map(|text| TextPattern::parse(text).ok()).collect();
            let refs: Vec<&TextPattern> = patterns.iter().collect();
            let hits = |text: &str| patterns.iter().map(|pattern| pattern.matches(text)).collect::<Vec<_>>();
            let known: HashSet<_> = text_atoms(&refs).texts.iter().map(|text| hits(text)).collect();
            let cuts = |text: &str| text.split_once(';').map(|(front, _)| (hits(front), hits(text)));
            let known_cuts: HashSet<_> = cut_atoms(&refs).0.iter().filter_map(|(text, _)| cuts(text)).collect();
            for text in asked {
                prop_assert!(known.contains(&hits(&text)), "{text}");
                if let Some(cut) = cuts(&text) {
                    prop_assert!(known_cuts.contains(&cut), "{text}");
                }
            }
        }
    }
}
