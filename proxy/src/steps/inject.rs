//! Step 10: credentials. Judges placeholders before any secret is opened, then attaches each credential at its location.
//!
//! *Added*: the rule's `use` attaches the credential and overwrites the client's value. *Substituted*: the client sent the
//! placeholder, and the value replaces it. This file handles the head; `inject_body.rs` does the same for bodies.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use http::{HeaderName, header};
use model::{CredentialId, Fields, Reason};
use sessions::{PLACEHOLDER_MARK, Session};
use vault::{CredentialShape, Kind, Lease, Slot};
use zeroize::Zeroizing;

use crate::active::ActiveExchange;
use crate::basic;
use crate::body::buffered::Payload;
use crate::body::upload::BodyScanner;
use crate::credentials::access::IssuedCredential;
use crate::credentials::access::{CredentialRequest, misplaced};
use crate::credentials::attach::{Location, Placed, add, names, swap};
use crate::credentials::client_auth;
use crate::credentials::client_auth::{OwnLocations, TrailerFilter};
use crate::refusal::Refusal;
use crate::request::Routed;
use crate::trail::Trail;
use redaction::placeholder;
use redaction::placeholder::Scanner;
use redaction::stream::Patterns;

/// A request with its credentials and their leases. No Clone, no Debug.
pub(crate) struct Armed {
    pub(crate) method: http::Method,
    pub(crate) version: http::Version,
    pub(crate) fields: Fields,
    /// The target to send; differs from the judged path only by a credential in the query.
    pub(crate) target: Zeroizing<String>,
    pub(crate) body: Payload,
    pub(crate) stripped: Vec<Cow<'static, str>>,
    pub(crate) leases: Vec<Lease>,
    /// The credentials issued, with their end and tool call.
    pub(crate) lent: Vec<IssuedCredential>,
    /// Every form of the attached credentials, to be found in the response.
    pub(crate) patterns: Patterns,
    /// The scanner for placeholders in the rest of the body; `None` if there is none.
    pub(crate) watch: Option<BodyScanner>,
    /// The filter of its trailers; `None` if it has no body.
    pub(crate) trailers: Option<TrailerFilter>,
}

/// A placeholder in the head, and its credential.
struct Found {
    place: Location,
    credential: CredentialId,
}

/// Attaches credentials to a permitted request.
///
/// # Errors
/// Before any secret is opened: `placeholder_unknown`, `placeholder_misplaced`, `denied_plaintext`, `budget_exhausted`,
/// `credential_conflict`. `credential_unavailable` before or after.
pub(crate) fn inject(
    wanted: CredentialRequest<'_>,
    routed: Routed,
    active: &Arc<ActiveExchange>,
    open: &mut Trail,
) -> Result<Armed, Refusal> {
    let found = find(wanted.session, &routed)?;
    for one in &found {
        judge(wanted, one).map_err(|refusal| refusal.about(wanted.named(&one.credential)))?;
    }
    // A placeholder decides which credential is attached at its location, even if the rule uses another one there.
    let is_replaced = |id: &CredentialId, shape: &CredentialShape| {
        let at = |one: &Found| shape.kind().slot().is_some_and(|slot| one.place.is_at(slot));
        found.iter().any(|one| one.credential == *id || at(one))
    };
    let added = wanted.added(is_replaced)?;
    if let Some(detail) = wanted.left_out(|id, shape| added.contains(&id) || is_replaced(id, shape)) {
        open.detail(detail);
    }
    let own = own_locations(wanted, &found, &added);
    let gets_credential = !found.is_empty() || !added.is_empty() || !wanted.in_bodies().is_empty();
    own.check_collisions(&routed.fields, &routed.named_by_connection)?;
    let trailers = (!routed.body.is_empty())
        .then(|| client_auth::trailer_filter(wanted, &own, gets_credential, &routed.fields, active));
    let mut armed = unarmed(routed, trailers);
    cleanse(wanted, &own, gets_credential, &mut armed, open)?;
    for one in &found {
        let (lease, lent) = wanted.issue(&one.credential)?;
        let Placed { place, overwritten } =
            swap(&mut armed.fields, &mut armed.target, &one.place, &lease, &mut armed.patterns)?;
        if overwritten > 0 {
            open.replaced(place.clone());
        }
        open.credential(lent.used.clone(), place);
        armed.hold(lease, lent);
    }
    for credential in added {
        let (lease, lent) = wanted.issue(credential)?;
        let Placed { place, overwritten } = add(&mut armed.fields, &mut armed.target, &lease, &mut armed.patterns)?;
        if overwritten > 0 {
            open.replaced(place.clone());
        }
        open.credential(lent.used.clone(), place);
        armed.hold(lease, lent);
    }
    if !armed.body.is_empty() {
        let must_search = !wanted.session.grants.is_empty();
        let scanner = scanner(&armed.fields, must_search)?;
        let session = wanted.session.clone();
        armed.watch = Some(BodyScanner { scanner, session, active: active.clone(), must_search });
    }
    Ok(armed)
}

/// The locations of the credentials that Egret will attach.
fn own_locations(wanted: CredentialRequest<'_>, found: &[Found], added: &[&CredentialId]) -> OwnLocations {
    let mut own = OwnLocations::default();
    found.iter().for_each(|one| own.add_place(&one.place));
    for id in added {
        if let Some(shape) = wanted.vault.shape(&wanted.session.tenant, id) {
            own.add_slot(shape.kind().slot());
        }
    }
    own
}

/// Removes fields from the head that a client may not send, and sets the fields of the policy.
fn cleanse(
    wanted: CredentialRequest<'_>,
    own: &OwnLocations,
    gets_credential: bool,
    armed: &mut Armed,
    open: &mut Trail,
) -> Result<(), Refusal> {
    let Armed { fields, target, stripped, .. } = armed;
    client_auth::check_resources(wanted, gets_credential, fields)?;
    client_auth::remove_method_overrides(wanted, fields, stripped);
    client_auth::enforce(wanted, own, gets_credential, fields, target, stripped)?;
    let mut replaced = Vec::new();
    client_auth::set_headers(wanted.permit, own, fields, &mut replaced)?;
    replaced.into_iter().for_each(|name| open.replaced(name));
    Ok(())
}

/// The request as it arrived.
fn unarmed(routed: Routed, trailers: Option<TrailerFilter>) -> Armed {
    Armed {
        target: Zeroizing::new(routed.path.target().to_owned()),
        method: routed.method,
        version: routed.version,
        fields: routed.fields,
        body: routed.body,
        stripped: routed.stripped,
        leases: Vec::new(),
        lent: Vec::new(),
        patterns: Patterns::new(),
        watch: None,
        trailers,
    }
}

impl Armed {
    /// Stores a lease that was attached to the request, with its form there.
    pub(crate) fn hold(&mut self, lease: Lease, lent: IssuedCredential) {
        self.patterns.extend(lease.patterns());
        self.leases.push(lease);
        self.lent.push(lent);
    }
}

/// Scans the body through its coding. An unknown coding hides its content, so a session that has placeholders cannot send such
/// a body.
fn scanner(fields: &Fields, must_search: bool) -> Result<Scanner, Refusal> {
    match Scanner::new(fields) {
        Ok(scanner) => Ok(scanner),
        Err(_) if must_search => Err(Refusal::of(
            Reason::CodingUnsupported,
            "the request body is in a coding in which placeholders cannot be found; send it in gzip, deflate, br, zstd or none",
        )),
        Err(_) => Ok(Scanner::plain()),
    }
}

/// All placeholders of the head. A placeholder of another session refuses the request, as does one outside the fields,
/// or hidden in an encoding.
fn find(session: &Session, routed: &Routed) -> Result<Vec<Found>, Refusal> {
    let mut found = Vec::new();
    for (name, nth, value) in routed.fields.iter_numbered() {
        if name.as_str().contains(PLACEHOLDER_MARK) {
            return Err(misplaced("the name of a field holds a placeholder"));
        }
        find_in_value(session, name, nth, value.as_bytes(), &mut found)?;
    }
    let target = routed.path.target();
    for mark in sessions::find_marks(target.as_bytes()) {
        let (range, credential) = owner(session, target.as_bytes(), mark)?;
        found.push(Found { place: Location::in_target(target, &range), credential });
    }
    if placeholder::is_hidden_in(target.as_bytes()) {
        return Err(hidden());
    }
    // A value has one location; more than a few in one request indicate probing.
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
        found.push(Found { place: Location::in_field(field, nth, value, range), credential });
    }
    if *field == header::AUTHORIZATION
        && let Some(pair) = basic::pair(value)
    {
        for mark in sessions::find_marks(&pair) {
            let (range, credential) = owner(session, &pair, mark)?;
            found.push(Found { place: Location::in_pair(field, nth, &pair, range), credential });
        }
        return if placeholder::is_hidden_in(&pair) { Err(hidden()) } else { Ok(()) };
    }
    if placeholder::is_hidden_in(value) { Err(hidden()) } else { Ok(()) }
}

fn hidden() -> Refusal {
    misplaced("the request holds a placeholder in an encoding, where it is never swapped")
}

/// The credential of a placeholder, and its location with its prefix.
pub(crate) fn owner(
    session: &Session,
    bytes: &[u8],
    mark: Range<usize>,
) -> Result<(Range<usize>, CredentialId), Refusal> {
    match session.placeholder_in(bytes, mark) {
        Some((range, credential)) => Ok((range, credential.clone())),
        // Of another session, outdated or invented: the client sees no difference.
        None => Err(Refusal::of(
            Reason::PlaceholderUnknown,
            "the request contains a placeholder that is not one of this session",
        )),
    }
}

/// Whether a placeholder may be substituted here, judged without opening any secret.
fn judge(wanted: CredentialRequest<'_>, found: &Found) -> Result<(), Refusal> {
    let shape = wanted.check_substitution(&found.credential)?;
    if fits(&shape, &found.place) {
        return Ok(());
    }
    Err(misplaced("a placeholder was sent where its credential may not be used"))
}

/// Whether the credential is attached there.
fn fits(shape: &CredentialShape, place: &Location) -> bool {
    shape.kinds().any(|kind| kind_fits(kind, place))
}

fn kind_fits(kind: &Kind, place: &Location) -> bool {
    match (kind.slot(), place) {
        (Some(_), Location::Basic(_)) => kind.usable_in_basic(),
        // Some clients send a token as the user, with an empty password.
        (Some(_), Location::User(_)) => kind.usable_in_basic() && kind.usable_as_full_value(),
        (Some(Slot::Header(name)), Location::Plain(spot)) => {
            let around = kind.frames(&spot.before, &spot.after);
            kind.usable_as_full_value() && around && spot.field.as_str().eq_ignore_ascii_case(name)
        }
        (Some(Slot::Query(name)), Location::Query(parameter)) => names(parameter, name),
        (Some(Slot::Cookie(name)), Location::Cookie(cookie)) => name == cookie,
        (Some(_) | None, _) => false,
    }
}

#[cfg(test)]
mod tests;
