//! Pages for plaintext: never swapped out, excluded from core dumps, not inherited by children, and wiped piece by piece
//! when they are released. The only file of the workspace's product code with `unsafe`, except for the allocator of the
//! binary.
//!
//! If the kernel supports it, the pages come from `memfd_secret` (Linux 5.14). It removes them from the kernel's own map too: neither a
//! debugger nor another process of root's can read them through the kernel. Otherwise they are locked. If the limit of locked memory
//! (`RLIMIT_MEMLOCK`) is reached, they are ordinary pages that are at least not dumped. [`memory`] reports which of the three applies.
#![expect(unsafe_code, reason = "mapped pages are raw memory; each use says why it is sound")]

use std::collections::HashMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mlock, mmap, mmap_anonymous, mprotect};
use zeroize::Zeroize as _;

/// The smallest piece; keys are 32 bytes.
const SMALLEST: usize = 32;
/// Pages are taken from the system in chunks of at least this many bytes.
const CHUNK: usize = 64 << 10;
/// Pages are a multiple of this on every machine that Linux runs on.
const PAGE: usize = 64 << 10;

/// How well plaintext is protected in memory; the worst of all pages in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Memory {
    /// Pages that the kernel itself cannot read (`memfd_secret`).
    Secret = 0,
    /// Locked pages, left out of core dumps.
    Locked = 1,
    /// Pages that can be swapped out: the limit of locked memory is too low.
    Ordinary = 2,
}

impl Memory {
    /// `secret`, `locked` or `ordinary`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Locked => "locked",
            Self::Ordinary => "ordinary",
        }
    }
}

/// How the plaintext of this process is protected.
pub fn memory() -> Memory {
    match WORST.load(Ordering::Relaxed) {
        0 => Memory::Secret,
        1 => Memory::Locked,
        _ => Memory::Ordinary,
    }
}

static WORST: AtomicU8 = AtomicU8::new(0);

/// All pages of the process. They are returned to the system when it ends: their number follows the peak use.
static ARENA: Mutex<Arena> = Mutex::new(Arena { free: None, next: 0, end: 0 });

/// Addresses are stored as numbers, so that the arena can be shared; only `slot` converts them back.
struct Arena {
    /// Released pieces, by size.
    free: Option<HashMap<usize, Vec<usize>>>,
    /// The unused part of the newest chunk.
    next: usize,
    end: usize,
}

/// A piece of the pages: zeroed when it is taken, wiped when it is dropped.
pub struct Slot {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: a slot is the only owner of its bytes, and they are not bound to a thread.
unsafe impl Send for Slot {}
// SAFETY: through a shared slot the bytes can only be read.
unsafe impl Sync for Slot {}

impl Slot {
    /// A piece of this many bytes, all zero.
    pub fn new(length: usize) -> Self {
        let size = size_of_piece(length);
        let address = model::sync::lock(&ARENA).take(size);
        let start = NonNull::new(std::ptr::with_exposed_provenance_mut(address)).expect("no page lies at address 0");
        Self { start, length }
    }

    /// A piece that contains these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut slot = Self::new(bytes.len());
        slot.copy_from_slice(bytes);
        slot
    }
}

impl Deref for Slot {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the piece is at least `length` bytes of mapped, initialized memory that no other slot holds, and it
        // stays mapped until the process ends.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl DerefMut for Slot {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` is the only access to it.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.zeroize();
        let address = self.start.as_ptr().expose_provenance();
        model::sync::lock(&ARENA).give_back(address, size_of_piece(self.length));
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// Powers of two, so that a released piece fits the next of its size.
fn size_of_piece(length: usize) -> usize {
    length.next_power_of_two().max(SMALLEST)
}

impl Arena {
    fn take(&mut self, size: usize) -> usize {
        if let Some(address) = self.free.as_mut().and_then(|free| free.get_mut(&size)).and_then(Vec::pop) {
            return address;
        }
        if self.end - self.next < size {
            self.abandon();
            (self.next, self.end) = new_chunk(size.max(CHUNK));
        }
        let address = self.next;
        self.next += size;
        address
    }

    fn give_back(&mut self, address: usize, size: usize) {
        self.free.get_or_insert_default().entry(size).or_default().push(address);
    }

    /// The rest of the newest chunk becomes small pieces.
    fn abandon(&mut self) {
        while self.end - self.next >= SMALLEST {
            let left = self.end - self.next;
            let size = 1 << left.ilog2();
            self.give_back(self.next, size);
            self.next += size;
        }
    }
}

/// Pages for at least this many bytes, between two guard pages; the addresses of the first byte and after the last.
///
/// # Panics
/// If the system has no memory left, like any allocation.
fn new_chunk(bytes: usize) -> (usize, usize) {
    let inside = bytes.next_multiple_of(PAGE);
    let whole = inside + 2 * PAGE;
    // SAFETY: the kernel chooses the address, so no mapping of ours is touched.
    let outer = unsafe { mmap_anonymous(std::ptr::null_mut(), whole, ProtFlags::empty(), MapFlags::PRIVATE) };
    let outer = outer.expect("the system has memory");
    // SAFETY: one page into a mapping of at least three.
    let start = unsafe { outer.cast::<u8>().add(PAGE) };
    let kind = if map_secret(start, inside) {
        Memory::Secret
    } else {
        map_ordinary(start, inside);
        // SAFETY: these pages were just mapped, and only this function uses them.
        if unsafe { mlock(start.cast(), inside) }.is_ok() { Memory::Locked } else { Memory::Ordinary }
    };
    WORST.fetch_max(kind as u8, Ordering::Relaxed);
    for advice in [Advice::LinuxDontDump, Advice::LinuxDontFork] {
        // SAFETY: the advice changes what is dumped and what children see, not the content of the pages.
        let _unsupported = unsafe { madvise(start.cast(), inside, advice) };
    }
    let address = start.expose_provenance();
    (address, address + inside)
}

/// Maps pages of `memfd_secret` there; false if the kernel has none, or no more of them.
fn map_secret(start: *mut u8, bytes: usize) -> bool {
    // SAFETY: the call takes flags and returns a descriptor or an error; it touches no memory.
    let descriptor = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let Some(descriptor) = i32::try_from(descriptor).ok().filter(|descriptor| *descriptor >= 0) else { return false };
    // SAFETY: the kernel just created the descriptor, so no other code has it.
    let file = unsafe { OwnedFd::from_raw_fd(descriptor) };
    if rustix::fs::ftruncate(&file, bytes as u64).is_err() {
        return false;
    }
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the address is in a mapping that was made for this and that no code uses yet. The descriptor is closed
    // after it, so that these pages are the only access to the memory.
    unsafe { mmap(start.cast(), bytes, access, MapFlags::SHARED | MapFlags::FIXED, &file, 0) }.is_ok()
}

/// Maps ordinary pages there.
fn map_ordinary(start: *mut u8, bytes: usize) {
    let access = MprotectFlags::READ | MprotectFlags::WRITE;
    // SAFETY: the address is in a mapping that was made for this and that no code uses yet.
    let opened = unsafe { mprotect(start.cast(), bytes, access) }.or_else(|_| {
        // A failed `map_secret` may have left a hole.
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::FIXED);
        // SAFETY: as above.
        unsafe { mmap_anonymous(start.cast(), bytes, access, flags) }.map(drop)
    });
    opened.expect("the system has memory");
}

/// Tries the pages once and releases them, so that the level of protection is known before the first secret.
pub fn probe() -> Memory {
    drop(Slot::new(SMALLEST));
    memory()
}

#[cfg(test)]
mod tests {
    use rustix::mm::munmap;

    use super::*;

    #[test]
    fn t168_a_piece_is_zero_when_it_is_taken_and_wiped_when_it_is_dropped() {
        for length in [0, 1, 32, 33, 4096, 65_536, 100_000] {
            let mut slot = Slot::new(length);
            assert!(slot.len() == length && slot.iter().all(|byte| *byte == 0), "{length}");
            slot.fill(0xa5);
            let (address, size) = (slot.start.as_ptr().expose_provenance(), size_of_piece(length));
            drop(slot);
            let again: Vec<Slot> = (0..64).map(|_| Slot::new(length)).collect();
            assert!(again.iter().all(|slot| slot.iter().all(|byte| *byte == 0)), "{length}");
            // Another thread may use it by now; then this test must not read it.
            let same = again.iter().find(|slot| slot.start.as_ptr().addr() == address);
            assert!(same.is_none_or(|slot| size_of_piece(slot.len()) == size));
        }
    }

    #[test]
    fn pieces_do_not_overlap() {
        let threads: Vec<_> = (0..8u8)
            .map(|thread| {
                std::thread::spawn(move || {
                    let mut held: Vec<(u8, Slot)> = Vec::new();
                    for round in 0..2_000usize {
                        let mark = thread.wrapping_mul(31).wrapping_add(round as u8);
                        let mut slot = Slot::new(1 + round * 7 % 900);
                        slot.fill(mark);
                        held.push((mark, slot));
                        if round % 3 == 0 {
                            let (mark, slot) = held.swap_remove(round % held.len());
                            assert!(slot.iter().all(|byte| *byte == mark));
                        }
                    }
                    held.iter().for_each(|(mark, slot)| assert!(slot.iter().all(|byte| byte == mark)));
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    /// The flags of the mapping that contains this address, as the kernel reports them.
    fn flags(address: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let number = |text: &str| usize::from_str_radix(text, 16).ok();
            if let Some((start, end)) = range.and_then(|(start, end)| Some((number(start)?, number(end)?))) {
                inside = (start..end).contains(&address);
            } else if inside && let Some(flags) = line.strip_prefix("VmFlags: ") {
                return format!("{flags} ");
            }
        }
        panic!("no mapping holds it");
    }

    #[test]
    fn t168_pages_are_locked_and_not_dumped_and_guarded() {
        let slot = Slot::new(100);
        let found = flags(slot.start.as_ptr().addr());
        assert!(found.contains("dd "), "not left out of dumps: {found}");
        assert!(found.contains("dc "), "given to children: {found}");
        if memory() != Memory::Ordinary {
            assert!(found.contains("lo "), "not locked: {found}");
        }
        let (start, end) = new_chunk(CHUNK);
        for outside in [start - 1, end] {
            assert!(!flags(outside).contains("rd "), "a page beside the chunk can be read");
        }
        // It contains nothing of the arena.
        let outer = std::ptr::with_exposed_provenance_mut::<u8>(start - PAGE);
        // SAFETY: the chunk was made here, and no slot was taken from it.
        unsafe { munmap(outer.cast(), end - start + 2 * PAGE) }.unwrap();
    }

    #[test]
    fn where_no_page_can_be_locked_ordinary_ones_are_not_dumped() {
        // In a process of its own, because the limit applies to all threads.
        const MARK: &str = "EGRET_ARENA_TEST_WITHOUT_LOCKS";
        if std::env::var_os(MARK).is_none() {
            let test = "arena::tests::where_no_page_can_be_locked_ordinary_ones_are_not_dumped";
            let mut without = std::process::Command::new("prlimit");
            if rustix::process::getuid().is_root() {
                // The limit does not apply to root, so that right is dropped.
                without = std::process::Command::new("setpriv");
                without.args(["--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock", "prlimit"]);
            }
            without.arg("--memlock=0:0");
            without.arg(std::env::current_exe().unwrap()).args([test, "--exact"]).env(MARK, "1");
            let output = without.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
            return;
        }
        let slot = Slot::new(10);
        assert_eq!(memory(), Memory::Ordinary);
        let found = flags(slot.start.as_ptr().addr());
        assert!(found.contains("dd ") && !found.contains("lo "), "{found}");
    }
}
