//! Nodes to the document, by the table of the language, with everything reported that does not fit it.
//!
//! What is broken is left out, or replaced by a value that causes no further problem, so that the
//! rest can be searched. Problems that could follow from what is left out are then not reported.

use std::collections::HashSet;

use super::keys::{self, Key, Shape, Table};
use super::suggest::advice;
use super::tree::{Kind, Node};
use crate::document::{
    AppliesTo, CheckEntry, ClientAuthEntry, Document, Expect, LimitsEntry, Match, OneOrMany, Pairs, RuleEntry, Scalar,
    Spanned, SuiteDocument, SuiteSession, TimeoutsEntry, Word,
};
use crate::problem::{Place, Reporter, code, quote};

/// Stands in for a host that cannot be read; no name ends so.
const NO_HOST: &str = "missing.invalid";

/// What can be a mere consequence of something that was left out.
const CONSEQUENCES: [&str; 15] = [
    code::UNKNOWN_SET,
    code::UNUSED_SET,
    code::UNDIALABLE,
    code::TIE,
    code::CHECK_RULE,
    code::MIXED,
    code::ENDLESS_OBSERVE,
    code::CEILING,
    code::EXPIRED,
    code::SHADOWED,
    code::UNLIMITED_BODY,
    code::NEVER,
    code::IDLE_CHECK,
    code::OUTSIDE_AUDIENCE,
    code::SELECTOR,
];

/// Decodes the whole file; `None` if it is not a mapping.
pub(super) fn document(root: &Node, reporter: &mut Reporter<'_>) -> Option<Document> {
    let broken = reporter.has_errors();
    let mut decoder = Decoder { reporter, faults: 0 };
    let fields = decoder.fields(root, &keys::POLICY, "the file")?;
    let named = decoder.text(&fields, "policy");
    let unnamed = named.is_none();
    let document = Document {
        policy: named.unwrap_or_else(|| Spanned { value: "unnamed".to_owned(), place: root.place }),
        description: decoder.text(&fields, "description").map(|text| text.value),
        mode: decoder.word(&fields, "mode"),
        until: decoder.text(&fields, "until"),
        ceiling: decoder.flag(&fields, "ceiling"),
        applies_to: decoder.mapping(&fields, "applies_to", |decoder, fields| AppliesTo {
            tenants: decoder.several(fields, "tenants"),
            agents: decoder.several(fields, "agents"),
            labels: decoder.named(fields, "labels"),
        }),
        hosts: decoder.named(&fields, "hosts").map(|hosts| hosts.value).unwrap_or_default(),
        rules: decoder.entries(&fields, "rules", Decoder::rule),
        checks: decoder.entries(&fields, "checks", Decoder::check),
    };
    let faults = decoder.faults;
    if faults > 0 || broken {
        reporter.mute(&CONSEQUENCES);
    }
    if unnamed {
        reporter.mute(&[code::DUPLICATE_POLICY]);
    }
    Some(document)
}

/// Decodes a file of checks; `None` if it is not a mapping.
pub(super) fn suite(root: &Node, reporter: &mut Reporter<'_>) -> Option<SuiteDocument> {
    let mut decoder = Decoder { reporter, faults: 0 };
    let fields = decoder.fields(root, &keys::SUITE, "the file")?;
    Some(SuiteDocument {
        place: root.place,
        policy: decoder.text(&fields, "policy"),
        policies: decoder.several(&fields, "policies"),
        session: decoder.mapping(&fields, "session", |decoder, fields| SuiteSession {
            tenant: decoder.text(fields, "tenant"),
            agent: decoder.text(fields, "agent"),
            labels: decoder.named(fields, "labels"),
        }),
        checks: decoder.entries(&fields, "checks", Decoder::check),
    })
}

/// The entries of one mapping that are in the table, each once.
struct Fields<'n> {
    at: Place,
    /// How much did not fit before this mapping.
    faults: usize,
    entries: Vec<(&'static Key, &'n Node)>,
}

struct Decoder<'r, 'a> {
    reporter: &'r mut Reporter<'a>,
    /// How much did not fit.
    faults: usize,
}

impl Decoder<'_, '_> {
    fn error(&mut self, code: &'static str, at: Place, message: impl Into<String>, help: impl Into<String>) {
        self.faults += 1;
        self.reporter.error(code, at, message, help);
    }

    /// Reports a value of the wrong kind, unless that was reported already.
    fn mismatch(&mut self, node: &Node, subject: &str, expected: &str, help: String) {
        match &node.kind {
            Kind::Broken => self.faults += 1,
            Kind::Scalar(_) | Kind::Flag(_) | Kind::List(_) | Kind::Map(_) => {
                let message = format!("{} is here, but {subject} takes {expected}", said(node));
                self.error(code::WRONG_TYPE, node.place, message.replace(",,", ","), help);
            }
        }
    }

    fn misfit(&mut self, key: &Key, node: &Node) {
        let expected = key.shape.expected();
        let help = format!("write such as `{}: {}`", key.name, example(key));
        self.mismatch(node, &format!("`{}`", key.name), expected.trim_end_matches(','), help);
    }

    /// The entries of a mapping; unknown, duplicate and missing keys are reported.
    fn fields<'n>(&mut self, node: &'n Node, table: &'static Table, subject: &str) -> Option<Fields<'n>> {
        let Kind::Map(entries) = &node.kind else {
            let names: Vec<_> = table.keys.iter().map(|key| key.name).collect();
            let help = format!("write `key: value`, one a line; the keys are {}", names.join(", "));
            self.mismatch(node, subject, "keys and values", help);
            return None;
        };
        let mut fields = Fields { at: node.place, faults: self.faults, entries: Vec::new() };
        let mut meant = Vec::new();
        for (name, value) in entries {
            let Some(text) = self.name(name) else { continue };
            match table.keys.iter().find(|key| key.name == text) {
                None if self.reporter.is_full() => self.faults += 1,
                None => {
                    let advice = advice(text, table);
                    self.error(code::UNKNOWN_KEY, name.place, format!("unknown key {}", quote(text)), advice.help);
                    meant.extend(advice.meant.map(|name| (name, value)));
                }
                Some(key) if fields.entries.iter().any(|(own, _)| own.name == key.name) => {
                    self.duplicate(name.place, text);
                }
                Some(key) => fields.entries.push((key, value)),
            }
        }
        // The value of a misspelled key is decoded as that of the intended key.
        for (name, value) in &meant {
            let key = table.keys.iter().find(|key| key.name == *name && fits(key.shape, value));
            if let Some(key) = key.filter(|_| fields.get(name).is_none()) {
                fields.entries.push((key, value));
            }
        }
        // Behind a key that cannot be read may be any.
        let readable = entries.iter().all(|(name, _)| !matches!(name.kind, Kind::Broken));
        let missing = |key: &&Key| {
            readable
                && key.required
                && meant.iter().all(|(name, _)| *name != key.name)
                && fields.entries.iter().all(|(own, _)| own.name != key.name)
        };
        for key in table.keys.iter().filter(missing) {
            let help = format!("add `{}`, such as `{}: {}`", key.name, key.name, example(key));
            self.error(code::MISSING_KEY, node.place, format!("the key `{}` is missing", key.name), help);
        }
        Some(fields)
    }

    fn duplicate(&mut self, at: Place, name: &str) {
        let message = format!("duplicate key {}", quote(name));
        self.error(code::DUPLICATE_KEY, at, message, "keep one of them");
    }

    /// The text of a key.
    fn name<'n>(&mut self, node: &'n Node) -> Option<&'n str> {
        match &node.kind {
            Kind::Scalar(Scalar::Text(text)) => Some(text),
            Kind::Scalar(_) | Kind::Flag(_) => {
                self.unquoted(node);
                None
            }
            Kind::List(_) | Kind::Map(_) | Kind::Broken => {
                self.mismatch(node, "a key", "one text", "write `key: value`".to_owned());
                None
            }
        }
    }

    fn unquoted(&mut self, node: &Node) {
        let message = format!("{} without quotes is not a text", quote(&written(node)));
        self.error(code::UNQUOTED, node.place, message, "write it in quotes, or correct it");
    }

    fn text(&mut self, fields: &Fields<'_>, name: &str) -> Option<Spanned<String>> {
        let (key, node) = fields.get(name)?;
        match &node.kind {
            Kind::Scalar(Scalar::Text(text)) => Some(Spanned { value: text.clone(), place: node.place }),
            Kind::Scalar(_) | Kind::Flag(_) => {
                self.unquoted(node);
                None
            }
            Kind::List(_) | Kind::Map(_) | Kind::Broken => {
                self.misfit(key, node);
                None
            }
        }
    }

    fn flag(&mut self, fields: &Fields<'_>, name: &str) -> Option<Spanned<bool>> {
        let (key, node) = fields.get(name)?;
        match &node.kind {
            Kind::Flag(value) => Some(Spanned { value: *value, place: node.place }),
            Kind::Scalar(_) | Kind::List(_) | Kind::Map(_) | Kind::Broken => {
                self.misfit(key, node);
                None
            }
        }
    }

    fn word<W: Word>(&mut self, fields: &Fields<'_>, name: &str) -> Option<Spanned<W>> {
        let (key, node) = fields.get(name)?;
        if let Kind::Scalar(Scalar::Text(text)) = &node.kind {
            if let Some((_, value)) = W::WORDS.iter().find(|(word, _)| word == text) {
                return Some(Spanned { value: *value, place: node.place });
            }
            let words: Vec<_> = W::WORDS.iter().map(|(word, _)| format!("`{word}`")).collect();
            let message = match words.as_slice() {
                [one] => format!("{} is not {one}", quote(text)),
                _ => format!("{} is none of {}", quote(text), words.join(", ")),
            };
            self.error(code::WRONG_TYPE, node.place, message, format!("write {}", words.join(" or ")));
            return None;
        }
        self.misfit(key, node);
        None
    }

    fn amount(&mut self, fields: &Fields<'_>, name: &str) -> Option<Spanned<Scalar>> {
        let (key, node) = fields.get(name)?;
        let value = scalar(node);
        if value.is_none() {
            self.misfit(key, node);
        }
        Some(Spanned { value: value?, place: node.place })
    }

    fn several(&mut self, fields: &Fields<'_>, name: &str) -> Option<Spanned<OneOrMany>> {
        let (key, node) = fields.get(name)?;
        self.one_or_many(key, node)
    }

    fn one_or_many(&mut self, key: &Key, node: &Node) -> Option<Spanned<OneOrMany>> {
        let value = match &node.kind {
            Kind::Scalar(_) | Kind::Flag(_) => OneOrMany::One(scalar(node)?),
            Kind::Map(_) | Kind::Broken => {
                self.misfit(key, node);
                return None;
            }
            Kind::List(items) => {
                let mut values = Vec::new();
                for item in items {
                    match scalar(item) {
                        Some(value) => values.push(Spanned { value, place: item.place }),
                        None => self.mismatch(
                            item,
                            &format!("each entry of `{}`", key.name),
                            "one value",
                            format!("write such as `{}: {}`", key.name, example(key)),
                        ),
                    }
                }
                // A list of which nothing is left is not one that was written empty.
                if values.is_empty() && !items.is_empty() {
                    return None;
                }
                OneOrMany::Many(values)
            }
        };
        Some(Spanned { value, place: node.place })
    }

    fn named(&mut self, fields: &Fields<'_>, name: &str) -> Option<Spanned<Pairs<Spanned<OneOrMany>>>> {
        let (key, node) = fields.get(name)?;
        let Kind::Map(entries) = &node.kind else {
            self.misfit(key, node);
            return None;
        };
        let mut pairs = Vec::new();
        let mut seen = HashSet::new();
        for (name, node) in entries {
            let Some(text) = self.name(name) else { continue };
            if !seen.insert(text) {
                self.duplicate(name.place, text);
            } else if let Some(values) = self.one_or_many(key, node) {
                pairs.push((Spanned { value: text.to_owned(), place: name.place }, values));
            }
        }
        if pairs.is_empty() && !entries.is_empty() {
            return None;
        }
        Some(Spanned { value: Pairs(pairs), place: node.place })
    }

    fn mapping<T>(
        &mut self,
        fields: &Fields<'_>,
        name: &str,
        decode: impl FnOnce(&mut Self, &Fields<'_>) -> T,
    ) -> Option<Spanned<T>> {
        let (key, node) = fields.get(name)?;
        let Shape::Mapping(table) = key.shape else { return None };
        let inner = self.fields(node, table, &format!("`{name}`"))?;
        Some(Spanned { value: decode(self, &inner), place: node.place })
    }

    fn entries<T>(
        &mut self,
        fields: &Fields<'_>,
        name: &str,
        decode: impl Fn(&mut Self, &Fields<'_>) -> Option<T>,
    ) -> Vec<T> {
        let Some((key, node)) = fields.get(name) else { return Vec::new() };
        let (Kind::List(items), Shape::Entries(table)) = (&node.kind, key.shape) else {
            self.misfit(key, node);
            return Vec::new();
        };
        let mut entries = Vec::new();
        for item in items {
            let inner = self.fields(item, table, &format!("each entry of `{name}`"));
            entries.extend(inner.and_then(|inner| decode(self, &inner)));
        }
        entries
    }

    fn rule(&mut self, fields: &Fields<'_>) -> Option<RuleEntry> {
        let at = fields.at;
        let unnamed = || Spanned { value: format!("rule-{}-{}", at.line, at.column), place: at };
        let entry = RuleEntry {
            id: self.text(fields, "id").unwrap_or_else(unnamed),
            allow: self.mapping(fields, "allow", Self::matched),
            ask: self.mapping(fields, "ask", Self::matched),
            deny: self.mapping(fields, "deny", Self::matched),
            hold: self.amount(fields, "hold"),
            within: self.amount(fields, "within"),
            until: self.text(fields, "until"),
            tls: self.word(fields, "tls"),
            limits: self.mapping(fields, "limits", Self::limits),
            timeouts: self.mapping(fields, "timeouts", Self::timeouts),
            addresses: self.several(fields, "addresses"),
            credentials: self.several(fields, "use"),
            set: self.named(fields, "set"),
            client_auth: self.client_auth(fields),
            reason: self.text(fields, "reason"),
        };
        // An effect that could not be read is not one that is missing.
        let effects = [&entry.allow, &entry.ask, &entry.deny].into_iter().flatten().count();
        let lost = ["allow", "ask", "deny"].iter().filter(|key| fields.get(key).is_some()).count() > effects;
        (effects > 0 || !(lost || self.faults > fields.faults)).then_some(entry)
    }

    fn matched(&mut self, fields: &Fields<'_>) -> Match {
        let nowhere = || Spanned { value: OneOrMany::One(Scalar::Text(NO_HOST.to_owned())), place: fields.at };
        Match {
            host: self.several(fields, "host").unwrap_or_else(nowhere),
            port: self.several(fields, "port"),
            scheme: self.word(fields, "scheme"),
            methods: self.several(fields, "methods"),
            path: self.several(fields, "path"),
            query: self.named(fields, "query"),
            tool: self.several(fields, "tool"),
            upgrade: self.word(fields, "upgrade"),
        }
    }

    fn limits(&mut self, fields: &Fields<'_>) -> LimitsEntry {
        LimitsEntry {
            requests: self.amount(fields, "requests"),
            concurrent: self.amount(fields, "concurrent"),
            request_body: self.amount(fields, "request_body"),
            response_body: self.amount(fields, "response_body"),
            bytes_out: self.amount(fields, "bytes_out"),
        }
    }

    /// One word, or a mapping.
    fn client_auth(&mut self, fields: &Fields<'_>) -> Option<Spanned<ClientAuthEntry>> {
        let (_, node) = fields.get("client_auth")?;
        if !matches!(node.kind, Kind::Map(_)) {
            let default = self.word(fields, "client_auth")?;
            let entry = ClientAuthEntry { default: Some(default), pass: None, also: None };
            return Some(Spanned { value: entry, place: node.place });
        }
        let inner = self.fields(node, &keys::CLIENT_AUTH, "`client_auth`")?;
        let entry = ClientAuthEntry {
            default: self.word(&inner, "default"),
            pass: self.several(&inner, "pass"),
            also: self.several(&inner, "also"),
        };
        Some(Spanned { value: entry, place: node.place })
    }

    fn timeouts(&mut self, fields: &Fields<'_>) -> TimeoutsEntry {
        TimeoutsEntry {
            connect: self.amount(fields, "connect"),
            first_byte: self.amount(fields, "first_byte"),
            idle: self.amount(fields, "idle"),
        }
    }

    fn check(&mut self, fields: &Fields<'_>) -> Option<CheckEntry> {
        let request = self.text(fields, "request");
        let expect = self.word(fields, "expect").map_or(Expect::Deny, |expect| expect.value);
        let (rule, code, tool) = (self.text(fields, "rule"), self.text(fields, "code"), self.text(fields, "tool"));
        let (upgrade, at) = (self.word(fields, "upgrade"), self.text(fields, "at"));
        Some(CheckEntry { request: request?, expect, rule, code, tool, upgrade, at })
    }
}

impl<'n> Fields<'n> {
    fn get(&self, name: &str) -> Option<(&'static Key, &'n Node)> {
        self.entries.iter().find(|(key, _)| key.name == name).copied()
    }
}

/// Whether the value is of the kind that such a key has.
fn fits(shape: Shape, node: &Node) -> bool {
    match (&node.kind, shape) {
        (
            Kind::Scalar(_),
            Shape::Text(_) | Shape::Word(_) | Shape::WordOr(..) | Shape::Amount(_) | Shape::Several(_),
        ) => true,
        (Kind::Flag(_), Shape::Flag) | (Kind::List(_), Shape::Several(_) | Shape::Entries(_)) => true,
        (Kind::Map(_), Shape::Mapping(_) | Shape::Named(..) | Shape::WordOr(..)) => true,
        (Kind::Scalar(_) | Kind::Flag(_) | Kind::List(_) | Kind::Map(_) | Kind::Broken, _) => false,
    }
}

/// A single value; a boolean without quotes is one that no key takes.
fn scalar(node: &Node) -> Option<Scalar> {
    match &node.kind {
        Kind::Scalar(value) => Some(value.clone()),
        Kind::Flag(value) => Some(Scalar::Other(value.to_string())),
        Kind::List(_) | Kind::Map(_) | Kind::Broken => None,
    }
}

/// A single value as it is written.
fn written(node: &Node) -> String {
    match &node.kind {
        Kind::Scalar(Scalar::Text(text) | Scalar::Other(text)) => text.clone(),
        Kind::Scalar(Scalar::Number(number)) => number.to_string(),
        Kind::Flag(value) => value.to_string(),
        Kind::List(_) | Kind::Map(_) | Kind::Broken => String::new(),
    }
}

/// The value, as messages begin.
fn said(node: &Node) -> String {
    match &node.kind {
        Kind::Scalar(Scalar::Text(text)) => format!("the text {}", quote(text)),
        Kind::Scalar(_) => format!("the number {}", quote(&written(node))),
        Kind::Flag(value) => format!("the boolean `{value}`"),
        Kind::List(_) => "a list".to_owned(),
        Kind::Map(_) | Kind::Broken => "a mapping".to_owned(),
    }
}

/// The example of a key as one writes it in a policy: without the quotes that are not needed.
fn example(key: &Key) -> String {
    let mut text = String::new();
    let mut quoted = key.example.split('"');
    text.push_str(quoted.next().unwrap_or_default());
    while let (Some(inner), Some(after)) = (quoted.next(), quoted.next()) {
        let plain = !inner.is_empty() && !inner.starts_with(['*', '@']) && !inner.contains(": ");
        let name = after.starts_with(':');
        match plain || name {
            true => text.push_str(inner),
            false => text.extend(["\"", inner, "\""]),
        }
        text.push_str(after);
    }
    text
}
