//! The hosts a credential may ever go to; part of the credential, and no policy widens it.

use std::fmt;

use crate::{Authority, Destination, Host, HostError, Scheme};
use thiserror::Error;

/// The most patterns of one audience.
pub const MAX_PATTERNS: usize = 64;

/// Where a credential may go: https destinations, each by name (or wildcard) and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audience(Box<[Pattern]>);

/// Why an audience is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AudienceError {
    /// A credential that may go nowhere, or to more places than anyone reads.
    #[error("an audience has 1 to {MAX_PATTERNS} hosts")]
    Count,
    /// Not a host.
    #[error("audience host {pattern:?} is not valid")]
    Host {
        /// As written.
        pattern: String,
        /// What is wrong with it.
        #[source]
        source: HostError,
    },
    /// A URL.
    #[error("audience host {0:?} is a URL; write only the host, without `https://` and a path")]
    Url(String),
    /// A star elsewhere than as the whole first label, or before an address.
    #[error("audience host {0:?} has a star elsewhere than in `*.name` or `**.name`")]
    Star(String),
    /// A wildcard over a whole top-level domain.
    #[error("audience host {0:?} covers a whole top-level domain")]
    TooWide(String),
}

/// Top-level names that cannot be registered (RFC 6761, RFC 6762, and `internal` by ICANN): wildcards below them are fine.
const PRIVATE_TOP_LEVELS: [&str; 6] = ["example", "internal", "invalid", "local", "localhost", "test"];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    hosts: Hosts,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    /// This name or address.
    One(Host),
    /// `*.name`: one more label.
    Children(Box<str>),
    /// `**.name`: one or more labels.
    Descendants(Box<str>),
}

impl Audience {
    /// Reads patterns such as `api.github.com`, `*.example.com`, `**.example.com:8443`; the port is 443 if there is none.
    ///
    /// # Errors
    /// [`AudienceError`] names the pattern.
    pub fn parse<T: AsRef<str>>(patterns: &[T]) -> Result<Self, AudienceError> {
        if patterns.is_empty() || patterns.len() > MAX_PATTERNS {
            return Err(AudienceError::Count);
        }
        patterns.iter().map(|pattern| Pattern::parse(pattern.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the credential may go there. Never over cleartext.
    pub fn covers(&self, destination: &Destination) -> bool {
        destination.scheme() == Scheme::Https && self.0.iter().any(|pattern| pattern.covers(destination))
    }

    /// Whether it names the host at all, whatever the scheme and the port: a server on another port of a host may know
    /// what was sent to this one.
    pub fn names(&self, host: &Host) -> bool {
        self.0.iter().any(|pattern| pattern.names(host))
    }

    /// The patterns in canonical form.
    pub fn patterns(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, AudienceError> {
        if text.contains("://") {
            return Err(AudienceError::Url(text.to_owned()));
        }
        let (stars, rest) = match text.strip_prefix("**.") {
            Some(rest) => (2, rest),
            None => text.strip_prefix("*.").map_or((0, text), |rest| (1, rest)),
        };
        if rest.contains('*') {
            return Err(AudienceError::Star(text.to_owned()));
        }
        let authority =
            Authority::parse(rest, false).map_err(|source| AudienceError::Host { pattern: text.to_owned(), source })?;
        let port = authority.port.unwrap_or(Scheme::Https.default_port());
        let hosts = match (stars, authority.host) {
            (0, host) => Hosts::One(host),
            (_, Host::V4(_) | Host::V6(_)) => return Err(AudienceError::Star(text.to_owned())),
            (_, Host::Name(name)) if !name.contains('.') && !PRIVATE_TOP_LEVELS.contains(&&*name) => {
                return Err(AudienceError::TooWide(text.to_owned()));
            }
            (1, Host::Name(name)) => Hosts::Children(Box::from(&*name)),
            (_, Host::Name(name)) => Hosts::Descendants(Box::from(&*name)),
        };
        Ok(Self { hosts, port })
    }

    fn covers(&self, destination: &Destination) -> bool {
        self.port == destination.port() && self.names(destination.host())
    }

    fn names(&self, host: &Host) -> bool {
        match &self.hosts {
            Hosts::One(one) => one == host,
            Hosts::Children(parent) => below(host, parent).is_some_and(|labels| !labels.contains('.')),
            Hosts::Descendants(parent) => below(host, parent).is_some(),
        }
    }
}

/// The labels of a host in front of `.parent`, at least one.
fn below<'a>(host: &'a Host, parent: &str) -> Option<&'a str> {
    let labels = host.name()?.strip_suffix(parent)?.strip_suffix('.')?;
    (!labels.is_empty()).then_some(labels)
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hosts {
            Hosts::One(host) => write!(f, "{host}")?,
            Hosts::Children(parent) => write!(f, "*.{parent}")?,
            Hosts::Descendants(parent) => write!(f, "**.{parent}")?,
        }
        if self.port == Scheme::Https.default_port() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, url: &str) -> bool {
        let (scheme, authority) = url.split_once("://").unwrap();
        let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
        let destination = Destination::of(scheme, Authority::parse(authority, false).unwrap());
        Audience::parse(&[pattern]).unwrap().covers(&destination)
    }

    #[test]
    fn a_url_is_not_a_host() {
        let error = Audience::parse(&["https://a.example.com"]).unwrap_err().to_string();
        let expected =
            "audience host \"https://a.example.com\" is a URL; write only the host, without `https://` and a path";
        assert_eq!(error, expected);
    }

    #[test]
    fn patterns_match_label_by_label() {
        for (pattern, url, want) in [
            ("api.github.com", "https://api.github.com", true),
            ("API.GitHub.com.", "https://api.github.com", true),
            ("api.github.com", "https://API.GITHUB.COM.", true),
            ("api.github.com", "https://github.com", false),
            ("api.github.com", "https://x.api.github.com", false),
            ("api.github.com", "https://evilapi.github.com", false),
            ("api.github.com", "https://api.github.com.evil.net", false),
            ("*.example.com", "https://a.example.com", true),
            ("*.example.com", "https://a.b.example.com", false),
            ("*.example.com", "https://example.com", false),
            ("*.example.com", "https://evilexample.com", false),
            ("*.example.com", "https://example.com.evil.net", false),
            ("**.example.com", "https://a.example.com", true),
            ("**.example.com", "https://a.b.example.com", true),
            ("**.example.com", "https://example.com", false),
            ("**.example.com", "https://evilexample.com", false),
            ("10.0.0.5", "https://10.0.0.5", true),
            ("10.0.0.5", "https://10.0.0.6", false),
            ("[::1]:8443", "https://[::1]:8443", true),
            ("*.0.0.1.test", "https://127.0.0.1", false),
        ] {
            assert_eq!(covers(pattern, url), want, "{pattern} {url}");
        }
    }

    #[test]
    fn the_port_is_part_of_the_audience() {
        assert!(covers("api.example.com", "https://api.example.com:443"));
        assert!(!covers("api.example.com", "https://api.example.com:8443"));
        assert!(covers("api.example.com:8443", "https://api.example.com:8443"));
        assert!(!covers("api.example.com:8443", "https://api.example.com"));
    }

    #[test]
    fn t088_cleartext_is_never_covered() {
        assert!(!covers("api.example.com", "http://api.example.com"));
        assert!(!covers("api.example.com", "http://api.example.com:443"));
        assert!(!covers("api.example.com:80", "http://api.example.com"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "*",
            "**",
            "*.",
            "**.",
            "a.*.com",
            "*a.example.com",
            "*.*.example.com",
            "***.example.com",
            "*.10.0.0.1",
            "*.[::1]",
        ] {
            assert!(Audience::parse(&[text]).is_err(), "{text}");
        }
        for text in
            ["", "a b", "a.example/x", "u@a.example", "a.example:0", "a.example:", "a.example:99999", "a_\u{0}b"]
        {
            assert!(matches!(Audience::parse(&[text]), Err(AudienceError::Host { .. })), "{text}");
        }
        assert_eq!(Audience::parse(&["**.com"]), Err(AudienceError::TooWide("**.com".to_owned())));
        assert!(Audience::parse(&["*.internal"]).is_ok());
        assert_eq!(Audience::parse::<&str>(&[]), Err(AudienceError::Count));
        assert_eq!(Audience::parse(&["a.example"; MAX_PATTERNS + 1]), Err(AudienceError::Count));
    }

    #[test]
    fn patterns_are_written_as_they_are_read() {
        let written = Audience::parse(&["A.example", "*.b.example:8443", "**.c.example:443", "b\u{fc}cher.example"])
            .unwrap()
            .patterns();
        assert_eq!(written, ["a.example", "*.b.example:8443", "**.c.example", "xn--bcher-kva.example"]);
        assert_eq!(Audience::parse(&written).unwrap().patterns(), written);
    }
}
