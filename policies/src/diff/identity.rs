//! What changes in who a request acts for: the headers that policies set, and what happens to authentication of the client.

use std::collections::{BTreeMap, BTreeSet};

use super::outcome::{Grant, SideRules};
use super::{BeforeAfter, Kind};
use crate::auth_mode::AuthMode;
use crate::client_auth::Joined;
use crate::rule::Rule;

pub(super) fn findings(
    sides: BeforeAfter<SideRules<'_>>,
    before: &Grant,
    after: &Grant,
    add: &mut impl FnMut(Kind, bool, Option<String>),
) {
    set_headers(&headers(sides.old, before), &headers(sides.new, after), add);
    let (old, new) = (client_auth(sides.old, before), client_auth(sides.new, after));
    for (situation, default) in [
        ("with a credential", AuthMode::Strip),
        ("without a credential at a host of one", AuthMode::Refuse),
        ("elsewhere", AuthMode::Allow),
    ] {
        let (old, new) = (old.mode(default), new.mode(default));
        if old != new {
            let words = format!("client authentication {situation}: {} instead of {}", new.as_str(), old.as_str());
            note(new < old, words, add);
        }
    }
    let names: BTreeSet<Box<str>> = named(sides.old, before).chain(named(sides.new, after)).collect();
    for name in names {
        match (old.passes(&name), new.passes(&name)) {
            (false, true) => note(true, format!("client authentication in `{name}` passes"), add),
            (true, false) => note(false, format!("client authentication in `{name}` no longer passes"), add),
            (true, true) | (false, false) => {}
        }
        match (old.also(&name), new.also(&name)) {
            (true, false) => note(true, format!("`{name}` no longer counts as client authentication"), add),
            (false, true) => note(false, format!("`{name}` counts as client authentication"), add),
            (true, true) | (false, false) => {}
        }
    }
}

fn note(wider: bool, words: String, add: &mut impl FnMut(Kind, bool, Option<String>)) {
    add(if wider { Kind::IdentityLoosened } else { Kind::IdentityTightened }, wider, Some(words));
}

/// A header that is gone, or has another value, may let another account act.
fn set_headers(
    old: &BTreeMap<&str, &str>,
    new: &BTreeMap<&str, &str>,
    add: &mut impl FnMut(Kind, bool, Option<String>),
) {
    for (name, value) in old {
        match new.get(name) {
            None => note(true, format!("the header `{name}` is no longer set to `{value}`"), add),
            Some(other) if other != value => {
                note(true, format!("the header `{name}` is set to `{other}` instead of `{value}`"), add)
            }
            Some(_) => {}
        }
    }
    for (name, value) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
        note(false, format!("the header `{name}` is set to `{value}`"), add);
    }
}

fn headers<'a>(side: SideRules<'a>, grant: &Grant) -> BTreeMap<&'a str, &'a str> {
    side.restricting(grant).flat_map(|rule| &rule.set).map(|(name, value)| (&**name, &**value)).collect()
}

fn client_auth<'a>(side: SideRules<'a>, grant: &Grant) -> Joined<'a, impl Iterator<Item = &'a Rule> + Clone> {
    Joined::new(grant.rule.map(|at| side.rule(at)), side.restricting(grant))
}

/// Every name that some rule passes or adds.
fn named(side: SideRules<'_>, grant: &Grant) -> impl Iterator<Item = Box<str>> {
    let rules = side.restricting(grant).filter_map(|rule| rule.client_auth.as_ref());
    rules.flat_map(|own| own.pass.iter().chain(&own.also).cloned())
}
