//! The generator of the corpus: valid messages, and mutations of them along the grammar. The same cases in every run.

use std::collections::HashSet;

use bytes::Bytes;

/// A sequence without cryptographic quality (xorshift64*), the same in every run.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % bound
    }

    pub(super) fn one<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

/// One input, with the family that it is counted in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Case {
    pub(super) family: &'static str,
    /// For responses: whether the request was HEAD.
    pub(super) to_head: bool,
    pub(super) bytes: Bytes,
}

/// The cases so far, without duplicates.
#[derive(Default)]
pub(super) struct Cases {
    seen: HashSet<(bool, Bytes)>,
    pub(super) all: Vec<Case>,
}

impl Cases {
    pub(super) fn add(&mut self, family: &'static str, to_head: bool, bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        if self.seen.insert((to_head, bytes.clone())) {
            self.all.push(Case { family, to_head, bytes });
        }
    }
}

/// A message in parts, so that mutations fit the grammar.
#[derive(Clone)]
pub(super) struct Draft {
    pub(super) line: Vec<u8>,
    pub(super) fields: Vec<Vec<u8>>,
    pub(super) body: Vec<u8>,
}

impl Draft {
    pub(super) fn head(&self) -> Vec<u8> {
        let mut head = [self.line.as_slice(), b"\r\n"].concat();
        for field in &self.fields {
            head.extend_from_slice(field);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        [self.head(), self.body.clone()].concat()
    }

    /// The position of its Host field.
    pub(super) fn host(&self) -> Option<usize> {
        self.fields.iter().position(|field| field.to_ascii_lowercase().starts_with(b"host:"))
    }

    pub(super) fn remove_host(&mut self) {
        if let Some(at) = self.host() {
            self.fields.remove(at);
        }
    }

    /// With this line at any position among the fields.
    pub(super) fn insert(&mut self, random: &mut Random, field: Vec<u8>) {
        let at = random.below(self.fields.len() + 1);
        self.fields.insert(at, field);
    }
}

pub(super) const GOOD_HOSTS: [&str; 8] = [
    "a.example",
    "A.Example",
    "a.example:443",
    "b.example.",
    "192.0.2.1",
    "[::1]:8080",
    "xn--mnchen-3ya.example",
    "m\u{fc}nchen.example",
];

/// Targets with the code that they are refused with.
pub(super) const TARGETS: [(&str, Option<&str>); 31] = [
    ("/", None),
    ("/a/b;c=d?e=f&g", None),
    ("/%7Euser/%2e%2E/x", None),
    ("//two//slashes", None),
    ("/?", None),
    ("/a?b?c", None),
    ("http://a.example/x?y", None),
    ("HTTP://A.example", None),
    ("https://c.example:443?q", Some("bad_host")),
    ("http://c.example/", Some("bad_host")),
    ("http://a.example:/", None),
    ("http://u:p@a.example/", Some("bad_target")),
    ("http://u@a.example/", Some("bad_target")),
    ("http://a.example\\b/", Some("bad_target")),
    ("ftp://a.example/", Some("bad_target")),
    ("//", None),
    ("a.example/", Some("bad_target")),
    ("?q", Some("bad_target")),
    ("#f", Some("bad_target")),
    ("/a#f", Some("bad_target")),
    ("/%", Some("bad_target")),
    ("/%4", Some("bad_target")),
    ("/%zz", Some("bad_target")),
    ("/%00", Some("bad_target")),
    ("/%u0041", Some("bad_target")),
    ("/caf\u{e9}", Some("bad_target")),
    ("/%c0%af", Some("bad_target")),
    ("/a\\b", None),
    ("/a^b", None),
    ("/a|b", None),
    ("/a{b}", None),
];

/// Fields that change nothing about the framing.
const FIELDS: [&str; 24] = [
    "Accept: */*",
    "accept-encoding: gzip, deflate;q=0.5",
    "ACCEPT-LANGUAGE: en",
    "User-Agent: agent/1.0 (x; y) \"z\"",
    "X-Empty:",
    "X-Blank: \t ",
    "X-Obs: \u{e9}\u{df}",
    "X-Tabs:\ta\tb\t",
    "X-List: a",
    "X-List: b,c",
    "x-list:d",
    "X_Under: 1",
    "X.Dot: 1",
    "X-Tick`~!: 1",
    "Cookie: a=1; b=2",
    "Cookie: c=3",
    "Cache-Control: no-cache",
    "X-Colon: a:b::c",
    "X-Quote: \"a, \\\"b\"",
    "X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "Authorization: Basic YTpi",
    "Range: bytes=0-1",
    "If-None-Match: \"x\", W/\"y\"",
    "Date: Thu, 01 Jan 1970 00:00:00 GMT",
];

/// Fields of the connection.
const HOPS: [&str; 9] = [
    "Connection: keep-alive",
    "Connection: x-one, keep-alive",
    "Keep-Alive: timeout=5",
    "TE: trailers",
    "TE: gzip;q=0.5, trailers;q=1",
    "Proxy-Connection: keep-alive",
    "Upgrade: h2c",
    "HTTP2-Settings: AAMAAABkAAQAAP__",
    "Proxy-Authorization: Basic YTpi",
];

const BODIES: [&str; 6] =
    ["", "a", "hello", "hello world, this is a body", "GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n", "0\r\n\r\n"];

/// A body in chunks, each in an odd but valid form.
pub(super) fn in_chunks(random: &mut Random, body: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), body);
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(1 + random.below(rest.len()));
        let size = match random.below(4) {
            0 => format!("{:x}", piece.len()),
            1 => format!("{:X}", piece.len()),
            2 => format!("{:04x}", piece.len()),
            _ => format!("{:016X}", piece.len()),
        };
        let extension = random.one(&["", "", "", ";a", ";a=b", "; a = \"b;c\"", ";\ta=\"\\\"\";b"]);
        out.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
        rest = tail;
    }
    out.extend_from_slice(random.one(&["0\r\n", "0\r\n", "000\r\n", "0;last\r\n"]).as_bytes());
    out.extend_from_slice(random.one(&["", "", "X-Sum: 7\r\n", "X-Sum: 7\r\nx-sum:8\r\nY:\r\n"]).as_bytes());
    out.extend_from_slice(b"\r\n");
    out
}

fn add_fields(random: &mut Random, draft: &mut Draft, hops: &[&str]) {
    for _ in 0..random.below(6) {
        draft.fields.push(random.one(&FIELDS).as_bytes().to_vec());
    }
    if random.below(3) == 0 {
        draft.fields.push(random.one(hops).as_bytes().to_vec());
    }
}

/// With a body that is framed in one of the ways that are served.
fn add_body(random: &mut Random, draft: &mut Draft) {
    let body = random.one(&BODIES).as_bytes();
    match random.below(3) {
        0 => {}
        1 => {
            let field = random.one(&["Content-Length: ", "content-length:", "CONTENT-LENGTH:\t "]);
            draft.insert(random, format!("{field}{}", body.len()).into_bytes());
            draft.body = body.to_vec();
        }
        _ => {
            let field =
                random.one(&["Transfer-Encoding: chunked", "transfer-encoding:chunked", "Transfer-Encoding: Chunked"]);
            draft.insert(random, field.as_bytes().to_vec());
            draft.body = in_chunks(random, body);
        }
    }
}

/// A valid request over HTTP/1.1, with a path as its target.
pub(super) fn request(random: &mut Random) -> Draft {
    let method = random.one(&["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "PURGE", "M-SEARCH", "x!"]);
    let (target, _) = TARGETS[random.below(6)];
    let mut draft = Draft { line: format!("{method} {target} HTTP/1.1").into_bytes(), fields: vec![], body: vec![] };
    let host = format!("{}{}", random.one(&["Host: ", "host:", "HOST:  "]), random.one(&GOOD_HOSTS));
    draft.fields.push(host.into_bytes());
    add_fields(random, &mut draft, &HOPS);
    add_body(random, &mut draft);
    draft
}

/// A valid final response over HTTP/1.1.
pub(super) fn response(random: &mut Random) -> Draft {
    let status = random.one(&["200", "201", "206", "301", "404", "418", "500", "599", "999", "204", "304"]);
    let reason = random.one(&["", " ", " OK", " Not Really: x", " \u{e9}\t."]);
    let mut draft = Draft { line: format!("HTTP/1.1 {status}{reason}").into_bytes(), fields: vec![], body: vec![] };
    let hops = ["Connection: close", "Connection: x-list, content-type", "Keep-Alive: 5", "Proxy-Authenticate: Basic"];
    add_fields(random, &mut draft, &hops);
    for cookie in 0..random.below(3) {
        draft.fields.push(format!("Set-Cookie: c{cookie}=1; Path=/").into_bytes());
    }
    if ["204", "304"].contains(&status) {
        return draft;
    }
    add_body(random, &mut draft);
    draft
}

/// Bytes that one reader or another skips, or reads as a delimiter.
const ODD_BYTES: [&[u8]; 17] = [
    b"\r", b"\n", b"\0", b"\t", b" ", b"\x0b", b"\x0c", b"\x7f", b"\x85", b"\xa0", b"\xff", b":", b",", b";", b"_",
    b"+", b"0",
];

/// An odd byte in the place of another, or before it, anywhere in a line.
pub(super) fn with_odd_byte(random: &mut Random, line: &mut Vec<u8>) {
    let at = random.below(line.len());
    let replaced = random.below(2);
    line.splice(at..at + replaced, random.one(&ODD_BYTES).iter().copied());
}

/// The message with another line end in the place of one CRLF of its head.
pub(super) fn with_odd_line_end(random: &mut Random, draft: &Draft) -> Vec<u8> {
    let head = draft.head();
    let ends: Vec<usize> = head.windows(2).enumerate().filter(|(_, two)| *two == b"\r\n").map(|(at, _)| at).collect();
    let at = ends[random.below(ends.len())];
    let odd: [&[u8]; 9] = [b"\n", b"\r", b"\n\r", b"\r\r\n", b"\r\n ", b"\r\n\t", b"\0\r\n", b"\r\n\r", b" \r\n"];
    [&head[..at], random.one(&odd), &head[at + 2..], &draft.body].concat()
}

/// Values of Content-Length, most of which are not one plain number.
pub(super) const LENGTHS: [&str; 40] = [
    "0",
    "5",
    "05",
    "005",
    "+5",
    "-5",
    "-0",
    "0x5",
    "5_0",
    "5 5",
    "5,5",
    "5, 5",
    "5,6",
    "5;",
    "5.0",
    "5e1",
    "\"5\"",
    "",
    " ",
    "five",
    "9999999999999999999",
    "99999999999999999999",
    "000000000000000000005",
    "18446744073709551616",
    "18446744073709551621",
    "5\t",
    "\t5",
    "5\t5",
    "0\u{b}",
    "\u{661}",
    "5\u{a0}",
    "5\0",
    "00",
    "1_0",
    "０",
    "5,",
    ",5",
    "5\r",
    "0b1",
    "４",
];

/// Values of Transfer-Encoding, most of which are not exactly chunked.
pub(super) const CODINGS: [&str; 34] = [
    "chunked",
    "Chunked",
    "CHUNKED",
    "",
    " ",
    "chunked,",
    ",chunked",
    "chunked, chunked",
    "gzip, chunked",
    "chunked, gzip",
    "identity",
    "chunked, identity",
    "identity, chunked",
    "xchunked",
    "chunkedx",
    "chunked;q=1",
    "chunked ;",
    "\"chunked\"",
    "'chunked'",
    "chun ked",
    "chunked\t",
    "\tchunked",
    "  chunked",
    "chunked ",
    "\u{b}chunked",
    "chunked\u{b}",
    "\u{c}chunked",
    "\u{a0}chunked",
    "chunked\0",
    "c\u{ff48}unked",
    "deflate",
    "chunk",
    "cow",
    "chunKed\u{85}",
];

/// Field lines that are not valid, or are valid and unusual.
pub(super) const LINES: [&str; 32] = [
    "X-A : 1",
    "X-A\t: 1",
    " X-A: 1",
    "\tX-A: 1",
    "X A: 1",
    ": 1",
    ":",
    "no colon",
    "X-A",
    "X(A): 1",
    "X\"A: 1",
    "X,A: 1",
    "X;A: 1",
    "X@A: 1",
    "X[A]: 1",
    "X{A}: 1",
    "X\\A: 1",
    "X/A: 1",
    "X=A: 1",
    "X?A: 1",
    "X\u{e9}: 1",
    "X\u{7f}A: 1",
    "X\0A: 1",
    "X-A: a\0b",
    "X-A: a\u{7f}b",
    "X-A: a\u{1}b",
    "Content-Length : 5",
    "Transfer-Encoding : chunked",
    "Content-Length\t: 5",
    "X-A:\u{b}1",
    "Content_Length: 5",
    "Transfer-Encoding\u{0}: chunked",
];
