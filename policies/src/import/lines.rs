//! Lists with a host in each line or word.

use super::draft::Draft;

const ID: &str = "listed";

/// Plain lists of domains.
pub(super) fn domains(text: &str) -> Draft {
    let mut draft = Draft::new("Hosts from a list of domains, over https.");
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let words: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            [address, ..] if words.len() > 1 && address.parse::<std::net::IpAddr>().is_ok() => {
                draft.note(format!(
                    "`{line}` is a line of a hosts file, which says where a name lies, not that it is allowed"
                ));
            }
            [word] => domain(&mut draft, ID, word),
            _ => draft.note(format!("`{line}` is several words, and a list of domains has one on each line")),
        }
    }
    draft
}

/// One domain: `a.b`, `*.b`, `.b` for the domain and all below it, or a URL without a path.
pub(super) fn domain(draft: &mut Draft, id: &str, word: &str) {
    let bare = word.strip_prefix("https://").map_or(word, |rest| rest.strip_suffix('/').unwrap_or(rest));
    let bare = bare.strip_suffix(":443").unwrap_or(bare);
    match bare.strip_prefix('.') {
        Some(apex) => {
            if draft.add(id, &format!("**.{apex}")) {
                draft.add(id, apex);
            }
        }
        None => {
            draft.add(id, bare);
        }
    }
}

/// Allowed endpoints of a workflow.
pub(super) fn endpoints(text: &str) -> Draft {
    let mut draft = Draft::new("Endpoints that a workflow may reach.");
    for word in endpoint_words(text) {
        let (host, port) = match word.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
            _ => (word, "443"),
        };
        let Some(port) = port.parse::<u16>().ok().filter(|port| *port > 0) else {
            draft.note(format!("`{word}` has no port that is a number"));
            continue;
        };
        let id = match port {
            443 => "endpoints".to_owned(),
            80 => "endpoints-http".to_owned(),
            _ => format!("endpoints-{port}"),
        };
        let rule = draft.rule(&id);
        rule.http = port == 80;
        if ![80, 443].contains(&port) {
            rule.port = Some(port);
            rule.comment =
                Some(format!("The list does not tell what is spoken on port {port}; this takes it for https."));
        }
        draft.add(&id, host);
    }
    draft
}

/// The endpoints: all words, or those under `allowed-endpoints:` of a workflow.
fn endpoint_words(text: &str) -> Vec<&str> {
    const KEY: &str = "allowed-endpoints:";
    let no_comment =
        |line: &'_ str| -> usize { line.find(" #").or(line.starts_with('#').then_some(0)).unwrap_or(line.len()) };
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut words = Vec::new();
    let is_workflow = text.lines().any(|line| line.trim_start().starts_with(KEY));
    let mut within = if is_workflow { None } else { Some(0) };
    for line in text.lines() {
        let line = line.get(..no_comment(line)).unwrap_or_default();
        if let Some(rest) = line.trim_start().strip_prefix(KEY) {
            within = Some(indent(line) + 1);
            let signs = |c: char| ['"', '\'', '>', '|', '-', '+'].contains(&c);
            words.extend(rest.split_whitespace().map(|word| word.trim_matches(signs)).filter(|word| !word.is_empty()));
            continue;
        }
        if line.trim().is_empty() {
            continue;
        }
        if within.is_some_and(|least| indent(line) >= least) {
            let signs = |c: char| ['"', '\'', ','].contains(&c);
            let listed = line.split_whitespace().filter(|word| *word != "-");
            words.extend(listed.map(|word| word.trim_matches(signs)).filter(|word| !word.is_empty()));
        } else if is_workflow {
            within = None;
        }
    }
    words
}
