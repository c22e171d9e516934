//! Paths that are written in another language of patterns, or that match more than they seem to.

use super::Desk;
use crate::policy::Policy;
use crate::problem::code;
use crate::rule::Effect;

/// Reports paths that look like regular expressions, and allows of `/name*/**`.
pub(super) fn report(policy: &Policy, desk: &mut Desk<'_>) {
    for rule in &policy.rules {
        for path in rule.paths.iter().flatten().map(ToString::to_string) {
            if let Some(part) = regex_part(&path) {
                let message = format!(
                    "the path `{path}` of rule `{}` looks like a regular expression, and `{part}` is compared as it is",
                    rule.id
                );
                let help = "write `*` for any text within a segment, and `/**` for everything below";
                desk.rule(code::ODD_PATH, rule, message, help);
            } else if rule.effect != Effect::Deny
                && let Some(segment) = glued_star(&path)
            {
                let name = segment.trim_end_matches('*');
                let message = format!(
                    "the path `{path}` of rule `{}` covers everything below every name that begins with `{name}`, such as `{name}-evil`",
                    rule.id
                );
                let exact = path.replacen(&format!("/{segment}/"), &format!("/{name}/"), 1);
                let help = format!("write `{exact}` for that name alone, and a list of paths for several names");
                desk.rule(code::ODD_PATH, rule, message, help);
            }
        }
    }
}

/// What of a path only a regular expression would mean. A lone dot before a star, as in `/report.*`, is a file of any type.
fn regex_part(path: &str) -> Option<&'static str> {
    let segment = |wanted: &str| path.split('/').any(|own| own == wanted);
    let whole = [".*", ".+", ".*$", "^", "^.*"].into_iter().find(|part| segment(part));
    whole
        .or_else(|| {
            ["\\d", "\\w", "\\.", "(?:", ".*)", "[^", "[0-9", "[a-z", ".*.*"]
                .into_iter()
                .find(|part| path.contains(part))
        })
        .or_else(|| path.ends_with('$').then_some("$"))
}

/// A segment that is a name and a star, with `**` behind it.
fn glued_star(path: &str) -> Option<&str> {
    let front = path.strip_suffix("/**")?;
    let segment = front.rsplit('/').next()?;
    let name = segment.strip_suffix('*')?;
    // Behind an encoded slash, the star is a segment of its own.
    let is_segment = name.to_ascii_lowercase().ends_with("%2f");
    (!is_segment && !name.contains('*') && name.ends_with(|c: char| c.is_ascii_alphanumeric())).then_some(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_path_means_counts_as_a_regular_expression() {
        for (path, expected) in [
            ("/repos/acme/.*", Some(".*")),
            ("/v1/users/[0-9]", Some("[0-9")),
            ("/v1/.+", Some(".+")),
            ("/v1/models$", Some("$")),
            ("/files/report.*", None),
            ("/.well-known/*", None),
            ("/v1/**", None),
            ("/$metadata", None),
        ] {
            assert_eq!(regex_part(path), expected, "{path}");
        }
        for (path, expected) in [
            ("/repos/acme*/**", Some("acme*")),
            ("/repos/*/**", None),
            ("/repos/acme/**", None),
            ("/repos/acme-*/**", None),
            ("/repos/acme*", None),
            ("/projects/acme%2F*/**", None),
        ] {
            assert_eq!(glued_star(path), expected, "{path}");
        }
    }
}
