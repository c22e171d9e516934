//! The files: where the chain is continued, and what happens if the disk does not accept it.
//!
//! A write that fails leaves the file and the chain as they were before it. A file or folder that
//! was removed or replaced underneath counts as a failed write, found by looking after writing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::chain::{self, Head, Link, Noted};
use crate::journal::queue::Batch;
use crate::journal::unclosed::Unclosed;
use crate::line::{Segment, segments};

/// The space that is kept free so that a full disk can still be recorded.
const RESERVE_FILE: &str = "reserve";

/// How often the path is compared with the open file, besides the look at the file itself after every write.
const LOOK: Duration = Duration::from_millis(100);

/// The open end of the journal.
pub(super) struct Disk {
    dir: PathBuf,
    /// Holds the lock on the folder for as long as it is open.
    folder: OwnedFd,
    segment: Segment,
    file: File,
    length: u64,
    head: Head,
    noted: Head,
    /// The latest time that is to be noted with the head, and whether it is not yet.
    latest: i64,
    latest_pending: bool,
    looked: Instant,
    out: Vec<u8>,
    sizes: Sizes,
    pub(super) unclosed: Unclosed,
    synced: bool,
    /// Whether the segment's name in the folder is known to survive power loss.
    named: bool,
}

/// Where the segment stood before a group of writes.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    length: u64,
    head: Head,
}

/// How large things may become.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// A segment that has reached this is followed by another.
    pub(super) segment_bytes: u64,
    /// What is kept free for recording that the disk is full.
    pub(super) reserve_bytes: u64,
}

impl Disk {
    /// Takes the folder for this process alone.
    pub(super) fn lock(dir: &Path) -> io::Result<OwnedFd> {
        let folder = rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive)?;
        Ok(folder)
    }

    /// Continues a segment that exists, or begins the next one. A full disk is not an error here:
    /// [`Disk::reserve`] reports it.
    pub(super) fn open(dir: &Path, folder: OwnedFd, number: u32, head: Head, sizes: Sizes) -> io::Result<Self> {
        let segment = Segment::new(dir, number);
        let file = open_segment(&segment.path, false)?;
        let length = file.metadata()?.len();
        Ok(Self {
            dir: dir.to_owned(),
            folder,
            segment,
            file,
            length,
            head,
            noted: Head::START,
            latest: 0,
            latest_pending: false,
            looked: Instant::now(),
            out: Vec::new(),
            sizes,
            unclosed: Unclosed::new(number),
            synced: true,
            named: false,
        })
    }

    /// Reserves the space that is kept free; returns the error if the disk has none.
    ///
    /// # Errors
    /// Any other failure.
    pub(super) fn reserve(&mut self) -> io::Result<Option<io::Error>> {
        match self.refill_reserve() {
            Err(error) if is_full(&error) => Ok(Some(error)),
            reserved => reserved.map(|()| None),
        }
    }

    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// The segment that is written now.
    pub(super) fn number(&self) -> u32 {
        self.segment.number
    }

    /// Begins a group of writes that succeed or fail together, in one segment.
    pub(super) fn begin(&mut self) -> io::Result<Mark> {
        if self.length >= self.sizes.segment_bytes {
            self.rotate()?;
        }
        Ok(Mark { length: self.length, head: self.head })
    }

    /// Chains a batch and writes it with one system call.
    pub(super) fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let mut head = self.head;
        self.out.clear();
        for (entry, contents) in batch.records().filter(|(entry, _)| !entry.given_up) {
            head.write_line(&entry.link, contents, &mut self.out);
        }
        if self.out.is_empty() { Ok(()) } else { self.write_out(head) }
    }

    /// Chains and writes one record of the journal's own.
    pub(super) fn write_one(&mut self, link: &Link, contents: &[u8]) -> io::Result<()> {
        let mut head = self.head;
        self.out.clear();
        head.write_line(link, contents, &mut self.out);
        self.write_out(head)
    }

    fn write_out(&mut self, head: Head) -> io::Result<()> {
        write_all(&self.file, &self.out)?;
        self.length += self.out.len() as u64;
        self.out.shrink_to(256 * 1024);
        self.synced = false;
        self.look_at_file()?;
        if self.looked.elapsed() > LOOK {
            self.look_at_path()?;
        }
        self.head = head;
        Ok(())
    }

    /// Undoes what was written since a mark. Where the file cannot be cut, [`Disk::mend`] begins another.
    pub(super) fn roll_back(&mut self, mark: Mark) {
        (self.length, self.head) = (mark.length, mark.head);
        if let Err(error) = rustix::fs::ftruncate(&self.file, self.length) {
            model::log_limited!(error, %error, file = %self.segment.path.display(), "a failed write to the audit journal could not be undone");
        }
    }

    /// Looks whether the file still has a name, and holds what was written to it and nothing else.
    fn look_at_file(&self) -> io::Result<()> {
        let file = rustix::fs::fstat(&self.file)?;
        if file.st_nlink == 0 || u64::try_from(file.st_size) != Ok(self.length) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the file was removed or changed by someone else"));
        }
        Ok(())
    }

    /// Looks whether the path still leads to the file.
    fn look_at_path(&mut self) -> io::Result<()> {
        let (path, file) = (rustix::fs::stat(&self.segment.path)?, rustix::fs::fstat(&self.file)?);
        if (path.st_dev, path.st_ino) != (file.st_dev, file.st_ino) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the file was replaced by someone else"));
        }
        self.looked = Instant::now();
        Ok(())
    }

    /// Makes the journal writable again after a failure, as far as that is in its hands.
    ///
    /// A folder that is gone is waited for and never made: it may be a volume that is not mounted.
    pub(super) fn mend(&mut self) -> io::Result<()> {
        let folder = rustix::fs::stat(&self.dir)?;
        let held = rustix::fs::fstat(&self.folder)?;
        if (folder.st_dev, folder.st_ino) != (held.st_dev, held.st_ino) {
            self.folder = Self::lock(&self.dir)?;
        }
        self.refill_reserve()?;
        let cut = rustix::fs::ftruncate(&self.file, self.length).map_err(io::Error::from);
        let usable = cut.and_then(|()| self.look_at_file()).and_then(|()| self.look_at_path());
        if usable.is_ok() { Ok(()) } else { self.rotate() }
    }

    /// Begins the next segment.
    fn rotate(&mut self) -> io::Result<()> {
        let last = segments(&self.dir)?.last().map_or(0, |segment| segment.number);
        let segment = Segment::new(&self.dir, last.max(self.segment.number) + 1);
        let file = open_segment(&segment.path, true)?;
        self.named = false;
        self.unclosed.begin(segment.number);
        (self.segment, self.file, self.length) = (segment, file, 0);
        self.looked = Instant::now();
        Ok(())
    }

    /// Sees to it that what was written survives power loss.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.synced {
            return Ok(());
        }
        rustix::fs::fdatasync(&self.file)?;
        if !self.named {
            rustix::fs::fsync(&self.folder)?;
            self.named = true;
        }
        self.synced = true;
        Ok(())
    }

    /// Notes the head beside the segments, if there is a new one.
    pub(super) fn note(&mut self) -> io::Result<()> {
        if self.noted != self.head || self.latest_pending {
            let (open, oldest_open) = (self.unclosed.total(), self.unclosed.oldest());
            chain::write_head(&self.dir, &Noted { head: self.head, open, oldest_open, latest: self.latest })?;
            self.noted = self.head;
            self.latest_pending = false;
        }
        Ok(())
    }

    /// Keeps the latest time for the next note.
    pub(super) fn set_latest(&mut self, micros: i64) {
        self.latest_pending |= self.latest != micros;
        self.latest = micros;
    }

    /// Counts what a batch that is now in the journal opens and closes.
    pub(super) fn count(&mut self, batch: &Batch) {
        self.unclosed.count(batch, self.segment.number);
    }

    /// Gives the reserved space back to the disk; false where there was none.
    pub(super) fn release_reserve(&mut self) -> bool {
        std::fs::remove_file(self.dir.join(RESERVE_FILE)).is_ok()
    }

    /// Reserves space again; an eighth of a small disk at most.
    fn refill_reserve(&mut self) -> io::Result<()> {
        let space = rustix::fs::fstatvfs(&self.folder)?;
        let total = space.f_blocks.saturating_mul(space.f_frsize);
        let wanted = self.sizes.reserve_bytes.min(total / 8);
        if wanted == 0 {
            return Ok(());
        }
        let mut options = OpenOptions::new();
        let path = self.dir.join(RESERVE_FILE);
        let file = options.write(true).create(true).truncate(false).mode(0o600).custom_flags(NO_FOLLOW).open(&path)?;
        if file.metadata()?.blocks() * 512 >= wanted {
            return Ok(());
        }
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, wanted) {
            // A file system that cannot promise space keeps none for us.
            Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
            Err(error) => {
                // Half a reserve would only take the space that others are about to free.
                drop(std::fs::remove_file(&path));
                Err(error.into())
            }
        }
    }
}

const NO_FOLLOW: i32 = OFlags::NOFOLLOW.bits() as i32;

fn open_segment(path: &Path, new: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).create_new(new).mode(0o600).custom_flags(NO_FOLLOW);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

fn write_all(file: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether an error means that there is no space.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG))
}
