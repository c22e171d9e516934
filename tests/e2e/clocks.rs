//! L: the wall clock of a running sidecar is set. libfaketime, preloaded into the sidecar alone, sets it; the time since boot stays.

use std::path::Path;

use egret_tests::client::{self, Wire};
use egret_tests::records::Record;
use egret_tests::{refusal, tools};

use crate::policies::{HOSTS, closing, download, seconds};
use crate::world::World;

const POLICY: &str = "policy: live\nrules:\n  - id: read\n    allow: {host: a.origin.test, port: PORT, LOCAL}\n";

/// Sets the wall clock by so much beside the machine's. The file is replaced whole, since each look at the clock reads it.
fn set(file: &Path, offset: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, offset).unwrap();
    std::fs::rename(new, file).unwrap();
}

/// How far the clock was set, in seconds.
fn distance(step: &Record) -> i64 {
    let at = |name: &str| step.text(name).parse::<jiff::Timestamp>().unwrap().as_second();
    at("last") - at("first")
}

#[test]
fn t215_a_stream_ends_when_the_wall_clock_is_set_beyond_the_end_of_its_session() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clock");
    set(&file, "+0");
    let world = World::new(&HOSTS, &[POLICY], |setup| {
        setup
            .env("LD_PRELOAD", tools::faketime().display().to_string())
            .env("FAKETIME_TIMESTAMP_FILE", file.display().to_string())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1")
    });
    let egret = &world.egret;
    let step = |direction: &str| {
        let detail = format!("set {direction} by ");
        egret.record_where("the step", |record| {
            record.text("kind") == "sidecar.clock_step" && record.text("detail").starts_with(&detail)
        })
    };
    let session = egret.session_with(&["live"], &[], &["--ttl", "1h"]);
    let mut streaming: Wire = download(&world, &session, "t215");
    set(&file, "+2h");
    streaming.rest();
    let forward = step("forward");
    assert!((7_199..=7_201).contains(&distance(&forward)), "{:?}", forward.0);
    let cut = closing(egret, "exchange.closed", &session);
    assert_eq!(["outcome", "code"].map(|name| cut.text(name)), ["aborted", "session_ended"], "{:?}", cut.0);
    // The time of a closing record is that of its opening and the duration, which no step changes.
    let late = seconds(&cut) + distance(&forward) as f64 - seconds(&forward);
    assert!((-1.0..1.0).contains(&late), "terminated {late} s after the step");

    // Set back, it stays ended, and others are served.
    set(&file, "+0");
    assert!((-7_201..=-7_199).contains(&distance(&step("back"))));
    let (answer, _wire) = client::connect(egret, Some(&session), &world.target(HOSTS[0]));
    refusal::expect_denied(egret, &answer, 407, "session_invalid");
    let other = egret.session_with(&["live"], &[], &["--ttl", "1h"]);
    assert_eq!(client::get(egret, &other, &world.target(HOSTS[0]), "/t215-other").status, 200);
}
