//! Step 8: credentials. Judges placeholders before any secret is opened, then puts each credential where it belongs.
//!
//! *Added*: the rule's `use` puts it on the request and replaces what the client sent there. *Swapped*: the client sent the
//! placeholder, and the value takes its place. Either way the session was granted it, the rule uses it, the audience holds the
//! destination, and the destination is reached over verified TLS.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use audit::CredentialUse;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::Body as _;
use model::{CredentialId, Destination, Reason, Scheme, Timestamp};
use policies::Permit;
use sessions::Session;
use vault::{Kind, Lease, LeaseError, Placement, Vault};
use zeroize::Zeroizing;

use crate::basic;
use crate::body::Watch;
use crate::live::Standing;
use crate::mask::Patterns;
use crate::placeholder::{Scanner, Unreadable};
use crate::refusal::Refusal;
use crate::steps::record::Open;
use crate::steps::route::Routed;

/// A request with its credentials, and the leases that lent them. No Clone, no Debug.
pub(crate) struct Armed {
    pub(crate) routed: Routed,
    /// The target to send; differs from the judged path only by a credential in the query.
    pub(crate) target: Zeroizing<String>,
    pub(crate) leases: Vec<Lease>,
    /// Every form of the credentials that went on the request, to be found in the response.
    pub(crate) patterns: Patterns,
    /// What looks for placeholders in the body, where no credential is ever put.
    pub(crate) watch: Watch,
}

/// A placeholder in the head, and the credential it stands for.
struct Found {
    place: Place,
    credential: CredentialId,
}

enum Place {
    /// These bytes of a field's value.
    Plain(Spot),
    /// These bytes of the decoded pair of a Basic credential in a field.
    Basic(Spot),
    /// The whole value of this query parameter.
    Query(String),
    /// Anywhere else in the target.
    Target,
}

impl Place {
    /// Whether two placeholders stand in one field, or both in the target.
    fn is_beside(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain(a) | Self::Basic(a), Self::Plain(b) | Self::Basic(b)) => a.field == b.field,
            (Self::Query(a), Self::Query(b)) => a == b,
            (Self::Plain(_) | Self::Basic(_) | Self::Query(_) | Self::Target, _) => false,
        }
    }
}

/// Bytes of the nth value of a field.
struct Spot {
    field: HeaderName,
    nth: usize,
    range: Range<usize>,
}

/// Arms a permitted request.
///
/// # Errors
/// `placeholder_unknown`, `placeholder_misplaced`, `denied_plaintext` before any secret was opened; `credential_unavailable` after.
pub(crate) fn inject(
    vault: &Vault,
    session: &Arc<Session>,
    destination: &Destination,
    mut routed: Routed,
    permit: &Permit,
    standing: &Arc<Standing>,
    open: &mut Open,
) -> Result<Armed, Refusal> {
    let under = |refusal: Refusal| refusal.under(permit.rule(), permit.policy());
    let found = find(session, &routed).map_err(under)?;
    for one in &found {
        let named = |refusal: Refusal| {
            refusal.about(CredentialUse { name: one.credential.clone(), version: version(vault, session, one) })
        };
        judge(vault, session, destination, permit, one).map_err(named).map_err(under)?;
    }
    let added = added(vault, session, destination, permit, &found).map_err(under)?;
    let mut leases = Vec::new();
    let mut patterns = Patterns::new();
    let mut placed = HashSet::new();
    let mut target = Zeroizing::new(routed.path.target().to_owned());
    for one in &found {
        let lease = lease(vault, session, &one.credential, destination).map_err(under)?;
        let place = swap(&mut routed.fields, &mut target, one, &lease, &mut patterns).map_err(under)?;
        placed.insert(place.clone());
        open.credential(use_of(&lease), place);
        leases.push(lease);
    }
    for credential in added {
        let lease = lease(vault, session, credential, destination).map_err(under)?;
        let place = add(&mut routed.fields, &mut target, &lease, &mut patterns).map_err(under)?;
        if !placed.insert(place.clone()) {
            let refusal =
                Refusal::of(Reason::CredentialUnavailable, "two credentials of the rule go to the same place");
            return Err(under(refusal.with_class("same_place")));
        }
        open.credential(use_of(&lease), place);
        leases.push(lease);
    }
    if !leases.is_empty() {
        prepare_for_redaction(&mut routed);
        patterns.extend(leases.iter().flat_map(Lease::patterns));
    }
    let injects = !leases.is_empty();
    let scanner = scanner(&routed, injects).map_err(under)?;
    let watch = Watch { scanner, session: session.clone(), standing: standing.clone(), injects };
    Ok(Armed { routed, target, leases, patterns, watch })
}

/// Looks into the body through its coding. A coding that is not known here hides what it holds: then the request goes without
/// a credential or not at all.
fn scanner(routed: &Routed, injects: bool) -> Result<Scanner, Refusal> {
    if routed.body.is_end_stream() {
        return Ok(Scanner::plain());
    }
    let codings: Vec<&[u8]> =
        routed.fields.get_all(header::CONTENT_ENCODING).iter().map(HeaderValue::as_bytes).collect();
    match Scanner::new(&codings.join(b",".as_slice())) {
        Ok(scanner) => Ok(scanner),
        Err(Unreadable) if injects => Err(misplaced(
            "the request body is in a coding in which placeholders cannot be looked for; send it in gzip, deflate or none",
        )),
        Err(Unreadable) => Ok(Scanner::plain()),
    }
}

pub(crate) fn use_of(lease: &Lease) -> CredentialUse {
    CredentialUse { name: lease.id().clone(), version: lease.version() }
}

fn version(vault: &Vault, session: &Session, found: &Found) -> u32 {
    vault.slot(&session.tenant, &found.credential).map_or(0, |shape| shape.version())
}

/// All placeholders of the head. One that is not this session's refuses the request, as does one outside the fields.
fn find(session: &Session, routed: &Routed) -> Result<Vec<Found>, Refusal> {
    let mut found = Vec::new();
    for name in routed.fields.keys() {
        for (nth, value) in routed.fields.get_all(name).iter().enumerate() {
            find_in_value(session, name, nth, value.as_bytes(), &mut found)?;
        }
    }
    let target = routed.path.target();
    for mark in sessions::find_marks(target.as_bytes()) {
        let (range, credential) = owner(session, target.as_bytes(), mark)?;
        found.push(Found { place: place_in_target(target, &range), credential });
    }
    // One value has one place; more than a few in one request mean that somebody probes.
    let again = |one: &Found, others: &[Found]| others.iter().any(|other| other.place.is_beside(&one.place));
    if found.len() > 8 || found.iter().enumerate().any(|(n, one)| again(one, found.get(n + 1..).unwrap_or_default())) {
        return Err(misplaced("the request holds too many placeholders, or two in one field"));
    }
    Ok(found)
}

fn find_in_value(
    session: &Session,
    field: &HeaderName,
    nth: usize,
    value: &[u8],
    found: &mut Vec<Found>,
) -> Result<(), Refusal> {
    for mark in sessions::find_marks(value) {
        let (range, credential) = owner(session, value, mark)?;
        found.push(Found { place: Place::Plain(Spot { field: field.clone(), nth, range }), credential });
    }
    if *field == header::AUTHORIZATION
        && let Some(pair) = basic::pair(value)
    {
        for mark in sessions::find_marks(&pair) {
            let (range, credential) = owner(session, &pair, mark)?;
            found.push(Found { place: Place::Basic(Spot { field: field.clone(), nth, range }), credential });
        }
    }
    Ok(())
}

/// A placeholder that is all of a parameter's value has a place of its own; anywhere else in the target it has none.
fn place_in_target(target: &str, range: &Range<usize>) -> Place {
    let before = target.get(..range.start).unwrap_or_default();
    let ends = target.get(range.end..).is_some_and(|rest| rest.is_empty() || rest.starts_with('&'));
    let name = before.strip_suffix('=').and_then(|front| front.rsplit(['?', '&']).next());
    match name {
        Some(name) if ends && before.contains('?') => Place::Query(name.to_owned()),
        _ => Place::Target,
    }
}

fn owner(session: &Session, bytes: &[u8], mark: Range<usize>) -> Result<(Range<usize>, CredentialId), Refusal> {
    match session.placeholder_in(bytes, mark) {
        Some((range, credential)) => Ok((range, credential.clone())),
        // Another session's, an old one, an invented one: the client learns no difference.
        None => {
            Err(Refusal::of(Reason::PlaceholderUnknown, "the request holds a placeholder that is not this session's"))
        }
    }
}

fn misplaced(detail: &'static str) -> Refusal {
    Refusal::of(Reason::PlaceholderMisplaced, detail)
}

/// Whether a placeholder may be swapped here, judged without opening anything.
fn judge(
    vault: &Vault,
    session: &Session,
    destination: &Destination,
    permit: &Permit,
    found: &Found,
) -> Result<(), Refusal> {
    if destination.scheme() == Scheme::Http {
        return Err(Refusal::of(Reason::DeniedPlaintext, "a credential never travels in cleartext"));
    }
    if !permit.credentials().contains(&found.credential) {
        return Err(misplaced("the rule in force does not use the credential of a placeholder"));
    }
    if !session.is_running(Timestamp::now()) {
        return Err(misplaced("credentials are used only while the session is running"));
    }
    let shape = vault.slot(&session.tenant, &found.credential);
    let shape =
        shape.ok_or_else(|| Refusal::of(Reason::CredentialUnavailable, "the credential is not in the vault"))?;
    if !shape.covers(destination) {
        return Err(misplaced("the host is outside the audience of the credential"));
    }
    let fits = match (shape.kind(), &found.place) {
        (Kind::Bearer, Place::Plain(spot)) => spot.field == header::AUTHORIZATION,
        (Kind::Bearer | Kind::Basic, Place::Basic(_)) => true,
        (Kind::Header { name, .. }, Place::Plain(spot)) => spot.field.as_str().eq_ignore_ascii_case(name),
        (Kind::Query { name }, Place::Query(parameter)) => names(parameter, name),
        (Kind::Basic | Kind::Query { .. }, Place::Plain(_))
        | (Kind::Header { .. } | Kind::Query { .. }, Place::Basic(_))
        | (Kind::Bearer | Kind::Basic | Kind::Header { .. }, Place::Query(..))
        | (_, Place::Target) => false,
    };
    if fits { Ok(()) } else { Err(misplaced("a placeholder stands where its credential does not go")) }
}

/// The credentials that the rule adds: granted, for this audience, and not swapped already.
fn added<'p>(
    vault: &Vault,
    session: &Session,
    destination: &Destination,
    permit: &'p Permit,
    swapped: &[Found],
) -> Result<Vec<&'p CredentialId>, Refusal> {
    if !session.is_running(Timestamp::now()) {
        return Ok(Vec::new());
    }
    let wanted =
        permit.credentials().iter().filter(|id| session.grants(id) && swapped.iter().all(|s| s.credential != **id));
    let mut added = Vec::new();
    for id in wanted {
        if destination.scheme() == Scheme::Http {
            return Err(Refusal::of(Reason::DeniedPlaintext, "a credential never travels in cleartext"));
        }
        match vault.slot(&session.tenant, id) {
            // Policy and audience intersect: outside the audience the request goes without it.
            Some(shape) if !shape.covers(destination) => {}
            Some(_) => added.push(id),
            None => return Err(Refusal::of(Reason::CredentialUnavailable, "the credential is not in the vault")),
        }
    }
    Ok(added)
}

fn lease(
    vault: &Vault,
    session: &Session,
    credential: &CredentialId,
    destination: &Destination,
) -> Result<Lease, Refusal> {
    vault.lease(&session.tenant, credential, destination).map_err(|error| match error {
        LeaseError::Audience => misplaced("the host is outside the audience of the credential"),
        LeaseError::Plaintext => Refusal::of(Reason::DeniedPlaintext, "a credential never travels in cleartext"),
        LeaseError::Expired => {
            Refusal::of(Reason::CredentialUnavailable, "the credential has expired").with_class("expired")
        }
        LeaseError::Unknown => Refusal::of(Reason::CredentialUnavailable, "the credential is not in the vault"),
        LeaseError::Corrupt => {
            Refusal::of(Reason::CredentialUnavailable, "the vault's record of the credential was changed")
                .with_class("vault_corrupt")
        }
    })
}

/// Puts the value in the placeholder's place; gives where. A pair that comes into being is one more pattern to redact.
fn swap(
    fields: &mut HeaderMap,
    target: &mut Zeroizing<String>,
    found: &Found,
    lease: &Lease,
    patterns: &mut Patterns,
) -> Result<Cow<'static, str>, Refusal> {
    match &found.place {
        Place::Plain(spot) => {
            replace_value(fields, spot, |value| splice(value, &spot.range, lease.swap_value()))?;
            Ok(in_field(&spot.field))
        }
        Place::Basic(spot) => {
            replace_value(fields, spot, |value| {
                let pair = basic::pair(value).ok_or_else(|| internal("a pair is gone"))?;
                let pair = splice(&pair, &spot.range, lease.swap_value())?;
                let coded = Zeroizing::new(BASE64_STANDARD.encode(pair.as_slice()).into_bytes());
                let value = Zeroizing::new([b"Basic ".as_slice(), &coded].concat());
                patterns.push(coded);
                Ok(value)
            })?;
            Ok(in_field(&spot.field))
        }
        Place::Query(_) => add(fields, target, lease, patterns),
        Place::Target => Err(internal("a misplaced placeholder was let through")),
    }
}

/// Replaces one value of a field; other values of the same field go, since only one can be the credential's.
fn replace_value(
    fields: &mut HeaderMap,
    spot: &Spot,
    change: impl FnOnce(&[u8]) -> Result<Zeroizing<Vec<u8>>, Refusal>,
) -> Result<(), Refusal> {
    let value = fields.get_all(&spot.field).iter().nth(spot.nth).ok_or_else(|| internal("a field value is gone"))?;
    let value = sensitive(&change(value.as_bytes())?)?;
    fields.insert(&spot.field, value);
    Ok(())
}

fn internal(detail: &'static str) -> Refusal {
    Refusal::of(Reason::Internal, detail)
}

/// `bytes` with `range` replaced; a prefix of the placeholder went with it.
fn splice(bytes: &[u8], range: &Range<usize>, value: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    match (bytes.get(..range.start), bytes.get(range.end..)) {
        (Some(front), Some(back)) => Ok(Zeroizing::new([front, value, back].concat())),
        _ => Err(internal("a placeholder moved")),
    }
}

/// Adds the credential, in place of whatever the client sent there; gives where.
fn add(
    fields: &mut HeaderMap,
    target: &mut Zeroizing<String>,
    lease: &Lease,
    patterns: &mut Patterns,
) -> Result<Cow<'static, str>, Refusal> {
    match lease.placement() {
        Placement::Header { name, value } => {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?;
            let place = in_field(&name);
            // `insert` replaces every occurrence by this one.
            fields.insert(name, sensitive(&value)?);
            Ok(place)
        }
        Placement::Query { name, value } => {
            *target = with_parameter(target, &name, &value);
            // The form in which it is sent is the form in which it is echoed.
            patterns.push(Zeroizing::new(value.as_bytes().to_vec()));
            Ok("query".into())
        }
    }
}

/// How a record says where a credential was put.
fn in_field(name: &HeaderName) -> Cow<'static, str> {
    if *name == header::AUTHORIZATION { "header authorization".into() } else { format!("header {name}").into() }
}

fn unusable() -> Refusal {
    Refusal::of(Reason::CredentialUnavailable, "the credential cannot stand in a field")
}

/// A value that no debug output shows and that HPACK never indexes.
fn sensitive(value: &[u8]) -> Result<HeaderValue, Refusal> {
    let mut value = HeaderValue::from_bytes(value).map_err(|_| unusable())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The target with one query parameter set; every other occurrence of its name is dropped.
fn with_parameter(target: &str, name: &str, value: &str) -> Zeroizing<String> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut out = Zeroizing::new(String::with_capacity(target.len() + name.len() + value.len() + 2));
    out.push_str(path);
    out.push('?');
    for pair in query.split('&').filter(|pair| !pair.is_empty() && !names(pair, name)) {
        out.push_str(pair);
        out.push('&');
    }
    out.push_str(name);
    out.push('=');
    out.push_str(value);
    out
}

/// Whether a parameter has this name, spelled plainly or with escapes.
fn names(pair: &str, name: &str) -> bool {
    let spelled = pair.split_once('=').map_or(pair, |(spelled, _)| spelled).as_bytes();
    let digit = |at: usize| spelled.get(at).and_then(|byte| (*byte as char).to_digit(16));
    let mut decoded = Vec::with_capacity(spelled.len());
    let mut at = 0;
    while let Some(byte) = spelled.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high << 4 | low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    decoded == name.as_bytes()
}

/// Asks the upstream for a response in which secrets can be found: whole, and in no coding.
fn prepare_for_redaction(routed: &mut Routed) {
    if routed.fields.remove(header::RANGE).is_some() {
        routed.stripped.push("range");
    }
    if routed.fields.remove(header::IF_RANGE).is_some() {
        routed.stripped.push("if-range");
    }
    routed.fields.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_a_whole_parameter_or_misplaced() {
        let at = |target: &str| {
            let start = target.find("PH").unwrap();
            match place_in_target(target, &(start..start + 2)) {
                Place::Query(name) => Some(name),
                Place::Target | Place::Plain(_) | Place::Basic(_) => None,
            }
        };
        assert_eq!(at("/p?key=PH").as_deref(), Some("key"));
        assert_eq!(at("/p?a=b&key=PH&c=d").as_deref(), Some("key"));
        for target in ["/PH", "/p?PH", "/p?key=xPH", "/p?key=PHx", "/p?PH=x", "/key=PH", "/key=PH?a=b"] {
            assert_eq!(at(target), None, "{target}");
        }
    }

    #[test]
    fn a_parameter_is_set_once() {
        assert_eq!(with_parameter("/p", "key", "v").as_str(), "/p?key=v");
        assert_eq!(with_parameter("/p?a=b&key=x&k%65y=y&KEY=z", "key", "v").as_str(), "/p?a=b&KEY=z&key=v");
    }
}
