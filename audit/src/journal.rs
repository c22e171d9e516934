//! The evidence: an append-only folder of files, one record a line.
//!
//! Records are written in groups by the tasks that wait for them. The first task leads: it steps back
//! once, so that the other tasks of its runtime can add theirs, then chains and writes all of them
//! with one system call and wakes the others. Numbers and hashes are assigned at that moment.
//! No thread is woken for a record, and no lock is held across an await.

mod disk;
pub(crate) mod encode;
mod found;
mod keeper;
mod queue;
mod recovery;
mod shared;
mod unclosed;
mod wait;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::{fmt, io};

use model::{RecordId, Timestamp};
use thiserror::Error;

use crate::record::{Kind, Record};
use crate::refusals::RefusalBudget;
use crate::verify::KnownHead;
use encode::encode;
pub use found::{Found, HeadFile};
use queue::Enqueued;
use recovery::OpenError;
use shared::Shared;
use wait::{Lead, Wait};
use writer::Writer;

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
    #[error("the audit journal {} cannot be used", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The caller's check rejected it.
    #[error("{0}")]
    Refused(String),
    /// Another process writes it.
    #[error("the audit journal {} is in use by another process", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
}

/// What opening a journal found and repaired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of a torn last record that were truncated.
    pub cut_bytes: u64,
    /// Records that were noted as written and are missing at the end.
    pub missing: u64,
    /// Exchanges and tunnels that the previous run left open and that are now closed as `aborted`.
    pub aborted: u64,
    /// Where the journal does not verify, if that was seen on the way.
    pub corrupt: Option<String>,
}

impl Recovery {
    /// Whether records that were written are gone, so that what they recorded about sessions is too.
    pub fn has_lost_records(&self) -> bool {
        self.missing > 0 || self.corrupt.is_some()
    }
}

/// How a journal is kept.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What an acknowledged record survives.
    pub durability: Durability,
    /// A file that has reached so many bytes is followed by another; 64 MiB.
    pub segment_bytes: u64,
    /// Bytes kept free on the disk so that a full disk can still be recorded; 16 MiB, and an eighth of the disk at most.
    pub reserve_bytes: u64,
}

impl Settings {
    /// The defaults, with a durability.
    pub fn new(durability: Durability) -> Self {
        Self { durability, segment_bytes: 64 << 20, reserve_bytes: 16 << 20 }
    }
}

/// The journal; clones share it, and the last one to go closes it.
#[derive(Clone)]
pub struct Journal(Arc<Owner>);

impl Journal {
    /// Opens the journal in a folder, making it where it is missing, and repairs what a crash left.
    ///
    /// # Errors
    /// [`JournalError`] where the folder cannot be used or another process has it.
    pub fn open(dir: &Path, durability: Durability) -> Result<(Self, Recovery), JournalError> {
        Self::open_with(dir, Settings::new(durability))
    }

    /// Opens the journal in a folder with settings of one's own.
    ///
    /// # Errors
    /// [`JournalError`] where the folder cannot be used or another process has it.
    pub fn open_with(dir: &Path, settings: Settings) -> Result<(Self, Recovery), JournalError> {
        Self::open_if(dir, settings, |_| Ok(()))
    }

    /// Opens the journal in a folder if `judge` accepts its contents; otherwise nothing in the folder changes.
    ///
    /// # Errors
    /// [`JournalError::Refused`] with the words of `judge`, and those of [`Journal::open`].
    pub fn open_if(
        dir: &Path,
        settings: Settings,
        judge: impl FnOnce(&Found) -> Result<(), String>,
    ) -> Result<(Self, Recovery), JournalError> {
        recovery::open(dir, settings, judge).map_err(|error| match error {
            OpenError::Refused(why) => JournalError::Refused(why),
            OpenError::Io(source) if source.kind() == io::ErrorKind::WouldBlock => {
                JournalError::Locked { path: dir.to_owned() }
            }
            OpenError::Io(source) => JournalError::Io { path: dir.to_owned(), source },
        })
    }

    fn start(writer: Writer, durability: Durability) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(writer, durability));
        let owner = Owner { shared: shared.clone(), threads: Mutex::default() };
        let keeper = keeper::start(shared.clone())?;
        shared.wake_handles.keeper(keeper.thread().clone());
        owner.threads().push(keeper);
        if durability == Durability::Power {
            let syncer = keeper::start_syncer(shared.clone())?;
            shared.wake_handles.syncer(syncer.thread().clone());
            owner.threads().push(syncer);
        }
        Ok(Self(Arc::new(owner)))
    }

    /// Appends a record that no task waits for: written within about 20 ms, and kept while the journal cannot be written.
    pub fn append(&self, record: Record) {
        self.append_closing(&record, 0);
    }

    /// Appends the record that closes what was opened in a segment (0: nothing was).
    pub(crate) fn append_closing(&self, record: &Record, opened_in: u32) {
        let shared = &self.0.shared;
        encode(record.kind, record, |link, contents| shared.queue().put(link, opened_in, contents));
        if shared.closed.load(Ordering::Acquire) {
            shared.flush(&shared.queues);
        } else {
            shared.wake_keeper();
        }
    }

    /// Bounds the records of exchanges that end before anything was opened; until then each gets one.
    pub fn bound_refusals(&self, budget: RefusalBudget) {
        self.0.shared.refusals.bound(budget);
    }

    /// Appends the record of an exchange that ended before it was opened, or counts it; gives the id of the record that
    /// contains the count.
    pub(crate) fn append_unopened(&self, record: &Record) -> Option<RecordId> {
        let (due, counted) = self.0.shared.refusals.admit(record, record.time.unwrap_or_else(Timestamp::now));
        due.iter().for_each(|aggregate| self.append_closing(aggregate, 0));
        if counted.is_none() {
            self.append_closing(record, 0);
        }
        counted
    }

    /// Records the refusals that were counted in an interval that is over.
    pub fn settle_refusals(&self) {
        self.0.shared.refusals.settle(Timestamp::now()).iter().for_each(|aggregate| self.append_closing(aggregate, 0));
    }

    /// Records the refusals that were counted so far.
    pub fn drain_refusals(&self) {
        self.0.shared.refusals.drain().iter().for_each(|aggregate| self.append_closing(aggregate, 0));
    }

    /// Appends a record and returns once it is durable.
    ///
    /// # Errors
    /// [`Unavailable`] where it could not be written within two seconds; it counts as never written then.
    ///
    /// # Cancellation
    /// Dropped before the record is written, it is not written.
    pub async fn append_durable(&self, record: Record) -> Result<(), Unavailable> {
        self.append_opening(record.kind, &record, &mut 0).await
    }

    /// Appends a record under another kind; reports in which segment it is as soon as it is written, even when dropped.
    pub(crate) async fn append_opening(
        &self,
        kind: Kind,
        record: &Record,
        opened_in: &mut u32,
    ) -> Result<(), Unavailable> {
        let shared = &*self.0.shared;
        if !self.is_writable() {
            return Err(Unavailable);
        }
        let queue = shared.queue();
        let now = shared.tick.load(Ordering::Relaxed);
        let place = encode(kind, record, |link, contents| queue.put_awaited(link, contents, now));
        shared.wake_keeper();
        let (waiter, leads) = match place {
            Enqueued::Full => return Err(Unavailable),
            Enqueued::Leader(waiter) => (waiter, true),
            Enqueued::Follower(waiter) => (waiter, false),
        };
        let lead = match shared.durability {
            Durability::Process if leads => Lead::Will,
            Durability::Process => Lead::No,
            Durability::Power => {
                shared.call_syncer();
                if shared.closed.load(Ordering::Acquire) {
                    shared.flush(&shared.queues);
                }
                Lead::No
            }
        };
        Wait { shared, queue, waiter: Some(waiter), lead, opened_in }.await
    }

    /// Whether a durable append would be taken now.
    pub fn is_writable(&self) -> bool {
        self.0.shared.healthy.load(Ordering::Acquire) && !self.0.shared.closed.load(Ordering::Acquire)
    }

    /// The sequence number of the last record written; 0 where there is none.
    pub fn last_seq(&self) -> u64 {
        self.0.shared.last_seq.load(Ordering::Acquire)
    }

    /// Writes what was appended so far by any thread, so that what is appended next comes after it.
    pub fn flush(&self) {
        let shared = &self.0.shared;
        shared.flush(&shared.queues);
    }

    /// Notes the latest time beside the head, for the next run to begin with.
    pub fn note_time(&self, latest: Timestamp) {
        self.0.shared.writer().note_time(latest.as_microsecond());
    }

    /// The last record, once it and all before it survive power loss: an anchor to keep elsewhere.
    ///
    /// # Errors
    /// If the disk does not accept it.
    pub fn synced_head(&self) -> io::Result<KnownHead> {
        self.flush();
        self.0.shared.writer().synced_head().map(|head| KnownHead::from(&head))
    }

    /// Writes, syncs and notes what there is, and ends the threads. What is appended later is written at once.
    pub fn close(&self) {
        self.0.close();
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("last_seq", &self.last_seq()).field("is_writable", &self.is_writable()).finish()
    }
}

/// Holds the threads; they hold what they share with it, so that the last journal to go can end them.
struct Owner {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Owner {
    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        model::sync::lock(&self.threads)
    }

    fn close(&self) {
        let shared = &self.shared;
        for aggregate in shared.refusals.drain() {
            encode(aggregate.kind, &aggregate, |link, contents| shared.queue().put(link, 0, contents));
        }
        shared.closed.store(true, Ordering::Release);
        shared.stopped.store(true, Ordering::Release);
        for thread in std::mem::take(&mut *self.threads()) {
            thread.thread().unpark();
            // A thread that panicked has nothing left to do.
            drop(thread.join());
        }
        shared.flush(&shared.queues);
        if !shared.healthy.load(Ordering::Acquire) {
            // The last chance for what was kept.
            shared.recover();
            shared.flush(&shared.queues);
        }
        shared.writer().finish();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
