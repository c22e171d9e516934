//! Signs one leaf certificate for one name, over the process's leaf key, never the CA's (RFC 9525, RFC 5280).

use std::fmt;
use std::sync::Arc;

use model::{Host, Timestamp};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::sign::SigningKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::CertError;
use crate::ca::{Ca, instant, serial};

/// How long a leaf is valid, in seconds; clients accept at most 90 days from a short-lived issuer.
const LEAF_SECONDS: i64 = 30 * 86_400;
/// How far a leaf is backdated, in seconds: the clock of a resumed sandbox can be a day behind.
const LEAF_BACKDATED_SECONDS: i64 = 24 * 3600;
/// How long before its end a leaf is replaced, in seconds.
const LEAF_RENEWED_SECONDS: i64 = 10 * 86_400;
/// The longest common name (RFC 5280, upper bound `ub-common-name`).
const COMMON_NAME_CHARS: usize = 64;

/// The one key of all leaves of this process; it exists in memory only.
pub struct LeafKey {
    pair: KeyPair,
    signing: Arc<dyn SigningKey>,
}

impl LeafKey {
    /// Generates a P-256 key.
    ///
    /// # Errors
    /// [`CertError::Sign`] or [`CertError::Tls`] if the library fails to create or accept the key.
    pub fn generate() -> Result<Self, CertError> {
        let pair = KeyPair::generate().map_err(CertError::Sign)?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialized_der()));
        let signing = any_ecdsa_type(&der).map_err(CertError::Tls)?;
        Ok(Self { signing, pair })
    }

    /// The key in the form of the TLS library.
    pub(crate) fn signing(&self) -> Arc<dyn SigningKey> {
        self.signing.clone()
    }
}

impl fmt::Debug for LeafKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeafKey([REDACTED])")
    }
}

/// A signed leaf.
pub struct Leaf {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// The time from which it is replaced rather than used.
    pub renew_at: Timestamp,
}

/// Signs a leaf for exactly this name or address; it contains no data of an upstream.
///
/// # Errors
/// [`CertError::NotValid`] outside the validity of the CA, [`CertError::Sign`] if signing fails.
pub fn mint(ca: &Ca, key: &LeafKey, host: &Host, now: Timestamp) -> Result<Leaf, CertError> {
    if now < ca.not_before() || now >= ca.not_after() {
        return Err(CertError::NotValid);
    }
    let starts = (now.as_second() - LEAF_BACKDATED_SECONDS).max(ca.not_before().as_second());
    let ends = (now.as_second() + LEAF_SECONDS).min(ca.not_after().as_second());
    let mut params = profile(host)?;
    params.serial_number = Some(serial()?);
    params.not_before = instant(starts)?;
    params.not_after = instant(ends)?;
    let certificate = params.signed_by(&key.pair, ca.issuer()).map_err(CertError::Sign)?;
    // Near the end of the CA its leaves are short; half of the remaining time is enough to renew them.
    let left = ends - now.as_second();
    let renew_at =
        Timestamp::from_second(ends - LEAF_RENEWED_SECONDS.min(left / 2)).map_err(|_| CertError::NotValid)?;
    Ok(Leaf { certificate: certificate.der().clone(), renew_at })
}

/// The content of a leaf except its dates and serial.
fn profile(host: &Host) -> Result<CertificateParams, CertError> {
    let text = match host {
        Host::Name(name) => name.to_string(),
        Host::V4(v4) => v4.to_string(),
        Host::V6(v6) => v6.to_string(),
    };
    let san = match host.address() {
        Some(address) => SanType::IpAddress(address),
        None => SanType::DnsName(text.clone().try_into().map_err(CertError::Sign)?),
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // Only people read the common name. If it is too long, the name is empty and the SAN critical.
    if text.len() <= COMMON_NAME_CHARS {
        params.distinguished_name.push(DnType::CommonName, text);
    }
    params.subject_alt_names = vec![san];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::*;

    const NOW: &str = "2026-11-20T12:00:00Z";

    fn leaf(host: &str, at: &str) -> (Ca, Leaf) {
        let ca = Ca::create(NOW.parse().unwrap()).unwrap().0;
        let leaf = mint(&ca, &LeafKey::generate().unwrap(), &Host::parse(host).unwrap(), at.parse().unwrap()).unwrap();
        (ca, leaf)
    }

    fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        names.value.general_names.iter().map(|name| format!("{name:?}")).collect()
    }

    #[test]
    fn t118_a_leaf_has_exactly_the_one_name() {
        for (host, name, common) in [
            ("api.example.com", "DNSName(\"api.example.com\")", "CN=api.example.com"),
            ("127.0.0.1", "IPAddress([127, 0, 0, 1])", "CN=127.0.0.1"),
            ("[::1]", "IPAddress([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])", "CN=::1"),
            ("a_b.example", "DNSName(\"a_b.example\")", "CN=a_b.example"),
        ] {
            let (_, leaf) = leaf(host, NOW);
            let (_, parsed) = X509Certificate::from_der(&leaf.certificate).unwrap();
            assert_eq!(names(&parsed), [name]);
            assert_eq!(parsed.subject().to_string(), common);
        }
    }

    #[test]
    fn a_name_too_long_for_a_subject_stands_in_a_critical_san() {
        let long = format!("{}.example", ["label-of-eleven"; 8].join("."));
        let (_, leaf) = leaf(&long, NOW);
        let (_, parsed) = X509Certificate::from_der(&leaf.certificate).unwrap();
        assert_eq!(parsed.subject().iter().count(), 0);
        assert!(parsed.subject_alternative_name().unwrap().unwrap().critical);
    }

    #[test]
    fn the_profile_is_that_of_a_server() {
        let (ca, leaf) = leaf("api.example.com", NOW);
        let (_, parsed) = X509Certificate::from_der(&leaf.certificate).unwrap();
        let (_, issuer) = X509Certificate::from_der(ca.cert_der()).unwrap();
        assert_eq!(parsed.issuer().as_raw(), issuer.subject().as_raw());
        assert!(!parsed.basic_constraints().unwrap().unwrap().value.ca);
        let usage = parsed.key_usage().unwrap().unwrap();
        assert!(usage.critical && usage.value.digital_signature() && !usage.value.key_cert_sign());
        let extended = parsed.extended_key_usage().unwrap().unwrap().value;
        assert!(extended.server_auth && !extended.client_auth && !extended.any);
        assert!(parsed.raw_serial().len() == 16 && parsed.raw_serial()[0] < 0x80);
        assert!(key_id(&parsed).is_some());
        assert_eq!(authority_key_id(&parsed), key_id(&issuer));
    }

    fn key_id(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
        certificate.extensions().iter().find_map(|extension| {
            let ParsedExtension::SubjectKeyIdentifier(id) = extension.parsed_extension() else { return None };
            Some(id.0.to_vec())
        })
    }

    fn authority_key_id(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
        certificate.extensions().iter().find_map(|extension| {
            let ParsedExtension::AuthorityKeyIdentifier(id) = extension.parsed_extension() else { return None };
            id.key_identifier.as_ref().map(|id| id.0.to_vec())
        })
    }

    #[test]
    fn dates_allow_for_slow_clocks_and_end_soon() {
        let (_, leaf) = leaf("a.example", NOW);
        let (_, parsed) = X509Certificate::from_der(&leaf.certificate).unwrap();
        let at = |time: ASN1Time| Timestamp::from_second(time.timestamp()).unwrap().to_string();
        assert_eq!(at(parsed.validity().not_before), "2026-11-19T12:00:00Z");
        assert_eq!(at(parsed.validity().not_after), "2026-12-20T12:00:00Z");
        assert_eq!(leaf.renew_at.to_string(), "2026-12-10T12:00:00Z");
    }

    #[test]
    fn a_leaf_never_outlives_its_ca() {
        let (ca, leaf) = leaf("a.example", "2036-11-16T12:00:00Z");
        let (_, parsed) = X509Certificate::from_der(&leaf.certificate).unwrap();
        assert_eq!(parsed.validity().not_after.timestamp(), ca.not_after().as_second());
        assert_eq!(leaf.renew_at.to_string(), "2036-11-17T00:00:00Z");
        for outside in ["2036-11-17T12:00:00Z", "2026-11-18T11:59:59Z"] {
            let host = Host::parse("a.example").unwrap();
            let refused = mint(&ca, &LeafKey::generate().unwrap(), &host, outside.parse().unwrap());
            assert!(matches!(refused, Err(CertError::NotValid)), "{outside}");
        }
    }
}
