//! `http_access` and `dstdomain` of squid: its configuration, or a file with a domain in each line.
//!
//! Squid takes the first access line that matches; in a policy a deny wins wherever it is. So the result may allow less than
//! squid, and never more: an allow that cannot be said is left out and reported with its line, and a deny that cannot be said
//! ends the import. Which clients may do it is not part of a policy, because a session names the policy.

use std::collections::BTreeMap;

use super::ImportError;
use super::draft::Draft;
use super::lines::domain;

/// Kinds of lists about who asks.
const CLIENTS: [&str; 14] = [
    "src",
    "srcdomain",
    "srcdom_regex",
    "src_as",
    "arp",
    "eui64",
    "myip",
    "localip",
    "myport",
    "localport",
    "ident",
    "proxy_auth",
    "proxy_auth_regex",
    "maxconn",
];
/// Names that squid defines, with their kinds. Egret dials neither loopback nor link-local addresses by itself.
const BUILT_IN: [(&str, &str); 5] = [
    ("localhost", "src"),
    ("manager", "built-in refusal"),
    ("to_localhost", "built-in refusal"),
    ("to_linklocal", "built-in refusal"),
    ("CONNECT", "method"),
];
/// Other directives by which squid refuses requests.
const FURTHER: [&str; 3] = ["http_access2", "adapted_http_access", "http_reply_access"];
/// The port of https, over which a policy of this import allows its hosts.
const HTTPS: u16 = 443;

/// A line of the configuration, with its number; continued lines are one.
struct Line {
    number: usize,
    words: Vec<String>,
}

/// All lines of one name.
#[derive(Default)]
struct List {
    kind: String,
    values: Vec<(usize, String)>,
}

/// What an access line needs besides hosts, as far as requests over https can have it.
enum Fit {
    /// Every request over https has it.
    Always,
    /// No request over https has it.
    Never,
    /// Some, and no rule can say which.
    Unknown(String),
    /// It is about the client.
    Client,
}

pub(super) fn acls(text: &str) -> Result<Draft, ImportError> {
    let lines = lines(text)?;
    let mut draft = Draft::new("Hosts from lists of squid, over https.");
    let is_configuration = lines.iter().any(|line| ["acl", "http_access", "include"].contains(&line.words[0].as_str()));
    if !is_configuration {
        for line in &lines {
            line.words.iter().for_each(|word| domain(&mut draft, "listed", word, line.number));
        }
        return Ok(draft);
    }
    let mut lists: BTreeMap<&str, List> = BTreeMap::new();
    for line in &lines {
        match line.words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["include", ..] => {
                let why = format!("`{}`: put the text of the file in place of the line", line.text());
                return Err(ImportError::Refused { line: line.number, why });
            }
            [directive, "deny", ..] if FURTHER.contains(directive) => {
                return Err(line.lost("no policy has this directive"));
            }
            ["acl", ..] => {
                let [_, name, kind, values @ ..] = line.words.as_slice() else { continue };
                let list = lists.entry(name).or_default();
                list.kind.clone_from(kind);
                list.values.extend(values.iter().map(|value| (line.number, value.clone())));
            }
            _ => {}
        }
    }
    let access: Vec<&Line> = lines.iter().filter(|line| line.words[0] == "http_access").collect();
    let Some(last) = access.last() else {
        let why =
            "no `http_access` line allows or denies the lists; import a list of allowed domains with --from domains";
        return Err(ImportError::Refused { line: lines.first().map_or(1, |line| line.number), why: why.to_owned() });
    };
    let mut importer = Importer { lists, draft };
    let mut open = true;
    for line in &access {
        if !open {
            importer.draft.note(format!("line {}: `{}` is never reached", line.number, line.text()));
            continue;
        }
        open = match line.words.get(1).map(String::as_str) {
            Some("allow") => importer.allow(line),
            Some("deny") => importer.deny(line)?,
            _ => return Err(line.lost("neither allow nor deny")),
        };
    }
    if open && last.words.get(1).is_some_and(|word| word == "deny") {
        let note = "the last access line denies, so squid allows every other host, which no policy does";
        importer.draft.note(format!("line {}: {note}", last.number));
    }
    importer.report_unused(&access);
    Ok(importer.draft)
}

struct Importer<'a> {
    lists: BTreeMap<&'a str, List>,
    draft: Draft,
}

impl Importer<'_> {
    /// Takes an access line that allows, or reports why not; returns whether later lines can still matter.
    fn allow(&mut self, line: &Line) -> bool {
        let mut hosts: Vec<&str> = Vec::new();
        let mut excluded: Vec<&str> = Vec::new();
        let mut clients: Vec<&str> = Vec::new();
        for (name, negated) in line.names() {
            match self.kind(name) {
                "hosts" if negated => excluded.push(name),
                "hosts" => hosts.push(name),
                _ => match self.fit(name, negated) {
                    Fit::Always => {}
                    Fit::Client => clients.push(name),
                    Fit::Never => return self.leave_out(line, &format!("`{name}` fits no request over https")),
                    Fit::Unknown(why) => return self.leave_out(line, &why),
                },
            }
        }
        let [name] = hosts.as_slice() else {
            let why = if hosts.is_empty() { "no rule allows every host" } else { "a host must be in several lists" };
            self.leave_out(line, why);
            // Only a line without any condition ends the list.
            return !(hosts.is_empty() && excluded.is_empty() && clients.is_empty() && line.names().count() == 1);
        };
        let name = (*name).to_owned();
        if !excluded.is_empty() && excluded.iter().any(|one| self.add_denied(one, line).is_err()) {
            return self.leave_out(line, "a list that it excludes cannot be said as a deny");
        }
        if self.draft.rule(&name).deny {
            self.leave_out(line, "an access line denies the same list, and in a policy a deny wins");
            return true;
        }
        if !clients.is_empty() {
            let note = format!(
                "line {}: `{}` is about clients: name this policy only for sessions of those",
                line.number,
                clients.join("`, `")
            );
            self.draft.note(note);
        }
        for (number, value) in self.values(&name) {
            match value.starts_with(['"', '/']) || value.starts_with("parameters(") {
                true => self.draft.note(format!("line {number}: acl {name}: import the file {value} by itself")),
                false => self.add(&name, number, &value),
            }
        }
        true
    }

    /// Takes an access line that denies; a condition that no rule has makes the deny wider, which is reported.
    fn deny(&mut self, line: &Line) -> Result<bool, ImportError> {
        let names: Vec<(&str, bool)> = line.names().collect();
        if let [("all", false)] = names.as_slice() {
            return Ok(false);
        }
        if names.iter().any(|(name, negated)| *name == "all" && *negated) {
            return Ok(true);
        }
        let hosts: Vec<&str> = names
            .iter()
            .filter(|(name, negated)| self.kind(name) == "hosts" && !negated)
            .map(|(name, _)| *name)
            .collect();
        if let Some(name) = hosts.first() {
            if names.len() > 1 {
                let note = format!("line {}: `{}`: here the whole list `{name}` is denied", line.number, line.text());
                self.draft.note(note);
            }
            self.add_denied(name, line)?;
            if self.draft.rules.iter().any(|rule| !rule.deny && !rule.hosts.is_empty()) {
                let note = "in a policy a deny counts also where an earlier line allows";
                self.draft.note(format!("line {}: {note}", line.number));
            }
            return Ok(true);
        }
        let mut clients = false;
        for (name, negated) in &names {
            match (self.kind(name), self.fit(name, *negated)) {
                // The line is about nothing that a rule of this import allows.
                (_, Fit::Never) => return Ok(true),
                ("built-in refusal", _) if !negated => return Ok(true),
                (_, Fit::Always) => {}
                (_, Fit::Client) => clients = true,
                (_, Fit::Unknown(why)) => return Err(line.lost(&why)),
            }
        }
        if clients {
            let note = "it is about clients: do not name this policy for sessions of those";
            self.draft.note(format!("line {}: `{}`: {note}", line.number, line.text()));
            return Ok(true);
        }
        Err(line.lost("it denies every request over https"))
    }

    /// Puts a list into a deny; every entry must be one that a rule can name.
    fn add_denied(&mut self, name: &str, line: &Line) -> Result<(), ImportError> {
        let rule = self.draft.rule(name);
        if !rule.deny {
            rule.deny = true;
            rule.hosts.clear();
        }
        for (number, value) in self.values(name) {
            let before = self.draft.notes.len();
            if value.starts_with(['"', '/']) || value.starts_with("parameters(") {
                let why = format!("`{}` denies what is in the file {value}: put its lines in its place", line.text());
                return Err(ImportError::Refused { line: number, why });
            }
            self.add(name, number, &value);
            if self.draft.notes.len() > before {
                let why = format!("`{}` denies `{value}`, which no rule can name", line.text());
                return Err(ImportError::Refused { line: number, why });
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &str, number: usize, value: &str) {
        let is_regex = self.lists.get(name).is_some_and(|list| list.kind == "dstdom_regex");
        match is_regex.then(|| exact(value)) {
            None => domain(&mut self.draft, name, value, number),
            Some(Some(pattern)) => domain(&mut self.draft, name, &pattern, number),
            Some(None) => {
                self.draft.note(format!("line {number}: acl {name}: `{value}` is not a pattern that hosts have here"));
            }
        }
    }

    /// The entries of a list, without its options.
    fn values(&self, name: &str) -> Vec<(usize, String)> {
        let values = self.lists.get(name).into_iter().flat_map(|list| &list.values);
        values.filter(|(_, value)| !value.starts_with('-')).cloned().collect()
    }

    /// `hosts` for a list of them, else the kind that squid has.
    fn kind(&self, name: &str) -> &str {
        match self.lists.get(name).map(|list| list.kind.as_str()) {
            Some("dstdomain" | "dstdom_regex") => "hosts",
            Some(kind) => kind,
            None => BUILT_IN.iter().find(|(own, _)| *own == name).map_or("", |(_, kind)| *kind),
        }
    }

    /// Whether requests over https have what the list asks for. To squid, they are a CONNECT to port 443.
    fn fit(&self, name: &str, negated: bool) -> Fit {
        let has = |found: bool| if found == negated { Fit::Never } else { Fit::Always };
        let values = || self.values(name).into_iter().map(|(_, value)| value);
        match self.kind(name) {
            _ if name == "all" => has(true),
            "port" => has(values().any(|value| covers(&value, HTTPS))),
            "method" if self.lists.contains_key(name) => {
                has(values().any(|value| value.eq_ignore_ascii_case("CONNECT")))
            }
            "method" => has(true),
            "built-in refusal" => has(false),
            kind if CLIENTS.contains(&kind) => Fit::Client,
            "" => Fit::Unknown(format!("there is no acl `{name}`")),
            kind => Fit::Unknown(format!("no rule has a condition such as `{name}` ({kind})")),
        }
    }

    fn leave_out(&mut self, line: &Line, why: &str) -> bool {
        self.draft.note(format!("line {}: `{}`: {why}", line.number, line.text()));
        true
    }

    /// Reports lists of hosts that no access line names.
    fn report_unused(&mut self, access: &[&Line]) {
        let is_used = |name: &str| access.iter().any(|line| line.names().any(|(own, _)| own == name));
        let unused = self.lists.iter().filter(|(name, _)| self.kind(name) == "hosts" && !is_used(name));
        let note = |(name, list): (&&str, &List)| {
            let number = list.values.first().map_or(1, |(number, _)| *number);
            format!("line {number}: acl {name}: no `http_access` line names it")
        };
        let notes: Vec<String> = unused.map(note).collect();
        notes.into_iter().for_each(|note| self.draft.note(note));
    }
}

impl Line {
    /// The lists that an access line names, and whether it negates them.
    fn names(&self) -> impl Iterator<Item = (&str, bool)> {
        self.words.iter().skip(2).map(|word| word.strip_prefix('!').map_or((word.as_str(), false), |name| (name, true)))
    }

    fn text(&self) -> String {
        self.words.join(" ")
    }

    fn lost(&self, why: &str) -> ImportError {
        let why = format!("`{}` cannot be translated, and a deny is not left out: {why}", self.text());
        ImportError::Refused { line: self.number, why }
    }
}

/// The lines, without comments; one that ends in a backslash goes on in the next.
fn lines(text: &str) -> Result<Vec<Line>, ImportError> {
    let mut lines: Vec<Line> = Vec::new();
    let mut is_continued = false;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_end();
        let (line, continues) = line.strip_suffix('\\').map_or((line, false), |front| (front, true));
        let words: Vec<String> =
            line.split_whitespace().take_while(|word| !word.starts_with('#')).map(str::to_owned).collect();
        if continues && line.split_whitespace().any(|word| word.starts_with('#')) {
            let why =
                "a comment ends in a backslash, so it is not clear whether the next line belongs to it".to_owned();
            return Err(ImportError::Refused { line: at + 1, why });
        }
        match lines.last_mut().filter(|_| is_continued) {
            Some(last) => last.words.extend(words),
            None => lines.push(Line { number: at + 1, words }),
        }
        is_continued = continues;
    }
    lines.retain(|line| !line.words.is_empty());
    Ok(lines)
}

/// Whether `80`, or a range such as `1025-65535`, has the port. What is neither may.
fn covers(value: &str, port: u16) -> bool {
    let (first, last) = value.split_once('-').unwrap_or((value, value));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) => (first..=last).contains(&port),
        _ => false,
    }
}

/// The domain, as this import writes it, of a regular expression that means just that: `^a\.b$`, `\.b$`, and `(^|\.)b$` for `b` and all below it.
fn exact(regex: &str) -> Option<String> {
    let front = regex.strip_suffix('$')?;
    let starts = [("(^|\\.)", "."), ("(\\.|^)", "."), ("^", ""), ("\\.", "**.")];
    let (rest, pattern) = starts.iter().find_map(|(start, pattern)| Some((front.strip_prefix(start)?, *pattern)))?;
    let name = rest.replace("\\.", "\u{0}");
    let is_plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '\u{0}');
    is_plain.then(|| format!("{pattern}{}", name.replace('\u{0}', ".")))
}
