//! Step 11: substitutes placeholders in declared slots with values. A body is read before it is sent, up to a
//! bound, only if one of the rule's credentials has a slot in it. Every other body streams, and is scanned on the way.

use std::borrow::Cow;
use std::ops::Range;

use http::{HeaderValue, header};
use model::{CredentialId, Fields, Reason};
use vault::{BodySlot, CredentialShape, Lease};
use zeroize::Zeroizing;

use crate::Core;
use crate::body::buffered::ReadError;
use crate::credentials::access::{CredentialRequest, misplaced};
use crate::credentials::attach::internal;
use crate::credentials::body_slots::{Ambiguous, BodyFormat};
use crate::refusal::{Refusal, broken_off, trailers_too_large};
use crate::steps::inject::{Armed, owner};
use crate::trail::Trail;
use redaction::placeholder;
use redaction::placeholder::Verdict;

/// Digests of the original body; they do not match the body that is sent.
const DIGESTS: [&str; 4] = ["content-digest", "content-md5", "digest", "repr-digest"];

/// A placeholder in a slot.
struct Found {
    /// The text of the slot, in the body.
    text: Range<usize>,
    /// The placeholder, in that text.
    placeholder: Range<usize>,
    credential: CredentialId,
    place: String,
}

/// Fills the slots of the body, if it has any.
///
/// # Errors
/// `placeholder_unknown` and `placeholder_misplaced` for a placeholder outside of a slot, `body_too_large` for a body with a
/// placeholder that exceeds the bound, and the errors of a lease. Nothing has been sent then.
///
/// # Cancellation
/// Drops the bytes of the body that were read.
pub(crate) async fn inject_body(
    core: &Core,
    wanted: CredentialRequest<'_>,
    armed: &mut Armed,
    open: &mut Trail,
) -> Result<(), Refusal> {
    if armed.body.is_empty() {
        return Ok(());
    }
    let slotted = wanted.in_bodies();
    match BodyFormat::of(&armed.fields) {
        // Boxed: few exchanges need it, and it would enlarge every one.
        Some(form) if !slotted.is_empty() => Box::pin(fill_slots(core, wanted, armed, (form, slotted), open)).await,
        Some(_) | None => Ok(()),
    }
}

async fn fill_slots(
    core: &Core,
    wanted: CredentialRequest<'_>,
    armed: &mut Armed,
    (form, slotted): (BodyFormat, Vec<(&CredentialId, CredentialShape)>),
    open: &mut Trail,
) -> Result<(), Refusal> {
    let limits = &core.proxy.config.limits;
    let share = core.proxy.slot_bodies.share(&wanted.session.id);
    let read = armed.body.read(limits.max_slot_body_bytes, limits.slot_body_timeout, share);
    let whole = read.await.map_err(unread)?;
    let Verdict::Found(first) = placeholder::look(armed.body.bytes()) else { return Ok(()) };
    if !whole {
        let limit = limits.max_slot_body_bytes;
        let detail = format!("the request body holds a placeholder and is longer than {limit} bytes");
        return Err(Refusal::of(Reason::BodyTooLarge, detail));
    }
    let body = armed.body.bytes().to_vec();
    let Some(found) =
        std::str::from_utf8(&body).ok().map(|body| find(wanted, form, body, &slotted, &armed.leases)).transpose()?
    else {
        owner(wanted.session, &first.bytes, first.at..first.bytes.len())?;
        return Err(misplaced("the request body holds a placeholder and is not text"));
    };
    refuse_elsewhere(wanted, &body, &found)?;
    let filled = swap(wanted, form, &body, found, armed, open)?;
    let length = HeaderValue::from(filled.len());
    armed.body.replace(filled);
    frame(&mut armed.fields, &mut armed.stripped, length);
    // All of it was scanned.
    armed.watch = None;
    Ok(())
}

/// Every placeholder in a slot, each judged: its session, whether the slot belongs to its credential, and their number.
fn find(
    wanted: CredentialRequest<'_>,
    form: BodyFormat,
    body: &str,
    slotted: &[(&CredentialId, CredentialShape)],
    leases: &[Lease],
) -> Result<Vec<Found>, Refusal> {
    let mut found: Vec<Found> = Vec::new();
    for (credential, shape) in slotted {
        let mut count = 0;
        for slot in shape.body().iter() {
            for text in form.places(body, slot).map_err(|Ambiguous| unclear())? {
                let literal = body.get(text.clone()).unwrap_or_default().as_bytes();
                for mark in sessions::find_marks(literal) {
                    let (placeholder, of) = owner(wanted.session, literal, mark)?;
                    let known = found.iter().any(|one| one.text == text && one.placeholder == placeholder);
                    // A slot may be declared for several credentials, and twice for one.
                    if of != **credential || known {
                        continue;
                    }
                    let whole = form.whole(literal);
                    let before = literal.get(whole.start..placeholder.start).unwrap_or_default();
                    let after = literal.get(placeholder.end..whole.end).unwrap_or_default();
                    if !shape.kind().frames(before, after) {
                        let detail = "a placeholder in a slot of the request body is not its whole value";
                        return Err(misplaced(detail).about(wanted.named(&of)));
                    }
                    count += 1;
                    if count > usize::from(shape.body().swaps()) {
                        let often = "the request body holds a placeholder more often than it is swapped there";
                        return Err(misplaced(often).about(wanted.named(credential)));
                    }
                    found.push(Found { text: text.clone(), placeholder, credential: of, place: told(slot) });
                }
            }
        }
        // A credential attached to the head of this request is issued for all of it.
        if count > 0 && leases.iter().all(|lease| lease.id() != *credential) {
            wanted.check_substitution(credential).map_err(|refusal| refusal.about(wanted.named(credential)))?;
        }
    }
    found.sort_by_key(|one| (one.text.start, one.placeholder.start));
    if found.windows(2).any(|pair| pair.first().map(|one| &one.text) == pair.last().map(|one| &one.text)) {
        return Err(misplaced("a slot in the request body holds two placeholders"));
    }
    Ok(found)
}

/// A placeholder outside of the slots, in any encoding, ends the request.
fn refuse_elsewhere(wanted: CredentialRequest<'_>, body: &[u8], found: &[Found]) -> Result<(), Refusal> {
    let mut rest = body.to_vec();
    for one in found {
        let start = one.text.start + one.placeholder.start;
        if let Some(place) = rest.get_mut(start..start + one.placeholder.len()) {
            place.fill(b' ');
        }
    }
    match placeholder::look(&rest) {
        Verdict::Found(other) => {
            owner(wanted.session, &other.bytes, other.at..other.bytes.len())?;
            Err(misplaced(
                "the request body holds a placeholder outside the slots that were declared for its credential",
            ))
        }
        Verdict::Clear | Verdict::Pending => Ok(()),
    }
}

/// The body with the values in it.
fn swap(
    wanted: CredentialRequest<'_>,
    form: BodyFormat,
    body: &[u8],
    found: Vec<Found>,
    armed: &mut Armed,
    open: &mut Trail,
) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    for one in &found {
        if armed.leases.iter().all(|lease| *lease.id() != one.credential) {
            let (lease, lent) = wanted.issue(&one.credential)?;
            armed.hold(lease, lent);
        }
    }
    let Armed { leases, lent, patterns, .. } = armed;
    let mut parts: Vec<Zeroizing<Vec<u8>>> = Vec::with_capacity(2 * found.len() + 1);
    let mut at = 0;
    for one in found {
        let mut held = leases.iter().zip(&*lent);
        let held = held.find(|(lease, _)| *lease.id() == one.credential);
        let (lease, lent) = held.ok_or_else(|| internal("a lease is gone"))?;
        let value = lease.substitution_bytes();
        let text = body.get(one.text.clone()).ok_or_else(|| internal("a slot moved"))?;
        let filled = form.fill(text, &one.placeholder, value).ok_or_else(unclear)?;
        // An upstream echoes the value in the form in which it is sent.
        patterns.extend(form.encode(value).filter(|encoded| ***encoded != *value));
        open.credential(lent.used.clone(), one.place.into());
        let before = body.get(at..one.text.start).ok_or_else(|| internal("slots overlap"))?;
        parts.extend([Zeroizing::new(before.to_vec()), filled]);
        at = one.text.end;
    }
    parts.push(Zeroizing::new(body.get(at..).unwrap_or_default().to_vec()));
    let mut whole = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
    parts.iter().for_each(|part| whole.extend_from_slice(part));
    Ok(whole)
}

/// Updates a Content-Length that was sent, and removes digests of the original body.
fn frame(fields: &mut Fields, stripped: &mut Vec<Cow<'static, str>>, length: HeaderValue) {
    if fields.contains(header::CONTENT_LENGTH) {
        fields.insert(header::CONTENT_LENGTH, length);
    }
    let removed = DIGESTS.iter().filter(|name| fields.remove(**name).is_some());
    stripped.extend(removed.map(|name| Cow::Borrowed(*name)));
}

fn told(slot: &BodySlot) -> String {
    match slot {
        BodySlot::Json(pointer) => format!("body json {pointer}"),
        BodySlot::Form(field) => format!("body form {field}"),
    }
}

fn unclear() -> Refusal {
    misplaced("the request body holds a placeholder, and the slot for it could be read in several ways")
}

fn unread(error: ReadError) -> Refusal {
    match error {
        ReadError::Broken => broken_off(),
        ReadError::Exhausted(spent) => spent.refusal(),
        ReadError::Over(limited) => limited.refusal(),
        ReadError::Misplaced => misplaced("a trailer of the request holds a placeholder"),
        ReadError::TrailersTooLarge => trailers_too_large(),
        ReadError::Slow => {
            Refusal::of(Reason::TimeoutHead, "the request body, in which a credential has a slot, came too slowly")
                .with_class("body")
        }
    }
}

#[cfg(test)]
mod tests;
