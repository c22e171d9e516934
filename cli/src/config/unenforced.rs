//! Keys of the specified format that this version does not implement: accepting them silently would be a false promise.
//!
//! A key that requests a listener, another route or a guarantee stops the start if it is set. A key that only bounds or
//! permits something is accepted and reported with its position.

use serde_saphyr::Spanned;

use super::document::{Document, RetentionBounds, RetentionDocument};
use super::limits::size;
use super::problem::{Problem, Source};

/// The code of a key without effect, the same as in policy files.
const CODE: &str = "EG0060";

/// What a user of the control socket may be.
const ROLES: [&str; 4] = ["runtime", "security", "vault", "read"];

/// # Errors
/// A reserved key that has a value.
pub(super) fn refuse_reserved(source: &Source<'_>, document: &Document) -> Result<(), Problem> {
    let listen = &document.listen;
    let keys = [
        ("listen.socks", &listen.socks),
        ("listen.socks_tls", &listen.socks_tls),
        ("listen.reverse", &listen.reverse),
        ("listen.transparent", &listen.transparent),
        ("listen.dns", &listen.dns),
        ("listen.control", &listen.control),
        ("listen.health", &listen.health),
        ("upstream.proxy", &document.upstream.proxy),
    ];
    for (key, value) in keys {
        if let Some(value) = value {
            let help = "remove the key, or set it to null";
            return Err(source.problem(value, format!("`{key}` is not available yet in this version"), Some(help)));
        }
    }
    Ok(())
}

/// A line with its position for each valid key without effect.
///
/// # Errors
/// A value that the key does not accept, or that requests a guarantee which this version cannot give.
pub(super) fn find(source: &Source<'_>, document: &Document) -> Result<Vec<String>, Problem> {
    let mut found = Vec::new();
    let listen = &document.listen;
    let has_unix = listen.proxy.iter().flat_map(|texts| &texts.value.0).any(|text| text.starts_with("unix:"));
    if let Some(mode) = listen.proxy_unix_mode.as_ref().filter(|_| !has_unix) {
        let why = "`listen.proxy_unix_mode` has no effect: `listen.proxy` has no unix socket";
        found.push(source.warning(mode, CODE, why, "remove the key, or add a `unix:` path to `listen.proxy`"));
    }
    if let Some(retention) = &document.audit.retention {
        check_retention(source, retention)?;
        let why = "`audit.retention` has no effect yet: records are kept until someone removes them";
        found.push(source.warning(retention, CODE, why, "remove the key, and remove old records by hand"));
    }
    for (peer, roles) in &document.control.peers {
        for role in &roles.value {
            if !ROLES.contains(&role.value.as_str()) {
                let message = format!("unknown role `{}` of `control.peers`", role.value);
                return Err(source.problem(role, message, Some("the roles are runtime, security, vault and read")));
            }
        }
        let why = format!("`control.peers` has no effect yet: `{peer}` gets no role");
        found.push(source.warning(roles, CODE, &why, "remove the key; only root and the user of Egret use the socket"));
    }
    if let Some(word) = &document.containment {
        match word.value.as_str() {
            "off" => {}
            "auto" => {
                let why = "`containment` has no effect yet: the process is not contained";
                found.push(source.warning(word, CODE, why, "remove the key, or write `off`"));
            }
            "required" => {
                let message = "`containment: required` cannot be met: the process is not contained in this version";
                return Err(source.problem(
                    word,
                    message.to_owned(),
                    Some("write `off`, and contain the process itself"),
                ));
            }
            other => {
                let message = format!("unknown containment `{other}`");
                return Err(source.problem(word, message, Some("write `auto`, `required` or `off`")));
            }
        }
    }
    Ok(found)
}

fn check_retention(source: &Source<'_>, retention: &Spanned<RetentionDocument>) -> Result<(), Problem> {
    let time = |text: &str| match text.parse::<u32>() {
        Ok(days) => Err(format!("`{text}` has no unit; write {days}d for {days} days")),
        Err(_) => control::parse_span(text).map(drop),
    };
    match &retention.value {
        RetentionDocument::Time(text) => time(text).map_err(|why| source.problem(retention, why, None)),
        RetentionDocument::Bounds(RetentionBounds { time: None, size: None }) => {
            let message = "`audit.retention` needs `time`, `size` or both".to_owned();
            Err(source.problem(retention, message, Some("write such as `{time: 90d, size: 20GiB}`")))
        }
        RetentionDocument::Bounds(RetentionBounds { time: span, size: bytes }) => {
            if let Some(span) = span {
                time(&span.value).map_err(|why| source.problem(span, why, None))?;
            }
            if let Some(bytes) = bytes.as_ref().filter(|bytes| size(&bytes.value).is_none()) {
                let message = format!("`{}` is not a number of bytes", bytes.value);
                return Err(source.problem(bytes, message, Some("write such as 20GiB")));
            }
            Ok(())
        }
    }
}
