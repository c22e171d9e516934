//! One request on a connection in memory; the test is the client and the upstream.

use model::Fields;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use http::HeaderName;

use super::*;
use crate::limits::meter::MinimumRate;
use crate::steps::inject::inject;
use crate::steps::route::route;
use crate::testing::{Bench, Line, collect, fields, upstream};

/// The host is at a documentation address, which no rule covers: dialing is refused with `denied_address` and opens no socket.
const RULE: &str = "{id: r, allow: {host: api.example.com}}";

async fn armed(bench: &Bench, line: &Line<'_>, head: &str) -> (Armed, DuplexStream) {
    let (asked, client) = bench.arriving(head).await;
    let routed = route(bench.exchange(), asked).unwrap();
    (inject(line.wanted(), routed, &line.active, &mut bench.trail()).unwrap(), client)
}

/// A pooled connection, used before or not, and the upstream's end of it.
fn kept(bench: &Bench, reused: bool) -> (UpstreamChoice, DuplexStream) {
    let key = Key {
        session: bench.session.id.clone(),
        destination: bench.destination.clone(),
        versions: crate::upstream::dial::HttpVersions::Http1,
        credentials: Vec::new(),
        trust: 0,
    };
    let (mut kept, theirs) = upstream();
    kept.reused = reused;
    (UpstreamChoice { key, kind: UpstreamKind::Pooled(kept) }, theirs)
}

const GET: &str = "GET /a?b HTTP/1.1\r\nHost: api.example.com\r\nX: y\r\n\r\n";

async fn answered(answer: &str) -> Result<Reply, Refusal> {
    let bench = Bench::new(&[RULE]);
    let line = bench.line("GET", "/a?b");
    let (armed, _client) = armed(&bench, &line, GET).await;
    let (choice, mut upstream) = kept(&bench, true);
    let mut trail = bench.trail();
    // Bytes before the request are not its answer, and the connection would not be used.
    let answers = async {
        upstream.read_u8().await.unwrap();
        upstream.write_all(answer.as_bytes()).await.unwrap();
    };
    tokio::join!(forward(line.permitted(), armed, choice, &mut trail), answers).0
}

#[tokio::test]
async fn the_request_is_sent_with_the_host_of_its_destination() {
    let bench = Bench::new(&[RULE]);
    let line = bench.line("GET", "/a?b");
    let (armed, _client) = armed(&bench, &line, GET).await;
    let (choice, mut upstream) = kept(&bench, true);
    let mut trail = bench.trail();
    let want = "GET /a?b HTTP/1.1\r\nHost: api.example.com\r\nX: y\r\n\r\n";
    let answers = async {
        let mut read = vec![0; want.len()];
        upstream.read_exact(&mut read).await.unwrap();
        upstream.write_all(b"HTTP/1.1 200 OK\r\nX: z\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
        String::from_utf8_lossy(&read).into_owned()
    };
    let (reply, read) = tokio::join!(forward(line.permitted(), armed, choice, &mut trail), answers);
    let reply = reply.unwrap();
    assert_eq!(read, want);
    assert_eq!(reply.response.fields.get("x").unwrap(), "z");
    assert!(reply.upstreamed.back.is_some() && reply.upstreamed.flow.is_sent_whole());
    assert_eq!(collect(reply.response.body).await.unwrap().0, "hi");
    trail.abort();
    assert_eq!(bench.last_closed()["tls"], "1.3");
}

#[tokio::test]
async fn fields_of_the_hop_and_of_ours_do_not_reach_the_client() {
    let head = "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nEgret-Record: rec_forged\r\n\
                Proxy-Authenticate: Basic\r\nX-End: 1\r\nContent-Length: 0\r\n\r\n";
    let response = answered(head).await.unwrap().response;
    assert_eq!(response.fields, fields(&[("x-end", "1"), ("content-length", "0")]));
}

#[tokio::test]
async fn an_answer_that_no_upstream_may_give_is_its_fault() {
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        "not HTTP\r\n\r\n",
    ] {
        let refusal = answered(answer).await.err().unwrap();
        assert_eq!(refusal.reason(), Reason::UpstreamProtocol, "{answer}");
    }
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(33);
    let refusal = answered(&interim).await.err().unwrap();
    assert_eq!((refusal.reason(), refusal.class()), (Reason::UpstreamProtocol, Some("informational")));
}

#[test]
fn chunked_alone_frames_a_response() {
    for (head, served) in [
        (vec![], true),
        (vec![("content-length", "1")], true),
        (vec![("transfer-encoding", "Chunked ")], true),
        (vec![("transfer-encoding", "gzip, chunked")], false),
        (vec![("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], false),
        (vec![("transfer-encoding", "chunked"), ("content-length", "1")], false),
    ] {
        let mut map = Fields::new();
        for (name, value) in &head {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        assert_eq!(check_framing(&map).is_ok(), served, "{head:?}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_is_seen_closed_is_replaced_for_every_request() {
    for method in ["GET", "DELETE"] {
        let bench = Bench::new(&[RULE]);
        let line = bench.line(method, "/");
        let head = format!("{method} / HTTP/1.1\r\nHost: api.example.com\r\n\r\n");
        let (armed, _client) = armed(&bench, &line, &head).await;
        let (choice, upstream) = kept(&bench, true);
        drop(upstream);
        let refusal = forward(line.permitted(), armed, choice, &mut bench.trail()).await.err().unwrap();
        // The address of the replacement is judged again.
        assert_eq!(refusal.reason(), Reason::DeniedAddress, "{method}");
    }
}

#[tokio::test]
async fn a_request_that_was_sent_is_repeated_only_if_it_is_safe() {
    for (method, reason) in [("GET", Reason::DeniedAddress), ("DELETE", Reason::UpstreamProtocol)] {
        let bench = Bench::new(&[RULE]);
        let line = bench.line(method, "/");
        let head = format!("{method} / HTTP/1.1\r\nHost: api.example.com\r\n\r\n");
        let (armed, _client) = armed(&bench, &line, &head).await;
        let (choice, mut upstream) = kept(&bench, true);
        let mut trail = bench.trail();
        let closes = async {
            upstream.read_u8().await.unwrap();
            drop(upstream);
        };
        let (reply, ()) = tokio::join!(forward(line.permitted(), armed, choice, &mut trail), closes);
        assert_eq!(reply.err().unwrap().reason(), reason, "{method}");
    }
}

#[tokio::test]
async fn a_fresh_connection_is_not_replaced() {
    let bench = Bench::new(&[RULE]);
    let line = bench.line("GET", "/");
    let (armed, _client) = armed(&bench, &line, GET).await;
    let (choice, upstream) = kept(&bench, false);
    drop(upstream);
    let refusal = forward(line.permitted(), armed, choice, &mut bench.trail()).await.err().unwrap();
    assert_eq!(refusal.reason(), Reason::UpstreamProtocol);
}

#[tokio::test]
async fn an_answer_that_broke_off_is_not_asked_for_again() {
    for begun in ["HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 200 O"] {
        let bench = Bench::new(&[RULE]);
        let line = bench.line("GET", "/");
        let (armed, _client) = armed(&bench, &line, GET).await;
        let (choice, mut upstream) = kept(&bench, true);
        let mut trail = bench.trail();
        let breaks_off = async {
            upstream.read_u8().await.unwrap();
            upstream.write_all(begun.as_bytes()).await.unwrap();
            drop(upstream);
        };
        let (reply, ()) = tokio::join!(forward(line.permitted(), armed, choice, &mut trail), breaks_off);
        assert_eq!(reply.err().unwrap().reason(), Reason::UpstreamProtocol, "{begun:?}");
    }
}

const POST: &str = "POST / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 4\r\n\r\nab";

#[tokio::test]
async fn the_body_goes_on_while_the_answer_is_waited_for_and_is_counted() {
    let bench = Bench::new(&[RULE]);
    let line = bench.line("POST", "/");
    let (armed, mut client) = armed(&bench, &line, POST).await;
    let (choice, mut upstream) = kept(&bench, true);
    let mut trail = bench.trail_of(line.active.flow());
    let both = async {
        let want = "POST / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 4\r\n\r\nab";
        let mut read = vec![0; want.len()];
        upstream.read_exact(&mut read).await.unwrap();
        client.write_all(b"cd").await.unwrap();
        let mut rest = [0; 2];
        upstream.read_exact(&mut rest).await.unwrap();
        upstream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        (String::from_utf8_lossy(&read).into_owned(), want, rest)
    };
    let (reply, (read, want, rest)) = tokio::join!(forward(line.permitted(), armed, choice, &mut trail), both);
    assert_eq!((reply.unwrap().response.status, rest), (StatusCode::NO_CONTENT, *b"cd"));
    assert_eq!(read, want);
    trail.abort();
    assert_eq!(bench.last_closed()["request_bytes"], 4);
}

#[tokio::test]
async fn a_body_that_ends_early_names_who_ended_it() {
    for (rest, reason, left) in [("", Reason::Malformed, true), ("3\r\nabc\r\nnot a size", Reason::Malformed, false)] {
        let bench = Bench::new(&[RULE]);
        let line = bench.line("POST", "/");
        let head = match rest {
            "" => POST.to_owned(),
            rest => format!("POST / HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n\r\n{rest}\r\n"),
        };
        let (armed, client) = armed(&bench, &line, &head).await;
        drop(client);
        let (choice, _upstream) = kept(&bench, true);
        let refusal = forward(line.permitted(), armed, choice, &mut bench.trail()).await.err().unwrap();
        assert_eq!((refusal.reason(), refusal.client_left()), (reason, left), "{head}");
    }
}

#[tokio::test]
async fn what_terminates_the_exchange_is_the_cause() {
    let bench = Bench::new(&[RULE]);
    let line = bench.line("POST", "/");
    let (armed, _client) = armed(&bench, &line, POST).await;
    let (choice, mut upstream) = kept(&bench, true);
    let mut trail = bench.trail();
    let ends = async {
        upstream.read_u8().await.unwrap();
        line.active.end_for(Reason::PlaceholderMisplaced);
    };
    let (reply, ()) = tokio::join!(forward(line.permitted(), armed, choice, &mut trail), ends);
    assert_eq!(reply.err().unwrap().reason(), Reason::PlaceholderMisplaced);
}

#[test]
fn the_timers_are_those_of_the_rule_else_the_defaults() {
    let bench = Bench::new(&[RULE]);
    let limits = bench.core.proxy.limits.clone();
    let defaults = Pace {
        first_byte: limits.first_byte_timeout,
        idle: limits.idle_timeout,
        unread: None,
        rate: Some(limits.minimum_rate()),
    };
    assert_eq!(pace(bench.line("GET", "/").permitted(), Version::HTTP_11), defaults);
    let over_http2 = Pace { unread: Some(limits.unread_timeout), ..defaults };
    assert_eq!(pace(bench.line("GET", "/").permitted(), Version::HTTP_2), over_http2);
    let timeouts = "{id: r, allow: {host: api.example.com}, timeouts: {first_byte: 3s, idle: 4m}}";
    bench.replace_rules(&[timeouts]);
    let (first_byte, idle) = (Duration::from_secs(3), Duration::from_secs(240));
    let none: Option<MinimumRate> = None;
    let own = Pace { first_byte, idle, unread: None, rate: none };
    assert_eq!(pace(bench.line("GET", "/").permitted(), Version::HTTP_11), own);
}

#[test]
fn cookies_go_in_one_field() {
    let mut fields = Fields::new();
    for value in ["a=1", "b=2; c=3"] {
        fields.append(header::COOKIE, HeaderValue::from_static(value));
    }
    join_cookies(&mut fields);
    let cookies: Vec<&HeaderValue> = fields.get_all(header::COOKIE).collect();
    assert_eq!(cookies, ["a=1; b=2; c=3"]);
    assert!(cookies.iter().all(|value| value.is_sensitive()));
}
