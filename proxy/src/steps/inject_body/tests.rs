//! Credentials in bodies, against values.

use vault::{BodySlots, Kind};

use super::*;
use crate::body::upload::Upload;
use crate::fed::flow;
use crate::steps::inject::inject;
use crate::steps::route::route;
use crate::testing::{Bench, HOST, Setup, VALUE, collect, credential};

const JSON: &str = "Content-Type: application/json\r\n";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

fn setup(slots: Vec<BodySlot>) -> Setup {
    let mut new = credential("token", Kind::bearer(), HOST);
    new.spec.body = BodySlots::new(slots, 1).unwrap();
    Setup::new(&["{id: r, allow: {host: api.example.com}, use: [token]}"]).with_credential(new)
}

/// A bench whose credential has the slots `/auth/secret` of JSON and `secret` of a form.
fn bench() -> Bench {
    setup(vec![BodySlot::Json("/auth/secret".to_owned()), BodySlot::Form("secret".to_owned())]).build()
}

/// The fields and the body that are sent for a request with these fields and this body.
async fn sent(bench: &Bench, fields: &str, body: &str) -> Result<(Armed, String), Refusal> {
    let line = bench.line("POST", "/");
    let length = body.len();
    let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n{fields}\r\n{body}");
    let routed = route(bench.exchange(), bench.asked(&head).await).unwrap();
    let mut trail = bench.trail();
    let mut armed = inject(line.wanted(), routed, &line.active, &mut trail)?;
    inject_body(&bench.core, line.wanted(), &mut armed, &mut trail).await?;
    trail.abort();
    let (flow, decoding) = (flow(false), bench.core.proxy.slot_bodies.decoding(&bench.session.id));
    let payload = std::mem::replace(&mut armed.body, crate::body::incoming::Incoming::Empty.into());
    let upload = Upload::new(payload, armed.watch.take(), None, &line.active, (&flow, decoding));
    let body = collect(upload).await.unwrap().0;
    Ok((armed, String::from_utf8_lossy(&body).into_owned()))
}

async fn refused(bench: &Bench, fields: &str, body: &str) -> Refusal {
    let reads = bench.core.proxy.vault.reads();
    let refusal = sent(bench, fields, body).await.err().unwrap();
    assert_eq!(bench.core.proxy.vault.reads(), reads, "a secret was opened for {body}");
    refusal
}

#[tokio::test]
async fn a_slot_of_json_is_filled_and_the_head_describes_the_new_body() {
    let bench = bench();
    let placeholder = bench.placeholder("token");
    let body = |value: &str| format!("{{\"auth\": {{\"secret\": \"{value}\"}}, \"n\": 1}}");
    let fields = format!("{JSON}Content-Digest: sha-256=:x:\r\nContent-MD5: x\r\nX-Other: 1\r\n");
    let (armed, filled) = sent(&bench, &fields, &body(placeholder)).await.unwrap();
    assert_eq!(filled, body(VALUE));
    assert_eq!(armed.fields.get("content-length").unwrap(), &HeaderValue::from(body(VALUE).len()));
    assert!(!armed.fields.contains("content-digest") && !armed.fields.contains("content-md5"));
    assert_eq!(armed.stripped, ["content-digest", "content-md5"]);
    assert_eq!(armed.fields.get("x-other").unwrap(), "1");
    assert!(!armed.fields.contains("authorization"), "it goes into the body alone");
    let closed = bench.closing();
    assert_eq!(closed["injected_into"], serde_json::json!(["body json /auth/secret"]));
    assert_eq!(bench.core.proxy.vault.reads(), 1);
}

#[tokio::test]
async fn a_slot_of_a_form_is_filled() {
    let bench = bench();
    let body = format!("a=1&secret={}&b=2", bench.placeholder("token"));
    assert_eq!(sent(&bench, FORM, &body).await.unwrap().1, format!("a=1&secret={VALUE}&b=2"));
}

#[tokio::test]
async fn a_body_without_a_placeholder_is_sent_as_it_came() {
    let bench = bench();
    for (fields, body) in [(JSON, "{\"auth\": {\"secret\": \"mine\"}}"), (FORM, "secret=mine"), (JSON, "{ not JSON")] {
        let (armed, filled) = sent(&bench, fields, body).await.unwrap();
        assert_eq!((filled.as_str(), armed.leases.len()), (body, 0));
    }
    assert_eq!(bench.core.proxy.vault.reads(), 0);
}

#[tokio::test]
async fn a_placeholder_outside_of_its_slot_refuses_the_request() {
    let bench = bench();
    let placeholder = bench.placeholder("token").to_owned();
    let inside = format!("\"auth\": {{\"secret\": \"{placeholder}\"}}");
    for (fields, body) in [
        (JSON, format!("{{\"other\": \"{placeholder}\"}}")),
        (JSON, format!("{{{inside}, \"other\": \"{placeholder}\"}}")),
        (JSON, format!("{{\"auth\": {{\"secret\": \"before {placeholder}\"}}}}")),
        (JSON, format!("{{\"auth\": {{\"secret\": \"{placeholder}{placeholder}\"}}}}")),
        (JSON, format!("{{{inside}, {inside}}}")),
        (FORM, format!("other={placeholder}")),
        (FORM, format!("secret={placeholder}&secret={placeholder}")),
    ] {
        assert_eq!(refused(&bench, fields, &body).await.reason(), Reason::PlaceholderMisplaced, "{body}");
    }
    let invented = format!("{{\"auth\": {{\"secret\": \"egret_ph_{}\"}}}}", "b".repeat(32));
    assert_eq!(refused(&bench, JSON, &invented).await.reason(), Reason::PlaceholderUnknown);
}

#[tokio::test]
async fn a_body_that_is_longer_than_is_kept_passes_unless_it_holds_a_placeholder() {
    let mut setup = setup(vec![BodySlot::Form("secret".to_owned())]);
    setup.config.limits.max_slot_body_bytes = 100;
    let bench = setup.build();
    let long = format!("a={}", "x".repeat(200));
    assert_eq!(sent(&bench, FORM, &long).await.unwrap().1, long);
    let holding = format!("secret={}&{long}", bench.placeholder("token"));
    assert_eq!(refused(&bench, FORM, &holding).await.reason(), Reason::BodyTooLarge);
}

#[tokio::test]
async fn bodies_that_are_kept_have_a_budget() {
    let mut setup = setup(vec![BodySlot::Form("secret".to_owned())]);
    setup.config.limits.max_slot_bodies_bytes = 400;
    let bench = setup.build();
    assert_eq!(sent(&bench, FORM, &"x".repeat(100)).await.unwrap().1.len(), 100);
    assert_eq!(refused(&bench, FORM, &"x".repeat(101)).await.reason(), Reason::SessionQuota);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let bench = bench();
    let line = bench.line("POST", "/");
    let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9\r\n{FORM}\r\nsecret=");
    let (asked, client) = bench.arriving(&head).await;
    let routed = route(bench.exchange(), asked).unwrap();
    let mut armed = inject(line.wanted(), routed, &line.active, &mut bench.trail()).unwrap();
    let refusal = inject_body(&bench.core, line.wanted(), &mut armed, &mut bench.trail()).await.err().unwrap();
    assert_eq!((refusal.reason(), refusal.class()), (Reason::TimeoutHead, Some("body")));
    drop(client);
}

#[tokio::test]
async fn a_body_in_another_form_streams_and_is_searched() {
    let bench = bench();
    let line = bench.line("POST", "/");
    let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nhi");
    let routed = route(bench.exchange(), bench.asked(&head).await).unwrap();
    let mut armed = inject(line.wanted(), routed, &line.active, &mut bench.trail()).unwrap();
    inject_body(&bench.core, line.wanted(), &mut armed, &mut bench.trail()).await.unwrap();
    assert!(armed.body.is_untouched() && armed.watch.is_some());
}
