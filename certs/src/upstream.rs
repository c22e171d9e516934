//! Verifies an upstream's certificate: with webpki, and rejects one of our own CA.
//!
//! Otherwise an attacker with the CA's key, or a loop back to the proxy itself, would be trusted as any upstream.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::EndEntityCert;

use crate::ca::Ca;
use crate::provider::provider;

/// The certificate of an upstream was issued by our own CA.
#[derive(Debug, thiserror::Error)]
#[error("the certificate was issued by our own CA")]
pub(crate) struct OwnCa;

/// The verifier of all upstream connections.
pub(crate) struct UpstreamVerifier {
    /// `None` if there is no trust anchor at all: then no certificate is trusted.
    inner: Option<Arc<WebPkiServerVerifier>>,
    own_subject: Vec<u8>,
}

impl UpstreamVerifier {
    /// A verifier over these anchors that rejects certificates issued by `own`.
    pub(crate) fn new(roots: RootCertStore, own: &Ca) -> Self {
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().ok();
        Self { inner, own_subject: own.subject().to_vec() }
    }

    /// Whether a certificate is our CA's or names it as its issuer. The name contains a digest of the CA's key, so no
    /// other CA has it by chance.
    fn is_own(&self, certificate: &CertificateDer<'_>) -> bool {
        // A certificate that cannot be parsed here cannot be verified below either.
        EndEntityCert::try_from(certificate)
            .is_ok_and(|parsed| parsed.issuer() == self.own_subject || parsed.subject() == self.own_subject)
    }
}

impl ServerCertVerifier for UpstreamVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.is_own(end_entity) || intermediates.iter().any(|certificate| self.is_own(certificate)) {
            return Err(CertificateError::Other(OtherError(Arc::new(OwnCa))).into());
        }
        let inner = self.inner.as_ref().ok_or(CertificateError::UnknownIssuer)?;
        inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for UpstreamVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpstreamVerifier")
    }
}
