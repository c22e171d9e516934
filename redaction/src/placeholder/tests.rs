//! Placeholders are found wherever they are split, encoded or compressed, and bodies that cannot be scanned to their end are
//! refused.

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use model::Fields;
use proptest::prelude::*;

use super::*;
use crate::codec::tests::{coded, fields};
use crate::messages::tests::{head, message};

const PLACEHOLDER: &str = "egret_ph_0123456789abcdefghijABCDEFGHIJ01";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The final verdict of a scanner, and the bytes that would have been sent before a match.
fn scan(coding: &str, pieces: &[&[u8]]) -> Result<(bool, usize), CodingError> {
    let mut scanner = Scanner::new(&fields(coding))?;
    let (mut sent, mut held) = (0, 0);
    for piece in pieces {
        held += piece.len();
        match scanner.push(piece)? {
            Verdict::Clear => sent += std::mem::take(&mut held),
            Verdict::Pending => {}
            Verdict::Found(_) => return Ok((true, sent)),
        }
    }
    Ok((false, sent + held))
}

/// The placeholder in every known form.
fn forms() -> Vec<String> {
    let mut forms = vec![PLACEHOLDER.to_owned(), PLACEHOLDER.replace('_', "%5F"), PLACEHOLDER.replace('_', "\\u005f")];
    forms.push(PLACEHOLDER.bytes().map(|byte| format!("%{byte:02x}")).collect());
    forms.push(PLACEHOLDER.bytes().map(|byte| format!("\\u{byte:04X}")).collect());
    for front in ["", "a", "ab", "user:", "Bearer "] {
        for back in ["", "x", "xy"] {
            let text = format!("{front}{PLACEHOLDER}{back}");
            forms.push(BASE64_STANDARD.encode(&text));
            forms.push(BASE64_URL_SAFE_NO_PAD.encode(&text));
        }
    }
    forms
}

#[test]
fn t082_found_however_it_is_cut() {
    for form in forms() {
        let text = format!("{{\"key\": \"{form}\", \"more\": 1}}");
        let begin = text.find(&form).unwrap();
        for cut in 0..text.len() {
            let (front, back) = text.as_bytes().split_at(cut);
            let (found, sent) = scan("", &[front, back]).unwrap();
            assert!(found && sent < begin + form.len(), "{form} cut at {cut}");
        }
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert!(scan("", &single).unwrap().0, "{form}");
    }
}

#[test]
fn t083_found_in_every_form() {
    for form in forms() {
        assert!(scan("", &[form.as_bytes()]).unwrap().0, "{form}");
        let long = format!("{}{form}{}", "x ".repeat(5_000), " y".repeat(5_000));
        assert!(scan("", &[long.as_bytes()]).unwrap().0, "{form}");
    }
}

#[test]
fn t082_found_in_compressed_bodies() {
    let packed = gzip(format!("{{\"key\": \"{PLACEHOLDER}\"}}").as_bytes());
    for cut in 0..packed.len() {
        let (front, back) = packed.split_at(cut);
        assert!(scan("gzip", &[front, back]).unwrap().0, "{cut}");
    }
    assert!(scan("gzip", &[PLACEHOLDER.as_bytes()]).unwrap().0, "in no coding, whatever the field says");
    assert!(!scan("x-GZIP, identity", &[&gzip(b"nothing here")]).unwrap().0);
    let large = gzip(&vec![b'a'; 1 << 20]);
    assert_eq!(scan("gzip", &[&large]).unwrap(), (false, large.len()));
    for coding in ["gzip, gzip, gzip", "compress", "dcz"] {
        assert_eq!(scan(coding, &[]), Err(CodingError::Unsupported), "{coding}");
    }
    assert_eq!(scan("gzip", &[b"no gzip at all"]), Err(CodingError::Broken));
    assert_eq!(scan("gzip", &[&[gzip(b"a").as_slice(), b"more, and no gzip"].concat()]), Err(CodingError::Broken));
    let bomb = gzip(&vec![b'a'; 64 << 20]);
    assert_eq!(scan("gzip", &[&bomb]), Err(CodingError::Expands));
}

#[test]
fn t082_found_in_every_reading_of_a_coding() {
    let body = format!("{{\"key\": \"{PLACEHOLDER}\"}}");
    for (names, codings) in [
        ("deflate", &["raw"][..]),
        ("deflate", &["zlib"]),
        ("gzip, gzip", &["gzip", "gzip"]),
        ("gzip, deflate", &["gzip", "raw"]),
        ("deflate, x-gzip", &["zlib", "gzip"]),
        ("deflate, deflate", &["raw", "zlib"]),
    ] {
        let packed = coded(codings, body.as_bytes());
        assert!(scan(names, &[&packed]).unwrap().0, "{names}");
        assert!(scan(names, &packed.chunks(1).collect::<Vec<_>>()).unwrap().0, "{names}");
        let innocent = coded(codings, b"nothing here");
        assert_eq!(scan(names, &[&innocent]), Ok((false, innocent.len())), "{names}");
    }
    let members = [gzip(b"one"), gzip(body.as_bytes())].concat();
    assert!(scan("gzip", &[&members]).unwrap().0);
    // Raw deflate that begins like zlib: a stored block whose padding and length look like its header.
    let stored = |text: &[u8], last: u8| {
        let length = u16::try_from(text.len()).unwrap();
        [&[0x78 | last][..], &length.to_le_bytes(), &(!length).to_le_bytes(), text].concat()
    };
    let padding = vec![b' '; 0x9c - body.len()];
    let sly = [stored(&[body.as_bytes(), &padding].concat(), 0), coded(&["raw"], b"")].concat();
    assert_eq!(sly.get(..2), Some(&[0x78, 0x9c][..]));
    assert!(scan("deflate", &[&sly]).unwrap().0);
}

/// Whether a body can be scanned to its end.
fn searched(fields: &Fields, pieces: &[&[u8]]) -> Result<(), CodingError> {
    let mut scanner = Scanner::new(fields).unwrap();
    for piece in pieces {
        scanner.push(piece)?;
    }
    scanner.finish()
}

#[test]
fn t082_an_early_end_is_no_end_in_any_coding() {
    for (names, codings) in [
        ("gzip", &["gzip"][..]),
        ("deflate", &["zlib"]),
        ("deflate", &["raw"]),
        ("br", &["br"]),
        ("zstd", &["zstd"]),
        ("gzip, zstd", &["gzip", "zstd"]),
        ("deflate, br", &["raw", "br"]),
    ] {
        let packed = coded(codings, b"some text, and the same text again");
        assert_eq!(searched(&fields(names), &[&packed]), Ok(()), "{names}");
        let single: Vec<&[u8]> = packed.chunks(1).collect();
        assert_eq!(searched(&fields(names), &single), Ok(()), "{names}");
        for length in 1..packed.len() {
            let short = searched(&fields(names), &[&packed[..length]]);
            assert_eq!(short, Err(CodingError::Broken), "{names}, the first {length} bytes");
        }
        assert_eq!(searched(&fields(names), &[]), Ok(()), "{names}: nothing is in every coding");
    }
    let framed = coded(&["aws-chunked"], b"some text in pieces");
    let end = framed.len() - b"\r\n".len();
    for length in 1..framed.len() {
        let short = searched(&fields("aws-chunked"), &[&framed[..length]]);
        // The empty line after the trailers is often left out, and so are the trailers.
        let is_whole = framed[..length].ends_with(b"chunk-signature=0\r\n") || length == end;
        assert_eq!(short.is_ok(), is_whole, "the first {length} bytes");
    }
}

#[test]
fn t082_a_short_body_that_is_in_no_coding_is_refused_in_each() {
    for names in ["gzip", "deflate", "br", "zstd", "gzip, gzip", "zstd, br"] {
        for body in [&b"h"[..], b"hi", b"{}", b"hello", b"x=1", b"{\"a\": 1}"] {
            let text = String::from_utf8_lossy(body);
            assert_eq!(searched(&fields(names), &[body]), Err(CodingError::Broken), "{names}: {text}");
        }
    }
    assert_eq!(searched(&fields("identity"), &[b"h"]), Ok(()));
    let mut plain = Scanner::plain();
    assert_eq!((plain.push(b"h"), plain.finish()), (Ok(Verdict::Clear), Ok(())));
}

#[test]
fn t082_a_body_that_ends_within_a_compressed_message_is_refused() {
    let fields = head("application/grpc", "zstd");
    let body = [message(0, b"plain"), message(1, &coded(&["zstd"], b"packed"))].concat();
    assert_eq!(searched(&fields, &[&body]), Ok(()));
    for length in 0..body.len() {
        // Uncompressed bytes were scanned as they arrived.
        let is_within = length > message(0, b"plain").len();
        let short = searched(&fields, &[&body[..length]]);
        assert_eq!(short.is_err(), is_within, "the first {length} bytes");
    }
}

#[test]
fn t082_found_in_compressed_messages() {
    let scan = |kind: &str, coding: &str, body: &[u8]| {
        let mut scanner = Scanner::new(&head(kind, coding))?;
        let mut said = Verdict::Clear;
        for piece in body.chunks(7) {
            said = scanner.push(piece)?;
            if matches!(said, Verdict::Found(_)) {
                break;
            }
        }
        Ok(matches!(said, Verdict::Found(_)))
    };
    let text = format!("\x0a\x35key {PLACEHOLDER} and more");
    for kind in ["application/grpc", "application/grpc-web+proto", "application/GRPC+json", "application/connect+proto"]
    {
        for (name, coding) in [("gzip", "gzip"), ("deflate", "zlib"), ("deflate", "raw")] {
            let packed = message(1, &coded(&[coding], text.as_bytes()));
            let body = [message(0, b"first"), message(1, &coded(&[coding], b"clear")), packed].concat();
            assert_eq!(scan(kind, name, &body), Ok(true), "{kind} {name} {coding}");
            let clear = [message(0, b"first"), message(1, &coded(&[coding], b"clear"))].concat();
            assert_eq!(scan(kind, name, &clear), Ok(false), "{kind} {name} {coding}");
        }
        assert_eq!(scan(kind, "gzip", &message(0, text.as_bytes())), Ok(true), "{kind}: not compressed");
        assert_eq!(scan(kind, "", &message(1, b"x")), Err(CodingError::Unsupported), "{kind}: in no coding");
        assert_eq!(scan(kind, "gzip", &message(1, b"no gzip")), Err(CodingError::Broken), "{kind}");
        assert_eq!(scan(kind, "snappy", b""), Err(CodingError::Unsupported), "{kind}");
    }
    assert_eq!(scan("text/plain", "snappy", b"no messages"), Ok(false));
    // The message in one coding, and the whole body in another one.
    let packed = message(1, &coded(&["gzip"], text.as_bytes()));
    let mut fields = head("application/grpc", "gzip");
    fields.insert(http::header::CONTENT_ENCODING, http::HeaderValue::from_static("deflate"));
    let mut scanner = Scanner::new(&fields).unwrap();
    assert!(matches!(scanner.push(&coded(&["zlib"], &packed)), Ok(Verdict::Found(_))));
}

#[test]
fn t082_found_in_the_text_form_of_grpc_web() {
    let kind = "application/grpc-web-text+proto";
    let (front, back) = PLACEHOLDER.split_at(20);
    let frame = message(0, PLACEHOLDER.as_bytes());
    let packed = message(1, &coded(&["gzip"], PLACEHOLDER.as_bytes()));
    let pieces = [BASE64_STANDARD.encode(&frame[..5 + front.len()]), BASE64_STANDARD.encode(back)].concat();
    assert!(pieces.trim_end_matches('=').contains('='), "the pieces are padded: {pieces}");
    for body in [BASE64_STANDARD.encode(&frame), pieces, BASE64_STANDARD.encode(&packed)] {
        for cut in 0..body.len() {
            let mut scanner = Scanner::new(&head(kind, "gzip")).unwrap();
            assert!(scanner.is_coded());
            let (one, two) = body.as_bytes().split_at(cut);
            let found = |said| matches!(said, Verdict::Found(_));
            assert!(found(scanner.push(one).unwrap()) || found(scanner.push(two).unwrap()), "{body} cut at {cut}");
        }
    }
    let mut scanner = Scanner::new(&head(kind, "")).unwrap();
    assert_eq!(scanner.push(b"AAAAAAF4"), Ok(Verdict::Clear));
    assert_eq!(scanner.push(b"no base64!"), Err(CodingError::Broken));
}

#[test]
fn t083_hidden_in_a_head() {
    for form in forms() {
        let plain = form.contains(PLACEHOLDER);
        for text in [form.clone(), format!("x={form}&y"), format!("a, {form}")] {
            assert_eq!(is_hidden_in(text.as_bytes()), !plain, "{text}");
        }
    }
    let eaten = format!("%e{PLACEHOLDER} %65{}", PLACEHOLDER.get(1..).unwrap());
    assert!(is_hidden_in(eaten.as_bytes()), "one that an escape eats hides no other");
    for innocent in ["", "egret_ph_", "%65%67ret", &"a%20".repeat(50), &"QUJD".repeat(50)] {
        assert!(!is_hidden_in(innocent.as_bytes()), "{innocent}");
    }
}

#[test]
fn what_is_no_placeholder_passes_at_once_and_whole() {
    for text in
        ["egret_ph", "data: {\"e\":1}\n\n", "egret_ph_ is a mark", "egret_ph_short\n", "%65%67", "ZWdyZXRfcGhf!"]
    {
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(scan("", &single).unwrap(), (false, text.len()), "{text}");
    }
    let mut scanner = Scanner::plain();
    for piece in ["egret_p", "h", " x", "data: egret\n\n"] {
        assert_eq!(scanner.push(piece.as_bytes()), Ok(Verdict::Clear), "{piece}");
    }
    assert_eq!(scanner.push(b"egret_ph_"), Ok(Verdict::Pending));
    assert_eq!(scanner.push(b"01"), Ok(Verdict::Pending));
    assert_eq!(scanner.push(b"\n\n"), Ok(Verdict::Clear));
}

#[test]
fn what_was_found_comes_with_what_stood_before_it() {
    let mut scanner = Scanner::plain();
    let Ok(Verdict::Found(found)) =
        scanner.push(format!("key=sk-ant-{}&x", PLACEHOLDER.replace('_', "%5f")).as_bytes())
    else {
        panic!("not found")
    };
    assert_eq!(found.bytes, format!("key=sk-ant-{PLACEHOLDER}").as_bytes());
    assert_eq!(&found.bytes[found.at..], PLACEHOLDER.as_bytes());
}

/// The verdict without any shortcut: all bytes are read with and without escapes.
fn judged_slowly(bytes: &[u8]) -> Verdict {
    [in_plain(&without_escapes(bytes)), in_plain(bytes), in_base64(bytes)]
        .into_iter()
        .rev()
        .max_by_key(Verdict::weight)
        .unwrap_or_default()
}

/// Parts of placeholders in several encodings, and bytes that look like them.
fn part() -> impl Strategy<Value = Vec<u8>> {
    let escaped = |text: &'static str, form: fn(u8) -> String| -> Vec<u8> {
        text.bytes().map(form).collect::<String>().into_bytes()
    };
    prop_oneof![
        Just(PLACEHOLDER.as_bytes().to_vec()),
        Just(b"egret_ph_".to_vec()),
        Just(b"egret_p".to_vec()),
        Just(b"h_0123456789abcdefghijABCDEFGHIJ01".to_vec()),
        Just(escaped("egret_ph_", |byte| format!("%{byte:02x}"))),
        Just(escaped("egret_ph_", |byte| format!("\\u00{byte:02X}"))),
        Just(escaped("0123456789abcdef", |byte| format!("%{byte:02X}"))),
        Just(b"0123456789abcdef".to_vec()),
        Just(BASE64_STANDARD.encode(PLACEHOLDER).into_bytes()),
        Just(b"%".to_vec()),
        Just(b"%2".to_vec()),
        Just(b"\\u00".to_vec()),
        Just(b"\\n%zz\\u1234".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..12),
        proptest::collection::vec(any::<u8>(), 300..320),
        "[a-z ]{0,300}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn t082_no_shortcut_changes_a_verdict(parts in proptest::collection::vec(part(), 0..12)) {
        let bytes = parts.concat();
        // Of two placeholders, either may be the one that is found.
        prop_assert_eq!(judge(&bytes).weight(), judged_slowly(&bytes).weight());
    }
}

proptest! {
    #[test]
    fn found_wherever_it_stands_and_however_it_is_cut(
        front in "[ -~]{0,700}", back in "[ -~]{0,700}", form in 0usize..35,
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let form = &forms()[form];
        let text = format!("{front} {form} {back}");
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
        prop_assert!(scan("", &pieces).unwrap().0);
    }

    #[test]
    fn any_bytes_pass_whole_or_hold_the_mark(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 0..6)) {
        let all: usize = pieces.iter().map(Vec::len).sum();
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(scan("", &pieces).unwrap(), (false, all));
    }
}
