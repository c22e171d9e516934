//! A rule as a phrase: what its match names, and nothing that it omits.

use std::fmt::Display;

use crate::rule::{Effect, Rule};

/// What a rule matches, such as `DELETE to github.com and **.github.com`.
pub(super) fn of(rule: &Rule) -> String {
    let methods = rule.methods.as_ref().map_or_else(|| "any method".to_owned(), |methods| list(methods, "and"));
    let mut words = format!("{methods} to {}", list(&rule.hosts, "and"));
    if let Some(paths) = &rule.paths {
        words.push_str(&format!(" with path {}", list(paths, "or")));
    }
    if rule.query.is_some() {
        words.push_str(" with some queries");
    }
    if rule.tools.is_some() {
        words.push_str(" from some tools");
    }
    if rule.websocket {
        words.push_str(" for WebSockets");
    }
    let default = match rule.scheme.map(model::Scheme::as_str) {
        Some("http") => Some(80),
        Some(_) => Some(443),
        None => None,
    };
    if let Some(scheme) = rule.scheme.filter(|scheme| scheme.as_str() == "http" || rule.effect == Effect::Deny) {
        words.push_str(&format!(" over {}", scheme.as_str()));
    }
    if let Some(ports) = rule.ports.as_ref().filter(|ports| ports.iter().copied().ne(default)) {
        words.push_str(&format!(" on port {}", list(ports, "or")));
    }
    words
}

fn list<T: Display>(items: impl IntoIterator<Item = T>, word: &str) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match items.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [front @ .., last] => format!("{} {word} {last}", front.join(", ")),
    }
}
