//! The parts of a rule, each from its values as written to its canonical form.
//!
//! What is wrong with one value is reported there, and the others are kept, so that one run finds
//! everything; a policy with an error is never used.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use model::CredentialId;
use serde_saphyr::Spanned;

use crate::document::{OneOrMany, Scalar, place};
use crate::pattern::{HostPattern, PathPattern, PatternError};
use crate::problem::{Place, Reporter, code, quote};

/// The longest name, in characters.
const MAX_NAME_CHARS: usize = 64;

/// The metadata services of the large clouds, to warn of ranges that hold one. What counts as one when a
/// request is dialed is `model::AddressClass`.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(std::net::Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(std::net::Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Names stand in records, answers and commands: letters, digits and `-_.`, in a policy's name also `/`.
pub(super) fn check_name(what: &str, name: &str, at: Place, reporter: &mut Reporter<'_>) {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let fits = if what == "policy" { name.split('/').all(part) } else { part(name) };
    if !fits || name.len() > MAX_NAME_CHARS {
        let message = format!("{} is no name for a {what}", quote(name));
        let help = format!(
            "use letters, digits, `-`, `_` and `.`, begin with a letter or digit, take at most {MAX_NAME_CHARS}"
        );
        reporter.error(code::BAD_NAME, at, message, help);
    }
}

/// The values of a key. A list that limits a rule and has no entry would make a rule that never matches.
fn items<'a>(key: &str, list: &'a Spanned<OneOrMany>, reporter: &mut Reporter<'_>) -> Vec<(&'a Scalar, Place)> {
    let items = OneOrMany::items(list);
    if items.is_empty() {
        let message = format!("{} is an empty list, so nothing can ever match", quote(key));
        reporter.error(code::EMPTY_LIST, place(list), message, "name at least one, or leave the key out");
    }
    items
}

/// The values of a key that takes texts.
pub(super) fn texts<'a>(key: &str, list: &'a Spanned<OneOrMany>, reporter: &mut Reporter<'_>) -> Vec<(&'a str, Place)> {
    let mut texts = Vec::new();
    for (item, at) in items(key, list, reporter) {
        let other = match item {
            Scalar::Text(text) => {
                texts.push((text.as_str(), at));
                continue;
            }
            Scalar::Number(number) => &number.to_string(),
            Scalar::Other(text) => text,
        };
        let message = format!("{} without quotes is not a text", quote(other));
        reporter.error(code::UNQUOTED, at, message, "write it in quotes, or correct it");
    }
    texts
}

/// Reads one host pattern, or reports it.
pub(super) fn host_pattern(text: &str, at: Place, reporter: &mut Reporter<'_>) -> Option<HostPattern> {
    HostPattern::parse(text)
        .map_err(|PatternError { message, help }| reporter.error(code::HOST_PATTERN, at, message, help))
        .ok()
}

pub(super) fn ports(list: &Spanned<OneOrMany>, reporter: &mut Reporter<'_>) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    for (item, at) in items("port", list, reporter) {
        let (port, text) = match item {
            Scalar::Number(number) => (u16::try_from(*number).ok().filter(|port| *port != 0), &number.to_string()),
            Scalar::Text(text) | Scalar::Other(text) => (None, text),
        };
        match port {
            Some(port) => {
                ports.insert(port);
            }
            None => reporter.error(
                code::PORT,
                at,
                format!("{} is not a port", quote(text)),
                "a port is a number from 1 to 65535, without quotes",
            ),
        }
    }
    ports
}

pub(super) fn methods(list: &Spanned<OneOrMany>, reporter: &mut Reporter<'_>) -> BTreeSet<Box<str>> {
    let methods = texts("methods", list, reporter);
    for (method, at) in &methods {
        if let Some(why) = method_error(method) {
            reporter.error(code::METHOD, *at, why, "methods are written as they are sent, such as GET or POST");
        }
    }
    methods.into_iter().map(|(method, _)| method.into()).collect()
}

/// What is wrong with a method (RFC 9110 section 9.1); `None` where nothing is.
pub(super) fn method_error(method: &str) -> Option<String> {
    let token = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "!#$%&'+-.^_`|~".contains(c);
    if method == "CONNECT" {
        return Some("CONNECT opens the way to a host and port; no rule names it".to_owned());
    }
    (method.is_empty() || !method.chars().all(token))
        .then(|| format!("{} is not a method in upper case", quote(method)))
}

pub(super) fn paths(list: &Spanned<OneOrMany>, reporter: &mut Reporter<'_>) -> Vec<PathPattern> {
    let mut patterns = Vec::new();
    for (text, at) in texts("path", list, reporter) {
        match PathPattern::parse(text) {
            Ok(pattern) => patterns.push(pattern),
            Err(PatternError { message, help }) => reporter.error(code::PATH_PATTERN, at, message, help),
        }
    }
    patterns
}

pub(super) fn addresses(list: &Spanned<OneOrMany>, reporter: &mut Reporter<'_>) -> BTreeSet<IpNet> {
    let mut nets = Vec::new();
    for (text, at) in texts("addresses", list, reporter) {
        match address_range(text) {
            Ok(net) => nets.push((net, at)),
            Err(help) => reporter.error(code::CIDR, at, format!("{} is not an address range", quote(text)), help),
        }
    }
    let all: BTreeSet<IpNet> = nets.iter().map(|(net, _)| *net).collect();
    for (net, at) in nets {
        report_metadata(net, at, &all, reporter);
    }
    all
}

fn address_range(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let net: IpNet =
        text.parse().map_err(|_| "write an address, or a range such as 10.1.0.0/16 or \"fd00:1::/32\"".to_owned())?;
    if net.addr() == net.network() {
        Ok(net)
    } else {
        Err(format!("the range that holds this address is {}", net.trunc()))
    }
}

fn report_metadata(net: IpNet, at: Place, all: &BTreeSet<IpNet>, reporter: &mut Reporter<'_>) {
    let covered = |address: &&IpAddr| net.contains(*address) && !all.contains(&IpNet::from(**address));
    let held: Vec<String> = METADATA.iter().filter(covered).map(ToString::to_string).collect();
    if !held.is_empty() {
        let message = format!("`{net}` holds metadata services ({}), which a range never allows", held.join(", "));
        reporter.warn(
            code::METADATA_RANGE,
            at,
            message,
            "list the very address where it is meant; else write narrower ranges",
        );
    }
}

pub(super) fn credentials(list: &Spanned<OneOrMany>, reporter: &mut Reporter<'_>) -> Vec<CredentialId> {
    let mut credentials: Vec<CredentialId> = Vec::new();
    for (name, at) in texts("use", list, reporter) {
        check_name("credential", name, at, reporter);
        if !credentials.iter().any(|own| own.as_str() == name) {
            credentials.push(CredentialId::new(name));
        }
    }
    credentials
}

#[cfg(test)]
mod tests {
    use model::AddressClass;

    use super::*;

    #[test]
    fn the_metadata_services_warned_of_are_those_never_dialed_by_range() {
        assert!(METADATA.iter().all(|address| AddressClass::of(*address) == AddressClass::Metadata));
    }
}
