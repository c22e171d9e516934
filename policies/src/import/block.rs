//! The networking blocks of hosted agents and containers.

use serde_json::Value;

use super::ImportError;
use super::draft::{Draft, name_of, unique};
use super::lines::domain;

/// The rule for `allow_package_managers`.
pub(crate) const MANAGERS_ID: &str = "package-managers";

/// Where package managers read: pip, npm, cargo, go, gem and apt.
pub(crate) const MANAGERS: [&str; 15] = [
    "pypi.org",
    "files.pythonhosted.org",
    "registry.npmjs.org",
    "registry.yarnpkg.com",
    "crates.io",
    "index.crates.io",
    "static.crates.io",
    "proxy.golang.org",
    "sum.golang.org",
    "rubygems.org",
    "index.rubygems.org",
    "deb.debian.org",
    "security.debian.org",
    "archive.ubuntu.com",
    "security.ubuntu.com",
];

fn read(text: &str) -> Result<Value, ImportError> {
    let unreadable = |why: String| ImportError::Unreadable(format!("the block cannot be read: {why}"));
    serde_json::from_str(text).or_else(|json| {
        // YAML includes JSON; errors in what looks like JSON use the parser of JSON.
        let is_json = text.trim_start().starts_with('{');
        serde_saphyr::from_str::<Value>(text)
            .map_err(|yaml| unreadable(if is_json { json.to_string() } else { yaml.to_string() }))
    })
}

/// The value under one of these paths of keys; where none leads anywhere, the whole.
fn within<'v>(value: &'v Value, paths: &[&[&str]]) -> &'v Value {
    let follow = |path: &&[&str]| path.iter().try_fold(value, |value, key| value.get(key));
    paths.iter().find_map(follow).unwrap_or(value)
}

fn texts<'v>(block: &'v Value, key: &str) -> Result<Vec<&'v str>, ImportError> {
    let Some(list) = block.get(key) else { return Ok(Vec::new()) };
    let texts = list.as_array().and_then(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    texts.ok_or_else(|| ImportError::Unreadable(format!("`{key}` is not a list of texts")))
}

fn flag(block: &Value, key: &str) -> Result<bool, ImportError> {
    let value = block.get(key).map_or(Some(false), Value::as_bool);
    value.ok_or_else(|| ImportError::Unreadable(format!("`{key}` is neither true nor false")))
}

/// The other keys of the block.
fn note_unknown(draft: &mut Draft, block: &Value, known: &[&str]) {
    for key in block.as_object().into_iter().flat_map(|object| object.keys()) {
        if !known.contains(&key.as_str()) {
            draft.note(format!("`{key}` is not known"));
        }
    }
}

/// The networking of an environment: the block alone, its configuration, or the whole environment.
pub(super) fn managed_agent(text: &str) -> Result<Draft, ImportError> {
    let whole = read(text)?;
    let block = within(&whole, &[&["config", "networking"], &["networking"]]);
    match block.get("type").and_then(Value::as_str) {
        Some("limited") => {}
        Some("unrestricted") => return Err(ImportError::Unrestricted),
        _ => return Err(ImportError::Unreadable("the block has no `type`, `limited` or `unrestricted`".to_owned())),
    }
    let mut draft = Draft::new("What the networking of an environment allows, over https.");
    for host in texts(block, "allowed_hosts")? {
        domain(&mut draft, "allowed-hosts", host, 0);
    }
    if flag(block, "allow_package_managers")? {
        let rule = draft.rule(MANAGERS_ID);
        rule.methods = vec!["GET".to_owned(), "HEAD".to_owned()];
        rule.comment = Some("allow_package_managers: pip, npm, cargo, go, gem and apt, to read.".to_owned());
        for host in MANAGERS {
            draft.add(MANAGERS_ID, host, 0);
        }
        // Two rules for one host would differ only in their methods.
        let listed = draft.rule(MANAGERS_ID).hosts.clone();
        let open = draft.rule("allowed-hosts").hosts.clone();
        if listed.iter().any(|host| open.contains(host)) {
            draft.rule("allowed-hosts").comment =
                Some("Hosts of package managers are listed too: all methods.".to_owned());
        }
    }
    if flag(block, "allow_mcp_servers")? {
        let servers = within(&whole, &[&["mcp_servers"], &["agent", "mcp_servers"]]);
        let urls: Vec<&str> =
            servers.as_array().into_iter().flatten().filter_map(|server| server.get("url")?.as_str()).collect();
        if urls.is_empty() {
            draft.note("`allow_mcp_servers`: the agent's definition names them; add their hosts");
        }
        for url in urls {
            let rest = url.strip_prefix("https://").unwrap_or(url);
            domain(&mut draft, "mcp-servers", rest.split(['/', '?']).next().unwrap_or_default(), 0);
        }
    }
    note_unknown(&mut draft, block, &["type", "allowed_hosts", "allow_package_managers", "allow_mcp_servers"]);
    Ok(draft)
}

/// The network policy of a container: the block alone, or what holds it.
pub(super) fn network_policy(text: &str) -> Result<Draft, ImportError> {
    let whole = read(text)?;
    let paths: &[&[&str]] =
        &[&["network_policy"], &["environment", "network_policy"], &["container", "network_policy"]];
    let block = within(&whole, paths);
    let mut draft = Draft::new("What the network policy of a container allows, over https.");
    match block.get("type").and_then(Value::as_str) {
        Some("allowlist") => {}
        Some("disabled") => {
            draft.is_closed = true;
            return Ok(draft);
        }
        _ => return Err(ImportError::Unreadable("the block has no `type`, `allowlist` or `disabled`".to_owned())),
    }
    let secrets = block.get("domain_secrets").and_then(Value::as_array);
    let text = |secret: &Value, key: &str| secret.get(key).and_then(Value::as_str).map(str::to_owned);
    let pairs: Vec<(String, String)> = secrets
        .into_iter()
        .flatten()
        .filter_map(|secret| Some((text(secret, "domain")?.to_lowercase(), text(secret, "name")?)))
        .collect();
    for host in texts(block, "allowed_domains")? {
        if !pairs.iter().any(|(domain, _)| *domain == host.to_lowercase()) {
            domain(&mut draft, "allowed-domains", host, 0);
        }
    }
    for host in unique(pairs.iter().map(|(domain, _)| domain.clone())) {
        let id = format!("with-secret-{host}");
        let names = unique(pairs.iter().filter(|(domain, _)| *domain == host).map(|(_, name)| name_of(name)));
        domain(&mut draft, &id, &host, 0);
        let rule = draft.rule(&id);
        rule.comment = Some(format!("The value is not in this file: egret vault put NAME --audience {host}"));
        rule.credentials = names.into_iter().collect();
    }
    note_unknown(&mut draft, block, &["type", "allowed_domains", "domain_secrets"]);
    Ok(draft)
}
