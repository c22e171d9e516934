//! What happened to a session, according to the records: a session's file that differs was restored from a copy.

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
    pub(super) fn session_history(&self, session: &SessionId) -> Result<SessionHistory, IndexError> {
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
    pub(super) fn uses_in_session(&self, session: &SessionId, credential: &CredentialId) -> Result<u64, IndexError> {
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
    pub(super) fn first_seq(&self) -> Result<Option<u64>, IndexError> {
        let reader = lock(&self.reader);
        let found = reader.query_row("SELECT min(seq) FROM entries", [], |row| row.get::<_, Option<i64>>(0));
        found.optional().map(|seq| seq.flatten().map(i64::unsigned_abs)).map_err(|source| self.failed(source))
    }
}

impl SessionHistory {
    /// Adds what happened later.
    pub(super) fn extend(&mut self, later: &Self) {
        self.is_created |= later.is_created;
        self.is_ended |= later.is_ended;
        self.revoked.extend_from_slice(&later.revoked);
    }

    pub(super) fn take(&mut self, kind: &str, contents: &str) {
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
