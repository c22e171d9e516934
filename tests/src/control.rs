//! The client of a sidecar's control API, like a runtime's: HTTP/1.1 over its unix socket.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::egret::Egret;

/// Makes one call; returns status and document, which is null if the answer has no body.
pub fn call(egret: &Egret, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let mut stream = UnixStream::connect(egret.data().join("control.sock")).unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: egret\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {answer}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let document = match body {
        "" => Value::Null,
        body => serde_json::from_str(body).unwrap_or_else(|error| panic!("no JSON document ({error}): {answer}")),
    };
    (status.unwrap_or_else(|| panic!("no status: {head}")), document)
}
