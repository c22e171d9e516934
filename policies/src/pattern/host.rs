//! Host patterns: a name, `*.b` for one more label, `**.b` for one or more, `**` for any.
//!
//! A wildcard stands only as the whole first label, so a match is a comparison of label ends and the
//! time for it does not depend on the pattern.

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

/// How exactly a pattern names a host; greater is more exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HostRank {
    exact: bool,
    fixed_labels: usize,
    one_label: bool,
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
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Exact(own), _) => own == host,
            (Self::Child(tail), Host::Name(name)) => label_before(name, tail).is_some_and(|front| !front.contains('.')),
            (Self::Below(tail), Host::Name(name)) => label_before(name, tail).is_some(),
            (Self::Child(_) | Self::Below(_), Host::V4(_) | Host::V6(_)) => false,
        }
    }

    /// How exactly the pattern names the hosts it matches.
    pub(crate) fn rank(&self) -> HostRank {
        let labels = |tail: &str| tail.split('.').count();
        match self {
            Self::Exact(_) => HostRank { exact: true, fixed_labels: 0, one_label: true },
            Self::Child(tail) => HostRank { exact: false, fixed_labels: labels(tail), one_label: true },
            Self::Below(tail) => HostRank { exact: false, fixed_labels: labels(tail), one_label: false },
            Self::Any => HostRank { exact: false, fixed_labels: 0, one_label: false },
        }
    }

    /// Whether it is a wildcard directly below a single label, such as `*.com`.
    pub(crate) fn spans_a_top_level(&self) -> bool {
        match self {
            Self::Child(tail) | Self::Below(tail) => !tail.contains('.'),
            Self::Exact(_) | Self::Any => false,
        }
    }
}

/// What stands before `.tail`, where something does.
fn label_before<'a>(name: &'a str, tail: &str) -> Option<&'a str> {
    name.strip_suffix(tail)?.strip_suffix('.').filter(|front| !front.is_empty())
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
        "write the name as it stands in a URL, without scheme, port or path",
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

    fn hits(pattern: &str, host: &str) -> bool {
        HostPattern::parse(pattern).unwrap().matches(&Host::parse(host).unwrap())
    }

    #[test]
    fn t021_case_and_one_trailing_dot_do_not_matter() {
        for host in ["ALLOWED.example", "allowed.example.", "Allowed.Example"] {
            assert!(hits("allowed.example", host), "{host}");
        }
        assert!(hits("Allowed.EXAMPLE.", "allowed.example"));
        assert!(Host::parse("allowed.example..").is_err());
    }

    #[test]
    fn t023_one_star_is_exactly_one_label() {
        assert!(hits("*.example.com", "a.example.com"));
        for host in ["example.com", "a.b.example.com", "evilexample.com", "example.com.evil.net"] {
            assert!(!hits("*.example.com", host), "{host}");
        }
        assert!(Host::parse(".example.com").is_err());
    }

    #[test]
    fn two_stars_are_one_label_or_more_and_never_the_apex() {
        for host in ["a.example.com", "a.b.example.com", "a.b.c.example.com"] {
            assert!(hits("**.example.com", host), "{host}");
        }
        for host in ["example.com", "evilexample.com", "a.example.com.evil.net"] {
            assert!(!hits("**.example.com", host), "{host}");
        }
    }

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
        ] {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
        assert!(hits("bücher.example", "xn--bcher-kva.example"));
        assert!(hits("[::1]", "[0:0::1]"));
        assert!(hits("127.0.0.1", "0x7f.1"));
    }

    #[test]
    fn exactness_orders_patterns() {
        let order = ["**", "**.c", "*.c", "**.b.c", "*.b.c", "a.b.c"];
        let ranks: Vec<HostRank> = order.iter().map(|p| HostPattern::parse(p).unwrap().rank()).collect();
        assert!(ranks.is_sorted_by(|a, b| a < b));
    }
}
