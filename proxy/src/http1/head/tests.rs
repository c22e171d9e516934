//! The strict reader, head by head.

use super::*;

fn judge(head: &str) -> Result<RequestHead, Reason> {
    judge_bytes(head.as_bytes())
}

fn judge_bytes(head: &[u8]) -> Result<RequestHead, Reason> {
    let read = parse(&Bytes::copy_from_slice(head), &Limits::default());
    read.map(|read| read.head).map_err(|refusal| refusal.reason())
}

fn with_fields(fields: &str) -> Result<RequestHead, Reason> {
    judge(&format!("POST /x HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n\r\n"))
}

#[test]
fn t208_credentials_are_found_in_one_pass_over_the_lines() {
    let found = |fields: &str| {
        let head = format!("\u{1}rubbish% of: a line\r\n{fields}\r\n\r\n");
        credentials(head.replace('\u{1}', "").as_bytes()).map(|value| value.map(<[u8]>::to_vec)).map_err(|r| r.reason())
    };
    assert_eq!(found("Host: ]["), Ok(None));
    assert_eq!(found("Content-Length: x\r\nproxy-AUTHORIZATION: \t Basic a \r\nx"), Ok(Some(b"Basic a".to_vec())));
    assert_eq!(found("Proxy-Authorization : x"), Ok(None));
    assert_eq!(found("X-Proxy-Authorization: x"), Ok(None));
    assert_eq!(found("Proxy-Authorization: a\r\nProxy-Authorization: a"), Err(Reason::Malformed));
    assert_eq!(found("a\u{7}b"), Err(Reason::Malformed));
    let mut long = "A: b\r\n".repeat(1 << 16);
    long.push_str("Proxy-Authorization: c");
    assert_eq!(found(&long), Ok(Some(b"c".to_vec())));
}

#[test]
fn an_ordinary_head_is_read() {
    let head = judge("GET /a?b=c HTTP/1.1\r\nHost: A.example:443\r\nAccept: */*\r\n\r\n").unwrap();
    assert_eq!(head.method, Method::GET);
    assert_eq!(head.framing, Framing::Length(0));
    assert_eq!(head.host.unwrap().host.to_string(), "a.example");
    assert!(matches!(head.target, Target::Origin(path) if path.target() == "/a?b=c"));
}

#[test]
fn t015_host_missing_twice_or_odd() {
    assert_eq!(judge("GET / HTTP/1.1\r\n\r\n").unwrap_err(), Reason::BadHost);
    assert_eq!(judge("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n").unwrap_err(), Reason::BadHost);
    assert_eq!(judge("GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n").unwrap_err(), Reason::BadHost);
    for host in ["a, b", "", "a/x", "u@a", "a b", "a\tb", "a:"] {
        assert_eq!(judge(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).unwrap_err(), Reason::BadHost, "{host}");
    }
    assert!(judge("GET / HTTP/1.0\r\n\r\n").unwrap().host.is_none());
}

#[test]
fn t010_absolute_form_with_another_host() {
    assert_eq!(judge("GET http://a.example/ HTTP/1.1\r\nHost: evil\r\n\r\n").unwrap_err(), Reason::BadHost);
    assert!(judge("GET http://a.example/ HTTP/1.1\r\nHost: A.example.:80\r\n\r\n").is_ok());
}

#[test]
fn t012_foreign_schemes() {
    for scheme in ["ftp", "file", "gopher", "ws"] {
        let head = format!("GET {scheme}://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n");
        assert_eq!(judge(&head).unwrap_err(), Reason::BadTarget);
    }
}

#[test]
fn t017_user_information_in_the_target() {
    for target in ["http://allowed@evil/", "http://evil#@allowed/", "http://evil\\@allowed/", "http://u:p@a.example/"] {
        let reason = judge(&format!("GET {target} HTTP/1.1\r\nHost: evil\r\n\r\n")).unwrap_err();
        assert_eq!(reason, Reason::BadTarget, "{target}");
    }
}

#[test]
fn t016_host_after_a_fold() {
    assert_eq!(judge("GET / HTTP/1.1\r\nX: a\r\n Host: b\r\n\r\n").unwrap_err(), Reason::Malformed);
}

#[test]
fn t027_port_tricks() {
    for port in ["0443", "+443", "65536", "0", "443:80", "4 43"] {
        let host = judge(&format!("GET / HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n"));
        assert_eq!(host.unwrap_err(), Reason::BadHost, "{port}");
    }
    for target in [
        "a.example:0443",
        "a.example:+443",
        "a.example:65536",
        "a.example:0",
        "a.example:443:80",
        "a.example:",
        "a.example",
    ] {
        let connect = judge(&format!("CONNECT {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        assert_eq!(connect.unwrap_err(), Reason::BadHost, "{target}");
    }
    assert!(judge("GET http://a.example:/ HTTP/1.1\r\nHost: a.example\r\n\r\n").is_ok());
}

#[test]
fn t043_content_length_with_transfer_encoding() {
    assert_eq!(with_fields("Content-Length: 5\r\nTransfer-Encoding: chunked").unwrap_err(), Reason::AmbiguousFraming);
    assert_eq!(with_fields("Transfer-Encoding: chunked\r\nContent-Length: 5").unwrap_err(), Reason::AmbiguousFraming);
}

#[test]
fn t044_odd_content_lengths() {
    for value in ["+5", "0x5", "5_0", "-1", "", "123456789012345678901", "5 5", "5, 5", "5,6", "010", "00", "\u{b}5"] {
        assert!(with_fields(&format!("Content-Length: {value}")).is_err(), "{value:?}");
    }
    assert_eq!(with_fields("Content-Length: 5\r\nContent-Length: 5").unwrap_err(), Reason::AmbiguousFraming);
    assert_eq!(with_fields("Content-Length: 5\r\ncontent-length: 6").unwrap_err(), Reason::AmbiguousFraming);
    assert_eq!(with_fields("Content-Length: 5").unwrap().framing, Framing::Length(5));
}

#[test]
fn t045_odd_transfer_encodings() {
    for value in [
        ",chunked",
        "cow, chunked",
        "chunked, identity",
        "xchunked",
        "chunked;x=1",
        "\tchunked",
        "chunked\t",
        "identity",
        "",
        "chunked,",
    ] {
        assert_eq!(
            with_fields(&format!("Transfer-Encoding: {value}")).unwrap_err(),
            Reason::AmbiguousFraming,
            "{value:?}"
        );
    }
    for odd in [b"\x0bchunked".as_slice(), b"\x85chunked", b"chunked\xa0", b"chunked\0"] {
        let head = [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ", odd, b"\r\n\r\n"].concat();
        assert!(judge_bytes(&head).is_err(), "{odd:?}");
    }
    assert_eq!(
        with_fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked").unwrap_err(),
        Reason::AmbiguousFraming
    );
    assert_eq!(judge("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap_err(), Reason::AmbiguousFraming);
    assert_eq!(with_fields("Transfer-Encoding: Chunked").unwrap().framing, Framing::Chunked);
}

#[test]
fn t046_odd_field_names() {
    for field in ["Host : a", "\tX: y", "nocolon", ": y", "X Y: z", "X\u{e9}: y", "X(: y"] {
        assert_eq!(with_fields(field).unwrap_err(), Reason::Malformed, "{field:?}");
    }
}

#[test]
fn t047_folded_fields() {
    assert_eq!(with_fields("X: a\r\n b").unwrap_err(), Reason::Malformed);
    assert_eq!(with_fields("X: a\r\n\tb").unwrap_err(), Reason::Malformed);
}

#[test]
fn t048_bare_line_ends_and_nul() {
    for field in ["X: a\nY: b", "X: a\rY: b", "X: a\r", "X: a\0b", "X: \u{7f}"] {
        assert_eq!(with_fields(field).unwrap_err(), Reason::Malformed, "{field:?}");
    }
}

#[test]
fn t058_odd_request_lines() {
    for line in [
        "GET  / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /x HTTP/1.1 HTTP/1.0",
        "GET /",
        "GET / HTTP/0.9",
        "GET / HTTP/1.9",
        "GET / HTTP/11.1",
        "GET / http/1.1",
        "GET HTTP/1.1",
        "GET  HTTP/1.1",
        " GET / HTTP/1.1",
        "G(T / HTTP/1.1",
        "",
        "GET / HTTP/2.0",
    ] {
        let head = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(judge(&head).unwrap_err(), Reason::Malformed, "{line:?}");
    }
}

#[test]
fn limits_hold() {
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(17 << 10));
    assert_eq!(judge(&long).unwrap_err(), Reason::UriTooLong);
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(101));
    assert_eq!(judge(&many).unwrap_err(), Reason::HeadTooLarge);
    assert_eq!(with_fields("Expect: 200-ok").unwrap_err(), Reason::ExpectUnsupported);
    assert!(with_fields("Expect: 100-Continue").is_ok());
}

#[test]
fn the_end_is_found_across_pieces() {
    let bytes = b"GET / HTTP/1.1\r\n\r\nrest";
    for seen in 0..17 {
        assert_eq!(reach(bytes, seen), Reach::End(18));
    }
    for cut in 0..18 {
        assert_eq!(reach(bytes.get(..cut).unwrap(), 0), Reach::Open, "{cut}");
    }
    for broken in
        [b"GET / HTTP/1.1\nHost: a\n\n".as_slice(), b"GET / HTTP/1.1\rH", b"\x16\x03\x01", b"\r\nGET", b" GET"]
    {
        assert_eq!(reach(broken, 0), Reach::Broken, "{broken:?}");
    }
}

#[test]
fn what_a_request_asks_of_its_connection() {
    let wishes = |head: &str| parse(&Bytes::copy_from_slice(head.as_bytes()), &Limits::default()).unwrap().wishes;
    let plain = wishes("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let none = Wishes {
        version: Version::HTTP_11,
        is_head: false,
        keep_alive: true,
        expects_continue: false,
        accepts_trailers: false,
    };
    assert_eq!(plain, none);
    let all =
        wishes("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: te, Close\r\nTE: trailers\r\nExpect: 100-Continue\r\n\r\n");
    let want = Wishes { is_head: true, keep_alive: false, expects_continue: true, accepts_trailers: true, ..none };
    assert_eq!(all, want);
    let old = wishes("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(old, Wishes { version: Version::HTTP_10, keep_alive: false, ..none });
    assert!(wishes("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").keep_alive);
}

#[test]
fn fields_are_kept_as_they_were_sent() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nX-One: \t a  b \r\nx-two:\xe9\r\nX-ONE:\r\n\r\n";
    let read = parse(&Bytes::from_static(head), &Limits::default()).unwrap();
    let fields: Vec<(&str, &[u8])> =
        read.fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    assert_eq!(fields, [("host", &b"a"[..]), ("x-one", b"a  b"), ("x-two", b"\xe9"), ("x-one", b"")]);
    let spelled: Vec<&[u8]> = read.fields.lines().map(|(name, _)| name).collect();
    assert_eq!(spelled, [&b"Host"[..], b"X-One", b"x-two", b"X-ONE"]);
}
