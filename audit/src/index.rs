//! The view: a SQLite file that follows the journal and can be thrown away and filled again at any time.
//!
//! It only reads the journal's files, so it works the same beside the writer, in a thread of its
//! own, and in another process that has nothing but the folder.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{borrow::Cow, io};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior, params};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::chain::Hash;
use crate::line::{Line, Lines, Segment, segments};
use crate::query::{Filter, Row};
use crate::record::CONTENTS;
use crate::verify::KnownHead;

mod history;
mod past;
mod uses;

pub use history::SessionHistory;
pub use past::Past;
pub use uses::Uses;

/// Rows of one transaction.
const BATCH_ROWS: u64 = 2_000;

/// How long the follower waits when there was nothing new.
const IDLE: Duration = Duration::from_millis(500);

/// The follower pauses this many times as long as it worked: a twenty-fifth of a core at most. A query brings the index to
/// the journal's end anyway.
const REST: u32 = 24;

/// Rows that one entry of `spans` may cover.
const SPAN_ROWS: i64 = 4_096;

/// Columns that are stored, because filters use them; every other field is computed from `contents`.
const STORED: &[&str] = &["id", "exchange", "session", "decision", "code", "method", "host"];

/// The index could not be used.
#[derive(Debug, Error)]
pub enum IndexError {
    /// SQLite refused.
    #[error("the audit index {} cannot be used", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// The error of SQLite.
        source: rusqlite::Error,
    },
    /// The journal could not be read.
    #[error("the audit journal {} cannot be read", path.display())]
    Journal {
        /// The folder.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

/// The index of one journal.
pub struct Index {
    journal: PathBuf,
    path: PathBuf,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    /// There was no space to open the file: the connections are empty databases in memory, and every step tries again.
    without_space: AtomicBool,
}

/// The thread that keeps an index up to date; dropped, it ends.
pub struct FollowerHandle {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl IndexError {
    /// Whether the reason is that the disk is full.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Store { source, .. } => is_full(source),
            Self::Journal { .. } => false,
        }
    }
}

impl Index {
    /// Opens the index of a journal, making it where it is missing or not usable. On a full disk it is opened all the same:
    /// [`Index::catch_up`] fails then until there is space.
    ///
    /// # Errors
    /// [`IndexError`] where the file can neither be used nor made.
    pub fn open(journal: &Path, path: &Path) -> Result<Self, IndexError> {
        let failed = |source| IndexError::Store { path: path.to_owned(), source };
        let (connections, without_space) = match open_file(path) {
            Ok(connections) => (connections, false),
            Err(error) if is_full(&error) => (open_stand_in().map_err(failed)?, true),
            Err(error) => return Err(failed(error)),
        };
        let (writer, reader) = connections;
        Ok(Self {
            journal: journal.to_owned(),
            path: path.to_owned(),
            writer: Mutex::new(writer),
            reader: Mutex::new(reader),
            without_space: AtomicBool::new(without_space),
        })
    }

    /// Opens the file where there was no space for it before.
    fn ensure_open(&self) -> Result<(), IndexError> {
        if !self.without_space.load(Ordering::Acquire) {
            return Ok(());
        }
        let (writer, reader) = open_file(&self.path).map_err(|source| self.failed(source))?;
        *lock(&self.writer) = writer;
        *lock(&self.reader) = reader;
        self.without_space.store(false, Ordering::Release);
        Ok(())
    }

    /// Brings the index to the end of the journal; returns the last sequence number in it.
    ///
    /// # Errors
    /// [`IndexError`] where journal or index cannot be used.
    pub fn catch_up(&self) -> Result<u64, IndexError> {
        loop {
            let step = self.step()?;
            if step.reached_end {
                return Ok(step.seq);
            }
        }
    }

    /// Frees the pages that SQLite keeps in memory, unless the index is in use.
    pub fn release_memory(&self) {
        for connection in [&self.writer, &self.reader] {
            let Ok(connection) = connection.try_lock() else { continue };
            if let Err(error) = connection.execute_batch("PRAGMA shrink_memory") {
                tracing::debug!(%error, "the memory of the index");
            }
        }
    }

    /// The records that match a filter, in the order of the journal, as far as they are indexed.
    ///
    /// # Errors
    /// [`IndexError`] where the index cannot be used.
    pub fn query(&self, filter: &Filter) -> Result<Vec<Row>, IndexError> {
        let statement = filter.statement();
        let reader = lock(&self.reader);
        let rows = (|| {
            let mut prepared = reader.prepare_cached(&statement.sql)?;
            let rows = prepared.query_map(rusqlite::params_from_iter(statement.values), Row::read)?;
            rows.collect::<Result<Vec<_>, _>>()
        })();
        let mut rows = rows.map_err(|source| self.failed(source))?;
        if filter.backwards() {
            rows.reverse();
        }
        Ok(rows)
    }

    /// The last record in the index: an anchor for `verify_against`.
    ///
    /// # Errors
    /// [`IndexError`] where the index cannot be used.
    pub fn known_head(&self) -> Result<KnownHead, IndexError> {
        last_record(&lock(&self.reader)).map_err(|source| self.failed(source))
    }

    /// Whether the index in this file holds records, found without a change to it: for a start that may be refused. Where only
    /// the log that a kill left beside the file has some, `-shm` can change, and nothing else. Where the file cannot be read, it
    /// holds none: [`Index::open`] makes it again then.
    pub fn has_records(path: &Path) -> bool {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let has_log = std::fs::metadata(log).is_ok_and(|log| log.len() > 0);
        let in_file = |is_immutable| {
            let head = open_unchanged(path, is_immutable).and_then(|connection| last_record(&connection));
            head.is_ok_and(|head| head.seq > 0)
        };
        in_file(true) || (has_log && in_file(false))
    }

    /// The generation of the vault that the last record names which names one.
    ///
    /// # Errors
    /// [`IndexError`] where the index cannot be used.
    fn vault_generation(&self) -> Result<Option<u64>, IndexError> {
        let reader = lock(&self.reader);
        let sql = "SELECT generation FROM records WHERE generation IS NOT NULL \
                   AND (kind LIKE 'vault.%' OR kind LIKE 'credential.%') ORDER BY seq DESC LIMIT 1";
        let found = reader.query_row(sql, [], |row| row.get::<_, i64>(0));
        found.optional().map(|found| found.map(|number| number as u64)).map_err(|source| self.failed(source))
    }

    /// Follows the journal in a thread of its own that works a twenty-fifth of the time at most.
    pub fn follow(self: Arc<Self>) -> FollowerHandle {
        let (stop, stopped) = mpsc::channel();
        let body = move || {
            let mut end = None;
            loop {
                let before = cpu_time();
                // Nothing new costs a look at the folder, not a transaction.
                let now = self.journal_end();
                let reached_end = now == end || self.step_or_warn();
                end = now.filter(|_| reached_end);
                let rest = cpu_time().saturating_sub(before) * REST;
                let rest = if reached_end { rest.max(IDLE) } else { rest };
                if stopped.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("audit-index".into()).spawn(body).ok();
        FollowerHandle { stop: Some(stop), thread }
    }

    /// For the follower: whether there is nothing left to do now. What fails is tried again when the journal has grown.
    fn step_or_warn(&self) -> bool {
        match self.step() {
            Ok(step) => step.reached_end,
            Err(error) => {
                model::log_limited!(warn, error = &error as &dyn std::error::Error, "the audit index does not follow");
                true
            }
        }
    }

    /// The last file of the journal and its length.
    fn journal_end(&self) -> Option<(u32, u64)> {
        let last = segments(&self.journal).ok()?.pop()?;
        Some((last.number, std::fs::metadata(last.path).ok()?.len()))
    }

    /// One bounded piece of work, in one transaction.
    fn step(&self) -> Result<Step, IndexError> {
        self.ensure_open()?;
        let files = segments(&self.journal).map_err(|source| self.unreadable(source))?;
        let mut writer = lock(&self.writer);
        let begun = writer.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.map_err(|source| self.failed(source))?;
        let step = self.fill(&transaction, &files)?;
        transaction.commit().map_err(|source| self.failed(source))?;
        Ok(step)
    }

    fn fill(&self, transaction: &Transaction<'_>, files: &[Segment]) -> Result<Step, IndexError> {
        let mut position = Position::load(transaction).map_err(|source| self.failed(source))?;
        if !position.matches(files).map_err(|source| self.unreadable(source))? {
            model::log_limited!(info, "the audit index does not match its journal and is filled again");
            transaction
                .execute_batch("DELETE FROM entries; DELETE FROM spans; DELETE FROM uses;")
                .map_err(|source| self.failed(source))?;
            position = Position::default();
        }
        let (from, mut rows) = (position.file, 0);
        let mut tally = uses::Tally::default();
        let mut reached_end = true;
        for file in files.iter().filter(|file| file.number >= from) {
            if position.file != file.number {
                position.file = file.number;
                position.next = 0;
            }
            let mut lines = match Lines::open(&file.path, position.next) {
                Ok(lines) => lines,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(self.unreadable(error)),
            };
            while let Some(raw) = lines.next().map_err(|source| self.unreadable(source))? {
                if !raw.complete {
                    break;
                }
                if let Ok(line) = Line::parse(raw.bytes) {
                    insert(transaction, &line).map_err(|source| self.failed(source))?;
                    tally.take(&line);
                    position.line = raw.start;
                    position.seq = line.seq;
                    position.hash = line.hash;
                    position.line_file = file.number;
                    rows += 1;
                }
                position.next = raw.end();
                if rows == BATCH_ROWS {
                    reached_end = false;
                    break;
                }
            }
            if !reached_end {
                break;
            }
        }
        if rows > 0 {
            tally.store(transaction).map_err(|source| self.failed(source))?;
            position.store(transaction).map_err(|source| self.failed(source))?;
        }
        Ok(Step { seq: position.seq, reached_end })
    }

    fn failed(&self, source: rusqlite::Error) -> IndexError {
        IndexError::Store { path: self.path.clone(), source }
    }

    fn unreadable(&self, source: io::Error) -> IndexError {
        IndexError::Journal { path: self.journal.clone(), source }
    }
}

impl Drop for FollowerHandle {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A follower that panicked has nothing left to stop.
            drop(thread.join());
        }
    }
}

struct Step {
    seq: u64,
    reached_end: bool,
}

/// How far the index has read, and the last record it took.
#[derive(Default)]
struct Position {
    file: u32,
    /// Where the next line begins.
    next: u64,
    line_file: u32,
    /// Where the last record begins.
    line: u64,
    seq: u64,
    hash: Hash,
}

impl Position {
    fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let sql = "SELECT file, next, line_file, line, seq, hash FROM position";
        let found = connection.query_row(sql, [], |row| {
            Ok(Self {
                file: row.get(0)?,
                next: row.get::<_, i64>(1)? as u64,
                line_file: row.get(2)?,
                line: row.get::<_, i64>(3)? as u64,
                seq: row.get::<_, i64>(4)? as u64,
                hash: row.get(5)?,
            })
        });
        found.optional().map(Option::unwrap_or_default)
    }

    fn store(&self, connection: &Connection) -> rusqlite::Result<()> {
        let sql =
            "INSERT OR REPLACE INTO position (id, file, next, line_file, line, seq, hash) VALUES (0, ?, ?, ?, ?, ?, ?)";
        let mut statement = connection.prepare_cached(sql)?;
        let (next, line, seq) = (self.next as i64, self.line as i64, self.seq as i64);
        statement.execute(params![self.file, next, self.line_file, line, seq, self.hash])?;
        Ok(())
    }

    /// Whether the last indexed record is still at the place where it was read.
    fn matches(&self, files: &[Segment]) -> io::Result<bool> {
        if self.seq == 0 {
            return Ok(self.next == 0);
        }
        let Some(file) = files.iter().find(|file| file.number == self.line_file) else { return Ok(false) };
        let mut lines = Lines::open(&file.path, self.line)?;
        let Some(raw) = lines.next()? else { return Ok(false) };
        Ok(Line::parse(raw.bytes).is_ok_and(|line| raw.complete && line.hash == self.hash && line.seq == self.seq))
    }
}

/// The fields that have a column of their own.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Stored<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    exchange: Option<Cow<'a, str>>,
    #[serde(borrow)]
    session: Option<Cow<'a, str>>,
    #[serde(borrow)]
    decision: Option<Cow<'a, str>>,
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    host: Option<Cow<'a, str>>,
}

fn insert(connection: &Connection, line: &Line<'_>) -> rusqlite::Result<()> {
    let contents = line.body.and_then(|(_, contents)| std::str::from_utf8(contents).ok());
    let parsed = contents.and_then(|text| serde_json::from_str::<Stored<'_>>(text).ok());
    // Contents that are not JSON would break every query that reads them; `verify` reports damage.
    let contents = contents.filter(|_| parsed.is_some());
    let stored = parsed.unwrap_or_default();
    let mut links = [0; 64];
    links[..32].copy_from_slice(&line.previous);
    links[32..].copy_from_slice(&line.hash);
    let seq = line.seq as i64;
    let sql = "INSERT OR REPLACE INTO entries (seq, time, kind, id, exchange, session, decision, code, method, host, contents, links) \
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let Stored { id, exchange, session, decision, code, method, host } = stored;
    connection.prepare_cached(sql)?.execute(params![
        seq, line.time, line.kind, id, exchange, session, decision, code, method, host, contents, links
    ])?;
    let sql = "UPDATE spans SET last_seq = ?1, min_time = min(min_time, ?2), max_time = max(max_time, ?2) \
               WHERE first_seq = (SELECT max(first_seq) FROM spans) AND last_seq < ?1 AND ?1 < first_seq + ?3";
    if connection.prepare_cached(sql)?.execute(params![seq, line.time, SPAN_ROWS])? == 0 {
        let sql = "INSERT OR REPLACE INTO spans (first_seq, last_seq, min_time, max_time) VALUES (?1, ?1, ?2, ?2)";
        connection.prepare_cached(sql)?.execute(params![seq, line.time])?;
    }
    Ok(())
}

/// The generation that a record of the vault names.
fn generation_of(line: &Line<'_>) -> Option<u64> {
    #[derive(Deserialize)]
    struct Named {
        generation: Option<u64>,
    }
    let (_, contents) =
        line.body.filter(|_| line.kind.starts_with("vault.") || line.kind.starts_with("credential."))?;
    serde_json::from_slice::<Named>(contents).ok()?.generation
}

/// The writer and the reader of a file, which is made where it is missing or damaged.
fn open_file(path: &Path) -> rusqlite::Result<(Connection, Connection)> {
    let writer = match open_writer(path) {
        Err(error) if is_damage(&error) => {
            remove(path);
            open_writer(path)?
        }
        opened => opened?,
    };
    Ok((writer, open_reader(path)?))
}

/// Two empty databases in memory.
fn open_stand_in() -> rusqlite::Result<(Connection, Connection)> {
    let empty = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch(&schema())?;
        Ok(connection)
    };
    Ok((empty()?, empty()?))
}

fn open_writer(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    // What a batch changes stays in memory until it is committed: written out early, every page is written twice.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 4096;
         PRAGMA cache_size = -8192; PRAGMA cache_spill = OFF; PRAGMA trusted_schema = OFF;",
    )?;
    connection.set_prepared_statement_cache_capacity(32);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let schema = schema();
    let wanted = version_of(&schema);
    if version != wanted {
        transaction.execute_batch(&format!("{schema}; PRAGMA user_version = {wanted};"))?;
    }
    transaction.commit()?;
    Ok(connection)
}

fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA cache_size = -4096;")?;
    Ok(connection)
}

/// Opens a file of which no byte may change. As immutable, SQLite makes nothing beside it and ignores its log.
fn open_unchanged(path: &Path, is_immutable: bool) -> rusqlite::Result<Connection> {
    let escaped: String = path.as_os_str().as_encoded_bytes().iter().map(|byte| format!("%{byte:02x}")).collect();
    let name = format!("file:{escaped}?immutable={}", u8::from(is_immutable));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(name, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.execute_batch("PRAGMA trusted_schema = OFF;")?;
    Ok(connection)
}

fn last_record(connection: &Connection) -> rusqlite::Result<KnownHead> {
    let sql = "SELECT seq, hash FROM records ORDER BY seq DESC LIMIT 1";
    let found =
        connection.query_row(sql, [], |row| Ok(KnownHead { seq: row.get::<_, i64>(0)? as u64, hash: row.get(1)? }));
    found.optional().map(Option::unwrap_or_default)
}

/// The tables, and `records`: a view that computes the fields which have no column of their own. Computed columns
/// of the table itself would be computed for every row that comes in, asked for or not.
fn schema() -> String {
    let computed: String = CONTENTS
        .iter()
        .map(|name| {
            if STORED.contains(name) { format!("{name}, ") } else { format!("contents ->> '$.{name}' AS \"{name}\", ") }
        })
        .collect();
    format!(
        "DROP VIEW IF EXISTS records; DROP TABLE IF EXISTS entries; DROP TABLE IF EXISTS spans; DROP TABLE IF EXISTS position;
         DROP TABLE IF EXISTS uses;
         CREATE TABLE entries (
           seq INTEGER PRIMARY KEY, time TEXT NOT NULL, kind TEXT NOT NULL,
           id TEXT, exchange TEXT, session TEXT, decision TEXT, code TEXT, method TEXT, host TEXT,
           contents TEXT, links BLOB NOT NULL
         ) STRICT;
         CREATE INDEX by_id ON entries (id);
         CREATE INDEX by_exchange ON entries (exchange) WHERE exchange IS NOT NULL;
         CREATE INDEX by_session ON entries (session, seq) WHERE session IS NOT NULL;
         CREATE INDEX by_host ON entries (host, seq) WHERE host IS NOT NULL;
         CREATE INDEX by_session_event ON entries (session, seq) WHERE kind LIKE 'session.%';
         CREATE INDEX by_refusal ON entries (decision, seq) WHERE decision <> 'allow';
         CREATE VIEW records AS SELECT seq, time, kind, {computed}
           lower(hex(substr(links, 1, 32))) AS previous, lower(hex(substr(links, 33))) AS hash FROM entries;
         CREATE TABLE spans (first_seq INTEGER PRIMARY KEY, last_seq INTEGER NOT NULL, min_time TEXT NOT NULL, max_time TEXT NOT NULL) STRICT;
         CREATE TABLE position (id INTEGER PRIMARY KEY, file INTEGER NOT NULL, next INTEGER NOT NULL, line_file INTEGER NOT NULL,
           line INTEGER NOT NULL, seq INTEGER NOT NULL, hash BLOB NOT NULL) STRICT;
         {}",
        uses::TABLE
    )
}

/// A number that changes whenever the schema does, so that the index of another build is created again.
fn version_of(schema: &str) -> i64 {
    let digest = Sha256::digest(schema.as_bytes());
    let first = digest.iter().take(4).fold(0u32, |number, byte| number << 8 | u32::from(*byte));
    i64::from(first >> 1) | 1
}

/// The CPU time of this thread: waiting for the disk costs no CPU.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt))
}

/// Whether a file could not be written: SQLite reports a full disk as such, or as a failed write of its shared memory.
fn is_full(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull | rusqlite::ErrorCode::SystemIoFailure))
}

fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        // What cannot be removed shows when the file is opened again.
        drop(std::fs::remove_file(name));
    }
}

fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    model::sync::lock(connection)
}

#[cfg(test)]
mod tests;
