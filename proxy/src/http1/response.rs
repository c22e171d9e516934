//! The reader of HTTP/1 response heads (RFC 9112). Any ambiguity is an error: the bytes of an upstream must not mean one thing here
//! and another thing to the client. Unusual input with one meaning passes.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use model::Fields;
use thiserror::Error;

use super::fields;
use super::wire::Framing;

/// The bounds of a response head, which are Egret's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadBounds {
    /// Bytes; in HTTP/2 those of the decoded fields.
    pub(crate) bytes: u32,
    pub(crate) fields: usize,
}

/// A response head with one meaning.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    pub(crate) fields: Fields,
    pub(crate) framing: Framing,
    /// Whether the upstream keeps the connection open after it.
    pub(crate) keeps_connection: bool,
}

/// Why a response head is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum BadResponse {
    /// It is not valid, for this reason.
    #[error("{0}")]
    Invalid(&'static str),
    /// It exceeds [`HeadBounds`].
    #[error("the response head is too large")]
    TooLarge,
}

const fn invalid(why: &'static str) -> BadResponse {
    BadResponse::Invalid(why)
}

/// Looks for the end of a head in `bytes`, of which the first `seen` were already scanned; returns the length of the head. A line
/// may end in LF alone (RFC 9112 section 2.2).
pub(crate) fn end_of_head(bytes: &[u8], seen: usize) -> Option<usize> {
    let start = seen.saturating_sub(2);
    let ends = memchr::memchr_iter(b'\n', bytes.get(start..)?).map(|at| start + at);
    for at in ends {
        let after = bytes.get(at + 1..).unwrap_or_default();
        match after {
            [b'\n', ..] => return Some(at + 2),
            [b'\r', b'\n', ..] => return Some(at + 3),
            _ => {}
        }
    }
    None
}

/// Reads a whole head with at most `max_fields` fields. With `to_head`, the response answers a HEAD request.
///
/// # Errors
/// It is not a head of HTTP/1.0 or 1.1, or its framing has more than one meaning.
pub(crate) fn read(head: &Bytes, to_head: bool, max_fields: usize) -> Result<ResponseHead, BadResponse> {
    let mut lines = Lines { rest: head };
    let (status, is_old) = status_line(lines.next_line()?)?;
    let mut fields = Fields::new();
    loop {
        let line = lines.next_line()?;
        if line.is_empty() {
            break;
        }
        if fields.len() >= max_fields {
            return Err(BadResponse::TooLarge);
        }
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(invalid("a field of the response is folded over two lines"));
        }
        let colon = memchr::memchr(b':', line).ok_or(invalid("a field of the response has no colon"))?;
        let (name, value) = line.split_at(colon);
        // A proxy removes white space before the colon (RFC 9112 section 5.1).
        let name = fields::trimmed(name);
        fields::add(&mut fields, head, name, value.get(1..).unwrap_or_default())
            .map_err(|_| invalid("a field of the response is not valid"))?;
    }
    let framing = framing(&mut fields, status, is_old, to_head)?;
    let closes = fields::lists(&fields, &header::CONNECTION, b"close");
    let keeps = if is_old { fields::lists(&fields, &header::CONNECTION, b"keep-alive") } else { true };
    Ok(ResponseHead { status, fields, framing, keeps_connection: keeps && !closes && framing != Framing::UntilClose })
}

struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    fn next_line(&mut self) -> Result<&'a [u8], BadResponse> {
        let end = memchr::memchr(b'\n', self.rest).ok_or(invalid("the response head has no end"))?;
        let (line, tail) = self.rest.split_at(end);
        self.rest = tail.get(1..).unwrap_or_default();
        Ok(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

/// The status, and whether the version is 1.0. The reason phrase is neither read nor forwarded.
fn status_line(line: &[u8]) -> Result<(StatusCode, bool), BadResponse> {
    let bad = invalid("the status line of the response is not valid");
    let (version, rest) = line.split_at_checked(9).ok_or(bad)?;
    let is_old = match version {
        b"HTTP/1.1 " => false,
        b"HTTP/1.0 " => true,
        _ => return Err(bad),
    };
    let (code, reason) = rest.split_at_checked(3).ok_or(bad)?;
    let control = |b: &u8| (*b < 0x20 && *b != b'\t') || *b == 0x7f;
    if !matches!(reason.first(), None | Some(b' ')) || reason.iter().any(control) {
        return Err(bad);
    }
    Ok((StatusCode::from_bytes(code).map_err(|_| bad)?, is_old))
}

fn framing(fields: &mut Fields, status: StatusCode, is_old: bool, to_head: bool) -> Result<Framing, BadResponse> {
    let length = content_length(fields)?;
    let coding = is_chunked(fields)?;
    if coding && length.is_some() {
        return Err(invalid("the response has both Content-Length and Transfer-Encoding"));
    }
    if coding && is_old {
        return Err(invalid("Transfer-Encoding is not allowed in HTTP/1.0"));
    }
    let is_empty = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if status == StatusCode::NO_CONTENT || status.is_informational() {
        fields.remove(header::CONTENT_LENGTH);
    }
    Ok(match (to_head || is_empty, length) {
        (true, _) => Framing::Length(0),
        (false, _) if coding => Framing::Chunked,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    })
}

/// The one length; the field is written in its canonical form.
///
/// # Errors
/// There are several, or it is not a decimal number.
pub(crate) fn content_length(fields: &mut Fields) -> Result<Option<u64>, BadResponse> {
    let Some(value) = fields.get(header::CONTENT_LENGTH) else { return Ok(None) };
    if fields.get_all(header::CONTENT_LENGTH).nth(1).is_some() {
        return Err(invalid("duplicate Content-Length in the response"));
    }
    let digits = value.as_bytes();
    let plain = !digits.is_empty() && digits.len() <= 19 && digits.iter().all(u8::is_ascii_digit);
    let length = value.to_str().ok().filter(|_| plain).and_then(|digits| digits.parse().ok());
    let length: u64 = length.ok_or(invalid("Content-Length of the response is not one decimal number"))?;
    if digits.len() > 1 && digits.first() == Some(&b'0') {
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(Some(length))
}

fn is_chunked(fields: &Fields) -> Result<bool, BadResponse> {
    let mut values = fields.get_all(header::TRANSFER_ENCODING);
    let Some(value) = values.next() else { return Ok(false) };
    if values.next().is_some() || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(invalid("Transfer-Encoding of the response is not exactly chunked"));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_to(head: &str, to_head: bool) -> Result<ResponseHead, BadResponse> {
        read(&Bytes::copy_from_slice(head.as_bytes()), to_head, 256)
    }

    fn with(fields: &str) -> Result<ResponseHead, BadResponse> {
        read_to(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"), false)
    }

    #[test]
    fn the_end_is_found_across_pieces() {
        for (head, end) in [("a\r\n\r\nrest", 5), ("a\n\nrest", 3), ("a\r\nb\n\r\nrest", 7), ("a\n\r\nrest", 4)] {
            let bytes = head.as_bytes();
            for seen in 0..end {
                assert_eq!(end_of_head(bytes, seen), Some(end), "{head:?} {seen}");
            }
            for cut in 0..end {
                assert_eq!(end_of_head(bytes.get(..cut).unwrap(), 0), None, "{head:?} {cut}");
            }
        }
    }

    #[test]
    fn what_is_odd_but_has_one_meaning_passes() {
        for head in [
            "HTTP/1.1 200\r\n\r\n",
            "HTTP/1.1 200 \r\n\r\n",
            "HTTP/1.1 200 Alright: then\t\u{e9}\r\n\r\n",
            "HTTP/1.1 200 OK\nServer: x\n\n",
            "HTTP/1.1 999 Odd\r\nX : space before the colon\r\n\r\n",
            "HTTP/1.0 200 OK\r\nX:\r\nX:   \r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 007\r\n\r\n",
        ] {
            assert!(read_to(head, false).is_ok(), "{head:?}");
        }
        assert_eq!(with("Content-Length: 007").unwrap().fields.get("content-length").unwrap(), "7");
    }

    #[test]
    fn t062_what_could_be_read_in_two_ways_does_not_pass() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Content-Length: 5 5",
            "Content-Length:",
            "Content-Length: 99999999999999999999",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: identity",
            "Transfer-Encoding:",
            "X: a\0b",
            "X: a\rb",
            "X: a\r\n b",
            "no colon",
            ": x",
            "X Y: z",
        ] {
            assert!(with(fields).is_err(), "{fields:?}");
        }
        let old = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(read_to(old, false).is_err());
        for line in [
            "",
            "HTTP/1.1 20 OK",
            "HTTP/1.1 2000",
            "HTTP/2.0 200 OK",
            "http/1.1 200 OK",
            "HTTP/1.1  200 OK",
            "ICY 200 OK",
            "HTTP/1.1 099 X",
            "HTTP/1.1 200 a\0",
        ] {
            assert!(read_to(&format!("{line}\r\n\r\n"), false).is_err(), "{line:?}");
        }
    }

    #[test]
    fn bodies_end_where_the_head_says() {
        let framing = |head: &str, to_head| read_to(head, to_head).unwrap().framing;
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false), Framing::Length(5));
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true), Framing::Length(0));
        assert_eq!(framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false), Framing::Chunked);
        assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n", false), Framing::UntilClose);
        for status in ["103 Early Hints", "204 No Content", "304 Not Modified"] {
            assert_eq!(framing(&format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n"), false), Framing::Length(0));
        }
        let length = |head: &str| read_to(head, true).unwrap().fields.contains("content-length");
        assert!(length("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), "a HEAD response keeps it");
        assert!(length("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"));
        assert!(!length("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"), "RFC 9110 section 8.6");
    }

    #[test]
    fn the_connection_is_kept_where_both_want_it() {
        let keeps = |head: &str| read_to(head, true).unwrap().keeps_connection;
        assert!(keeps("HTTP/1.1 200 OK\r\n\r\n"));
        assert!(!keeps("HTTP/1.1 200 OK\r\nConnection: x, Close\r\n\r\n"));
        assert!(!keeps("HTTP/1.0 200 OK\r\n\r\n"));
        assert!(keeps("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n"));
        assert!(!read_to("HTTP/1.1 200 OK\r\n\r\n", false).unwrap().keeps_connection, "its body ends with it");
    }

    #[test]
    fn a_head_has_so_many_fields() {
        let many = |count: usize| with(&"X: y\r\n".repeat(count).trim_end().replace("\r\n\r\n", ""));
        assert!(many(256).is_ok());
        assert_eq!(many(257).unwrap_err(), BadResponse::TooLarge);
    }
}
