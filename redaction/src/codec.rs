//! Undoes the content codings that Egret can search (RFC 9110 section 8.4.1): gzip, brotli (RFC 7932), zstd (RFC 8878), and
//! deflate. Deflate is accepted both as zlib (RFC 1950) and raw (RFC 1951), because servers send and accept both. `aws-chunked`
//! does not compress: it is a framing in which SDKs of S3 send signed pieces. It is undone like a coding.
//!
//! Holds at most one piece of the output and the window of the coding (at most 8 MiB, RFC 9659). Rejects a stream that
//! expands out of proportion.

mod aws_chunked;
mod brotli;
mod memory;
mod zstd;

use model::Fields;
use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use http::{HeaderName, HeaderValue, header};
use thiserror::Error;

use self::aws_chunked::AwsChunks;
use self::brotli::Brotli;
use self::zstd::Zstd;

/// The most nested codings.
const MAX_LAYERS: usize = 2;
/// The highest ratio of output to input, after `FREE_BYTES` of output. Deflate reaches 1032.
const MAX_RATIO: u64 = 200;
/// The size of an output buffer.
const PIECE: usize = 32 << 10;
/// Up to this size, any ratio is allowed.
const FREE_BYTES: u64 = 1 << 20;

/// Why a body cannot be searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CodingError {
    /// An unsupported coding, or too many of them.
    #[error("it is in a coding that Egret does not read")]
    Unsupported,
    /// The data does not match the coding that its field names.
    #[error("it is not in the coding that its head names")]
    Broken,
    /// A bomb.
    #[error("it grows to more than {MAX_RATIO} times its size when it is decoded")]
    Expands,
}

/// The decoder of one coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Zlib,
    Raw,
    /// Zlib if it begins with its header, otherwise raw.
    Deflate,
    Brotli,
    Zstd,
    AwsChunked,
}

/// Undoes the codings of one body.
pub struct Decoder {
    /// In decoding order.
    layers: Vec<Layer>,
    taken: u64,
    given: u64,
}

struct Layer {
    coding: Coding,
    undo: Undo,
    /// Input that is not decoded yet.
    input: Vec<u8>,
}

enum Undo {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Inflate(Inflate),
    Brotli(Box<Brotli>),
    Zstd(Box<Zstd>),
    AwsChunked(Box<AwsChunks>),
    /// Deflate before its first two bytes have arrived.
    Undecided,
}

/// The codings that these fields of a message list, outermost last.
fn codings(fields: &Fields, names: &[&str]) -> Result<Vec<Coding>, CodingError> {
    let values = names.iter().flat_map(|name| fields.get_all(*name)).map(HeaderValue::as_bytes);
    let mut codings = Vec::new();
    for name in values.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii) {
        match name.to_ascii_lowercase().as_slice() {
            b"" | b"identity" => {}
            b"gzip" | b"x-gzip" => codings.push(Coding::Gzip),
            b"deflate" => codings.push(Coding::Deflate),
            b"br" => codings.push(Coding::Brotli),
            b"zstd" => codings.push(Coding::Zstd),
            b"aws-chunked" => codings.push(Coding::AwsChunked),
            _ => return Err(CodingError::Unsupported),
        }
    }
    let compressions = codings.iter().filter(|coding| **coding != Coding::AwsChunked).count();
    let is_framed_once = codings.len() <= compressions + 1;
    if compressions <= MAX_LAYERS && is_framed_once { Ok(codings) } else { Err(CodingError::Unsupported) }
}

/// One possible reading of a message's codings.
pub struct Codings(Vec<Coding>);

impl Codings {
    /// All possible readings of the codings in these fields; one without codings if they list none.
    ///
    /// # Errors
    /// An unsupported coding, or too many of them.
    pub fn readings(fields: &Fields, names: &[&str]) -> Result<Vec<Self>, CodingError> {
        let mut readings: Vec<Vec<Coding>> = vec![Vec::new()];
        for coding in codings(fields, names)? {
            let read_as: &[Coding] = match coding {
                Coding::Deflate => &[Coding::Zlib, Coding::Raw],
                Coding::Gzip | Coding::Zlib | Coding::Raw | Coding::Brotli | Coding::Zstd | Coding::AwsChunked => {
                    &[coding]
                }
            };
            readings = read_as
                .iter()
                .flat_map(|read_as| readings.iter().map(|reading| [reading.as_slice(), &[*read_as]].concat()))
                .collect();
        }
        Ok(readings.into_iter().map(Self).collect())
    }

    /// The decoder; `None` if there are no codings.
    pub fn decoder(&self) -> Option<Decoder> {
        (!self.0.is_empty()).then(|| Decoder::new(&self.0))
    }
}

/// The field that names the codings of a body.
pub const CONTENT_ENCODING: &str = "content-encoding";

/// Fields that name a coding in addition to `Content-Encoding`: of a delta (RFC 3229), and of the messages in the body.
static OTHER_CODINGS: [HeaderName; 3] = [
    HeaderName::from_static("im"),
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("connect-content-encoding"),
];

/// Whether a field declares how the content is encoded.
pub fn describes_content(name: &HeaderName) -> bool {
    name.as_str().starts_with("content-") || OTHER_CODINGS.contains(name)
}

/// Whether a body, or its content, has a coding that `Content-Encoding` does not name.
pub fn has_other(fields: &Fields) -> bool {
    let is_coding = |name: &[u8]| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity");
    let named = OTHER_CODINGS.iter().flat_map(|name| fields.get_all(name));
    named.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).any(|name| is_coding(name.trim_ascii()))
}

impl Decoder {
    /// The decoder of a body; `None` if it has no coding.
    ///
    /// # Errors
    /// An unsupported coding.
    pub fn of(fields: &Fields) -> Result<Option<Self>, CodingError> {
        // Almost no response has one, and a standard field is found without comparing its name.
        if !fields.contains(header::CONTENT_ENCODING) {
            return Ok(None);
        }
        let mut codings = codings(fields, &[CONTENT_ENCODING])?;
        // The framing belonged to the upload: stores that return its name with the object send the object plain.
        codings.retain(|coding| *coding != Coding::AwsChunked);
        Ok((!codings.is_empty()).then(|| Self::new(&codings)))
    }

    fn new(codings: &[Coding]) -> Self {
        let layer = |coding: &Coding| Layer { undo: Undo::of(*coding), input: Vec::new(), coding: *coding };
        Self { layers: codings.iter().rev().map(layer).collect(), taken: 0, given: 0 }
    }

    /// Decodes another message in the same codings; the ratio is that of all messages together.
    pub fn restart(&mut self) {
        for layer in &mut self.layers {
            *layer = Layer { undo: Undo::of(layer.coding), input: Vec::new(), coding: layer.coding };
        }
    }

    /// The bytes of memory that its windows and tables use now. They grow with the output.
    pub fn memory_bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.undo.memory_bytes()).sum()
    }

    /// Adds the next bytes of the body, after all earlier ones were decoded.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.taken += bytes.len() as u64;
        if let Some(outer) = self.layers.first_mut() {
            outer.input.extend_from_slice(bytes);
        }
    }

    /// The next piece of output; `None` if it needs more input.
    ///
    /// # Errors
    /// The data does not match its coding, or expands too far.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, CodingError> {
        loop {
            // The innermost decoder that can continue, so that little data waits in between.
            let Some(at) = self.layers.iter().rposition(Layer::can_step) else { return Ok(None) };
            let Some(layer) = self.layers.get_mut(at) else { return Ok(None) };
            let out = layer.step()?;
            if out.is_empty() {
                continue;
            }
            if let Some(inner) = self.layers.get_mut(at + 1) {
                inner.input.extend_from_slice(&out);
                continue;
            }
            self.given += out.len() as u64;
            if self.given > FREE_BYTES && self.given > MAX_RATIO.saturating_mul(self.taken) {
                return Err(CodingError::Expands);
            }
            return Ok(Some(out));
        }
    }

    /// The body has ended: checks that its codings have, too.
    ///
    /// # Errors
    /// The data ended within its coding.
    pub fn finish(&mut self) -> Result<(), CodingError> {
        if self.taken == 0 {
            return Ok(());
        }
        self.layers.iter_mut().try_for_each(|layer| layer.undo.finish().map_err(|_| CodingError::Broken))
    }
}

impl Layer {
    /// Whether there is enough input to continue.
    fn can_step(&self) -> bool {
        self.undo.has_more() || self.input.len() >= if matches!(self.undo, Undo::Undecided) { 2 } else { 1 }
    }

    /// Decodes a bounded part of the input.
    fn step(&mut self) -> Result<Vec<u8>, CodingError> {
        if let (Undo::Undecided, [first, second, ..]) = (&self.undo, self.input.as_slice()) {
            self.undo = Undo::of(if begins_zlib(*first, *second) { Coding::Zlib } else { Coding::Raw });
        }
        let taken = self.undo.write(&self.input).map_err(|_| CodingError::Broken)?;
        if taken == 0 && !self.input.is_empty() && !self.undo.has_output() {
            // Bytes after the end of the coded data.
            return Err(CodingError::Broken);
        }
        self.input.drain(..taken);
        if self.input.is_empty() {
            self.undo.flush().map_err(|_| CodingError::Broken)?;
        }
        Ok(self.undo.take())
    }
}

/// The header of a zlib stream (RFC 1950 section 2.2): deflate, a window of at most 32 KiB, no dictionary, and a check.
fn begins_zlib(first: u8, second: u8) -> bool {
    first & 0x0f == 8 && first >> 4 <= 7 && second & 0x20 == 0 && (u16::from(first) << 8 | u16::from(second)) % 31 == 0
}

impl Undo {
    fn of(coding: Coding) -> Self {
        match coding {
            Coding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            Coding::Zlib => Self::Inflate(Inflate::new(true)),
            Coding::Raw => Self::Inflate(Inflate::new(false)),
            Coding::Deflate => Self::Undecided,
            Coding::Brotli => Self::Brotli(Box::new(Brotli::new())),
            Coding::Zstd => Self::Zstd(Box::new(Zstd::new())),
            Coding::AwsChunked => Self::AwsChunked(Box::default()),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.write(bytes),
            Self::Inflate(inflate) => inflate.write(bytes),
            Self::Brotli(brotli) => brotli.write(bytes),
            Self::Zstd(zstd) => zstd.write(bytes),
            Self::AwsChunked(chunks) => chunks.write(bytes),
            Self::Undecided => Ok(0),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.flush(),
            Self::Inflate(inflate) => inflate.flush(),
            Self::Brotli(_) | Self::Zstd(_) | Self::AwsChunked(_) | Self::Undecided => Ok(()),
        }
    }

    fn take(&mut self) -> Vec<u8> {
        match self {
            Self::Gzip(decoder) => std::mem::take(decoder.get_mut()),
            Self::Inflate(inflate) => std::mem::take(&mut inflate.out),
            Self::Brotli(brotli) => std::mem::take(&mut brotli.out),
            Self::Zstd(zstd) => std::mem::take(&mut zstd.out),
            Self::AwsChunked(chunks) => std::mem::take(&mut chunks.out),
            Self::Undecided => Vec::new(),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Inflate(inflate) if inflate.has_ended => Ok(()),
            Self::Brotli(brotli) if brotli.has_ended => Ok(()),
            Self::Zstd(zstd) if zstd.is_between_frames => Ok(()),
            Self::AwsChunked(chunks) if chunks.has_ended() => Ok(()),
            Self::Inflate(_) | Self::Brotli(_) | Self::Zstd(_) | Self::AwsChunked(_) | Self::Undecided => {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
    }

    /// Whether more output follows without more input.
    fn has_more(&self) -> bool {
        match self {
            Self::Brotli(brotli) => brotli.has_more,
            Self::Zstd(zstd) => zstd.has_more,
            Self::Gzip(_) | Self::Inflate(_) | Self::AwsChunked(_) | Self::Undecided => false,
        }
    }

    /// Whether the last step, which may have consumed no input, produced output.
    fn has_output(&self) -> bool {
        match self {
            Self::Brotli(brotli) => !brotli.out.is_empty(),
            Self::Zstd(zstd) => !zstd.out.is_empty(),
            Self::Gzip(_) | Self::Inflate(_) | Self::AwsChunked(_) | Self::Undecided => false,
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Self::Brotli(brotli) => brotli.memory_bytes(),
            // The library allocates the whole window with the head of a frame: the size that the frame declares, or the content
            // size if that is less.
            Self::Zstd(zstd) => zstd.context.sizeof(),
            // A window of 32 KiB, which the memory budget of a request covers.
            Self::Gzip(_) | Self::Inflate(_) | Self::AwsChunked(_) | Self::Undecided => 0,
        }
    }
}

/// Deflate with or without the header of zlib. The library's writers do not report whether the end has come.
struct Inflate {
    state: Box<Decompress>,
    has_ended: bool,
    out: Vec<u8>,
}

impl Inflate {
    fn new(has_header: bool) -> Self {
        Self { state: Box::new(Decompress::new(has_header)), has_ended: false, out: Vec::new() }
    }

    /// Consumes some of the bytes; none only after the end.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        while !self.has_ended {
            let (taken, given) = self.run(bytes)?;
            if taken > 0 {
                return Ok(taken);
            }
            if given == 0 && !self.has_ended {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(0)
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.has_ended && self.run(&[])?.1 > 0 {}
        Ok(())
    }

    /// The number of bytes consumed and produced.
    fn run(&mut self, bytes: &[u8]) -> io::Result<(usize, usize)> {
        self.out.reserve(PIECE);
        let (taken, given) = (self.state.total_in(), self.out.len());
        let status = self.state.decompress_vec(bytes, &mut self.out, FlushDecompress::None)?;
        self.has_ended = status == Status::StreamEnd;
        let taken = usize::try_from(self.state.total_in() - taken).unwrap_or(usize::MAX);
        Ok((taken, self.out.len() - given))
    }
}

/// The largest supported window, as a power of two: 8 MiB (RFC 9659 section 3).
const MAX_WINDOW_BITS: u32 = 23;

#[cfg(test)]
pub(crate) mod tests;
