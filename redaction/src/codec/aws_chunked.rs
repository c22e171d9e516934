//! `aws-chunked`: the framing in which SDKs of S3 send signed pieces of an upload.

use std::io;

/// The framing of `aws-chunked`: pieces with a length in hexadecimal and a signature in their head, then trailers.
#[derive(Default)]
pub(super) struct AwsChunks {
    part: ChunkPart,
    /// The current line.
    line: Vec<u8>,
    pub(super) out: Vec<u8>,
}

#[derive(Default, PartialEq, Eq)]
enum ChunkPart {
    #[default]
    Head,
    /// The bytes of data still to come.
    Data(u64),
    /// The line end after data.
    End,
    Trailers,
}

/// The longest line: a length and a signature, or a trailer.
const MAX_CHUNK_LINE: usize = 8 << 10;

impl AwsChunks {
    pub(super) fn has_ended(&self) -> bool {
        // The empty line after the trailers is often left out.
        self.part == ChunkPart::Trailers && self.line.is_empty()
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let broken = || io::Error::from(io::ErrorKind::InvalidData);
        if let ChunkPart::Data(left) = self.part {
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            self.out.extend_from_slice(bytes.get(..count).unwrap_or_default());
            let left = left - count as u64;
            self.part = if left == 0 { ChunkPart::End } else { ChunkPart::Data(left) };
            return Ok(count);
        }
        let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
        self.line.extend_from_slice(bytes.get(..end).unwrap_or_default());
        if self.line.len() > MAX_CHUNK_LINE {
            return Err(broken());
        }
        let Some(line) = self.line.strip_suffix(b"\n") else { return Ok(end) };
        let line = line.strip_suffix(b"\r").ok_or_else(broken)?;
        self.part = match self.part {
            ChunkPart::Head => {
                let length = line.split(|byte| *byte == b';').next().unwrap_or_default();
                let length = std::str::from_utf8(length).ok().filter(|text| text.len() <= 15);
                let is_hex = |text: &&str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
                let length = length.filter(is_hex).and_then(|text| u64::from_str_radix(text, 16).ok());
                match length.ok_or_else(broken)? {
                    0 => ChunkPart::Trailers,
                    length => ChunkPart::Data(length),
                }
            }
            ChunkPart::End if line.is_empty() => ChunkPart::Head,
            ChunkPart::Trailers => ChunkPart::Trailers,
            ChunkPart::End | ChunkPart::Data(_) => return Err(broken()),
        };
        self.line.clear();
        Ok(end)
    }
}
