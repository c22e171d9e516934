//! Whole requests in memory; the test is the client and the upstream.

use model::{Host, Reason, Scheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use vault::Kind;

use super::*;
use crate::testing::{Bench, HOST, Setup, VALUE, collect, upstream};
use crate::upstream::dial::HttpVersions;
use crate::upstream::pool::Key;

const RULE: &str = "{id: r, allow: {host: api.example.com, methods: [GET]}, use: [token], addresses: [192.0.2.0/24]}";
const GET: &str = "GET /a?key=1 HTTP/1.1\r\nHost: api.example.com\r\n\r\n";

fn setup() -> Setup {
    Setup::new(&[RULE]).credential("token", Kind::bearer())
}

/// The upstream's end of an idle connection that a request with the credential may use.
fn kept(bench: &Bench) -> DuplexStream {
    let key = Key {
        session: bench.session.id.clone(),
        destination: bench.destination.clone(),
        versions: HttpVersions::Http1,
        credentials: vec![("token".into(), 1)],
        trust: bench.core.proxy.trust.load().serial(),
    };
    let (kept, theirs) = upstream();
    bench.core.pool.put(key, kept);
    theirs
}

/// The answer to this request.
async fn answer(bench: &Bench, head: &str) -> Response<Body> {
    let asked = bench.asked(head).await;
    Box::pin(exchange(bench.exchange(), asked, bench.trail())).await
}

/// A refusal, the code of its record, and the check that no connection was opened for it.
async fn refused(bench: &Bench, head: &str) -> (u16, Reason) {
    let mut theirs = kept(bench);
    let response = answer(bench, head).await;
    let closed = bench.closing();
    assert_eq!(bench.records().len(), 1, "it had no effect outside, so it has one record");
    assert_eq!((bench.core.proxy.vault.reads(), closed["outcome"].as_str()), (0, Some("refused")));
    bench.core.pool.sweep(u64::MAX, |_| true);
    assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0, "nothing went out");
    (response.status.as_u16(), Reason::from_code(closed["code"].as_str().unwrap()).unwrap())
}

#[tokio::test]
async fn a_request_gets_its_credential_and_its_answer_loses_it() {
    let bench = setup().build();
    let mut theirs = kept(&bench);
    let want = format!(
        "GET /a?key=1 HTTP/1.1\r\nHost: {HOST}\r\nauthorization: Bearer {VALUE}\r\naccept-encoding: identity\r\n\r\n"
    );
    let answers = async {
        let mut read = vec![0; want.len()];
        theirs.read_exact(&mut read).await.unwrap();
        let opened = bench.records().pop().unwrap();
        assert_eq!(opened["kind"], "exchange.opened", "it is durable before a byte leaves");
        let body = format!("you sent {VALUE}");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        theirs.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        String::from_utf8_lossy(&read).into_owned()
    };
    let (response, read) = tokio::join!(answer(&bench, GET), answers);
    assert_eq!((response.status.as_u16(), read), (200, want.clone()));
    let body = collect(response.body).await.unwrap().0;
    assert_eq!(body, format!("you sent {}", "*".repeat(VALUE.len())));
    let closed = bench.closing();
    assert_eq!((&closed["outcome"], &closed["redactions"]), (&"ok".into(), &1.into()));
    let opened = &bench.records()[0];
    for (field, value) in [("rule", "r"), ("policy", "p"), ("address", "192.0.2.7"), ("path", "/a?key"), ("host", HOST)]
    {
        assert_eq!(opened[field], value, "{field}");
    }
}

#[tokio::test]
async fn what_is_refused_has_no_effect_outside() {
    let post = "POST / HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
    assert_eq!(refused(&setup().build(), post).await, (403, Reason::DeniedMethod));
    let other = "GET / HTTP/1.1\r\nHost: other.example.com\r\n\r\n";
    assert_eq!(refused(&setup().build(), other).await, (421, Reason::AuthorityMismatch));
    let mut closed = setup();
    closed.config.deny_all = true;
    let (_, reason) = refused(&closed.build(), GET).await;
    assert_eq!(reason, Reason::DeniedAll);
    let ended = setup().build();
    ended.core.proxy.sessions.end(&ended.session.id, clock::now()).unwrap();
    assert_eq!(refused(&ended, GET).await, (407, Reason::SessionInvalid));
    let mut full = setup();
    full.config.limits.max_session_requests = 0;
    let (_, reason) = refused(&full.build(), GET).await;
    assert_eq!(reason, Reason::SessionQuota);
}

#[tokio::test]
async fn without_a_journal_nothing_goes_out() {
    let bench = setup().build();
    let mut theirs = kept(&bench);
    bench.core.proxy.journal.close();
    let response = answer(&bench, GET).await;
    assert_eq!(response.status.as_u16(), 503);
    assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0, "its connection is closed unused");
}

#[tokio::test]
async fn what_the_policies_no_longer_allow_is_refused_while_its_answer_is_waited_for() {
    let bench = setup().build();
    let mut theirs = kept(&bench);
    let looking = crate::active::reevaluate(bench.core.proxy.clone(), bench.core.active.clone());
    let changes = async {
        theirs.read_u8().await.unwrap();
        bench.replace_rules(&["{id: r, deny: {host: api.example.com}}"]);
        std::future::pending::<()>().await;
    };
    let response = tokio::select! {
        response = answer(&bench, GET) => response,
        _ = async { tokio::join!(looking, changes) } => panic!("it looks as long as it is polled"),
    };
    assert_eq!((response.status.as_u16(), &bench.closing()["code"]), (403, &"denied_host".into()));
}

#[tokio::test]
async fn the_reserved_name_is_answered_here() {
    let mut bench = setup().build();
    bench.destination = model::Destination::new(Scheme::Http, Host::parse("egret.internal").unwrap(), 80);
    let response = answer(&bench, "GET / HTTP/1.1\r\nHost: egret.internal\r\n\r\n").await;
    assert_eq!(response.fields.get("content-type").unwrap(), "application/json");
    assert_eq!((bench.closing()["host"].as_str(), bench.records().len()), (Some("egret.internal"), 1));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_streams_ends_when_the_policies_no_longer_allow_it() {
    let bench = setup().build();
    let mut theirs = kept(&bench);
    let streams = async {
        theirs.read_u8().await.unwrap();
        theirs.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst").await.unwrap();
    };
    let (response, ()) = tokio::join!(answer(&bench, GET), streams);
    assert_eq!(response.status.as_u16(), 200);
    let looking = crate::active::reevaluate(bench.core.proxy.clone(), bench.core.active.clone());
    let changes = async {
        tokio::task::yield_now().await;
        bench.replace_rules(&["{id: r, deny: {host: api.example.com}}"]);
        std::future::pending::<()>().await;
    };
    let collected = tokio::select! {
        collected = collect(response.body) => collected,
        () = looking => panic!("it never ends by itself"),
        () = changes => panic!("it never ends by itself"),
    };
    assert_eq!(collected.unwrap_err(), "the exchange was terminated (denied_host)");
    let closed = bench.closing();
    assert_eq!((&closed["outcome"], &closed["code"]), (&"aborted".into(), &"denied_host".into()));
}

#[tokio::test]
async fn a_body_that_breaks_off_with_the_session_is_the_sessions_end() {
    let post = "{id: r, allow: {host: api.example.com}, use: [token], addresses: [192.0.2.0/24]}";
    let bench = Setup::new(&[post]).credential("token", Kind::bearer()).build();
    let _theirs = kept(&bench);
    let head = "POST /a HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 9\r\n\r\nhalf";
    let (asked, client) = bench.arriving(head).await;
    bench.core.proxy.sessions.renew_token(&bench.session.id, clock::now()).unwrap();
    let replaced = Box::pin(exchange(bench.exchange(), asked, bench.trail())).await;
    assert_eq!(replaced.status.as_u16(), 407, "none begins with a replaced token");
    drop(client);

    let bench = Setup::new(&[post]).credential("token", Kind::bearer()).build();
    let mut theirs = kept(&bench);
    let (asked, client) = bench.arriving(head).await;
    let ends = async {
        theirs.read_u8().await.unwrap();
        bench.core.proxy.sessions.renew_token(&bench.session.id, clock::now()).unwrap();
        drop(client);
    };
    let (_, ()) = tokio::join!(Box::pin(exchange(bench.exchange(), asked, bench.trail())), ends);
    let closed = bench.closing();
    for (field, value) in
        [("outcome", "aborted"), ("code", "session_ended"), ("detail", "replaced_token"), ("fault", "policy")]
    {
        assert_eq!(closed[field], value, "{field}");
    }
}
