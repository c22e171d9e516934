//! Package registries as plain files, and git repositories through `git http-backend`.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;

use super::body::{self, Answered};
use super::handlers::with_status;
use super::{State, lock};

/// The content of the registries.
#[derive(Debug)]
pub struct Registry {
    git_root: PathBuf,
    files: HashMap<String, (&'static str, Bytes)>,
}

impl Registry {
    pub(super) fn new(folder: &Path) -> Self {
        Self { git_root: folder.join("git"), files: HashMap::new() }
    }

    /// Serves `bytes` under exactly this path.
    pub fn put(&mut self, path: &str, content_type: &'static str, bytes: impl Into<Bytes>) {
        self.files.insert(path.to_owned(), (content_type, bytes.into()));
    }

    /// The content under this path, with its type.
    pub fn get(&self, path: &str) -> Option<(&'static str, Bytes)> {
        self.files.get(path).cloned()
    }

    /// The folder of the repositories below `/git/`.
    pub fn git_root(&self) -> &Path {
        &self.git_root
    }
}

/// A file, or a repository.
pub(super) async fn answer(state: &State, request: Request<Incoming>) -> Response<Answered> {
    let path = request.uri().path().to_owned();
    if let Some(repository) = path.strip_prefix("/git") {
        let root = lock(&state.registry).git_root.clone();
        return git(root, repository.to_owned(), request).await;
    }
    let file = lock(&state.registry).files.get(&path).cloned();
    let Some((content_type, bytes)) = file else {
        return with_status(StatusCode::NOT_FOUND, body::whole("no such file\n"));
    };
    let mut response = with_status(StatusCode::OK, body::whole(bytes));
    response.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
    response
}

async fn git(root: PathBuf, path: String, request: Request<Incoming>) -> Response<Answered> {
    let (parts, incoming) = request.into_parts();
    let field = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let mut command = Command::new("git");
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "2")
        .env("GIT_CONFIG_KEY_0", "http.receivepack")
        .env("GIT_CONFIG_VALUE_0", "true")
        .env("GIT_CONFIG_KEY_1", "safe.directory")
        .env("GIT_CONFIG_VALUE_1", "*")
        .env("REMOTE_USER", "egret-test")
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("PATH_INFO", path)
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", field("content-type"))
        .env("HTTP_CONTENT_ENCODING", field("content-encoding"))
        .env("GIT_PROTOCOL", field("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let Ok(body) = incoming.collect().await else { return with_status(StatusCode::BAD_REQUEST, body::whole("broken")) };
    let (heads, mut head) = mpsc::channel(1);
    let (frames, answered) = body::channel();
    tokio::task::spawn_blocking(move || run_cgi(command, &body.to_bytes(), &heads, &frames));
    let Some(fields) = head.recv().await else {
        return with_status(StatusCode::INTERNAL_SERVER_ERROR, body::whole("git http-backend failed\n"));
    };
    let mut response = with_status(StatusCode::OK, answered);
    for (name, value) in fields {
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().unwrap_or_default().to_owned();
            *response.status_mut() = code.parse().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        } else if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

type Fields = Vec<(String, String)>;

/// Feeds a CGI program and splits its output into head and body (RFC 3875 section 6).
fn run_cgi(mut command: Command, input: &[u8], heads: &mpsc::Sender<Fields>, frames: &mpsc::Sender<Frame<Bytes>>) {
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    std::thread::scope(|scope| {
        // The program may answer without reading all input.
        scope.spawn(move || drop(stdin.write_all(input)));
        let mut fields = Fields::new();
        let mut line = String::new();
        while stdout.read_line(&mut line).is_ok_and(|n| n > 0) && !line.trim_end().is_empty() {
            if let Some((name, value)) = line.trim_end().split_once(':') {
                fields.push((name.to_owned(), value.trim().to_owned()));
            }
            line.clear();
        }
        let _gone = heads.blocking_send(fields);
        let mut buffer = vec![0u8; 64 * 1024];
        while let Ok(count) = stdout.read(&mut buffer) {
            let piece = Frame::data(Bytes::copy_from_slice(&buffer[..count]));
            if count == 0 || frames.blocking_send(piece).is_err() {
                break;
            }
        }
    });
    // The client may have left; then the result of the program does not matter.
    let _status = child.wait();
}
