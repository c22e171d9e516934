//! Why a request or a connection is refused.

use std::sync::Arc;
use std::time::Duration;

use model::{AddressClass, Host, PolicyName, Reason, RuleId};

use crate::rule::{Effect, Rule};

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The stable code; `approval_required` if an approval could allow it.
    pub reason: Reason,
    /// The rule that denies or asks; `None` where no rule allows.
    pub rule: Option<RuleId>,
    /// The policy of that rule, or the ceiling that does not allow.
    pub policy: Option<PolicyName>,
    /// The `reason` of that rule, for the client that is refused.
    pub author_message: Option<Arc<str>>,
    /// How long the approval stays open, if the rule asks and has `within`.
    pub approval_timeout: Option<Duration>,
    /// More about the reason, from a closed list: `ambiguous` where parsers read the request differently.
    pub class: Option<&'static str>,
}

/// The class of a path or a query that parsers read differently.
pub(crate) const AMBIGUOUS: &str = "ambiguous";

impl Denied {
    /// The denial of a rule, named after the most specific thing that it asks for.
    pub(crate) fn by(rule: &Rule) -> Self {
        let reason = match rule {
            Rule { effect: Effect::Ask, .. } => Reason::ApprovalRequired,
            Rule { websocket: true, .. } => Reason::DeniedUpgrade,
            Rule { tools: Some(_), .. } => Reason::DeniedTool,
            Rule { paths: Some(_), .. } | Rule { query: Some(_), .. } => Reason::DeniedPath,
            Rule { methods: Some(_), .. } => Reason::DeniedMethod,
            Rule { ports: Some(_), .. } => Reason::DeniedPort,
            Rule { scheme: Some(_), .. } => Reason::ProtocolNotAllowed,
            _ => Reason::DeniedHost,
        };
        Self {
            reason,
            rule: Some(rule.id.clone()),
            policy: Some(rule.policy.clone()),
            author_message: rule.author_message.clone(),
            approval_timeout: rule.approval_timeout,
            class: None,
        }
    }

    /// The denial of what no rule allows.
    pub(crate) fn unmatched(reason: Reason) -> Self {
        Self { reason, rule: None, policy: None, author_message: None, approval_timeout: None, class: None }
    }

    /// The denial of a request that parsers read differently.
    pub(crate) fn ambiguous() -> Self {
        Self { class: Some(AMBIGUOUS), ..Self::unmatched(Reason::DeniedPath) }
    }

    /// The denial of a request whose method servers read differently.
    pub(crate) fn ambiguous_method() -> Self {
        Self { class: Some(AMBIGUOUS), ..Self::unmatched(Reason::DeniedMethod) }
    }

    /// The denial of a host that no rule reaches.
    pub(crate) fn host(host: &Host) -> Self {
        Self::unmatched(if is_special(host) { Reason::DeniedAddress } else { Reason::DeniedHost })
    }

    /// The same denial, attributed to a policy.
    pub(crate) fn under(self, policy: &PolicyName) -> Self {
        Self { policy: Some(policy.clone()), ..self }
    }

    /// Whether an approval could allow it.
    pub fn is_ask(&self) -> bool {
        self.reason == Reason::ApprovalRequired
    }
}

/// Whether it is the literal of an address that is not globally routable.
pub(crate) fn is_special(host: &Host) -> bool {
    host.address().is_some_and(|address| AddressClass::of(address) != AddressClass::Global)
}
