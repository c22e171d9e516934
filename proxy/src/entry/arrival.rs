//! What every entry gives: a request to the proxy itself, whatever protocol the client speaks to it.
//!
//! An entry reads what identifies the client, has it identified, and only then reads where it wants to go. From here on the line
//! does not depend on the entry.

use model::{Authority, Endpoint, Scheme};
use sessions::Identified;

use crate::entry::listener::ClientStream;
use crate::entry::prefixed_stream::PrefixedStream;

/// A client that asks for a tunnel, or on a connection that stays its entry's (`S` is `()`), for one request.
pub(crate) struct Arrival<S = ()> {
    /// The client, with what identified it.
    pub(crate) client: Identified,
    /// Where it wants to go; `None` where it names nothing, as a request that was meant for a server does.
    pub(crate) endpoint: Option<Endpoint>,
    /// A second place that names it, such as the Host field of a CONNECT; both must agree.
    pub(crate) repeated: Option<Authority>,
    /// `None` for a tunnel: the first bytes in it show the scheme.
    pub(crate) scheme: Option<Scheme>,
    /// The client's stream, which begins with the bytes that were read already.
    pub(crate) stream: S,
}

/// A client that asks for a tunnel.
pub(crate) type TunnelArrival = Arrival<PrefixedStream<ClientStream>>;
