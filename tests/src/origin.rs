//! A real origin on loopback: TLS with HTTP/1.1 and HTTP/2, and a cleartext port.
//!
//! It records every byte of every request, so that a test can check that the origin saw nothing. The path selects the
//! answer (`handlers.rs`), or the host if a test gave that host a script of raw bytes.

pub mod body;
pub mod handlers;
mod recorder;
pub mod registry;
pub mod script;
mod stored;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::LazyConfigAcceptor;

pub use recorder::{Connection, Seen};

use crate::canary::contains;
use crate::pki::{Flaw, TestCa};
use recorder::Tee;
use script::Script;

/// The origin and its thread; it ends when it is dropped.
#[derive(Debug)]
pub struct Origin {
    tls: SocketAddr,
    plain: SocketAddr,
    state: Arc<State>,
    folder: tempfile::TempDir,
    runtime: Option<tokio::runtime::Runtime>,
}

/// The state that its connections share.
#[derive(Debug)]
pub struct State {
    ca: TestCa,
    stranger: TestCa,
    connections: Mutex<Vec<Arc<Connection>>>,
    seen: Mutex<Vec<Seen>>,
    flaws: Mutex<HashMap<String, Flaw>>,
    alpn: Mutex<HashMap<String, Vec<&'static str>>>,
    scripts: Mutex<HashMap<String, Script>>,
    required: Mutex<HashMap<String, (String, String)>>,
    configs: Mutex<HashMap<String, Arc<ServerConfig>>>,
    gates: Mutex<HashMap<String, watch::Sender<bool>>>,
    registry: Mutex<registry::Registry>,
    numbers: AtomicUsize,
}

/// Locks, even if a test that held the lock has failed.
fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Origin {
    /// Starts an origin on two free ports.
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (tls, plain) = runtime.block_on(async {
            (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap())
        });
        let state = Arc::new(State {
            ca: TestCa::new("Origin Test CA"),
            stranger: TestCa::new("Nobody's CA"),
            connections: Mutex::default(),
            seen: Mutex::default(),
            flaws: Mutex::default(),
            alpn: Mutex::default(),
            scripts: Mutex::default(),
            required: Mutex::default(),
            configs: Mutex::default(),
            gates: Mutex::default(),
            registry: Mutex::new(registry::Registry::new(folder.path())),
            numbers: AtomicUsize::new(0),
        });
        let (tls_address, plain_address) = (tls.local_addr().unwrap(), plain.local_addr().unwrap());
        runtime.spawn(accept(tls, Arc::clone(&state), true));
        runtime.spawn(accept(plain, Arc::clone(&state), false));
        Self { tls: tls_address, plain: plain_address, state, folder, runtime: Some(runtime) }
    }

    /// The TLS port.
    pub fn port(&self) -> u16 {
        self.tls.port()
    }

    /// The cleartext HTTP port.
    pub fn plain_port(&self) -> u16 {
        self.plain.port()
    }

    /// A file with the CA that signs this origin's certificates.
    pub fn ca_file(&self) -> PathBuf {
        self.state.ca.write(self.folder.path())
    }

    /// A folder for files of a test; it is removed with the origin.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Gives the certificate of `host` a fault.
    pub fn flaw(&self, host: &str, flaw: Flaw) {
        lock(&self.state.flaws).insert(host.to_owned(), flaw);
    }

    /// Offers only these protocols for `host`.
    pub fn protocols(&self, host: &str, alpn: &[&'static str]) {
        lock(&self.state.alpn).insert(host.to_owned(), alpn.to_vec());
    }

    /// Answers every request to `host` with the bytes of a script.
    pub fn script(&self, host: &str, script: Script) {
        lock(&self.state.alpn).insert(host.to_owned(), vec!["http/1.1"]);
        lock(&self.state.scripts).insert(host.to_owned(), script);
    }

    /// Answers 401 to each request to `host` that does not have exactly this value in this field.
    pub fn require(&self, host: &str, field: &str, value: &str) {
        lock(&self.state.required).insert(host.to_owned(), (field.to_owned(), value.to_owned()));
    }

    /// Opens the gate `name` for all waiters, now and later.
    pub fn open_gate(&self, name: &str) {
        self.state.gate(name).send_replace(true);
    }

    /// Runs `change` on the packages of the registries.
    pub fn packages<T>(&self, change: impl FnOnce(&mut registry::Registry) -> T) -> T {
        change(&mut lock(&self.state.registry))
    }

    /// The requests whose target contains `mark`.
    pub fn seen(&self, mark: &str) -> Vec<Seen> {
        lock(&self.state.seen).iter().filter(|seen| seen.target.contains(mark)).cloned().collect()
    }

    /// The one request whose target contains `mark`.
    pub fn seen_once(&self, mark: &str) -> Seen {
        let mut seen = self.seen(mark);
        assert_eq!(seen.len(), 1, "the origin saw {} requests for {mark}, not one: {seen:#?}", seen.len());
        seen.remove(0)
    }

    /// The connections whose SNI is `host`.
    pub fn connections(&self, host: &str) -> Vec<Arc<Connection>> {
        lock(&self.state.connections).iter().filter(|c| c.sni() == Some(host)).cloned().collect()
    }

    /// The connections on the cleartext port.
    pub fn plain_connections(&self) -> usize {
        lock(&self.state.connections).iter().filter(|c| !c.tls).count()
    }

    /// Panics if any byte that the origin received contains `mark` (oracle O1).
    pub fn assert_saw_nothing_of(&self, mark: &str) {
        for connection in lock(&self.state.connections).iter() {
            connection.with_raw(|raw| assert!(!contains(raw, mark.as_bytes()), "the origin got bytes of {mark}"));
        }
        assert!(self.seen(mark).is_empty(), "the origin got a request for {mark}");
    }

    /// Whether any byte that the origin received contains `mark`.
    pub fn saw(&self, mark: &str) -> bool {
        lock(&self.state.connections).iter().any(|c| c.with_raw(|raw| contains(raw, mark.as_bytes())))
            || !self.seen(mark).is_empty()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl State {
    fn gate(&self, name: &str) -> watch::Sender<bool> {
        lock(&self.gates).entry(name.to_owned()).or_insert_with(|| watch::channel(false).0).clone()
    }

    /// Waits until a test opens the gate.
    async fn wait_at(&self, name: &str) {
        let mut gate = self.gate(name).subscribe();
        // The sender is stored in the map, so this ends only by opening.
        let _open = gate.wait_for(|open| *open).await;
    }

    fn server_config(&self, host: &str) -> Arc<ServerConfig> {
        let flaw = lock(&self.flaws).get(host).copied().unwrap_or(Flaw::None);
        let alpn = lock(&self.alpn).get(host).cloned().unwrap_or_else(|| vec!["h2", "http/1.1"]);
        let ca = if flaw == Flaw::UnknownCa { &self.stranger } else { &self.ca };
        let key = format!("{host} {flaw:?} {alpn:?}");
        Arc::clone(lock(&self.configs).entry(key).or_insert_with(|| ca.server(host, flaw, &alpn)))
    }

    fn enter(&self, sni: Option<String>, alpn: Option<String>, tls: bool) -> Arc<Connection> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::new(number, sni, alpn, tls));
        lock(&self.connections).push(Arc::clone(&connection));
        connection
    }
}

async fn accept(listener: TcpListener, state: Arc<State>, tls: bool) {
    loop {
        let Ok((stream, _peer)) = listener.accept().await else { continue };
        let _slow_is_fine = stream.set_nodelay(true);
        let state = Arc::clone(&state);
        if tls {
            tokio::spawn(async move { Box::pin(serve_tls(stream, state)).await });
        } else {
            let connection = state.enter(None, None, false);
            tokio::spawn(async move { serve(Tee::new(stream, Arc::clone(&connection)), connection, state).await });
        }
    }
}

/// Tests often cause a failed handshake on purpose; the connection is in the list anyway.
async fn serve_tls(stream: TcpStream, state: Arc<State>) {
    let Ok(start) = LazyConfigAcceptor::new(Acceptor::default(), stream).await else { return };
    let sni = start.client_hello().server_name().map(str::to_owned);
    let config = state.server_config(sni.as_deref().unwrap_or("unnamed.origin.test"));
    let connection = state.enter(sni.clone(), None, true);
    let Ok(stream) = start.into_stream(config).await else { return };
    let alpn = stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
    connection.set_alpn(alpn);
    let tee = Tee::new(stream, Arc::clone(&connection));
    let script = sni.and_then(|host| lock(&state.scripts).get(&host).cloned());
    match script {
        Some(script) => script.play(tee, &state).await,
        None => serve(tee, connection, state).await,
    }
}

async fn serve<S>(stream: S, connection: Arc<Connection>, state: Arc<State>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let h2 = connection.alpn().as_deref() == Some("h2");
    let service = service_fn(move |request| handlers::answer(Arc::clone(&state), Arc::clone(&connection), request));
    // A client that leaves early is a normal end here.
    let _end = if h2 {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await
    } else {
        hyper::server::conn::http1::Builder::new()
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service)
            .await
    };
}
