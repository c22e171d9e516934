//! Pieces of bodies as they are read. Their buffers are reused within a thread: a body of a gibibyte takes 65,536 of them.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes requested from a socket at once; a TLS record has as many (RFC 8446 section 5.1).
pub(crate) const READ_BYTES: usize = 16 << 10;

/// How many buffers a thread keeps for reuse.
const MAX_FREE: usize = 16;

thread_local! {
    /// Buffers without content: all of their bytes are zero.
    static FREE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer, and how many of its first bytes were read.
struct Piece {
    buffer: Box<[u8]>,
    length: usize,
}

impl Piece {
    fn new() -> Self {
        let buffer = FREE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; READ_BYTES].into_boxed_slice());
        Self { buffer, length: 0 }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        // It may contain a secret that an upstream sent, and lives on. It is used afterwards, so this is not optimized away.
        buffer.get_mut(..self.length).into_iter().for_each(|read| read.fill(0));
        // At the end of a thread its buffers are gone.
        let _kept = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < MAX_FREE {
                free.push(buffer);
            }
        });
    }
}

/// Reads once from a socket; no bytes at its end.
///
/// # Errors
/// The error of the socket.
pub(crate) fn poll_piece<S: AsyncRead + Unpin>(io: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
    let mut piece = Piece::new();
    let mut read = ReadBuf::new(&mut piece.buffer);
    ready!(Pin::new(io).poll_read(cx, &mut read))?;
    piece.length = read.filled().len();
    Poll::Ready(Ok(if piece.length == 0 { Bytes::new() } else { Bytes::from_owner(piece) }))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn free() -> Vec<Box<[u8]>> {
        FREE.with_borrow(Clone::clone)
    }

    #[tokio::test]
    async fn a_buffer_is_reused_without_its_content() {
        let (mut ours, mut theirs) = tokio::io::duplex(1 << 20);
        theirs.write_all(b"secret").await.unwrap();
        let piece = poll_fn(|cx| poll_piece(&mut ours, cx)).await.unwrap();
        assert_eq!((piece.as_ref(), free().len()), (b"secret".as_slice(), 0));
        let at = piece.as_ptr();
        let part = piece.slice(2..4);
        drop(piece);
        assert_eq!((part.as_ref(), free().len()), (b"cr".as_slice(), 0), "a part holds the whole");
        drop(part);
        assert_eq!(free(), [vec![0; READ_BYTES].into_boxed_slice()]);

        theirs.write_all(b"next").await.unwrap();
        let piece = poll_fn(|cx| poll_piece(&mut ours, cx)).await.unwrap();
        assert_eq!((piece.as_ref(), piece.as_ptr()), (b"next".as_slice(), at));
        drop((piece, theirs));
        assert_eq!(poll_fn(|cx| poll_piece(&mut ours, cx)).await.unwrap(), "", "the end");
        assert_eq!(free().len(), 1);
    }

    #[tokio::test]
    async fn a_read_that_waits_holds_no_buffer_and_few_are_kept() {
        let (mut ours, mut theirs) = tokio::io::duplex(1 << 20);
        let waits = poll_fn(|cx| Poll::Ready(poll_piece(&mut ours, cx).is_pending())).await;
        assert_eq!((waits, free().len()), (true, 1));
        let mut pieces = Vec::new();
        for _ in 0..2 * MAX_FREE {
            theirs.write_all(&[7; READ_BYTES]).await.unwrap();
            pieces.push(poll_fn(|cx| poll_piece(&mut ours, cx)).await.unwrap());
        }
        assert!(pieces.iter().all(|piece| piece.len() == READ_BYTES) && free().is_empty());
        drop(pieces);
        assert_eq!(free().len(), MAX_FREE);
        assert!(free().iter().all(|buffer| buffer.iter().all(|byte| *byte == 0)));
    }
}
