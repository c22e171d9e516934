//! Finds secrets in a stream of bytes, however it is cut, and writes stars over them at the same length.
//!
//! What is held back, and when it is released, never depends on whether it matches a secret: a client that can make an upstream
//! echo its guesses would otherwise read the secret from it, byte by byte.
//!
//! *Held back* is the end of the data as far as it is made of characters of tokens, and less than the longest secret of it. A line, a
//! JSON value or an event ends with another character and passes at once. *Released* is all of it as soon as a message ends or the
//! upstream pauses ([`Masker::flush`]). Then a secret that the upstream sends in two parts would have left in part, so:
//!
//! - What was released stays known as context. When the rest arrives and completes a secret, the rest is masked.
//! - Where the released bytes end with more than half of a secret (and more than 8 bytes), that part is masked too.
//!
//! So at most the first half of a secret, or 8 bytes, passes in clear, however often and wherever the upstream pauses; and guesses
//! are confirmed from half of a secret on, which leaves as much to guess as has been protected.
//!
//! *Guesses.* That a value is masked tells whoever chose it that it is the secret. So a chunk that holds a secret is not sent at all,
//! and the response ends before it, once the response has shown more than [`MAX_GUESSES`] different values that look like the secret.
//! Only a response that does hold a secret can end like that.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use model::TenantId;
use thiserror::Error;
use vault::{Hit, NeedleOwner, Needles, is_token_character};

/// The byte forms of secrets that were made for one request.
pub(crate) type Patterns = Vec<zeroize::Zeroizing<Vec<u8>>>;

/// What a found secret is replaced with, byte by byte.
const STAR: u8 = b'*';
/// How many values that look like a secret a response may show beside it.
pub(crate) const MAX_GUESSES: u32 = 100;
/// Secrets below this length are weak: no bound on guesses would help, and it would end ordinary responses.
const MIN_GUESSED: usize = 8;
/// Of a response without a secret in it, as much is looked at for guesses.
const MAX_COUNTED_BYTES: usize = 1 << 20;

/// A response holds a secret among many values that look like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the response holds a secret among many values that look like it")]
pub(crate) struct Guessed;

/// Masks one response.
pub(crate) struct Masker {
    sets: Vec<Arc<Needles>>,
    /// Whose record counts what is found.
    tenant: TenantId,
    /// The longest form.
    longest: usize,
    /// Whether a form holds characters beyond those of tokens.
    any_sign: bool,
    /// The end of what was released before its time, as it came.
    context: Vec<u8>,
    /// The end of what came so far, where a secret may have begun.
    held: Vec<u8>,
    /// Which of the held bytes belong to a secret that was found already.
    stars: Vec<bool>,
    /// How many bytes were released.
    released: u64,
    /// Where the last secret of the record's tenant ended, and of any other.
    covered: [u64; 2],
    found: u64,
    /// What was found of other tenants, with how often.
    foreign: Vec<(NeedleOwner, u64)>,
    guesses: Guesses,
}

impl Masker {
    /// Masks what is in these sets; `tenant` is whose record counts it.
    pub(crate) fn new(sets: Vec<Arc<Needles>>, tenant: TenantId) -> Self {
        let longest = sets.iter().map(|set| set.longest()).max().unwrap_or_default();
        let any_sign = sets.iter().any(|set| set.any_sign());
        let guesses = Guesses::new(&sets);
        Self {
            sets,
            tenant,
            longest,
            any_sign,
            context: Vec::new(),
            held: Vec::new(),
            stars: Vec::new(),
            released: 0,
            covered: [0; 2],
            found: 0,
            foreign: Vec::new(),
            guesses,
        }
    }

    /// How many secrets of the record's tenant were found so far.
    pub(crate) fn found(&self) -> u64 {
        self.found
    }

    /// What was found of other tenants' secrets, with how often. For the records of these tenants alone.
    pub(crate) fn foreign(&self) -> &[(NeedleOwner, u64)] {
        &self.foreign
    }

    /// How many bytes are held back.
    pub(crate) fn held(&self) -> u64 {
        self.held.len() as u64
    }

    /// Takes the next bytes; gives what may pass now, which can be empty.
    ///
    /// # Errors
    /// Where the response ends here; nothing of these bytes may pass.
    pub(crate) fn push(&mut self, chunk: Bytes) -> Result<Bytes, Guessed> {
        self.guesses.count(&chunk);
        if self.held.is_empty() && self.context.is_empty() && self.holds_back_from(&chunk, 0) == chunk.len() {
            let hits = self.hits(&chunk, 0);
            if hits.is_empty() {
                self.released += chunk.len() as u64;
                return Ok(chunk);
            }
        }
        let before = self.context.len();
        let known = before + self.held.len();
        let mut window = std::mem::take(&mut self.context);
        window.append(&mut self.held);
        window.extend_from_slice(&chunk);
        self.stars.resize(window.len() - before, false);
        self.mark(&window, before, known)?;
        let cut = self.holds_back_from(&window, before);
        self.held = window.split_off(cut);
        let tail = self.stars.split_off(cut - before);
        let stars = std::mem::replace(&mut self.stars, tail);
        let mut passed = window.split_off(before);
        if passed.is_empty() {
            self.context = window;
        }
        cover(&mut passed, &stars);
        self.released += passed.len() as u64;
        Ok(passed.into())
    }

    /// Gives what is held back: the upstream pauses, a message has ended, or the response has.
    pub(crate) fn flush(&mut self) -> Bytes {
        let before = self.context.len();
        let mut window = std::mem::take(&mut self.context);
        window.append(&mut self.held);
        let mut stars = std::mem::take(&mut self.stars);
        for (start, end, owner) in self.beginnings(&window) {
            self.tally(before, start, end, owner);
            stars.iter_mut().take(end - before).skip(start.saturating_sub(before)).for_each(|star| *star = true);
        }
        let mut passed = window.get(before..).unwrap_or_default().to_vec();
        let run = self.run_at_end(&window);
        self.context = window.split_off(window.len() - run.min(self.longest.saturating_sub(1)));
        cover(&mut passed, &stars);
        self.released += passed.len() as u64;
        passed.into()
    }

    /// Masks values that are whole, such as those of header fields, all of one message at once.
    ///
    /// # Errors
    /// Where none of them may pass.
    pub(crate) fn mask_whole(&mut self, values: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, Guessed> {
        values.iter().for_each(|value| self.guesses.count(value));
        values.iter().map(|value| self.whole(value)).collect()
    }

    fn whole(&mut self, value: &[u8]) -> Result<Option<Vec<u8>>, Guessed> {
        let mut stars = vec![false; value.len()];
        let hits = self.hits(value, 0);
        if hits.is_empty() {
            return Ok(None);
        }
        self.covered = [0; 2];
        for (start, end, owner, classes) in hits {
            self.guesses.check(end - start, classes)?;
            self.tally(0, start, end, owner);
            stars.iter_mut().take(end).skip(start).for_each(|star| *star = true);
        }
        self.covered = [0; 2];
        let mut bytes = value.to_vec();
        cover(&mut bytes, &stars);
        Ok(Some(bytes))
    }

    /// Whether a name, which is in lower case, holds a secret in lower case.
    pub(crate) fn is_in_name(&self, name: &str) -> bool {
        self.sets.iter().any(|set| set.is_in_lower_case(name.as_bytes()))
    }

    /// Marks what was found in the window and was not known when less of it was there.
    fn mark(&mut self, window: &[u8], before: usize, known: usize) -> Result<(), Guessed> {
        for (start, end, owner, classes) in self.hits(window, known) {
            self.guesses.check(end - start, classes)?;
            self.tally(before, start, end, owner);
            self.stars.iter_mut().take(end - before).skip(start.saturating_sub(before)).for_each(|star| *star = true);
        }
        Ok(())
    }

    /// Everything that ends behind `known`, in order.
    fn hits(&self, bytes: &[u8], known: usize) -> Vec<(usize, usize, Option<NeedleOwner>, u8)> {
        let mut hits = Vec::new();
        for set in &self.sets {
            set.find(bytes, |Hit { start, end, owner, classes }| {
                if end > known {
                    hits.push((start, end, owner.cloned(), classes));
                }
            });
        }
        hits.sort_unstable_by_key(|(start, end, ..)| (*start, *end));
        hits
    }

    /// The longest beginnings of secrets that the window ends with.
    fn beginnings(&self, window: &[u8]) -> Vec<(usize, usize, Option<NeedleOwner>)> {
        let half = |length: usize| (length / 2).max(8);
        let found = self.sets.iter().filter_map(|set| set.beginning_at_end(window, half));
        found.map(|hit| (hit.start, hit.end, hit.owner.cloned())).collect()
    }

    /// Counts a secret of a window that has `before` bytes of context, unless it overlaps the one before: a pair and the
    /// password in it are one.
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

    /// Where the end of the window begins that could be a piece of some secret, at the earliest behind the context.
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

/// Counts the different values in a response that look like one of its secrets.
struct Guesses {
    /// The shortest secret to guess.
    shortest: usize,
    sets: Vec<Arc<Needles>>,
    hasher: std::hash::RandomState,
    values: HashSet<(u8, u64)>,
    /// How many there are of each class of characters.
    of_class: [u32; 8],
    counted: usize,
}

impl Guesses {
    fn new(sets: &[Arc<Needles>]) -> Self {
        let shortest = sets.iter().map(|set| set.shortest()).min().unwrap_or_default().max(MIN_GUESSED);
        let (hasher, values) = (std::hash::RandomState::new(), HashSet::new());
        Self { shortest, sets: sets.to_vec(), hasher, values, of_class: [0; 8], counted: 0 }
    }

    /// Looks at the next bytes. A value that is cut in two counts as its parts, if they are long enough.
    fn count(&mut self, bytes: &[u8]) {
        let limit = MAX_COUNTED_BYTES.saturating_sub(self.counted).max(self.shortest);
        self.counted = self.counted.saturating_add(bytes.len());
        let bytes = bytes.get(..limit).unwrap_or(bytes);
        let is_in = |at: usize| bytes.get(at).is_some_and(|byte| self.sets.iter().any(|set| set.can_hold(*byte)));
        let mut at = 0;
        let mut found: Vec<(usize, usize)> = Vec::new();
        while at + self.shortest <= bytes.len() {
            // From the end of the shortest value backwards: most text is passed in steps of its length.
            let mut start = at + self.shortest;
            while start > at && is_in(start - 1) {
                start -= 1;
            }
            if start > at {
                at = start;
                continue;
            }
            let mut end = at + self.shortest;
            while is_in(end) {
                end += 1;
            }
            found.push((at, end));
            at = end + 1;
        }
        for (start, end) in found {
            self.add(bytes.get(start..end).unwrap_or_default());
        }
    }

    /// A run of such characters is as many values as fit into it.
    fn add(&mut self, run: &[u8]) {
        use std::hash::BuildHasher as _;
        for value in run.chunks_exact(self.shortest) {
            let class = vault::classes_of(value);
            let Some(count) = self.of_class.get_mut(usize::from(class & 7)) else { continue };
            if *count <= MAX_GUESSES && self.values.insert((class, self.hasher.hash_one(value))) {
                *count += 1;
            }
        }
    }

    /// Whether a secret of this length and these classes of characters may show beside what was counted.
    fn check(&self, length: usize, classes: u8) -> Result<(), Guessed> {
        let like = (0u8..).zip(self.of_class).filter(|(class, _)| class & classes == classes);
        let values: u32 = like.map(|(_, count)| count).sum();
        if length >= MIN_GUESSED && values > MAX_GUESSES { Err(Guessed) } else { Ok(()) }
    }
}

fn cover(bytes: &mut [u8], stars: &[bool]) {
    for (byte, star) in bytes.iter_mut().zip(stars) {
        if *star {
            *byte = STAR;
        }
    }
}

#[cfg(test)]
#[path = "mask/tests.rs"]
mod tests;
