//! `egret.yaml`: the document as written, and the compiled value with all defaults.
//!
//! Strict: an unknown key, a duplicate key or an invalid value is an error with file, line and column, and the line
//! itself.

mod document;
mod limits;
mod problem;
mod unenforced;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use audit::Durability;
use certs::ListenerIdentity;
use model::Host;
use model::text_file::remove_mark;
use proxy::{DefaultSession, Limits, Listen};
use serde_saphyr::Spanned;
use zeroize::Zeroizing;

use document::{Document, KeyDocument, OneOrMany, TlsListenDocument};
use problem::Source;

pub(crate) use problem::Problem;

/// A listener with TLS. Its files are read when the sidecar starts, because other commands may lack the permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsListener {
    /// The address; port 0 selects a free one.
    pub address: SocketAddr,
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

impl TlsListener {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that cannot be read or used.
    pub(crate) fn open(&self) -> anyhow::Result<Listen> {
        use anyhow::Context as _;
        let read = |path: &Path| {
            let bytes = std::fs::read(path).map(Zeroizing::new);
            bytes.with_context(|| format!("listen.proxy_tls: cannot read {}", path.display()))
        };
        let identity = ListenerIdentity::from_pem(&read(&self.certificate)?, &read(&self.key)?);
        let identity = identity.with_context(|| {
            format!("listen.proxy_tls: {} and {} cannot be used", self.certificate.display(), self.key.display())
        })?;
        Ok(Listen::Tls(self.address, identity))
    }
}

/// The whole configuration.
#[derive(Debug)]
pub(crate) struct Config {
    /// The path of the file.
    pub file: Option<PathBuf>,
    /// The data folder, if the file names one.
    pub data_dir: Option<PathBuf>,
    /// The address of the proxy, which sessions get.
    pub proxy: SocketAddr,
    /// Additional listeners.
    pub further: Vec<Listen>,
    /// Listeners where clients use TLS to the proxy.
    pub proxy_tls: Option<TlsListener>,
    /// The session for connections without proxy credentials; without one, they are answered with 407.
    pub default_session: Option<DefaultSession>,
    /// Whether that session may have credentials. Every client that reaches the listener can use them.
    pub danger_default_credentials: bool,
    /// Whether a start revokes the tokens of all sessions if the last run did not stop cleanly.
    pub void_tokens_after_unclean_stop: bool,
    /// Policy files and folders.
    pub policies: Vec<PathBuf>,
    /// The source of the vault's key.
    pub key: Key,
    /// The durability of a record before its request is sent.
    pub durability: Durability,
    /// A line for each valid key of the file that has no effect.
    pub unenforced: Vec<String>,
    /// Additional files of trusted CAs besides the system's.
    pub ca_files: Vec<PathBuf>,
    /// Fixed answers that precede DNS.
    pub resolve: HashMap<String, IpAddr>,
    /// Whether an upstream is dialed while its client's handshake is in progress.
    pub preconnect: bool,
    /// Bounds of the data path.
    pub limits: Limits,
    /// Whether every request is refused; set only by the option of `serve`, never by the file.
    pub deny_all: bool,
}

/// The source of the vault's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// `vault.key` in the data folder, created if it is missing.
    Default,
    /// A key file, which must exist unless the vault does not exist either.
    File(PathBuf),
    /// A file that contains a passphrase.
    PassphraseFile(PathBuf),
    /// A file that contains a passphrase and a key file; both are required.
    PassphraseAndFile {
        /// The passphrase's file.
        passphrase_file: PathBuf,
        /// The key file.
        file: PathBuf,
    },
    /// An environment variable that contains a passphrase.
    PassphraseEnv(String),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file: None,
            data_dir: None,
            proxy: SocketAddr::from((Ipv4Addr::LOCALHOST, 3128)),
            further: Vec::new(),
            proxy_tls: None,
            default_session: None,
            danger_default_credentials: false,
            void_tokens_after_unclean_stop: false,
            policies: Vec::new(),
            key: Key::Default,
            durability: Durability::Process,
            unenforced: Vec::new(),
            ca_files: Vec::new(),
            resolve: HashMap::new(),
            preconnect: false,
            limits: Limits::default(),
            deny_all: false,
        }
    }
}

/// Reads and compiles a file.
///
/// # Errors
/// A file that cannot be read, or the first error in it.
pub(crate) fn load(path: &Path, home: Option<&Path>) -> anyhow::Result<Config> {
    use anyhow::Context as _;
    let text = std::fs::read_to_string(path);
    let mut text = text.with_context(|| format!("cannot read the configuration {}", path.display()))?;
    remove_mark(&mut text);
    let base = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let base = base.canonicalize().with_context(|| format!("cannot find the folder {}", base.display()))?;
    let source = Source { file: path.display().to_string(), text: &text };
    let mut config = compile(&source, &base, home)?;
    config.file = Some(path.to_owned());
    Ok(config)
}

fn compile(source: &Source<'_>, base: &Path, home: Option<&Path>) -> Result<Config, Problem> {
    let document = source.parse::<Document>()?;
    unenforced::refuse_reserved(source, &document)?;
    let at = |text: &str| place(base, home, text);
    let paths = |texts: &[Spanned<String>]| -> Vec<PathBuf> { texts.iter().map(|text| at(&text.value)).collect() };
    let mut config = Config { data_dir: document.data_dir.as_ref().map(|text| at(&text.value)), ..Config::default() };
    let mode = document.listen.proxy_unix_mode.as_ref().map(|text| unix_mode(source, text)).transpose()?;
    if let Some(texts) = &document.listen.proxy {
        (config.proxy, config.further) =
            listeners(source, texts, |path| Listen::Unix { path: at(path), mode: mode.unwrap_or(0o600) })?;
    }
    if let Some(tls) = &document.listen.proxy_tls {
        config.proxy_tls = Some(tls_listener(source, &tls.value, at)?);
    }
    config.void_tokens_after_unclean_stop = document.sessions.void_tokens_after_unclean_stop;
    config.danger_default_credentials = document.sessions.danger_default_credentials;
    config.default_session = document.sessions.default.as_ref().map(|default| DefaultSession {
        policies: default.policies.iter().map(|name| name.as_str().into()).collect(),
        credentials: default.credentials.iter().map(|name| name.as_str().into()).collect(),
    });
    config.policies = policy_paths(source, &document.policies, at)?;
    if let Some(key) = &document.vault.key {
        config.key = key_choice(source, key, at)?;
    }
    if let Some(word) = &document.audit.durability {
        config.durability = durability(source, word)?;
    }
    config.unenforced = unenforced::find(source, &document)?;
    config.ca_files = paths(&document.upstream.ca_files);
    for (name, text) in &document.upstream.resolve {
        let (name, address) = fixed_answer(source, name, text)?;
        config.resolve.insert(name, address);
    }
    config.preconnect = document.upstream.preconnect;
    for (name, text) in &document.limits {
        limits::set(&mut config.limits, source, name, text)?;
    }
    Ok(config)
}

/// A path in the file is relative to the file; `~/` is the home folder.
fn place(base: &Path, home: Option<&Path>, text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => base.join(text),
    }
}

/// The permissions of unix sockets.
fn unix_mode(source: &Source<'_>, text: &Spanned<String>) -> Result<u32, Problem> {
    // Four digits of which the first is 0: no set-user-ID, set-group-ID or sticky bit.
    let mode = Some(text.value.as_str()).filter(|text| text.len() == 4 && text.starts_with('0'));
    let mode = mode.and_then(|text| u32::from_str_radix(text, 8).ok()).filter(|mode| mode & 0o600 == 0o600);
    mode.ok_or_else(|| {
        let help = "write the permissions of the socket in octal, in quotes: \"0600\" for Egret's own user alone, \"0666\" for all users";
        source.problem(text, format!("invalid `proxy_unix_mode` `{}`", text.value), Some(help))
    })
}

/// The first address, which sessions get, and the other addresses to listen on.
fn listeners(
    source: &Source<'_>,
    texts: &Spanned<OneOrMany>,
    unix: impl Fn(&str) -> Listen,
) -> Result<(SocketAddr, Vec<Listen>), Problem> {
    let mut first = None;
    let mut further = Vec::new();
    for text in &texts.value.0 {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            further.push(unix(path));
            continue;
        }
        let address = text.parse::<SocketAddr>().map_err(|_| {
            let help = "write an IP address and a port, such as 127.0.0.1:3128 or \"[::1]:3128\", or unix: and a path";
            source.problem(texts, format!("invalid listen address `{text}`"), Some(help))
        })?;
        match first {
            None => first = Some(address),
            Some(_) => further.push(Listen::Tcp(address)),
        }
    }
    let missing = || {
        let help = "sessions need an address; add one, such as 127.0.0.1:0";
        source.problem(
            texts,
            "`listen.proxy` needs an IP address and a port besides unix sockets".to_owned(),
            Some(help),
        )
    };
    Ok((first.ok_or_else(missing)?, further))
}

fn tls_listener(
    source: &Source<'_>,
    tls: &TlsListenDocument,
    at: impl Fn(&str) -> PathBuf,
) -> Result<TlsListener, Problem> {
    let address = tls.address.value.parse().map_err(|_| {
        let help = "write an IP address and a port, such as 127.0.0.1:3129";
        source.problem(&tls.address, format!("invalid listen address `{}`", tls.address.value), Some(help))
    })?;
    Ok(TlsListener { address, certificate: at(&tls.certificate), key: at(&tls.key) })
}

fn policy_paths(
    source: &Source<'_>,
    texts: &[Spanned<String>],
    at: impl Fn(&str) -> PathBuf,
) -> Result<Vec<PathBuf>, Problem> {
    let path = |text: &Spanned<String>| {
        if text.value.starts_with("library/") && !at(&text.value).exists() {
            let help = "the built-in policies are always loaded; name them where a session is created";
            return Err(source.problem(text, format!("there is no file `{}`", text.value), Some(help)));
        }
        Ok(at(&text.value))
    };
    texts.iter().map(path).collect()
}

fn key_choice(source: &Source<'_>, key: &Spanned<KeyDocument>, at: impl Fn(&str) -> PathBuf) -> Result<Key, Problem> {
    let KeyDocument { file, passphrase_file, passphrase_env } = &key.value;
    match (file, passphrase_file, passphrase_env) {
        (Some(file), None, None) => Ok(Key::File(at(file))),
        (None, Some(file), None) => Ok(Key::PassphraseFile(at(file))),
        (None, None, Some(name)) => Ok(Key::PassphraseEnv(name.clone())),
        (Some(file), Some(text), None) => Ok(Key::PassphraseAndFile { passphrase_file: at(text), file: at(file) }),
        _ => {
            let message = "`vault.key` needs `file`, `passphrase_file`, both of these, or `passphrase_env` alone";
            Err(source.problem(key, message.to_owned(), None))
        }
    }
}

fn durability(source: &Source<'_>, word: &Spanned<String>) -> Result<Durability, Problem> {
    match word.value.as_str() {
        "process" => Ok(Durability::Process),
        "power" => Ok(Durability::Power),
        other => {
            let message = format!("unknown durability `{other}`");
            let help = "process: records survive a killed process; power: they survive a power loss too";
            Err(source.problem(word, message, Some(help)))
        }
    }
}

fn fixed_answer(source: &Source<'_>, name: &str, text: &Spanned<String>) -> Result<(String, IpAddr), Problem> {
    let host = Host::parse(name).ok();
    let Some(canonical) = host.as_ref().and_then(Host::name) else {
        return Err(source.problem(text, format!("`{name}` is not a host name that can be resolved"), None));
    };
    let wrong = || source.problem(text, format!("`{}` is no IP address", text.value), None);
    Ok((canonical.to_owned(), text.value.parse().map_err(|_| wrong())?))
}

#[cfg(test)]
mod tests;
