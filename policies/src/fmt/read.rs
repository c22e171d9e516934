//! The parser's events and the text between them to a [`File`].

use std::ops::Range;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, StructureStyle};

use super::tree::{Comment, Entry, File, Line, Node, Scalar};

/// Reads a text that is strict already; `None` where it is written in a way that cannot be laid out.
pub(super) fn read(text: &str) -> Option<File<'_>> {
    let mut events = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.ok()?;
        #[expect(clippy::wildcard_enum_match_arm, reason = "what holds no value, and what later parsers may add")]
        match event {
            Event::Scalar(..)
            | Event::SequenceStart(..)
            | Event::SequenceEnd
            | Event::MappingStart(..)
            | Event::MappingEnd => events.push((event, span.byte_range()?)),
            _ => {}
        }
    }
    let mut reader = Reader { text, events, next: 0, at: 0, ahead: None };
    let head = reader.lines();
    let root = reader.node(0)?;
    let trail = reader.comment();
    let foot = reader.lines();
    (reader.next == reader.events.len()).then_some(File { head, root, trail, foot })
}

struct Reader<'a> {
    text: &'a str,
    events: Vec<(Event<'a>, Range<usize>)>,
    /// The next event.
    next: usize,
    /// Up to where the text is read.
    at: usize,
    /// The lines before the next value, once it is read; what has been taken from it is gone.
    ahead: Option<Ahead<'a>>,
}

struct Ahead<'a> {
    lines: Vec<Line<'a>>,
    /// Whether the next value begins a line.
    breaks: bool,
    /// All of the text.
    gap: &'a str,
    /// Where the gap begins.
    start: usize,
}

impl<'a> Reader<'a> {
    fn slice(&self, range: Range<usize>) -> &'a str {
        self.text.get(range).unwrap_or_default()
    }

    /// Reads on to the next value, or to the end.
    fn look(&mut self) -> &mut Ahead<'a> {
        let (text, at) = (self.text, self.at);
        let end = self.end_of_gap();
        self.ahead.get_or_insert_with(|| {
            let gap = text.get(at..end).unwrap_or_default();
            Ahead { lines: lines(gap, at == 0, end == text.len()), breaks: gap.contains('\n'), gap, start: at }
        })
    }

    /// Where the next value begins, or brackets close, or the text ends. Blocks begin and end without a character.
    fn end_of_gap(&self) -> usize {
        let mut ahead = self.events.get(self.next..).unwrap_or_default().iter();
        #[expect(clippy::wildcard_enum_match_arm, reason = "the rest are single values and opening brackets")]
        let sign = ahead.find(|(event, range)| match event {
            Event::SequenceEnd | Event::MappingEnd => !range.is_empty(),
            Event::SequenceStart(StructureStyle::Block, ..) | Event::MappingStart(StructureStyle::Block, ..) => false,
            _ => true,
        });
        sign.map_or(self.text.len(), |(_, range)| range.start)
    }

    /// The lines before the next value; they can be taken once.
    fn lines(&mut self) -> Vec<Line<'a>> {
        std::mem::take(&mut self.look().lines)
    }

    /// Takes the next event, which has a character in the text.
    fn sign(&mut self) -> Option<(Event<'a>, Range<usize>)> {
        let (event, range) = self.events.get(self.next)?.clone();
        self.next += 1;
        self.at = range.end;
        self.ahead = None;
        Some((event, range))
    }

    /// The comment on the rest of the line, if only a comma or colon is before it.
    fn comment(&mut self) -> Option<Comment<'a>> {
        let rest = self.text.get(self.at..)?;
        let begin = rest
            .find(|c: char| !" \t,:".contains(c))
            .filter(|at| rest.get(*at..).is_some_and(|r| r.starts_with('#')))?;
        let before = rest.get(..begin)?;
        let end = rest.find('\n').unwrap_or(rest.len());
        self.at += end;
        self.ahead = None;
        let blanks = before.len() - before.trim_end_matches([' ', '\t']).len();
        Some(Comment { blanks: blanks.max(1), text: rest.get(begin..end)?.trim_end() })
    }

    /// One value; `column` is that of what holds it.
    fn node(&mut self, column: usize) -> Option<Node<'a>> {
        let (event, _) = self.events.get(self.next)?;
        #[expect(clippy::wildcard_enum_match_arm, reason = "no other event begins a value")]
        match event {
            Event::Scalar(..) => self.scalar(column).map(Node::Scalar),
            Event::SequenceStart(StructureStyle::Block, ..) => self.block(true),
            Event::MappingStart(StructureStyle::Block, ..) => self.block(false),
            Event::SequenceStart(..) => self.flow(true),
            Event::MappingStart(..) => self.flow(false),
            _ => None,
        }
    }

    fn scalar(&mut self, column: usize) -> Option<Scalar<'a>> {
        let gap = self.look();
        let (gap, start) = (gap.gap, gap.start);
        let (event, range) = self.sign()?;
        let Event::Scalar(value, style, ..) = event else { return None };
        if !matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
            return Some(Scalar { raw: self.slice(range).into(), style, value, header: "", column });
        }
        let header = start + gap.find(['|', '>'])?;
        let body = header + self.slice(header..self.text.len()).find('\n')? + 1;
        let header = self.slice(header..body).trim_end();
        let mut raw = self.slice(body..range.end.max(body));
        // What a `+` keeps belongs to the text; other blank lines belong to what follows.
        let keeps = header.split('#').next().is_some_and(|signs| signs.contains('+'));
        raw = if keeps { raw.strip_suffix('\n').unwrap_or(raw) } else { raw.trim_end() };
        self.at = body + raw.len();
        Some(Scalar { raw: raw.into(), style, value, header, column })
    }

    fn block(&mut self, is_list: bool) -> Option<Node<'a>> {
        self.look();
        self.next += 1;
        let mut entries = Vec::new();
        let mut column = None;
        loop {
            if matches!(self.events.get(self.next)?.0, Event::SequenceEnd | Event::MappingEnd) {
                break;
            }
            let lead = self.lines();
            let here = self.column_of_entry(is_list);
            let column = *column.get_or_insert(here);
            let mut entry = Entry::new(lead);
            if is_list {
                entry.value = self.node(column)?;
            } else {
                entry.key = Some(self.scalar(column)?);
                self.value_of(&mut entry, column)?;
            }
            if !matches!(entry.value, Node::Block { .. }) {
                entry.trail = self.comment();
            }
            entries.push(entry);
        }
        let tail = self.tail(column.unwrap_or_default());
        self.next += 1;
        Some(Node::Block { is_list, entries, tail })
    }

    /// The value behind a key, in a block.
    fn value_of(&mut self, entry: &mut Entry<'a>, column: usize) -> Option<()> {
        entry.header = self.comment();
        let ahead = self.look();
        entry.below = ahead.breaks;
        entry.blanks = ahead.gap.trim_start_matches(':').chars().take_while(|c| *c == ' ').count().max(1);
        let (event, _) = self.events.get(self.next)?;
        let is_block = matches!(
            event,
            Event::SequenceStart(StructureStyle::Block, ..) | Event::MappingStart(StructureStyle::Block, ..)
        );
        let is_text = matches!(event, Event::Scalar(_, ScalarStyle::Literal | ScalarStyle::Folded, ..));
        if is_text {
            self.look().lines.clear();
            entry.below = false;
        } else if !is_block {
            entry.between = self.lines();
        }
        entry.value = self.node(column)?;
        Some(())
    }

    /// The column where the next entry begins: that of its dash, or of its key.
    fn column_of_entry(&mut self, is_list: bool) -> usize {
        let end = self.end_of_gap();
        let line = self.slice(0..end).rfind('\n').map_or(0, |at| at + 1);
        let before = self.slice(line..end);
        if is_list { before.find('-').unwrap_or(before.len().saturating_sub(2)) } else { before.len() }
    }

    /// What follows the last entry of a block and is indented like its entries, while the next entry is not.
    fn tail(&mut self, column: usize) -> Vec<Line<'a>> {
        let end = self.end_of_gap();
        let start = self.slice(0..end).rfind('\n').map_or(0, |at| at + 1);
        let blanks = |line: &str| line.len() - line.trim_start_matches(' ').len();
        // A dash may be on a line before its value.
        let dash = self.look().gap.split('\n').skip(1).find(|line| line.trim_start_matches(' ').starts_with('-'));
        let next = match dash {
            Some(line) => blanks(line),
            None if end == self.text.len() => 0,
            None => blanks(self.slice(start..end)),
        };
        if column <= next {
            return Vec::new();
        }
        let lines = &mut self.look().lines;
        let mut count = 0;
        for (number, line) in lines.iter().enumerate() {
            match line {
                Line::Blank => {}
                Line::Text(_, at) if *at >= column => count = number + 1,
                Line::Text(..) => break,
            }
        }
        lines.drain(..count).collect()
    }

    fn flow(&mut self, is_list: bool) -> Option<Node<'a>> {
        self.look();
        let (_, range) = self.sign()?;
        if !["[", "{"].contains(&self.slice(range)) {
            return None;
        }
        let header = self.comment();
        let mut entries = Vec::new();
        let mut end_of_entry = self.at;
        loop {
            let ahead = self.look();
            let breaks = ahead.breaks;
            let lead = self.lines();
            if matches!(self.events.get(self.next)?.0, Event::SequenceEnd | Event::MappingEnd) {
                let (_, range) = self.sign()?;
                let between = self.slice(end_of_entry..range.start);
                let ends_with_comma =
                    between.lines().any(|line| line.split('#').next().is_some_and(|signs| signs.contains(',')));
                return Some(Node::Flow {
                    is_list,
                    header,
                    entries,
                    tail: lead,
                    closes_below: breaks,
                    ends_with_comma,
                });
            }
            let mut entry = Entry { breaks, ..Entry::new(lead) };
            if !is_list {
                entry.key = Some(self.scalar(0)?);
                let behind = self.comment().map(|comment| Line::Text(comment.text, 0));
                entry.lead.extend(behind);
                let between = self.lines().into_iter().filter(|line| *line != Line::Blank);
                entry.lead.extend(between);
            }
            entry.value = self.node(0)?;
            end_of_entry = self.at;
            entry.trail = self.comment();
            entries.push(entry);
        }
    }
}

impl<'a> Entry<'a> {
    fn new(lead: Vec<Line<'a>>) -> Self {
        let value = Scalar { raw: "".into(), style: ScalarStyle::Plain, value: "".into(), header: "", column: 0 };
        Self {
            lead,
            breaks: false,
            key: None,
            blanks: 1,
            header: None,
            between: Vec::new(),
            below: false,
            value: Node::Scalar(value),
            trail: None,
        }
    }
}

/// The lines of a gap that hold no value: without the rest of the line before it and the start of the one after.
fn lines(gap: &str, at_start: bool, at_end: bool) -> Vec<Line<'_>> {
    let mut parts: Vec<&str> = gap.split('\n').collect();
    if !at_end || parts.last().is_some_and(|part| part.trim().is_empty()) {
        parts.pop();
    }
    let skipped = usize::from(!at_start);
    let found = |part: &&str| part.trim().is_empty() || part.contains('#') || is_mark(part);
    let mut lines: Vec<Line<'_>> = parts.into_iter().skip(skipped).filter(found).map(line).collect();
    lines.dedup_by(|a, b| *a == Line::Blank && *b == Line::Blank);
    lines
}

fn is_mark(part: &str) -> bool {
    part.starts_with("---") || part.starts_with("...")
}

fn line(part: &str) -> Line<'_> {
    if part.trim().is_empty() {
        return Line::Blank;
    }
    if is_mark(part) {
        return Line::Text(part.trim_end(), 0);
    }
    let at = part.find('#').unwrap_or_default();
    Line::Text(part.get(at..).unwrap_or_default().trim_end(), at)
}
