//! Codings: decoded wherever the input is split, bounded, and refused if they are unsupported.

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::header;
use model::Fields;

use super::*;

/// These bytes in several codings, one after the other.
pub(crate) fn coded(codings: &[&str], bytes: &[u8]) -> Vec<u8> {
    codings.iter().fold(bytes.to_vec(), |bytes, coding| {
        let (level, mut out) = (Compression::default(), Vec::new());
        match *coding {
            "gzip" => GzEncoder::new(&mut out, level).write_all(&bytes).unwrap(),
            "zlib" => ZlibEncoder::new(&mut out, level).write_all(&bytes).unwrap(),
            "br" => brotli_of(&bytes, 22, &mut out),
            "zstd" => out = ::zstd::encode_all(&bytes[..], 3).unwrap(),
            "aws-chunked" => out = aws_chunked(&bytes, 7),
            _ => DeflateEncoder::new(&mut out, level).write_all(&bytes).unwrap(),
        }
        out
    })
}

fn brotli_of(mut bytes: &[u8], window: i32, out: &mut Vec<u8>) {
    let settings = ::brotli::enc::BrotliEncoderParams { lgwin: window, quality: 5, ..Default::default() };
    ::brotli::BrotliCompress(&mut bytes, out, &settings).unwrap();
}

/// As SDKs of S3 send it, in pieces of this size.
fn aws_chunked(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in bytes.chunks(size) {
        out.extend_from_slice(format!("{:x};chunk-signature={:064}\r\n", piece.len(), 7).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0;chunk-signature=0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n");
    out
}

pub(crate) fn fields(codings: &str) -> Fields {
    Fields::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_str(codings).unwrap())])
}

fn decode(decoder: &mut Decoder, pieces: &[&[u8]]) -> Result<Vec<u8>, CodingError> {
    let mut out = Vec::new();
    for piece in pieces {
        decoder.feed(piece);
        while let Some(more) = decoder.next_piece()? {
            assert!(more.len() <= 256 << 10, "a piece of {} bytes", more.len());
            out.extend(more);
        }
    }
    decoder.finish()?;
    Ok(out)
}

#[test]
fn t093_codings_are_undone_however_they_are_cut() {
    let text = b"the same bytes, and the same bytes again; the same".as_slice();
    for (names, codings) in [
        ("gzip", &["gzip"][..]),
        ("X-GZIP, identity", &["gzip"]),
        ("deflate", &["zlib"]),
        ("deflate", &["raw"]),
        ("gzip, gzip", &["gzip", "gzip"]),
        ("deflate, gzip", &["raw", "gzip"]),
        ("gzip, deflate", &["gzip", "zlib"]),
        ("br", &["br"]),
        ("zstd", &["zstd"]),
        ("zstd, br", &["zstd", "br"]),
        ("br, gzip", &["br", "gzip"]),
    ] {
        let packed = coded(codings, text);
        for cut in 0..=packed.len() {
            let mut decoder = Decoder::of(&fields(names)).unwrap().unwrap();
            let (front, back) = packed.split_at(cut);
            assert_eq!(decode(&mut decoder, &[front, back]).as_deref(), Ok(text), "{names} cut at {cut}");
        }
        let single: Vec<&[u8]> = packed.chunks(1).collect();
        assert_eq!(decode(&mut Decoder::of(&fields(names)).unwrap().unwrap(), &single).unwrap(), text, "{names}");
        for length in 1..packed.len() {
            let broken = decode(&mut Decoder::of(&fields(names)).unwrap().unwrap(), &[&packed[..length]]);
            assert_eq!(broken, Err(CodingError::Broken), "{names}, the first {length} bytes");
        }
    }
    let members = [coded(&["gzip"], b"one, "), coded(&["gzip"], b"two")].concat();
    assert_eq!(decode(&mut Decoder::of(&fields("gzip")).unwrap().unwrap(), &[&members]).unwrap(), b"one, two");
}

#[test]
fn t095_other_codings_are_not_read() {
    for names in ["compress", "dcb", "dcz", "gzip, compress", "gzip, br, zstd", "gzip, gzip, gzip", "gzip;q=1"] {
        assert_eq!(Decoder::of(&fields(names)).err(), Some(CodingError::Unsupported), "{names}");
        let readings = Codings::readings(&fields(names), &[CONTENT_ENCODING]);
        assert_eq!(readings.err(), Some(CodingError::Unsupported), "{names}");
    }
    for names in ["", "identity", ", ,"] {
        assert!(Decoder::of(&fields(names)).unwrap().is_none(), "{names}");
    }
    for (names, bytes) in [
        ("gzip", &b"not gzip at all"[..]),
        ("deflate", b"\xff\xff\xff"),
        ("deflate", b"x"),
        ("br", b"\xff\xff\xff"),
        ("zstd", b"not zstd"),
    ] {
        let mut decoder = Decoder::of(&fields(names)).unwrap().unwrap();
        assert_eq!(decode(&mut decoder, &[bytes]), Err(CodingError::Broken), "{names}");
    }
    for coding in ["gzip", "zlib", "br", "zstd"] {
        let behind = [coded(&[coding], b"one").as_slice(), b"more"].concat();
        let mut decoder = Decoder::of(&fields(if coding == "zlib" { "deflate" } else { coding })).unwrap().unwrap();
        assert_eq!(decode(&mut decoder, &[&behind]), Err(CodingError::Broken), "{coding}");
    }
}

#[test]
fn t271_other_fields_that_name_a_coding_are_seen() {
    let of = |name: &'static str, value: &'static str| {
        has_other(&Fields::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]))
    };
    for name in OTHER_CODINGS.iter().map(HeaderName::as_str) {
        assert!(of(name, "gzip") && of(name, "identity, x") && of(name, "GZIP"), "{name}");
        assert!(!of(name, "identity") && !of(name, "") && !of(name, "Identity, identity"), "{name}");
    }
    assert!(!of("content-encoding", "gzip"));
}

#[test]
fn t133_bombs_are_given_up() {
    let zeros = vec![0; 64 << 20];
    for (names, codings) in [
        ("gzip", &["gzip"][..]),
        ("deflate", &["raw"]),
        ("deflate", &["zlib"]),
        ("gzip, gzip", &["gzip", "gzip"]),
        ("br", &["br"]),
        ("zstd", &["zstd"]),
        ("gzip, zstd", &["gzip", "zstd"]),
    ] {
        let mut decoder = Decoder::of(&fields(names)).unwrap().unwrap();
        assert_eq!(decode(&mut decoder, &[&coded(codings, &zeros)]), Err(CodingError::Expands), "{names}");
        assert!(decoder.given <= (16 << 20), "{names}: {} bytes", decoder.given);
    }
    let honest = coded(&["gzip"], &zeros[..FREE_BYTES as usize]);
    let mut decoder = Decoder::of(&fields("gzip")).unwrap().unwrap();
    assert_eq!(decode(&mut decoder, &[&honest]).unwrap().len(), FREE_BYTES as usize);
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let words = std::iter::repeat_with(&mut next);
    words.flatten().take(length).collect()
}

#[test]
fn t133_windows_are_bounded() {
    let noise = noise(160_000);
    let zstd_of = |window: u32| {
        let mut encoder = ::zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window).unwrap();
        encoder.write_all(&noise).unwrap();
        encoder.finish().unwrap()
    };
    let br_of = |window: i32| {
        let mut out = Vec::new();
        brotli_of(&noise, window, &mut out);
        out
    };
    for (names, packed, fits) in
        [("zstd", zstd_of(23), true), ("zstd", zstd_of(24), false), ("br", br_of(23), true), ("br", br_of(24), false)]
    {
        let mut decoder = Decoder::of(&fields(names)).unwrap().unwrap();
        let decoded = decode(&mut decoder, &[&packed]);
        assert_eq!(decoded.is_ok(), fits, "{names}");
        if fits {
            assert_eq!(decoded.unwrap(), noise);
        }
    }
    assert_eq!(Decoder::of(&fields("gzip")).unwrap().unwrap().memory_bytes(), 0);
}

/// Brotli in a window of 4 MiB, with the output available after each of these pieces.
fn brotli_pieces(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut encoder = ::brotli::CompressorWriter::new(Vec::new(), 4096, 1, 22);
    let mut sent = 0;
    let mut out = Vec::new();
    for piece in pieces {
        encoder.write_all(piece).unwrap();
        encoder.flush().unwrap();
        out.push(encoder.get_ref()[sent..].to_vec());
        sent = encoder.get_ref().len();
    }
    out
}

#[test]
fn t293_the_memory_of_brotli_grows_with_what_was_decoded() {
    let noise = noise(1 << 20);
    let pieces = brotli_pieces(&[&noise[..500], &noise, &noise, &noise, &noise, &noise]);
    let mut decoder = Decoder::of(&fields("br")).unwrap().unwrap();
    let mut memory = vec![decoder.memory_bytes()];
    for piece in &pieces {
        decoder.feed(piece);
        while decoder.next_piece().unwrap().is_some() {}
        memory.push(decoder.memory_bytes());
    }
    assert!(memory[0] < 32 << 10 && memory[1] < 96 << 10, "{memory:?}");
    let tables = 96 << 10;
    for (mebibytes, memory) in [1, 2, 3, 4, 4].iter().zip(&memory[2..]) {
        assert!((mebibytes << 20..(mebibytes << 20) + tables).contains(memory), "{mebibytes} MiB: {memory}");
    }
}

#[test]
fn t293_the_tables_of_brotli_count() {
    let mut counting = memory::Counting::default();
    let table: memory::Table<u32> = brotli_decompressor::Allocator::<u32>::alloc_cell(&mut counting, 1_000);
    assert_eq!(counting.bytes(), 4_000);
    drop(table);
    assert_eq!(counting.bytes(), 0);
}

#[test]
fn t293_the_memory_of_zstd_is_what_its_frame_needs() {
    let memory = |window: u32, size: Option<u64>| {
        let mut encoder = ::zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window).unwrap();
        encoder.set_pledged_src_size(size).unwrap();
        encoder.write_all(b"text").unwrap();
        let mut decoder = Decoder::of(&fields("zstd")).unwrap().unwrap();
        decoder.feed(&encoder.finish().unwrap());
        while decoder.next_piece().unwrap().is_some() {}
        decoder.memory_bytes()
    };
    let kib = 1 << 10;
    assert!(memory(23, Some(4)) < 300 * kib, "{}", memory(23, Some(4)));
    for window in [20, 23] {
        let bytes = memory(window, None);
        assert!(((1 << window)..(1 << window) + 800 * kib).contains(&bytes), "{window}: {bytes}");
    }
}

#[test]
fn t082_aws_chunked_is_a_framing_of_uploads() {
    let text = b"some text that is sent in small pieces".as_slice();
    let undo = |names: &str, pieces: &[&[u8]]| {
        let readings = Codings::readings(&fields(names), &[CONTENT_ENCODING]).unwrap();
        decode(&mut readings[0].decoder().unwrap(), pieces)
    };
    let sent = aws_chunked(text, 5);
    for cut in 0..=sent.len() {
        let (front, back) = sent.split_at(cut);
        assert_eq!(undo("aws-chunked", &[front, back]).as_deref(), Ok(text), "cut at {cut}");
    }
    let packed = coded(&["gzip", "aws-chunked"], text);
    assert_eq!(undo("gzip, aws-chunked", &[&packed]).as_deref(), Ok(text));
    let unsigned = b"5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(undo("aws-chunked", &[unsigned]).as_deref(), Ok(&b"hello"[..]));
    for broken in [&b"5\r\nhel"[..], b"x\r\nhello\r\n", b"5\nhello", b"5\r\nhelloworld\r\n", b"ffffffffffffffff\r\n"] {
        assert_eq!(undo("aws-chunked", &[broken]), Err(CodingError::Broken));
    }
    assert!(Codings::readings(&fields("aws-chunked, aws-chunked"), &[CONTENT_ENCODING]).is_err());
    // A store that returns the name with the object sends the object plain.
    assert!(Decoder::of(&fields("aws-chunked")).unwrap().is_none());
}
