//! `http_access` and `ssl_bump` of squid: its configuration, or a file with a domain in each line.
//!
//! Squid takes the first access line that matches; in a policy a deny wins wherever it is. So the result may allow less than
//! squid, and never more: an allow that no rule can express is left out and reported with its line, and a deny that no rule can
//! express ends the import. Which clients may do it is not part of a policy, because a session names the policy.
//!
//! To squid, a request over https is a CONNECT to port 443, whose contents it reads only where `ssl_bump` decrypts them. So a line
//! that names other methods is about plain http, unless the configuration decrypts.

mod line;
mod terms;

use std::collections::BTreeSet;

use super::ImportError;
use super::draft::{Draft, name_of};
use super::lines::domain;
use line::Line;
use terms::{Lists, Name, Terms};

/// Other directives by which squid refuses requests.
const FURTHER: [&str; 3] = ["http_access2", "adapted_http_access", "http_reply_access"];
/// The longest id of a rule.
const MAX_ID: usize = 64;

pub(super) fn acls(text: &str) -> Result<Draft, ImportError> {
    let lines = line::lines(text)?;
    let mut draft = Draft::new("Hosts from lists of squid, over https.");
    let is_configuration =
        lines.iter().any(|line| ["acl", "http_access", "ssl_bump", "include"].contains(&line.directive()));
    if !is_configuration {
        for line in &lines {
            line.words.iter().for_each(|word| domain(&mut draft, "listed", word, line.number));
        }
        return Ok(draft);
    }
    let mut lists = Lists::default();
    for line in &lines {
        match line.directive() {
            "include" => {
                let why = format!("`{}`: put the text of the file in place of the line", line.text());
                return Err(ImportError::Refused { line: line.number, why });
            }
            "acl" => lists.insert(line)?,
            directive if FURTHER.contains(&directive) && line.action() == "deny" => {
                return Err(line.lost("no policy has this directive"));
            }
            _ => {}
        }
    }
    let access: Vec<&Line> = lines.iter().filter(|line| line.directive() == "http_access").collect();
    let Some(last) = access.last() else {
        let why =
            "no `http_access` line allows or denies the lists; import a list of allowed domains with --from domains";
        return Err(ImportError::Refused { line: lines.first().map_or(1, |line| line.number), why: why.to_owned() });
    };
    let bump: Vec<&Line> = lines.iter().filter(|line| line.directive() == "ssl_bump").collect();
    let mut importer = Importer { lists, draft, is_bumped: false, tls: None, only: None, is_http_closed: false };
    importer.take_bump(&bump)?;
    importer.take_access(&access)?;
    let importer_notes = importer.unused([&access[..], &bump[..]].concat().as_slice());
    if importer.is_open_at_end(&access)? && last.action() == "deny" {
        let note = "the last access line denies, so squid allows every other host, which no policy does";
        importer.draft.note(format!("line {}: {note}", last.number));
    }
    importer_notes.into_iter().for_each(|note| importer.draft.note(note));
    Ok(importer.draft)
}

struct Importer {
    lists: Lists,
    draft: Draft,
    /// Whether squid decrypts, so that access lines are also about the requests within a CONNECT.
    is_bumped: bool,
    /// The lists whose connections `ssl_bump` does not end; `None` where it ends none.
    tls: Option<Vec<String>>,
    /// The lists that a line such as `http_access deny !good` leaves to the lines after it.
    only: Option<Vec<String>>,
    /// Whether a line has denied every request over http.
    is_http_closed: bool,
}

/// What a rule for one list is about.
#[derive(Clone, Copy, Default)]
struct Scope<'a> {
    is_http: bool,
    methods: Option<&'a BTreeSet<String>>,
}

impl Importer {
    /// Takes the lines by which squid decides about TLS.
    fn take_bump(&mut self, bump: &[&Line]) -> Result<(), ImportError> {
        let mut passing: Vec<String> = Vec::new();
        for line in bump {
            for names in self.lists.alternatives(line)? {
                let terms = self.lists.terms(&names);
                let is_plain = terms.unknown.is_none() && terms.clients.is_empty() && terms.never_https.is_none();
                let is_all = is_plain && terms.hosts.is_empty() && terms.excluded.is_empty();
                match line.action() {
                    // It only decides how squid continues.
                    "peek" => continue,
                    "stare" => {
                        self.is_bumped = true;
                        continue;
                    }
                    "bump" | "client-first" | "server-first" | "allow" => self.is_bumped = true,
                    "splice" | "none" | "deny" => {}
                    "terminate" if terms.never => continue,
                    "terminate" => {
                        self.take_terminate(line, &terms, is_plain, &mut passing)?;
                        continue;
                    }
                    _ => return Err(line.lost("it is not known what it does")),
                }
                match terms.hosts.as_slice() {
                    // What follows is about no connection any more.
                    [] if is_all && !terms.never => return Ok(()),
                    [name] if is_plain && terms.excluded.is_empty() => passing.push(name.clone()),
                    _ => {}
                }
            }
            if self.tls.is_some() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A line that ends connections: a deny of its lists, or of everything that no line before it lets pass.
    fn take_terminate(
        &mut self,
        line: &Line,
        terms: &Terms,
        is_plain: bool,
        passing: &mut Vec<String>,
    ) -> Result<(), ImportError> {
        if let Some(name) = terms.hosts.first() {
            return self.add_denied(name, None, line);
        }
        if !is_plain {
            let why = terms.unknown.as_deref().unwrap_or("it is about some clients or ports");
            return Err(line.lost(why));
        }
        passing.extend(terms.excluded.iter().cloned());
        self.tls = Some(std::mem::take(passing));
        Ok(())
    }

    fn take_access(&mut self, access: &[&Line]) -> Result<(), ImportError> {
        let mut is_open = true;
        for line in access {
            if !is_open {
                self.draft.note(format!("line {}: `{}` is never reached", line.number, line.text()));
                continue;
            }
            for names in self.lists.alternatives(line)? {
                let terms = self.lists.terms(&names);
                is_open &= match line.action() {
                    "allow" => self.allow(line, &terms, access)?,
                    "deny" => self.deny(line, &names, &terms)?,
                    _ => return Err(line.lost("neither allow nor deny")),
                };
            }
        }
        Ok(())
    }

    /// Whether no line ends the list: then squid does the opposite of the last one.
    fn is_open_at_end(&self, access: &[&Line]) -> Result<bool, ImportError> {
        for line in access {
            let mut all = self.lists.alternatives(line)?.into_iter();
            if all.any(|names| self.lists.terms(&names).is_everything) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes an alternative of an access line that allows, or reports why not; returns whether later lines can still matter.
    fn allow(&mut self, line: &Line, terms: &Terms, access: &[&Line]) -> Result<bool, ImportError> {
        if terms.never {
            return Ok(self.leave_out(line, "`all` fits no request over https"));
        }
        if let Some(why) = &terms.unknown {
            return Ok(self.leave_out(line, why));
        }
        let methods = terms.named_methods();
        let https = self.https_methods(terms, methods.as_ref(), access)?;
        let http = methods.as_ref().filter(|methods| !methods.is_empty() && !self.is_bumped && !self.is_http_closed);
        let http = http.filter(|_| terms.fits_http);
        let https = match (https, http) {
            (Ok(https), _) => Some(https),
            (Err(why), None) => return Ok(self.leave_out(line, &why)),
            (Err(_), Some(_)) => None,
        };
        let is_every_host = terms.hosts.is_empty() && terms.excluded.is_empty();
        let remaining = self.remaining();
        let names: Vec<String> = match (terms.hosts.as_slice(), remaining) {
            ([name], _) => vec![name.clone()],
            ([], Some(names)) if is_every_host && https.is_some() && !names.is_empty() => names,
            (hosts, _) => {
                let why =
                    if hosts.is_empty() { "no rule allows every host" } else { "a host must be in several lists" };
                self.leave_out(line, why);
                // Only a line without any condition ends the list.
                return Ok(!terms.is_everything);
            }
        };
        for name in &names {
            if let Some(https) = &https {
                let is_ended = self.remaining().is_some_and(|left| !left.contains(name));
                match is_ended {
                    true => self.leave_out(line, "an earlier `deny`, or `ssl_bump terminate`, leaves only other lists"),
                    false => self.open(line, name, terms, Scope { is_http: false, methods: https.as_ref() }),
                };
            }
            if let Some(http) = http {
                let is_denied = self.only.as_ref().is_some_and(|left| !left.contains(name));
                match is_denied {
                    true => self.leave_out(line, "an earlier `deny` leaves only other lists"),
                    false => self.open(line, name, terms, Scope { is_http: true, methods: Some(http) }),
                };
            }
        }
        Ok(!terms.is_everything)
    }

    /// The lists that lines before, and `ssl_bump`, leave; `None` where they leave all.
    fn remaining(&self) -> Option<Vec<String>> {
        match (&self.tls, &self.only) {
            (Some(tls), Some(only)) => Some(tls.iter().filter(|name| only.contains(name)).cloned().collect()),
            (one, other) => one.as_ref().or(other.as_ref()).cloned(),
        }
    }

    /// The methods over https of an alternative that allows (`None`: all), or why it allows nothing there.
    fn https_methods(
        &self,
        terms: &Terms,
        methods: Option<&BTreeSet<String>>,
        access: &[&Line],
    ) -> Result<Result<Option<BTreeSet<String>>, String>, ImportError> {
        if !self.is_bumped {
            return Ok(terms.never_https.clone().map_or(Ok(None), Err));
        }
        if terms.other_port || terms.refused_anyway {
            return Ok(Err(terms.never_https.clone().unwrap_or_default()));
        }
        if methods.is_some_and(BTreeSet::is_empty) {
            return Ok(Err("it allows connections, and other lines allow the requests in them".to_owned()));
        }
        if !terms.fits_connect && !self.allows_connect(terms, access)? {
            return Ok(Err("no line allows CONNECT to its hosts".to_owned()));
        }
        Ok(Ok(methods.cloned()))
    }

    /// Whether some line allows connections to the hosts of an alternative.
    fn allows_connect(&self, terms: &Terms, access: &[&Line]) -> Result<bool, ImportError> {
        for line in access.iter().filter(|line| line.action() == "allow") {
            for names in self.lists.alternatives(line)? {
                let own = self.lists.terms(&names);
                let fits = own.never_https.is_none() && own.unknown.is_none() && !own.never && own.excluded.is_empty();
                if fits && own.hosts.iter().all(|name| terms.hosts == [name.clone()]) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Adds a list to a rule that allows it; returns `true`, because later lines can still matter.
    fn open(&mut self, line: &Line, name: &str, terms: &Terms, scope: Scope<'_>) -> bool {
        if !terms.excluded.is_empty() && terms.excluded.iter().any(|one| self.add_denied(one, None, line).is_err()) {
            return self.leave_out(line, "a list that it excludes cannot be said as a deny");
        }
        if self.draft.rule(name).deny {
            return self.leave_out(line, "an access line denies the same list, and in a policy a deny wins");
        }
        let is_excluding = scope.methods.is_none() && !terms.excluded_methods.is_empty();
        if is_excluding && self.add_denied(name, Some(&terms.excluded_methods), line).is_err() {
            return self.leave_out(line, "a method that it excludes cannot be said as a deny");
        }
        if !terms.clients.is_empty() {
            let note = format!(
                "line {}: `{}` is about clients: name this policy only for sessions of those",
                line.number,
                terms.clients.join("`, `")
            );
            self.draft.note(note);
        }
        let id = self.id_of(name, "", scope);
        for (number, value) in self.lists.values(name) {
            match is_file(&value) {
                true => self.draft.note(format!("line {number}: acl {name}: import the file {value} by itself")),
                false => self.add(&id, name, number, &value),
            }
        }
        let rule = self.draft.rule(&id);
        rule.http = scope.is_http;
        rule.methods = scope.methods.into_iter().flatten().cloned().collect();
        true
    }

    /// Takes an alternative of an access line that denies; a condition that no rule has makes the deny wider, which is reported.
    fn deny(&mut self, line: &Line, names: &[Name], terms: &Terms) -> Result<bool, ImportError> {
        if terms.is_everything {
            return Ok(false);
        }
        if terms.never {
            return Ok(true);
        }
        // What denies CONNECT denies every request over https.
        let methods = terms.named_methods().filter(|_| !terms.fits_connect);
        if methods.as_ref().is_some_and(BTreeSet::is_empty) {
            return Ok(true);
        }
        if let Some(name) = terms.hosts.first() {
            let is_exact = names.len() == 1 || (methods.is_some() && self.is_list_with_methods(names, terms));
            if !is_exact {
                let what = methods.as_ref().map_or_else(String::new, |methods| format!("{} to ", listed(methods)));
                let note =
                    format!("line {}: `{}`: here {what}the whole list `{name}` is denied", line.number, line.text());
                self.draft.note(note);
            }
            self.add_denied(name, methods.as_ref(), line)?;
            if self.draft.rules.iter().any(|rule| !rule.deny && !rule.hosts.is_empty()) {
                let note = "in a policy a deny counts also where an earlier line allows";
                self.draft.note(format!("line {}: {note}", line.number));
            }
            return Ok(true);
        }
        self.deny_every_host(line, names, terms, methods.as_ref())
    }

    /// Whether an alternative names one list of hosts and methods, and nothing else.
    fn is_list_with_methods(&self, names: &[Name], terms: &Terms) -> bool {
        let others = names.iter().filter(|(name, _)| !terms.hosts.contains(name) && !self.lists.is_methods(name));
        terms.hosts.len() == 1 && terms.excluded_methods.is_empty() && others.count() == 0
    }

    /// Takes an alternative that denies and names no list of hosts, except lists that it excludes.
    fn deny_every_host(
        &mut self,
        line: &Line,
        names: &[Name],
        terms: &Terms,
        methods: Option<&BTreeSet<String>>,
    ) -> Result<bool, ImportError> {
        if terms.refused_anyway || (terms.other_port && !terms.fits_http) {
            return Ok(true);
        }
        let is_plain = terms.unknown.is_none() && terms.clients.is_empty();
        if let Some(methods) = methods.filter(|_| is_plain && terms.excluded.is_empty()) {
            let id = self.id_of("every-host", "deny-", Scope { is_http: false, methods: Some(methods) });
            let rule = self.draft.rule(&id);
            rule.deny = true;
            rule.methods = methods.iter().cloned().collect();
            self.draft.add(&id, "**", line.number);
            return Ok(true);
        }
        // The line is about no request over https.
        if terms.other_port || (terms.never_https.is_some() && !self.is_bumped) {
            self.is_http_closed |= terms.fits_http;
            return Ok(true);
        }
        if let Some(why) = &terms.unknown {
            return Err(line.lost(why));
        }
        if !terms.clients.is_empty() {
            let note = "it is about clients: do not name this policy for sessions of those";
            self.draft.note(format!("line {}: `{}`: {note}", line.number, line.text()));
            return Ok(true);
        }
        if names.len() == terms.excluded.len() {
            let left =
                |known: &Vec<String>| known.iter().filter(|name| terms.excluded.contains(name)).cloned().collect();
            self.only = Some(self.only.as_ref().map_or_else(|| terms.excluded.clone(), left));
            return Ok(true);
        }
        Err(line.lost("it denies every request over https"))
    }

    /// Puts a list into a deny, of some methods or of all; every entry must be one that a rule can name.
    fn add_denied(&mut self, name: &str, methods: Option<&BTreeSet<String>>, line: &Line) -> Result<(), ImportError> {
        let id = match methods {
            None => name.to_owned(),
            Some(_) => self.id_of(name, "deny-", Scope { is_http: false, methods }),
        };
        let rule = self.draft.rule(&id);
        if !rule.deny {
            rule.deny = true;
            rule.hosts.clear();
            rule.http = false;
        }
        rule.methods = methods.into_iter().flatten().cloned().collect();
        for (number, value) in self.lists.values(name) {
            let before = self.draft.notes.len();
            if is_file(&value) {
                let why = format!("`{}` denies what is in the file {value}: put its lines in its place", line.text());
                return Err(ImportError::Refused { line: number, why });
            }
            self.add(&id, name, number, &value);
            if self.draft.notes.len() > before {
                let why = format!("`{}` denies `{value}`, which no rule can name", line.text());
                return Err(ImportError::Refused { line: number, why });
            }
        }
        Ok(())
    }

    fn add(&mut self, id: &str, name: &str, number: usize, value: &str) {
        if value == "none" {
            // In squid it means hosts without a name.
            return self.draft.note(format!("line {number}: acl {name}: `none` is not a host"));
        }
        match self.lists.is_regex(name).then(|| exact(value)) {
            None => domain(&mut self.draft, id, value, number),
            Some(Some(pattern)) => domain(&mut self.draft, id, &pattern, number),
            Some(None) => {
                self.draft.note(format!("line {number}: acl {name}: `{value}` is not a pattern that hosts have here"));
            }
        }
    }

    /// The id of a rule about some methods of a list: another one than that of every list.
    fn id_of(&self, name: &str, prefix: &str, scope: Scope<'_>) -> String {
        let methods = scope.methods.into_iter().flatten().map(|method| name_of(method));
        let methods = methods.collect::<Vec<_>>().join("-");
        let scheme = if scope.is_http { "-http" } else { "" };
        if scope.methods.is_none() && !scope.is_http {
            return name.to_owned();
        }
        let mut suffix = format!("-{prefix}{methods}{scheme}");
        suffix.truncate(MAX_ID / 2);
        loop {
            let front: String = name.chars().take(MAX_ID - suffix.chars().count()).collect();
            let id = name_of(&format!("{front}{suffix}"));
            let is_taken = self.lists.of_hosts().any(|(list, _)| name_of(list) == id);
            if !is_taken {
                return id;
            }
            suffix.push_str("-x");
        }
    }

    fn leave_out(&mut self, line: &Line, why: &str) -> bool {
        self.draft.note(format!("line {}: `{}`: {why}", line.number, line.text()));
        true
    }

    /// Notes about lists of hosts that no line names.
    fn unused(&self, lines: &[&Line]) -> Vec<String> {
        let used: BTreeSet<String> = lines
            .iter()
            .filter_map(|line| self.lists.alternatives(line).ok())
            .flatten()
            .flatten()
            .map(|(name, _)| name)
            .collect();
        let unused = self.lists.of_hosts().filter(|(name, _)| !used.contains(*name));
        unused.map(|(name, number)| format!("line {number}: acl {name}: no `http_access` line names it")).collect()
    }
}

/// Whether the values of a list are in a file, or come from a program.
fn is_file(value: &str) -> bool {
    value.starts_with(['"', '/']) || value.starts_with("parameters(")
}

fn listed(methods: &BTreeSet<String>) -> String {
    methods.iter().cloned().collect::<Vec<_>>().join(", ")
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

#[cfg(test)]
mod tests;
