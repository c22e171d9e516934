//! The CA that clients trust: create and load (RFC 5280 sections 4.1 and 4.2).
//!
//! Its key is stored sealed by the caller and stays in this type; it signs only leaves.

use std::fmt;

use aws_lc_rs::digest;
use model::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SerialNumber,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::CertError;
use crate::validity::Validity;

/// How long a CA is valid, in days.
const CA_DAYS: i64 = 3650;
/// How far before its creation a CA is already valid, in seconds; further than its leaves, for clients whose clock is slow.
const CA_BACKDATED_SECONDS: i64 = 48 * 3600;

/// A certification authority: its certificate and the key that signs leaves.
pub struct Ca {
    certificate: CertificateDer<'static>,
    pem: String,
    subject: Vec<u8>,
    validity: Validity,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    /// Creates a CA with a new P-256 key, valid for ten years; returns the key as PKCS#8 DER, to be sealed.
    ///
    /// # Errors
    /// [`CertError`] if the system returns no random bytes or the certificate cannot be signed.
    pub fn create(now: Timestamp) -> Result<(Self, Zeroizing<Vec<u8>>), CertError> {
        let key = KeyPair::generate().map_err(CertError::Key)?;
        let key_der = Zeroizing::new(key.serialize_der());
        let mut params = params(&key);
        params.serial_number = Some(serial()?);
        params.not_before = instant(now.as_second() - CA_BACKDATED_SECONDS)?;
        params.not_after = instant(now.as_second() + CA_DAYS * 86_400)?;
        let certificate = params.self_signed(&key).map_err(CertError::Sign)?;
        Ok((Self::assemble(certificate.der().clone(), params, key)?, key_der))
    }

    /// Loads a CA from its certificate in PEM and its key in PKCS#8 DER.
    ///
    /// # Errors
    /// [`CertError::Key`] or [`CertError::Certificate`] if one cannot be read, [`CertError::Mismatch`] if they do not
    /// belong together.
    pub fn load(cert_pem: &str, key_der: &[u8]) -> Result<Self, CertError> {
        let certificate = CertificateDer::from_pem_slice(cert_pem.as_bytes()).map_err(|_| CertError::Certificate)?;
        let key = KeyPair::try_from(&PrivatePkcs8KeyDer::from(key_der)).map_err(CertError::Key)?;
        let params = params(&key);
        Self::assemble(certificate, params, key)
    }

    /// The certificate in PEM.
    pub fn cert_pem(&self) -> &str {
        &self.pem
    }

    /// The certificate in DER.
    pub fn cert_der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The SHA-256 of the certificate's DER, 64 hex digits.
    pub fn fingerprint(&self) -> String {
        hex(digest::digest(&digest::SHA256, &self.certificate).as_ref())
    }

    /// The first instant at which the CA is valid.
    pub fn not_before(&self) -> Timestamp {
        self.validity.not_before
    }

    /// The last instant at which the CA is valid.
    pub fn not_after(&self) -> Timestamp {
        self.validity.not_after
    }

    /// The subject's name in DER, without the outer tag and length.
    pub(crate) fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// The issuer that signs leaves.
    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// Combines the parts after checking that they belong together.
    fn assemble(
        certificate: CertificateDer<'static>,
        params: CertificateParams,
        key: KeyPair,
    ) -> Result<Self, CertError> {
        let anchor = webpki::anchor_from_trusted_cert(&certificate).map_err(|_| CertError::Certificate)?;
        let subject = anchor.subject.as_ref().to_vec();
        let spki = key.subject_public_key_info();
        // A certificate created from the key must have the same name and key.
        let again = params.self_signed(&key).map_err(CertError::Sign)?;
        let again = webpki::anchor_from_trusted_cert(again.der()).map_err(|_| CertError::Certificate)?;
        if again.subject.as_ref() != subject || !spki.ends_with(anchor.subject_public_key_info.as_ref()) {
            return Err(CertError::Mismatch);
        }
        let validity = Validity::of(&certificate).ok_or(CertError::Certificate)?;
        let pem = pem(&certificate);
        Ok(Self { subject, validity, pem, issuer: Issuer::new(params, key), certificate })
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ca({})", self.fingerprint())
    }
}

/// The properties derived from the key: the name, which contains a digest of the key and so is unique, and the profile.
fn params(key: &KeyPair) -> CertificateParams {
    let digest = digest::digest(&digest::SHA256, &key.subject_public_key_info());
    let mark: String = hex(digest.as_ref()).chars().take(16).collect();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Egret");
    name.push(DnType::CommonName, format!("Egret CA {mark}"));
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A positive serial of 16 random bytes (RFC 5280 section 4.1.2.2).
pub(crate) fn serial() -> Result<SerialNumber, CertError> {
    let mut bytes = [0u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| CertError::Random)?;
    // The top bit would make it negative; the next keeps it 16 bytes long.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// An instant of a certificate; X.509 supports whole seconds only.
pub(crate) fn instant(unix_seconds: i64) -> Result<OffsetDateTime, CertError> {
    OffsetDateTime::from_unix_timestamp(unix_seconds).map_err(|_| CertError::NotValid)
}

/// One certificate in PEM, with line feeds.
pub(crate) fn pem(certificate: &CertificateDer<'_>) -> String {
    let block = pem::Pem::new("CERTIFICATE", certificate.as_ref());
    pem::encode_config(&block, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::*;

    fn now() -> Timestamp {
        "2026-11-20T12:00:00.5Z".parse().unwrap()
    }

    #[test]
    fn the_profile_is_that_of_rfc_5280() {
        let (ca, _) = Ca::create(now()).unwrap();
        let (_, parsed) = X509Certificate::from_der(ca.cert_der()).unwrap();
        let constraints = parsed.basic_constraints().unwrap().unwrap();
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(0));
        let usage = parsed.key_usage().unwrap().unwrap();
        assert!(usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
        assert!(!usage.value.digital_signature());
        let key_ids = parsed
            .extensions()
            .iter()
            .filter(|extension| matches!(extension.parsed_extension(), ParsedExtension::SubjectKeyIdentifier(_)));
        assert_eq!(key_ids.count(), 1);
        assert_eq!(parsed.raw_serial().len(), 16);
        assert!(parsed.raw_serial()[0] < 0x80);
    }

    #[test]
    fn it_is_valid_from_before_its_creation_for_ten_years() {
        let (ca, _) = Ca::create(now()).unwrap();
        assert_eq!(ca.not_before().to_string(), "2026-11-18T12:00:00Z");
        assert_eq!(ca.not_after().to_string(), "2036-11-17T12:00:00Z");
    }

    #[test]
    fn what_was_created_is_loaded() {
        let (ca, key) = Ca::create(now()).unwrap();
        let again = Ca::load(ca.cert_pem(), &key).unwrap();
        assert_eq!(again.cert_der(), ca.cert_der());
        assert_eq!(again.cert_pem(), ca.cert_pem());
        assert_eq!((again.subject(), again.not_after()), (ca.subject(), ca.not_after()));
        assert!(ca.cert_pem().starts_with("-----BEGIN CERTIFICATE-----\nMII"));
    }

    #[test]
    fn two_cas_have_two_names() {
        let (one, two) = (Ca::create(now()).unwrap().0, Ca::create(now()).unwrap().0);
        assert_ne!(one.subject(), two.subject());
        assert_ne!(one.fingerprint(), two.fingerprint());
        assert_eq!(one.fingerprint().len(), 64);
    }

    #[test]
    fn certificate_and_key_must_belong_together() {
        let (one, key) = Ca::create(now()).unwrap();
        let (two, _) = Ca::create(now()).unwrap();
        assert!(matches!(Ca::load(two.cert_pem(), &key), Err(CertError::Mismatch)));
        assert!(matches!(Ca::load("", &key), Err(CertError::Certificate)));
        assert!(matches!(Ca::load(&one.cert_pem().replace("MII", "MIA"), &key), Err(CertError::Certificate)));
        assert!(matches!(Ca::load(one.cert_pem(), b"not a key"), Err(CertError::Key(_))));
    }

    #[test]
    fn debug_shows_no_key() {
        let (ca, _) = Ca::create(now()).unwrap();
        assert_eq!(format!("{ca:?}"), format!("Ca({})", ca.fingerprint()));
    }
}
