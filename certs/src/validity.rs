//! When a certificate is valid, read from its DER (RFC 5280 section 4.1.2.5).

use model::Timestamp;
use rustls_pki_types::CertificateDer;

/// The period in which a certificate is valid, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

impl Validity {
    /// The validity of a certificate; `None` if it is not well formed.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (certificate, _) = expect(certificate, SEQUENCE)?;
        let (rest, _) = expect(certificate, SEQUENCE)?;
        let (_, rest) = expect(rest, VERSION)?;
        let (_, rest) = expect(rest, INTEGER)?; // serial number
        let (_, rest) = expect(rest, SEQUENCE)?; // signature algorithm
        let (_, rest) = expect(rest, SEQUENCE)?; // issuer
        let (validity, _) = expect(rest, SEQUENCE)?;
        let (not_before, rest) = time(validity)?;
        let (not_after, _) = time(rest)?;
        Some(Self { not_before, not_after })
    }
}

/// The content of the first element, which must have this tag, and the bytes after it.
fn expect(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(bytes)?;
    (found == tag).then_some((content, rest))
}

/// The tag and content of the first element, and the bytes after it; lengths up to 65535 bytes.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (length, rest) = match *bytes.get(1)? {
        short @ 0..=0x7f => (usize::from(short), bytes.get(2..)?),
        0x81 => (usize::from(*bytes.get(2)?), bytes.get(3..)?),
        0x82 => (usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])), bytes.get(4..)?),
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*bytes.first()?, content, rest))
}

/// `YYMMDDHHMMSSZ` (50 and up is the 20th century) or `YYYYMMDDHHMMSSZ`.
fn time(bytes: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (tag, content, rest) = element(bytes)?;
    let text = std::str::from_utf8(content).ok()?;
    let full = match tag {
        UTC_TIME if text.len() == 13 && text >= "50" => format!("19{text}"),
        UTC_TIME if text.len() == 13 => format!("20{text}"),
        GENERALIZED_TIME if text.len() == 15 => text.to_owned(),
        _ => return None,
    };
    let part = |range: std::ops::Range<usize>| full.get(range)?.parse::<i16>().ok();
    let small = |range: std::ops::Range<usize>| i8::try_from(part(range)?).ok();
    let day = jiff::civil::Date::new(part(0..4)?, small(4..6)?, small(6..8)?).ok()?;
    let clock = jiff::civil::Time::new(small(8..10)?, small(10..12)?, small(12..14)?, 0).ok()?;
    let instant = jiff::tz::Offset::UTC.to_timestamp(day.to_datetime(clock)).ok()?;
    full.ends_with('Z').then_some((instant, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn validity(from: (i32, u8, u8), to: (i32, u8, u8)) -> Validity {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(to.0, to.1, to.2);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Validity::of(certificate.der()).unwrap()
    }

    #[test]
    fn both_forms_of_time_are_read() {
        let found = validity((1999, 12, 31), (2049, 12, 31));
        assert_eq!(found.not_before.to_string(), "1999-12-31T00:00:00Z");
        assert_eq!(found.not_after.to_string(), "2049-12-31T00:00:00Z");
        assert_eq!(validity((2026, 1, 1), (2050, 1, 1)).not_after.to_string(), "2050-01-01T00:00:00Z");
    }

    #[test]
    fn broken_certificates_are_refused_without_a_panic() {
        let certificate = CertificateParams::default().self_signed(&KeyPair::generate().unwrap()).unwrap();
        let bytes = certificate.der().to_vec();
        for length in 0..bytes.len() {
            assert_eq!(Validity::of(&CertificateDer::from(&bytes[..length])), None, "{length}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0xff;
            std::hint::black_box(Validity::of(&CertificateDer::from(changed)));
        }
    }
}
