//! The answers of the origin, selected by the first segment of the path.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use sha2::{Digest, Sha256};

use super::body::{self, Answered};
use super::recorder::{Connection, Seen};
use super::{State, lock, registry, stored};
use crate::canary::hex;

/// The answer to one request.
pub(super) async fn answer(
    state: Arc<State>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Answered>, Infallible> {
    let seen = note(&connection, &request);
    lock(&state.seen).push(seen.clone());
    if let Some(refusal) = unauthorized(&state, &seen) {
        return Ok(refusal);
    }
    let path = request.uri().path().to_owned();
    let mut segments = path.trim_start_matches('/').split('/');
    let (first, second) = (segments.next().unwrap_or_default(), segments.next().unwrap_or_default());
    let response = match first {
        "into" => echo_into(second, &seen),
        "sized" => sized(second),
        "hash" => hash(request).await,
        "redirect" => redirect(second, &request),
        "gzip" => gzip(&seen),
        "split" => split(second, &seen),
        "gated" => gated(state, second.to_owned()),
        "stored" => stored::stored(&state, &seen),
        "paused" => stored::paused(state, second.to_owned()),
        "grpc" => stored::grpc(state, second.to_owned(), echoed(&seen)),
        "last" => stored::last(&state),
        "hang" => hang(&state, second).await,
        "early" => with_status(StatusCode::PAYLOAD_TOO_LARGE, body::whole("enough")),
        "status" => with_status(second.parse().unwrap_or(StatusCode::IM_A_TEAPOT), body::whole("")),
        "git" | "simple" | "files" | "npm" | "index" | "crates" | "plain" | "stream" | "api" | "oauth" => {
            registry::answer(&state, request).await
        }
        _ => echo(seen, request).await,
    };
    Ok(response)
}

fn note(connection: &Connection, request: &Request<Incoming>) -> Seen {
    let authority = request.uri().authority().map(ToString::to_string);
    let host = || request.headers().get("host").map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    Seen {
        connection: connection.number,
        sni: connection.sni().map(str::to_owned),
        version: format!("{:?}", request.version()),
        method: request.method().to_string(),
        target: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
        authority: authority.or_else(host).unwrap_or_default(),
        headers: request.headers().iter().map(|(n, v)| (n.to_string(), v.as_bytes().to_vec())).collect(),
    }
}

fn unauthorized(state: &State, seen: &Seen) -> Option<Response<Answered>> {
    let required = lock(&state.required);
    let (field, value) = required.get(seen.sni.as_deref()?)?;
    if seen.values(field) == [value.clone()] {
        return None;
    }
    let mut response = with_status(StatusCode::UNAUTHORIZED, body::whole("the secret is missing\n"));
    response.headers_mut().insert("www-authenticate", HeaderValue::from_static("Basic realm=\"origin\""));
    Some(response)
}

pub(super) fn with_status(status: StatusCode, body: Answered) -> Response<Answered> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// Head, body and trailers of the request as text.
async fn echo(seen: Seen, request: Request<Incoming>) -> Response<Answered> {
    let mut text = format!("{} {}\n", seen.method, seen.target);
    for (name, value) in &seen.headers {
        writeln!(text, "{name}: {}", String::from_utf8_lossy(value)).unwrap();
    }
    text.push('\n');
    let mut bytes = text.into_bytes();
    match request.into_body().collect().await {
        Ok(body) => {
            let trailers = body.trailers().cloned().unwrap_or_default();
            bytes.extend_from_slice(&body.to_bytes());
            for (name, value) in &trailers {
                bytes.extend_from_slice(format!("\ntrailer {name}: ").as_bytes());
                bytes.extend_from_slice(value.as_bytes());
            }
        }
        Err(error) => bytes.extend_from_slice(format!("[body broke: {error}]").as_bytes()),
    }
    with_status(StatusCode::OK, body::whole(bytes))
}

/// The value of Authorization, or of `X-Echo`, in a location where a secret should not come back.
fn echo_into(place: &str, seen: &Seen) -> Response<Answered> {
    let value = echoed(seen);
    let field = HeaderValue::from_str(&value).unwrap();
    let mut response = with_status(StatusCode::OK, body::whole("echoed\n"));
    match place {
        "header" => drop(response.headers_mut().insert("x-echo", field)),
        "cookie" => {
            let cookie = HeaderValue::from_str(&format!("token={value}; Path=/")).unwrap();
            response.headers_mut().insert("set-cookie", cookie);
        }
        "location" => {
            let to = HeaderValue::from_str(&format!("/elsewhere?token={value}")).unwrap();
            response.headers_mut().insert("location", to);
            *response.status_mut() = StatusCode::FOUND;
        }
        _ => {
            let trailers = HeaderMap::from_iter([("x-echo".parse().unwrap(), field)]);
            *response.body_mut() = body::pieces(vec![Bytes::from_static(b"echoed\n")], Some(trailers));
            response.headers_mut().insert("trailer", HeaderValue::from_static("x-echo"));
        }
    }
    response
}

fn echoed(seen: &Seen) -> String {
    seen.values("authorization").into_iter().chain(seen.values("x-api-key")).next().unwrap_or_default()
}

/// `n` bytes of the generated body.
fn sized(size: &str) -> Response<Answered> {
    let size = size.parse().unwrap_or(0);
    let mut response = with_status(StatusCode::OK, body::generated_body(size));
    response.headers_mut().insert("content-length", HeaderValue::from(size));
    response
}

/// Length and SHA-256 of the request's body.
async fn hash(request: Request<Incoming>) -> Response<Answered> {
    let mut hash = Sha256::new();
    let mut length = 0;
    let mut incoming = request.into_body();
    while let Some(frame) = incoming.frame().await {
        let Ok(frame) = frame else { return with_status(StatusCode::BAD_REQUEST, body::whole("broken")) };
        if let Some(data) = frame.data_ref() {
            length += data.len();
            hash.update(data);
        }
    }
    with_status(StatusCode::OK, body::whole(format!("{length} {}\n", hex(&hash.finalize()))))
}

fn redirect(status: &str, request: &Request<Incoming>) -> Response<Answered> {
    let to = request.uri().query().and_then(|query| query.strip_prefix("to=")).unwrap_or("/");
    let mut response = with_status(status.parse().unwrap_or(StatusCode::FOUND), body::whole("moved\n"));
    response.headers_mut().insert("location", HeaderValue::from_str(to).unwrap());
    response
}

/// A gzip-coded echo; a field of the head shows whether the client had asked for it.
fn gzip(seen: &Seen) -> Response<Answered> {
    let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    coder.write_all(format!("echo: {}\n", echoed(seen)).as_bytes()).unwrap();
    let mut response = with_status(StatusCode::OK, body::whole(coder.finish().unwrap()));
    response.headers_mut().insert("content-encoding", HeaderValue::from_static("gzip"));
    response
}

/// `before-<echo>-after` as two frames, split at byte `n`.
fn split(at: &str, seen: &Seen) -> Response<Answered> {
    let mut text = Bytes::from(format!("before-{}-after", echoed(seen)));
    let first = text.split_to(at.parse::<usize>().unwrap_or(0).min(text.len()));
    with_status(StatusCode::OK, body::pieces(vec![first, text], None))
}

/// Server-sent events: one at once, one when the test opens the gate, then the end.
fn gated(state: Arc<State>, gate: String) -> Response<Answered> {
    let (sender, body) = body::channel();
    tokio::spawn(async move {
        let _gone = sender.send(Frame::data(Bytes::from_static(b"data: first\n\n"))).await;
        state.wait_at(&gate).await;
        let _gone = sender.send(Frame::data(Bytes::from_static(b"data: second\n\n"))).await;
    });
    let mut response = with_status(StatusCode::OK, body);
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream"));
    response
}

/// No answer until the test opens the gate.
async fn hang(state: &State, gate: &str) -> Response<Answered> {
    state.wait_at(gate).await;
    with_status(StatusCode::OK, body::whole("at last\n"))
}
