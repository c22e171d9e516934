//! Brotli (RFC 7932).

use std::io;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState};

use super::memory::{Counting, PAGE_BYTES};
use super::{MAX_WINDOW_BITS, PIECE};

type State = BrotliState<Counting, Counting, Counting>;

/// Brotli.
pub(super) struct Brotli {
    state: State,
    /// The bytes of its tables.
    tables: Counting,
    pub(super) has_ended: bool,
    pub(super) has_more: bool,
    pub(super) out: Vec<u8>,
}

impl Brotli {
    pub(super) fn new() -> Self {
        let tables = Counting::default();
        // Strict mode refuses the large windows, which RFC 7932 does not define.
        let state = BrotliState::new_strict(tables.clone(), tables.clone(), tables.clone());
        Self { state, tables, has_ended: false, has_more: false, out: Vec::new() }
    }

    /// The memory in use: its tables, and the written part of the window. The library reserves the whole window at once, but
    /// a page of it uses memory only when it is written.
    pub(super) fn memory_bytes(&self) -> usize {
        let window = self.state.ringbuffer.mapped_bytes();
        let written = match self.state.rb_roundtrips {
            // The library writes to both ends of the window when it reserves it.
            0 => usize::try_from(self.state.pos).unwrap_or_default().saturating_add(2 * PAGE_BYTES),
            _ => window,
        };
        size_of::<State>() + self.tables.bytes() + written.min(window)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.has_ended {
            return Ok(0);
        }
        let mut piece = vec![0; PIECE];
        let (mut left, mut taken, mut room, mut given, mut total) = (bytes.len(), 0, piece.len(), 0, 0);
        let result = BrotliDecompressStream(
            &mut left,
            &mut taken,
            bytes,
            &mut room,
            &mut given,
            &mut piece,
            &mut total,
            &mut self.state,
        );
        if self.state.window_bits > MAX_WINDOW_BITS {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match result {
            BrotliResult::ResultSuccess => (self.has_ended, self.has_more) = (true, false),
            BrotliResult::NeedsMoreInput => self.has_more = false,
            BrotliResult::NeedsMoreOutput => self.has_more = true,
            BrotliResult::ResultFailure => return Err(io::ErrorKind::InvalidData.into()),
        }
        piece.truncate(given);
        self.out = piece;
        Ok(taken)
    }
}
