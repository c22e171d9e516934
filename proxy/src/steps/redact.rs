//! Steps 9 and 11: secrets are taken out of what comes back. Before the request is sent, the upstream is asked for a response in
//! which they can be found; in the response's fields, body and trailers they are masked at the same length, however they are cut.
//!
//! It does not matter whether a credential went with this request: an upstream can show what another request carried. So every
//! response is masked whose host is named by the audience of any credential, for the values of all of these.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use hyper::body::Incoming;
use model::{Destination, Host, Reason, TenantId};
use vault::{Needles, Vault};

use crate::coding::{CodingError, Decoder};
use crate::lending::unlent;
use crate::mask::{Guessed, Masker, Patterns};
use crate::range::{self, Fit, Part, Slice};
use crate::refusal::Refusal;
use crate::rewriter::{Rewriter, mask_fields};
use crate::steps::forward::{Reply, Upstreamed};
use crate::steps::inject::Armed;

/// A response that may be shown to the client.
pub(crate) struct Redacted {
    pub(crate) response: Response<Incoming>,
    /// Rewrites the body; `None` where the host is in no audience.
    pub(crate) rewriter: Option<Rewriter>,
    pub(crate) upstreamed: Upstreamed,
}

/// What has to be known of a request to mask its response.
pub(crate) struct Masking {
    host: Host,
    tenant: TenantId,
    part: Option<Part>,
    is_masked: bool,
}

/// Fields of a response that describe the bytes as the upstream sent them.
const OF_CODED_BYTES: [&str; 7] =
    ["content-encoding", "content-length", "content-digest", "content-md5", "digest", "repr-digest", "accept-ranges"];
/// Prefixes of such fields.
const OF_CODED_BYTES_PREFIXES: [&str; 2] = ["x-amz-checksum-", "x-goog-hash"];

/// Asks for a response that can be masked: in no coding, and of a part as much on both sides as a secret is long.
///
/// # Errors
/// `redaction_impossible` for a range that cannot be served, `credential_unavailable` where a value does not open. Nothing was
/// sent then.
pub(crate) fn prepare(
    vault: &Vault,
    tenant: &TenantId,
    destination: &Destination,
    armed: &mut Armed,
) -> Result<Masking, Refusal> {
    let host = destination.host().clone();
    let sets = sets(vault, &host, &armed.patterns)?;
    let mut masking = Masking { host, tenant: tenant.clone(), part: None, is_masked: !sets.is_empty() };
    if !masking.is_masked {
        return Ok(masking);
    }
    let fields = &mut armed.fields;
    let identity = HeaderValue::from_static("identity");
    if fields.insert(header::ACCEPT_ENCODING, identity.clone()).is_some_and(|asked| asked != identity) {
        armed.stripped.push("accept-encoding".into());
    }
    // A response to HEAD has no bytes, so its part has no border.
    if armed.method == Method::HEAD {
        return Ok(masking);
    }
    let longest = sets.iter().map(|set| set.longest()).max().unwrap_or_default();
    let asked = range::asked(fields).map_err(|range::Unservable(why)| impossible(why))?;
    if let Some(asked) = asked {
        if is_range_signed(fields, &armed.target) {
            return Err(impossible("the client has signed the Range field, which has to be changed for masking"));
        }
        let part = Part::new(asked, longest);
        fields.insert(header::RANGE, part.wider());
        masking.part = Some(part);
    }
    Ok(masking)
}

/// Prepares a response for the client.
///
/// # Errors
/// `redaction_impossible` where secrets could be in the body and cannot be found there, or where the head holds one among guesses.
pub(crate) fn redact(reply: Reply, masking: &Masking, vault: &Vault) -> Result<Redacted, Refusal> {
    let Reply { mut response, leases, patterns, upstreamed } = reply;
    // What was put while the upstream thought about it counts too.
    let sets = sets(vault, &masking.host, &patterns)?;
    drop(leases);
    if sets.is_empty() {
        return Ok(Redacted { response, rewriter: None, upstreamed });
    }
    let longest = sets.iter().map(|set| set.longest()).max().unwrap_or_default();
    let mut masker = Masker::new(sets, masking.tenant.clone());
    mask_fields(&mut masker, response.headers_mut()).map_err(|Guessed| guessed())?;
    let has_body = !http_body::Body::is_end_stream(response.body());
    let slice = if has_body || response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        slice(&mut response, masking.part, longest)?
    } else {
        None
    };
    let decoder = if has_body { decoder(&mut response)? } else { None };
    if decoder.is_some() && slice.is_some() {
        return Err(impossible("the upstream sent a part of a coded response"));
    }
    let rewriter = Rewriter::new(masker, decoder, slice, response.headers());
    Ok(Redacted { response, rewriter: Some(rewriter), upstreamed })
}

/// What must not come back from a host: every value whose audience names it, and what was made of one for this request.
fn sets(vault: &Vault, host: &Host, patterns: &Patterns) -> Result<Vec<Arc<Needles>>, Refusal> {
    let known = vault.needles(host).map_err(unlent)?;
    let is_new = |pattern: &&zeroize::Zeroizing<Vec<u8>>| known.as_ref().is_none_or(|known| !known.is_form(pattern));
    let made: Patterns = patterns.iter().filter(is_new).cloned().collect();
    let made = if made.is_empty() { None } else { Needles::of_request(made).map_err(|_| no_random())?.map(Arc::new) };
    Ok(known.into_iter().chain(made).collect())
}

/// What undoes the codings of a body, and a head that says so.
fn decoder(response: &mut Response<Incoming>) -> Result<Option<Decoder>, Refusal> {
    let fields = response.headers_mut();
    let decoder = match Decoder::of(fields) {
        Ok(None) => return Ok(None),
        Ok(Some(decoder)) => decoder,
        Err(CodingError::Unsupported | CodingError::Broken | CodingError::Expands) => {
            return Err(impossible(
                "the upstream coded a response in a way that is not read, though it was asked not to",
            ));
        }
    };
    describe_decoded(fields);
    Ok(Some(decoder))
}

/// Changes a head for a body that was coded and is not any more.
fn describe_decoded(fields: &mut HeaderMap) {
    let of_coded = |name: &&HeaderName| {
        let name = name.as_str();
        OF_CODED_BYTES.contains(&name) || OF_CODED_BYTES_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    let names: Vec<HeaderName> = fields.keys().filter(of_coded).cloned().collect();
    for name in names {
        fields.remove(name);
    }
    // A strong tag stands for the very bytes (RFC 9110 section 8.8.1).
    if let Some(tag) = fields.get(header::ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/"))
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
    {
        fields.insert(header::ETAG, weak);
    }
}

/// What of a part the client gets, and a head that says so; `None` for a whole response.
fn slice(response: &mut Response<Incoming>, part: Option<Part>, longest: usize) -> Result<Option<Slice>, Refusal> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return Ok(None);
    }
    let unfit = || impossible("the upstream sent another part than it was asked for");
    let content_range = response.headers().get(header::CONTENT_RANGE);
    let Some(part) = part else {
        // A part of something that has no bytes is whole as it is.
        let is_whole = content_range.is_some_and(|value| !value.as_bytes().to_ascii_lowercase().starts_with(b"bytes"));
        return if is_whole { Ok(None) } else { Err(unfit()) };
    };
    if part.margin() + 1 < longest as u64 {
        return Err(impossible("a longer secret was stored while the upstream was asked"));
    }
    match part.fit(content_range.ok_or_else(unfit)?).ok_or_else(unfit)? {
        Fit::Slice(slice) => {
            let fields = response.headers_mut();
            fields.insert(header::CONTENT_RANGE, slice.content_range());
            fields.insert(header::CONTENT_LENGTH, HeaderValue::from(slice.take));
            Ok(Some(slice))
        }
        Fit::Beyond(total) => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            let (slice, whole) = (Slice::nothing(), HeaderValue::from_str(&format!("bytes */{total}")));
            let fields = response.headers_mut();
            fields.insert(header::CONTENT_RANGE, whole.map_err(|_| unfit())?);
            fields.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
            Ok(Some(slice))
        }
    }
}

/// Whether a signature of AWS covers the field (`SignedHeaders`), in a header or in the query.
fn is_range_signed(fields: &HeaderMap, target: &str) -> bool {
    let lists_range = |text: &str, separators: &[&str]| {
        let rest = text.split_once("signedheaders=").map_or("", |(_, rest)| rest);
        let list = rest.split([',', '&', ' ']).next().unwrap_or_default();
        separators.iter().any(|separator| list.split(separator).any(|name| name == "range"))
    };
    let header = fields.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    lists_range(&header.to_ascii_lowercase(), &[";"])
        || lists_range(&target.replace('-', "").to_ascii_lowercase(), &[";", "%3b"])
}

fn impossible(detail: &'static str) -> Refusal {
    Refusal::of(Reason::RedactionImpossible, detail)
}

fn guessed() -> Refusal {
    impossible("the head of the response holds a secret among many values that look like it").with_class("guesses")
}

fn no_random() -> Refusal {
    Refusal::of(Reason::Internal, "the system gave no random bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        all.iter().map(field).collect()
    }

    #[test]
    fn t093_the_head_of_a_decoded_body_describes_what_is_sent() {
        let mut head = fields(&[
            ("content-encoding", "gzip"),
            ("content-length", "7"),
            ("content-md5", "x"),
            ("digest", "x"),
            ("repr-digest", "x"),
            ("x-amz-checksum-crc32", "x"),
            ("accept-ranges", "bytes"),
            ("etag", "\"abc\""),
            ("last-modified", "then"),
        ]);
        describe_decoded(&mut head);
        assert_eq!(head, fields(&[("etag", "W/\"abc\""), ("last-modified", "then")]));
        describe_decoded(&mut head);
        assert_eq!(head.get("etag").unwrap(), "W/\"abc\"");
    }

    #[test]
    fn t219_a_signed_range_is_found() {
        let with = |value: &'static str| fields(&[("authorization", value)]);
        let signed = "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;range;x-amz-date, Signature=c";
        assert!(is_range_signed(&with(signed), "/key"));
        assert!(!is_range_signed(&with("AWS4-HMAC-SHA256 SignedHeaders=host;x-amz-date, Signature=range"), "/range"));
        assert!(!is_range_signed(&with("Bearer range"), "/a?range=1"));
        assert!(is_range_signed(&HeaderMap::new(), "/a?X-Amz-SignedHeaders=host%3Brange&X-Amz-Signature=b"));
        assert!(!is_range_signed(&HeaderMap::new(), "/a?X-Amz-SignedHeaders=host&range=1"));
    }
}
