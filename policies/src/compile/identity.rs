//! `set` and `client_auth` of a rule: the identity in a request.

use model::FieldRole;
use model::field::{field_role, fold_name, same_name};

use super::parts::texts;
use crate::auth_mode::RuleClientAuth;
use crate::document::{ClientAuthEntry, OneOrMany, Pairs, Scalar, Spanned, place};
use crate::problem::{Place, Reporter, code, quote};

/// The longest name of a header in a rule, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// The longest value of a header in a rule, in bytes.
const MAX_VALUE_BYTES: usize = 4096;

/// How many headers one rule may set.
const MAX_SET: usize = 16;

/// How many names one list of `client_auth` may have.
const MAX_NAMES: usize = 64;

/// Headers that Egret itself sets or that change what masking sees; no rule can set them.
const OURS: &[&str] = &["accept-encoding", "content-encoding", "content-type", "range", "if-range", "via", "date"];

/// The fixed headers of a rule, by name in lower case.
pub(super) fn set(
    pairs: &Spanned<Pairs<Spanned<OneOrMany>>>,
    reporter: &mut Reporter<'_>,
) -> Vec<(Box<str>, Box<str>)> {
    let entries = &pairs.value.0;
    if entries.is_empty() {
        reporter.error(code::EMPTY_LIST, place(pairs), "`set` names no header", "write `set: {Header: value}`");
    }
    if entries.len() > MAX_SET {
        let message = format!("`set` has more than {MAX_SET} headers");
        reporter.error(code::SET, place(pairs), message, "set only what identifies the tenant");
    }
    let mut set: Vec<(Box<str>, Box<str>)> = Vec::new();
    for (name, value) in entries {
        let lower = name.value.to_ascii_lowercase();
        let Some(value) = header_value(&name.value, value, reporter) else { continue };
        if let Some((message, help)) = unsettable(&name.value) {
            reporter.error(code::SET, place(name), message, help);
        } else if set.iter().any(|(own, _)| same_name(own, &lower)) {
            let message = format!("`set` has the header {} twice", quote(&name.value));
            reporter.error(
                code::SET,
                place(name),
                message,
                "keep one of them; case and `_` or `.` for `-` make no difference",
            );
        } else {
            set.push((lower.into(), value.into()));
        }
    }
    set.sort();
    set
}

/// Why a rule cannot set this header.
fn unsettable(name: &str) -> Option<(String, &'static str)> {
    if !is_header(name) {
        return Some((format!("{} is not the name of a header", quote(name)), "write a name such as X-Acme-Tenant"));
    }
    let folded = fold_name(name);
    match field_role(name) {
        FieldRole::Secret => Some((
            format!("{} carries authentication, and a policy holds no secrets", quote(name)),
            "store the value with `egret vault put`, and name the credential in `use`",
        )),
        FieldRole::Framing => {
            Some((format!("{} decides where a request goes or ends, so no rule can set it", quote(name)), "remove it"))
        }
        FieldRole::Method | FieldRole::Target | FieldRole::Resource => Some((
            format!("{} names another method, host or path than the request, so no rule can set it", quote(name)),
            "remove it",
        )),
        FieldRole::Plain | FieldRole::Actor | FieldRole::Tenant | FieldRole::Identity => {
            let ours = OURS.contains(&&*folded) || folded.starts_with("proxy-") || folded.starts_with("egret-");
            ours.then(|| (format!("{} is set by Egret or the client alone", quote(name)), "remove it"))
        }
    }
}

/// A token of HTTP (RFC 9110 section 5.6.2).
fn is_header(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(token)
}

/// One value; a number is its digits.
fn header_value(name: &str, value: &Spanned<OneOrMany>, reporter: &mut Reporter<'_>) -> Option<String> {
    let mut fail = |at: Place, message: String, help: &str| {
        reporter.error(code::SET, at, message, help);
        None
    };
    let (item, at) = match &value.value {
        OneOrMany::One(item) => (item, place(value)),
        OneOrMany::Many(_) => {
            let message = format!("the header {} gets one value, not a list", quote(name));
            return fail(place(value), message, "write the values in one text, as the service documents it");
        }
    };
    let text = match item {
        Scalar::Text(text) => text.clone(),
        Scalar::Number(number) => number.to_string(),
        Scalar::Other(text) => {
            return fail(
                at,
                format!("{} without quotes is not a text", quote(text)),
                "write it in quotes, or correct it",
            );
        }
    };
    let visible = |byte: u8| (0x21..=0x7e).contains(&byte);
    let ends = text.bytes().next().is_some_and(visible) && text.bytes().next_back().is_some_and(visible);
    if !ends || !text.bytes().all(|byte| byte == b' ' || visible(byte)) || text.len() > MAX_VALUE_BYTES {
        let help = "write 1 to 4096 printable ASCII characters without a blank at either end";
        return fail(at, format!("{} is not the value of a header", quote(&text)), help);
    }
    if text.contains("egret_ph_") {
        return fail(at, "a fixed header cannot hold a placeholder".to_owned(), "name the credential in `use`");
    }
    Some(text)
}

/// What happens to authentication of the client.
pub(super) fn client_auth(entry: &Spanned<ClientAuthEntry>, reporter: &mut Reporter<'_>) -> RuleClientAuth {
    let ClientAuthEntry { default, pass, also } = &entry.value;
    if default.is_none() && pass.is_none() && also.is_none() {
        let message = "`client_auth` has no key";
        reporter.error(code::CLIENT_AUTH, place(entry), message, "write `client_auth: refuse`, or remove it");
    }
    let mut names = |key: &str, list: &Option<Spanned<OneOrMany>>| {
        let list = list.as_ref()?;
        let mut names = std::collections::BTreeSet::new();
        for (name, at) in texts(key, list, reporter) {
            if is_header(name) {
                names.insert(Box::from(&*fold_name(name)));
            } else {
                let message = format!("{} is not the name of a header or query parameter", quote(name));
                reporter.error(code::CLIENT_AUTH, at, message, "write a name such as Cookie or X-Acme-Key");
            }
        }
        if names.len() > MAX_NAMES {
            let message = format!("`{key}` has more than {MAX_NAMES} names");
            reporter.error(code::CLIENT_AUTH, place(list), message, "list fewer");
        }
        Some(names)
    };
    let (pass, also) = (names("pass", pass).unwrap_or_default(), names("also", also).unwrap_or_default());
    if let Some(both) = pass.intersection(&also).next() {
        let message = format!("`{both}` is in `pass` and in `also`");
        reporter.error(code::CLIENT_AUTH, place(entry), message, "remove it from one of them");
    }
    if let Some(never) = pass.iter().find(|name| !may_pass(name)) {
        let message = format!("`{never}` never passes, so it cannot be in `pass`");
        let help = "set it with `set`, or remove it";
        reporter.error(code::CLIENT_AUTH, place(entry), message, help);
    }
    RuleClientAuth { mode: default.as_ref().map(|default| default.value.0), pass, also }
}

/// Fields that steer a request, describe a proxy or restrict the tenant are removed regardless of rules.
fn may_pass(name: &str) -> bool {
    match field_role(name) {
        FieldRole::Plain | FieldRole::Secret | FieldRole::Actor | FieldRole::Resource => true,
        FieldRole::Tenant | FieldRole::Identity | FieldRole::Target | FieldRole::Method | FieldRole::Framing => false,
    }
}
