//! The head of a client's HTTP/2 request.

use http::{HeaderMap, HeaderValue, Method, Request, header};
use model::{Authority, Reason, RequestPath};

use crate::config::Limits;
use crate::http1::fields;
use crate::http1::head::{Framing, RequestHead, Target};
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
    let is_plain = |digits: &[u8]| {
        matches!(digits, [b'0'] | [b'1'..=b'9', ..]) && digits.len() <= 19 && digits.iter().all(u8::is_ascii_digit)
    };
    if lengths.next().is_some_and(|length| !is_plain(length)) || lengths.next().is_some() {
        return Err(malformed("Content-Length is not one decimal number"));
    }
    Ok(())
}
