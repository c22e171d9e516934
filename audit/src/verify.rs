//! Proving that a journal is whole: every record, in order, nothing changed, nothing missing.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use thiserror::Error;

use crate::chain::{self, Head};
use crate::line::{Line, LineError, Lines, Segment, segments};

/// A journal that verifies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Records in all.
    pub records: u64,
    /// The number of their files.
    pub files: u64,
    /// Records whose contents were deleted; their place in the chain verifies.
    pub deleted: u64,
    /// Records about missing records.
    pub gaps: u64,
    /// Bytes of an unfinished last line: one that is being written, or was when the sidecar was killed.
    pub unfinished_bytes: u64,
    /// The known heads that the journal was compared with; with none, a cut end cannot be seen.
    pub anchors: usize,
    /// Whether the head that the sidecar notes beside the journal was there. It is made with the journal: without it, someone
    /// took it away, and the end of the journal may be gone with it.
    pub is_head_noted: bool,
    /// The last record: keep it elsewhere to compare with later.
    pub head: KnownHead,
}

/// A record known to have been written, by number and hash; what comes before it cannot change unnoticed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownHead {
    /// Its sequence number; 0 before the first record.
    pub seq: u64,
    /// Its hash, 64 hex digits.
    pub hash: String,
}

/// The first place where a journal does not verify.
#[derive(Debug, Error)]
#[error("record {seq} ({}, line {line}): {why}", file.display())]
pub struct Broken {
    /// The sequence number of the first record that cannot be trusted.
    pub seq: u64,
    /// The file where it is or should be.
    pub file: PathBuf,
    /// The line in that file, from 1.
    pub line: u64,
    /// What is wrong.
    pub why: Why,
}

/// What is wrong with a journal.
#[derive(Debug)]
pub enum Why {
    /// A line does not verify.
    Line(LineError),
    /// A line in the middle has no end.
    Unfinished,
    /// A file between others is missing.
    MissingFile,
    /// The journal ends before a record that is known to have been written.
    Ends(KnownHead),
    /// Another record is in the place of a known one.
    Differs(KnownHead),
    /// It could not be read.
    Unreadable(io::Error),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(error) => error.fmt(f),
            Self::Unfinished => f.write_str("the line has no end"),
            Self::MissingFile => f.write_str("the file is missing"),
            Self::Ends(known) => write!(f, "the journal ends here, but record {} was written", known.seq),
            Self::Differs(_) => {
                f.write_str("not the record that was written at this place (an older copy, or another journal)")
            }
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

/// Verifies a whole journal, and that it reaches the head that the sidecar last noted beside it.
///
/// Streams: memory stays the same for any size. A running sidecar may go on writing meanwhile.
///
/// # Errors
/// [`Broken`] names the first record that cannot be trusted.
pub fn verify(dir: &Path) -> Result<Verified, Broken> {
    verify_against(dir, &[])
}

/// Verifies a whole journal, also against heads that are known from elsewhere (the index, a copy of an earlier result).
///
/// # Errors
/// [`Broken`] names the first record that cannot be trusted.
pub fn verify_against(dir: &Path, known: &[KnownHead]) -> Result<Verified, Broken> {
    let unreadable = |error| Broken { seq: 0, file: dir.to_owned(), line: 0, why: Why::Unreadable(error) };
    // Read before the records, so that a sidecar that continues to write is not mistaken for one that lost some.
    let noted = chain::read_head(dir).map_err(unreadable)?;
    let mut anchors: Vec<KnownHead> =
        noted.iter().map(|noted| KnownHead::from(&noted.head)).chain(known.iter().cloned()).collect();
    anchors.retain(|anchor| anchor.seq > 0);
    anchors.sort_by_key(|anchor| anchor.seq);
    let result = Verified { anchors: anchors.len(), is_head_noted: noted.is_some(), ..Verified::default() };
    let mut walk = Walk { result, head: Head::START, anchors, met: 0 };
    let files = segments(dir).map_err(unreadable)?;
    let mut place = (Segment::new(dir, 1), 1);
    for (n, file) in files.iter().enumerate() {
        let expected = Segment::new(dir, n as u32 + 1);
        if expected.number != file.number {
            return Err(walk.broken(&expected, 1, Why::MissingFile));
        }
        place = (file.clone(), walk.file(file, n + 1 == files.len())?);
    }
    if let Some(anchor) = walk.anchors.get(walk.met) {
        let why = Why::Ends(anchor.clone());
        return Err(walk.broken(&place.0, place.1, why));
    }
    walk.result.head = KnownHead::from(&walk.head);
    // A head from before the first record shows nothing of the later ones.
    walk.result.is_head_noted &= walk.head.seq == 0 || noted.is_some_and(|noted| noted.head.seq > 0);
    Ok(walk.result)
}

impl From<&Head> for KnownHead {
    fn from(head: &Head) -> Self {
        Self { seq: head.seq, hash: head.hash_text() }
    }
}

struct Walk {
    result: Verified,
    head: Head,
    anchors: Vec<KnownHead>,
    /// How many of the anchors were passed.
    met: usize,
}

impl Walk {
    /// Verifies one file; returns the number of the line after its last.
    fn file(&mut self, file: &Segment, last: bool) -> Result<u64, Broken> {
        let mut number = 1;
        let mut lines =
            Lines::open(&file.path, 0).map_err(|error| self.broken(file, number, Why::Unreadable(error)))?;
        self.result.files += 1;
        loop {
            let raw = lines.next().map_err(|error| self.broken(file, number, Why::Unreadable(error)))?;
            let Some(raw) = raw else { return Ok(number) };
            if !raw.complete {
                if !last || raw.bytes.len() >= chain::MAX_LINE_BYTES {
                    return Err(self.broken(file, number, Why::Unfinished));
                }
                self.result.unfinished_bytes = raw.bytes.len() as u64;
                return Ok(number);
            }
            self.record(raw.bytes).map_err(|why| self.broken(file, number, why))?;
            number += 1;
        }
    }

    fn record(&mut self, bytes: &[u8]) -> Result<(), Why> {
        let line = Line::parse(bytes).map_err(Why::Line)?;
        let head = line.follow(&self.head).map_err(Why::Line)?;
        while let Some(anchor) = self.anchors.get(self.met).filter(|anchor| anchor.seq == head.seq) {
            if anchor.hash != head.hash_text() {
                return Err(Why::Differs(anchor.clone()));
            }
            self.met += 1;
        }
        self.head = head;
        self.result.records += 1;
        self.result.deleted += u64::from(line.body.is_none());
        self.result.gaps += u64::from(line.kind == "gap");
        Ok(())
    }

    fn broken(&self, file: &Segment, line: u64, why: Why) -> Broken {
        Broken { seq: self.head.seq + 1, file: file.path.clone(), line, why }
    }
}

#[cfg(test)]
mod tests;
