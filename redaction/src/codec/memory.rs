//! The memory of a brotli decoder, counted by actual use.
//!
//! A few hundred bytes of brotli can request a window of megabytes. The library allocates it whole and fills it from its beginning,
//! so it is mapped. The kernel provides a page when it is written, and gets all of them back when the decoder is dropped. On the
//! heap, this would depend on earlier frees, and wiping the window would write to every page.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use brotli_decompressor::{Allocator, HuffmanCode, SliceWrapper, SliceWrapperMut};
use memmap2::{Advice, MmapMut};

/// The page size of the kernel.
pub(super) const PAGE_BYTES: usize = 4 << 10;

/// Buffers of this size and more are mapped. Only a window is this large: the context maps have at most 16 KiB.
const MAPPED_BYTES: usize = 64 << 10;

/// Allocates for one decoder, and counts the bytes on the heap.
#[derive(Clone, Default)]
pub(super) struct Counting(Arc<AtomicUsize>);

impl Counting {
    /// The bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn table<T: Clone + Default>(&self, len: usize) -> Table<T> {
        let bytes = len * size_of::<T>();
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Table { cells: vec![T::default(); len], _counted: Some(Counted { bytes, by: self.clone() }) }
    }
}

/// Bytes that are counted until they are dropped.
struct Counted {
    bytes: usize,
    by: Counting,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.by.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Memory on the heap.
#[derive(Default)]
pub(super) struct Table<T> {
    cells: Vec<T>,
    _counted: Option<Counted>,
}

/// Bytes on the heap, or a window.
pub(super) enum Buffer {
    Heap(Table<u8>),
    Mapped(MmapMut),
}

impl Buffer {
    /// The bytes that are mapped.
    pub(super) fn mapped_bytes(&self) -> usize {
        match self {
            Self::Heap(_) => 0,
            Self::Mapped(window) => window.len(),
        }
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::Heap(Table::default())
    }
}

/// Maps a window; an empty buffer if the system has no room for it, which the library reports as an error of its own.
fn map(len: usize) -> Buffer {
    let Ok(window) = MmapMut::map_anon(len) else { return Buffer::default() };
    // A huge page would use two mebibytes for the first byte. A system without huge pages needs no advice.
    window.advise(Advice::NoHugePage).ok();
    Buffer::Mapped(window)
}

impl Allocator<u8> for Counting {
    type AllocatedMemory = Buffer;

    fn alloc_cell(&mut self, len: usize) -> Buffer {
        if len >= MAPPED_BYTES { map(len) } else { Buffer::Heap(self.table(len)) }
    }

    fn free_cell(&mut self, _cell: Buffer) {}
}

impl Allocator<u32> for Counting {
    type AllocatedMemory = Table<u32>;

    fn alloc_cell(&mut self, len: usize) -> Table<u32> {
        self.table(len)
    }

    fn free_cell(&mut self, _cell: Table<u32>) {}
}

impl Allocator<HuffmanCode> for Counting {
    type AllocatedMemory = Table<HuffmanCode>;

    fn alloc_cell(&mut self, len: usize) -> Table<HuffmanCode> {
        self.table(len)
    }

    fn free_cell(&mut self, _cell: Table<HuffmanCode>) {}
}

impl<T> SliceWrapper<T> for Table<T> {
    fn slice(&self) -> &[T] {
        &self.cells
    }
}

impl<T> SliceWrapperMut<T> for Table<T> {
    fn slice_mut(&mut self) -> &mut [T] {
        &mut self.cells
    }
}

impl SliceWrapper<u8> for Buffer {
    fn slice(&self) -> &[u8] {
        match self {
            Self::Heap(table) => &table.cells,
            Self::Mapped(window) => window,
        }
    }
}

impl SliceWrapperMut<u8> for Buffer {
    fn slice_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(table) => &mut table.cells,
            Self::Mapped(window) => window,
        }
    }
}
