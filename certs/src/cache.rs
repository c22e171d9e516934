//! Leaves by name, as TLS settings ready to use: one signing at a time per name, bounded, renewed before their end.

use std::fmt;
use std::sync::Arc;

use model::{Host, Timestamp};
use moka::ops::compute::{CompResult, Op};
use moka::sync::Cache;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::CertError;
use crate::ca::Ca;
use crate::leaf::{Leaf, LeafKey, mint};
use crate::provider::provider;

/// The protocols offered to clients (RFC 7301), the preferred one first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The leaves of one CA.
pub struct Leaves {
    ca: Arc<Ca>,
    key: LeafKey,
    base: ServerConfig,
    cache: Cache<Host, Ready>,
}

/// A leaf in use; cheap to clone.
#[derive(Clone)]
struct Ready {
    config: Arc<ServerConfig>,
    renew_at: Timestamp,
}

impl Leaves {
    /// An empty cache of at most `capacity` names, with a leaf key of its own.
    ///
    /// # Errors
    /// [`CertError`] where the key or the ticket keys cannot be made.
    pub fn new(ca: Arc<Ca>, capacity: u64) -> Result<Self, CertError> {
        let key = LeafKey::generate()?;
        let ticketer = Ticketer::new().map_err(CertError::Tls)?;
        // The settings are the same for all names; only the certificate differs.
        let base = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(CertError::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Nothing));
        Ok(Self { ca, key, base: settle(base, ticketer), cache: Cache::new(capacity) })
    }

    /// The TLS settings that show a leaf for this host, from the cache or freshly signed.
    ///
    /// # Errors
    /// [`CertError::NotValid`] outside the validity of the CA, [`CertError::Sign`] where signing fails.
    pub fn server_config(&self, host: &Host, now: Timestamp) -> Result<Arc<ServerConfig>, CertError> {
        if let Some(ready) = self.cache.get(host)
            && now < ready.renew_at
        {
            return Ok(ready.config);
        }
        self.sign(host, now)
    }

    /// How many names the cache holds, about.
    pub fn len(&self) -> u64 {
        self.cache.entry_count()
    }

    /// Whether the cache holds no name, about.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Signs a leaf unless another thread, waited for here, just did.
    fn sign(&self, host: &Host, now: Timestamp) -> Result<Arc<ServerConfig>, CertError> {
        let outcome = self.cache.entry_by_ref(host).and_try_compute_with(|found| match found {
            Some(entry) if now < entry.value().renew_at => Ok(Op::Nop),
            Some(_) | None => mint(&self.ca, &self.key, host, now).map(|leaf| Op::Put(self.ready(leaf))),
        })?;
        match outcome {
            CompResult::Inserted(entry) | CompResult::ReplacedWith(entry) | CompResult::Unchanged(entry) => {
                Ok(entry.into_value().config)
            }
            // The closure above never removes; an entry evicted meanwhile is signed again.
            CompResult::StillNone(_) | CompResult::Removed(_) => {
                mint(&self.ca, &self.key, host, now).map(|leaf| self.ready(leaf).config)
            }
        }
    }

    fn ready(&self, leaf: Leaf) -> Ready {
        let certified = CertifiedKey::new(vec![leaf.certificate], self.key.signing());
        let mut config = self.base.clone();
        config.cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        Ready { config: Arc::new(config), renew_at: leaf.renew_at }
    }
}

impl fmt::Debug for Leaves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leaves(of {:?}, {} names)", self.ca, self.len())
    }
}

/// Our preferences: our order of suites, one small ticket that holds the session's state itself, no early data.
fn settle(mut config: ServerConfig, ticketer: Arc<dyn ProducesTickets>) -> ServerConfig {
    config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = ticketer;
    config.send_tls13_tickets = 1;
    config.max_early_data_size = 0;
    config
}

/// The resolver of the base settings, which are never used for a connection.
#[derive(Debug)]
struct Nothing;

impl rustls::server::ResolvesServerCert for Nothing {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}
