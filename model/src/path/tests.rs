//! Values: what a path reads as, and what is not interpreted.

use super::*;

/// The readings, as they could be sent; `None` for an ambiguous path.
fn readings(target: &str) -> Option<Vec<String>> {
    let path = RequestPath::parse(target).unwrap();
    (!path.is_ambiguous()).then(|| path.readings().map(|reading| written_path(reading.text())).collect())
}

#[test]
fn plain_paths_have_one_reading() {
    for target in
        ["/", "/v1/models", "/a/b/", "/a.b/c.d", "/x?y=/../z", "/caf%C3%A9", "/a%20b", "/@scope/name", "/...x"]
    {
        let want = target.split('?').next().unwrap();
        assert_eq!(readings(target).as_deref(), Some(&[want.to_owned()][..]), "{target}");
    }
}

#[test]
fn escapes_of_plain_characters_are_decoded_before_matching() {
    for (target, want) in [
        ("/v1/%61dmin", "/v1/admin"),
        ("/v1/never%2Dever", "/v1/never-ever"),
        ("/v1/%7Ex%5Fy", "/v1/~x_y"),
        ("/v1/x%3AsetIam", "/v1/x:setIam"),
        ("/%40scope/x", "/@scope/x"),
        ("/a%2a", "/a*"),
        ("/100%25", "/100%25"),
        ("/50%25%20off", "/50%25%20off"),
    ] {
        assert_eq!(readings(target).as_deref(), Some(&[want.to_owned()][..]), "{target}");
    }
}

#[test]
fn t068_dot_segments_and_backslashes_are_not_interpreted() {
    for target in [
        "/v1/../admin",
        "/v1/..",
        "/v1/.",
        "/v1/./x",
        "/v1/%2e%2e/admin",
        "/v1/.%2E/x",
        "/v1/%2e",
        "/v1/..;/x",
        "/v1/.;a=b/x",
        "/v1/..%3b/x",
        "/v1/..%3fx",
        "/v1/..%23",
        "/v1/%252e%252e/",
        "/v1/%25%32%65%25%32%65/",
        "/v1/%252525252e./x",
        "/v1/a%2f../x",
        "/v1/%2f..%2fadmin",
        "/v1/x%2f..%252fadmin",
        "/v1\\..\\admin",
        "/v1/a\\b",
        "/v1/%5c..",
        "/v1/%255Cx",
        "/v1/...",
        "/v1/..%20/x",
        "/v1/%EF%BC%8E%EF%BC%8E/x",
        "/v1/a%EF%BC%8F..%EF%BC%8Fx",
        "/repos/acme/../evil/..%5cacme%5cq/../site",
    ] {
        assert_eq!(readings(target), None, "{target}");
    }
}

#[test]
fn t068_more_than_one_kind_is_not_interpreted() {
    for target in [
        "/a%2fb//c",
        "/a%2f/b",
        "/%2fa",
        "/a;b%2fc",
        "/a;b//c",
        "/a/;b/c",
        "/a%252fb;c",
        "/a%252f/b",
        "/a%252520b",
        "/a%253b%252f",
        "/a%3fb;c",
        "/a%2500",
        "/a%25u002f",
        "/a%25c0%25af",
        "/a%0d%0ab",
        "/a%09",
        "/a%7f",
        "/a%2520%2fb",
        "//a/b",
        "///a//b",
        "//a%61b/c",
        "//",
    ] {
        assert_eq!(readings(target), None, "{target}");
    }
}

#[test]
fn one_kind_alone_is_judged_in_each_reading() {
    for (target, want) in [
        ("/@scope%2fname", &["/@scope%2Fname", "/@scope/name"][..]),
        ("/v1/admin%3fx", &["/v1/admin%3Fx", "/v1/admin"]),
        ("/v1/admin%23x%3Fy", &["/v1/admin%23x%3Fy", "/v1/admin%23x", "/v1/admin"]),
        ("/a%2fb%23c", &["/a%2Fb%23c", "/a/b%23c", "/a%2Fb", "/a/b"]),
        ("/a//b", &["/a//b", "/a/b"]),
        ("/a///b//", &["/a///b//", "/a/b/"]),
        ("/a;b=c/d", &["/a;b=c/d", "/a", "/a/d"]),
        ("/a/b;c", &["/a/b;c", "/a/b"]),
        ("/a;x/b;y", &["/a;x/b;y", "/a", "/a/b", "/a;x/b"]),
        ("/a/;x", &["/a/;x", "/a/"]),
        ("/a%3bx;y", &["/a;x;y", "/a", "/a;x"]),
        ("/a%252fb", &["/a%252fb", "/a%2Fb", "/a/b"]),
        ("/a%2520b", &["/a%2520b", "/a%20b"]),
        ("/a%2561", &["/a%2561", "/aa"]),
        ("/a%253fb", &["/a%253fb", "/a%3Fb", "/a"]),
        ("/a%253bb", &["/a%253bb", "/a;b", "/a"]),
    ] {
        let want: Vec<String> = want.iter().map(ToString::to_string).collect();
        assert_eq!(readings(target), Some(want), "{target}");
    }
}

#[test]
fn every_reading_has_a_folded_text() {
    let path = RequestPath::parse("/A%2F%C3%89b").unwrap();
    let folded: Vec<&str> = path.readings().map(PathReading::folded).collect();
    assert_eq!(folded, ["/a\u{1}Éb", "/a/Éb"]);
    assert_eq!(RequestPath::parse("/Admin").unwrap().readings().next().unwrap().folded(), "/admin");
}

#[test]
fn t069_broken_targets_are_refused() {
    for target in
        ["/%", "/%2", "/%zz", "/%00", "/a/%00b", "/%c0%af", "/%ff", "/%u002f", "/%E3%81", "/a?b=%zz", "/a?%u0041"]
    {
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

#[test]
fn the_server_as_a_whole_has_one_reading() {
    assert_eq!(RequestPath::asterisk().readings().map(PathReading::text).collect::<Vec<_>>(), ["*"]);
    assert_ne!(RequestPath::parse("/*").unwrap().readings().next().unwrap().text(), "/*");
}

/// A loop that decodes until nothing changes would take hours for these.
#[test]
fn t208_a_megabyte_of_hostile_path_is_read_in_one_pass() {
    for piece in ["25", "%25%32%66", "%252f", "a%2fb", "%3f", "../", "/", "a;b/"] {
        let before = if piece == "25" { "/%" } else { "/" };
        let target = format!("{before}{}", piece.repeat((1 << 20) / piece.len()));
        let path = RequestPath::parse(&target).unwrap();
        assert_eq!(path.target(), target);
        assert!(path.readings().len() <= 12);
    }
    assert_eq!(fully_decoded(&format!("%{}2f", "25".repeat(1 << 19))), "/");
}
