//! One audit record and its JSON form, version 1; `docs/audit.md` describes it, and a test compares them.
//!
//! What a record may keep is decided by its types: no header value, query value or body fits in.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use model::{
    CredentialId, ExchangeId, Host, PolicyName, Reason, RecordId, RuleId, Scheme, SessionId, SnapshotDigest, TenantId,
    Timestamp,
};

mod json;

pub use json::CONTENTS;

/// Text that is mostly known at build time: methods, protocols, header names.
pub type Text = Cow<'static, str>;

/// Declares an enum whose variants have a stable name in records.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$about])* $variant,)* }

        impl $name {
            /// Every variant, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word in records.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The variant that has this word.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

words! {
    /// What a record is about.
    Kind {
        /// A request was permitted and is about to be sent.
        ExchangeOpened = "exchange.opened",
        /// A request ended, or was refused.
        ExchangeClosed = "exchange.closed",
        /// A tunnel was permitted and is about to pass bytes.
        TunnelOpened = "tunnel.opened",
        /// A tunnel ended, or was refused.
        TunnelClosed = "tunnel.closed",
        /// A tool call began.
        ToolCallBegun = "tool_call.begun",
        /// A tool call ended.
        ToolCallEnded = "tool_call.ended",
        /// A connection to the upstream of a tunnel is opened before its first request.
        UpstreamDialed = "upstream.dialed",
        /// A person is asked.
        ApprovalRequested = "approval.requested",
        /// A person approved.
        ApprovalGranted = "approval.granted",
        /// A person denied.
        ApprovalDenied = "approval.denied",
        /// Nobody answered in time.
        ApprovalExpired = "approval.expired",
        /// A session was made.
        SessionCreated = "session.created",
        /// A session changed its state.
        SessionChanged = "session.changed",
        /// A session ended.
        SessionEnded = "session.ended",
        /// The contents of a session's records were deleted.
        SessionDeleted = "session.deleted",
        /// A credential was stored, or got a new value.
        CredentialPut = "credential.put",
        /// A credential was removed.
        CredentialRemoved = "credential.removed",
        /// A value came back to another tenant's session, and was masked there.
        CredentialMasked = "credential.masked",
        /// A policy set is in force.
        PolicyLoaded = "policy.loaded",
        /// A policy set was refused; the one before stays in force.
        PolicyRejected = "policy.rejected",
        /// A vault was made.
        VaultCreated = "vault.created",
        /// A vault was opened.
        VaultOpened = "vault.opened",
        /// A vault could not be opened.
        VaultRefused = "vault.refused",
        /// A change of a vault could not be written.
        VaultFailed = "vault.failed",
        /// The keys of a vault were changed.
        VaultRekeyed = "vault.rekeyed",
        /// A backup took the place of a vault.
        VaultRestored = "vault.restored",
        /// A CA was made.
        CaCreated = "ca.created",
        /// A CA was replaced.
        CaRotated = "ca.rotated",
        /// A call of the control API was refused.
        ControlDenied = "control.denied",
        /// The sidecar started.
        SidecarStarted = "sidecar.started",
        /// The sidecar went down in order.
        SidecarStopped = "sidecar.stopped",
        /// The wall clock was set.
        SidecarClockStep = "sidecar.clock_step",
        /// The index was missing and is filled again from the journal.
        SidecarIndexRebuilt = "sidecar.index_rebuilt",
        /// Refusals that were counted together, because they were too many for a record each.
        Aggregated = "aggregated",
        /// Records are missing here; this record contains how many.
        Gap = "gap",
    }
}

impl Kind {
    /// Whether a closing record must follow.
    pub(crate) fn opens(self) -> bool {
        self == Self::ExchangeOpened || self == Self::TunnelOpened
    }

    /// Whether it closes what another one opened.
    pub(crate) fn closes(self) -> bool {
        self == Self::ExchangeClosed || self == Self::TunnelClosed
    }

    /// The kind of the record that closes an opening one.
    pub(crate) fn closing(self) -> Self {
        if self == Self::TunnelOpened { Self::TunnelClosed } else { Self::ExchangeClosed }
    }
}

words! {
    /// The decision of the policy.
    Decision {
        /// It may go.
        Allow = "allow",
        /// It may not go.
        Deny = "deny",
        /// A person decides.
        Ask = "ask",
        /// Let through by a policy that only observes.
        Observe = "observe",
    }
}

words! {
    /// How an exchange ended.
    Outcome {
        /// The response went through to its end.
        Ok = "ok",
        /// Egret refused it.
        Refused = "refused",
        /// The client went away.
        ClientAbort = "client_abort",
        /// The upstream failed or went away.
        UpstreamReset = "upstream_reset",
        /// A timer fired.
        Timeout = "timeout",
        /// Egret failed.
        ProxyFault = "proxy_fault",
        /// Nobody closed it: the sidecar was killed, or the exchange was dropped.
        Aborted = "aborted",
    }
}

words! {
    /// Whose fault an end was.
    Fault {
        /// The client's.
        Downstream = "downstream",
        /// The upstream's.
        Upstream = "upstream",
        /// No one's: the policy decided it.
        Policy = "policy",
        /// Ours.
        Egret = "egret",
    }
}

words! {
    /// How an exchange was tied to its session, or more closely to its tool call.
    Attribution {
        /// By the proxy credentials of the connection.
        ProxyCredentials = "proxy_credentials",
        /// By the listener that accepted it.
        Listener = "listener",
        /// By the peer of the unix socket.
        UnixPeer = "unix_peer",
        /// By the source address.
        SourceAddress = "source_address",
        /// It is the session for connections without credentials.
        DefaultSession = "default_session",
        /// To a tool call, by the runtime's marks of begin and end.
        Marker = "marker",
        /// To a tool call, by the process that made the request.
        Process = "process",
        /// To a tool call, by the marks of the request itself.
        Label = "label",
        /// To a tool call, by the time alone.
        Window = "window",
    }
}

/// A credential that was used, by name and version; never its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialUse {
    /// The name of the credential.
    pub name: CredentialId,
    /// Which of its versions.
    pub version: u32,
}

/// What is known of one event. Fields that do not apply stay empty and are left out of the file.
///
/// Sequence number, `previous` and `hash` are the journal's: they are assigned when the record is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// What it is about.
    pub kind: Kind,
    /// When it happened; the journal takes the time of the call where none is given.
    pub time: Option<Timestamp>,
    /// The record's own id; the journal draws one where none is given.
    pub id: Option<RecordId>,
    /// The exchange, the same in its opening and closing record.
    pub exchange: Option<ExchangeId>,
    /// The tenant.
    pub tenant: Option<TenantId>,
    /// The person or service behind the session.
    pub user: Option<Arc<str>>,
    /// The agent.
    pub agent: Option<Arc<str>>,
    /// The session.
    pub session: Option<SessionId>,
    /// The id of the tool call.
    pub tool_call: Option<Arc<str>>,
    /// The name of the tool.
    pub tool: Option<Arc<str>>,
    /// How the exchange was tied to session or tool call.
    pub attribution: Option<Attribution>,
    /// The trace context (W3C `traceparent`) that the client sent.
    pub trace: Option<Arc<str>>,
    /// The client's address, where no session was identified; of IPv6 its network where many are counted together.
    pub source: Option<IpAddr>,
    /// The decision of the policy.
    pub decision: Option<Decision>,
    /// Why it was refused or ended.
    pub code: Option<Reason>,
    /// A word or sentence of Egret's own that refines the code: the class of a TLS failure, the timer that fired.
    pub detail: Option<Text>,
    /// The rule that decided.
    pub rule: Option<RuleId>,
    /// The policy of that rule.
    pub policy: Option<PolicyName>,
    /// The policy set that judged.
    pub snapshot: Option<SnapshotDigest>,
    /// The method.
    pub method: Option<Text>,
    /// The scheme.
    pub scheme: Option<Scheme>,
    /// The host, canonical.
    pub host: Option<Host>,
    /// The port.
    pub port: Option<u16>,
    /// The path, with the names of query parameters and without their values.
    pub path: Option<String>,
    /// The server name of the client's TLS handshake, where it differs from the host.
    pub sni: Option<Arc<str>>,
    /// The names of the fields that were taken off the request.
    pub stripped: Vec<Text>,
    /// The locations in which a credential overwrote the client's own value, as in `injected_into`.
    pub replaced: Vec<Text>,
    /// What policies that only observe would have refused it for: policy, decision, code and, where one decides, the rule.
    pub observed: Vec<Text>,
    /// The address that was dialed.
    pub address: Option<IpAddr>,
    /// The protocol spoken with the client, such as `http/1.1` or `h2`.
    pub protocol: Option<Text>,
    /// The TLS version spoken with the upstream, such as `1.3`.
    pub tls: Option<Text>,
    /// The credentials that were used.
    pub credentials: Vec<CredentialUse>,
    /// Where they were put, such as `header authorization`.
    pub injected_into: Vec<Text>,
    /// The status that the client saw.
    pub status: Option<u16>,
    /// Bytes of the request body that went upstream.
    pub request_bytes: Option<u64>,
    /// Bytes of the response body that went to the client.
    pub response_bytes: Option<u64>,
    /// From the beginning to the head of the response.
    pub first_byte: Option<Duration>,
    /// From the beginning to the end.
    pub duration: Option<Duration>,
    /// How many secrets were taken out of the response.
    pub redactions: Option<u64>,
    /// Where they were, such as `header location` or `body`.
    pub redacted_in: Vec<Text>,
    /// The generation of the vault that the event found or left behind.
    pub generation: Option<u64>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Whose fault that was.
    pub fault: Option<Fault>,
    /// The number of events that this record counts, or of bytes or records that are missing.
    pub count: Option<u64>,
    /// When the first of them happened.
    pub first: Option<Timestamp>,
    /// When the last of them happened.
    pub last: Option<Timestamp>,
}

impl Record {
    /// A record of a kind, without other fields.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            time: None,
            id: None,
            exchange: None,
            tenant: None,
            user: None,
            agent: None,
            session: None,
            tool_call: None,
            tool: None,
            attribution: None,
            trace: None,
            source: None,
            decision: None,
            code: None,
            detail: None,
            rule: None,
            policy: None,
            snapshot: None,
            method: None,
            scheme: None,
            host: None,
            port: None,
            path: None,
            sni: None,
            stripped: Vec::new(),
            replaced: Vec::new(),
            observed: Vec::new(),
            address: None,
            protocol: None,
            tls: None,
            credentials: Vec::new(),
            injected_into: Vec::new(),
            status: None,
            request_bytes: None,
            response_bytes: None,
            first_byte: None,
            duration: None,
            redactions: None,
            redacted_in: Vec::new(),
            generation: None,
            outcome: None,
            fault: None,
            count: None,
            first: None,
            last: None,
        }
    }
}

#[cfg(test)]
mod tests;
