//! What was seen on the wire, as far as records keep it: what proposals are made from and candidates are tried on.

use std::net::IpAddr;

use model::{CredentialId, Host, PolicyName, RuleId, Scheme, Timestamp};

use crate::checks::Verdict;

/// One request, or one tunnel, of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When it ended.
    pub time: Timestamp,
    /// The id of its record.
    pub record: String,
    /// The method; `None` for a tunnel whose bytes were not read.
    pub method: Option<String>,
    /// How it travelled.
    pub scheme: Scheme,
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// The path with the names of query parameters and without their values; `None` where none was judged, as of a
    /// CONNECT that was refused.
    pub path: Option<String>,
    /// The tool of the call that it belonged to, where that was known.
    pub tool: Option<String>,
    /// What was decided.
    pub verdict: Verdict,
    /// Why not, or why it would not have been.
    pub code: Option<String>,
    /// The rule that decided.
    pub rule: Option<RuleId>,
    /// The policy of that rule.
    pub policy: Option<PolicyName>,
    /// The credentials that went with it.
    pub credentials: Vec<CredentialId>,
    /// The address that was dialed.
    pub address: Option<IpAddr>,
}

impl Observation {
    /// The path alone.
    pub(crate) fn bare_path(&self) -> Option<&str> {
        self.path.as_deref().map(|path| path.split_once('?').map_or(path, |(path, _)| path))
    }

    /// Whether it was a request that can be judged again, or a tunnel; a refused CONNECT names no request.
    pub(crate) fn is_whole(&self) -> bool {
        match &self.method {
            None => true,
            Some(method) => method != "CONNECT" && self.path.is_some(),
        }
    }
}
