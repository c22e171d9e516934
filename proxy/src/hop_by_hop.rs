//! Fields that concern one connection alone: they are removed in both directions (RFC 9110 section 7.6.1).

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, header};
use model::Fields;
use redaction::codec;

use crate::http1::fields;

/// In either direction.
static OF_CONNECTION: [HeaderName; 6] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// Fields of a response that a proxy sends to its own client. `Proxy-Status` is for the client after it (RFC 9209).
static OF_PROXY: [HeaderName; 2] = [header::PROXY_AUTHENTICATE, HeaderName::from_static("proxy-authentication-info")];

/// A name in a Connection field that is not a field name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAName;

/// The fields that Connection lists.
///
/// # Errors
/// It lists a value that is not a field name.
pub(crate) fn listed(fields: &Fields) -> Result<Vec<HeaderName>, NotAName> {
    let values = fields.get_all(header::CONNECTION).map(HeaderValue::as_bytes);
    let tokens = values.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let is_option = |token: &&[u8]| {
        [&b""[..], b"close", b"keep-alive", b"te", b"upgrade"].iter().any(|option| token.eq_ignore_ascii_case(option))
    };
    tokens.filter(|token| !is_option(token)).map(|token| HeaderName::from_bytes(token).map_err(|_| NotAName)).collect()
}

/// The fields of a request that ask for another protocol, which are removed.
pub(crate) fn asked_upgrade(fields: &Fields) -> Vec<Cow<'static, str>> {
    ["upgrade", "http2-settings"].into_iter().filter(|name| fields.contains(*name)).map(Cow::Borrowed).collect()
}

/// Removes them from a request. `TE: trailers` stays, because the upstream's trailers reach the client.
pub(crate) fn remove_from_request(fields: &mut Fields) {
    let is_hop = |name: &HeaderName| name.as_str().starts_with("proxy-") || OF_CONNECTION.contains(name);
    // Nearly all requests have none of these; one pass over the names checks that.
    if !fields.names().any(|name| *name == header::TE || is_hop(name)) {
        return;
    }
    let trailers = fields::lists(fields, &header::TE, b"trailers");
    remove(fields, is_hop);
    fields.remove(header::TE);
    if trailers {
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes them from a response, with the fields that its Connection field lists. Fields that describe the content stay: without them,
/// a coded body would be searched for secrets as if it were plain.
pub(crate) fn remove_from_response(fields: &mut Fields) {
    if fields.contains(header::CONNECTION) {
        let listed: Vec<HeaderName> = fields
            .get_all(header::CONNECTION)
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .collect();
        for name in listed.iter().filter(|name| !codec::describes_content(name)) {
            fields.remove(name);
        }
    }
    remove(fields, |name| OF_CONNECTION.contains(name) || OF_PROXY.contains(name));
}

fn remove(fields: &mut Fields, is_hop: impl Fn(&HeaderName) -> bool) {
    fields.remove_named(is_hop);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(sent: &[(&'static str, &'static str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in sent {
            fields.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        fields
    }

    fn names(fields: &Fields) -> Vec<&str> {
        let mut names: Vec<&str> = fields.names().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_concerns_the_upstreams_connection_alone_stays_behind() {
        let mut response = fields(&[
            ("connection", "keep-alive, X-Hop"),
            ("connection", "x-other, not a name"),
            ("x-hop", "1"),
            ("x-other", "2"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("proxy-authenticate", "Basic"),
            ("proxy-status", "cdn"),
            ("x-kept", "3"),
            ("connection", "content-encoding, Content-Type, grpc-encoding, im"),
            ("content-encoding", "gzip"),
            ("content-type", "application/grpc"),
            ("grpc-encoding", "gzip"),
            ("im", "gzip"),
        ]);
        remove_from_response(&mut response);
        let left = ["content-encoding", "content-type", "grpc-encoding", "im", "proxy-status", "x-kept"];
        assert_eq!(names(&response), left);
    }

    #[test]
    fn a_request_keeps_te_for_trailers_alone() {
        let mut request = fields(&[
            ("te", "gzip, trailers;q=0.5"),
            ("proxy-x", "1"),
            ("http2-settings", "A"),
            ("upgrade", "h2c"),
            ("a", "1"),
        ]);
        remove_from_request(&mut request);
        assert_eq!(
            (names(&request), request.get("te").unwrap()),
            (vec!["a", "te"], &HeaderValue::from_static("trailers"))
        );
        let mut request = fields(&[("te", "gzip"), ("a", "1")]);
        remove_from_request(&mut request);
        assert_eq!(names(&request), ["a"]);
    }

    #[test]
    fn connection_lists_names_and_options() {
        let listed = |value: &'static str| listed(&fields(&[("connection", value)]));
        assert_eq!(listed("close, TE, Keep-Alive, upgrade, ,"), Ok(vec![]));
        assert_eq!(
            listed("X-One,close, x-two"),
            Ok(vec![HeaderName::from_static("x-one"), HeaderName::from_static("x-two")])
        );
        assert_eq!(listed("x one"), Err(NotAName));
    }
}
