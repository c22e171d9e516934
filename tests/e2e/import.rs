//! `egret vault import`: many credentials at once, and the messages about those that it does not import.

use std::path::{Path, PathBuf};

use egret_tests::canary::Canary;
use egret_tests::client;
use egret_tests::egret::{Egret, Setup};
use serde_json::{Value, json};

use crate::world::World;

/// A file next to the sidecar's folder, which may never contain a canary.
struct Source {
    folder: tempfile::TempDir,
}

impl Source {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

/// Runs `vault import`; returns its exit code, standard output and standard error, which contain no canary.
fn import(egret: &Egret, canaries: &[&Canary], args: &[&str], input: &str) -> (i32, String, String) {
    let output = egret.run(&[&["vault", "import"], args].concat(), input);
    for canary in canaries {
        canary.assert_absent("what the command printed", &output.stdout);
        canary.assert_absent("what the command said", &output.stderr);
    }
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn listed(egret: &Egret) -> Vec<(String, u64)> {
    let all: Value = serde_json::from_str(&egret.ok(&["vault", "list", "--format", "json"], "")).unwrap();
    let one = |one: &Value| (one["name"].as_str().unwrap().to_owned(), one["version"].as_u64().unwrap());
    all.as_array().unwrap().iter().map(one).collect()
}

fn puts(egret: &Egret) -> Vec<(String, u64)> {
    let records = egret.records().into_iter().filter(|record| record.text("kind") == "credential.put");
    records.map(|record| (record.text("credentials"), record.number("generation"))).collect()
}

fn names(all: &[(&str, u64)]) -> Vec<(String, u64)> {
    all.iter().map(|(name, version)| ((*name).to_owned(), *version)).collect()
}

/// The canaries must not stay anywhere either.
fn watch(egret: &Egret, canaries: &[&Canary]) {
    canaries.iter().for_each(|canary| egret.watch((*canary).clone()));
}

#[test]
fn a_dotenv_file_becomes_credentials_in_one_change() {
    let egret = Egret::prepare(&Setup::default());
    let source = Source::new();
    let [first, second, third] = ["first", "second", "third"].map(Canary::new);
    let canaries = [&first, &second, &third];
    watch(&egret, &canaries);
    let text = format!(
        "# what the agent needs\nexport OPENAI_API_KEY={}\nSERVICE_KEY=\"{}\" # quoted\n_TOKEN='{}'\nDEBUG=true\n",
        first.value(),
        second.value(),
        third.value()
    );
    let file = source.write(".env", &text);
    egret.ok(&["vault", "init"], "");

    // Without audiences nothing is taken; what is known is offered and not applied.
    let (code, printed, said) = import(&egret, &canaries, &[&file], "");
    assert_eq!((code, printed.as_str()), (1, ""), "{said}");
    for line in
        ["--for OPENAI_API_KEY=api.openai.com", "--for SERVICE_KEY=HOST", "--for _TOKEN=HOST", "--for DEBUG=HOST"]
    {
        assert!(said.lines().any(|told| told.trim() == line), "{said}");
    }
    assert!(listed(&egret).is_empty() && puts(&egret).is_empty());

    let wanted = [
        &*file,
        "--for",
        "OPENAI_API_KEY=api.openai.com",
        "--for",
        "SERVICE_KEY=a.origin.test,b.origin.test:8443",
        "--as",
        "SERVICE_KEY=header:X-Service-Key",
        "--for",
        "_TOKEN=c.origin.test",
    ];
    let only = ["--only", "OPENAI_API_KEY", "--only", "service-key", "--only", "_TOKEN"];
    let dry = [&wanted, &only[..], &["--dry-run"]].concat();
    let (code, printed, said) = import(&egret, &canaries, &dry, "");
    assert_eq!(code, 0, "{said}");
    assert!(
        printed.contains("a.origin.test,b.origin.test:8443") && said.contains("nothing was changed"),
        "{printed}{said}"
    );
    assert!(listed(&egret).is_empty() && puts(&egret).is_empty());

    // One variable is left: the others are put, and the answer is no.
    let (code, printed, said) = import(&egret, &canaries, &wanted, "");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the others were imported") && said.contains("--for DEBUG=HOST"), "{said}");
    assert!(printed.contains("service-key") && printed.contains("new"), "{printed}");
    assert_eq!(listed(&egret), names(&[("openai-api-key", 1), ("service-key", 1), ("token", 1)]));
    let done = puts(&egret);
    assert_eq!(done.len(), 3);
    assert!(done.iter().all(|(_, generation)| *generation == done[0].1), "one change of the vault: {done:?}");
    let shown: Value =
        serde_json::from_str(&egret.ok(&["vault", "show", "service-key", "--format", "json"], "")).unwrap();
    assert_eq!(
        (&shown["kind"], &shown["env"], &shown["audience"]),
        (&json!("header X-Service-Key"), &json!("SERVICE_KEY"), &json!(["a.origin.test", "b.origin.test:8443"]))
    );

    // Again, beside a running sidecar and with only what is wanted: new versions, and yes.
    egret.launch();
    let (code, printed, said) = import(&egret, &canaries, &[&wanted, &only[..]].concat(), "");
    assert_eq!(code, 0, "{said}");
    assert!(printed.contains("version 2") && said.contains("still stand in"), "{printed}{said}");
    assert_eq!(listed(&egret), names(&[("openai-api-key", 2), ("service-key", 2), ("token", 2)]));
}

#[test]
fn a_document_becomes_credentials_that_work() {
    let policy = "policy: imported\nrules:\n  - id: api\n    allow: {host: api.origin.test, port: PORT, LOCAL}\n    use: [head]\n";
    let world = World::new(&["api.origin.test"], &[policy], |setup| setup);
    let egret = &world.egret;
    let [head, pair] = ["head", "pair"].map(Canary::new);
    watch(egret, &[&head, &pair]);
    let audience = world.target("api.origin.test");
    let document = json!([
        {"name": "head", "kind": "header", "header": "X-Key", "audience": [audience], "env": "HEAD", "value": head.value()},
        {"name": "pair", "kind": "basic", "audience": "a.origin.test,b.origin.test", "value": format!("me:{}", pair.value())},
    ]);
    let (code, printed, said) =
        import(egret, &[&head, &pair], &["-", "--from", "json", "--format", "json"], &document.to_string());
    assert_eq!(code, 0, "{said}");
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&printed[0]["name"], &printed[1]["version"]), (&json!("head"), &json!(1)), "{printed}");
    let session = egret.session(&["imported"], &["head"]);
    let answer = client::get_with(egret, &session, &audience, "/imported", "");
    assert_eq!(answer.status, 200);
    assert_eq!(world.origin.seen_once("/imported").value("x-key"), Some(head.value().to_owned()));
    // By name, without a sidecar.
    egret.terminate();
    let by_name = json!({"other": {"kind": "bearer", "audience": "a.origin.test", "value": head.value()}});
    let file = Source::new();
    let path = file.write("credentials.json", &by_name.to_string());
    let (code, _, said) = import(egret, &[&head], &[&path], "");
    assert_eq!(code, 0, "{said}");
    assert_eq!(listed(egret), names(&[("head", 1), ("other", 1), ("pair", 1)]));
}

#[test]
fn t087_what_cannot_travel_is_refused_with_its_place_and_nothing_is_put() {
    let egret = Egret::prepare(&Setup::default());
    let source = Source::new();
    egret.ok(&["vault", "init"], "");
    let secret = Canary::new("broken");
    let good = format!("GOOD={}\n", Canary::new("good").value());
    let bearer = ["--audience", "a.origin.test"];
    let env = |line: &str| source.write("broken.env", &format!("{good}{}\n", line.replace("SECRET", secret.value())));
    for launched in [false, true] {
        if launched {
            egret.launch();
        }
        for (line, told) in [
            ("BAD=\"x\\r\\nSECRET\"", "line 2, column 7: bad: the value holds a line end"),
            ("BAD='x\nSECRET'", "line 2, column 7: bad: the value holds a line end"),
            ("BAD=x\u{0}SECRET", "line 2, column 6: bad: the value holds a line end"),
            ("BAD=é-SECRET", "line 2, column 5: bad: the value holds characters beyond ASCII"),
            ("BAD=x SECRET", "line 2, column 6: bad: the value holds white space"),
            ("BAD=", "line 2, column 5: bad: the value is empty"),
            ("BAD='SECRET", "BAD: the quote is never closed"),
            ("GOOD=SECRET", "line 2, column 6: GOOD: the variable is in line 1 too"),
            ("PATH=SECRET", "line 2, column 6: path: "),
        ] {
            let (code, printed, said) = import(&egret, &[&secret], &[&[&*env(line)], &bearer[..]].concat(), "");
            assert_eq!((code, printed.as_str()), (2, ""), "{line}: {said}");
            assert!(said.contains(told) && said.contains("nothing was changed"), "{line}: {said}");
        }
        let text = r#"{"a": {"value": "good-value-of-a", "kind": "bearer", "audience": "a.origin.test"},
                  "b": {"value": "x\u0000SECRET", "kind": "bearer", "audience": "a.origin.test"}}"#;
        let path = source.write("broken.json", &text.replace("SECRET", secret.value()));
        let (code, _, said) = import(&egret, &[&secret], &[&path], "");
        assert_eq!(code, 2);
        assert!(said.contains("line 2, column 36: b: the value holds a line end"), "{said}");
        for (args, told) in [
            (&["no-such-file.env"][..], "cannot read no-such-file.env"),
            (&["-"], "does not say its form"),
            (&["-", "--from", "env", "--for", "OTHER=a.origin.test"], "--for names OTHER"),
            (&["-", "--from", "env", "--only", "OTHER"], "--only names OTHER"),
            (&["-", "--from", "env", "--audience", "*"], "good: "),
            (&["-", "--from", "env", "--audience", "a.origin.test", "--as", "GOOD=body:x"], "--as GOOD"),
            (&["-", "--from", "json", "--audience", "a.origin.test"], "are for .env files"),
        ] {
            let (code, _, said) = import(&egret, &[], args, &good);
            assert_eq!(code, 2, "{args:?}: {said}");
            assert!(said.contains(told), "{args:?}: {said}");
        }
        assert!(listed(&egret).is_empty() && puts(&egret).is_empty());
    }
    watch(&egret, &[&secret]);
}

#[test]
fn t099_weak_values_are_put_only_where_that_is_allowed() {
    let egret = Egret::prepare(&Setup::default());
    egret.ok(&["vault", "init"], "");
    let text = "SHORT=q7Zk9\nCOMMON=ChangeMe\nBOTH=test\nPAIR=someone@example.com:password\nDOLLAR=value-of-$HOME\nFINE=9f8e7d6c5b4a\n";
    let all = ["-", "--from", "env", "--audience", "a.origin.test", "--as", "PAIR=basic"];
    let (code, _, said) = import(&egret, &[], &all, text);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--allow-weak") && said.contains("line 1") && listed(&egret).is_empty(), "{said}");
    let all = [&all[..], &["--allow-weak"]].concat();
    let (code, _, said) = import(&egret, &[], &all, text);
    assert_eq!(code, 0, "{said}");
    let warned: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("warning: ")).collect();
    let short = "the value is shorter than 8 bytes";
    let common = "the value is one of those that people guess first";
    let wanted = [
        ("line 5, column 17: DOLLAR", "the `$` is taken as it is"),
        ("short", short),
        ("common", common),
        ("both", short),
        ("both", common),
        ("pair", common),
    ];
    assert_eq!(warned.len(), wanted.len(), "{said}");
    for (line, (name, words)) in warned.iter().zip(wanted) {
        assert!(line.starts_with(&format!("{name}: {words}")), "{name}: {line}");
    }
    assert!(!said.to_lowercase().contains("changeme") && !said.contains("q7Zk9") && !said.contains("$HOME"), "{said}");
    let put = ["vault", "put", "weak", "--kind", "bearer", "--audience", "a.origin.test"];
    let output = egret.run(&put, "secret\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("--allow-weak"));
    assert_eq!(listed(&egret).len(), 6);
    let output = egret.run(&[&put[..], &["--allow-weak"]].concat(), "secret\n");
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("warning: weak: {short}")) && said.contains(&format!("weak: {common}")), "{said}");
    assert_eq!(listed(&egret).len(), 7);
    assert!(Path::new(&egret.data()).join("vault.egret").exists());
}
