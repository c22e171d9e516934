//! Credentials in a target: query parameters, signed URLs, and the few paths that contain a token.
//!
//! A parameter has every name that some server reads in its spelling ([`model::parameter`]), folded like the names of fields. It
//! begins after `;` as well as after `&`.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use model::field::fold_name;
use model::query::pairs_at_any_separator;
use model::{Destination, Host, parameter_names};

/// Parameters that carry a credential at any host.
const SECRET: &[&str] = &[
    "access-token",
    "accesstoken",
    "oauth-token",
    "oauth-signature",
    "oauth-consumer-key",
    "appsecret-proof",
    "api-key",
    "apikey",
    "api-token",
    "apitoken",
    "app-key",
    "application-key",
    "accesskey",
    "access-key",
    "auth-token",
    "authtoken",
    "authorization",
    "x-api-key",
    "private-token",
    "job-token",
    "feed-token",
    "rss-token",
    "subscription-key",
    "client-secret",
    "client-assertion",
    "refresh-token",
    "device-code",
    "code-verifier",
    "samlresponse",
    "password",
    "passwd",
    "jwt",
    "id-token",
    "bearer",
    "session-token",
    "phpsessid",
    "x-plex-token",
    "x-vercel-protection-bypass",
    "-vercel-share",
    "x-amz-security-token",
    "api-sig",
];

/// Generic names that carry a credential only at these hosts; a host that begins with a dot matches every name below it.
const AT_HOSTS: &[(&str, &[&str])] = &[
    (".googleapis.com", &["key", "token", "upload-id", "quotauser"]),
    ("maps.google.com", &["key", "signature", "client"]),
    ("api.trello.com", &["key", "token"]),
    ("trello.com", &["key", "token"]),
    ("api.semrush.com", &["key"]),
    (".ghost.io", &["key"]),
    ("raw.githubusercontent.com", &["token"]),
    ("slack.com", &["token"]),
    (".slack.com", &["token", "pub-secret"]),
    ("api.diffbot.com", &["token"]),
    ("finnhub.io", &["token"]),
    (".assemblyai.com", &["token"]),
    (".zoho.com", &["authtoken", "token"]),
    (".firebaseio.com", &["auth"]),
    (".firebasedatabase.app", &["auth"]),
    (".azurewebsites.net", &["code"]),
    (".logic.azure.com", &["sig"]),
    ("api.openweathermap.org", &["appid"]),
    (".openweathermap.org", &["appid"]),
    ("ws.audioscrobbler.com", &["sk"]),
    ("api.flickr.com", &["auth-token", "api-sig"]),
    ("github.com", &["code"]),
    ("api.binance.com", &["signature"]),
    ("api.pushover.net", &["token", "user"]),
    ("api.telegram.org", &["token"]),
    ("discord.com", &["token", "code"]),
    ("gitlab.com", &["token", "code"]),
    ("api.themoviedb.org", &["session-id", "guest-session-id"]),
];

/// A family of signed URLs: all of these parameters together, any of which may name the credential of the whole query.
const SIGNED: &[&[&str]] = &[
    &["x-amz-signature"],
    &["x-amz-credential"],
    &["awsaccesskeyid", "signature"],
    &["x-goog-signature"],
    &["googleaccessid", "signature"],
    &["sig", "se"],
    &["sig", "sv"],
    &["signature", "key-pair-id"],
    &["policy", "signature"],
    &["keyname", "signature"],
    &["hdnts"],
    &["hdnea"],
    &["--token--"],
    &["ossaccesskeyid"],
    &["x-oss-signature"],
    &["x-oss-credential"],
    &["q-signature"],
    &["x-cos-security-token"],
    &["md5", "expires"],
    &["oh", "oe"],
    &["ex", "is", "hm"],
];

/// Every name in [`SIGNED`], sorted.
static SIGNED_NAMES: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let mut names: Vec<&str> = SIGNED.iter().flat_map(|family| family.iter().copied()).collect();
    names.sort_unstable();
    names.dedup();
    names
});

/// Hosts whose paths contain a credential, with the prefix of such a path.
const PATHS: &[(&str, &str)] = &[
    ("api.telegram.org", "/bot"),
    ("hooks.slack.com", "/services/"),
    ("hooks.slack.com", "/workflows/"),
    ("hooks.slack.com", "/triggers/"),
    ("discord.com", "/api/webhooks/"),
    ("discordapp.com", "/api/webhooks/"),
    ("maker.ifttt.com", "/trigger/"),
    ("hooks.zapier.com", "/hooks/"),
    (".infura.io", "/v3/"),
    (".alchemy.com", "/v2/"),
    ("hc-ping.com", "/"),
];

/// One credential in a target.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A parameter, or a part of one after `;`: its bytes in the target, and its name as sent.
    Parameter(Range<usize>, String),
    /// The whole query is signed; the name of the decisive parameter.
    Signed(&'static str),
    /// The path.
    Path,
}

/// One parameter of a query, or the part of one between two `;`.
pub(crate) struct Segment {
    pub(crate) range: Range<usize>,
    /// Folded: the whole name, and the names that some servers read instead.
    names: Vec<String>,
}

impl Segment {
    /// Whether some server reads it under this folded name.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }
}

/// The parameters of a target, split at `&` and `;`.
pub(crate) fn segments(target: &str) -> Vec<Segment> {
    let Some(start) = target.find('?').map(|at| at + 1) else { return Vec::new() };
    let query = target.get(start..).unwrap_or_default();
    let sent = pairs_at_any_separator(query).filter(|pair| !pair.range.is_empty());
    sent.map(|pair| Segment { range: start + pair.range.start..start + pair.range.end, names: names(pair.name) })
        .collect()
}

/// The name of a parameter as it was sent, for the record. For some servers, the text after an escaped `=` is a value.
fn sent_name(parameter: &str) -> &str {
    let lower = parameter.to_ascii_lowercase();
    let ends = ["=", "%3d", "%253d", "%25253d"].iter().filter_map(|equals| lower.find(equals));
    ends.min().and_then(|end| parameter.get(..end)).unwrap_or(parameter)
}

/// The names that servers read in a spelled one, folded.
fn names(spelled: &str) -> Vec<String> {
    let fold = |name: String| match fold_name(&name) {
        Cow::Borrowed(_) => name,
        Cow::Owned(folded) => folded,
    };
    parameter_names(spelled).into_iter().map(fold).collect()
}

/// The whole of a spelled name, decoded and folded.
pub(crate) fn folded(spelled: &str) -> String {
    names(spelled).into_iter().next().unwrap_or_default()
}

/// Every credential in a target; `is_own` recognizes the names of Egret's own credentials, `also` those that a rule adds.
pub(super) fn credentials(
    destination: &Destination,
    target: &str,
    is_own: impl Fn(&str) -> bool,
    also: impl Fn(&str) -> bool,
) -> Vec<Found> {
    // Of the tables, only names matter; an address is in none of them.
    let host = match destination.host() {
        Host::Name(name) => &**name,
        Host::V4(_) | Host::V6(_) => "",
    };
    let path = target.split('?').next().unwrap_or_default();
    let mut found = Vec::new();
    if PATHS.iter().any(|(at, prefix)| is_at(host, at) && path.starts_with(prefix)) {
        found.push(Found::Path);
    }
    let all = segments(target);
    if all.is_empty() {
        return found;
    }
    let foreign = |name: &str| !is_own(name);
    let has = |name: &&str| foreign(name) && all.iter().any(|segment| segment.is(name));
    let is_in_signed = |name: &String| SIGNED_NAMES.binary_search(&name.as_str()).is_ok();
    if all.iter().flat_map(|segment| &segment.names).any(is_in_signed) {
        let signed = SIGNED.iter().find(|family| family.iter().all(has));
        found.extend(signed.and_then(|family| family.first()).map(|name| Found::Signed(name)));
    }
    let generic: Vec<&[&str]> = AT_HOSTS.iter().filter(|(at, _)| is_at(host, at)).map(|(_, names)| *names).collect();
    let is_listed = |name: &str| SECRET.contains(&name) || generic.iter().any(|names| names.contains(&name));
    let is_credential = |name: &str| (is_listed(name) || also(name)) && foreign(name);
    for segment in all {
        if segment.names.iter().any(|name| is_credential(name)) {
            let sent = target.get(segment.range.clone()).unwrap_or_default();
            found.push(Found::Parameter(segment.range.clone(), sent_name(sent).to_owned()));
        }
    }
    found
}

fn is_at(host: &str, at: &str) -> bool {
    if at.starts_with('.') { host.ends_with(at) } else { host == at }
}

/// The target without these parts, each removed with one separator.
pub(crate) fn without(target: &str, parts: &[Range<usize>]) -> String {
    let mut out = target.to_owned();
    for part in parts.iter().rev() {
        let byte = |at: usize| out.as_bytes().get(at).copied();
        // Text after a `;` belongs to the parameter before it for servers that split at `&` alone.
        let behind =
            part.start.checked_sub(1).and_then(byte) == Some(b';') || !matches!(byte(part.end), Some(b'&' | b';'));
        let range = if behind { part.start.saturating_sub(1)..part.end } else { part.start..part.end + 1 };
        if out.get(range.clone()).is_some() {
            out.replace_range(range, "");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use model::{Authority, Scheme};

    use super::*;

    fn found(host: &str, target: &str) -> Vec<String> {
        let destination = Destination::of(Scheme::Https, Authority::parse(host, true).unwrap());
        credentials(&destination, target, |name| name == "own", |name| name == "x-acme")
            .into_iter()
            .map(|one| match one {
                Found::Parameter(range, name) => format!("{name} {}", target.get(range).unwrap()),
                Found::Signed(name) => format!("signed {name}"),
                Found::Path => "path".to_owned(),
            })
            .collect()
    }

    #[test]
    fn t281_parameters_are_found_in_every_spelling() {
        for query in [
            "access_token=x",
            "Access%5FToken=x",
            "+access_token=x",
            "access_token%00y=x",
            "access_token[]=x",
            "access-token=x",
            "ACCESS_TOKEN=x",
            "access.token=x",
            "access+token=x",
            "access%20token=x",
            "access[token=x",
            "access%255btoken=x",
            "access_token.x=x",
            "x%26access_token=x",
        ] {
            assert_eq!(
                found("a.example", &format!("/p?a=b&{query}&c=d")),
                [format!("{} {query}", sent_name(query))],
                "{query}"
            );
            let behind = found("a.example", &format!("/p?a=b;{query}"));
            assert_eq!(behind, [format!("{} {query}", sent_name(query))], "{query}");
        }
        assert_eq!(
            found("a.example", "/p?api.key=x&x.acme=1&x+acme=2"),
            ["api.key api.key=x", "x.acme x.acme=1", "x+acme x+acme=2"]
        );
        assert_eq!(found("a.example", "/p?x_acme=1&own=2&key=3&token=4&code=5&sig=6"), ["x_acme x_acme=1"]);
        assert!(found("a.example", "/p?own.x=1&own[]=2&url=https%3A%2F%2Fb%2F%3Faccess_token%3D1").is_empty());
        assert!(found("a.example", "/access_token=x").is_empty());
    }

    #[test]
    fn generic_names_count_only_where_the_host_uses_them() {
        assert_eq!(found("maps.googleapis.com", "/p?key=1&code=2"), ["key key=1"]);
        assert_eq!(found("x.azurewebsites.net", "/p?key=1&code=2"), ["code code=2"]);
        assert!(found("azurewebsites.net", "/p?code=2").is_empty());
        assert_eq!(found("api.trello.com", "/1/cards?key=1&token=2"), ["key key=1", "token token=2"]);
    }

    #[test]
    fn signed_queries_and_paths_are_found_whole() {
        for (query, name) in [
            ("X-Amz-Algorithm=a&X-Amz-Credential=b&X-Amz-Signature=c", "x-amz-signature"),
            ("AWSAccessKeyId=a&Expires=1&Signature=b", "awsaccesskeyid"),
            ("X-Goog-Signature=c", "x-goog-signature"),
            ("sv=1&se=2&sig=3", "sig"),
            ("Expires=1&Signature=2&Key-Pair-Id=3", "signature"),
            ("OSSAccessKeyId=1", "ossaccesskeyid"),
        ] {
            assert_eq!(found("a.example", &format!("/p?{query}"))[0], format!("signed {name}"), "{query}");
        }
        assert!(found("a.example", "/p?signature=1&expires=2").is_empty());
        assert_eq!(found("api.telegram.org", "/bot123:abc/getMe"), ["path"]);
        assert_eq!(found("hooks.slack.com", "/services/T/B/x"), ["path"]);
    }

    #[test]
    fn a_part_goes_with_one_separator() {
        let drop = |target: &str, names: &[&str]| {
            let parts: Vec<_> = segments(target)
                .into_iter()
                .filter(|one| names.iter().any(|name| one.is(name)))
                .map(|one| one.range)
                .collect();
            without(target, &parts)
        };
        assert_eq!(drop("/p?a=1&b=2&c=3", &["b"]), "/p?a=1&c=3");
        assert_eq!(drop("/p?a=1&b=2;c=3", &["c"]), "/p?a=1&b=2");
        assert_eq!(drop("/p?b=2&a=1", &["b"]), "/p?a=1");
        assert_eq!(drop("/p?b=2", &["b"]), "/p");
        assert_eq!(drop("/p?a=1;b=2&b=3&c", &["b"]), "/p?a=1&c");
        assert_eq!(drop("/p?b=1&b=2", &["b"]), "/p");
    }

    #[test]
    fn t086_a_parameter_is_named_as_it_was_sent_and_without_its_value() {
        for (sent, name) in [
            ("api_key=v", "api_key"),
            ("Access%5FToken=v", "Access%5FToken"),
            ("access_token[]=v=w", "access_token[]"),
            ("x%26access_token%253dv=w", "x%26access_token"),
            ("access_token", "access_token"),
        ] {
            assert_eq!(sent_name(sent), name, "{sent}");
            assert_eq!(found("api.example", &format!("/?{sent}")), [format!("{name} {sent}")], "{sent}");
        }
    }
}
