//! The oracle of refusals: answer, record and silence upstream agree.

use serde_json::Value;

use crate::client::Answer;
use crate::egret::Egret;
use crate::records::Record;

/// Checks status, problem document, `Proxy-Status`, `Egret-Record` and the record; returns the record.
pub fn expect(egret: &Egret, answer: &Answer, status: u16, code: &str) -> Record {
    assert_eq!(answer.status, status, "expected {status} {code}, got {answer:#?}");
    let problem = problem(answer);
    assert_eq!(
        problem["code"],
        code,
        "in {problem}, recorded as {:?}",
        answer.header("egret-record").map(|id| egret.record(&id).0)
    );
    assert_eq!(problem["status"], status, "in {problem}");
    for field in ["type", "title", "detail", "retry"] {
        assert!(problem[field].is_string(), "{field} is missing in {problem}");
    }
    let proxy_status = answer.header("proxy-status").expect("Proxy-Status");
    assert!(proxy_status.starts_with("egret; error="), "Proxy-Status is {proxy_status}");
    let id = answer.header("egret-record").expect("Egret-Record");
    assert_eq!(problem["record"], id, "in {problem}");
    expect_record(egret, &id, code)
}

/// Checks that the closing record of a refusal has this code, and that it is the only one.
pub fn expect_record(egret: &Egret, id: &str, code: &str) -> Record {
    let record = egret.record(id);
    assert_eq!(record.text("code"), code, "in {}", record.0);
    assert_eq!(record.text("kind"), "exchange.closed", "in {}", record.0);
    let exchange = record.text("exchange");
    let closing = egret
        .records()
        .iter()
        .filter(|r| r.text("exchange") == exchange && r.text("kind") == "exchange.closed")
        .count();
    assert_eq!(closing, 1, "exchange {exchange} has {closing} closing records");
    record
}

/// As [`expect`], for refusals by policy: `decision` is deny, the outcome is refused.
pub fn expect_denied(egret: &Egret, answer: &Answer, status: u16, code: &str) -> Record {
    let record = expect(egret, answer, status, code);
    assert_eq!(record.text("decision"), "deny", "in {}", record.0);
    assert_eq!(record.text("outcome"), "refused", "in {}", record.0);
    record
}

/// The problem document of an answer.
pub fn problem(answer: &Answer) -> Value {
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("application/problem+json"), "Content-Type is {kind:?} in {answer:#?}");
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("no JSON ({error}) in {answer:#?}"))
}
