//! The head of a client's HTTP/2 request.

use http::{HeaderMap, HeaderValue, Method, Request, header};
use model::{Authority, Reason, RequestPath};

use crate::config::Limits;
use crate::http1::fields;
use crate::http1::head::{Framing, RequestHead, Target, other_expectation};
use crate::refusal::Refusal;

/// The head of an HTTP/2 request in the form of the strict reader (RFC 9113 section 8.3).
pub(crate) fn http2_head<B>(request: &Request<B>, limits: &Limits) -> Result<RequestHead, Refusal> {
    let malformed = |detail: &'static str| Refusal::of(Reason::Malformed, detail);
    if request.method() == Method::CONNECT {
        return Err(Refusal::of(Reason::ProtocolNotAllowed, "CONNECT within a tunnel is not served"));
    }
    check_fields(request.headers(), limits)?;
    let method = request.method().as_str();
    model::check_method(method).map_err(|error| Refusal::of(Reason::Malformed, error.to_string()))?;
    if request.uri().scheme_str() != Some("https") {
        return Err(malformed(":scheme is not https"));
    }
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host =
        hosts.next().map(|host| host.to_str().map_err(|_| malformed("the Host field is not a host"))).transpose()?;
    if hosts.next().is_some() {
        return Err(malformed("duplicate Host header"));
    }
    let parse = |text: &str| Authority::parse(text, false).map_err(|_| malformed("the authority is not a host"));
    let host = match (authority, host) {
        (Some(authority), Some(host)) if parse(authority)? != parse(host)? => {
            return Err(malformed(":authority and host differ"));
        }
        (Some(authority), _) | (None, Some(authority)) => parse(authority)?,
        (None, None) => return Err(malformed("the request names no authority")),
    };
    let target = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if target.len() > limits.max_target_bytes {
        return Err(Refusal::of(Reason::UriTooLong, "the request target is too long"));
    }
    let target = match target {
        "*" => Target::Asterisk,
        path => Target::Origin(
            RequestPath::parse(path).map_err(|_| Refusal::of(Reason::BadTarget, "the path is not valid"))?,
        ),
    };
    Ok(RequestHead { method: request.method().clone(), target, host: Some(host), framing: Framing::Length(0) })
}

/// Checks what the library leaves to its user.
fn check_fields(fields: &HeaderMap, limits: &Limits) -> Result<(), Refusal> {
    let malformed = |detail: &'static str| Refusal::of(Reason::Malformed, detail);
    if fields.len() > limits.max_fields {
        return Err(Refusal::of(Reason::HeadTooLarge, "the head has too many fields"));
    }
    if fields.values().any(fields::is_padded) {
        return Err(malformed("a field value begins or ends with white space"));
    }
    let mut lengths = fields.get_all(header::CONTENT_LENGTH).iter().map(HeaderValue::as_bytes);
    if lengths.next().is_some_and(|length| fields::plain_length(length).is_none()) || lengths.next().is_some() {
        return Err(malformed("Content-Length is not one decimal number"));
    }
    if fields.get_all(header::EXPECT).iter().any(|expectation| !fields::is_continue(expectation.as_bytes())) {
        return Err(other_expectation());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const URI: &str = "https://api.example.com/a?b";

    /// The verdict on a request with these fields: its path, or the code of its refusal.
    fn verdict(uri: &str, fields: &[(&str, &str)]) -> Result<String, &'static str> {
        let mut request = Request::post(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let limits = Limits { max_fields: 4, max_target_bytes: 20, ..Limits::default() };
        let head = http2_head(&request.body(()).unwrap(), &limits).map_err(|refusal| refusal.reason().code())?;
        let host = Authority::parse("api.example.com", false).unwrap();
        assert_eq!((head.method, head.host, head.framing), (Method::POST, Some(host), Framing::Length(0)));
        Ok(head.target.path().map_or_else(|| "*".to_owned(), |path| path.target().to_owned()))
    }

    #[test]
    fn a_request_has_one_host_and_one_target() {
        assert_eq!(verdict(URI, &[]), Ok("/a?b".to_owned()));
        assert_eq!(verdict("https://API.example.com", &[("host", "api.example.com")]), Ok("/".to_owned()));
        assert_eq!(verdict("/a", &[("host", "api.example.com")]), Err("malformed"), "no scheme");
        assert_eq!(verdict("http://api.example.com/", &[]), Err("malformed"));
        assert_eq!(verdict(URI, &[("host", "other.example.com")]), Err("malformed"));
        assert_eq!(verdict(URI, &[("host", "api.example.com"), ("host", "api.example.com")]), Err("malformed"));
        assert_eq!(verdict(&format!("{URI}{}", "c".repeat(20)), &[]), Err("uri_too_long"));
    }

    #[test]
    fn t066_a_length_has_one_meaning() {
        assert!(verdict(URI, &[("content-length", "5")]).is_ok());
        for bad in ["", "05", "+5", "5, 5", "0x5", "12345678901234567890"] {
            assert_eq!(verdict(URI, &[("content-length", bad)]), Err("malformed"), "{bad}");
        }
        assert_eq!(verdict(URI, &[("content-length", "5"), ("content-length", "5")]), Err("malformed"));
    }

    #[test]
    fn t066_values_are_not_padded_and_fields_are_bounded() {
        assert!(verdict(URI, &[("x", "a b"), ("y", "")]).is_ok());
        for bad in [" a", "a ", "\ta", "a\t"] {
            assert_eq!(verdict(URI, &[("x", bad)]), Err("malformed"), "{bad:?}");
        }
        let many = [("a", "1"), ("a", "2"), ("b", "3"), ("c", "4"), ("d", "5")];
        assert!(verdict(URI, &many[..4]).is_ok());
        assert_eq!(verdict(URI, &many), Err("head_too_large"));
    }

    #[test]
    fn t055_another_expectation_is_refused() {
        assert!(verdict(URI, &[("expect", "100-Continue")]).is_ok());
        assert_eq!(verdict(URI, &[("expect", "other")]), Err("expect_unsupported"));
        assert_eq!(verdict(URI, &[("expect", "100-continue"), ("expect", "x")]), Err("expect_unsupported"));
    }
}
