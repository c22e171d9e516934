//! Paths that were seen, as patterns of the chosen level.

use std::collections::{BTreeMap, BTreeSet};

use model::{ENCODED_SLASH, RequestPath, written_path};

use super::Level;
use crate::lint::holds_token;
use crate::pattern::PathPattern;

/// How many paths of one folder become the whole folder.
const SIBLINGS: usize = 3;

/// The patterns of each path; none at the level of hosts.
pub(super) fn generalize<'a>(paths: impl Iterator<Item = &'a str>, level: Level) -> BTreeMap<String, Vec<String>> {
    let paths: Vec<&str> = paths.collect();
    let of_path = |path: &str| -> Vec<String> {
        match level {
            Level::Host => Vec::new(),
            Level::Exact => readings(path).iter().map(|reading| without_secrets(reading, "*")).collect(),
            Level::Path | Level::Folder => {
                readings(path).iter().map(|reading| without_ids(&without_secrets(reading, "*"))).collect()
            }
        }
    };
    let mut patterns: BTreeMap<String, Vec<String>> =
        paths.iter().map(|path| ((*path).to_owned(), of_path(path))).collect();
    if level == Level::Folder {
        let mut folders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for pattern in patterns.values().flatten() {
            folders.entry(folder(pattern).to_owned()).or_default().insert(pattern.clone());
        }
        for pattern in patterns.values_mut().flatten() {
            let own = folder(pattern).to_owned();
            if own != "/" && folders.get(&own).is_some_and(|siblings| siblings.len() >= SIBLINGS) {
                *pattern = format!("{own}**");
            }
        }
    }
    for all in patterns.values_mut() {
        all.sort();
        all.dedup();
    }
    patterns
}

/// A path that servers read differently passes only where every reading is covered. A pattern with an encoded slash
/// covers its decoded reading too; an ambiguous path is covered by none.
fn readings(path: &str) -> Vec<String> {
    let Ok(parsed) = RequestPath::parse(path) else { return vec![path.to_owned()] };
    let mut readings: Vec<String> = parsed.readings().map(|reading| reading.text().to_owned()).collect();
    let decoded: Vec<String> = readings
        .iter()
        .filter(|text| text.contains(ENCODED_SLASH))
        .map(|text| text.replace(ENCODED_SLASH, "/"))
        .collect();
    readings.retain(|text| !decoded.contains(text));
    readings.iter().map(|text| written_pattern(text)).collect()
}

/// A reading as a pattern: what a pattern cannot hold is escaped.
fn written_pattern(reading: &str) -> String {
    let escaped = |c: char| match c {
        '[' | ']' | '{' | '}' | '!' => format!("%{:02X}", u32::from(c)),
        _ => written_path(c.encode_utf8(&mut [0; 4])),
    };
    reading.chars().map(escaped).collect()
}

/// Whether a rule can name a path exactly: no rule with a path covers an ambiguous one, and some readings fit no pattern.
pub(super) fn can_be_said(path: &str) -> bool {
    let is_pattern = |reading: &String| !reading.contains('*') && PathPattern::parse(reading).is_ok();
    path == "*"
        || (RequestPath::parse(path).is_ok_and(|path| !path.is_ambiguous()) && readings(path).iter().all(is_pattern))
}

fn without_ids(path: &str) -> String {
    path.split('/').map(|segment| if is_id(segment) { "*" } else { segment }).collect::<Vec<_>>().join("/")
}

/// The path with another text for each segment that looks like a secret (for example a webhook's token): policies are not kept secret.
pub(super) fn without_secrets(path: &str, instead: &str) -> String {
    path.split('/').map(|segment| if is_secret(segment) { instead } else { segment }).collect::<Vec<_>>().join("/")
}

/// Whether a segment is the token of a well-known service, or a long random text with letters of both cases and digits.
fn is_secret(segment: &str) -> bool {
    let has = |fits: fn(&char) -> bool| segment.chars().any(|c| fits(&c));
    let is_random = segment.len() >= 20
        && has(char::is_ascii_digit)
        && has(char::is_ascii_lowercase)
        && has(char::is_ascii_uppercase)
        && segment.chars().all(|c| c.is_ascii_alphanumeric() || "-_=:.".contains(c));
    is_random || holds_token(segment)
}

/// Whether a segment names one thing among many: a number, a UUID, a digest, a random text.
fn is_id(segment: &str) -> bool {
    let all = |fits: fn(char) -> bool| !segment.is_empty() && segment.chars().all(fits);
    let digits = segment.chars().filter(char::is_ascii_digit).count();
    let letters = segment.chars().filter(char::is_ascii_alphabetic).count();
    all(|c| c.is_ascii_digit())
        || (segment.len() >= 7 && digits > 0 && all(|c| c.is_ascii_hexdigit() || c == '-'))
        || (segment.len() >= 16
            && digits >= 2
            && letters >= 2
            && all(|c| c.is_ascii_alphanumeric() || "-_=".contains(c)))
}

/// The folder of a path or pattern, with its slash.
fn folder(pattern: &str) -> &str {
    let end = pattern.rfind('/').map_or(0, |slash| slash + 1);
    let folder = pattern.get(..end).unwrap_or("/");
    if folder.contains('*') || folder.is_empty() { "/" } else { folder }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(paths: &[&str], level: Level) -> Vec<String> {
        let mut found: Vec<String> = generalize(paths.iter().copied(), level).into_values().flatten().collect();
        found.sort();
        found.dedup();
        found
    }

    #[test]
    fn each_level_goes_a_little_further() {
        let paths = ["/repos/acme/site/issues/12", "/repos/acme/site/issues/13", "/repos/acme/site", "/user"];
        assert_eq!(all(&paths, Level::Exact).len(), 4);
        assert_eq!(all(&paths, Level::Path), ["/repos/acme/site", "/repos/acme/site/issues/*", "/user"]);
        assert_eq!(all(&["/a/b/x", "/a/b/y", "/a/b/z", "/a/c"], Level::Folder), ["/a/b/**", "/a/c"]);
        assert!(all(&paths, Level::Host).is_empty());
    }

    #[test]
    fn a_path_of_two_readings_gets_both() {
        assert_eq!(all(&["/@scope%2fname"], Level::Exact), ["/@scope%2Fname"]);
        assert_eq!(all(&["/a;x=1/b"], Level::Exact), ["/a", "/a/b", "/a;x=1/b"]);
    }

    #[test]
    fn what_means_something_else_in_a_pattern_cannot_be_said() {
        assert!(["/a/b", "/@scope%2fname", "*", "/a/b[1]", "/!a/x"].iter().all(|path| can_be_said(path)));
        let unsaid = ["/a*b", "/**", "/a//b", "/a/..%2f*", "/a/%2a", "/a/../b", "/a%5cb", "/a%2fb;c"];
        assert!(!unsaid.iter().any(|path| can_be_said(path)));
    }
}
