//! The lists (`acl`) of a squid configuration, and the conditions of one line: groups are written out, so that a line is a list of
//! alternatives, each of which needs all of its lists.

use std::collections::{BTreeMap, BTreeSet};

use super::line::Line;
use crate::compile::method_error;
use crate::import::ImportError;

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
/// How deep groups may be in each other, and how many alternatives one line may have.
const MAX_DEPTH: usize = 16;
const MAX_ALTERNATIVES: usize = 256;

/// The port of https, over which a policy of this import allows its hosts.
const HTTPS: u16 = 443;
/// The port of http, over which it allows the methods that a line names.
const HTTP: u16 = 80;

/// All lines of one name.
#[derive(Default)]
struct List {
    kind: String,
    /// The values of each line, with its number.
    lines: Vec<(usize, Vec<String>)>,
}

/// The lists of the configuration.
#[derive(Default)]
pub(super) struct Lists(BTreeMap<String, List>);

/// A list as a line names it, and whether the line negates it.
pub(super) type Name = (String, bool);

/// What one alternative of a line needs.
#[derive(Default)]
pub(super) struct Terms {
    /// Lists of hosts.
    pub(super) hosts: Vec<String>,
    /// Lists of hosts that are excluded.
    pub(super) excluded: Vec<String>,
    /// The methods, where the line names them; CONNECT is not among them.
    pub(super) methods: Option<BTreeSet<String>>,
    /// The methods that are excluded; CONNECT is not among them.
    pub(super) excluded_methods: BTreeSet<String>,
    /// Lists about clients.
    pub(super) clients: Vec<String>,
    /// Why no connection for https (a CONNECT to port 443) has it.
    pub(super) never_https: Option<String>,
    /// Whether a request over http to port 80 can have it.
    pub(super) fits_http: bool,
    /// Whether CONNECT is among its methods.
    pub(super) fits_connect: bool,
    /// Whether a port is the reason why no connection for https has it.
    pub(super) other_port: bool,
    /// A condition that no rule has.
    pub(super) unknown: Option<String>,
    /// A list that matches what Egret refuses anyway, such as requests to the proxy itself.
    pub(super) refused_anyway: bool,
    /// Nothing matches it at all.
    pub(super) never: bool,
    /// Whether it needs nothing.
    pub(super) is_everything: bool,
}

impl Lists {
    /// Takes one line that begins with `acl`.
    ///
    /// # Errors
    /// A kind of list whose options give its values another meaning than hosts have here.
    pub(super) fn insert(&mut self, line: &Line) -> Result<(), ImportError> {
        let [_, name, kind, values @ ..] = line.words.as_slice() else { return Ok(()) };
        let list = self.0.entry(name.clone()).or_default();
        if !list.kind.is_empty() && list.kind != *kind {
            let why = format!("`{}`: another line makes `{name}` a list of the kind {}", line.text(), list.kind);
            return Err(ImportError::Refused { line: line.number, why });
        }
        list.kind.clone_from(kind);
        list.lines.push((line.number, values.to_vec()));
        Ok(())
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The lists of hosts, each with the number of its first line.
    pub(super) fn of_hosts(&self) -> impl Iterator<Item = (&str, usize)> {
        let hosts = self.0.iter().filter(|(name, _)| self.is_hosts(name));
        hosts.map(|(name, list)| (name.as_str(), list.lines.first().map_or(1, |(number, _)| *number)))
    }

    /// The entries of a list, without its options.
    pub(super) fn values(&self, name: &str) -> Vec<(usize, String)> {
        let lines = self.0.get(name).into_iter().flat_map(|list| &list.lines);
        let values = lines.flat_map(|(number, values)| values.iter().map(|value| (*number, value.clone())));
        values.filter(|(_, value)| !value.starts_with('-')).collect()
    }

    /// An option that makes the values of a list something else than the name that a client asks for.
    pub(super) fn foreign_option(&self, name: &str) -> Option<String> {
        let values = || self.0.get(name).into_iter().flat_map(|list| &list.lines).flat_map(|(_, values)| values);
        // The names in a certificate are not the host that the client asked for.
        values().find(|value| *value == "--server-provided").cloned()
    }

    pub(super) fn is_regex(&self, name: &str) -> bool {
        matches!(self.kind(name), "dstdom_regex" | "ssl::server_name_regex")
    }

    pub(super) fn is_methods(&self, name: &str) -> bool {
        self.kind(name) == "method"
    }

    fn is_hosts(&self, name: &str) -> bool {
        // Egret dials only what a client names in CONNECT, and that is also the name in the handshake and in the certificate.
        matches!(self.kind(name), "dstdomain" | "dstdom_regex" | "ssl::server_name" | "ssl::server_name_regex")
    }

    fn kind(&self, name: &str) -> &str {
        match self.0.get(name) {
            Some(list) => &list.kind,
            None => BUILT_IN.iter().find(|(own, _)| *own == name).map_or("", |(_, kind)| *kind),
        }
    }

    /// The alternatives of a line, with every group written out.
    ///
    /// # Errors
    /// Groups that contain themselves, or that have too many alternatives.
    pub(super) fn alternatives(&self, line: &Line) -> Result<Vec<Vec<Name>>, ImportError> {
        let refused = |why: &str| ImportError::Refused { line: line.number, why: format!("`{}`: {why}", line.text()) };
        let mut all: Vec<Vec<Name>> = vec![Vec::new()];
        for (name, negated) in line.names() {
            let options = self.expand(name, negated, 0).ok_or_else(|| {
                refused("its groups contain each other, or have more alternatives than are translated")
            })?;
            all = product(&all, &options).ok_or_else(|| refused("it has more alternatives than are translated"))?;
        }
        Ok(all)
    }

    /// One name as alternatives; `None` where there are too many.
    fn expand(&self, name: &str, negated: bool, depth: usize) -> Option<Vec<Vec<Name>>> {
        let (list, needs_all) = match self.0.get(name) {
            Some(list) if list.kind == "any-of" => (list, false),
            Some(list) if list.kind == "all-of" => (list, true),
            Some(_) | None => return Some(vec![vec![(name.to_owned(), negated)]]),
        };
        if depth >= MAX_DEPTH {
            return None;
        }
        // Lines of one name are alternatives; by De Morgan's laws, a negated group needs all of them, and each part negated.
        let mut lines = Vec::new();
        for (_, values) in &list.lines {
            let parts = values.iter().map(|value| match value.strip_prefix('!') {
                Some(name) => self.expand(name, !negated, depth + 1),
                None => self.expand(value, negated, depth + 1),
            });
            let parts = parts.collect::<Option<Vec<_>>>()?;
            lines.push(if needs_all == negated { sum(parts)? } else { product_of(&parts)? });
        }
        if negated { product_of(&lines) } else { sum(lines) }
    }

    /// What an alternative needs.
    pub(super) fn terms(&self, names: &[Name]) -> Terms {
        let mut terms =
            Terms { fits_http: true, fits_connect: true, is_everything: !names.is_empty(), ..Terms::default() };
        for (name, negated) in names {
            terms.is_everything &= name == "all" && !negated;
            self.add_term(&mut terms, name, *negated);
        }
        terms
    }

    fn add_term(&self, terms: &mut Terms, name: &str, negated: bool) {
        let values = || self.values(name).into_iter().map(|(_, value)| value);
        let fits_none = || Some(format!("`{name}` fits no request over https"));
        match self.kind(name) {
            _ if name == "all" => terms.never |= negated,
            _ if self.is_hosts(name) => match self.foreign_option(name) {
                Some(option) => {
                    terms.unknown = Some(format!("`{name}` has {option}: it is not about the host that is asked for"));
                }
                None if negated => terms.excluded.push(name.to_owned()),
                None => terms.hosts.push(name.to_owned()),
            },
            "port" => {
                let has = |port| values().any(|value| covers(&value, port)) != negated;
                terms.fits_http &= has(HTTP);
                if !has(HTTPS) {
                    terms.other_port = true;
                    terms.never_https = terms.never_https.take().or_else(fits_none);
                }
            }
            "method" => self.add_methods(terms, name, negated),
            "built-in refusal" if negated => {}
            "built-in refusal" => {
                terms.refused_anyway = true;
                terms.fits_http = false;
                terms.never_https = terms.never_https.take().or_else(fits_none);
            }
            // Squid asks at each step of a handshake; a rule is asked once.
            "at_step" => {}
            kind if CLIENTS.contains(&kind) => terms.clients.push(name.to_owned()),
            "" => terms.unknown = Some(format!("there is no acl `{name}`")),
            kind => terms.unknown = Some(format!("no rule has a condition such as `{name}` ({kind})")),
        }
    }

    fn add_methods(&self, terms: &mut Terms, name: &str, negated: bool) {
        let own: BTreeSet<String> = match self.contains(name) {
            true => self.values(name).into_iter().map(|(_, value)| value.to_ascii_uppercase()).collect(),
            false => BTreeSet::from(["CONNECT".to_owned()]),
        };
        let (connect, methods): (BTreeSet<String>, BTreeSet<String>) =
            own.into_iter().partition(|method| method == "CONNECT");
        if let Some(why) = methods.iter().find_map(|method| method_error(method)) {
            terms.unknown = Some(format!("`{name}`: {why}"));
        }
        if connect.is_empty() != negated {
            terms.fits_connect = false;
            terms.never_https =
                terms.never_https.take().or_else(|| Some(format!("`{name}` fits no request over https")));
        }
        if negated {
            terms.excluded_methods.extend(methods);
        } else {
            let both = match terms.methods.take() {
                Some(known) => known.intersection(&methods).cloned().collect(),
                None => methods,
            };
            terms.methods = Some(both);
        }
    }
}

impl Terms {
    /// The methods of requests that it allows or denies; `None`: every one that is not excluded.
    pub(super) fn named_methods(&self) -> Option<BTreeSet<String>> {
        self.methods.as_ref().map(|methods| methods.difference(&self.excluded_methods).cloned().collect())
    }
}

/// Every alternative of the one with every alternative of the other.
fn product(one: &[Vec<Name>], other: &[Vec<Name>]) -> Option<Vec<Vec<Name>>> {
    if one.len() * other.len() > MAX_ALTERNATIVES {
        return None;
    }
    let both = |front: &Vec<Name>, rest: &Vec<Name>| {
        let mut names = front.clone();
        names.extend(rest.iter().filter(|name| !front.contains(name)).cloned());
        names
    };
    Some(one.iter().flat_map(|front| other.iter().map(move |rest| both(front, rest))).collect())
}

fn product_of(all: &[Vec<Vec<Name>>]) -> Option<Vec<Vec<Name>>> {
    all.iter().try_fold(vec![Vec::new()], |front, next| product(&front, next))
}

fn sum(all: Vec<Vec<Vec<Name>>>) -> Option<Vec<Vec<Name>>> {
    let all: Vec<Vec<Name>> = all.into_iter().flatten().collect();
    (all.len() <= MAX_ALTERNATIVES).then_some(all)
}

/// Whether `80`, or a range such as `1025-65535`, has the port. What is neither may.
fn covers(value: &str, port: u16) -> bool {
    let (first, last) = value.split_once('-').unwrap_or((value, value));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) => (first..=last).contains(&port),
        _ => false,
    }
}
