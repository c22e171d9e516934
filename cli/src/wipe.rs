//! Memory that is given back is wiped first, so that the copies of secrets which libraries make (field maps, buffers of HTTP
//! and TLS) end with whoever made them.
//!
//! Blocks between 1 and 16 KiB (buffers, futures, header maps: several for each request) are too large for the cache that the
//! system's allocator has for each thread, and its lists for them cost as much as the rest of the allocations of a request. A
//! few of each size are kept for the thread that gave them back: at most 128 KiB for each thread.
#![expect(unsafe_code, reason = "an allocator is unsafe by its trait; each use says why it is sound")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::hint::black_box;
use std::ptr;

/// The largest size that the system's allocator caches for each thread (glibc).
const SMALL_BYTES: usize = 1024;
/// The classes are this size and the three powers of two below it.
const LARGEST_CLASS_BYTES: usize = 16 << 10;
const CLASSES: usize = 4;
/// Of each class, a thread keeps at most so many bytes.
const KEPT_BYTES: usize = 32 << 10;
const MOST_BLOCKS: usize = KEPT_BYTES / (LARGEST_CLASS_BYTES >> (CLASSES - 1));

/// The system's allocator, wiping what it takes back.
pub(crate) struct Wiping;

/// A size to which allocations are rounded up; 0 is the smallest.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Class(usize);

impl Class {
    /// The class of a layout; none where the system's allocator serves it as it is.
    const fn of(layout: Layout) -> Option<Self> {
        let size = layout.size();
        if size <= SMALL_BYTES || size > LARGEST_CLASS_BYTES || layout.align() > align_of::<u128>() {
            return None;
        }
        Some(Self(size.next_power_of_two().trailing_zeros() as usize - (SMALL_BYTES.trailing_zeros() as usize + 1)))
    }

    const fn bytes(self) -> usize {
        (SMALL_BYTES * 2) << self.0
    }

    fn layout(self) -> Layout {
        Layout::from_size_align(self.bytes(), align_of::<u128>()).expect("a power of two is a layout")
    }
}

/// The blocks that one thread keeps, already wiped; given back to the system when the thread ends.
struct Kept(UnsafeCell<[Stack; CLASSES]>);

#[derive(Clone, Copy)]
struct Stack {
    count: usize,
    blocks: [*mut u8; MOST_BLOCKS],
}

thread_local! {
    static KEPT: Kept = const { Kept(UnsafeCell::new([Stack { count: 0, blocks: [ptr::null_mut(); MOST_BLOCKS] }; CLASSES])) };
}

impl Kept {
    /// Takes a block of a class, if this thread keeps one.
    fn take(class: Class) -> Option<*mut u8> {
        KEPT.try_with(|kept| {
            // SAFETY: only this thread has it, and nothing below calls the allocator, so that no other reference exists.
            let stack = unsafe { &mut (*kept.0.get())[class.0] };
            stack.count = stack.count.checked_sub(1)?;
            Some(stack.blocks[stack.count])
        })
        // The thread ends, and what it kept is gone.
        .unwrap_or_default()
    }

    /// Keeps a block of a class; false where there is no room.
    fn keep(class: Class, block: *mut u8) -> bool {
        KEPT.try_with(|kept| {
            // SAFETY: as in `take`.
            let stack = unsafe { &mut (*kept.0.get())[class.0] };
            let has_room = stack.count < KEPT_BYTES / class.bytes();
            if has_room {
                stack.blocks[stack.count] = block;
                stack.count += 1;
            }
            has_room
        })
        .unwrap_or_default()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        for (class, stack) in self.0.get_mut().iter_mut().enumerate() {
            for block in stack.blocks.iter().take(std::mem::take(&mut stack.count)) {
                // SAFETY: it came from the system with this layout, and only this list had it.
                unsafe { System.dealloc(*block, Class(class).layout()) };
            }
        }
    }
}

// SAFETY: every block comes from the system and goes back to it with the same layout: that of its class where it has one (size and
// alignment say which, so `alloc` and `dealloc` agree), else the caller's. A kept block has no owner and is handed out once. What is
// written before a block is given back lies within that block, which its owner has let go of.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = Class::of(layout) else {
            // SAFETY: the caller's promises are the system's.
            return unsafe { System.alloc(layout) };
        };
        // SAFETY: a class is never empty.
        Kept::take(class).unwrap_or_else(|| unsafe { System.alloc(class.layout()) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the system's; a class is never empty.
        unsafe { System.alloc_zeroed(Class::of(layout).map_or(layout, Class::layout)) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the block has at least this size, and nobody else uses it any more.
        unsafe { wipe(pointer, layout.size()) };
        let class = Class::of(layout);
        if class.is_some_and(|class| Kept::keep(class, pointer)) {
            return;
        }
        // SAFETY: `alloc` took it from the system with this layout.
        unsafe { System.dealloc(pointer, class.map_or(layout, Class::layout)) };
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the new size, rounded up to the alignment, does not overflow.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        if Class::of(layout).is_some_and(|class| Class::of(new) == Some(class)) {
            if new_size < layout.size() {
                // SAFETY: the bytes beyond the new size are the block's, and its owner has let go of them.
                unsafe { wipe(pointer.add(new_size), layout.size() - new_size) };
            }
            return pointer;
        }
        // Never in place by the system: a block that it moves would leave its bytes behind.
        // SAFETY: both blocks hold what is copied, and they are different ones.
        unsafe {
            let moved = self.alloc(new);
            if !moved.is_null() {
                ptr::copy_nonoverlapping(pointer, moved, layout.size().min(new_size));
                self.dealloc(pointer, layout);
            }
            moved
        }
    }
}

/// Overwrites bytes with zeros.
///
/// # Safety
/// The caller owns these bytes.
unsafe fn wipe(pointer: *mut u8, bytes: usize) {
    // SAFETY: the caller owns them.
    unsafe { ptr::write_bytes(pointer, 0, bytes) };
    // Without this the compiler may leave the writing out, since nothing of ours reads it.
    black_box(pointer);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    #[test]
    fn sizes_have_the_class_that_holds_them() {
        let bytes = |size| Class::of(layout(size)).map(Class::bytes);
        let sizes = [1, 1024, 1025, 2048, 2049, 4096, 5000, 8193, 16_384, 16_385].map(bytes);
        let (k2, k4, k8, k16) = (Some(2048), Some(4096), Some(8192), Some(16_384));
        assert_eq!(sizes, [None, None, k2, k2, k4, k4, k8, k16, k16, None]);
        assert!(Class::of(Layout::from_size_align(4096, 64).unwrap()).is_none());
    }

    #[test]
    fn a_block_is_kept_wiped_and_used_again() {
        // SAFETY: blocks are given back with the layout that they were taken with, and written within it.
        unsafe {
            let first = Wiping.alloc(layout(3000));
            ptr::write_bytes(first, 0xAA, 3000);
            Wiping.dealloc(first, layout(3000));
            let second = Wiping.alloc(layout(4000));
            assert_eq!(first, second);
            assert_eq!(std::slice::from_raw_parts(second, 3000), [0; 3000]);
            Wiping.dealloc(second, layout(4000));
        }
    }

    #[test]
    fn growth_keeps_the_bytes_and_shrinking_wipes_the_rest() {
        // SAFETY: as above; each block is read within its class.
        unsafe {
            let block = Wiping.alloc(layout(1500));
            ptr::write_bytes(block, 0xBB, 1500);
            assert_eq!(Wiping.realloc(block, layout(1500), 1200), block);
            assert_eq!(std::slice::from_raw_parts(block, 1500).iter().filter(|byte| **byte == 0xBB).count(), 1200);
            let grown = Wiping.realloc(block, layout(1200), 40_000);
            assert_eq!(std::slice::from_raw_parts(grown, 1200), [0xBB; 1200]);
            let shrunk = Wiping.realloc(grown, layout(40_000), 100);
            assert_eq!(std::slice::from_raw_parts(shrunk, 100), [0xBB; 100]);
            Wiping.dealloc(shrunk, layout(100));
        }
    }

    #[test]
    fn what_a_thread_keeps_is_bounded_and_crosses_threads() {
        // SAFETY: as above; a block may be given back by another thread.
        unsafe {
            let blocks: Vec<usize> = (0..20).map(|_| Wiping.alloc(layout(8192)) as usize).collect();
            std::thread::spawn(move || {
                for block in blocks {
                    Wiping.dealloc(block as *mut u8, layout(8192));
                }
                let taken: Vec<_> = (0..5).map(|_| Kept::take(Class(2))).collect();
                assert_eq!(taken.iter().flatten().count(), KEPT_BYTES / 8192);
                taken.into_iter().flatten().for_each(|block| System.dealloc(block, Class(2).layout()));
            })
            .join()
            .unwrap();
        }
    }
}
