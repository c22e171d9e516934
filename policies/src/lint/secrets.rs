//! Secrets that were pasted into a policy. Policies are read by many, and quoted in logs and explanations.

use super::Desk;
use crate::problem::{Place, Problem, Severity, code};

/// What tokens of well-known services begin with, and the fewest characters behind it.
const TOKENS: [(&str, usize); 22] = [
    ("ghp_", 20),
    ("gho_", 20),
    ("ghs_", 20),
    ("ghu_", 20),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("sk-ant-", 16),
    ("sk-proj-", 16),
    ("sk_live_", 16),
    ("rk_live_", 16),
    ("xoxb-", 16),
    ("xoxp-", 16),
    ("xapp-", 16),
    ("AKIA", 16),
    ("ASIA", 16),
    ("AIza", 30),
    ("ya29.", 20),
    ("hf_", 30),
    ("npm_", 30),
    ("pypi-", 40),
    ("dop_v1_", 30),
    ("SG.", 40),
];
const PRIVATE_KEY: &str = "PRIVATE KEY-----";

/// Reports each line that contains one, without the secret.
pub(super) fn report(desk: &mut Desk<'_>) {
    for (at, line) in desk.reporter.text().lines().enumerate() {
        let Some((start, length)) = find(line) else { continue };
        let place = Place { line: at + 1, column: start + 1, width: length };
        let message = "this looks like a secret, and a policy is not kept secret".to_owned();
        let help =
            "revoke it where it was issued, put a new one with `egret vault put`, and name that in `use`".to_owned();
        let problem = desk.reporter.problem(code::SECRET, place, message, Some(help));
        let masked = line.chars().enumerate().map(|(n, c)| if n >= start && n < start + length { '*' } else { c });
        desk.reporter.push(Problem { severity: Severity::Warning, source_line: masked.take(200).collect(), ..problem });
    }
}

/// Whether a text holds the token of a well-known service.
pub(crate) fn holds_token(text: &str) -> bool {
    find(text).is_some()
}

/// The first secret of a line: where it begins, and how long it is, in characters.
fn find(line: &str) -> Option<(usize, usize)> {
    if line.contains("-----BEGIN") && line.contains(PRIVATE_KEY) {
        return Some((0, line.chars().count()));
    }
    TOKENS.iter().find_map(|(prefix, least)| {
        line.match_indices(prefix).find_map(|(at, _)| {
            let (front, rest) = (line.get(..at)?, line.get(at + prefix.len()..)?);
            let begins_word = !front.ends_with(|c: char| c.is_ascii_alphanumeric());
            let length = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).count();
            let has_digit = rest.chars().take(length).any(|c| c.is_ascii_digit());
            (begins_word && length >= *least && has_digit)
                .then(|| (front.chars().count(), prefix.chars().count() + length))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_by_its_beginning_and_its_length() {
        for (line, expected) in [
            ("    set: {X-Key: sk-ant-api03-abcdefghijkl0123}", Some((17, 29))),
            ("# ghp_0123456789abcdefghijklmnop", Some((2, 30))),
            ("  path: /AKIAIOSFODNN7EXAMPLE", Some((9, 20))),
            ("-----BEGIN RSA PRIVATE KEY-----", Some((0, 31))),
            ("  - {id: sk-ant-short, allow: {host: a.example.com}}", None),
            ("    use: [npm_token_for_the_registry_of_the_whole_company]", None),
            ("    path: /xAKIAIOSFODNN7EXAMPLE", None),
        ] {
            assert_eq!(find(line), expected, "{line}");
        }
    }
}
