//! The hottest paths, for counting instructions: `cargo xtask cost` runs each under callgrind, with few and with many rounds, and takes
//! the difference, so that the setup does not count. As plain tests they check their results.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::Request;
use model::TenantId;
use redaction::Needles;
use redaction::stream::{Masker, Sets};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use vault::Kind;

use crate::http1::head;
use crate::http2;
use crate::http2::frames::{Frames, Peer};
use crate::steps::inject::inject;
use crate::steps::route::route;
use crate::testing::{ADDRESS, Bench, HOST, Setup, VALUE, upstream};
use crate::tunnel::{Tunnel, serve_http1, serve_http2};
use crate::upstream::dial::HttpVersions;
use crate::upstream::pool::{Key, Sender, Upstream};

const HEAD: &str = "GET /v1/items/42?page=3&per_page=100 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: agent/1.0\r\nAccept: */*\r\n\
                    Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\nX-Request-Id: 0123456789abcdef\r\n\r\n";

/// How often each path runs; the difference is what is counted. The first runs pay for what is built once.
const FEW: usize = 20;
const MANY: usize = 220;

/// Two tests of each path; those behind `async` run on a runtime.
macro_rules! counted {
    ($($path:ident)*; async $($waiting:ident)*) => {
        mod few {
            $(#[test] fn $path() { super::$path(super::FEW); })*
            $(#[tokio::test] async fn $waiting() { super::$waiting(super::FEW).await; })*
        }
        mod many {
            $(#[test] fn $path() { super::$path(super::MANY); })*
            $(#[tokio::test] async fn $waiting() { super::$waiting(super::MANY).await; })*
        }
    };
}

counted!(
    request_head decision masking_16_kib leaf_certificate;
    async injection records_of_a_request request_over_http1 request_over_http2
);

/// A thousand rules, one credential.
fn bench() -> Bench {
    let mut rules = vec!["{id: r, allow: {host: api.example.com}, use: [token], addresses: [192.0.2.0/24]}".to_owned()];
    rules.extend(
        (1..1000)
            .map(|n| format!("{{id: rule-{n}, allow: {{host: host-{n}.example.com, methods: [GET], path: /v1/**}}}}")),
    );
    Setup::new(&rules.iter().map(String::as_str).collect::<Vec<_>>()).credential("token", Kind::bearer()).build()
}

fn key(bench: &Bench, versions: HttpVersions) -> Key {
    Key { credentials: vec![("token".into(), 1)], ..bench.key(versions) }
}

/// A kibibyte of JSON, as an API answers. Its parts differ, so that none of them counts many times if its hash is by chance that of
/// a part of a secret.
fn payload() -> Bytes {
    let text: String = (0..200).map(|n| format!("item {n:04} ")).collect();
    format!("{{\"data\":\"{}\"}}", text.get(..1013).unwrap()).into()
}

/// Reads up to the end of a head.
async fn read_head(stream: &mut DuplexStream, buffer: &mut BytesMut) {
    buffer.clear();
    while !buffer.ends_with(b"\r\n\r\n") {
        assert!(stream.read_buf(buffer).await.unwrap() > 0);
    }
}

async fn request_over_http1(rounds: usize) {
    let (bench, payload) = (bench(), payload());
    let (kept, mut server) = upstream();
    bench.core.pool.put(key(&bench, HttpVersions::Http1), kept);
    let (mut client, ours) = tokio::io::duplex(64 << 10);
    let (core, identified, destination, _kept) = bench.into_parts();
    let tunnel = Tunnel::new(core, identified, destination, false);
    let response = format!(
        "HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        payload.len()
    );
    let response = [response.as_bytes(), &payload].concat();
    let serving = tokio::spawn(serve_http1(tunnel, ours));
    let origin = tokio::spawn(async move {
        let mut buffer = BytesMut::with_capacity(4 << 10);
        for _ in 0..rounds {
            read_head(&mut server, &mut buffer).await;
            server.write_all(&response).await.unwrap();
        }
        server
    });
    let mut answer = BytesMut::with_capacity(4 << 10);
    for _ in 0..rounds {
        client.write_all(HEAD.as_bytes()).await.unwrap();
        answer.clear();
        while !answer.ends_with(b"\"}") {
            assert!(client.read_buf(&mut answer).await.unwrap() > 0);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
    }
    drop((client, origin.await.unwrap()));
    serving.await.unwrap();
}

async fn request_over_http2(rounds: usize) {
    let (bench, payload) = (bench(), payload());
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let origin = tokio::spawn(async move {
        let mut connection = h2::server::handshake(theirs).await.unwrap();
        while let Some(Ok((_request, mut respond))) = connection.accept().await {
            let response = http::Response::builder().header("content-type", "application/json").body(()).unwrap();
            respond.send_response(response, false).unwrap().send_data(payload.clone(), true).unwrap();
        }
    });
    let frames = Frames::new(ours, Peer::Server, u32::MAX);
    let (sender, connection) =
        http2::client::Client::start(frames, crate::config::Limits::default().response_head()).await.unwrap();
    let connection = tokio::spawn(connection);
    let address = SocketAddr::from((ADDRESS, 443));
    let kept =
        Upstream { sender: Sender::Http2(sender), address, tls: Some("1.3"), chain: None, reused: false, slot: None };
    bench.core.pool.put(key(&bench, HttpVersions::Http2OrHttp1), kept);
    let (client, ours) = tokio::io::duplex(64 << 10);
    let (core, identified, destination, _kept) = bench.into_parts();
    let tunnel = Tunnel::new(core, identified, destination, false);
    let serving = tokio::spawn(serve_http2(tunnel, ours));
    let (mut requests, driver) = h2::client::handshake(client).await.unwrap();
    let driver = tokio::spawn(driver);
    for _ in 0..rounds {
        let request = Request::get(format!("https://{HOST}/v1/items/42?page=3")).header("accept", "*/*");
        let (response, _) = requests.send_request(request.body(()).unwrap(), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        let (mut body, mut length) = (response.into_body(), 0);
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            length += data.len();
        }
        assert_eq!(length, 1024);
    }
    drop(requests);
    drop((driver.await, serving.await));
    connection.abort();
    origin.abort();
}

fn request_head(rounds: usize) {
    let (bench, bytes) = (bench(), Bytes::from_static(HEAD.as_bytes()));
    for _ in 0..rounds {
        let read = head::read(&bytes, &bench.core.proxy.limits, &bench.client).unwrap();
        assert_eq!(read.fields.len(), 6);
    }
}

fn decision(rounds: usize) {
    let bench = bench();
    let destination = bench.destination.clone();
    let path = model::RequestPath::parse("/v1/items/42?page=3").unwrap();
    let now = clock::now();
    for _ in 0..rounds {
        let question = policies::Question {
            destination: &destination,
            method: "GET",
            path: &path,
            websocket: false,
            tool: None,
            now,
        };
        assert!(bench.rules().authorize(&question).is_ok());
    }
}

async fn injection(rounds: usize) {
    let bench = bench();
    let line = bench.line("GET", "/");
    for _ in 0..rounds {
        let (routed, mut trail) = (route(bench.exchange(), bench.asked(HEAD).await).unwrap(), bench.trail());
        let armed = inject(line.wanted(), routed, &line.active, &mut trail).unwrap();
        assert_eq!(armed.leases.len(), 1);
        trail.abort();
    }
}

async fn records_of_a_request(rounds: usize) {
    let bench = bench();
    let line = bench.line("GET", "/");
    for _ in 0..rounds {
        let mut trail = bench.trail();
        trail.asked(&http::Method::GET, None, "http/1.1");
        trail.permit(&line.permit);
        trail.permitted().await.unwrap();
        trail.response(1024, 0, Vec::new());
        trail.abort();
    }
}

fn masking_16_kib(rounds: usize) {
    let set = Arc::new(Needles::of_request(vec![VALUE.as_bytes().to_vec().into()]).unwrap().unwrap());
    let text =
        "{\"id\":10423,\"name\":\"some-name\",\"url\":\"https://api.example.com/repos/acme/site\"},\n".repeat(205);
    let chunk = Bytes::from(text).slice(..16 << 10);
    let mut masker = Masker::new(Sets::new(Some(set), None, None), TenantId::default());
    for _ in 0..rounds {
        let passed = masker.push(chunk.clone()).unwrap();
        assert!(passed.len() > 16 << 9);
    }
}

fn leaf_certificate(rounds: usize) {
    let bench = bench();
    for n in 0..rounds {
        let host = model::Host::parse(&format!("host-{n}.example.com")).unwrap();
        assert!(bench.core.proxy.leaves.server_config(&host, clock::now()).is_ok());
    }
}
