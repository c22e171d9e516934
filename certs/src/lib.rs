//! The CA, leaf certificates and trust anchors. Contains X.509 and TLS settings, no HTTP, and never names a vault secret.
//!
//! Two separate directions: `ca`, `leaf` and `cache` create certificates for clients; `trust`, `upstream` and `class`
//! judge the certificates of upstreams. A certificate signed by our own CA is never accepted from an upstream.

pub mod ca;
pub mod cache;
pub mod class;
pub mod identity;
pub mod keystore;
pub mod leaf;
mod pem_file;
pub mod provider;
pub mod trust;
mod upstream;
mod validity;

pub use ca::Ca;
pub use cache::Leaves;
pub use class::{TlsClass, classify, classify_io};
pub use identity::{IdentityError, ListenerIdentity};
pub use keystore::truststore_jks;
pub use provider::provider;
pub use trust::{Trust, VerifiedChain};

use std::path::PathBuf;

use thiserror::Error;

/// Why a certificate could not be created, read or trusted.
#[derive(Debug, Error)]
pub enum CertError {
    /// The private key is not one that this crate made.
    #[error("the key of the CA cannot be read")]
    Key(#[source] rcgen::Error),
    /// A certificate could not be built or signed.
    #[error("a certificate could not be signed")]
    Sign(#[source] rcgen::Error),
    /// The certificate of the CA cannot be parsed.
    #[error("the certificate of the CA cannot be read")]
    Certificate,
    /// Certificate and key of the CA belong to different CAs.
    #[error("the certificate of the CA does not belong to its key")]
    Mismatch,
    /// The CA has expired or is not valid yet.
    #[error("the CA is not valid at this time")]
    NotValid,
    /// The random number generator of the system failed.
    #[error("random bytes are unavailable")]
    Random,
    /// The TLS library refused a setting.
    #[error("a TLS setting was refused")]
    Tls(#[source] rustls::Error),
    /// A file of trust anchors cannot be read.
    #[error("ca file {} cannot be read", path.display())]
    File {
        /// The file as configured.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A file of trust anchors contains no certificate, or an invalid one.
    #[error("ca file {}:{line}: {why}", path.display())]
    Anchor {
        /// The file as configured.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The problem.
        why: &'static str,
    },
}
