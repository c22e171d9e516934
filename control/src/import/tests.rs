//! Documents as people write them, and as they get them wrong.

use super::*;

const CANARY: &str = "sEcReT-canary-value";

fn now() -> Timestamp {
    "2026-11-26T00:00:00Z".parse().unwrap()
}

fn value_of(item: &Item) -> &str {
    item.value.text().unwrap()
}

/// What is said of a document that cannot be used.
fn refused_as(text: &str) -> String {
    let faults = match read_document(text.as_bytes()) {
        Err(fault) => vec![fault],
        Ok(items) => prepare(&items, now()).map(|_| ()).unwrap_err(),
    };
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let told = told.join("; ");
    assert!(!told.contains("sEcReT") && !told.contains("canary"), "{told}");
    told
}

#[test]
fn a_list_and_an_object_by_name_say_the_same() {
    let list = r#"[{"name": "a", "kind": "bearer", "audience": "a.example, b.example", "value": "sk-a-0123456789abcdefXYZ"},
                   {"name": "b", "kind": "header", "header": "X-Key", "audience": ["b.example"], "value": "sk-b-0123456789abcdefXYZ", "env": "B"}]"#;
    let object = r#"{"a": {"kind": "bearer", "audience": ["a.example", "b.example"], "value": "sk-a-0123456789abcdefXYZ"},
                     "b": {"kind": "header", "header": "X-Key", "audience": "b.example", "value": "sk-b-0123456789abcdefXYZ", "env": "B"}}"#;
    for text in [list, object] {
        let items = read_document(text.as_bytes()).unwrap();
        let prepared = prepare(&items, now()).unwrap();
        assert_eq!(
            items.iter().map(value_of).collect::<Vec<_>>(),
            ["sk-a-0123456789abcdefXYZ", "sk-b-0123456789abcdefXYZ"]
        );
        let shown: Vec<_> = prepared.iter().map(|(new, _)| (new.id.as_str(), new.audience.len(), &new.env)).collect();
        assert_eq!(shown, [("a", 2, &None), ("b", 1, &Some("B".to_owned()))]);
    }
}

#[test]
fn escapes_are_decoded_with_their_places() {
    let text = "[\n {\"name\": \"a\", \"value\": \"x\\u0041\\ud83d\\ude00\\/\\n\\\"é\\u0000\", \"kind\": \"bearer\", \"audience\": \"a.example\"}]";
    let items = read_document(text.as_bytes()).unwrap();
    assert_eq!(value_of(&items[0]), "xA😀/\n\"é\0");
    let fault = prepare(&items, now()).unwrap_err().remove(0);
    let column = u32::try_from(text.lines().nth(1).unwrap().find("\\n").unwrap()).unwrap() + 1;
    assert_eq!(fault.place, Some(Place { line: 2, column }), "{fault}");
    for broken in [r#""\ud83d""#, r#""\ud83dx""#, r#""\ud83d\u0041""#, r#""\ude00""#] {
        let text = format!(r#"[{{"name": "a", "value": {broken}, "kind": "bearer", "audience": "a.example"}}]"#);
        assert!(refused_as(&text).contains("half of a character"), "{broken}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_never_with_a_value() {
    let one = |fields: &str| format!("[{{\"name\": \"a\", \"value\": \"{CANARY}\", {fields}}}]");
    let good = "\"kind\": \"bearer\", \"audience\": \"a.example\"";
    for (text, words) in [
        (format!("[\n{CANARY}]"), "line 2, column 1: is no JSON"),
        (format!("\"{CANARY}\""), "is no list of credentials"),
        ("[]".to_owned(), "there is no credential in it"),
        (format!("[\"{CANARY}\"]"), "column 2: is no object with the fields of a credential"),
        (format!("{{\"a\": \"{CANARY}\"}}"), "a: is no object"),
        (format!("[{{\"value\": \"{CANARY}\", {good}}}]"), "the field name is missing"),
        (format!("[{{\"name\": \"a\", {good}}}]"), "a: the field value is missing"),
        (format!("[{{\"name\": \"a\", \"value\": [\"{CANARY}\"], {good}}}]"), "the value is no text"),
        (one(&format!("{good}, \"token\": \"{CANARY}\"")), "the kind bearer does not take token"),
        (one(&format!("{good}, \"expires\": \"{CANARY}\"")), "a form that it cannot have"),
        (one(&format!("{good}, \"value\": \"{CANARY}\"")), "stands twice"),
        (one(&format!("\"kind\": 1, \"audience\": \"{CANARY}\"")), "a form that it cannot have"),
        (one("\"audience\": \"a.example\""), "missing field `kind`"),
        (one("\"kind\": \"header\", \"audience\": \"a.example\""), "the kind header needs header"),
        (one("\"kind\": \"bearer\", \"audience\": \"*\""), "line 1, column 25: a: "),
        (format!("{{\"a\": {{\"name\": \"b\", \"value\": \"{CANARY}\", {good}}}}}"), "its name stands twice"),
        (
            format!("{{\"a\": {{\"value\": \"{CANARY}\", {good}}},\n \"a\": {{\"value\": \"{CANARY}\", {good}}}}}"),
            "a credential of this name stands in line 1 too",
        ),
        (one(&good.replace("bearer", "basic")), "the value of a basic credential is `user:password`"),
        (one(good).replace("canary", "can\\r\\nary"), "column 36: a: the value holds a line end"),
        (one(good).replace("canary", "can ary"), "column 36: a: the value holds white space"),
        (one(good).replace("canary", "canäry"), "column 36: a: the value holds characters beyond ASCII"),
    ] {
        let told = refused_as(&text);
        assert!(told.contains(words), "{words} is not in: {told}");
    }
    let broken = read_document(b"[\n\xff]").unwrap_err();
    assert_eq!(broken.to_string(), "line 2, column 1: is no UTF-8");
    let items = read_document(one(good).as_bytes()).unwrap();
    assert!(!format!("{items:?}").contains("canary"));
}

#[test]
fn every_fault_is_told_at_once() {
    let text = r#"{"a": {"value": "", "kind": "bearer", "audience": "a.example"},
                   "b": {"value": "v", "kind": "odd", "audience": "a.example"},
                   "c": {"value": "sk-0123456789abcdefXYZ", "kind": "bearer", "audience": "a.example"}}"#;
    let faults = prepare(&read_document(text.as_bytes()).unwrap(), now()).unwrap_err();
    let named: Vec<_> = faults.iter().map(|fault| fault.name.as_deref().unwrap()).collect();
    assert_eq!(named, ["a", "b"]);
}
