//! What was seen on the wire, as far as records keep it: what proposals are made from and candidates are tried on.

use std::net::IpAddr;

use model::{CredentialId, Host, PolicyName, Reason, RuleId, Scheme, Timestamp};

use crate::verdict::Verdict;

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

    /// Whether it was refused, and not by the decision of a policy: by a limit or a quota, for a placeholder, or because
    /// something failed. Such a record does not show what the policies decided; nor does one of a WebSocket handshake, since none
    /// is relayed.
    pub(crate) fn is_refused_otherwise(&self) -> bool {
        let of_policies = [
            Reason::DeniedHost,
            Reason::DeniedPort,
            Reason::DeniedMethod,
            Reason::DeniedPath,
            Reason::DeniedTool,
            Reason::DeniedAddress,
            Reason::ProtocolNotAllowed,
            Reason::ApprovalRequired,
            Reason::ApprovalDenied,
            Reason::ApprovalTimeout,
        ];
        let code = self.code.as_deref();
        let is_of_policies = code.is_none_or(|code| of_policies.iter().any(|own| own.code() == code));
        // An address that was looked up was judged after the policies had allowed the request.
        let is_late = code == Some(Reason::DeniedAddress.code()) && self.address.is_some();
        self.verdict == Verdict::Deny && (!is_of_policies || is_late)
    }

    /// Whether it was a request that can be judged again, or a tunnel; a refused CONNECT names no request.
    pub(crate) fn is_whole(&self) -> bool {
        match &self.method {
            None => true,
            Some(method) => method != "CONNECT" && self.path.is_some(),
        }
    }
}
