//! Keys and certificates of the tests, all created at run time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The one crypto provider of the harness.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A certificate authority that origins get their certificates from.
#[derive(Debug)]
pub struct TestCa {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// The fault of an origin's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// No fault.
    None,
    /// Its end is in the past.
    Expired,
    /// Its start is in the future.
    NotYetValid,
    /// It is for another name.
    WrongHost,
    /// It is self-signed.
    SelfSigned,
    /// Its CA is not trusted.
    UnknownCa,
}

impl TestCa {
    /// A CA with a name of its own.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), certificate: certificate.der().clone(), issuer: Issuer::new(params, key) }
    }

    /// The certificate in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Writes the certificate into `folder`.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join("origin-ca.pem");
        std::fs::write(&path, &self.pem).unwrap();
        path
    }

    /// A certificate chain for `name` and its key, PEM.
    pub fn leaf_pem(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = leaf(name).signed_by(&key, &self.issuer).unwrap();
        (certificate.pem() + &self.pem, key.serialize_pem())
    }

    /// A TLS server for `name`, with or without a fault.
    pub fn server(&self, name: &str, flaw: Flaw, alpn: &[&str]) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = leaf(if flaw == Flaw::WrongHost { "other.origin.test" } else { name });
        match flaw {
            Flaw::Expired => {
                params.not_before = rcgen::date_time_ymd(2020, 1, 1);
                params.not_after = rcgen::date_time_ymd(2020, 3, 1);
            }
            Flaw::NotYetValid => {
                params.not_before = rcgen::date_time_ymd(2090, 1, 1);
                params.not_after = rcgen::date_time_ymd(2090, 3, 1);
            }
            Flaw::None | Flaw::WrongHost | Flaw::SelfSigned | Flaw::UnknownCa => {}
        }
        let chain = if flaw == Flaw::SelfSigned {
            vec![params.self_signed(&key).unwrap().der().clone()]
        } else {
            vec![params.signed_by(&key, &self.issuer).unwrap().der().clone(), self.certificate.clone()]
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

fn leaf(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// The certificates of a PEM file.
pub fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path).unwrap().collect::<Result<_, _>>().unwrap()
}
