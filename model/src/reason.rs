//! Why a request was refused or ended: the closed list of stable codes that records, answers and the API use.

use std::fmt;

/// The stable code of a refusal or an end. New ones are added; none is renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The request breaks the grammar of HTTP.
    Malformed,
    /// Two parsers could disagree about where the body ends.
    AmbiguousFraming,
    /// The host is missing, repeated or no host.
    BadHost,
    /// The request target is not one that a proxy accepts.
    BadTarget,
    /// No rule reaches this host.
    DeniedHost,
    /// No rule reaches this port of the host.
    DeniedPort,
    /// No rule allows this method here.
    DeniedMethod,
    /// No rule allows this path here.
    DeniedPath,
    /// No rule allows this upgrade here.
    DeniedUpgrade,
    /// No rule allows it during this tool call.
    DeniedTool,
    /// The address is not one that the rule may dial.
    DeniedAddress,
    /// The destination is Egret itself.
    DeniedSelf,
    /// The sidecar was started with `--deny-all`.
    DeniedAll,
    /// A credential would travel in cleartext.
    DeniedPlaintext,
    /// No rule allows this protocol here.
    ProtocolNotAllowed,
    /// A placeholder was sent where its credential may not be used.
    PlaceholderMisplaced,
    /// A placeholder that is not this session's.
    PlaceholderUnknown,
    /// The request carries authentication of the client's own where only Egret's may go.
    ForeignCredential,
    /// Two values of the policy go to one location: two credentials of a rule, or a credential and a fixed header.
    CredentialConflict,
    /// The request carries a secret.
    SecretInRequest,
    /// A person must approve it first.
    ApprovalRequired,
    /// A person refused it.
    ApprovalDenied,
    /// Nobody answered in time.
    ApprovalTimeout,
    /// No proxy credentials were sent.
    SessionRequired,
    /// The proxy credentials are not those of a running session.
    SessionInvalid,
    /// The head did not arrive in time.
    TimeoutHead,
    /// The body exceeds the limit.
    BodyTooLarge,
    /// The target exceeds the limit.
    UriTooLong,
    /// An expectation other than 100-continue.
    ExpectUnsupported,
    /// The request body is in a coding that cannot be searched.
    CodingUnsupported,
    /// The head exceeds the limit.
    HeadTooLarge,
    /// Names of one exchange differ: CONNECT target, SNI, Host.
    AuthorityMismatch,
    /// Too many requests.
    RateLimited,
    /// Too many new names.
    MintLimited,
    /// The session uses its whole share.
    SessionQuota,
    /// The session's budget is spent.
    BudgetExhausted,
    /// A fault of Egret.
    Internal,
    /// The upstream did not take the connection.
    UpstreamRefused,
    /// The name could not be resolved.
    UpstreamDns,
    /// The upstream's TLS or certificate is not acceptable.
    UpstreamTls,
    /// The upstream broke the protocol.
    UpstreamProtocol,
    /// The response exceeds the limit.
    ResponseTooLarge,
    /// The credential could not be had.
    CredentialUnavailable,
    /// The response is coded so that secrets in it cannot be found.
    RedactionImpossible,
    /// The journal cannot be written.
    AuditUnavailable,
    /// The vault is not open.
    VaultSealed,
    /// A policy of the session is not loaded.
    PolicyUnavailable,
    /// Too much at once.
    Overloaded,
    /// Egret is stopping.
    Draining,
    /// The upstream took too long.
    UpstreamTimeout,
    /// The request came back to Egret.
    Loop,
    /// The client does not trust the CA.
    ClientRejectedCa,
    /// The session ended during the exchange.
    SessionEnded,
    /// The session's credentials came from elsewhere.
    SessionWrongSource,
    /// A control call was refused.
    ControlDenied,
    /// A policy file is not acceptable.
    PolicyRejected,
    /// A torn end of the journal was cut off.
    TailTruncated,
    /// The vault was changed by someone else.
    VaultCorrupt,
    /// The vault is older than the journal.
    VaultRollback,
    /// The credential was revoked during the exchange.
    CredentialRevoked,
    /// A stored value is one that no request may carry any more.
    VaultValueInvalid,
    /// The vault was tried with a wrong key.
    UnsealFailed,
    /// A tenant got a new key.
    KeyRotated,
    /// What a crash left was removed.
    Recovered,
    /// A change of the vault could not be written.
    VaultWriteFailed,
    /// The wall clock was set.
    ClockStep,
}

impl Reason {
    /// Every reason, in the order of the documentation.
    pub const ALL: &[Self] = &[
        Self::Malformed,
        Self::AmbiguousFraming,
        Self::BadHost,
        Self::BadTarget,
        Self::DeniedHost,
        Self::DeniedPort,
        Self::DeniedMethod,
        Self::DeniedPath,
        Self::DeniedUpgrade,
        Self::DeniedTool,
        Self::DeniedAddress,
        Self::DeniedSelf,
        Self::DeniedAll,
        Self::DeniedPlaintext,
        Self::ProtocolNotAllowed,
        Self::PlaceholderMisplaced,
        Self::PlaceholderUnknown,
        Self::ForeignCredential,
        Self::CredentialConflict,
        Self::SecretInRequest,
        Self::ApprovalRequired,
        Self::ApprovalDenied,
        Self::ApprovalTimeout,
        Self::SessionRequired,
        Self::SessionInvalid,
        Self::TimeoutHead,
        Self::BodyTooLarge,
        Self::UriTooLong,
        Self::ExpectUnsupported,
        Self::CodingUnsupported,
        Self::HeadTooLarge,
        Self::AuthorityMismatch,
        Self::RateLimited,
        Self::MintLimited,
        Self::SessionQuota,
        Self::BudgetExhausted,
        Self::Internal,
        Self::UpstreamRefused,
        Self::UpstreamDns,
        Self::UpstreamTls,
        Self::UpstreamProtocol,
        Self::ResponseTooLarge,
        Self::CredentialUnavailable,
        Self::RedactionImpossible,
        Self::AuditUnavailable,
        Self::VaultSealed,
        Self::PolicyUnavailable,
        Self::Overloaded,
        Self::Draining,
        Self::UpstreamTimeout,
        Self::Loop,
        Self::ClientRejectedCa,
        Self::SessionEnded,
        Self::SessionWrongSource,
        Self::ControlDenied,
        Self::PolicyRejected,
        Self::TailTruncated,
        Self::VaultCorrupt,
        Self::VaultRollback,
        Self::CredentialRevoked,
        Self::VaultValueInvalid,
        Self::UnsealFailed,
        Self::KeyRotated,
        Self::Recovered,
        Self::VaultWriteFailed,
        Self::ClockStep,
    ];

    /// The code in responses and records.
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::AmbiguousFraming => "ambiguous_framing",
            Self::BadHost => "bad_host",
            Self::BadTarget => "bad_target",
            Self::DeniedHost => "denied_host",
            Self::DeniedPort => "denied_port",
            Self::DeniedMethod => "denied_method",
            Self::DeniedPath => "denied_path",
            Self::DeniedUpgrade => "denied_upgrade",
            Self::DeniedTool => "denied_tool",
            Self::DeniedAddress => "denied_address",
            Self::DeniedSelf => "denied_self",
            Self::DeniedAll => "denied_all",
            Self::DeniedPlaintext => "denied_plaintext",
            Self::ProtocolNotAllowed => "protocol_not_allowed",
            Self::PlaceholderMisplaced => "placeholder_misplaced",
            Self::PlaceholderUnknown => "placeholder_unknown",
            Self::ForeignCredential => "foreign_credential",
            Self::CredentialConflict => "credential_conflict",
            Self::SecretInRequest => "secret_in_request",
            Self::ApprovalRequired => "approval_required",
            Self::ApprovalDenied => "approval_denied",
            Self::ApprovalTimeout => "approval_timeout",
            Self::SessionRequired => "session_required",
            Self::SessionInvalid => "session_invalid",
            Self::TimeoutHead => "timeout_head",
            Self::BodyTooLarge => "body_too_large",
            Self::UriTooLong => "uri_too_long",
            Self::ExpectUnsupported => "expect_unsupported",
            Self::CodingUnsupported => "coding_unsupported",
            Self::HeadTooLarge => "head_too_large",
            Self::AuthorityMismatch => "authority_mismatch",
            Self::RateLimited => "rate_limited",
            Self::MintLimited => "mint_limited",
            Self::SessionQuota => "session_quota",
            Self::BudgetExhausted => "budget_exhausted",
            Self::Internal => "internal",
            Self::UpstreamRefused => "upstream_refused",
            Self::UpstreamDns => "upstream_dns",
            Self::UpstreamTls => "upstream_tls",
            Self::UpstreamProtocol => "upstream_protocol",
            Self::ResponseTooLarge => "response_too_large",
            Self::CredentialUnavailable => "credential_unavailable",
            Self::RedactionImpossible => "redaction_impossible",
            Self::AuditUnavailable => "audit_unavailable",
            Self::VaultSealed => "vault_sealed",
            Self::PolicyUnavailable => "policy_unavailable",
            Self::Overloaded => "overloaded",
            Self::Draining => "draining",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::Loop => "loop",
            Self::ClientRejectedCa => "client_rejected_ca",
            Self::SessionEnded => "session_ended",
            Self::SessionWrongSource => "session_wrong_source",
            Self::ControlDenied => "control_denied",
            Self::PolicyRejected => "policy_rejected",
            Self::TailTruncated => "tail_truncated",
            Self::VaultCorrupt => "vault_corrupt",
            Self::VaultRollback => "vault_rollback",
            Self::CredentialRevoked => "credential_revoked",
            Self::VaultValueInvalid => "vault_value_invalid",
            Self::UnsealFailed => "unseal_failed",
            Self::KeyRotated => "key_rotated",
            Self::Recovered => "recovered",
            Self::VaultWriteFailed => "vault_write_failed",
            Self::ClockStep => "clock_step",
        }
    }

    /// The reason that has this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.code() == code)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_read_back() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(*reason));
        }
    }
}
