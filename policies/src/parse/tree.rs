//! Text to nodes: the events of the YAML parser, and everything that YAML has and a policy must not.

use serde_saphyr::granit_parser::{self, ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};

use super::SPLIT;
use crate::document::Scalar;
use crate::problem::{Place, Reporter, code, quote};

/// The deepest nesting; the language needs six levels.
const MAX_DEPTH: usize = 12;
/// The most events of the parser: starts and ends of lists and mappings, and single values.
const MAX_EVENTS: usize = 200_000;
/// The largest number of characters that are read as if they were in quotes, to find further problems.
const MAX_REPAIRS: usize = 20;
/// The largest file that is read once more after such a repair, in bytes.
const MAX_REPAIRED_BYTES: usize = 64 * 1024;

/// One value of a file.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) kind: Kind,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Kind {
    Scalar(Scalar),
    /// `true` or `false` without quotes.
    Flag(bool),
    List(Vec<Node>),
    /// Keys and values, in the order of the file.
    Map(Vec<(Node, Node)>),
    /// Was reported; no further problem of it is.
    Broken,
}

/// What was read of a list or mapping that has not ended.
struct Open {
    place: Place,
    kind: Kind,
    /// The key whose value is next.
    key: Option<Node>,
}

/// Why nothing more can be read.
enum Stop {
    /// It was reported.
    Reported,
    /// The text is not YAML from here on.
    Syntax(ScanError),
}

/// Reads the one document of the file; `None` where there is none that could be looked into.
pub(super) fn read(reporter: &mut Reporter<'_>) -> Option<Node> {
    let mut text = reporter.text().to_owned();
    let mut repairs = Vec::new();
    loop {
        // Every reading but the last one is repeated, and what it reports with it.
        let before = reporter.mark();
        let error = match Builder::new(&repairs, reporter).read(&text) {
            Ok(root) => return root,
            Err(Stop::Reported) => return None,
            Err(Stop::Syntax(error)) => error,
        };
        let repaired = repair(&mut text, &error).filter(|_| repairs.len() < MAX_REPAIRS);
        match repaired {
            Some(repair) => {
                reporter.reset(before);
                report_syntax(&error, reporter);
                repairs.push(repair);
            }
            None => {
                report_syntax(&error, reporter);
                return None;
            }
        }
    }
}

/// A character that no value can begin with was read as text.
struct Repair {
    sign: char,
    line: usize,
    column: usize,
}

/// Where a value begins with `@` or a backtick, whose meaning is plain, puts a letter in its place.
fn repair(text: &mut String, error: &ScanError) -> Option<Repair> {
    let (line, column) = (error.marker().line(), error.marker().col());
    if text.len() > MAX_REPAIRED_BYTES {
        return None;
    }
    let start = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum::<usize>();
    let at = start + text.get(start..)?.char_indices().nth(column)?.0;
    let sign = text.get(at..)?.chars().next().filter(|sign| matches!(sign, '@' | '`'))?;
    text.replace_range(at..=at, "_");
    Some(Repair { sign, line, column: column + 1 })
}

/// Makes nodes from events.
struct Builder<'b, 'a> {
    repairs: &'b [Repair],
    reporter: &'b mut Reporter<'a>,
    open: Vec<Open>,
    root: Option<Node>,
}

impl<'b, 'a> Builder<'b, 'a> {
    fn new(repairs: &'b [Repair], reporter: &'b mut Reporter<'a>) -> Self {
        Self { repairs, reporter, open: Vec::new(), root: None }
    }

    fn read(mut self, text: &str) -> Result<Option<Node>, Stop> {
        let mut options = granit_parser::Options::default();
        options.set_emit_comments(false);
        options.emit_unresolved_aliases = true;
        options.emit_anchor_events = true;
        options.disallow_directives = true;
        options.flow_nesting_limit = MAX_DEPTH;
        options.block_nesting_limit = MAX_DEPTH;
        let mut documents = 0;
        for (seen, event) in Parser::new_from_str_with_options(text, options).enumerate() {
            let (event, span) = event.map_err(Stop::Syntax)?;
            let at = place(&span);
            if seen > MAX_EVENTS {
                let message = format!("the file holds more than {MAX_EVENTS} values");
                return self.refuse(Place::default(), &message, SPLIT);
            }
            if matches!(event, Event::DocumentStart(..)) {
                documents += 1;
                if documents > 1 {
                    return self.refuse(at, "a file holds one policy", "put each policy into a file of its own");
                }
            }
            if matches!(event, Event::StreamEnd) && self.root.is_none() {
                self.reporter.error(code::MISSING_KEY, at, "the file is empty", "begin with `policy: name`");
            }
            let before = self.reporter.mark();
            self.take(event, &span);
            // Nobody reads on, and neither does this.
            if self.reporter.mark() > before && self.reporter.is_full() {
                return Err(Stop::Reported);
            }
            if self.open.len() > MAX_DEPTH {
                let message = format!("values are nested deeper than {MAX_DEPTH} levels");
                return self.refuse(at, &message, "no policy needs that");
            }
        }
        Ok(self.root)
    }

    fn refuse(self, at: Place, message: &str, help: &str) -> Result<Option<Node>, Stop> {
        self.reporter.error(code::BUDGET, at, message, help);
        Err(Stop::Reported)
    }

    fn take(&mut self, event: Event<'_>, span: &Span) {
        let at = place(span);
        #[expect(clippy::wildcard_enum_match_arm, reason = "starts and ends, and what later parsers may add")]
        match event {
            Event::Scalar(value, style, _, tag) => {
                self.refuse_tag(tag.is_some(), span);
                let kind = if style == ScalarStyle::Plain && tag.is_none() {
                    self.plain(&value, at)
                } else {
                    Kind::Scalar(Scalar::Text(value.into_owned()))
                };
                self.add(Node { place: at, kind });
            }
            Event::SequenceStart(_, _, tag) => {
                self.refuse_tag(tag.is_some(), span);
                self.open.push(Open { place: at, kind: Kind::List(Vec::new()), key: None });
            }
            Event::MappingStart(_, _, tag) => {
                self.refuse_tag(tag.is_some(), span);
                self.open.push(Open { place: at, kind: Kind::Map(Vec::new()), key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { place, kind, .. }) = self.open.pop() {
                    self.add(Node { place, kind });
                }
            }
            Event::UnresolvedAlias(name) => self.alias(Some(&name), at),
            Event::Alias(_) => self.alias(None, at),
            Event::Anchor(..) => self.refuse_indirection(at),
            _ => {}
        }
    }

    /// Puts a node where it belongs: into the list or mapping that is open, or at the root.
    fn add(&mut self, node: Node) {
        let Some(Open { kind, key, .. }) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match kind {
            Kind::List(items) => items.push(node),
            Kind::Map(entries) => match key.take() {
                None => *key = Some(node),
                Some(name) => entries.push((name, node)),
            },
            Kind::Scalar(_) | Kind::Flag(_) | Kind::Broken => {}
        }
    }

    /// A name with a dot or another `*` is a host pattern that lacks its quotes, and is read as such.
    fn alias(&mut self, name: Option<&str>, at: Place) {
        let pattern = name.filter(|name| name.contains('.') || name.starts_with('*') || name.is_empty());
        let kind = match pattern {
            None => {
                self.refuse_indirection(at);
                Kind::Broken
            }
            Some(name) => {
                let pattern = format!("*{name}");
                let message = format!("{} without quotes is an alias of YAML, not a host pattern", quote(&pattern));
                self.reporter.error(code::INDIRECTION, at, message, format!("quote the pattern: \"{pattern}\""));
                Kind::Scalar(Scalar::Text(pattern))
            }
        };
        self.add(Node { place: at, kind });
    }

    fn refuse_indirection(&mut self, at: Place) {
        let help = "write the value out where it is meant, or name a set in `hosts`; quote what begins with `*` or `&`";
        self.reporter.error(code::INDIRECTION, at, "anchors and aliases are not accepted", help);
    }

    fn refuse_tag(&mut self, tagged: bool, span: &Span) {
        if tagged {
            let at = span.tag_span().as_ref().map_or_else(|| place(span), place);
            let help = "remove the tag; quote a value that begins with `!`";
            self.reporter.error(code::INDIRECTION, at, "tags are not accepted", help);
        }
    }

    /// Whether a word within braces has a comma before it and no colon behind it: YAML reads it as a key without a value, and the
    /// author meant a list or one text.
    fn is_after_stray_comma(&self, at: Place) -> bool {
        let (before, behind) = around(self.reporter.line(at.line), at);
        before.trim_end().ends_with(',') && behind.trim_start().starts_with([',', '}'])
    }

    fn refuse_stray_comma(&mut self, word: &str, at: Place) {
        let before = around(self.reporter.line(at.line), at).0;
        let (front, value) = before.rsplit_once(": ").unwrap_or_default();
        let key = front.rsplit([' ', '{', ',']).next().unwrap_or_default().to_owned();
        let value = value.trim();
        let help = match key.as_str() {
            "host" | "methods" | "path" | "port" | "tool" | "use" | "addresses" => {
                format!(
                    "write a list in brackets: `{key}: [{} {word}]`",
                    value.replace(", ", ",").replace(',', ", ").trim()
                )
            }
            "" => "write a list in brackets, or a text with a comma in quotes".to_owned(),
            _ => format!("write the value in quotes, because it contains a comma: `{key}: \"{value}{word}..\"`"),
        };
        let message = format!("{} is not a key: within braces, a comma ends the value before it", quote(word));
        self.reporter.error(code::UNQUOTED, at, message, help);
    }

    /// Text without quotes means the same in every reader of YAML.
    fn plain(&mut self, value: &str, at: Place) -> Kind {
        if let Some(repair) = self.repairs.iter().find(|r| (r.line, r.column) == (at.line, at.column)) {
            return Kind::Scalar(Scalar::Text(value.replacen('_', &repair.sign.to_string(), 1)));
        }
        match self.open.last() {
            Some(Open { kind: Kind::Map(entries), key: None, .. }) if self.is_after_stray_comma(at) => {
                // One value with several commas is reported once.
                if !entries.last().is_some_and(|(name, _)| matches!(name.kind, Kind::Broken)) {
                    self.refuse_stray_comma(value, at);
                }
                return Kind::Broken;
            }
            Some(Open { key: Some(Node { kind: Kind::Broken, .. }), .. }) if matches!(value, "" | "~") => {
                return Kind::Broken;
            }
            Some(_) | None => {}
        }
        match value {
            "true" => return Kind::Flag(true),
            "false" => return Kind::Flag(false),
            "" | "~" | "null" | "Null" | "NULL" => {
                let help = "give the key a value, or remove it; nothing is not the same as any";
                let at = Place { width: at.width.max(1), ..at };
                self.reporter.error(code::UNQUOTED, at, "a value is missing here", help);
            }
            "<<" => {
                let help = "write the keys out where they are meant";
                self.reporter.error(code::INDIRECTION, at, "merge keys are not accepted", help);
            }
            _ if ["true", "false", "yes", "no", "on", "off"].iter().any(|word| value.eq_ignore_ascii_case(word)) => {
                let message =
                    format!("`{value}` without quotes is a boolean to some readers of YAML and a text to others");
                self.reporter.error(code::UNQUOTED, at, message, format!("write \"{value}\" in quotes"));
            }
            _ => return Kind::Scalar(scalar(value)),
        }
        Kind::Broken
    }
}

/// Reads text without quotes: a whole number, something that some reader takes for a number, or a text.
fn scalar(text: &str) -> Scalar {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let canonical = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if canonical && (digits == "0" || !digits.starts_with('0')) {
        return text.parse().map_or_else(|_| Scalar::Other(text.to_owned()), Scalar::Number);
    }
    if is_numeric(text) { Scalar::Other(text.to_owned()) } else { Scalar::Text(text.to_owned()) }
}

/// Whether YAML 1.1 or 1.2 has a number that is written so, but a whole number in its usual form.
fn is_numeric(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let lower = unsigned.to_ascii_lowercase();
    if matches!(lower.as_str(), ".inf" | ".nan") {
        return true;
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = lower.strip_prefix(prefix) {
            return !digits.is_empty() && digits.chars().all(|c| c == '_' || c.is_digit(radix));
        }
    }
    let (mantissa, exponent) = lower.split_once('e').map_or((lower.as_str(), None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let exponent = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    let first = mantissa.strip_prefix('.').unwrap_or(mantissa);
    digits(whole) && digits(fraction) && exponent && first.starts_with(|c: char| c.is_ascii_digit())
}

fn place(span: &Span) -> Place {
    Place { line: span.start.line(), column: span.start.col() + 1, width: span.len() }
}

fn report_syntax(error: &ScanError, reporter: &mut Reporter<'_>) {
    let mut at = Place { line: error.marker().line(), column: error.marker().col() + 1, width: 1 };
    if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
        let message = format!("values are nested deeper than {MAX_DEPTH} levels");
        reporter.error(code::BUDGET, at, message, "no policy needs that");
        return;
    }
    if let Some(at) = tab(error, reporter, at) {
        reporter.error(code::SYNTAX, at, "a tab indents this line", "indent with spaces, not with tabs");
        return;
    }
    let word = word(reporter.line(at.line), at.column);
    if word.len() > 1 {
        at.width = word.chars().count();
        let message = format!("{} without quotes is not YAML", quote(&word));
        reporter.error(code::SYNTAX, at, message, format!("write it in quotes: \"{word}\""));
        return;
    }
    let problem = reporter.problem(code::SYNTAX, at, error.info(), Some(syntax_help(reporter, at)));
    reporter.push(problem);
}

/// The text of a line before a place and behind it.
fn around(line: &str, at: Place) -> (&str, &str) {
    let offset = |chars: usize| line.char_indices().nth(chars).map_or(line.len(), |(offset, _)| offset);
    let (start, end) = (offset(at.column.saturating_sub(1)), offset(at.column.saturating_sub(1) + at.width));
    (line.get(..start).unwrap_or_default(), line.get(end..).unwrap_or_default())
}

/// Where the tab is that an error is about. A scanner that meets it while it reads a value of the line before reports that line.
fn tab(error: &ScanError, reporter: &Reporter<'_>, at: Place) -> Option<Place> {
    if !error.info().contains("tab") {
        return None;
    }
    let column = |line: usize| {
        let text = reporter.line(line);
        text.chars().take_while(|c| [' ', '\t'].contains(c)).position(|c| c == '\t')
    };
    let line = (at.line..=at.line + 1).find(|line| column(*line).is_some())?;
    Some(Place { line, column: column(line)? + 1, width: 1 })
}

/// The name of a set without quotes here; empty if there is none.
fn word(line: &str, column: usize) -> String {
    let mut rest = line.chars().skip(column.saturating_sub(1));
    let Some('@') = rest.next() else { return String::new() };
    std::iter::once('@').chain(rest.take_while(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c))).collect()
}

/// The advice for the character at the place of a syntax error.
fn syntax_help(reporter: &Reporter<'_>, at: Place) -> String {
    let line = reporter.line(at.line);
    let sign = line.chars().nth(at.column.saturating_sub(1));
    let help = match sign {
        Some('@') => "quote the name of a set: \"@name\"",
        Some('*' | '&') => "quote the pattern: \"*.example.com\"",
        Some('`') => "quote the value",
        Some('%') if at.column == 1 => "remove the line",
        _ if line.starts_with('\t') || sign == Some('\t') => "indent with spaces, not with tabs",
        _ => {
            "look for a bracket or quote that is not closed, for keys of one mapping that are not indented alike, and for a missing space after `:`"
        }
    };
    help.to_owned()
}
