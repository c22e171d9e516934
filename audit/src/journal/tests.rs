//! The journal with real files: many writers, crashes, full and vanishing disks.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::task::{Context, Poll, Waker};

use super::*;
use crate::chain;
use crate::record::Kind;
use crate::testing::{
    block_on, eventually, exchange, of_kind, open, record, records, refusal, settings, snapshot, trail,
};
use crate::verify::{Why, verify};

/// The variable by which a test that runs itself again passes the folder to the second process.
const CHILD: &str = "EGRET_AUDIT_TEST_FOLDER";

#[expect(clippy::disallowed_methods, reason = "a test that runs itself again has no other way to say what is wanted")]
fn child_folder() -> Option<PathBuf> {
    std::env::var(CHILD).ok().map(PathBuf::from)
}

/// Tries a disk that failed again, as the keeper does.
fn retry(journal: &Journal) {
    let shared = &journal.0.shared;
    let mut writer = shared.writer();
    writer.recover();
    shared.publish(&writer);
}

/// This test binary, as a command that runs one test in a folder.
fn myself(test: &str) -> Vec<String> {
    let exe = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    vec![exe, format!("journal::tests::{test}"), "--exact".into(), "--nocapture".into()]
}

#[test]
fn t183_concurrent_appends_get_gapless_numbers() {
    const THREADS: usize = 4;
    const EACH: usize = 25_000;
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open_with(dir.path(), Settings { segment_bytes: 4 << 20, ..settings() }).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                block_on(async {
                    for n in 0..EACH {
                        if n % 10 == 0 {
                            journal.append_durable(record()).await.unwrap();
                        } else {
                            journal.append(record());
                        }
                    }
                });
            });
        }
    });
    journal.close();
    assert_eq!(journal.last_seq(), (THREADS * EACH) as u64);
    let verified = verify(dir.path()).unwrap();
    assert_eq!(verified.records, (THREADS * EACH) as u64);
    assert!(verified.files > 5, "{verified:?}");
}

#[test]
fn tasks_of_one_runtime_share_one_write() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let before = journal.0.shared.queue().load().taken;
    block_on(async {
        let mut set = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let journal = journal.clone();
            set.spawn(async move { journal.append_durable(record()).await });
        }
        while let Some(result) = set.join_next().await {
            result.unwrap().unwrap();
        }
    });
    assert_eq!(journal.0.shared.queue().load().taken, before + 1);
    assert_eq!(journal.last_seq(), 64);
}

#[test]
fn an_append_that_nobody_waits_for_is_written_soon() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    for n in 1..5 {
        journal.append(record());
        assert!(eventually(|| journal.last_seq() == n));
    }
    assert!(eventually(|| chain::read_head(dir.path()).unwrap().is_some_and(|noted| noted.head.seq == 4)));
}

#[test]
fn a_leader_that_is_dropped_takes_nobody_down() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let mut context = Context::from_waker(Waker::noop());
    let mut leader = Box::pin(journal.append_durable(record()));
    let mut follower = Box::pin(journal.append_durable(record()));
    assert_eq!(leader.as_mut().poll(&mut context), Poll::Pending);
    assert_eq!(follower.as_mut().poll(&mut context), Poll::Pending);
    drop(leader);
    assert_eq!(follower.as_mut().poll(&mut context), Poll::Ready(Ok(())));
    assert_eq!(journal.last_seq(), 1, "what the leader wanted is not written");
}

#[test]
fn a_leader_that_is_never_polled_again_is_replaced_by_the_keeper() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let mut context = Context::from_waker(Waker::noop());
    let mut leader = Box::pin(journal.append_durable(record()));
    assert_eq!(leader.as_mut().poll(&mut context), Poll::Pending);
    block_on(journal.append_durable(record())).unwrap();
    assert_eq!(journal.last_seq(), 2);
    assert_eq!(leader.as_mut().poll(&mut context), Poll::Ready(Ok(())));
}

#[test]
fn only_one_process_writes_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    assert!(matches!(Journal::open(dir.path(), Durability::Process), Err(JournalError::Locked { .. })));
    drop(journal);
    assert!(Journal::open(dir.path(), Durability::Process).is_ok());
}

#[test]
fn what_is_appended_after_the_close_is_still_written() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    journal.close();
    journal.append(record());
    assert_eq!(block_on(journal.append_durable(record())), Err(Unavailable));
    assert_eq!(verify(dir.path()).unwrap().records, 1);
}

#[test]
fn power_mode_acknowledges_and_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) =
        Journal::open_with(dir.path(), Settings { durability: Durability::Power, ..settings() }).unwrap();
    for _ in 0..5 {
        exchange(&journal);
    }
    drop(journal);
    assert_eq!(verify(dir.path()).unwrap().records, 10);
}

#[test]
fn t171_a_disk_that_hangs_is_waited_for_two_seconds_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) =
        Journal::open_with(dir.path(), Settings { durability: Durability::Power, ..settings() }).unwrap();
    let hang = journal.0.shared.writer();
    // The disk never answers: that this returns at all is the limit at work.
    assert_eq!(block_on(journal.append_durable(record())), Err(Unavailable));
    drop(hang);
    block_on(journal.append_durable(record())).unwrap();
    drop(journal);
    // The record that was given up may or may not have been on its way to the disk already.
    assert!(verify(dir.path()).is_ok());
}

#[test]
fn a_trail_leaves_one_opening_and_one_closing_and_a_refusal_only_a_closing() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    exchange(&journal);
    refusal(&journal);
    let mut dropped = trail(&journal);
    block_on(dropped.permitted()).unwrap();
    drop(dropped);
    journal.close();
    let found = records(dir.path());
    let kinds: Vec<&str> = found.iter().map(|(kind, _)| kind.as_str()).collect();
    let (opened, closed) = (Kind::ExchangeOpened.as_str(), Kind::ExchangeClosed.as_str());
    assert_eq!(kinds, [opened, closed, closed, opened, closed]);
    assert_eq!(found[0].1["exchange"], found[1].1["exchange"]);
    assert_eq!(found[0].1["decision"], "allow");
    assert_eq!(found[1].1["path"], "/v1/items?key");
    assert_eq!((&found[2].1["decision"], &found[2].1["code"]), (&"deny".into(), &"denied_path".into()));
    assert_eq!((&found[4].1["outcome"], &found[4].1["fault"]), (&"aborted".into(), &"egret".into()));
    assert_eq!(found[3].1["exchange"], found[4].1["exchange"]);
}

#[test]
fn a_clean_close_leaves_nothing_to_repair() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    exchange(&journal);
    refusal(&journal);
    drop(journal);
    assert_eq!(open(dir.path()).1, Recovery::default());
    assert_eq!(verify(dir.path()).unwrap().records, 3);
}

#[test]
fn t172_what_was_open_is_closed_as_aborted_once() {
    let dir = tempfile::tempdir().unwrap();
    let crashed = dir.path().join("crashed");
    let (journal, _) = open(&dir.path().join("running"));
    exchange(&journal);
    let mut trail = trail(&journal);
    block_on(trail.permitted()).unwrap();
    snapshot(&dir.path().join("running"), &crashed);
    let exchange_id = trail.exchange().to_string();

    let (journal, recovery) = open(&crashed);
    assert_eq!((recovery.aborted, recovery.corrupt), (1, None));
    drop(journal);
    let closed = of_kind(&crashed, Kind::ExchangeClosed);
    let last = closed.last().unwrap();
    assert_eq!(closed.len(), 2);
    assert_eq!(last["exchange"], exchange_id.as_str());
    assert_eq!((&last["outcome"], &last["fault"]), (&"aborted".into(), &"egret".into()));
    assert_eq!((&last["session"], &last["host"]), (&"ses_test".into(), &"api.example.com".into()));
    assert_ne!(last["id"], of_kind(&crashed, Kind::ExchangeOpened)[1]["id"]);
    assert_eq!(open(&crashed).1, Recovery::default());
    verify(&crashed).unwrap();
}

#[test]
fn t172_an_exchange_that_was_opened_files_ago_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (running, crashed) = (dir.path().join("running"), dir.path().join("crashed"));
    let (journal, _) = Journal::open_with(&running, Settings { segment_bytes: 8 << 10, ..settings() }).unwrap();
    (0..20).for_each(|_| exchange(&journal));
    let mut long = trail(&journal);
    block_on(long.permitted()).unwrap();
    (0..60).for_each(|_| exchange(&journal));
    journal.flush();
    // Once with the note of the position of the oldest open exchange, once without.
    assert!(eventually(|| chain::read_head(&running).unwrap().is_some_and(|noted| noted.oldest_open > 1)));
    for noted in [true, false] {
        snapshot(&running, &crashed);
        if !noted {
            std::fs::remove_file(crashed.join(chain::HEAD_FILE)).unwrap();
        }
        assert_eq!(open(&crashed).1.aborted, 1);
        let closed = of_kind(&crashed, Kind::ExchangeClosed);
        assert_eq!(closed.last().unwrap()["exchange"], long.exchange().to_string());
        verify(&crashed).unwrap();
    }
}

#[test]
fn t172_killed_between_decision_and_reply() {
    if let Some(dir) = child_folder() {
        let (journal, _) = open(&dir);
        block_on(async {
            loop {
                let mut trail = trail(&journal);
                trail.permitted().await.unwrap();
                println!("acknowledged {}", trail.exchange());
                tokio::task::yield_now().await;
                trail.close(crate::Outcome::Ok, None, None);
            }
        });
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        let command = myself("t172_killed_between_decision_and_reply");
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut mine: Vec<String> = lines
            .filter_map(|line| line.split_once("acknowledged ").map(|(_, id)| id.to_owned()))
            .take(100 + round * 37)
            .collect();
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.append(&mut mine);
    }
    let (journal, _) = open(dir.path());
    drop(journal);
    verify(dir.path()).unwrap();
    let ids = |kind| -> Vec<String> {
        let mut ids: Vec<String> = of_kind(dir.path(), kind)
            .iter()
            .map(|contents| contents["exchange"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    };
    let opened = ids(Kind::ExchangeOpened);
    assert_eq!(opened, ids(Kind::ExchangeClosed), "each opening has exactly one closing");
    for id in acknowledged {
        assert!(opened.binary_search(&id).is_ok(), "{id} was acknowledged and is missing");
    }
}

/// A journal of three records that was never closed, without a noted head.
fn three_records(dir: &Path) -> Vec<u8> {
    let running = dir.join("running");
    let (journal, _) = open(&running);
    (0..3).for_each(|_| block_on(journal.append_durable(record())).unwrap());
    std::fs::read(running.join("00000001.jsonl")).unwrap()
}

fn lay_out(dir: &Path, bytes: &[u8]) {
    drop(std::fs::remove_dir_all(dir));
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("00000001.jsonl"), bytes).unwrap();
}

#[test]
fn t173_a_torn_record_is_cut_off_wherever_it_tore() {
    let dir = tempfile::tempdir().unwrap();
    let whole = three_records(dir.path());
    let crashed = dir.path().join("crashed");
    let second = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for length in second..whole.len() {
        lay_out(&crashed, &whole[..length]);
        let (journal, recovery) = open(&crashed);
        drop(journal);
        let cut = (length - second) as u64;
        assert_eq!((recovery.cut_bytes, &recovery.corrupt), (cut, &None), "torn at {length}");
        let found = records(&crashed);
        assert_eq!(found.len(), if cut > 0 { 3 } else { 2 }, "torn at {length}");
        if cut > 0 {
            assert_eq!(found[2].0, "gap");
            assert_eq!((&found[2].1["code"], &found[2].1["count"]), (&"tail_truncated".into(), &cut.into()));
        }
        verify(&crashed).unwrap();
    }
}

#[test]
fn t173_records_that_were_noted_and_are_gone_leave_a_mark() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    (0..5).for_each(|_| journal.append(record()));
    drop(journal);
    let path = dir.path().join("00000001.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let kept: String = text.lines().take(2).map(|line| format!("{line}\n")).collect();
    std::fs::write(&path, kept).unwrap();
    let (journal, recovery) = open(dir.path());
    drop(journal);
    assert_eq!(recovery.missing, 3);
    let gap = &of_kind(dir.path(), Kind::Gap)[0];
    assert_eq!((&gap["count"], &gap["detail"]), (&3.into(), &"records 3 to 5".into()));
}

#[test]
fn damage_in_the_middle_is_kept_and_named_and_the_journal_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let whole = three_records(dir.path());
    let crashed = dir.path().join("crashed");
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap();
    let mut damaged = whole.clone();
    damaged[first + 200] ^= 1;
    lay_out(&crashed, &damaged);
    let (journal, recovery) = open(&crashed);
    exchange(&journal);
    drop(journal);
    assert!(recovery.corrupt.unwrap().starts_with("00000001.jsonl line 2: "));
    assert_eq!(std::fs::read(crashed.join("00000001.jsonl")).unwrap(), damaged);
    // The damaged record has no form that must be readable: only what was written after it is read.
    let after = dir.path().join("after");
    snapshot(&crashed, &after);
    std::fs::remove_file(after.join("00000001.jsonl")).unwrap();
    let gap = &of_kind(&after, Kind::Gap)[0];
    assert!(gap["detail"].as_str().unwrap().starts_with("00000001.jsonl line 2: "), "{gap}");
    let broken = verify(&crashed).unwrap_err();
    assert_eq!((broken.seq, broken.line), (2, 2));
    // Said once: the next start finds its own file whole.
    assert_eq!(open(&crashed).1, Recovery::default());
}

#[test]
fn damage_to_a_noted_last_record_is_not_taken_for_a_torn_one() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    (0..3).for_each(|_| journal.append(record()));
    drop(journal);
    let path = dir.path().join("00000001.jsonl");
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len() - 20;
    bytes[end] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let (_journal, recovery) = open(dir.path());
    assert_eq!(recovery.cut_bytes, 0);
    assert!(recovery.corrupt.is_some());
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn t189_a_journal_of_a_later_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    lay_out(dir.path(), b"{\"v\":2,\"seq\":1}\n");
    let error = Journal::open_with(dir.path(), settings()).unwrap_err();
    let JournalError::Io { source, .. } = error else { panic!("{error}") };
    assert!(source.to_string().contains("version"), "{source}");
}

#[test]
fn t170_a_folder_that_is_gone_refuses_until_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (home, away) = (dir.path().join("journal"), dir.path().join("away"));
    let (journal, _) = open(&home);
    exchange(&journal);
    std::fs::rename(&home, &away).unwrap();
    assert!(eventually(|| block_on(journal.append_durable(record())) == Err(Unavailable)));
    assert!(!journal.is_writable());
    refusal(&journal);
    retry(&journal);
    assert!(!home.exists(), "a folder that is gone is not made again");
    std::fs::rename(&away, &home).unwrap();
    assert!(eventually(|| journal.is_writable()));
    exchange(&journal);
    drop(journal);
    assert_eq!(verify(&home).unwrap().gaps, 1);
    let gap = &of_kind(&home, Kind::Gap)[0];
    assert_eq!((&gap["code"], &gap["count"]), (&"audit_unavailable".into(), &0.into()));
    assert_eq!(of_kind(&home, Kind::ExchangeClosed).len(), 3, "the refusal was kept");
}

#[test]
fn t170_a_folder_that_was_replaced_is_taken_up_with_a_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("journal");
    let (journal, _) = open(&home);
    exchange(&journal);
    // The journal may write a file beside it while the folder is emptied.
    assert!(eventually(|| std::fs::remove_dir_all(&home).is_ok()));
    assert_eq!(block_on(journal.append_durable(record())), Err(Unavailable));
    std::fs::create_dir(&home).unwrap();
    assert!(eventually(|| journal.is_writable()));
    exchange(&journal);
    drop(journal);
    let broken = verify(&home).unwrap_err();
    assert!(matches!(broken.why, Why::MissingFile), "{broken}");
    assert_eq!(broken.seq, 1);
}

#[test]
fn t170_a_file_that_was_removed_refuses_once_and_the_loss_shows() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    exchange(&journal);
    std::fs::remove_file(dir.path().join("00000001.jsonl")).unwrap();
    assert_eq!(block_on(journal.append_durable(record())), Err(Unavailable));
    assert!(!journal.is_writable());
    assert!(eventually(|| journal.is_writable()));
    exchange(&journal);
    drop(journal);
    assert!(verify(dir.path()).is_err());
    assert_eq!(records(dir.path())[0].0, "gap");
}

#[test]
fn what_exceeds_the_backlog_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (home, away) = (dir.path().join("journal"), dir.path().join("away"));
    let (journal, _) = open(&home);
    std::fs::rename(&home, &away).unwrap();
    assert!(eventually(|| block_on(journal.append_durable(record())) == Err(Unavailable)));
    let long = Record {
        detail: Some("x".repeat(1000).into()),
        user: Some("y".repeat(1000).into()),
        ..Record::new(Kind::PolicyLoaded)
    };
    for n in 0..12_000 {
        journal.append(long.clone());
        if n % 1000 == 0 {
            journal.flush();
        }
    }
    std::fs::rename(&away, &home).unwrap();
    assert!(eventually(|| journal.is_writable()));
    drop(journal);
    verify(&home).unwrap();
    let lost: u64 = of_kind(&home, Kind::Gap).iter().filter_map(|gap| gap["count"].as_u64()).sum();
    let kept = of_kind(&home, Kind::PolicyLoaded).len() as u64;
    assert!(lost > 0);
    assert_eq!(lost + kept, 12_000);
}

#[test]
fn t170_a_file_that_may_not_grow_refuses_and_recovers_by_itself() {
    if let Some(dir) = child_folder() {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize);
        return fill_and_recover(&dir, 0, || {
            let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
            rustix::process::setrlimit(rustix::process::Resource::Fsize, raised).unwrap();
        });
    }
    let dir = tempfile::tempdir().unwrap();
    // Without the signal that kills, a file at its limit answers EFBIG.
    let script = "trap '' XFSZ; ulimit -S -f 64; exec \"$@\"";
    let status = Command::new("sh")
        .args(["-c", script, "sh"])
        .args(myself("t170_a_file_that_may_not_grow_refuses_and_recovers_by_itself"))
        .env(CHILD, dir.path())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert!(verify(&dir.path().join("journal")).unwrap().gaps > 0);
}

#[test]
fn t170_a_full_disk_is_recorded_from_its_reserve_and_refuses_until_there_is_space() {
    if let Some(dir) = child_folder() {
        let ballast = dir.join("ballast");
        std::fs::write(&ballast, vec![1; 1 << 20]).unwrap();
        fill_and_recover(&dir, 16 << 20, || std::fs::remove_file(&ballast).unwrap());
        // The mount goes with this process.
        let verified = verify(&dir.join("journal")).unwrap();
        assert!(verified.gaps > 0);
        let gaps = of_kind(&dir.join("journal"), Kind::Gap);
        assert_eq!((&gaps[0]["code"], &gaps[0]["detail"]), (&"audit_unavailable".into(), &"no space".into()));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=2m tmpfs \"$0\" && exec \"$@\"";
    let mount = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(dir.path()).stdout(Stdio::null());
        command
    };
    if !mount("mount -t tmpfs tmpfs \"$0\"").stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return; // Without permission to mount, there is no small disk; the limit above is tested instead.
    }
    let test = myself("t170_a_full_disk_is_recorded_from_its_reserve_and_refuses_until_there_is_space");
    assert!(mount(script).args(test).env(CHILD, dir.path()).status().unwrap().success());
}

/// Writes until the disk is full, looks that everything is refused, makes space, and looks that it works again.
fn fill_and_recover(dir: &Path, reserve_bytes: u64, make_space: impl FnOnce()) {
    let home = dir.join("journal");
    let (journal, _) = Journal::open_with(&home, Settings { reserve_bytes, ..settings() }).unwrap();
    let mut running = trail(&journal);
    block_on(running.permitted()).unwrap();
    let mut acknowledged = 1;
    while block_on(journal.append_durable(record())).is_ok() {
        acknowledged += 1;
        assert!(acknowledged < 100_000, "the disk never filled");
    }
    assert!(!journal.is_writable());
    assert_eq!(block_on(journal.append_durable(record())), Err(Unavailable));
    running.close(crate::Outcome::Ok, None, None);
    refusal(&journal);
    retry(&journal);
    assert!(!journal.is_writable());
    make_space();
    assert!(eventually(|| journal.is_writable()));
    exchange(&journal);
    drop(journal);
    verify(&home).unwrap();
    assert_eq!(of_kind(&home, Kind::SessionCreated).len(), acknowledged - 1, "what was refused is not there");
    assert_eq!(of_kind(&home, Kind::ExchangeClosed).len(), 3);
}
