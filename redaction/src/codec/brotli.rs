//! Brotli (RFC 7932).

use std::io;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};

use super::{MAX_WINDOW_BITS, PIECE};

/// Brotli.
pub(super) struct Brotli {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    pub(super) has_ended: bool,
    pub(super) has_more: bool,
    pub(super) out: Vec<u8>,
}

impl Brotli {
    pub(super) fn new() -> Self {
        // The strict state refuses the large windows that RFC 7932 does not have.
        let state =
            BrotliState::new_strict(StandardAlloc::default(), StandardAlloc::default(), StandardAlloc::default());
        Self { state, has_ended: false, has_more: false, out: Vec::new() }
    }

    pub(super) fn window_bytes(&self) -> usize {
        1_usize.checked_shl(self.state.window_bits).unwrap_or_default()
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
        if self.state.window_bits > 0 && self.window_bytes() > 1 << MAX_WINDOW_BITS {
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
