//! Step 16: secrets are masked in responses. Before the request is sent, it is changed to ask for a response in which
//! secrets can be found. In the fields, body and trailers of the response they are masked at the same length, wherever pieces are
//! split.
//!
//! Masking does not depend on the credentials of this request: an upstream can reveal a value that another request carried. So
//! a response is masked if the audience of any credential names its host, for the values of all such credentials.

use std::borrow::Cow;
use std::pin::Pin;

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};
use model::{Fields, Reason};

use crate::body::incoming::Incoming;
use crate::body::known::Known;
use crate::body::masked::Masked;
use crate::body::range;
use crate::body::range::{Fit, Part, Slice};
use crate::body::rewriter::{Rewriter, Unmaskable, mask_fields};
use crate::context::Exchange;
use crate::credentials::access::unavailable;
use crate::message::Response;
use crate::refusal::Refusal;
use crate::steps::forward::{Reply, Upstreamed};
use crate::steps::inject::Armed;
use redaction::codec;
use redaction::codec::{CodingError, Decoder};
use redaction::messages::is_in_messages;
use redaction::stream::{Guessed, Masker};

/// A response that may be shown to the client.
pub(crate) struct Redacted {
    pub(crate) response: Response<Incoming>,
    pub(crate) masked: Masked,
    pub(crate) upstreamed: Upstreamed,
}

/// Fields of a response that describe the bytes as the upstream sent them.
const OF_CODED_BYTES: [&str; 7] =
    ["content-encoding", "content-length", "content-digest", "content-md5", "digest", "repr-digest", "accept-ranges"];
/// Prefixes of such fields.
const OF_CODED_BYTES_PREFIXES: [&str; 2] = ["x-amz-checksum-", "x-goog-hash"];
/// Fields of a request that ask for codings in addition to `Accept-Encoding`: deltas (RFC 3229) and dictionaries (RFC 9842,
/// and SDCH).
static ASKS_FOR_CODINGS: [HeaderName; 4] = [
    HeaderName::from_static("a-im"),
    HeaderName::from_static("available-dictionary"),
    HeaderName::from_static("dictionary-id"),
    HeaderName::from_static("avail-dictionary"),
];
/// Those that ask for messages in a coding. Without them a server may answer in the coding of the request.
static ASKS_FOR_CODED_MESSAGES: [(HeaderName, &[u8]); 2] = [
    (HeaderName::from_static("grpc-accept-encoding"), b"application/grpc"),
    (HeaderName::from_static("connect-accept-encoding"), b"application/connect+"),
];

/// Asks for a response that can be masked: without a coding, and for a range wider on both sides by the length of a secret.
/// Returns that range.
///
/// # Errors
/// `redaction_impossible` for a range that cannot be served, `credential_unavailable` if a value does not open. Nothing was
/// sent then.
pub(crate) fn prepare(exchange: Exchange<'_>, armed: &mut Armed) -> Result<Option<Part>, Refusal> {
    let (_, needles) = exchange.core.proxy.needles.at(exchange.destination.host()).map_err(unavailable)?;
    if needles.is_none() && armed.patterns.is_empty() {
        return Ok(None);
    }
    ask_for_identity(&mut armed.fields, &mut armed.stripped);
    let fields = &mut armed.fields;
    // A response to HEAD has no bytes, so its range has no border.
    if armed.method == Method::HEAD {
        return Ok(None);
    }
    let Some(asked) = range::asked(fields).map_err(|range::Unservable(why)| impossible(why))? else { return Ok(None) };
    if is_range_signed(fields, &armed.target) {
        return Err(impossible("the client has signed the Range field, which has to be changed for masking"));
    }
    let made = armed.patterns.iter().map(|pattern| pattern.len()).max().unwrap_or_default();
    let part = Part::new(asked, needles.map_or(0, |needles| needles.longest()).max(made));
    fields.insert(header::RANGE, part.wider());
    Ok(Some(part))
}

/// Asks for a response in no coding, neither of the whole nor of its messages. Notes the codings that the client had asked
/// for.
fn ask_for_identity(fields: &mut Fields, stripped: &mut Vec<Cow<'static, str>>) {
    let identity = || HeaderValue::from_static("identity");
    if fields.insert(header::ACCEPT_ENCODING, identity()).is_some_and(|asked| asked != identity()) {
        stripped.push("accept-encoding".into());
    }
    for name in &ASKS_FOR_CODINGS {
        if fields.remove(name).is_some() {
            stripped.push(name.as_str().to_owned().into());
        }
    }
    for (name, kind) in &ASKS_FOR_CODED_MESSAGES {
        let named = fields.get(header::CONTENT_TYPE).and_then(|value| value.as_bytes().get(..kind.len()));
        let is_of_kind = named.is_some_and(|named| named.eq_ignore_ascii_case(kind));
        if !is_of_kind && !fields.contains(name) {
            continue;
        }
        if fields.insert(name.clone(), identity()).is_some_and(|asked| asked != identity()) {
            stripped.push(name.as_str().to_owned().into());
        }
    }
}

/// Prepares a response for the client.
///
/// # Errors
/// `redaction_impossible` if secrets could be in the body and cannot be found there, or if the head contains one among
/// many similar values; `session_quota` and `overloaded` if there is no memory to decode it; `upstream_protocol` if it ends
/// before that.
///
/// # Cancellation
/// The response is dropped.
pub(crate) fn redact(
    exchange: Exchange<'_>,
    reply: Reply,
    part: Option<Part>,
) -> impl Future<Output = Result<Redacted, Refusal>> + use<> {
    // Outside of the future, which would hold the reply, too.
    let mut redacted = rewrite(exchange, reply, part);
    async move {
        if let Ok(Redacted { response, masked, .. }) = &mut redacted
            && masked.rewrites().is_some_and(Rewriter::decodes)
        {
            // Boxed: few responses have a coding, and it would enlarge every exchange.
            Box::pin(begin(&mut response.body, masked)).await?;
        }
        redacted
    }
}

/// Decodes the first bytes of a body before its head is sent. By then its window is known and its memory is taken, so a response
/// without memory is refused. After the head it could only be terminated.
async fn begin(incoming: &mut Incoming, masked: &mut Masked) -> Result<(), Refusal> {
    loop {
        masked.hold_memory().map_err(unmaskable)?;
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *incoming).poll_frame(cx)).await;
        let frame = frame.transpose().map_err(|error| {
            tracing::debug!(%error, "a coded response broke off");
            Refusal::of(Reason::UpstreamProtocol, "the upstream broke off before the first bytes of its response")
        })?;
        let data = match frame.map(Frame::into_data) {
            None => return Ok(()),
            Some(Ok(data)) => data,
            Some(Err(trailers)) => {
                *incoming = Incoming::Trailers(Some(trailers));
                return Ok(());
            }
        };
        if masked.rewriter().map_or(Ok(true), |rewriter| rewriter.begin(&data)).map_err(unmaskable)? {
            return masked.hold_memory().map_err(unmaskable);
        }
    }
}

fn unmaskable(why: Unmaskable) -> Refusal {
    match why {
        Unmaskable::Memory(spent) => spent.refusal(),
        Unmaskable::Guessed(_) => {
            impossible("the response holds a secret among many values that look like it").with_class("guesses")
        }
        Unmaskable::Coding(_) | Unmaskable::Late | Unmaskable::Unopened => Refusal::of(why.reason(), why.to_string()),
    }
}

/// Masks the head, and prepares the masker of the body.
fn rewrite(exchange: Exchange<'_>, reply: Reply, part: Option<Part>) -> Result<Redacted, Refusal> {
    let (proxy, destination, tenant) = (&exchange.core.proxy, exchange.destination, &exchange.session().tenant);
    let Reply { mut response, leases, patterns, upstreamed } = reply;
    // Values stored while the upstream was processing the request count too.
    let known = Known::now(&proxy.needles, destination.host(), &patterns)?;
    drop(leases);
    let sets = known.sets();
    let mut masked = Masked {
        proxy: proxy.clone(),
        known,
        tenant: tenant.clone(),
        rewriter: None,
        can_begin_late: can_begin_late(&response),
        decoding: proxy.slot_bodies.decoding(&exchange.session().id),
    };
    if sets.is_empty() {
        return Ok(Redacted { response, masked, upstreamed });
    }
    let longest = sets.longest();
    let mut masker = Masker::new(sets, tenant.clone());
    let found_in = mask_fields(&mut masker, &mut response.fields).map_err(|Guessed| guessed())?;
    let has_body = !http_body::Body::is_end_stream(&response.body);
    let slice = if has_body || response.status == StatusCode::RANGE_NOT_SATISFIABLE {
        slice(&mut response, part, longest)?
    } else {
        None
    };
    if has_body && has_other_coding(&response) {
        return Err(impossible("the upstream coded what is in a response, though it was asked not to"));
    }
    let decoder = if has_body { decoder(&mut response)? } else { None };
    if slice.is_some() && (decoder.is_some() || is_in_messages(&response.fields)) {
        return Err(impossible("the upstream sent a part of a coded response"));
    }
    masked.rewriter = Some(Box::new(Rewriter::new(masker, decoder, slice, &response.fields).with_head(&found_in)));
    Ok(Redacted { response, masked, upstreamed })
}

/// Whether the body has a coding that `Content-Encoding` does not name: a delta (RFC 3229), or compressed messages.
fn has_other_coding(response: &Response<Incoming>) -> bool {
    response.status == StatusCode::IM_USED || codec::has_other(&response.fields)
}

/// Whether a secret that is stored later can be found in the rest of the body.
fn can_begin_late(response: &Response<Incoming>) -> bool {
    response.status != StatusCode::PARTIAL_CONTENT
        && !has_other_coding(response)
        && matches!(Decoder::of(&response.fields), Ok(None))
}

impl Redacted {
    /// The length that the client can expect of the body.
    pub(crate) fn hint(&self) -> SizeHint {
        self.masked.hint(http_body::Body::size_hint(&self.response.body).exact())
    }
}

/// The decoders of a body, and a matching head.
fn decoder(response: &mut Response<Incoming>) -> Result<Option<Decoder>, Refusal> {
    let fields = &mut response.fields;
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

/// Changes a head for a body that was decoded.
fn describe_decoded(fields: &mut Fields) {
    fields.remove_named(|name| {
        let name = name.as_str();
        OF_CODED_BYTES.contains(&name) || OF_CODED_BYTES_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    });
    // A strong tag identifies the exact bytes (RFC 9110 section 8.8.1).
    if let Some(tag) = fields.get(header::ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/"))
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
    {
        fields.insert(header::ETAG, weak);
    }
}

/// The slice of a range that the client gets, and a matching head; `None` for a whole response.
fn slice(response: &mut Response<Incoming>, part: Option<Part>, longest: usize) -> Result<Option<Slice>, Refusal> {
    if response.status != StatusCode::PARTIAL_CONTENT {
        return Ok(None);
    }
    let unfit = || impossible("the upstream sent another part than it was asked for");
    let content_range = response.fields.get(header::CONTENT_RANGE);
    let Some(part) = part else {
        // A range of a response without bytes is already whole.
        let is_whole = content_range.is_some_and(|value| !value.as_bytes().to_ascii_lowercase().starts_with(b"bytes"));
        return if is_whole { Ok(None) } else { Err(unfit()) };
    };
    if !part.shows(longest) {
        return Err(impossible("a longer secret was stored while the upstream was asked"));
    }
    match part.fit(content_range.ok_or_else(unfit)?).ok_or_else(unfit)? {
        Fit::Slice(slice) => {
            let fields = &mut response.fields;
            fields.insert(header::CONTENT_RANGE, slice.content_range());
            fields.insert(header::CONTENT_LENGTH, HeaderValue::from(slice.take));
            Ok(Some(slice))
        }
        Fit::Beyond(total) => {
            response.status = StatusCode::RANGE_NOT_SATISFIABLE;
            let (slice, whole) = (Slice::nothing(), HeaderValue::from_str(&format!("bytes */{total}")));
            let fields = &mut response.fields;
            fields.insert(header::CONTENT_RANGE, whole.map_err(|_| unfit())?);
            fields.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
            Ok(Some(slice))
        }
    }
}

/// Whether a signature of AWS covers the field (`SignedHeaders`), in a header or in the query.
fn is_range_signed(fields: &Fields, target: &str) -> bool {
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

#[cfg(test)]
mod tests;
