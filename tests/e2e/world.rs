//! One sidecar and one origin that belong together.

use egret_tests::egret::{Egret, Setup};
use egret_tests::origin::Origin;

/// The sidecar is dropped first, so that it is checked while the origin still runs.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) egret: Egret,
    pub(crate) origin: Origin,
}

impl World {
    /// Starts both; `hosts` are names of the origin. In policies and in what `more` adds, `PORT` is the origin's
    /// TLS port, `PLAIN` its cleartext port and `LOCAL` at a match's end what its rule needs
    /// to dial loopback.
    pub(crate) fn new(hosts: &[&str], policies: &[&str], more: impl FnOnce(Setup) -> Setup) -> Self {
        let origin = Origin::start();
        let mut setup = more(Setup::for_origin(&origin, hosts));
        for policy in policies {
            setup = setup.policy(&fill(&origin, policy));
        }
        Self { egret: Egret::start(&setup), origin }
    }

    /// `host:port` of the TLS side.
    pub(crate) fn target(&self, host: &str) -> String {
        format!("{host}:{}", self.origin.port())
    }

    /// `host:port` of the cleartext side.
    pub(crate) fn plain(&self, host: &str) -> String {
        format!("{host}:{}", self.origin.plain_port())
    }
}

/// Puts the origin's ports into a policy text.
pub(crate) fn fill(origin: &Origin, policy: &str) -> String {
    policy
        .replace("PORT", &origin.port().to_string())
        .replace("PLAIN", &origin.plain_port().to_string())
        .replace(", LOCAL}", "}\n    addresses: [\"127.0.0.1/32\"]")
}
