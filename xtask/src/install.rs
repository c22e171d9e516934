//! Installs the requirements of the tests that the machine lacks: client programs from the distribution's packages,
//! client libraries from PyPI and npm. Existing installations are not changed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::run::{command, root, say};

/// Programs, each with its Debian packages and the part that the tests need.
const PROGRAMS: &[(&str, &str)] = &[
    ("curl", "curl"),
    ("git", "git"),
    ("openssl", "openssl"),
    ("tar", "tar"),
    ("wget", "wget"),
    ("hg", "mercurial"),
    ("php", "php-cli php-curl"),
    ("gcore", "gdb"),
    ("gh", "gh"),
    ("setpriv", "util-linux"),
    // Its package depends on the library that a test preloads.
    ("faketime", "faketime"),
    ("python3", "python3"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("strace", "strace"),
    ("valgrind", "valgrind"),
    ("nginx", "nginx-light"),
    ("go", "golang-go"),
    ("java", "default-jdk-headless"),
];

/// The folder of client libraries.
pub(crate) fn clients() -> PathBuf {
    root().join("target").join("clients")
}

/// The Python with the client libraries.
pub(crate) fn python() -> PathBuf {
    clients().join("venv").join("bin").join("python")
}

/// Installs all missing programs and libraries.
pub(crate) fn everything() -> Result<()> {
    packages()?;
    python_libraries()?;
    node()
}

/// Installs nginx if it is missing; returns its path.
pub(crate) fn nginx() -> Result<PathBuf> {
    if path("nginx").is_none() {
        install(&packages_of("nginx"))?;
    }
    path("nginx").context("nginx is not on PATH after its installation")
}

/// The missing packages of one program.
fn packages_of(name: &str) -> Vec<&'static str> {
    let missing = PROGRAMS.iter().filter(|(program, _)| *program == name && path(program).is_none());
    missing.flat_map(|(_, packages)| packages.split(' ')).collect()
}

fn packages() -> Result<()> {
    let mut missing: Vec<&str> = PROGRAMS.iter().flat_map(|(program, _)| packages_of(program)).collect();
    // Debian ships Python without the module for virtual environments.
    if missing.contains(&"python3") || !succeeds(Command::new("python3").args(["-c", "import venv, ensurepip"])) {
        missing.push("python3-venv");
    }
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing)
}

fn install(packages: &[&str]) -> Result<()> {
    say(&format!("installing {} with apt-get", packages.join(", ")));
    apt(&["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(packages);
    apt(&arguments)
}

fn apt(arguments: &[&str]) -> Result<()> {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    let program = if is_root { "apt-get" } else { "sudo" };
    let mut apt = Command::new(program);
    if !is_root {
        apt.arg("apt-get");
    }
    apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command(&mut apt)
}

/// The program on PATH.
fn path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The version of h11 that reads what Egret writes: another one may be stricter or laxer.
const H11: &str = "0.16.0";

fn python_libraries() -> Result<()> {
    let (folder, python) = (clients().join("venv"), python());
    let imports = "import requests, httpx, h2, cryptography.hazmat.primitives.kdf.argon2, anthropic, openai, werkzeug, aiohttp, h11";
    if succeeds(Command::new(&python).arg("-c").arg(format!("{imports}; assert h11.__version__ == '{H11}'"))) {
        return Ok(());
    }
    say(
        "installing requests, httpx, cryptography, anthropic, openai, werkzeug, aiohttp and h11 from PyPI into target/clients/venv",
    );
    command(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let h11 = format!("h11=={H11}");
    command(Command::new(&python).args([
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "requests>=2.32",
        "httpx[http2]>=0.28",
        "cryptography>=44",
        "anthropic>=2",
        "openai>=2",
        "werkzeug>=3",
        "aiohttp>=3.9",
        &h11,
    ]))
}

fn node() -> Result<()> {
    let folder = clients();
    if folder.join("node_modules/undici/package.json").is_file() {
        return Ok(());
    }
    say("installing undici from npm into target/clients");
    std::fs::create_dir_all(&folder)?;
    // The 6 line is the newest that the Node of Debian's stable releases runs.
    command(
        Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--silent", "--prefix"])
            .arg(&folder)
            .arg("undici@6"),
    )?;
    ensure!(
        Path::new(&folder.join("node_modules/undici")).is_dir(),
        "npm succeeded, but node_modules/undici is missing"
    );
    Ok(())
}
