//! `egret demo`: the point of the product in one command, offline, without a trace.

use std::process::{Command, Stdio};

use egret_tests::egret::binary;
use egret_tests::{tools, wait};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn the_demo_shows_placeholder_credential_and_record_and_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command.arg("demo").env_clear().env("TMPDIR", place.path()).env("HOME", place.path());
    let shown = tools::succeed(&mut command);
    let after = |mark: &str| shown.split_once(mark).unwrap_or_else(|| panic!("{mark} is missing in {shown}")).1;
    let word = |mark: &str| after(mark).split_whitespace().next().unwrap().to_owned();
    let secret = word("made up for this demo:");
    assert!(secret.starts_with("demo-secret-"), "{secret}");
    assert!(word("DEMO_TOKEN=").starts_with("egret_ph_"));
    assert_eq!(word("origin:  Authorization: Bearer"), secret);
    let received = after("sandbox: ").lines().next().unwrap();
    assert!(
        received.starts_with("200 OK  hello, you sent Authorization: Bearer ") && !received.contains(&secret),
        "{received}"
    );
    assert!(after("CONNECT example.com:443").trim_start().starts_with("403 denied_host"), "{shown}");
    for row in [["exchange.opened", "allow", "GET"], ["exchange.closed", "deny", "denied_host"]] {
        let line = after("egret audit query").lines().find(|line| line.starts_with(row[0]) && line.contains(row[1]));
        assert!(line.is_some_and(|line| line.contains(row[2])), "{row:?} in {shown}");
    }
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "it left files");
}

#[test]
fn a_demo_that_is_interrupted_cleans_up_and_says_so() {
    for (signal, code) in [(Signal::HUP, 129), (Signal::INT, 130), (Signal::QUIT, 131), (Signal::TERM, 143)] {
        let place = tempfile::tempdir().unwrap();
        let mut command = Command::new(binary());
        command.arg("demo").env_clear().env("TMPDIR", place.path()).env("HOME", place.path());
        let mut demo = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let files = || std::fs::read_dir(place.path()).unwrap().count();
        // It catches signals before it makes its folder, and has most of its work ahead then.
        wait::until("the demo's folder", || (files() == 1).then_some(()));
        kill_process(Pid::from_child(&demo), signal).unwrap();
        assert_eq!(demo.wait().unwrap().code(), Some(code), "{signal:?}");
        assert_eq!(files(), 0, "it left files after {signal:?}");
    }
}
