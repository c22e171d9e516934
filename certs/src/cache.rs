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
    /// [`CertError`] if the key or the ticket keys cannot be created.
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

    /// The TLS settings with a leaf for this host, from the cache or newly signed.
    ///
    /// # Errors
    /// [`CertError::NotValid`] outside the validity of the CA, [`CertError::Sign`] if signing fails.
    pub fn server_config(&self, host: &Host, now: Timestamp) -> Result<Arc<ServerConfig>, CertError> {
        if let Some(ready) = self.cache.get(host)
            && now < ready.renew_at
        {
            return Ok(ready.config);
        }
        self.sign(host, now)
    }

    /// Whether the cache has a leaf for this host, so that none has to be signed.
    pub fn has(&self, host: &Host, now: Timestamp) -> bool {
        self.cache.get(host).is_some_and(|ready| now < ready.renew_at)
    }

    /// The approximate number of names in the cache.
    pub fn len(&self) -> u64 {
        self.cache.entry_count()
    }

    /// Whether the cache is empty, approximately.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Signs a leaf, unless another thread just did; waits for that thread.
    fn sign(&self, host: &Host, now: Timestamp) -> Result<Arc<ServerConfig>, CertError> {
        let outcome = self.cache.entry_by_ref(host).and_try_compute_with(|found| match found {
            Some(entry) if now < entry.value().renew_at => Ok(Op::Nop),
            Some(_) | None => mint(&self.ca, &self.key, host, now).map(|leaf| Op::Put(self.ready(leaf))),
        })?;
        match outcome {
            CompResult::Inserted(entry) | CompResult::ReplacedWith(entry) | CompResult::Unchanged(entry) => {
                Ok(entry.into_value().config)
            }
            // The closure above never removes; an entry evicted in the meantime is signed again.
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

/// Our preferences: our order of suites, one small ticket that contains the session's state itself, no early data.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(capacity: u64) -> Leaves {
        Leaves::new(Arc::new(Ca::create(at("2026-11-20")).unwrap().0), capacity).unwrap()
    }

    fn at(day: &str) -> Timestamp {
        format!("{day}T00:00:00Z").parse().unwrap()
    }

    fn host(name: &str) -> Host {
        Host::parse(name).unwrap()
    }

    #[test]
    fn a_leaf_is_reused_until_it_is_near_its_end() {
        let leaves = leaves(10);
        assert!(!leaves.has(&host("a.example"), at("2026-11-20")));
        let first = leaves.server_config(&host("a.example"), at("2026-11-20")).unwrap();
        assert!(leaves.has(&host("a.example"), at("2026-12-09")) && !leaves.has(&host("a.example"), at("2026-12-10")));
        let other = leaves.server_config(&host("b.example"), at("2026-11-20")).unwrap();
        assert!(!Arc::ptr_eq(&first, &other));
        assert!(Arc::ptr_eq(&first, &leaves.server_config(&host("a.example"), at("2026-12-09")).unwrap()));
        let renewed = leaves.server_config(&host("a.example"), at("2026-12-10")).unwrap();
        assert!(!Arc::ptr_eq(&first, &renewed));
        assert!(Arc::ptr_eq(&renewed, &leaves.server_config(&host("a.example"), at("2026-12-11")).unwrap()));
    }

    #[test]
    fn one_signing_serves_all_who_ask_at_once() {
        let leaves = leaves(100);
        for round in 0..50 {
            let name = host(&format!("n{round}.example"));
            let barrier = std::sync::Barrier::new(4);
            let configs: Vec<_> = std::thread::scope(|scope| {
                let ask = || {
                    barrier.wait();
                    leaves.server_config(&name, at("2026-11-20")).unwrap()
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(configs.iter().all(|config| Arc::ptr_eq(config, &configs[0])), "round {round}");
        }
    }

    #[test]
    fn t117_the_cache_stays_within_its_bound() {
        let leaves = leaves(20);
        for number in 0..500 {
            leaves.server_config(&host(&format!("n{number}.example")), at("2026-11-20")).unwrap();
        }
        leaves.cache.run_pending_tasks();
        assert!(leaves.len() <= 20, "{}", leaves.len());
    }

    #[test]
    fn outside_the_validity_of_the_ca_nothing_is_shown() {
        let leaves = leaves(10);
        assert!(matches!(leaves.server_config(&host("a.example"), at("2040-01-01")), Err(CertError::NotValid)));
        assert!(leaves.is_empty());
    }

    #[test]
    fn t115_no_early_data_and_no_key_log() {
        let config = leaves(10).server_config(&host("a.example"), at("2026-11-20")).unwrap();
        assert_eq!(config.max_early_data_size, 0);
        assert!(!config.key_log.will_log("CLIENT_RANDOM"));
        assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert!(config.ignore_client_order && config.ticketer.enabled() && config.send_tls13_tickets == 1);
    }
}
