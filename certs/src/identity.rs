//! The certificate of a listener that offers TLS to clients, from files of the operator.

use std::fmt;
use std::sync::Arc;

use model::text_file::without_mark;
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use thiserror::Error;

use crate::pem_file::{self, Fault};
use crate::provider::provider;

/// Why a certificate and its key cannot be used.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The file contains no certificate.
    #[error("no certificate in PEM form")]
    NoCertificate,
    /// A certificate of the file cannot be parsed.
    #[error("line {line} of the certificate: {why}")]
    Certificate {
        /// The line, from 1.
        line: usize,
        /// The problem.
        why: &'static str,
    },
    /// There is no private key in the file, or text that is not PEM.
    #[error("no private key in PEM form")]
    NoKey,
    /// The key does not belong to the certificate, or is of an unsupported kind.
    #[error("the certificate and the key do not fit")]
    Unusable(#[source] rustls::Error),
}

/// The certificate and key of a listener; cheap to clone.
#[derive(Clone)]
pub struct ListenerIdentity(Arc<ServerConfig>);

impl ListenerIdentity {
    /// Loads a certificate chain and a private key, both PEM. Clients are offered HTTP/1.1 (RFC 7301), because they use CONNECT.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let chain =
            pem_file::certificates(chain).map_err(|Fault { line, why }| IdentityError::Certificate { line, why })?;
        if chain.is_empty() {
            return Err(IdentityError::NoCertificate);
        }
        let chain = chain.into_iter().map(|found| found.certificate).collect();
        let key = PrivateKeyDer::from_pem_slice(without_mark(key)).map_err(|_| IdentityError::NoKey)?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(IdentityError::Unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    /// The TLS settings.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.0
    }
}

impl PartialEq for ListenerIdentity {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ListenerIdentity {}

impl fmt::Debug for ListenerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ListenerIdentity")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_needs_its_own_key() {
        let made = |name: &str| {
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = rcgen::CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
            (certificate.pem(), key.serialize_pem())
        };
        let (certificate, key) = made("proxy.test");
        let identity = ListenerIdentity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(identity.config().alpn_protocols, [b"http/1.1".to_vec()]);
        let refused = |certificate: &str, key: &str| {
            ListenerIdentity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap_err().to_string()
        };
        assert_eq!(refused(&certificate, &made("proxy.test").1), "the certificate and the key do not fit");
        assert_eq!(refused("", &key), "no certificate in PEM form");
        assert_eq!(refused(&certificate, &certificate), "no private key in PEM form");
    }
}
