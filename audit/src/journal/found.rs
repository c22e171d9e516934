//! The state of a journal before anything in it is repaired: it distinguishes a new journal from one that lost its evidence.

use std::io;
use std::path::{Path, PathBuf};

use model::Timestamp;

use crate::chain::{Head, MAX_LINE_BYTES};
use crate::line::{Line, Lines, Segment};
use crate::verify::KnownHead;

/// The file that holds the head which was noted last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadFile {
    /// Not there: only before the journal is made.
    Missing,
    /// There, and not readable.
    Unreadable,
    /// There, with the number of the record that was noted.
    Noted(u64),
}

/// What a journal holds.
#[derive(Clone, Debug)]
pub struct Found {
    dir: PathBuf,
    files: Vec<Segment>,
    /// The last record.
    pub end: KnownHead,
    /// The head that was noted last.
    pub head_file: HeadFile,
    /// The latest time that it names.
    pub latest: Option<Timestamp>,
}

impl Found {
    pub(super) fn nothing(dir: &Path) -> Self {
        Self::new(dir, &[], Head::START, HeadFile::Missing, 0)
    }

    pub(super) fn new(dir: &Path, files: &[Segment], end: Head, head_file: HeadFile, latest: i64) -> Self {
        let latest = Timestamp::from_microsecond(latest).ok().filter(|_| latest > 0);
        Self { dir: dir.to_owned(), files: files.to_owned(), end: KnownHead::from(&end), head_file, latest }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether a record that is known from elsewhere is in the journal. Its file is read, and none of the others.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn contains(&self, known: &KnownHead) -> io::Result<bool> {
        if known.seq == 0 || known.seq > self.end.seq {
            return Ok(known.seq == 0);
        }
        if known.seq == self.end.seq {
            return Ok(known.hash == self.end.hash);
        }
        for file in self.files.iter().rev() {
            let mut lines = Lines::open(&file.path, 0)?;
            let mut is_later = false;
            while let Some(raw) = lines.next()? {
                let Ok(line) = Line::parse(raw.bytes) else { continue };
                if line.seq == known.seq {
                    return Ok(line.check().is_ok() && line.head().hash_text() == known.hash);
                }
                is_later = line.seq > known.seq;
                if is_later {
                    break;
                }
            }
            if !is_later {
                return Ok(false);
            }
        }
        Ok(false)
    }
}

/// When the last record that can be read was written, in microseconds since 1970; 0 where there is none.
pub(super) fn time_of_last_record(files: &[Segment]) -> io::Result<i64> {
    for file in files.iter().rev() {
        let length = std::fs::metadata(&file.path)?.len();
        let mut lines = Lines::open(&file.path, length.saturating_sub(MAX_LINE_BYTES as u64))?;
        let mut last = None;
        while let Some(raw) = lines.next()? {
            let line = if raw.complete { Line::parse(raw.bytes).ok() } else { None };
            last =
                line.filter(|line| line.check().is_ok()).and_then(|line| line.time.parse::<Timestamp>().ok()).or(last);
        }
        if let Some(last) = last {
            return Ok(last.as_microsecond());
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Journal, JournalError};
    use crate::testing::{open, record, settings};

    /// A journal of five records, closed in order, with the heads of all of them.
    fn journal(dir: &Path) -> Vec<KnownHead> {
        let (journal, _) = open(dir);
        let heads = (0..5).map(|_| {
            journal.append(record());
            journal.synced_head().unwrap()
        });
        heads.collect()
    }

    fn look(dir: &Path) -> Found {
        let mut seen = None;
        let refused = Journal::open_if(dir, settings(), |found| {
            seen = Some(found.clone());
            Err("not now".to_owned())
        });
        assert!(matches!(refused, Err(JournalError::Refused(_))));
        seen.unwrap()
    }

    #[test]
    fn t213_a_journal_contains_its_own_records_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let heads = journal(dir.path());
        let found = look(dir.path());
        assert_eq!((found.end.seq, found.head_file), (5, HeadFile::Noted(5)));
        for head in &heads {
            assert!(found.contains(head).unwrap(), "{head:?}");
        }
        let other = tempfile::tempdir().unwrap();
        for head in journal(other.path()) {
            assert!(!found.contains(&head).unwrap(), "{head:?}");
        }
        assert!(!found.contains(&KnownHead { seq: 6, hash: "0".repeat(64) }).unwrap());
        assert!(found.contains(&KnownHead::default()).unwrap());
    }

    #[test]
    fn t213_a_refused_journal_does_not_change() {
        let dir = tempfile::tempdir().unwrap();
        journal(dir.path());
        let file = dir.path().join("00000001.jsonl");
        let text = std::fs::read_to_string(&file).unwrap();
        let kept: String = text.lines().take(2).map(|line| format!("{line}\n")).collect();
        let torn = format!("{kept}{{\"v\":1,");
        std::fs::write(&file, &torn).unwrap();
        let head = std::fs::read(dir.path().join("head")).unwrap();
        for _ in 0..2 {
            let found = look(dir.path());
            assert_eq!((found.end.seq, found.head_file), (2, HeadFile::Noted(5)));
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), torn);
        assert_eq!(std::fs::read(dir.path().join("head")).unwrap(), head);
    }

    #[test]
    fn t213_a_head_is_there_before_the_first_record_and_missed_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join("journal");
        assert_eq!(look(&new).head_file, HeadFile::Missing);
        assert!(!new.exists(), "a refused journal is not made");
        let (journal, _) = open(&new);
        assert!(new.join("head").exists());
        journal.append(record());
        drop(journal);
        std::fs::remove_file(new.join("head")).unwrap();
        let found = look(&new);
        assert_eq!((found.end.seq, found.head_file), (1, HeadFile::Missing));
        assert!(!new.join("head").exists());
    }

    #[test]
    fn t215_the_latest_time_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let later: Timestamp = "2199-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(look(&dir.path().join("new")).latest, None);
        let (journal, _) = open(dir.path());
        journal.append(record());
        journal.note_time(later);
        drop(journal);
        assert_eq!(look(dir.path()).latest, Some(later));
        let (journal, _) = open(dir.path());
        journal.append(record());
        drop(journal);
        assert_eq!(look(dir.path()).latest, Some(later), "it is noted again with each head");
        std::fs::remove_file(dir.path().join("head")).unwrap();
        let found = look(dir.path());
        assert!(found.latest.is_some_and(|time| time < later && time > Timestamp::UNIX_EPOCH), "the last record's");
    }
}
