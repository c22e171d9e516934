//! The evidence: an append-only folder of files, one record a line.
//!
//! Records are written in groups by those who wait for them. The first to come leads: it steps back
//! once, so that the other tasks of its runtime can add theirs, then chains and writes all of them
//! with one system call and wakes the others. Numbers and hashes come into being at that moment.
//! No thread is woken for a record, and no lock is held across an await.

mod disk;
mod keeper;
mod queue;
mod recovery;
mod unclosed;
mod writer;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};
use std::thread::{JoinHandle, Thread};
use std::{fmt, io};

use model::{RecordId, Timestamp};
use rand::Rng as _;
use thiserror::Error;

use crate::chain::{self, Link};
use crate::record::{Kind, Record};
use queue::{Place, Progress, Queue};
use unclosed::IN_FLIGHT;
use writer::Writer;

/// Enough that the threads of a large machine rarely share one.
const QUEUES: usize = 16;

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
        /// What the system said.
        source: io::Error,
    },
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
    /// Bytes of a torn last record that were cut off.
    pub cut_bytes: u64,
    /// Records that were noted as written and are missing at the end.
    pub missing: u64,
    /// Exchanges and tunnels that the previous run left open and that are now closed as `aborted`.
    pub aborted: u64,
    /// Where the journal does not verify, if that was seen on the way.
    pub corrupt: Option<String>,
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
        recovery::open(dir, settings).map_err(|source| {
            let path = dir.to_owned();
            if source.kind() == io::ErrorKind::WouldBlock {
                JournalError::Locked { path }
            } else {
                JournalError::Io { path, source }
            }
        })
    }

    fn start(writer: Writer, durability: Durability) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(writer, durability));
        let owner = Owner { shared: shared.clone(), threads: Mutex::default() };
        let keeper = keeper::start(shared.clone())?;
        shared.calls.keeper(keeper.thread().clone());
        owner.threads().push(keeper);
        if durability == Durability::Power {
            let syncer = keeper::start_syncer(shared.clone())?;
            shared.calls.syncer(syncer.thread().clone());
            owner.threads().push(syncer);
        }
        Ok(Self(Arc::new(owner)))
    }

    /// Appends a record that nobody waits for: written within about 20 ms, and kept while the journal cannot be written.
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
            shared.arm();
        }
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

    /// Appends a record under another kind; tells in which segment it stands as soon as it does, even when dropped.
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
        shared.arm();
        let (waiter, leads) = match place {
            Place::Full => return Err(Unavailable),
            Place::Leader(waiter) => (waiter, true),
            Place::Follower(waiter) => (waiter, false),
        };
        let lead = match shared.durability {
            Durability::Process if leads => Lead::Will,
            Durability::Process => Lead::No,
            Durability::Power => {
                shared.call_syncer();
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
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        let shared = &self.shared;
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

/// What the journal, its threads and its waiters have in common.
struct Shared {
    queues: [Queue; QUEUES],
    writer: Mutex<Writer>,
    durability: Durability,
    /// Records can be written.
    healthy: AtomicBool,
    /// The keeper is awake and will look at the queues.
    armed: AtomicBool,
    /// Counts the keeper's ticks.
    tick: AtomicU32,
    sync_wanted: AtomicBool,
    closed: AtomicBool,
    stopped: AtomicBool,
    last_seq: AtomicU64,
    calls: Calls,
}

/// The threads that can be woken.
#[derive(Default)]
struct Calls {
    keeper: std::sync::OnceLock<Thread>,
    syncer: std::sync::OnceLock<Thread>,
}

impl Calls {
    fn keeper(&self, thread: Thread) {
        self.keeper.get_or_init(|| thread);
    }

    fn syncer(&self, thread: Thread) {
        self.syncer.get_or_init(|| thread);
    }
}

impl Shared {
    fn new(writer: Writer, durability: Durability) -> Self {
        Self {
            queues: Default::default(),
            durability,
            healthy: AtomicBool::new(writer.is_good()),
            armed: AtomicBool::new(false),
            tick: AtomicU32::new(0),
            sync_wanted: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            last_seq: AtomicU64::new(writer.head().seq),
            writer: Mutex::new(writer),
            calls: Calls::default(),
        }
    }

    /// The queue of the calling thread.
    fn queue(&self) -> &Queue {
        &self.queues[LANE.with(|lane| *lane) % QUEUES]
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer, unless someone is writing.
    fn idle_writer(&self) -> Option<MutexGuard<'_, Writer>> {
        match self.writer.try_lock() {
            Ok(writer) => Some(writer),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Writes what is in some queues and wakes those who waited for it.
    fn flush(&self, queues: &[Queue]) {
        self.flush_with(self.writer(), queues);
    }

    fn flush_with(&self, mut writer: MutexGuard<'_, Writer>, queues: &[Queue]) {
        let mut wakers = WAKERS.take();
        writer.flush(queues, &mut wakers);
        self.publish(&writer);
        if self.closed.load(Ordering::Acquire) {
            writer.note();
        }
        drop(writer);
        // Outside of every lock: a waker may drop a task, and with it a future that comes back here.
        wakers.drain(..).for_each(Waker::wake);
        WAKERS.set(wakers);
    }

    /// For the keeper, which must not wait: has a queue written by whoever may.
    fn serve(&self, queue: &Queue) {
        match self.durability {
            Durability::Power => self.call_syncer(),
            Durability::Process => {
                if let Some(writer) = self.idle_writer() {
                    self.flush_with(writer, std::slice::from_ref(queue));
                }
            }
        }
    }

    fn recover(&self) {
        if let Some(mut writer) = self.idle_writer() {
            writer.recover();
            self.publish(&writer);
        }
    }

    /// Notes the head; false where someone is writing.
    fn note(&self) -> bool {
        let writer = self.idle_writer();
        let free = writer.is_some();
        writer.into_iter().for_each(|mut writer| writer.note());
        free
    }

    fn publish(&self, writer: &Writer) {
        self.last_seq.store(writer.head().seq, Ordering::Release);
        if !writer.is_good() && self.healthy.swap(false, Ordering::AcqRel) {
            self.calls.keeper.get().into_iter().for_each(Thread::unpark);
        } else if writer.is_good() {
            self.healthy.store(true, Ordering::Release);
        }
    }

    /// Makes sure that the keeper is awake, without a system call where it is.
    fn arm(&self) {
        if !self.armed.load(Ordering::Acquire) && !self.armed.swap(true, Ordering::AcqRel) {
            self.calls.keeper.get().into_iter().for_each(Thread::unpark);
        }
    }

    fn call_syncer(&self) {
        if !self.sync_wanted.swap(true, Ordering::AcqRel) {
            self.calls.syncer.get().into_iter().for_each(Thread::unpark);
        }
    }
}

/// Whether one who waits also writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lead {
    No,
    /// After the others of its runtime had their turn.
    Will,
    Now,
}

/// Waits for one record.
struct Wait<'a> {
    shared: &'a Shared,
    queue: &'a Queue,
    waiter: Option<u32>,
    lead: Lead,
    opened_in: &'a mut u32,
}

impl Future for Wait<'_> {
    type Output = Result<(), Unavailable>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.lead {
            Lead::Will => {
                self.lead = Lead::Now;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Lead::Now => {
                self.lead = Lead::No;
                self.shared.flush(std::slice::from_ref(self.queue));
            }
            Lead::No => {}
        }
        let waiter = self.waiter.expect("a future is not polled after it was ready");
        let result = match self.queue.poll(waiter, context.waker()) {
            Progress::Waiting | Progress::Taken => return Poll::Pending,
            Progress::Written(number) => {
                *self.opened_in = number;
                Ok(())
            }
            Progress::Failed => Err(Unavailable),
            Progress::Lapsed => {
                *self.opened_in = IN_FLIGHT;
                Err(Unavailable)
            }
        };
        self.waiter = None;
        Poll::Ready(result)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let progress = self.waiter.map(|waiter| self.queue.forsake(waiter));
        match progress {
            Some(Progress::Written(number)) => *self.opened_in = number,
            Some(Progress::Taken | Progress::Lapsed) => *self.opened_in = IN_FLIGHT,
            Some(Progress::Waiting | Progress::Failed) | None => {}
        }
        // Others may rely on it.
        if self.lead != Lead::No {
            self.shared.flush(std::slice::from_ref(self.queue));
        }
    }
}

thread_local! {
    static LANE: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
    static RANDOM: RefCell<rand::rngs::ThreadRng> = RefCell::new(rand::rng());
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static WAKERS: Cell<Vec<Waker>> = const { Cell::new(Vec::new()) };
}

/// Writes the contents of a record and draws what it needs to be chained.
fn encode<T>(kind: Kind, record: &Record, take: impl FnOnce(Link, &[u8]) -> T) -> T {
    let time = record.time.unwrap_or_else(Timestamp::now);
    let mut contents = SCRATCH.take();
    contents.clear();
    match &record.id {
        Some(id) => record.write_contents(id, &mut contents),
        None => record.write_contents(&RecordId::from_bytes(draw(time)), &mut contents),
    }
    let taken = seal(time, kind, &contents, take);
    SCRATCH.set(contents);
    taken
}

/// Digests contents under a salt of their own.
fn seal<T>(time: Timestamp, kind: Kind, contents: &[u8], take: impl FnOnce(Link, &[u8]) -> T) -> T {
    let mut salt = [0; 16];
    RANDOM.with_borrow_mut(|random| random.fill_bytes(&mut salt));
    let digest = chain::digest_of(&salt, contents);
    take(Link { time: time.as_microsecond(), kind, salt, digest }, contents)
}

/// 16 bytes for an id: six of time in milliseconds, so that ids sort by it, and ten random ones.
pub(crate) fn draw(now: Timestamp) -> [u8; 16] {
    let mut bytes = [0; 16];
    RANDOM.with_borrow_mut(|random| random.fill_bytes(&mut bytes[6..]));
    bytes[..6].copy_from_slice(&now.as_millisecond().to_be_bytes()[2..]);
    bytes
}

#[cfg(test)]
mod tests;
