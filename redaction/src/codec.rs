//! Undoes the content codings that Egret can search (RFC 9110 section 8.4.1): gzip, and deflate both as zlib (RFC 1950) and raw
//! (RFC 1951), since servers send and accept both. Never holds more than a piece of what comes out, and gives up on a stream that
//! grows out of proportion.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use thiserror::Error;

/// The most codings on top of each other.
const MAX_LAYERS: usize = 2;
/// The most bytes out for each byte in, once `FREE_BYTES` came out. Deflate reaches 1032.
const MAX_RATIO: u64 = 200;
/// How much room what comes out is given at a time.
const PIECE: usize = 32 << 10;
/// Up to here any ratio is fine.
const FREE_BYTES: u64 = 1 << 20;

/// Why a body cannot be searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CodingError {
    /// A coding that is not undone here, or too many of them.
    #[error("it is in a coding that Egret does not read")]
    Unsupported,
    /// Not in the coding that its field names.
    #[error("it is not in the coding that its head names")]
    Broken,
    /// A bomb.
    #[error("it grows to more than {MAX_RATIO} times its size when it is decoded")]
    Expands,
}

/// One coding, as it is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Zlib,
    Raw,
    /// Zlib where it begins like that, otherwise raw.
    Deflate,
}

/// Undoes the codings of one body.
pub struct Decoder {
    /// In the order in which they are undone.
    layers: Vec<Layer>,
    taken: u64,
    given: u64,
}

struct Layer {
    coding: Coding,
    undo: Undo,
    /// What is still to be undone.
    input: Vec<u8>,
}

enum Undo {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Inflate(Inflate),
    /// Deflate of which the first two bytes are still to come.
    Undecided,
}

/// The codings that these fields of a message list, outermost last.
fn codings(fields: &HeaderMap, names: &[&str]) -> Result<Vec<Coding>, CodingError> {
    let values = names.iter().flat_map(|name| fields.get_all(*name)).map(HeaderValue::as_bytes);
    let mut codings = Vec::new();
    for name in values.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii) {
        match name.to_ascii_lowercase().as_slice() {
            b"" | b"identity" => {}
            b"gzip" | b"x-gzip" => codings.push(Coding::Gzip),
            b"deflate" => codings.push(Coding::Deflate),
            _ => return Err(CodingError::Unsupported),
        }
    }
    if codings.len() > MAX_LAYERS { Err(CodingError::Unsupported) } else { Ok(codings) }
}

/// One way in which the codings of a message can be read.
pub struct Codings(Vec<Coding>);

impl Codings {
    /// Every way in which the codings that these fields list can be read; one without codings where they list none.
    ///
    /// # Errors
    /// A coding that is not read here, or too many of them.
    pub fn readings(fields: &HeaderMap, names: &[&str]) -> Result<Vec<Self>, CodingError> {
        let mut readings: Vec<Vec<Coding>> = vec![Vec::new()];
        for coding in codings(fields, names)? {
            let read_as: &[Coding] = match coding {
                Coding::Deflate => &[Coding::Zlib, Coding::Raw],
                Coding::Gzip | Coding::Zlib | Coding::Raw => &[coding],
            };
            readings = read_as
                .iter()
                .flat_map(|read_as| readings.iter().map(|reading| [reading.as_slice(), &[*read_as]].concat()))
                .collect();
        }
        Ok(readings.into_iter().map(Self).collect())
    }

    /// What undoes them; `None` where there are none.
    pub fn decoder(&self) -> Option<Decoder> {
        (!self.0.is_empty()).then(|| Decoder::new(&self.0))
    }
}

/// The field that names the codings of a body.
pub const CONTENT_ENCODING: &str = "content-encoding";

/// Fields that name the coding of a body beside `Content-Encoding`: of a delta (RFC 3229), and of the messages in it.
static OTHER_CODINGS: [HeaderName; 3] = [
    HeaderName::from_static("im"),
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("connect-content-encoding"),
];

/// Whether a field says how the content is to be read.
pub fn describes_content(name: &HeaderName) -> bool {
    name.as_str().starts_with("content-") || OTHER_CODINGS.contains(name)
}

/// Whether a body, or what is in it, is in a coding that `Content-Encoding` does not name.
pub fn has_other(fields: &HeaderMap) -> bool {
    let is_coding = |name: &[u8]| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity");
    let named = OTHER_CODINGS.iter().flat_map(|name| fields.get_all(name));
    named.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).any(|name| is_coding(name.trim_ascii()))
}

impl Decoder {
    /// What undoes the codings of a body; `None` where it has none.
    ///
    /// # Errors
    /// A coding that is not read here.
    pub fn of(fields: &HeaderMap) -> Result<Option<Self>, CodingError> {
        // Nearly no response has one, and a field of the standard is found without a look at its name.
        if !fields.contains_key(header::CONTENT_ENCODING) {
            return Ok(None);
        }
        let codings = codings(fields, &[CONTENT_ENCODING])?;
        Ok((!codings.is_empty()).then(|| Self::new(&codings)))
    }

    fn new(codings: &[Coding]) -> Self {
        let layer = |coding: &Coding| Layer { undo: Undo::of(*coding), input: Vec::new(), coding: *coding };
        Self { layers: codings.iter().rev().map(layer).collect(), taken: 0, given: 0 }
    }

    /// Undoes another message in the same codings; its growth is that of all of them.
    pub fn restart(&mut self) {
        for layer in &mut self.layers {
            *layer = Layer { undo: Undo::of(layer.coding), input: Vec::new(), coding: layer.coding };
        }
    }

    /// Takes the next bytes of the body, when all before them were undone.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.taken += bytes.len() as u64;
        if let Some(outer) = self.layers.first_mut() {
            outer.input.extend_from_slice(bytes);
        }
    }

    /// The next piece of what comes out; `None` where more has to come in first.
    ///
    /// # Errors
    /// The data is not in its coding, or expands too far.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, CodingError> {
        loop {
            // The innermost that can go on, so that little waits in between.
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

    /// The body has ended: whether its codings have, too.
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
    /// Whether there is enough to go on with.
    fn can_step(&self) -> bool {
        self.input.len() >= if matches!(self.undo, Undo::Undecided) { 2 } else { 1 }
    }

    /// Undoes a bounded part of the input.
    fn step(&mut self) -> Result<Vec<u8>, CodingError> {
        if let (Undo::Undecided, [first, second, ..]) = (&self.undo, self.input.as_slice()) {
            self.undo = Undo::of(if begins_zlib(*first, *second) { Coding::Zlib } else { Coding::Raw });
        }
        let taken = self.undo.write(&self.input).map_err(|_| CodingError::Broken)?;
        if taken == 0 {
            // Bytes behind the end of the coded data.
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
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.write(bytes),
            Self::Inflate(inflate) => inflate.write(bytes),
            Self::Undecided => Ok(0),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.flush(),
            Self::Inflate(inflate) => inflate.flush(),
            Self::Undecided => Ok(()),
        }
    }

    fn take(&mut self) -> Vec<u8> {
        match self {
            Self::Gzip(decoder) => std::mem::take(decoder.get_mut()),
            Self::Inflate(inflate) => std::mem::take(&mut inflate.out),
            Self::Undecided => Vec::new(),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Inflate(inflate) if inflate.has_ended => Ok(()),
            Self::Inflate(_) | Self::Undecided => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Deflate with or without the header of zlib. The writers of the library do not tell whether the end has come.
struct Inflate {
    state: Box<Decompress>,
    has_ended: bool,
    out: Vec<u8>,
}

impl Inflate {
    fn new(has_header: bool) -> Self {
        Self { state: Box::new(Decompress::new(has_header)), has_ended: false, out: Vec::new() }
    }

    /// Takes some of the bytes; none only behind the end.
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

    /// How many bytes were taken, and how many given.
    fn run(&mut self, bytes: &[u8]) -> io::Result<(usize, usize)> {
        self.out.reserve(PIECE);
        let (taken, given) = (self.state.total_in(), self.out.len());
        let status = self.state.decompress_vec(bytes, &mut self.out, FlushDecompress::None)?;
        self.has_ended = status == Status::StreamEnd;
        let taken = usize::try_from(self.state.total_in() - taken).unwrap_or(usize::MAX);
        Ok((taken, self.out.len() - given))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::header;

    use super::*;

    /// These bytes in one coding after the other.
    pub(crate) fn coded(codings: &[&str], bytes: &[u8]) -> Vec<u8> {
        codings.iter().fold(bytes.to_vec(), |bytes, coding| {
            let (level, mut out) = (Compression::default(), Vec::new());
            match *coding {
                "gzip" => GzEncoder::new(&mut out, level).write_all(&bytes).unwrap(),
                "zlib" => ZlibEncoder::new(&mut out, level).write_all(&bytes).unwrap(),
                _ => DeflateEncoder::new(&mut out, level).write_all(&bytes).unwrap(),
            }
            out
        })
    }

    pub(crate) fn fields(codings: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_str(codings).unwrap())])
    }

    fn decode(decoder: &mut Decoder, pieces: &[&[u8]]) -> Result<Vec<u8>, CodingError> {
        let mut out = Vec::new();
        for piece in pieces {
            decoder.feed(piece);
            while let Some(more) = decoder.next_piece()? {
                assert!(more.len() <= 256 << 10, "a piece of {} bytes", more.len());
                out.extend(more);
            }
        }
        decoder.finish()?;
        Ok(out)
    }

    #[test]
    fn t093_codings_are_undone_however_they_are_cut() {
        let text = b"the same bytes, and the same bytes again; the same".as_slice();
        for (names, codings) in [
            ("gzip", &["gzip"][..]),
            ("X-GZIP, identity", &["gzip"]),
            ("deflate", &["zlib"]),
            ("deflate", &["raw"]),
            ("gzip, gzip", &["gzip", "gzip"]),
            ("deflate, gzip", &["raw", "gzip"]),
            ("gzip, deflate", &["gzip", "zlib"]),
        ] {
            let packed = coded(codings, text);
            for cut in 0..=packed.len() {
                let mut decoder = Decoder::of(&fields(names)).unwrap().unwrap();
                let (front, back) = packed.split_at(cut);
                assert_eq!(decode(&mut decoder, &[front, back]).as_deref(), Ok(text), "{names} cut at {cut}");
            }
            let single: Vec<&[u8]> = packed.chunks(1).collect();
            assert_eq!(decode(&mut Decoder::of(&fields(names)).unwrap().unwrap(), &single).unwrap(), text, "{names}");
            let short = &packed[..packed.len() - 1];
            let broken = decode(&mut Decoder::of(&fields(names)).unwrap().unwrap(), &[short]);
            assert_eq!(broken, Err(CodingError::Broken), "{names}, cut short");
        }
        let members = [coded(&["gzip"], b"one, "), coded(&["gzip"], b"two")].concat();
        assert_eq!(decode(&mut Decoder::of(&fields("gzip")).unwrap().unwrap(), &[&members]).unwrap(), b"one, two");
    }

    #[test]
    fn t095_other_codings_are_not_read() {
        for names in ["br", "zstd", "compress", "dcb", "gzip, br", "gzip, gzip, gzip", "gzip;q=1"] {
            assert_eq!(Decoder::of(&fields(names)).err(), Some(CodingError::Unsupported), "{names}");
            let readings = Codings::readings(&fields(names), &[CONTENT_ENCODING]);
            assert_eq!(readings.err(), Some(CodingError::Unsupported), "{names}");
        }
        for names in ["", "identity", ", ,"] {
            assert!(Decoder::of(&fields(names)).unwrap().is_none(), "{names}");
        }
        for (names, bytes) in [("gzip", &b"not gzip at all"[..]), ("deflate", b"\xff\xff\xff"), ("deflate", b"x")] {
            let mut decoder = Decoder::of(&fields(names)).unwrap().unwrap();
            assert_eq!(decode(&mut decoder, &[bytes]), Err(CodingError::Broken), "{names}");
        }
        let behind = [coded(&["gzip"], b"one").as_slice(), b"more"].concat();
        let mut decoder = Decoder::of(&fields("gzip")).unwrap().unwrap();
        assert_eq!(decode(&mut decoder, &[&behind]), Err(CodingError::Broken));
    }

    #[test]
    fn t271_other_fields_that_name_a_coding_are_seen() {
        let of = |name: &'static str, value: &'static str| {
            has_other(&HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]))
        };
        for name in OTHER_CODINGS.iter().map(HeaderName::as_str) {
            assert!(of(name, "gzip") && of(name, "identity, x") && of(name, "GZIP"), "{name}");
            assert!(!of(name, "identity") && !of(name, "") && !of(name, "Identity, identity"), "{name}");
        }
        assert!(!of("content-encoding", "gzip"));
    }

    #[test]
    fn t133_bombs_are_given_up() {
        let zeros = vec![0; 64 << 20];
        for (names, codings) in
            [("gzip", &["gzip"][..]), ("deflate", &["raw"]), ("deflate", &["zlib"]), ("gzip, gzip", &["gzip", "gzip"])]
        {
            let mut decoder = Decoder::of(&fields(names)).unwrap().unwrap();
            assert_eq!(decode(&mut decoder, &[&coded(codings, &zeros)]), Err(CodingError::Expands), "{names}");
            assert!(decoder.given <= (16 << 20), "{names}: {} bytes", decoder.given);
        }
        let honest = coded(&["gzip"], &zeros[..FREE_BYTES as usize]);
        let mut decoder = Decoder::of(&fields("gzip")).unwrap().unwrap();
        assert_eq!(decode(&mut decoder, &[&honest]).unwrap().len(), FREE_BYTES as usize);
    }
}
