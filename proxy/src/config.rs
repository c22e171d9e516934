//! The configuration of the data path. Complete, with defaults filled in; it does not change at run time.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use model::{CredentialId, PolicyName};

use crate::entry::listener::Listen;

use crate::http1::response::HeadBounds;
use crate::limits::meter::MinimumRate;

/// Bytes of a window for one HTTP/2 stream, and for a whole connection, on both sides. One stream buffers its window
/// and, on the client's side, [`MAX_BUFFER`]: together at most 256 KiB.
pub(crate) const STREAM_WINDOW: u32 = 192 << 10;
pub(crate) const CONNECTION_WINDOW: u32 = 1 << 20;

/// Bytes that one HTTP/1 connection buffers, and one HTTP/2 stream towards a client that does not read.
pub(crate) const MAX_BUFFER: usize = 64 << 10;

/// The listeners, the resolution of upstreams, and all bounds.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the HTTP proxy listens.
    pub listen: Vec<Listen>,
    /// The folder for session listeners; without one, no session has a listener.
    pub session_listeners: Option<PathBuf>,
    /// Runtimes, each on a thread of its own; one per core measured best.
    pub threads: usize,
    /// Called on each of these threads, first.
    pub on_thread_start: fn(),
    /// Fixed answers that precede DNS: canonical name to address.
    pub resolve: HashMap<String, IpAddr>,
    /// Whether an upstream is dialed while its client's handshake is in progress.
    pub preconnect: bool,
    /// The session of connections without proxy credentials; `None` answers them with 407.
    pub default_session: Option<DefaultSession>,
    /// Names of this machine besides its addresses. A request for one of them on a listener's port is a request for
    /// Egret itself.
    pub own_names: Vec<String>,
    /// Refuses every request of every session, whatever the policies allow: a switch for incidents.
    pub deny_all: bool,
    /// Bounds of time and space.
    pub limits: Limits,
}

/// The session of connections that send no proxy credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultSession {
    /// The policies that apply to it.
    pub policies: Vec<PolicyName>,
    /// Credentials it was granted.
    pub credentials: Vec<CredentialId>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 3128)))],
            session_listeners: None,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            on_thread_start: || {},
            resolve: HashMap::new(),
            preconnect: false,
            default_session: None,
            own_names: vec!["localhost".to_owned()],
            deny_all: false,
            limits: Limits::default(),
        }
    }
}

/// Every bound of the data path, with its unit in its name or type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request head, request line and fields together (default 32 KiB).
    pub max_head_bytes: usize,
    /// Bytes of a request target (default 16 KiB).
    pub max_target_bytes: usize,
    /// Fields of a request head (default 100).
    pub max_fields: usize,
    /// Bytes of a decoded HTTP/2 header list (default 64 KiB).
    pub max_header_list_bytes: u32,
    /// Bytes of a response head of an upstream; over HTTP/2 of its decoded fields (default 64 KiB).
    pub max_response_head_bytes: u32,
    /// Fields of a response head of an upstream (default 256).
    pub max_response_fields: usize,
    /// Open streams of one HTTP/2 connection (default 128).
    pub max_streams: u32,
    /// Open downstream connections in all (default 10,000).
    pub max_connections: usize,
    /// Idle upstream connections that each core keeps (default 512).
    pub max_idle_upstreams: usize,
    /// From the first byte of a head to its last (default 10 s).
    pub head_timeout: Duration,
    /// From CONNECT to the end of the TLS handshake with the client (default 10 s).
    pub handshake_timeout: Duration,
    /// A downstream connection between two requests (default 10 min).
    pub keep_alive: Duration,
    /// TCP and TLS to an upstream, all addresses together (default 10 s).
    pub connect_timeout: Duration,
    /// One name lookup (default 5 s).
    pub resolve_timeout: Duration,
    /// From the end of the request to the head of the response (default 10 min; models think long).
    pub first_byte_timeout: Duration,
    /// Between two pieces of a body, in either direction (default 10 min).
    pub idle_timeout: Duration,
    /// The minimum rate of a body in either direction, in bytes per second, once waiting exceeds `min_rate_grace` (default
    /// 240 B).
    pub min_rate_bytes: usize,
    /// The waiting that is free while a body is below `min_rate_bytes` (default 30 s).
    pub min_rate_grace: Duration,
    /// How long a client may leave an answer unread without progress (default 60 s).
    pub unread_timeout: Duration,
    /// Name lookups of one session in progress, over all cores; more of them wait (default 16).
    pub max_lookups: usize,
    /// How long an unused upstream connection stays open (default 60 s).
    pub upstream_keep_alive: Duration,
    /// Bytes of a request body that is buffered to substitute a placeholder in it (default 1 MiB).
    pub max_slot_body_bytes: usize,
    /// Bytes of all such bodies together, and of the decoders of bodies (default 64 MiB).
    pub max_slot_bodies_bytes: usize,
    /// The same for one session, which never takes more than a quarter of the whole (default 12 MiB).
    pub max_session_slot_bodies_bytes: usize,
    /// Such a body, from the first byte that is waited for to its last (default 60 s).
    pub slot_body_timeout: Duration,
    /// A request waits at most this long for the journal (default 2 s).
    pub audit_timeout: Duration,
    /// Requests in progress, in all (default 4,096).
    pub max_requests: usize,
    /// Requests in progress of one session (default 512).
    pub max_session_requests: usize,
    /// Bytes that requests in progress may buffer, in all, at 256 KiB each (default 512 MiB).
    pub max_buffer_bytes: usize,
    /// The same for one session (default 128 MiB).
    pub max_session_buffer_bytes: usize,
    /// Upstream connections, in all (default 8,192).
    pub max_upstreams: usize,
    /// Upstream connections of one session (default 512).
    pub max_session_upstreams: usize,
    /// Upstream connections of one session to one host (default 256).
    pub max_host_upstreams: usize,
    /// Different host names that one session may reach in a minute (default 1,000).
    pub max_names_per_minute: usize,
    /// Leaf certificates that are signed for one session in a minute (default 600).
    pub max_mints_per_minute: usize,
    /// Control frames that the peer of an HTTP/2 connection may send in ten seconds (default 1,000).
    pub max_control_frames: u32,
    /// Descriptors that neither clients nor upstreams use, so that the control API, the journal and the vault work
    /// (default 256; at most a quarter of the process's limit).
    pub reserved_descriptors: usize,
    /// Open downstream connections of one session (default 1,000).
    pub max_session_connections: usize,
    /// Sessions with a listener of their own, in all; each uses two of the reserved descriptors (default 64).
    pub max_session_listeners: usize,
    /// Open unidentified downstream connections, in all (default 1,000).
    pub max_strangers: usize,
    /// The same from one source address, or one /64 of IPv6 (default 256).
    pub max_source_strangers: usize,
    /// From accepting a connection to its proxy credentials (default 5 s).
    pub identify_timeout: Duration,
    /// Wrong proxy credentials from one source in a minute before answers to them are delayed (default 10).
    pub max_failed_logins: usize,
    /// Refused requests of one connection before it is closed (default 64).
    pub max_refusals: usize,
    /// Refusals of one session that are recorded one by one in an interval; more are counted (default 100).
    pub max_refusal_records: usize,
    /// The same for unidentified connections from one source (default 100).
    pub max_source_refusal_records: usize,
    /// The same for all unidentified connections (default 300).
    pub max_stranger_refusal_records: usize,
    /// The interval of these three, after which counts are recorded (default 1 min).
    pub refusal_interval: Duration,
}

impl Limits {
    /// Lowers the limits of connections to the descriptors of this process. Clients and upstreams share the unreserved
    /// descriptors equally. One session, or all unidentified clients, get a quarter of the clients' part.
    #[must_use]
    pub fn within(mut self, descriptors: usize) -> Self {
        self.reserved_descriptors = self.reserved_descriptors.min(descriptors / 4);
        let shared = descriptors.saturating_sub(self.reserved_descriptors);
        self.max_connections = self.max_connections.min(shared / 2).max(1);
        let part = (self.max_connections / 4).max(1);
        self.max_session_connections = self.max_session_connections.min(part);
        self.max_strangers = self.max_strangers.min(part);
        self.max_source_strangers = self.max_source_strangers.min(self.max_strangers);
        self.max_upstreams = self.max_upstreams.min(shared / 2).max(1);
        self.max_session_upstreams = self.max_session_upstreams.min((self.max_upstreams / 4).max(1));
        self.max_host_upstreams = self.max_host_upstreams.min(self.max_session_upstreams);
        self
    }
}

impl Limits {
    /// The bounds of a response head.
    pub(crate) fn response_head(&self) -> HeadBounds {
        HeadBounds { bytes: self.max_response_head_bytes, fields: self.max_response_fields }
    }

    /// The minimum rate of a body.
    pub(crate) fn minimum_rate(&self) -> MinimumRate {
        MinimumRate { bytes: self.min_rate_bytes as u64, grace: self.min_rate_grace }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_head_bytes: 32 << 10,
            max_target_bytes: 16 << 10,
            max_fields: 100,
            max_header_list_bytes: 64 << 10,
            max_response_head_bytes: 64 << 10,
            max_response_fields: 256,
            max_streams: 128,
            max_connections: 10_000,
            max_idle_upstreams: 512,
            head_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(600),
            connect_timeout: Duration::from_secs(10),
            resolve_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(600),
            min_rate_bytes: 240,
            min_rate_grace: Duration::from_secs(30),
            unread_timeout: Duration::from_secs(60),
            max_lookups: 16,
            upstream_keep_alive: Duration::from_secs(60),
            max_slot_body_bytes: 1 << 20,
            max_slot_bodies_bytes: 64 << 20,
            max_session_slot_bodies_bytes: 12 << 20,
            slot_body_timeout: Duration::from_secs(60),
            audit_timeout: Duration::from_secs(2),
            max_requests: 4_096,
            max_session_requests: 512,
            max_buffer_bytes: 512 << 20,
            max_session_buffer_bytes: 128 << 20,
            max_upstreams: 8_192,
            max_session_upstreams: 512,
            max_host_upstreams: 256,
            max_names_per_minute: 1_000,
            max_mints_per_minute: 600,
            max_control_frames: 1_000,
            reserved_descriptors: 256,
            max_session_connections: 1_000,
            max_session_listeners: 64,
            max_strangers: 1_000,
            max_source_strangers: 256,
            identify_timeout: Duration::from_secs(5),
            max_failed_logins: 10,
            max_refusals: 64,
            max_refusal_records: 100,
            max_source_refusal_records: 100,
            max_stranger_refusal_records: 300,
            refusal_interval: Duration::from_secs(60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(descriptors: usize) -> [usize; 5] {
        let limits = Limits::default().within(descriptors);
        [
            limits.reserved_descriptors,
            limits.max_connections,
            limits.max_session_connections,
            limits.max_strangers,
            limits.max_source_strangers,
        ]
    }

    #[test]
    fn t135_connections_never_take_the_reserved_descriptors() {
        assert_eq!(sizes(1 << 20), [256, 10_000, 1_000, 1_000, 256]);
        assert_eq!(sizes(4_096), [256, 1_920, 480, 480, 256]);
        assert_eq!(sizes(1_024), [256, 384, 96, 96, 96]);
        assert_eq!(sizes(256), [64, 96, 24, 24, 24]);
        assert_eq!(sizes(0), [0, 1, 1, 1, 1]);
        let small = Limits { max_connections: 40, max_session_connections: 39, ..Limits::default() }.within(4_096);
        assert_eq!((small.max_connections, small.max_session_connections), (40, 10));
    }
}
