//! The common options of `session create` and `run`: policies as names or files, credentials with bounds, and rollouts.

use std::path::Path;

use api::{GrantDocument, PolicyDocument, Rollout};

use crate::client::read_text;
use crate::exit::Answer;

/// Printed if a session has no policy.
pub(crate) const NO_POLICY: &str = "the session has no policy, so nothing is allowed; name policies with --policy";

/// A policy and the share of sessions that get it.
pub(crate) fn rollout(text: &str) -> Result<Rollout, String> {
    let (policy, share) = text.split_once('@').unwrap_or((text, "100"));
    let share = share.parse().ok().filter(|share| *share <= 100).ok_or("write NAME@PERCENT, such as candidate@25")?;
    Ok(Rollout { policy: policy.to_owned(), share })
}

/// A credential's name, with the bounds of its use.
pub(crate) fn grant(text: &str) -> Result<GrantDocument, String> {
    let mut parts = text.split(',');
    let mut grant = GrantDocument::of(parts.next().unwrap_or_default());
    let mut seen = Vec::new();
    for part in parts {
        let key = part.split('=').next().unwrap_or_default();
        if seen.contains(&key) {
            return Err(format!("{key} is said twice"));
        }
        seen.push(key);
        match part.split_once('=') {
            Some(("uses", number)) => {
                let uses = number.parse().map_err(|_| format!("{number:?} is not a number of uses"))?;
                grant.uses = Some(uses);
            }
            Some(("for", time)) => grant.time = Some(time.to_owned()),
            Some(("methods", methods)) => grant.methods = methods.split('+').map(str::to_owned).collect(),
            Some(("per", what)) => grant.per = Some(what.to_owned()),
            Some(_) | None => {
                return Err(format!(
                    "{part:?} bounds nothing; write uses=10, for=15m, methods=GET+HEAD or per=tool_call"
                ));
            }
        }
    }
    Ok(grant)
}

/// The session's own policy files.
pub(crate) fn documents<'a>(files: impl Iterator<Item = &'a String>) -> Answer<Vec<PolicyDocument>> {
    let document =
        |path: &String| Ok(PolicyDocument { name: control::shown(Path::new(path)), text: read_text(Path::new(path))? });
    files.map(document).collect()
}

/// A name has no file suffix and no path prefix.
pub(crate) fn looks_like_path(text: &str) -> bool {
    let named = [".yaml", ".yml"].iter().any(|end| text.ends_with(end));
    named || ["/", "./", "../"].iter().any(|start| text.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_files_are_told_apart() {
        for file in ["a.yaml", "dir/b.yml", "./c", "/etc/d", "../e"] {
            assert!(looks_like_path(file), "{file}");
        }
        for name in ["coding-agent", "library/pypi"] {
            assert!(!looks_like_path(name), "{name}");
        }
    }
}
