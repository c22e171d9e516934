//! Limits of requests, against values; the tests are the client.

use std::time::Duration;

use model::Rate;

use super::*;
use crate::steps::route::route;
use crate::testing::{Bench, Setup};

fn bound(rule: &str, limits: Limits) -> Bound {
    Bound { scope: Scope::Rule("p".into(), rule.into()), limits }
}

/// A bench whose only rule has these limits.
fn limited(limits: &str) -> Bench {
    Bench::new(&[&format!("{{id: r, allow: {{host: api.example.com}}, limits: {{{limits}}}}}")])
}

/// Limits one request with these fields after Host and this body.
async fn limit_one(bench: &Bench, rest: &str) -> Result<(Admission, Routed), Refusal> {
    let asked = bench.asked(&format!("POST /a HTTP/1.1\r\nHost: api.example.com\r\n{rest}")).await;
    let mut routed = route(bench.exchange(), asked).unwrap();
    let admission = limit(bench.exchange(), &bench.line("POST", "/a").permit, &mut routed).await?;
    Ok((admission, routed))
}

async fn refused(bench: &Bench, rest: &str) -> Refusal {
    limit_one(bench, rest).await.err().unwrap()
}

#[test]
fn the_strictest_of_each_kind_holds_and_names_its_rule() {
    let bounds = [
        bound("wide", Limits { request_body: Some(100), response_body: Some(5), ..Limits::default() }),
        bound("narrow", Limits { request_body: Some(10), bytes_out: Some(7), ..Limits::default() }),
        bound("none", Limits { requests: Rate::parse("1/s"), ..Limits::default() }),
    ];
    let narrow = Scope::Rule("p".into(), "narrow".into());
    assert_eq!(least(&bounds, |limits| limits.request_body), Some(ByteLimit { scope: narrow.clone(), bytes: 10 }));
    assert_eq!(budgets(&bounds), [ByteLimit { scope: narrow, bytes: 7 }]);
    assert_eq!(least(&bounds, |limits| limits.concurrent), None);
}

#[tokio::test]
async fn an_announced_length_is_refused_before_a_byte_of_the_body_came() {
    let bench = limited("request_body: 10");
    limit_one(&bench, "Content-Length: 10\r\n\r\n").await.unwrap();
    let refusal = refused(&bench, "Content-Length: 11\r\n\r\n").await;
    assert_eq!((refusal.reason(), refusal.class()), (Reason::BodyTooLarge, Some("request_body")));
    assert_eq!((refusal.policy().unwrap().as_str(), refusal.rule().unwrap().as_str()), ("p", "r"));
    // Its length is unknown, so it is counted while it streams.
    let (_, routed) = limit_one(&bench, "Transfer-Encoding: chunked\r\n\r\n").await.unwrap();
    assert_eq!(routed.body.announced(), None);
}

#[tokio::test]
async fn where_no_body_is_allowed_one_of_unknown_length_has_to_be_empty() {
    let bench = limited("request_body: 0");
    limit_one(&bench, "\r\n").await.unwrap();
    let (_, routed) = limit_one(&bench, "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n").await.unwrap();
    assert!(routed.body.is_empty());
    let refusal = refused(&bench, "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n").await;
    assert_eq!(refusal.reason(), Reason::BodyTooLarge);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_has_to_be_empty_is_not_waited_for_longer_than_a_head() {
    let bench = limited("request_body: 0");
    let head = "POST / HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (asked, _silent) = bench.arriving(head).await;
    let mut routed = route(bench.exchange(), asked).unwrap();
    let permit = bench.line("POST", "/").permit;
    let refusal = limit(bench.exchange(), &permit, &mut routed).await.unwrap_err();
    assert_eq!((refusal.reason(), refusal.class()), (Reason::TimeoutHead, Some("body")));
    // A body that ends early is the client's fault.
    let (asked, gone) = bench.arriving(head).await;
    drop(gone);
    let mut routed = route(bench.exchange(), asked).unwrap();
    let refusal = limit(bench.exchange(), &permit, &mut routed).await.unwrap_err();
    assert!(refusal.client_left() && refusal.reason() == Reason::Malformed);
}

#[tokio::test]
async fn a_place_among_the_concurrent_is_given_back_with_the_admission() {
    let bench = limited("concurrent: 1");
    let (admission, _) = limit_one(&bench, "\r\n").await.unwrap();
    let refusal = refused(&bench, "\r\n").await;
    assert_eq!((refusal.reason(), refusal.class()), (Reason::RateLimited, Some("concurrent")));
    assert_eq!(refusal.retry_after(), Some(1));
    drop(admission);
    limit_one(&bench, "\r\n").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_and_the_wait_is_told() {
    let bench = limited("requests: 2/m");
    for _ in 0..2 {
        limit_one(&bench, "\r\n").await.unwrap();
    }
    let refusal = refused(&bench, "\r\n").await;
    assert_eq!((refusal.reason(), refusal.class()), (Reason::RateLimited, Some("requests")));
    assert_eq!(refusal.retry_after(), Some(30));
    tokio::time::advance(Duration::from_secs(30)).await;
    limit_one(&bench, "\r\n").await.unwrap();
}

#[tokio::test]
async fn a_request_that_one_limit_refuses_costs_nothing_of_another() {
    let mut setup = Setup::new(&["{id: r, allow: {host: api.example.com}, limits: {requests: 1/h}}"]);
    setup.limits = Limits { requests: Rate::parse("2/h"), ..Limits::default() };
    let bench = setup.build();
    limit_one(&bench, "\r\n").await.unwrap();
    assert_eq!(refused(&bench, "\r\n").await.rule().unwrap().as_str(), "r");
    let of_session = bench.core.proxy.counters.of(&bench.session.id, &Scope::Session);
    assert_eq!(of_session.take(Rate::parse("2/h").unwrap(), Instant::now()), Ok(()), "the second one was given back");
}

#[tokio::test]
async fn a_budget_counts_heads_and_bodies() {
    let bench = limited("bytes_out: 100");
    // POST, /a, and Host with its value: 4 + 2 + 4 + 15 bytes.
    let (_, routed) = limit_one(&bench, "\r\n").await.unwrap();
    assert_eq!(head_bytes(&routed), 25);
    let rule = Scope::Rule("p".into(), "r".into());
    assert_eq!(bench.session.budgets.spent(&rule), 25);
    // Content-Length and its value are 16 bytes more.
    let refusal = refused(&bench, "Content-Length: 40\r\n\r\n").await;
    assert_eq!((refusal.reason(), refusal.class()), (Reason::BudgetExhausted, Some("bytes_out")));
    assert_eq!(bench.session.budgets.spent(&rule), 25, "nothing of it was sent");
    limit_one(&bench, "Content-Length: 34\r\n\r\n").await.unwrap();
}

#[tokio::test]
async fn without_limits_nothing_is_counted() {
    let bench = Bench::new(&["{id: r, allow: {host: api.example.com}}"]);
    let (admission, routed) = limit_one(&bench, "Content-Length: 9\r\n\r\n").await.unwrap();
    assert!(admission.response_body().is_none() && routed.body.is_untouched());
}

#[tokio::test]
async fn a_response_of_known_length_is_judged_before_its_head() {
    let (admission, _) = limit_one(&limited("response_body: 10"), "\r\n").await.unwrap();
    assert_eq!(admission.response_body().unwrap().bytes, 10);
    assert!(check_response(&admission, Some(10)).is_ok());
    assert!(check_response(&admission, None).is_ok());
    let refusal = check_response(&admission, Some(11)).unwrap_err();
    assert_eq!((refusal.reason(), refusal.rule().unwrap().as_str()), (Reason::ResponseTooLarge, "r"));
    assert!(check_response(&Admission::default(), Some(u64::MAX)).is_ok());
}

#[tokio::test]
async fn a_tunnel_is_one_request_and_each_of_its_directions_one_body() {
    let bench = limited("concurrent: 1, request_body: 5, response_body: 7");
    let permit = bench.line("GET", "/").permit;
    let tunnel = limit_tunnel(&bench.core, &bench.session, &permit).unwrap();
    assert_eq!(tunnel.admission.response_body().unwrap().bytes, 7);
    let mut allowance = tunnel.allowance.unwrap();
    assert_eq!(poll_fn(|cx| allowance.poll_take(5, cx)).await, Ok(()));
    let over = poll_fn(|cx| allowance.poll_take(1, cx)).await.unwrap_err();
    assert_eq!(over.reason, Reason::BodyTooLarge);
    let refusal = limit_tunnel(&bench.core, &bench.session, &permit).err().unwrap();
    assert_eq!((refusal.reason(), refusal.class()), (Reason::RateLimited, Some("concurrent")));
}
