//! What servers do to a path, as steps in any order: each one line of some framework's habits.

use std::fmt;

/// One thing that a server does to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Percent escapes, once; broken ones stay.
    Decode,
    /// Runs of slashes become one.
    Merge,
    /// `.` and `..` (RFC 3986 section 5.2.4).
    Dots,
    /// A backslash is a slash.
    Backslash,
    /// `;..` up to the next slash is dropped.
    Parameters,
    /// `;` ends the path.
    CutParameters,
    /// `%uXXXX`.
    Unicode,
    /// Overlong UTF-8 of ASCII is ASCII.
    Overlong,
    /// NUL ends the path.
    StopAtNul,
    /// `#` or `?` ends the path.
    StopAtDelimiter,
    /// Tabs and line ends are dropped.
    DropControls,
    /// `//host/path` names a host first.
    Authority,
    /// The same, where a host ends at the first character that is not one of a host.
    LooseAuthority,
    /// Full-width dots are dots.
    Fullwidth,
}

use Step::{
    Authority, Backslash, CutParameters, Decode, Dots, DropControls, Fullwidth, LooseAuthority, Merge, Overlong,
    Parameters, StopAtDelimiter, StopAtNul, Unicode,
};

/// Every step, for pipelines by chance.
pub(crate) const STEPS: [Step; 14] = [
    Decode,
    Merge,
    Dots,
    Backslash,
    Parameters,
    CutParameters,
    Unicode,
    Overlong,
    StopAtNul,
    StopAtDelimiter,
    DropControls,
    Authority,
    LooseAuthority,
    Fullwidth,
];

/// Families of servers.
pub(crate) const FAMILIES: [(&str, &[Step]); 18] = [
    ("as sent", &[]),
    ("as sent, decoded", &[Decode]),
    ("resolve, then decode", &[Dots, Decode]),
    ("decode, then resolve", &[Decode, Dots]),
    ("decode, resolve, decode, resolve", &[Decode, Dots, Decode, Dots]),
    ("decode twice, then resolve", &[Decode, Decode, Dots]),
    ("decode, merge, resolve", &[Decode, Merge, Dots]),
    ("resolve, decode, merge, resolve", &[Dots, Decode, Merge, Dots]),
    ("backslashes, then resolve", &[Backslash, Dots]),
    ("decode, backslashes, resolve", &[Decode, Backslash, Merge, Dots]),
    ("parameters, decode, resolve", &[Parameters, Decode, Merge, Dots]),
    ("decode, parameters, resolve", &[Decode, CutParameters, Merge, Dots]),
    ("unicode escapes, decode, resolve", &[Unicode, Decode, Dots]),
    ("decode, unicode escapes, resolve", &[Decode, Unicode, Dots]),
    ("decode, overlong, resolve", &[Decode, Decode, Overlong, Dots]),
    ("decode, stop at delimiters, resolve", &[Decode, StopAtDelimiter, Dots]),
    ("authority first", &[Authority, Decode, Dots]),
    ("loose authority first", &[LooseAuthority, Decode, Dots]),
];

/// Steps in their order.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline(pub(crate) Vec<Step>);

/// Where a server ends up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) path: Vec<u8>,
    /// Whether escapes were decoded: what looks like one is a text then.
    pub(crate) decoded: bool,
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{}", String::from_utf8_lossy(&self.path), if self.decoded { "" } else { " (not decoded)" })
    }
}

impl Pipeline {
    /// The path of a target for such a server; `None` where it refuses the target itself.
    pub(crate) fn read(&self, target: &str) -> Option<Reached> {
        let mut path = target.split('?').next().unwrap().as_bytes().to_vec();
        for step in &self.0 {
            path = step.apply(&path);
        }
        // Whatever is left that does not begin with a slash names nothing.
        path.starts_with(b"/").then(|| Reached { path, decoded: self.0.contains(&Decode) })
    }
}

impl Step {
    fn apply(self, path: &[u8]) -> Vec<u8> {
        match self {
            Self::Decode => decode(path),
            Self::Merge => merge(path),
            Self::Dots => dots(path),
            Self::Backslash => path.iter().map(|b| if *b == b'\\' { b'/' } else { *b }).collect(),
            Self::Parameters => each_segment(path, |s| s.split(|b| *b == b';').next().unwrap().to_vec()),
            Self::CutParameters => before(path, b";"),
            Self::Unicode => unicode(path),
            Self::Overlong => overlong(path),
            Self::StopAtNul => before(path, b"\0"),
            Self::StopAtDelimiter => before(path, b"#?"),
            Self::DropControls => path.iter().copied().filter(|b| !matches!(b, b'\t' | b'\n' | b'\r')).collect(),
            Self::Authority => authority(path),
            Self::LooseAuthority => loose_authority(path),
            Self::Fullwidth => fullwidth(path),
        }
    }
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

fn decode(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < path.len() {
        let pair = (path.get(at + 1).copied().and_then(hex), path.get(at + 2).copied().and_then(hex));
        match (path[at], pair) {
            (b'%', (Some(high), Some(low))) => {
                out.push(high * 16 + low);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

fn merge(path: &[u8]) -> Vec<u8> {
    let mut out = path.to_vec();
    out.dedup_by(|b, a| *a == b'/' && *b == b'/');
    out
}

/// "Remove dot segments" as RFC 3986 writes it, with empty segments left alone.
fn dots(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<&[u8]> = Vec::new();
    let segments: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
    for (at, segment) in segments.iter().enumerate() {
        let is_last = at + 1 == segments.len();
        match *segment {
            b"." => {}
            b".." => {
                if out.len() > 1 {
                    out.pop();
                }
            }
            _ => {
                out.push(segment);
                continue;
            }
        }
        if is_last {
            out.push(b"");
        }
    }
    let joined = out.join(&b'/');
    if joined.is_empty() { b"/".to_vec() } else { joined }
}

fn each_segment(path: &[u8], change: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    path.split(|b| *b == b'/').map(change).collect::<Vec<_>>().join(&b'/')
}

fn before(path: &[u8], signs: &[u8]) -> Vec<u8> {
    path.iter().copied().take_while(|b| !signs.contains(b)).collect()
}

fn unicode(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        let digits: Option<Vec<u8>> = tail.get(1..5).and_then(|digits| digits.iter().map(|b| hex(*b)).collect());
        match (byte, tail.first(), digits) {
            (b'%', Some(b'u' | b'U'), Some(digits)) => {
                let code = digits.iter().fold(0u32, |code, digit| code * 16 + u32::from(*digit));
                let c = char::from_u32(code).unwrap_or('?');
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &tail[5..];
            }
            _ => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    out
}

fn overlong(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = path;
    loop {
        rest = match rest {
            [] => return out,
            [0xc0 | 0xc1, low @ 0x80..=0xbf, tail @ ..] => {
                out.push((rest[0] & 1) << 6 | (low & 0x3f));
                tail
            }
            [0xe0, high @ 0x80..=0x81, low @ 0x80..=0xbf, tail @ ..] => {
                out.push((high & 1) << 6 | (low & 0x3f));
                tail
            }
            [byte, tail @ ..] => {
                out.push(*byte);
                tail
            }
        };
    }
}

fn authority(path: &[u8]) -> Vec<u8> {
    let rest = path.iter().position(|b| *b != b'/').unwrap_or(path.len());
    if rest < 2 {
        return path.to_vec();
    }
    match path[rest..].iter().position(|b| *b == b'/') {
        Some(slash) => path[rest + slash..].to_vec(),
        None => b"/".to_vec(),
    }
}

fn loose_authority(path: &[u8]) -> Vec<u8> {
    if !path.starts_with(b"//") {
        return path.to_vec();
    }
    let is_host = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    let rest: Vec<u8> = path.iter().skip(2).skip_while(is_host).copied().collect();
    if rest.starts_with(b"/") { rest } else { [b"/", rest.as_slice()].concat() }
}

/// Full-width dots and dot leaders become dots, as compatibility normalization does.
fn fullwidth(path: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(path) else { return path.to_vec() };
    text.replace(['\u{ff0e}', '\u{2024}'], ".").replace('\u{2025}', "..").into_bytes()
}
