//! The trust anchors that upstreams are verified with, and the bundle of anchors for clients.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::CertError;
use crate::ca::{Ca, pem};
use crate::pem_file::{self, Fault, Found};
use crate::provider::provider;
use crate::upstream::UpstreamVerifier;

/// How many upstream sessions one configuration stores for resumption.
const RESUMED_SESSIONS: usize = 64;

/// The roots of the system and the configured files, read once.
pub struct Trust {
    base: ClientConfig,
    verifier: Arc<UpstreamVerifier>,
    bundle: String,
    system_roots: usize,
    serial: u64,
}

/// The certificates of an upstream as verified in its handshake.
#[derive(Debug)]
pub struct VerifiedChain {
    /// The upstream's first.
    certificates: Vec<CertificateDer<'static>>,
    name: ServerName<'static>,
    at: UnixTime,
    /// Of the trust that verified it.
    serial: u64,
}

/// Counts how often trust was loaded.
static LOADED: AtomicU64 = AtomicU64::new(0);

impl Trust {
    /// Reads the roots of the system and the additional configured files.
    ///
    /// A system without roots is not an error (no certificate is trusted then); [`Trust::system_roots`] shows it.
    ///
    /// # Errors
    /// [`CertError::File`] or [`CertError::Anchor`], with its name, for a file that is missing, empty or does not
    /// consist of certificates.
    pub fn load(ca_files: &[PathBuf], own: &Ca) -> Result<Self, CertError> {
        let system = rustls_native_certs::load_native_certs().certs;
        let mut roots = RootCertStore::empty();
        let (system_roots, _) = roots.add_parsable_certificates(system.iter().cloned());
        for path in ca_files {
            for Found { line, certificate } in read(path)? {
                let why = "the certificate cannot be used as a trust anchor";
                let unusable = |_| CertError::Anchor { path: path.clone(), line, why };
                roots.add(certificate).map_err(unusable)?;
            }
        }
        let bundle = system.iter().filter(|root| *root != own.cert_der()).chain([own.cert_der()]).map(pem).collect();
        let verifier = Arc::new(UpstreamVerifier::new(roots, own));
        let base = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(CertError::Tls)?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_no_client_auth();
        Ok(Self { base, verifier, bundle, system_roots, serial: LOADED.fetch_add(1, Ordering::Relaxed) })
    }

    /// TLS settings for upstream connections that offer these protocols (RFC 7301). Each call has its own session
    /// cache, so that callers never resume each other's sessions.
    pub fn client_config(&self, alpn: &[&[u8]]) -> ClientConfig {
        let mut config = self.base.clone();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.resumption = Resumption::in_memory_sessions(RESUMED_SESSIONS);
        config
    }

    /// Notes the chain that a handshake with an upstream of this name has just verified with this trust.
    pub fn verified(&self, certificates: Vec<CertificateDer<'static>>, name: ServerName<'static>) -> VerifiedChain {
        VerifiedChain { certificates, name, at: UnixTime::now(), serial: self.serial }
    }

    /// Whether a previously verified chain is still valid: by the anchors of this trust, at the time of that verification. So
    /// only the anchors can make a difference.
    pub fn still_verifies(&self, chain: &VerifiedChain) -> bool {
        let VerifiedChain { certificates, name, at, serial } = chain;
        if *serial == self.serial {
            return true;
        }
        let Some((end_entity, intermediates)) = certificates.split_first() else { return false };
        self.verifier.verify_server_cert(end_entity, intermediates, name, &[], *at).is_ok()
    }

    /// The roots of the system and our CA, in PEM: the roots for a client that reads only one file.
    pub fn bundle_pem(&self) -> String {
        self.bundle.clone()
    }

    /// Distinguishes this trust from every other one that was loaded in this process.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The number of system roots.
    pub fn system_roots(&self) -> usize {
        self.system_roots
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trust({} roots of the system)", self.system_roots)
    }
}

/// The certificates of a PEM file, at least one.
fn read(path: &Path) -> Result<Vec<Found>, CertError> {
    let bytes = std::fs::read(path).map_err(|source| CertError::File { path: path.to_owned(), source })?;
    let anchor = |Fault { line, why }| CertError::Anchor { path: path.to_owned(), line, why };
    let certificates = pem_file::certificates(&bytes).map_err(anchor)?;
    if certificates.is_empty() {
        return Err(anchor(Fault { line: 1, why: "there is no certificate in PEM form" }));
    }
    Ok(certificates)
}
