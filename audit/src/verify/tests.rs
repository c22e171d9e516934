//! Every way to change a journal, and where each is found.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::journal::{Durability, Journal, Settings};
use crate::record::{Kind, Record};
use crate::testing::{exchange, open, record, refusal, settings, snapshot};

/// A journal that was closed in order, of one file.
fn journal(dir: &Path, records: usize) {
    let (journal, _) = open(dir);
    (0..records).for_each(|_| journal.append(record()));
    journal.close();
}

fn file(dir: &Path) -> PathBuf {
    dir.join("00000001.jsonl")
}

fn lines(dir: &Path) -> Vec<String> {
    fs::read_to_string(file(dir)).unwrap().lines().map(str::to_owned).collect()
}

fn put_lines(dir: &Path, lines: &[String]) {
    fs::write(file(dir), lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

/// Changes the lines of a journal of ten records; returns the result of `verify`.
fn changed(change: impl FnOnce(&mut Vec<String>)) -> Broken {
    let dir = tempfile::tempdir().unwrap();
    journal(dir.path(), 10);
    assert_eq!(verify(dir.path()).unwrap().records, 10);
    let mut all = lines(dir.path());
    change(&mut all);
    put_lines(dir.path(), &all);
    verify(dir.path()).unwrap_err()
}

#[test]
fn t174_each_change_is_found_at_its_first_record() {
    let contents = changed(|all| all[4] = all[4].replace("ses_test", "ses_tesT"));
    assert_eq!((contents.seq, contents.line), (5, 5));
    assert!(matches!(contents.why, Why::Line(LineError::Contents)), "{contents}");

    let envelope = changed(|all| all[4] = all[4].replacen("session.created", "session.changed", 1));
    assert_eq!(envelope.seq, 5);
    assert!(matches!(envelope.why, Why::Line(LineError::Envelope)), "{envelope}");

    let removed = changed(|all| drop(all.remove(4)));
    assert_eq!(removed.seq, 5);
    let swapped = changed(|all| all.swap(4, 7));
    assert_eq!(swapped.seq, 5);
    let repeated = changed(|all| all.insert(5, all[4].clone()));
    assert_eq!(repeated.seq, 6);
    let inserted = changed(|all| all.insert(4, all[8].clone()));
    assert_eq!(inserted.seq, 5);
    for broken in [removed, swapped, repeated, inserted] {
        assert!(matches!(broken.why, Why::Line(LineError::Order)), "{broken}");
        assert!(broken.to_string().starts_with(&format!("record {} (", broken.seq)));
    }
}

#[test]
fn t174_a_cut_end_is_found_against_the_noted_head() {
    let cut = changed(|all| all.truncate(7));
    assert_eq!(cut.seq, 8);
    assert!(matches!(&cut.why, Why::Ends(known) if known.seq == 10), "{cut}");
    let emptied = changed(Vec::clear);
    assert_eq!(emptied.seq, 1);
}

#[test]
fn t213_a_journal_without_its_head_has_no_anchor() {
    let dir = tempfile::tempdir().unwrap();
    journal(dir.path(), 10);
    assert!(verify(dir.path()).unwrap().is_head_noted);
    put_lines(dir.path(), &lines(dir.path())[..7]);
    fs::remove_file(dir.path().join("head")).unwrap();
    let cut = verify(dir.path()).unwrap();
    assert_eq!((cut.records, cut.is_head_noted, cut.anchors), (7, false, 0));
    // A head from before the first record anchors none.
    chain::write_head(dir.path(), &chain::Noted::START).unwrap();
    assert!(!verify(dir.path()).unwrap().is_head_noted);
    let empty = dir.path().join("empty");
    drop(open(&empty));
    assert!(verify(&empty).unwrap().is_head_noted);
}

#[test]
fn t174_an_older_copy_is_found_against_a_head_kept_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let (now, old) = (dir.path().join("now"), dir.path().join("old"));
    journal(&now, 3);
    snapshot(&now, &old);
    journal(&now, 3);
    let known = verify(&now).unwrap().head;
    assert_eq!(known.seq, 6);
    assert!(verify_against(&now, std::slice::from_ref(&known)).is_ok());
    // The copy brings its own noted head along, so only what is known elsewhere can tell.
    assert!(verify(&old).is_ok());
    let broken = verify_against(&old, &[known]).unwrap_err();
    assert_eq!(broken.seq, 4);
}

#[test]
fn t174_a_journal_written_anew_is_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let (mine, other) = (dir.path().join("mine"), dir.path().join("other"));
    journal(&mine, 5);
    journal(&other, 5);
    let known = verify(&mine).unwrap().head;
    let broken = verify_against(&other, &[known]).unwrap_err();
    assert_eq!(broken.seq, 5);
    assert!(matches!(broken.why, Why::Differs(_)), "{broken}");
}

#[test]
fn t174_two_journals_spliced_break_at_the_seam() {
    let dir = tempfile::tempdir().unwrap();
    let (mine, other) = (dir.path().join("mine"), dir.path().join("other"));
    journal(&mine, 6);
    journal(&other, 6);
    let mut all = lines(&mine);
    all.splice(3.., lines(&other).into_iter().skip(3));
    put_lines(&mine, &all);
    let broken = verify(&mine).unwrap_err();
    assert_eq!((broken.seq, broken.line), (4, 4));
}

#[test]
fn t174_a_missing_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open_with(dir.path(), Settings { segment_bytes: 2_000, ..settings() }).unwrap();
    (0..20).for_each(|_| exchange(&journal));
    journal.close();
    let whole = verify(dir.path()).unwrap();
    assert!(whole.files > 3);
    assert_eq!(whole.records, 40);
    fs::remove_file(dir.path().join("00000002.jsonl")).unwrap();
    let broken = verify(dir.path()).unwrap_err();
    assert!(matches!(broken.why, Why::MissingFile), "{broken}");
    assert!(broken.file.ends_with("00000002.jsonl"));
}

#[test]
fn every_changed_byte_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    exchange(&journal);
    refusal(&journal);
    journal.close();
    let whole = fs::read(file(dir.path())).unwrap();
    for at in 0..whole.len() {
        for flip in [0x01, 0x20, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            fs::write(file(dir.path()), &bytes).unwrap();
            assert!(verify(dir.path()).is_err(), "byte {at} xor {flip:#x} went unnoticed");
        }
    }
    fs::write(file(dir.path()), &whole).unwrap();
    assert_eq!(verify(dir.path()).unwrap().records, 3);
}

#[test]
fn deleted_contents_leave_the_chain_whole() {
    let dir = tempfile::tempdir().unwrap();
    journal(dir.path(), 5);
    let mut all = lines(dir.path());
    let end = all[2].find(",\"salt\"").unwrap();
    all[2].truncate(end);
    all[2].push('}');
    put_lines(dir.path(), &all);
    let verified = verify(dir.path()).unwrap();
    assert_eq!((verified.records, verified.deleted), (5, 1));
}

#[test]
fn t181_an_unfinished_last_line_is_told_apart_from_damage() {
    let dir = tempfile::tempdir().unwrap();
    journal(dir.path(), 2);
    let mut bytes = fs::read(file(dir.path())).unwrap();
    bytes.extend_from_slice(b"{\"v\":1,\"seq\":3,");
    fs::write(file(dir.path()), bytes).unwrap();
    let verified = verify(dir.path()).unwrap();
    assert_eq!((verified.records, verified.unfinished_bytes), (2, 15));
}

#[test]
fn t181_a_journal_verifies_while_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open_with(dir.path(), Settings { segment_bytes: 64 << 10, ..settings() }).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (0..2_000).for_each(|_| exchange(&journal)));
        while !writer.is_finished() {
            verify(dir.path()).unwrap();
        }
    });
    journal.close();
    assert_eq!(verify(dir.path()).unwrap().records, 4_000);
}

#[test]
fn an_endless_line_does_not_fill_memory() {
    let dir = tempfile::tempdir().unwrap();
    journal(dir.path(), 1);
    let mut bytes = fs::read(file(dir.path())).unwrap();
    bytes.extend(std::iter::repeat_n(b'x', 1 << 20));
    fs::write(file(dir.path()), bytes).unwrap();
    assert!(matches!(verify(dir.path()).unwrap_err().why, Why::Unfinished));
}

#[test]
fn a_folder_that_is_not_there_is_unreadable_and_an_empty_one_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(verify(&dir.path().join("none")).unwrap_err().why, Why::Unreadable(_)));
    let empty = verify(dir.path()).unwrap();
    assert_eq!((empty.records, empty.files, empty.head.seq), (0, 0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_appended_verifies(texts in proptest::collection::vec((".{0,40}", ".{0,2000}", any::<Option<u64>>()), 1..20)) {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open_with(dir.path(), Settings { reserve_bytes: 0, ..Settings::new(Durability::Process) }).unwrap();
        for (user, detail, count) in &texts {
            let record = Record { user: Some(user.as_str().into()), detail: Some(detail.clone().into()), count: *count, ..Record::new(Kind::PolicyLoaded) };
            journal.append(record);
        }
        journal.close();
        prop_assert_eq!(verify(dir.path()).unwrap().records, texts.len() as u64);
        let found = crate::testing::records(dir.path());
        for ((user, detail, count), (_, contents)) in texts.iter().zip(found) {
            prop_assert_eq!(contents["user"].as_str().unwrap(), user);
            prop_assert!(detail.starts_with(contents["detail"].as_str().unwrap()));
            prop_assert_eq!(contents.get("truncated").is_some(), contents["detail"].as_str().unwrap() != detail);
            prop_assert_eq!(contents.get("count").and_then(serde_json::Value::as_u64), *count);
        }
    }
}
