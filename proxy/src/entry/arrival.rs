//! The result of every entry: a request to the proxy itself, for any protocol between client and proxy.
//!
//! An entry reads the client's identification, identifies the client, and only then reads the destination. From here on, the
//! line does not depend on the entry.

use model::{Authority, Endpoint, Scheme};
use sessions::Identified;

use crate::entry::listener::ClientStream;
use crate::entry::prefixed_stream::PrefixedStream;

/// A client that requests a tunnel, or one request. In the second case the connection stays with its entry (`S` is
/// `()`).
pub(crate) struct Arrival<S = ()> {
    /// The client, with its identification.
    pub(crate) client: Identified,
    /// The destination; `None` if it names none, as in a request that was meant for a server.
    pub(crate) endpoint: Option<Endpoint>,
    /// A second field that names the destination, such as the Host field of a CONNECT; both must agree.
    pub(crate) repeated: Option<Authority>,
    /// `None` for a tunnel: its first bytes show the scheme.
    pub(crate) scheme: Option<Scheme>,
    /// The client's stream, which begins with the bytes that were read already.
    pub(crate) stream: S,
}

/// A client that requests a tunnel.
pub(crate) type TunnelArrival = Arrival<PrefixedStream<ClientStream>>;
