//! One rule as it is judged: every default filled in, every pattern canonical.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use model::{AddressClass, CredentialId, PolicyName, RuleId, Scheme};

use crate::pattern::{HostPattern, PathPattern};

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

/// One compiled rule. Where a field is `None`, the rule does not limit it.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) policy: PolicyName,
    pub(crate) id: RuleId,
    pub(crate) effect: Effect,
    pub(crate) hosts: Vec<HostPattern>,
    pub(crate) scheme: Option<Scheme>,
    pub(crate) ports: Option<BTreeSet<u16>>,
    pub(crate) methods: Option<BTreeSet<Box<str>>>,
    pub(crate) paths: Option<Vec<PathPattern>>,
    pub(crate) addresses: Option<BTreeSet<IpNet>>,
    pub(crate) credentials: Vec<CredentialId>,
    pub(crate) words: Option<Arc<str>>,
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

    /// A rule without `path` covers every path; an allow not the target `*`, which is the whole server.
    pub(crate) fn covers_any_path(&self, path: &str) -> bool {
        self.paths.is_none() && (self.effect == Effect::Deny || path != "*")
    }

    /// Whether it matches by host, port and scheme alone.
    pub(crate) fn is_blanket(&self) -> bool {
        self.methods.is_none() && self.paths.is_none()
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
