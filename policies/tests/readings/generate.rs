//! Targets and pipelines by chance, always the same ones for a seed.

use crate::models::{Pipeline, STEPS};

/// A source of targets.
pub(crate) struct Targets(u64);

/// Where a target begins.
const STARTS: [&str; 12] = [
    "/repos/acme/",
    "/repos/acme/",
    "/repos/acme/site/",
    "/v1/",
    "/v1/models",
    "/@acme%2f",
    "/@acme/",
    "/files/",
    "/files",
    "/",
    "//",
    "/admin",
];

/// What the rules here are about.
const NAMES: [&str; 14] =
    ["repos", "acme", "site", "evil", "v1", "admin", "models", "@acme", "files", "x", "a", "ADMIN", "%61dmin", "x%20y"];

/// What parsers read differently.
const PIECES: [&str; 66] = [
    "/",
    "/",
    "/",
    "//",
    "///",
    "%2f",
    "%2F",
    "%252f",
    "%25%32%66",
    "%25252f",
    "\\",
    "%5c",
    "%5C",
    "%255c",
    "/../",
    "/..",
    "../",
    "..",
    "./",
    "/.",
    ".",
    "%2e",
    "%2e%2e",
    ".%2e",
    "%2e%2e/",
    "%2e%2e%2f",
    "..%2f",
    "%252e%252e/",
    "%252e",
    "%25%32%65",
    "..;",
    "..;/",
    ";",
    ";x=1",
    "/;",
    ".;/",
    "%3b",
    "%253b",
    "..%3b/",
    "%3f",
    "%23",
    "%253f",
    "%2523",
    "..%3f",
    "%00",
    "%2500",
    "%u002f",
    "%25u002f",
    "%25u002e%25u002e/",
    "%c0%af",
    "%c0%ae",
    "%25c0%25ae%25c0%25ae/",
    "%25c0%25af",
    "%20",
    "%09",
    "%0a",
    "%0d%0a",
    ".%09./",
    "%EF%BC%8F",
    "%EF%BC%8E%EF%BC%8E/",
    "%2561dmin",
    "%25",
    ":edit",
    "caf%C3%A9",
    "~",
    "..%252f",
];

/// Ways into a closed path that begin in an open one.
const DETOURS: [&str; 8] = [
    "../../evil/..%5cacme%5cq/../site",
    "..%2f..%2fadmin",
    "..;/..;/admin",
    "%252e%252e/%252e%252e/admin",
    "x/..%5c..%5c..%5cadmin",
    "%2e%2e/%2e%2e/admin%3fx",
    "%25u002e%25u002e/%25u002e%25u002e/admin",
    "%25c0%25ae%25c0%25ae/%25c0%25ae%25c0%25ae/admin",
];

impl Targets {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below `end` (xorshift64*).
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(number).unwrap() % end
    }

    fn pick(&mut self, texts: &[&'static str]) -> &'static str {
        texts[self.below(texts.len())]
    }

    /// A target: from plain ones, and ones with a single oddity, to heaps of them.
    pub(crate) fn next(&mut self) -> String {
        let mut target = self.pick(&STARTS).to_owned();
        // Half of the targets have at most one oddity, so that many of them are allowed.
        let odd = [0, 1, 1, 1, 2, 3, 4, 6][self.below(8)];
        let mut left = odd;
        for _ in 0..self.below(5) + odd {
            if left > 0 && self.below(2) == 0 {
                target.push_str(if self.below(10) == 0 { self.pick(&DETOURS) } else { self.pick(&PIECES) });
                left -= 1;
            } else {
                if !target.ends_with('/') && self.below(3) > 0 {
                    target.push('/');
                }
                target.push_str(self.pick(&NAMES));
            }
        }
        if self.below(8) == 0 {
            target.push_str("?q=/../x");
        }
        target
    }

    /// Steps in any order, any of them, some twice.
    pub(crate) fn pipeline(&mut self) -> Pipeline {
        Pipeline(
            (0..self.below(7) + 1)
                .map(|_| if self.below(4) == 0 { STEPS[0] } else { STEPS[self.below(STEPS.len())] })
                .collect(),
        )
    }
}
