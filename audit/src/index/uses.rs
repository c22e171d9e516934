//! How often each credential was attached to a request, and when last: counted while records are indexed, so that a query costs
//! one row however long the journal is.
//!
//! Counted is what an exchange was opened with. The rows are the index's own: thrown away and counted again with it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use model::{CredentialId, TenantId, Timestamp};
use rusqlite::{OptionalExtension as _, Transaction, params};
use serde::Deserialize;

use super::{Index, IndexError, lock};
use crate::line::Line;
use crate::record::Kind;

/// The table; `last` is a time in the journal's form, whose order as text is the order of time.
pub(super) const TABLE: &str =
    "CREATE TABLE uses (tenant TEXT NOT NULL, credential TEXT NOT NULL, uses INTEGER NOT NULL, last TEXT NOT NULL,
       PRIMARY KEY (tenant, credential)) STRICT, WITHOUT ROWID";

/// How the field begins in a record that has it.
const MARK: &[u8] = b"\"credentials\":[";

/// The use of one credential according to the records, over all its versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uses {
    /// With how many exchanges it went.
    pub count: u64,
    /// When the last of them was opened.
    pub last: Timestamp,
}

impl Index {
    /// How often a credential was attached to a request, as far as the journal is indexed; `None` if it never was.
    ///
    /// # Errors
    /// [`IndexError`] where the index cannot be used.
    pub fn uses_of(&self, tenant: &TenantId, credential: &CredentialId) -> Result<Option<Uses>, IndexError> {
        let reader = lock(&self.reader);
        let sql = "SELECT uses, last FROM uses WHERE tenant = ? AND credential = ?";
        let found = reader
            .prepare_cached(sql)
            .and_then(|mut prepared| prepared.query_row([tenant.as_str(), credential.as_str()], read).optional());
        found.map(Option::flatten).map_err(|source| self.failed(source))
    }

    /// The same for every credential of a tenant that ever went on a request.
    ///
    /// # Errors
    /// [`IndexError`] where the index cannot be used.
    pub fn uses(&self, tenant: &TenantId) -> Result<BTreeMap<CredentialId, Uses>, IndexError> {
        let reader = lock(&self.reader);
        let rows = (|| {
            let mut prepared = reader.prepare_cached("SELECT uses, last, credential FROM uses WHERE tenant = ?")?;
            let rows = prepared.query_map([tenant.as_str()], |row| Ok((row.get::<_, String>(2)?, read(row)?)))?;
            rows.collect::<Result<Vec<_>, _>>()
        })();
        let rows = rows.map_err(|source| self.failed(source))?;
        Ok(rows.into_iter().filter_map(|(name, uses)| Some((CredentialId::new(name), uses?))).collect())
    }
}

/// `None` where the time is none: the index was changed by someone else, and nothing depends on it.
fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Uses>> {
    let count = u64::try_from(row.get::<_, i64>(0)?).unwrap_or_default();
    Ok(row.get_ref(1)?.as_str()?.parse().ok().map(|last| Uses { count, last }))
}

/// What one piece of the journal adds.
#[derive(Default)]
pub(super) struct Tally(HashMap<String, HashMap<String, Seen>>);

struct Seen {
    count: i64,
    last: String,
}

/// The fields of an opening record that are counted.
#[derive(Deserialize)]
pub(super) struct Opened<'a> {
    #[serde(borrow)]
    pub(super) tenant: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) session: Option<Cow<'a, str>>,
    #[serde(borrow)]
    credentials: Vec<Used<'a>>,
}

#[derive(Deserialize)]
struct Used<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

impl<'a> Opened<'a> {
    /// Of a record that opens an exchange with credentials. Most requests carry none: then the record has no such field, and is not
    /// parsed.
    pub(super) fn of(line: &Line<'a>) -> Option<Self> {
        let (_, contents) = line.body.filter(|_| line.kind == Kind::ExchangeOpened.as_str())?;
        match contents.windows(MARK.len()).any(|part| part == MARK) {
            true => serde_json::from_slice(contents).ok(),
            false => None,
        }
    }

    /// The names of the credentials. One that was attached in several locations of a request is counted once.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let is_first = |number: usize, name: &str| self.credentials.iter().take(number).all(|other| other.name != name);
        let numbered = self.credentials.iter().enumerate();
        numbered.filter(move |(number, used)| is_first(*number, &used.name)).map(|(_, used)| &*used.name)
    }
}

impl Tally {
    /// Counts the credentials of a record, if it is one that opens an exchange.
    pub(super) fn take(&mut self, line: &Line<'_>) {
        let Some(opened) = Opened::of(line) else { return };
        let tenant = self.0.entry(opened.tenant.to_string()).or_default();
        for name in opened.names() {
            match tenant.get_mut(name) {
                Some(seen) => {
                    seen.count += 1;
                    if seen.last.as_str() < line.time {
                        line.time.clone_into(&mut seen.last);
                    }
                }
                None => {
                    tenant.insert(name.to_owned(), Seen { count: 1, last: line.time.to_owned() });
                }
            }
        }
    }

    /// Adds what was counted to the rows, in the transaction that keeps the records themselves.
    pub(super) fn store(self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let sql = "INSERT INTO uses (tenant, credential, uses, last) VALUES (?1, ?2, ?3, ?4) \
                   ON CONFLICT DO UPDATE SET uses = uses + ?3, last = max(last, ?4)";
        let mut statement = transaction.prepare_cached(sql)?;
        for (tenant, credentials) in self.0 {
            for (credential, Seen { count, last }) in credentials {
                statement.execute(params![tenant, credential, count, last])?;
            }
        }
        Ok(())
    }
}
