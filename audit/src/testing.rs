//! What the tests of this crate share.

use std::path::Path;
use std::time::{Duration, Instant};

use model::{Destination, Host, Reason, RequestPath, Scheme, SessionId};
use serde_json::Value;

use crate::journal::{Durability, Journal, Recovery, Settings};
use crate::line::{Line, Lines, segments};
use crate::record::{Kind, Outcome, Record};
use crate::trail::{Facts, Trail};

/// Small files and no reserve.
pub(crate) fn settings() -> Settings {
    Settings { segment_bytes: 64 << 20, reserve_bytes: 0, ..Settings::new(Durability::Process) }
}

pub(crate) fn open(dir: &Path) -> (Journal, Recovery) {
    Journal::open_with(dir, settings()).unwrap()
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

pub(crate) fn facts() -> Facts {
    Facts { session: Some(SessionId::new("ses_test")), agent: Some("coder".into()), ..Facts::default() }
}

pub(crate) fn trail(journal: &Journal) -> Trail {
    let mut trail = Trail::begin(journal, facts());
    trail.destination(&Destination::new(Scheme::Https, Host::parse("api.example.com").unwrap(), 443));
    trail.method("GET");
    trail.path(&RequestPath::parse("/v1/items?key=secret").unwrap());
    trail
}

/// One whole exchange: two records.
pub(crate) fn exchange(journal: &Journal) {
    block_on(async {
        let mut trail = trail(journal);
        trail.permitted().await.unwrap();
        trail.status(200);
        trail.close(Outcome::Ok, None, None);
    });
}

/// One refusal: one record.
pub(crate) fn refusal(journal: &Journal) {
    trail(journal).close(Outcome::Refused, crate::Fault::Policy, Some(Reason::DeniedPath));
}

/// A record with nothing special.
pub(crate) fn record() -> Record {
    Record { session: Some(SessionId::new("ses_test")), ..Record::new(Kind::SessionCreated) }
}

/// Every record of a journal: kind and contents.
pub(crate) fn records(dir: &Path) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for segment in segments(dir).unwrap() {
        let mut lines = Lines::open(&segment.path, 0).unwrap();
        while let Some(raw) = lines.next().unwrap() {
            let line = Line::parse(raw.bytes).unwrap_or_else(|error| panic!("{error}: {:?}", raw.bytes.escape_ascii()));
            let contents = line.body.map_or(Value::Null, |(_, contents)| serde_json::from_slice(contents).unwrap());
            found.push((line.kind.to_owned(), contents));
        }
    }
    found
}

/// The records of one kind.
pub(crate) fn of_kind(dir: &Path, kind: Kind) -> Vec<Value> {
    records(dir).into_iter().filter(|(found, _)| found == kind.as_str()).map(|(_, contents)| contents).collect()
}

/// Copies a journal as it is on disk at this moment, which is what a killed process leaves.
pub(crate) fn snapshot(from: &Path, to: &Path) {
    drop(std::fs::remove_dir_all(to));
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Waits for something that another thread does; false where it never happens.
pub(crate) fn eventually(what: impl Fn() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        if what() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}
