//! The fields of one message, in the order and the spelling of their sender (RFC 9110 section 5).
//!
//! All decisions see names in lower case. Only [`Fields::lines`], for writing HTTP/1, has the spelling of the sender, so no decision
//! can depend on it. HTTP/2 has lower case only (RFC 9113 section 8.2.1).

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The capacity of new storage, in lines; most heads have fewer.
const LINES: usize = 24;

/// Storage with more lines than this is freed instead of reused.
const MAX_REUSED_LINES: usize = 96;

/// How many pieces of storage a thread keeps for reuse.
const MAX_STORES: usize = 64;

thread_local! {
    /// Storage of earlier heads, empty.
    static STORES: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// One field line.
struct Line {
    name: HeaderName,
    /// The name as its sender wrote it, if that is not in lower case.
    spelling: Option<Bytes>,
    value: HeaderValue,
    /// Whether a line before it has the same name.
    repeats: bool,
}

/// The fields of a head or of trailers. Its storage is reused within a thread.
#[derive(Default)]
pub struct Fields {
    lines: Vec<Line>,
}

/// A name to look up.
pub trait Named {
    /// Whether it is this name.
    fn is(&self, name: &HeaderName) -> bool;
}

impl Named for HeaderName {
    fn is(&self, name: &HeaderName) -> bool {
        self == name
    }
}

/// In lower case.
impl Named for str {
    fn is(&self, name: &HeaderName) -> bool {
        name.as_str() == self
    }
}

impl<N: Named + ?Sized> Named for &N {
    fn is(&self, name: &HeaderName) -> bool {
        (**self).is(name)
    }
}

impl Fields {
    /// No fields.
    #[must_use]
    pub const fn new() -> Self {
        Self { lines: Vec::new() }
    }

    /// The number of lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are no fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Adds a line after all others.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.push(name, None, value);
    }

    /// Adds a line with the spelling of its sender, which has the same letters as `name`.
    pub fn append_as_sent(&mut self, name: HeaderName, spelling: Bytes, value: HeaderValue) {
        let spelling = Some(spelling).filter(|spelling| spelling != name.as_str());
        debug_assert!(spelling.as_ref().is_none_or(|spelling| spelling.eq_ignore_ascii_case(name.as_ref())));
        self.push(name, spelling, value);
    }

    fn push(&mut self, name: HeaderName, spelling: Option<Bytes>, value: HeaderValue) {
        if self.lines.capacity() == 0 {
            self.lines = STORES.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(LINES));
        }
        let repeats = self.lines.iter().any(|line| line.name == name);
        self.lines.push(Line { name, spelling, value, repeats });
    }

    /// Sets the one line of this name: at the place and in the spelling of the first one, else after all others. Returns the former
    /// first value.
    pub fn insert(&mut self, name: HeaderName, value: HeaderValue) -> Option<HeaderValue> {
        let Some(at) = self.lines.iter().position(|line| line.name == name) else {
            self.append(name, value);
            return None;
        };
        let mut nth = 0;
        self.lines.retain(|line| {
            nth += 1;
            nth <= at + 1 || line.name != name
        });
        self.lines.get_mut(at).map(|line| std::mem::replace(&mut line.value, value))
    }

    /// As [`Self::insert`], but a new line comes before all others, where a server expects Host (RFC 9110 section 7.2).
    pub fn insert_first(&mut self, name: HeaderName, value: HeaderValue) {
        let last = self.lines.len();
        self.insert(name, value);
        if self.lines.len() > last {
            self.lines.rotate_right(1);
        }
    }

    /// Removes all lines of this name; returns the value of the first.
    pub fn remove(&mut self, name: impl Named) -> Option<HeaderValue> {
        let at = self.lines.iter().position(|line| name.is(&line.name))?;
        let first = self.lines.remove(at);
        self.lines.retain(|line| !name.is(&line.name));
        Some(first.value)
    }

    /// The first value of this name.
    #[must_use]
    pub fn get(&self, name: impl Named) -> Option<&HeaderValue> {
        self.lines.iter().find(|line| name.is(&line.name)).map(|line| &line.value)
    }

    /// The values of this name, in their order.
    pub fn get_all<N: Named>(&self, name: N) -> impl Iterator<Item = &HeaderValue> + use<'_, N> {
        self.lines.iter().filter(move |line| name.is(&line.name)).map(|line| &line.value)
    }

    /// Whether there is a line of this name.
    #[must_use]
    pub fn contains(&self, name: impl Named) -> bool {
        self.lines.iter().any(|line| name.is(&line.name))
    }

    /// Every line.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.lines.iter().map(|line| (&line.name, &line.value))
    }

    /// Every line, with a value that can be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&HeaderName, &mut HeaderValue)> {
        self.lines.iter_mut().map(|line| (&line.name, &mut line.value))
    }

    /// Every line, with the number of earlier lines of its name.
    pub fn iter_numbered(&self) -> impl Iterator<Item = (&HeaderName, usize, &HeaderValue)> {
        self.lines.iter().enumerate().map(|(at, line)| {
            let nth = if line.repeats {
                self.lines.iter().take(at).filter(|other| other.name == line.name).count()
            } else {
                0
            };
            (&line.name, nth, &line.value)
        })
    }

    /// Each name once.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.lines.iter().filter(|line| !line.repeats).map(|line| &line.name)
    }

    /// Removes all lines for whose name this is true; returns each name once.
    pub fn remove_named(&mut self, mut is_removed: impl FnMut(&HeaderName) -> bool) -> Vec<HeaderName> {
        let mut removed: Vec<HeaderName> = Vec::new();
        self.lines.retain(|line| {
            let stays = !is_removed(&line.name);
            if !stays && !line.repeats {
                removed.push(line.name.clone());
            }
            stays
        });
        removed
    }

    /// Every line as it is written: the name in the spelling of its sender, and the value.
    pub fn lines(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.iter().map(|line| (line.spelling.as_deref().unwrap_or(line.name.as_ref()), line.value.as_bytes()))
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        let mut store = std::mem::take(&mut self.lines);
        if (1..=MAX_REUSED_LINES).contains(&store.capacity()) {
            store.clear();
            // At the end of a thread its stores are gone.
            let _kept = STORES.try_with(|stores| {
                let mut stores = stores.borrow_mut();
                if stores.len() < MAX_STORES {
                    stores.push(store);
                }
            });
        }
    }
}

impl Clone for Fields {
    fn clone(&self) -> Self {
        let mut fields = Self::new();
        self.lines.iter().for_each(|line| fields.push(line.name.clone(), line.spelling.clone(), line.value.clone()));
        fields
    }
}

/// The same names and values in the same order, in any spelling.
impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Extend<(HeaderName, HeaderValue)> for Fields {
    fn extend<T: IntoIterator<Item = (HeaderName, HeaderValue)>>(&mut self, lines: T) {
        lines.into_iter().for_each(|(name, value)| self.append(name, value));
    }
}

impl FromIterator<(HeaderName, HeaderValue)> for Fields {
    fn from_iter<T: IntoIterator<Item = (HeaderName, HeaderValue)>>(lines: T) -> Self {
        let mut fields = Self::new();
        fields.extend(lines);
        fields
    }
}

/// From a library for HTTP/2. The map has the lines of one name together.
impl From<HeaderMap> for Fields {
    fn from(map: HeaderMap) -> Self {
        let (mut fields, mut last) = (Self::new(), None);
        for (name, value) in map {
            // Without a name, it has that of the line before it.
            last = name.or(last);
            if let Some(name) = &last {
                fields.append(name.clone(), value);
            }
        }
        fields
    }
}

/// For a library for HTTP/2.
impl From<Fields> for HeaderMap {
    fn from(mut fields: Fields) -> Self {
        let mut map = Self::with_capacity(fields.len());
        for line in fields.lines.drain(..) {
            map.append(line.name, line.value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    fn value(text: &'static str) -> HeaderValue {
        HeaderValue::from_static(text)
    }

    fn sent(lines: &[(&'static str, &'static str)]) -> Fields {
        let mut fields = Fields::new();
        for (spelling, text) in lines {
            let name = HeaderName::from_bytes(spelling.as_bytes()).unwrap();
            fields.append_as_sent(name, Bytes::from_static(spelling.as_bytes()), value(text));
        }
        fields
    }

    fn written(fields: &Fields) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        fields.lines().map(|(name, value)| format!("{}: {}\n", text(name), text(value))).collect()
    }

    #[test]
    fn lines_keep_their_order_and_spelling_and_decisions_see_lower_case() {
        let fields = sent(&[("X-One", "1"), ("accept", "a"), ("x-one", "2"), ("ETag", "e"), ("X-ONE", "3")]);
        assert_eq!(written(&fields), "X-One: 1\naccept: a\nx-one: 2\nETag: e\nX-ONE: 3\n");
        let names: Vec<&str> = fields.names().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-one", "accept", "etag"]);
        let numbers: Vec<usize> = fields.iter_numbered().map(|(_, nth, _)| nth).collect();
        assert_eq!(numbers, [0, 0, 1, 0, 2]);
        assert_eq!(fields.get_all("x-one").collect::<Vec<_>>(), ["1", "2", "3"]);
        assert_eq!((fields.get(header::ETAG), fields.get("X-One"), fields.len()), (Some(&value("e")), None, 5));
        assert!(fields.contains(&header::ACCEPT) && !fields.contains(header::HOST) && !fields.is_empty());
        assert_eq!(format!("{:?}", sent(&[("A", "b")])), "{\"a\": \"b\"}");
    }

    #[test]
    fn a_set_line_takes_the_place_of_the_first_one() {
        let mut fields = sent(&[("A", "1"), ("Host", "x"), ("b", "2"), ("HOST", "y")]);
        assert_eq!(fields.insert(header::HOST, value("z")), Some(value("x")));
        assert_eq!(fields.insert(header::RANGE, value("bytes=0-1")), None);
        assert_eq!(written(&fields), "A: 1\nHost: z\nb: 2\nrange: bytes=0-1\n");
        fields.insert_first(header::HOST, value("w"));
        fields.insert_first(header::TE, value("trailers"));
        assert_eq!(written(&fields), "te: trailers\nA: 1\nHost: w\nb: 2\nrange: bytes=0-1\n");
    }

    #[test]
    fn lines_are_removed_by_name() {
        let mut fields = sent(&[("A", "1"), ("b", "2"), ("a", "3"), ("C", "4"), ("D", "5"), ("c", "6")]);
        assert_eq!((fields.remove("a"), fields.remove("a"), fields.len()), (Some(value("1")), None, 4));
        assert_eq!(fields.remove_named(|name| name != "b"), ["c", "d"]);
        assert_eq!(written(&fields), "b: 2\n");
        assert_eq!((fields.names().count(), fields.is_empty(), Fields::new().is_empty()), (1, false, true));
    }

    #[test]
    fn a_library_gets_and_gives_the_same_lines() {
        let fields = sent(&[("B", "1"), ("a", "2"), ("b", "3")]);
        let map = HeaderMap::from(fields.clone());
        assert_eq!(map.get_all("b").iter().collect::<Vec<_>>(), ["1", "3"]);
        assert_eq!((map.len(), &map["a"]), (3, &value("2")));
        let back = Fields::from(map);
        assert_eq!(written(&back), "b: 1\nb: 3\na: 2\n");
        assert!(back != fields && back == sent(&[("B", "1"), ("B", "3"), ("A", "2")]), "only the spelling may differ");
    }

    #[test]
    fn storage_is_reused_and_bounded() {
        std::thread::spawn(|| {
            let first = sent(&[("a", "1")]);
            let at = first.lines.as_ptr();
            drop(first);
            let again = sent(&[("b", "2")]);
            assert_eq!((again.lines.as_ptr(), written(&again).as_str()), (at, "b: 2\n"));
            let many: Vec<Fields> = (0..2 * MAX_STORES).map(|_| sent(&[("a", "1")])).collect();
            let long: Fields = (0..=MAX_REUSED_LINES).map(|_| (header::VIA, value("v"))).collect();
            drop((many, long, again));
            assert_eq!(STORES.with_borrow(Vec::len), MAX_STORES);
            assert!(STORES.with_borrow(|stores| stores.iter().all(|one| one.is_empty() && one.capacity() == LINES)));
        })
        .join()
        .unwrap();
    }
}
