//! Request bodies in codings and framings of their own.

use egret_tests::canary::contains;

use crate::secrets::{body_with, refused_in_body, secrets, upload};

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
