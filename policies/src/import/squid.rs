//! `dstdomain` of squid: lines of its configuration, or a file with a domain in each line.

use super::draft::Draft;
use super::lines::domain;

/// Kinds of lists that name hosts, and that a policy has no words for.
const OTHERS: [&str; 6] =
    ["dstdom_regex", "url_regex", "urlpath_regex", "dst", "ssl::server_name", "ssl::server_name_regex"];

pub(super) fn acls(text: &str) -> Draft {
    let mut draft = Draft::new("Hosts from lists of squid, over https.");
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().split_whitespace().collect())
        .filter(|words: &Vec<&str>| !words.is_empty())
        .collect();
    let is_configuration = lines.iter().any(|words| ["acl", "http_access"].contains(&words[0]));
    if !is_configuration {
        lines.iter().flatten().for_each(|word| domain(&mut draft, "listed", word));
        return draft;
    }
    let grants = access(&lines, &mut draft);
    for words in &lines {
        let ["acl", name, kind, values @ ..] = words.as_slice() else { continue };
        if OTHERS.contains(kind) {
            draft.note(format!("acl {name}: `{kind}` is no list of domains"));
        }
        if *kind != "dstdomain" {
            continue;
        }
        match grants.as_ref().map(|grants| grants.iter().find(|(own, _)| own == name)) {
            Some(None) => {
                draft.note(format!("acl {name}: no `http_access` line names it alone"));
                continue;
            }
            Some(Some((_, false))) => draft.rule(name).deny = true,
            Some(Some((_, true))) | None => {}
        }
        for value in values.iter().filter(|value| !value.starts_with('-')) {
            if value.starts_with(['"', '/']) {
                draft.note(format!("acl {name}: import the file {value} by itself"));
            } else {
                domain(&mut draft, name, value);
            }
        }
    }
    draft
}

/// Which lists are allowed (true) and denied, where lines of `http_access` say so.
fn access(lines: &[Vec<&str>], draft: &mut Draft) -> Option<Vec<(String, bool)>> {
    let mut grants: Vec<(String, bool)> = Vec::new();
    let mut is_told = false;
    for words in lines.iter().filter(|words| words[0] == "http_access") {
        is_told = true;
        match words.as_slice() {
            ["http_access", "deny", "all"] => {}
            ["http_access", word @ ("allow" | "deny"), name] if !name.starts_with('!') => {
                if *word == "deny" && !grants.is_empty() {
                    draft.note(format!(
                        "http_access deny {name}: here a deny counts wherever it stands, not only before an allow"
                    ));
                }
                grants.push(((*name).to_owned(), *word == "allow"));
            }
            _ => draft.note(format!("`{}`: what several lists say together", words.join(" "))),
        }
    }
    is_told.then_some(grants)
}
