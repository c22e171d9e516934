//! How much may pass: rates and numbers of bytes, as policies and sessions write them.

use std::fmt;
use std::time::Duration;

/// How much may pass under a rule, or in a session. Where a field is `None`, there is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Limits {
    /// Requests in a span of time, per session.
    pub requests: Option<Rate>,
    /// Exchanges at once, per session.
    pub concurrent: Option<u64>,
    /// Bytes of one request's body.
    pub request_body: Option<u64>,
    /// Bytes of one response's body.
    pub response_body: Option<u64>,
    /// Bytes of all requests of one session together.
    pub bytes_out: Option<u64>,
}

/// So many in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate {
    /// How many.
    pub count: u64,
    /// In how much time: a second, a minute, an hour or a day.
    pub per: Duration,
}

/// The units of time of a rate, in seconds.
const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];

/// The units of a number of bytes.
const SIZES: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

impl Rate {
    /// Reads a rate such as `600/m`: how many in a second, minute, hour or day.
    pub fn parse(text: &str) -> Option<Self> {
        let (count, unit) = text.split_once('/')?;
        let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let count = digits(count).filter(|count| *count > 0)?;
        Some(Self { count, per: Duration::from_secs(*seconds) })
    }

    /// The time between two requests at this rate, in nanoseconds.
    fn spacing(&self) -> u64 {
        u64::try_from(self.per.as_nanos()).unwrap_or(u64::MAX) / self.count.max(1)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, seconds)| Duration::from_secs(*seconds) == self.per) {
            Some((unit, _)) => write!(f, "{}/{unit}", self.count),
            None => write!(f, "{} in {:?}", self.count, self.per),
        }
    }
}

/// Reads a number of bytes such as `65536`, `512KiB` or `1GiB`.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let factor = match unit {
        "" => 1,
        unit => SIZES.iter().find(|(name, _)| *name == unit)?.1,
    };
    digits(number)?.checked_mul(factor)
}

/// Prints a number of bytes in the largest unit that divides it, as [`parse_bytes`] reads it.
pub fn print_bytes(bytes: u64) -> String {
    let unit = SIZES.iter().rev().find(|(_, factor)| *factor > 1 && bytes > 0 && bytes.is_multiple_of(*factor));
    unit.map_or_else(|| bytes.to_string(), |(name, factor)| format!("{}{name}", bytes / factor))
}

fn digits(text: &str) -> Option<u64> {
    Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

impl Limits {
    /// Whether nothing is bounded.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The narrower of both in every respect.
    #[must_use]
    pub fn narrowed(self, other: Self) -> Self {
        Self {
            requests: least(self.requests, other.requests, Rate::spacing),
            concurrent: least(self.concurrent, other.concurrent, |n| u64::MAX - n),
            request_body: least(self.request_body, other.request_body, |n| u64::MAX - n),
            response_body: least(self.response_body, other.response_body, |n| u64::MAX - n),
            bytes_out: least(self.bytes_out, other.bytes_out, |n| u64::MAX - n),
        }
    }
}

/// The one of two bounds that is stricter, where `strictness` grows with how little it allows.
fn least<T: Copy>(a: Option<T>, b: Option<T>, strictness: impl Fn(&T) -> u64) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if strictness(&a) >= strictness(&b) { a } else { b }),
        (one, None) | (None, one) => one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_as_it_is_printed() {
        for text in ["600/m", "1/s", "7/h", "18446744073709551615/d"] {
            assert_eq!(Rate::parse(text).unwrap().to_string(), text);
        }
        for wrong in ["600", "0/m", "600/w", "+6/m", "6.5/m", "/m", "600/", "600/m/s", " 6/m"] {
            assert_eq!(Rate::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn bytes_are_read_as_they_are_printed() {
        for (text, bytes) in [("0", 0), ("65537", 65_537), ("512KiB", 512 << 10), ("1GiB", 1 << 30), ("3TiB", 3 << 40)]
        {
            assert_eq!((parse_bytes(text), print_bytes(bytes)), (Some(bytes), text.to_owned()));
        }
        assert_eq!(parse_bytes("12B"), Some(12));
        for wrong in ["", "KiB", "1kib", "1 KiB", "-1", "1.5MiB", "18446744073709551615KiB"] {
            assert_eq!(parse_bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_stricter_bound_holds_in_every_respect() {
        let per_minute = Limits { requests: Rate::parse("60/m"), request_body: Some(10), ..Limits::default() };
        let per_hour = Limits { requests: Rate::parse("60/h"), request_body: Some(20), ..Limits::default() };
        let both = per_minute.narrowed(per_hour);
        assert_eq!((both.requests, both.request_body), (Rate::parse("60/h"), Some(10)));
        assert_eq!(both, per_hour.narrowed(per_minute));
    }
}
