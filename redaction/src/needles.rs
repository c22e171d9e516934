//! The values to mask in responses of one host, and the search for them. Both the values and the tables of the search are in
//! the arena, because common tables would be a copy of the values on ordinary pages.
//!
//! The search hashes a window of at most 8 bytes at every `stride`-th position of the data. Each value is entered with its first
//! `stride` windows. So wherever it begins, exactly one of its windows is at such a position. A bit map excludes most windows; a
//! window that passes it is looked up and compared in full. The stride is 32 for values of 39 bytes and more, and shorter for
//! shorter values and for many of them, but 8 for any number of values of 15 bytes and more. So the cost is between a
//! thirty-second and an eighth of a hash per byte.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use model::{CredentialId, TenantId, Timestamp};
use zeroize::Zeroizing;

use secret::{NeedleOwner, RngUnavailable, Secret, SecretForms, Slot, random};

/// The longest window.
const WINDOW: usize = 8;
/// The longest stride, and the most windows with one that is longer than a window: the tables of a host take about
/// twelve bytes for each of them.
const STRIDE: usize = 32;
const MANY_WINDOWS: usize = 4096;
/// The least and the most bits of the map, as powers of two.
const MAP_BITS: (u32, u32) = (12, 20);
/// Bits of the map for each entered window.
const BITS_PER_WINDOW: usize = 32;

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alphabet([u64; 4]);

impl Alphabet {
    /// Whether it contains this byte.
    pub fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }

    /// The bytes of both.
    pub fn or(self, other: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([a | e, b | f, c | g, d | h])
    }

    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }
}

/// A match.
#[derive(Clone, Copy, Debug)]
pub struct Hit<'n> {
    /// Its start.
    pub start: usize,
    /// Its end.
    pub end: usize,
    /// Its owner; `None` for a form that was made for one request.
    pub owner: Option<&'n NeedleOwner>,
    /// The classes of characters in it, as [`classes_of`] counts them.
    pub classes: u8,
}

/// The values to find, all of one host. `Debug` shows their number.
pub struct Needles {
    opened: Vec<Arc<SecretForms>>,
    /// Each form, by its index in `opened` and within that.
    forms: Vec<(u32, u32)>,
    window: usize,
    stride: usize,
    multiplier: u64,
    map_bits: u32,
    map: Slot,
    /// Sorted records of 8 bytes: a tag of the window, the form, the offset of the window in it.
    table: Slot,
    shortest: usize,
    longest: usize,
    any_sign: bool,
    alphabet: Alphabet,
    valid_until: Option<Timestamp>,
}

impl Needles {
    /// Needles of these forms, which were made for one request.
    ///
    /// # Errors
    /// [`RngUnavailable`].
    pub fn of_request(forms: Vec<Zeroizing<Vec<u8>>>) -> Result<Option<Self>, RngUnavailable> {
        let forms: Vec<Secret> =
            forms.iter().filter(|form| !form.is_empty()).map(|form| Secret::new(form.to_vec())).collect();
        let nobody = NeedleOwner { tenant: TenantId::from(""), credential: CredentialId::new(""), version: 0 };
        Self::new(vec![Arc::new(SecretForms { owner: nobody, forms })], None)
    }

    /// `None` if there are no values to find.
    ///
    /// # Errors
    /// [`RngUnavailable`].
    pub fn new(opened: Vec<Arc<SecretForms>>, valid_until: Option<Timestamp>) -> Result<Option<Self>, RngUnavailable> {
        let count = |one: &Arc<SecretForms>| u32::try_from(one.forms.len()).unwrap_or(u32::MAX);
        let mut forms = Vec::new();
        for (number, one) in (0u32..).zip(&opened) {
            forms.extend((0..count(one)).map(|form| (number, form)));
        }
        let lengths = || opened.iter().flat_map(|one| &one.forms).map(Secret::len);
        let (Some(shortest), Some(longest)) = (lengths().min(), lengths().max()) else { return Ok(None) };
        let window = shortest.min(WINDOW);
        let longest_stride = (MANY_WINDOWS / forms.len()).clamp(WINDOW, STRIDE);
        let stride = (shortest - window + 1).min(longest_stride);
        let windows = forms.len() * stride;
        let map_bits = (windows * BITS_PER_WINDOW).next_power_of_two().ilog2().clamp(MAP_BITS.0, MAP_BITS.1);
        let mut needles = Self {
            opened,
            forms,
            window,
            stride,
            // Odd, and unknown to an attacker who chooses the data.
            multiplier: u64::from_le_bytes(random()?) | 1,
            map_bits,
            map: Slot::new(1 << (map_bits - 3)),
            table: Slot::new(windows * 8),
            shortest,
            longest,
            any_sign: false,
            alphabet: Alphabet::default(),
            valid_until,
        };
        needles.fill();
        Ok(Some(needles))
    }

    /// How many forms there are.
    pub fn len(&self) -> usize {
        self.forms.len()
    }

    /// Never true for a constructed value.
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// The bytes of the shortest form.
    pub fn shortest(&self) -> usize {
        self.shortest
    }

    /// The bytes of the longest form.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Whether a form contains characters that tokens do not.
    pub fn any_sign(&self) -> bool {
        self.any_sign
    }

    /// The characters of a value that looks like one of these: letters, digits, `-`, `_`, and other token characters that
    /// occur in any of them.
    pub fn alphabet(&self) -> Alphabet {
        self.alphabet
    }

    /// Whether a text in lower case contains a form, in any case.
    pub fn is_in_lower_case(&self, text: &[u8]) -> bool {
        let count = u32::try_from(self.forms.len()).unwrap_or(u32::MAX);
        let fits = |form: &[u8]| text.windows(form.len().max(1)).any(|window| window.eq_ignore_ascii_case(form));
        text.len() >= self.shortest && (0..count).any(|form| fits(self.form(form)))
    }

    /// Whether these contain every value of the other, if both are of one vault.
    pub fn covers(&self, other: &Self) -> bool {
        let mine: HashSet<*const SecretForms> = self.opened.iter().map(Arc::as_ptr).collect();
        other.opened.iter().all(|one| mine.contains(&Arc::as_ptr(one)))
    }

    /// Whether it still matches the vault: a version's grace time may be over.
    pub fn is_valid(&self, now: impl FnOnce() -> Timestamp) -> bool {
        self.valid_until.is_none_or(|until| until > now())
    }

    /// The bytes of the search's own tables.
    pub fn table_bytes(&self) -> usize {
        self.map.len() + self.table.len()
    }

    /// Whether exactly these bytes are one of the forms.
    pub fn is_form(&self, bytes: &[u8]) -> bool {
        let mut whole = false;
        self.find(bytes, |hit| whole |= hit.start == 0 && hit.end == bytes.len());
        whole
    }

    /// Calls `found` for each occurrence, including overlapping ones, in no particular order.
    pub fn find<'n>(&'n self, bytes: &[u8], mut found: impl FnMut(Hit<'n>)) {
        // Most field values are shorter than any secret.
        if bytes.len() < self.shortest {
            return;
        }
        let mut position = 0;
        while let Some(window) = bytes.get(position..position + self.window) {
            let hash = self.hash(window);
            if self.may_be(hash) {
                self.compare(bytes, position, hash, &mut found);
            }
            position += self.stride;
        }
    }

    /// Compares the forms that contain a window of this hash with the bytes around it.
    #[inline(never)]
    fn compare<'n>(&'n self, bytes: &[u8], position: usize, hash: u64, found: &mut impl FnMut(Hit<'n>)) {
        for (form, offset) in self.records(hash) {
            let Some(start) = position.checked_sub(offset) else { continue };
            let needle = self.form(form);
            if bytes.get(start..).is_some_and(|rest| rest.starts_with(needle)) {
                found(self.hit(form, start, start + needle.len(), needle));
            }
        }
    }

    /// The start of the longest proper prefix of a form that `bytes` end with. The prefix must be longer than `at_least`
    /// returns for a form of that length.
    pub fn beginning_at_end(&self, bytes: &[u8], at_least: impl Fn(usize) -> usize) -> Option<Hit<'_>> {
        let from = bytes.len().saturating_sub(self.longest.saturating_sub(1));
        let tail = bytes.get(from..).unwrap_or_default();
        for (at, window) in tail.windows(self.window).enumerate() {
            let hash = self.hash(window);
            if !self.may_be(hash) {
                continue;
            }
            let rest = tail.get(at..).unwrap_or_default();
            for (form, offset) in self.records(hash) {
                let needle = self.form(form);
                if offset == 0
                    && rest.len() < needle.len()
                    && rest.len() > at_least(needle.len())
                    && needle.starts_with(rest)
                {
                    return Some(self.hit(form, from + at, bytes.len(), needle));
                }
            }
        }
        None
    }

    fn hit(&self, form: u32, start: usize, end: usize, needle: &[u8]) -> Hit<'_> {
        let owner = self.owner(form).filter(|owner| !owner.credential.as_str().is_empty());
        Hit { start, end, owner, classes: classes_of(needle) }
    }

    fn owner(&self, form: u32) -> Option<&NeedleOwner> {
        let (one, _) = self.forms.get(form as usize)?;
        self.opened.get(*one as usize).map(|one| &one.owner)
    }

    #[expect(clippy::disallowed_methods, reason = "the values are compared with what comes back from their host")]
    fn form(&self, form: u32) -> &[u8] {
        let place = self.forms.get(form as usize);
        let form = place.and_then(|(one, form)| self.opened.get(*one as usize)?.forms.get(*form as usize));
        form.map(Secret::expose_secret).unwrap_or_default()
    }

    fn fill(&mut self) {
        let mut records: Zeroizing<Vec<u64>> = Zeroizing::new(Vec::with_capacity(self.forms.len() * self.stride));
        let mut bits: Zeroizing<Vec<usize>> = Zeroizing::new(Vec::with_capacity(records.capacity()));
        let count = u32::try_from(self.forms.len()).unwrap_or(u32::MAX);
        let mut alphabet = Alphabet::default();
        for form in 0..count {
            let needle = self.form(form);
            // The encodings contain `%` and `\\`.
            let in_tokens = |byte: &&u8| is_token_character(**byte) && !matches!(**byte, b'%' | b'\\');
            needle.iter().filter(in_tokens).for_each(|byte| alphabet.insert(*byte));
            let any_sign = !needle.iter().all(|byte| is_token_character(*byte));
            for (offset, window) in needle.windows(self.window).take(self.stride).enumerate() {
                let hash = self.hash(window);
                bits.push(self.bit(hash));
                records.push(tag(hash) << 32 | u64::from(form & 0x00ff_ffff) << 8 | offset as u64);
            }
            self.any_sign |= any_sign;
        }
        let common = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (0..=255u8).filter(common).for_each(|byte| alphabet.insert(byte));
        self.alphabet = alphabet;
        records.sort_unstable();
        for (place, record) in self.table.chunks_exact_mut(8).zip(records.iter()) {
            place.copy_from_slice(&record.to_le_bytes());
        }
        for bit in bits.iter() {
            if let Some(byte) = self.map.get_mut(bit >> 3) {
                *byte |= 1 << (bit & 7);
            }
        }
    }

    fn hash(&self, window: &[u8]) -> u64 {
        let key = if let Ok(eight) = <[u8; WINDOW]>::try_from(window) {
            u64::from_le_bytes(eight)
        } else {
            window.iter().rev().fold(0, |key, byte| key << 8 | u64::from(*byte))
        };
        // Multiplication carries no bits downwards, and the map is indexed by the high bits.
        let mixed = key.wrapping_mul(self.multiplier);
        (mixed ^ (mixed >> 29)).wrapping_mul(self.multiplier)
    }

    fn bit(&self, hash: u64) -> usize {
        (hash >> (64 - self.map_bits)) as usize
    }

    fn may_be(&self, hash: u64) -> bool {
        let bit = self.bit(hash);
        self.map.get(bit >> 3).is_some_and(|byte| byte & 1 << (bit & 7) != 0)
    }

    /// The forms that contain a window of this hash, and its offset in them.
    fn records(&self, hash: u64) -> impl Iterator<Item = (u32, usize)> {
        let wanted = tag(hash);
        let (records, _) = self.table.as_chunks::<8>();
        let begin = records.partition_point(|record| u64::from_le_bytes(*record) >> 32 < wanted);
        let rest = records.get(begin..).unwrap_or_default().iter().map(|record| u64::from_le_bytes(*record));
        rest.take_while(move |record| record >> 32 == wanted)
            .map(|record| ((record >> 8 & 0x00ff_ffff) as u32, (record & 0xff) as usize))
    }
}

fn tag(hash: u64) -> u64 {
    hash & 0xffff_ffff
}

/// The characters of tokens, in their common forms.
pub fn is_token_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=:%@!$*&\\".contains(&byte)
}

/// Which of lower case (1), upper case (2) and digits (4) the text contains.
pub fn classes_of(text: &[u8]) -> u8 {
    text.iter().fold(0, |classes, byte| {
        classes
            | u8::from(byte.is_ascii_lowercase())
            | u8::from(byte.is_ascii_uppercase()) << 1
            | u8::from(byte.is_ascii_digit()) << 2
    })
}

impl fmt::Debug for Needles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Needles({} forms)", self.forms.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn needles(forms: &[&[u8]]) -> Needles {
        Needles::of_request(forms.iter().map(|form| form.to_vec().into()).collect()).unwrap().unwrap()
    }

    fn all(needles: &Needles, bytes: &[u8]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        needles.find(bytes, |hit| found.push((hit.start, hit.end)));
        found.sort_unstable();
        found
    }

    #[test]
    fn found_at_every_place_once() {
        for length in 1..60 {
            let form: Vec<u8> = (0..length).map(|n| b'a' + n as u8).collect();
            let needles = needles(&[&form]);
            for front in 0..40 {
                for back in 0..3 {
                    let text = [vec![b'#'; front], form.clone(), vec![b'#'; back]].concat();
                    assert_eq!(all(&needles, &text), [(front, front + length)], "{length} bytes at {front}");
                    assert_eq!(all(&needles, &text[..text.len() - back - 1]), [], "cut short");
                }
            }
        }
    }

    #[test]
    fn the_stride_is_as_long_as_the_shortest_value_and_the_tables_allow() {
        let stride = |length: usize, count: usize| {
            let forms: Vec<Vec<u8>> = (0..count).map(|n| format!("{n:0length$}").into_bytes()).collect();
            needles(&forms.iter().map(Vec::as_slice).collect::<Vec<_>>()).stride
        };
        assert_eq!([stride(4, 1), stride(8, 1), stride(15, 1), stride(30, 1), stride(39, 1)], [1, 1, 8, 23, 32]);
        assert_eq!([stride(80, 1), stride(80, 128), stride(80, 256), stride(80, 5000)], [32, 32, 16, 8]);
        assert_eq!(stride(4, 5000), 1);
    }

    #[test]
    fn the_longest_beginning_is_found() {
        let needles = needles(&[b"0123456789abcdef", b"89abcdefghijklmnopqr"]);
        let at = |text: &[u8], least: usize| needles.beginning_at_end(text, |_| least).map(|hit| hit.start);
        assert_eq!(at(b"xx0123456789", 8), Some(2));
        assert_eq!(at(b"xx0123456789abc", 8), Some(2), "the longer of two");
        assert_eq!(at(b"xx01234567", 8), None, "too short");
        assert_eq!(at(b"xx0123456789x", 8), None);
        assert_eq!(at(b"0123456789abcdef", 8), None, "a whole form is no beginning, and no more than 8 of the other");
        assert_eq!(at(b"0123456789abcdefg", 8), Some(8));
    }

    #[test]
    fn classes_are_counted() {
        assert_eq!([classes_of(b"-_"), classes_of(b"ab1"), classes_of(b"A"), classes_of(b"aB1")], [0, 5, 2, 7]);
    }

    proptest! {
        #[test]
        fn finds_what_a_plain_search_finds(
            text in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b')], 0..120),
            forms in proptest::collection::vec(proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b')], 1..20), 1..6),
        ) {
            let forms: Vec<&[u8]> = forms.iter().map(Vec::as_slice).collect();
            let needles = needles(&forms);
            let mut plain = Vec::new();
            for form in &forms {
                plain.extend((0..text.len()).filter(|at| text[*at..].starts_with(form)).map(|at| (at, at + form.len())));
            }
            plain.sort_unstable();
            prop_assert_eq!(all(&needles, &text), plain);
        }
    }
}
