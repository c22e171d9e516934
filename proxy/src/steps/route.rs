//! Step 6: a request within its destination. Checks that it names the very destination of its connection, canonicalizes the
//! path, and removes what belongs to one hop only (RFC 9110 section 7.6.1).

use http::{HeaderMap, HeaderName, header};
use model::{Reason, RequestPath};

use crate::body::buffered::Payload;
use crate::context::Exchange;
use crate::credentials::client_auth;
use crate::hop_by_hop;
use crate::http1::fields;
use crate::http1::head::Target;
use crate::refusal::Refusal;
use crate::request::{Asked, Routed};

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
    hop_by_hop::remove_from_request(&mut fields);
    Ok(Routed {
        method: head.method,
        path,
        fields,
        body: Payload::from(body),
        version,
        websocket,
        tool: exchange.session().tool(),
        stripped,
        named_by_connection,
    })
}

/// Removes the fields that Connection lists, which concern this hop, and gives their names.
fn remove_named_by_connection(fields: &mut HeaderMap) -> Result<Vec<HeaderName>, Refusal> {
    if !fields.contains_key(header::CONNECTION) {
        return Ok(Vec::new());
    }
    let listed = hop_by_hop::listed(fields)
        .map_err(|hop_by_hop::NotAName| malformed("Connection lists something that is not a field name"))?;
    for name in &listed {
        if [header::HOST, header::CONTENT_LENGTH, header::AUTHORIZATION, header::COOKIE].contains(name) {
            return Err(malformed("Connection lists a field that has to arrive"));
        }
        fields.remove(name);
    }
    Ok(listed)
}

fn malformed(detail: &'static str) -> Refusal {
    Refusal::of(Reason::Malformed, detail)
}
