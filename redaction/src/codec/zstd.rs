//! Zstandard (RFC 8878).

use std::io;

use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::{MAX_WINDOW_BITS, PIECE};

/// Zstd: frames one after the other.
pub(super) struct Zstd {
    pub(super) context: DCtx<'static>,
    pub(super) is_between_frames: bool,
    pub(super) has_more: bool,
    pub(super) out: Vec<u8>,
}

impl Zstd {
    pub(super) fn new() -> Self {
        let mut context = DCtx::create();
        let bounded = context.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_BITS));
        debug_assert!(bounded.is_ok(), "the bound is within what the library takes");
        Self { context, is_between_frames: true, has_more: false, out: Vec::new() }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut piece = vec![0; PIECE];
        let mut input = InBuffer::around(bytes);
        let mut output = OutBuffer::around(&mut piece[..]);
        let hint = self
            .context
            .decompress_stream(&mut output, &mut input)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        let (taken, given) = (input.pos(), output.pos());
        // A full output buffer may have more to follow; a hint of zero means that a frame has ended and all of its
        // output was returned.
        self.has_more = given == PIECE && hint != 0;
        self.is_between_frames = hint == 0;
        piece.truncate(given);
        self.out = piece;
        Ok(taken)
    }
}
