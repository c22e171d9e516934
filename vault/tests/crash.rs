//! What a kill or a fault at any system call leaves behind, by strace; says so where there is no strace.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitStatus};

use egret_vault::{DEFAULT_GRACE, KeyFile, Kind, NewCredential, Secret, Vault};
use model::{Authority, Destination, Scheme, TenantId};
use tempfile::TempDir;

/// Names the folder in which the process under test works.
const FOLDER: &str = "EGRET_CRASH_TEST_FOLDER";
const BEFORE: &[u8] = b"the-value-before";
const AFTER: &[u8] = b"the-value-after";

/// The process under test, when this program is started for it; else nothing.
#[test]
fn one_change() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    put(&open(Path::new(&folder)), AFTER);
}

#[test]
fn t162_killed_at_any_call_it_opens_as_before_or_after() {
    if !has_strace() {
        return;
    }
    for call in ["unlink", "openat", "write", "fsync", "rename", "close", "munmap", "exit_group"] {
        let (mut before, mut after) = (0, 0);
        for number in 1..200 {
            let folder = prepared();
            let status = run(folder.path(), &[&format!("--inject={call}:signal=KILL:when={number}")]);
            match value(folder.path()).as_slice() {
                BEFORE => before += 1,
                AFTER => after += 1,
                other => panic!("killed at {call} {number}: {}", String::from_utf8_lossy(other)),
            }
            if status.success() {
                break;
            }
        }
        assert!(after > 0, "{call}: the last run finished");
        assert!(before > 0 || call == "exit_group", "{call}: some run was killed before its end");
    }
}

#[test]
fn t164_a_fault_of_any_call_is_an_error_and_leaves_the_old_file() {
    if !has_strace() {
        return;
    }
    for (fault, on, left) in [
        ("openat:error=ENOSPC", NEW, BEFORE),
        ("openat:error=EROFS", NEW, BEFORE),
        ("write:error=ENOSPC", NEW, BEFORE),
        ("write:error=EIO", NEW, BEFORE),
        ("fsync:error=EIO", NEW, BEFORE),
        ("rename:error=EROFS", NEW, BEFORE),
        ("fsync:error=EIO", "", AFTER), // of the folder: the new file is in place, and the caller learns of the doubt
    ] {
        let folder = prepared();
        let on = folder.path().join(on);
        let status = run(folder.path(), &["-P", on.to_str().unwrap(), &format!("--inject={fault}:when=1")]);
        assert!(!status.success(), "{fault} on {}", on.display());
        assert!(!folder.path().join(NEW).exists(), "{fault}: nothing is left");
        assert_eq!(value(folder.path()), left, "{fault}");
    }
}

#[test]
fn t164_an_interrupted_or_short_write_is_finished() {
    if !has_strace() {
        return;
    }
    let folder = prepared();
    let on = folder.path().join(NEW);
    let status = run(folder.path(), &["-P", on.to_str().unwrap(), "--inject=write:error=EINTR:when=1"]);
    assert!(status.success());
    assert_eq!(value(folder.path()), AFTER);
}

/// The file that is written before it takes the vault's place.
const NEW: &str = ".vault.egret.new";

/// A folder with a vault in which one credential has the value from before.
fn prepared() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyFile(folder.path().join("vault.key"));
    key.create().unwrap();
    put(&Vault::create(&folder.path().join("vault.egret"), &key).unwrap(), BEFORE);
    folder
}

fn open(folder: &Path) -> Vault {
    Vault::open(&folder.join("vault.egret"), &KeyFile(folder.join("vault.key"))).unwrap()
}

fn put(vault: &Vault, value: &[u8]) {
    let new = NewCredential {
        tenant: TenantId::default(),
        id: "name".into(),
        kind: Kind::Bearer,
        audience: vec!["api.example.com".to_owned()],
        env: None,
        prefix: None,
        expires: None,
        description: None,
        owner: None,
        grace: DEFAULT_GRACE,
    };
    vault.put(new, Secret::new(value.to_vec()), model::Timestamp::now()).unwrap();
}

fn value(folder: &Path) -> Vec<u8> {
    let destination = Destination::of(Scheme::Https, Authority::parse("api.example.com", false).unwrap());
    open(folder).lease(&TenantId::default(), &"name".into(), &destination).unwrap().swap_value().to_vec()
}

/// Runs `one_change` in a process of its own, under strace with these settings.
fn run(folder: &Path, settings: &[&str]) -> ExitStatus {
    Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null"])
        .args(settings.iter().map(OsStr::new))
        .arg(std::env::current_exe().unwrap())
        .args(["one_change", "--exact", "--test-threads=1", "--quiet"])
        .env(FOLDER, folder)
        .env("RUST_BACKTRACE", "0")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap()
}

#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn has_strace() -> bool {
    let works =
        Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success());
    if !works {
        println!("skipped: strace is missing or may not trace");
    }
    works
}
