//! Follows a chunked body (RFC 9112 section 7.1) byte by byte, to know where the next request begins.
//!
//! hyper decodes the same bytes afterwards. What this reader does not accept ends the connection, so
//! that the two never disagree about the end of a body.

use thiserror::Error;

/// Bytes of chunk extensions that one body may have.
const MAX_EXTENSION_BYTES: usize = 1 << 10;
/// Bytes of trailers that one body may have: in HTTP/1.1 of their lines, in HTTP/2 of names and values.
pub(crate) const MAX_TRAILER_BYTES: usize = 8 << 10;

/// Where in the chunk stream the next byte stands.
#[derive(Debug)]
pub(crate) struct Chunks {
    place: Place,
    extension_bytes: usize,
    trailer_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Size { value: u64, digits: u8 },
    Extension { size: u64 },
    SizeEnd { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    LineStart,
    Trailer,
    TrailerLf,
    LastLf,
    Done,
}

/// Why the stream is not read on.
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
        Self { place: Place::Size { value: 0, digits: 0 }, extension_bytes: 0, trailer_bytes: 0 }
    }

    /// Whether the last chunk and its trailers have passed.
    pub(crate) fn is_done(&self) -> bool {
        self.place == Place::Done
    }

    /// Takes bytes of the stream; gives how many of them belong to this body.
    ///
    /// # Errors
    /// [`BadChunk`] at the first byte that does not fit.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<usize, BadChunk> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.is_done() {
                break;
            }
            if let Place::Data { left } = self.place {
                let here = left.min((bytes.len() - at) as u64);
                at += usize::try_from(here).map_err(|_| BadChunk::Malformed)?;
                self.place = if here == left { Place::DataCr } else { Place::Data { left: left - here } };
            } else {
                self.step(byte)?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<(), BadChunk> {
        self.place = match (self.place, byte) {
            (Place::Size { value, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == 16 {
                    return Err(BadChunk::Malformed);
                }
                let digit = (byte as char).to_digit(16).ok_or(BadChunk::Malformed)?;
                Place::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Place::Size { value, digits: 1.. }, b';') => Place::Extension { size: value },
            (Place::Size { value, digits: 1.. }, b'\r') => Place::SizeEnd { size: value },
            (Place::Extension { size }, b'\r') => Place::SizeEnd { size },
            (Place::Extension { .. }, 0..=8 | 10..=31 | 127) => return Err(BadChunk::Malformed),
            (place @ Place::Extension { .. }, _) => {
                self.extension_bytes += 1;
                if self.extension_bytes > MAX_EXTENSION_BYTES {
                    return Err(BadChunk::Malformed);
                }
                place
            }
            (Place::SizeEnd { size: 0 }, b'\n') => Place::LineStart,
            (Place::SizeEnd { size }, b'\n') => Place::Data { left: size },
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => Place::Size { value: 0, digits: 0 },
            (Place::LineStart, b'\r') => Place::LastLf,
            (Place::LastLf, b'\n') => Place::Done,
            (Place::Trailer, b'\r') => Place::TrailerLf,
            (Place::TrailerLf, b'\n') => Place::LineStart,
            (Place::LineStart, b' ' | b'\t' | b':') => return Err(BadChunk::Malformed),
            (Place::LineStart | Place::Trailer, 9 | 32..=126 | 128..) => {
                self.trailer_bytes += 1;
                if self.trailer_bytes > MAX_TRAILER_BYTES {
                    return Err(BadChunk::TrailersTooLarge);
                }
                Place::Trailer
            }
            _ => return Err(BadChunk::Malformed),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(bytes: &[u8]) -> Result<(usize, bool), BadChunk> {
        let mut chunks = Chunks::new();
        let taken = chunks.take(bytes)?;
        Ok((taken, chunks.is_done()))
    }

    #[test]
    fn a_body_ends_where_it_ends() {
        assert_eq!(take(b"5\r\nhello\r\n0\r\n\r\nGET /"), Ok((15, true)));
        assert_eq!(take(b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"), Ok((25, true)));
        assert_eq!(take(b"5\r\nhel"), Ok((6, false)));
    }

    #[test]
    fn it_is_the_same_however_it_is_cut() {
        let body = b"A\r\n0123456789\r\n3\r\nabc\r\n0\r\nT: v\r\n\r\n";
        for cut in 0..body.len() {
            let mut chunks = Chunks::new();
            let (front, back) = body.split_at(cut);
            assert_eq!(chunks.take(front), Ok(cut));
            assert_eq!(chunks.take(back), Ok(back.len()));
            assert!(chunks.is_done());
        }
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
