//! Opening: finds the end of the chain, repairs what a crash left, and records that in the journal itself.
//!
//! A torn end is cut off. A damaged place before the end is left as it is, for `verify` to name:
//! the journal continues in a new file. Whatever was open when the previous run died is closed as `aborted`.

use std::collections::{BTreeMap, HashMap};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use model::{Reason, RecordId, Timestamp};
use serde_json::value::RawValue;

use crate::chain::{self, Head, MAX_LINE_BYTES, Noted};
use crate::journal::disk::{Disk, Sizes};
use crate::journal::encode::{draw, seal};
use crate::journal::found::{self, Found, HeadFile};
use crate::journal::writer::Writer;
use crate::journal::{Durability, Journal, Recovery, Settings};
use crate::line::{Line, LineError, Lines, Segment, segments};
use crate::record::{CONTENTS, Fault, Kind, Outcome, Record};

/// Closings are written after so many.
const CLOSINGS: usize = 1_000;

/// Why a journal is not opened.
pub(super) enum OpenError {
    /// The folder or a file in it cannot be used.
    Io(io::Error),
    /// The caller's check rejected it.
    Refused(String),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Opens the journal in a folder, repaired. Nothing changes in the folder before `judge` has agreed to what it holds: a
/// repair would take away what shows that something is missing.
pub(super) fn open(
    dir: &Path,
    settings: Settings,
    judge: impl FnOnce(&Found) -> Result<(), String>,
) -> Result<(Journal, Recovery), OpenError> {
    let mut judge = Some(judge);
    let mut ask = |found: &Found| judge.take().map_or(Ok(()), |judge| judge(found)).map_err(OpenError::Refused);
    if !dir.exists() {
        ask(&Found::nothing(dir))?;
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let folder = Disk::lock(dir)?;
    let mut repair = Repair::default();
    let (noted, head_file) = repair.noted(dir)?;
    let files = segments(dir)?;
    let (end, open) = match closed_in_order(&files, noted)? {
        Some(end) => (end, Vec::new()),
        None => {
            let end = repair.end(&files, noted.map(|noted| noted.head))?;
            (end, left_open(&files, noted.map(|noted| noted.oldest_open))?)
        }
    };
    let latest = noted.map_or(0, |noted| noted.latest).max(found::time_of_last_record(&files)?);
    let found = Found::new(dir, &files, end.head, head_file, latest);
    ask(&found)?;
    repair.cut_torn_end()?;
    if head_file == HeadFile::Missing && end.head == Head::START {
        chain::write_head(dir, &Noted::START)?;
    }
    let sizes = Sizes { segment_bytes: settings.segment_bytes, reserve_bytes: settings.reserve_bytes };
    let mut disk = Disk::open(dir, folder, end.number, end.head, sizes)?;
    disk.set_latest(latest);
    let full = disk.reserve()?;
    let mut writer = Writer::new(disk, settings.durability == Durability::Power);
    if let Some(error) = &full {
        writer.begin_full(error);
        repair.gaps.push(no_space());
    }
    let journal = Journal::start(writer, settings.durability)?;
    for gap in repair.gaps {
        journal.append(gap);
    }
    repair.found.aborted = open.len() as u64;
    for closings in open.chunks(CLOSINGS) {
        for opening in closings {
            close(&journal, &files, opening)?;
        }
        journal.0.shared.flush(&journal.0.shared.queues);
    }
    journal.0.shared.flush(&journal.0.shared.queues);
    Ok((journal, repair.found))
}

/// That the journal begins without space: the same as where it is found out later.
fn no_space() -> Record {
    Record {
        code: Some(Reason::AuditUnavailable),
        fault: Some(Fault::Egret),
        detail: Some("no space".into()),
        first: Some(Timestamp::now()),
        ..Record::new(Kind::Gap)
    }
}

/// Where the journal continues.
struct End {
    number: u32,
    head: Head,
}

/// Where the journal continues if it ends as noted, with nothing open: then there is nothing to repair,
/// and a start does not have to read a whole file.
fn closed_in_order(files: &[Segment], noted: Option<Noted>) -> io::Result<Option<End>> {
    let (Some(last), Some(noted)) = (files.last(), noted.filter(|noted| noted.open == 0)) else { return Ok(None) };
    let length = std::fs::metadata(&last.path)?.len();
    let mut lines = Lines::open(&last.path, length.saturating_sub(MAX_LINE_BYTES as u64))?;
    let mut head = None;
    while let Some(raw) = lines.next()? {
        let line = if raw.complete { Line::parse(raw.bytes).ok() } else { None };
        head = line.filter(|line| line.check().is_ok()).map(|line| line.head());
    }
    Ok(head.filter(|head| *head == noted.head).map(|head| End { number: last.number, head }))
}

/// The findings of a recovery, and the records about them.
#[derive(Default)]
struct Repair {
    found: Recovery,
    gaps: Vec<Record>,
    /// A torn end: its file, and where the last good record ends.
    torn: Option<(PathBuf, u64)>,
}

impl Repair {
    fn noted(&mut self, dir: &Path) -> io::Result<(Option<Noted>, HeadFile)> {
        match chain::read_head(dir) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.corrupt(format!("the noted head is not readable: {error}"));
                Ok((None, HeadFile::Unreadable))
            }
            Err(error) => Err(error),
            Ok(None) => Ok((None, HeadFile::Missing)),
            Ok(Some(noted)) => Ok((Some(noted), HeadFile::Noted(noted.head.seq))),
        }
    }

    fn end(&mut self, files: &[Segment], noted: Option<Head>) -> io::Result<End> {
        let mut end = End { number: files.last().map_or(1, |file| file.number), head: Head::START };
        for (n, file) in files.iter().enumerate().rev() {
            let survey = Survey::of(file, noted)?;
            if let Some(bad) = &survey.bad {
                if n + 1 == files.len() && survey.is_torn(noted) {
                    self.cut(file, &survey);
                } else {
                    self.corrupt(format!("{} line {}: {}", file.name(), bad.line, bad.why));
                    end.number = files.last().map_or(1, |file| file.number) + 1;
                }
            }
            if let Some(seq) = survey.differs {
                self.corrupt(format!("{} record {seq}: not the record that was written at this place", file.name()));
            }
            if let Some(head) = survey.after.or(survey.head) {
                end.head = head;
                break;
            }
        }
        if let Some(noted) = noted.filter(|noted| noted.seq > end.head.seq) {
            self.missing(end.head.seq, noted.seq);
        }
        Ok(end)
    }

    fn cut(&mut self, file: &Segment, survey: &Survey) {
        self.torn = Some((file.path.clone(), survey.good_end));
        self.found.cut_bytes = survey.end - survey.good_end;
        let detail = format!("bytes of {} from byte {}", file.name(), survey.good_end);
        self.report(Reason::TailTruncated, Some(self.found.cut_bytes), detail);
    }

    fn cut_torn_end(&mut self) -> io::Result<()> {
        let Some((path, good_end)) = self.torn.take() else { return Ok(()) };
        let torn = std::fs::OpenOptions::new().write(true).open(path)?;
        torn.set_len(good_end)?;
        torn.sync_all()
    }

    fn missing(&mut self, last: u64, noted: u64) {
        self.found.missing = noted - last;
        self.report(Reason::TailTruncated, Some(noted - last), format!("records {} to {noted}", last + 1));
    }

    fn corrupt(&mut self, place: String) {
        self.report(Reason::Internal, None, place.clone());
        self.found.corrupt.get_or_insert(place);
    }

    fn report(&mut self, code: Reason, count: Option<u64>, detail: String) {
        tracing::warn!(code = code.code(), detail, "the audit journal is not whole");
        let gap = Record::new(Kind::Gap);
        self.gaps.push(Record {
            code: Some(code),
            fault: Some(Fault::Egret),
            count,
            detail: Some(detail.into()),
            ..gap
        });
    }
}

/// What one file holds.
#[derive(Default)]
struct Survey {
    /// The last record before the first bad line.
    head: Option<Head>,
    good_end: u64,
    end: u64,
    bad: Option<Bad>,
    /// The last record after a bad line that verifies by itself.
    after: Option<Head>,
    /// A record that is not the one whose head was noted.
    differs: Option<u64>,
}

struct Bad {
    line: u64,
    why: LineError,
    complete: bool,
}

impl Survey {
    fn of(file: &Segment, noted: Option<Head>) -> io::Result<Self> {
        let mut survey = Self::default();
        if file.number == 1 {
            survey.head = Some(Head::START);
        }
        let mut lines = Lines::open(&file.path, 0)?;
        let mut number = 0;
        while let Some(raw) = lines.next()? {
            number += 1;
            survey.end = raw.end();
            let line = if raw.complete { Line::parse(raw.bytes) } else { Err(LineError::Form) };
            match line.and_then(|line| survey.admit(&line)) {
                Ok(head) if survey.bad.is_some() => survey.after = Some(head),
                Ok(head) => {
                    survey.differs = survey
                        .differs
                        .or(noted.filter(|noted| noted.seq == head.seq && *noted != head).map(|noted| noted.seq));
                    survey.head = Some(head);
                    survey.good_end = raw.end();
                }
                Err(LineError::Version) => return Err(io::Error::new(io::ErrorKind::InvalidData, LineError::Version)),
                Err(why) => {
                    survey.bad.get_or_insert(Bad { line: number, why, complete: raw.complete });
                }
            }
        }
        // The first file begins at the start of the chain, but holds no record yet.
        survey.head = survey.head.filter(|head| head.seq > 0);
        Ok(survey)
    }

    /// Takes the next record: in its place, or behind a damaged one if it verifies by itself.
    fn admit(&self, line: &Line<'_>) -> Result<Head, LineError> {
        match (&self.bad, self.head) {
            (None, Some(head)) => line.follow(&head),
            // What the first record of a later file continues is for `verify` to check.
            (Some(_), _) | (None, None) => line.check().map(|()| line.head()),
        }
    }

    /// Whether the bad end is what a crash leaves: nothing valid follows, and no head notes that it was valid.
    fn is_torn(&self, noted: Option<Head>) -> bool {
        let last = self.head.map_or(0, |head| head.seq);
        let noted_later = noted.is_some_and(|noted| noted.seq > last);
        self.after.is_none() && self.bad.as_ref().is_some_and(|bad| !bad.complete || !noted_later)
    }
}

/// An opening without a closing.
struct Opening {
    seq: u64,
    kind: Kind,
    file: usize,
    start: u64,
}

/// The openings without a closing, in their order.
fn left_open(files: &[Segment], oldest: Option<u32>) -> io::Result<Vec<Opening>> {
    let from = match oldest {
        Some(number) => files.iter().position(|file| file.number >= number).unwrap_or(0),
        None => last_start(files)?,
    };
    let mut open: HashMap<Box<str>, Opening> = HashMap::new();
    for (n, file) in files.iter().enumerate().skip(from) {
        let mut lines = Lines::open(&file.path, 0)?;
        while let Some(raw) = lines.next()? {
            let Ok(line) = Line::parse(raw.bytes) else { continue };
            let Some(kind) = Kind::from_word(line.kind) else { continue };
            let Some(exchange) = line.body.and_then(|(_, contents)| exchange_of(contents)) else { continue };
            if kind.opens() {
                open.insert(exchange.into(), Opening { seq: line.seq, kind, file: n, start: raw.start });
            } else if kind.closes() {
                open.remove(exchange);
            }
        }
    }
    let mut open: Vec<Opening> = open.into_values().collect();
    open.sort_unstable_by_key(|opening| opening.seq);
    Ok(open)
}

/// The last file in which a sidecar started; what came before it was closed by that start.
fn last_start(files: &[Segment]) -> io::Result<usize> {
    for (n, file) in files.iter().enumerate().rev() {
        let mut lines = Lines::open(&file.path, 0)?;
        while let Some(raw) = lines.next()? {
            if Line::parse(raw.bytes).is_ok_and(|line| line.kind == Kind::SidecarStarted.as_str()) {
                return Ok(n);
            }
        }
    }
    Ok(0)
}

/// The exchange of the contents: their second field, if they have one.
fn exchange_of(contents: &[u8]) -> Option<&str> {
    let rest = contents.strip_prefix(b"{\"id\":\"")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    let rest = rest.get(end..)?.strip_prefix(b"\",\"exchange\":\"")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

/// Writes the closing record of an opening that was not closed.
fn close(journal: &Journal, files: &[Segment], opening: &Opening) -> io::Result<()> {
    let mut lines = Lines::open(&files[opening.file].path, opening.start)?;
    let raw = lines.next()?;
    let line = raw.and_then(|raw| Line::parse(raw.bytes).ok());
    let contents = line.and_then(|line| aborted(line.body?.1));
    if let Some(contents) = contents {
        let shared = &journal.0.shared;
        seal(Timestamp::now(), opening.kind.closing(), &contents, |link, contents| {
            shared.queue().put(link, 0, contents)
        });
    }
    Ok(())
}

/// The contents of an opening turned into those of its closing, every value spelled as it was.
fn aborted(opening: &[u8]) -> Option<Vec<u8>> {
    let mut fields: BTreeMap<&str, &RawValue> = serde_json::from_slice(opening).ok()?;
    let quoted = |word: &str| RawValue::from_string(format!("\"{word}\"")).ok();
    let id = quoted(RecordId::from_bytes(draw(Timestamp::now())).as_str())?;
    let outcome = quoted(Outcome::Aborted.as_str())?;
    let fault = quoted(Fault::Egret.as_str())?;
    fields.extend([("id", &*id), ("outcome", &*outcome), ("fault", &*fault)]);
    let mut contents = Vec::with_capacity(opening.len() + 64);
    let mut sign = b'{';
    for name in CONTENTS {
        if let Some(value) = fields.get(name) {
            contents.push(sign);
            contents.extend_from_slice(format!("\"{name}\":{value}").as_bytes());
            sign = b',';
        }
    }
    contents.push(b'}');
    Some(contents)
}
