//! What the records say happened to a session: a session's file that says otherwise was put back.

use model::{CredentialId, SessionId};
use rusqlite::{OptionalExtension as _, params};

use super::{Index, IndexError, lock};

/// The events of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionHistory {
    /// It was created.
    pub is_created: bool,
    /// It ended.
    pub is_ended: bool,
    /// The credentials that were taken away from it.
    pub revoked: Vec<CredentialId>,
}

impl Index {
    /// What happened to a session, as far as the index has the journal.
    ///
    /// # Errors
    /// [`IndexError`] where the index cannot be used.
    pub fn session_history(&self, session: &SessionId) -> Result<SessionHistory, IndexError> {
        let reader = lock(&self.reader);
        let read = || -> rusqlite::Result<SessionHistory> {
            let sql = "SELECT kind, contents FROM entries WHERE session = ? AND kind LIKE 'session.%' ORDER BY seq";
            let mut history = SessionHistory::default();
            let mut prepared = reader.prepare_cached(sql)?;
            let mut rows = prepared.query([session.as_str()])?;
            while let Some(row) = rows.next()? {
                let (kind, contents): (String, Option<String>) = (row.get(0)?, row.get(1)?);
                history.take(&kind, contents.as_deref().unwrap_or_default());
            }
            Ok(history)
        };
        read().map_err(|source| self.failed(source))
    }

    /// With how many exchanges of a session a credential went.
    ///
    /// # Errors
    /// [`IndexError`] where the index cannot be used.
    pub fn uses_in_session(&self, session: &SessionId, credential: &CredentialId) -> Result<u64, IndexError> {
        let reader = lock(&self.reader);
        let sql = "SELECT count(*) FROM entries WHERE session = ?1 AND kind = 'exchange.opened' AND EXISTS \
                   (SELECT 1 FROM json_each(contents, '$.credentials') WHERE value ->> '$.name' = ?2)";
        let count = reader.prepare_cached(sql).and_then(|mut prepared| {
            prepared.query_row(params![session.as_str(), credential.as_str()], |row| row.get(0))
        });
        count.map(|count: i64| count.unsigned_abs()).map_err(|source| self.failed(source))
    }

    /// The first record that the index has; `None` where it has none.
    ///
    /// # Errors
    /// [`IndexError`] where the index cannot be used.
    pub fn first_seq(&self) -> Result<Option<u64>, IndexError> {
        let reader = lock(&self.reader);
        let found = reader.query_row("SELECT min(seq) FROM entries", [], |row| row.get::<_, Option<i64>>(0));
        found.optional().map(|seq| seq.flatten().map(i64::unsigned_abs)).map_err(|source| self.failed(source))
    }
}

impl SessionHistory {
    fn take(&mut self, kind: &str, contents: &str) {
        match kind {
            "session.created" => self.is_created = true,
            "session.ended" => self.is_ended = true,
            // A change names credentials where it took them away, and nothing else does.
            "session.changed" => {
                let named = serde_json::from_str::<Named>(contents).unwrap_or_default();
                self.revoked.extend(named.credentials.into_iter().map(|one| one.name));
            }
            _ => {}
        }
    }
}

#[derive(Default, serde::Deserialize)]
struct Named {
    #[serde(default)]
    credentials: Vec<One>,
}

#[derive(serde::Deserialize)]
struct One {
    name: CredentialId,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{CredentialUse, Kind, Record};
    use crate::testing::{block_on, open, trail};

    fn about(session: &str, kind: Kind) -> Record {
        Record { session: Some(SessionId::new(session)), ..Record::new(kind) }
    }

    #[test]
    fn t213_what_happened_to_a_session_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = open(&dir.path().join("journal"));
        let index = Index::open(&dir.path().join("journal"), &dir.path().join("index.db")).unwrap();
        let used = |name: &str| vec![CredentialUse { name: name.into(), version: 1 }];
        journal.append(about("ses_one", Kind::SessionCreated));
        journal.append(about("ses_two", Kind::SessionCreated));
        journal.append(Record { credentials: used("github"), ..about("ses_one", Kind::SessionChanged) });
        journal.append(Record { detail: Some("idle".into()), ..about("ses_one", Kind::SessionChanged) });
        journal.append(about("ses_two", Kind::SessionEnded));
        journal.flush();
        index.catch_up().unwrap();
        let history = |id: &str| index.session_history(&SessionId::new(id)).unwrap();
        let created = SessionHistory { is_created: true, ..SessionHistory::default() };
        assert_eq!(history("ses_one"), SessionHistory { revoked: vec!["github".into()], ..created.clone() });
        assert_eq!(history("ses_two"), SessionHistory { is_ended: true, ..created });
        assert_eq!(history("ses_three"), SessionHistory::default());
        assert_eq!(index.first_seq().unwrap(), Some(1));
    }

    #[test]
    fn t213_uses_within_a_session_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = open(&dir.path().join("journal"));
        let index = Index::open(&dir.path().join("journal"), &dir.path().join("index.db")).unwrap();
        assert_eq!(index.first_seq().unwrap(), None);
        for _ in 0..3 {
            let mut trail = trail(&journal);
            trail.credential(CredentialUse { name: "github".into(), version: 1 }, "header authorization");
            block_on(trail.permitted()).unwrap();
            trail.close(crate::Outcome::Ok, None, None);
        }
        journal.flush();
        index.catch_up().unwrap();
        let session = SessionId::new("ses_test");
        assert_eq!(index.uses_in_session(&session, &"github".into()).unwrap(), 3);
        assert_eq!(index.uses_in_session(&session, &"other".into()).unwrap(), 0);
        assert_eq!(index.uses_in_session(&SessionId::new("ses_other"), &"github".into()).unwrap(), 0);
    }
}
