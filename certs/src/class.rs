//! The class of a TLS failure: the only detail in a refusal and a record.

use rustls::{AlertDescription, CertificateError, Error};

use crate::upstream::OwnCa;

/// The problem of an upstream's TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsClass {
    /// The certificate, or its issuer, has expired or is not valid yet.
    Expired,
    /// The certificate is for another name.
    WrongHost,
    /// The certificate chains to no trust anchor.
    UnknownCa,
    /// The certificate was revoked, or its status cannot be verified.
    Revoked,
    /// No protocol version, suite or algorithm in common.
    Version,
    /// The upstream requires a client certificate.
    ClientCert,
    /// The certificate was issued by our own CA.
    OwnCa,
    /// Any other problem.
    Other,
}

impl TlsClass {
    /// Every class, in the order of the documentation.
    pub const ALL: &[Self] = &[
        Self::Expired,
        Self::WrongHost,
        Self::UnknownCa,
        Self::Revoked,
        Self::Version,
        Self::ClientCert,
        Self::OwnCa,
        Self::Other,
    ];

    /// The class in the form of answers and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::WrongHost => "wrong_host",
            Self::UnknownCa => "unknown_ca",
            Self::Revoked => "revoked",
            Self::Version => "version",
            Self::ClientCert => "client_cert",
            Self::OwnCa => "own_ca",
            Self::Other => "other",
        }
    }
}

/// The class of a failed handshake with an upstream.
pub fn classify(error: &Error) -> TlsClass {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the errors of rustls are many; what has no class is `other`")]
    match error {
        Error::InvalidCertificate(certificate) => classify_certificate(certificate),
        Error::PeerIncompatible(_) => TlsClass::Version,
        Error::AlertReceived(alert) => classify_alert(*alert),
        _ => TlsClass::Other,
    }
}

/// The class of a handshake that failed as an I/O error; `None` if TLS was not the cause.
pub fn classify_io(error: &std::io::Error) -> Option<TlsClass> {
    error.get_ref()?.downcast_ref::<Error>().map(classify)
}

fn classify_certificate(error: &CertificateError) -> TlsClass {
    use CertificateError as E;
    #[expect(clippy::wildcard_enum_match_arm, reason = "the errors of rustls are many; what has no class is `other`")]
    match error {
        E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. } => TlsClass::Expired,
        E::NotValidForName | E::NotValidForNameContext { .. } => TlsClass::WrongHost,
        // Signed by another key than that of the anchor with the same name, such as a recreated CA.
        E::UnknownIssuer | E::BadSignature => TlsClass::UnknownCa,
        E::Revoked | E::UnknownRevocationStatus | E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => {
            TlsClass::Revoked
        }
        E::Other(other) if other.0.is::<OwnCa>() => TlsClass::OwnCa,
        // A self-signed certificate that is marked as a CA, as `openssl req -x509` creates them.
        E::Other(other) if matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity)) => {
            TlsClass::UnknownCa
        }
        _ => TlsClass::Other,
    }
}

/// The meaning of an upstream's alert for the handshake (RFC 8446 section 6.2).
fn classify_alert(alert: AlertDescription) -> TlsClass {
    use AlertDescription as A;
    #[expect(clippy::wildcard_enum_match_arm, reason = "the alerts of TLS are many; what has no class is `other`")]
    match alert {
        A::CertificateRequired | A::BadCertificate | A::NoCertificate => TlsClass::ClientCert,
        A::ProtocolVersion | A::HandshakeFailure | A::InsufficientSecurity => TlsClass::Version,
        A::UnrecognisedName => TlsClass::WrongHost,
        _ => TlsClass::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_have_classes() {
        for (alert, class) in [
            (AlertDescription::CertificateRequired, TlsClass::ClientCert),
            (AlertDescription::ProtocolVersion, TlsClass::Version),
            (AlertDescription::HandshakeFailure, TlsClass::Version),
            (AlertDescription::UnrecognisedName, TlsClass::WrongHost),
            (AlertDescription::InternalError, TlsClass::Other),
        ] {
            assert_eq!(classify(&Error::AlertReceived(alert)), class, "{alert:?}");
        }
        assert_eq!(classify(&CertificateError::Revoked.into()), TlsClass::Revoked);
    }

    #[test]
    fn an_io_error_has_a_class_where_tls_caused_it() {
        let wrapped = std::io::Error::other(Error::from(CertificateError::UnknownIssuer));
        assert_eq!(classify_io(&wrapped), Some(TlsClass::UnknownCa));
        assert_eq!(classify_io(&std::io::Error::other("reset")), None);
        assert_eq!(classify_io(&std::io::ErrorKind::ConnectionReset.into()), None);
    }

    #[test]
    fn names_are_distinct() {
        let names: std::collections::BTreeSet<_> = TlsClass::ALL.iter().map(|class| class.as_str()).collect();
        assert_eq!(names.len(), TlsClass::ALL.len());
    }
}
