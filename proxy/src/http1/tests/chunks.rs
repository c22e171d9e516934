//! Chunked bodies for the corpus of requests and of responses.

use super::generator::{Cases, Random, in_chunks, with_odd_byte};

const SIZES: [&str; 44] = [
    "5",
    "05",
    "0000000000000005",
    "00000000000000005",
    "0x5",
    "0X5",
    "+5",
    "-5",
    " 5",
    "5 ",
    "5\t",
    "\t5",
    "5_",
    "5;",
    "5; ",
    "5;\t",
    "5;;a",
    "5;a;",
    "5; ;a",
    "5;=a",
    "5;\"a\"",
    "5;a=\"b",
    "5;a=\"b\\\"",
    "5;a=\"b\\\"\"",
    "5;a=\"b;c\";d",
    "5;a\rb",
    "5;a\nb",
    "5;a\0",
    "5;a=\"\r\n\"",
    "5;a=b;c=d",
    "5 ;a",
    "5,",
    "5.",
    "g",
    "",
    ";a",
    "\u{ff15}",
    "FFFFFFFFFFFFFFFF",
    "FFFFFFFFFFFFFFFFF",
    "8000000000000000",
    "5\r",
    "5\u{b}",
    "5;a\u{7f}",
    "5;\u{e9}=\"\u{df}\"",
];

const ENDS: [&str; 9] = ["\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n", "\n\r", "", " \r\n"];

const LAST: [&str; 12] =
    ["0", "00", "0000000000000000", "00000000000000000", "0;a", "0;a=\"b\"", "0;", "0 ", "-0", "0x0", "", "1"];

const TRAILERS: [&str; 24] = [
    "",
    "X-Sum: 7\r\n",
    "X-Sum:7\r\nx-sum: \t8 \r\n",
    "X-Empty:\r\n",
    "X-Obs: \u{e9}\r\n",
    "Content-Length: 5\r\n",
    "no colon\r\n",
    ": x\r\n",
    " X: y\r\n",
    "\tX: y\r\n",
    "X : y\r\n",
    "X Y: z\r\n",
    "X: a\0b\r\n",
    "X: a\rb\r\n",
    "X: y\n",
    "X: y\r",
    "X: y\r\n z\r\n",
    "\n",
    "\r\r\n",
    "X\u{e9}: y\r\n",
    "X: \u{7f}\r\n",
    "0\r\n",
    "GET / HTTP/1.1\r\n",
    "X: y\r\n\r\nGET / HTTP/1.1\r\nHost: a.example\r\n",
];

const DATA: [&str; 5] = ["hello", "hell", "hello!", "\r\n\r\n0", "he\0l\u{ff}"];

/// Adds each odd body behind this head.
pub(super) fn add(cases: &mut Cases, head: &[u8], seed: u64) {
    let random = &mut Random::new(seed);
    for _ in 0..6 {
        let body = in_chunks(random, b"hello world");
        (0..body.len()).for_each(|end| cases.add("truncated", false, [head, &body[..end]].concat()));
    }
    let mut put = |family, body: &[u8]| cases.add(family, false, [head, body].concat());
    for size in SIZES.iter().cycle().take(300) {
        let end = random.one(&ENDS);
        put("chunk size", format!("{size}{end}hello\r\n0\r\n\r\n").as_bytes());
    }
    for data in DATA {
        for end in ENDS {
            for after in ["0\r\n\r\n", "5\r\nworld\r\n0\r\n\r\n", "x"] {
                put("chunk end", format!("5\r\n{data}{end}{after}").as_bytes());
            }
        }
    }
    for last in LAST {
        for trailers in TRAILERS {
            for end in ["\r\n", "\n"] {
                put("last chunk", format!("5;a\r\nhello\r\n{last}{end}{trailers}\r\n").as_bytes());
            }
        }
    }
    for _ in 0..600 {
        let mut body = in_chunks(random, b"hello world");
        with_odd_byte(random, &mut body);
        put("odd byte in chunks", &body);
    }
    for length in [1_023, 1_024, 1_025, 4_000] {
        put("chunk bounds", format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(length)).as_bytes());
        put(
            "chunk bounds",
            format!("5;{}\r\nhello\r\n0;{}\r\n\r\n", "a".repeat(length / 2), "a".repeat(length - length / 2))
                .as_bytes(),
        );
    }
    for length in [8_191, 8_192, 8_193, 20_000] {
        put("chunk bounds", format!("0\r\nX: {}\r\n\r\n", "v".repeat(length - 3)).as_bytes());
        put(
            "chunk bounds",
            format!("0\r\n{}{}\r\n\r\n", "X: y\r\n".repeat(100), format_args!("Y: {}\r\n", "v".repeat(length - 403)))
                .as_bytes(),
        );
    }
}
