//! Step 6: a request within its destination. Checks that it names the very destination of its connection, canonicalizes the
//! path, and removes what belongs to one hop only (RFC 9110 section 7.6.1).

use http::{HeaderMap, HeaderName, Method, Request, header};
use hyper::body::Incoming;
use model::{Destination, Reason, RequestPath};

use crate::body::Payload;
use crate::head::{RequestHead, Target};
use crate::refusal::Refusal;

/// A request as the client sent it, with the strict reader's verdict on its head.
pub(crate) struct Asked {
    pub(crate) head: RequestHead,
    pub(crate) request: Request<Incoming>,
}

/// A request that names its destination and nothing else.
pub(crate) struct Routed {
    pub(crate) method: Method,
    pub(crate) path: RequestPath,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Payload,
    pub(crate) version: http::Version,
    /// Whether the client asked for a WebSocket.
    pub(crate) websocket: bool,
    /// Fields that were removed and that a reader of the record should know of.
    pub(crate) stripped: Vec<&'static str>,
}

/// Fields that only the connection they came on is concerned with.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("http2-settings"),
];

/// Fields with which a client could make an upstream believe that another host or path was asked for.
const OVERRIDES: [&str; 9] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-forwarded-prefix",
    "x-original-url",
    "x-rewrite-url",
];

/// Routes one request of a connection to `destination`.
///
/// # Errors
/// `authority_mismatch` where it names another place, `protocol_not_allowed` for CONNECT, `malformed` where its Connection
/// field names what must arrive.
pub(crate) fn route(destination: &Destination, asked: Asked) -> Result<Routed, Refusal> {
    let Asked { head, request } = asked;
    if head.host.as_ref().is_some_and(|host| !destination.is(host)) {
        return Err(Refusal::of(
            Reason::AuthorityMismatch,
            "the Host of the request is not the host of its connection",
        ));
    }
    let path = match head.target {
        Target::Origin(path) => path,
        Target::Absolute(named, path) if named == *destination => path,
        Target::Absolute(..) => {
            return Err(Refusal::of(
                Reason::AuthorityMismatch,
                "the target of the request is not the host of its connection",
            ));
        }
        Target::Asterisk => RequestPath::asterisk(),
        Target::Authority(_) => {
            return Err(Refusal::of(Reason::ProtocolNotAllowed, "CONNECT within a tunnel is not served"));
        }
    };
    let version = request.version();
    let (parts, body) = request.into_parts();
    let mut fields = parts.headers;
    let websocket = fields.get_all(header::UPGRADE).iter().any(|v| contains_token(v.as_bytes(), b"websocket"));
    remove_named_by_connection(&mut fields)?;
    let stripped = remove_one_hop(&mut fields);
    Ok(Routed { method: head.method, path, fields, body: Payload::from(body), version, websocket, stripped })
}

/// Removes the fields that Connection names; they concern this hop.
fn remove_named_by_connection(fields: &mut HeaderMap) -> Result<(), Refusal> {
    if !fields.contains_key(header::CONNECTION) {
        return Ok(());
    }
    let named: Vec<Vec<u8>> = fields
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .map(|token| token.trim_ascii().to_ascii_lowercase())
        .filter(|token| !matches!(token.as_slice(), b"" | b"close" | b"keep-alive" | b"te" | b"upgrade"))
        .collect();
    for token in named {
        let name = HeaderName::from_bytes(&token).map_err(|_| malformed("Connection names what is no field"))?;
        if [header::HOST, header::CONTENT_LENGTH, header::AUTHORIZATION, header::COOKIE].contains(&name) {
            return Err(malformed("Connection names a field that has to arrive"));
        }
        fields.remove(name);
    }
    Ok(())
}

fn malformed(detail: &'static str) -> Refusal {
    Refusal::of(Reason::Malformed, detail)
}

fn remove_one_hop(fields: &mut HeaderMap) -> Vec<&'static str> {
    // Nearly all requests carry none of these: one pass over the names finds out.
    let mut found = false;
    let mut stripped = Vec::new();
    for name in fields.keys() {
        let text = name.as_str();
        found |= text == "te" || text.starts_with("proxy-") || HOP_BY_HOP.contains(name);
        if let Some(known) = OVERRIDES.iter().find(|known| **known == text) {
            stripped.push(*known);
        }
    }
    for name in &stripped {
        fields.remove(*name);
    }
    if found {
        let trailers = fields.get_all(header::TE).iter().any(|v| contains_token(v.as_bytes(), b"trailers"));
        let hop: Vec<HeaderName> =
            fields.keys().filter(|n| n.as_str().starts_with("proxy-") || HOP_BY_HOP.contains(n)).cloned().collect();
        for name in hop {
            fields.remove(name);
        }
        fields.remove(header::TE);
        if trailers {
            fields.insert(header::TE, http::HeaderValue::from_static("trailers"));
        }
    }
    stripped
}

/// Whether a comma list holds a token, in any case, with or without parameters.
fn contains_token(list: &[u8], token: &[u8]) -> bool {
    list.split(|b| *b == b',').any(|item| {
        let item = item.split(|b| *b == b';').next().unwrap_or_default();
        item.trim_ascii().eq_ignore_ascii_case(token)
    })
}
