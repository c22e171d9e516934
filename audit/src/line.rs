//! Reading the journal: its files in order, their lines, and the parts of a line.
//!
//! Strict on purpose: a line has one spelling, so that every one of its bytes is covered by a check.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::chain::{self, Hash, Head, MAX_LINE_BYTES, Salt};
use crate::format;

/// One file of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) number: u32,
    pub(crate) path: PathBuf,
}

impl Segment {
    /// The file with this number.
    pub(crate) fn new(dir: &Path, number: u32) -> Self {
        Self { number, path: dir.join(format!("{number:08}.jsonl")) }
    }

    /// The name without the folder.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The files of a journal in order; other names are left alone.
pub(crate) fn segments(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl")).filter(|stem| stem.len() == 8);
        if let Some(number) = number.and_then(|digits| digits.parse().ok()) {
            found.push(Segment { number, path: entry.path() });
        }
    }
    found.sort_unstable_by_key(|segment| segment.number);
    Ok(found)
}

/// The lines of one file, read in pieces; a line longer than the form allows ends in the middle.
pub(crate) struct Lines {
    file: BufReader<File>,
    line: Vec<u8>,
    start: u64,
}

impl Lines {
    /// Reads a file from a place on.
    pub(crate) fn open(path: &Path, start: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(start))?;
        Ok(Self { file: BufReader::with_capacity(256 * 1024, file), line: Vec::new(), start })
    }

    /// The next line without its end, and whether it has one; `None` at the end of the file.
    pub(crate) fn next(&mut self) -> io::Result<Option<RawLine<'_>>> {
        self.start += self.line.len() as u64;
        self.line.clear();
        let limit = MAX_LINE_BYTES as u64;
        if self.file.by_ref().take(limit).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        let (bytes, complete) = match self.line.strip_suffix(b"\n") {
            Some(bytes) => (bytes, true),
            None => (&*self.line, false),
        };
        Ok(Some(RawLine { start: self.start, bytes, complete }))
    }
}

/// A line as written in its file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawLine<'a> {
    /// Where it begins, in bytes.
    pub(crate) start: u64,
    pub(crate) bytes: &'a [u8],
    /// Whether it ends in a line feed.
    pub(crate) complete: bool,
}

impl RawLine<'_> {
    /// Where the next line begins.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64 + u64::from(self.complete)
    }
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LineError {
    /// It is not in the one form that the journal writes.
    #[error("the line is not in the form of a record")]
    Form,
    /// Written by a later version of Egret.
    #[error("the record is of a version that this Egret does not know")]
    Version,
    /// The contents are not those that the digest was made of.
    #[error("the contents do not match their digest")]
    Contents,
    /// The envelope is not the one that the hash was made of.
    #[error("the envelope does not match its hash")]
    Envelope,
    /// It does not follow the record before it.
    #[error("the record does not continue the one before it (removed, inserted or swapped here)")]
    Order,
}

/// The parts of a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) seq: u64,
    pub(crate) time: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) digest: Hash,
    pub(crate) previous: Hash,
    pub(crate) hash: Hash,
    /// Salt and contents; `None` where they were deleted.
    pub(crate) body: Option<(Salt, &'a [u8])>,
    head: &'a [u8],
}

impl<'a> Line<'a> {
    /// Takes a line apart, without judging its hashes.
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, LineError> {
        let mut rest = line;
        if !rest.starts_with(chain::VERSION) {
            let newer = rest.strip_prefix(b"{\"v\":").is_some_and(|rest| !rest.starts_with(b"1,"));
            return Err(if newer { LineError::Version } else { LineError::Form });
        }
        Self::parts(line, &mut rest).ok_or(LineError::Form)
    }

    fn parts(line: &'a [u8], rest: &mut &'a [u8]) -> Option<Self> {
        let digits = between(rest, chain::VERSION, b',')?;
        let time = between(rest, b",\"time\":\"", b'"')?;
        let kind = between(rest, b"\",\"kind\":\"", b'"')?;
        after(rest, b"\"")?;
        let head = line.get(..line.len() - rest.len())?;
        let digest = format::unhex(between(rest, b",\"digest\":\"", b'"')?)?;
        let previous = format::unhex(between(rest, b"\",\"previous\":\"", b'"')?)?;
        let hash = format::unhex(between(rest, b"\",\"hash\":\"", b'"')?)?;
        let body = if *rest == b"\"}" {
            None
        } else {
            let salt = format::unhex(between(rest, b"\",\"salt\":\"", b'"')?)?;
            after(rest, b"\",\"contents\":")?;
            Some((salt, rest.strip_suffix(b"}")?))
        };
        let (time, kind) = (std::str::from_utf8(time).ok()?, std::str::from_utf8(kind).ok()?);
        Some(Self { seq: number(digits)?, time, kind, digest, previous, hash, body, head })
    }

    /// Checks the line by itself: contents against digest, envelope against hash.
    pub(crate) fn check(&self) -> Result<(), LineError> {
        if self.body.is_some_and(|(salt, contents)| chain::digest_of(&salt, contents) != self.digest) {
            return Err(LineError::Contents);
        }
        if chain::hash_of(&self.previous, &self.digest, self.head) != self.hash {
            return Err(LineError::Envelope);
        }
        Ok(())
    }

    /// Checks the line by itself and that it continues from `before`; returns where the next one continues.
    pub(crate) fn follow(&self, before: &Head) -> Result<Head, LineError> {
        self.check()?;
        if self.seq != before.seq + 1 || self.previous != before.hash {
            return Err(LineError::Order);
        }
        Ok(self.head())
    }

    /// Where the next record continues.
    pub(crate) fn head(&self) -> Head {
        Head { seq: self.seq, hash: self.hash }
    }
}

fn after<'a>(rest: &mut &'a [u8], text: &[u8]) -> Option<&'a [u8]> {
    *rest = rest.strip_prefix(text)?;
    Some(rest)
}

/// The text after `text` and before `end`; `rest` continues at `end`.
fn between<'a>(rest: &mut &'a [u8], text: &[u8], end: u8) -> Option<&'a [u8]> {
    after(rest, text)?;
    let length = rest.iter().position(|byte| *byte == end)?;
    let (found, tail) = rest.split_at(length);
    *rest = tail;
    Some(found)
}

fn number(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    if text.starts_with(['0', '+']) { None } else { text.parse().ok() }
}
