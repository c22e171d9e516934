//! Wipes memory before it is freed. The copies of secrets in libraries (field maps, buffers of HTTP and TLS) then end
//! with the code that made them.
#![expect(unsafe_code, reason = "an allocator is unsafe by its trait; each use says why it is sound")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::ptr;

/// The system's allocator, which wipes every freed block.
pub(crate) struct Wiping;

// SAFETY: every call goes to the system's allocator with the layout that it came with. The writes before a block is freed are
// within that block, which its owner has released. `realloc` is the trait's own, which allocates, copies and frees, so that
// the old block is wiped too.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller guarantees what the system's allocator requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller guarantees what the system's allocator requires.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the block has this size, and no code uses it any more.
        unsafe { ptr::write_bytes(pointer, 0, layout.size()) };
        // Without this the compiler may omit the writes, because no code of ours reads them.
        black_box(pointer);
        // SAFETY: the caller guarantees what the system's allocator requires.
        unsafe { System.dealloc(pointer, layout) }
    }
}
