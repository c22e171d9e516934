//! The facts in the records that a start needs: from the index as far as it goes, and from the journal itself after that. The index may
//! be far behind after a busy time, and filling it takes many times as long as reading.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;

use model::{CredentialId, SessionId};
use serde::Deserialize;

use super::uses::Opened;
use super::{Index, IndexError, Position, SessionHistory, generation_of, lock};
use crate::line::{Line, Lines, segments};

/// All records of a journal, as they were when this was made.
pub struct Past<'a> {
    index: &'a Index,
    /// Whether the index continues into what was read of the journal; otherwise the whole journal was read.
    has_index: bool,
    tail: Tail,
}

/// What was read of the journal itself.
#[derive(Default)]
struct Tail {
    first_seq: Option<u64>,
    sessions: HashMap<String, SessionHistory>,
    uses: HashMap<(String, String), u64>,
    generation: Option<u64>,
}

#[derive(Deserialize)]
struct Of<'a> {
    #[serde(borrow)]
    session: Option<Cow<'a, str>>,
}

impl Index {
    /// The facts in the records so far. Nothing is written, so that a full disk does not matter.
    ///
    /// # Errors
    /// [`IndexError`] where journal or index cannot be read.
    pub fn past(&self) -> Result<Past<'_>, IndexError> {
        let files = segments(&self.journal).map_err(|source| self.unreadable(source))?;
        let position = Position::load(&lock(&self.reader)).map_err(|source| self.failed(source))?;
        let has_index = position.matches(&files).map_err(|source| self.unreadable(source))?;
        let position = if has_index { position } else { Position::default() };
        let mut tail = Tail::default();
        for file in files.iter().filter(|file| file.number >= position.file) {
            let start = if file.number == position.file { position.next } else { 0 };
            tail.read(Lines::open(&file.path, start)).map_err(|source| self.unreadable(source))?;
        }
        Ok(Past { index: self, has_index, tail })
    }
}

impl Tail {
    fn read(&mut self, lines: io::Result<Lines>) -> io::Result<()> {
        let mut lines = match lines {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            lines => lines?,
        };
        while let Some(raw) = lines.next()? {
            if let Ok(line) = Line::parse(raw.bytes)
                && raw.complete
            {
                self.take(&line);
            }
        }
        Ok(())
    }

    fn take(&mut self, line: &Line<'_>) {
        self.first_seq.get_or_insert(line.seq);
        self.generation = generation_of(line).or(self.generation);
        let Some((_, contents)) = line.body else { return };
        if line.kind.starts_with("session.") {
            if let Ok(Of { session: Some(session) }) = serde_json::from_slice(contents)
                && let Ok(contents) = std::str::from_utf8(contents)
            {
                self.sessions.entry(session.into_owned()).or_default().take(line.kind, contents);
            }
        } else if let Some(opened) = Opened::of(line)
            && let Some(session) = &opened.session
        {
            for name in opened.names() {
                *self.uses.entry((session.to_string(), name.to_owned())).or_default() += 1;
            }
        }
    }
}

impl Past<'_> {
    /// What happened to a session.
    ///
    /// # Errors
    /// [`IndexError`] where the index cannot be used.
    pub fn session_history(&self, session: &SessionId) -> Result<SessionHistory, IndexError> {
        let mut history = if self.has_index { self.index.session_history(session)? } else { SessionHistory::default() };
        if let Some(later) = self.tail.sessions.get(session.as_str()) {
            history.extend(later);
        }
        Ok(history)
    }

    /// With how many exchanges of a session a credential went.
    ///
    /// # Errors
    /// [`IndexError`] where the index cannot be used.
    pub fn uses_in_session(&self, session: &SessionId, credential: &CredentialId) -> Result<u64, IndexError> {
        let indexed = if self.has_index { self.index.uses_in_session(session, credential)? } else { 0 };
        let key = (session.to_string(), credential.to_string());
        Ok(indexed + self.tail.uses.get(&key).copied().unwrap_or_default())
    }

    /// The number of the first record; `None` where there is none.
    ///
    /// # Errors
    /// [`IndexError`] where the index cannot be used.
    pub fn first_seq(&self) -> Result<Option<u64>, IndexError> {
        let indexed = if self.has_index { self.index.first_seq()? } else { None };
        Ok(indexed.or(self.tail.first_seq))
    }

    /// The generation of the vault that the last record names which names one.
    ///
    /// # Errors
    /// [`IndexError`] where the index cannot be used.
    pub fn vault_generation(&self) -> Result<Option<u64>, IndexError> {
        match self.tail.generation {
            None if self.has_index => self.index.vault_generation(),
            generation => Ok(generation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{CredentialUse, Kind, Record};
    use crate::testing::{block_on, open, trail};

    fn about(session: &str, kind: Kind) -> Record {
        Record { session: Some(SessionId::new(session)), ..Record::new(kind) }
    }

    fn used(name: &str) -> Vec<CredentialUse> {
        vec![CredentialUse { name: name.into(), version: 1 }]
    }

    #[test]
    fn t213_what_a_start_has_to_know_is_found_wherever_the_index_ends() {
        let events = |session: &'static str| {
            [
                about(session, Kind::SessionCreated),
                Record { generation: Some(7), ..Record::new(Kind::VaultOpened) },
                Record { credentials: used("github"), ..about(session, Kind::SessionChanged) },
                Record { detail: Some("idle".into()), ..about(session, Kind::SessionChanged) },
                Record { credentials: used("maps"), ..about(session, Kind::SessionChanged) },
                Record { generation: Some(9), ..Record::new(Kind::VaultOpened) },
                about(session, Kind::SessionEnded),
            ]
        };
        let all = events("ses_one").len();
        for indexed in 0..=all {
            let dir = tempfile::tempdir().unwrap();
            let (journal, _) = open(&dir.path().join("journal"));
            let index = Index::open(&dir.path().join("journal"), &dir.path().join("index.db")).unwrap();
            for (number, event) in events("ses_one").into_iter().enumerate() {
                if number == indexed {
                    journal.flush();
                    index.catch_up().unwrap();
                }
                journal.append(event);
            }
            journal.flush();
            let past = index.past().unwrap();
            let revoked = vec!["github".into(), "maps".into()];
            let want = SessionHistory { is_created: true, is_ended: true, revoked };
            assert_eq!(past.session_history(&SessionId::new("ses_one")).unwrap(), want, "{indexed}");
            assert_eq!(past.session_history(&SessionId::new("ses_two")).unwrap(), SessionHistory::default());
            assert_eq!((past.first_seq().unwrap(), past.vault_generation().unwrap()), (Some(1), Some(9)), "{indexed}");
        }
    }

    #[test]
    fn t213_uses_within_a_session_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = open(&dir.path().join("journal"));
        let index = Index::open(&dir.path().join("journal"), &dir.path().join("index.db")).unwrap();
        assert_eq!(index.past().unwrap().first_seq().unwrap(), None);
        for number in 0..4 {
            let mut trail = trail(&journal);
            for place in ["header authorization", "query key"] {
                trail.credential(CredentialUse { name: "github".into(), version: 1 }, place);
            }
            block_on(trail.permitted()).unwrap();
            trail.close(crate::Outcome::Ok, None, None);
            if number == 2 {
                index.catch_up().unwrap();
            }
        }
        journal.flush();
        let past = index.past().unwrap();
        let uses = |session: &str, name: &str| past.uses_in_session(&SessionId::new(session), &name.into()).unwrap();
        assert_eq!([uses("ses_test", "github"), uses("ses_test", "other"), uses("ses_other", "github")], [4, 0, 0]);
    }

    #[test]
    fn an_index_of_another_journal_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = open(&dir.path().join("journal"));
        journal.append(about("ses_old", Kind::SessionCreated));
        journal.flush();
        let index = Index::open(&dir.path().join("journal"), &dir.path().join("index.db")).unwrap();
        index.catch_up().unwrap();
        drop(journal);
        std::fs::remove_dir_all(dir.path().join("journal")).unwrap();
        let (journal, _) = open(&dir.path().join("journal"));
        journal.append(about("ses_new", Kind::SessionCreated));
        journal.flush();
        let past = index.past().unwrap();
        let is_created = |id: &str| past.session_history(&SessionId::new(id)).unwrap().is_created;
        assert!(is_created("ses_new") && !is_created("ses_old"));
    }
}
