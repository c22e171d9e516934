//! Request bodies in codings and framings of their own.

use std::io::Write as _;

use bytes::Bytes;
use egret_tests::canary::contains;
use egret_tests::client::{H2, Tunnel};
use egret_tests::egret::Session;
use egret_tests::refusal;
use http_body_util::Full;

use crate::secrets::{Secrets, body_with, refused_in_body, secrets, upload};

#[test]
fn t082_placeholder_in_zstd_and_in_signed_pieces() {
    let it = secrets();
    let session = it.session();
    let body = body_with(&session, str::to_owned);
    let zstd = zstd::encode_all(&body[..], 3).unwrap();
    let half = body.len() / 2;
    let (front, back) = body.split_at(half);
    let signed =
        |piece: &[u8]| [format!("{:x};chunk-signature={:064}\r\n", piece.len(), 0).as_bytes(), piece, b"\r\n"].concat();
    let chunked = [signed(front), signed(back), b"0;chunk-signature=0\r\n\r\n".to_vec()].concat();
    for (coding, packed) in [("zstd", &zstd), ("aws-chunked", &chunked)] {
        let head = format!("Content-Encoding: {coding}\r\n");
        for size in [packed.len(), 1] {
            let pieces: Vec<&[u8]> = packed.chunks(size).collect();
            refused_in_body(&it, &session, &head, &pieces, "placeholder_misplaced");
        }
    }
    // Without a placeholder they pass, as they were sent.
    let plain = zstd::encode_all(&b"{\"messages\": []}"[..], 3).unwrap();
    let answer = upload(&it, &session, "bearer.origin.test", "/t082-zstd", "Content-Encoding: zstd\r\n", &[&plain]);
    assert_eq!((answer.status, contains(&answer.body, &plain)), (200, true), "{answer:?}");
}

/// The codings that are searched, each with this text in it.
fn coded(text: &[u8]) -> [(&'static str, Vec<u8>); 5] {
    let level = flate2::Compression::default();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), level);
    let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), level);
    let mut br = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
    gzip.write_all(text).unwrap();
    zlib.write_all(text).unwrap();
    raw.write_all(text).unwrap();
    br.write_all(text).unwrap();
    [
        ("gzip", gzip.finish().unwrap()),
        ("deflate", zlib.finish().unwrap()),
        ("deflate", raw.finish().unwrap()),
        ("br", br.into_inner()),
        ("zstd", zstd::encode_all(text, 3).unwrap()),
    ]
}

/// A body is refused as one that cannot be searched, however it is sent: in chunks, with a length, over HTTP/2 with and without one.
fn refused_as_unsearchable(it: &Secrets, session: &Session, coding: &str, body: &[u8]) {
    let fields = format!("Content-Encoding: {coding}\r\n");
    for host in ["bearer.origin.test", "h1.origin.test"] {
        let target = it.world.target(host);
        let mut answers = vec![upload(it, session, host, "/t082-short", &fields, &[body])];
        let mut wire = Tunnel::to(&target).open(&it.world.egret, session);
        let head =
            format!("POST /t082-short HTTP/1.1\r\nHost: {target}\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
        wire.send([head.as_bytes(), body].concat());
        answers.push(wire.answer());
        let request = || {
            let request =
                http::Request::post(format!("https://{target}/t082-short")).header("content-encoding", coding);
            request.body(Full::new(Bytes::copy_from_slice(body))).unwrap()
        };
        answers.push(H2::open(&it.world.egret, session, &target).send(request()).unwrap());
        answers.push(H2::open(&it.world.egret, session, &target).send_unannounced(request()).unwrap());
        for answer in &answers {
            refusal::expect_denied(&it.world.egret, answer, 415, "coding_unsupported");
        }
    }
}

#[test]
fn t082_a_body_that_ends_before_its_coding_is_refused_in_each_coding() {
    let it = secrets();
    let session = it.session();
    for (coding, packed) in coded(b"{\"messages\": [\"some text\"]}") {
        refused_as_unsearchable(&it, &session, coding, &packed[..packed.len() - 1]);
        refused_as_unsearchable(&it, &session, coding, &packed[..2]);
        let fields = format!("Content-Encoding: {coding}\r\n");
        let answer = upload(&it, &session, "bearer.origin.test", "/t082-whole", &fields, &[&packed]);
        assert_eq!((answer.status, contains(&answer.body, &packed)), (200, true), "{coding}: {answer:?}");
        // A session without credentials has no placeholders.
        let bare = it.world.egret.session(&["secrets"], &[]);
        assert_eq!(upload(&it, &bare, "open.origin.test", "/t082-bare", &fields, &[&packed[..2]]).status, 200);
    }
}

#[test]
fn t082_a_short_body_that_is_in_no_coding_is_refused_in_each_coding() {
    let it = secrets();
    let session = it.session();
    for coding in ["gzip", "deflate", "br", "zstd", "aws-chunked"] {
        for body in [&b"hi"[..], b"{\"a\": 1}"] {
            refused_as_unsearchable(&it, &session, coding, body);
        }
    }
}
