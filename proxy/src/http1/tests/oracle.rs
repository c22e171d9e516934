//! An independent reader of whole messages for tests and fuzz targets: httparse reads lines and chunk sizes, and the few rules of
//! framing are written here once more. It shares no code with the readers of the product.

use httparse::{Header, ParserConfig, Status};

/// A field: its name in lower case, and its value without the white space around it.
pub(crate) type Field = (String, Vec<u8>);

/// The first line of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Request { method: String, target: String },
    Status(u16),
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) line: Line,
    /// Whether its version is HTTP/1.0.
    pub(crate) is_old: bool,
    pub(crate) fields: Vec<Field>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<Field>,
}

const FIELDS: usize = 2_100;

fn listed(headers: &[Header<'_>]) -> Vec<Field> {
    let field = |one: &Header<'_>| (one.name.to_ascii_lowercase(), one.value.trim_ascii().to_vec());
    headers.iter().map(field).collect()
}

/// The values of the fields of this name.
pub(crate) fn values<'a>(fields: &'a [Field], name: &str) -> Vec<&'a [u8]> {
    fields.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_slice()).collect()
}

/// The head of the request at the beginning of `bytes`, and its length.
pub(crate) fn request_head(bytes: &[u8]) -> Option<(Message, usize)> {
    let mut room = vec![httparse::EMPTY_HEADER; FIELDS];
    let mut parsed = httparse::Request::new(&mut room);
    let Ok(Status::Complete(length)) = parsed.parse(bytes) else { return None };
    let line = Line::Request { method: parsed.method?.to_owned(), target: parsed.path?.to_owned() };
    let fields = listed(parsed.headers);
    Some((Message { line, is_old: parsed.version? == 0, fields, body: vec![], trailers: vec![] }, length))
}

/// The head of the response at the beginning of `bytes`, and its length.
pub(crate) fn response_head(bytes: &[u8]) -> Option<(Message, usize)> {
    let mut room = vec![httparse::EMPTY_HEADER; FIELDS];
    let mut parsed = httparse::Response::new(&mut room);
    let mut config = ParserConfig::default();
    config.allow_spaces_after_header_name_in_responses(true);
    let Ok(Status::Complete(length)) = config.parse_response(&mut parsed, bytes) else { return None };
    let fields = listed(parsed.headers);
    let line = Line::Status(parsed.code?);
    Some((Message { line, is_old: parsed.version? == 0, fields, body: vec![], trailers: vec![] }, length))
}

/// A chunked body at the beginning of `bytes`: its data, its trailers and its length.
pub(crate) fn chunked(bytes: &[u8]) -> Option<(Vec<u8>, Vec<Field>, usize)> {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let Ok(Status::Complete((start, size))) = httparse::parse_chunk_size(bytes.get(at..)?) else { return None };
        at += start;
        if size == 0 {
            break;
        }
        let end = at.checked_add(usize::try_from(size).ok()?)?;
        data.extend_from_slice(bytes.get(at..end)?);
        at = end + 2;
        if bytes.get(end..at)? != b"\r\n" {
            return None;
        }
    }
    let mut room = vec![httparse::EMPTY_HEADER; FIELDS];
    let Ok(Status::Complete((length, trailers))) = httparse::parse_headers(bytes.get(at..)?, &mut room) else {
        return None;
    };
    Some((data, listed(trailers), at + length))
}

/// The body behind a head; `Some(None)` if no framing field ends it.
fn body(message: &mut Message, bytes: &[u8]) -> Option<Option<usize>> {
    let (lengths, codings) = (values(&message.fields, "content-length"), values(&message.fields, "transfer-encoding"));
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Some(None),
        ([length], []) => {
            let length: usize = std::str::from_utf8(length).ok()?.parse().ok()?;
            message.body = bytes.get(..length)?.to_vec();
            Some(Some(length))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") && !message.is_old => {
            let (data, trailers, length) = chunked(bytes)?;
            (message.body, message.trailers) = (data, trailers);
            Some(Some(length))
        }
        _ => None,
    }
}

/// The whole request at the beginning of `bytes`, and its length.
pub(crate) fn request(bytes: &[u8]) -> Option<(Message, usize)> {
    let (mut message, head) = request_head(bytes)?;
    let length = body(&mut message, bytes.get(head..)?)?;
    Some((message, head + length.unwrap_or(0)))
}

/// The whole final response at the beginning of `bytes`, and its length. With `to_head`, it answers a HEAD request.
pub(crate) fn response(bytes: &[u8], to_head: bool) -> Option<(Message, usize)> {
    let (mut message, head) = response_head(bytes)?;
    if to_head || matches!(message.line, Line::Status(204 | 304)) {
        return Some((message, head));
    }
    let rest = bytes.get(head..)?;
    let length = match body(&mut message, rest)? {
        Some(length) => length,
        None => {
            message.body = rest.to_vec();
            rest.len()
        }
    };
    Some((message, head + length))
}

/// Fields that the product removes in both directions, by docs/framing.md and RFC 9110 section 7.6.1.
const OF_CONNECTION: [&str; 6] =
    ["connection", "transfer-encoding", "upgrade", "keep-alive", "proxy-connection", "http2-settings"];

/// The fields of a request that reach the upstream. `Host` is written again.
pub(crate) fn end_to_end_of_request(fields: &[Field], has_body: bool) -> Vec<Field> {
    let removed = |name: &str| {
        OF_CONNECTION.contains(&name)
            || name.starts_with("proxy-")
            || ["te", "host"].contains(&name)
            || (name == "expect" && !has_body)
    };
    let mut left: Vec<Field> = fields.iter().filter(|(name, _)| !removed(name)).cloned().collect();
    if accepts_trailers(fields) {
        left.push(("te".to_owned(), b"trailers".to_vec()));
    }
    left
}

/// Whether the sender of a request accepts trailers.
pub(crate) fn accepts_trailers(fields: &[Field]) -> bool {
    members(fields, "te").any(|member| member.split(';').next().is_some_and(|coding| coding.trim_ascii() == "trailers"))
}

/// The members of the lists in the fields of this name, in lower case.
pub(crate) fn members(fields: &[Field], name: &str) -> impl Iterator<Item = String> {
    let lists: Vec<String> =
        values(fields, name).into_iter().map(|list| String::from_utf8_lossy(list).to_ascii_lowercase()).collect();
    lists.into_iter().flat_map(|list| list.split(',').map(|one| one.trim_ascii().to_owned()).collect::<Vec<_>>())
}

/// The fields of a response that reach the client. A length is written in its canonical form.
pub(crate) fn end_to_end_of_response(message: &Message) -> Vec<Field> {
    let fields = &message.fields;
    // These describe the content, so they stay even if Connection lists them.
    let describes = |name: &str| {
        name.starts_with("content-") || ["grpc-encoding", "connect-content-encoding", "im"].contains(&name)
    };
    let listed: Vec<String> = members(fields, "connection").filter(|name| !describes(name)).collect();
    let is_empty = message.line == Line::Status(204);
    let removed = |name: &str| {
        OF_CONNECTION.contains(&name)
            || ["proxy-authenticate", "proxy-authentication-info"].contains(&name)
            || listed.iter().any(|one| one == name)
            || (name == "content-length" && is_empty)
    };
    let canonical = |(name, value): &Field| {
        let zeros = value.iter().take(value.len().saturating_sub(1)).take_while(|byte| **byte == b'0').count();
        let value = value.iter().skip(if name == "content-length" { zeros } else { 0 }).copied().collect();
        (name.clone(), value)
    };
    fields.iter().filter(|(name, _)| !removed(name)).map(canonical).collect()
}

/// Fields in the order that is promised: those of one name in their order, whatever is between them.
pub(crate) fn by_name(mut fields: Vec<Field>) -> Vec<Field> {
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields
}
