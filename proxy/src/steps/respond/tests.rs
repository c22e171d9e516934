//! The response to the client, and the end of its record.

use std::sync::Arc;

use audit::Fault;
use http_body::Body as _;
use model::Reason;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::body::download::PoolReturn;
use crate::body::incoming::Incoming;
use crate::body::known::Known;
use crate::body::masked::Masked;
use crate::fed::flow;
use crate::flow::{Flow, UploadEnd};
use crate::testing::{Bench, collect, responding, response, upstream};
use crate::upstream::dial::HttpVersions;

fn bench() -> Bench {
    Bench::new(&["{id: r, allow: {host: api.example.com}}"])
}

/// A response in which nothing is masked.
fn redacted(bench: &Bench, response: Response<Incoming>, flow: &Arc<Flow>, back: Option<PoolReturn>) -> Redacted {
    let known = Known::now(&bench.core.proxy.needles, bench.destination.host(), &Vec::new()).unwrap();
    let decoding = bench.core.proxy.slot_bodies.decoding(&bench.session.id);
    let tenant = bench.session.tenant.clone();
    let proxy = bench.core.proxy.clone();
    let masked = Masked { proxy, known, tenant, rewriter: None, can_begin_late: true, decoding };
    Redacted { response, masked, upstreamed: Upstreamed { flow: flow.clone(), back } }
}

#[tokio::test]
async fn a_refusal_names_the_record_that_it_closes() {
    let bench = bench();
    let refusal = Refusal::of(Reason::DeniedPath, "no rule allows this").under(Some(&"r".into()), &"p".into());
    let response = respond(bench.trail(), Err(refusal), Form::Problem);
    assert_eq!(response.status, StatusCode::FORBIDDEN);
    let closed = bench.closing();
    let field = |name: &str| response.fields.get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(closed["id"], field("egret-record"));
    assert_eq!(field("content-type"), "application/problem+json");
    assert_eq!(field("cache-control"), "no-store");
    assert!(field("proxy-status").starts_with("egret; error="), "{}", field("proxy-status"));
    assert!(field("proxy-status").ends_with("; details=\"denied_path\""), "{}", field("proxy-status"));
    assert_eq!(response.fields.len(), 4);
    let body: Value = serde_json::from_slice(&collect(response.body).await.unwrap().0).unwrap();
    assert_eq!((&body["code"], &body["record"]), (&"denied_path".into(), &closed["id"]));
    for (name, value) in [
        ("outcome", "refused"),
        ("code", "denied_path"),
        ("decision", "deny"),
        ("rule", "r"),
        ("host", "api.example.com"),
    ] {
        assert_eq!(closed[name], value, "{name}");
    }
    assert_eq!((&closed["status"], &closed["fault"]), (&403.into(), &Fault::Policy.as_str().into()));
}

#[test]
fn a_refusal_says_when_and_how_to_come_again() {
    let fields = Refusal::of(Reason::RateLimited, "no").with_retry_after(7).fields("rec_1");
    assert_eq!(fields.get("retry-after").unwrap(), "7");
    assert!(!fields.contains("proxy-authenticate"));
    let fields = Refusal::of(Reason::SessionRequired, "no").fields("rec_1");
    assert_eq!(fields.get("proxy-authenticate").unwrap(), "Basic realm=\"egret\", charset=\"UTF-8\"");
    assert!(!fields.contains("retry-after"));
}

#[tokio::test]
async fn a_refusal_before_the_request_half_closes_its_connection() {
    let bench = bench();
    let response = refuse(bench.trail(), &Refusal::of(Reason::Malformed, "no"));
    assert_eq!(response.status, StatusCode::BAD_REQUEST);
    assert_eq!(response.fields.get("connection").unwrap(), "close");
    assert_eq!(bench.closing()["code"], "malformed");
}

#[tokio::test]
async fn git_gets_lines_of_text() {
    let refusal = Refusal::of(Reason::DeniedPath, "no rule allows this");
    let response = answer(&refusal, "rec_1", Form::Text);
    assert_eq!(response.fields.get("content-type").unwrap(), "text/plain; charset=utf-8");
    let text = collect(response.body).await.unwrap().0;
    assert!(text.ends_with(b"record: rec_1\nretry: never\n"), "{text:?}");
}

#[tokio::test]
async fn a_record_closes_when_the_body_ends_and_the_connection_is_kept() {
    let bench = bench();
    let (kept, _theirs) = upstream();
    let back = PoolReturn { pool: bench.core.pool.clone(), key: bench.key(HttpVersions::Http1), upstream: kept };
    let whole = response(b"HTTP/1.1 201 Created\r\nAlt-Svc: h3=\":443\"\r\nContent-Length: 5\r\n\r\nhello").await;
    let response =
        respond(bench.trail(), Ok((redacted(&bench, whole, &flow(true), Some(back)), bench.held())), Form::Problem);
    assert_eq!(response.status, StatusCode::CREATED);
    assert!(!response.fields.contains("alt-svc"));
    assert_eq!(response.body.size_hint().exact(), Some(5));
    assert!(bench.closed().is_empty(), "its body has not ended");
    assert_eq!(collect(response.body).await.unwrap().0, "hello");
    let closed = bench.closing();
    assert_eq!((&closed["outcome"], &closed["status"]), (&"ok".into(), &201.into()));
    assert_eq!((&closed["response_bytes"], &closed["stripped"]), (&5.into(), &serde_json::json!(["alt-svc"])));
    assert!(bench.core.pool.take(&bench.key(HttpVersions::Http1), |_| true).is_some());
}

#[tokio::test]
async fn a_response_without_a_body_closes_its_record_at_once() {
    let bench = bench();
    let empty = response(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let response =
        respond(bench.trail(), Ok((redacted(&bench, empty, &flow(true), None), bench.held())), Form::Problem);
    assert!(&response.body.is_end_stream());
    assert_eq!((&bench.closing()["outcome"], &bench.closing()["response_bytes"]), (&"ok".into(), &0.into()));
}

#[tokio::test]
async fn a_client_that_leaves_within_the_body_ends_the_exchange_and_the_connection() {
    let bench = bench();
    let (kept, _theirs) = upstream();
    let back = PoolReturn { pool: bench.core.pool.clone(), key: bench.key(HttpVersions::Http1), upstream: kept };
    let (begun, _upstream) = responding(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe").await;
    drop(respond(bench.trail(), Ok((redacted(&bench, begun, &flow(true), Some(back)), bench.held())), Form::Problem));
    assert_eq!(
        (&bench.closing()["outcome"], &bench.closing()["fault"]),
        (&"client_abort".into(), &"downstream".into())
    );
    assert!(bench.core.pool.take(&bench.key(HttpVersions::Http1), |_| true).is_none());
}

#[tokio::test]
async fn an_upstream_that_breaks_off_is_not_shown_as_whole() {
    let bench = bench();
    let broken = response(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe").await;
    let response =
        respond(bench.trail(), Ok((redacted(&bench, broken, &flow(true), None), bench.held())), Form::Problem);
    assert_eq!(collect(response.body).await.unwrap_err(), "the upstream broke off");
    let closed = bench.closing();
    assert_eq!((&closed["outcome"], &closed["code"]), (&"upstream_reset".into(), &"upstream_protocol".into()));
    assert_eq!(closed["response_bytes"], 2);
}

#[tokio::test]
async fn a_record_waits_for_the_end_of_the_request() {
    let bench = bench();
    let flow = flow(false);
    let trail = bench.trail_of(&flow);
    let (kept, _theirs) = upstream();
    let back = PoolReturn { pool: bench.core.pool.clone(), key: bench.key(HttpVersions::Http1), upstream: kept };
    let early = response(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let response = respond(trail, Ok((redacted(&bench, early, &flow, Some(back)), bench.held())), Form::Problem);
    assert_eq!(collect(response.body).await.unwrap().0, "hi");
    assert!(bench.closed().is_empty(), "the request is still being sent");
    assert!(
        bench.core.pool.take(&bench.key(HttpVersions::Http1), |_| true).is_none(),
        "the rest of the request may be on it"
    );
    flow.upload_passed(3, tokio::time::Instant::now());
    flow.end_upload(UploadEnd::Whole, tokio::time::Instant::now());
    assert_eq!((&bench.closing()["outcome"], &bench.closing()["request_bytes"]), (&"ok".into(), &3.into()));
}

#[tokio::test]
async fn what_an_exchange_holds_is_given_back_with_its_record() {
    let bench = bench();
    let quotas = &bench.core.proxy.quotas;
    let left = bench.core.proxy.limits.max_session_requests - 1;
    let others: Vec<_> = (0..left).map_while(|_| quotas.request(&bench.session.id).ok()).collect();
    let flow = flow(false);
    let early = response(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let passed = Ok((redacted(&bench, early, &flow, None), bench.held()));
    let response = respond(bench.trail_of(&flow), passed, Form::Problem);
    assert_eq!(collect(response.body).await.unwrap().0, "hi");
    assert!(quotas.request(&bench.session.id).is_err(), "the request is still being sent");
    flow.end_upload(UploadEnd::Whole, tokio::time::Instant::now());
    assert!(quotas.request(&bench.session.id).is_ok());
    drop(others);
}

#[tokio::test]
async fn more_than_a_response_may_be_ends_it() {
    let bench = Bench::new(&["{id: r, allow: {host: api.example.com}, limits: {response_body: 4}}"]);
    let asked = bench.asked("GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    let mut routed = crate::steps::route::route(bench.exchange(), asked).unwrap();
    let permit = bench.line("GET", "/").permit;
    let admission = crate::steps::limit::limit(bench.exchange(), &permit, &mut routed).await.unwrap();
    let slot = bench.core.proxy.quotas.request(&bench.session.id).unwrap();
    let held = Held::new(slot, admission, &bench.line("GET", "/").active);
    let (long, mut upstream) = responding(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n").await;
    let response = respond(bench.trail(), Ok((redacted(&bench, long, &flow(true), None), held)), Form::Problem);
    upstream.write_all(b"1\r\n5\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(collect(response.body).await.unwrap_err(), "the response exceeds a limit");
    let closed = bench.closing();
    assert_eq!((&closed["outcome"], &closed["code"]), (&"aborted".into(), &"response_too_large".into()));
    assert_eq!((&closed["detail"], &closed["response_bytes"]), (&"response_body".into(), &4.into()));
}

#[tokio::test]
async fn a_document_of_our_own_is_json_that_nobody_stores() {
    let bench = bench();
    let response = respond_with_document(bench.trail(), Ok(b"{}".to_vec()));
    assert_eq!(response.fields.get("content-type").unwrap(), "application/json");
    assert_eq!(response.fields.get("cache-control").unwrap(), "no-store");
    assert_eq!((response.fields.len(), collect(response.body).await.unwrap().0), (2, "{}".into()));
    let closed = bench.closing();
    assert_eq!((&closed["outcome"], &closed["decision"]), (&"ok".into(), &"allow".into()));
    assert_eq!((&closed["status"], &closed["response_bytes"]), (&200.into(), &2.into()));
}

#[tokio::test]
async fn a_document_that_is_refused_is_a_refusal() {
    let bench = bench();
    let response = respond_with_document(bench.trail(), Err(Refusal::of(Reason::DeniedSelf, "no")));
    assert_eq!(response.status, StatusCode::FORBIDDEN);
    assert_eq!(bench.closing()["code"], "denied_self");
}
