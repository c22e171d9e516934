//! A small model of docs/framing.md, written again over whole lines. It finds every fault of a message; the readers stop at one of
//! them, and which one is not promised.

use std::collections::BTreeSet;

use super::generator::{GOOD_HOSTS, TARGETS};

/// The codes of the faults of a message.
pub(super) type Codes = BTreeSet<&'static str>;

const MALFORMED: &str = "malformed";
const AMBIGUOUS: &str = "ambiguous_framing";

/// Where a body ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// After this many bytes.
    After(usize),
    /// The input ends before it.
    Unfinished,
    Bad,
    TrailersTooLarge,
}

/// A request or response whose head has no fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    /// Bytes before it: an empty line, or informational responses.
    pub(super) before: usize,
    pub(super) head: usize,
    pub(super) body: Ends,
    /// Whether the connection can continue.
    pub(super) continues: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// No message has begun.
    Nothing,
    Refused(Codes),
    Read(Whole),
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

fn is_control(byte: u8) -> bool {
    byte < 0x20 && byte != b'\t' || byte == 0x7f
}

fn trim(bytes: &[u8]) -> &[u8] {
    let text = bytes.iter().position(|b| !b" \t".contains(b)).map_or(&[][..], |at| &bytes[at..]);
    text.iter().rposition(|b| !b" \t".contains(b)).map_or(&[], |at| &text[..=at])
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

/// Fields as the name in lower case and the value.
type Fields<'a> = Vec<(String, &'a [u8])>;

fn named<'a>(fields: &Fields<'a>, name: &str) -> Vec<&'a [u8]> {
    fields.iter().filter(|(own, _)| own == name).map(|(_, value)| *value).collect()
}

fn lists(fields: &Fields<'_>, name: &str, member: &str) -> bool {
    let text = |value: &[u8]| String::from_utf8_lossy(value).to_ascii_lowercase();
    named(fields, name).into_iter().any(|value| {
        text(value).split(',').any(|one| one.split(';').next().is_some_and(|one| one.trim_ascii() == member))
    })
}

/// What a connection sends as its next request.
pub(super) fn request(bytes: &[u8]) -> Judged {
    let refused = |code| Judged::Refused([code].into());
    let before = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let text = &bytes[before..];
    match text.first() {
        None => return Judged::Nothing,
        Some(first) if !is_token(&[*first]) => return refused(MALFORMED),
        Some(_) => {}
    }
    let end = find(text, b"\r\n\r\n");
    let head = &text[..end.map_or(text.len(), |at| at + 4)];
    let alone = |at: usize| match head[at] {
        b'\r' => head.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || head[at - 1] != b'\r',
        _ => false,
    };
    if (0..head.len()).any(alone) {
        return refused(MALFORMED);
    }
    if head.len() > 32 << 10 {
        return refused("head_too_large");
    }
    let Some(end) = end else { return refused(MALFORMED) };
    let mut lines = head[..end].split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let (mut faults, mut fields) = (Codes::new(), Fields::new());
    let line = lines.next().unwrap();
    let (method, target, is_old) = request_line(line, &mut faults);
    for (n, line) in lines.enumerate() {
        if n == 100 {
            faults.insert("head_too_large");
        }
        if line.iter().any(|b| is_control(*b)) {
            faults.insert(MALFORMED);
        }
        match line.iter().position(|b| *b == b':') {
            Some(colon) if is_token(&line[..colon]) => {
                fields.push((String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase(), &line[colon + 1..]));
            }
            _ => {
                faults.insert(MALFORMED);
            }
        }
    }
    let hosts: Vec<&[u8]> = named(&fields, "host").into_iter().map(trim).collect();
    let good = |host: &&&[u8]| GOOD_HOSTS.iter().any(|good| good.as_bytes() == **host);
    let host_count = hosts.iter().filter(good).count();
    if host_count != hosts.len() || host_count > 1 || (host_count == 0 && !is_old) {
        faults.insert("bad_host");
    }
    let is_absolute = find(&target, b"://").is_some() && !target.starts_with(b"/");
    if is_absolute && hosts.first().is_some_and(|host| !host.eq_ignore_ascii_case(b"a.example")) {
        faults.insert("bad_host");
    }
    let chunked = request_coding(&fields, is_old, &mut faults);
    let length = request_length(&fields, chunked.is_some(), &mut faults);
    let expects = named(&fields, "expect");
    if expects.iter().any(|value| !trim(value).eq_ignore_ascii_case(b"100-continue")) {
        faults.insert("expect_unsupported");
    }
    if named(&fields, "proxy-authorization").len() > 1 {
        faults.insert(MALFORMED);
    }
    if method == b"CONNECT" && faults.is_empty() {
        let has_body = chunked.is_some() || length.is_some_and(|length| length > 0);
        faults.insert(if has_body { AMBIGUOUS } else { "protocol_not_allowed" });
    }
    if !faults.is_empty() {
        return Judged::Refused(faults);
    }
    let rest = &text[head.len()..];
    let body = match length {
        _ if chunked.is_some() => chunks(rest),
        Some(length) if rest.len() < length => Ends::Unfinished,
        length => Ends::After(length.unwrap_or(0)),
    };
    let continues = !lists(&fields, "connection", "close") && (!is_old || lists(&fields, "connection", "keep-alive"));
    Judged::Read(Whole { before, head: head.len(), body, continues })
}

const KNOWN: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "TRACK"];

/// The method, the target, and whether the version is 1.0.
fn request_line(line: &[u8], faults: &mut Codes) -> (Vec<u8>, Vec<u8>, bool) {
    if line.iter().any(|b| is_control(*b)) {
        faults.insert(MALFORMED);
    }
    if std::str::from_utf8(line).is_err() {
        faults.insert("bad_target");
    }
    let parts: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let [method, target, version] = parts.as_slice() else {
        faults.insert(MALFORMED);
        return (vec![], vec![], false);
    };
    let text = String::from_utf8_lossy(method);
    let other_case = KNOWN.iter().any(|known| known.eq_ignore_ascii_case(&text) && *known != text);
    let is_version = [&b"HTTP/1.1"[..], b"HTTP/1.0"].contains(version);
    if !is_token(method)
        || method.len() > 32
        || other_case
        || !is_version
        || target.is_empty()
        || target.contains(&b'\t')
    {
        faults.insert(MALFORMED);
    }
    if target.len() > 16 << 10 {
        faults.insert("uri_too_long");
    }
    if let Some(fault) = target_fault(&text, target) {
        faults.insert(fault);
    }
    (method.to_vec(), target.to_vec(), *version == b"HTTP/1.0")
}

/// The targets of the generator have a verdict each. All others are paths.
fn target_fault(method: &str, target: &[u8]) -> Option<&'static str> {
    if method == "CONNECT" {
        let good = [&b"a.example:443"[..], b"[::1]:443"].contains(&target);
        return (!good).then_some("bad_host");
    }
    if target == b"*" {
        return (method != "OPTIONS").then_some("bad_target");
    }
    if let Some((_, fault)) = TARGETS.iter().find(|(known, _)| known.as_bytes() == target) {
        return *fault;
    }
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(b);
    let escaped = target
        .split(|b| *b == b'%')
        .skip(1)
        .all(|part| part.len() >= 2 && part[..2].iter().all(u8::is_ascii_hexdigit) && !part.starts_with(b"00"));
    (!target.starts_with(b"/") || !target.iter().all(plain) || !escaped).then_some("bad_target")
}

fn request_coding(fields: &Fields<'_>, is_old: bool, faults: &mut Codes) -> Option<()> {
    let codings = named(fields, "transfer-encoding");
    let exact = |value: &&[u8]| value.strip_prefix(b" ").unwrap_or(value).eq_ignore_ascii_case(b"chunked");
    if !codings.iter().all(exact) || codings.len() > 1 || (is_old && !codings.is_empty()) {
        faults.insert(AMBIGUOUS);
    }
    codings.first().map(|_| ())
}

fn request_length(fields: &Fields<'_>, has_coding: bool, faults: &mut Codes) -> Option<usize> {
    let lengths = named(fields, "content-length");
    let number = |value: &[u8]| {
        let digits = std::str::from_utf8(trim(value)).ok()?;
        let plain = digits.len() <= 19 && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|number| plain && number.to_string() == digits)
    };
    if lengths.iter().any(|value| number(value).is_none()) || lengths.len() > 1 || (has_coding && !lengths.is_empty()) {
        faults.insert(AMBIGUOUS);
    }
    number(lengths.first()?).and_then(|number| usize::try_from(number).ok())
}

/// A chunked body.
pub(super) fn chunks(bytes: &[u8]) -> Ends {
    let (mut at, mut extensions) = (0, 0);
    loop {
        let Some(length) = find(&bytes[at..], b"\r\n") else { return Ends::Unfinished };
        let line = &bytes[at..at + length];
        at += length + 2;
        let (digits, extension) = match line.iter().position(|b| *b == b';') {
            Some(semicolon) => (&line[..semicolon], Some(&line[semicolon + 1..])),
            None => (line, None),
        };
        extensions += extension.map_or(0, <[u8]>::len);
        let is_size = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
        if !is_size || extension.is_some_and(|text| !is_extension(text)) || extensions > 1 << 10 {
            return Ends::Bad;
        }
        let size = u64::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
        if size == 0 {
            return trailers(bytes, at);
        }
        let left = (bytes.len() - at) as u64;
        if size >= left {
            return Ends::Unfinished;
        }
        at += usize::try_from(size).unwrap();
        match &bytes[at..] {
            [b'\r', b'\n', ..] => at += 2,
            [b'\r'] => return Ends::Unfinished,
            _ => return Ends::Bad,
        }
    }
}

/// Extensions, each with a name in front, and with every quote closed.
fn is_extension(text: &[u8]) -> bool {
    let (mut quoted, mut escaped, mut part, mut parts) = (false, false, Vec::new(), Vec::new());
    for byte in text {
        match byte {
            b';' if !quoted => parts.push(std::mem::take(&mut part)),
            _ => part.push(*byte),
        }
        let quote = *byte == b'"' && !escaped;
        escaped = quoted && !escaped && *byte == b'\\';
        quoted ^= quote;
    }
    parts.push(part);
    let begins = |part: &Vec<u8>| trim(part).first().is_some_and(|first| !b"\"=".contains(first));
    !quoted && parts.iter().all(begins) && !text.iter().any(|b| is_control(*b))
}

fn trailers(bytes: &[u8], mut at: usize) -> Ends {
    let (mut size, mut is_bad) = (0, false);
    loop {
        let Some(length) = find(&bytes[at..], b"\r\n") else { return Ends::Unfinished };
        let line = &bytes[at..at + length];
        at += length + 2;
        size += length;
        if size > 8 << 10 {
            return Ends::TrailersTooLarge;
        }
        if line.is_empty() {
            return if is_bad { Ends::Bad } else { Ends::After(at) };
        }
        if line.iter().any(|b| is_control(*b)) || b" \t:".contains(&line[0]) {
            return Ends::Bad;
        }
        let colon = line.iter().position(|b| *b == b':');
        is_bad |= !colon.is_some_and(|colon| is_token(&line[..colon]));
    }
}

/// What a connection sends as its response to a request; with `to_head`, to a HEAD request.
pub(super) fn response(bytes: &[u8], to_head: bool) -> Judged {
    let bad = || Judged::Refused(["upstream_protocol"].into());
    let (mut before, mut interim) = (0, 0);
    loop {
        let text = &bytes[before..];
        if text.is_empty() {
            return if before == 0 { Judged::Nothing } else { bad() };
        }
        let ends = [find(text, b"\n\n").map(|at| at + 2), find(text, b"\n\r\n").map(|at| at + 3)];
        let Some(head) = ends.into_iter().flatten().min() else { return bad() };
        let Some((status, fields, is_old)) = response_head(&text[..head]) else { return bad() };
        if (100..200).contains(&status) && status != 101 {
            (before, interim) = (before + head, interim + 1);
            if interim > 32 {
                return bad();
            }
            continue;
        }
        let length = named(&fields, "content-length")
            .first()
            .map(|value| std::str::from_utf8(trim(value)).unwrap().parse::<usize>().unwrap_or(usize::MAX));
        let is_empty = to_head || [101, 204, 304].contains(&status);
        let chunked = !named(&fields, "transfer-encoding").is_empty();
        let rest = &text[head..];
        let body = match length {
            _ if is_empty => Ends::After(0),
            _ if chunked => chunks(rest),
            Some(length) if rest.len() < length => Ends::Unfinished,
            Some(length) => Ends::After(length),
            None => Ends::After(rest.len()),
        };
        let until_close = !is_empty && !chunked && length.is_none();
        let keeps = !lists(&fields, "connection", "close") && (!is_old || lists(&fields, "connection", "keep-alive"));
        return Judged::Read(Whole { before, head, body, continues: keeps && !until_close });
    }
}

/// The status, the fields, and whether the version is 1.0; `None` if anything breaks a rule.
fn response_head(head: &[u8]) -> Option<(u16, Fields<'_>, bool)> {
    let mut lines: Vec<&[u8]> =
        head.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    // The empty line, and the nothing after it.
    lines.truncate(lines.len() - 2);
    let (line, lines) = lines.split_first()?;
    let is_old = line.starts_with(b"HTTP/1.0 ");
    let rest = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let code = std::str::from_utf8(rest.get(..3)?).ok().filter(|code| code.bytes().all(|b| b.is_ascii_digit()))?;
    let reason = &rest[3..];
    let status = code.parse().ok().filter(|status| *status >= 100)?;
    if reason.first().is_some_and(|first| *first != b' ') || reason.iter().any(|b| is_control(*b)) || lines.len() > 256
    {
        return None;
    }
    let mut fields = Fields::new();
    for line in lines {
        let colon = line.iter().position(|b| *b == b':')?;
        let name = trim(&line[..colon]);
        if b" \t".contains(&line[0]) || !is_token(name) || line.iter().any(|b| is_control(*b)) {
            return None;
        }
        fields.push((String::from_utf8_lossy(name).to_ascii_lowercase(), &line[colon + 1..]));
    }
    let (lengths, codings) = (named(&fields, "content-length"), named(&fields, "transfer-encoding"));
    let digits = |value: &&[u8]| {
        let digits = trim(value);
        (1..=19).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
    };
    let is_chunked = |value: &&[u8]| trim(value).eq_ignore_ascii_case(b"chunked");
    let one = lengths.len() + codings.len() <= 1;
    let fits = lengths.iter().all(digits) && codings.iter().all(is_chunked) && (!is_old || codings.is_empty());
    (one && fits).then_some((status, fields, is_old))
}
