//! Settings in the configuration or on this machine that are unsafe or without effect: logged at the start, and part of
//! `egret status`.

use proxy::Listen;

use crate::config::Config;
use crate::foundation::Foundation;

/// A sentence for each.
pub(crate) fn warnings(foundation: &Foundation) -> Vec<String> {
    let Config { proxy, further, deny_all, unenforced, danger_default_credentials, .. } = &foundation.config;
    let mut warnings = Vec::new();
    let mut warn = |applies: bool, text: &str| warnings.extend(applies.then(|| text.to_owned()));
    warn(*deny_all, "every request is refused (denied_all) until a start without --deny-all");
    warn(
        foundation.trust.system_roots() == 0,
        "the system has no trusted roots; only upstreams of upstream.ca_files can be verified (install ca-certificates)",
    );
    warn(
        *danger_default_credentials,
        "sessions.danger_default_credentials: any client that reaches the proxy uses the credentials of sessions.default",
    );
    warnings.extend(unenforced.iter().cloned());
    for listen in std::iter::once(&Listen::Tcp(*proxy)).chain(further) {
        if let Listen::Tcp(address) = listen
            && !address.ip().is_loopback()
        {
            warnings.push(format!(
                "the proxy listens on {address}, beyond this machine; its session tokens travel in cleartext"
            ));
        }
    }
    warnings
}
