//! Client programs: their paths, and running them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The program `name` on PATH.
///
/// Panics if it is missing: support for an untested client would be an unverified promise.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is missing: run `cargo xtask test`, which installs it"))
}

/// The folder in which `cargo xtask test` keeps client libraries.
pub fn clients() -> PathBuf {
    match std::env::var_os("EGRET_CLIENTS") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients"),
    }
}

/// The library of libfaketime for programs with threads: when preloaded, it changes their wall clock.
///
/// Panics if it is missing.
pub fn faketime() -> PathBuf {
    let library = |folder: PathBuf| folder.join("faketime").join("libfaketimeMT.so.1");
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| library(entry.path()));
    folders
        .into_iter()
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("libfaketime is missing: run `cargo xtask test`, which installs it"))
}

/// The Python whose environment has requests and httpx.
pub fn python() -> PathBuf {
    existing(clients().join("venv/bin/python"))
}

/// The `node_modules` with undici.
pub fn node_modules() -> PathBuf {
    existing(clients().join("node_modules"))
}

fn existing(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is missing: run `cargo xtask test`, which installs it", path.display());
    path
}

/// Runs a command that must succeed; returns both of its outputs.
pub fn succeed(command: &mut Command) -> String {
    let output = output(command);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} ended with {}:\n{text}", output.status);
    text
}

/// Runs a command to its end.
pub fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}
