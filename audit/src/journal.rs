//! The evidence: an append-only folder of files, one record a line.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{RecordId, Timestamp};
use rand::Rng as _;
use thiserror::Error;

use crate::chain::{self, Head, Link};
use crate::record::Record;

/// What an acknowledged record survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A killed process: acknowledged once the kernel has it.
    Process,
    /// Power loss: acknowledged once the disk has it.
    Power,
}

/// The journal cannot take records now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the audit journal cannot be written")]
pub struct Unavailable;

/// Why a journal cannot be opened.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The folder or a file in it cannot be used.
    #[error("cannot use {}", path.display())]
    Io {
        /// What cannot be used.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process writes it.
    #[error("the journal {} is in use by another process", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
}

/// What opening a journal found and repaired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of a torn last record that were cut off.
    pub cut_bytes: u64,
    /// Exchanges that the previous run left open and that are now closed as `aborted`.
    pub aborted: u64,
    /// Where the journal does not verify, if that was seen.
    pub corrupt: Option<String>,
}

/// The journal; clones share it.
#[derive(Clone)]
pub struct Journal(Arc<Shared>);

struct Shared {
    file: Mutex<Writer>,
    writable: AtomicBool,
    last_seq: AtomicU64,
}

struct Writer {
    file: File,
    head: Head,
}

impl Journal {
    /// Opens the journal in a folder, making it where it is missing.
    ///
    /// # Errors
    /// [`JournalError`] where the folder cannot be used or another process has it.
    pub fn open(dir: &Path, durability: Durability) -> Result<(Self, Recovery), JournalError> {
        let _ = durability;
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| JournalError::Io { path, source }
        };
        std::fs::create_dir_all(dir).map_err(io(dir))?;
        let path = dir.join("00000001.jsonl");
        let file = OpenOptions::new().append(true).create(true).open(&path).map_err(io(&path))?;
        let file = Mutex::new(Writer { file, head: Head::START });
        Ok((
            Self(Arc::new(Shared { file, writable: AtomicBool::new(true), last_seq: AtomicU64::new(0) })),
            Recovery::default(),
        ))
    }

    /// Appends a record that nobody waits for; it is kept until it can be written.
    pub fn append(&self, record: Record) {
        let written = self.write(&record);
        self.0.writable.store(written.is_ok(), Ordering::Release);
    }

    /// Appends a record and returns once it is durable.
    ///
    /// # Errors
    /// [`Unavailable`] where it could not be written; it never will be then.
    ///
    /// # Cancellation
    /// Dropped, the record may or may not be written.
    pub async fn append_durable(&self, record: Record) -> Result<(), Unavailable> {
        self.write(&record).map_err(|_| Unavailable)
    }

    fn write(&self, record: &Record) -> std::io::Result<()> {
        let now = record.time.unwrap_or_else(Timestamp::now);
        let id = record.id.clone().unwrap_or_else(|| RecordId::from_bytes(draw(now)));
        let mut contents = Vec::new();
        record.write_contents(&id, &mut contents);
        let mut salt = [0; 16];
        rand::rng().fill_bytes(&mut salt);
        let link =
            Link { time: now.as_microsecond(), kind: record.kind, salt, digest: chain::digest_of(&salt, &contents) };
        let mut writer: MutexGuard<'_, Writer> = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = Vec::new();
        let mut head = writer.head;
        head.write_line(&link, &contents, &mut line);
        writer.file.write_all(&line)?;
        writer.head = head;
        self.0.last_seq.store(head.seq, Ordering::Release);
        Ok(())
    }

    /// Whether a durable append would be taken now.
    pub fn is_writable(&self) -> bool {
        self.0.writable.load(Ordering::Acquire)
    }

    /// The sequence number of the last record written; 0 where there is none.
    pub fn last_seq(&self) -> u64 {
        self.0.last_seq.load(Ordering::Acquire)
    }

    /// Writes and syncs what is pending.
    pub fn close(&self) {}
}

thread_local! {
    static RANDOM: RefCell<rand::rngs::ThreadRng> = RefCell::new(rand::rng());
}

/// 16 bytes for an id: six of time in milliseconds, so that ids sort by it, and ten random ones.
pub(crate) fn draw(now: Timestamp) -> [u8; 16] {
    let mut bytes = [0; 16];
    RANDOM.with_borrow_mut(|random| random.fill_bytes(&mut bytes[6..]));
    bytes[..6].copy_from_slice(&now.as_millisecond().to_be_bytes()[2..]);
    bytes
}
