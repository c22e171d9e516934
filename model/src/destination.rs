//! Where a client asked to go: scheme, host and port in canonical form, parsed once.
//!
//! Follows RFC 3986 section 3.2 (authority), RFC 9110 section 4.2 (http and https), UTS 46 (names) and the
//! WHATWG URL standard for what counts as an IPv4 address. Stricter than all of them: what does
//! not survive a round trip is refused, never repaired.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use thiserror::Error;

/// How requests to a destination travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Cleartext HTTP; never carries a credential.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// 80 or 443.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A host in canonical form.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name in lower case ASCII without the trailing dot.
    Name(Arc<str>),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6(Ipv6Addr),
}

/// Why a host or authority is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HostError {
    /// Nothing there.
    #[error("the host is empty")]
    Empty,
    /// Longer than 253 characters, or a label empty or longer than 63 (RFC 1035 section 2.3.4).
    #[error("the host has an empty or overlong label or is longer than 253 characters")]
    Length,
    /// A character that no host name holds.
    #[error("the host holds a character that no host name holds")]
    Character,
    /// A label that begins or ends with a hyphen (RFC 952, RFC 5890 section 2.3.1): no certificate can name it, so no TLS reaches it.
    #[error("a label of the host begins or ends with a hyphen")]
    Hyphen,
    /// A name that does not survive UTS 46 processing unchanged.
    #[error("the host is not a valid internationalized name")]
    Idna,
    /// The last label is numeric but the whole is not an IPv4 address.
    #[error("the host ends in a number but is no IPv4 address")]
    Ipv4,
    /// Not an IPv6 address, or one with a zone.
    #[error("the host in brackets is no IPv6 address")]
    Ipv6,
    /// Not a decimal number from 1 to 65535 without leading zeros.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// `user@` before the host.
    #[error("an authority with user information is not accepted")]
    Userinfo,
}

impl Host {
    /// Reads a host as written in a URI (IPv6 in brackets).
    ///
    /// # Errors
    /// [`HostError`] names what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(HostError::Ipv6)?;
            // The standard parser does not support zones; `::ffff:1.2.3.4` stays an IPv6 address and is classified as one.
            return inner.parse().map(Self::V6).map_err(|_| HostError::Ipv6);
        }
        let name = if text.is_ascii() { ascii_name(text)? } else { international_name(text)? };
        if ends_in_number(&name) {
            return parse_v4(&name).map(Self::V4).ok_or(HostError::Ipv4);
        }
        // A label that claims to be punycode must be what UTS 46 would have written.
        if name.split('.').any(|label| label.starts_with("xn--")) {
            let (unicode, ok) = idna::domain_to_unicode(&name);
            let again = idna::domain_to_ascii_strict(&unicode).map_err(|_| HostError::Idna)?;
            if ok.is_err() || again != name || unicode.is_ascii() {
                return Err(HostError::Idna);
            }
        }
        Ok(Self::Name(name.into()))
    }

    /// The name, where it is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::V4(_) | Self::V6(_) => None,
        }
    }

    /// The address, where it is a literal.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::V4(v4) => Some(IpAddr::V4(*v4)),
            Self::V6(v6) => Some(IpAddr::V6(*v6)),
        }
    }
}

fn ascii_name(text: &str) -> Result<String, HostError> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() || name.len() > 253 || name.split('.').any(|l| l.is_empty() || l.len() > 63) {
        return Err(HostError::Length);
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err(HostError::Character);
    }
    if name.split('.').any(|label| label.starts_with('-') || label.ends_with('-')) {
        return Err(HostError::Hyphen);
    }
    Ok(name.to_ascii_lowercase())
}

/// UTS 46, strict and non-transitional. Dots and digits of other scripts, soft hyphens and joiners
/// map to something else, so a name that holds them does not survive the round trip.
fn international_name(text: &str) -> Result<String, HostError> {
    let ascii = idna::domain_to_ascii_strict(text).map_err(|_| HostError::Idna)?;
    let (unicode, ok) = idna::domain_to_unicode(&ascii);
    let lower: String = text.chars().flat_map(char::to_lowercase).collect();
    if ok.is_err() || unicode != lower || ascii.eq_ignore_ascii_case(text) {
        return Err(HostError::Idna);
    }
    ascii_name(&ascii)
}

/// Whether the URL standard would read the host as an IPv4 address ("ends in a number checker").
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    (!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit())) || v4_number(last).is_some()
}

/// A number of any length is one; what is too great for an address is so at any greatness.
fn v4_number(part: &str) -> Option<u64> {
    let (digits, radix) = match part.strip_prefix("0x") {
        Some(hex) => (hex, 16),
        None if part.len() > 1 && part.starts_with('0') => (part, 8),
        None => (part, 10),
    };
    match digits {
        "" if radix == 16 => Some(0),
        _ if digits.bytes().all(|b| (b as char).is_digit(radix)) => {
            Some(u64::from_str_radix(digits, radix).unwrap_or(u64::MAX))
        }
        _ => None,
    }
}

fn parse_v4(name: &str) -> Option<Ipv4Addr> {
    let numbers = name.split('.').map(v4_number).collect::<Option<Vec<u64>>>()?;
    let (last, front) = numbers.split_last()?;
    if front.len() > 3 || front.iter().any(|n| *n > 255) || *last >= 1 << (8 * (4 - front.len() as u32)) {
        return None;
    }
    let mut value = *last;
    for (place, number) in front.iter().enumerate() {
        value |= number << (8 * (3 - place));
    }
    u32::try_from(value).ok().map(Ipv4Addr::from)
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(v4) => v4.fmt(f),
            Self::V6(v6) => write!(f, "[{v6}]"),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({self})")
    }
}

/// A host with the port that stood beside it, if one did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port as written; `None` where none was.
    pub port: Option<u16>,
}

impl Authority {
    /// Reads `host`, `host:port` or `host:`; the last only where `empty_port` (RFC 3986 section 3.2.3 lets a URI have it).
    ///
    /// # Errors
    /// [`HostError`] names what is wrong with it.
    pub fn parse(text: &str, empty_port: bool) -> Result<Self, HostError> {
        if text.contains('@') {
            return Err(HostError::Userinfo);
        }
        let colon = match text.rfind(']') {
            Some(end) => text.get(end..).and_then(|rest| rest.find(':')).map(|at| end + at),
            None => text.find(':'),
        };
        let Some(colon) = colon else { return Ok(Self { host: Host::parse(text)?, port: None }) };
        let (host, port) = text.split_at(colon);
        let port = match port.strip_prefix(':').unwrap_or_default() {
            "" if empty_port => None,
            digits => Some(parse_port(digits)?),
        };
        Ok(Self { host: Host::parse(host)?, port })
    }
}

fn parse_port(digits: &str) -> Result<u16, HostError> {
    let plain = !digits.starts_with('0') && digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { digits.parse().map_err(|_| HostError::Port) } else { Err(HostError::Port) }
}

/// A host and a port in canonical form: what a CONNECT names, before anything shows the scheme (RFC 9110 section 9.3.6).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The host.
    pub host: Host,
    /// The port, 1 to 65535.
    pub port: u16,
}

impl Endpoint {
    /// The destination with this scheme.
    pub fn with_scheme(self, scheme: Scheme) -> Destination {
        Destination { scheme, host: self.host, port: self.port }
    }

    /// Whether an authority names this endpoint; a missing port is any port.
    pub fn is(&self, authority: &Authority) -> bool {
        authority.host == self.host && authority.port.is_none_or(|port| port == self.port)
    }
}

/// Where a request goes. The one value that drives policy, dial, certificate check, pool and injection.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    scheme: Scheme,
    host: Host,
    port: u16,
}

impl Destination {
    /// A destination from its judged parts.
    pub fn new(scheme: Scheme, host: Host, port: u16) -> Self {
        Self { scheme, host, port }
    }

    /// The destination of an authority, with the scheme's port if there is none.
    pub fn of(scheme: Scheme, authority: Authority) -> Self {
        Self { scheme, port: authority.port.unwrap_or(scheme.default_port()), host: authority.host }
    }

    /// How requests travel there.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, 1 to 65535.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether an authority names this destination; a missing port means the scheme's.
    pub fn is(&self, authority: &Authority) -> bool {
        authority.host == self.host && authority.port.unwrap_or(self.scheme.default_port()) == self.port
    }

    /// `host` or, where the port is not the scheme's, `host:port`: the value of a Host field (RFC 9110 section 7.2).
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether a text is its [authority](Self::authority), byte for byte.
    pub fn is_authority(&self, text: &[u8]) -> bool {
        match &self.host {
            // Nearly all requests: nothing is allocated.
            Host::Name(name) if self.port == self.scheme.default_port() => name.as_bytes() == text,
            Host::Name(_) | Host::V4(_) | Host::V6(_) => self.authority().as_bytes() == text,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme.as_str(), self.host, self.port)
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Destination({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Result<String, HostError> {
        Host::parse(text).map(|h| h.to_string())
    }

    #[test]
    fn names_are_lowered_and_lose_one_dot() {
        assert_eq!(host("ALLOWED.example").as_deref(), Ok("allowed.example"));
        assert_eq!(host("allowed.example.").as_deref(), Ok("allowed.example"));
        assert_eq!(host("allowed.example.."), Err(HostError::Length));
        assert_eq!(host(".example"), Err(HostError::Length));
        assert_eq!(host("a..b"), Err(HostError::Length));
        assert_eq!(host("."), Err(HostError::Length));
        assert_eq!(host(&"a".repeat(64)), Err(HostError::Length));
        assert_eq!(host(&["abcdefg."; 32].concat()), Err(HostError::Length));
        assert_eq!(host("a_b.example").as_deref(), Ok("a_b.example"));
        assert_eq!(host("r3---sn.a-1.example").as_deref(), Ok("r3---sn.a-1.example"));
        for text in ["-a.example", "a-.example", "a.-example", "a.example-", "-", "a.b-.", "-.a"] {
            assert_eq!(host(text), Err(HostError::Hyphen), "{text}");
        }
    }

    #[test]
    fn every_notation_of_ipv4_is_the_address() {
        for text in ["2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0x7f000001", "127.000.000.001", "127.0.0.1."] {
            assert_eq!(host(text).as_deref(), Ok("127.0.0.1"), "{text}");
        }
        for text in [
            "1.2.3.4.5",
            "256.1.1.1",
            "a.1",
            "1.2.3.08",
            "4294967296",
            "1..2",
            "a.0xfffffffffffffffff",
            "0x10000000000000000",
        ] {
            assert!(host(text).is_err(), "{text}");
        }
        assert_eq!(host("0x.example").as_deref(), Ok("0x.example"));
    }

    #[test]
    fn ipv6_stands_in_brackets_without_zone() {
        assert_eq!(host("[::1]").as_deref(), Ok("[::1]"));
        assert_eq!(host("[0:0::FFFF:127.0.0.1]").as_deref(), Ok("[::ffff:127.0.0.1]"));
        for text in ["[::1", "[fe80::1%eth0]", "[fe80::1%25eth0]", "[]", "[1.2.3.4]", "::1"] {
            assert!(host(text).is_err(), "{text}");
        }
    }

    #[test]
    fn international_names_survive_a_round_trip_or_are_refused() {
        assert_eq!(host("b\u{fc}cher.example").as_deref(), Ok("xn--bcher-kva.example"));
        assert_eq!(host("xn--bcher-kva.example").as_deref(), Ok("xn--bcher-kva.example"));
        assert_eq!(host("stra\u{df}e.example").as_deref(), Ok("xn--strae-oqa.example"));
        for text in [
            "example\u{ff0e}com",
            "\u{ff11}.example",
            "exam\u{ad}ple.com",
            "exam\u{200d}ple.com",
            "xn--example-.com",
            "xn--a.example",
            "allowed.example\0.evil",
            "a%2eb",
            "a b",
            "a/b",
        ] {
            assert!(host(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ports_are_plain_numbers() {
        let port = |text: &str| Authority::parse(text, false).map(|a| a.port);
        assert_eq!(port("a.example:443"), Ok(Some(443)));
        assert_eq!(port("[::1]:8"), Ok(Some(8)));
        assert_eq!(port("a.example"), Ok(None));
        for text in ["a:0443", "a:+443", "a:443 ", "a:65536", "a:0", "a:443:80", "a:", "a:x"] {
            assert!(port(text).is_err(), "{text}");
        }
        assert_eq!(Authority::parse("a:", true).map(|a| a.port), Ok(None));
        assert_eq!(port("u@a"), Err(HostError::Userinfo));
    }
}
