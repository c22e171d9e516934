//! Access control of the control API: root and our own user, over the unix socket, and no browser.
//!
//! A page in a browser cannot open a unix socket, but a tool that forwards ports or mounts sockets can be made to carry
//! its requests. Such requests have an `Origin`, or a `Host` that is not ours (DNS rebinding).

use std::sync::Arc;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::serve::{IncomingStream, Listener};
use http::header::{HOST, ORIGIN};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{UnixListener, UnixStream};

use crate::Control;
use crate::problem::Problem;

/// The names under which the API answers; the socket itself shows its owner.
const HOSTS: [&str; 2] = ["localhost", "egret"];

/// The origin of control calls.
pub enum Gate {
    /// The socket in the data folder; other users' processes are refused, whatever the mode of the socket.
    Socket(UnixListener),
    /// One caller inside this process, such as a command that found no sidecar running.
    Inside(Option<DuplexStream>),
}

/// One connection.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl Stream for UnixStream {}
impl Stream for DuplexStream {}

/// The user at the other end.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    trusted: bool,
}

impl Peer {
    #[cfg(test)]
    pub(crate) fn for_test(trusted: bool) -> Self {
        Self { trusted }
    }
}

impl Listener for Gate {
    type Io = Box<dyn Stream>;
    type Addr = Peer;

    async fn accept(&mut self) -> (Self::Io, Peer) {
        match self {
            Self::Socket(listener) => {
                let (stream, _) = Listener::accept(listener).await;
                let peer = peer_of(&stream);
                (Box::new(stream), peer)
            }
            Self::Inside(stream) => match stream.take() {
                Some(stream) => (Box::new(stream), Peer { trusted: true }),
                None => std::future::pending().await,
            },
        }
    }

    fn local_addr(&self) -> std::io::Result<Peer> {
        Ok(Peer { trusted: true })
    }
}

fn peer_of(stream: &UnixStream) -> Peer {
    let own = rustix::process::geteuid().as_raw();
    // A peer that cannot be identified is not trusted.
    let uid = stream.peer_cred().ok().map(|peer| peer.uid());
    Peer { trusted: uid == Some(0) || uid == Some(own) }
}

impl Connected<IncomingStream<'_, Gate>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Gate>) -> Self {
        *stream.remote_addr()
    }
}

/// Refuses, with a record, requests that must not reach a call.
pub(crate) async fn guard(
    State(control): State<Arc<Control>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    match objection(peer, &request) {
        None => next.run(request).await,
        Some(why) => {
            control.record_denied(why);
            Problem::denied(why).into_response()
        }
    }
}

fn objection(peer: Peer, request: &Request) -> Option<&'static str> {
    if !peer.trusted {
        return Some("only root and the user that runs Egret may use the control socket");
    }
    if request.headers().contains_key(ORIGIN) {
        return Some("requests that a browser makes for a page (with an Origin) are not accepted");
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()).unwrap_or_default();
    let ours = hosts.next().is_none() && HOSTS.iter().any(|name| host.eq_ignore_ascii_case(name));
    if ours { None } else { Some("the Host of a control request is `localhost` or `egret`") }
}
