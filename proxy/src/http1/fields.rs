//! Fields of HTTP/1 (RFC 9112 section 5): lines to a map, and a map to lines.

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, header};
use model::Fields;

/// A line that is not a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadField;

pub(crate) use model::field::is_token;

/// Removes the optional white space around a field value (RFC 9110 section 5.5).
pub(crate) fn trimmed(value: &[u8]) -> &[u8] {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let start = value.iter().position(|b| !blank(b)).unwrap_or(value.len());
    let end = value.iter().rposition(|b| !blank(b)).map_or(start, |at| at + 1);
    value.get(start..end).unwrap_or_default()
}

/// Removes the white space around values, which HTTP/2 forbids (RFC 9113 section 8.2.1) and HTTP/1 does not count.
pub(crate) fn trim(fields: &mut Fields) {
    for (_, value) in fields.iter_mut() {
        if is_padded(value)
            && let Ok(plain) = HeaderValue::from_bytes(trimmed(value.as_bytes()))
        {
            *value = plain;
        }
    }
}

/// Whether a value begins or ends with white space.
pub(crate) fn is_padded(value: &HeaderValue) -> bool {
    let blank = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    blank(value.as_bytes().first()) || blank(value.as_bytes().last())
}

/// Adds a field whose value is a part of `section`, which it shares.
///
/// # Errors
/// The name is not a token, or the value holds a control character.
pub(crate) fn add(fields: &mut Fields, section: &Bytes, name: &[u8], value: &[u8]) -> Result<(), BadField> {
    let spelling = section.slice_ref(name);
    let name = HeaderName::from_bytes(name).map_err(|_| BadField)?;
    let value = HeaderValue::from_maybe_shared(section.slice_ref(trimmed(value))).map_err(|_| BadField)?;
    fields.append_as_sent(name, spelling, value);
    Ok(())
}

/// Reads a trailer section (RFC 9112 section 7.1.2): lines that end in CRLF, without the empty one.
///
/// # Errors
/// A line is not a field.
pub(crate) fn read_trailers(section: &Bytes) -> Result<Fields, BadField> {
    let mut fields = Fields::new();
    let mut rest: &[u8] = section;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).ok_or(BadField)?;
        let (line, tail) = rest.split_at(end);
        rest = tail.get(1..).unwrap_or_default();
        let line = line.strip_suffix(b"\r").ok_or(BadField)?;
        let colon = memchr::memchr(b':', line).ok_or(BadField)?;
        let (name, value) = line.split_at(colon);
        add(&mut fields, section, name, value.get(1..).unwrap_or_default())?;
    }
    Ok(fields)
}

/// Writes fields as lines, in the order and spelling of their sender.
pub(crate) fn put(out: &mut BytesMut, fields: &Fields) {
    fields.lines().for_each(|(name, value)| put_line(out, name, value));
}

/// Writes one field.
pub(crate) fn put_line(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Whether a comma list (RFC 9110 section 5.6.1) in any of the fields of this name has a member, in any case.
pub(crate) fn lists(fields: &Fields, name: &HeaderName, member: &[u8]) -> bool {
    let mut members = fields.get_all(name).flat_map(|value| value.as_bytes().split(|b| *b == b','));
    members.any(|one| {
        let one = one.split(|b| *b == b';').next().unwrap_or_default();
        one.trim_ascii().eq_ignore_ascii_case(member)
    })
}

/// The number in a Content-Length of a client (RFC 9110 section 8.6): at most 19 decimal digits, without the leading zeros that some
/// readers parse as octal.
pub(crate) fn plain_length(digits: &[u8]) -> Option<u64> {
    let plain =
        matches!(digits, [b'0'] | [b'1'..=b'9', ..]) && digits.len() <= 19 && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

/// Whether an expectation is the one that is served (RFC 9110 section 10.1.1).
pub(crate) fn is_continue(expectation: &[u8]) -> bool {
    trimmed(expectation).eq_ignore_ascii_case(b"100-continue")
}

/// The length of a body, from the fields of a head that was read or is to be written.
pub(crate) fn content_length(fields: &Fields) -> Option<u64> {
    fields.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(section: &str) -> Result<Vec<(String, String)>, BadField> {
        let fields = read_trailers(&Bytes::copy_from_slice(section.as_bytes()))?;
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Ok(fields.iter().map(|(name, value)| (name.to_string(), text(value))).collect())
    }

    #[test]
    fn a_trailer_section_is_lines_of_fields() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read(""), Ok(vec![]));
        let two = read("Grpc-Status: 0\r\nX-Sum:\t a b \t\r\n");
        assert_eq!(two, Ok(vec![pair("grpc-status", "0"), pair("x-sum", "a b")]));
        for bad in ["no colon\r\n", "a b: c\r\n", ": c\r\n", "a: b", "a: b\n", "a: b\0\r\n", "a : b\r\n"] {
            assert_eq!(read(bad), Err(BadField), "{bad:?}");
        }
    }

    #[test]
    fn what_was_read_is_written_again() {
        let section = Bytes::from_static(b"B-c: 2\r\na: \xe9 1\r\nb-C: 3\r\n");
        let mut out = BytesMut::new();
        put(&mut out, &read_trailers(&section).unwrap());
        assert_eq!(out.as_ref(), section);
    }

    #[test]
    fn t044_a_length_is_one_plain_number() {
        let read = [&b"0"[..], b"5", b"1234567890123456789"].map(plain_length);
        assert_eq!(read, [Some(0), Some(5), Some(1_234_567_890_123_456_789)]);
        for bad in
            [&b""[..], b"05", b"00", b"+5", b"-1", b"0x5", b"5_0", b"5 ", b"5,5", b"12345678901234567890", b"\xb2"]
        {
            assert_eq!(plain_length(bad), None, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn t055_one_expectation_is_served() {
        assert!(is_continue(b"100-continue") && is_continue(b"\t100-Continue "));
        assert!(!is_continue(b"") && !is_continue(b"100-continue, x") && !is_continue(b"other"));
    }

    #[test]
    fn members_of_lists_are_found_in_any_case() {
        let mut fields = Fields::new();
        fields.append(header::CONNECTION, HeaderValue::from_static("x, Close"));
        fields.append(header::CONNECTION, HeaderValue::from_static("trailers;q=0.5"));
        assert!(lists(&fields, &header::CONNECTION, b"close") && lists(&fields, &header::CONNECTION, b"trailers"));
        assert!(!lists(&fields, &header::CONNECTION, b"clos") && !lists(&fields, &header::TE, b"close"));
    }
}
