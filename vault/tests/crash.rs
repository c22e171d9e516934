//! The state after a kill, a fault at any system call or a loss of power, by strace if a test needs it. Without strace,
//! such a test reports that it was skipped, and fails in CI.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod power;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use common::{import, key, key_number, open, prepared, put, version};
use model::TenantId;

/// Names the folder of the process under test, and its action there.
const FOLDER: &str = "EGRET_CRASH_TEST_FOLDER";
const CHANGE: &str = "EGRET_CRASH_TEST_CHANGE";
/// How many processes are killed at random.
const KILLS: &str = "EGRET_VAULT_KILLS";

/// The process under test, if this program is started for it; otherwise no test.
#[test]
fn one_change() {
    let (Some(folder), Some(what)) = (std::env::var_os(FOLDER), std::env::var_os(CHANGE)) else { return };
    let folder = Path::new(&folder);
    let (vault, locked_with) = open(folder);
    match what.to_str().unwrap() {
        "put" => put(&vault),
        "import" => import(&vault),
        "rotate" => drop(vault.rotate(&TenantId::default()).unwrap()),
        "rekey" => vault.rekey(&key(folder, 1 - locked_with)).unwrap(),
        "endless" => endless(folder),
        other => panic!("{other}"),
    }
}

/// Changes the vault repeatedly, and prints a line when each change is done.
fn endless(folder: &Path) {
    let (vault, mut locked_with) = open(folder);
    let say = |what: String| std::io::stdout().write_all(what.as_bytes()).unwrap();
    say("\nready\n".to_owned());
    loop {
        put(&vault);
        say(format!("put {}\n", version(&vault)));
        vault.rotate(&TenantId::default()).unwrap();
        say(format!("rotate {}\n", key_number(&vault)));
        locked_with = 1 - locked_with;
        vault.rekey(&key(folder, locked_with)).unwrap();
    }
}

/// The effect of one change: the version and the number of other credentials, together; the number of the tenant's key; the
/// key file of the lock.
fn state(folder: &Path) -> (u32, u32, usize) {
    let (vault, locked_with) = open(folder);
    let others = u32::try_from(vault.list(&TenantId::default()).len()).unwrap() - 1;
    (version(&vault) + others, key_number(&vault), locked_with)
}

const BEFORE: (u32, u32, usize) = (1, 1, 0);
const CHANGES: [(&str, (u32, u32, usize)); 4] =
    [("put", (2, 1, 0)), ("import", (6, 1, 0)), ("rotate", (1, 2, 0)), ("rekey", (1, 1, 1))];

#[test]
fn t162_killed_at_any_call_it_opens_as_before_or_after() {
    if !has_strace() {
        return;
    }
    for (change, done) in CHANGES {
        for call in ["unlink", "openat", "write", "fsync", "rename", "close", "munmap", "exit_group"] {
            let (mut before, mut after) = (0, 0);
            for number in 1..200 {
                let folder = prepared();
                let status = run(folder.path(), change, &[&format!("--inject={call}:signal=KILL:when={number}")]);
                match state(folder.path()) {
                    BEFORE => before += 1,
                    found if found == done => after += 1,
                    other => panic!("{change} killed at {call} {number}: {other:?}"),
                }
                if status.success() {
                    break;
                }
            }
            assert!(after > 0, "{change} {call}: the last run finished");
            assert!(before > 0 || call == "exit_group", "{change} {call}: some run was killed before its end");
        }
    }
}

#[test]
fn t162_killed_at_any_moment_nothing_that_was_said_to_be_done_is_lost() {
    let kills: u32 = std::env::var_os(KILLS).map_or(60, |text| text.to_str().unwrap().parse().unwrap());
    let folder = prepared();
    let mut torn = 0;
    let mut last = (1, 1);
    for round in 0..kills {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["one_change", "--exact", "--test-threads=1", "--nocapture"]);
        command.env(FOLDER, folder.path()).env(CHANGE, "endless");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "ready"));
        let mut early = Vec::new();
        // After some more changes: between two of them, as soon as a new file exists, or as soon as it has content.
        for _ in 0..round % 7 {
            early.extend(lines.next());
        }
        let new = folder.path().join(NEW);
        match round % 3 {
            0 => {}
            1 => while std::fs::metadata(&new).is_err() {},
            _ => while std::fs::metadata(&new).map_or(0, |found| found.len()) == 0 {},
        }
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());
        let (mut put, mut rotated) = (0, 0);
        for line in early.into_iter().chain(lines) {
            match line.split_once(' ') {
                Some(("put", number)) => put = number.parse().unwrap(),
                Some(("rotate", number)) => rotated = number.parse().unwrap(),
                _ => {}
            }
        }
        torn += u32::from(folder.path().join(NEW).exists());
        let (version, key, _) = state(folder.path());
        // A change in progress may be there too; the earlier round left the state that this one began with.
        last = (last.0.max(put), last.1.max(rotated));
        assert!((last.0..=last.0 + 1).contains(&version), "version {version} after {}", last.0);
        assert!((last.1..=last.1 + 1).contains(&key), "key {key} after {}", last.1);
        assert!(!folder.path().join(NEW).exists(), "what the kill left was removed");
        last = (version, key);
    }
    println!("{kills} kills, {torn} of them within the writing of a file");
}

#[test]
fn t164_a_fault_of_any_call_is_an_error_and_leaves_the_old_file() {
    if !has_strace() {
        return;
    }
    for (change, done) in CHANGES {
        for (fault, on, left) in [
            ("openat:error=ENOSPC", NEW, BEFORE),
            ("openat:error=EROFS", NEW, BEFORE),
            ("write:error=ENOSPC", NEW, BEFORE),
            ("write:error=EIO", NEW, BEFORE),
            ("fsync:error=EIO", NEW, BEFORE),
            ("rename:error=EROFS", NEW, BEFORE),
            ("fsync:error=EIO", "", done), // of the folder: the new file is in place, and the caller learns of the doubt
        ] {
            let folder = prepared();
            let on = folder.path().join(on);
            let settings = ["-P", on.to_str().unwrap(), &format!("--inject={fault}:when=1")];
            let status = run(folder.path(), change, &settings);
            assert!(!status.success(), "{change}: {fault} on {}", on.display());
            assert!(!folder.path().join(NEW).exists(), "{change}: {fault}: nothing is left");
            assert_eq!(state(folder.path()), left, "{change}: {fault}");
        }
    }
}

#[test]
fn t164_an_interrupted_write_is_finished() {
    if !has_strace() {
        return;
    }
    let folder = prepared();
    let on = folder.path().join(NEW);
    let settings = ["-P", on.to_str().unwrap(), "--inject=write:error=EINTR:when=1"];
    assert!(run(folder.path(), "put", &settings).success());
    assert_eq!(state(folder.path()), (2, 1, 0));
}

/// A write that accepts no bytes, and one that accepts a part before the next one fails: the limit on the size of files
/// truncates it.
#[test]
fn t164_a_short_write_is_an_error_and_leaves_the_old_file() {
    if has_strace() {
        let folder = prepared();
        let on = folder.path().join(NEW);
        let settings = ["-P", on.to_str().unwrap(), "--inject=write:retval=0:when=1"];
        assert!(!run(folder.path(), "put", &settings).success());
        assert!(!on.exists(), "nothing is left");
        assert_eq!(state(folder.path()), BEFORE);
    }
    let folder = prepared();
    let vault = folder.path().join("vault.egret");
    assert!(std::fs::metadata(&vault).unwrap().len() > 512, "one block is less than the vault");
    let program = std::env::current_exe().unwrap();
    let mut limited = Command::new("sh");
    // The signal that comes with the error is ignored, so that the error itself is visible.
    limited.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" one_change --exact --test-threads=1 --quiet"]);
    limited.arg(program).env(FOLDER, folder.path()).env(CHANGE, "put").env("RUST_BACKTRACE", "0");
    assert!(!limited.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    assert!(!folder.path().join(NEW).exists(), "nothing is left");
    assert_eq!(state(folder.path()), BEFORE);
    put(&open(folder.path()).0);
    assert_eq!(state(folder.path()), (2, 1, 0), "without the limit it goes on");
}

#[test]
fn t163_whatever_a_loss_of_power_leaves_of_what_was_written_it_opens() {
    if !has_strace() {
        return;
    }
    for (change, done) in CHANGES {
        let folder = prepared();
        let before = power::Disk::of(folder.path());
        let log = folder.path().join("strace.log");
        let traced =
            "--trace=openat,write,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat";
        let settings = ["-y", "-xx", "-s", "1000000", traced];
        assert!(run_to(folder.path(), change, &settings, &log).success());
        let steps = power::steps(&std::fs::read_to_string(&log).unwrap(), folder.path());
        std::fs::remove_file(&log).unwrap();
        let kinds: Vec<&str> = steps.iter().map(power::Step::name).collect();
        assert_eq!(kinds, ["create", "write", "sync", "rename", "sync folder"], "{change}");
        let (mut old, mut new) = (0, 0);
        for (number, state_left) in power::crashes(&before, &steps).into_iter().enumerate() {
            let left = tempfile::tempdir().unwrap();
            state_left.write(left.path());
            match state(left.path()) {
                BEFORE => old += 1,
                found if found == done => new += 1,
                other => panic!("{change}, crash state {number}: {other:?}"),
            }
        }
        assert!(old > 50 && new > 0, "{change}: {old} old, {new} new");
        println!("{change}: {} crash states, {old} open as before, {new} as after", old + new);
    }
}

/// The file that is written before it replaces the vault.
const NEW: &str = ".vault.egret.new";

/// Runs `one_change` in a process of its own, under strace with these settings.
fn run(folder: &Path, change: &str, settings: &[&str]) -> ExitStatus {
    run_to(folder, change, settings, Path::new("/dev/null"))
}

fn run_to(folder: &Path, change: &str, settings: &[&str], log: &Path) -> ExitStatus {
    Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(log)
        .args(settings.iter().map(OsStr::new))
        .arg(std::env::current_exe().unwrap())
        .args(["one_change", "--exact", "--test-threads=1", "--quiet"])
        .env(FOLDER, folder)
        .env(CHANGE, change)
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
}

#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn has_strace() -> bool {
    let works =
        Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success());
    if !works {
        let in_ci = std::env::var_os("CI").is_some();
        assert!(!in_ci, "strace is missing or may not trace: `cargo xtask install` installs it");
        println!("skipped: strace is missing or may not trace");
    }
    works
}
