//! The chunked transfer coding (RFC 9112 section 7.1): finds the data, the trailers and the end of a body.
//!
//! Sizes are hexadecimal digits only. Extensions are dropped. Extensions that other readers parse differently (without a name, or
//! with an open quote at the end of the line) are refused.

use bytes::Bytes;
use thiserror::Error;

/// Bytes of chunk extensions that one body may have.
const MAX_EXTENSION_BYTES: usize = 1 << 10;
/// Bytes of trailers that one body may have: in HTTP/1.1 of their lines, in HTTP/2 of names and values.
pub(crate) const MAX_TRAILER_BYTES: usize = 8 << 10;

/// The decoder of one body.
#[derive(Debug)]
pub(crate) struct Chunks {
    state: ChunkState,
    extension_bytes: usize,
    /// The lines of the trailer section; `trailer_bytes` counts only the bytes within lines.
    trailers: Vec<u8>,
    trailer_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkState {
    Size {
        value: u64,
        digits: u8,
    },
    /// After a semicolon.
    ExtensionStart {
        size: u64,
    },
    Extension {
        size: u64,
        quoted: bool,
        escaped: bool,
    },
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    LineStart,
    Trailer,
    TrailerLf,
    LastLf,
    Done,
    /// A byte did not fit.
    Broken(BadChunk),
}

/// Why reading of the stream stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum BadChunk {
    /// It breaks the grammar.
    #[error("the chunked body is malformed")]
    Malformed,
    /// The trailers exceed their bound.
    #[error("the trailers exceed {MAX_TRAILER_BYTES} bytes")]
    TrailersTooLarge,
}

impl Chunks {
    pub(crate) fn new() -> Self {
        Self {
            state: ChunkState::Size { value: 0, digits: 0 },
            extension_bytes: 0,
            trailers: Vec::new(),
            trailer_bytes: 0,
        }
    }

    /// Whether the last chunk and its trailers were read.
    pub(crate) fn is_done(&self) -> bool {
        self.state == ChunkState::Done
    }

    /// Whether the next byte is data.
    pub(crate) fn is_in_data(&self) -> bool {
        matches!(self.state, ChunkState::Data { .. })
    }

    /// The trailer section, without the empty line; returned once.
    pub(crate) fn take_trailers(&mut self) -> Option<Bytes> {
        (!self.trailers.is_empty()).then(|| Bytes::from(std::mem::take(&mut self.trailers)))
    }

    /// Consumes the framing at the beginning of `bytes`, up to the next data or the end of the body; returns its
    /// length.
    ///
    /// # Errors
    /// [`BadChunk`] at the first byte that does not fit, and from then on.
    pub(crate) fn framing(&mut self, bytes: &[u8]) -> Result<usize, BadChunk> {
        for (at, byte) in bytes.iter().enumerate() {
            match self.state {
                ChunkState::Done | ChunkState::Data { .. } => return Ok(at),
                ChunkState::Broken(bad) => return Err(bad),
                ChunkState::Size { .. }
                | ChunkState::ExtensionStart { .. }
                | ChunkState::Extension { .. }
                | ChunkState::SizeEnd { .. }
                | ChunkState::DataCr
                | ChunkState::DataLf
                | ChunkState::LineStart
                | ChunkState::Trailer
                | ChunkState::TrailerLf
                | ChunkState::LastLf => self.step(*byte).inspect_err(|bad| self.state = ChunkState::Broken(*bad))?,
            }
        }
        Ok(bytes.len())
    }

    /// Consumes data, of which this many bytes are available; returns how many of them belong to this chunk.
    pub(crate) fn data(&mut self, available: usize) -> usize {
        let ChunkState::Data { left } = self.state else { return 0 };
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(available);
        let left = left - here as u64;
        self.state = if left == 0 { ChunkState::DataCr } else { ChunkState::Data { left } };
        here
    }

    fn step(&mut self, byte: u8) -> Result<(), BadChunk> {
        self.state = match (self.state, byte) {
            (ChunkState::Size { value, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == 16 {
                    return Err(BadChunk::Malformed);
                }
                let digit = (byte as char).to_digit(16).ok_or(BadChunk::Malformed)?;
                ChunkState::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
            }
            (ChunkState::Size { value, digits: 1.. }, b';') => ChunkState::ExtensionStart { size: value },
            (ChunkState::Size { value, digits: 1.. }, b'\r') => ChunkState::SizeEnd { size: value },
            (ChunkState::ExtensionStart { .. }, b';' | b'"' | b'=') => return Err(BadChunk::Malformed),
            (ChunkState::ExtensionStart { .. } | ChunkState::Extension { .. }, 0..=8 | 10..=12 | 14..=31 | 127) => {
                return Err(BadChunk::Malformed);
            }
            (ChunkState::Extension { size, quoted: false, .. }, b'\r') => ChunkState::SizeEnd { size },
            (ChunkState::ExtensionStart { .. } | ChunkState::Extension { .. }, b'\r') => {
                return Err(BadChunk::Malformed);
            }
            (ChunkState::ExtensionStart { size }, b' ' | b'\t') => {
                self.extension(ChunkState::ExtensionStart { size })?
            }
            (ChunkState::ExtensionStart { size }, _) => {
                self.extension(ChunkState::Extension { size, quoted: false, escaped: false })?
            }
            (ChunkState::Extension { size, quoted: false, .. }, b';') => {
                self.extension(ChunkState::ExtensionStart { size })?
            }
            (ChunkState::Extension { size, quoted, escaped }, _) => {
                let quote = byte == b'"' && !escaped;
                let escaped = quoted && !escaped && byte == b'\\';
                self.extension(ChunkState::Extension { size, quoted: quoted ^ quote, escaped })?
            }
            (ChunkState::SizeEnd { size: 0 }, b'\n') => ChunkState::LineStart,
            (ChunkState::SizeEnd { size }, b'\n') => ChunkState::Data { left: size },
            (ChunkState::DataCr, b'\r') => ChunkState::DataLf,
            (ChunkState::DataLf, b'\n') => ChunkState::Size { value: 0, digits: 0 },
            (ChunkState::LineStart, b'\r') => ChunkState::LastLf,
            (ChunkState::LastLf, b'\n') => ChunkState::Done,
            (ChunkState::Trailer, b'\r') => ChunkState::TrailerLf,
            (ChunkState::TrailerLf, b'\n') => {
                self.trailers.extend_from_slice(b"\r\n");
                ChunkState::LineStart
            }
            (ChunkState::LineStart, b' ' | b'\t' | b':') => return Err(BadChunk::Malformed),
            (ChunkState::LineStart | ChunkState::Trailer, 9 | 32..=126 | 128..) => {
                self.trailer(byte)?;
                ChunkState::Trailer
            }
            _ => return Err(BadChunk::Malformed),
        };
        Ok(())
    }

    fn extension(&mut self, state: ChunkState) -> Result<ChunkState, BadChunk> {
        self.extension_bytes += 1;
        if self.extension_bytes > MAX_EXTENSION_BYTES { Err(BadChunk::Malformed) } else { Ok(state) }
    }

    fn trailer(&mut self, byte: u8) -> Result<(), BadChunk> {
        self.trailers.push(byte);
        self.trailer_bytes += 1;
        if self.trailer_bytes > MAX_TRAILER_BYTES { Err(BadChunk::TrailersTooLarge) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that belong to the body, its data, and whether it has ended.
    fn decode(chunks: &mut Chunks, mut bytes: &[u8]) -> Result<(usize, Vec<u8>, bool), BadChunk> {
        let (mut taken, mut data) = (0, Vec::new());
        loop {
            let framing = chunks.framing(bytes)?;
            let (_, rest) = bytes.split_at(framing);
            let (here, rest) = rest.split_at(chunks.data(rest.len()));
            data.extend_from_slice(here);
            (taken, bytes) = (taken + framing + here.len(), rest);
            if here.is_empty() {
                return Ok((taken, data, chunks.is_done()));
            }
        }
    }

    fn take(bytes: &[u8]) -> Result<(usize, bool), BadChunk> {
        decode(&mut Chunks::new(), bytes).map(|(taken, _, done)| (taken, done))
    }

    #[test]
    fn a_body_ends_where_it_ends() {
        assert_eq!(take(b"5\r\nhello\r\n0\r\n\r\nGET /"), Ok((15, true)));
        assert_eq!(take(b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"), Ok((25, true)));
        assert_eq!(take(b"5\r\nhel"), Ok((6, false)));
    }

    #[test]
    fn it_is_the_same_however_it_is_cut() {
        let body = b"A\r\n0123456789\r\n3;x=\"a;\\\"\r\"; y\r\nabc\r\n0\r\nT: v\r\nU: w\r\n\r\n";
        let body = String::from_utf8_lossy(body).replace("\r\"", "\"").into_bytes();
        for cut in 0..body.len() {
            let mut chunks = Chunks::new();
            let (front, back) = body.split_at(cut);
            let (taken, mut data, done) = decode(&mut chunks, front).unwrap();
            assert_eq!((taken, done), (cut, false));
            let (taken, rest, done) = decode(&mut chunks, back).unwrap();
            assert_eq!((taken, done), (back.len(), true));
            data.extend_from_slice(&rest);
            assert_eq!(data, b"0123456789abc");
            assert_eq!(chunks.take_trailers().unwrap(), "T: v\r\nU: w\r\n");
            assert_eq!(chunks.take_trailers(), None);
        }
    }

    #[test]
    fn what_is_broken_stays_broken() {
        let mut chunks = Chunks::new();
        assert_eq!((chunks.framing(b"5\r\nhello!"), chunks.data(6)), (Ok(3), 5));
        assert_eq!(chunks.framing(b"!"), Err(BadChunk::Malformed));
        assert_eq!((chunks.framing(b"\r\n0\r\n\r\n"), chunks.data(6)), (Err(BadChunk::Malformed), 0));
    }

    #[test]
    fn t049_odd_chunk_sizes() {
        for bad in [
            b"0x5\r\n".as_slice(),
            b"5 \r\n",
            b" 5\r\n",
            b"+5\r\n",
            b"5_\r\n",
            b"11111111111111111\r\n",
            b"5\nhello",
            b"\r\n",
            b"5;\r\n",
            b"5; \r\n",
            b"5;;a\r\n",
            b"5;a;\r\n",
            b"5;=a\r\n",
            b"5;\"a\"\r\n",
            b"5;a=\"b\r\n",
            b"5;a=\"b\\\"\r\n",
            b"5;a=\"\r\n\"\r\n",
            b"5;a\rb\r\n",
            b"5;a\nb\r\n",
            b"5\r\nhellox",
            b"0\r\n x: y\r\n\r\n",
            b"0\r\n\n",
        ] {
            assert_eq!(take(bad), Err(BadChunk::Malformed), "{:?}", String::from_utf8_lossy(bad));
        }
        let long = [b"5;".as_slice(), &[b'a'; 2000], b"\r\n"].concat();
        assert_eq!(take(&long), Err(BadChunk::Malformed));
    }

    #[test]
    fn t051_trailers_have_a_bound_of_their_own() {
        let with = |bytes: usize| {
            let line = format!("X: {}\r\n", "v".repeat(bytes - 3));
            take(format!("1\r\na\r\n0\r\n{line}\r\n").as_bytes()).map(|(_, done)| done)
        };
        assert_eq!(with(MAX_TRAILER_BYTES), Ok(true));
        assert_eq!(with(MAX_TRAILER_BYTES + 1), Err(BadChunk::TrailersTooLarge));
        let many = "x: y\r\n".repeat(MAX_TRAILER_BYTES / 4 + 1);
        assert_eq!(take(format!("0\r\n{many}\r\n").as_bytes()), Err(BadChunk::TrailersTooLarge));
    }
}
