//! Termination of active exchanges, in paused time.

use std::future::Future as _;
use std::pin::pin;
use std::task::Poll;

use certs::Ca;
use model::Reason;
use sessions::{Per, ToolCall};
use vault::Kind;

use super::*;
use crate::credentials::access::IssuedCredential;
use crate::flow::Pace;
use crate::testing::{Bench, HOST, Setup, credential};

const RULE: &str = "{id: r, allow: {host: api.example.com}, use: [token]}";

fn bench() -> Bench {
    Setup::new(&[RULE]).credential("token", Kind::bearer()).build()
}

/// Re-evaluates active exchanges for two periods.
async fn look(bench: &Bench) {
    let looking = reevaluate(bench.core.proxy.clone(), bench.core.active.clone());
    assert!(tokio::time::timeout(2 * PERIOD, looking).await.is_err(), "it never ends by itself");
}

/// Re-evaluates while something changes: the first evaluation has seen the old state.
async fn look_while(bench: &Bench, change: impl FnOnce()) {
    let mut looking = pin!(reevaluate(bench.core.proxy.clone(), bench.core.active.clone()));
    assert!(tokio::time::timeout(PERIOD / 2, looking.as_mut()).await.is_err());
    change();
    assert!(tokio::time::timeout(2 * PERIOD, looking).await.is_err());
}

fn reason(active: &ActiveExchange) -> Option<Reason> {
    active.termination().map(Termination::reason)
}

fn class(active: &ActiveExchange) -> Option<&'static str> {
    active.termination().and_then(|cut| cut.ending().2)
}

/// Issues the credential for a request.
fn lend(bench: &Bench, active: &ActiveExchange) -> IssuedCredential {
    let line = bench.line("GET", "/");
    let (_, lent) = line.wanted().issue(&"token".into()).unwrap();
    active.note_credentials(&bench.core.proxy, vec![lent.clone()]);
    lent
}

#[tokio::test(start_paused = true)]
async fn a_newer_snapshot_ends_what_it_would_refuse_and_nothing_else() {
    let bench = bench();
    let (get, post) = (bench.line("GET", "/a"), bench.line("POST", "/a"));
    let still = "{id: r, allow: {host: api.example.com, methods: [GET]}, use: [token]}";
    look_while(&bench, || bench.replace_rules(&[still])).await;
    assert_eq!((reason(&get.active), reason(&post.active)), (None, Some(Reason::DeniedMethod)));
    look_while(&bench, || bench.replace_rules(&["{id: r, deny: {host: api.example.com}}"])).await;
    assert_eq!(reason(&get.active), Some(Reason::DeniedHost));
}

#[tokio::test(start_paused = true)]
async fn what_began_under_a_rule_ends_with_it_though_another_allows_the_same() {
    let bench = bench();
    let line = bench.line("GET", "/a");
    look_while(&bench, || bench.replace_rules(&["{id: other, allow: {host: api.example.com}, use: [token]}"])).await;
    assert_eq!(class(&line.active), Some(RULE_ENDED));
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_no_longer_uses_the_credential_ends_what_carries_it() {
    let bench = bench();
    let (with, without) = (bench.line("GET", "/a"), bench.line("GET", "/a"));
    lend(&bench, &with.active);
    look_while(&bench, || bench.replace_rules(&["{id: r, allow: {host: api.example.com}}"])).await;
    assert_eq!((reason(&with.active), reason(&without.active)), (Some(Reason::CredentialUnavailable), None));
}

#[tokio::test(start_paused = true)]
async fn a_rotated_credential_finishes_and_a_removed_one_does_not() {
    let bench = bench();
    let line = bench.line("GET", "/a");
    lend(&bench, &line.active);
    let new = credential("token", Kind::bearer(), HOST);
    look_while(&bench, || bench.put(new, "another-value-9876543210")).await;
    assert_eq!(reason(&line.active), None);
    let remove = || bench.core.proxy.vault.remove(&bench.session.tenant, &"token".into()).unwrap();
    look_while(&bench, remove).await;
    assert_eq!(reason(&line.active), Some(Reason::CredentialUnavailable));
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_was_removed_before_it_is_noted_ends_the_exchange_at_once() {
    let bench = bench();
    let (line, later) = (bench.line("GET", "/a"), bench.line("GET", "/a"));
    let lent = lend(&bench, &line.active);
    bench.core.proxy.vault.remove(&bench.session.tenant, &"token".into()).unwrap();
    later.active.note_credentials(&bench.core.proxy, vec![lent]);
    assert_eq!(reason(&later.active), Some(Reason::CredentialUnavailable));
}

#[tokio::test(start_paused = true)]
async fn what_was_lent_comes_back_with_its_grant_and_its_tool_call() {
    let bench = bench();
    let line = bench.line("GET", "/a");
    lend(&bench, &line.active);
    look(&bench).await;
    assert_eq!(reason(&line.active), None);
    bench.core.proxy.sessions.revoke_grant(&bench.session.id, &"token".into()).unwrap();
    look(&bench).await;
    assert_eq!(reason(&line.active), Some(Reason::CredentialUnavailable));
    let mut setup = Setup::new(&[RULE]).credential("token", Kind::bearer());
    setup.bounds.per = Per::ToolCall;
    let bench = setup.build();
    assert!(bench.session.begin_tool_call(ToolCall { id: "c".into(), tool: "fetch".into() }));
    let line = bench.line("GET", "/a");
    lend(&bench, &line.active);
    look(&bench).await;
    assert_eq!(reason(&line.active), None);
    bench.session.end_tool_call("c").unwrap();
    look(&bench).await;
    assert_eq!(reason(&line.active), Some(Reason::CredentialUnavailable));
}

#[tokio::test(start_paused = true)]
async fn an_upstream_whose_ca_is_trusted_no_more_ends_the_exchange() {
    let bench = bench();
    let (with, without) = (bench.line("GET", "/a"), bench.line("GET", "/a"));
    let name = rustls_pki_types::ServerName::try_from(HOST).unwrap();
    let chain = Arc::new(bench.core.proxy.trust.load().verified(Vec::new(), name));
    with.active.relies_on(&bench.core.proxy, Some(chain.clone()));
    without.active.relies_on(&bench.core.proxy, None);
    assert_eq!(reason(&with.active), None);
    let (ca, _) = Ca::create(Timestamp::now()).unwrap();
    let another = || bench.core.proxy.trust.store(Arc::new(Trust::load(&[], &ca).unwrap()));
    look_while(&bench, another).await;
    assert_eq!((reason(&with.active), class(&with.active)), (Some(Reason::UpstreamTls), Some(CA_REMOVED)));
    assert_eq!(reason(&without.active), None);
    // An exchange verified before the change, and noted after it.
    let late = bench.line("GET", "/a");
    late.active.relies_on(&bench.core.proxy, Some(chain));
    assert_eq!(class(&late.active), Some(CA_REMOVED));
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_fires_ends_the_exchange_and_its_request() {
    let bench = bench();
    let line = bench.line("POST", "/a");
    let flow = line.active.flow().clone();
    let (minute, now) = (Duration::from_secs(60), Instant::now());
    flow.prepare(Pace { first_byte: minute, idle: minute, unread: None, rate: None }, false, now);
    flow.begin(Instant::now());
    tokio::time::advance(Duration::from_secs(59)).await;
    look(&bench).await;
    assert_eq!(reason(&line.active), None);
    tokio::time::advance(Duration::from_secs(1)).await;
    look(&bench).await;
    assert_eq!((reason(&line.active), class(&line.active)), (Some(Reason::UpstreamTimeout), Some("idle")));
    assert_eq!(flow.upload_end(), Some(crate::flow::UploadEnd::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_told_by_its_connection() {
    let bench = bench();
    let line = bench.line("GET", "/a");
    line.active.end_for(Reason::PlaceholderMisplaced);
    let mut closing = pin!(bench.downlink.notified());
    assert!(tokio::time::timeout(PERIOD, closing.as_mut()).await.is_err(), "its next poll is waited for first");
    look(&bench).await;
    tokio::time::timeout(PERIOD, closing).await.unwrap();
}

#[tokio::test]
async fn the_first_reason_counts_and_wakes_who_waits() {
    let bench = bench();
    let line = bench.line("GET", "/a");
    let mut terminated = pin!(line.active.terminated());
    let waiting = std::future::poll_fn(|cx| Poll::Ready(terminated.as_mut().poll(cx).is_pending())).await;
    assert!(waiting);
    line.active.end_for(Reason::PlaceholderMisplaced);
    line.active.end_for(Reason::HeadTooLarge);
    assert_eq!(terminated.await.reason(), Reason::PlaceholderMisplaced);
}

#[test]
fn an_exchange_that_ends_is_taken_out_at_once() {
    let bench = bench();
    let (one, two) = (bench.line("GET", "/a"), bench.line("GET", "/b"));
    assert_eq!(bench.core.active.active().len(), 2);
    drop(one);
    assert_eq!(bench.core.active.active().len(), 1);
    drop(two);
    assert!(bench.core.active.all().is_empty());
}
