//! Step 10: takes secrets out of what comes back. Where a credential went with the request, its bytes are masked in the
//! response's fields, body and trailers, at the same length, however they are cut.

use http::{Response, header};
use hyper::body::Incoming;
use model::Reason;

use crate::body::mask_fields;
use crate::mask::Masker;
use crate::refusal::Refusal;
use crate::steps::forward::{Reply, Upstreamed};

/// A response that may be shown to the client.
pub(crate) struct Redacted {
    pub(crate) response: Response<Incoming>,
    /// Masks the body; `None` where no credential went out.
    pub(crate) masker: Option<Masker>,
    pub(crate) upstreamed: Upstreamed,
}

/// Prepares a response for the client.
///
/// # Errors
/// `redaction_impossible` where the body is coded though identity was asked for, or is a part that nobody asked for.
pub(crate) fn redact(reply: Reply) -> Result<Redacted, Refusal> {
    let Reply { mut response, leases, patterns, upstreamed } = reply;
    // It would lead the client to another protocol and port, past the proxy.
    response.headers_mut().remove(header::ALT_SVC);
    if leases.is_empty() {
        return Ok(Redacted { response, masker: None, upstreamed });
    }
    if !http_body::Body::is_end_stream(response.body()) && is_coded(&response) {
        return Err(Refusal::of(
            Reason::RedactionImpossible,
            "the upstream coded a response though it was asked not to",
        ));
    }
    if response.status() == http::StatusCode::PARTIAL_CONTENT {
        return Err(Refusal::of(
            Reason::RedactionImpossible,
            "the upstream sent a part though the whole was asked for",
        ));
    }
    let mut masker = Masker::new(patterns);
    drop(leases);
    mask_fields(&mut masker, response.headers_mut());
    Ok(Redacted { response, masker: Some(masker), upstreamed })
}

/// Whether the body is in any coding but identity.
fn is_coded(response: &Response<Incoming>) -> bool {
    let values = response.headers().get_all(header::CONTENT_ENCODING);
    values.iter().flat_map(|value| value.as_bytes().split(|b| *b == b',')).any(|coding| {
        let coding = coding.trim_ascii();
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
    })
}
