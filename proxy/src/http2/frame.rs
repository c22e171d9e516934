//! The headers of HTTP/2 frames (RFC 9113 section 4.1), found in the bytes of one direction of a connection.

/// Bytes of a frame's header (RFC 9113 section 4.1).
const FRAME_HEAD_BYTES: usize = 9;

pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
pub(super) const RST_STREAM: u8 = 0x3;
pub(super) const PING: u8 = 0x6;
pub(super) const WINDOW_UPDATE: u8 = 0x8;
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const PROTOCOL_ERROR: u32 = 0x1;
pub(super) const PADDED: u8 = 0x8;

/// The header of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// The error code of a RST_STREAM, else 0.
    pub(super) code: u32,
}

/// Finds the frame headers in one direction of a connection.
#[derive(Debug)]
pub(super) struct Reader {
    /// Bytes of the preface or of a payload that are still to come.
    skip: usize,
    /// The header, and the payload of a RST_STREAM.
    head: [u8; 13],
    read: usize,
}

impl Reader {
    pub(super) fn new(skip: usize) -> Self {
        Self { skip, head: [0; 13], read: 0 }
    }

    /// Whether the next byte begins a frame.
    pub(super) fn is_between_frames(&self) -> bool {
        self.skip == 0 && self.read == 0
    }

    /// The bytes of the current header, as far as it is known.
    fn wanted(&self) -> usize {
        let is_reset = self.read >= FRAME_HEAD_BYTES && self.head.starts_with(&[0, 0, 4, RST_STREAM]);
        if is_reset { self.head.len() } else { FRAME_HEAD_BYTES }
    }

    /// Scans the next bytes; `found` gets each header.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut found: impl FnMut(Head)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let taken = (self.wanted() - self.read).min(bytes.len());
            let (front, rest) = bytes.split_at(taken);
            self.head.iter_mut().skip(self.read).zip(front).for_each(|(to, from)| *to = *from);
            self.read += taken;
            bytes = rest;
            if self.read == self.wanted() {
                let [a, b, c, kind, flags, s, t, u, v, code @ ..] = self.head;
                let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                let stream = u32::from_be_bytes([s, t, u, v]) & 0x7fff_ffff;
                let has_code = self.read == self.head.len();
                let code = if has_code { u32::from_be_bytes(code) } else { 0 };
                (self.read, self.skip) = (0, if has_code { 0 } else { length });
                found(Head { length, kind, flags, stream, code });
            }
        }
    }
}
