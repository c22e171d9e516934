//! Credentials with several locations.

use egret_tests::{client, refusal};

use crate::world::World;

#[test]
fn a_placeholder_is_swapped_in_each_location_of_its_credential() {
    let policy =
        "policy: both\nrules:\n  - id: both\n    allow: {host: both.origin.test, port: PORT, LOCAL}\n    use: [both]\n";
    let world = World::new(&["both.origin.test"], &[policy], |setup| setup);
    let (egret, target) = (&world.egret, world.target("both.origin.test"));
    let options = [
        "--kind",
        "header",
        "--header",
        "X-Api-Key",
        "--also",
        "bearer",
        "--also",
        "query:key",
        "--also",
        "cookie:sid",
    ];
    let options = [&options[..], &["--audience", &target, "--env", "KEY"]].concat();
    let value = egret.put("both", &options);
    let session = egret.session(&["both"], &["both"]);
    let placeholder = session.placeholder("KEY");
    let get = |path: &str, fields: &str| client::get_with(egret, &session, &target, path, fields);
    let fields = |path: &str| {
        let seen = world.origin.seen_once(path);
        (seen.value("x-api-key"), seen.value("authorization"))
    };
    let records = |path: &str| {
        let opened = egret
            .record_where("its record", |r| r.text("path").starts_with(path) && r.text("kind") == "exchange.opened");
        opened.text("injected_into")
    };
    let (plain, bearer) = (value.value().to_owned(), format!("Bearer {}", value.value()));
    let answer = get("/both-header", &format!("X-Api-Key: {placeholder}\r\n"));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(fields("/both-header"), (Some(plain.clone()), None));
    assert_eq!(get("/both-bearer", &format!("Authorization: Bearer {placeholder}\r\n")).status, 200);
    assert_eq!(fields("/both-bearer"), (None, Some(bearer)));
    assert_eq!(get(&format!("/both-query?k%65y={placeholder}&a=b"), "").status, 200);
    let sent = format!("/both-query?a=b&key={}", plain.replace('/', "%2F"));
    assert_eq!(world.origin.seen_once("/both-query").target, sent);
    assert_eq!(fields("/both-query"), (None, None));
    assert_eq!(get("/both-cookie", &format!("Cookie: sid={placeholder}\r\n")).status, 200);
    assert_eq!(fields("/both-cookie"), (None, None));
    assert_eq!(world.origin.seen_once("/both-cookie").value("cookie"), Some(format!("sid={plain}")));
    assert!(records("/both-query").contains("query") && records("/both-cookie").contains("cookie sid"));
    // Without a placeholder it is attached at the location of its kind, and the client's own key is removed.
    assert_eq!(get("/both-added", "Authorization: Bearer own\r\n").status, 200);
    assert_eq!(fields("/both-added"), (Some(plain), None));
    let misplaced = get("/both-other", &format!("X-Other: {placeholder}\r\n"));
    refusal::expect_denied(egret, &misplaced, 403, "placeholder_misplaced");
}
