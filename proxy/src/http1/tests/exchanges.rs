//! Odd but honest responses: each passes through a whole exchange, from the bytes of the upstream to the bytes of the client. Only what
//! docs/framing.md names is added, removed or written otherwise.

use std::collections::HashSet;
use std::sync::Arc;

use model::Destination;
use sessions::Identified;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::oracle::{self, Field, Line};
use crate::Core;
use crate::testing::{Bench, HOST, upstream};
use crate::tunnel::{Tunnel, serve_http1};
use crate::upstream::dial::HttpVersions;
use crate::upstream::pool::Key;

/// Status lines, with the status.
const LINES: [(&str, u16); 16] = [
    ("HTTP/1.1 200 OK", 200),
    ("HTTP/1.1 200", 200),
    ("HTTP/1.1 200 ", 200),
    ("HTTP/1.1 200 \t spaced \t out", 200),
    ("HTTP/1.1 200 Tr\u{e8}s bien: \"ok\"", 200),
    ("HTTP/1.1 200 HTTP/1.1 404 Not Found", 200),
    ("HTTP/1.0 200 OK", 200),
    ("HTTP/1.1 201 Created", 201),
    ("HTTP/1.1 206 Partial Content", 206),
    ("HTTP/1.1 226 IM Used", 226),
    ("HTTP/1.1 308 Elsewhere", 308),
    ("HTTP/1.1 404 not here", 404),
    ("HTTP/1.1 418 I'm a teapot", 418),
    ("HTTP/1.0 503 Busy", 503),
    ("HTTP/1.1 599 Odd", 599),
    ("HTTP/1.1 999 Request denied", 999),
];

/// Lines of fields, with what the client gets of them.
const FIELDS: [(&str, &[(&str, &str)]); 17] = [
    ("", &[]),
    ("X-Empty:\r\nX-Blank: \t \r\n", &[("x-empty", ""), ("x-blank", "")]),
    ("X-Obs: \u{e9}\u{df}\u{a0}\r\n", &[("x-obs", "\u{e9}\u{df}\u{a0}")]),
    ("X-Tabs: a\tb\t\tc\t\r\nX-Gaps:  a   b  \r\n", &[("x-tabs", "a\tb\t\tc"), ("x-gaps", "a   b")]),
    ("sERVER: x\r\nETAG:W/\"\"\r\ndate:no date\r\n", &[("server", "x"), ("etag", "W/\"\""), ("date", "no date")]),
    (
        "Set-Cookie: a=1; Path=/\r\nSet-Cookie: a=1; Path=/\r\nX: y\r\nset-cookie:b=\"2, 3\"; Expires=Thu, 01 Jan 1970 00:00:00 GMT\r\n",
        &[
            ("set-cookie", "a=1; Path=/"),
            ("set-cookie", "a=1; Path=/"),
            ("set-cookie", "b=\"2, 3\"; Expires=Thu, 01 Jan 1970 00:00:00 GMT"),
            ("x", "y"),
        ],
    ),
    ("Vary: a\r\nVary:\r\nvary: b, c\r\nVARY: a\r\n", &[("vary", "a"), ("vary", ""), ("vary", "b, c"), ("vary", "a")]),
    ("X-Before : a\r\nX-Tab\t: b\r\n", &[("x-before", "a"), ("x-tab", "b")]),
    ("!#$%&'*+-.^_`|~0: token\r\nx_y: 1\r\nx.y: 2\r\n", &[("!#$%&'*+-.^_`|~0", "token"), ("x_y", "1"), ("x.y", "2")]),
    ("X-Colons: :a::b:\r\nX-Quote: \"a\\\"\r\n", &[("x-colons", ":a::b:"), ("x-quote", "\"a\\\"")]),
    ("Connection: X-Hop, x-other\r\nX-Hop: 1\r\nX-OTHER: 2\r\nX-End: 3\r\n", &[("x-end", "3")]),
    ("Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nX: y\r\n", &[("x", "y")]),
    ("Connection: close, Content-Type\r\nContent-Type: text/odd;\r\n", &[("content-type", "text/odd;")]),
    (
        "Trailer: X-Sum\r\nAge: -1\r\nRetry-After: never\r\n",
        &[("trailer", "X-Sum"), ("age", "-1"), ("retry-after", "never")],
    ),
    (
        "Proxy-Status: cdn; error=x\r\nVia: 1.1 a\r\nVia: 1.0 b\r\n",
        &[("proxy-status", "cdn; error=x"), ("via", "1.1 a"), ("via", "1.0 b")],
    ),
    ("Link: </a>; rel=\"x\"; title*=UTF-8''%e2%82%ac\r\n", &[("link", "</a>; rel=\"x\"; title*=UTF-8''%e2%82%ac")]),
    (
        "Location: //\r\nRefresh: 0\r\nWarning: 199 - \"x\"\r\n",
        &[("location", "//"), ("refresh", "0"), ("warning", "199 - \"x\"")],
    ),
];

/// What is in front of the response.
const INTERIM: [&str; 5] = [
    "",
    "",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nSet-Cookie: early=1\r\n\r\n",
    "HTTP/1.1 102 x\n\nHTTP/1.1 199\r\nContent-Length: 5\r\n\r\n",
];

type Framed = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Framings: the field, the bytes of the body as sent, the body, and the trailers.
const FRAMINGS: [Framed; 11] = [
    ("Content-Length: 5\r\n", "hello", "hello", &[]),
    ("content-length:\t0005 \r\n", "\r\n\0\r\n", "\r\n\0\r\n", &[]),
    ("Content-Length: 0\r\n", "", "", &[]),
    (
        "Content-Length: 38\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        &[],
    ),
    ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello", &[]),
    ("transfer-encoding:CHUNKED\r\n", "0001\r\nh\r\n0000000000000004\r\nello\r\n000\r\n\r\n", "hello", &[]),
    (
        "Transfer-Encoding: chunked\r\n",
        "A;x=\"a;\\\"b\"; y\r\n0123456789\r\na;z=1\r\n0123456789\r\n0;last\r\n\r\n",
        "01234567890123456789",
        &[],
    ),
    (
        "Transfer-Encoding: chunked\r\n",
        "2\r\n\r\n\r\n0\r\nX-Sum: \t7 \r\nx-sum:8\r\nX-None:\r\n\r\n",
        "\r\n",
        &[("x-sum", "7"), ("x-sum", "8"), ("x-none", "")],
    ),
    ("Transfer-Encoding: chunked\r\n", "0\r\n\r\n", "", &[]),
    ("", "until the end\r\n", "until the end\r\n", &[]),
    ("", "", "", &[]),
];

/// Requests: with HEAD, over HTTP/1.0, with keep-alive there, and with trailers accepted.
const REQUESTS: [(&str, bool, bool, bool, bool); 5] = [
    ("GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n", false, false, true, false),
    ("GET / HTTP/1.1\r\nHost: api.example.com\r\nTE: trailers\r\n\r\n", false, false, true, true),
    ("HEAD / HTTP/1.1\r\nHost: api.example.com\r\n\r\n", true, false, true, false),
    ("GET / HTTP/1.0\r\nHost: api.example.com\r\nTE: trailers\r\n\r\n", false, true, false, true),
    ("GET / HTTP/1.0\r\nHost: api.example.com\r\nConnection: keep-alive\r\n\r\n", false, true, true, false),
];

/// One response, and what the client gets.
struct Honest {
    request: &'static str,
    response: Vec<u8>,
    /// How many informational responses come before it.
    interim: usize,
    /// The field lines of the response.
    sent: String,
    to_head: bool,
    line: Line,
    is_old: bool,
    fields: Vec<Field>,
    body: Vec<u8>,
    trailers: Vec<Field>,
}

fn pairs(all: &[(&str, &str)]) -> Vec<Field> {
    all.iter().map(|(name, value)| ((*name).to_owned(), latin(value))).collect()
}

/// Text as the bytes of Latin-1, so that it has bytes that are not UTF-8.
fn latin(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

/// The response with these parts; `None` if it would not be honest.
fn honest(line: (&str, u16), n: usize, framing: usize, request: usize) -> Option<Honest> {
    let (sent_fields, fields) = FIELDS[n % FIELDS.len()];
    let (field, sent, body, trailers) = FRAMINGS[framing];
    let (request, to_head, is_old, keeps, accepts_trailers) = REQUESTS[request];
    let is_chunked = field.to_ascii_lowercase().starts_with("transfer");
    // HTTP/1.0 has no chunks.
    if is_chunked && line.0.starts_with("HTTP/1.0") {
        return None;
    }
    let has_no_body = to_head || [204, 304].contains(&line.1);
    let end = if n % 7 == 3 { "\n" } else { "\r\n" };
    let head = format!("{}\r\n{sent_fields}{field}\r\n", line.0).replace("\r\n", end);
    let mut response = latin(&format!("{}{head}", INTERIM[n % INTERIM.len()]));
    let mut wanted = pairs(fields);
    let length = |length: usize| ("content-length".to_owned(), length.to_string().into_bytes());
    let mut until_close = false;
    if !has_no_body {
        response.extend_from_slice(&latin(sent));
        match (field.is_empty() || is_chunked, is_old) {
            (false, _) => wanted.push(length(body.len())),
            // Its end comes with its head, so its length is known.
            (true, _) if is_chunked && body.is_empty() => wanted.push(length(0)),
            (true, false) => wanted.push(("transfer-encoding".to_owned(), b"chunked".to_vec())),
            (true, true) => until_close = true,
        }
    } else if !is_chunked && !field.is_empty() && line.1 != 204 {
        wanted.push(length(body.len()));
    }
    match (keeps && !until_close, is_old) {
        (false, _) => wanted.push(("connection".to_owned(), b"close".to_vec())),
        (true, true) => wanted.push(("connection".to_owned(), b"keep-alive".to_vec())),
        (true, false) => {}
    }
    let (body, trailers) = if has_no_body { ("", &[][..]) } else { (body, trailers) };
    Some(Honest {
        request,
        response,
        // A 100 answers Egret itself, and a client of HTTP/1.0 gets none.
        interim: if is_old { 0 } else { [0, 0, 0, 1, 2][n % INTERIM.len()] },
        sent: format!("{sent_fields}{field}"),
        to_head,
        line: Line::Status(line.1),
        is_old,
        fields: oracle::by_name(wanted),
        body: latin(body),
        trailers: if accepts_trailers && !is_old { pairs(trailers) } else { vec![] },
    })
}

fn all() -> Vec<Honest> {
    let mut all = Vec::new();
    for (n, line) in LINES.iter().enumerate() {
        for framing in 0..FRAMINGS.len() {
            for request in 0..REQUESTS.len() {
                all.extend(honest(*line, n * 5 + framing * 7 + request * 3, framing, request));
            }
        }
    }
    // Those without a body may still describe one.
    for (n, line) in
        [("HTTP/1.1 204 No Content", 204), ("HTTP/1.1 304 Not Modified", 304), ("HTTP/1.1 304", 304)].iter().enumerate()
    {
        for fields in 0..FIELDS.len() {
            all.extend(honest(*line, fields, [0, 1, 2, 9][(n + fields) % 4], fields % REQUESTS.len()));
        }
    }
    // Many fields, and long ones.
    for (count, length) in [(200, 1), (250, 100), (3, 20_000), (1, 60_000)] {
        let mut one = honest(LINES[0], 0, 0, 0).unwrap();
        let extra: Vec<Field> = (0..count).map(|n| (format!("x-{n:03}"), vec![b'v'; length])).collect();
        let lines: String =
            extra.iter().map(|(name, value)| format!("{name}: {}\r\n", String::from_utf8_lossy(value))).collect();
        one.interim = 0;
        one.sent = format!("{lines}Content-Length: 5\r\n");
        one.response = format!("HTTP/1.1 200 OK\r\n{}\r\nhello", one.sent).into_bytes();
        one.fields.extend(extra);
        one.fields = oracle::by_name(one.fields);
        all.push(one);
    }
    all
}

/// A proxy with one session, whose upstream connections the test makes.
struct Served {
    core: Arc<Core>,
    client: Identified,
    destination: Destination,
}

impl Served {
    /// The upstream's end of an idle connection.
    fn upstream(&self) -> DuplexStream {
        let key = Key {
            session: self.client.session().id.clone(),
            destination: self.destination.clone(),
            versions: HttpVersions::Http1,
            credentials: vec![],
            trust: self.core.proxy.trust.load().serial(),
        };
        // Those of earlier responses were closed.
        self.core.pool.sweep(u64::MAX, |_| true);
        let (kept, theirs) = upstream();
        self.core.pool.put(key, kept);
        theirs
    }

    /// All bytes that the client gets for this request, to which the upstream sends this and closes.
    async fn answer(&self, request: &str, response: &[u8]) -> Vec<u8> {
        let mut theirs = self.upstream();
        let (mut client, ours) = tokio::io::duplex(1 << 20);
        let tunnel = Tunnel::new(self.core.clone(), self.client.clone(), self.destination.clone(), false);
        let origin = async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert!(theirs.read_buf(&mut head).await.unwrap() > 0, "the request has an end");
            }
            theirs.write_all(response).await.unwrap();
            drop(theirs);
        };
        let asks = async {
            client.write_all(request.as_bytes()).await.unwrap();
            // No other request follows, so the connection ends after the answer.
            client.shutdown().await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        };
        tokio::join!(Box::pin(serve_http1(tunnel, ours)), origin, asks).2
    }
}

fn line() -> (Served, impl Sized) {
    let rule = format!("{{id: r, allow: {{host: {HOST}}}, addresses: [192.0.2.0/24]}}");
    let (core, client, destination, kept) = Bench::new(&[&rule]).into_parts();
    (Served { core, client, destination }, kept)
}

/// The names in a head that are also among these fields, as written and in order, but for those that describe the connection.
fn names<'a>(head: &'a str, fields: &[Field]) -> Vec<&'a str> {
    let lines = head.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| Some(line.split_once(':')?.0.trim_end()));
    let stays = |name: &&str| {
        let name = name.to_ascii_lowercase();
        !["connection", "transfer-encoding"].contains(&name.as_str()) && fields.iter().any(|(own, _)| *own == name)
    };
    names.filter(stays).collect()
}

#[tokio::test]
async fn odd_but_honest_responses_pass_unchanged() {
    let (line, _kept) = line();
    let all = all();
    let distinct: HashSet<(&str, &[u8])> = all.iter().map(|one| (one.request, one.response.as_slice())).collect();
    assert_eq!((all.len(), distinct.len()), (885, 885), "each differs from all others");
    for one in all {
        let shown = || format!("{:?} {}", one.request, one.response.escape_ascii());
        let mut answer = line.answer(one.request, &one.response).await;
        for _ in 0..one.interim {
            let (head, length) = oracle::response_head(&answer).unwrap();
            assert!(matches!(head.line, Line::Status(102 | 103 | 199)), "{}", shown());
            answer.drain(..length);
        }
        let (got, taken) = oracle::response(&answer, one.to_head).unwrap_or_else(|| panic!("no answer: {}", shown()));
        assert_eq!(taken, answer.len(), "bytes are left over: {}", shown());
        assert_eq!((got.line, got.is_old), (one.line, one.is_old), "{}", shown());
        let text = String::from_utf8_lossy(&answer);
        let (sent, mut written) = (names(&one.sent, &one.fields), names(&text, &one.fields));
        // A length that was added comes last.
        if written.len() == sent.len() + 1 && written.last() == Some(&"content-length") {
            written.pop();
        }
        assert_eq!(written, sent, "the names, their case and their order: {}", shown());
        assert_eq!(oracle::by_name(got.fields), one.fields, "{}", shown());
        assert_eq!((got.body, got.trailers), (one.body, one.trailers), "{}", shown());
    }
}

#[tokio::test]
async fn responses_with_two_meanings_are_502() {
    let (line, _kept) = line();
    for response in [
        "",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "hello",
    ] {
        // It is not repeated on another connection, because it is not safe to repeat.
        let answer = line.answer("DELETE / HTTP/1.1\r\nHost: api.example.com\r\n\r\n", response.as_bytes()).await;
        let (got, taken) = oracle::response(&answer, false).unwrap();
        assert_eq!((got.line, taken), (Line::Status(502), answer.len()), "{response:?}");
        let problem: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
        assert_eq!(problem["code"], "upstream_protocol", "{response:?}");
    }
}
