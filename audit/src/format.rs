//! Numbers, instants and JSON text, written straight into a buffer.
//!
//! The journal is on the path of every request, so nothing here allocates or goes through `fmt`.

/// The longest text that one field keeps, counted as written in the file, in bytes.
pub(crate) const MAX_FIELD_BYTES: usize = 1024;

const HEX: &[u8; 16] = b"0123456789abcdef";

const fn digit_pairs() -> [[u8; 2]; 100] {
    let mut pairs = [[0; 2]; 100];
    let mut n = 0;
    while n < 100 {
        pairs[n] = [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        n += 1;
    }
    pairs
}

const fn hex_pairs() -> [[u8; 2]; 256] {
    let mut pairs = [[0; 2]; 256];
    let mut n = 0;
    while n < 256 {
        pairs[n] = [HEX[n >> 4], HEX[n & 15]];
        n += 1;
    }
    pairs
}

/// The value of each lower case hex digit; 16 and more for everything else.
const fn hex_values() -> [u8; 256] {
    let mut values = [0xf0; 256];
    let mut n = 0;
    while n < 16 {
        values[HEX[n] as usize] = n as u8;
        n += 1;
    }
    values
}

static HEX_VALUES: [u8; 256] = hex_values();
static DIGITS: [[u8; 2]; 100] = digit_pairs();
static HEX_PAIRS: [[u8; 2]; 256] = hex_pairs();

/// Writes a number in decimal.
pub(crate) fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut text = [0u8; 20];
    let mut at = text.len();
    while number >= 10 {
        at -= 2;
        text[at..at + 2].copy_from_slice(&DIGITS[(number % 100) as usize]);
        number /= 100;
    }
    if number > 0 || at == text.len() {
        at -= 1;
        text[at] = b'0' + number as u8;
    }
    // A pair may have written a leading zero.
    let digits = &text[at..];
    out.extend_from_slice(if digits.len() > 1 && digits[0] == b'0' { &digits[1..] } else { digits });
}

/// Writes bytes as lower case hex digits.
pub(crate) fn hex<const BYTES: usize, const DIGITS: usize>(bytes: &[u8; BYTES]) -> [u8; DIGITS] {
    const { assert!(DIGITS == BYTES * 2) };
    let mut text = [0; DIGITS];
    for (place, byte) in text.chunks_exact_mut(2).zip(bytes) {
        place.copy_from_slice(&HEX_PAIRS[usize::from(*byte)]);
    }
    text
}

/// Reads lower case hex digits; `None` for any other text.
pub(crate) fn unhex<const BYTES: usize>(text: &[u8]) -> Option<[u8; BYTES]> {
    if text.len() != BYTES * 2 {
        return None;
    }
    let mut bytes = [0; BYTES];
    let mut wrong = 0;
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let (high, low) = (HEX_VALUES[usize::from(pair[0])], HEX_VALUES[usize::from(pair[1])]);
        wrong |= high | low;
        *byte = high << 4 | low & 15;
    }
    if wrong < 16 { Some(bytes) } else { None }
}

/// Writes microseconds since 1970 as RFC 3339 in UTC: `2026-11-20T11:06:12.123456Z`, always 27 characters.
///
/// Instants outside the years 0000 to 9999 are written as the nearest one inside.
pub(crate) fn instant(out: &mut Vec<u8>, micros: i64) {
    let micros = micros.clamp(-62_167_219_200_000_000, 253_402_300_799_999_999);
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000) as usize);
    let (days, clock) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400) as usize);
    let (year, month, day) = civil(days);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let mut pair = |at: usize, number: usize| text[at..at + 2].copy_from_slice(&DIGITS[number]);
    pair(0, year / 100);
    pair(2, year % 100);
    pair(5, month);
    pair(8, day);
    pair(11, clock / 3600);
    pair(14, clock / 60 % 60);
    pair(17, clock % 60);
    pair(20, fraction / 10_000);
    pair(22, fraction / 100 % 100);
    pair(24, fraction % 100);
    out.extend_from_slice(&text);
}

/// Year, month and day of a day counted from 1970, in the proleptic Gregorian calendar.
fn civil(days: i64) -> (usize, usize, usize) {
    // Years begin in March here, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year as usize, month as usize, day as usize)
}

/// Writes text as the contents of a JSON string, at most [`MAX_FIELD_BYTES`]; returns whether it was truncated.
pub(crate) fn escaped(out: &mut Vec<u8>, text: &str) -> bool {
    // Without an early end, so that the compiler can look at many bytes at a time.
    let special = text.bytes().fold(false, |special, byte| special | is_special(byte));
    if special || text.len() > MAX_FIELD_BYTES {
        return escaped_slowly(out, text);
    }
    out.extend_from_slice(text.as_bytes());
    false
}

/// Whether a byte must be escaped in a JSON string, or may have an effect on a terminal.
fn is_special(byte: u8) -> bool {
    !(0x20..0x7f).contains(&byte) | (byte == b'"') | (byte == b'\\')
}

#[cold]
fn escaped_slowly(out: &mut Vec<u8>, text: &str) -> bool {
    let end = out.len() + MAX_FIELD_BYTES;
    for sign in text.chars() {
        let mut buffer = [0; 12];
        let piece = spelled(sign, &mut buffer);
        if out.len() + piece.len() > end {
            return true;
        }
        out.extend_from_slice(piece);
    }
    false
}

/// One character as written in a JSON string.
fn spelled(sign: char, buffer: &mut [u8; 12]) -> &[u8] {
    match sign {
        '"' => b"\\\"",
        '\\' => b"\\\\",
        _ if steers_display(sign) => {
            let mut units = [0; 2];
            let mut length = 0;
            for unit in sign.encode_utf16(&mut units) {
                let [high, low] = unit.to_be_bytes();
                buffer[length..length + 2].copy_from_slice(b"\\u");
                buffer[length + 2..length + 4].copy_from_slice(&HEX_PAIRS[usize::from(high)]);
                buffer[length + 4..length + 6].copy_from_slice(&HEX_PAIRS[usize::from(low)]);
                length += 6;
            }
            &buffer[..length]
        }
        _ => sign.encode_utf8(buffer).as_bytes(),
    }
}

/// Characters that move the cursor, reorder or hide text: a viewer must never be steered by what a client sent.
fn steers_display(sign: char) -> bool {
    sign.is_control()
        || matches!(sign,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_as_the_standard_library_writes_them() {
        for number in [0, 1, 9, 10, 11, 99, 100, 101, 999, 1000, 65_535, 99_999, 1_000_000, u64::MAX] {
            assert_eq!(text(|out| decimal(out, number)), number.to_string());
        }
    }

    #[test]
    fn instants_are_as_the_calendar_library_writes_them() {
        for micros in [
            0,
            -1,
            1,
            951_782_399_999_999,
            951_782_400_000_000,
            1_709_164_800_123_456,
            4_102_444_800_000_001,
            -62_135_596_800_000_000,
        ] {
            let stamp = model::Timestamp::from_microsecond(micros).unwrap();
            assert_eq!(text(|out| instant(out, micros)), format!("{stamp:.6}"));
        }
    }

    #[test]
    fn hex_reads_back_and_refuses_other_spellings() {
        let bytes = [0x00, 0x7f, 0xff, 0xa5];
        let digits: [u8; 8] = hex(&bytes);
        assert_eq!(&digits, b"007fffa5");
        assert_eq!(unhex(&digits), Some(bytes));
        for wrong in ["007fffA5", "007fffa", "007fffa50", "007fffg5"] {
            assert_eq!(unhex::<4>(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn t177_nothing_that_steers_a_viewer_stands_raw() {
        let hostile = "a\r\n\u{1b}[31m\"\\\u{7f}\u{9b}\u{202e}\u{2066}\u{2028}\u{e0041}\u{e9}";
        let json = text(|out| assert!(!escaped(out, hostile)));
        assert_eq!(json, "a\\u000d\\u000a\\u001b[31m\\\"\\\\\\u007f\\u009b\\u202e\\u2066\\u2028\\udb40\\udc41\u{e9}");
        assert_eq!(serde_json::from_str::<String>(&format!("\"{json}\"")).unwrap(), hostile);
    }

    #[test]
    fn t177_a_field_ends_at_one_kibibyte_between_characters() {
        for long in ["x".repeat(1 << 20), "\u{e9}".repeat(600), "\u{1b}".repeat(1024), "\u{e0041}".repeat(100)] {
            let json = text(|out| assert!(escaped(out, &long)));
            assert!(json.len() <= MAX_FIELD_BYTES && json.len() > MAX_FIELD_BYTES - 12);
            let back: String = serde_json::from_str(&format!("\"{json}\"")).unwrap();
            assert!(long.starts_with(&back));
        }
        assert!(!escaped(&mut Vec::new(), &"x".repeat(MAX_FIELD_BYTES)));
    }
}
