//! Quotas: each slot is taken once and returned on drop.

use model::Scheme;

use super::*;

fn quotas(change: impl Fn(&mut Limits)) -> Arc<Quotas> {
    let mut limits = Limits::default();
    change(&mut limits);
    Quotas::new(Arc::new(limits))
}

fn host(name: &str) -> Host {
    Host::parse(name).unwrap()
}

fn to(name: &str) -> Destination {
    Destination::new(Scheme::Https, host(name), 443)
}

/// The code of a refusal and its class, or the result.
fn code<T>(result: &Result<T, Refusal>) -> (&'static str, &'static str) {
    match result {
        Ok(_) => ("ok", ""),
        Err(refusal) => (refusal.reason().code(), refusal.class().unwrap_or_default()),
    }
}

#[test]
fn t138_a_session_has_its_part_of_the_requests_and_all_have_no_more_than_there_are() {
    let quotas = quotas(|limits| (limits.max_session_requests, limits.max_requests) = (2, 3));
    let (a, b) = (SessionId::new("a"), SessionId::new("b"));
    let (first, second) = (quotas.request(&a), quotas.request(&a));
    assert_eq!(code(&quotas.request(&a)), ("session_quota", "requests"));
    let other = quotas.request(&b);
    assert_eq!((code(&second), code(&other)), (("ok", ""), ("ok", "")));
    assert_eq!(code(&quotas.request(&b)), ("overloaded", "requests"));
    drop(first);
    let again = quotas.request(&b);
    assert_eq!(code(&again), ("ok", ""));
    drop((second, other, again));
    quotas.sweep(|_| false);
    let usage = quotas.lock();
    assert_eq!((usage.requests, usage.sessions.len()), (0, 0));
}

#[test]
fn t136_memory_that_requests_may_buffer_is_bounded_before_they_buffer_it() {
    let quotas = quotas(|limits| {
        (limits.max_session_buffer_bytes, limits.max_buffer_bytes) = (2 * EXCHANGE_BYTES, 3 * EXCHANGE_BYTES);
    });
    let (a, b) = (SessionId::new("a"), SessionId::new("b"));
    let taken = (quotas.request(&a), quotas.request(&a), quotas.request(&b));
    assert_eq!(code(&quotas.request(&a)), ("session_quota", "buffer_bytes"));
    assert_eq!(code(&quotas.request(&b)), ("overloaded", "buffer_bytes"));
    drop(taken);
    assert_eq!(code(&quotas.request(&b)), ("ok", ""));
}

#[test]
fn upstream_connections_are_bounded_for_a_host_a_session_and_in_all() {
    let quotas = quotas(|limits| {
        (limits.max_host_upstreams, limits.max_session_upstreams, limits.max_upstreams) = (1, 2, 3);
    });
    let (a, b) = (SessionId::new("a"), SessionId::new("b"));
    let one = quotas.upstream(&a, &to("one.example"));
    assert_eq!(code(&quotas.upstream(&a, &to("one.example"))), ("session_quota", "host_upstreams"));
    let two = quotas.upstream(&a, &to("two.example"));
    assert_eq!(code(&quotas.upstream(&a, &to("three.example"))), ("session_quota", "upstreams"));
    let other = quotas.upstream(&b, &to("one.example"));
    assert_eq!(code(&quotas.upstream(&b, &to("two.example"))), ("overloaded", "upstreams"));
    drop(one);
    let again = quotas.upstream(&a, &to("one.example"));
    assert_eq!(code(&again), ("ok", ""));
    drop((two, other, again));
    let usage = quotas.lock();
    assert!(usage.sessions.values().all(|own| own.by_host.is_empty() && own.upstreams == 0));
    assert_eq!(usage.upstreams, 0);
}

#[test]
fn t040_different_names_are_counted_for_a_minute() {
    let quotas = quotas(|limits| limits.max_names_per_minute = 2);
    let (a, now) = (SessionId::new("a"), Instant::now());
    let ask = |name: &str, at: Duration| code(&quotas.name(&a, &host(name), now + at));
    let second = Duration::from_secs(1);
    assert_eq!(ask("data-1.example", second), ("ok", ""));
    assert_eq!(ask("data-2.example", second), ("ok", ""));
    assert_eq!(ask("data-3.example", 60 * second), ("rate_limited", "names"));
    assert_eq!(ask("data-1.example", 60 * second), ("ok", ""), "a name that was asked for before costs nothing");
    assert_eq!(ask("192.0.2.1", second), ("ok", ""), "an address is no name");
    assert_eq!(code(&quotas.name(&SessionId::new("b"), &host("data-3.example"), now)), ("ok", ""));
    assert_eq!(ask("data-3.example", 61 * second), ("ok", ""));
}

#[test]
fn t117_leaves_are_signed_for_a_session_a_bounded_number_of_times_a_minute() {
    let quotas = quotas(|limits| limits.max_mints_per_minute = 2);
    let (a, now) = (SessionId::new("a"), Instant::now());
    let host = |number: u64| Host::parse(&format!("h{number}.example")).unwrap();
    let minted = [(0, 0), (1, 1), (2, 1), (59, 2), (60, 3)]
        .map(|(second, name)| code(&quotas.mint(&a, &host(name), now + Duration::from_secs(second))).0);
    assert_eq!(minted, ["ok", "ok", "ok", "mint_limited", "ok"], "the same host counts once");
    assert_eq!(code(&quotas.mint(&SessionId::new("b"), &host(9), now)), ("ok", ""));
}
