//! From queues to disk, and what becomes of records while the disk does not take them.
//!
//! Three states. *Good*: everything is written. *Low*: the disk is full and its reserve released, so
//! records that no task waits for are still written, and everything else is refused. *Down*: nothing is written,
//! records that no task waits for are kept up to a bound, and what exceeds it is counted.

use std::io;
use std::task::Waker;

use model::{Reason, Timestamp};

use crate::chain::Head;
use crate::journal::disk::{Disk, is_full};
use crate::journal::encode::encode;
use crate::journal::queue::{Batch, Entry, LostRecords, Progress, Queue};
use crate::record::{Fault, Kind, Record};

/// The most bytes of contents that are kept while nothing can be written.
const MAX_BACKLOG_BYTES: usize = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Good,
    Low,
    Down,
}

/// The writer: the holder of its lock.
pub(super) struct Writer {
    disk: Disk,
    /// Whether a write counts only once the disk has it.
    power: bool,
    health: Health,
    /// What is being written: one batch for each queue that is served at a time.
    batches: Vec<Batch>,
    backlog: Batch,
    lost: LostRecords,
    /// When the disk failed, and how.
    trouble: Option<(Timestamp, String)>,
}

impl Writer {
    pub(super) fn new(disk: Disk, power: bool) -> Self {
        Self {
            disk,
            power,
            health: Health::Good,
            batches: Vec::new(),
            backlog: Batch::default(),
            lost: LostRecords::default(),
            trouble: None,
        }
    }

    /// Begins on a disk that is full: no awaited record is written until there is space, and the others are
    /// written as long as it fits.
    pub(super) fn begin_full(&mut self, error: &io::Error) {
        model::log_limited!(error, %error, "the disk of the audit journal is full; requests are refused until it has space");
        self.trouble = Some((Timestamp::now(), error.to_string()));
        self.health = Health::Low;
    }

    pub(super) fn is_good(&self) -> bool {
        self.health == Health::Good
    }

    pub(super) fn head(&self) -> Head {
        self.disk.head()
    }

    /// Writes what is in some queues, as one group, and reports the result to the waiting tasks.
    pub(super) fn flush(&mut self, queues: &[Queue], wakers: &mut Vec<Waker>) {
        if self.batches.len() < queues.len() {
            self.batches.resize_with(queues.len(), Batch::default);
        }
        for (queue, batch) in queues.iter().zip(&mut self.batches) {
            self.lost.add(queue.take(batch));
        }
        let mut batches = std::mem::take(&mut self.batches);
        let progress = self.commit(&mut batches);
        for (queue, batch) in queues.iter().zip(&mut batches) {
            let unknown = queue.complete(batch, progress, wakers);
            if let Progress::Written(number) = progress {
                self.disk.unclosed.unclaimed(number, unknown);
            }
            batch.clear();
        }
        self.batches = batches;
    }

    /// Writes batches if it can; waiting tasks get the result, the rest is kept.
    fn commit(&mut self, batches: &mut [Batch]) -> Progress {
        if self.health == Health::Good {
            match self.write(batches) {
                Ok(()) => return Progress::Written(self.disk.number()),
                Err(error) => self.fail(&error),
            }
        }
        // No waiting task is served from here on: a request must not be sent because a reserve took its record.
        for entry in batches.iter_mut().flat_map(|batch| &mut batch.entries) {
            entry.given_up |= entry.waiter.is_some();
        }
        if self.health == Health::Low {
            match self.write(batches) {
                Ok(()) => return Progress::Failed,
                Err(error) => self.fail(&error),
            }
        }
        for batch in batches.iter() {
            self.keep(batch);
        }
        Progress::Failed
    }

    /// Writes batches and the records about losses; all or nothing.
    fn write(&mut self, batches: &[Batch]) -> io::Result<()> {
        let mark = self.disk.begin()?;
        let written = self.write_group(batches);
        match written {
            Ok(()) => {
                self.lost = LostRecords::default();
                batches.iter().for_each(|batch| self.disk.count(batch));
            }
            Err(_) => self.disk.roll_back(mark),
        }
        written
    }

    fn write_group(&mut self, batches: &[Batch]) -> io::Result<()> {
        if self.lost.count > 0 {
            self.write_gap(&self.loss())?;
        }
        for batch in batches {
            self.disk.write(batch)?;
        }
        if self.power { self.disk.sync() } else { Ok(()) }
    }

    /// The disk refused: falls back on the reserve where space is what is missing.
    fn fail(&mut self, error: &io::Error) {
        let now = Timestamp::now();
        if self.trouble.is_none() {
            model::log_limited!(error, %error, "the audit journal cannot be written; requests are refused until it can");
            self.trouble = Some((now, error.to_string()));
        }
        let spared = self.health == Health::Good && is_full(error) && self.disk.release_reserve();
        self.health = if spared { Health::Low } else { Health::Down };
        if !spared {
            return;
        }
        let gap = Record { detail: Some("no space".into()), first: Some(now), ..gap() };
        let written = self.disk.begin().and_then(|mark| {
            let written = self.write_gap(&gap);
            if written.is_err() {
                self.disk.roll_back(mark);
            }
            written
        });
        if written.is_err() {
            self.health = Health::Down;
        }
    }

    /// Tries to make the journal writable again, and writes what was kept.
    pub(super) fn recover(&mut self) {
        if self.health == Health::Good {
            return;
        }
        if let Err(error) = self.disk.mend() {
            tracing::debug!(%error, "the audit journal still cannot be written");
            return;
        }
        let mut backlog = std::mem::take(&mut self.backlog);
        match self.write_recovered(&backlog) {
            Ok(()) => {
                backlog.clear();
                model::log_limited!(info, "the audit journal can be written again");
                (self.health, self.trouble) = (Health::Good, None);
            }
            Err(error) => {
                tracing::debug!(%error, "the audit journal still cannot be written");
                self.health = Health::Down;
            }
        }
        self.backlog = backlog;
    }

    fn write_recovered(&mut self, backlog: &Batch) -> io::Result<()> {
        let mark = self.disk.begin()?;
        let written = (|| {
            // A full disk was recorded when it happened; what failed otherwise is recorded now.
            if self.health == Health::Down || self.lost.count > 0 {
                self.write_gap(&self.loss())?;
            }
            self.disk.write(backlog)?;
            if self.power { self.disk.sync() } else { Ok(()) }
        })();
        match written {
            Ok(()) => {
                self.lost = LostRecords::default();
                self.disk.count(backlog);
            }
            Err(_) => self.disk.roll_back(mark),
        }
        written
    }

    /// Keeps the records that no task waits for until they can be written.
    fn keep(&mut self, batch: &Batch) {
        for (entry, contents) in batch.records().filter(|(entry, _)| !entry.given_up) {
            if self.backlog.contents.len() + contents.len() > MAX_BACKLOG_BYTES {
                self.lost.add(LostRecords::one(entry.link.time));
            } else {
                self.backlog.push(Entry { waiter: None, ..*entry }, contents);
            }
        }
    }

    /// The records about the time in which the journal could not be written.
    fn loss(&self) -> Record {
        let at = |micros| Timestamp::from_microsecond(micros).ok();
        let mut gap = Record { count: Some(self.lost.count), ..gap() };
        if self.lost.count > 0 {
            (gap.first, gap.last) = (at(self.lost.first), at(self.lost.last));
        } else if let Some((since, _)) = &self.trouble {
            (gap.first, gap.last) = (Some(*since), Some(Timestamp::now()));
        }
        gap.detail = self.trouble.as_ref().map(|(_, why)| why.clone().into());
        gap
    }

    fn write_gap(&mut self, gap: &Record) -> io::Result<()> {
        encode(Kind::Gap, gap, |link, contents| self.disk.write_one(&link, contents))
    }

    /// Notes the head beside the segments.
    pub(super) fn note(&mut self) {
        if let Err(error) = self.disk.note() {
            model::log_limited!(warn, %error, "the head of the audit journal could not be noted");
        }
    }

    /// Notes the head with the latest time.
    pub(super) fn note_time(&mut self, micros: i64) {
        self.disk.set_latest(micros);
        self.note();
    }

    /// The head, once the disk has everything up to it.
    pub(super) fn synced_head(&mut self) -> io::Result<Head> {
        self.disk.sync()?;
        Ok(self.disk.head())
    }

    /// Syncs at the end, and reports what could not be written.
    pub(super) fn finish(&mut self) {
        if self.health == Health::Down {
            let records = self.backlog.entries.len() as u64 + self.lost.count;
            model::log_limited!(error, records, "the audit journal closes with records that could not be written");
        } else if let Err(error) = self.disk.sync() {
            model::log_limited!(warn, %error, "the audit journal could not be synced");
        }
    }
}

fn gap() -> Record {
    Record { code: Some(Reason::AuditUnavailable), fault: Some(Fault::Egret), ..Record::new(Kind::Gap) }
}
