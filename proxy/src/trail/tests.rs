//! How records of exchanges end.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::fed::flow;
use crate::testing::{Bench, HOST};

fn bench() -> Bench {
    Bench::new(&["{id: r, allow: {host: api.example.com}}"])
}

/// Outcome, fault, code and detail of a record; empty if there is none.
fn ending(record: &Value) -> [String; 4] {
    ["outcome", "fault", "code", "detail"].map(|field| record[field].as_str().unwrap_or_default().to_owned())
}

/// How a record ends by `close`.
fn ended(bench: &Bench, close: impl FnOnce(Trail)) -> [String; 4] {
    let before = bench.closed().len();
    close(bench.trail());
    let closed = bench.closed();
    assert_eq!(closed.len(), before + 1);
    ending(&closed[before])
}

#[test]
fn each_end_has_its_outcome_fault_and_code() {
    let timer = |timer: Timer| Termination::from(timer);
    let denied = || {
        Termination::Denied(policies::Denied {
            reason: Reason::CredentialUnavailable,
            rule: None,
            policy: None,
            author_message: None,
            approval_timeout: None,
            class: Some("rule_ended"),
        })
    };
    let limit = over_the_limit();
    let ends: Vec<(Close, [&str; 4])> = vec![
        (Box::new(|trail| trail.complete(UploadEnd::Whole)), ["ok", "", "", ""]),
        (Box::new(|trail| trail.complete(UploadEnd::Client)), ["client_abort", "downstream", "", ""]),
        (Box::new(|trail| trail.complete(UploadEnd::Malformed)), ["client_abort", "downstream", "malformed", ""]),
        (Box::new(|trail| trail.complete(UploadEnd::Stopped)), ["ok", "", "", "request_unfinished"]),
        (Box::new(Trail::upstream_reset), ["upstream_reset", "upstream", "upstream_protocol", ""]),
        (Box::new(Trail::response_too_large), ["aborted", "upstream", "response_too_large", "response_body"]),
        (
            Box::new(move |trail| trail.terminated(&timer(Timer::Idle))),
            ["timeout", "upstream", "upstream_timeout", "idle"],
        ),
        (
            Box::new(move |trail| trail.terminated(&timer(Timer::Unread))),
            ["timeout", "downstream", "timeout_head", "unread"],
        ),
        (
            Box::new(move |trail| trail.terminated(&denied())),
            ["aborted", "policy", "credential_unavailable", "rule_ended"],
        ),
        (
            Box::new(move |trail| trail.terminated(&limit.into())),
            ["aborted", "policy", "body_too_large", "request_body"],
        ),
        (Box::new(Trail::abort), ["client_abort", "downstream", "", ""]),
        (Box::new(drop), ["client_abort", "downstream", "", ""]),
    ];
    let bench = bench();
    for (close, want) in ends {
        assert_eq!(ended(&bench, close), want.map(str::to_owned));
    }
}

/// The ways to close a record.
type Close = Box<dyn FnOnce(Trail)>;

fn over_the_limit() -> crate::limits::allowance::Limited {
    let limit = crate::limits::allowance::ByteLimit { scope: sessions::Scope::Session, bytes: 1 };
    crate::limits::allowance::body_too_large(&limit)
}

#[test]
fn a_refusal_ends_as_its_reason_says() {
    let refusals = [
        (Reason::DeniedPath, ["refused", "policy", "denied_path", ""]),
        (Reason::UpstreamTimeout, ["timeout", "upstream", "upstream_timeout", ""]),
        (Reason::TimeoutHead, ["timeout", "downstream", "timeout_head", ""]),
        (Reason::UpstreamProtocol, ["upstream_reset", "upstream", "upstream_protocol", ""]),
        (Reason::Internal, ["proxy_fault", "egret", "internal", ""]),
    ];
    let bench = bench();
    for (reason, want) in refusals {
        let refuse = |trail: Trail| drop(trail.refuse(&Refusal::of(reason, "no")));
        assert_eq!(ended(&bench, refuse), want.map(str::to_owned));
    }
    let left = |trail: Trail| drop(trail.refuse(&crate::refusal::broken_off()));
    assert_eq!(ended(&bench, left), ["client_abort", "downstream", "malformed", "broken_off"].map(str::to_owned));
}

#[test]
fn a_refusal_gives_its_facts_to_the_record() {
    let bench = bench();
    let used = CredentialUse { name: "token".into(), version: 3 };
    let refusal = Refusal::of(Reason::DeniedAddress, "no").under(Some(&"r".into()), &"p".into());
    let refusal = refusal.with_address([192, 0, 2, 7].into()).with_sni("other.example.com").about(used);
    let id = bench.trail().refuse(&refusal.with_note("only for the record"));
    let closed = bench.closing();
    for (field, value) in [
        ("id", json!(id)),
        ("status", json!(403)),
        ("rule", json!("r")),
        ("policy", json!("p")),
        ("address", json!("192.0.2.7")),
        ("sni", json!("other.example.com")),
        ("detail", json!("only for the record")),
        ("injected_into", json!(["refused"])),
        ("decision", json!("deny")),
        ("session", json!(bench.session.id.as_str())),
        ("attribution", json!("proxy_credentials")),
        ("host", json!(HOST)),
    ] {
        assert_eq!(closed[field], value, "{field}");
    }
    assert_eq!((&closed["credentials"][0]["name"], &closed["credentials"][0]["version"]), (&json!("token"), &json!(3)));
}

#[tokio::test]
async fn an_opening_record_comes_first_and_the_closing_one_refers_to_it() {
    let bench = bench();
    let mut trail = bench.trail();
    trail.asked(&http::Method::GET, Some(&RequestPath::parse("/a?key=value").unwrap()), "http/1.1");
    trail.permitted().await.unwrap();
    let opened = bench.records().pop().unwrap();
    assert_eq!((&opened["kind"], &opened["path"]), (&json!("exchange.opened"), &json!("/a?key")));
    assert_eq!((&opened["method"], &opened["protocol"]), (&json!("GET"), &json!("http/1.1")));
    trail.close(Outcome::Ok, None, None);
    assert_eq!(bench.closing()["exchange"], opened["exchange"]);
}

#[tokio::test]
async fn without_a_journal_nothing_is_permitted() {
    let bench = bench();
    bench.core.proxy.journal.close();
    let refusal = bench.trail().permitted().await.unwrap_err();
    assert_eq!(refusal.reason(), Reason::AuditUnavailable);
}

#[test]
fn the_upload_ends_with_the_record_and_its_count_is_final() {
    let bench = bench();
    let flow = flow(false);
    let trail = bench.trail_of(&flow);
    flow.upload_passed(5, Instant::now());
    trail.abort();
    assert_eq!(flow.upload_end(), Some(UploadEnd::Stopped));
    assert!(flow.poll_stopped(&std::task::Context::from_waker(std::task::Waker::noop())));
    assert_eq!(bench.closing()["request_bytes"], 5);
}

#[test]
fn a_request_that_the_upstream_cut_short_is_the_sessions_end_where_that_stopped_it() {
    let bench = bench();
    bench.core.proxy.sessions.end(&bench.session.id, clock::now()).unwrap();
    let want = ["aborted", "policy", "session_ended", ""].map(str::to_owned);
    assert_eq!(ended(&bench, |trail| trail.complete(UploadEnd::Stopped)), want);
    assert_eq!(ended(&bench, Trail::abort), want);
}

#[test]
fn what_cut_an_exchange_comes_before_a_drain_and_a_drain_before_the_client() {
    let bench = bench();
    bench.core.proxy.stopped.store(true, Ordering::Relaxed);
    assert_eq!(ended(&bench, Trail::abort), ["aborted", "egret", "draining", ""].map(str::to_owned));
    bench.downlink.set_unread();
    let unread = ["timeout", "downstream", "timeout_head", "unread"].map(str::to_owned);
    assert_eq!(ended(&bench, Trail::abort), unread);
    let line = bench.line("GET", "/");
    line.active.end_for(Reason::PlaceholderMisplaced);
    let before = bench.closed().len();
    bench.trail_of(line.active.flow()).abort();
    assert_eq!(ending(&bench.closed()[before]), ["aborted", "policy", "placeholder_misplaced", ""].map(str::to_owned));
}

#[test]
fn other_tenants_learn_of_their_secrets_in_records_of_their_own() {
    let bench = bench();
    let owner = NeedleOwner { tenant: "acme".into(), credential: "token".into(), version: 2 };
    let trail = bench.trail();
    trail.foreign_redactions(bench.destination.host(), &[(owner, 4)]);
    trail.abort();
    assert!(bench.closing().get("redactions").is_none(), "{}", bench.closing());
    let masked = bench.records().into_iter().find(|record| record["kind"] == "credential.masked").unwrap();
    assert_eq!((&masked["tenant"], &masked["host"]), (&json!("acme"), &json!(HOST)));
    assert_eq!((&masked["redactions"], masked.get("session")), (&json!(4), None));
}
