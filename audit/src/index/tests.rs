//! The index beside a journal: following it, being asked, and being thrown away.

use model::{Destination, Host, Reason, RequestPath, Scheme, SessionId, TenantId, Timestamp};

use super::*;
use crate::journal::{Journal, Settings};
use crate::query::MAX_ROWS;
use crate::record::{CredentialUse, Decision, Fault, Kind, Outcome, Record};
use crate::testing::{block_on, eventually, exchange, open, record, refusal, settings};
use crate::trail::{Facts, Trail};
use crate::verify::{verify, verify_against};

struct Scene {
    dir: tempfile::TempDir,
    journal: Journal,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) =
            Journal::open_with(&dir.path().join("journal"), Settings { segment_bytes: 4_000, ..settings() }).unwrap();
        Self { dir, journal }
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    fn index(&self) -> Index {
        Index::open(&self.folder(), &self.dir.path().join("index.db")).unwrap()
    }

    /// Writes what is pending without ending the journal.
    fn settle(&self) {
        block_on(self.journal.append_durable(Record::new(Kind::PolicyLoaded))).unwrap();
    }

    fn visit(&self, session: &str, host: &str, refused: bool) {
        let facts = Facts { session: Some(SessionId::new(session)), ..Facts::default() };
        let mut trail = Trail::begin(&self.journal, facts);
        trail.destination(&Destination::new(Scheme::Https, Host::parse(host).unwrap(), 443));
        trail.method(if refused { "DELETE" } else { "GET" });
        trail.path(&RequestPath::parse("/x").unwrap());
        if refused {
            trail.close(Outcome::Refused, Fault::Policy, Some(Reason::DeniedMethod));
        } else {
            block_on(trail.permitted()).unwrap();
            trail.close(Outcome::Ok, None, None);
        }
    }
}

fn count(index: &Index, filter: &Filter) -> usize {
    index.query(filter).unwrap().len()
}

#[test]
fn the_index_holds_every_record_across_files() {
    let scene = Scene::new();
    (0..30).for_each(|_| exchange(&scene.journal));
    scene.journal.close();
    let index = scene.index();
    assert_eq!(index.catch_up().unwrap(), 60);
    assert!(verify(&scene.folder()).unwrap().files > 3);
    let rows = index.query(&Filter { limit: 1000, ..Filter::default() }).unwrap();
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), (1..=60).collect::<Vec<_>>());
    let second = rows[1].value();
    assert_eq!(second["seq"], 2);
    assert_eq!(second["kind"], "exchange.closed");
    assert_eq!(second["host"], "api.example.com");
    assert_eq!(second["previous"], rows[0].value()["hash"]);
    assert_eq!(serde_json::to_string(&rows[1]).unwrap(), rows[1].as_json());
}

#[test]
fn each_condition_selects_and_all_must_hold() {
    let scene = Scene::new();
    scene.visit("ses_a", "api.example.com", false);
    scene.visit("ses_a", "example.com", true);
    scene.visit("ses_b", "a.b.example.com", false);
    scene.visit("ses_b", "other.test", true);
    scene.journal.close();
    let index = scene.index();
    index.catch_up().unwrap();
    let filter = Filter::default;
    assert_eq!(count(&index, &filter()), 6);
    assert_eq!(count(&index, &Filter { session: Some(SessionId::new("ses_a")), ..filter() }), 3);
    assert_eq!(count(&index, &Filter { decision: Some(Decision::Deny), ..filter() }), 2);
    assert_eq!(count(&index, &Filter { decision: Some(Decision::Allow), ..filter() }), 4);
    assert_eq!(count(&index, &Filter { kind: Some(Kind::ExchangeOpened), ..filter() }), 2);
    assert_eq!(count(&index, &Filter { code: Some("denied_method".into()), ..filter() }), 2);
    assert_eq!(count(&index, &Filter { method: Some("GET".into()), ..filter() }), 4);
    for (pattern, hosts) in
        [("example.com", 1), ("*.example.com", 2), ("**.example.com", 4), ("*.test", 1), ("**", 0), ("*.com", 1)]
    {
        assert_eq!(count(&index, &Filter { host: Some(pattern.into()), ..filter() }), hosts, "{pattern}");
    }
    let both = Filter { session: Some(SessionId::new("ses_b")), decision: Some(Decision::Deny), ..filter() };
    let rows = index.query(&both).unwrap();
    assert_eq!(rows.len(), 1);
    let row = rows[0].value();
    assert_eq!(row["host"], "other.test");
    assert_eq!(count(&index, &Filter { id: Some(row["id"].as_str().unwrap().into()), ..filter() }), 1);
    assert_eq!(count(&index, &Filter { id: Some(row["exchange"].as_str().unwrap().into()), ..filter() }), 1);
}

#[test]
fn t213_an_index_is_found_to_hold_records_without_a_change() {
    let scene = Scene::new();
    let (path, log) = (scene.dir.path().join("a%20?#.db"), scene.dir.path().join("a%20?#.db-wal"));
    assert!(!Index::has_records(&path) && !path.exists());
    drop(Index::open(&scene.folder(), &path).unwrap());
    assert!(!Index::has_records(&path), "it is empty");
    let index = Index::open(&scene.folder(), &path).unwrap();
    scene.settle();
    index.catch_up().unwrap();
    assert!(log.exists() && Index::has_records(&path), "what is still in the log of SQLite counts");
    // As a kill leaves it: a log beside the file, and no process that works with it.
    let copy = |end: &str| scene.dir.path().join(format!("copy.db{end}"));
    std::fs::copy(&path, copy("")).unwrap();
    std::fs::copy(&log, copy("-wal")).unwrap();
    let read = || ["", "-wal"].map(|end| std::fs::read(copy(end)).unwrap());
    let before = read();
    assert!(Index::has_records(&copy("")) && read() == before);
    drop(index);
    let before = std::fs::read(&path).unwrap();
    assert!(Index::has_records(&path));
    assert!(!log.exists() && std::fs::read(&path).unwrap() == before);
}

#[test]
fn times_select_whatever_their_order() {
    let scene = Scene::new();
    let at = |seconds: i64| Timestamp::from_second(1_700_000_000 + seconds).unwrap();
    // The clock was set back in the middle.
    for seconds in [0, 10, 20, 5, 15, 25] {
        scene.journal.append(Record { time: Some(at(seconds)), ..record() });
    }
    scene.journal.close();
    let index = scene.index();
    index.catch_up().unwrap();
    let seqs = |since, until| -> Vec<u64> {
        index.query(&Filter { since, until, ..Filter::default() }).unwrap().iter().map(|row| row.seq).collect()
    };
    assert_eq!(seqs(Some(at(10)), None), [2, 3, 5, 6]);
    assert_eq!(seqs(None, Some(at(10))), [1, 4]);
    assert_eq!(seqs(Some(at(5)), Some(at(20))), [2, 4, 5]);
    assert_eq!(seqs(Some(at(100)), None), [0; 0]);
}

#[test]
fn pages_go_forward_and_back() {
    let scene = Scene::new();
    (0..25).for_each(|_| scene.journal.append(record()));
    scene.journal.close();
    let index = scene.index();
    index.catch_up().unwrap();
    let page = |filter: Filter| -> Vec<u64> { index.query(&filter).unwrap().iter().map(|row| row.seq).collect() };
    let ten = Filter { limit: 10, ..Filter::default() };
    assert_eq!(page(ten.clone()), (16..=25).collect::<Vec<_>>());
    assert_eq!(page(Filter { before: Some(16), ..ten.clone() }), (6..=15).collect::<Vec<_>>());
    assert_eq!(page(Filter { after: Some(0), ..ten.clone() }), (1..=10).collect::<Vec<_>>());
    assert_eq!(page(Filter { after: Some(20), ..ten }), (21..=25).collect::<Vec<_>>());
}

#[test]
fn t180_what_is_asked_is_never_part_of_the_statement() {
    let scene = Scene::new();
    scene.visit("ses_a", "api.example.com", false);
    scene.journal.close();
    let index = scene.index();
    index.catch_up().unwrap();
    let hostile = "'; DROP TABLE records; --";
    for filter in [
        Filter { host: Some(hostile.into()), ..Filter::default() },
        Filter { host: Some(format!("*.{hostile}")), ..Filter::default() },
        Filter { host: Some("**.%".into()), ..Filter::default() },
        Filter { session: Some(SessionId::new(hostile)), ..Filter::default() },
        Filter { code: Some(hostile.into()), ..Filter::default() },
        Filter { method: Some(hostile.into()), ..Filter::default() },
        Filter { id: Some(hostile.into()), ..Filter::default() },
    ] {
        assert_eq!(count(&index, &filter), 0);
        assert!(!filter.statement().sql.contains("DROP"));
    }
    assert_eq!(count(&index, &Filter::default()), 2);
    let greedy = Filter { limit: u32::MAX, ..Filter::default() };
    assert!(greedy.statement().values.contains(&rusqlite::types::Value::from(MAX_ROWS)));
}

#[test]
fn every_field_is_a_column() {
    let scene = Scene::new();
    exchange(&scene.journal);
    scene.journal.close();
    let index = scene.index();
    index.catch_up().unwrap();
    let reader = lock(&index.reader);
    for name in CONTENTS.iter().chain(&["seq", "time", "kind", "previous", "hash"]) {
        reader.query_row(&format!("SELECT \"{name}\" FROM records WHERE seq = 2"), [], |_| Ok(())).unwrap();
    }
    let sql = "SELECT status, path, duration_ms >= 0, typeof(port), truncated FROM records WHERE seq = 2";
    let row: (i64, String, bool, String, Option<i64>) =
        reader.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))).unwrap();
    assert_eq!(row, (200, "/v1/items?key".into(), true, "integer".into(), None));
    assert!(reader.execute("DELETE FROM records", []).is_err(), "the reader only reads");
}

#[test]
fn a_second_index_catches_up_beside_the_first() {
    let scene = Scene::new();
    exchange(&scene.journal);
    scene.settle();
    let (first, second) = (scene.index(), scene.index());
    assert_eq!(first.catch_up().unwrap(), 3);
    exchange(&scene.journal);
    scene.settle();
    assert_eq!(second.catch_up().unwrap(), 6);
    assert_eq!(first.catch_up().unwrap(), 6);
    assert_eq!(count(&first, &Filter::default()), 6);
}

#[test]
fn the_follower_keeps_up_by_itself() {
    let scene = Scene::new();
    let index = Arc::new(scene.index());
    let follower = Arc::clone(&index).follow();
    refusal(&scene.journal);
    assert!(eventually(|| count(&index, &Filter::default()) == 1));
    refusal(&scene.journal);
    assert!(eventually(|| count(&index, &Filter::default()) == 2));
    drop(follower);
    assert_eq!(Arc::strong_count(&index), 1);
}

#[test]
fn an_index_that_does_not_match_is_filled_again() {
    let scene = Scene::new();
    (0..5).for_each(|_| scene.journal.append(record()));
    scene.journal.close();
    let index = scene.index();
    assert_eq!(index.catch_up().unwrap(), 5);
    let known = index.known_head().unwrap();
    assert_eq!(known, verify(&scene.folder()).unwrap().head);

    std::fs::remove_dir_all(scene.folder()).unwrap();
    let (other, _) = open(&scene.folder());
    refusal(&other);
    other.close();
    // Before it is filled again, only the index shows that the journal was replaced.
    assert_eq!(verify_against(&scene.folder(), &[known]).unwrap_err().seq, 2);
    assert_eq!(index.catch_up().unwrap(), 1);
    let rows = index.query(&Filter::default()).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].value()["code"], "denied_path");
}

#[test]
fn a_damaged_index_is_made_anew() {
    let scene = Scene::new();
    refusal(&scene.journal);
    scene.journal.close();
    let path = scene.dir.path().join("index.db");
    std::fs::write(&path, vec![b'x'; 5000]).unwrap();
    let index = scene.index();
    assert_eq!(index.catch_up().unwrap(), 1);
}

#[test]
fn a_damaged_record_does_not_hide_the_others() {
    let scene = Scene::new();
    (0..3).for_each(|_| refusal(&scene.journal));
    scene.journal.close();
    let path = scene.folder().join("00000001.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    let broken = lines[1].replace("\"v\":1", "\"v\":x");
    lines[1] = &broken;
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    let index = scene.index();
    assert_eq!(index.catch_up().unwrap(), 3);
    assert_eq!(count(&index, &Filter::default()), 2);
}

#[test]
fn more_than_one_batch_is_taken_piece_by_piece() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(&dir.path().join("journal"));
    let rows = BATCH_ROWS * 2 + 100;
    (0..rows).for_each(|_| journal.append(record()));
    journal.close();
    let index = Index::open(&dir.path().join("journal"), &dir.path().join("index.db")).unwrap();
    assert!(!index.step().unwrap().reached_end);
    assert_eq!(index.catch_up().unwrap(), rows);
    let limit = MAX_ROWS;
    assert_eq!(count(&index, &Filter { limit, ..Filter::default() }) as u64, rows);
}

#[test]
fn records_that_name_a_credential_are_found() {
    let scene = Scene::new();
    let put = |name: &str| {
        let credentials = vec![CredentialUse { name: name.into(), version: 1 }];
        scene.journal.append(Record { credentials, generation: Some(7), ..Record::new(Kind::CredentialPut) });
    };
    put("github");
    put("gitlab");
    scene.settle();
    let index = scene.index();
    index.catch_up().unwrap();
    let named = |name: &str| count(&index, &Filter { credential: Some(name.to_owned()), ..Filter::default() });
    assert_eq!((named("github"), named("gitlab"), named("git"), named("7")), (1, 1, 0, 0));
    assert_eq!(index.vault_generation().unwrap(), Some(7));
}

/// Opens an exchange with these credentials, and closes it.
fn use_credentials(journal: &Journal, tenant: &str, names: &[(&str, u32)]) {
    let facts = Facts { tenant: TenantId::new(tenant), ..crate::testing::facts() };
    let mut trail = Trail::begin(journal, facts);
    for (name, version) in names {
        trail.credential(CredentialUse { name: (*name).into(), version: *version }, "header authorization");
    }
    block_on(trail.permitted()).unwrap();
    trail.close(Outcome::Ok, None, None);
}

/// Name, count and time of each credential of a tenant.
fn used(index: &Index, tenant: &str) -> Vec<(String, u64, Timestamp)> {
    let tenant = TenantId::new(tenant);
    let all = index.uses(&tenant).unwrap();
    for (name, uses) in &all {
        assert_eq!(index.uses_of(&tenant, name).unwrap(), Some(*uses));
    }
    all.into_iter().map(|(name, uses)| (name.to_string(), uses.count, uses.last)).collect()
}

#[test]
fn uses_of_credentials_are_counted_by_tenant_and_name() {
    let scene = Scene::new();
    use_credentials(&scene.journal, "default", &[("github", 1), ("maps", 4)]);
    // In two places of one request.
    use_credentials(&scene.journal, "default", &[("github", 2), ("github", 2)]);
    use_credentials(&scene.journal, "acme", &[("github", 1)]);
    exchange(&scene.journal);
    // A refusal names the credential of a placeholder that was misplaced: nothing went out with it.
    let mut refused = Trail::begin(&scene.journal, crate::testing::facts());
    refused.credential(CredentialUse { name: "maps".into(), version: 4 }, "header authorization");
    refused.close(Outcome::Refused, Fault::Policy, Some(Reason::PlaceholderMisplaced));
    let credentials = vec![CredentialUse { name: "unused".into(), version: 1 }];
    scene.journal.append(Record { tenant: Some(TenantId::default()), credentials, ..Record::new(Kind::CredentialPut) });
    scene.settle();
    let index = scene.index();
    index.catch_up().unwrap();
    let rows = index.query(&Filter { kind: Some(Kind::ExchangeOpened), ..Filter::default() }).unwrap();
    let time = |at: usize| rows[at].value()["time"].as_str().unwrap().parse::<Timestamp>().unwrap();
    let wanted = [("github".to_owned(), 2, time(1)), ("maps".to_owned(), 1, time(0))];
    assert_eq!(used(&index, "default"), wanted);
    assert_eq!(used(&index, "acme"), [("github".to_owned(), 1, time(2))]);
    assert_eq!(used(&index, "other"), []);
    assert_eq!(index.uses_of(&TenantId::default(), &"unused".into()).unwrap(), None);
}

#[test]
fn uses_are_counted_once_however_often_the_index_is_opened_or_filled_again() {
    let scene = Scene::new();
    for number in 0..7 {
        use_credentials(&scene.journal, "default", &[("github", number)]);
    }
    scene.settle();
    let first = scene.index();
    first.catch_up().unwrap();
    let counted = used(&first, "default");
    assert_eq!(counted[0].1, 7);
    first.catch_up().unwrap();
    drop(first);
    let again = scene.index();
    again.catch_up().unwrap();
    assert_eq!(used(&again, "default"), counted);
    // Like an index of another build: created again under the same name.
    lock(&again.writer).execute_batch("PRAGMA user_version = 1").unwrap();
    drop(again);
    let anew = scene.index();
    assert_eq!(used(&anew, "default"), []);
    anew.catch_up().unwrap();
    assert_eq!(used(&anew, "default"), counted);
    // As one is whose journal was replaced: filled again in place.
    lock(&anew.writer).execute("UPDATE position SET hash = zeroblob(32)", []).unwrap();
    use_credentials(&scene.journal, "default", &[("github", 8)]);
    scene.settle();
    anew.catch_up().unwrap();
    assert_eq!(used(&anew, "default")[0].1, 8);
}

#[test]
fn a_clock_that_was_set_back_takes_nothing_from_the_last_use() {
    let scene = Scene::new();
    let opened = |second: i64| {
        let time = Some(Timestamp::from_second(second).unwrap());
        let credentials = vec![CredentialUse { name: "github".into(), version: 1 }];
        let tenant = Some(TenantId::default());
        Record { time, credentials, tenant, ..Record::new(Kind::ExchangeOpened) }
    };
    let index = scene.index();
    for (count, second) in [(1, 1_700_000_100), (2, 1_700_000_000), (3, 1_700_000_050)] {
        scene.journal.append(opened(second));
        scene.settle();
        index.catch_up().unwrap();
        let last = Timestamp::from_second(1_700_000_100).unwrap();
        assert_eq!(used(&index, "default"), [("github".to_owned(), count, last)]);
    }
}
