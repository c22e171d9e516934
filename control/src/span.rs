//! Durations in text form: `90s`, `15m`, `1h30m`, `7d`.

use jiff::SignedDuration;

/// Reads a duration: whole numbers, each with `s`, `m`, `h` or `d`, one after another.
///
/// # Errors
/// A sentence with the expected form.
pub fn parse_span(text: &str) -> Result<SignedDuration, String> {
    let expected = || format!("{text:?} is not a length of time; write for example 90s, 15m, 1h30m or 7d");
    let mut seconds = 0i64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(expected)?;
        let (number, tail) = rest.split_at(digits);
        let number: i64 = number.parse().map_err(|_| expected())?;
        let unit = match tail.chars().next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            _ => return Err(expected()),
        };
        seconds = number.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or_else(expected)?;
        rest = tail.get(1..).unwrap_or_default();
    }
    if text.is_empty() { Err(expected()) } else { Ok(SignedDuration::from_secs(seconds)) }
}

/// Writes a duration in the form that [`parse_span`] reads, to the second.
pub fn print_span(span: SignedDuration) -> String {
    let mut seconds = span.as_secs();
    let mut text = String::new();
    for (unit, sign) in [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')] {
        if seconds >= unit {
            text.push_str(&format!("{}{sign}", seconds / unit));
            seconds %= unit;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_and_print() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("1h30m", 5_400), ("7d", 604_800), ("0s", 0)] {
            assert_eq!(parse_span(text), Ok(SignedDuration::from_secs(seconds)), "{text}");
        }
        for text in ["", "5", "h", "1w", "-1h", "1 h", "99999999999999999d", "1.5h", "1h30"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
        assert_eq!(print_span(SignedDuration::from_secs(93_784)), "1d2h3m4s");
        assert_eq!(print_span(SignedDuration::ZERO), "0s");
    }
}
