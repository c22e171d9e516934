//! What a session brings is its own: two tenants, one sidecar, and documents that try to reach further.
//!
//! The origin is on loopback, which no session's document may open. So a request that a document allows ends with
//! `denied_address`, after the policies; what no rule allows ends with `denied_host`, before.

use std::os::unix::fs::symlink;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use egret_tests::client;
use egret_tests::egret::{Session, parse_session};
use egret_tests::shared::Shared;
use egret_tests::{control, refusal, wait};
use serde_json::{Value, json};

use crate::world::{World, fill};

static WORLD: Shared<World> = Shared::new();

const HOSTS: [&str; 3] = ["a.origin.test", "b.origin.test", "c.origin.test"];

const FILE: &str = "policy: open\nrules:\n  - id: all\n    allow: {host: a.origin.test, port: PORT, LOCAL}\n";

/// Fixes a header for one path, whatever grants it.
const FIXED: &str = "policy: fixed\nrules:\n  - id: all\n    allow: {host: c.origin.test, port: PORT, LOCAL}\n  - id: set\n    \
    allow: {host: \"*.origin.test\", port: PORT, path: /a/b/c, LOCAL}\n    set: {X-T: T1}\n";

/// A session's own document that allows a host.
const OWN: &str = "policy: agent\nrules:\n  - id: own\n    allow: {host: HOST, port: PORT}\n";

fn world() -> Arc<World> {
    WORLD.get(|| World::new(&HOSTS, &[FILE, FIXED], |setup| setup))
}

/// Writes a document beside the data folder; gives its path.
fn write(world: &World, name: &str, text: &str) -> String {
    let path = world.egret.folder().join(name);
    std::fs::write(&path, fill(&world.origin, text)).unwrap();
    path.display().to_string()
}

fn create(world: &World, tenant: &str, policies: &[&str]) -> Output {
    let mut args = vec!["session", "create", "--format", "json", "--tenant", tenant];
    args.extend(policies.iter().flat_map(|policy| ["--policy", *policy]));
    world.egret.run(&args, "")
}

fn session(world: &World, tenant: &str, policies: &[&str]) -> Session {
    let output = create(world, tenant, policies);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    parse_session(&String::from_utf8_lossy(&output.stdout))
}

/// What a request to the host ends with: its status, or the code of the refusal, and the policy in its record.
fn answer(world: &World, session: &Session, host: &str) -> (String, String) {
    let target = world.target(host);
    let (answer, _) = client::connect(&world.egret, Some(session), &target);
    let answer = if answer.status == 200 { client::get(&world.egret, session, &target, "/x") } else { answer };
    let record = match answer.header("egret-record") {
        Some(id) => world.egret.record(&id),
        None => world.egret.record_where("the record", |record| {
            record.text("session") == session.id
                && record.text("kind") == "exchange.closed"
                && record.text("host") == host
        }),
    };
    let said = if record.has("code") { record.text("code") } else { answer.status.to_string() };
    (said, record.text("policy"))
}

fn said(code: &str, policy: &str) -> (String, String) {
    (code.to_owned(), policy.to_owned())
}

fn view(world: &World, session: &Session) -> Value {
    let (_, shown) = control::call(&world.egret, "GET", &format!("/v1/sessions/{}", session.id), &Value::Null);
    shown["view"].clone()
}

#[test]
fn t200_a_document_governs_its_own_session_alone() {
    let world = world();
    let one = write(&world, "t200-one.yaml", &OWN.replace("HOST", "b.origin.test"));
    let two = write(&world, "t200-two.yaml", &OWN.replace("HOST", "c.origin.test"));
    let (one, two) = (session(&world, "one", &["open", &one]), session(&world, "two", &["open", &two]));
    // The name of the document is that of another session's, and of no file.
    assert_eq!(answer(&world, &one, "b.origin.test"), said("denied_address", "session:agent"));
    assert_eq!(answer(&world, &one, "c.origin.test").0, "denied_host");
    assert_eq!(answer(&world, &two, "c.origin.test"), said("denied_address", "session:agent"));
    assert_eq!(answer(&world, &two, "b.origin.test").0, "denied_host");
    for session in [&one, &two] {
        assert_eq!(answer(&world, session, "a.origin.test"), said("200", "open"));
        // Each record names what judged it: the session's view.
        let snapshot = view(&world, session)["snapshot"].clone();
        let own = world.egret.records().into_iter().filter(|record| {
            record.text("session") == session.id && record.text("kind") == "exchange.closed" && record.has("rule")
        });
        for record in own {
            assert_eq!(json!(record.text("snapshot")), snapshot, "{}", record.0);
        }
    }
    let (_, policies) = control::call(&world.egret, "GET", "/v1/policies", &Value::Null);
    assert!(!policies.to_string().contains("agent"), "{policies}");
    let stranger = create(&world, "three", &["agent"]);
    let told = String::from_utf8_lossy(&stranger.stderr).into_owned();
    assert!(!stranger.status.success() && told.contains("policy `agent` is not loaded; loaded are: "), "{told}");
    assert!(!told.contains("session:") && !told.contains("t200"), "{told}");
    let target = world.target("b.origin.test");
    for (session, verdict) in [(&one, "deny (denied_address) by rule `own`"), (&two, "deny (denied_host)")] {
        let url = format!("https://{target}/");
        let told = world.egret.run(&["policy", "explain", "--session", &session.id, "GET", &url], "");
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(text.contains(verdict) && told.status.code() == Some(1), "{text}");
    }
}

#[test]
fn t200_applies_to_ceiling_and_denies_reach_no_one_else() {
    let world = world();
    let other = session(&world, "other", &["open"]);
    let deny = "rules:\n  - id: none\n    deny: {host: \"**\"}\n";
    for top in ["applies_to: {tenants: \"*\"}\n", "ceiling: true\n", "mode: observe\nuntil: 2099-01-01\n"] {
        let file = write(&world, "t200-reaching.yaml", &format!("policy: reaching\n{top}{deny}"));
        for args in [vec!["session", "create", "--policy", &file], vec!["run", "--policy", &file, "--", "true"]] {
            let output = world.egret.run(&args, "");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && told.contains("EG0048"), "{args:?}: {told}");
        }
    }
    let file = write(&world, "t200-deny.yaml", &format!("policy: open\n{deny}"));
    let own = session(&world, "own", &["open", &file]);
    assert_eq!(answer(&world, &own, "a.origin.test"), said("denied_host", "session:open"));
    assert_eq!(answer(&world, &other, "a.origin.test"), said("200", "open"));
}

#[test]
fn t201_a_refused_document_is_in_force_at_no_time() {
    let world = world();
    let other = session(&world, "other", &["open"]);
    let tie = "policy: mine\nrules:\n  - id: tie\n    allow: {host: a.origin.test, port: PORT}\n    use: [t201]\n";
    let refused = [
        write(&world, "t201-ceiling.yaml", "policy: c\nceiling: true\nrules:\n  - {id: d, deny: {host: \"**\"}}\n"),
        write(
            &world,
            "t201-applies.yaml",
            "policy: a\napplies_to: {tenants: \"*\"}\nrules:\n  - {id: d, deny: {host: \"**\"}}\n",
        ),
        write(&world, "t201-tie.yaml", tie),
    ];
    let before = control::call(&world.egret, "GET", "/v1/policies", &Value::Null).1;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..5 {
                for file in &refused {
                    assert!(!create(&world, "hostile", &["open", file]).status.success(), "{file}");
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let answer = client::get(&world.egret, &other, &world.target("a.origin.test"), "/t201");
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    });
    assert_eq!(control::call(&world.egret, "GET", "/v1/policies", &Value::Null).1, before);
    let rejected = world.egret.records().into_iter().filter(|record| {
        record.text("kind") == "policy.rejected"
            && record.text("tenant") == "hostile"
            && record.text("code") == "policy_rejected"
    });
    assert_eq!(rejected.count(), 15);
    assert!(control::call(&world.egret, "GET", "/healthz", &Value::Null).1["policies_rejected"].is_null());
}

#[test]
fn t202_a_file_with_the_name_of_a_document_is_taken_on_reload_and_on_restart() {
    let world = World::new(&HOSTS, &[FILE], |setup| setup);
    let document = write(&world, "own.yaml", &OWN.replace("HOST", "b.origin.test"));
    let own = session(&world, "one", &[&document]);
    write(&world, "policies/agent.yaml", &OWN.replace("HOST", "c.origin.test"));
    let other = wait::until("the file is in force", || {
        let output = create(&world, "two", &["agent"]);
        output.status.success().then(|| parse_session(&String::from_utf8_lossy(&output.stdout)))
    });
    let both = || {
        assert_eq!(answer(&world, &own, "b.origin.test"), said("denied_address", "session:agent"));
        assert_eq!(answer(&world, &own, "c.origin.test").0, "denied_host");
        assert_eq!(answer(&world, &other, "c.origin.test"), said("denied_address", "agent"));
        assert_eq!(answer(&world, &other, "b.origin.test").0, "denied_host");
    };
    both();
    let before = view(&world, &own);
    world.egret.terminate();
    world.egret.launch();
    both();
    assert_eq!(view(&world, &own), before);
    assert!(!world.egret.records().iter().any(|record| record.text("kind") == "policy.rejected"));
}

#[test]
fn t203_files_that_leave_a_live_session_without_rules_are_not_taken() {
    let web = "policy: web\nrules:\n  - id: web\n    allow: {host: b.origin.test, port: PORT, LOCAL}\n";
    let world = World::new(&HOSTS, &[FILE, web], |setup| setup);
    let session = session(&world, "one", &["open", "web"]);
    write(
        &world,
        "policies/policy-1.yaml",
        &FILE.replace("policy: open", "policy: web").replace("LOCAL}", "LOCAL}\n    use: [k]"),
    );
    let health = || control::call(&world.egret, "GET", "/healthz", &Value::Null).1["policies_rejected"].clone();
    let told = wait::until("the files are refused", || health().as_str().map(str::to_owned));
    assert!(told.contains(&session.id) && told.contains("of policy `web`"), "{told}");
    let record = world.egret.record_where("the rejection", |record| record.text("kind") == "policy.rejected");
    assert_eq!((record.text("code"), record.text("detail")), ("policy_rejected".to_owned(), told.clone()));
    assert!(world.egret.log().contains(&told));
    assert_eq!(answer(&world, &session, "b.origin.test"), said("200", "web"));
    world.egret.ok(&["session", "end", &session.id], "");
    let (status, view) = control::call(&world.egret, "POST", "/v1/policies/reload", &Value::Null);
    assert_eq!((status, &view["rejected"]), (200, &Value::Null));
}

#[test]
fn t221_a_link_in_a_policy_folder_quotes_nothing() {
    let world = World::new(&HOSTS, &[FILE], |setup| setup);
    let line = "hunter2-of-another-file: [";
    std::fs::write(world.egret.folder().join("token"), format!("{line}\n")).unwrap();
    symlink("../token", world.egret.folder().join("policies/link.yaml")).unwrap();
    let health = || control::call(&world.egret, "GET", "/healthz", &Value::Null).1["policies_rejected"].clone();
    let told = wait::until("the link is refused", || health().as_str().map(str::to_owned));
    assert!(told.contains("link.yaml: it is a link to a file outside of its folder"), "{told}");
    let records: String = world.egret.records().iter().map(|record| record.0.to_string()).collect();
    for text in [told, world.egret.log(), records] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    let target = world.target("a.origin.test");
    let session = session(&world, "one", &["open"]);
    refusal::expect_denied(
        &world.egret,
        &client::connect(&world.egret, Some(&session), &world.target("b.origin.test")).0,
        403,
        "denied_host",
    );
    assert_eq!(client::get(&world.egret, &session, &target, "/x").status, 200);
}

#[test]
fn t283_a_document_sheds_no_fixed_header_in_any_reading() {
    let world = world();
    let text = "policy: mine\nrules:\n  - id: other\n    allow: {host: \"**.origin.test\", port: PORT, path: \"/a/b/*/c\"}\n    \
        set: {X-T: EVIL}\n";
    let file = write(&world, "t283.yaml", text);
    let (plain, with) = (session(&world, "acme", &["fixed"]), session(&world, "acme", &["fixed", &file]));
    let target = world.target("c.origin.test");
    assert_eq!(client::get(&world.egret, &plain, &target, "/a/b//c?t283-plain").status, 200);
    assert_eq!(world.origin.seen_once("t283-plain").values("x-t"), ["T1"]);
    let answer = client::get(&world.egret, &with, &target, "/a/b//c?t283-with");
    refusal::expect_denied(&world.egret, &answer, 403, "denied_path");
    assert_eq!(refusal::problem(&answer)["class"], "ambiguous");
    world.origin.assert_saw_nothing_of("t283-with");
}
