//! `egret demo`: the point of the product in one command, offline, without a trace.

use std::process::Command;

use egret_tests::egret::binary;
use egret_tests::tools;

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
