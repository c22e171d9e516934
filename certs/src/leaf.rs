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
/// How long before its end a leaf is signed anew, in seconds.
const LEAF_RENEWED_SECONDS: i64 = 10 * 86_400;
/// The longest common name (RFC 5280, upper bound `ub-common-name`).
const COMMON_NAME_CHARS: usize = 64;

/// The one key of all leaves of this process; it exists in memory only.
pub struct LeafKey {
    pair: KeyPair,
    signing: Arc<dyn SigningKey>,
}

impl LeafKey {
    /// Draws a P-256 key.
    ///
    /// # Errors
    /// [`CertError::Sign`] or [`CertError::Tls`] where the library fails to make or take the key.
    pub fn generate() -> Result<Self, CertError> {
        let pair = KeyPair::generate().map_err(CertError::Sign)?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialized_der()));
        let signing = any_ecdsa_type(&der).map_err(CertError::Tls)?;
        Ok(Self { signing, pair })
    }

    /// The key as TLS uses it.
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
    /// From when on it is signed anew rather than used.
    pub renew_at: Timestamp,
}

/// Signs a leaf for exactly this name or address; nothing of it comes from an upstream.
///
/// # Errors
/// [`CertError::NotValid`] outside the validity of the CA, [`CertError::Sign`] where signing fails.
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
    // Near the end of the CA its leaves are short; half of what is left still renews them in time.
    let left = ends - now.as_second();
    let renew_at =
        Timestamp::from_second(ends - LEAF_RENEWED_SECONDS.min(left / 2)).map_err(|_| CertError::NotValid)?;
    Ok(Leaf { certificate: certificate.der().clone(), renew_at })
}

/// What a leaf says besides its dates and serial.
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
    // Only people read the common name; where it does not fit, the name is empty and the SAN critical.
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
