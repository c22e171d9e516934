//! The channels of clients: TCP, TLS on TCP, or a unix socket that only its owner can open.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use certs::ListenerIdentity;
use sessions::UnixPeer;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::entry::channel::Channel;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// A listening address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address; port 0 selects a free one.
    Tcp(SocketAddr),
    /// An address where clients use TLS to the proxy itself, then HTTP.
    Tls(SocketAddr, ListenerIdentity),
    /// A unix socket.
    Unix {
        /// Its path.
        path: PathBuf,
        /// The permissions of its file, which control who may connect; 0600 by default.
        mode: u32,
    },
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Tls(address, _) => write!(f, "https://{address}"),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A bound socket; each core accepts on a duplicate of it.
#[derive(Debug)]
pub(crate) enum Bound {
    Tcp(StdTcpListener),
    Tls(StdTcpListener, ListenerIdentity),
    Unix(StdUnixListener),
}

impl Bound {
    /// Binds, before a runtime exists.
    pub(crate) fn new(listen: &Listen) -> io::Result<Self> {
        match listen {
            Listen::Tcp(address) => bind_tcp(*address).map(Self::Tcp),
            Listen::Tls(address, identity) => Ok(Self::Tls(bind_tcp(*address)?, identity.clone())),
            Listen::Unix { path, mode } => sessions::bind_unix(path, *mode).map(Self::Unix),
        }
    }

    /// The bound address; `None` for a unix socket.
    pub(crate) fn address(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(listener) | Self::Tls(listener, _) => listener.local_addr().map(Some),
            Self::Unix(_) => Ok(None),
        }
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(listener) => listener.try_clone().map(Self::Tcp),
            Self::Tls(listener, identity) => Ok(Self::Tls(listener.try_clone()?, identity.clone())),
            Self::Unix(listener) => listener.try_clone().map(Self::Unix),
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<StdTcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart may reuse the address while old connections are closing.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A listener of one core.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Tls(TcpListener, ListenerIdentity),
    Unix(UnixListener),
}

impl Listener {
    pub(crate) fn new(bound: Bound) -> io::Result<Self> {
        match bound {
            Bound::Tcp(listener) => TcpListener::from_std(listener).map(Self::Tcp),
            Bound::Tls(listener, identity) => Ok(Self::Tls(TcpListener::from_std(listener)?, identity)),
            Bound::Unix(listener) => UnixListener::from_std(listener).map(Self::Unix),
        }
    }

    /// The next client.
    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(ClientStream, Channel)>> {
        Poll::Ready(match self {
            Self::Tcp(listener) => {
                let (stream, address) = ready!(listener.poll_accept(cx))?;
                send_at_once(&stream);
                Ok((ClientStream::Tcp(stream), Channel::Network(address.ip())))
            }
            Self::Tls(listener, identity) => {
                let (stream, address) = ready!(listener.poll_accept(cx))?;
                send_at_once(&stream);
                Ok((ClientStream::BeforeTls(stream, identity.clone()), Channel::Network(address.ip())))
            }
            Self::Unix(listener) => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                peer_of(&stream).map(|peer| (ClientStream::Unix(stream), Channel::SharedSocket(peer)))
            }
        })
    }
}

/// Disables the delay of small writes (Nagle's algorithm).
fn send_at_once(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "nodelay");
    }
}

/// The process at the other end.
pub(crate) fn peer_of(stream: &UnixStream) -> io::Result<UnixPeer> {
    Ok(UnixPeer { uid: stream.peer_cred()?.uid() })
}

/// A client's connection.
#[derive(Debug)]
pub(crate) enum ClientStream {
    Tcp(TcpStream),
    /// The handshake is pending: no byte of HTTP can be read or written.
    BeforeTls(TcpStream, ListenerIdentity),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl ClientStream {
    /// The TCP socket below, if it is one.
    pub(crate) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) | Self::BeforeTls(stream, _) => Some(stream),
            Self::Tls(stream) => Some(stream.get_ref().0),
            Self::Unix(_) => None,
        }
    }

    /// Completes the handshake, if the listener offers TLS.
    ///
    /// # Errors
    /// The client does not speak TLS, or does not trust the certificate.
    ///
    /// # Cancellation
    /// The connection closes.
    pub(crate) async fn after_handshake(self) -> io::Result<Self> {
        match self {
            Self::BeforeTls(stream, identity) => {
                let accepted = TlsAcceptor::from(identity.config().clone()).accept(stream).await?;
                Ok(Self::Tls(Box::new(accepted)))
            }
            Self::Tcp(_) | Self::Tls(_) | Self::Unix(_) => Ok(self),
        }
    }

    /// Writes as much as the kernel accepts at once.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            // Unencrypted bytes are not an answer here.
            Self::BeforeTls(..) | Self::Tls(_) => Err(io::ErrorKind::WouldBlock.into()),
            Self::Unix(stream) => stream.try_write(bytes),
        }
    }
}

fn before_handshake() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the TLS handshake is not done")
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::BeforeTls(..) => Poll::Ready(Err(before_handshake())),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::BeforeTls(..) => Poll::Ready(Err(before_handshake())),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Self::BeforeTls(..) => Poll::Ready(Err(before_handshake())),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::BeforeTls(..) => false,
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::BeforeTls(..) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::BeforeTls(..) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
