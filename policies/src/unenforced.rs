//! Keys that the language has and this version does not enforce: a file with them is taken, and each of them is reported.
//!
//! To ignore a key silently would be a false promise. `compile` reports each at its place, and the rule as a whole is
//! reported wherever rules are loaded and explained (see `misfits.rs`).

use crate::rule::{Effect, Rule, Timeouts};

/// One key of a rule that has no effect.
pub(crate) struct Unenforced {
    /// The key, as the file names it.
    pub(crate) key: &'static str,
    /// That it has no effect, and why.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) help: &'static str,
}

/// The keys of this rule that have no effect.
pub(crate) fn of_rule(rule: &Rule) -> Vec<Unenforced> {
    let mut found = Vec::new();
    let mut note = |applies: bool, key: &'static str, message: String, help: &'static str| {
        found.extend(applies.then_some(Unenforced { key, message, help }));
    };
    let asks = rule.effect == Effect::Ask;
    let granted = [
        ("hold", rule.hold.is_some()),
        ("within", rule.approval_timeout.is_some()),
        ("use", !rule.credentials.is_empty()),
        ("set", !rule.set.is_empty()),
        ("client_auth", rule.client_auth.is_some()),
        ("limits", rule.limits != model::Limits::default()),
        ("timeouts", rule.timeouts != Timeouts::default()),
    ];
    for (key, is_set) in granted {
        let message = format!(
            "`{key}` has no effect yet: there are no approvals, so an `ask` rule refuses every request with 403 approval_required"
        );
        note(asks && is_set, key, message, "remove it, or keep it for a version with approvals");
    }
    note(
        // Without GET it can never match, which is reported as EG0043.
        rule.websocket && rule.effect != Effect::Deny && rule.covers_method("GET"),
        "upgrade",
        "`upgrade` allows nothing yet: WebSockets are not relayed, and every handshake is answered with 403 denied_upgrade"
            .to_owned(),
        "remove the rule, or keep it for a version that relays WebSockets",
    );
    note(
        rule.pass_through && !asks && rule.timeouts.first_byte.is_some(),
        "first_byte",
        "`first_byte` has no effect with `tls: pass-through`: the bytes are not read, so no response begins".to_owned(),
        "remove it; `connect` and `idle` apply to such a connection",
    );
    found
}
