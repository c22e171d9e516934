//! The strict reader of HTTP/1 request heads (RFC 9112). A head that it accepts has exactly one meaning. A second Host, a list of
//! lengths and a bare line feed are refused and not repaired.

use bytes::Bytes;
use http::{Method, Version, header};
use model::{Authority, Destination, Endpoint, Fields, Reason, RequestPath, Scheme, check_method};
use sessions::Identified;

use super::fields::{self, is_token, trimmed};
pub(crate) use super::wire::Framing;
use crate::config::Limits;
use crate::refusal::Refusal;

/// A request head with exactly one reading.
#[derive(Debug)]
pub(crate) struct RequestHead {
    /// The method, a token.
    pub(crate) method: Method,
    /// The target of the request line.
    pub(crate) target: Target,
    /// The Host field; `None` only on HTTP/1.0.
    pub(crate) host: Option<Authority>,
    /// Where the body ends.
    pub(crate) framing: Framing,
}

/// The four forms of a request target (RFC 9112 section 3.2).
#[derive(Debug)]
pub(crate) enum Target {
    /// `/path?query`
    Origin(RequestPath),
    /// `http://host/path?query`
    Absolute(Destination, RequestPath),
    /// `host:port` of CONNECT
    Authority(Endpoint),
    /// `*` of OPTIONS
    Asterisk,
}

impl Target {
    /// The path of the request, if it has one.
    pub(crate) fn path(&self) -> Option<&RequestPath> {
        match self {
            Self::Origin(path) | Self::Absolute(_, path) => Some(path),
            Self::Authority(_) | Self::Asterisk => None,
        }
    }
}

/// The part of a head that was read.
#[derive(Debug)]
pub(crate) struct ReadHead {
    pub(crate) head: RequestHead,
    pub(crate) fields: Fields,
    pub(crate) wishes: Wishes,
}

/// The properties of a request that concern its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// HTTP/1.0 or HTTP/1.1.
    pub(crate) version: Version,
    /// Whether it is a HEAD request, whose response has no body.
    pub(crate) is_head: bool,
    /// Whether the connection stays open after it (RFC 9112 section 9.3).
    pub(crate) keep_alive: bool,
    /// Whether its body is sent only after a 100 response (RFC 9110 section 10.1.1).
    pub(crate) expects_continue: bool,
    /// Whether the response may have trailers (RFC 9110 section 6.5.1).
    pub(crate) accepts_trailers: bool,
}

impl Wishes {
    /// For input that could not be read as a request.
    pub(crate) const LAST: Self = Self {
        version: Version::HTTP_11,
        is_head: false,
        keep_alive: false,
        expects_continue: false,
        accepts_trailers: false,
    };
}

/// How much of a head the available bytes contain.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The length of the head, including its empty line.
    End(usize),
    /// The head is incomplete.
    Open,
    /// A line ends with CR or LF alone, or the first byte begins no request: more bytes cannot fix it.
    Broken,
}

/// Looks for the end of a head in `bytes`, of which the first `seen` were already scanned.
pub(crate) fn reach(bytes: &[u8], seen: usize) -> Reach {
    if bytes.first().is_some_and(|first| !is_token(*first)) {
        return Reach::Broken;
    }
    let start = seen.saturating_sub(1);
    let Some(fresh) = bytes.get(start..) else { return Reach::Open };
    for at in memchr::memchr2_iter(b'\r', b'\n', fresh).map(|at| start + at) {
        let before = |back: usize| at.checked_sub(back).and_then(|i| bytes.get(i));
        let fits = match bytes.get(at) {
            Some(b'\r') => bytes.get(at + 1).is_none_or(|next| *next == b'\n'),
            _ => before(1) == Some(&b'\r'),
        };
        if !fits {
            return Reach::Broken;
        }
        if bytes.get(at) == Some(&b'\n') && before(2) == Some(&b'\n') {
            return Reach::End(at + 1);
        }
    }
    Reach::Open
}

/// The value of the Proxy-Authorization field of a whole head. No other part of a request is read before its session is
/// known: one pass over its lines.
///
/// # Errors
/// `malformed` for input that is not lines, and for a duplicate of the field.
pub(crate) fn credentials(bytes: &[u8]) -> Result<Option<&[u8]>, Refusal> {
    let text = bytes.strip_suffix(b"\r\n\r\n").ok_or_else(|| malformed("the head has no end"))?;
    let mut found = None;
    for line in (Lines { rest: Some(text) }).skip(1) {
        let value = line?.split_at_checked(PROXY_AUTHORIZATION.len()).and_then(|(name, rest)| {
            rest.strip_prefix(b":").filter(|_| name.eq_ignore_ascii_case(PROXY_AUTHORIZATION))
        });
        if let Some(value) = value
            && found.replace(trimmed(value)).is_some()
        {
            return Err(malformed("duplicate Proxy-Authorization header"));
        }
    }
    Ok(found)
}

const PROXY_AUTHORIZATION: &[u8] = b"proxy-authorization";

/// Judges a whole head of an identified client, from the request line to the empty line.
///
/// # Errors
/// The refusal for the client; the connection cannot be used after it.
pub(crate) fn read(bytes: &Bytes, limits: &Limits, _client: &Identified) -> Result<ReadHead, Refusal> {
    parse(bytes, limits)
}

fn parse(bytes: &Bytes, limits: &Limits) -> Result<ReadHead, Refusal> {
    let text = bytes.strip_suffix(b"\r\n\r\n").ok_or_else(|| malformed("the head has no end"))?;
    let mut lines = Lines { rest: Some(text) };
    let line = lines.next().transpose()?.ok_or_else(|| malformed("the request line is missing"))?;
    let (method, target, version) = request_line(line, limits)?;
    let mut fields = FieldReader::of(bytes);
    for (n, line) in lines.enumerate() {
        if n >= limits.max_fields {
            return Err(Refusal::of(Reason::HeadTooLarge, "the head has too many fields"));
        }
        fields.take(line?)?;
    }
    let host = fields.host(version)?;
    let framing = fields.framing(version)?;
    let uri = target;
    let target = read_target(&method, uri)?;
    // An invalid URI cannot be sent over HTTP/2.
    if method != Method::CONNECT && (!uri.is_ascii() || http::Uri::try_from(uri).is_err()) {
        return Err(Refusal::of(Reason::BadTarget, "the request target is not a URI"));
    }
    if let (Target::Absolute(destination, _), Some(host)) = (&target, &host)
        && !destination.is(host)
    {
        return Err(Refusal::of(Reason::BadHost, "the Host field differs from the request target"));
    }
    if matches!(target, Target::Authority(_)) && framing != Framing::Length(0) {
        return Err(Refusal::of(Reason::AmbiguousFraming, "a CONNECT request has no body"));
    }
    if fields.other_expectation {
        return Err(other_expectation());
    }
    let wishes = fields.wishes(version, method == Method::HEAD);
    Ok(ReadHead { head: RequestHead { method, target, host, framing }, fields: fields.all, wishes })
}

/// The refusal of an expectation other than 100-continue (RFC 9110 section 10.1.1).
pub(crate) fn other_expectation() -> Refusal {
    Refusal::of(Reason::ExpectUnsupported, "the only expectation served is 100-continue")
}

fn malformed(detail: &'static str) -> Refusal {
    Refusal::of(Reason::Malformed, detail)
}

fn ambiguous(detail: &'static str) -> Refusal {
    Refusal::of(Reason::AmbiguousFraming, detail)
}

/// Splits at CRLF; refuses a single CR or LF, and any other control byte.
struct Lines<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let line = match memchr::memchr(b'\n', rest) {
            Some(at) => {
                let (line, tail) = rest.split_at(at);
                self.rest = tail.get(1..);
                // A line feed alone is a control byte, too.
                line.strip_suffix(b"\r").unwrap_or(rest)
            }
            None => rest,
        };
        // Without an early end, so that it is done for several bytes at once.
        let control = |b: u8| ((b < 0x20) & (b != b'\t')) | (b == 0x7f);
        let has_control = line.iter().fold(false, |found, byte| found | control(*byte));
        Some(if has_control { Err(malformed("the head holds a control byte")) } else { Ok(line) })
    }
}

fn request_line<'a>(line: &'a [u8], limits: &Limits) -> Result<(Method, &'a str, Version), Refusal> {
    let line = std::str::from_utf8(line)
        .map_err(|_| Refusal::of(Reason::BadTarget, "the target holds raw non-ASCII bytes"))?;
    let mut parts = line.split(' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed("the request line is not method, target, version with single spaces"));
    };
    check_method(method).map_err(|error| Refusal::of(Reason::Malformed, error.to_string()))?;
    let version = match version {
        "HTTP/1.1" => Version::HTTP_11,
        "HTTP/1.0" => Version::HTTP_10,
        _ => return Err(malformed("the version is neither HTTP/1.1 nor HTTP/1.0")),
    };
    if target.is_empty() || target.contains('\t') {
        return Err(malformed("the request target is missing"));
    }
    if target.len() > limits.max_target_bytes {
        return Err(Refusal::of(Reason::UriTooLong, "the request target is too long"));
    }
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| malformed("the method is not a token"))?;
    Ok((method, target, version))
}

fn read_target(method: &Method, target: &str) -> Result<Target, Refusal> {
    let bad = |detail: &'static str| Refusal::of(Reason::BadTarget, detail);
    if method == Method::CONNECT {
        let Authority { host, port } = Authority::parse(target, false).map_err(Refusal::bad_host)?;
        let port = port.ok_or_else(|| Refusal::of(Reason::BadHost, "a CONNECT target needs a port"))?;
        return Ok(Target::Authority(Endpoint { host, port }));
    }
    if target == "*" {
        if method == Method::OPTIONS {
            return Ok(Target::Asterisk);
        }
        return Err(bad("the target * is only valid with OPTIONS"));
    }
    if target.starts_with('/') {
        return RequestPath::parse(target)
            .map(Target::Origin)
            .map_err(|_| bad("the request target is not a valid path"));
    }
    let (scheme, rest) =
        target.split_once("://").ok_or_else(|| bad("the request target is neither a path nor a URI"))?;
    let scheme = match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => Scheme::Http,
        _ if scheme.eq_ignore_ascii_case("https") => Scheme::Https,
        _ => return Err(bad("the scheme is neither http nor https")),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains(['@', '\\']) {
        return Err(bad("the target carries user information"));
    }
    let authority = Authority::parse(authority, true).map_err(Refusal::bad_host)?;
    let path = match path {
        "" => RequestPath::parse("/"),
        _ if path.starts_with('?') => RequestPath::parse(&format!("/{path}")),
        _ => RequestPath::parse(path),
    };
    let path = path.map_err(|_| bad("the request target is not a valid path"))?;
    Ok(Target::Absolute(Destination::of(scheme, authority), path))
}

/// The fields, with their information about host and framing.
struct FieldReader<'a> {
    section: &'a Bytes,
    all: Fields,
    host: Option<Authority>,
    length: Option<u64>,
    chunked: bool,
    expects_continue: bool,
    other_expectation: bool,
    proxy_authorization: bool,
}

impl<'a> FieldReader<'a> {
    fn of(section: &'a Bytes) -> Self {
        Self {
            section,
            all: Fields::new(),
            host: None,
            length: None,
            chunked: false,
            expects_continue: false,
            other_expectation: false,
            proxy_authorization: false,
        }
    }

    fn take(&mut self, line: &[u8]) -> Result<(), Refusal> {
        if line.first().is_some_and(|b| matches!(b, b' ' | b'\t')) {
            return Err(malformed("a field is folded over two lines"));
        }
        let colon = memchr::memchr(b':', line).ok_or_else(|| malformed("a field has no colon"))?;
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default();
        if name.is_empty() || !name.iter().copied().all(is_token) {
            return Err(malformed("a field name is not a token"));
        }
        // Only these few control the connection; most other names differ from them in length.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.take_host(value)?,
            6 if name.eq_ignore_ascii_case(b"expect") => {
                let continues = fields::is_continue(value);
                self.expects_continue |= continues;
                self.other_expectation |= !continues;
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => self.take_length(value)?,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.take_coding(value)?,
            19 if name.eq_ignore_ascii_case(b"proxy-authorization") => self.take_credentials()?,
            _ => {}
        }
        fields::add(&mut self.all, self.section, name, value).map_err(|_| malformed("a field is not valid"))
    }

    fn take_host(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let bad = || Refusal::of(Reason::BadHost, "the Host field is not one host");
        let text = std::str::from_utf8(trimmed(value)).map_err(|_| bad())?;
        if self.host.is_some() {
            return Err(Refusal::of(Reason::BadHost, "duplicate Host header"));
        }
        self.host = Some(Authority::parse(text, false).map_err(Refusal::bad_host)?);
        Ok(())
    }

    fn take_credentials(&mut self) -> Result<(), Refusal> {
        match std::mem::replace(&mut self.proxy_authorization, true) {
            false => Ok(()),
            true => Err(malformed("duplicate Proxy-Authorization header")),
        }
    }

    fn take_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let length = fields::plain_length(trimmed(value));
        let length = length.ok_or_else(|| ambiguous("Content-Length is not one decimal number"))?;
        match self.length.replace(length) {
            None => Ok(()),
            Some(_) => Err(ambiguous("duplicate Content-Length header")),
        }
    }

    fn take_coding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        // Spaces are optional around a value, but not the tabs and unusual bytes that some parsers skip.
        let coding = value.strip_prefix(b" ").unwrap_or(value);
        if !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(ambiguous("Transfer-Encoding is not exactly chunked"));
        }
        match std::mem::replace(&mut self.chunked, true) {
            false => Ok(()),
            true => Err(ambiguous("duplicate Transfer-Encoding header")),
        }
    }

    fn host(&mut self, version: Version) -> Result<Option<Authority>, Refusal> {
        match self.host.take() {
            None if version == Version::HTTP_11 => Err(Refusal::of(Reason::BadHost, "the Host field is missing")),
            host => Ok(host),
        }
    }

    fn framing(&self, version: Version) -> Result<Framing, Refusal> {
        match (self.length, self.chunked) {
            (None, false) => Ok(Framing::Length(0)),
            (Some(length), false) => Ok(Framing::Length(length)),
            (None, true) if version == Version::HTTP_11 => Ok(Framing::Chunked),
            (None, true) => Err(ambiguous("Transfer-Encoding is not allowed in HTTP/1.0")),
            (Some(_), true) => Err(ambiguous("both Content-Length and Transfer-Encoding")),
        }
    }

    fn wishes(&self, version: Version, is_head: bool) -> Wishes {
        let connection = |member: &[u8]| fields::lists(&self.all, &header::CONNECTION, member);
        let keep_alive = if version == Version::HTTP_10 { connection(b"keep-alive") } else { true };
        Wishes {
            version,
            is_head,
            // Bytes after a request for a WebSocket may be frames: no request is read from them.
            keep_alive: keep_alive
                && !connection(b"close")
                && !fields::lists(&self.all, &header::UPGRADE, b"websocket"),
            expects_continue: self.expects_continue && version == Version::HTTP_11,
            accepts_trailers: fields::lists(&self.all, &header::TE, b"trailers"),
        }
    }
}

#[cfg(test)]
mod tests;
