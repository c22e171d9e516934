//! What was probably meant by a key that is not there.

use super::keys::{Key, TABLES, Table};

/// Keys of other languages, and their place in this one.
const SYNONYMS: &[(&str, &str, &str)] = &[
    ("a policy", "name", "policy"),
    ("a policy", "desc", "description"),
    ("a policy", "expires", "until"),
    ("a policy", "sets", "hosts"),
    ("a policy", "tests", "checks"),
    ("a rule", "name", "id"),
    ("a rule", "block", "deny"),
    ("a rule", "credential", "use"),
    ("a rule", "credentials", "use"),
    ("a rule", "secret", "use"),
    ("a rule", "secrets", "use"),
    ("a rule", "cidr", "addresses"),
    ("a rule", "cidrs", "addresses"),
    ("a rule", "ips", "addresses"),
    ("a rule", "message", "reason"),
    ("a rule", "expires", "until"),
    ("a rule", "rate_limit", "limits"),
    ("what a rule matches", "domain", "host"),
    ("what a rule matches", "domains", "host"),
    ("what a rule matches", "hosts", "host"),
    ("what a rule matches", "hostname", "host"),
    ("what a rule matches", "protocol", "scheme"),
    ("what a rule matches", "verb", "methods"),
    ("what a rule matches", "verbs", "methods"),
    ("what a rule matches", "params", "query"),
    ("`limits`", "rate", "requests"),
    ("a check", "url", "request"),
    ("a check", "expected", "expect"),
    ("a check", "id", "rule"),
    ("a check", "time", "at"),
];

/// Advice on a key that the mapping does not have.
pub(super) struct Advice {
    /// The help for the author.
    pub(super) help: String,
    /// The key of the same mapping that was probably meant.
    pub(super) meant: Option<&'static str>,
}

/// Finds the key that was probably meant, here or elsewhere, or lists those that there are.
pub(super) fn advice(field: &str, here: &Table) -> Advice {
    let synonym = SYNONYMS.iter().find(|(what, word, _)| *what == here.what && *word == field);
    let meant = synonym.map(|(_, _, key)| *key).or_else(|| closest(field, here.keys, 1));
    let elsewhere = homes(field, here);
    let meant = meant.or_else(|| if elsewhere.is_none() { closest(field, here.keys, 2) } else { None });
    let help = match (meant, elsewhere) {
        (Some(key), None) => format!("did you mean `{key}`?"),
        (None, Some(home)) => format!("`{field}` belongs {home}; check how far the line is indented"),
        (Some(key), Some(home)) => format!("did you mean `{key}`? `{field}` belongs {home}"),
        (None, None) => {
            let names: Vec<_> = here.keys.iter().map(|key| key.name).collect();
            format!("the keys of {} are {}", here.what, names.join(", "))
        }
    };
    Advice { help, meant }
}

/// The place of a key that the language has, but not here.
fn homes(field: &str, here: &Table) -> Option<String> {
    let has = |table: &&&Table| table.what != here.what && table.keys.iter().any(|key| key.name == field);
    let homes: Vec<_> = TABLES.iter().filter(has).map(|table| table.home).collect();
    (!homes.is_empty()).then(|| homes.join(", or "))
}

fn closest(field: &str, keys: &[Key], most: usize) -> Option<&'static str> {
    let near = keys.iter().map(|key| (distance(field, key.name), key.name));
    // A short key is near to every other short key.
    near.filter(|(d, name)| *d <= most && *d * 2 < name.len()).min_by_key(|(d, _)| *d).map(|(_, name)| name)
}

/// How many characters are to be added, removed, replaced or swapped with their neighbor; the case, and `-` for `_`, do not count.
pub fn distance(a: &str, b: &str) -> usize {
    const MAX_CHARS: usize = 32;
    let fold = |text: &str| -> Vec<char> {
        text.chars().take(MAX_CHARS).map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
    };
    let (a, b) = (fold(a), fold(b));
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::super::keys::{LIMITS, MATCH, POLICY, RULE};
    use super::*;

    #[test]
    fn distances_are_those_of_typing() {
        for (a, b, expected) in [
            ("methods", "methods", 0),
            ("method", "methods", 1),
            ("pahts", "paths", 1),
            ("HOST", "host", 0),
            ("", "ab", 2),
        ] {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }

    #[test]
    fn the_key_that_was_meant_is_named() {
        for (field, table, expected) in [
            ("method", &MATCH, "did you mean `methods`?"),
            ("hosts", &MATCH, "did you mean `host`? `hosts` belongs at the top of the file"),
            ("use", &MATCH, "`use` belongs in a rule, beside `allow`; check how far the line is indented"),
            ("methods", &RULE, "`methods` belongs in `allow`, `ask` or `deny`; check how far the line is indented"),
            ("ruels", &POLICY, "did you mean `rules`?"),
            ("request-body", &LIMITS, "did you mean `request_body`?"),
        ] {
            assert_eq!(advice(field, table).help, expected, "{field}");
        }
        assert!(advice("zzz", &RULE).help.starts_with("the keys of a rule are id, allow, ask, deny, "));
    }

    #[test]
    fn every_synonym_leads_to_a_key() {
        for (what, word, key) in SYNONYMS {
            let table = TABLES.iter().find(|table| table.what == *what).unwrap();
            assert!(table.keys.iter().any(|own| own.name == *key), "{key}");
            assert!(table.keys.iter().all(|own| own.name != *word), "{word}");
        }
    }
}
