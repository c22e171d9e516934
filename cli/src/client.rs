//! The client of the control API: of the sidecar that serves the data folder or, without one, of an API inside this
//! process that works in the folder under its lock. The interface is the same.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use api::ProblemDocument;
use bytes::Bytes;
use control::{Control, Gate};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use model::text_file::remove_mark;
use proxy::SelfAddress;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::Context;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::exit::{Answer, Failure, OrFail as _};
use crate::foundation::{self, EarlierClock, Foundation, OnPolicyError, Rollback};

/// How long another process may hold the folder without answering.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_ANSWER_BYTES: usize = 256 << 20;
const INSIDE_BUFFER_BYTES: usize = 64 << 10;

/// One connection to the control API.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    /// Whether a sidecar answers, rather than this process itself.
    sidecar: bool,
}

/// Whether a command may create a missing data folder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfMissing {
    /// Create it, with a vault and a CA.
    Create,
    /// Fail: there is no data folder yet.
    Fail,
}

impl Client {
    /// Finds the process that serves the data folder, or opens it.
    pub(crate) async fn find(context: &Context, if_missing: IfMissing) -> Answer<Self> {
        let config = context.config()?;
        let dir = context.data_dir(&config)?;
        if !dir.path().exists() && if_missing == IfMissing::Fail {
            let shown = dir.path().display();
            return Err(Failure::unreachable(anyhow!(
                "there is no data folder {shown} yet; `egret serve` or `egret vault init` makes it, and --data-dir or --config names another"
            )));
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(stream) = dial(&dir).await {
                return Self::over(stream, true).await;
            }
            dir.prepare().or_unreachable()?;
            if let Some(lock) = dir.try_lock().or_unreachable()? {
                let foundation = Foundation::open(
                    config,
                    dir,
                    lock,
                    OnPolicyError::UseBuiltin,
                    Rollback::Refuse,
                    EarlierClock::Distrust,
                )?;
                foundation.notes.iter().for_each(|note| crate::output::say(note));
                return Box::pin(Self::inside(foundation)).await;
            }
            if Instant::now() >= deadline {
                return Err(Failure::unreachable(anyhow!("{}", busy(&dir))));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Connects to a sidecar that is known to run.
    pub(crate) async fn to_sidecar(dir: &DataDir) -> Answer<Option<Self>> {
        match dial(dir).await {
            Some(stream) => Self::over(stream, true).await.map(Some),
            None => Ok(None),
        }
    }

    /// Serves the API over a pipe inside this process.
    async fn inside(foundation: Foundation) -> Answer<Self> {
        // The address where a sidecar would listen; a free port is known only after the bind.
        let proxy: Vec<SocketAddr> =
            Some(foundation.config.proxy).filter(|address| address.port() != 0).into_iter().collect();
        let self_address = SelfAddress::new(proxy.clone(), foundation::own_names());
        let control = Arc::new(Control {
            sessions: foundation.sessions.clone(),
            vault: foundation.vault.clone(),
            policies: foundation.policies.clone(),
            journal: foundation.journal.clone(),
            index: foundation.index.clone(),
            resolve: foundation.config.resolve.clone().into_iter().collect(),
            ca: foundation.ca_facts(),
            proxy,
            requests: control::RequestBounds {
                max_target_bytes: foundation.config.limits.max_target_bytes,
                is_listener: Box::new(move |endpoint| self_address.is_named_by(endpoint)),
            },
            start: control::Start::default(),
            data_dir: foundation.dir.path().to_owned(),
            version: env!("CARGO_PKG_VERSION"),
            started: clock::now(),
        });
        let (near, far) = tokio::io::duplex(INSIDE_BUFFER_BYTES);
        // Owned by the command's runtime; it holds the folder's lock until the command ends.
        tokio::spawn(async move {
            let served = control::serve(Gate::Inside(Some(far)), control, std::future::pending()).await;
            drop(foundation);
            served
        });
        Self::over(near, false).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, sidecar: bool) -> Answer<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .context("the control socket does not answer")
            .or_unreachable()?;
        // Ends with the sender.
        tokio::spawn(connection);
        Ok(Self { sender, sidecar })
    }

    /// Whether a sidecar answers, rather than this process itself.
    pub(crate) fn is_sidecar(&self) -> bool {
        self.sidecar
    }

    /// Gets a document.
    pub(crate) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Answer<T> {
        let body = self.call(Method::GET, path, None, Bytes::new()).await?;
        serde_json::from_slice(&body).context("the answer cannot be understood").or_unreachable()
    }

    /// Sends a document and returns the response.
    pub(crate) async fn post<T: DeserializeOwned>(&mut self, path: &str, document: &impl Serialize) -> Answer<T> {
        let text = serde_json::to_vec(document).context("cannot write the request").or_usage()?;
        let body = self.call(Method::POST, path, Some("application/json"), text.into()).await?;
        serde_json::from_slice(&body).context("the answer cannot be understood").or_unreachable()
    }

    /// Makes a call without a body and returns the response.
    pub(crate) async fn post_empty<T: DeserializeOwned>(&mut self, path: &str) -> Answer<T> {
        self.post(path, &serde_json::Map::new()).await
    }

    /// Sends a serialized document and returns the response.
    pub(crate) async fn post_bytes<T: DeserializeOwned>(&mut self, path: &str, document: Bytes) -> Answer<T> {
        let body = self.call(Method::POST, path, Some("application/json"), document).await?;
        serde_json::from_slice(&body).context("the answer cannot be understood").or_unreachable()
    }

    /// Sends a raw value and returns the response.
    pub(crate) async fn put<T: DeserializeOwned>(&mut self, path: &str, value: Bytes) -> Answer<T> {
        let body = self.call(Method::PUT, path, Some("application/octet-stream"), value).await?;
        serde_json::from_slice(&body).context("the answer cannot be understood").or_unreachable()
    }

    /// Gets raw bytes.
    pub(crate) async fn bytes(&mut self, path: &str) -> Answer<Bytes> {
        self.call(Method::GET, path, None, Bytes::new()).await
    }

    /// Removes something.
    pub(crate) async fn delete(&mut self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None, Bytes::new()).await.map(drop)
    }

    async fn call(&mut self, method: Method, path: &str, kind: Option<&str>, body: Bytes) -> Answer<Bytes> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = request.body(Full::new(body)).context("the request cannot be made").or_usage()?;
        let answered = tokio::time::timeout(ANSWER_TIMEOUT, exchange(&mut self.sender, request)).await;
        let (status, body) =
            answered.context("the sidecar did not answer in a minute").or_unreachable()?.or_unreachable()?;
        if status.is_success() { Ok(body) } else { Err(failure(status, &body)) }
    }
}

async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<(StatusCode, Bytes)> {
    sender.ready().await.context("the sidecar closed the connection")?;
    let response = sender.send_request(request).await.context("the sidecar closed the connection")?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
    let body = body.map_err(|error| anyhow!("the answer broke off: {error}"))?;
    Ok((status, body.to_bytes()))
}

/// Converts a problem document (RFC 9457) to a failure of the command.
fn failure(status: StatusCode, body: &[u8]) -> Failure {
    let problem = serde_json::from_slice(body).map(|problem: ProblemDocument| problem.detail);
    let error = anyhow!(problem.unwrap_or_else(|_| "the call failed".to_owned()));
    match status {
        StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::FORBIDDEN => Failure::refused(error),
        status if status.is_client_error() => Failure::usage(error),
        _ => Failure::unreachable(error),
    }
}

async fn dial(dir: &DataDir) -> Option<UnixStream> {
    let path = crate::sidecar::short_path(dir)?;
    UnixStream::connect(&path.path).await.ok()
}

/// The process that holds the folder, if it is known.
pub(crate) fn busy(dir: &DataDir) -> String {
    let who = dir.ready().map_or_else(String::new, |ready| format!(" (process {})", ready.pid));
    format!("another egret{who} uses the data folder {}; stop it, or give another --data-dir", dir.path().display())
}

/// A path with the parameters of a query.
pub(crate) fn path_with(path: &str, query: &impl Serialize) -> Answer<String> {
    api::path_with(path, query).context("the request cannot be made").or_usage()
}

/// Runs a command's conversation on a small runtime of its own.
pub(crate) fn converse<T>(work: impl Future<Output = Answer<T>>) -> Answer<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start").or_unreachable()?.block_on(work)
}

/// Reads a file whose text is sent in a request.
pub(crate) fn read_text(path: &Path) -> Answer<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let mut text = text.or_usage()?;
    remove_mark(&mut text);
    Ok(text)
}

/// The configuration with this address of the proxy, if one is given.
pub(crate) fn with_listener(mut config: Config, listen: Option<SocketAddr>) -> Config {
    if let Some(address) = listen {
        config.proxy = address;
    }
    config
}
