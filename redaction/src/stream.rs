//! Finds secrets in a stream of bytes, wherever it is split, and replaces them with asterisks of the same length.
//!
//! The carry-over, and the time of its release, never depend on whether it matches a secret. Otherwise a client that can make
//! an upstream echo its guesses would read the secret from this behavior, byte by byte.
//!
//! The *carry-over* is the end of the data, as long as it consists of token characters and is shorter than the longest secret. A
//! line, a JSON value or an event ends with another character and passes at once. The whole carry-over is *released* as soon as a
//! message ends or the upstream pauses ([`Masker::flush`]). A secret that the upstream sends in two parts could then leave in part,
//! so:
//!
//! - Released bytes remain as context. When the rest arrives and completes a secret, the rest is masked.
//! - If the released bytes end with more than half of a secret (and more than 8 bytes), that part is masked too.
//!
//! So at most the first half of a secret, or 8 bytes, passes in clear, however often and wherever the upstream pauses. Guesses are
//! confirmed only from half of a secret on, which leaves as much to guess as is protected.
//!
//! *Guesses.* If a value is masked, a client that chose it learns that it is the secret. So a response may show at most
//! [`MAX_GUESSES`] different values that look like the secret. After more of them, a chunk with a secret is not sent at all, and the
//! response ends before it. Only a response that contains a secret can end like that. Values are counted in the joined stream, so
//! chunks and pauses between the parts of a value have no effect.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use model::TenantId;
use secret::NeedleOwner;
use thiserror::Error;

use crate::needles::{Alphabet, Hit, Needles, classes_of, is_token_character};

/// The byte forms of secrets that were made for one request.
pub type Patterns = Vec<zeroize::Zeroizing<Vec<u8>>>;

/// The replacement of each byte of a found secret.
const STAR: u8 = b'*';
/// How many values that look like a secret a response may show in addition to it.
pub const MAX_GUESSES: u32 = 100;
/// Secrets below this length are weak: no bound on guesses would help, and a bound would end ordinary responses.
const MIN_GUESSED: usize = 8;

/// A response contains a secret among many values that look like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the response holds a secret among many values that look like it")]
pub struct Guessed;

/// The values to find in one response: the current ones of its host, those from the start of the response, and the forms that
/// were made for its request.
#[derive(Clone, Debug, Default)]
pub struct Sets([Option<Arc<Needles>>; 3]);

impl Sets {
    /// The current values, those from the start, and those made for the request.
    pub fn new(latest: Option<Arc<Needles>>, first: Option<Arc<Needles>>, made: Option<Arc<Needles>>) -> Self {
        Self([latest, first, made])
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Needles> {
        self.0.iter().flatten().map(Arc::as_ref)
    }

    /// Whether there are no values to find.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The longest form.
    pub fn longest(&self) -> usize {
        self.iter().map(Needles::longest).max().unwrap_or_default()
    }
}

/// Masks one response.
pub struct Masker {
    sets: Sets,
    /// The tenant whose record counts the matches.
    tenant: TenantId,
    /// The longest form.
    longest: usize,
    /// Whether a form contains characters other than those of tokens.
    any_sign: bool,
    /// The end of the bytes released early, in their original form.
    context: Vec<u8>,
    /// The carry-over: the end of the data, where a secret may have begun.
    held: Vec<u8>,
    /// The ranges of the carry-over that belong to a secret that was already found.
    stars: Vec<Range<usize>>,
    /// How many bytes were released.
    released: u64,
    /// The end of the last secret of the record's tenant, and of any other.
    covered: [u64; 2],
    found: u64,
    /// The matches of other tenants, with their number.
    foreign: Vec<(NeedleOwner, u64)>,
    guesses: Guesses,
}

impl Masker {
    /// Masks the values of these sets; the record of `tenant` counts them.
    pub fn new(sets: Sets, tenant: TenantId) -> Self {
        let (longest, guesses) = (sets.longest(), Guesses::new(&sets));
        let any_sign = sets.iter().any(Needles::any_sign);
        Self {
            sets,
            tenant,
            longest,
            any_sign,
            guesses,
            context: Vec::new(),
            held: Vec::new(),
            stars: Vec::new(),
            released: 0,
            covered: [0; 2],
            found: 0,
            foreign: Vec::new(),
        }
    }

    /// From here on searches for these, also in the carry-over.
    ///
    /// # Errors
    /// The response has to end here; no byte of the carry-over may pass.
    pub fn renew(&mut self, sets: Sets) -> Result<(), Guessed> {
        self.longest = sets.longest();
        self.any_sign = sets.iter().any(Needles::any_sign);
        self.guesses.renew(&sets);
        self.sets = sets;
        let before = self.context.len();
        let window = [self.context.as_slice(), &self.held].concat();
        self.mark(&window, before, before)
    }

    /// How many secrets of the record's tenant were found.
    pub fn found(&self) -> u64 {
        self.found
    }

    /// The secrets of other tenants that were found, with their number. For the records of these tenants alone.
    pub fn foreign(&self) -> &[(NeedleOwner, u64)] {
        &self.foreign
    }

    /// The length of the carry-over.
    pub fn held(&self) -> u64 {
        self.held.len() as u64
    }

    /// Consumes the next bytes; returns the bytes that may pass now, possibly none.
    ///
    /// # Errors
    /// The response has to end here; none of these bytes may pass.
    pub fn push(&mut self, chunk: Bytes) -> Result<Bytes, Guessed> {
        self.guesses.take(&chunk);
        let before = self.context.len();
        let known = before + self.held.len();
        if known == 0 && self.hits(&chunk, 0).is_empty() {
            // Most chunks: they pass without a copy, but for the carry-over.
            let cut = self.holds_back_from(&chunk, 0);
            self.held.extend_from_slice(chunk.get(cut..).unwrap_or_default());
            self.released += cut as u64;
            return Ok(chunk.slice(..cut));
        }
        let mut window = Vec::with_capacity(known + chunk.len());
        window.append(&mut self.context);
        window.append(&mut self.held);
        window.extend_from_slice(&chunk);
        self.mark(&window, before, known)?;
        let cut = self.holds_back_from(&window, before);
        self.held.extend_from_slice(window.get(cut..).unwrap_or_default());
        window.truncate(cut);
        self.cover_until(cut - before, window.get_mut(before..).unwrap_or_default());
        if cut == before {
            self.context = window;
            return Ok(Bytes::new());
        }
        self.released += (cut - before) as u64;
        Ok(Bytes::from(window).slice(before..))
    }

    /// Returns the carry-over: the upstream pauses, a message has ended, or the response has.
    ///
    /// # Errors
    /// The response has to end here: half of a secret is among too many guesses. No byte of the carry-over may pass.
    pub fn flush(&mut self) -> Result<Bytes, Guessed> {
        let before = self.context.len();
        let mut window = std::mem::take(&mut self.context);
        window.append(&mut self.held);
        for (start, end, owner, classes) in self.beginnings(&window) {
            self.guesses.check(end - start, classes)?;
            self.tally(before, start, end, owner);
            self.stars.push(start.saturating_sub(before)..end - before);
        }
        let mut passed = window.get(before..).unwrap_or_default().to_vec();
        let run = self.run_at_end(&window);
        self.context = window.split_off(window.len() - run.min(self.longest.saturating_sub(1)));
        self.cover_until(passed.len(), &mut passed);
        self.released += passed.len() as u64;
        Ok(passed.into())
    }

    /// The upstream has paused, perhaps for long: bytes that have passed are not retained.
    pub fn pause(&mut self) {
        self.guesses.count_first();
    }

    /// Counts a whole value, such as that of a header field. All values of a message are counted before the first of them
    /// is masked.
    pub fn count_whole(&mut self, value: &[u8]) {
        self.guesses.count_whole(value);
    }

    /// Masks a whole value; `None` if it does not change.
    ///
    /// # Errors
    /// No part of its message may pass.
    pub fn mask_whole(&mut self, value: &[u8]) -> Result<Option<Vec<u8>>, Guessed> {
        let hits = self.hits(value, 0);
        if hits.is_empty() {
            return Ok(None);
        }
        let mut bytes = value.to_vec();
        self.covered = [0; 2];
        for (start, end, owner, classes) in hits {
            self.guesses.check(end - start, classes)?;
            self.tally(0, start, end, owner);
            cover(&mut bytes, start..end);
        }
        self.covered = [0; 2];
        Ok(Some(bytes))
    }

    /// Whether a name, which is in lower case, contains a secret in lower case.
    pub fn is_in_name(&self, name: &str) -> bool {
        self.sets.iter().any(|set| set.is_in_lower_case(name.as_bytes()))
    }

    /// Marks matches in the window that were not visible in its earlier part.
    fn mark(&mut self, window: &[u8], before: usize, known: usize) -> Result<(), Guessed> {
        for (start, end, owner, classes) in self.hits(window, known) {
            self.guesses.check(end - start, classes)?;
            self.tally(before, start, end, owner);
            self.stars.push(start.saturating_sub(before)..end - before);
        }
        Ok(())
    }

    /// Covers the found secrets in the first bytes of the carry-over, which are about to pass. The rest of a range that goes on
    /// behind them stays marked.
    fn cover_until(&mut self, passing: usize, bytes: &mut [u8]) {
        self.stars.retain_mut(|star| {
            cover(bytes, star.start..star.end.min(passing));
            *star = star.start.saturating_sub(passing)..star.end.saturating_sub(passing);
            star.start < star.end
        });
    }

    /// Every match that ends after `known`, in order.
    fn hits(&self, bytes: &[u8], known: usize) -> Vec<(usize, usize, Option<NeedleOwner>, u8)> {
        let mut hits = Vec::new();
        for set in self.sets.iter() {
            set.find(bytes, |Hit { start, end, owner, classes }| {
                if end > known {
                    hits.push((start, end, owner.cloned(), classes));
                }
            });
        }
        hits.sort_unstable_by_key(|(start, end, ..)| (*start, *end));
        hits
    }

    /// The longest prefixes of secrets at the end of the window.
    fn beginnings(&self, window: &[u8]) -> Vec<(usize, usize, Option<NeedleOwner>, u8)> {
        let half = |length: usize| (length / 2).max(8);
        let found = self.sets.iter().filter_map(|set| set.beginning_at_end(window, half));
        found.map(|hit| (hit.start, hit.end, hit.owner.cloned(), hit.classes)).collect()
    }

    /// Counts a secret of a window that has `before` bytes of context, unless it overlaps the previous one: a pair and
    /// its password are one.
    fn tally(&mut self, before: usize, start: usize, end: usize, owner: Option<NeedleOwner>) {
        let foreign = owner.filter(|owner| owner.tenant != self.tenant);
        let [own, other] = &mut self.covered;
        let covered = if foreign.is_some() { other } else { own };
        let window = self.released.saturating_sub(before as u64);
        let (start, end) = (window + start as u64, window + end as u64);
        let is_new = start >= *covered;
        *covered = end.max(*covered);
        match foreign {
            _ if !is_new => {}
            None => self.found += 1,
            Some(owner) => match self.foreign.iter_mut().find(|(known, _)| *known == owner) {
                Some((_, count)) => *count += 1,
                None => self.foreign.push((owner, 1)),
            },
        }
    }

    /// Where the suffix of the window starts that could be a part of a secret, at the earliest after the context.
    fn holds_back_from(&self, window: &[u8], before: usize) -> usize {
        let limit = window.len().saturating_sub(self.longest.saturating_sub(1)).max(before);
        limit.max(window.len() - self.run_at_end(window))
    }

    fn run_at_end(&self, bytes: &[u8]) -> usize {
        let could = |byte: &u8| {
            if self.any_sign { matches!(byte, b'\t' | b' '..=b'~' | 0x80..) } else { is_token_character(*byte) }
        };
        bytes.iter().rev().take(self.longest).take_while(|byte| could(byte)).count()
    }
}

/// Counts the different values in a response that look like one of its secrets. These are runs of such characters that are as
/// long as the shortest secret. A longer run counts as all values that fit into it, so that joined guesses cannot hide.
///
/// Up to [`MAX_GUESSES`] values in all, they are only stored, not compared. Most responses never have more. For those that do, the
/// counter stores at most as many hashes of each class as make a secret of that class one too many.
struct Guesses {
    /// The shortest secret that could be guessed.
    shortest: usize,
    alphabet: Alphabet,
    /// The run at the end of the data, without the values that were already found in it.
    run: Vec<u8>,
    /// The first values, each after a byte with its length.
    kept: Vec<u8>,
    kept_values: u32,
    /// Set once there are too many to store.
    hashed: Option<Hashed>,
    /// The first bytes, not counted yet: most responses are one piece without a secret, and need no counting. Empty before
    /// there are any, `None` once they are counted.
    first: Option<Bytes>,
}

/// Hashes of different values.
struct Hashed {
    hasher: RandomState,
    values: HashSet<(u8, u64)>,
    /// The number of values of each class of characters.
    of_class: [u32; 8],
}

impl Guesses {
    fn new(sets: &Sets) -> Self {
        let mut guesses = Self {
            shortest: 0,
            alphabet: Alphabet::default(),
            run: Vec::new(),
            kept: Vec::new(),
            kept_values: 0,
            hashed: None,
            first: Some(Bytes::new()),
        };
        guesses.renew(sets);
        guesses
    }

    /// From here on counts values that look like one of these. Earlier counts remain.
    fn renew(&mut self, sets: &Sets) {
        self.count_first();
        self.shortest = sets.iter().map(Needles::shortest).min().unwrap_or_default().max(MIN_GUESSED);
        self.alphabet = sets.iter().map(Needles::alphabet).fold(Alphabet::default(), Alphabet::or);
    }

    /// Adds the next bytes of the body.
    fn take(&mut self, bytes: &Bytes) {
        if let Some(first) = &mut self.first
            && first.is_empty()
        {
            first.clone_from(bytes);
        } else {
            self.count_first();
            self.count(bytes);
        }
    }

    /// Counts the first bytes, if they are not counted yet.
    fn count_first(&mut self) {
        if let Some(first) = self.first.take_if(|first| !first.is_empty()) {
            self.count(&first);
        }
    }

    /// Scans the next bytes of the body.
    fn count(&mut self, bytes: &[u8]) {
        if self.hashed.as_ref().is_some_and(Hashed::is_full) {
            return;
        }
        let (shortest, alphabet) = (self.shortest, self.alphabet);
        let run = |bytes: &[u8]| bytes.iter().take_while(|byte| alphabet.has(**byte)).count();
        let mut at = 0;
        if !self.run.is_empty() {
            at = run(bytes);
            self.extend_run(bytes.get(..at).unwrap_or_default());
            if at == bytes.len() {
                return;
            }
            self.end_run();
        }
        while let Some(window) = bytes.get(at..at + shortest) {
            // From the end of the shortest value backwards: most text is skipped in steps of its length.
            if let Some(other) = window.iter().rposition(|byte| !alphabet.has(*byte)) {
                at += other + 1;
                continue;
            }
            let rest = bytes.get(at..).unwrap_or_default();
            let length = shortest + run(rest.get(shortest..).unwrap_or_default());
            let found = rest.get(..length).unwrap_or_default();
            if length == rest.len() {
                self.extend_run(found);
                return;
            }
            // Most runs are one value and need no copy.
            if length < 2 * shortest {
                self.add(found);
            } else {
                self.extend_run(found);
                self.end_run();
            }
            at += length + 1;
        }
        let rest = bytes.get(at..).unwrap_or_default();
        let length = rest.iter().rev().take_while(|byte| alphabet.has(**byte)).count();
        self.run.extend_from_slice(rest.get(rest.len() - length..).unwrap_or_default());
    }

    /// Scans a whole value.
    fn count_whole(&mut self, bytes: &[u8]) {
        if bytes.len() >= self.shortest {
            self.count_first();
            self.end_run();
            self.count(bytes);
            self.end_run();
        }
    }

    /// More of a run. Its last value is the rest after the others, so up to twice as long, and known when the run ends.
    fn extend_run(&mut self, mut bytes: &[u8]) {
        let shortest = self.shortest;
        while self.run.len() + bytes.len() >= 2 * shortest {
            if self.run.is_empty() {
                let (value, rest) = bytes.split_at(shortest);
                self.add(value);
                bytes = rest;
                continue;
            }
            let (more, rest) = bytes.split_at(shortest.saturating_sub(self.run.len()));
            let mut run = std::mem::take(&mut self.run);
            run.extend_from_slice(more);
            self.add(run.get(..shortest).unwrap_or_default());
            run.drain(..shortest.min(run.len()));
            (self.run, bytes) = (run, rest);
        }
        self.run.extend_from_slice(bytes);
    }

    fn end_run(&mut self) {
        if self.run.len() >= self.shortest {
            let mut run = std::mem::take(&mut self.run);
            self.add(&run);
            run.clear();
            self.run = run;
        }
        self.run.clear();
    }

    fn add(&mut self, value: &[u8]) {
        if let Some(hashed) = &mut self.hashed {
            hashed.add(value);
        } else if let Ok(length) = u8::try_from(value.len())
            && self.kept_values < MAX_GUESSES
        {
            if self.kept.is_empty() {
                // A page has dozens of such values, so the first allocation is not the smallest.
                self.kept.reserve(512);
            }
            self.kept_values += 1;
            self.kept.push(length);
            self.kept.extend_from_slice(value);
        } else {
            let mut hashed = Hashed { hasher: RandomState::new(), values: HashSet::new(), of_class: [0; 8] };
            let kept = std::mem::take(&mut self.kept);
            let mut rest = kept.as_slice();
            while let Some((length, values)) = rest.split_first() {
                let (value, values) = values.split_at(usize::from(*length).min(values.len()));
                hashed.add(value);
                rest = values;
            }
            hashed.add(value);
            self.hashed = Some(hashed);
        }
    }

    /// Whether a secret of this length and these classes of characters may be shown in addition to the counted values.
    fn check(&mut self, length: usize, classes: u8) -> Result<(), Guessed> {
        self.count_first();
        let Some(hashed) = &self.hashed else { return Ok(()) };
        if length >= MIN_GUESSED && hashed.like(classes) > MAX_GUESSES { Err(Guessed) } else { Ok(()) }
    }
}

impl Hashed {
    fn add(&mut self, value: &[u8]) {
        let class = classes_of(value);
        let Some(count) = self.of_class.get_mut(usize::from(class & 7)) else { return };
        if *count <= MAX_GUESSES && self.values.insert((class, self.hasher.hash_one(value))) {
            *count += 1;
        }
    }

    /// How many values contain at least these classes of characters.
    fn like(&self, classes: u8) -> u32 {
        let like = (0u8..).zip(self.of_class).filter(|(class, _)| class & classes == classes);
        like.map(|(_, count)| count).sum()
    }

    /// Whether a secret of any class is one too many.
    fn is_full(&self) -> bool {
        self.like(7) > MAX_GUESSES
    }
}

fn cover(bytes: &mut [u8], range: Range<usize>) {
    if let Some(secret) = bytes.get_mut(range) {
        secret.fill(STAR);
    }
}

#[cfg(test)]
#[path = "stream/tests.rs"]
mod tests;
