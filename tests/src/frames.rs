//! A client of HTTP/2 that sends any fields: heads that no HTTP library would write.

use crate::client::{Tunnel, Wire};
use crate::egret::{Egret, Session};

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const GOAWAY: u8 = 0x7;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// The largest frame that every peer accepts.
const MAX_FRAME_BYTES: usize = 16_384;

/// The error code PROTOCOL_ERROR.
pub const PROTOCOL_ERROR: u32 = 1;

/// The end of a stream, as its client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// An answer: its head frames (informational ones too), and its data.
    Answer {
        /// The number of HEADERS frames.
        heads: usize,
        /// The bytes of all DATA frames.
        data: Vec<u8>,
    },
    /// RST_STREAM with this code, before the end of an answer.
    Reset(u32),
    /// The connection ended.
    Closed,
}

/// One connection in a tunnel.
#[derive(Debug)]
pub struct Frames {
    wire: Wire,
}

impl Frames {
    /// Opens a tunnel to `target` and starts HTTP/2 in it.
    pub fn open(egret: &Egret, session: &Session, target: &str) -> Self {
        let mut wire = Tunnel::to(target).alpn(&["h2"]).open(egret, session);
        wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut frames = Self { wire };
        frames.send(SETTINGS, 0, 0, &[]);
        frames
    }

    /// Sends one frame.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        self.wire.send([&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat());
    }

    /// Sends a head of exactly these fields, as literals without indexing (RFC 7541 section 6.2.2).
    pub fn head(&mut self, stream: u32, fields: &[(&str, &[u8])], ends: bool) {
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0);
            put_text(&mut block, name.as_bytes());
            put_text(&mut block, value);
        }
        let mut parts = block.chunks(MAX_FRAME_BYTES).peekable();
        let (mut kind, mut flags) = (HEADERS, if ends { END_STREAM } else { 0 });
        while let Some(part) = parts.next() {
            flags |= if parts.peek().is_none() { END_HEADERS } else { 0 };
            self.send(kind, flags, stream, part);
            (kind, flags) = (CONTINUATION, 0);
        }
    }

    /// Sends a part of a body.
    pub fn data(&mut self, stream: u32, bytes: &[u8], ends: bool) {
        self.send(DATA, if ends { END_STREAM } else { 0 }, stream, bytes);
    }

    /// Reads up to the end of a stream.
    pub fn end(&mut self, stream: u32) -> End {
        let (mut heads, mut data) = (0, Vec::new());
        loop {
            let Some(head) = self.wire.try_exactly(9) else { return End::Closed };
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let Some(payload) = self.wire.try_exactly(usize::try_from(length).unwrap()) else { return End::Closed };
            let (kind, flags) = (head[3], head[4]);
            match kind {
                SETTINGS if flags & 1 == 0 => self.send(SETTINGS, 1, 0, &[]),
                GOAWAY if payload[4..8] != [0; 4] => return End::Closed,
                _ => {}
            }
            if u32::from_be_bytes([head[5], head[6], head[7], head[8]]) != stream {
                continue;
            }
            match kind {
                HEADERS => heads += 1,
                DATA => {
                    data.extend_from_slice(&payload);
                    if length > 0 {
                        self.send(WINDOW_UPDATE, 0, 0, &length.to_be_bytes());
                        self.send(WINDOW_UPDATE, 0, stream, &length.to_be_bytes());
                    }
                }
                RST_STREAM => return End::Reset(u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]])),
                _ => {}
            }
            if flags & END_STREAM != 0 && matches!(kind, HEADERS | DATA) {
                return End::Answer { heads, data };
            }
        }
    }
}

/// A text without Huffman coding, after its length (RFC 7541 sections 5.1 and 5.2).
fn put_text(block: &mut Vec<u8>, text: &[u8]) {
    let mut length = text.len();
    if length < 127 {
        block.push(u8::try_from(length).unwrap());
    } else {
        block.push(127);
        length -= 127;
        while length >= 128 {
            block.push(u8::try_from(length % 128).unwrap() | 128);
            length /= 128;
        }
        block.push(u8::try_from(length).unwrap());
    }
    block.extend_from_slice(text);
}
