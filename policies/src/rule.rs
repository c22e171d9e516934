//! One rule as it is judged: every default filled in, every pattern canonical.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use model::{AddressClass, CredentialId, PolicyName, RuleId, Scheme, Timestamp};

pub use model::{Limits, Rate};

use crate::auth_mode::RuleClientAuth;
use crate::pattern::{HostPattern, PathPattern, TextPattern};
use crate::query::Parameters;

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Effect {
    Allow,
    Ask,
    Deny,
}

/// One compiled rule. Where a field is `None`, the rule does not limit it.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) policy: PolicyName,
    pub(crate) id: RuleId,
    /// Where it is defined, for explanations.
    pub(crate) origin: Origin,
    pub(crate) effect: Effect,
    pub(crate) hosts: Vec<HostPattern>,
    pub(crate) scheme: Option<Scheme>,
    pub(crate) ports: Option<BTreeSet<u16>>,
    pub(crate) methods: Option<BTreeSet<Box<str>>>,
    pub(crate) paths: Option<Vec<PathPattern>>,
    /// The parameters of the query that must be there, each once and with one of these values.
    pub(crate) query: Option<Parameters>,
    pub(crate) tools: Option<Vec<TextPattern>>,
    /// Whether it is about WebSocket handshakes.
    pub(crate) websocket: bool,
    /// Its end; a deny of a policy that ends stays in force.
    pub(crate) until: Option<Timestamp>,
    /// With `ask`: how long the request waits for an answer.
    pub(crate) hold: Option<Duration>,
    /// With `ask`: how long the approval stays open.
    pub(crate) approval_timeout: Option<Duration>,
    /// The bytes are passed on unread.
    pub(crate) pass_through: bool,
    pub(crate) addresses: Option<BTreeSet<IpNet>>,
    pub(crate) credentials: Vec<CredentialId>,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    /// Fixed headers, by name in lower case.
    pub(crate) set: Vec<(Box<str>, Box<str>)>,
    pub(crate) client_auth: Option<RuleClientAuth>,
    /// Whether a session brought it: then it can only restrict further what the client may send.
    pub(crate) of_session: bool,
    pub(crate) author_message: Option<Arc<str>>,
}

/// The place of a rule: its file, and the line of its `id`, counted from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) file: Arc<str>,
    pub(crate) line: usize,
}

/// How long a request may wait. Where a field is `None`, the defaults of the data path hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeouts {
    /// For the connection to the upstream, TLS included.
    pub connect: Option<Duration>,
    /// From the end of the request to the head of the response.
    pub first_byte: Option<Duration>,
    /// Between two pieces of a body.
    pub idle: Option<Duration>,
}

impl Timeouts {
    /// The shorter of both in every respect.
    pub(crate) fn narrowed(self, other: Self) -> Self {
        let shorter = |a: Option<Duration>, b: Option<Duration>| [a, b].into_iter().flatten().min();
        Self {
            connect: shorter(self.connect, other.connect),
            first_byte: shorter(self.first_byte, other.first_byte),
            idle: shorter(self.idle, other.idle),
        }
    }
}

impl Rule {
    pub(crate) fn covers_scheme(&self, scheme: Scheme) -> bool {
        self.scheme.is_none_or(|own| own == scheme)
    }

    pub(crate) fn covers_port(&self, port: u16) -> bool {
        self.ports.as_ref().is_none_or(|own| own.contains(&port))
    }

    pub(crate) fn covers_method(&self, method: &str) -> bool {
        match &self.methods {
            Some(own) => own.contains(method),
            None => self.effect == Effect::Deny || covered_unnamed(method),
        }
    }

    /// A rule without `path` covers every path; only a deny the target `*` too, which is the whole server.
    pub(crate) fn covers_any_path(&self, path: &str) -> bool {
        self.paths.is_none() && (self.effect == Effect::Deny || path != "*")
    }

    /// If the tool is not known, an allow does not match, and every other rule does.
    pub(crate) fn covers_tool(&self, tool: Option<&str>) -> bool {
        let Some(own) = &self.tools else { return true };
        tool.map_or(self.effect != Effect::Allow, |tool| own.iter().any(|pattern| pattern.matches(tool)))
    }

    /// A rule that names the upgrade is about nothing else; a deny that does not is about both.
    pub(crate) fn covers_upgrade(&self, websocket: bool) -> bool {
        self.websocket == websocket || (self.effect == Effect::Deny && !self.websocket)
    }

    /// Whether it restricts what other rules grant: such a rule applies also where a more exact one is chosen.
    pub(crate) fn restricts(&self) -> bool {
        self.effect != Effect::Deny
            && (self.limits != Limits::default() || !self.set.is_empty() || self.client_auth.is_some())
    }

    /// Whether what it restricts can only be kept where requests are read. Limits are counted for tunnels too.
    pub(crate) fn restricts_by_reading(&self) -> bool {
        self.effect != Effect::Deny && (!self.set.is_empty() || self.client_auth.is_some())
    }

    /// Whether it has not ended.
    pub(crate) fn is_in_force(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Whether it matches by host, port, scheme and time alone, so that nothing of a request need be read.
    pub(crate) fn is_unconditional(&self) -> bool {
        self.methods.is_none()
            && self.paths.is_none()
            && self.query.is_none()
            && self.tools.is_none()
            && !self.websocket
    }

    /// Whether it can only be kept where requests are read.
    pub(crate) fn must_read(&self) -> bool {
        match self.effect {
            Effect::Deny => !self.is_unconditional(),
            Effect::Allow | Effect::Ask => !self.pass_through,
        }
    }

    /// Whether the data path may dial this address for a request that the rule allowed.
    pub(crate) fn allows_address(&self, address: IpAddr) -> bool {
        let within = |nets: &BTreeSet<IpNet>| nets.iter().any(|net| net.contains(&address));
        match (AddressClass::of(address), &self.addresses) {
            (AddressClass::Global, None) => true,
            (AddressClass::Special | AddressClass::Metadata, None) => false,
            (AddressClass::Global | AddressClass::Special, Some(nets)) => within(nets),
            (AddressClass::Metadata, Some(nets)) => nets.contains(&IpNet::from(address)),
        }
    }
}

/// Whether an allow without `methods` covers this one. TRACE would echo what was added to the request, and
/// CONNECT reach past the host.
pub(crate) fn covered_unnamed(method: &str) -> bool {
    !matches!(method, "CONNECT" | "TRACE" | "TRACK")
}
