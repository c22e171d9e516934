//! Ranges of a masked response (RFC 9110 section 14). Masking needs the surroundings of a range: a secret that crosses its border
//! would not be found. So the upstream is asked for a range that is wider on both sides by the length of the longest secret. The
//! client gets the range that it asked for, out of the masked bytes.

use http::{HeaderValue, header};
use model::Fields;

/// The range of the client's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// From one byte to another, or to the end.
    From(u64, Option<u64>),
    /// A number of bytes from the end.
    Last(u64),
}

/// A requested range, and the extra width in the request to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    asked: Asked,
    margin: u64,
}

/// A range that cannot be served from masked bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unservable(pub(crate) &'static str);

/// The slice of an upstream's range that the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    /// Bytes to leave out at the beginning.
    pub(crate) skip: u64,
    /// Bytes to pass after them.
    pub(crate) take: u64,
    /// How many bytes around it are visible.
    margin: u64,
    first: u64,
    total: Option<u64>,
}

/// The result of comparing an upstream's range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It contains the requested range.
    Slice(Slice),
    /// The representation ends before the requested range: 416.
    Beyond(u64),
}

/// Reads the range of a request; `None` if it asks for no bytes. Accepts only syntax that all servers read alike.
pub(crate) fn asked(fields: &Fields) -> Result<Option<Asked>, Unservable> {
    let mut values = fields.get_all(header::RANGE);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Unservable("the request has several Range fields; send one"));
    }
    let text = value.to_str().map_err(|_| Unservable("the Range field is not readable"))?;
    let Some((unit, range)) = text.split_once('=') else { return without_bytes(text) };
    if !unit.eq_ignore_ascii_case("bytes") {
        return without_bytes(text);
    }
    let mut ranges = range.split(',');
    let first = one_range(ranges.next().ok_or(MALFORMED)?)?;
    let all = ranges.try_fold(first, |all, one| Ok(all.joined(one_range(one.trim_start_matches([' ', '\t']))?)));
    all.map(Some)
}

const MALFORMED: Unservable =
    Unservable("the Range field is malformed; write `bytes=FIRST-LAST`, `bytes=FIRST-` or `bytes=-LENGTH`");

fn one_range(text: &str) -> Result<Asked, Unservable> {
    let malformed = MALFORMED;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse::<u64>().map_err(|_| malformed) } else { Err(malformed) }
    };
    let asked = match text.split_once('-').ok_or(malformed)? {
        ("", length) => Asked::Last(number(length)?),
        (first, "") => Asked::From(number(first)?, None),
        (first, last) => Asked::From(number(first)?, Some(number(last)?)),
    };
    match asked {
        Asked::From(first, Some(last)) if last < first => Err(malformed),
        Asked::From(..) | Asked::Last(_) => Ok(asked),
    }
}

impl Asked {
    /// The one range that spans both. Several ranges are answered as one (RFC 9110 section 15.3.7), since each border of
    /// each of them would need its own margin. If the span depends on the length of the representation, it is everything.
    fn joined(self, other: Self) -> Self {
        match (self, other) {
            (Self::Last(one), Self::Last(other)) => Self::Last(one.max(other)),
            (Self::From(one, end), Self::From(other, other_end)) => {
                Self::From(one.min(other), end.zip(other_end).map(|(end, other)| end.max(other)))
            }
            (Self::From(..), Self::Last(_)) | (Self::Last(_), Self::From(..)) => Self::From(0, None),
        }
    }
}

/// Another unit does not mean bytes, unless a server treats it as bytes.
fn without_bytes(text: &str) -> Result<Option<Asked>, Unservable> {
    if text.to_ascii_lowercase().contains("byte") {
        return Err(Unservable("the Range field is malformed; write `bytes=FIRST-LAST`"));
    }
    Ok(None)
}

impl Part {
    /// The range, with a margin of one byte less than the longest secret.
    pub(crate) fn new(asked: Asked, longest: usize) -> Self {
        Self { asked, margin: longest.saturating_sub(1) as u64 }
    }

    /// The extra width of the request to the upstream, in bytes.
    #[cfg(test)]
    pub(crate) fn margin(&self) -> u64 {
        self.margin
    }

    /// Whether a secret of this length is visible as a whole when it crosses a border of the range.
    pub(crate) fn shows(&self, longest: usize) -> bool {
        self.margin >= longest.saturating_sub(1) as u64
    }

    /// The range to ask the upstream for.
    pub(crate) fn wider(&self) -> HeaderValue {
        let margin = self.margin;
        let text = match self.asked {
            Asked::From(first, Some(last)) => {
                format!("bytes={}-{}", first.saturating_sub(margin), last.saturating_add(margin))
            }
            Asked::From(first, None) => format!("bytes={}-", first.saturating_sub(margin)),
            // A suffix of zero bytes is forwarded unchanged: every server answers 416.
            Asked::Last(0) => "bytes=-0".to_owned(),
            Asked::Last(length) => format!("bytes=-{}", length.saturating_add(margin)),
        };
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("bytes=0-"))
    }

    /// The requested slice of the upstream's range. `None` if the range does not contain it, or too little around it.
    pub(crate) fn fit(&self, content_range: &HeaderValue) -> Option<Fit> {
        let (begin, end, total) = content_range_of(content_range)?;
        let (first, last) = match self.asked {
            Asked::From(first, last) => (first, last),
            Asked::Last(length) => {
                let total = total?;
                (total.saturating_sub(length), Some(total.checked_sub(1)?))
            }
        };
        if let Some(total) = total.filter(|total| first >= *total) {
            return Some(Fit::Beyond(total));
        }
        if begin > first.saturating_sub(self.margin) {
            return None;
        }
        // If the range ends before the representation does, its last bytes may begin a secret.
        let ends_there = total.map_or(last.is_none(), |total| end.checked_add(1) == Some(total));
        let seen = if ends_there { end } else { end.checked_sub(self.margin)? };
        let last = last.map_or(seen, |last| last.min(seen));
        let take = last.checked_sub(first)?.checked_add(1)?;
        Some(Fit::Slice(Slice { skip: first - begin, take, margin: self.margin, first, total }))
    }
}

/// `bytes 5-9/100`, or `bytes 5-9/*`.
fn content_range_of(value: &HeaderValue) -> Option<(u64, u64, Option<u64>)> {
    let text = value.to_str().ok()?;
    let (unit, rest) = text.trim().split_once(' ')?;
    let (range, total) = rest.trim().split_once('/')?;
    let (begin, end) = range.split_once('-')?;
    let (begin, end) = (begin.parse().ok()?, end.parse().ok()?);
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    let consistent = begin <= end && total.is_none_or(|total| end < total);
    (unit.eq_ignore_ascii_case("bytes") && consistent).then_some((begin, end, total))
}

impl Slice {
    /// Not a byte.
    pub(crate) fn nothing() -> Self {
        Self { skip: u64::MAX, take: 0, margin: u64::MAX, first: 0, total: None }
    }

    /// Whether a secret of this length is visible as a whole when it crosses one of its borders.
    pub(crate) fn shows(&self, longest: usize) -> bool {
        self.margin >= longest.saturating_sub(1) as u64
    }

    /// The field that describes it.
    pub(crate) fn content_range(&self) -> HeaderValue {
        let last = self.first + self.take.saturating_sub(1);
        let total = self.total.map_or_else(|| "*".to_owned(), |total| total.to_string());
        let text = format!("bytes {}-{last}/{total}", self.first);
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("bytes */*"))
    }

    /// Consumes the next bytes of the upstream's range; returns those that belong to the slice.
    pub(crate) fn cut(&mut self, mut bytes: bytes::Bytes) -> bytes::Bytes {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        let mut rest = bytes.split_off(skipped);
        rest.truncate(usize::try_from(self.take).unwrap_or(usize::MAX));
        self.skip -= skipped as u64;
        self.take -= rest.len() as u64;
        rest
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn range(text: &str) -> Result<Option<Asked>, Unservable> {
        asked(&Fields::from_iter([(header::RANGE, HeaderValue::from_str(text).unwrap())]))
    }

    #[test]
    fn t219_ranges_are_read_as_every_server_reads_them() {
        for (text, want) in [
            ("bytes=0-0", Asked::From(0, Some(0))),
            ("bytes=5-9", Asked::From(5, Some(9))),
            ("Bytes=5-", Asked::From(5, None)),
            ("bytes=-7", Asked::Last(7)),
            ("bytes=-0", Asked::Last(0)),
        ] {
            assert_eq!(range(text), Ok(Some(want)), "{text}");
        }
        for text in ["items=0-9", "0-24", "id 5..; max=10", "pages=1-2,4-5"] {
            assert_eq!(range(text), Ok(None), "{text}");
        }
        for (text, want) in [
            ("bytes=0-1,5-6", Asked::From(0, Some(6))),
            ("bytes=5-6, 0-1", Asked::From(0, Some(6))),
            ("bytes=7-,2-3", Asked::From(2, None)),
            ("bytes=-3,-9", Asked::Last(9)),
            ("bytes=4-5,-1", Asked::From(0, None)),
        ] {
            assert_eq!(range(text), Ok(Some(want)), "{text}: one part spans them");
        }
        for text in [
            "bytes=0-1,",
            "bytes=0-1,x",
            "bytes=9-5",
            "bytes=",
            "bytes=-",
            "bytes",
            "bytes = 0-1",
            " bytes=+1-2",
            "bytes=a-b",
            "bytes=0 - 1",
            "bytes=0x1-2",
            "bytes=0-1 ",
            "bytes=1-2-3",
            "bytes=99999999999999999999-",
            "x-bytes=0-1",
            "bytes:0-1",
        ] {
            assert!(range(text).is_err(), "{text}");
        }
        let mut fields = Fields::from_iter([(header::RANGE, HeaderValue::from_static("bytes=0-1"))]);
        fields.append(header::RANGE, HeaderValue::from_static("x=1"));
        assert!(asked(&fields).is_err());
    }

    #[test]
    fn t219_the_part_within_a_wider_one() {
        let fit = |asked, content_range: &'static str| {
            let fit = Part::new(asked, 11).fit(&HeaderValue::from_static(content_range))?;
            Some(match fit {
                Fit::Slice(slice) => (slice.skip, slice.take, slice.content_range().to_str().unwrap().to_owned()),
                Fit::Beyond(total) => (0, 0, format!("beyond {total}")),
            })
        };
        let part = |skip, take, text: &str| Some((skip, take, text.to_owned()));
        let wide = |asked| Part::new(asked, 11).wider();
        let (middle, rest) = (Asked::From(20, Some(29)), Asked::From(20, None));
        assert_eq!(
            [wide(middle), wide(rest), wide(Asked::From(3, Some(4)))],
            ["bytes=10-39", "bytes=10-", "bytes=0-14"]
        );
        assert_eq!([wide(Asked::Last(5)), wide(Asked::Last(0))], ["bytes=-15", "bytes=-0"]);
        for (asked, content_range, want) in [
            (middle, "bytes 10-39/100", part(10, 10, "bytes 20-29/100")),
            (middle, "bytes 10-39/*", part(10, 10, "bytes 20-29/*")),
            (middle, "bytes 10-24/25", part(10, 5, "bytes 20-24/25")),
            (middle, "bytes 0-99/100", part(20, 10, "bytes 20-29/100")),
            // The server gave less than it has: the last bytes could be the beginning of a secret.
            (middle, "bytes 10-33/100", part(10, 4, "bytes 20-23/100")),
            (middle, "bytes 10-19/20", part(0, 0, "beyond 20")),
            (middle, "bytes 11-39/100", None),
            (middle, "bytes 20-29/100", None),
            (middle, "bytes 10-25/100", None),
            (middle, "bytes 10-24/*", None),
            (middle, "items 10-39/100", None),
            (middle, "bytes 10-39/30", None),
            (middle, "bytes 39-10/100", None),
            (middle, "bytes */100", None),
            (middle, "10-39/100", None),
            (rest, "bytes 10-99/100", part(10, 80, "bytes 20-99/100")),
            (rest, "bytes 10-99/*", part(10, 80, "bytes 20-99/*")),
            (rest, "bytes 10-59/100", part(10, 30, "bytes 20-49/100")),
            (rest, "bytes 10-14/15", part(0, 0, "beyond 15")),
            (Asked::Last(5), "bytes 85-99/100", part(10, 5, "bytes 95-99/100")),
            (Asked::Last(5), "bytes 0-3/4", part(0, 4, "bytes 0-3/4")),
            (Asked::Last(5), "bytes 95-99/100", None),
            (Asked::Last(5), "bytes 85-99/*", None),
        ] {
            assert_eq!(fit(asked, content_range), want, "{asked:?} of {content_range}");
        }
    }

    proptest! {
        #[test]
        fn t219_a_slice_is_cut_out_however_it_comes(
            first in 0u64..60, length in 1u64..60, margin in 1usize..20, pieces in proptest::collection::vec(1usize..30, 1..20),
        ) {
            let body: Vec<u8> = (0..100).collect();
            let part = Part::new(Asked::From(first, Some(first + length - 1)), margin);
            let begin = first.saturating_sub(part.margin());
            let end = (first + length - 1 + part.margin()).min(99);
            let content_range = HeaderValue::from_str(&format!("bytes {begin}-{end}/100")).unwrap();
            let Some(Fit::Slice(mut slice)) = part.fit(&content_range) else { panic!("it fits") };
            let mut rest = &body[begin as usize..=end as usize];
            let mut out = Vec::new();
            for piece in pieces.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (front, back) = rest.split_at(rest.len().min(*piece));
                out.extend_from_slice(&slice.cut(Bytes::copy_from_slice(front)));
                rest = back;
            }
            let last = (first + length).min(100) as usize;
            prop_assert_eq!(&out, &body[first as usize..last]);
            prop_assert_eq!((slice.skip, slice.take), (0, 0));
        }
    }
}
