//! The tree of the sources, for the tests that read it.

use std::path::{Path, PathBuf};

/// The crates that the binary is built of, lowest first.
pub const CRATES: [&str; 13] = [
    "model",
    "clock",
    "secret",
    "redaction",
    "policies",
    "vault",
    "certs",
    "audit",
    "sessions",
    "api",
    "proxy",
    "control",
    "cli",
];

/// The folder of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
