//! Documents in typical forms, and with typical mistakes.

use super::*;

const CANARY: &str = "sEcReT-canary-value";

fn now() -> Timestamp {
    "2026-11-26T00:00:00Z".parse().unwrap()
}

fn value_of(item: &Item) -> &str {
    item.value.text().unwrap()
}

/// The message for a document that cannot be used.
fn refused_as(text: &str) -> String {
    let (items, faults) = read_document(text.as_bytes());
    let faults = prepare(&items, faults, now()).map(|_| ()).unwrap_err();
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
        let (items, faults) = read_document(text.as_bytes());
        let prepared = prepare(&items, faults, now()).unwrap();
        assert_eq!(
            items.iter().map(value_of).collect::<Vec<_>>(),
            ["sk-a-0123456789abcdefXYZ", "sk-b-0123456789abcdefXYZ"]
        );
        let shown: Vec<_> = prepared
            .iter()
            .map(|(new, _)| (new.id.as_str(), new.spec.audience.patterns(), new.spec.env.as_deref()))
            .collect();
        let hosts = |hosts: &[&str]| hosts.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown, [("a", hosts(&["a.example", "b.example"]), None), ("b", hosts(&["b.example"]), Some("B"))]);
    }
}

#[test]
fn escapes_are_decoded_with_their_places() {
    let text = "[\n {\"name\": \"a\", \"value\": \"x\\u0041\\ud83d\\ude00\\/\\n\\\"é\\u0000\", \"kind\": \"bearer\", \"audience\": \"a.example\"}]";
    let (items, faults) = read_document(text.as_bytes());
    assert_eq!(value_of(&items[0]), "xA😀/\n\"é\0");
    let fault = prepare(&items, faults, now()).unwrap_err().remove(0);
    let column = u32::try_from(text.lines().nth(1).unwrap().find("\\n").unwrap()).unwrap() + 1;
    assert_eq!(fault.place, Some(Place { line: 2, column }), "{fault}");
    for broken in [r#""\ud83d""#, r#""\ud83dx""#, r#""\ud83d\u0041""#, r#""\ude00""#] {
        let text = format!(r#"[{{"name": "a", "value": {broken}, "kind": "bearer", "audience": "a.example"}}]"#);
        assert!(refused_as(&text).contains("half of a surrogate pair"), "{broken}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_never_with_a_value() {
    let one = |fields: &str| format!("[{{\"name\": \"a\", \"value\": \"{CANARY}\", {fields}}}]");
    let good = "\"kind\": \"bearer\", \"audience\": \"a.example\"";
    for (text, words) in [
        (format!("[\n{CANARY}]"), "line 2, column 1: not JSON"),
        (format!("\"{CANARY}\""), "neither a list of credentials"),
        ("[]".to_owned(), "the document has no credentials"),
        (format!("[\"{CANARY}\"]"), "column 2: not an object with the fields of a credential"),
        (format!("{{\"a\": \"{CANARY}\"}}"), "a: not an object"),
        (format!("[{{\"value\": \"{CANARY}\", {good}}}]"), "the field name is missing"),
        (format!("[{{\"name\": \"a\", {good}}}]"), "a: the field value is missing"),
        (format!("[{{\"name\": \"a\", \"value\": [\"{CANARY}\"], {good}}}]"), "the field value is not text"),
        (one(&format!("{good}, \"token\": \"{CANARY}\"")), "the kind bearer does not take token"),
        (
            one(&format!("{good}, \"expires\": \"{CANARY}\"")),
            "the field expires is text of another form; it must be an instant",
        ),
        (one(&format!("{good}, \"value\": \"{CANARY}\"")), "duplicate field value"),
        (one(&format!("\"kind\": 1, \"audience\": \"{CANARY}\"")), "the field kind is a number; it must be text"),
        (one("\"audience\": \"a.example\""), "the field kind is missing"),
        (one("\"kind\": \"header\", \"audience\": \"a.example\""), "the kind header needs header"),
        (one("\"kind\": \"bearer\", \"audience\": \"*\""), "line 1, column 25: a: "),
        (format!("{{\"a\": {{\"name\": \"b\", \"value\": \"{CANARY}\", {good}}}}}"), "the name is given twice"),
        (
            format!("{{\"a\": {{\"value\": \"{CANARY}\", {good}}},\n \"a\": {{\"value\": \"{CANARY}\", {good}}}}}"),
            "duplicate credential name; the other one is in line 1",
        ),
        (one(&good.replace("bearer", "basic")), "the value of a basic credential is `user:password`"),
        (one(good).replace("canary", "can\\r\\nary"), "column 36: a: the value holds a line end"),
        (one(good).replace("canary", "can ary"), "column 36: a: the value holds white space"),
        (one(good).replace("canary", "canäry"), "column 36: a: the value holds characters beyond ASCII"),
    ] {
        let told = refused_as(&text);
        assert!(told.contains(words), "{words} is not in: {told}");
    }
    let broken = read_document(b"[\n\xff]").1.remove(0);
    assert_eq!(broken.to_string(), "line 2, column 1: not UTF-8");
    let (items, _) = read_document(one(good).as_bytes());
    assert!(!format!("{items:?}").contains("canary"));
}

#[test]
fn every_fault_is_told_at_once() {
    let text = r#"{"a": {"value": "", "kind": "bearer", "audience": "a.example"},
                   "b": {"value": "v", "kind": "odd", "audience": "a.example"},
                   "c": {"value": "sk-0123456789abcdefXYZ", "kind": "bearer", "audience": "a.example"},
                   "d": {"value": 5, "kind": "bearer", "audience": 7, "env": ["A"], "body_swaps": "x", "expires": "soon"},
                   "e": {"kind": "bearer"},
                   "f": {"value": "changeme", "kind": "bearer", "audience": "*"},
                   "g": {"value": "changeme", "kind": "bearer", "audience": "a.example", "allow_weak": 1}}"#;
    let (items, faults) = read_document(text.as_bytes());
    let faults = prepare(&items, faults, now()).unwrap_err();
    let of = |name: &str| {
        let own = faults.iter().filter(|fault| fault.name.as_deref() == Some(name));
        own.map(|fault| fault.what.as_str()).collect::<Vec<_>>()
    };
    assert_eq!((of("a").len(), of("b").len(), of("c").len()), (1, 1, 0));
    assert_eq!(
        of("d"),
        [
            "the field audience is a number; it must be text (hosts separated by commas) or a list of texts",
            "the field body_swaps is text of another form; it must be a number from 1 to 16",
            "the field env is a list; it must be text",
            "the field expires is text of another form; it must be an instant such as \"2030-01-31T18:00:00Z\"",
            "the field value is not text",
        ]
    );
    assert_eq!(of("e"), ["the field audience is missing", "the field value is missing"]);
    assert_eq!(of("f").len(), 2, "{faults:?}");
    assert!(of("f")[1].contains("people guess first"), "{faults:?}");
    assert_eq!(of("g"), ["the field allow_weak is a number; it must be true or false"]);
    let lines: Vec<_> = faults.iter().filter_map(|fault| fault.place).map(|place| place.line).collect();
    assert!(lines.is_sorted(), "{lines:?}");
}
