//! A [`File`] to its text.

use serde_saphyr::granit_parser::ScalarStyle;

use super::tree::{Comment, Entry, File, Line, Node, Scalar};

/// The blanks of one level.
const STEP: usize = 2;

/// Writes the file; it ends with one line break.
pub(super) fn write(file: &File<'_>) -> String {
    let mut writer = Writer { out: String::new() };
    writer.lines(&file.head, 0);
    writer.node(&file.root, 0, 0);
    writer.comment(file.trail);
    writer.break_line();
    writer.lines(&file.foot, 0);
    let text = writer.out.trim_end_matches('\n');
    format!("{}\n", text.trim_start_matches('\n'))
}

struct Writer {
    out: String,
}

impl Writer {
    fn text(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn indent(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
    }

    /// Ends the line, if one has begun.
    fn break_line(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
    }

    /// Begins a line.
    fn begin_line(&mut self, indent: usize) {
        self.break_line();
        self.indent(indent);
    }

    fn comment(&mut self, comment: Option<Comment<'_>>) {
        if let Some(comment) = comment {
            self.indent(comment.blanks);
            self.text(comment.text);
        }
    }

    /// Whole lines, each with its end.
    fn lines(&mut self, lines: &[Line<'_>], indent: usize) {
        for line in lines {
            match line {
                Line::Blank => {
                    self.break_line();
                    if !self.out.ends_with("\n\n") {
                        self.out.push('\n');
                    }
                }
                Line::Text(text, _) => {
                    self.begin_line(if text.starts_with('#') { indent } else { 0 });
                    self.text(text);
                    self.break_line();
                }
            }
        }
    }

    /// A value on the current line; blocks begin at `indent`, other continuations at `inner`.
    fn node(&mut self, node: &Node<'_>, indent: usize, inner: usize) {
        match node {
            Node::Scalar(scalar) => self.scalar(scalar, inner.saturating_sub(STEP)),
            Node::Flow { .. } => self.flow(node, inner.saturating_sub(STEP)),
            Node::Block { is_list: true, entries, tail } => {
                for entry in entries {
                    self.item(entry, indent);
                }
                self.tail(tail, indent);
            }
            Node::Block { is_list: false, entries, tail } => {
                for entry in entries {
                    self.lines(&entry.lead, indent);
                    self.begin_line(indent);
                    self.pair(entry, indent);
                }
                self.tail(tail, indent);
            }
        }
    }

    fn tail(&mut self, tail: &[Line<'_>], indent: usize) {
        self.break_line();
        self.lines(tail, indent);
    }

    /// An entry of a list. Comments between its dash and its first key go above the dash.
    fn item(&mut self, entry: &Entry<'_>, indent: usize) {
        self.lines(&entry.lead, indent);
        let Node::Block { is_list: false, entries, tail } = &entry.value else {
            self.begin_line(indent);
            self.text("- ");
            self.node(&entry.value, indent + STEP, indent + STEP);
            self.comment(entry.trail);
            return;
        };
        for (number, pair) in entries.iter().enumerate() {
            if number == 0 {
                let comments: Vec<Line<'_>> = pair.lead.iter().copied().filter(|line| *line != Line::Blank).collect();
                self.lines(&comments, indent);
                self.begin_line(indent);
                self.text("- ");
            } else {
                self.lines(&pair.lead, indent + STEP);
                self.begin_line(indent + STEP);
            }
            self.pair(pair, indent + STEP);
        }
        self.tail(tail, indent + STEP);
    }

    /// A key with its value, in a block whose keys are at `indent`.
    fn pair(&mut self, entry: &Entry<'_>, indent: usize) {
        self.key(entry);
        self.comment(entry.header);
        let inner = indent + STEP;
        if let Node::Block { .. } = entry.value {
            self.break_line();
            self.node(&entry.value, inner, inner);
            return;
        }
        if entry.below {
            self.break_line();
            self.lines(&entry.between, inner);
            self.begin_line(inner);
            // The continuation of a value on its own line is not indented further.
            self.node(&entry.value, inner, if matches!(entry.value, Node::Flow { .. }) { inner + STEP } else { inner });
        } else {
            self.indent(entry.blanks);
            self.node(&entry.value, inner, inner);
        }
        self.comment(entry.trail);
    }

    fn key(&mut self, entry: &Entry<'_>) {
        if let Some(key) = &entry.key {
            self.text(&key.raw);
            self.text(":");
        }
    }

    /// A single value, part of the block at `indent`.
    fn scalar(&mut self, scalar: &Scalar<'_>, indent: usize) {
        if matches!(scalar.style, ScalarStyle::Literal | ScalarStyle::Folded) {
            return self.block_of_text(scalar, indent);
        }
        for (number, line) in scalar.raw.split('\n').enumerate() {
            let line = match (number, scalar.style) {
                (0, _) => line,
                (_, ScalarStyle::Plain) => line.trim(),
                (_, _) => line.trim_start_matches([' ', '\t']),
            };
            if number > 0 {
                self.out.push('\n');
                if !line.is_empty() {
                    self.indent(indent + STEP);
                }
            }
            self.text(line);
        }
    }

    /// `|` and `>`: the lines as they are, moved with what holds them.
    fn block_of_text(&mut self, scalar: &Scalar<'_>, indent: usize) {
        self.text(scalar.header);
        let blanks = |line: &str| line.len() - line.trim_start_matches(' ').len();
        let signs = scalar.header.split([' ', '#']).next().unwrap_or_default();
        let stated = signs.chars().find_map(|c| c.to_digit(10)).and_then(|digit| usize::try_from(digit).ok());
        let first = scalar.raw.lines().find(|line| !line.trim().is_empty());
        let (old, new) = match stated {
            Some(stated) => (scalar.column + stated, indent + stated),
            None => (first.map_or(0, blanks), indent + STEP),
        };
        for line in scalar.raw.split('\n') {
            self.out.push('\n');
            let line = line.get(old.min(blanks(line))..).unwrap_or_default();
            if !line.is_empty() {
                self.indent(new);
                self.text(line);
            }
        }
    }

    /// What is in brackets, on a line that begins at `indent`.
    fn flow(&mut self, node: &Node<'_>, indent: usize) {
        let Node::Flow { is_list, header, entries, tail, closes_below, ends_with_comma } = node else { return };
        self.text(if *is_list { "[" } else { "{" });
        self.comment(*header);
        let mut must_break = header.is_some();
        let mut line_indent = indent;
        for (number, entry) in entries.iter().enumerate() {
            let comments = entry.lead.iter().any(|line| *line != Line::Blank);
            if entry.breaks || comments || must_break {
                line_indent = indent + STEP;
                self.break_line();
                self.lines(&entry.lead, line_indent);
                self.begin_line(line_indent);
            } else if number > 0 {
                self.text(" ");
            }
            if entry.key.is_some() {
                self.key(entry);
                self.text(" ");
            }
            match &entry.value {
                Node::Flow { .. } => self.flow(&entry.value, line_indent),
                Node::Scalar(scalar) => self.scalar(scalar, line_indent),
                Node::Block { .. } => {}
            }
            if number + 1 < entries.len() || *ends_with_comma && *closes_below {
                self.text(",");
            }
            self.comment(entry.trail);
            must_break = entry.trail.is_some();
        }
        if *closes_below || must_break || tail.iter().any(|line| *line != Line::Blank) {
            let end = tail.iter().rposition(|line| *line != Line::Blank).map_or(0, |at| at + 1);
            self.break_line();
            self.lines(tail.get(..end).unwrap_or_default(), indent + STEP);
            self.begin_line(indent);
        }
        self.text(if *is_list { "]" } else { "}" });
    }
}
