//! The parts of a rule, each from its values as written to its canonical form.
//!
//! What is wrong with one value is reported there, and the others are kept, so that one run finds
//! everything; a policy with an error is never used.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use model::{CredentialId, Timestamp};

use crate::document::{LimitsEntry, OneOrMany, Pairs, Scalar, Spanned, TimeoutsEntry, place};
use crate::pattern::{HostPattern, PathPattern, PatternError, TextPattern};
use crate::problem::{Place, Reporter, code, quote};
use crate::rule::{Limits, Rate, Timeouts};

/// The longest name, in characters.
const MAX_NAME_CHARS: usize = 64;

/// The longest span of time that a rule may name.
const MAX_SPAN: Duration = Duration::from_secs(7 * 86_400);

/// A warning names so many of the metadata services that a range holds.
const SHOWN_SERVICES: usize = 4;

/// Names occur in records, responses and commands: letters, digits and `-_.`, in a policy's name also `/`.
pub(super) fn check_name(what: &str, name: &str, at: Place, reporter: &mut Reporter<'_>) {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let fits = if what == "policy" { name.split('/').all(part) } else { part(name) };
    if !fits || name.len() > MAX_NAME_CHARS {
        let message = format!("{} is not a name for a {what}", quote(name));
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
pub(crate) fn method_error(method: &str) -> Option<String> {
    let token = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "!#$%&'+-.^_`|~".contains(c);
    if method == "CONNECT" {
        return Some("CONNECT opens the way to a host and port; no rule names it".to_owned());
    }
    (method.is_empty() || !method.chars().all(token))
        .then(|| format!("{} is not a method in upper case", quote(method)))
}

/// The patterns of `path`; one with an encoded slash covers its decoded reading too.
pub(super) fn paths(list: &Spanned<OneOrMany>, reporter: &mut Reporter<'_>) -> Vec<PathPattern> {
    let mut patterns = Vec::new();
    for (text, at) in texts("path", list, reporter) {
        match PathPattern::parse(text) {
            Ok(pattern) => {
                patterns.extend(pattern.with_slashes_decoded());
                patterns.push(pattern);
            }
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
    let mut held: Vec<String> = model::METADATA.iter().filter(covered).map(ToString::to_string).collect();
    if held.len() > SHOWN_SERVICES {
        let more = held.split_off(SHOWN_SERVICES).len();
        held.push(format!("{more} more"));
    }
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

/// The parameters of a query, each with the values it may have.
pub(super) fn query(
    pairs: &Spanned<Pairs<Spanned<OneOrMany>>>,
    reporter: &mut Reporter<'_>,
) -> BTreeMap<Box<str>, Vec<TextPattern>> {
    if pairs.value.0.is_empty() {
        let message = "`query` names no parameter";
        reporter.error(code::EMPTY_LIST, place(pairs), message, "name at least one, or leave the key out");
    }
    let mut parameters = BTreeMap::new();
    for (name, values) in &pairs.value.0 {
        if name.value.is_empty() {
            let help = "write `query: {name: value}`";
            reporter.error(code::BAD_NAME, place(name), "a parameter of the query has a name", help);
        }
        parameters.insert(name.value.as_str().into(), text_patterns(&name.value, values, reporter));
    }
    parameters
}

/// Values in which `*` matches any run of characters. A number means its digits.
pub(super) fn text_patterns(key: &str, list: &Spanned<OneOrMany>, reporter: &mut Reporter<'_>) -> Vec<TextPattern> {
    let mut patterns = Vec::new();
    for (item, at) in items(key, list, reporter) {
        let text = match item {
            Scalar::Text(text) => text.clone(),
            Scalar::Number(number) => number.to_string(),
            Scalar::Other(text) => {
                let message = format!("{} without quotes is not a text", quote(text));
                reporter.error(code::UNQUOTED, at, message, "write it in quotes, or correct it");
                continue;
            }
        };
        match TextPattern::parse(&text) {
            Ok(pattern) => patterns.push(pattern),
            Err(PatternError { message, help }) => reporter.error(code::TEXT_PATTERN, at, message, help),
        }
    }
    patterns
}

/// An instant (RFC 3339), or a day, whose end in UTC is meant.
pub(super) fn until(text: &Spanned<String>, reporter: &mut Reporter<'_>) -> Option<Timestamp> {
    let end = instant(&text.value);
    if end.is_none() {
        let message = format!("{} is not an end", quote(&text.value));
        let help = "write a day such as 2027-01-31 (its end, UTC), or an instant such as 2027-01-31T18:00:00Z";
        reporter.error(code::INSTANT, place(text), message, help);
    }
    end
}

/// Reads an instant, or the end of a day in UTC.
pub fn instant(text: &str) -> Option<Timestamp> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(instant);
    }
    let day = Some(text).filter(|text| text.len() == 10 && text.is_ascii())?;
    let start: Timestamp = format!("{day}T00:00:00Z").parse().ok()?;
    start.checked_add(jiff::SignedDuration::from_hours(24)).ok()
}

pub(super) fn limits(entry: &LimitsEntry, reporter: &mut Reporter<'_>) -> Limits {
    let mut read = |value: &Option<Spanned<Scalar>>, parse: fn(&Scalar) -> Option<u64>, help: &str| {
        let value = value.as_ref()?;
        let read = parse(&value.value);
        if read.is_none() {
            reporter.error(code::LIMIT, place(value), format!("{} is not a limit", quote(&shown(&value.value))), help);
        }
        read
    };
    let size = "write bytes as a number, or such as 512KiB, 10MiB, 2GiB";
    let (concurrent, request_body, response_body, bytes_out) = (
        read(&entry.concurrent, count, "write a number from 1"),
        read(&entry.request_body, bytes, size),
        read(&entry.response_body, bytes, size),
        read(&entry.bytes_out, bytes, size),
    );
    let requests = entry.requests.as_ref().and_then(|value| {
        let read = rate(&value.value);
        if read.is_none() {
            let message = format!("{} is not a rate", quote(&shown(&value.value)));
            let help = "write how many in a second, minute, hour or day, such as 600/m";
            reporter.error(code::LIMIT, place(value), message, help);
        }
        read
    });
    Limits { requests, concurrent, request_body, response_body, bytes_out }
}

pub(super) fn timeouts(entry: &TimeoutsEntry, reporter: &mut Reporter<'_>) -> Timeouts {
    let mut read = |value: &Option<Spanned<Scalar>>| value.as_ref().and_then(|value| duration(value, reporter));
    Timeouts { connect: read(&entry.connect), first_byte: read(&entry.first_byte), idle: read(&entry.idle) }
}

/// A span of time as it is written, such as `10s`.
pub(super) fn duration(value: &Spanned<Scalar>, reporter: &mut Reporter<'_>) -> Option<Duration> {
    let read = match &value.value {
        Scalar::Text(text) => span(text),
        Scalar::Number(_) | Scalar::Other(_) => None,
    };
    if read.is_none() {
        let message = format!("{} is not a span of time", quote(&shown(&value.value)));
        reporter.error(code::SPAN, place(value), message, "write such as 500ms, 10s, 5m, 2h or 1d; the longest is 7d");
    }
    read
}

fn span(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(number)).filter(|span| *span <= MAX_SPAN),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs).filter(|span| *span <= MAX_SPAN)
}

fn rate(value: &Scalar) -> Option<Rate> {
    let Scalar::Text(text) = value else { return None };
    Rate::parse(text)
}

fn count(value: &Scalar) -> Option<u64> {
    match value {
        Scalar::Number(number) => u64::try_from(*number).ok().filter(|number| *number > 0),
        Scalar::Text(_) | Scalar::Other(_) => None,
    }
}

fn bytes(value: &Scalar) -> Option<u64> {
    match value {
        Scalar::Number(number) => u64::try_from(*number).ok(),
        // Digits alone in quotes are a text, and no number.
        Scalar::Text(text) if text.bytes().all(|b| b.is_ascii_digit()) => None,
        Scalar::Text(text) => model::limits::parse_bytes(text),
        Scalar::Other(_) => None,
    }
}

fn shown(value: &Scalar) -> String {
    match value {
        Scalar::Text(text) | Scalar::Other(text) => text.clone(),
        Scalar::Number(number) => number.to_string(),
    }
}
