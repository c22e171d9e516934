//! What is wrong with a policy file, so that its author can fix it: a stable code, the place, the
//! line itself with a mark under it, and what to write instead.

mod reporter;

use std::fmt;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

pub(crate) use reporter::Reporter;

/// The stable codes, one for each kind of mistake. New ones are added; none changes its meaning.
pub(crate) mod code {
    /// The file exceeds a bound: its size, its depth, its number of values.
    pub(crate) const BUDGET: &str = "EG0001";
    /// Not YAML.
    pub(crate) const SYNTAX: &str = "EG0002";
    /// An anchor, alias, merge key or tag.
    pub(crate) const INDIRECTION: &str = "EG0003";
    /// A key twice.
    pub(crate) const DUPLICATE_KEY: &str = "EG0004";
    /// A text without quotes that reads as a boolean, a number or nothing.
    pub(crate) const UNQUOTED: &str = "EG0005";
    /// A key that the language does not have.
    pub(crate) const UNKNOWN_KEY: &str = "EG0006";
    /// A key that must be there.
    pub(crate) const MISSING_KEY: &str = "EG0007";
    /// A value of the wrong kind.
    pub(crate) const WRONG_TYPE: &str = "EG0008";
    /// The name of a policy, rule, set or credential that is not valid.
    pub(crate) const BAD_NAME: &str = "EG0010";
    /// A policy name twice.
    pub(crate) const DUPLICATE_POLICY: &str = "EG0011";
    /// A rule id twice.
    pub(crate) const DUPLICATE_RULE: &str = "EG0012";
    /// A rule without effect or with two.
    pub(crate) const EFFECT: &str = "EG0013";
    /// A key that means nothing beside this effect.
    pub(crate) const MEANINGLESS_KEY: &str = "EG0014";
    /// A list without entries: the rule could never match.
    pub(crate) const EMPTY_LIST: &str = "EG0015";
    /// A host pattern that is none.
    pub(crate) const HOST_PATTERN: &str = "EG0016";
    /// A wildcard that spans a whole top-level domain, or every name.
    pub(crate) const WIDE_WILDCARD: &str = "EG0017";
    /// A set of hosts that is not defined.
    pub(crate) const UNKNOWN_SET: &str = "EG0018";
    /// A set of hosts that no rule uses.
    pub(crate) const UNUSED_SET: &str = "EG0019";
    /// A port that is none.
    pub(crate) const PORT: &str = "EG0020";
    /// A method that is none, or that no rule may name.
    pub(crate) const METHOD: &str = "EG0021";
    /// A path pattern that is none.
    pub(crate) const PATH_PATTERN: &str = "EG0022";
    /// An address range that is none.
    pub(crate) const CIDR: &str = "EG0023";
    /// An address literal that the rule's `addresses` do not let be dialed.
    pub(crate) const UNDIALABLE: &str = "EG0024";
    /// A metadata service within a range that is broader than its address.
    pub(crate) const METADATA_RANGE: &str = "EG0025";
    /// A credential where requests travel in cleartext.
    pub(crate) const CLEARTEXT_CREDENTIAL: &str = "EG0026";
    /// Two allows that no rank distinguishes.
    pub(crate) const TIE: &str = "EG0027";
    /// A check whose request is none.
    pub(crate) const CHECK_REQUEST: &str = "EG0028";
    /// A check that names a rule which is not there.
    pub(crate) const CHECK_RULE: &str = "EG0029";
    /// A check that failed.
    pub(crate) const CHECK_FAILED: &str = "EG0030";
    /// A pattern for a parameter's value or a tool's name that is none.
    pub(crate) const TEXT_PATTERN: &str = "EG0031";
    /// An end that is neither a day nor an instant.
    pub(crate) const INSTANT: &str = "EG0032";
    /// A limit that is none.
    pub(crate) const LIMIT: &str = "EG0033";
    /// A span of time that is none.
    pub(crate) const SPAN: &str = "EG0034";
    /// A key that needs requests to be read, beside `tls: pass-through`.
    pub(crate) const UNREAD: &str = "EG0035";
    /// A host and port that one rule passes through and another must read.
    pub(crate) const MIXED: &str = "EG0036";
    /// `mode: observe` without `until`.
    pub(crate) const ENDLESS_OBSERVE: &str = "EG0037";
    /// A ceiling that grants a credential, observes, or passes nothing.
    pub(crate) const CEILING: &str = "EG0038";
    /// A rule or policy whose end has passed.
    pub(crate) const EXPIRED: &str = "EG0039";
    /// A rule that another one always goes before.
    pub(crate) const SHADOWED: &str = "EG0040";
    /// A wildcard over a suffix under which anyone can register a name.
    pub(crate) const PUBLIC_SUFFIX: &str = "EG0041";
    /// A method that carries a body, without a limit, on a host that is otherwise only read.
    pub(crate) const UNLIMITED_BODY: &str = "EG0042";
    /// A rule that can never match.
    pub(crate) const NEVER: &str = "EG0043";
    /// A check that tests nothing that another one does not.
    pub(crate) const IDLE_CHECK: &str = "EG0044";
    /// A credential used where its audience does not let it go.
    pub(crate) const OUTSIDE_AUDIENCE: &str = "EG0045";
    /// A selector of sessions that selects none.
    pub(crate) const SELECTOR: &str = "EG0046";
    /// A name of a private network in a rule without `addresses`.
    pub(crate) const PRIVATE_NAME: &str = "EG0047";
    /// A key that only an operator may write, in a document that a session brings.
    pub(crate) const SESSION_DOCUMENT: &str = "EG0048";
    /// A header that no rule can set, or a value that no header holds.
    pub(crate) const SET: &str = "EG0049";
    /// Two rules that set one header to different values for one request.
    pub(crate) const SET_CONFLICT: &str = "EG0050";
    /// A `client_auth` that means nothing, or that a session may not bring.
    pub(crate) const CLIENT_AUTH: &str = "EG0051";
    /// A host shared by many customers, allowed for writing without a tie to one of them.
    pub(crate) const SHARED_HOST: &str = "EG0052";
    /// Policies that no session can have together.
    pub(crate) const COMBINATION: &str = "EG0053";
    /// A credential that the vault does not have.
    pub(crate) const UNKNOWN_CREDENTIAL: &str = "EG0054";
    /// Two credentials of a rule in one location.
    pub(crate) const SAME_LOCATION: &str = "EG0055";
    /// A fixed address that a rule may not dial.
    pub(crate) const RESOLVED_OUTSIDE: &str = "EG0056";
    /// A credential for a service that takes only signed requests.
    pub(crate) const UNSIGNED: &str = "EG0057";
    /// A path in another language of patterns, or one that matches more than it seems to.
    pub(crate) const ODD_PATH: &str = "EG0058";
    /// A secret in a policy.
    pub(crate) const SECRET: &str = "EG0059";
    /// A key that has no effect in this version.
    pub(crate) const UNENFORCED: &str = "EG0060";
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The files are not taken.
    Error,
    /// The files are accepted; they probably do not mean what was intended.
    Warning,
}

/// One problem of one policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The stable code, `EG` and four digits.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one sentence.
    pub message: String,
    /// The file, as its source named it.
    pub file: String,
    /// The line, counted from 1; 0 where no line is to blame.
    pub line: usize,
    /// The column, in characters counted from 1.
    pub column: usize,
    /// How many characters are to blame, at least 1.
    pub width: usize,
    /// The line of the file.
    pub source_line: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (level, word) = match self.severity {
            Severity::Error => (Level::ERROR, "error"),
            Severity::Warning => (Level::WARNING, "warning"),
        };
        // Of the whole file: there is no line that a frame could show.
        if self.line == 0 {
            write!(f, "{word}[{}]: {}\n --> {}", self.code, self.message, self.file)?;
            return self.help.iter().try_for_each(|help| write!(f, "\n  = help: {help}"));
        }
        let offset =
            |chars: usize| self.source_line.char_indices().nth(chars).map_or(self.source_line.len(), |(at, _)| at);
        let start = offset(self.column.saturating_sub(1));
        let end = offset(self.column.saturating_sub(1) + self.width).max(start);
        let mut group = level.primary_title(self.message.as_str()).id(self.code).element(
            Snippet::source(self.source_line.as_str())
                .line_start(self.line)
                .path(self.file.as_str())
                .annotation(AnnotationKind::Primary.span(start..end)),
        );
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        f.write_str(&Renderer::plain().render(&[group]))
    }
}

impl std::error::Error for Problem {}

/// How much of a text is quoted in a message, in characters.
const MAX_QUOTE_CHARS: usize = 80;

/// A text for a message: as it is, or its beginning.
pub(crate) fn quote(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTE_CHARS) {
        None => format!("`{text}`"),
        Some((end, _)) => format!("`{}…`", text.get(..end).unwrap_or_default()),
    }
}

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Counted from 1; 0 where the whole file is meant.
    pub(crate) line: usize,
    /// In characters, counted from 1.
    pub(crate) column: usize,
    /// In characters; what spans lines is marked on its first.
    pub(crate) width: usize,
}

impl Place {
    /// Where the id of a rule is in this line of its file.
    pub(crate) fn of_id(line: usize, id: &str, text: &str) -> Self {
        let before = text.find(id).and_then(|at| text.get(..at)).map_or(0, |front| front.chars().count());
        Self { line, column: before + 1, width: id.chars().count() }
    }
}
