//! The environment of a client that uses the proxy and trusts its CA.
//!
//! One block for every client that takes its proxy and its trust from the environment. Variables that *replace* the
//! client's roots name the bundle (system roots and our CA); variables that *add* to them name the CA alone. Clients
//! without such a variable read a small settings file (`trust.rs`).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::trust::TrustFiles;

/// The password of the Java trust store; the store contains public certificates only.
pub const TRUSTSTORE_PASSWORD: &str = "changeit";

/// Hosts that bypass the proxy: loopback only, since every entry is a bypass.
const NO_PROXY: &str = "localhost,127.0.0.1,::1";

/// Variables that list hosts that bypass the proxy.
const BYPASSES: &[&str] = &["NO_PROXY", "no_proxy", "no_grpc_proxy"];

/// Variables that the block sets in addition to these lists.
const OTHERS: &[&str] =
    &["NODE_USE_ENV_PROXY", "JAVA_TOOL_OPTIONS", "WGETRC", "APT_CONFIG", "HGRCPATH", "PHP_INI_SCAN_DIR"];

/// Variables that control which program runs or where it finds its files: never usable for a credential.
const RESERVED: &[&str] = &["PATH", "HOME", "USER", "SHELL", "IFS", "TMPDIR", "BASH_ENV", "ENV"];

/// Prefixes of such names.
const RESERVED_BEGINNINGS: &[&str] = &["LD_", "EGRET_"];

/// Variables that contain the proxy's URL.
const PROXY_URL: &[&str] = &[
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "grpc_proxy",
    "YARN_HTTP_PROXY",
    "YARN_HTTPS_PROXY",
];

/// Variables that name a file of roots to use instead of the client's own.
const REPLACES_ROOTS: &[&str] = &[
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "npm_config_cafile",
    "PIP_CERT",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "WEBSOCKET_CLIENT_CA_BUNDLE",
    "YARN_HTTPS_CA_FILE_PATH",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "COMPOSER_CAFILE",
    "BUNDLE_SSL_CA_CERT",
    "NIX_SSL_CERT_FILE",
    "HEX_CACERTS_PATH",
    "PERL_LWP_SSL_CA_FILE",
    "SYSTEM_CERTIFICATE_PATH",
    "JULIA_SSL_CA_ROOTS_PATH",
];

/// Variables that name a file of roots to use in addition to the client's own.
const ADDS_ROOTS: &[&str] = &["NODE_EXTRA_CA_CERTS", "DENO_CERT"];

/// The address for clients on this machine to reach a listener; loopback if it listens on all addresses.
pub fn dialed(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listener.port())
}

/// The URL that identifies a session to the proxy.
pub fn proxy_url(proxy: SocketAddr, session: &str, token: &str) -> String {
    format!("http://{session}:{token}@{}", dialed(proxy))
}

/// The whole block: proxy, trust, the session's id and its placeholders.
pub fn environment<'a>(
    proxy: SocketAddr,
    session: &str,
    token: &str,
    trust: &TrustFiles,
    placeholders: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> BTreeMap<String, String> {
    let url = proxy_url(proxy, session, token);
    let bundle = trust.bundle().display().to_string();
    let ca = trust.ca().display().to_string();
    let all = |names: &'static [&'static str], value: &str| {
        let value = value.to_owned();
        names.iter().map(move |name| ((*name).to_owned(), value.clone()))
    };
    let mut env = BTreeMap::new();
    env.extend(all(PROXY_URL, &url));
    env.extend(all(BYPASSES, NO_PROXY));
    env.extend(all(REPLACES_ROOTS, &bundle));
    env.extend(all(ADDS_ROOTS, &ca));
    env.extend(trust.variables().into_iter().map(|(name, value)| (name.to_owned(), value)));
    env.extend(all(&["NODE_USE_ENV_PROXY"], "1"));
    env.extend(all(&["JAVA_TOOL_OPTIONS"], &java_options(dialed(proxy), trust)));
    env.extend(all(&["EGRET_SESSION"], session));
    env.extend(placeholders.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())));
    env
}

/// Whether a credential may be offered under this variable.
///
/// # Errors
/// The problem with the name, as a sentence.
pub fn check_variable(name: &str) -> Result<(), String> {
    if !vault::credential::is_variable(name) {
        return Err(format!(
            "{name:?} is not the name of an environment variable: write letters, digits and underscores, without a digit in front"
        ));
    }
    let ours = [PROXY_URL, BYPASSES, REPLACES_ROOTS, ADDS_ROOTS, OTHERS];
    if ours.iter().any(|names| names.contains(&name)) {
        return Err(format!(
            "Egret itself sets {name} in a session's environment; offer the credential under another name"
        ));
    }
    if RESERVED.contains(&name) || RESERVED_BEGINNINGS.iter().any(|start| name.starts_with(start)) {
        return Err(format!("{name} steers how commands run; offer the credential under another name"));
    }
    Ok(())
}

/// Java reads neither proxy variables nor PEM files. It does not send the session's credentials by itself: a session
/// listener, or an `Authenticator`, must identify it.
fn java_options(proxy: SocketAddr, trust: &TrustFiles) -> String {
    let host = proxy.ip();
    let port = proxy.port();
    let store = trust.truststore().display().to_string();
    // The launcher splits at spaces and supports double quotes.
    let store = if store.contains(' ') { format!("\"{store}\"") } else { store };
    [
        format!("-Dhttps.proxyHost={host} -Dhttps.proxyPort={port}"),
        format!("-Dhttp.proxyHost={host} -Dhttp.proxyPort={port}"),
        "-Dhttp.nonProxyHosts=localhost|127.0.0.1|[::1]".to_owned(),
        "-Djdk.http.auth.tunneling.disabledSchemes=".to_owned(),
        format!("-Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStorePassword={TRUSTSTORE_PASSWORD}"),
    ]
    .join(" ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn files() -> TrustFiles {
        TrustFiles::in_dir(Path::new("/data/trust"))
    }

    fn block() -> BTreeMap<String, String> {
        let proxy = SocketAddr::from(([0, 0, 0, 0], 3128));
        environment(proxy, "ses_a", "egt_b", &files(), [("GITHUB_TOKEN", "egret_ph_x")])
    }

    #[test]
    fn every_documented_client_finds_its_variable() {
        let env = block();
        let url = "http://ses_a:egt_b@127.0.0.1:3128";
        for (name, value) in [
            ("HTTPS_PROXY", url),
            ("https_proxy", url),
            ("http_proxy", url),
            ("ALL_PROXY", url),
            ("grpc_proxy", url),
            ("NO_PROXY", "localhost,127.0.0.1,::1"),
            ("no_proxy", "localhost,127.0.0.1,::1"),
            ("SSL_CERT_FILE", "/data/trust/bundle.pem"),
            ("REQUESTS_CA_BUNDLE", "/data/trust/bundle.pem"),
            ("GIT_SSL_CAINFO", "/data/trust/bundle.pem"),
            ("npm_config_cafile", "/data/trust/bundle.pem"),
            ("NODE_EXTRA_CA_CERTS", "/data/trust/ca.pem"),
            ("DENO_CERT", "/data/trust/ca.pem"),
            ("NODE_USE_ENV_PROXY", "1"),
            ("WGETRC", "/data/trust/wgetrc"),
            ("APT_CONFIG", "/data/trust/apt.conf"),
            ("HGRCPATH", "/data/trust/hgrc"),
            ("PHP_INI_SCAN_DIR", ":/data/trust/php"),
            ("EGRET_SESSION", "ses_a"),
            ("GITHUB_TOKEN", "egret_ph_x"),
        ] {
            assert_eq!(env.get(name).map(String::as_str), Some(value), "{name}");
        }
        let java = &env["JAVA_TOOL_OPTIONS"];
        assert!(java.contains("-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=3128"), "{java}");
        assert!(java.contains("-Djavax.net.ssl.trustStore=/data/trust/truststore.jks"), "{java}");
    }

    #[test]
    fn a_credential_takes_the_place_of_nothing_that_commands_need() {
        for name in ["GITHUB_TOKEN", "_x1", "a", "PATHS", "OLD_HOME"] {
            assert_eq!(check_variable(name), Ok(()));
        }
        for name in ["", "1A", "A-B", "A=B", "A B", "\u{e4}", "PATH", "IFS", "LD_PRELOAD", "EGRET_DATA_DIR"] {
            assert!(check_variable(name).is_err(), "{name}");
        }
        let proxy = SocketAddr::from(([127, 0, 0, 1], 3128));
        for name in environment(proxy, "ses_a", "egt_b", &files(), []).keys() {
            assert!(check_variable(name).is_err(), "{name}");
        }
    }

    #[test]
    fn an_ipv6_listener_stands_in_brackets() {
        let url = proxy_url("[::]:8080".parse().unwrap(), "ses_a", "egt_b");
        assert_eq!(url, "http://ses_a:egt_b@[::1]:8080");
    }
}
