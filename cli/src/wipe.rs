//! Wipes memory before it is freed. The copies of secrets in libraries (field maps, buffers of HTTP and TLS) then end
//! with the code that made them.
//!
//! Threads of the data path retain small freed blocks for their next allocations. The C library retains seven of each size, and
//! dozens of exchanges in progress allocate and free many more; the rest takes its slow path, some 5 % of the processor time of a
//! request. Retained blocks are wiped like all others, but for the link to the next one.
#![expect(unsafe_code, reason = "an allocator is unsafe by its trait; each use says why it is sound")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::ptr;

/// The system's allocator, which wipes every freed block.
pub(crate) struct Wiping;

/// The distance between the sizes of retained blocks, which is also the alignment of all blocks of the C library.
const STEP: usize = 16;

/// Sizes are a multiple of [`STEP`] and these bytes: the C library's blocks begin with 8 bytes of its own, so other sizes would
/// leave 8 bytes of each block unused.
const REST: usize = 8;

/// The longest block that is retained.
const LONGEST: usize = 1032;

/// How many sizes there are: 24, 40, .., 1032.
const CLASSES: usize = LONGEST / STEP;

/// The most bytes that one thread retains.
const MAX_RETAINED: usize = 256 << 10;

/// A retained block: its first bytes are a link to the next one of its size.
struct Retained {
    next: *mut Self,
}

/// The retained blocks of one thread, by size. It has no destructor: threads of the data path live as long as the process.
struct Cache {
    is_in_use: Cell<bool>,
    bytes: Cell<usize>,
    first: [Cell<*mut Retained>; CLASSES],
}

thread_local! {
    static CACHE: Cache = const {
        Cache {
            is_in_use: Cell::new(false),
            bytes: Cell::new(0),
            first: [const { Cell::new(ptr::null_mut()) }; CLASSES],
        }
    };
}

/// From here on this thread retains small blocks. For threads that live as long as the process.
pub(crate) fn retain_blocks() {
    CACHE.with(|cache| cache.is_in_use.set(true));
}

/// The layout of the blocks that one of this layout is taken from, and their index; `None` if they are not retained.
fn class_of(layout: Layout) -> Option<(Layout, usize)> {
    let (size, align) = (layout.size(), layout.align());
    if size == 0 || size > LONGEST || align > STEP {
        return None;
    }
    let class = size.saturating_sub(REST).div_ceil(STEP).max(1) - 1;
    // The size is at most `LONGEST`, and the alignment a power of two.
    Some((Layout::from_size_align(size_of_class(class), STEP).ok()?, class))
}

/// The bytes of each block of a class.
const fn size_of_class(class: usize) -> usize {
    (class + 1) * STEP + REST
}

impl Cache {
    /// A retained block of this class.
    fn take(&self, class: usize) -> Option<*mut u8> {
        let first = self.first.get(class)?;
        let block = first.get();
        if block.is_null() {
            return None;
        }
        // SAFETY: `put` wrote this link into a block that no other code uses until it is taken here.
        first.set(unsafe { (*block).next });
        self.bytes.set(self.bytes.get() - size_of_class(class));
        Some(block.cast())
    }

    /// Retains a block of this class; returns whether it did.
    fn put(&self, class: usize, block: *mut u8) -> bool {
        let bytes = self.bytes.get() + size_of_class(class);
        let Some(first) = self.first.get(class).filter(|_| self.is_in_use.get() && bytes <= MAX_RETAINED) else {
            return false;
        };
        let block: *mut Retained = block.cast();
        // SAFETY: the block is free, has at least 24 bytes, and is aligned to 16.
        unsafe { block.write(Retained { next: first.get() }) };
        first.set(block);
        self.bytes.set(bytes);
        true
    }
}

// SAFETY: every block comes from the system's allocator and returns to it, or is handed out again to one owner at a time. For small
// blocks, the layout towards the system is that of their class, which `class_of` computes from the layout alone, so it is the same
// when the block is freed. The writes before a block is freed are within that block, which its owner has released.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((block, class)) = class_of(layout) else {
            // SAFETY: the caller guarantees what the system's allocator requires.
            return unsafe { System.alloc(layout) };
        };
        // SAFETY: its size is not zero.
        CACHE.with(|cache| cache.take(class)).unwrap_or_else(|| unsafe { System.alloc(block) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if class_of(layout).is_none() {
            // SAFETY: the caller guarantees what the system's allocator requires.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: as for `alloc`; the block has the size of the layout.
        unsafe {
            let pointer = self.alloc(layout);
            if !pointer.is_null() {
                ptr::write_bytes(pointer, 0, layout.size());
            }
            pointer
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the block has this size, and no code uses it any more.
        unsafe { ptr::write_bytes(pointer, 0, layout.size()) };
        // Without this the compiler may omit the writes, because no code of ours reads them.
        black_box(pointer);
        let Some((block, class)) = class_of(layout) else {
            // SAFETY: the caller guarantees what the system's allocator requires.
            return unsafe { System.dealloc(pointer, layout) };
        };
        if !CACHE.with(|cache| cache.put(class, pointer)) {
            // SAFETY: it was allocated with the layout of its class.
            unsafe { System.dealloc(pointer, block) }
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees that the size, rounded up to the alignment, does not overflow.
        let changed = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if let (Some((_, before)), Some((_, after))) = (class_of(layout), class_of(changed))
            && before == after
        {
            if let Some(cut) = layout.size().checked_sub(size) {
                // SAFETY: these bytes are within the block, behind those that its owner keeps.
                unsafe { ptr::write_bytes(pointer.add(size), 0, cut) };
            }
            return pointer;
        }
        // SAFETY: both blocks have at least this many bytes, and are not the same; the old one is freed, and so wiped.
        unsafe {
            let moved = self.alloc(changed);
            if !moved.is_null() {
                ptr::copy_nonoverlapping(pointer, moved, layout.size().min(size));
                self.dealloc(pointer, layout);
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    /// Runs on a thread of its own, which retains blocks.
    fn retaining(test: impl FnOnce() + Send + 'static) {
        let thread = std::thread::spawn(|| {
            retain_blocks();
            test();
        });
        thread.join().unwrap();
    }

    #[test]
    fn small_blocks_have_a_class_by_their_size() {
        let class = |size, align| class_of(layout(size, align)).map(|(block, class)| (block.size(), class));
        assert_eq!([class(1, 1), class(24, 8), class(25, 16)], [Some((24, 0)), Some((24, 0)), Some((40, 1))]);
        assert_eq!(
            [class(40, 1), class(41, 1), class(1017, 1), class(1032, 1)].map(|class| class.unwrap().1),
            [1, 2, 63, 63]
        );
        assert_eq!([class(0, 1), class(1033, 1), class(64, 32)], [None; 3]);
    }

    #[test]
    fn a_retained_block_is_wiped_and_handed_out_again() {
        retaining(|| {
            // SAFETY: each block is used within its size, and freed once with its layout.
            unsafe {
                for size in [1, 16, 100, 1032] {
                    let block = Wiping.alloc(layout(size, 1));
                    ptr::write_bytes(block, 0xaa, size);
                    Wiping.dealloc(block, layout(size, 1));
                    // Another size of the same class.
                    let whole = layout(class_of(layout(size, 1)).unwrap().0.size(), 8);
                    let again = Wiping.alloc(whole);
                    assert_eq!(again, block, "{size}");
                    let bytes = std::slice::from_raw_parts(again, size);
                    assert!(bytes.iter().skip(size_of::<Retained>()).all(|byte| *byte == 0), "{size}");
                    Wiping.dealloc(again, whole);
                    let zeroed = Wiping.alloc_zeroed(layout(size, 1));
                    assert!(std::slice::from_raw_parts(zeroed, size).iter().all(|byte| *byte == 0), "{size}");
                    Wiping.dealloc(zeroed, layout(size, 1));
                }
            }
        });
    }

    #[test]
    fn blocks_in_use_are_distinct_and_what_is_retained_is_bounded() {
        retaining(|| {
            // SAFETY: each block is used within its size, and freed once with its layout.
            unsafe {
                for _ in 0..2 {
                    let blocks: Vec<*mut u8> = (0..1000).map(|_| Wiping.alloc(layout(512, 8))).collect();
                    for (n, block) in blocks.iter().enumerate() {
                        block.cast::<usize>().write(n);
                    }
                    assert!(blocks.iter().enumerate().all(|(n, block)| block.cast::<usize>().read() == n));
                    blocks.iter().for_each(|block| Wiping.dealloc(*block, layout(512, 8)));
                }
            }
            let retained = CACHE.with(|cache| cache.bytes.get());
            assert!(retained > MAX_RETAINED / 2 && retained <= MAX_RETAINED, "{retained}");
        });
    }

    #[test]
    fn a_block_that_grows_or_shrinks_keeps_its_bytes() {
        retaining(|| {
            // SAFETY: each block is used within its size, and freed once with its layout.
            unsafe {
                let mut block = Wiping.alloc(layout(20, 1));
                ptr::copy_nonoverlapping(b"0123456789abcdefghij".as_ptr(), block, 20);
                let mut size = 20;
                for next in [21, 24, 25, 1000, 1032, 1033, 5000, 40, 34, 20] {
                    block = Wiping.realloc(block, layout(size, 1), next);
                    size = next;
                    assert_eq!(std::slice::from_raw_parts(block, 20), b"0123456789abcdefghij", "{next}");
                }
                block = Wiping.realloc(block, layout(20, 1), 17);
                assert_eq!(
                    std::slice::from_raw_parts(block, 20),
                    b"0123456789abcdefg\0\0\0",
                    "what is cut off is wiped"
                );
                Wiping.dealloc(block, layout(17, 1));
            }
        });
    }

    #[test]
    fn other_threads_retain_nothing() {
        std::thread::spawn(|| {
            // SAFETY: the block is freed once with its layout.
            unsafe { Wiping.dealloc(Wiping.alloc(layout(64, 8)), layout(64, 8)) };
            assert_eq!(CACHE.with(|cache| cache.bytes.get()), 0);
        })
        .join()
        .unwrap();
    }
}
