//! The JSON form against a second reader, and against its documentation.

use std::process::Command;

use serde_json::{Value, json};

use super::*;
use crate::format;
use crate::testing::{exchange, open, refusal};
use crate::verify::verify;

const DOCUMENTATION: &str = include_str!("../../../docs/audit.md");

/// A record with every field.
fn full() -> Record {
    let at = |text: &str| Some(text.parse().unwrap());
    Record {
        kind: Kind::ExchangeClosed,
        time: at("2026-11-20T11:06:12.123456Z"),
        id: Some(RecordId::from_bytes([0; 16])),
        exchange: Some(ExchangeId::from_bytes([0; 16])),
        tenant: Some("default".into()),
        user: Some("alice".into()),
        agent: Some("coder".into()),
        session: Some("ses_1".into()),
        tool_call: Some("toolu_1".into()),
        tool: Some("bash".into()),
        attribution: Some(Attribution::Marker),
        trace: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        source: Some("192.0.2.7".parse().unwrap()),
        decision: Some(Decision::Allow),
        code: Some(Reason::UpstreamTls),
        detail: Some("expired".into()),
        rule: Some("read".into()),
        policy: Some("coding".into()),
        snapshot: Some("sha256:00".into()),
        method: Some("GET".into()),
        scheme: Some(Scheme::Https),
        host: Some(Host::parse("api.example.com").unwrap()),
        port: Some(443),
        path: Some("/a?b".into()),
        sni: Some("other.example.com".into()),
        stripped: vec!["authorization".into(), "proxy-authorization".into()],
        replaced: vec!["header authorization".into()],
        observed: vec!["watching: deny denied_path by closed".into()],
        address: Some("203.0.113.9".parse().unwrap()),
        protocol: Some("h2".into()),
        tls: Some("1.3".into()),
        credentials: vec![CredentialUse { name: "github".into(), version: 3 }],
        injected_into: vec!["header authorization".into()],
        status: Some(502),
        request_bytes: Some(0),
        response_bytes: Some(u64::MAX),
        first_byte: Some(Duration::from_micros(12_005)),
        duration: Some(Duration::from_micros(1_234_567)),
        redactions: Some(2),
        redacted_in: vec!["header location".into(), "body".into()],
        generation: Some(7),
        outcome: Some(Outcome::UpstreamReset),
        fault: Some(Fault::Upstream),
        count: Some(7),
        first: at("2026-11-20T11:06:11Z"),
        last: at("2026-11-20T11:06:12.5Z"),
    }
}

fn contents(record: &Record) -> String {
    let mut out = Vec::new();
    record.write_contents(record.id.as_ref().unwrap_or(&RecordId::from_bytes([0; 16])), &mut out);
    String::from_utf8(out).unwrap()
}

fn parsed(record: &Record) -> Value {
    serde_json::from_str(&contents(record)).unwrap()
}

#[test]
fn every_field_reads_back() {
    let mut want = json!({
        "id": "rec_00000000000000000000000000", "exchange": "ex_00000000000000000000000000", "tenant": "default", "user": "alice", "agent": "coder", "session": "ses_1",
        "tool_call": "toolu_1", "tool": "bash", "attribution": "marker",
        "trace": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "decision": "allow", "code": "upstream_tls",
        "detail": "expired", "rule": "read", "policy": "coding", "snapshot": "sha256:00", "method": "GET", "scheme": "https",
        "host": "api.example.com", "port": 443, "path": "/a?b", "sni": "other.example.com",
        "observed": ["watching: deny denied_path by closed"], "stripped": ["authorization", "proxy-authorization"], "address": "203.0.113.9", "protocol": "h2", "tls": "1.3",
        "credentials": [{"name": "github", "version": 3}], "injected_into": ["header authorization"], "status": 502,
        "request_bytes": 0, "response_bytes": u64::MAX, "first_byte_ms": 12.005, "duration_ms": 1234.567, "redactions": 2, "generation": 7,
        "outcome": "upstream_reset", "fault": "upstream", "count": 7, "first": "2026-11-20T11:06:11.000000Z",
        "last": "2026-11-20T11:06:12.500000Z",
    });
    // More fields are more than the macro takes.
    want["source"] = json!("192.0.2.7");
    want["replaced"] = json!(["header authorization"]);
    want["redacted_in"] = json!(["header location", "body"]);
    assert_eq!(parsed(&full()), want);
}

#[test]
fn fields_that_do_not_apply_are_left_out() {
    assert_eq!(contents(&Record::new(Kind::Gap)), "{\"id\":\"rec_00000000000000000000000000\"}");
}

#[test]
fn addresses_are_written_as_hosts_and_addresses_are() {
    for host in ["192.0.2.255", "[2001:db8::1]", "xn--bcher-kva.example"] {
        let record = Record { host: Some(Host::parse(host).unwrap()), ..Record::new(Kind::Gap) };
        assert_eq!(parsed(&record)["host"], host);
    }
    let record = Record { address: Some("2001:db8::1".parse().unwrap()), ..Record::new(Kind::Gap) };
    assert_eq!(parsed(&record)["address"], "2001:db8::1");
}

#[test]
fn t177_hostile_text_stays_one_line_and_short() {
    let hostile = format!("a\r\n\u{1b}[2J\"}}\u{202e}{}", "x".repeat(1 << 20));
    let text: Arc<str> = hostile.as_str().into();
    let record = Record {
        user: Some(text.clone()),
        sni: Some(text.clone()),
        method: Some(hostile.clone().into()),
        path: Some(hostile.clone()),
        stripped: vec![hostile.clone().into(); 100],
        injected_into: vec!["header a".into(); 1000],
        credentials: vec![CredentialUse { name: CredentialId::new(text), version: 1 }; 100],
        ..full()
    };
    let line = contents(&record);
    assert!(line.len() < 16 * 1024);
    assert!(line.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
    let value = parsed(&record);
    assert_eq!(value["truncated"], true);
    for (_, field) in value.as_object().unwrap() {
        assert!(field.to_string().len() <= format::MAX_FIELD_BYTES + 4);
    }
    assert!(hostile.starts_with(value["path"].as_str().unwrap()));
    assert!(value["injected_into"].as_array().unwrap().len() > 10);
}

#[test]
fn the_order_of_the_fields_is_the_documented_one() {
    let text = contents(&Record { path: Some("x".repeat(2000)), ..full() });
    let mut at = 0;
    for name in CONTENTS {
        let found = text.find(&format!("\"{name}\":")).unwrap_or_else(|| panic!("{name} is not written"));
        assert!(found > at, "{name} is out of order");
        at = found;
    }
}

#[test]
fn words_read_back() {
    for kind in Kind::ALL {
        assert_eq!(Kind::from_word(kind.as_str()), Some(*kind));
    }
    for outcome in Outcome::ALL {
        assert_eq!(Outcome::from_word(outcome.as_str()), Some(*outcome));
    }
    assert_eq!(Decision::from_word("Allow"), None);
}

/// The first column of the table under a heading.
fn documented(heading: &str) -> Vec<&'static str> {
    let section = DOCUMENTATION.split(heading).nth(1).unwrap_or_else(|| panic!("no section {heading:?}"));
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.skip(2).map(|row| row.split('`').nth(1).unwrap()).collect()
}

#[test]
fn the_documentation_names_what_is_written_and_nothing_else() {
    assert_eq!(documented("## Contents"), CONTENTS);
    assert_eq!(
        documented("## Envelope"),
        ["v", "seq", "time", "kind", "digest", "previous", "hash", "salt", "contents"]
    );
    assert_eq!(documented("## Kinds"), Kind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>());
    for (field, words) in [
        ("decision", Decision::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>()),
        ("outcome", Outcome::ALL.iter().map(|word| word.as_str()).collect()),
        ("fault", Fault::ALL.iter().map(|word| word.as_str()).collect()),
        ("attribution", Attribution::ALL.iter().map(|word| word.as_str()).collect()),
    ] {
        let row = DOCUMENTATION.lines().find(|line| line.starts_with(&format!("| `{field}`"))).unwrap();
        let named: Vec<&str> = row.split('`').skip(3).step_by(2).collect();
        assert_eq!(named, words, "{field}");
    }
}

#[test]
fn the_reader_in_the_documentation_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(&dir.path().join("journal"));
    exchange(&journal);
    refusal(&journal);
    journal.append(full());
    journal.close();
    let program = DOCUMENTATION.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let path = dir.path().join("verify.py");
    std::fs::write(&path, program).unwrap();
    let run = || Command::new("python3").arg(&path).arg(dir.path().join("journal")).output();
    let Ok(whole) = run() else { return }; // A machine without Python has no second reader.
    assert_eq!(
        String::from_utf8_lossy(&whole.stdout),
        "4 records, whole\n",
        "{}",
        String::from_utf8_lossy(&whole.stderr)
    );
    assert!(whole.status.success());

    let file = dir.path().join("journal/00000001.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("/v1/items", "/v2/items", 1)).unwrap();
    assert_eq!(verify(&dir.path().join("journal")).unwrap_err().seq, 1);
    let broken = run().unwrap();
    assert_eq!(broken.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&broken.stdout).starts_with("record 1 "));
}

#[test]
fn the_example_in_the_documentation_verifies() {
    let example = DOCUMENTATION.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("00000001.jsonl"), example).unwrap();
    assert_eq!(verify(dir.path()).unwrap().records, example.lines().count() as u64);
}
