//! Host patterns: a name, `*.b` for one more label, `**.b` for one or more, `**` for any.
//!
//! A wildcard is only the whole first label, so the index finds it by the ends of a name.

use std::fmt;
use std::sync::Arc;

use model::{Host, HostError};

use super::PatternError;

/// One host pattern in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum HostPattern {
    /// This name or address.
    Exact(Host),
    /// `*.b`: exactly one label before `b`.
    Child(Arc<str>),
    /// `**.b`: one or more labels before `b`.
    Below(Arc<str>),
    /// `**`: every host; only where a rule denies.
    Any,
}

impl HostPattern {
    /// Reads a pattern as written.
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        if text == "**" {
            return Ok(Self::Any);
        }
        let (below, rest) = match (text.strip_prefix("**."), text.strip_prefix("*.")) {
            (Some(rest), _) => (Some(true), rest),
            (None, Some(rest)) => (Some(false), rest),
            (None, None) => (None, text),
        };
        refuse_foreign(text, rest)?;
        let host = Host::parse(rest).map_err(|why| unreadable(text, why))?;
        let Some(below) = below else { return exact(text, host) };
        match host {
            Host::Name(name) if below => Ok(Self::Below(name)),
            Host::Name(name) => Ok(Self::Child(name)),
            Host::V4(_) | Host::V6(_) => {
                Err(PatternError::new(format!("`{text}` puts a wildcard before an address"), "name the address alone"))
            }
        }
    }

    /// Whether the host is one that the pattern names.
    pub(crate) fn matches(&self, host: &Host) -> bool {
        let name = match host {
            Host::Name(name) => &**name,
            Host::V4(_) | Host::V6(_) => "",
        };
        match self {
            Self::Exact(own) => own == host,
            Self::Child(tail) => name.split_once('.').is_some_and(|(_, rest)| *rest == **tail),
            Self::Below(tail) => is_below(name, tail),
            Self::Any => true,
        }
    }

    /// Whether every host that the other pattern names is one that this one names.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (pattern, Self::Exact(host)) => pattern.matches(host),
            (Self::Child(own), Self::Child(other)) => own == other,
            (Self::Below(own), Self::Child(other) | Self::Below(other)) => own == other || is_below(other, own),
            (Self::Exact(_), Self::Child(_) | Self::Below(_) | Self::Any)
            | (Self::Child(_), Self::Below(_) | Self::Any)
            | (Self::Below(_), Self::Any) => false,
        }
    }

    /// Whether some host is one that both patterns name.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(host), pattern) | (pattern, Self::Exact(host)) => pattern.matches(host),
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Child(a), Self::Child(b)) => a == b,
            (Self::Child(child), Self::Below(below)) | (Self::Below(below), Self::Child(child)) => {
                child == below || is_below(child, below)
            }
            (Self::Below(a), Self::Below(b)) => a == b || is_below(a, b) || is_below(b, a),
        }
    }
}

/// Whether the name has one label or more before `tail`.
fn is_below(name: &str, tail: &str) -> bool {
    name.strip_suffix(tail).and_then(|front| front.strip_suffix('.')).is_some_and(|front| !front.is_empty())
}

/// Signs that show the author had another pattern language, or a whole URL, in mind.
fn refuse_foreign(text: &str, rest: &str) -> Result<(), PatternError> {
    let literal = rest.starts_with('[') && rest.ends_with(']') && rest.contains(':');
    if text.contains("://") || rest.contains('/') {
        return Err(PatternError::new(
            format!("`{text}` is not a host"),
            "name the host alone; `scheme`, `port` and `path` have keys of their own",
        ));
    }
    if rest.contains(|c| "*?{}!,^$\\|+()".contains(c)) || (rest.contains(['[', ']']) && !literal) {
        return Err(PatternError::new(
            format!("`{text}` does not match label by label"),
            "only a whole first label can be a wildcard: `*.b` for one label, `**.b` for one or more",
        ));
    }
    if !literal && let Some((host, port)) = rest.rsplit_once(':') {
        return Err(if host.contains(':') {
            PatternError::new(
                format!("`{text}` is not a host"),
                format!("write an IPv6 address in brackets: \"[{text}]\""),
            )
        } else {
            PatternError::new(
                format!("`{text}` holds a port"),
                format!("name the port beside the host: `port: {port}`"),
            )
        });
    }
    Ok(())
}

fn unreadable(text: &str, why: HostError) -> PatternError {
    PatternError::new(
        format!("`{text}` is not a host pattern: {why}"),
        "write the name as it is in a URL, without scheme, port or path",
    )
}

/// An address has many spellings; a policy names it in the one that records show.
fn exact(text: &str, host: Host) -> Result<HostPattern, PatternError> {
    let canonical = host.to_string();
    if host.address().is_some() && canonical != text {
        return Err(PatternError::new(
            format!("`{text}` is not the canonical form of an address"),
            format!("write \"{canonical}\""),
        ));
    }
    Ok(HostPattern::Exact(host))
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => host.fmt(f),
            Self::Child(tail) => write!(f, "*.{tail}"),
            Self::Below(tail) => write!(f, "**.{tail}"),
            Self::Any => f.write_str("**"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t024_what_is_not_label_wise_is_no_pattern() {
        for text in [
            "*a*a*a*",
            "a*.example.com",
            "*a.example.com",
            "a.*.com",
            "*.*.example.com",
            "**.**",
            "*",
            "***.a.b",
            "**a.b",
            "*.**.a.b",
            "[ab].example.com",
            "{a,b}.example.com",
            "a?.example.com",
            "!a.example.com",
        ] {
            let error = HostPattern::parse(text).unwrap_err();
            assert!(error.message.contains("label"), "{text}: {}", error.message);
        }
    }

    #[test]
    fn what_cannot_be_canonical_is_no_pattern() {
        for text in [
            "",
            ".",
            "*.",
            "a..b",
            "a b",
            "https://a.b",
            "a.b/c",
            "a.b:443",
            "::1",
            "127.1",
            "0x7f.1",
            "[::0]",
            "*.0.0.1",
            "xn--a.com",
            "a-.example",
            "-a.example",
            "*.a-.example",
            "**.-a.example",
        ] {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
        for (text, canonical) in
            [("bücher.example", "xn--bcher-kva.example"), ("*.EXAMPLE.com.", "*.example.com"), ("[::1]", "[::1]")]
        {
            assert_eq!(HostPattern::parse(text).unwrap().to_string(), canonical);
        }
    }
}
