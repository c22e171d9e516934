//! Step 6: a request within its destination. Checks that it names the very destination of its connection, canonicalizes the
//! path, and removes what belongs to one hop only (RFC 9110 section 7.6.1).

use http::{HeaderMap, HeaderName, header};
use model::{Reason, RequestPath};

use crate::body::buffered::Payload;
use crate::context::Exchange;
use crate::credentials::client_auth;
use crate::http1::fields;
use crate::http1::head::Target;
use crate::refusal::Refusal;
use crate::request::{Asked, Routed};

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

/// Routes one request of a connection to its destination.
///
/// # Errors
/// `authority_mismatch` where it names another place, `protocol_not_allowed` for CONNECT, `malformed` where its Connection
/// field names what must arrive.
pub(crate) fn route(exchange: Exchange<'_>, asked: Asked) -> Result<Routed, Refusal> {
    let destination = exchange.destination;
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
    let websocket = fields::lists(&fields, &header::UPGRADE, b"websocket");
    let named_by_connection = remove_named_by_connection(&mut fields)?;
    let mut stripped = Vec::new();
    client_auth::remove_steering(&mut fields, &mut stripped)?;
    remove_one_hop(&mut fields);
    Ok(Routed {
        method: head.method,
        path,
        fields,
        body: Payload::from(body),
        version,
        websocket,
        tool: exchange.session.tool(),
        stripped,
        named_by_connection,
    })
}

/// Removes the fields that Connection lists, which concern this hop, and gives their names.
fn remove_named_by_connection(fields: &mut HeaderMap) -> Result<Vec<HeaderName>, Refusal> {
    if !fields.contains_key(header::CONNECTION) {
        return Ok(Vec::new());
    }
    let named: Vec<Vec<u8>> = fields
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .map(|token| token.trim_ascii().to_ascii_lowercase())
        .filter(|token| !matches!(token.as_slice(), b"" | b"close" | b"keep-alive" | b"te" | b"upgrade"))
        .collect();
    let mut removed = Vec::new();
    for token in named {
        let name = HeaderName::from_bytes(&token).map_err(|_| malformed("Connection names what is no field"))?;
        if [header::HOST, header::CONTENT_LENGTH, header::AUTHORIZATION, header::COOKIE].contains(&name) {
            return Err(malformed("Connection names a field that has to arrive"));
        }
        fields.remove(&name);
        removed.push(name);
    }
    Ok(removed)
}

fn malformed(detail: &'static str) -> Refusal {
    Refusal::of(Reason::Malformed, detail)
}

fn remove_one_hop(fields: &mut HeaderMap) {
    // Nearly all requests carry none of these: one pass over the names finds out.
    let hop = |name: &HeaderName| name.as_str().starts_with("proxy-") || HOP_BY_HOP.contains(name);
    if !fields.keys().any(|name| *name == header::TE || hop(name)) {
        return;
    }
    let trailers = fields::lists(fields, &header::TE, b"trailers");
    let names: Vec<HeaderName> = fields.keys().filter(|name| hop(name)).cloned().collect();
    for name in names {
        fields.remove(name);
    }
    fields.remove(header::TE);
    if trailers {
        fields.insert(header::TE, http::HeaderValue::from_static("trailers"));
    }
}
