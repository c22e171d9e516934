//! Cookies of a request: cookies that the host set in this session pass, and every other is a credential of the
//! client's own.

use http::{HeaderValue, header};
use model::{Destination, Fields};
use sessions::Session;

/// The pairs of all Cookie fields.
pub(super) fn pairs(fields: &Fields) -> impl Iterator<Item = &[u8]> {
    let all = fields.get_all(header::COOKIE).flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    all.map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty())
}

/// A cookie's name and value.
pub(super) fn parts(pair: &[u8]) -> (&[u8], &[u8]) {
    let at = memchr::memchr(b'=', pair);
    let split = at.map(|at| (pair.get(..at).unwrap_or_default(), pair.get(at + 1..).unwrap_or_default()));
    let (name, value) = split.unwrap_or((b"", pair));
    (name.trim_ascii(), value.trim_ascii())
}

/// Retains the pairs that `keep` accepts; returns the names of the others.
pub(super) fn retain(fields: &mut Fields, keep: impl Fn(&[u8]) -> bool) -> usize {
    let (kept, dropped): (Vec<&[u8]>, Vec<&[u8]>) = pairs(fields).partition(|pair| keep(pair));
    let dropped = dropped.len();
    if dropped == 0 {
        return 0;
    }
    let joined = kept.join(b"; ".as_slice());
    match HeaderValue::from_bytes(&joined) {
        Ok(mut value) if !joined.is_empty() => {
            value.set_sensitive(true);
            fields.insert(header::COOKIE, value);
        }
        Ok(_) | Err(_) => drop(fields.remove(header::COOKIE)),
    }
    dropped
}

/// The key for remembered cookies: scheme, host and port. Anyone on the network could have written a cookie in cleartext, so it
/// differs from one set over TLS.
pub(super) fn key(destination: &Destination) -> String {
    destination.to_string()
}

/// Notes the cookies that a response sets, as the client sees them.
pub(crate) fn note(session: &Session, destination: &Destination, response: &Fields) {
    let mut set = response.get_all(header::SET_COOKIE).peekable();
    if set.peek().is_none() {
        return;
    }
    let host = key(destination);
    for value in set {
        let pair = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        let (name, value) = parts(pair.trim_ascii());
        session.host_cookies.note(&host, name, value);
    }
}

#[cfg(test)]
mod tests {
    use model::{Authority, Fields, Scheme};

    use super::*;

    #[test]
    fn t286_a_cookie_set_in_cleartext_is_not_one_set_over_tls() {
        let keys: Vec<String> =
            [(Scheme::Http, "a.example"), (Scheme::Https, "a.example"), (Scheme::Https, "a.example:80")]
                .into_iter()
                .map(|(scheme, host)| key(&Destination::of(scheme, Authority::parse(host, true).unwrap())))
                .collect();
        assert_eq!(keys, ["http://a.example:80", "https://a.example:443", "https://a.example:80"]);
    }

    #[test]
    fn cookies_are_told_apart_by_name_and_value() {
        assert_eq!(parts(b"sid=a=b"), (b"sid".as_slice(), b"a=b".as_slice()));
        assert_eq!(parts(b" sid = x "), (b"sid".as_slice(), b"x".as_slice()));
        assert_eq!(parts(b"lonely"), (b"".as_slice(), b"lonely".as_slice()));
        let mut fields = Fields::new();
        for value in ["a=1; b=2", "c=3;;d=4"] {
            fields.append(header::COOKIE, HeaderValue::from_static(value));
        }
        assert_eq!(retain(&mut fields, |pair| pair != b"b=2"), 1);
        assert_eq!(fields.get_all(header::COOKIE).collect::<Vec<_>>(), ["a=1; c=3; d=4"]);
        assert_eq!(retain(&mut fields, |_| false), 3);
        assert!(fields.get(header::COOKIE).is_none());
    }
}
