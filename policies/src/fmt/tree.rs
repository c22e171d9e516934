//! A file as it was written: its values, and around them its comments, blank lines and line breaks.

use serde_saphyr::granit_parser::ScalarStyle;

/// The keys of a rule, in the order of the documentation.
const RULE_KEYS: [&str; 15] = [
    "id",
    "allow",
    "ask",
    "deny",
    "hold",
    "within",
    "tls",
    "addresses",
    "use",
    "set",
    "client_auth",
    "limits",
    "timeouts",
    "until",
    "reason",
];
/// The keys of a match.
const MATCH_KEYS: [&str; 8] = ["host", "port", "scheme", "methods", "path", "query", "tool", "upgrade"];

/// A whole file.
#[derive(Debug)]
pub(super) struct File<'a> {
    /// The lines before the first value.
    pub(super) head: Vec<Line<'a>>,
    pub(super) root: Node<'a>,
    /// Behind the first value, where it is written in brackets.
    pub(super) trail: Option<Comment<'a>>,
    /// The lines after the last value.
    pub(super) foot: Vec<Line<'a>>,
}

/// A line without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Blank,
    /// A comment on a line of its own, or the mark of a document, with its column.
    Text(&'a str, usize),
}

/// A comment behind something on its line, with the number of blanks before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comment<'a> {
    pub(super) blanks: usize,
    pub(super) text: &'a str,
}

#[derive(Debug)]
pub(super) enum Node<'a> {
    Scalar(Scalar<'a>),
    /// One entry a line: a mapping, or a list where no entry has a key.
    Block {
        is_list: bool,
        entries: Vec<Entry<'a>>,
        /// Comments that are indented like the entries and follow the last one.
        tail: Vec<Line<'a>>,
    },
    /// In brackets.
    Flow {
        is_list: bool,
        /// Behind the opening bracket.
        header: Option<Comment<'a>>,
        entries: Vec<Entry<'a>>,
        /// Before the closing bracket.
        tail: Vec<Line<'a>>,
        /// Whether the closing bracket begins a line.
        closes_below: bool,
        ends_with_comma: bool,
    },
}

/// One entry of a mapping or a list.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) lead: Vec<Line<'a>>,
    /// Whether it begins a line; only within brackets.
    pub(super) breaks: bool,
    pub(super) key: Option<Scalar<'a>>,
    /// The number of blanks between the key and the value.
    pub(super) blanks: usize,
    /// Behind the key, where the value begins below.
    pub(super) header: Option<Comment<'a>>,
    /// Between the key and a value that begins below.
    pub(super) between: Vec<Line<'a>>,
    /// Whether the value begins below the key; a block always does.
    pub(super) below: bool,
    pub(super) value: Node<'a>,
    pub(super) trail: Option<Comment<'a>>,
}

/// A single value.
#[derive(Clone, Debug)]
pub(super) struct Scalar<'a> {
    /// As it is written; of a block of text, its lines.
    pub(super) raw: std::borrow::Cow<'a, str>,
    pub(super) style: ScalarStyle,
    pub(super) value: std::borrow::Cow<'a, str>,
    /// Of a block of text: its first line, such as `|-`.
    pub(super) header: &'a str,
    /// The column of what holds it.
    pub(super) column: usize,
}

/// The meaning of a value, independent of its spelling.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Says<'n> {
    Text(&'n str),
    /// Without quotes, and read as something else than a text.
    Other(&'n str),
    List(Vec<Self>),
    /// In the order of the keys, which has no meaning.
    Mapping(Vec<(&'n str, Self)>),
}

impl File<'_> {
    /// All comments, in no order.
    pub(super) fn comments(&self) -> Vec<&str> {
        let mut all: Vec<&str> = texts(&self.head).chain(texts(&self.foot)).collect();
        all.extend(self.trail.map(|comment| comment.text));
        self.root.comments(&mut all);
        all.sort_unstable();
        all
    }
}

fn texts<'a>(lines: &[Line<'a>]) -> impl Iterator<Item = &'a str> {
    lines.iter().filter_map(|line| match line {
        Line::Blank => None,
        Line::Text(text, _) => Some(*text),
    })
}

impl<'a> Node<'a> {
    fn comments(&self, all: &mut Vec<&'a str>) {
        let (header, entries, tail) = match self {
            Self::Scalar(scalar) => {
                all.extend(scalar.header.split_once('#').map(|(_, text)| text));
                return;
            }
            Self::Block { entries, tail, .. } => (&None, entries, tail),
            Self::Flow { header, entries, tail, .. } => (header, entries, tail),
        };
        all.extend(header.map(|comment| comment.text));
        all.extend(texts(tail));
        for entry in entries {
            all.extend(texts(&entry.lead).chain(texts(&entry.between)));
            all.extend(entry.header.iter().chain(&entry.trail).map(|comment| comment.text));
            entry.value.comments(all);
        }
    }

    pub(super) fn says(&self) -> Says<'_> {
        let (is_list, entries) = match self {
            Self::Scalar(scalar) if scalar.style == ScalarStyle::Plain && is_other(&scalar.value) => {
                return Says::Other(&scalar.value);
            }
            Self::Scalar(scalar) => return Says::Text(&scalar.value),
            Self::Block { is_list, entries, .. } | Self::Flow { is_list, entries, .. } => (*is_list, entries),
        };
        if is_list {
            return Says::List(entries.iter().map(|entry| entry.value.says()).collect());
        }
        let mut pairs: Vec<_> = entries.iter().map(|entry| (entry.name(), entry.value.says())).collect();
        pairs.sort_unstable();
        Says::Mapping(pairs)
    }

    fn entries_mut(&mut self) -> &mut [Entry<'a>] {
        match self {
            Self::Scalar(_) => &mut [],
            Self::Block { entries, .. } | Self::Flow { entries, .. } => entries,
        }
    }
}

impl Entry<'_> {
    fn name(&self) -> &str {
        self.key.as_ref().map_or("", |key| &key.value)
    }
}

/// Whether a value without quotes reads as a number, a boolean or nothing.
fn is_other(value: &str) -> bool {
    let digits = value.trim_start_matches(['+', '-']);
    ["", "~", "null", "true", "false", ".inf", ".nan"].iter().any(|word| digits.eq_ignore_ascii_case(word))
        || digits.parse::<f64>().is_ok()
        || ["0x", "0o", "0b"].iter().any(|start| digits.starts_with(start))
        || digits.starts_with(|c: char| c.is_ascii_digit()) && digits.replace('_', "").parse::<f64>().is_ok()
}

/// Puts the keys of rules in order and quotes of hosts to rights.
pub(super) fn put_in_order(root: &mut Node<'_>) {
    for section in root.entries_mut() {
        match section.name() {
            "hosts" => section.value.entries_mut().iter_mut().for_each(|set| quote_hosts(&mut set.value)),
            "rules" => section.value.entries_mut().iter_mut().for_each(|rule| {
                sort(&mut rule.value, &RULE_KEYS);
                for part in rule.value.entries_mut() {
                    if ["allow", "ask", "deny"].contains(&part.name()) {
                        sort(&mut part.value, &MATCH_KEYS);
                        for key in part.value.entries_mut() {
                            if key.name() == "host" {
                                quote_hosts(&mut key.value);
                            }
                        }
                    }
                }
            }),
            _ => {}
        }
    }
}

/// Sorts entries by their key; blank lines and line breaks stay where they are, comments go along.
fn sort(node: &mut Node<'_>, order: &[&str]) {
    let entries = node.entries_mut();
    let rank = |entry: &Entry<'_>| order.iter().position(|key| *key == entry.name()).unwrap_or(order.len());
    if entries.is_sorted_by_key(rank) {
        return;
    }
    let places: Vec<(bool, bool)> = entries
        .iter_mut()
        .map(|entry| {
            let blank = entry.lead.first() == Some(&Line::Blank);
            entry.lead.drain(..usize::from(blank));
            (blank, entry.breaks)
        })
        .collect();
    entries.sort_by_key(rank);
    for (entry, (blank, breaks)) in entries.iter_mut().zip(places) {
        entry.breaks = breaks;
        if blank {
            entry.lead.insert(0, Line::Blank);
        }
    }
}

fn quote_hosts(node: &mut Node<'_>) {
    match node {
        Node::Scalar(scalar) => quote_host(scalar),
        Node::Block { entries, .. } | Node::Flow { entries, .. } => {
            for entry in entries {
                if let Node::Scalar(scalar) = &mut entry.value {
                    quote_host(scalar);
                }
            }
        }
    }
}

/// No quotes around a name that reads as itself, double ones around everything else that has quotes.
fn quote_host(scalar: &mut Scalar<'_>) {
    if !matches!(scalar.style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted) {
        return;
    }
    let value = scalar.value.clone();
    if is_plain_name(&value) {
        scalar.style = ScalarStyle::Plain;
        scalar.raw = value;
    } else if value.chars().all(|c| c == ' ' || c.is_ascii_graphic() && !['"', '\\'].contains(&c)) {
        scalar.style = ScalarStyle::DoubleQuoted;
        scalar.raw = format!("\"{value}\"").into();
    }
}

/// Whether a text is a host name that no reader of YAML takes for something else.
fn is_plain_name(value: &str) -> bool {
    value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
        && value.rsplit_once('.').is_some_and(|(_, last)| last.starts_with(|c: char| c.is_ascii_alphabetic()))
        && !is_other(value)
}
