//! Lists with a host in each line or word.

use super::ImportError;
use super::draft::Draft;

const ID: &str = "listed";

/// The rule for what a list excludes.
const EXCLUDED: &str = "excluded";

/// Plain lists of domains. A line that excludes (`!a.b`, `-a.b`, `~a.b`) becomes a deny, or ends the import.
pub(super) fn domains(text: &str) -> Result<Draft, ImportError> {
    let mut draft = Draft::new("Hosts from a list of domains, over https.");
    for (at, line) in text.lines().enumerate() {
        let number = at + 1;
        let line = line.split(['#', ';']).next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let words: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            [address, ..] if words.len() > 1 && address.parse::<std::net::IpAddr>().is_ok() => {
                draft.note(format!(
                    "line {number}: `{line}` is a line of a hosts file, which gives the address of a name and does not allow it"
                ));
            }
            [word] if word.starts_with(['!', '~', '-']) => {
                draft.rule(EXCLUDED).deny = true;
                let before = draft.notes.len();
                domain(&mut draft, EXCLUDED, word.trim_start_matches(['!', '~', '-']), number);
                if draft.notes.len() > before {
                    let why = format!(
                        "`{word}` excludes something that no rule can name; write it as a host, or remove the line"
                    );
                    return Err(ImportError::Refused { line: number, why });
                }
            }
            [word] => domain(&mut draft, ID, word, number),
            _ if words.iter().any(|word| word.starts_with('!')) => {
                let why = format!("`{line}` excludes something in several words; write one host on each line");
                return Err(ImportError::Refused { line: number, why });
            }
            _ => draft
                .note(format!("line {number}: `{line}` is several words, and a list of domains has one on each line")),
        }
    }
    Ok(draft)
}

/// One domain of a line: `a.b`, `*.b`, `.b` for the domain and all below it, or a URL without a path.
pub(super) fn domain(draft: &mut Draft, id: &str, word: &str, line: usize) {
    let bare = word.strip_prefix("https://").map_or(word, |rest| rest.strip_suffix('/').unwrap_or(rest));
    let bare = bare.strip_suffix(":443").unwrap_or(bare);
    match bare.strip_prefix('.') {
        Some(apex) => {
            if draft.add(id, &format!("**.{apex}"), line) {
                draft.add(id, apex, line);
            }
        }
        None => {
            draft.add(id, bare, line);
        }
    }
}

/// Allowed endpoints of a workflow.
pub(super) fn endpoints(text: &str) -> Draft {
    let mut draft = Draft::new("Endpoints that a workflow may reach.");
    for (line, word) in endpoint_words(text) {
        let (host, port) = match word.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
            _ => (word, "443"),
        };
        let Some(port) = port.parse::<u16>().ok().filter(|port| *port > 0) else {
            draft.note(format!("line {line}: `{word}` has no port that is a number"));
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
            rule.comment = Some(format!("The list does not name the protocol on port {port}; this assumes https."));
        }
        draft.add(&id, host, line);
    }
    draft
}

/// The endpoints: all words, or those under `allowed-endpoints:` of a workflow.
fn endpoint_words(text: &str) -> Vec<(usize, &str)> {
    const KEY: &str = "allowed-endpoints:";
    let no_comment =
        |line: &'_ str| -> usize { line.find(" #").or(line.starts_with('#').then_some(0)).unwrap_or(line.len()) };
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut words = Vec::new();
    let is_workflow = text.lines().any(|line| line.trim_start().starts_with(KEY));
    let mut within = if is_workflow { None } else { Some(0) };
    for (at, line) in text.lines().enumerate() {
        let line = line.get(..no_comment(line)).unwrap_or_default();
        if let Some(rest) = line.trim_start().strip_prefix(KEY) {
            within = Some(indent(line) + 1);
            let signs = |c: char| ['"', '\'', '>', '|', '-', '+'].contains(&c);
            let listed = rest.split_whitespace().map(|word| word.trim_matches(signs)).filter(|word| !word.is_empty());
            words.extend(listed.map(|word| (at + 1, word)));
            continue;
        }
        if line.trim().is_empty() {
            continue;
        }
        if within.is_some_and(|least| indent(line) >= least) {
            let signs = |c: char| ['"', '\'', ','].contains(&c);
            let listed = line.split_whitespace().filter(|word| *word != "-");
            let listed = listed.map(|word| word.trim_matches(signs)).filter(|word| !word.is_empty());
            words.extend(listed.map(|word| (at + 1, word)));
        } else if is_workflow {
            within = None;
        }
    }
    words
}
