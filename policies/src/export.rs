//! A policy to the networking blocks of hosted agents and containers. Such a block supports only hosts; everything
//! else in a policy is refused with a reason, so that a block never opens more than the policy it came from.

use std::collections::BTreeSet;

use model::{PolicyName, Scheme};
use serde_json::{Value, json};

use crate::combine::PolicySet;
use crate::import::{MANAGERS, MANAGERS_ID};
use crate::pattern::HostPattern;
use crate::policy::Policy;
use crate::rule::{Effect, Limits, Rule, Timeouts};

/// What a policy is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The networking block of a managed agent's environment.
    ManagedAgent,
    /// The network policy of a hosted container.
    OpenAi,
}

/// Writes what the policy allows as such a block, in JSON.
///
/// # Errors
/// Everything that the block cannot express, a sentence each; also if the set does not have the policy.
pub fn export(target: Target, set: &PolicySet, name: &PolicyName) -> Result<String, Vec<String>> {
    let Some(policy) = set.policies().find(|policy| policy.name == *name) else {
        return Err(vec![format!("policy `{name}` is not loaded")]);
    };
    let mut export = Export { target, hosts: BTreeSet::new(), managers: false, refused: Vec::new() };
    export.policy(policy);
    for rule in &policy.rules {
        export.rule(rule);
    }
    if !export.refused.is_empty() {
        return Err(export.refused);
    }
    let mut text = serde_json::to_string_pretty(&export.block()).map_err(|error| vec![error.to_string()])?;
    text.push('\n');
    Ok(text)
}

struct Export {
    target: Target,
    hosts: BTreeSet<String>,
    managers: bool,
    refused: Vec<String>,
}

impl Export {
    fn block(&self) -> Value {
        match self.target {
            Target::ManagedAgent => json!({"networking": {
                "type": "limited",
                "allowed_hosts": self.hosts,
                "allow_package_managers": self.managers,
                "allow_mcp_servers": false,
            }}),
            Target::OpenAi if self.hosts.is_empty() => json!({"network_policy": {"type": "disabled"}}),
            Target::OpenAi => json!({"network_policy": {"type": "allowlist", "allowed_domains": self.hosts}}),
        }
    }

    fn policy(&mut self, policy: &Policy) {
        let said = [
            (policy.observe, "`mode: observe`: the block enforces"),
            (policy.ceiling, "`ceiling`: the block grants"),
            (policy.until.is_some(), "`until`: the block has no end"),
            (policy.applies_to.is_some(), "`applies_to`: the block applies to every client that gets it"),
        ];
        self.refused.extend(said.iter().filter(|(says, _)| *says).map(|(_, why)| (*why).to_owned()));
    }

    fn rule(&mut self, rule: &Rule) {
        let id = rule.id.as_str();
        match rule.effect {
            Effect::Allow => {}
            Effect::Ask => return self.refuse(id, "the block asks no one"),
            Effect::Deny => return self.refuse(id, "the block only allows; leave out what is denied"),
        }
        if self.target == Target::ManagedAgent && is_managers(rule) {
            self.managers = true;
            return;
        }
        let https = BTreeSet::from([Scheme::Https.default_port()]);
        let said = [
            (rule.scheme != Some(Scheme::Https), "`scheme: http`: the block does not distinguish http and https"),
            (rule.ports.as_ref() != Some(&https), "`port`: the block has no ports"),
            (rule.methods.is_some(), "`methods`: the block allows every method"),
            (rule.paths.is_some(), "`path`: the block allows every path"),
            (rule.query.is_some(), "`query`: the block allows every query"),
            (rule.tools.is_some(), "`tool`: the block does not know tool calls"),
            (rule.websocket, "`upgrade`: the block does not distinguish WebSockets"),
            (rule.until.is_some(), "`until`: the block has no end"),
            (rule.pass_through, "`tls`: the block does not say how TLS is treated"),
            (rule.addresses.is_some(), "`addresses`: the block does not bound what names resolve to"),
            (!rule.credentials.is_empty(), "`use`: secrets are beside the block, with their values"),
            (rule.limits != Limits::default(), "`limits`: the block has none"),
            (rule.timeouts != Timeouts::default(), "`timeouts`: the block has none"),
        ];
        said.iter().filter(|(says, _)| *says).for_each(|(_, why)| self.refuse(id, why));
        for host in &rule.hosts {
            match host {
                HostPattern::Exact(_) => {
                    self.hosts.insert(host.to_string());
                }
                HostPattern::Child(_) if self.target == Target::ManagedAgent => {
                    self.hosts.insert(host.to_string());
                }
                HostPattern::Child(_) => self.refuse(id, &format!("`{host}`: the block names domains one by one")),
                HostPattern::Below(_) | HostPattern::Any => {
                    self.refuse(id, &format!("`{host}`: the block has no wildcard over several labels"));
                }
            }
        }
    }

    fn refuse(&mut self, id: &str, why: &str) {
        self.refused.push(format!("rule `{id}`: {why}"));
    }
}

/// Whether the rule is the one that an import makes of `allow_package_managers`.
fn is_managers(rule: &Rule) -> bool {
    let hosts: BTreeSet<String> = rule.hosts.iter().map(HostPattern::to_string).collect();
    let methods: Option<Vec<&str>> = rule.methods.as_ref().map(|methods| methods.iter().map(|one| &**one).collect());
    rule.id.as_str() == MANAGERS_ID
        && hosts == MANAGERS.iter().map(|host| (*host).to_owned()).collect()
        && methods.as_deref() == Some(&["GET", "HEAD"])
}
