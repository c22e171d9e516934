//! The upstream of every run: TLS with HTTP/1.1 and HTTP/2. A program of its own rather than another web server, because its
//! event stream has to contain the time of each event, and because a run then needs no installed package.
//!
//! | request | response |
//! |---|---|
//! | `GET /small` | 1 KiB of JSON |
//! | `GET /large` | [`LARGE_BYTES`] |
//! | `PUT /upload` | the number of bytes in the request body, as text |
//! | `GET /events` | [`EVENTS`] events, [`EVENT_INTERVAL`] apart, each with the monotonic time in nanoseconds at which it was sent |

use std::convert::Infallible;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_rustls::TlsAcceptor;

use crate::clock;
use crate::pki::Identity;
use crate::process::Process;

/// Bytes of `/large`.
pub(crate) const LARGE_BYTES: u64 = 256 * 1024 * 1024;

/// Events of `/events`.
pub(crate) const EVENTS: usize = 300;

/// The time between two events. None waits for another one, so a delay is that of a single event.
pub(crate) const EVENT_INTERVAL: Duration = Duration::from_millis(5);

/// Bytes of `/small`.
const SMALL_BYTES: usize = 1024;

/// The running origin.
#[derive(Debug)]
pub(crate) struct Origin {
    process: Process,
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
}

impl Origin {
    /// Starts this program again as the origin.
    pub(crate) fn start(folder: &Path, identity: &Identity) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("origin").args([&identity.certificate, &identity.key]);
        let (process, port) = Process::start_and_read(&mut command, &folder.join("origin.log"))?;
        Ok(Self { process, port: port.parse().context("the origin wrote no port")? })
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

/// Serves until the process is stopped. Writes its port as a line when connections are accepted.
pub(crate) fn serve(certificate: &Path, key: &Path) -> Result<()> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        writeln!(std::io::stdout(), "{}", listener.local_addr()?.port())?;
        let answers = Answers::new();
        loop {
            // An error concerns one connection, whose client reports it.
            let Ok((stream, _peer)) = listener.accept().await else { continue };
            tokio::spawn(connection(stream, acceptor.clone(), answers.clone()));
        }
    })
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, answers: Answers) {
    let _slower = stream.set_nodelay(true);
    // The client reports a failed handshake or exchange.
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| answer(answers.clone(), request));
    let stream = TokioIo::new(stream);
    let _reported = match is_http2 {
        true => {
            let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            server.max_concurrent_streams(256).serve_connection(stream, service).await
        }
        false => hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await,
    };
}

/// The bytes of all answers.
#[derive(Clone, Debug)]
struct Answers {
    small: Bytes,
    chunk: Bytes,
}

impl Answers {
    fn new() -> Self {
        let (start, end) = (r#"{"text":""#, r#""}"#);
        let filler = "x".repeat(SMALL_BYTES - start.len() - end.len());
        Self { small: Bytes::from([start, &filler, end].concat()), chunk: Bytes::from(vec![b'x'; 64 * 1024]) }
    }
}

async fn answer(answers: Answers, request: Request<Incoming>) -> Result<Response<Reply>, hyper::Error> {
    let (mut status, mut content) = (StatusCode::OK, "application/json");
    let body = match (request.method(), request.uri().path()) {
        (&Method::GET, "/small") => Reply::whole(answers.small),
        (&Method::GET, "/large") => {
            content = "application/octet-stream";
            Reply::Repeated { chunk: answers.chunk, left: LARGE_BYTES }
        }
        (&Method::GET, "/events") => {
            content = "text/event-stream";
            let mut timer = interval_at(Instant::now() + EVENT_INTERVAL, EVENT_INTERVAL);
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
            Reply::Events { timer, left: EVENTS }
        }
        (&Method::PUT, "/upload") => Reply::whole(Bytes::from(length(request.into_body()).await?.to_string())),
        _ => {
            status = StatusCode::NOT_FOUND;
            Reply::whole(Bytes::new())
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static(content));
    Ok(response)
}

/// The bytes of a body, which is read to its end.
async fn length(mut body: Incoming) -> Result<u64, hyper::Error> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(bytes)
}

/// A response body.
enum Reply {
    /// `left` bytes, made of one piece.
    Repeated { chunk: Bytes, left: u64 },
    /// `left` events.
    Events { timer: Interval, left: usize },
}

impl Reply {
    fn whole(text: Bytes) -> Self {
        let left = text.len() as u64;
        Self::Repeated { chunk: text, left }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = match &mut *self {
            Self::Repeated { left: 0, .. } | Self::Events { left: 0, .. } => return Poll::Ready(None),
            Self::Repeated { chunk, left } => next_piece(chunk, left),
            Self::Events { timer, left } => {
                if timer.poll_tick(context).is_pending() {
                    return Poll::Pending;
                }
                *left -= 1;
                // The clock is always readable; a wrong time would be seen in the result.
                let time = clock::monotonic().unwrap_or_default();
                Bytes::from(format!("data: {}\n\n", time.as_nanos()))
            }
        };
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Repeated { left: 0, .. })
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Repeated { left, .. } => SizeHint::with_exact(*left),
            Self::Events { .. } => SizeHint::default(),
        }
    }
}

/// The next piece of a body of `left` bytes that consists of repetitions of `chunk`.
pub(crate) fn next_piece(chunk: &Bytes, left: &mut u64) -> Bytes {
    let length = usize::try_from(*left).map_or(chunk.len(), |left| left.min(chunk.len()));
    *left -= length as u64;
    chunk.slice(..length)
}

/// The paths of files are arguments of the process.
pub(crate) fn serve_from_arguments(arguments: &[String]) -> Result<()> {
    let paths: Vec<PathBuf> = arguments.iter().map(PathBuf::from).collect();
    let [certificate, key] = &paths[..] else { anyhow::bail!("origin needs CERTIFICATE KEY") };
    serve(certificate, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_consists_of_repetitions() {
        let (chunk, mut left) = (Bytes::from_static(b"abcd"), 10);
        let mut pieces = Vec::new();
        while left > 0 {
            pieces.push(next_piece(&chunk, &mut left));
        }
        assert_eq!(pieces, ["abcd", "abcd", "ab"]);
    }

    #[test]
    fn the_small_answer_has_its_length() {
        assert_eq!(Answers::new().small.len(), SMALL_BYTES);
    }
}
