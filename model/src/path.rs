//! The path of a request in both readings: as sent, and as fully resolved.
//!
//! Servers disagree about dot segments, encoded slashes and dots, backslashes, empty segments and
//! `;` parameters. A rule is judged against both readings; the bytes that are sent on are the
//! bytes that were judged, never a rewritten form (RFC 3986 section 6 is what servers may do).

use thiserror::Error;

/// A judged path with its query; made once, from the request target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPath {
    target: String,
    path_end: usize,
    resolved: Option<String>,
}

/// Why a request target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// An origin-form target begins with `/`.
    #[error("the path does not begin with a slash")]
    NoSlash,
    /// A byte that RFC 3986 does not allow in a path or query (controls, spaces, non-ASCII, `#`, `"`, `<`, `>`, `` ` ``).
    #[error("the target holds a byte that no URI may hold")]
    Byte,
    /// `%` without two hex digits, or an escape of NUL, or an overlong or invalid UTF-8 sequence.
    #[error("the target holds a broken percent escape")]
    Escape,
}

impl RequestPath {
    /// Judges an origin-form request target (`/path?query`).
    ///
    /// # Errors
    /// [`PathError`] names the first thing wrong with it.
    pub fn parse(target: &str) -> Result<Self, PathError> {
        if !target.starts_with('/') {
            return Err(PathError::NoSlash);
        }
        let path_end = target.find('?').unwrap_or(target.len());
        let bytes = target.as_bytes();
        let (path, query) = bytes.split_at(path_end);
        let ambiguous = judge(path, true)?;
        judge(query, false)?;
        let resolved = if ambiguous { Some(resolve(path)).filter(|r| r.as_bytes() != path) } else { None };
        Ok(Self { target: target.to_owned(), path_end, resolved })
    }

    /// The target `*` of a server-wide OPTIONS request, which only a rule with that very path allows.
    pub fn asterisk() -> Self {
        Self { target: "*".to_owned(), path_end: 1, resolved: None }
    }

    /// The target as sent, with its query.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The path as sent, without its query.
    pub fn as_sent(&self) -> &str {
        self.target.get(..self.path_end).expect("path_end is the place of an ASCII sign")
    }

    /// The query as sent, without its `?`.
    pub fn query(&self) -> Option<&str> {
        self.target.get(self.path_end + 1..)
    }

    /// The path as a server that resolves everything would read it; `None` where it reads as sent.
    pub fn resolved(&self) -> Option<&str> {
        self.resolved.as_deref()
    }

    /// What a record may keep: the path, and the query's names without their values.
    pub fn for_record(&self) -> String {
        let Some(query) = self.query() else { return self.as_sent().to_owned() };
        let mut text = self.as_sent().to_owned();
        let mut sign = '?';
        for pair in query.split('&') {
            // A pair without `=` is all value: a secret may stand there.
            if let Some((name, _)) = pair.split_once('=') {
                text.push(sign);
                text.push_str(name);
                sign = '&';
            }
        }
        text
    }
}

/// Checks every byte; true where two servers could read the path differently.
fn judge(bytes: &[u8], path: bool) -> Result<bool, PathError> {
    let mut ambiguous = false;
    let mut decoded = Vec::new();
    let mut rest = bytes;
    let mut previous = 0u8;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => {
                let value = hex_pair(tail).ok_or(PathError::Escape)?;
                rest = tail.get(2..).ok_or(PathError::Escape)?;
                if path && value == 0 {
                    return Err(PathError::Escape);
                }
                decoded.push(value);
                ambiguous |= steers(value);
            }
            0..=0x20 | 0x7f..=0xff | b'#' | b'"' | b'<' | b'>' | b'`' => return Err(PathError::Byte),
            _ => {
                ambiguous |= byte == b'\\' || byte == b';' || (byte == b'/' && previous == b'/');
                ambiguous |= byte == b'.' && previous == b'/';
                decoded.push(byte);
            }
        }
        previous = byte;
    }
    // An overlong or broken UTF-8 sequence is how a decoder is made to see a slash that is not there.
    if path && std::str::from_utf8(&decoded).is_err() {
        return Err(PathError::Escape);
    }
    Ok(path && ambiguous)
}

fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let digit = |b: u8| (b as char).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit(*bytes.first()?)? << 4 | digit(*bytes.get(1)?)?)
}

/// The path with every escape of a plain character undone (again and again), backslashes as slashes,
/// `;` parameters dropped, empty and dot segments resolved (RFC 3986 section 5.2.4).
fn resolve(path: &[u8]) -> String {
    let mut bytes = path.to_vec();
    // Each pass shortens the text or ends the loop.
    loop {
        let next = decode_once(&bytes);
        if next.len() == bytes.len() {
            break;
        }
        bytes = next;
    }
    let mut segments: Vec<&[u8]> = Vec::new();
    let all: Vec<&[u8]> = bytes.split(|b| matches!(b, b'/' | b'\\')).skip(1).collect();
    let count = all.len();
    let mut directory = false;
    for (n, segment) in all.into_iter().enumerate() {
        let name = segment.split(|b| *b == b';').next().unwrap_or_default();
        let last = n + 1 == count;
        match name {
            b"" | b"." => directory = last,
            b".." => {
                segments.pop();
                directory = last;
            }
            _ => {
                segments.push(name);
                directory = false;
            }
        }
    }
    let mut out = Vec::with_capacity(bytes.len());
    for segment in &segments {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if directory || out.is_empty() {
        out.push(b'/');
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Undoes the escapes of visible ASCII characters, which servers read as the characters themselves; leaves the others.
fn decode_once(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        match hex_pair(tail) {
            Some(value) if byte == b'%' && steers(value) => {
                out.push(value);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    out
}

fn steers(value: u8) -> bool {
    value.is_ascii_graphic()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(target: &str) -> Option<String> {
        RequestPath::parse(target).unwrap().resolved().map(str::to_owned)
    }

    #[test]
    fn plain_paths_have_one_reading() {
        for target in ["/", "/v1/models", "/a/b/", "/a.b/c.d", "/x?y=/../z", "/caf%C3%A9", "/a%20b", "/@scope/name"] {
            assert_eq!(resolved(target), None, "{target}");
        }
    }

    #[test]
    fn the_second_reading_resolves_everything() {
        for (target, want) in [
            ("/v1/../admin", "/admin"),
            ("/v1/%2e%2e/admin", "/admin"),
            ("/v1/.%2e/x", "/x"),
            ("/v1/..;/x", "/x"),
            ("/v1//admin", "/v1/admin"),
            ("/v1/%2f..%2fadmin", "/admin"),
            ("/v1\\..\\admin", "/admin"),
            ("/v1/%5c..", "/"),
            ("/v1/%252e%252e/", "/"),
            ("/v1/./x", "/v1/x"),
            ("/@scope%2fname", "/@scope/name"),
            ("/v1/%61dmin", "/v1/admin"),
            ("/v1/x%3AsetIam", "/v1/x:setIam"),
            ("/v1/never%2Dever", "/v1/never-ever"),
            ("/v1/%40scope/x", "/v1/@scope/x"),
            ("/v1/snake%5Fcase", "/v1/snake_case"),
            ("/a;b=c/d", "/a/d"),
            ("/..", "/"),
            ("/a/b/..", "/a/"),
        ] {
            assert_eq!(resolved(target).as_deref(), Some(want), "{target}");
        }
    }

    #[test]
    fn broken_targets_are_refused() {
        for target in ["/%", "/%2", "/%zz", "/%00", "/%c0%af", "/%ff", "/a?b=%zz"] {
            assert_eq!(RequestPath::parse(target), Err(PathError::Escape), "{target}");
        }
        for target in ["/a b", "/a#b", "/\u{e9}", "/a\"", "/<", "/a?b=\u{7f}"] {
            assert_eq!(RequestPath::parse(target), Err(PathError::Byte), "{target}");
        }
        assert_eq!(RequestPath::parse("a"), Err(PathError::NoSlash));
    }

    #[test]
    fn records_keep_query_names_only() {
        let path = RequestPath::parse("/p?key=sEcReT&x=1&sEcReT&y=").unwrap();
        assert_eq!(path.for_record(), "/p?key&x&y");
        assert_eq!(path.query(), Some("key=sEcReT&x=1&sEcReT&y="));
    }
}
