//! Step 6: a request within its destination. Checks that it names the destination of its connection, canonicalizes the
//! path, and removes hop-by-hop fields (RFC 9110 section 7.6.1).

use http::{HeaderName, header};
use model::{Fields, Reason, RequestPath};

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
/// `authority_mismatch` if it names another destination, `protocol_not_allowed` for CONNECT, `malformed` if its Connection
/// field names a field that must arrive.
pub(crate) fn route(exchange: Exchange<'_>, asked: Asked) -> Result<Routed, Refusal> {
    let destination = exchange.destination;
    let Asked { head, version, mut fields, body } = asked;
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
    let websocket = fields::lists(&fields, &header::UPGRADE, b"websocket");
    let mut stripped = hop_by_hop::asked_upgrade(&fields);
    let named_by_connection = remove_named_by_connection(&mut fields)?;
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

/// Removes the fields that Connection lists, which belong to this hop, and returns their names.
fn remove_named_by_connection(fields: &mut Fields) -> Result<Vec<HeaderName>, Refusal> {
    if !fields.contains(header::CONNECTION) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, collect, fields};

    const RULE: &str = "{id: r, allow: {host: api.example.com}}";

    async fn routed(head: &str) -> Result<Routed, Refusal> {
        let bench = Bench::new(&[RULE]);
        let asked = bench.asked(head).await;
        route(bench.exchange(), asked)
    }

    async fn refused(head: &str) -> Reason {
        routed(head).await.err().unwrap().reason()
    }

    #[tokio::test]
    async fn a_request_names_the_destination_of_its_connection() {
        for head in [
            "GET /a?b HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
            "GET /a?b HTTP/1.1\r\nHost: API.example.com:443\r\n\r\n",
            "GET https://api.example.com/a?b HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
        ] {
            assert_eq!(routed(head).await.unwrap().path.target(), "/a?b", "{head}");
        }
        for head in [
            "GET / HTTP/1.1\r\nHost: other.example.com\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: api.example.com:8443\r\n\r\n",
            "GET http://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
            "GET https://other.example.com/ HTTP/1.1\r\nHost: other.example.com\r\n\r\n",
        ] {
            assert_eq!(refused(head).await, Reason::AuthorityMismatch, "{head}");
        }
    }

    #[tokio::test]
    async fn the_body_stays_and_the_asterisk_is_a_path() {
        let routed =
            routed("OPTIONS * HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
        assert_eq!((routed.method.as_str(), routed.path.target(), routed.websocket), ("OPTIONS", "*", false));
        assert_eq!(routed.body.announced(), Some(2));
    }

    #[tokio::test]
    async fn fields_of_one_hop_are_removed_with_what_connection_lists() {
        let head = "GET / HTTP/1.1\r\nHost: api.example.com\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
                    TE: trailers, gzip\r\nX-End: 2\r\n\r\n";
        let routed = routed(head).await.unwrap();
        let mut left: Vec<(&str, &[u8])> =
            routed.fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        left.retain(|(name, _)| *name != "host");
        assert_eq!(left, [("x-end", &b"2"[..]), ("te", b"trailers")]);
        assert_eq!(routed.named_by_connection, ["x-hop"]);
        assert!(routed.stripped.is_empty(), "{:?}", routed.stripped);
    }

    #[test]
    fn connection_cannot_list_what_has_to_arrive() {
        for listed in ["Content-Length", "host", "authorization, close", "cookie", "not a name"] {
            let mut head = fields(&[("connection", listed), ("x", "1")]);
            let refusal = remove_named_by_connection(&mut head).unwrap_err();
            assert_eq!(refusal.reason(), Reason::Malformed, "{listed}");
        }
        let mut head = fields(&[("x", "1")]);
        assert!(remove_named_by_connection(&mut head).unwrap().is_empty());
        assert_eq!(head, fields(&[("x", "1")]));
    }

    #[tokio::test]
    async fn steering_fields_are_removed_and_named() {
        let head =
            "GET / HTTP/1.1\r\nHost: api.example.com\r\nX-Forwarded-Host: other.example.com\r\nAccept: */*\r\n\r\n";
        let routed = routed(head).await.unwrap();
        assert_eq!(routed.stripped, ["x-forwarded-host"]);
        assert_eq!(routed.fields.get("accept").unwrap(), "*/*");
        assert!(!routed.fields.contains("x-forwarded-host"));
        let framing = "GET / HTTP/1.1\r\nHost: api.example.com\r\nContent_Length: 1\r\n\r\n";
        assert_eq!(refused(framing).await, Reason::AmbiguousFraming);
    }

    #[tokio::test]
    async fn a_websocket_is_seen_before_its_fields_are_removed() {
        let head = "GET / HTTP/1.1\r\nHost: api.example.com\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n";
        let routed = routed(head).await.unwrap();
        assert!(routed.websocket && !routed.fields.contains("upgrade") && !routed.fields.contains("connection"));
    }

    #[tokio::test]
    async fn the_tool_at_work_is_that_of_the_session() {
        let bench = Bench::new(&[RULE]);
        assert!(bench.session.begin_tool_call(sessions::ToolCall { id: "c1".into(), tool: "fetch".into() }));
        let asked = bench.asked("POST / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 3\r\n\r\nabc").await;
        let routed = route(bench.exchange(), asked).unwrap();
        assert_eq!(routed.tool.as_deref(), Some("fetch"));
        let line = bench.line("POST", "/");
        let decoding = bench.core.proxy.slot_bodies.decoding(&bench.session.id);
        let flow = crate::fed::flow(false);
        let upload = crate::body::upload::Upload::new(routed.body, None, None, &line.active, (&flow, decoding));
        assert_eq!(collect(upload).await.unwrap().0, "abc");
    }
}
