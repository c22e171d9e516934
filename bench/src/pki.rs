//! Keys and certificates of a run, created when it starts.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// The files of a certificate (a chain, for a leaf) and its key, PEM.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// A CA with an ECDSA P-256 key.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    /// Its files.
    pub(crate) identity: Identity,
}

impl Authority {
    /// Creates a CA and writes `NAME.pem` and `NAME.key` into `folder`.
    pub(crate) fn create(folder: &Path, name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        let identity = write(folder, name, &certificate, &key)?;
        Ok(Self { issuer: Issuer::new(params, key), certificate, identity })
    }

    /// Signs a server certificate for `names` and writes `NAME.pem` and `NAME.key` into `folder`.
    pub(crate) fn leaf(&self, folder: &Path, name: &str, names: &[&str]) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        write(folder, name, &format!("{certificate}{}", self.certificate), &key)
    }
}

fn write(folder: &Path, name: &str, certificate: &str, key: &KeyPair) -> Result<Identity> {
    let file = |end: &str| folder.join(format!("{name}.{end}"));
    let identity = Identity { certificate: file("pem"), key: file("key") };
    std::fs::write(&identity.certificate, certificate)?;
    std::fs::write(&identity.key, key.serialize_pem())?;
    Ok(identity)
}
