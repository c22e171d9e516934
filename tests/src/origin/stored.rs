//! Objects in a store, with ranges as servers serve them, and streams that pause.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Frame;

use super::body::{self, Answered};
use super::handlers::with_status;
use super::recorder::Seen;
use super::{Arc, State, lock};

/// The object that a test put under this path, or the requested range of it.
pub(super) fn stored(state: &State, seen: &Seen) -> Response<Answered> {
    let path = seen.target.split('?').next().unwrap_or_default();
    let Some((kind, bytes)) = lock(&state.registry).get(path) else {
        return with_status(StatusCode::NOT_FOUND, body::whole("no such object\n"));
    };
    let total = bytes.len() as u64;
    let is_current = seen.value("if-range").is_none_or(|tag| tag == "\"v1\"");
    let range = seen.value("range").filter(|_| is_current).map(|text| range_of(&text, total));
    let (status, range) = match range {
        None => (StatusCode::OK, None),
        Some(None) => (StatusCode::RANGE_NOT_SATISFIABLE, Some(format!("bytes */{total}"))),
        Some(Some((first, last))) => (StatusCode::PARTIAL_CONTENT, Some(format!("bytes {first}-{last}/{total}"))),
    };
    let content = match (status, &range) {
        (StatusCode::PARTIAL_CONTENT, Some(text)) => {
            let (first, last) =
                text.strip_prefix("bytes ").unwrap().split_once('/').unwrap().0.split_once('-').unwrap();
            bytes.slice(first.parse().unwrap()..last.parse::<usize>().unwrap() + 1)
        }
        (StatusCode::OK, _) => bytes,
        _ => Bytes::new(),
    };
    let length = content.len();
    let mut response = with_status(status, body::whole(if seen.method == "HEAD" { Bytes::new() } else { content }));
    let fields = response.headers_mut();
    fields.insert("content-length", HeaderValue::from(length));
    fields.insert("etag", HeaderValue::from_static("\"v1\""));
    fields.insert("accept-ranges", HeaderValue::from_static("bytes"));
    fields.insert("last-modified", HeaderValue::from_static("Sat, 28 Nov 2026 00:00:00 GMT"));
    range.into_iter().for_each(|range| drop(fields.insert("content-range", HeaderValue::from_str(&range).unwrap())));
    if kind != "application/octet-stream" {
        fields.insert("content-encoding", HeaderValue::from_static(kind));
        fields.insert("content-md5", HeaderValue::from_static("of-the-coded-bytes"));
    }
    response
}

fn range_of(text: &str, total: u64) -> Option<(u64, u64)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) => (first, last.min(total.checked_sub(1)?)),
        (Ok(first), Err(_)) => (first, total.checked_sub(1)?),
        (Err(_), Ok(0)) => return None,
        (Err(_), Ok(length)) => (total.saturating_sub(length), total.checked_sub(1)?),
        (Err(_), Err(_)) => return None,
    };
    (first < total && first <= last).then_some((first, last))
}

/// Text without the end of a word, and the rest when the test opens the gate.
pub(super) fn paused(state: Arc<State>, gate: String) -> Response<Answered> {
    let (sender, body) = body::channel();
    tokio::spawn(async move {
        let _gone = sender.send(Frame::data(Bytes::from_static(b"a-word-without-an-end"))).await;
        state.wait_at(&gate).await;
        let _gone = sender.send(Frame::data(Bytes::from_static(b"-and-the-rest\n"))).await;
    });
    with_status(StatusCode::OK, body)
}

/// Messages of gRPC, one of them when the test opens the gate; the last contains `echo`.
pub(super) fn grpc(state: Arc<State>, gate: String, echo: String) -> Response<Answered> {
    let message = |text: &str| {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        Frame::data(Bytes::from([&[0][..], &length, text.as_bytes()].concat()))
    };
    let (sender, body) = body::channel();
    let last = message(&format!("echo {echo}"));
    let first = [message("x"), message("y")];
    tokio::spawn(async move {
        for one in first {
            let _gone = sender.send(one).await;
        }
        state.wait_at(&gate).await;
        let _gone = sender.send(last).await;
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
        let _gone = sender.send(Frame::trailers(trailers)).await;
    });
    let mut response = with_status(StatusCode::OK, body);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

/// The fields of the last request with a credential, like a debugging page shows them.
pub(super) fn last(state: &State) -> Response<Answered> {
    let seen = lock(&state.seen);
    let value = |one: &Seen| one.values("authorization").into_iter().next();
    let last = seen.iter().rev().find_map(value).unwrap_or_default();
    let mut response = with_status(StatusCode::OK, body::whole(format!("the last request had {last}\n")));
    response.headers_mut().insert("x-last", HeaderValue::from_str(&last).unwrap());
    response
}
