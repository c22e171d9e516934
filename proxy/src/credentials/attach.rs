//! Attaches values to the head of a request: in a field, the pair of a Basic credential, a query parameter or a cookie.

use std::borrow::Cow;
use std::ops::Range;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use model::{Fields, Reason};
use vault::{Lease, Placement, Slot};
use zeroize::Zeroizing;

use crate::basic;
use crate::credentials::client_auth::query::{folded, segments, without};
use crate::refusal::Refusal;
use model::escape::{form_decoded, percent_decoded};
use model::query::pairs;
use redaction::stream::Patterns;

/// The location of a placeholder in a head.
pub(crate) enum Location {
    /// These bytes of a field's value.
    Plain(ValueRange),
    /// These bytes of the decoded pair of a Basic credential in a field: its password.
    Basic(ValueRange),
    /// The same for its user.
    User(ValueRange),
    /// The whole value of this query parameter.
    Query(String),
    /// The whole value of this cookie.
    Cookie(String),
    /// Anywhere else in the target.
    Target,
}

impl Location {
    /// Whether two placeholders are in one field, or in one parameter or cookie.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain(a) | Self::Basic(a) | Self::User(a), Self::Plain(b) | Self::Basic(b) | Self::User(b)) => {
                a.field == b.field
            }
            (Self::Query(a), Self::Query(b)) | (Self::Cookie(a), Self::Cookie(b)) => a == b,
            (Self::Plain(_) | Self::Basic(_) | Self::User(_) | Self::Query(_) | Self::Cookie(_) | Self::Target, _) => {
                false
            }
        }
    }

    /// Whether a credential with this slot has the same location.
    pub(crate) fn is_at(&self, slot: Slot<'_>) -> bool {
        match (self, slot) {
            (Self::Plain(spot) | Self::Basic(spot) | Self::User(spot), Slot::Header(name)) => {
                model::field::same_name(spot.field.as_str(), name)
            }
            (Self::Query(parameter), Slot::Query(name)) => names(parameter, name),
            (Self::Cookie(cookie), Slot::Cookie(name)) => cookie == name,
            (Self::Plain(_) | Self::Basic(_) | Self::User(_) | Self::Query(_) | Self::Cookie(_) | Self::Target, _) => {
                false
            }
        }
    }

    /// In a target: a placeholder that is the whole value of a parameter has that parameter as its location; any other
    /// has none.
    pub(crate) fn in_target(target: &str, range: &Range<usize>) -> Self {
        let before = target.get(..range.start).unwrap_or_default();
        let ends = target.get(range.end..).is_some_and(|rest| rest.is_empty() || rest.starts_with('&'));
        // A query begins with the first `?`; any later one is text.
        let query = before.split_once('?').map(|(_, query)| query);
        let name = query.and_then(|query| query.rsplit('&').next()).and_then(|pair| pair.strip_suffix('='));
        match name {
            Some(name) if ends && !name.contains('=') => Self::Query(name.to_owned()),
            _ => Self::Target,
        }
    }

    /// In the pair of a Basic credential: the whole user, or the whole password; any other placeholder in it has no
    /// location.
    pub(crate) fn in_pair(field: &HeaderName, nth: usize, pair: &[u8], range: Range<usize>) -> Self {
        let spot =
            |range| ValueRange { field: field.clone(), nth, range, before: Box::default(), after: Box::default() };
        let colon = memchr::memchr(b':', pair);
        match colon {
            Some(colon) if range == (colon + 1..pair.len()) => Self::Basic(spot(range)),
            Some(colon) if range == (0..colon) => Self::User(spot(range)),
            Some(_) | None => Self::Target,
        }
    }

    /// In a field; a placeholder that is the whole value of a cookie has that cookie as its location.
    pub(crate) fn in_field(field: &HeaderName, nth: usize, value: &[u8], range: Range<usize>) -> Self {
        let cookie = || {
            let name = value.get(..range.start)?.strip_suffix(b"=")?.rsplit(|byte| *byte == b';').next()?.trim_ascii();
            let ends = value.get(range.end..)?.trim_ascii_start();
            (ends.is_empty() || ends.starts_with(b";")).then(|| String::from_utf8(name.to_vec()).ok())?
        };
        match (*field == header::COOKIE).then(cookie).flatten() {
            Some(name) => Self::Cookie(name),
            None => {
                let before = value.get(..range.start).unwrap_or_default().into();
                let after = value.get(range.end..).unwrap_or_default().into();
                Self::Plain(ValueRange { field: field.clone(), nth, range, before, after })
            }
        }
    }
}

/// Bytes of the nth value of a field.
pub(crate) struct ValueRange {
    pub(crate) field: HeaderName,
    pub(crate) nth: usize,
    pub(crate) range: Range<usize>,
    /// The value before those bytes, and after them.
    pub(crate) before: Box<[u8]>,
    pub(crate) after: Box<[u8]>,
}

/// Substitutes the placeholder with the value; returns the location. A new pair is one more pattern to redact.
pub(crate) fn swap(
    fields: &mut Fields,
    target: &mut Zeroizing<String>,
    place: &Location,
    lease: &Lease,
    patterns: &mut Patterns,
) -> Result<Placed, Refusal> {
    match place {
        Location::Plain(spot) => {
            let others = replace_value(fields, spot, |value| splice(value, &spot.range, lease.substitution_bytes()))?;
            Ok(Placed { place: in_field(&spot.field), overwritten: others })
        }
        Location::Basic(spot) | Location::User(spot) => {
            let others = replace_value(fields, spot, |value| {
                let pair = basic::pair(value).ok_or_else(|| internal("a pair is gone"))?;
                let pair = splice(&pair, &spot.range, lease.substitution_bytes())?;
                let coded = Zeroizing::new(BASE64_STANDARD.encode(pair.as_slice()).into_bytes());
                let value = Zeroizing::new([b"Basic ".as_slice(), &coded].concat());
                patterns.push(coded);
                Ok(value)
            })?;
            Ok(Placed { place: in_field(&spot.field), overwritten: others })
        }
        Location::Query(_) | Location::Cookie(_) => {
            // A credential may have several locations: the value is attached at the one that the placeholder selected.
            let placement = lease.placement_at(|slot| place.is_at(slot));
            let placed = put(fields, target, placement.ok_or_else(|| internal("a location is gone"))?, patterns)?;
            // One of them was the placeholder.
            Ok(Placed { overwritten: placed.overwritten.saturating_sub(1), ..placed })
        }
        Location::Target => Err(internal("a misplaced placeholder was let through")),
    }
}

/// Where a credential was attached, and how many of the client's values it overwrote there.
pub(crate) struct Placed {
    /// Its form in a record: `header authorization`.
    pub(crate) place: Cow<'static, str>,
    /// Fields, parameters or cookies of the same name, without the placeholder itself.
    pub(crate) overwritten: usize,
}

/// Replaces one value of a field; other values of the same field are removed, since only one can be the credential's.
/// Returns their number.
fn replace_value(
    fields: &mut Fields,
    spot: &ValueRange,
    change: impl FnOnce(&[u8]) -> Result<Zeroizing<Vec<u8>>, Refusal>,
) -> Result<usize, Refusal> {
    let others = fields.get_all(&spot.field).count().saturating_sub(1);
    let value = fields.get_all(&spot.field).nth(spot.nth).ok_or_else(|| internal("a field value is gone"))?;
    let value = sensitive(change(value.as_bytes())?)?;
    fields.insert(spot.field.clone(), value);
    Ok(others)
}

pub(crate) fn internal(detail: &'static str) -> Refusal {
    Refusal::of(Reason::Internal, detail)
}

/// `bytes` with `range` replaced; the replaced range includes a prefix of the placeholder.
pub(crate) fn splice(bytes: &[u8], range: &Range<usize>, value: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    match (bytes.get(..range.start), bytes.get(range.end..)) {
        (Some(front), Some(back)) => Ok(Zeroizing::new([front, value, back].concat())),
        _ => Err(internal("a placeholder moved")),
    }
}

/// Adds the credential and overwrites any value of the client there; returns the location, and the number of
/// overwritten values.
pub(crate) fn add(
    fields: &mut Fields,
    target: &mut Zeroizing<String>,
    lease: &Lease,
    patterns: &mut Patterns,
) -> Result<Placed, Refusal> {
    let placement = lease.placement().ok_or_else(|| internal("a credential without a place in heads"))?;
    put(fields, target, placement, patterns)
}

/// Writes a value into its field, parameter or cookie.
fn put(
    fields: &mut Fields,
    target: &mut Zeroizing<String>,
    placement: Placement,
    patterns: &mut Patterns,
) -> Result<Placed, Refusal> {
    match placement {
        Placement::Header { name, value } => {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?;
            let place = in_field(&name);
            let overwritten = fields.get_all(&name).count();
            // `insert` replaces every occurrence by this one.
            fields.insert(name, sensitive(value)?);
            Ok(Placed { place, overwritten })
        }
        Placement::Query { name, value } => {
            let (changed, overwritten) = with_parameter(target, &name, &value);
            *target = changed;
            // An upstream echoes the value in the form in which it is sent.
            patterns.push(Zeroizing::new(value.as_bytes().to_vec()));
            Ok(Placed { place: "query".into(), overwritten })
        }
        Placement::Cookie { name, value } => {
            let overwritten = set_cookie(fields, &name, &value)?;
            Ok(Placed { place: format!("cookie {name}").into(), overwritten })
        }
    }
}

/// The cookies of all fields in one, with this one set; every other of its name is dropped. Returns their number.
fn set_cookie(fields: &mut Fields, name: &str, value: &[u8]) -> Result<usize, Refusal> {
    let is_own =
        |pair: &[u8]| pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii() == name.as_bytes();
    let mut dropped = 0;
    let mut all = Zeroizing::new(Vec::new());
    for pair in fields.get_all(header::COOKIE).flat_map(|value| value.as_bytes().split(|byte| *byte == b';')) {
        let pair = pair.trim_ascii();
        if is_own(pair) {
            dropped += 1;
        } else if !pair.is_empty() {
            all.extend_from_slice(pair);
            all.extend_from_slice(b"; ");
        }
    }
    let mut cookies = Zeroizing::new(Vec::with_capacity(all.len() + name.len() + 1 + value.len()));
    for part in [all.as_slice(), name.as_bytes(), b"=", value] {
        cookies.extend_from_slice(part);
    }
    fields.insert(header::COOKIE, sensitive(cookies)?);
    Ok(dropped)
}

/// The location of an attached credential, in the form of a record.
fn in_field(name: &HeaderName) -> Cow<'static, str> {
    if *name == header::AUTHORIZATION { "header authorization".into() } else { format!("header {name}").into() }
}

fn unusable() -> Refusal {
    Refusal::of(Reason::CredentialUnavailable, "the credential cannot stand in a field")
}

/// A value that debug output never shows and HPACK never indexes; wiped when the last field map drops it.
fn sensitive(value: Zeroizing<Vec<u8>>) -> Result<HeaderValue, Refusal> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(value)).map_err(|_| unusable())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The target with one query parameter set, whose name is already escaped. Every other occurrence of its name is dropped and
/// counted, in any spelling that some server reads as the name. This includes parameters after `;` as well as after `&`.
fn with_parameter(target: &str, name: &str, value: &str) -> (Zeroizing<String>, usize) {
    let own = folded(name);
    let others: Vec<Range<usize>> =
        segments(target).into_iter().filter(|segment| segment.is(&own)).map(|segment| segment.range).collect();
    let rest = Zeroizing::new(without(target, &others));
    let (path, query) = rest.split_once('?').unwrap_or((&rest, ""));
    let mut out = Zeroizing::new(String::with_capacity(target.len() + name.len() + value.len() + 2));
    out.push_str(path);
    out.push('?');
    for pair in pairs(query).filter_map(|pair| query.get(pair.range)).filter(|pair| !pair.is_empty()) {
        out.push_str(pair);
        out.push('&');
    }
    out.push_str(name);
    out.push('=');
    out.push_str(value);
    (out, others.len())
}

/// Whether a parameter has this name, spelled plainly or with escapes.
pub(crate) fn names(pair: &str, name: &str) -> bool {
    let spelled = pair.split_once('=').map_or(pair, |(spelled, _)| spelled).as_bytes();
    // Servers differ in whether a `+` is a space.
    percent_decoded(spelled) == name.as_bytes() || form_decoded(spelled) == name.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_a_whole_parameter_or_misplaced() {
        let at = |target: &str| {
            let start = target.find("PH").unwrap();
            match Location::in_target(target, &(start..start + 2)) {
                Location::Query(name) => Some(name),
                Location::Target
                | Location::Plain(_)
                | Location::Basic(_)
                | Location::User(_)
                | Location::Cookie(_) => None,
            }
        };
        assert_eq!(at("/p?key=PH").as_deref(), Some("key"));
        assert_eq!(at("/p?a=b&key=PH&c=d").as_deref(), Some("key"));
        assert_eq!(at("/p?x?key=PH").as_deref(), Some("x?key"), "the query begins with the first question mark");
        for target in [
            "/PH",
            "/p?PH",
            "/p?key=xPH",
            "/p?key=PHx",
            "/p?PH=x",
            "/p?x?key=PHx",
            "/p?a=key=PH",
            "/key=PH",
            "/key=PH?a=b",
        ] {
            assert_eq!(at(target), None, "{target}");
        }
    }

    #[test]
    fn a_parameter_is_set_once() {
        let set = |target: &str, name: &str| {
            let (target, dropped) = with_parameter(target, name, "v");
            (target.to_string(), dropped)
        };
        assert_eq!(set("/p", "key"), ("/p?key=v".to_owned(), 0));
        assert_eq!(set("/p?a=b&key=x&k%65y=y&KEY=z", "key"), ("/p?a=b&key=v".to_owned(), 3));
        assert_eq!(set("/p?a=b;key=x&c;+key[]=y", "key"), ("/p?a=b&c&key=v".to_owned(), 2));
        assert_eq!(set("/p?a%20b=x&a%20c=y", "a%20b"), ("/p?a%20c=y&a%20b=v".to_owned(), 1));
    }

    #[test]
    fn a_cookie_is_known_by_its_name_and_set_once() {
        let at = |value: &str| {
            let start = value.find("PH").unwrap();
            match Location::in_field(&header::COOKIE, 0, value.as_bytes(), start..start + 2) {
                Location::Cookie(name) => Some(name),
                Location::Target | Location::Plain(_) | Location::Basic(_) | Location::User(_) | Location::Query(_) => {
                    None
                }
            }
        };
        for value in ["sid=PH", "a=b; sid=PH", "a=b;sid=PH ;c=d", "sid=PH; c=d"] {
            assert_eq!(at(value).as_deref(), Some("sid"), "{value}");
        }
        for value in ["PH", "sid=xPH", "sid=PHx", "sid=\"PH\"", "PH=a", "a=b; PH"] {
            assert_eq!(at(value), None, "{value}");
        }
        let mut fields = Fields::new();
        for value in ["a=b; sid=x", "sid=y; c=d=e"] {
            fields.append(header::COOKIE, HeaderValue::from_static(value));
        }
        assert_eq!(set_cookie(&mut fields, "sid", b"v").unwrap(), 2);
        let all: Vec<_> = fields.get_all(header::COOKIE).collect();
        assert_eq!(all, ["a=b; c=d=e; sid=v"]);
        assert!(all[0].is_sensitive());
        let mut fields = Fields::new();
        set_cookie(&mut fields, "sid", b"v").unwrap();
        assert_eq!(fields.get(header::COOKIE).unwrap(), "sid=v");
    }
}
